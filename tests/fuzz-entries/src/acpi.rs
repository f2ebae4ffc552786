//! Firmware's tables. They are whole and true at first, the bytes change them, and then most
//! checksums are made right again: noise as such would end at the first of them.

use std::cell::Cell;

use paravane_hal::addr::PhysAddr;
use paravane_pci::EcamEntry;
use paravane_pci::mcfg::ecam_entries;
use paravane_pci::tables::{TableError, search_bios_area};

use crate::input::Input;

/// Where a BIOS leaves its tables.
const START: u64 = 0xe_0000;
/// More than the longest table that is believed.
const BYTES: usize = 72 << 10;
/// Changes fall into what the tables take of it.
const USED_BYTES: u16 = 0x180;

const RSDP: usize = 0;
const ROOT: usize = 0x40;
const OTHER: usize = 0x80;
const MCFG: usize = 0xc0;

/// No walk needs more: three tables of 64 KiB in pieces of 32 bytes, and 16,000 pointers or 4,000
/// entries of four fields.
const MOST_READS: u32 = 40_000;

struct Firmware {
    bytes: Vec<u8>,
    /// What the tables say, unless they were changed.
    entries: Option<Vec<EcamEntry>>,
    reads: Cell<u32>,
}

impl Firmware {
    fn new(input: &mut Input<'_>) -> Self {
        let mut this = Self { bytes: vec![0; BYTES], entries: None, reads: Cell::new(0) };
        let revision = input.pick([0, 2]);
        this.put(RSDP, b"RSD PTR ");
        this.put(RSDP + 15, &[revision]);
        this.put(RSDP + 20, &36_u32.to_le_bytes());
        let root = START + ROOT as u64;
        let pointers = [0, START + OTHER as u64, START + MCFG as u64];
        if revision < 2 {
            this.put(RSDP + 16, &root.to_le_bytes()[..4]);
            let body: Vec<u8> = pointers.iter().flat_map(|at| at.to_le_bytes()[..4].to_vec()).collect();
            this.put_table(ROOT, b"RSDT", &body);
        } else {
            this.put(RSDP + 24, &root.to_le_bytes());
            this.put_table(ROOT, b"XSDT", &pointers.map(u64::to_le_bytes).concat());
        }
        this.put_table(OTHER, b"FACP", &[0; 16]);
        let entries: Vec<EcamEntry> = (0..input.byte() % 8).map(|_| entry(input)).collect();
        let body: Vec<u8> = entries.iter().flat_map(body_of).collect();
        this.put_table(MCFG, b"MCFG", &[&[0; 8], &body[..]].concat());

        let changes = input.byte() % 8;
        // A sum that is wrong ends everything, so most are right.
        let damaged = input.byte().saturating_sub(0xf0);
        for _ in 0..changes {
            let at = usize::from(input.half() % USED_BYTES);
            this.put(at, &[input.byte()]);
        }
        // In order: the second sum of an RSDP covers the first.
        let sums = [(RSDP, 20, 8), (RSDP, this.len_at(RSDP + 20), 32)]
            .into_iter()
            .chain([ROOT, MCFG].map(|at| (at, this.len_at(at + 4), 9)));
        for (bit, (at, len_bytes, sum_at)) in sums.enumerate().collect::<Vec<_>>() {
            if damaged >> bit & 1 == 0 {
                this.balance(at, len_bytes, at + sum_at);
            }
        }
        this.entries = (changes == 0 && damaged == 0).then_some(entries);
        this
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn put_table(&mut self, at: usize, signature: &[u8; 4], body: &[u8]) {
        self.put(at, signature);
        self.put(at + 4, &u32::try_from(36 + body.len()).unwrap().to_le_bytes());
        self.put(at + 36, body);
    }

    fn len_at(&self, at: usize) -> usize {
        u32::from_le_bytes(std::array::from_fn(|i| self.bytes[at + i])) as usize
    }

    /// Makes the table at `at` add up to 0, as far as it lies in memory.
    fn balance(&mut self, at: usize, len_bytes: usize, sum_at: usize) {
        let Some(table) = self.bytes.get(at..at.saturating_add(len_bytes)) else { return };
        let sum = table.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        self.bytes[sum_at] = self.bytes[sum_at].wrapping_sub(sum);
    }

    fn read(&self, from: PhysAddr, into: &mut [u8]) -> bool {
        self.reads.set(self.reads.get() + 1);
        let start = from.get().checked_sub(START).and_then(|at| usize::try_from(at).ok());
        let found = start.and_then(|at| self.bytes.get(at..at.checked_add(into.len())?));
        found.is_some_and(|found| {
            into.copy_from_slice(found);
            true
        })
    }

    /// What the walk makes of it.
    fn walk(&self) -> Result<Vec<EcamEntry>, TableError> {
        let mut found = Vec::new();
        let read = |from: PhysAddr, into: &mut [u8]| self.read(from, into);
        let count = ecam_entries(&read, PhysAddr::new(START), &mut |entry| found.push(entry));
        assert!(self.reads.get() <= MOST_READS, "{} reads", self.reads.get());
        assert!(count.is_err() || count == Ok(found.len()), "{count:?} is not {}", found.len());
        count.map(|_| found)
    }
}

fn entry(input: &mut Input<'_>) -> EcamEntry {
    let base = PhysAddr::new(u64::from_le_bytes(input.array()));
    let segment = input.half();
    let [first, last] = input.array();
    EcamEntry { base, segment, buses: first..=last }
}

fn body_of(entry: &EcamEntry) -> Vec<u8> {
    let buses = [*entry.buses.start(), *entry.buses.end()];
    [&entry.base.get().to_le_bytes()[..], &entry.segment.to_le_bytes(), &buses, &[0; 4]].concat()
}

/// The bytes are what the tables say, and what is wrong with them.
pub fn acpi(bytes: &[u8]) {
    let firmware = Firmware::new(&mut Input::new(bytes));
    let found = firmware.walk();
    if let Some(entries) = &firmware.entries {
        assert_eq!(found.as_ref(), Ok(entries), "tables that are whole are read as they are");
    }
    for entry in found.unwrap_or_default() {
        if let Some((start, len_bytes)) = entry.region() {
            assert!(start.checked_add(len_bytes).is_some() && len_bytes > 0);
        }
    }
    let _ = search_bios_area(&|from: PhysAddr, into: &mut [u8]| firmware.read(from, into));
    crate::power::power(bytes);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use paravane_mock_hal::fault::Seeded;

    /// Noise comes to every end that a walk has.
    #[test]
    fn noise_gets_past_the_checksums() {
        let mut ends = BTreeMap::new();
        for seed in 0..1000 {
            let mut chance = Seeded::new(seed);
            let mut bytes: Vec<u8> = (0..160).map(|_| chance.below(256).to_le_bytes()[0]).collect();
            // Few entries, so that the rest is changes; few of those, so that one of them decides.
            bytes[1] %= 3;
            let end = match Firmware::new(&mut Input::new(&bytes)).walk() {
                Ok(found) if found.is_empty() => "no entries",
                Ok(_) => "entries",
                Err(TableError::Unreadable { .. }) => "unreadable",
                Err(TableError::NotThere { .. }) => "not there",
                Err(TableError::BadLength { .. }) => "bad length",
                Err(TableError::BadChecksum { .. }) => "bad checksum",
                Err(_) => "another",
            };
            *ends.entry(end).or_insert(0) += 1;
        }
        assert!(ends.len() == 6 && ends.values().all(|count| *count > 10), "{ends:?}");
    }
}
