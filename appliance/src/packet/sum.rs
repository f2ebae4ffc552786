//! The Internet checksum: over bytes, and by how much a change of bytes changes it.
//!
//! Spec: RFC 1071 "Computing the Internet Checksum", RFC 1624 "Computation of the Internet Checksum
//! via Incremental Update".

/// A sum of 16-bit words in ones' complement, not folded yet.
///
/// What is added comes in whole words; a last odd byte counts as the high half of one. Far more can
/// be added than a packet has before the sum would wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// Of nothing.
    pub const ZERO: Self = Self(0);

    /// With a word more.
    #[must_use]
    #[inline(always)]
    pub const fn and(self, word: u16) -> Self {
        Self(self.0.wrapping_add(word as u64))
    }

    /// With a word less, which was in it.
    #[must_use]
    #[inline(always)]
    pub const fn without(self, word: u16) -> Self {
        self.and(!word)
    }

    /// With a number of two words more. What is carried from the low one into the high one comes
    /// back when the sum is folded.
    #[must_use]
    #[inline(always)]
    pub const fn and_u32(self, number: u32) -> Self {
        Self(self.0.wrapping_add(number as u64))
    }

    /// With all of `other` more.
    #[must_use]
    #[inline(always)]
    pub const fn and_all(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    /// With the words of `bytes` more.
    #[must_use]
    #[inline]
    pub fn and_bytes(self, bytes: &[u8]) -> Self {
        // Two words at once are as good as one by one: what is carried from the low one into the
        // high one comes back when the sum is folded.
        let (pairs, rest) = bytes.as_chunks::<4>();
        let sum = pairs
            .iter()
            .fold(self, |Self(sum), pair| Self(sum.wrapping_add(u32::from_be_bytes(*pair).into())));
        match *rest {
            [] => sum,
            [high] => sum.and(u16::from_be_bytes([high, 0])),
            [high, low] => sum.and(u16::from_be_bytes([high, low])),
            [high, low, last, ..] => {
                sum.and(u16::from_be_bytes([high, low])).and(u16::from_be_bytes([last, 0]))
            }
        }
    }

    /// The same of bytes that follow an odd number of others: each is the other half of its word.
    #[must_use]
    #[inline]
    pub fn and_odd_bytes(self, bytes: &[u8]) -> Self {
        self.and(Self::ZERO.and_bytes(bytes).folded().swap_bytes())
    }

    /// With the words of `bytes` less, which were in it.
    #[must_use]
    #[inline]
    pub fn without_bytes(self, bytes: &[u8]) -> Self {
        let (words, last) = bytes.as_chunks::<2>();
        let sum = words.iter().fold(self, |sum, word| sum.without(u16::from_be_bytes(*word)));
        match last {
            [high] => sum.without(u16::from_be_bytes([*high, 0])),
            _ => sum,
        }
    }

    /// What is put before a message to be summed, of its addresses, its length and its protocol.
    ///
    /// Spec: RFC 9293, 3.1; RFC 8200, 8.1 "Upper-Layer Checksums".
    #[must_use]
    pub fn pseudo_header(source: &[u8], destination: &[u8], protocol: u8, len_bytes: u32) -> Self {
        // Its two halves; no packet here is so long that the high one is not zero.
        #[expect(clippy::cast_possible_truncation, reason = "halves of 32 bits")]
        let (high, low) = ((len_bytes >> 16) as u16, len_bytes as u16);
        Self::ZERO.and_bytes(source).and_bytes(destination).and(protocol.into()).and(high).and(low)
    }

    /// In 16 bits.
    #[must_use]
    #[inline(always)]
    pub const fn folded(self) -> u16 {
        let mut sum = self.0;
        // Both halves added, and what is carried out of the lower one, which becomes the upper one
        // that way; what is carried out of that comes back as one.
        if sum > 0xffff_ffff {
            sum = sum.wrapping_add(sum.rotate_left(32)) >> 32;
        }
        #[expect(clippy::cast_possible_truncation, reason = "halves of it")]
        let sum = sum as u32;
        (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
    }

    /// As a header has it: the complement.
    #[must_use]
    #[inline(always)]
    pub const fn checksum(self) -> u16 {
        !self.folded()
    }

    /// The `checksum` of a header in which words changed: `self` has what came
    /// [less what went](Self::without).
    #[must_use]
    #[inline(always)]
    pub const fn applied_to(self, checksum: u16) -> u16 {
        self.and(!checksum).checksum()
    }
}

#[cfg(test)]
#[path = "sum_tests.rs"]
mod tests;
