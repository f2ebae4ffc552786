//! Which DMA domain memory is in.
//!
//! A device address is a number, and behind an IOMMU the same number is other memory for another
//! device. A pool remembers its domain and so does each of its buffers; a driver compares before it
//! tells its device of one.

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Which DMA domain memory is in: an address space as devices see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DomainTag(u32);

impl DomainTag {
    /// The one that there is without IOMMUs: every device reaches all memory, at the same
    /// addresses.
    pub const MACHINE: Self = Self(0);

    /// A tag that no other domain of the program has.
    ///
    /// # Panics
    ///
    /// After 2³² - 1 of them: to use one twice would be unsound.
    #[must_use]
    pub fn unique() -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let last = LAST.fetch_update(Relaxed, Relaxed, |last| last.checked_add(1));
        assert!(last.is_ok(), "no DMA domain tags left");
        Self(last.unwrap_or(u32::MAX).wrapping_add(1))
    }

    /// Its number, for messages.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for DomainTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DMA domain {}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_domains_share_a_tag() {
        let (one, other) = (DomainTag::unique(), DomainTag::unique());
        assert!(one != other && one != DomainTag::MACHINE && other != DomainTag::MACHINE);
    }
}
