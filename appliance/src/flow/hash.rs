//! A hash over keys that nobody outside can work out.
//!
//! ```text
//!  words of a key -- NH --> 128 bits -- multiplied once more, folded --> 64 bits
//! ```
//!
//! NH multiplies pairs of words, a secret added to each, and adds the products up. Of two keys that
//! somebody chose who does not know the secrets, these sums are the same once in 2⁶⁴ times,
//! whichever the keys are: that is proven. The second multiplication has secrets of its own, and
//! stirs all bits, so that keys which are in one place by chance say little of which others would
//! be.
//!
//! A hash for this, not for signatures: whoever is told hashes could work the secrets out.
//!
//! Spec: RFC 4418, 5.2 "L1-HASH" (NH), with words of 64 bits.

use crate::random::Random;

/// The secrets: of pairs of words, and of what comes of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HashKey([[u64; 2]; 4]);

impl HashKey {
    /// Others than ever before.
    pub(crate) fn new(random: &mut Random) -> Self {
        Self([(); 4].map(|()| random.hash_key()))
    }

    /// Of what a key of IPv4 has.
    #[inline(always)]
    pub(super) fn v4(&self, addresses: u64, rest: u64) -> u64 {
        let Self([first, .., last]) = self;
        stirred(product([addresses, rest], first), last)
    }

    /// Of what one of IPv6 has.
    pub(super) fn v6(&self, [s0, s1, d0, d1]: [u64; 4], rest: u64) -> u64 {
        let Self([first, second, third, last]) = self;
        let sum = product([s0, rest], first)
            .wrapping_add(product([s1, d0], second))
            .wrapping_add(product([d1, 0], third));
        stirred(sum, last)
    }
}

#[inline(always)]
fn product([a, b]: [u64; 2], [of_a, of_b]: &[u64; 2]) -> u128 {
    u128::from(a.wrapping_add(*of_a)).wrapping_mul(b.wrapping_add(*of_b).into())
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "halves of 128 bits")]
fn stirred(sum: u128, [of_low, of_high]: &[u64; 2]) -> u64 {
    let product = u128::from(sum as u64 ^ of_low).wrapping_mul(((sum >> 64) as u64 ^ of_high).into());
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
#[path = "hash_tests.rs"]
mod tests;
