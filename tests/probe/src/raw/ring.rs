//! Rings, one entry at a time: as slow and as plain as can be.

use alloc::vec::Vec;

use paravane_hal::dma::{DeviceDma, DmaError, Quiet};
use paravane_hal::{Platform, barrier};

use super::block::Block;

/// Entries of a command ring: a multiple of 32 and a power of two, as every revision takes it.
pub(crate) const ENTRIES: u32 = 64;
/// Of each buffer.
pub(crate) const BUFFER_BYTES: u32 = 2048;
const ENTRY_BYTES: usize = 16;

/// A place in a ring, and which lap it is in.
#[derive(Clone, Copy)]
struct Place {
    index: u32,
    entries: u32,
    generation: bool,
}

impl Place {
    const fn start(entries: u32) -> Self {
        Self { index: 0, entries, generation: true }
    }

    fn advance(&mut self) {
        self.index = self.index.wrapping_add(1);
        if self.index >= self.entries {
            self.index = 0;
            self.generation = !self.generation;
        }
    }

    fn at(self, word: usize) -> usize {
        entry(self.index, word)
    }
}

fn entry(index: u32, word: usize) -> usize {
    (index as usize).wrapping_mul(ENTRY_BYTES).wrapping_add(word.wrapping_mul(4))
}

fn buffer(index: u32) -> usize {
    (index as usize).wrapping_mul(BUFFER_BYTES as usize)
}

/// A completion ring.
pub(crate) struct Completions<P: Platform> {
    pub(crate) ring: Block<P>,
    place: Place,
}

impl<P: Platform> Completions<P> {
    fn new(of: &DeviceDma<P>, entries: u32) -> Result<Self, DmaError> {
        Ok(Self { ring: Block::new(of, entry(entries, 0))?, place: Place::start(entries) })
    }

    /// How many there is room for.
    pub(crate) fn entries(&self) -> u32 {
        self.place.entries
    }

    /// The next, if it is there.
    pub(crate) fn next(&mut self) -> Option<[u32; 4]> {
        let last = self.ring.get32(self.place.at(3));
        if (last >> 31 != 0) != self.place.generation {
            return None;
        }
        barrier::acquire();
        let words = [0, 1, 2].map(|word| self.ring.get32(self.place.at(word)));
        self.place.advance();
        Some([words[0], words[1], words[2], last])
    }
}

/// What a transmit descriptor says beside where bytes are.
#[derive(Clone, Copy)]
pub(crate) struct Offload {
    pub(crate) om: u32,
    pub(crate) hlen: u32,
    pub(crate) msscof: u32,
    pub(crate) tag: Option<u16>,
    /// Is about the frame in a tunnel, from revision 7 on.
    pub(crate) ext1: bool,
    /// Asks for no completion.
    pub(crate) quiet: bool,
}

impl Offload {
    pub(crate) const NONE: Self = Self { om: 0, hlen: 0, msscof: 0, tag: None, ext1: false, quiet: false };

    /// A checksum, or segments.
    pub(crate) fn of(om: u32, hlen: usize, msscof: usize) -> Self {
        let [hlen, msscof] = [hlen, msscof].map(|number| u32::try_from(number).unwrap_or(0));
        Self { om, hlen, msscof, ..Self::NONE }
    }
}

/// A transmit queue.
pub(crate) struct TxRing<P: Platform> {
    pub(crate) ring: Block<P>,
    buffers: Block<P>,
    pub(crate) completions: Completions<P>,
    fill: Place,
    /// Of one buffer to the next.
    slot_bytes: u32,
}

impl<P: Platform> TxRing<P> {
    pub(crate) fn new(of: &DeviceDma<P>) -> Result<Self, DmaError> {
        Ok(Self {
            ring: Block::new(of, entry(ENTRIES, 0))?,
            buffers: Block::new(of, buffer(ENTRIES))?,
            completions: Completions::new(of, ENTRIES)?,
            fill: Place::start(ENTRIES),
            slot_bytes: BUFFER_BYTES,
        })
    }

    /// Where the next frame starts: what the doorbell says.
    pub(crate) fn next(&self) -> u32 {
        self.fill.index
    }

    /// From here on, buffers are slots of `slot_bytes`; where the first is.
    pub(crate) fn slots(&mut self, slot_bytes: u32) -> u64 {
        self.slot_bytes = slot_bytes;
        self.buffers.address(0)
    }

    /// Puts a frame there, a descriptor a piece; the index of the last. Its first descriptor is
    /// handed over last.
    pub(crate) fn push(&mut self, pieces: &[&[u8]], offload: &Offload) -> u32 {
        let first = self.fill;
        let mut first_word = 0;
        let mut last = first.index;
        for (number, piece) in pieces.iter().enumerate() {
            let Place { index, generation, .. } = self.fill;
            last = index;
            let buffer = (index as usize).wrapping_mul(self.slot_bytes as usize);
            self.buffers.put(buffer, piece);
            let is_last = number.wrapping_add(1) == pieces.len();
            let is_first = number == 0;
            let len_bytes = u32::try_from(piece.len()).unwrap_or(0) & 0x3fff;
            let mut word2 = len_bytes | u32::from(generation) << 14;
            let mut word3 = u32::from(is_last) << 12 | u32::from(is_last && !offload.quiet) << 13;
            if is_first {
                word2 |= offload.msscof << 18 | u32::from(offload.ext1) << 17;
                word3 |= offload.hlen | offload.om << 10;
                word3 |= offload.tag.map_or(0, |tag| 1 << 15 | u32::from(tag) << 16);
                first_word = word2;
            }
            self.ring.put64(entry(index, 0), self.buffers.address(buffer));
            self.ring.put32(entry(index, 3), word3);
            self.ring.put32(entry(index, 2), if is_first { word2 ^ 1 << 14 } else { word2 });
            self.fill.advance();
        }
        // What follows the first descriptor is there before it is.
        barrier::release();
        self.ring.put32(first.at(2), first_word);
        last
    }

    pub(crate) fn free(self, quiet: &Quiet<'_>) {
        let Self { ring, buffers, completions, .. } = self;
        [ring, buffers, completions.ring].into_iter().for_each(|block| block.free(quiet));
    }
}

/// A command ring of a receive queue. Buffer n belongs to entry n.
pub(crate) struct RxRing<P: Platform> {
    pub(crate) ring: Block<P>,
    buffers: Block<P>,
    fill: Place,
    /// Bit 14 of what is posted: continues a frame.
    body: u32,
    /// What buffers are said to have.
    len_bytes: u32,
}

impl<P: Platform> RxRing<P> {
    fn new(of: &DeviceDma<P>, is_body: bool) -> Result<Self, DmaError> {
        Ok(Self {
            ring: Block::new(of, entry(ENTRIES, 0))?,
            buffers: Block::new(of, buffer(ENTRIES))?,
            fill: Place::start(ENTRIES),
            body: u32::from(is_body) << 14,
            len_bytes: BUFFER_BYTES,
        })
    }

    /// Where the next buffer goes: what the doorbell says.
    pub(crate) fn next(&self) -> u32 {
        self.fill.index
    }

    /// Posts a buffer of `len_bytes`.
    fn post(&mut self, len_bytes: u32) {
        let Place { index, generation, .. } = self.fill;
        self.ring.put64(entry(index, 0), self.buffers.address(buffer(index)));
        barrier::release();
        self.ring.put32(entry(index, 2), len_bytes | self.body | u32::from(generation) << 31);
        self.fill.advance();
    }

    /// Posts buffers up to the entry before `until`, which stays the driver's.
    fn refill(&mut self, until: u32) {
        // Bounded by the ring: an index that is none of it came from the device.
        for _ in 0..ENTRIES {
            if self.fill.index == until {
                return;
            }
            self.post(self.len_bytes);
        }
    }
}

/// A frame that came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    /// Its first completion.
    pub(crate) first: [u32; 4],
    /// Its last completion.
    pub(crate) words: [u32; 4],
    /// `rqID` of each.
    pub(crate) queues: Vec<u32>,
}

/// A receive queue: heads in ring 1, bodies in ring 2.
pub(crate) struct RxQueue<P: Platform> {
    pub(crate) rings: [RxRing<P>; 2],
    pub(crate) completions: Completions<P>,
    partial: Received,
}

impl<P: Platform> RxQueue<P> {
    pub(crate) fn new(of: &DeviceDma<P>) -> Result<Self, DmaError> {
        Ok(Self {
            rings: [RxRing::new(of, false)?, RxRing::new(of, true)?],
            completions: Completions::new(of, 2 * ENTRIES)?,
            partial: Received::default(),
        })
    }

    /// Posts all but one buffer of each ring.
    pub(crate) fn fill(&mut self) {
        self.rings.iter_mut().for_each(|ring| ring.refill(ENTRIES - 1));
    }

    /// From here on, heads are said to have `len_bytes`.
    pub(crate) fn set_head_bytes(&mut self, len_bytes: u32) {
        let [heads, _] = &mut self.rings;
        heads.len_bytes = len_bytes;
    }

    /// Where the heads start.
    pub(crate) fn heads(&self) -> u64 {
        let [heads, _] = &self.rings;
        heads.buffers.address(0)
    }

    /// What heads and bodies are said to have.
    pub(crate) fn buffer_bytes(&self) -> [u32; 2] {
        self.rings.each_ref().map(|ring| ring.len_bytes)
    }

    /// Posts one head of `len_bytes`.
    pub(crate) fn post_head(&mut self, len_bytes: u32) {
        let [heads, _] = &mut self.rings;
        heads.post(len_bytes);
    }

    /// The next frame; `queues` is how many receive queues there are, which `rqID` counts by.
    pub(crate) fn next(&mut self, queues: u32) -> Option<Received> {
        // Bounded: a frame has no more pieces than the ring has completions.
        for _ in 0..self.completions.entries() {
            let words = self.completions.next()?;
            let (index, id, len_bytes) = (words[0] & 0xfff, words[0] >> 16 & 0x3ff, words[2] & 0x3fff);
            if words[0] >> 15 & 1 != 0 {
                self.partial = Received { first: words, ..Received::default() };
            }
            self.partial.queues.push(id);
            // Beyond the two: what is in a slot, beside which a head was used up.
            let ring = id.checked_div(queues).unwrap_or(0) as usize;
            let is_slot = ring == 2;
            if let Some(ring) = self.rings.get_mut(if is_slot { 0 } else { ring }) {
                let len_bytes = len_bytes.min(BUFFER_BYTES) as usize;
                if !is_slot {
                    self.partial.bytes.extend(ring.buffers.get(buffer(index), len_bytes));
                }
                ring.refill(index);
            }
            if words[0] >> 14 & 1 != 0 {
                return Some(Received { words, ..core::mem::take(&mut self.partial) });
            }
        }
        None
    }

    pub(crate) fn free(self, quiet: &Quiet<'_>) {
        let Self { rings, completions, .. } = self;
        for RxRing { ring, buffers, .. } in rings {
            ring.free(quiet);
            buffers.free(quiet);
        }
        completions.ring.free(quiet);
    }
}
