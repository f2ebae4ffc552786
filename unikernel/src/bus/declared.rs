//! Virtio devices in memory that ACPI declares, in the machine's DSDT.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use log::{debug, warn};
use paravane_hal_x86_64::line::Trigger;
use paravane_pci::tables::{self, TableError};
use paravane_virtio::transport::mmio::acpi::{self, AcpiError, AcpiPlace};

use super::words::{MOST, MmioPlace};
use crate::firmware::PhysicalMemory as _;
use crate::platform::Machine;

/// The places that are declared, from the lowest up; no two of them overlap.
pub(super) fn places(machine: &Machine) -> Vec<MmioPlace> {
    match read(machine) {
        Ok(dsdt) if dsdt.is_empty() => Vec::new(),
        Ok(dsdt) => places_in(&dsdt),
        Err(error) => {
            debug!("mmio: {error}");
            Vec::new()
        }
    }
}

/// The DSDT; empty where there is none.
fn read(machine: &Machine) -> Result<Vec<u8>, TableError> {
    let memory = |from, into: &mut [u8]| machine.firmware.read(from, into);
    let Some(rsdp) = machine.boot.rsdp else { return Ok(Vec::new()) };
    let Some(dsdt) = tables::find_dsdt(&memory, rsdp)? else { return Ok(Vec::new()) };
    let mut bytes = vec![0; dsdt.len_bytes() as usize];
    dsdt.read(&memory, &mut bytes)?;
    Ok(bytes)
}

fn places_in(dsdt: &[u8]) -> Vec<MmioPlace> {
    let mut places: Vec<MmioPlace> = Vec::new();
    let walked = acpi::find(dsdt, &mut |found| {
        let placed = found.map(|found| (found.start.get(), place_of(&found)));
        match placed {
            Ok((start, Err(reason))) => warn!("mmio: ACPI declares a device at {start:#x}: {reason}"),
            Ok((start, Ok(place))) => {
                let is_free = places.iter().all(|other| !other.range().overlaps(place.range()));
                if is_free && places.len() < MOST {
                    // Tables list them in any order; microvm's from the last place to the first.
                    let at = places.partition_point(|other| other.base < place.base);
                    places.insert(at, place);
                } else {
                    warn!("mmio: ACPI declares a device at {start:#x} over another one, or one too many");
                }
            }
            // Tables of large machines have code among declarations.
            Err(error @ AcpiError::Unreadable { .. }) => debug!("mmio: {error}"),
            Err(error) => warn!("mmio: {error}"),
        }
    });
    if let Err(error) = walked {
        debug!("mmio: {error}");
    }
    places
}

/// What is declared, as a place of ours.
fn place_of(found: &AcpiPlace) -> Result<MmioPlace, String> {
    let interrupt = found.interrupt.ok_or("it has no interrupt")?;
    let trigger = if interrupt.is_edge { Trigger::Edge } else { Trigger::Level };
    MmioPlace::new(found.start.get(), found.len_bytes as u64, interrupt.number.into(), trigger)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What QEMU's microvm says, with devices in places 1 and 3.
    const MICROVM: &[u8] = include_bytes!("../../../virtio/src/transport/mmio/acpi/microvm.dsdt");

    #[test]
    fn what_microvm_declares_is_where_it_has_it() {
        let places: Vec<_> =
            places_in(MICROVM).iter().map(|place| (place.base.get(), place.len_bytes, place.line)).collect();
        assert_eq!(places, [(0xfeb0_0200, 0x200, 25), (0xfeb0_0600, 0x200, 27)]);
        assert!(places_in(MICROVM).iter().all(|place| place.trigger == Trigger::Level));
    }

    #[test]
    fn places_that_overlap_or_cannot_be_are_passed_over() {
        // The first device's registers where the second one's are; then longer than any device's.
        let at = |value: u32| {
            let bytes = value.to_le_bytes();
            MICROVM.windows(4).position(|window| window == bytes).unwrap()
        };
        let mut table = MICROVM.to_vec();
        let first = at(0xfeb0_0600);
        table[first..first + 4].copy_from_slice(&0xfeb0_0300_u32.to_le_bytes());
        assert_eq!(places_in(&table).len(), 1);
        let mut table = MICROVM.to_vec();
        table[first + 4..first + 8].copy_from_slice(&0x0200_0000_u32.to_le_bytes());
        assert_eq!(places_in(&table).len(), 1);
        assert_eq!(places_in(&[]).len(), 0);
    }
}
