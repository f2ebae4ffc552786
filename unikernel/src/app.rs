//! The program: HTTP over every NIC.
//!
//! | Part | Holds |
//! |---|---|
//! | [`config`] | the kernel command line as values |
//! | [`http`] | a connection as bytes in, bytes out; no sockets |
//! | [`status`] | what the page and the JSON say |
//! | [`stack`] | one NIC's TCP/IP stack and its connections |
//!
//! Nothing here knows the machine, so all of it runs in tests on a host.

pub mod config;
pub mod http;
pub mod stack;
pub mod status;
