//! A stretch of a region, owned alone or together with the others of the region.

use core::ptr::NonNull;

#[cfg(feature = "alloc")]
use alloc::sync::Arc;

use super::Owned;
use crate::addr::{Align, DmaAddr};
use crate::dma::{DeviceDma, Dma, DmaError, Quiet};

/// A stretch of a region.
pub(super) struct Part<D: Dma> {
    owner: Owner<D>,
    /// Where the CPU finds it: kept, for it is looked up with every access.
    cpu: NonNull<u8>,
    offset_bytes: usize,
}

/// Who owns the region.
enum Owner<D: Dma> {
    Alone(Owned<D>),
    /// This part and others of a block: the last one frees it.
    #[cfg(feature = "alloc")]
    Together(Arc<Owned<D>>),
}

impl<D: Dma> Part<D> {
    /// A region of its own.
    ///
    /// # Errors
    ///
    /// [`DmaError`]; nothing is allocated.
    pub(super) fn alloc(of: &DeviceDma<D>, len_bytes: usize, align: Align) -> Result<Self, DmaError> {
        let owned = Owned::alloc(of, len_bytes, align)?;
        Ok(Self { cpu: owned.cpu(), owner: Owner::Alone(owned), offset_bytes: 0 })
    }

    /// What is `offset_bytes` behind the start of `owned`, and inside it.
    #[cfg(feature = "alloc")]
    pub(super) fn within(owned: &Arc<Owned<D>>, offset_bytes: usize) -> Option<Self> {
        let start = owned.cpu::<u8>().as_ptr();
        let cpu = NonNull::new(start.wrapping_add(offset_bytes))?;
        Some(Self { cpu, owner: Owner::Together(owned.clone()), offset_bytes })
    }

    #[inline(always)]
    pub(super) fn cpu<T>(&self) -> NonNull<T> {
        self.cpu.cast()
    }

    /// Where the device finds it; the region counts as known to the device from here on.
    pub(super) fn expose(&self) -> DmaAddr {
        match &self.owner {
            Owner::Alone(owned) => owned.expose(self.offset_bytes),
            #[cfg(feature = "alloc")]
            Owner::Together(owned) => owned.expose(self.offset_bytes),
        }
    }

    /// Gives it back if `quiet` is about its device, and with the last part of a region the memory;
    /// else the part back.
    pub(super) fn free(self, quiet: &Quiet<'_>) -> Result<(), Self> {
        let Self { owner, cpu, offset_bytes } = self;
        match owner {
            Owner::Alone(owned) => {
                owned.free(quiet).map_err(|owned| Self { owner: Owner::Alone(owned), cpu, offset_bytes })
            }
            #[cfg(feature = "alloc")]
            Owner::Together(owned) if owned.device != quiet.device() => {
                Err(Self { owner: Owner::Together(owned), cpu, offset_bytes })
            }
            #[cfg(feature = "alloc")]
            Owner::Together(owned) => {
                if let Some(owned) = Arc::into_inner(owned) {
                    // About its device, as was seen.
                    let _ = owned.free(quiet);
                }
                Ok(())
            }
        }
    }
}
