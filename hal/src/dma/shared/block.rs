//! Rings and words one behind the other, in one region.

use core::marker::PhantomData;

use alloc::sync::Arc;

use super::{DmaRing, DmaWords, Owned, Part, SharedWord};
use crate::addr::Align;
use crate::dma::words::Words;
use crate::dma::{DeviceDma, Dma, DmaError};

/// A region that is handed out in parts, from its start on, for devices that find a part by where
/// another one is. No two parts have a byte in common.
///
/// The memory is given back when the last part is [freed](DmaRing::free). A part that is dropped
/// instead is not missed: what the proof is about is the device.
pub struct DmaBlock<D: Dma> {
    owned: Arc<Owned<D>>,
    len_bytes: usize,
    /// What is handed out.
    used_bytes: usize,
}

impl<D: Dma> DmaBlock<D> {
    /// Allocates `len_bytes`, all zero.
    ///
    /// # Errors
    ///
    /// [`DmaError`]; nothing is allocated.
    pub fn zeroed(of: &DeviceDma<D>, len_bytes: usize, align: Align) -> Result<Self, DmaError> {
        let owned = Owned::alloc(of, len_bytes, align)?;
        Ok(Self { owned: Arc::new(owned), len_bytes, used_bytes: 0 })
    }

    /// Leaves out what is in front of the next multiple of `align`, from the start of the region.
    pub fn skip_to(&mut self, align: Align) {
        self.used_bytes = self.used_bytes.checked_next_multiple_of(align.bytes()).unwrap_or(usize::MAX);
    }

    /// The next `count` entries; `None`, and nothing is handed out, when there are not as many left
    /// or they would not be aligned.
    #[must_use]
    pub fn ring<const W: usize>(&mut self, count: usize) -> Option<DmaRing<W, D>> {
        Some(DmaRing { part: self.part::<Words<W>>(count)?, count })
    }

    /// The next `count` words; as [`ring`](Self::ring).
    #[must_use]
    pub fn words<A: SharedWord>(&mut self, count: usize) -> Option<DmaWords<A, D>> {
        Some(DmaWords { part: self.part::<A>(count)?, count, marker: PhantomData })
    }

    /// The next stretch that is `count` of `T` long.
    fn part<T>(&mut self, count: usize) -> Option<Part<D>> {
        let start_bytes = self.used_bytes;
        let end_bytes = size_of::<T>().checked_mul(count)?.checked_add(start_bytes)?;
        if end_bytes > self.len_bytes {
            return None;
        }
        let part = Part::within(&self.owned, start_bytes)?;
        if !part.cpu::<T>().is_aligned() {
            return None;
        }
        self.used_bytes = end_bytes;
        Some(part)
    }
}
