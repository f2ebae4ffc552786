//! The platform: memory, register regions and time in one value.

#![expect(unsafe_code, reason = "`Dma` is an unsafe trait; every call goes to `Memory`")]

use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

use paravane_hal::addr::PhysAddr;
use paravane_hal::dma::{Direction, Dma, DmaError, DmaLimits, DmaMapping, DmaRegion, DmaRequest};
use paravane_hal::mmio::{MapError, MapErrorReason, MmioMap};
use paravane_hal::time::{Clock, Instant};

use crate::clock::ManualClock;
use crate::memory::Memory;
use crate::registers::{ModelRegion, SharedModel};

/// A platform made of ordinary memory. A clone is another handle to the same one.
#[derive(Clone, Default)]
pub struct HeapPlatform {
    memory: Memory,
    clock: ManualClock,
    bars: Arc<Mutex<Vec<Bar>>>,
}

/// Where a model's BAR lies in the CPU's physical address space.
#[derive(Clone)]
struct Bar {
    start: PhysAddr,
    len_bytes: usize,
    model: SharedModel,
    index: u8,
}

impl HeapPlatform {
    /// A platform without devices.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Its memory, for models and for counting.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Its clock.
    #[must_use]
    pub fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// Puts `len_bytes` of registers at `start`: BAR `index` of `model`.
    pub fn attach(&self, start: PhysAddr, len_bytes: usize, model: SharedModel, index: u8) {
        let bar = Bar { start, len_bytes, model, index };
        self.bars.lock().unwrap_or_else(PoisonError::into_inner).push(bar);
    }
}

impl MmioMap for HeapPlatform {
    type Region = ModelRegion;

    fn map(&self, start: PhysAddr, len_bytes: usize) -> Result<ModelRegion, MapError> {
        let fails = |reason| MapError { start, len_bytes, reason };
        if len_bytes == 0 {
            return Err(fails(MapErrorReason::OutOfRange));
        }
        let bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        bars.iter()
            .find_map(|bar| {
                let start_bytes = usize::try_from(start.get().checked_sub(bar.start.get())?).ok()?;
                let end = start_bytes.checked_add(len_bytes)?;
                (end <= bar.len_bytes).then(|| ModelRegion {
                    model: Arc::clone(&bar.model),
                    bar: bar.index,
                    start_bytes,
                    len_bytes,
                })
            })
            .ok_or(fails(MapErrorReason::NotRegisters))
    }
}

impl Clock for HeapPlatform {
    fn now(&self) -> Instant {
        self.clock.now()
    }
    fn relax(&self) {
        self.clock.relax();
    }
}

// SAFETY: every call goes to `Memory`, which keeps the promises; a clone holds the same memory.
unsafe impl Dma for HeapPlatform {
    fn limits(&self) -> DmaLimits {
        self.memory.limits()
    }
    fn alloc(&self, request: DmaRequest) -> Result<DmaRegion, DmaError> {
        self.memory.alloc(request)
    }
    unsafe fn free(&self, region: DmaRegion) {
        // SAFETY: the caller's obligations are the same ones.
        unsafe { self.memory.free(region) }
    }
    unsafe fn map(&self, memory: NonNull<[u8]>, direction: Direction) -> Result<DmaMapping, DmaError> {
        // SAFETY: the caller's obligations are the same ones.
        unsafe { self.memory.map(memory, direction) }
    }
    unsafe fn unmap(&self, mapping: DmaMapping) {
        // SAFETY: the caller's obligations are the same ones.
        unsafe { self.memory.unmap(mapping) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registers::{DeviceModel, Width};
    use paravane_hal::mmio::Mmio;

    /// Remembers the last write; reads say where they landed.
    #[derive(Default)]
    struct Echo(Vec<(u8, usize, Width, u32)>);

    impl DeviceModel for Echo {
        fn read(&mut self, bar: u8, offset_bytes: usize, _width: Width) -> u32 {
            u32::from(bar) << 16 | u32::try_from(offset_bytes).unwrap()
        }
        fn write(&mut self, bar: u8, offset_bytes: usize, width: Width, value: u32) {
            self.0.push((bar, offset_bytes, width, value));
        }
    }

    #[test]
    fn accesses_reach_the_model_behind_the_address() {
        let platform = HeapPlatform::new();
        let model = Arc::new(Mutex::new(Echo::default()));
        platform.attach(PhysAddr::new(0xf000_0000), 0x1000, model.clone(), 0);
        platform.attach(PhysAddr::new(0xf000_1000), 0x1000, model.clone(), 1);
        let region = MmioMap::map(&platform, PhysAddr::new(0xf000_1100), 0x100).unwrap();
        assert_eq!(region.read32(0x20), 0x0001_0120);
        region.write16(0x22, 7);
        assert_eq!(model.lock().unwrap().0, [(1, 0x122, Width::Half, 7)]);
    }

    #[test]
    fn nobody_answers_outside_a_region() {
        let platform = HeapPlatform::new();
        let model = Arc::new(Mutex::new(Echo::default()));
        platform.attach(PhysAddr::new(0xf000_0000), 0x1000, model.clone(), 0);
        let region = MmioMap::map(&platform, PhysAddr::new(0xf000_0000), 0x1000).unwrap();
        assert_eq!(region.read32(0x1000), u32::MAX);
        assert_eq!(region.read32(0x2), u32::MAX, "not aligned");
        region.write32(usize::MAX, 1);
        assert!(model.lock().unwrap().0.is_empty());
        assert!(
            MmioMap::map(&platform, PhysAddr::new(0xf000_0800), 0x1000).is_err(),
            "runs past the registers"
        );
        assert!(MmioMap::map(&platform, PhysAddr::new(0xe000_0000), 4).is_err());
    }
}
