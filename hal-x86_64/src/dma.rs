//! DMA memory from physical frames, for a machine without an IOMMU: a device address is a physical
//! address.
//!
//! A [`DmaDomain`] is the state (frames, where they are mapped, how much is out); a [`FrameDma`] is
//! the handle that drivers clone: one pointer. Memory is write-back cached: on x86 a device's
//! accesses are coherent with the caches.

#![expect(unsafe_code, reason = "implements the platform's side of the DMA contract")]

use core::num::NonZeroUsize;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use paravane_hal::addr::DmaAddr;
use paravane_hal::dma::{
    Direction, Dma, DmaError, DmaErrorReason, DmaLimits, DmaMapping, DmaRegion, DmaRequest,
};

use crate::frames::{FRAME_BYTES, FrameError, FrameRequest, FrameRun, FrameSource};
use crate::linear::LinearMap;

/// What the handles of a domain share.
#[derive(Debug)]
pub struct DmaDomain<F> {
    frames: F,
    map: LinearMap,
    in_use_bytes: AtomicUsize,
    mapped_bytes: AtomicUsize,
}

impl<F: FrameSource> DmaDomain<F> {
    /// A domain that takes its memory from `frames`.
    ///
    /// # Safety
    ///
    /// - `frames` gives out only RAM that nothing else in the program uses, and no frame twice
    ///   before it was taken back. Nobody but this domain gives back what it was given.
    /// - No IOMMU stands between devices and memory, or it passes addresses through unchanged.
    #[must_use]
    pub const unsafe fn new(frames: F, map: LinearMap) -> Self {
        Self { frames, map, in_use_bytes: AtomicUsize::new(0), mapped_bytes: AtomicUsize::new(0) }
    }
}

/// A handle to a domain.
#[derive(Debug)]
pub struct FrameDma<F: 'static> {
    domain: &'static DmaDomain<F>,
}

impl<F> Clone for FrameDma<F> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<F> Copy for FrameDma<F> {}

impl<F: FrameSource> FrameDma<F> {
    /// A handle to `domain`.
    #[must_use]
    pub const fn new(domain: &'static DmaDomain<F>) -> Self {
        Self { domain }
    }

    /// Bytes allocated and not yet freed, in whole frames. Leaked memory stays in it.
    #[must_use]
    pub fn dma_bytes_in_use(&self) -> usize {
        self.domain.in_use_bytes.load(Relaxed)
    }

    /// Bytes of other memory that are mapped for devices now.
    #[must_use]
    pub fn mapped_bytes(&self) -> usize {
        self.domain.mapped_bytes.load(Relaxed)
    }

    /// Gives frames back that no pointer or device knows. A source that refuses its own run keeps
    /// it out of use, which is safe.
    fn give_back(&self, run: FrameRun) -> bool {
        self.domain.frames.free_frames(run).is_ok()
    }
}

// SAFETY:
// - The device reaches exactly the memory named: its address is the physical one
//   (`DmaDomain::new`), and frames of a run are contiguous.
// - `alloc`: the region is as asked for (checked), its frames are nobody else's (`DmaDomain::new`),
//   mapped writable over the whole run (`LinearMap::new`, checked by `to_virt`), zeroed below, and
//   coherent, for x86 snoops.
// - `map`: the memory is RAM inside the linear map, so it is contiguous and its physical address is
//   found by subtraction; coherence as above.
unsafe impl<F: FrameSource> Dma for FrameDma<F> {
    fn limits(&self) -> DmaLimits {
        DmaLimits::NONE
    }

    fn alloc(&self, request: DmaRequest) -> Result<DmaRegion, DmaError> {
        let refuse = |reason| DmaError::new(request.len_bytes.get(), reason);
        let frames = NonZeroUsize::new(request.len_bytes.get().div_ceil(FRAME_BYTES))
            .ok_or(refuse(DmaErrorReason::BadLength))?;
        let wanted = FrameRequest { frames, align: request.align, address_bits: request.address_bits };
        let run = self.domain.frames.alloc_frames(wanted).map_err(|error| {
            refuse(match error {
                FrameError::AddressWidth { address_bits } => DmaErrorReason::AddressWidth { address_bits },
                _ => DmaErrorReason::OutOfMemory,
            })
        })?;
        let len = run.len_bytes();
        let Some(cpu) = self.domain.map.to_virt(run.start, len as u64) else {
            self.give_back(run);
            return Err(refuse(DmaErrorReason::OutOfMemory));
        };
        // SAFETY: without an IOMMU the physical address is the device's, for all of the run.
        let dma = unsafe { DmaAddr::from_platform(run.start.get()) };
        let region = DmaRegion::new(cpu, dma, NonZeroUsize::new(len).unwrap_or(NonZeroUsize::MIN));
        // What the source says of its runs is not believed; that they are nobody else's has to be.
        if let Err(error) = request.check(&region) {
            self.give_back(run);
            return Err(error);
        }
        // SAFETY: the run is ours alone, and mapped writable over its length, as argued above.
        unsafe { cpu.write_bytes(0, len) };
        self.domain.in_use_bytes.fetch_add(len, Relaxed);
        Ok(region)
    }

    unsafe fn free(&self, region: DmaRegion) {
        let len = region.len_bytes().get();
        let Some(frames) = NonZeroUsize::new(len / FRAME_BYTES) else { return };
        let run = FrameRun { start: paravane_hal::addr::PhysAddr::new(region.dma().get()), frames };
        if self.give_back(run) {
            self.domain.in_use_bytes.fetch_sub(len, Relaxed);
        }
    }

    unsafe fn map(&self, memory: NonNull<[u8]>, direction: Direction) -> Result<DmaMapping, DmaError> {
        if memory.is_empty() {
            return Err(DmaError::new(0, DmaErrorReason::BadLength));
        }
        let phys = self
            .domain
            .map
            .to_phys(memory.cast(), memory.len())
            .ok_or(DmaError::new(memory.len(), DmaErrorReason::Unmappable))?;
        self.domain.mapped_bytes.fetch_add(memory.len(), Relaxed);
        // SAFETY: the memory lies in the linear map, so that it is contiguous at this physical
        // address, which is the device's.
        Ok(DmaMapping::new(memory, unsafe { DmaAddr::from_platform(phys.get()) }, direction))
    }

    unsafe fn unmap(&self, mapping: DmaMapping) {
        self.domain.mapped_bytes.fetch_sub(mapping.memory().len(), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::FrameAllocator;
    use crate::lock::SpinLock;
    use crate::range::PhysRange;
    use paravane_hal::addr::{Align, PhysAddr};

    type Frames = SpinLock<FrameAllocator<16>>;

    /// A quarter of a mebibyte of the heap that plays physical memory at 16 MiB, never given back.
    fn domain() -> FrameDma<Frames> {
        let layout = std::alloc::Layout::from_size_align(0x4_0000, 0x4_0000).unwrap();
        // SAFETY: the layout has a size.
        let memory = NonNull::new(unsafe { std::alloc::alloc(layout) }).unwrap();
        // SAFETY: the allocation is that long.
        unsafe { memory.write_bytes(0xa5, layout.size()) };
        let range = PhysRange::new(PhysAddr::new(0x100_0000), layout.size() as u64).unwrap();
        // SAFETY: the memory is writable at that place, and leaked, so for good.
        let map = unsafe { LinearMap::new(range, memory.as_ptr().expose_provenance()) };
        let mut frames = FrameAllocator::new();
        frames.add(range).unwrap();
        // SAFETY: nobody else has the memory, and there are no devices.
        FrameDma::new(Box::leak(Box::new(unsafe { DmaDomain::new(SpinLock::new(frames), map) })))
    }

    /// Has one frame, whatever is asked for.
    struct OneFrame;

    impl FrameSource for OneFrame {
        fn alloc_frames(&self, _: FrameRequest) -> Result<FrameRun, FrameError> {
            Ok(FrameRun { start: PhysAddr::new(0x100_1000), frames: NonZeroUsize::MIN })
        }
        fn free_frames(&self, _: FrameRun) -> Result<(), FrameError> {
            Ok(())
        }
    }

    #[test]
    fn a_source_that_gives_something_else_is_not_believed() {
        let map = domain().domain.map;
        // SAFETY: nobody uses the frame that all of these would share, and there are no devices.
        let dma = FrameDma::new(Box::leak(Box::new(unsafe { DmaDomain::new(OneFrame, map) })));
        let reason = |request| dma.alloc(request).unwrap_err().reason;
        assert_eq!(reason(request(5000)), DmaErrorReason::TooShort { has_bytes: 4096 });
        let align = Align::new(0x2000);
        assert_eq!(reason(DmaRequest { align, ..request(1) }), DmaErrorReason::Alignment { align });
        let narrow = DmaRequest { address_bits: 24, ..request(1) };
        assert_eq!(reason(narrow), DmaErrorReason::AddressWidth { address_bits: 24 });
        assert_eq!(dma.dma_bytes_in_use(), 0);
    }

    fn request(len_bytes: usize) -> DmaRequest {
        DmaRequest::new(NonZeroUsize::new(len_bytes).unwrap(), Align::new(64))
    }

    #[test]
    fn memory_is_zero_aligned_and_counted() {
        let dma = domain();
        let region = dma.alloc(DmaRequest { align: Align::new(0x8000), ..request(5000) }).unwrap();
        assert_eq!(region.len_bytes().get(), 0x2000);
        assert!(
            region.dma().get().is_multiple_of(0x8000) && region.cpu().as_ptr().addr().is_multiple_of(0x8000)
        );
        // SAFETY: the region is that long, and the test's alone.
        let bytes = unsafe { core::slice::from_raw_parts(region.cpu().as_ptr(), 0x2000) };
        assert!(bytes.iter().all(|byte| *byte == 0));
        assert_eq!(dma.dma_bytes_in_use(), 0x2000);
        // SAFETY: from this domain, and unused from here on.
        unsafe { dma.free(region) };
        assert_eq!(dma.dma_bytes_in_use(), 0);
    }

    #[test]
    fn a_refusal_says_why_and_takes_nothing() {
        let dma = domain();
        assert_eq!(dma.alloc(request(0x10_0000)).unwrap_err().reason, DmaErrorReason::OutOfMemory);
        let narrow = DmaRequest { address_bits: 24, ..request(1) };
        assert_eq!(dma.alloc(narrow).unwrap_err().reason, DmaErrorReason::AddressWidth { address_bits: 24 });
        assert_eq!(dma.alloc(request(usize::MAX)).unwrap_err().reason, DmaErrorReason::OutOfMemory);
        assert_eq!(dma.dma_bytes_in_use(), 0);
    }

    #[test]
    fn mapping_finds_the_physical_address_and_refuses_what_has_none() {
        let dma = domain();
        let region = dma.alloc(request(4096)).unwrap();
        let inside = NonNull::slice_from_raw_parts(region.cpu(), 100);
        // SAFETY: the memory is the test's until `unmap`.
        let mapping = unsafe { dma.map(inside, Direction::Both) }.unwrap();
        assert_eq!(mapping.dma(), region.dma());
        assert_eq!(dma.mapped_bytes(), 100);
        // SAFETY: from this domain; no device has it.
        unsafe { dma.unmap(mapping) };
        assert_eq!(dma.mapped_bytes(), 0);
        let mut elsewhere = [0u8; 8];
        // SAFETY: as above.
        let refused = unsafe { dma.map(NonNull::from(&mut elsewhere[..]), Direction::ToDevice) };
        assert_eq!(refused.unwrap_err().reason, DmaErrorReason::Unmappable);
        // SAFETY: from this domain, and unused from here on.
        unsafe { dma.free(region) };
    }
}
