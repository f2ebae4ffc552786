//! Where the machine's devices are, and what is found there: PCI, reached by ports or ECAM, and
//! virtio devices in memory, which no bus leads to.
//!
//! | Part | Holds |
//! |---|---|
//! | [`words`] | what the command line says about it |
//! | [`pci`] | config space, every segment of it, and addresses where firmware gave none |
//! | `declared` | places in memory that ACPI declares |
//! | [`mmio`] | places in memory, and which device is at each |
//! | [`microvm`] | what is known of a machine that says nothing about itself |

mod access;
mod declared;
pub mod microvm;
pub mod mmio;
pub mod pci;
mod place;
pub mod words;

use alloc::vec::Vec;

use crate::platform::Machine;
pub use place::{Found, FoundNic, Place};
pub use words::Words;

/// Every device that `kind` knows: those of PCI in its order, then those in memory in the order of
/// the command line. What is passed over on the way is said.
///
/// Devices in memory are found once: those that `kind` leaves out are nobody's from then on.
#[must_use]
pub fn find<K>(machine: &Machine, words: &Words, kind: &dyn Fn(&Place) -> Option<K>) -> Vec<Found<K>> {
    let segments = pci::open(machine, words);
    let mut found = segments.find(machine, kind);
    found.extend(mmio::find(machine, words, segments.bare).into_iter().filter_map(|device| {
        let place = Place::Mmio(device);
        Some(Found { kind: kind(&place)?, place })
    }));
    found
}

/// Every NIC that there is a driver for, as [`find`] has them.
#[must_use]
pub fn find_nics(machine: &Machine, words: &Words) -> Vec<FoundNic> {
    find(machine, words, &Place::nic_kind)
}
