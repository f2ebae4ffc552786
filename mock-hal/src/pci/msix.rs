//! MSI-X: the table and the pending bits, as a device has them in a BAR.

use std::ops::Range;

use paravane_hal::irq::MsiMessage;

use crate::message;
use crate::registers::Width;

/// Bit 0 of Vector Control.
const MASKED: u32 = 1;

/// The part of a function's BARs that it answers by itself.
#[derive(Clone, Debug)]
pub(super) struct MsixTable {
    /// Where the capability is.
    pub(super) at: usize,
    table_bar: u8,
    table_bytes: Range<usize>,
    pba_bar: u8,
    pba_bytes: Range<usize>,
    /// Address low, address high, data, control.
    entries: Vec<[u32; 4]>,
    pending: Vec<bool>,
}

impl MsixTable {
    /// `table` and `pba` as the capability has them: offset and BAR in one word.
    pub(super) fn new(at: usize, entries: u16, table: u32, pba: u32) -> Self {
        let entries = usize::from(entries);
        let place = |word: u32, len_bytes: usize| {
            let start = (word & !7) as usize;
            ((word & 7) as u8, start..start + len_bytes)
        };
        let (table_bar, table_bytes) = place(table, entries * 16);
        let (pba_bar, pba_bytes) = place(pba, entries.div_ceil(64) * 8);
        Self {
            at,
            table_bar,
            table_bytes,
            pba_bar,
            pba_bytes,
            entries: vec![[0, 0, 0, MASKED]; entries],
            pending: vec![false; entries],
        }
    }

    /// As after power-on.
    pub(super) fn forget(&mut self) {
        self.entries.fill([0, 0, 0, MASKED]);
        self.pending.fill(false);
    }

    /// What is at a place of a BAR, when that is the table or the pending bits. Both are made of
    /// 32-bit words.
    pub(super) fn read(&self, bar: u8, offset_bytes: usize, width: Width) -> Option<u32> {
        let is_word = width == Width::Word;
        if bar == self.table_bar && self.table_bytes.contains(&offset_bytes) {
            let word = (offset_bytes - self.table_bytes.start) / 4;
            return Some(if is_word { self.entries[word / 4][word % 4] } else { u32::MAX });
        }
        if bar == self.pba_bar && self.pba_bytes.contains(&offset_bytes) {
            let first = (offset_bytes - self.pba_bytes.start) * 8;
            let bits = self.pending.iter().skip(first).take(32).enumerate();
            return Some(bits.fold(0, |word, (bit, pending)| word | u32::from(*pending) << bit));
        }
        None
    }

    /// Whether a write went to the table or the pending bits.
    pub(super) fn write(&mut self, bar: u8, offset_bytes: usize, width: Width, value: u32) -> bool {
        if bar == self.table_bar && self.table_bytes.contains(&offset_bytes) {
            let word = (offset_bytes - self.table_bytes.start) / 4;
            if width == Width::Word {
                self.entries[word / 4][word % 4] = value;
            }
            return true;
        }
        bar == self.pba_bar && self.pba_bytes.contains(&offset_bytes)
    }

    /// Asks for an interrupt: pending until it may be sent.
    pub(super) fn raise(&mut self, vector: u16) {
        if let Some(pending) = self.pending.get_mut(usize::from(vector)) {
            *pending = true;
        }
    }

    /// Messages that may be sent now, given Message Control.
    pub(super) fn due(&mut self, control: u16) -> Vec<MsiMessage> {
        if control & 0xc000 != 0x8000 {
            return Vec::new();
        }
        let both = self.entries.iter().zip(&mut self.pending);
        both.filter(|([.., control], pending)| **pending && control & MASKED == 0)
            .map(|([low, high, data, _], pending)| {
                *pending = false;
                message(u64::from(*high) << 32 | u64::from(*low), *data)
            })
            .collect()
    }
}
