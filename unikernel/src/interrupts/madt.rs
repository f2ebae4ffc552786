//! How lines are wired to I/O APICs, from ACPI's MADT.
//!
//! Firmware's words: each length is looked at, and what makes no sense ends the table.
//!
//! Spec: ACPI 6.5, 5.2.12 "Multiple APIC Description Table (MADT)", 5.2.12.3 "I/O APIC Structure",
//! 5.2.12.5 "Interrupt Source Override Structure".

use paravane_hal::addr::PhysAddr;
use paravane_hal_x86_64::ioapic::USUAL_ADDRESS;
use paravane_pci::tables::{self, FirmwareMemory, TableError};

/// How many I/O APICs are used.
pub const MAX_IO_APICS: usize = 4;
/// The lines of old that firmware may wire elsewhere.
const OLD_LINES: usize = 16;

/// Where entries begin.
const ENTRIES: u32 = 44;
const IO_APIC: u8 = 1;
const IO_APIC_BYTES: u8 = 12;
const OVERRIDE: u8 = 2;
const OVERRIDE_BYTES: u8 = 10;
/// The polarity in an override's flags: both bits for active low.
const ACTIVE_LOW: u16 = 3;

/// Which line goes where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wiring {
    /// Where each is, and its first line.
    io_apics: [Option<(PhysAddr, u32)>; MAX_IO_APICS],
    /// Where a line of old comes in, and whether it is active low, if not as usual.
    moved: [Option<(u32, bool)>; OLD_LINES],
}

impl Wiring {
    /// One I/O APIC, at the usual place, and each line on the pin of its number.
    pub const USUAL: Self = Self {
        io_apics: [Some((PhysAddr::new(USUAL_ADDRESS), 0)), None, None, None],
        moved: [None; OLD_LINES],
    };

    /// What the tables from `rsdp` on say; the usual where they say nothing.
    ///
    /// # Errors
    ///
    /// [`TableError`]: a table is damaged or cannot be read.
    pub fn read(memory: &impl FirmwareMemory, rsdp: PhysAddr) -> Result<Self, TableError> {
        let Some(madt) = tables::find(memory, rsdp, "APIC", ENTRIES)? else { return Ok(Self::USUAL) };
        let mut wiring = Self { io_apics: [None; MAX_IO_APICS], ..Self::USUAL };
        let mut found = 0;
        let mut at = u64::from(ENTRIES);
        while at + 2 <= u64::from(madt.len_bytes()) {
            let [kind, len_bytes] = madt.field(memory, at)?;
            match kind {
                IO_APIC if len_bytes >= IO_APIC_BYTES => {
                    let address = u32::from_le_bytes(madt.field(memory, at + 4)?);
                    let first_line = u32::from_le_bytes(madt.field(memory, at + 8)?);
                    if let Some(place) = wiring.io_apics.get_mut(found) {
                        *place = Some((PhysAddr::new(address.into()), first_line));
                        found += 1;
                    }
                }
                OVERRIDE if len_bytes >= OVERRIDE_BYTES => {
                    let [line] = madt.field(memory, at + 3)?;
                    let input = u32::from_le_bytes(madt.field(memory, at + 4)?);
                    let flags = u16::from_le_bytes(madt.field(memory, at + 8)?);
                    if let Some(place) = wiring.moved.get_mut(usize::from(line)) {
                        *place = Some((input, flags & ACTIVE_LOW == ACTIVE_LOW));
                    }
                }
                // An entry shorter than its own head: nobody knows where the next one is.
                _ if len_bytes < 2 => break,
                _ => {}
            }
            at += u64::from(len_bytes);
        }
        Ok(if found == 0 { Self::USUAL } else { wiring })
    }

    /// Where the I/O APICs are, and the first line of each.
    pub fn io_apics(&self) -> impl Iterator<Item = (PhysAddr, u32)> + '_ {
        self.io_apics.iter().flatten().copied()
    }

    /// Where `line` comes in, counted over all I/O APICs, and whether it is active low.
    #[must_use]
    pub fn input_of(&self, line: u8) -> (u32, bool) {
        self.moved.get(usize::from(line)).copied().flatten().unwrap_or((line.into(), false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RSDP_AT: u64 = 0xf_0000;
    const ROOT_AT: u64 = 0xf_0100;
    const MADT_AT: u64 = 0xf_0200;

    fn balance(bytes: &mut [u8], checksum_at: usize) {
        bytes[checksum_at] = 0;
        bytes[checksum_at] = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg();
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

    /// What the tables with these entries say.
    fn read(entries: &[u8]) -> Result<Wiring, TableError> {
        let mut memory = vec![0; 0x2000];
        let mut put = |at: u64, bytes: &[u8]| {
            let start = usize::try_from(at - RSDP_AT).unwrap();
            memory[start..start + bytes.len()].copy_from_slice(bytes);
        };
        let mut rsdp = b"RSD PTR \0\0\0\0\0\0\0\0".to_vec();
        rsdp.extend(u32::try_from(ROOT_AT).unwrap().to_le_bytes());
        balance(&mut rsdp, 8);
        put(RSDP_AT, &rsdp);
        put(ROOT_AT, &table(b"RSDT", &u32::try_from(MADT_AT).unwrap().to_le_bytes()));
        put(MADT_AT, &table(b"APIC", &[&[0; 8], entries].concat()));
        let readable = |from: PhysAddr, into: &mut [u8]| {
            let start = from.get().checked_sub(RSDP_AT).and_then(|start| usize::try_from(start).ok());
            let bytes = start.and_then(|start| memory.get(start..start.checked_add(into.len())?));
            bytes.is_some_and(|bytes| {
                into.copy_from_slice(bytes);
                true
            })
        };
        Wiring::read(&readable, PhysAddr::new(RSDP_AT))
    }

    fn io_apic(address: u32, first_line: u32) -> Vec<u8> {
        [&[1, 12, 0, 0][..], &address.to_le_bytes(), &first_line.to_le_bytes()].concat()
    }

    fn moved(line: u8, input: u32, flags: u16) -> Vec<u8> {
        [&[2, 10, 0, line][..], &input.to_le_bytes(), &flags.to_le_bytes()].concat()
    }

    #[test]
    fn microvm_has_two() {
        let local = [0, 8, 0, 0, 1, 0, 0, 0];
        let wiring = read(
            &[&local[..], &io_apic(0xfec0_0000, 0), &moved(0, 2, 0), &io_apic(0xfec1_0000, 24)].concat(),
        )
        .unwrap();
        let places: Vec<_> = wiring.io_apics().map(|(at, first)| (at.get(), first)).collect();
        assert_eq!(places, [(0xfec0_0000, 0), (0xfec1_0000, 24)]);
        assert_eq!((wiring.input_of(0), wiring.input_of(5)), ((2, false), (5, false)));
    }

    #[test]
    fn an_override_may_turn_a_line_around() {
        let wiring = read(&[io_apic(0xfec0_0000, 0), moved(9, 20, 0xf), moved(200, 1, 0)].concat()).unwrap();
        assert_eq!(wiring.input_of(9), (20, true));
        assert_eq!(wiring.input_of(200), (200, false), "no line of old");
    }

    #[test]
    fn the_usual_where_nothing_is_said() {
        assert_eq!(read(&moved(9, 9, 0xf)), Ok(Wiring::USUAL));
        assert_eq!(read(&[]), Ok(Wiring::USUAL));
    }

    #[test]
    fn an_entry_without_a_length_ends_the_table() {
        let wiring = read(&[io_apic(0xfec0_0000, 0), vec![9, 1], io_apic(0xfec1_0000, 24)].concat()).unwrap();
        assert_eq!(wiring.io_apics().count(), 1);
        let more: Vec<u8> = (0..9).flat_map(|index| io_apic(0xfec0_0000 + (index << 12), index)).collect();
        assert_eq!(read(&more).unwrap().io_apics().count(), MAX_IO_APICS);
    }

    proptest! {
        /// Any entries: an answer, or an error; no end is run over.
        #[test]
        fn arbitrary_entries_are_survived(entries in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(wiring) = read(&entries) {
                prop_assert!((1..=MAX_IO_APICS).contains(&wiring.io_apics().count()));
                for line in 0..=u8::MAX {
                    let _ = wiring.input_of(line);
                }
            }
        }
    }
}
