//! Where one is in a ring: an index, and the lap's generation. Pure: no memory, no device.
//!
//! The device shares no producer or consumer index with the driver. Each ring has a *generation*, 1
//! on the first lap and flipped at each wrap to index 0. In a command ring, a descriptor belongs to
//! the device once its generation bit equals the lap's; in a completion ring, an entry is new when
//! its bit equals the lap's. Memory starts as zeros, which is "not yet" on the first lap.

/// Says to the compiler that what leads here is rare.
#[cold]
pub(crate) const fn rare() {}

/// The generation of one lap: the top bit or nothing, as completions have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation(u32);

const TOP_BIT: u32 = 1 << 31;

impl Generation {
    /// That of the first lap.
    pub(crate) const FIRST: Self = Self(TOP_BIT);

    /// That of the next lap.
    #[inline(always)]
    pub(crate) const fn flipped(self) -> Self {
        Self(self.0 ^ TOP_BIT)
    }

    /// As bit `BIT` of a descriptor word, all others zero.
    #[inline(always)]
    pub(crate) const fn bit<const BIT: u32>(self) -> u32 {
        const { assert!(BIT < u32::BITS, "a word has that bit") };
        // A bit number is at most 31, so neither operation wraps.
        self.0.wrapping_shr(31_u32.wrapping_sub(BIT))
    }

    /// Whether `word` carries this generation in its top bit, where completions have it.
    #[inline(always)]
    pub(crate) const fn is_in_top_bit(self, word: u32) -> bool {
        (word ^ self.0) & TOP_BIT == 0
    }
}

/// A place in a ring of `entries`, and the lap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    index: u32,
    entries: u32,
    generation: Generation,
}

impl Cursor {
    /// The first place of the first lap.
    pub(crate) const fn start(entries: u16) -> Self {
        Self { index: 0, entries: entries as u32, generation: Generation::FIRST }
    }

    #[inline(always)]
    pub(crate) const fn index(self) -> u32 {
        self.index
    }

    #[inline(always)]
    pub(crate) const fn slot(self) -> usize {
        self.index as usize
    }

    #[inline(always)]
    pub(crate) const fn generation(self) -> Generation {
        self.generation
    }

    /// How many places the ring has.
    #[inline(always)]
    pub(crate) const fn entries(self) -> u32 {
        self.entries
    }

    /// How many steps lead from here to the place `index`: less than a lap.
    #[inline(always)]
    pub(crate) const fn steps_to(self, index: u32) -> u32 {
        let steps = index.wrapping_sub(self.index);
        if index >= self.index { steps } else { steps.wrapping_add(self.entries) }
    }

    /// The place `steps` before; `steps` is less than a lap.
    #[inline(always)]
    #[must_use]
    pub(crate) const fn back(self, steps: u32) -> Self {
        let index = self.index.wrapping_sub(steps);
        if steps <= self.index {
            Self { index, ..self }
        } else {
            Self { index: index.wrapping_add(self.entries), generation: self.generation.flipped(), ..self }
        }
    }

    /// Goes `steps` further, behind the last place to the first of the next lap; `steps` is at most
    /// a lap.
    #[inline(always)]
    pub(crate) const fn advance(&mut self, steps: u32) {
        // At most twice 8192, so this does not wrap.
        self.index = self.index.wrapping_add(steps);
        if self.index >= self.entries {
            rare();
            self.index = self.index.wrapping_sub(self.entries);
            self.generation = self.generation.flipped();
        }
    }

    /// The place `steps` further on; `steps` is at most a lap.
    #[inline(always)]
    #[must_use]
    pub(crate) const fn advanced(mut self, steps: u32) -> Self {
        self.advance(steps);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every size that a command ring may have at revision 1.
    fn legal_sizes() -> impl Iterator<Item = u16> {
        (32..=4096).step_by(32)
    }

    #[test]
    fn every_legal_ring_wraps_with_its_generation() {
        for entries in legal_sizes() {
            let mut at = Cursor::start(entries);
            for step in 0..u32::from(entries) * 5 {
                let lap = step / u32::from(entries);
                assert_eq!(at.index(), step % u32::from(entries));
                assert_eq!(
                    at.generation().bit::<31>() != 0,
                    lap.is_multiple_of(2),
                    "ring of {entries}, step {step}"
                );
                at.advance(1);
            }
        }
    }

    #[test]
    fn a_completion_ring_as_long_as_two_command_rings_wraps_too() {
        let mut at = Cursor::start(8192);
        for _ in 0..8192 {
            assert_eq!(at.generation(), Generation::FIRST);
            at.advance(1);
        }
        assert_eq!((at.index(), at.generation()), (0, Generation::FIRST.flipped()));
    }

    #[test]
    fn zeroed_memory_is_not_new_on_the_first_lap() {
        assert!(!Generation::FIRST.is_in_top_bit(0));
        assert!(Generation::FIRST.is_in_top_bit(1 << 31));
        assert!(Generation::FIRST.flipped().is_in_top_bit(0x7fff_ffff));
    }

    /// The definitions of `advanced` and `steps_to`, checked in rings of every legal size from
    /// everywhere, at all distances that matter.
    #[test]
    fn going_far_counts_laps() {
        for entries in legal_sizes() {
            let mut at = Cursor::start(entries);
            for _ in 0..u32::from(entries) * 2 {
                for steps in [0, 1, entries / 2, entries - 1].map(u32::from) {
                    let (there, past) = (at.advanced(steps), at.index() + steps);
                    assert_eq!(there.index(), past % u32::from(entries), "{steps} steps from {at:?}");
                    let same_lap = past < u32::from(entries);
                    assert_eq!(there.generation() == at.generation(), same_lap, "{steps} steps from {at:?}");
                    assert_eq!(at.steps_to(there.index()), steps, "ring of {entries} from {at:?}");
                    assert_eq!(there.back(steps), at, "{steps} steps");
                }
                at.advance(1);
            }
        }
    }

    proptest! {
        #[test]
        fn a_producer_and_a_consumer_never_disagree(
            size in 1_u16..=128,
            turns in proptest::collection::vec((0_u32..4096, 0_u32..4096), 1..200),
        ) {
            let entries = size * 32;
            let (mut fill, mut clean) = (Cursor::start(entries), Cursor::start(entries));
            let (mut filled, mut cleaned) = (0_u64, 0_u64);
            for (produce, consume) in turns {
                // One place stays free, so that full and empty differ.
                let room = u32::from(entries) - 1 - clean.steps_to(fill.index());
                prop_assert_eq!(u64::from(room), u64::from(entries) - 1 - (filled - cleaned));
                let produce = produce.min(room);
                fill = fill.advanced(produce);
                filled += u64::from(produce);
                let consume = consume.min(clean.steps_to(fill.index()));
                clean = clean.advanced(consume);
                cleaned += u64::from(consume);
                prop_assert_eq!(u64::from(fill.index()), filled % u64::from(entries));
                prop_assert_eq!(fill.generation() == Generation::FIRST, (filled / u64::from(entries)) % 2 == 0);
                prop_assert_eq!(clean.generation() == Generation::FIRST, (cleaned / u64::from(entries)) % 2 == 0);
            }
        }
    }
}
