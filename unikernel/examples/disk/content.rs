//! What the disk holds, before and after.

use alloc::vec::Vec;
use core::ops::Range;

use paravane_unikernel::platform::Machine;

use crate::{Outcome, SECTOR};

/// Words of a sector.
const WORDS: u64 = (SECTOR / 8) as u64;

/// What the disk holds.
pub struct Content {
    pattern: u64,
    /// The sectors to be written.
    pub to_write: Range<u64>,
    /// They were written.
    pub is_written: bool,
}

impl Content {
    /// What the command line says.
    pub fn asked(machine: &Machine) -> Outcome<Self> {
        let value = |key| machine.boot.command_line.words().find(|word| word.key == key)?.value;
        let pattern = value("pattern").and_then(|pattern| pattern.parse().ok()).ok_or("no pattern=P")?;
        let ends = value("write").and_then(|range| range.split_once('-'));
        let ends = ends.and_then(|(first, end)| Some((first.parse().ok()?, end.parse().ok()?)));
        let (first, end) = ends.ok_or("no write=FIRST-END")?;
        Ok(Self { pattern, to_write: first..end, is_written: false })
    }

    /// The bytes that a sector holds.
    pub fn sector(&self, sector: u64) -> Vec<u8> {
        let is_new = self.is_written && self.to_write.contains(&sector);
        bytes_of(if is_new { self.pattern + 1 } else { self.pattern }, sector)
    }

    /// The bytes that a sector is to hold once it is written.
    pub fn written(&self, sector: u64) -> Vec<u8> {
        bytes_of(self.pattern + 1, sector)
    }
}

/// Sector `sector` of a pattern.
fn bytes_of(pattern: u64, sector: u64) -> Vec<u8> {
    let word = |index: u64| {
        let mut mixed = pattern.wrapping_add((index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    (sector * WORDS..(sector + 1) * WORDS).flat_map(|index| word(index).to_le_bytes()).collect()
}
