//! Numbers out of bytes. Input that has run out goes on as zeros, but says so.

use paravane_mock_hal::ChangingLoads;

/// Sets how much changes: often or hardly ever, and first loads too or not.
pub(crate) fn as_often_as(seed: u64, loads: ChangingLoads) -> ChangingLoads {
    let [often, first, ..] = seed.to_le_bytes();
    loads.one_in([2, 30, 500][usize::from(often) % 3]).first_too([0, 20, 200][usize::from(first) % 3])
}

/// The rest of an input.
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// A number that is another one for other bytes, and takes none of them.
    pub(crate) fn seed(&self) -> u64 {
        self.0.iter().fold(self.0.len() as u64, |seed, byte| {
            (seed.rotate_left(5) ^ u64::from(*byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        })
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All that is left.
    pub(crate) const fn rest(&mut self) -> &'a [u8] {
        let rest = self.0;
        self.0 = &[];
        rest
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let taken = N.min(self.0.len());
        let (now, rest) = self.0.split_at(taken);
        array[..taken].copy_from_slice(now);
        self.0 = rest;
        array
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    pub(crate) fn bit(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub(crate) fn half(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    pub(crate) fn word(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    /// One of `these`.
    pub(crate) fn pick<T: Copy, const N: usize>(&mut self, these: [T; N]) -> T {
        these[usize::from(self.byte()) % N]
    }

    /// Up to 16 bytes, and where to put them, so that they lie within `len_bytes`.
    pub(crate) fn noise(&mut self, len_bytes: u64) -> (u64, Vec<u8>) {
        let offset = u64::from(self.half()) % len_bytes;
        let most = (len_bytes - offset).min(16);
        let count = 1 + u64::from(self.byte()) % most;
        (offset, (0..count).map(|_| self.byte()).collect())
    }
}
