#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
// Half of what this crate computes with was written by a device.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

extern crate alloc;

pub mod feature;
pub mod init;
pub mod net;
mod queue;
pub mod status;
pub mod transport;

use paravane_pci::Ids;

/// The vendor of all virtio functions on PCI.
const VENDOR: u16 = 0x1af4;
/// Modern functions number their kind from here.
const MODERN_BASE: u16 = 0x1040;
/// The transitional network function.
const TRANSITIONAL_NET: u16 = 0x1000;
/// The network device among the kinds of device.
const NET: u16 = 1;

/// Whether a function is a virtio network device: modern, or transitional with the network device's
/// kind as its subsystem.
///
/// Spec: VIRTIO 1.2, 4.1.2 "PCI Device Discovery".
#[must_use]
pub fn is_virtio_net(ids: &Ids) -> bool {
    let modern = ids.device == MODERN_BASE.wrapping_add(NET);
    let transitional = ids.device == TRANSITIONAL_NET && ids.subsystem == NET;
    ids.vendor == VENDOR && (modern || transitional)
}
