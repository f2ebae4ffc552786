//! Stretches of the physical address space, as memory maps, BARs and allocators name them.

use core::fmt;

use paravane_hal::addr::PhysAddr;

/// `len_bytes` of physical address space from `start` on. Never wraps around the end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PhysRange {
    start: u64,
    len_bytes: u64,
}

impl PhysRange {
    /// Nothing, at zero.
    pub const EMPTY: Self = Self { start: 0, len_bytes: 0 };

    /// `len_bytes` from `start` on, or `None` when that runs past the end of the address space.
    #[must_use]
    pub const fn new(start: PhysAddr, len_bytes: u64) -> Option<Self> {
        match start.get().checked_add(len_bytes) {
            Some(_) => Some(Self { start: start.get(), len_bytes }),
            None => None,
        }
    }

    /// From `start` up to, not including, `end`. Empty when `end` is not beyond `start`.
    #[must_use]
    pub const fn between(start: u64, end: u64) -> Self {
        Self { start, len_bytes: end.saturating_sub(start) }
    }

    /// Where it starts.
    #[must_use]
    pub const fn start(self) -> PhysAddr {
        PhysAddr::new(self.start)
    }

    /// The first address after it.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.start.wrapping_add(self.len_bytes)
    }

    /// How long it is.
    #[must_use]
    pub const fn len_bytes(self) -> u64 {
        self.len_bytes
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len_bytes == 0
    }

    /// Whether the two have a byte in common.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        !self.is_empty() && !other.is_empty() && self.start < other.end() && other.start < self.end()
    }

    /// The part of it from `low` up to, not including, `high`.
    #[must_use]
    pub fn clamp(self, low: u64, high: u64) -> Self {
        Self::between(self.start.max(low), self.end().min(high))
    }

    /// What is left of it below and above `hole`; either may be empty.
    #[must_use]
    pub fn without(self, hole: Self) -> (Self, Self) {
        if !self.overlaps(hole) {
            return (self, Self::EMPTY);
        }
        (Self::between(self.start, hole.start), Self::between(hole.end(), self.end()))
    }
}

impl fmt::Debug for PhysRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}..{:#x}", self.start, self.end())
    }
}

impl fmt::Display for PhysRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_does_not_wrap() {
        assert!(PhysRange::new(PhysAddr::new(u64::MAX), 1).is_none());
        assert_eq!(PhysRange::new(PhysAddr::new(u64::MAX - 1), 1).map(PhysRange::end), Some(u64::MAX));
    }

    #[test]
    fn a_hole_leaves_what_lies_beside_it() {
        let range = PhysRange::between(10, 20);
        assert_eq!(
            range.without(PhysRange::between(12, 15)),
            (PhysRange::between(10, 12), PhysRange::between(15, 20))
        );
        assert_eq!(
            range.without(PhysRange::between(0, 12)),
            (PhysRange::between(10, 0), PhysRange::between(12, 20))
        );
        assert_eq!(range.without(PhysRange::between(20, 30)), (range, PhysRange::EMPTY));
        assert!(range.without(PhysRange::between(0, 40)).0.is_empty());
        assert!(range.without(PhysRange::between(0, 40)).1.is_empty());
    }

    #[test]
    fn touching_is_not_overlapping() {
        assert!(!PhysRange::between(0, 4).overlaps(PhysRange::between(4, 8)));
        assert!(PhysRange::between(0, 5).overlaps(PhysRange::between(4, 8)));
        assert!(!PhysRange::EMPTY.overlaps(PhysRange::between(0, 8)));
    }
}
