//! Host-side tools of Paravane: they boot the image under QEMU, talk to it, and show what it does.
//!
//! Two programs use this library: `guest-matrix` judges the image (every device, machine and
//! interrupt mode, and what happens when things go wrong), `demo` shows it to a person. Neither
//! runs under `cargo test`, which needs no QEMU and tests the tools themselves.
//!
//! | layer | module |
//! |---|---|
//! | the image: building it, finding it | [`image`] |
//! | a QEMU process, its console, its monitor; other programs | [`qemu`], [`console`], [`monitor`], [`tool`] |
//! | a host at the other end of a NIC's cable; a station that sends any frame; a stream between two hosts | [`dgram`], [`host`], [`station`], [`stream`] |
//! | what is said over it | [`http`], [`digest`], [`noise`], [`status`] |
//! | a disk with files on it | [`fat`] |
//! | the host's end of a virtio socket | [`vsock`] |
//! | a booted guest with a host on each NIC | [`guest`] |
//! | cases with a verdict, and how they are run | [`cases`], [`runner`] |
//! | what a driver does on a device, to be recorded and played back | [`scenario`] |
//! | packets at a firewall, and what is to become of them | [`firewall`] |
//! | the driver suite, recorded and played back | [`suite`] |
//! | text in columns | [`table`] |
//!
//! Every wait has a deadline, and an error says what was expected, what was seen, and how the
//! guest's console ended.

#![forbid(unsafe_code)]

/// What the README of the workspace shows compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub mod readme {}

pub mod cases;
pub mod console;

pub mod dgram;
pub mod digest;
pub mod fat;
pub mod firewall;
pub mod guest;
pub mod host;
pub mod http;
pub mod image;
pub mod loopback;

pub mod monitor {
    //! QEMU's monitor, as the crate has it that drives QEMU without a guest.
    pub use paravane_qtest_hal::Monitor;
}
pub mod noise;

pub mod qemu;
pub mod runner;
pub mod scenario;
pub mod station;
pub mod status;
pub mod stream;
pub mod suite;
pub mod table;
pub mod tool;
pub mod vsock;
