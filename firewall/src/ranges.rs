//! Sets of numbers: addresses, ports, kinds of ICMP.

use alloc::vec::Vec;

/// A number that has a next one.
pub trait Number: Copy + Ord {
    /// The smallest.
    const MIN: Self;
    /// The largest.
    const MAX: Self;

    /// The next one, if there is one.
    fn next(self) -> Option<Self>;
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Number for $number {
            const MIN: Self = <$number>::MIN;
            const MAX: Self = <$number>::MAX;

            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }
        }
    )*};
}

numbers!(u8, u16, u32, u128);

/// A set of numbers: ranges, both ends included, in order, with a gap before each but the first.
///
/// So two sets of the same numbers are equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ranges<T>(Vec<(T, T)>);

impl<T> Default for Ranges<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Number> Ranges<T> {
    /// All numbers.
    #[must_use]
    pub fn all() -> Self {
        Self([(T::MIN, T::MAX)].into())
    }

    /// Whether it has all numbers.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.0.as_slice() == [(T::MIN, T::MAX)]
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges, in order.
    #[must_use]
    pub fn as_slice(&self) -> &[(T, T)] {
        &self.0
    }

    /// Whether `number` is in it.
    #[must_use]
    pub fn contains(&self, number: T) -> bool {
        contains(&self.0, number)
    }

    /// Whether all of `other` is in it.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|&(first, last)| {
            let after = self.0.partition_point(|&(start, _)| start <= first);
            let before = after.checked_sub(1).and_then(|place| self.0.get(place));
            before.is_some_and(|&(_, end)| last <= end)
        })
    }

    /// All numbers of both.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.0.iter().chain(&other.0).copied().collect()
    }
}

/// Ranges whose ends are the wrong way round have no numbers.
impl<T: Number> FromIterator<(T, T)> for Ranges<T> {
    fn from_iter<I: IntoIterator<Item = (T, T)>>(ranges: I) -> Self {
        let mut given: Vec<_> = ranges.into_iter().filter(|(first, last)| first <= last).collect();
        given.sort_unstable();
        let mut merged: Vec<(T, T)> = Vec::with_capacity(given.len());
        for (first, last) in given {
            match merged.last_mut() {
                Some((_, end)) if end.next().is_none_or(|next| first <= next) => *end = last.max(*end),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }
}

/// Whether `number` is in one of `ranges`, which are in order and do not overlap.
#[must_use]
pub fn contains<T: Copy + Ord>(ranges: &[(T, T)], number: T) -> bool {
    let after = ranges.partition_point(|&(first, _)| first <= number);
    let before = after.checked_sub(1).and_then(|place| ranges.get(place));
    before.is_some_and(|&(_, last)| number <= last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(given: &[(u8, u8)]) -> Ranges<u8> {
        given.iter().copied().collect()
    }

    #[test]
    fn neighbours_and_overlaps_become_one() {
        assert_eq!(ranges(&[(5, 9), (0, 2), (3, 4), (8, 20), (22, 22)]).as_slice(), [(0, 20), (22, 22)]);
        assert_eq!(ranges(&[(250, 255), (0, 255), (255, 255)]), Ranges::all());
        assert!(ranges(&[(9, 8)]).is_empty());
    }

    #[test]
    fn both_ends_are_in_it() {
        let some = ranges(&[(3, 5), (9, 9)]);
        let inside: Vec<u8> = (0..=255).filter(|&number| some.contains(number)).collect();
        assert_eq!(inside, [3, 4, 5, 9]);
        assert!(Ranges::<u8>::all().contains(0) && Ranges::<u8>::all().contains(255));
    }

    #[test]
    fn a_range_over_a_gap_is_not_covered() {
        let some = ranges(&[(3, 5), (7, 9)]);
        assert!(some.covers(&ranges(&[(3, 5), (8, 9)])));
        assert!(!some.covers(&ranges(&[(3, 9)])));
        assert!(!some.covers(&ranges(&[(2, 3)])));
        assert!(!some.covers(&ranges(&[(9, 10)])));
        assert!(some.covers(&Ranges::default()));
    }
}
