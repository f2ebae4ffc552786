//! A platform of ordinary memory, as cheap as bare metal: device addresses are CPU addresses, a
//! doorbell is one store.
//!
//! It checks nothing. What the drivers are tested on is `paravane-mock-hal`; here only what they
//! cost is looked at, so nothing around them may cost anything.

#![expect(unsafe_code, reason = "it is the platform: it hands out memory")]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use paravane_hal::addr::{DmaAddr, PhysAddr};
use paravane_hal::barrier;
use paravane_hal::dma::{
    Direction, Dma, DmaError, DmaErrorReason, DmaLimits, DmaMapping, DmaRegion, DmaRequest,
};
use paravane_hal::mmio::{MapError, MapErrorReason, Mmio, MmioMap};
use paravane_hal::time::{Clock, Instant};

/// Every region is aligned to this.
const PAGE_BYTES: usize = 4096;

/// Where BAR 0 of the one device lies; the others follow, [`BAR_BYTES`] each.
pub const BARS_START: u64 = 0xe000_0000;
/// How long each BAR is.
pub const BAR_BYTES: usize = 0x4000;

/// Registers that do something when they are touched: everything but doorbells.
pub trait Registers: Send + Sync {
    /// Reads `width_bytes` at `offset_bytes` of a BAR.
    fn read(&self, bar: usize, offset_bytes: usize, width_bytes: usize) -> u32;
    /// Writes.
    fn write(&self, bar: usize, offset_bytes: usize, width_bytes: usize, value: u32);
    /// From which offset on a BAR holds doorbells: a write there is a store and nothing more.
    fn doorbells_from(&self, bar: usize) -> usize;
}

/// A platform with one device. All of it lives as long as the process.
#[derive(Clone, Copy)]
pub struct Plain {
    registers: &'static dyn Registers,
}

impl Plain {
    /// A platform with `device` on it.
    pub fn new(device: &'static dyn Registers) -> Self {
        Self { registers: device }
    }
}

/// One BAR of the device.
#[derive(Clone)]
pub struct Region {
    registers: &'static dyn Registers,
    bar: usize,
    doorbells_from: usize,
    doorbells: &'static [AtomicU32],
}

impl Region {
    fn outside(offset_bytes: usize, width_bytes: usize) -> bool {
        !offset_bytes.is_multiple_of(width_bytes) || offset_bytes >= BAR_BYTES
    }

    #[cold]
    #[inline(never)]
    fn read(&self, offset_bytes: usize, width_bytes: usize) -> u32 {
        if Self::outside(offset_bytes, width_bytes) {
            return u32::MAX;
        }
        self.registers.read(self.bar, offset_bytes, width_bytes)
    }

    #[cold]
    #[inline(never)]
    fn control(&self, offset_bytes: usize, width_bytes: usize, value: u32) {
        if !Self::outside(offset_bytes, width_bytes) {
            self.registers.write(self.bar, offset_bytes, width_bytes, value);
        }
    }

    #[inline(always)]
    fn write(&self, offset_bytes: usize, width_bytes: usize, value: u32) {
        barrier::before_mmio();
        match self.doorbells.get(offset_bytes / 4) {
            Some(place) if offset_bytes >= self.doorbells_from => place.store(value, Relaxed),
            _ => self.control(offset_bytes, width_bytes, value),
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "registers are as wide as the access")]
impl Mmio for Region {
    fn len_bytes(&self) -> usize {
        BAR_BYTES
    }
    fn read8(&self, offset_bytes: usize) -> u8 {
        self.read(offset_bytes, 1) as u8
    }
    fn read16(&self, offset_bytes: usize) -> u16 {
        self.read(offset_bytes, 2) as u16
    }
    fn read32(&self, offset_bytes: usize) -> u32 {
        self.read(offset_bytes, 4)
    }
    fn write8(&self, offset_bytes: usize, value: u8) {
        self.write(offset_bytes, 1, value.into());
    }
    #[inline(always)]
    fn write16(&self, offset_bytes: usize, value: u16) {
        self.write(offset_bytes, 2, value.into());
    }
    #[inline(always)]
    fn write32(&self, offset_bytes: usize, value: u32) {
        self.write(offset_bytes, 4, value);
    }
}

impl MmioMap for Plain {
    type Region = Region;

    fn map(&self, start: PhysAddr, len_bytes: usize) -> Result<Region, MapError> {
        let fails = MapError::new(start, len_bytes, MapErrorReason::NotRegisters);
        let offset = start.get().checked_sub(BARS_START).ok_or(fails)?;
        let bar = usize::try_from(offset).map_err(|_| fails)? / BAR_BYTES;
        let doorbells = (0..BAR_BYTES / 4).map(|_| AtomicU32::new(0)).collect::<Vec<_>>();
        Ok(Region {
            registers: self.registers,
            bar,
            doorbells_from: self.registers.doorbells_from(bar),
            doorbells: doorbells.leak(),
        })
    }
}

impl Clock for Plain {
    fn now(&self) -> Instant {
        static START: OnceLock<std::time::Instant> = OnceLock::new();
        let nanos = START.get_or_init(std::time::Instant::now).elapsed().as_nanos();
        Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// How `len_bytes` are asked for from the system.
fn layout(len_bytes: usize) -> Option<Layout> {
    Layout::from_size_align(len_bytes, PAGE_BYTES).ok()
}

// SAFETY:
// - `alloc` hands out memory of the system's allocator: zeroed, used by nobody else, as long and as
//   aligned as was asked for.
// - The devices here are part of this process, so they see what the CPU sees, at the same address.
// - `map` names existing memory by its own address.
unsafe impl Dma for Plain {
    fn limits(&self) -> DmaLimits {
        DmaLimits::NONE
    }

    fn alloc(&self, request: DmaRequest) -> Result<DmaRegion, DmaError> {
        let len_bytes = request.len_bytes;
        let fails = DmaError::new(len_bytes.get(), DmaErrorReason::OutOfMemory);
        let layout = layout(len_bytes.get()).filter(|_| request.align.bytes() <= PAGE_BYTES).ok_or(fails)?;
        // SAFETY: not of size zero.
        let cpu = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(fails)?;
        // SAFETY: the region is what the devices reach at this address.
        let dma = unsafe { DmaAddr::from_platform(cpu.as_ptr().expose_provenance() as u64) };
        Ok(DmaRegion::new(cpu, dma, len_bytes))
    }

    unsafe fn free(&self, region: DmaRegion) {
        if let Some(layout) = layout(region.len_bytes().get()) {
            // SAFETY: from `alloc` by the caller, which asked the system for the same layout.
            unsafe { dealloc(region.cpu().as_ptr(), layout) };
        }
    }

    unsafe fn map(&self, memory: NonNull<[u8]>, direction: Direction) -> Result<DmaMapping, DmaError> {
        let addr = memory.cast::<u8>().as_ptr().expose_provenance() as u64;
        // SAFETY: the memory itself, by the caller valid until `unmap`.
        Ok(DmaMapping::new(memory, unsafe { DmaAddr::from_platform(addr) }, direction))
    }

    unsafe fn unmap(&self, _mapping: DmaMapping) {}
}
