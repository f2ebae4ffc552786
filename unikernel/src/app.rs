//! The programs: HTTP over every NIC; and a router between them.
//!
//! | Part | Holds |
//! |---|---|
//! | [`config`] | the kernel command line and `paravane.toml` as values |
//! | [`files`] | a FAT file system: files by name |
//! | [`http`] | a connection as bytes in, bytes out; no sockets |
//! | [`status`] | what the page and the JSON say |
//! | [`stack`] | one NIC's TCP/IP stack and its connections |
//! | [`server`] | the NICs, and the loop over them |
//! | [`program`] | the images that serve HTTP, from start to loop |
//! | `sntp`, `syslog` | the time from a server, and what is said to a collector |
//! | [`router`] | the image that routes: its configuration, its path, what it says of itself |
//!
//! Nothing here knows the machine, so all of it can be built and tested on a host; the library
//! below knows nothing of it.

pub mod config;
pub mod files;
pub mod http;
pub mod program;
#[cfg(feature = "router")]
pub mod router;
pub mod server;
#[cfg(feature = "router")]
pub mod sntp;
pub mod stack;
pub mod status;
#[cfg(feature = "router")]
pub mod syslog;
