//! How blocks lie on a medium, and how worn it is.

use crate::request::LIFETIME_BYTES;

/// How blocks lie on the medium, as far as its device says. Nothing of it has to be obeyed; what is
/// obeyed is faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topology {
    /// A physical block, which the medium writes at once, is two to the power of this many blocks.
    pub physical_block_exponent: u8,
    /// The first block that begins a physical one.
    pub first_aligned_block: u8,
    /// The least that is written without another read, in blocks; 0: not known.
    pub min_io_blocks: u16,
    /// What is written at once fastest, in blocks; 0: not known.
    pub optimal_io_blocks: u32,
}

impl Topology {
    /// Nothing is known.
    pub const UNKNOWN: Self =
        Self { physical_block_exponent: 0, first_aligned_block: 0, min_io_blocks: 0, optimal_io_blocks: 0 };

    /// How long a physical block is, of a disk whose blocks are of `block_bytes`. `None` where that
    /// is more than can be counted: the device says nonsense.
    #[must_use]
    pub fn physical_block_bytes(self, block_bytes: u32) -> Option<u64> {
        let blocks = 1_u64.checked_shl(self.physical_block_exponent.into())?;
        blocks.checked_mul(block_bytes.into())
    }
}

/// Cylinders, heads and sectors, for programs that think in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Cylinders.
    pub cylinders: u16,
    /// Heads of each.
    pub heads: u8,
    /// Sectors of each track.
    pub sectors: u8,
}

/// How much of what a medium holds in reserve it has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reserve {
    /// The device does not say.
    Unknown,
    /// Less than 80 percent.
    Normal,
    /// 80 percent or more.
    Low,
    /// 90 percent or more.
    Urgent,
    /// Something that the specification does not know.
    Other(u16),
}

/// How worn a medium is.
///
/// Spec: VIRTIO 1.2, 5.2.6 "Device Operation", `struct virtio_blk_lifetime`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Its reserve of blocks.
    pub reserve: Reserve,
    /// How much of its life the part of one kind of memory has lived, at most, in percent: a
    /// multiple of ten, 110 for one that outlived it. `None`: the device does not say.
    pub used_percent_a: Option<u8>,
    /// The same of the other kind.
    pub used_percent_b: Option<u8>,
}

impl Lifetime {
    /// What a device wrote as answer to [`Operation::Lifetime`](crate::Operation::Lifetime).
    #[must_use]
    pub const fn from_bytes(bytes: [u8; LIFETIME_BYTES]) -> Self {
        let [reserve_low, reserve_high, a_low, a_high, b_low, b_high] = bytes;
        let reserve = match u16::from_le_bytes([reserve_low, reserve_high]) {
            0 => Reserve::Unknown,
            1 => Reserve::Normal,
            2 => Reserve::Low,
            3 => Reserve::Urgent,
            other => Reserve::Other(other),
        };
        Self {
            reserve,
            used_percent_a: used_percent([a_low, a_high]),
            used_percent_b: used_percent([b_low, b_high]),
        }
    }
}

/// 1 is up to ten percent, 10 up to a hundred, 11 more.
const fn used_percent(bytes: [u8; 2]) -> Option<u8> {
    match bytes {
        [tenths @ 1..=11, 0] => Some(tenths.saturating_mul(10)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_physical_block_is_a_power_of_two_of_blocks() {
        let bytes = |exponent| {
            let topology = Topology { physical_block_exponent: exponent, ..Topology::UNKNOWN };
            topology.physical_block_bytes(512)
        };
        assert_eq!([0, 3, 54].map(bytes), [Some(512), Some(4096), Some(1 << 63)]);
        assert_eq!([55, 63, 64, 255].map(bytes), [None; 4]);
    }

    #[test]
    fn wear_is_told_in_tenths() {
        let used = |a: u8, high| Lifetime::from_bytes([1, 0, a, high, 0, 0]).used_percent_a;
        assert_eq!([used(1, 0), used(10, 0), used(11, 0)], [Some(10), Some(100), Some(110)]);
        assert_eq!([used(0, 0), used(12, 0), used(1, 1)], [None; 3], "nothing that is defined");
        let lifetime = Lifetime::from_bytes([3, 0, 0, 0, 4, 0]);
        assert_eq!((lifetime.reserve, lifetime.used_percent_b), (Reserve::Urgent, Some(40)));
        let reserve = |low, high| Lifetime::from_bytes([low, high, 0, 0, 0, 0]).reserve;
        assert_eq!(reserve(0, 0), Reserve::Unknown);
        assert_eq!((reserve(1, 0), reserve(2, 0)), (Reserve::Normal, Reserve::Low));
        assert_eq!(reserve(1, 2), Reserve::Other(0x201));
    }
}
