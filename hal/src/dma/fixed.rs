//! DMA memory for code that asks a *type* for it: the `Hal` of the crate `virtio-drivers`, over any
//! [`Dma`]. With feature `virtio-drivers`.
//!
//! A platform here is a value; that crate's is a type without one, so each device's type has to
//! name a value that is there for good. The program writes a static with a [`Fixed`] in it, and a
//! type that says where it is:
//!
//! ```
//! use paravane_hal::dma::fixed::{Fixed, FixedHal, Place};
//! use std::sync::OnceLock;
//!
//! # use paravane_hal::dma::{
//! #     Direction, Dma, DmaError, DmaErrorReason, DmaLimits, DmaMapping, DmaRegion, DmaRequest,
//! # };
//! # use std::ptr::NonNull;
//! # /// One without memory.
//! # #[derive(Clone)]
//! # struct Platform;
//! # unsafe impl Dma for Platform {
//! #     fn limits(&self) -> DmaLimits { DmaLimits::NONE }
//! #     fn alloc(&self, _: DmaRequest) -> Result<DmaRegion, DmaError> {
//! #         Err(DmaError::new(0, DmaErrorReason::OutOfMemory))
//! #     }
//! #     unsafe fn free(&self, _: DmaRegion) {}
//! #     unsafe fn map(&self, _: NonNull<[u8]>, _: Direction) -> Result<DmaMapping, DmaError> {
//! #         Err(DmaError::new(0, DmaErrorReason::OutOfMemory))
//! #     }
//! #     unsafe fn unmap(&self, _: DmaMapping) {}
//! # }
//! static MEMORY: OnceLock<Fixed<Platform>> = OnceLock::new();
//!
//! struct Here;
//!
//! impl Place for Here {
//!     type Dma = Platform;
//!     fn fixed() -> &'static Fixed<Platform> {
//!         MEMORY.get().expect("set before any device is opened")
//!     }
//! }
//!
//! // What `virtio-drivers` wants to have as `H`.
//! type Hal = FixedHal<Here>;
//! ```
//!
//! Two domains are two such types, so nothing keeps a device from being behind its own.
//!
//! What is shared is copied: the device gets memory of the platform's, never the caller's own. So
//! any platform will do, and a device reaches no neighbour of a buffer. What a device has when its
//! driver is dropped in the middle of a request stays allocated, for nobody asks for it back.
//!
//! That crate trusts its device to say truly what it is done with; so does memory that it gives
//! back here.

#![expect(unsafe_code, reason = "the interface of `virtio-drivers`: raw memory by number")]

use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::hint::spin_loop;
use core::marker::PhantomData;
use core::num::NonZeroUsize;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};

use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

use crate::addr::{Align, DmaAddr};
use crate::dma::copy::volatile_copy;
use crate::dma::{Dma, DmaRegion, DmaRequest};

/// DMA memory of one domain, and which of it is out.
///
/// Its table is behind a lock that is held for a few loads; a handler of interrupts that drives
/// such devices keeps others from being interrupted in there.
pub struct Fixed<D> {
    dma: D,
    out: UnsafeCell<Vec<DmaRegion>>,
    locked: AtomicBool,
}

// SAFETY: the table of regions is reached by `with` alone, by one thread at a time; and regions go
// from thread to thread.
unsafe impl<D: Send + Sync> Sync for Fixed<D> {}

impl<D: Dma> Fixed<D> {
    /// Over `dma`, with nothing out.
    #[must_use]
    pub const fn new(dma: D) -> Self {
        Self { dma, out: UnsafeCell::new(Vec::new()), locked: AtomicBool::new(false) }
    }

    /// How many pieces are out: rings, and what is lent to devices.
    #[must_use]
    pub fn pieces(&self) -> usize {
        self.with(|out| out.len())
    }

    /// The device address that reads `addr`, if that lies in memory that is out.
    #[must_use]
    pub fn dma_addr(&self, addr: u64) -> Option<DmaAddr> {
        self.with(|out| {
            let (region, offset_bytes) =
                out.iter().find_map(|region| Some((region, offset(region, addr)?)))?;
            Some(region.dma().offset(offset_bytes))
        })
    }

    /// Has the memory around `addr` stay allocated for good: a device that does not reset may know
    /// it.
    pub fn keep(&self, addr: DmaAddr) {
        // What is in no table is never freed.
        self.with(|out| out.retain(|region| offset(region, addr.get()).is_none()));
    }

    /// Looks at the table. Nothing that waits or asks for the lock again runs in there.
    fn with<T>(&self, look: impl FnOnce(&mut Vec<DmaRegion>) -> T) -> T {
        while self.locked.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            spin_loop();
        }
        // SAFETY: whoever has set `locked` is alone until it is cleared.
        let seen = look(unsafe { &mut *self.out.get() });
        self.locked.store(false, Ordering::Release);
        seen
    }

    /// `None` where there is no memory.
    fn lend(&self, len_bytes: usize, align: Align) -> Option<(PhysAddr, NonNull<u8>)> {
        let request = DmaRequest::new(NonZeroUsize::new(len_bytes)?, align);
        let region = self.dma.alloc(request).ok()?;
        let place = (region.dma().get(), region.cpu());
        // Zero is no address to that crate. It is not given back: the next try would get it again.
        let is_taken = request.check(&region).is_ok()
            && place.0 != 0
            && self.with(|out| {
                let has_room = out.try_reserve(1).is_ok();
                if has_room {
                    out.push(region);
                }
                has_room
            });
        is_taken.then_some(place)
    }

    /// Takes the piece that starts at `addr` off the table.
    fn take(&self, addr: PhysAddr) -> Option<DmaRegion> {
        self.with(|out| {
            let at = out.iter().position(|region| region.dma().get() == addr)?;
            Some(out.swap_remove(at))
        })
    }
}

/// Where `addr` lies in `region`.
fn offset(region: &DmaRegion, addr: u64) -> Option<usize> {
    let offset_bytes = usize::try_from(addr.checked_sub(region.dma().get())?).ok()?;
    (offset_bytes < region.len_bytes().get()).then_some(offset_bytes)
}

/// A type that says where a [`Fixed`] is.
pub trait Place: 'static {
    /// Its platform's memory.
    type Dma: Dma + Send + Sync + 'static;

    /// It. The same at every call.
    fn fixed() -> &'static Fixed<Self::Dma>;
}

/// The `Hal` of `virtio-drivers` over what is at `S`.
#[derive(Debug)]
pub struct FixedHal<S>(PhantomData<fn() -> S>);

// SAFETY:
// - `dma_alloc` gives memory that `Dma::alloc` gave: zeroed, used by nobody else, whole pages.
// - `mmio_phys_to_virt` never returns.
unsafe impl<S: Place> Hal for FixedHal<S> {
    /// Zero, which is an error to that crate, where there is none.
    fn dma_alloc(pages: usize, _direction: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let len_bytes = pages.checked_mul(PAGE_SIZE).unwrap_or(0);
        S::fixed().lend(len_bytes, Align::new(PAGE_SIZE)).unwrap_or((0, NonNull::dangling()))
    }

    unsafe fn dma_dealloc(paddr: PhysAddr, _vaddr: NonNull<u8>, _pages: usize) -> i32 {
        if let Some(region) = S::fixed().take(paddr) {
            // SAFETY: from `alloc` of this domain, for the table has nothing else. By the caller,
            // nobody uses it any more: that crate gives memory back after the transport unset its
            // queues or was dropped, which resets the device or has this memory kept.
            unsafe { S::fixed().dma.free(region) };
        }
        0
    }

    /// # Panics
    ///
    /// Always: registers are the transport's business.
    #[expect(clippy::panic, reason = "asked by that crate's own PCI transport alone")]
    unsafe fn mmio_phys_to_virt(paddr: PhysAddr, _size: usize) -> NonNull<u8> {
        panic!("no registers are mapped for virtio-drivers, at {paddr:#x} or elsewhere")
    }

    /// # Panics
    ///
    /// Without memory: that crate has no way to be told.
    #[expect(clippy::panic, reason = "an address that is none would have the device write there")]
    unsafe fn share(buffer: NonNull<[u8]>, direction: BufferDirection) -> PhysAddr {
        let Some((addr, lent)) = S::fixed().lend(buffer.len(), Align::new(64)) else {
            panic!("no {} bytes of DMA memory to lend to a device", buffer.len())
        };
        if direction != BufferDirection::DeviceToDriver {
            // SAFETY: the buffer is valid by the caller, `lent` is as long, and new.
            unsafe { volatile_copy(buffer.cast().as_ptr(), lent.as_ptr(), buffer.len()) };
        }
        addr
    }

    unsafe fn unshare(paddr: PhysAddr, buffer: NonNull<[u8]>, direction: BufferDirection) {
        let Some(region) = S::fixed().take(paddr) else { return };
        if direction != BufferDirection::DriverToDevice {
            let len_bytes = buffer.len().min(region.len_bytes().get());
            // SAFETY: the buffer is valid by the caller, and the region is not freed yet.
            unsafe { volatile_copy(region.cpu().as_ptr(), buffer.cast().as_ptr(), len_bytes) };
        }
        // SAFETY: from `alloc` of this domain. The device has said that it is done with it, or
        // never was told of it.
        unsafe { S::fixed().dma.free(region) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Heap;
    use std::sync::LazyLock;

    static MEMORY: LazyLock<Fixed<Heap>> = LazyLock::new(|| Fixed::new(Heap::default()));

    struct Here;

    impl Place for Here {
        type Dma = Heap;
        fn fixed() -> &'static Fixed<Heap> {
            &MEMORY
        }
    }

    type Memory = FixedHal<Here>;

    /// One test, for there is one static.
    #[test]
    fn memory_goes_out_and_comes_home() {
        let (addr, cpu) = Memory::dma_alloc(2, BufferDirection::Both);
        assert!(cpu.addr().get().is_multiple_of(PAGE_SIZE));
        let at = |offset: u64| MEMORY.dma_addr(addr + offset).map(DmaAddr::get);
        assert_eq!([at(0), at(8191), at(8192)], [Some(addr), Some(addr + 8191), None]);
        assert_eq!(MEMORY.dma_addr(addr - 1), None);

        let mut bytes = [7_u8; 100];
        let buffer = NonNull::from(&mut bytes[..]);
        for direction in [BufferDirection::DriverToDevice, BufferDirection::DeviceToDriver] {
            // SAFETY: the buffer is this test's own, and nobody else's.
            let lent = unsafe { Memory::share(buffer, direction) };
            let region = MEMORY.with(|out| out.last().unwrap().cpu());
            // SAFETY: the region is out.
            let seen = unsafe { region.read_volatile() };
            assert_eq!(seen, if direction == BufferDirection::DriverToDevice { 7 } else { 0 });
            // SAFETY: as a device would.
            unsafe { region.write_volatile(9) };
            // SAFETY: as above.
            unsafe { Memory::unshare(lent, buffer, direction) };
        }
        assert_eq!(bytes[..2], [9, 0], "what it wrote comes back, but not what it wrote out of turn");
        assert_eq!(MEMORY.pieces(), 1);

        // SAFETY: no device knows it.
        unsafe { Memory::dma_dealloc(addr, cpu, 2) };
        assert_eq!((MEMORY.pieces(), MEMORY.dma.regions.load(Ordering::SeqCst)), (0, 0));

        let (addr, cpu) = Memory::dma_alloc(1, BufferDirection::Both);
        MEMORY.keep(MEMORY.dma_addr(addr).unwrap());
        // SAFETY: as above.
        unsafe { Memory::dma_dealloc(addr, cpu, 1) };
        assert_eq!(MEMORY.dma.regions.load(Ordering::SeqCst), 1, "kept for good");
    }
}
