//! Completions as a plan of faults sees them: field by field.

use super::layout::rcd;
use crate::fault::{Field, Fields};

/// A transmit completion, by its fields.
pub(super) struct TxSays {
    pub(super) index: u32,
    pub(super) kind: u32,
    pub(super) generation: u32,
    /// Whose completion ring it goes into, where there are several.
    pub(super) queue: Option<u32>,
}

impl TxSays {
    pub(super) const fn new(index: u32) -> Self {
        Self { index, kind: 0, generation: 0, queue: None }
    }
}

impl Fields for TxSays {
    fn field(&mut self, field: Field) -> Option<&mut u32> {
        match field {
            Field::Index => Some(&mut self.index),
            Field::Kind => Some(&mut self.kind),
            Field::Generation => Some(&mut self.generation),
            Field::Queue => self.queue.as_mut(),
            _ => None,
        }
    }
}

/// A receive completion, by its fields; the other bits as they are.
pub(super) struct RxSays {
    pub(super) index: u32,
    pub(super) queue: u32,
    /// `eop`, `sop`, `err`, from bit 0.
    pub(super) flags: u32,
    pub(super) len_bytes: u32,
    pub(super) kind: u32,
    pub(super) generation: u32,
    /// `rssType`.
    pub(super) hash_type: u32,
    /// `segCnt`, `mss`: of a start of type 4.
    pub(super) segments: u32,
    pub(super) segment_bytes: u32,
}

const WORD0: u32 = 0x3fff_cfff;
const WORD2: u32 = 0x7fff;

impl RxSays {
    pub(super) fn new(words: [u32; 4], kind: u32, generation: bool) -> Self {
        let [word0, word1, word2, word3] = words;
        Self {
            index: word0 & 0xfff,
            queue: word0 >> 16 & 0x3ff,
            flags: word0 >> 14 & 0b11 | (word2 >> 14 & 1) << 2,
            len_bytes: word2 & 0x3fff,
            kind: if is_lro(word3) { rcd::LRO } else { kind },
            generation: generation.into(),
            hash_type: word0 >> 26 & 0xf,
            segments: word1 & 0xff,
            segment_bytes: word3 & 0xffff,
        }
    }

    /// `words` with these fields in place.
    pub(super) fn into_words(self, words: [u32; 4]) -> [u32; 4] {
        let [word0, word1, word2, word3] = words;
        let place = self.index & 0xfff | (self.flags & 0b11) << 14 | (self.queue & 0x3ff) << 16;
        let (word1, word3) = if is_lro(word3) {
            (word1 & !0xff | self.segments & 0xff, word3 & !0xffff | self.segment_bytes & 0xffff)
        } else {
            (word1, word3)
        };
        [
            word0 & !WORD0 | place | (self.hash_type & 0xf) << 26,
            word1,
            word2 & !WORD2 | self.len_bytes & 0x3fff | (self.flags >> 2 & 1) << 14,
            word3 & 0x00ff_ffff | (self.kind & 0x7f) << 24 | self.generation << 31,
        ]
    }
}

impl Fields for RxSays {
    fn field(&mut self, field: Field) -> Option<&mut u32> {
        match field {
            Field::Index => Some(&mut self.index),
            Field::Queue => Some(&mut self.queue),
            Field::Flags => Some(&mut self.flags),
            Field::Length => Some(&mut self.len_bytes),
            Field::Kind => Some(&mut self.kind),
            Field::Generation => Some(&mut self.generation),
            Field::HashType => Some(&mut self.hash_type),
            Field::Segments if self.kind == rcd::LRO => Some(&mut self.segments),
            Field::SegmentBytes if self.kind == rcd::LRO => Some(&mut self.segment_bytes),
            Field::Segments | Field::SegmentBytes | Field::Value => None,
        }
    }
}

/// Whether the words of a completion say that it starts what was put together.
const fn is_lro(word3: u32) -> bool {
    word3 >> rcd::TYPE_SHIFT & 0x7f == rcd::LRO
}
