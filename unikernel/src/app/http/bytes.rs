//! Pseudo-random bytes, and their digest.

use sha2::digest::Output;
use sha2::{Digest, Sha256};

/// An endless, repeatable stream of bytes that do not compress, hashed as it is taken.
#[derive(Clone, Debug)]
pub struct ByteStream {
    state: u64,
    word: [u8; 8],
    /// How many bytes of `word` are taken.
    taken: usize,
    hash: Sha256,
}

impl ByteStream {
    /// The stream that `seed` names.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed, word: [0; 8], taken: 8, hash: Sha256::new() }
    }

    /// Fills `to` with the next bytes.
    pub fn fill(&mut self, to: &mut [u8]) {
        let mut at = self.drain_word(to);
        let (words, rest) = to.get_mut(at..).unwrap_or(&mut []).as_chunks_mut::<8>();
        for word in words {
            *word = self.next_word();
            at = at.wrapping_add(8);
        }
        if !rest.is_empty() {
            self.word = self.next_word();
            self.taken = 0;
            self.drain_word(rest);
        }
        self.hash.update(to);
    }

    /// The digest of all bytes taken.
    #[must_use]
    pub fn digest(self) -> Output<Sha256> {
        self.hash.finalize()
    }

    /// Copies what is left of the last word to the front of `to`. Returns how much that was.
    fn drain_word(&mut self, to: &mut [u8]) -> usize {
        let left = self.word.get(self.taken..).unwrap_or(&[]);
        let len = left.len().min(to.len());
        for (to, from) in to.iter_mut().zip(left) {
            *to = *from;
        }
        self.taken = self.taken.wrapping_add(len);
        len
    }

    /// SplitMix64: a counter, stirred.
    fn next_word(&mut self) -> [u8; 8] {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_do_not_matter() {
        let mut whole = [0; 1000];
        let mut stream = ByteStream::new(7);
        stream.fill(&mut whole);
        for piece in 1..40 {
            let mut pieced = [0; 1000];
            let mut other = ByteStream::new(7);
            pieced.chunks_mut(piece).for_each(|chunk| other.fill(chunk));
            assert_eq!(pieced, whole, "in pieces of {piece}");
            assert_eq!(other.digest(), stream.clone().digest());
        }
        assert_eq!(stream.digest(), Sha256::digest(whole));
    }

    #[test]
    fn the_first_word_is_splitmix64s() {
        let mut word = [0; 8];
        ByteStream::new(1_234_567).fill(&mut word);
        assert_eq!(u64::from_le_bytes(word), 6_457_827_717_110_365_317);
    }
}
