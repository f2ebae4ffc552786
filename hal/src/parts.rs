//! A platform in three parts.

#![expect(unsafe_code, reason = "passes the promises of the part on")]

use core::ptr::NonNull;

use crate::addr::PhysAddr;
use crate::dma::{Direction, Dma, DmaError, DmaLimits, DmaMapping, DmaRegion, DmaRequest, DomainTag};
use crate::mmio::{MapError, MmioMap};
use crate::time::{Clock, Instant};

/// A [`Platform`](crate::Platform) made of whatever has its traits singly.
#[derive(Clone, Copy, Debug)]
pub struct Parts<D, M, C> {
    /// Memory that devices reach.
    pub dma: D,
    /// Register mappings.
    pub mmio: M,
    /// Time.
    pub clock: C,
}

impl<D, M, C: Clock> Clock for Parts<D, M, C> {
    #[inline]
    fn now(&self) -> Instant {
        self.clock.now()
    }
    #[inline]
    fn relax(&self) {
        self.clock.relax();
    }
}

impl<D, M: MmioMap, C> MmioMap for Parts<D, M, C> {
    type Region = M::Region;

    fn map(&self, start: PhysAddr, len_bytes: usize) -> Result<M::Region, MapError> {
        self.mmio.map(start, len_bytes)
    }
    fn map_ports(&self, first: u16, len_bytes: usize) -> Result<M::Region, MapError> {
        self.mmio.map_ports(first, len_bytes)
    }
    fn unmap(&self, region: M::Region) {
        self.mmio.unmap(region);
    }
}

// SAFETY: every call goes through to `dma`, which keeps the promises; a clone has a clone of it.
unsafe impl<D: Dma, M: Clone, C: Clone> Dma for Parts<D, M, C> {
    fn limits(&self) -> DmaLimits {
        self.dma.limits()
    }
    fn domain(&self) -> DomainTag {
        self.dma.domain()
    }
    fn alloc(&self, request: DmaRequest) -> Result<DmaRegion, DmaError> {
        self.dma.alloc(request)
    }
    unsafe fn free(&self, region: DmaRegion) {
        // SAFETY: the caller's obligations are the same ones.
        unsafe { self.dma.free(region) }
    }
    unsafe fn map(&self, memory: NonNull<[u8]>, direction: Direction) -> Result<DmaMapping, DmaError> {
        // SAFETY: the caller's obligations are the same ones.
        unsafe { self.dma.map(memory, direction) }
    }
    unsafe fn unmap(&self, mapping: DmaMapping) {
        // SAFETY: the caller's obligations are the same ones.
        unsafe { self.dma.unmap(mapping) }
    }
}
