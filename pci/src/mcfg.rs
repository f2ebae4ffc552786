//! Where ECAM is, from the firmware's MCFG table.
//!
//! The layout is that of the `acpi` crate; how tables are found and doubted is in
//! [`tables`].
//!
//! Spec: PCI Firmware 3.3, 4.1.2 "MCFG Table Description".

use core::mem::offset_of;

use acpi::mcfg::{Mcfg, McfgEntry};
use paravane_hal::addr::PhysAddr;

use crate::EcamEntry;
use crate::tables::{self, FirmwareMemory, Table, TableError};

const MCFG_BYTES: u32 = 44;
const ENTRY_BYTES: u32 = 16;
const _: () =
    assert!(size_of::<Mcfg>() == MCFG_BYTES as usize && size_of::<McfgEntry>() == ENTRY_BYTES as usize);

/// Reports the ECAM regions that the tables from `rsdp` on describe. How many; a machine without an
/// MCFG table has none.
///
/// An entry whose bus range is empty is reported like the others: [`EcamEntry::map`] refuses it
/// with a reason.
///
/// # Errors
///
/// [`TableError`]: a table on the way is damaged or cannot be read.
pub fn ecam_entries(
    memory: &impl FirmwareMemory,
    rsdp: PhysAddr,
    visit: &mut dyn FnMut(EcamEntry),
) -> Result<usize, TableError> {
    let Some(mcfg) = tables::find(memory, rsdp, "MCFG", MCFG_BYTES)? else { return Ok(0) };
    let mut found = 0_usize;
    for start in mcfg.places(MCFG_BYTES, ENTRY_BYTES) {
        visit(read_entry(memory, &mcfg, start)?);
        found = found.saturating_add(1);
    }
    Ok(found)
}

fn read_entry(memory: &impl FirmwareMemory, mcfg: &Table, start: u64) -> Result<EcamEntry, TableError> {
    let within = |offset: usize| start.saturating_add(offset as u64);
    let base = mcfg.field(memory, within(offset_of!(McfgEntry, base_address)))?;
    let segment = mcfg.field(memory, within(offset_of!(McfgEntry, pci_segment_group)))?;
    let [first_bus] = mcfg.field(memory, within(offset_of!(McfgEntry, bus_number_start)))?;
    let [last_bus] = mcfg.field(memory, within(offset_of!(McfgEntry, bus_number_end)))?;
    Ok(EcamEntry {
        // Of bus 0, also when the range starts later. Spec: PCI Firmware 3.3, table 4-3.
        base: PhysAddr::new(u64::from_le_bytes(base)),
        segment: u16::from_le_bytes(segment),
        buses: first_bus..=last_bus,
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;
    use crate::tables::{BIOS_AREA, EBDA_SEGMENT, RSDP, search_bios_area};

    const RSDP_AT: u64 = 0xf_5a80;
    const ROOT_AT: u64 = 0x10_0000;
    const MCFG_AT: u64 = 0x10_1000;

    /// Firmware memory from 0xe0000 on.
    struct Ram {
        bytes: Vec<u8>,
        reads: Cell<u32>,
    }

    impl FirmwareMemory for Ram {
        fn read(&self, from: PhysAddr, into: &mut [u8]) -> bool {
            self.reads.set(self.reads.get() + 1);
            let Some(start) = from.get().checked_sub(BIOS_AREA.start) else { return false };
            let start = usize::try_from(start).unwrap();
            let Some(bytes) = start.checked_add(into.len()).and_then(|end| self.bytes.get(start..end)) else {
                return false;
            };
            into.copy_from_slice(bytes);
            true
        }
    }

    impl Ram {
        fn put(&mut self, at: u64, bytes: &[u8]) {
            let start = usize::try_from(at - BIOS_AREA.start).unwrap();
            self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
        }
    }

    fn balance(bytes: &mut [u8], checksum_at: usize) {
        bytes[checksum_at] = 0;
        let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        bytes[checksum_at] = sum.wrapping_neg();
    }

    fn table(signature: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let mut bytes = signature.to_vec();
        bytes.resize(36, 0);
        bytes.extend(body);
        let len_bytes = u32::try_from(bytes.len()).unwrap();
        bytes[4..8].copy_from_slice(&len_bytes.to_le_bytes());
        balance(&mut bytes, 9);
        bytes
    }

    fn mcfg(entries: &[(u64, u16, u8, u8)]) -> Vec<u8> {
        let mut body = vec![0; 8];
        for &(base, segment, first, last) in entries {
            body.extend(base.to_le_bytes());
            body.extend(segment.to_le_bytes());
            body.extend([first, last, 0, 0, 0, 0]);
        }
        table(b"MCFG", &body)
    }

    fn rsdp(revision: u8) -> Vec<u8> {
        let mut bytes = RSDP.as_bytes().to_vec();
        bytes.resize(36, 0);
        bytes[15] = revision;
        if revision < 2 {
            bytes[16..20].copy_from_slice(&u32::try_from(ROOT_AT).unwrap().to_le_bytes());
        } else {
            bytes[20] = 36;
            bytes[24..32].copy_from_slice(&ROOT_AT.to_le_bytes());
        }
        balance(&mut bytes[..20], 8);
        balance(&mut bytes, 32);
        bytes
    }

    fn ram(revision: u8, mcfg: &[u8]) -> Ram {
        let mut ram = Ram { bytes: vec![0; 0x4_0000], reads: Cell::new(0) };
        ram.put(RSDP_AT, &rsdp(revision));
        let pointers = [0, 0x10_0800, MCFG_AT];
        let root = if revision < 2 {
            let body: Vec<u8> =
                pointers.iter().flat_map(|&at| u32::try_from(at).unwrap().to_le_bytes()).collect();
            table(b"RSDT", &body)
        } else {
            table(b"XSDT", &pointers.iter().flat_map(|at: &u64| at.to_le_bytes()).collect::<Vec<_>>())
        };
        ram.put(ROOT_AT, &root);
        ram.put(0x10_0800, &table(b"FACP", &[0; 16]));
        ram.put(MCFG_AT, mcfg);
        ram
    }

    fn entries(ram: &Ram) -> Result<Vec<EcamEntry>, TableError> {
        let mut found = Vec::new();
        let count = ecam_entries(ram, PhysAddr::new(RSDP_AT), &mut |entry| found.push(entry))?;
        assert_eq!(count, found.len());
        Ok(found)
    }

    #[test]
    fn the_entries_are_found_by_both_generations_of_tables() {
        let tables = mcfg(&[(0xb000_0000, 0, 0, 255), (0x40_0000_0000, 2, 0x10, 0x1f)]);
        for revision in [0, 2] {
            let found = entries(&ram(revision, &tables)).unwrap();
            assert_eq!(
                found,
                [
                    EcamEntry { base: PhysAddr::new(0xb000_0000), segment: 0, buses: 0..=255 },
                    EcamEntry { base: PhysAddr::new(0x40_0000_0000), segment: 2, buses: 0x10..=0x1f },
                ]
            );
            assert_eq!(found[1].region(), Some((PhysAddr::new(0x40_0100_0000), 16 << 20)));
        }
    }

    #[test]
    fn the_bios_area_is_searched() {
        assert_eq!(search_bios_area(&ram(0, &[])), Some(PhysAddr::new(RSDP_AT)));
        let mut damaged = ram(0, &[]);
        damaged.put(RSDP_AT + 9, b"x");
        assert_eq!(search_bios_area(&damaged), None);
    }

    #[test]
    fn the_extended_area_comes_first() {
        const EXTENDED: u64 = 0x9_fc00;
        let first_mib = |place: u64, segment: u16| {
            move |from: PhysAddr, into: &mut [u8]| {
                let mut bytes = vec![0; 0x10_0000];
                bytes[usize::try_from(EBDA_SEGMENT).unwrap()..][..2].copy_from_slice(&segment.to_le_bytes());
                for at in [place, RSDP_AT] {
                    bytes[usize::try_from(at).unwrap()..][..36].copy_from_slice(&rsdp(0));
                }
                let start = usize::try_from(from.get()).unwrap();
                let Some(bytes) = bytes.get(start..start + into.len()) else { return false };
                into.copy_from_slice(bytes);
                true
            }
        };
        let found = |place, segment| search_bios_area(&first_mib(place, segment)).map(PhysAddr::get);
        assert_eq!(found(EXTENDED + 0x3f0, 0x9fc0), Some(EXTENDED + 0x3f0));
        assert_eq!(found(EXTENDED + 0x400, 0x9fc0), Some(RSDP_AT), "behind the first KiB");
        assert_eq!(found(EXTENDED, 0), Some(RSDP_AT), "no extended area");
    }

    #[test]
    fn fields_outside_a_table_are_refused() {
        let ram = ram(2, &mcfg(&[(0xb000_0000, 0, 0, 255)]));
        let table = tables::find(&ram, PhysAddr::new(RSDP_AT), "MCFG", 0).unwrap().unwrap();
        assert_eq!((table.len_bytes(), table.field(&ram, 56)), (60, Ok([0; 4])));
        for offset in [57, u64::MAX - 3, u64::MAX] {
            assert!(matches!(table.field::<4>(&ram, offset), Err(TableError::BadLength { .. })));
        }
    }

    #[test]
    fn the_dsdt_is_where_the_fadt_has_it() {
        const DSDT_AT: u64 = 0x10_2000;
        // The narrow pointer, then the wide one, in a table of before that and in one with it.
        let found = |narrow: u64, wide: Option<u64>| {
            let mut fadt = vec![0; 16];
            fadt[4..8].copy_from_slice(&u32::try_from(narrow).unwrap().to_le_bytes());
            if let Some(wide) = wide {
                fadt.resize(104, 0);
                fadt.extend(wide.to_le_bytes());
            }
            let mut ram = ram(2, &mcfg(&[]));
            ram.put(0x10_0800, &table(b"FACP", &fadt));
            ram.put(DSDT_AT, &table(b"DSDT", b"declared"));
            let found = tables::find_dsdt(&ram, PhysAddr::new(RSDP_AT))?;
            Ok(found.map(|dsdt| {
                let mut bytes = vec![0; dsdt.len_bytes().try_into().unwrap()];
                assert!(dsdt.read(&ram, &mut [0; 43]).is_err(), "of another length");
                dsdt.read(&ram, &mut bytes).unwrap();
                bytes.split_off(36)
            }))
        };
        let there = Ok(Some(b"declared".to_vec()));
        assert_eq!(found(DSDT_AT, None), there);
        assert_eq!(found(0, Some(DSDT_AT)), there);
        assert_eq!(found(MCFG_AT, Some(DSDT_AT)), there, "the wide one counts");
        assert_eq!(found(DSDT_AT, Some(0)), there);
        assert_eq!(found(0, Some(0)), Ok(None));
        let error = TableError::NotThere { at: PhysAddr::new(MCFG_AT), signature: "DSDT" };
        assert_eq!(found(MCFG_AT, None), Err(error));
    }

    #[test]
    fn a_machine_without_ecam_has_no_entries() {
        let mut ram = ram(0, &[]);
        ram.put(ROOT_AT, &table(b"RSDT", &[]));
        assert_eq!(entries(&ram), Ok(vec![]));
    }

    #[test]
    fn a_pointer_to_nothing_matters_only_without_an_mcfg() {
        let error = entries(&ram(2, b"none")).unwrap_err();
        assert_eq!(error, TableError::Unreadable { at: PhysAddr::new(0), offset: 0 });
    }

    #[test]
    fn a_length_that_lies_is_refused_before_it_is_used() {
        for claimed in [0_u32, 35, 36, 43, 0x1_0001, u32::MAX] {
            let mut lying = mcfg(&[(0xb000_0000, 0, 0, 255)]);
            lying[4..8].copy_from_slice(&claimed.to_le_bytes());
            balance(&mut lying, 9);
            let ram = ram(0, &lying);
            assert_eq!(
                entries(&ram),
                Err(TableError::BadLength {
                    at: PhysAddr::new(MCFG_AT),
                    signature: "MCFG",
                    len_bytes: claimed
                })
            );
            assert!(ram.reads.get() < 100);
        }
    }

    #[test]
    fn an_rsdp_that_lies_about_its_length_is_refused() {
        for claimed in [0_u32, 20, 35, u32::MAX] {
            let mut ram = ram(2, &mcfg(&[]));
            let mut lying = rsdp(2);
            lying[20..24].copy_from_slice(&claimed.to_le_bytes());
            balance(&mut lying, 32);
            ram.put(RSDP_AT, &lying);
            assert!(matches!(entries(&ram), Err(TableError::BadLength { signature: RSDP, .. })));
        }
    }

    #[test]
    fn a_damaged_table_is_refused() {
        for (at, name) in [(RSDP_AT, "RSD PTR "), (ROOT_AT, "XSDT"), (MCFG_AT, "MCFG")] {
            let mut ram = ram(2, &mcfg(&[(0xb000_0000, 0, 0, 255)]));
            ram.put(at + 10, &[0x5a]);
            let error = entries(&ram).unwrap_err();
            assert_eq!(error, TableError::BadChecksum { at: PhysAddr::new(at), signature: name, sum: 0x5a });
        }
    }

    #[test]
    fn what_is_cut_off_is_left_out() {
        let mut body = vec![0; 8 + 16 + 15];
        body[8 + 11] = 7;
        let found = entries(&ram(0, &table(b"MCFG", &body))).unwrap();
        assert_eq!(found, [EcamEntry { base: PhysAddr::new(0), segment: 0, buses: 0..=7 }]);
    }

    proptest! {
        /// Arbitrary bytes in place of any table, checksums right or wrong.
        #[test]
        fn arbitrary_tables_are_survived(
            bytes in prop::collection::vec(any::<u8>(), 36..200),
            which in 0..3_usize,
            keep in 0..40_usize,
            balanced: bool,
        ) {
            let mut ram = ram(2, &mcfg(&[(0xb000_0000, 0, 0, 255)]));
            let (at, checksum_at) = [(RSDP_AT, 32), (ROOT_AT, 9), (MCFG_AT, 9)][which];
            let offset = usize::try_from(at - BIOS_AREA.start).unwrap();
            let mut table = bytes;
            let kept = keep.min(table.len());
            table[..kept].copy_from_slice(&ram.bytes[offset..offset + kept]);
            if balanced {
                balance(&mut table, checksum_at);
            }
            ram.put(at, &table);
            let _ = entries(&ram);
            let _ = search_bios_area(&ram);
            assert!(ram.reads.get() < 50_000);
        }
    }
}
