//! Bytes play the device. Each entry turns its input into what a device, or firmware, says, lets a
//! driver work on it, and panics if the driver does: if it panics itself, loses a buffer, breaks a
//! rule of the platform, or cannot be healed by a restart.
//!
//! `fuzz/` hands these to libFuzzer; `tests/noise.rs` runs them on a few hundred inputs and on the
//! seeds with every `cargo test`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how an entry speaks")]

mod acpi;
mod blk;
mod config_space;
mod declared;
mod input;
mod lie;
mod queue;
mod virtio;
mod vmxnet3;

pub use acpi::acpi;
pub use blk::virtio_blk;
pub use config_space::config_space;
pub use declared::declared_places;
pub use virtio::{net_header, virtio_ring};
pub use vmxnet3::vmxnet3;

/// An entry: survives any bytes.
pub type Entry = fn(&[u8]);

/// All entries, by the names of their fuzz targets.
pub const ENTRIES: [(&str, Entry); 7] = [
    ("vmxnet3", vmxnet3),
    ("virtio_ring", virtio_ring),
    ("virtio_blk", virtio_blk),
    ("net_header", net_header),
    ("config_space", config_space),
    ("acpi", acpi),
    ("declared_places", declared_places),
];
