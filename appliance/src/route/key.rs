//! Addresses as numbers, of either version.

/// An address as a number.
pub(super) trait Key: Copy + Ord {
    /// How many bits it has.
    const WIDTH: u8;

    /// With all but the first `bits` bits cleared.
    fn first_of(self, bits: u8) -> Self;

    /// With all but the first `bits` bits set.
    fn last_of(self, bits: u8) -> Self;

    /// The next address; `None` behind the last one.
    fn next(self) -> Option<Self>;

    /// The address before it; `None` before the first one.
    fn previous(self) -> Option<Self>;
}

macro_rules! key {
    ($number:ty, $bits:literal) => {
        impl Key for $number {
            const WIDTH: u8 = $bits;

            fn first_of(self, bits: u8) -> Self {
                self & !Self::MAX.checked_shr(bits.into()).unwrap_or(0)
            }

            fn last_of(self, bits: u8) -> Self {
                self | Self::MAX.checked_shr(bits.into()).unwrap_or(0)
            }

            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }

            fn previous(self) -> Option<Self> {
                self.checked_sub(1)
            }
        }
    };
}

key!(u32, 32);
key!(u128, 128);
