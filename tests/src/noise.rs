//! Bytes that look random, repeat exactly for a seed, and cost next to nothing to make.

use std::io::{self, Read};

/// An endless pseudo-random stream.
#[derive(Clone, Debug)]
pub struct Noise {
    state: u64,
    word: [u8; 8],
    /// Bytes of `word` already given out.
    used: usize,
}

impl Noise {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: seed, word: [0; 8], used: 8 }
    }

    /// The next 64 bits, by the SplitMix64 recurrence.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl Read for Noise {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        for byte in buffer.iter_mut() {
            if self.used == self.word.len() {
                self.word = self.next_u64().to_le_bytes();
                self.used = 0;
            }
            *byte = self.word[self.used];
            self.used += 1;
        }
        Ok(buffer.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_does_not_depend_on_how_it_is_read() {
        let mut whole = [0; 1000];
        Noise::new(7).read_exact(&mut whole).unwrap();
        let mut pieces = Noise::new(7);
        let mut at = 0;
        for len in (1..=13).cycle() {
            if at == whole.len() {
                break;
            }
            let end = whole.len().min(at + len);
            let mut piece = vec![0; end - at];
            pieces.read_exact(&mut piece).unwrap();
            assert_eq!(piece, whole[at..end]);
            at = end;
        }
        let mut other = [0; 1000];
        Noise::new(8).read_exact(&mut other).unwrap();
        assert_ne!(whole, other);
    }

    /// First output for seed 0 as published with the algorithm.
    #[test]
    fn is_splitmix64() {
        assert_eq!(Noise::new(0).next_u64(), 0xe220_a839_7b1d_cdaf);
    }
}
