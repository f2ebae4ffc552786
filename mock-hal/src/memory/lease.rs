//! What a device was given by descriptor: bytes of a shared region that are its own for a while.

use std::fmt;

use paravane_hal::dma::Direction;

/// Bytes that a device has, until it completes them or is reset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub(super) addr: u64,
    pub(super) len_bytes: usize,
    pub(super) direction: Direction,
    pub(super) holder: String,
}

impl Lease {
    pub(crate) fn new(addr: u64, len_bytes: usize, direction: Direction, holder: &str) -> Self {
        Self { addr, len_bytes, direction, holder: holder.into() }
    }

    /// Whether it has any byte of these.
    pub(super) fn overlaps(&self, addr: u64, len_bytes: usize) -> bool {
        addr < self.addr + self.len_bytes as u64 && self.addr < addr + len_bytes as u64
    }
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { addr, len_bytes, direction, holder } = self;
        write!(f, "{len_bytes} bytes at dma:{addr:#x}, owned by device `{holder}` ({direction:?})")
    }
}
