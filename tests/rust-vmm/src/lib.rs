//! The device side that rust-vmm publishes, under our virtio drivers.
//!
//! The crates that Firecracker, Cloud Hypervisor and others are made of read and complete our
//! rings: `virtio-queue` walks them, `vm-memory` is the memory that they lie in. So a reading of
//! the specification that driver and `mock-hal` have in common, and got wrong, has a judge that
//! nobody here wrote. Registers and what a request means are of this crate, as little as will do.
//!
//! | Part | Holds |
//! |---|---|
//! | [`machine`] | the platform: rust-vmm's guest memory as DMA memory, one device on it |
//! | [`registers`] | the registers of a device over MMIO, version 2 |
//! | [`ring`] | one queue, by `virtio-queue`, and the rules that a chain is held to |
//! | [`net`], [`blk`] | what the two devices do with chains |
//!
//! A device sleeps until it is told, looks once more before it sleeps, and interrupts only when
//! `virtio-queue` says that the driver wants it. Nobody looks anyway: what is told too seldom, on
//! either side, shows as traffic that stands still.
//!
//! `virtio-queue` has no packed ring, so packed rings have no such judge.

#![allow(clippy::missing_errors_doc, reason = "errors here are lines of text about a broken rule")]

pub mod blk;
pub mod machine;
pub mod net;
pub mod registers;
pub mod ring;

pub use machine::{Broken, Machine, Memory};
