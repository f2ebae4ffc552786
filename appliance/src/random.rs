//! Random numbers that nobody outside can guess: hash keys, cookies, ports, sequence numbers.
//!
//! ChaCha with 20 rounds, the cipher of RFC 8439. Fewer rounds (12, or 8) hold as well as anybody
//! knows, and would be faster; these numbers are wanted a few times a connection, never a frame, so
//! the margin costs nothing, and the published vectors are those of 20.
//!
//! The state is not wiped when it is dropped: who reads this machine's memory has its connections
//! as well.

use core::fmt;
use core::num::NonZeroU32;

use paravane_hal::entropy::{Entropy, EntropyError};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// How long a seed is.
const SEED_BYTES: usize = 32;

/// A generator that was seeded from a source of entropy, and cannot be had without.
///
/// Each part of a program has its own: [`fork`](Self::fork) makes it, and none of them tells
/// anything about another. There is no copy, for two that say the same are no secret.
///
/// ```
/// use paravane_appliance::random::Random;
/// use paravane_hal::entropy::{Entropy, EntropyError};
///
/// fn keys(entropy: &impl Entropy) -> Result<([u64; 2], u32), EntropyError> {
///     let mut random = Random::new(entropy)?;
///     let mut of_flows = random.fork();
///     Ok((of_flows.hash_key(), random.u32()))
/// }
/// ```
pub struct Random {
    cipher: ChaCha20Rng,
}

impl Random {
    /// One that begins with 32 bytes of `entropy`.
    ///
    /// # Errors
    ///
    /// [`EntropyError`]: what needs a generator has to stay off.
    pub fn new(entropy: &(impl Entropy + ?Sized)) -> Result<Self, EntropyError> {
        let mut seed = [0; SEED_BYTES];
        entropy.fill(&mut seed)?;
        Ok(Self::from_seed(seed))
    }

    #[inline(never)]
    pub(crate) fn from_seed(seed: [u8; SEED_BYTES]) -> Self {
        Self { cipher: ChaCha20Rng::from_seed(seed) }
    }

    /// Another one, for one part of a program: seeded with the next of this one's numbers, so no
    /// two are alike.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self::from_seed(self.array())
    }

    /// Mixes 32 new bytes in: who knew the state knows it no longer, and who knows the new bytes
    /// learns nothing. For a machine that may be a copy of another one, such as a snapshot that
    /// runs twice, from time to time; otherwise one seed is enough for ever.
    ///
    /// Forks that were made before go on as they are.
    ///
    /// # Errors
    ///
    /// [`EntropyError`]; it then goes on with the seed that it had.
    pub fn reseed(&mut self, entropy: &(impl Entropy + ?Sized)) -> Result<(), EntropyError> {
        let mut seed = [0; SEED_BYTES];
        entropy.fill(&mut seed)?;
        let own: [u8; SEED_BYTES] = self.array();
        seed.iter_mut().zip(own).for_each(|(byte, own)| *byte ^= own);
        *self = Self::from_seed(seed);
        Ok(())
    }

    /// Any number of 32 bits.
    #[must_use]
    pub fn u32(&mut self) -> u32 {
        self.cipher.next_u32()
    }

    /// Any number of 64 bits.
    #[must_use]
    // The cipher is long: once, and not wherever a number is wanted.
    #[inline(never)]
    pub fn u64(&mut self) -> u64 {
        self.cipher.next_u64()
    }

    /// Any bytes.
    #[inline(never)]
    pub fn fill(&mut self, to: &mut [u8]) {
        self.cipher.fill_bytes(to);
    }

    /// A number below `bound`, each as likely as another.
    ///
    /// It draws again where that would not be so: less often than once in 2³² times.
    #[must_use]
    pub fn below(&mut self, bound: NonZeroU32) -> u32 {
        loop {
            if let Some(number) = scaled(self.u64(), bound) {
                return number;
            }
        }
    }

    /// A key for a hash over what strangers choose.
    #[must_use]
    pub fn hash_key(&mut self) -> [u64; 2] {
        [self.u64(), self.u64()]
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }
}

/// Says nothing of its state.
impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Random").finish_non_exhaustive()
    }
}

/// `word` as a number below `bound`: that part of `bound` which it is of all words. `None` for the
/// few words that would make some numbers likelier than others.
fn scaled(word: u64, bound: NonZeroU32) -> Option<u32> {
    let bound = u64::from(bound.get());
    let product = u128::from(word) * u128::from(bound);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the upper part of 64 and 32 bits' product, and the lower"
    )]
    let (whole, part) = ((product >> 64) as u32, product as u64);
    // 2⁶⁴ modulo `bound` words are too many, and the lowest parts tell one for each.
    let too_many = bound.wrapping_neg() % bound;
    (part >= too_many).then_some(whole)
}

#[cfg(test)]
#[path = "random_tests.rs"]
mod tests;
