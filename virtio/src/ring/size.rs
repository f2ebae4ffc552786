//! How long a ring is, and places in it. Numbers only.
//!
//! A [`Position`] is a place and in which of two laps it is. Two laps are enough: what lies between
//! two positions that a ring has at one time is a lap at most. They do for rings of any length,
//! where an index that runs freely through 16 bits would not.
//!
//! Spec: VIRTIO 1.2, 2.7 "Split Virtqueues", 2.8.1 "Driver and Device Ring Wrap Counters", 2.8.10.1
//! "Structure Size and Alignment".

/// No ring is longer.
const MAX_ENTRIES: u16 = 1 << 15;

/// Number of entries of a ring: up to 32768.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct QueueSize(u16);

/// A place in a ring, and in which of two laps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position(u16);

impl QueueSize {
    /// `entries`, if a ring may have that many.
    #[must_use]
    pub(crate) const fn new(entries: u16) -> Option<Self> {
        if entries >= 1 && entries <= MAX_ENTRIES { Some(Self(entries)) } else { None }
    }

    /// The largest size that is neither beyond `entries` nor beyond what the device allows, and
    /// that the format may have: a split ring has a power of two. `None` when either is zero.
    ///
    /// A device's maximum need not be a power of two unless it offers split rings only; rounding
    /// down is right for both.
    #[must_use]
    pub(crate) const fn at_most(entries: u16, device_max: u16, packed: bool) -> Option<Self> {
        let limit = if entries < device_max { entries } else { device_max };
        match limit.checked_ilog2() {
            Some(_) if packed => Self::new(if limit < MAX_ENTRIES { limit } else { MAX_ENTRIES }),
            Some(log) => Self::new(1 << log),
            None => None,
        }
    }

    /// How many entries.
    #[must_use]
    #[inline(always)]
    pub(crate) const fn entries(self) -> u16 {
        self.0
    }

    /// The place of the free-running index `idx` in a ring of a power of two.
    #[must_use]
    #[inline(always)]
    pub(crate) const fn place_of_index(self, idx: u16) -> u16 {
        // Not zero, so the mask does not wrap.
        idx & self.0.wrapping_sub(1)
    }

    /// The place of `at`.
    #[must_use]
    #[inline(always)]
    pub(crate) const fn place(self, at: Position) -> u16 {
        if self.is_first_lap(at) { at.0 } else { at.0.wrapping_sub(self.0) }
    }

    /// Whether `at` is in the first of two laps, where a ring starts.
    #[must_use]
    #[inline(always)]
    pub(crate) const fn is_first_lap(self, at: Position) -> bool {
        at.0 < self.0
    }

    /// The position at `place` in one of two laps; `None` when the ring has no such place.
    #[must_use]
    #[inline(always)]
    pub(crate) const fn position(self, place: u16, first_lap: bool) -> Option<Position> {
        if place >= self.0 {
            return None;
        }
        // At most two laps of 32768.
        Some(Position(if first_lap { place } else { place.wrapping_add(self.0) }))
    }

    /// The position `steps` further, up to a lap.
    #[must_use]
    #[inline(always)]
    pub(crate) const fn ahead(self, at: Position, steps: u16) -> Position {
        let until_home = self.laps().wrapping_sub(at.0 as u32);
        let steps = steps as u32;
        let to = if steps < until_home {
            (at.0 as u32).wrapping_add(steps)
        } else {
            steps.wrapping_sub(until_home)
        };
        // Below two laps, which 16 bits number.
        #[expect(clippy::cast_possible_truncation, reason = "see above")]
        Position(to as u16)
    }

    /// The next position.
    #[must_use]
    #[inline(always)]
    pub(crate) const fn next(self, at: Position) -> Position {
        // Two laps of the longest ring are as many as 16 bits number, and go round by themselves.
        let to = at.0.wrapping_add(1);
        Position(if to as u32 == self.laps() { 0 } else { to })
    }

    /// The position `steps` before, up to a lap.
    #[must_use]
    #[inline]
    pub(crate) const fn back(self, at: Position, steps: u16) -> Position {
        let round = if at.0 < steps { self.laps() } else { 0 };
        // Below two laps, which 16 bits number.
        #[expect(clippy::cast_possible_truncation, reason = "see above")]
        Position((at.0 as u32).wrapping_add(round).wrapping_sub(steps as u32) as u16)
    }

    /// How many steps it is from `from` on to `to`: below two laps.
    #[must_use]
    #[inline(always)]
    pub(crate) const fn steps(self, from: Position, to: Position) -> u16 {
        let round = if to.0 < from.0 { self.laps() } else { 0 };
        // Below two laps, which 16 bits number.
        #[expect(clippy::cast_possible_truncation, reason = "see above")]
        let steps = (to.0 as u32).wrapping_add(round).wrapping_sub(from.0 as u32) as u16;
        steps
    }

    /// The place that is `steps` further, up to a lap.
    #[must_use]
    #[inline(always)]
    pub(crate) const fn step(self, place: u16, steps: u16) -> u16 {
        // Both up to 32768, and the place below that.
        let to = place.wrapping_add(steps);
        if to < self.0 { to } else { to.wrapping_sub(self.0) }
    }

    /// How many steps it is from place `from` on to place `to`: below a lap.
    #[must_use]
    #[inline(always)]
    pub(crate) const fn steps_between(self, from: u16, to: u16) -> u16 {
        let round = if to < from { self.0 } else { 0 };
        to.wrapping_sub(from).wrapping_add(round)
    }

    /// Two laps.
    #[inline(always)]
    const fn laps(self) -> u32 {
        (self.0 as u32).wrapping_mul(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_size_is_within_both_limits() {
        for entries in 0..=u16::MAX {
            assert_eq!(QueueSize::new(entries).is_some(), (1..=32768).contains(&entries));
            for device_max in [0, 1, 3, 256, 1000, 32768, u16::MAX] {
                let limit = entries.min(device_max);
                let packed = QueueSize::at_most(entries, device_max, true);
                assert_eq!(packed.map(QueueSize::entries), (limit > 0).then(|| limit.min(32768)));
                match QueueSize::at_most(entries, device_max, false) {
                    None => assert_eq!(limit, 0),
                    Some(size) => {
                        assert!(size.entries().is_power_of_two());
                        assert!(size.entries() <= limit && u32::from(size.entries()) * 2 > u32::from(limit));
                    }
                }
            }
        }
    }

    #[test]
    fn places_of_an_index_repeat_with_the_size() {
        for log in 0..=15 {
            let size = QueueSize::new(1 << log).unwrap();
            for idx in 0..=u16::MAX {
                assert_eq!(size.place_of_index(idx), idx % size.entries());
            }
        }
    }

    #[test]
    fn positions_go_round_twice() {
        for entries in [1_u16, 2, 3, 7, 255, 256, 1000, 32767, 32768] {
            let size = QueueSize::new(entries).unwrap();
            let mut at = Position::default();
            for step in 0..u32::from(entries) * 4 {
                let (lap, place) = (step / u32::from(entries), step % u32::from(entries));
                assert_eq!(u32::from(size.place(at)), place);
                assert_eq!(size.is_first_lap(at), lap % 2 == 0);
                assert_eq!(size.position(size.place(at), size.is_first_lap(at)), Some(at));
                assert_eq!(size.next(at), size.ahead(at, 1));
                assert_eq!(size.back(size.next(at), 1), at);
                at = size.next(at);
            }
            assert_eq!(at, Position::default());
            assert_eq!(size.position(entries, true), None);
        }
    }

    proptest! {
        /// Against the plain meaning, with numbers that never wrap.
        #[test]
        fn steps_add_up(entries in 1_u16..=32768, start in any::<u32>(), steps in any::<u16>()) {
            let (size, n) = (QueueSize::new(entries).unwrap(), u64::from(entries));
            let at = |number: u64| {
                let place = u16::try_from(number % n).unwrap();
                size.position(place, (number / n).is_multiple_of(2)).unwrap()
            };
            let steps = u64::from(steps) % (n + 1);
            let (from, to) = (u64::from(start), u64::from(start) + steps);
            prop_assert_eq!(size.ahead(at(from), u16::try_from(steps).unwrap()), at(to));
            prop_assert_eq!(size.back(at(to), u16::try_from(steps).unwrap()), at(from));
            prop_assert_eq!(u64::from(size.steps(at(from), at(to))), steps);
            let (from, to) = (size.place(at(from)), size.place(at(to)));
            let steps = u16::try_from(steps).unwrap();
            prop_assert_eq!(size.step(from, steps), to);
            prop_assert_eq!(size.steps_between(from, to), steps % entries);
        }
    }
}
