//! The device's side of a ring for tests, written from the specification: it knows the shared words
//! and nothing of what the driver keeps.

use std::vec::Vec;

use paravane_mock_hal::MockPlatform;

use super::split::{SplitRing, layout};
use super::{AnyRing, Ring, Segment};

/// A segment as the device sees it: where, how long, whether it is to be written.
pub(crate) type Piece = (u64, u32, bool);

/// `segment` as the device sees it.
pub(crate) fn piece(segment: &Segment) -> Piece {
    (segment.addr.get(), segment.len_bytes, segment.writable)
}

/// A chain as the device fetched it.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    /// How the driver calls it.
    pub(crate) id: u16,
    /// Its descriptors.
    pub(crate) segments: Vec<Piece>,
}

/// A device.
pub(crate) struct Referee {
    has: Vec<Fetched>,
    /// Number of the next chain to be fetched.
    seen: u16,
    /// Number of the next completion.
    used: u16,
}

impl Referee {
    /// A device that has nothing, and a ring that has both sides start at number `start`.
    pub(crate) fn new(ring: &mut AnyRing<MockPlatform>, start: u16) -> Self {
        match ring {
            AnyRing::Split(ring) => ring.start_at(start),
        }
        Self { has: Vec::new(), seen: start, used: start }
    }

    /// How many chains it has.
    pub(crate) fn has(&self) -> usize {
        self.has.len()
    }

    /// Takes a chain out of those that it has.
    pub(crate) fn take(&mut self, at: usize) -> Fetched {
        self.has.remove(at)
    }

    /// How the driver calls a chain that it has.
    pub(crate) fn id(&self, at: usize) -> u16 {
        self.has[at].id
    }

    /// Fetches what was made available.
    pub(crate) fn fetch(&mut self, ring: &AnyRing<MockPlatform>) -> Vec<Fetched> {
        let fetched = match ring {
            AnyRing::Split(ring) => self.fetch_split(ring),
        };
        self.has.extend(fetched.iter().cloned());
        fetched
    }

    /// Says that it is done with `chain`, which it calls `id`, and wrote `written` bytes.
    pub(crate) fn complete(&mut self, ring: &AnyRing<MockPlatform>, _chain: &Fetched, id: u32, written: u32) {
        match ring {
            AnyRing::Split(ring) => {
                let element = &ring.memory().used_run(self.used, 1)[0];
                element[0].store(id);
                element[1].store(written);
                self.used = self.used.wrapping_add(1);
                ring.memory().store_used(layout::USED_HEAD, u32::from(self.used) << 16);
            }
        }
    }

    fn fetch_split(&mut self, ring: &SplitRing<MockPlatform>) -> Vec<Fetched> {
        let memory = ring.memory();
        let mut fetched = Vec::new();
        while self.seen != memory.load_avail(layout::AVAIL_IDX) {
            let id = memory.avail_run(self.seen, 1)[0].load();
            self.seen = self.seen.wrapping_add(1);
            let (mut segments, mut at) = (Vec::new(), id);
            loop {
                let slot = &memory.descriptors()[usize::from(at)];
                let word = slot.load::<3>();
                let is_writable = word & layout::DESC_F_WRITE != 0;
                segments.push((slot.load_pair::<0>(), slot.load::<2>(), is_writable));
                assert!(segments.len() <= usize::from(ring.size().entries()), "a chain that has no end");
                if word & layout::DESC_F_NEXT == 0 {
                    break;
                }
                at = (word >> 16) as u16;
            }
            fetched.push(Fetched { id, segments });
        }
        fetched
    }
}
