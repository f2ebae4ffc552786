//! Where ECAM is, from the firmware's tables: RSDP, then RSDT or XSDT, then MCFG.
//!
//! The layouts are those of the `acpi` crate. Its readers are not used: they take the lengths in
//! the tables on trust, and panic or read for gigabytes on tables that lie. Here each table's
//! length and checksum are looked at before anything it says is.
//!
//! Nothing is mapped and nothing is borrowed: the platform copies bytes out, so a test needs an
//! array, and a table that changes meanwhile gives a wrong entry at worst.
//!
//! Spec: ACPI 6.5, 5.2.5 "Root System Description Pointer (RSDP)", 5.2.7 "Root System Description
//! Table (RSDT)", 5.2.8 "Extended System Description Table (XSDT)"; PCI Firmware 3.3, 4.1.2 "MCFG
//! Table Description".

use core::{fmt, mem::offset_of};

use acpi::mcfg::{Mcfg, McfgEntry};
use acpi::rsdp::Rsdp;
use acpi::sdt::SdtHeader;
use paravane_hal::addr::PhysAddr;

use crate::EcamEntry;

/// What an RSDP of ACPI 1.0 has: everything up to the address of the RSDT.
const RSDP_V1_BYTES: u32 = 20;
const RSDP_BYTES: u32 = 36;
const HEADER_BYTES: u32 = 36;
const MCFG_BYTES: u32 = 44;
const ENTRY_BYTES: u32 = 16;
const _: () = assert!(
    size_of::<Rsdp>() == RSDP_BYTES as usize
        && size_of::<SdtHeader>() == HEADER_BYTES as usize
        && size_of::<Mcfg>() == MCFG_BYTES as usize
        && size_of::<McfgEntry>() == ENTRY_BYTES as usize
);

const RSDP: &str = "RSD PTR ";
const RSDP_REVISION: u64 = 15;
const RSDP_RSDT: u64 = 16;
const RSDP_LENGTH: u64 = 20;
const RSDP_XSDT: u64 = 24;

/// Longer tables are not believed: 64 KiB hold four thousand ECAM regions, or eight thousand
/// pointers.
const MAX_TABLE_BYTES: u32 = 64 << 10;

/// Where a BIOS leaves the RSDP, at a multiple of 16.
///
/// Spec: ACPI 6.5, 5.2.5.1 "Finding the RSDP on IA-PC Systems".
const BIOS_AREA: core::ops::Range<u64> = 0xe_0000..0x10_0000;

/// Physical memory that firmware wrote tables to. A closure of that shape is one.
pub trait FirmwareMemory {
    /// Copies what is at `from` to `into`. Whether all of it could be read; if not, `into` holds
    /// anything.
    fn read(&self, from: PhysAddr, into: &mut [u8]) -> bool;
}

impl<F: Fn(PhysAddr, &mut [u8]) -> bool> FirmwareMemory for F {
    fn read(&self, from: PhysAddr, into: &mut [u8]) -> bool {
        self(from, into)
    }
}

/// Reports the ECAM regions that the tables from `rsdp` on describe. How many; a machine without an
/// MCFG table has none.
///
/// An entry whose bus range is empty is reported like the others: [`EcamEntry::map`] refuses it
/// with a reason.
///
/// # Errors
///
/// [`McfgError`]: a table on the way is damaged or cannot be read.
pub fn ecam_entries(
    memory: &impl FirmwareMemory,
    rsdp: PhysAddr,
    visit: &mut dyn FnMut(EcamEntry),
) -> Result<usize, McfgError> {
    let Some(at) = find_mcfg(memory, &find_root(memory, rsdp)?)? else { return Ok(0) };
    let mcfg = Table::check(memory, at, "MCFG", MCFG_BYTES)?;
    let mut found = 0_usize;
    for start in mcfg.places(MCFG_BYTES, ENTRY_BYTES) {
        visit(read_entry(memory, mcfg.at, start)?);
        found = found.saturating_add(1);
    }
    Ok(found)
}

/// Looks for the RSDP where a BIOS leaves it, for a kernel whose loader did not say.
pub fn search_bios_area(memory: &impl FirmwareMemory) -> Option<PhysAddr> {
    BIOS_AREA.step_by(16).map(PhysAddr::new).find(|&at| {
        let signature = field::<8>(memory, at, 0);
        signature.is_ok_and(|signature| signature == RSDP.as_bytes())
            && check_sum(memory, at, RSDP, RSDP_V1_BYTES).is_ok()
    })
}

/// The RSDT or XSDT that the RSDP at `at` leads to.
fn find_root(memory: &impl FirmwareMemory, at: PhysAddr) -> Result<Table, McfgError> {
    if field::<8>(memory, at, 0)? != RSDP.as_bytes() {
        return Err(McfgError::NotThere { at, signature: RSDP });
    }
    check_sum(memory, at, RSDP, RSDP_V1_BYTES)?;
    let [revision] = field(memory, at, RSDP_REVISION)?;
    if revision >= 2 {
        let len_bytes = u32::from_le_bytes(field(memory, at, RSDP_LENGTH)?);
        if !(RSDP_BYTES..=MAX_TABLE_BYTES).contains(&len_bytes) {
            return Err(McfgError::BadLength { at, signature: RSDP, len_bytes });
        }
        check_sum(memory, at, RSDP, len_bytes)?;
        let xsdt = u64::from_le_bytes(field(memory, at, RSDP_XSDT)?);
        if xsdt != 0 {
            return Table::check(memory, PhysAddr::new(xsdt), "XSDT", HEADER_BYTES);
        }
    }
    let rsdt = u32::from_le_bytes(field(memory, at, RSDP_RSDT)?);
    Table::check(memory, PhysAddr::new(rsdt.into()), "RSDT", HEADER_BYTES)
}

/// The first MCFG that `root` points to; there is one at most.
fn find_mcfg(memory: &impl FirmwareMemory, root: &Table) -> Result<Option<PhysAddr>, McfgError> {
    let wide = root.signature == "XSDT";
    let mut unreadable = None;
    for start in root.places(HEADER_BYTES, if wide { 8 } else { 4 }) {
        let pointer = if wide {
            u64::from_le_bytes(field(memory, root.at, start)?)
        } else {
            u32::from_le_bytes(field(memory, root.at, start)?).into()
        };
        match field::<4>(memory, PhysAddr::new(pointer), 0) {
            Ok(signature) if &signature == b"MCFG" => return Ok(Some(PhysAddr::new(pointer))),
            Ok(_) => {}
            // Some firmware leaves a pointer to nothing. That matters only if there is no MCFG
            // elsewhere.
            Err(error) => unreadable = unreadable.or(Some(error)),
        }
    }
    unreadable.map_or(Ok(None), Err)
}

fn read_entry(memory: &impl FirmwareMemory, at: PhysAddr, start: u64) -> Result<EcamEntry, McfgError> {
    let within = |offset: usize| start.saturating_add(offset as u64);
    let base = field(memory, at, within(offset_of!(McfgEntry, base_address)))?;
    let segment = field(memory, at, within(offset_of!(McfgEntry, pci_segment_group)))?;
    let [first_bus] = field(memory, at, within(offset_of!(McfgEntry, bus_number_start)))?;
    let [last_bus] = field(memory, at, within(offset_of!(McfgEntry, bus_number_end)))?;
    Ok(EcamEntry {
        // Of bus 0, also when the range starts later. Spec: PCI Firmware 3.3, table 4-3.
        base: PhysAddr::new(u64::from_le_bytes(base)),
        segment: u16::from_le_bytes(segment),
        buses: first_bus..=last_bus,
    })
}

/// A table that was checked: it is what it should be, its length makes sense, and its bytes add up.
struct Table {
    at: PhysAddr,
    signature: &'static str,
    len_bytes: u32,
}

impl Table {
    fn check(
        memory: &impl FirmwareMemory,
        at: PhysAddr,
        signature: &'static str,
        min_bytes: u32,
    ) -> Result<Self, McfgError> {
        if field::<4>(memory, at, offset_of!(SdtHeader, signature) as u64)? != signature.as_bytes() {
            return Err(McfgError::NotThere { at, signature });
        }
        let len_bytes = u32::from_le_bytes(field(memory, at, offset_of!(SdtHeader, length) as u64)?);
        if !(min_bytes..=MAX_TABLE_BYTES).contains(&len_bytes) {
            return Err(McfgError::BadLength { at, signature, len_bytes });
        }
        check_sum(memory, at, signature, len_bytes)?;
        Ok(Self { at, signature, len_bytes })
    }

    /// Where the things of `each_bytes` start that follow the first `header_bytes`; a last one that
    /// is cut off is left out.
    fn places(&self, header_bytes: u32, each_bytes: u32) -> impl Iterator<Item = u64> + use<> {
        let count = self.len_bytes.saturating_sub(header_bytes).checked_div(each_bytes).unwrap_or(0);
        (0..u64::from(count)).map(move |index| {
            u64::from(header_bytes).saturating_add(index.saturating_mul(u64::from(each_bytes)))
        })
    }
}

/// The `N` bytes that are `offset` into what is at `at`.
fn field<const N: usize>(
    memory: &impl FirmwareMemory,
    at: PhysAddr,
    offset: u64,
) -> Result<[u8; N], McfgError> {
    let mut bytes = [0; N];
    let readable = at.checked_add(offset).is_some_and(|from| memory.read(from, &mut bytes));
    if readable { Ok(bytes) } else { Err(McfgError::Unreadable { at, offset }) }
}

/// Checks that the `len_bytes` from `at` on add up to 0.
fn check_sum(
    memory: &impl FirmwareMemory,
    at: PhysAddr,
    signature: &'static str,
    len_bytes: u32,
) -> Result<(), McfgError> {
    const CHUNK: u32 = 32;
    let mut sum = 0_u8;
    let mut start = 0;
    while start < len_bytes {
        let mut chunk = [0; CHUNK as usize];
        let left = len_bytes.saturating_sub(start).min(CHUNK);
        // What lies beyond the end may not be readable, so the last chunk is read as short as it
        // is.
        let (used, _) = chunk.split_at_mut_checked(left as usize).unwrap_or_default();
        let from = at.checked_add(start.into());
        if !from.is_some_and(|from| memory.read(from, used)) {
            return Err(McfgError::Unreadable { at, offset: start.into() });
        }
        sum = used.iter().fold(sum, |sum, byte| sum.wrapping_add(*byte));
        start = start.saturating_add(CHUNK);
    }
    if sum == 0 { Ok(()) } else { Err(McfgError::BadChecksum { at, signature, sum }) }
}

/// The firmware's tables cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum McfgError {
    /// The platform could not read there.
    Unreadable {
        /// Where the table starts.
        at: PhysAddr,
        /// How far into it.
        offset: u64,
    },
    /// Something else is there.
    NotThere {
        /// Where.
        at: PhysAddr,
        /// What was expected.
        signature: &'static str,
    },
    /// The table is shorter than its own fields, or longer than is believable.
    BadLength {
        /// Where it starts.
        at: PhysAddr,
        /// Which it is.
        signature: &'static str,
        /// What it says.
        len_bytes: u32,
    },
    /// The table's bytes do not add up to 0.
    BadChecksum {
        /// Where it starts.
        at: PhysAddr,
        /// Which it is.
        signature: &'static str,
        /// What they add up to.
        sum: u8,
    },
}

impl fmt::Display for McfgError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { at, offset } => {
                write!(f, "ACPI table at {:#x} cannot be read {offset} bytes in", at.get())
            }
            Self::NotThere { at, signature } => write!(f, "no ACPI table {signature:?} at {:#x}", at.get()),
            Self::BadLength { at, signature, len_bytes } => {
                write!(f, "ACPI table {signature:?} at {:#x} claims {len_bytes} bytes", at.get())
            }
            Self::BadChecksum { at, signature, sum } => {
                write!(
                    f,
                    "ACPI table {signature:?} at {:#x} is damaged, its bytes add up to {sum:#04x}, expected 0",
                    at.get()
                )
            }
        }
    }
}

impl core::error::Error for McfgError {}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;

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

    fn entries(ram: &Ram) -> Result<Vec<EcamEntry>, McfgError> {
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
    fn a_machine_without_ecam_has_no_entries() {
        let mut ram = ram(0, &[]);
        ram.put(ROOT_AT, &table(b"RSDT", &[]));
        assert_eq!(entries(&ram), Ok(vec![]));
    }

    #[test]
    fn a_pointer_to_nothing_matters_only_without_an_mcfg() {
        let error = entries(&ram(2, b"none")).unwrap_err();
        assert_eq!(error, McfgError::Unreadable { at: PhysAddr::new(0), offset: 0 });
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
                Err(McfgError::BadLength {
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
            assert!(matches!(entries(&ram), Err(McfgError::BadLength { signature: RSDP, .. })));
        }
    }

    #[test]
    fn a_damaged_table_is_refused() {
        for (at, name) in [(RSDP_AT, "RSD PTR "), (ROOT_AT, "XSDT"), (MCFG_AT, "MCFG")] {
            let mut ram = ram(2, &mcfg(&[(0xb000_0000, 0, 0, 255)]));
            ram.put(at + 10, &[0x5a]);
            let error = entries(&ram).unwrap_err();
            assert_eq!(error, McfgError::BadChecksum { at: PhysAddr::new(at), signature: name, sum: 0x5a });
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
