//! The device's side of a ring for tests, written from the specification: it knows the shared words
//! and nothing of what the driver keeps.

use core::slice;
use std::vec::Vec;

use paravane_mock_hal::MockPlatform;

use super::packed::PackedRing;
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
    /// Its segments.
    pub(crate) segments: Vec<Piece>,
    /// The places of its descriptors.
    pub(crate) places: Vec<u16>,
}

/// A place in a packed ring, and the wrap counter there.
#[derive(Clone, Copy, Debug)]
struct Turn {
    place: u16,
    wrap: bool,
}

impl Turn {
    fn step(&mut self, entries: u16) {
        self.place += 1;
        if self.place == entries {
            *self = Self { place: 0, wrap: !self.wrap };
        }
    }
}

/// A device.
pub(crate) struct Referee {
    has: Vec<Fetched>,
    /// Number of the next chain to be fetched, and of the next completion. Split.
    seen: u16,
    used: u16,
    /// Where the next chain is, and where the next completion goes. Packed.
    next: Turn,
    done: Turn,
}

impl Referee {
    /// A device that has nothing, and a ring that has both sides start at number `start`; a packed
    /// one always starts at its beginning.
    pub(crate) fn new(ring: &mut AnyRing<MockPlatform>, start: u16) -> Self {
        if let AnyRing::Split(ring) = ring {
            ring.start_at(start);
        }
        let first = Turn { place: 0, wrap: true };
        Self { has: Vec::new(), seen: start, used: start, next: first, done: first }
    }

    /// How many chains it has.
    pub(crate) fn has(&self) -> usize {
        self.has.len()
    }

    /// The chains that it has.
    pub(crate) fn chains(&self) -> &[Fetched] {
        &self.has
    }

    /// Takes a chain out of those that it has.
    pub(crate) fn take(&mut self, at: usize) -> Fetched {
        self.has.remove(at)
    }

    /// Fetches what was made available.
    pub(crate) fn fetch(&mut self, ring: &AnyRing<MockPlatform>) -> Vec<Fetched> {
        let fetched = match ring {
            AnyRing::Split(ring) => self.fetch_split(ring),
            AnyRing::Packed(ring) => self.fetch_packed(ring),
        };
        self.has.extend(fetched.iter().cloned());
        fetched
    }

    /// Says that it is done with `chain`, which it calls `id`, and wrote `written` bytes.
    pub(crate) fn complete(&mut self, ring: &AnyRing<MockPlatform>, chain: &Fetched, id: u32, written: u32) {
        self.complete_all(ring, slice::from_ref(chain), id, written);
    }

    /// Says that it is done with `chains`, one after the other, by the last of them alone, which it
    /// calls `id`, and wrote `written` bytes there.
    pub(crate) fn complete_all(
        &mut self,
        ring: &AnyRing<MockPlatform>,
        chains: &[Fetched],
        id: u32,
        written: u32,
    ) {
        match ring {
            AnyRing::Split(ring) => {
                let element = &ring.memory().used_run(self.used, 1)[0];
                element[0].store(id);
                element[1].store(written);
                self.used = self.used.wrapping_add(u16::try_from(chains.len()).unwrap());
                ring.memory().store_used(layout::USED_HEAD, u32::from(self.used) << 16);
            }
            AnyRing::Packed(ring) => {
                let flags = if self.done.wrap { 0x8080 } else { 0 };
                self.write_used(ring, id | flags << 16, written);
                for _ in chains.iter().flat_map(|chain| &chain.segments) {
                    self.done.step(ring.size().entries());
                }
            }
        }
    }

    /// Writes where the next completion goes, as it is.
    pub(crate) fn write_used(&self, ring: &PackedRing<MockPlatform>, id_and_flags: u32, written: u32) {
        let slot = &ring.memory().slots()[usize::from(self.done.place)];
        slot.store::<2>(written);
        slot.store::<3>(id_and_flags);
    }

    fn fetch_split(&mut self, ring: &SplitRing<MockPlatform>) -> Vec<Fetched> {
        let memory = ring.memory();
        let mut fetched = Vec::new();
        while self.seen != memory.load_avail(layout::AVAIL_IDX) {
            let id = memory.avail_run(self.seen, 1)[0].load();
            self.seen = self.seen.wrapping_add(1);
            let (mut segments, mut places, mut at) = (Vec::new(), Vec::new(), id);
            loop {
                let slot = &memory.descriptors()[usize::from(at)];
                let word = slot.load::<3>();
                let is_writable = word & layout::DESC_F_WRITE != 0;
                segments.push((slot.load_pair::<0>(), slot.load::<2>(), is_writable));
                places.push(at);
                assert!(segments.len() <= usize::from(ring.size().entries()), "a chain that has no end");
                if word & layout::DESC_F_NEXT == 0 {
                    break;
                }
                at = (word >> 16) as u16;
            }
            fetched.push(Fetched { id, segments, places });
        }
        fetched
    }

    fn fetch_packed(&mut self, ring: &PackedRing<MockPlatform>) -> Vec<Fetched> {
        let (slots, entries) = (ring.memory().slots(), ring.size().entries());
        let mut fetched = Vec::new();
        while is_available(slots[usize::from(self.next.place)].load::<3>() >> 16, self.next.wrap) {
            let (mut segments, mut places) = (Vec::new(), Vec::new());
            let id = loop {
                let slot = &slots[usize::from(self.next.place)];
                let word = slot.load::<3>();
                let (id, flags) = ((word & 0xffff) as u16, word >> 16);
                assert!(is_available(flags, self.next.wrap), "every descriptor of a chain has its marks");
                assert_eq!(flags & !0x8087, 0, "flags that are reserved");
                segments.push((slot.load_pair::<0>(), slot.load::<2>(), flags & 2 != 0));
                places.push(self.next.place);
                self.next.step(entries);
                assert!(segments.len() <= usize::from(entries), "a chain that has no end");
                if flags & 1 == 0 {
                    break id;
                }
            };
            assert!(self.has.iter().chain(&fetched).all(|chain| chain.id != id), "two chains of one id");
            fetched.push(Fetched { id, segments, places });
        }
        fetched
    }
}

/// Whether a descriptor with these flags is available where the wrap counter is `wrap`.
fn is_available(flags: u32, wrap: bool) -> bool {
    (flags & 0x80 != 0) == wrap && (flags & 0x8000 != 0) != wrap
}
