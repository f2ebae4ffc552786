//! Cutting a range of sectors to what a device discards, fills or erases at once: the one place
//! where that is done.
//!
//! What carries data is cut in [`parts`](crate::Parts).

use crate::SECTOR_BYTES;

/// Sectors in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectorRange {
    /// The first.
    pub sector: u64,
    /// How many.
    pub sectors: u32,
}

/// How long a range a device takes at once. Made of what it says by [`new`](Self::new).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeLimits {
    max_sectors: u32,
    align_sectors: u32,
    block_sectors: u32,
}

impl RangeLimits {
    /// That a device with blocks of `block_bytes` takes `max_sectors` at once, best those that
    /// begin and end at multiples of `align_sectors`. 0 means that it does not care, of either.
    ///
    /// `None`: not a block fits, so that it can do nothing.
    #[must_use]
    pub const fn new(max_sectors: u32, align_sectors: u32, block_bytes: u32) -> Option<Self> {
        let block_sectors = match block_bytes / SECTOR_BYTES {
            0 => 1,
            sectors => sectors,
        };
        let most = if max_sectors == 0 { u32::MAX } else { max_sectors };
        let max_sectors = whole(most, block_sectors);
        // Where a device's own is no multiple of its blocks, they decide.
        let align_sectors = match align_sectors.checked_rem(block_sectors) {
            Some(0) if align_sectors > 0 => align_sectors,
            _ => block_sectors,
        };
        if max_sectors == 0 { None } else { Some(Self { max_sectors, align_sectors, block_sectors }) }
    }

    /// The longest that it takes, whole blocks.
    #[must_use]
    pub const fn max_sectors(self) -> u32 {
        self.max_sectors
    }

    /// Where ranges begin and end best: at multiples of this many.
    #[must_use]
    pub const fn align_sectors(self) -> u32 {
        self.align_sectors
    }
}

/// The multiples of `of` in `sectors`.
const fn whole(sectors: u32, of: u32) -> u32 {
    match sectors.checked_rem(of) {
        Some(rest) => sectors.wrapping_sub(rest),
        None => 0,
    }
}

/// The ranges that a longer one is cut into, each what its device takes at once. They end where the
/// device likes it, if that can be.
#[derive(Clone, Debug)]
pub struct RangeParts {
    sector: u64,
    left_sectors: u64,
    limits: RangeLimits,
}

impl RangeParts {
    /// `sectors` from `sector` on, whole blocks, cut to `limits`.
    #[must_use]
    pub const fn new(sector: u64, sectors: u64, limits: RangeLimits) -> Self {
        Self { sector, left_sectors: sectors, limits }
    }

    /// How many they are, if they are no more than `most`: a device that takes little at once does
    /// not have anybody count for long.
    #[must_use]
    pub fn count_up_to(&self, most: usize) -> Option<usize> {
        let count = self.clone().take(most.saturating_add(1)).count();
        (count <= most).then_some(count)
    }
}

impl Iterator for RangeParts {
    type Item = SectorRange;

    fn next(&mut self) -> Option<SectorRange> {
        let RangeLimits { max_sectors, align_sectors, .. } = self.limits;
        let sectors = match u32::try_from(self.left_sectors) {
            Ok(0) => return None,
            Ok(left) if left <= max_sectors => left,
            _ => {
                let over = self.sector.wrapping_add(max_sectors.into()).checked_rem(align_sectors.into());
                let over = over.and_then(|over| u32::try_from(over).ok()).unwrap_or(0);
                match max_sectors.saturating_sub(over) {
                    // There is no such place before the longest ends.
                    0 => max_sectors,
                    sectors => sectors,
                }
            }
        };
        let range = SectorRange { sector: self.sector, sectors };
        self.sector = self.sector.wrapping_add(sectors.into());
        self.left_sectors = self.left_sectors.wrapping_sub(sectors.into());
        Some(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(sector: u64, sectors: u64, max: u32, align: u32) -> std::vec::Vec<(u64, u32)> {
        let limits = RangeLimits::new(max, align, 512).unwrap();
        RangeParts::new(sector, sectors, limits).map(|range| (range.sector, range.sectors)).collect()
    }

    #[test]
    fn what_a_device_takes_at_once_stays_whole() {
        assert_eq!(cut(3, 8, 8, 4), [(3, 8)]);
        assert_eq!(cut(3, 8, 0, 0), [(3, 8)], "it does not care");
        assert_eq!(cut(3, 0, 8, 4), []);
    }

    #[test]
    fn parts_end_where_the_device_likes_it() {
        assert_eq!(cut(3, 20, 8, 4), [(3, 5), (8, 8), (16, 7)]);
        assert_eq!(cut(3, 20, 8, 16), [(3, 8), (11, 5), (16, 7)], "no such place in the first eight");
        assert_eq!(cut(u64::MAX - 9, 9, 4, 2), [(u64::MAX - 9, 4), (u64::MAX - 5, 4), (u64::MAX - 1, 1)]);
    }

    #[test]
    fn limits_are_whole_blocks() {
        let limits = |max, align, block_bytes| {
            RangeLimits::new(max, align, block_bytes).map(|it| (it.max_sectors(), it.align_sectors()))
        };
        assert_eq!(limits(17, 16, 4096), Some((16, 16)));
        assert_eq!(limits(17, 12, 4096), Some((16, 8)), "no multiple of the blocks");
        assert_eq!(limits(0, 0, 4096), Some((u32::MAX - 7, 8)));
        assert_eq!(limits(7, 8, 4096), None, "not a block fits");
    }

    #[test]
    fn nobody_counts_for_long() {
        let limits = RangeLimits::new(1, 1, 512).unwrap();
        let parts = |sectors| RangeParts::new(0, sectors, limits);
        assert_eq!(parts(4).count_up_to(4), Some(4));
        assert_eq!(parts(5).count_up_to(4), None);
        assert_eq!(parts(u64::MAX).count_up_to(100), None);
    }

    proptest! {
        #[test]
        fn every_sector_is_in_one_part_and_in_order(
            sector in 0_u64..1 << 40,
            blocks in 0_u64..200,
            max in 8_u32..100,
            align in 0_u32..100,
        ) {
            let limits = RangeLimits::new(max, align, 4096).unwrap();
            let (sector, sectors) = (sector * 8, blocks * 8);
            let mut next = sector;
            for part in RangeParts::new(sector, sectors, limits) {
                prop_assert_eq!(part.sector, next);
                prop_assert!(part.sectors > 0 && part.sectors <= max && part.sectors % 8 == 0);
                next += u64::from(part.sectors);
            }
            prop_assert_eq!(next, sector + sectors);
        }
    }
}
