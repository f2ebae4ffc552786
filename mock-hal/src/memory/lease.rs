//! What a device was given by descriptor: bytes of a shared region that are its own for a while.

use std::fmt;
use std::sync::Arc;

use paravane_hal::dma::Direction;

/// Bytes that a device has, until it completes them or is reset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub(super) addr: u64,
    pub(super) len_bytes: usize,
    pub(super) direction: Direction,
    pub(super) holder: Arc<str>,
    /// The sum of bytes that the device only reads: the driver leaves them alone.
    pub(super) sum: Option<u64>,
}

impl Lease {
    pub(crate) fn new(addr: u64, len_bytes: usize, direction: Direction, holder: &Arc<str>) -> Self {
        Self { addr, len_bytes, direction, holder: Arc::clone(holder), sum: None }
    }

    /// Whether it has any byte of these.
    pub(super) fn overlaps(&self, addr: u64, len_bytes: usize) -> bool {
        addr < self.addr + self.len_bytes as u64 && self.addr < addr + len_bytes as u64
    }
}

/// What tells one content from another.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    bytes.chunks(8).fold(0, |sum: u64, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        (sum.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { addr, len_bytes, direction, holder, .. } = self;
        write!(f, "{len_bytes} bytes at dma:{addr:#x}, owned by device `{holder}` ({direction:?})")
    }
}
