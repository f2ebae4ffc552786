//! What a pool's buffers lie in.

use alloc::vec::Vec;

use crate::dma::{Dma, DmaRegion};

/// The pool's regions, with the kind of domain forgotten.
pub(super) trait Memory: Send + Sync {
    /// Gives every region back.
    ///
    /// # Safety
    ///
    /// Nothing reaches the regions any more, the device included.
    unsafe fn release(&mut self);
}

pub(super) struct Regions<D> {
    pub(super) dma: D,
    pub(super) regions: Vec<DmaRegion>,
}

// SAFETY: `regions` is only touched through `&mut`, in `release`; the domain is `Sync` by the
// bound.
unsafe impl<D: Sync> Sync for Regions<D> {}

impl<D: Dma + Send + Sync> Memory for Regions<D> {
    unsafe fn release(&mut self) {
        for region in self.regions.drain(..) {
            // SAFETY: the region came from this domain's `alloc`; the caller vouches for the rest.
            unsafe { self.dma.free(region) };
        }
    }
}
