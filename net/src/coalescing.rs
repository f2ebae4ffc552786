//! When a device interrupts for frames that wait.

use core::fmt;

/// When the device may interrupt at the latest, for one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coalescing {
    /// When so many frames wait. 0: at every one.
    pub max_frames: u32,
    /// When the first of them waits for so long, in microseconds. 0: at once.
    pub max_micros: u32,
}

/// How many pairs of queues a [`PairCoalescing`] has something to say of.
pub const COALESCING_PAIRS: usize = 16;

/// When the device may interrupt, of single pairs of queues.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct PairCoalescing([Option<Coalescing>; COALESCING_PAIRS]);

impl PairCoalescing {
    /// As all do.
    pub const NONE: Self = Self([None; COALESCING_PAIRS]);

    /// The same, where `pair`, counted from 0, is told `coalescing`. One from [`COALESCING_PAIRS`]
    /// on changes nothing.
    #[must_use]
    pub fn with(mut self, pair: u16, coalescing: Coalescing) -> Self {
        if let Some(place) = self.0.get_mut(usize::from(pair)) {
            *place = Some(coalescing);
        }
        self
    }

    /// The same, where `pair` is told nothing of its own.
    #[must_use]
    pub fn without(mut self, pair: u16) -> Self {
        if let Some(place) = self.0.get_mut(usize::from(pair)) {
            *place = None;
        }
        self
    }

    /// What `pair` is told of its own.
    #[must_use]
    pub fn of(&self, pair: u16) -> Option<Coalescing> {
        self.0.get(usize::from(pair)).copied().flatten()
    }

    /// They, lowest pair first.
    pub fn iter(&self) -> impl Iterator<Item = (u16, Coalescing)> + '_ {
        (0_u16..).zip(&self.0).filter_map(|(pair, coalescing)| Some((pair, (*coalescing)?)))
    }
}

impl fmt::Debug for PairCoalescing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn each_pair_has_its_own() {
        let coalescing = |max_frames| Coalescing { max_frames, max_micros: 1 };
        let pairs =
            PairCoalescing::NONE.with(15, coalescing(2)).with(3, coalescing(1)).with(3, coalescing(7));
        assert_eq!(pairs.iter().collect::<Vec<_>>(), [(3, coalescing(7)), (15, coalescing(2))]);
        assert_eq!(pairs.with(16, coalescing(1)), pairs);
        assert_eq!([pairs.of(3), pairs.of(4), pairs.of(16)], [Some(coalescing(7)), None, None]);
        assert_eq!(pairs.without(3).without(16).iter().collect::<Vec<_>>(), [(15, coalescing(2))]);
    }
}
