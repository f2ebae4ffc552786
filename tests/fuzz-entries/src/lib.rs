//! Bytes play the device, the network, or an operator. Each entry turns its input into what a
//! device, firmware, or a stranger says, lets a driver or the appliance work on it, and panics if
//! that does: if it panics itself, loses a buffer, breaks a rule of the platform, or cannot be
//! healed by a restart.
//!
//! `fuzz/` hands these to libFuzzer; `tests/noise.rs` runs them on a few hundred inputs and on the
//! seeds with every `cargo test`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "to panic is how an entry speaks")]

mod acpi;
mod admin;
mod answer;
mod blk;
mod config_space;
mod declared;
mod input;
mod lie;
mod net;
mod power;
mod queue;
mod rules;
mod virtio;
mod vmxnet3;
mod vrrp;

pub use acpi::acpi;
pub use admin::{http, pcap_filter, syslog, toml};
pub use blk::virtio_blk;
pub use config_space::config_space;
pub use declared::declared_places;
pub use net::{health_answer, packet_read, path};
pub use rules::rules;
pub use virtio::{net_header, virtio_ring};
pub use vmxnet3::vmxnet3;
pub use vrrp::vrrp;

/// An entry: survives any bytes.
pub type Entry = fn(&[u8]);

/// All entries, by the names of their fuzz targets.
pub const ENTRIES: [(&str, Entry); 16] = [
    ("vmxnet3", vmxnet3),
    ("virtio_ring", virtio_ring),
    ("virtio_blk", virtio_blk),
    ("net_header", net_header),
    ("config_space", config_space),
    ("acpi", acpi),
    ("declared_places", declared_places),
    ("packet_read", packet_read),
    ("path", path),
    ("vrrp", vrrp),
    ("health_answer", health_answer),
    ("toml", toml),
    ("http", http),
    ("syslog", syslog),
    ("pcap_filter", pcap_filter),
    ("rules", rules),
];
