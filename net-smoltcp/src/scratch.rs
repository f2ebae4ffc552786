//! A buffer of the CPU's own, for one frame.
//!
//! smoltcp reads and writes frames through plain slices, and memory that a device may write is
//! never behind one. So a frame is copied once, between its DMA buffer and this.

use alloc::boxed::Box;
use alloc::vec;

/// Bytes aligned for wide copies, as many as the largest frame.
#[derive(Debug)]
pub(crate) struct Scratch(Box<[u64]>);

impl Scratch {
    /// Room for `len_bytes`.
    pub(crate) fn new(len_bytes: usize) -> Self {
        Self(vec![0; len_bytes.div_ceil(8)].into_boxed_slice())
    }

    /// The bytes.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        zerocopy::IntoBytes::as_mut_bytes(&mut *self.0)
    }
}
