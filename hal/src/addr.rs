//! The kinds of address, and why none turns into another by a cast.
//!
//! | Type | Who uses it | Where it comes from |
//! |---|---|---|
//! | a pointer | the CPU | memory that Rust or a [`Dma`](crate::dma::Dma) implementation allocated |
//! | [`PhysAddr`] | the bus, for registers | a BAR, an ACPI table, a device tree |
//! | [`DmaAddr`] | a device | a region that a [`Dma`](crate::dma::Dma) implementation handed out |
//!
//! Behind an IOMMU, in a confidential guest or in a test the three differ; code that mixes them up
//! works on an identity-mapped machine and nowhere else. So they are three types without
//! conversions.

use core::fmt;

/// An address on the CPU's physical bus: where registers and firmware tables are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct PhysAddr(u64);

impl PhysAddr {
    /// Names a physical address, as read from a BAR or a firmware table.
    #[must_use]
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The number, for a platform that is about to map it.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The address `offset_bytes` further on, if there is one.
    #[must_use]
    pub const fn checked_add(self, offset_bytes: u64) -> Option<Self> {
        match self.0.checked_add(offset_bytes) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }
}

impl fmt::Debug for PhysAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "phys:{:#x}", self.0)
    }
}

/// An address as a device sees it (the specifications' "physical address", or an I/O virtual
/// address).
///
/// There is no safe way to make one from a number: it comes from a region or a mapping, so that a
/// driver written without `unsafe` can only point its device at memory that the platform gave it
/// for that.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct DmaAddr(u64);

impl DmaAddr {
    /// Names a device address. For platforms only.
    ///
    /// # Safety
    ///
    /// The platform translated the address itself: a device that reads or writes there reaches the
    /// memory that the address is given out for, and nothing else, for the length that goes with
    /// it.
    #[must_use]
    #[expect(unsafe_code, reason = "the one door through which a number becomes a device address")]
    pub const unsafe fn from_platform(raw: u64) -> Self {
        Self(raw)
    }

    /// The number to write into a descriptor or a register.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The low 32 bits, for devices that take an address in halves.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the half is the point")]
    pub const fn low(self) -> u32 {
        self.0 as u32
    }

    /// The high 32 bits.
    #[must_use]
    pub const fn high(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// `offset_bytes` further on. Only regions call this, after checking the offset against their
    /// length.
    pub(crate) const fn offset(self, offset_bytes: usize) -> Self {
        Self(self.0.wrapping_add(offset_bytes as u64))
    }
}

impl fmt::Debug for DmaAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dma:{:#x}", self.0)
    }
}

/// An alignment: a power of two, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Align(usize);

impl Align {
    /// No constraint.
    pub const BYTE: Self = Self(1);
    /// A 4 KiB page.
    pub const PAGE: Self = Self(4096);

    /// Names an alignment of `bytes`.
    ///
    /// # Panics
    ///
    /// When `bytes` is not a power of two; in a constant, that is a compile error.
    #[must_use]
    #[expect(clippy::panic, reason = "alignments are constants of the program, checked when it is compiled")]
    pub const fn new(bytes: usize) -> Self {
        match Self::checked(bytes) {
            Some(align) => align,
            None => panic!("an alignment is a power of two"),
        }
    }

    /// Names an alignment of `bytes`, or `None` when that is not a power of two.
    #[must_use]
    pub const fn checked(bytes: usize) -> Option<Self> {
        if bytes.is_power_of_two() { Some(Self(bytes)) } else { None }
    }

    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.0
    }

    /// The stricter of two.
    #[must_use]
    pub const fn max(self, other: Self) -> Self {
        if self.0 > other.0 { self } else { other }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_a_device_address() {
        #[expect(unsafe_code, reason = "a number is enough to look at its halves")]
        // SAFETY: no device ever sees the address.
        let addr = unsafe { DmaAddr::from_platform(0x1234_5678_9abc_def0) };
        assert_eq!((addr.high(), addr.low()), (0x1234_5678, 0x9abc_def0));
    }

    #[test]
    fn an_alignment_is_a_power_of_two() {
        assert_eq!(Align::checked(0), None);
        assert_eq!(Align::checked(24), None);
        assert_eq!(Align::checked(512).map(Align::bytes), Some(512));
    }

    #[test]
    fn physical_arithmetic_does_not_wrap() {
        assert_eq!(PhysAddr::new(u64::MAX).checked_add(1), None);
    }
}
