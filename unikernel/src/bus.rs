//! Where the machine's devices are, and what is found there: PCI, reached by ports or ECAM, and
//! virtio devices in memory, which no bus leads to.
//!
//! | Part | Holds |
//! |---|---|
//! | [`words`] | what the command line says about it |
//! | [`pci`] | config space, every segment of it, and addresses where firmware gave none |
//! | [`mmio`] | places in memory, and which device is at each |
//! | [`microvm`] | what is known of a machine that says nothing about itself |

pub mod microvm;
pub mod mmio;
pub mod pci;
mod place;
pub mod words;

use alloc::vec::Vec;

use crate::platform::Machine;
pub use place::{FoundNic, Place};
pub use words::Words;

/// Every NIC that there is a driver for: those of PCI in its order, then those in memory in the
/// order of the command line. What is passed over on the way is said.
#[must_use]
pub fn find_nics(machine: &Machine, words: &Words) -> Vec<FoundNic> {
    let segments = pci::open(machine, words);
    let mut nics = segments.find_nics(machine);
    nics.extend(mmio::find(machine, words, segments.bare).into_iter().filter_map(|device| {
        let kind = device.nic_kind()?;
        Some(FoundNic { place: Place::Mmio(device), kind })
    }));
    nics
}
