//! Memory that the device reaches, by offsets.

use paravane_hal::Platform;
use paravane_hal::addr::Align;
use paravane_hal::dma::{DeviceDma, DmaError, DmaWords, Quiet, Word32};

/// Words of memory, at a page's start. What lies outside reads 0, and writes there go nowhere.
pub(crate) struct Block<P: Platform> {
    words: DmaWords<Word32, P>,
}

impl<P: Platform> Block<P> {
    /// At least `len_bytes` in whole pages, all zero.
    pub(crate) fn new(of: &DeviceDma<P>, len_bytes: usize) -> Result<Self, DmaError> {
        Ok(Self {
            words: DmaWords::zeroed(of, len_bytes.div_ceil(4096).saturating_mul(1024), Align::new(4096))?,
        })
    }

    /// Where the device finds the byte at `at`.
    pub(crate) fn address(&self, at: usize) -> u64 {
        self.words.dma_addr().get().wrapping_add(at as u64)
    }

    pub(crate) fn get32(&self, at: usize) -> u32 {
        self.words.words().get(at / 4).map_or(0, Word32::load)
    }

    pub(crate) fn put32(&self, at: usize, value: u32) {
        if let Some(word) = self.words.words().get(at / 4) {
            word.store(value);
        }
    }

    pub(crate) fn put64(&self, at: usize, value: u64) {
        #[expect(clippy::cast_possible_truncation, reason = "the low half is the point")]
        self.put32(at, value as u32);
        self.put32(at.wrapping_add(4), (value >> 32) as u32);
    }

    pub(crate) fn get64(&self, at: usize) -> u64 {
        u64::from(self.get32(at)) | u64::from(self.get32(at.wrapping_add(4))) << 32
    }

    pub(crate) fn get8(&self, at: usize) -> u8 {
        let [first, second, third, fourth] = self.get32(at).to_le_bytes();
        match at % 4 {
            0 => first,
            1 => second,
            2 => third,
            _ => fourth,
        }
    }

    /// Not for words in which the device writes other bytes.
    pub(crate) fn put8(&self, at: usize, value: u8) {
        let mut bytes = self.get32(at).to_le_bytes();
        if let Some(byte) = bytes.get_mut(at % 4) {
            *byte = value;
        }
        self.put32(at, u32::from_le_bytes(bytes));
    }

    pub(crate) fn put16(&self, at: usize, value: u16) {
        let [low, high] = value.to_le_bytes();
        self.put8(at, low);
        self.put8(at.wrapping_add(1), high);
    }

    /// Copies `bytes` to `at`, a multiple of 4; the rest of the last word becomes 0.
    pub(crate) fn put(&self, at: usize, bytes: &[u8]) {
        for (index, chunk) in bytes.chunks(4).enumerate() {
            let mut word = [0; 4];
            word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
            self.put32(at.wrapping_add(index.wrapping_mul(4)), u32::from_le_bytes(word));
        }
    }

    /// Copies `len_bytes` from `at` out.
    pub(crate) fn get(&self, at: usize, len_bytes: usize) -> alloc::vec::Vec<u8> {
        (at..at.saturating_add(len_bytes)).map(|at| self.get8(at)).collect()
    }

    /// Gives it back. Dropped instead, it is leaked, for the device knows of it.
    pub(crate) fn free(self, quiet: &Quiet<'_>) {
        // About its device: there is one.
        let _ = self.words.free(quiet);
    }
}
