//! A heap that plays DMA memory, for this crate's own tests. Device addresses are offset, so that
//! mixing them up with CPU addresses shows.

#![expect(unsafe_code, reason = "raw memory from the global allocator")]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use crate::addr::DmaAddr;
use crate::dma::{Direction, Dma, DmaError, DmaErrorReason, DmaLimits, DmaMapping, DmaRegion, DmaRequest};

const OFFSET: u64 = 0x1000_0000_0000;
const ALIGN: usize = 4096;

/// Counts what is out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heap {
    pub(crate) regions: Arc<AtomicUsize>,
    pub(crate) mappings: Arc<AtomicUsize>,
    /// What was mapped last, as the platform was told: where its device reaches.
    pub(crate) mapped: Arc<AtomicPtr<u8>>,
    pub(crate) max_segment_bytes: Option<usize>,
    pub(crate) full: bool,
    /// Gives so many bytes less than asked for.
    pub(crate) short_by: usize,
}

fn device_addr(cpu: NonNull<u8>) -> DmaAddr {
    // SAFETY: there is no device.
    unsafe { DmaAddr::from_platform(cpu.addr().get() as u64 + OFFSET) }
}

// SAFETY: the global allocator gives unique, zeroed, aligned memory; there is no device.
unsafe impl Dma for Heap {
    fn limits(&self) -> DmaLimits {
        DmaLimits { max_segment_bytes: self.max_segment_bytes.unwrap_or(usize::MAX), ..DmaLimits::NONE }
    }

    fn alloc(&self, request: DmaRequest) -> Result<DmaRegion, DmaError> {
        let full = DmaError::new(request.len_bytes.get(), DmaErrorReason::OutOfMemory);
        if self.full || request.align.bytes() > ALIGN {
            return Err(full);
        }
        let len = NonZeroUsize::new(request.len_bytes.get() - self.short_by).unwrap();
        let layout = Layout::from_size_align(len.get(), ALIGN).unwrap();
        // SAFETY: the length is not zero.
        let cpu = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(full)?;
        self.regions.fetch_add(1, Ordering::SeqCst);
        // A cookie of its own for each, to be seen again.
        let cookie = cpu.as_ptr().wrapping_add(1).cast();
        Ok(DmaRegion::new(cpu, device_addr(cpu), len).with_cookie(cookie))
    }

    unsafe fn free(&self, region: DmaRegion) {
        assert!(
            region.cookie() == region.cpu().as_ptr().wrapping_add(1).cast(),
            "the platform's word comes back"
        );
        self.regions.fetch_sub(1, Ordering::SeqCst);
        let layout = Layout::from_size_align(region.len_bytes().get(), ALIGN).unwrap();
        // SAFETY: same layout as in `alloc`; the caller gives the region up.
        unsafe { dealloc(region.cpu().as_ptr(), layout) };
    }

    unsafe fn map(&self, memory: NonNull<[u8]>, direction: Direction) -> Result<DmaMapping, DmaError> {
        if self.full {
            return Err(DmaError::new(memory.len(), DmaErrorReason::Unmappable));
        }
        self.mappings.fetch_add(1, Ordering::SeqCst);
        self.mapped.store(memory.cast().as_ptr(), Ordering::SeqCst);
        Ok(DmaMapping::new(memory, device_addr(memory.cast()), direction).with_cookie(memory.as_ptr().cast()))
    }

    unsafe fn unmap(&self, mapping: DmaMapping) {
        assert!(mapping.cookie() == mapping.memory().as_ptr().cast(), "the platform's word comes back");
        self.mappings.fetch_sub(1, Ordering::SeqCst);
    }
}
