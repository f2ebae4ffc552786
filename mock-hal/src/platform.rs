//! The platform: memory, register regions, ports and time in one value.

#![expect(
    unsafe_code,
    reason = "`Dma` is an unsafe trait; every call goes to `Memory`, as every device does"
)]

use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use paravane_hal::addr::PhysAddr;
use paravane_hal::dma::{Direction, Dma, DmaError, DmaLimits, DmaMapping, DmaRegion, DmaRequest, DomainTag};
use paravane_hal::irq::MsiMessage;
use paravane_hal::mmio::{MapError, MapErrorReason, MmioDevice, MmioMap};
use paravane_hal::time::{Clock, Instant};

use crate::builder::Builder;
use crate::clock::ManualClock;
use crate::device::DeviceMemory;
use crate::interrupts::Interrupts;
use crate::loads;
use crate::memory::Memory;
use crate::pci::{PciHost, PciRegion};
use crate::registers::{Behind, ModelRegion, SharedModel, Width};

/// A platform made of ordinary memory. A clone is another handle to the same one.
///
/// It is strict: a device access outside what the device was given ends the test where it happens,
/// and when the last handle goes, a leak, a write past an end, or a write to freed memory fails it
/// too. Softer ones come from [`builder`](Self::builder).
#[derive(Clone)]
pub struct MockPlatform {
    memory: Memory,
    clock: ManualClock,
    interrupts: Interrupts,
    pci: PciHost,
    bars: Arc<Mutex<Vec<FixedBar>>>,
    ports: Arc<Mutex<Vec<FixedBar>>>,
    /// How many register regions were mapped and not taken back.
    mapped: Arc<AtomicUsize>,
}

impl fmt::Debug for MockPlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockPlatform")
            .field("memory", &self.memory)
            .field("pci", &self.pci)
            .finish_non_exhaustive()
    }
}

/// Where a model's BAR lies when no bus has a say in it.
struct FixedBar {
    start: u64,
    len_bytes: usize,
    model: SharedModel,
    index: u8,
}

impl FixedBar {
    /// Where in it `len_bytes` at `start` are, if it has them.
    fn place(&self, start: u64, len_bytes: usize) -> Option<usize> {
        let start_bytes = usize::try_from(start.checked_sub(self.start)?).ok()?;
        let end = start_bytes.checked_add(len_bytes)?;
        (end <= self.len_bytes).then_some(start_bytes)
    }
}

impl Default for MockPlatform {
    fn default() -> Self {
        Self::builder().build()
    }
}

impl MockPlatform {
    /// A strict platform without devices or limits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A platform with settings.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn from_parts(memory: Memory, clock: ManualClock) -> Self {
        loads::watch();
        memory.enlist();
        let interrupts = Interrupts::default();
        let pci = PciHost::watched(&interrupts, clock.watchdog());
        let (bars, ports, mapped) = (Arc::default(), Arc::default(), Arc::default());
        Self { memory, clock, interrupts, pci, bars, ports, mapped }
    }

    /// Its memory, for counting and for what went wrong.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The way into its memory for a device called `name` that is on no bus. On PCI,
    /// [`PciDevice::memory`](crate::PciDevice::memory) is.
    #[must_use]
    pub fn device_memory(&self, name: &str) -> DeviceMemory {
        DeviceMemory::new(&self.memory, name)
    }

    /// Its clock.
    #[must_use]
    pub fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// Where interrupts arrive.
    #[must_use]
    pub fn interrupts(&self) -> &Interrupts {
        &self.interrupts
    }

    /// Message interrupts since the last call.
    #[must_use]
    pub fn take_interrupts(&self) -> Vec<MsiMessage> {
        self.interrupts.take()
    }

    /// Its PCI host, on which functions are put.
    #[must_use]
    pub fn pci(&self) -> &PciHost {
        &self.pci
    }

    /// Puts `len_bytes` of registers at `start`: BAR `index` of `model`, whatever any configuration
    /// space says.
    pub fn attach(&self, start: PhysAddr, len_bytes: usize, model: SharedModel, index: u8) {
        locked(&self.bars).push(FixedBar { start: start.get(), len_bytes, model, index });
    }

    /// Claims the device whose registers are at `start`, which the one at `reset_at_bytes` resets.
    ///
    /// Safe, for a device of this platform reaches no memory but the platform's, and that by calls;
    /// whether it keeps silent after a reset is for that to say.
    ///
    /// # Errors
    ///
    /// [`MapError`]; nothing is mapped.
    pub fn claim(
        &self,
        start: PhysAddr,
        len_bytes: usize,
        reset_at_bytes: usize,
    ) -> Result<MmioDevice<ModelRegion>, MapError> {
        // SAFETY: what is behind the registers is part of the program, and its accesses to memory
        // are calls that this platform checks.
        unsafe { MmioDevice::claim(self, start, len_bytes, reset_at_bytes) }
    }

    /// How many register regions are mapped: given out and not taken back.
    #[must_use]
    pub fn mapped_regions(&self) -> usize {
        self.mapped.load(Ordering::Relaxed)
    }

    /// Puts `count` I/O ports at `start`: BAR `index` of `model`, whatever any configuration space
    /// says.
    pub fn attach_ports(&self, start: u16, count: u16, model: SharedModel, index: u8) {
        let (start, len_bytes) = (start.into(), count.into());
        locked(&self.ports).push(FixedBar { start, len_bytes, model, index });
    }

    /// The attached model behind an aligned access of `width` at `port`, its BAR, and where in
    /// that.
    pub(crate) fn attached_port(&self, port: u16, width: Width) -> Option<(SharedModel, u8, usize)> {
        locked(&self.ports).iter().find_map(|bar| {
            let place = bar.place(port.into(), width.bytes())?;
            place.is_multiple_of(width.bytes()).then(|| (Arc::clone(&bar.model), bar.index, place))
        })
    }

    /// The end of a test: everything that was given out is back and nothing went wrong. Called
    /// once; the drop of the last handle then says no more.
    ///
    /// # Panics
    ///
    /// With all that is wrong.
    pub fn finish(&self) {
        let wrong = self.memory.finish();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

fn locked(bars: &Mutex<Vec<FixedBar>>) -> MutexGuard<'_, Vec<FixedBar>> {
    bars.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MmioMap for MockPlatform {
    type Region = ModelRegion;

    fn map(&self, start: PhysAddr, len_bytes: usize) -> Result<ModelRegion, MapError> {
        let fails = |reason| MapError::new(start, len_bytes, reason);
        if len_bytes == 0 || start.checked_add(len_bytes as u64).is_none() {
            return Err(fails(MapErrorReason::OutOfRange));
        }
        let fixed = locked(&self.bars).iter().find_map(|bar| {
            let start_bytes = bar.place(start.get(), len_bytes)?;
            Some(Behind::Fixed { model: Arc::clone(&bar.model), bar: bar.index, start_bytes, len_bytes })
        });
        let on_bus = || {
            let region = PciRegion { host: self.pci.clone(), start, len_bytes };
            self.pci.has_registers(start, len_bytes).then_some(Behind::Pci(region))
        };
        let region = |behind| ModelRegion { behind, start, watchdog: self.clock.watchdog().clone() };
        let region = fixed.or_else(on_bus).map(region).ok_or(fails(MapErrorReason::NotRegisters))?;
        self.mapped.fetch_add(1, Ordering::Relaxed);
        Ok(region)
    }

    fn map_ports(&self, first: u16, len_bytes: usize) -> Result<ModelRegion, MapError> {
        let start = PhysAddr::new(first.into());
        if len_bytes == 0 || usize::from(first) + len_bytes > 1 << 16 {
            return Err(MapError::new(start, len_bytes, MapErrorReason::OutOfRange));
        }
        let behind = Behind::Ports { platform: self.clone(), first, len_bytes };
        self.mapped.fetch_add(1, Ordering::Relaxed);
        Ok(ModelRegion { behind, start, watchdog: self.clock.watchdog().clone() })
    }

    fn unmap(&self, region: ModelRegion) {
        drop(region);
        let before = self.mapped.fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0, "a region was given back that is not mapped");
    }
}

impl Clock for MockPlatform {
    fn now(&self) -> Instant {
        self.clock.now()
    }
    fn relax(&self) {
        self.clock.relax();
    }
}

// SAFETY: every call goes to `Memory`, which keeps the promises; a clone holds the same memory.
unsafe impl Dma for MockPlatform {
    fn limits(&self) -> DmaLimits {
        self.memory.limits()
    }
    fn domain(&self) -> DomainTag {
        self.memory.domain()
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

// A driver's half of a test runs on any thread; that words change is a matter of one.
const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<MockPlatform>();
    is_shared::<Memory>();
    is_shared::<PciHost>();
    is_shared::<ModelRegion>();
    is_shared::<DeviceMemory>();
};

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::registers::DeviceModel;
    use paravane_hal::Failed;
    use paravane_hal::addr::Align;
    use paravane_hal::dma::{DeviceDma, DeviceTag, DmaBox, DmaErrorReason, Mapped};
    use paravane_hal::mmio::Mmio;
    use std::time::Duration;

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
        let platform = MockPlatform::new();
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
        let platform = MockPlatform::new();
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

    #[test]
    fn regions_overlap_and_are_counted_until_they_are_given_back() {
        let platform = MockPlatform::new();
        platform.attach(PhysAddr::new(0xf000_0000), 0x1000, Arc::new(Mutex::new(Echo::default())), 0);
        let map = |offset: u64| MmioMap::map(&platform, PhysAddr::new(0xf000_0000 + offset), 0x800).unwrap();
        let (one, other) = (map(0), map(0x400));
        assert_eq!((one.read32(0x400), other.read32(0)), (0x400, 0x400), "the same register");
        assert_eq!(platform.mapped_regions(), 2);
        MmioMap::unmap(&platform, one);
        assert_eq!((platform.mapped_regions(), other.read32(0)), (1, 0x400));
        MmioMap::unmap(&platform, other);
        assert_eq!(platform.mapped_regions(), 0);
    }

    #[test]
    fn a_platform_has_the_limits_it_was_built_with() {
        let platform = MockPlatform::builder()
            .address_bits(36)
            .max_segment(4096)
            .mapping_granule(Align::new(16))
            .fail_allocation(2)
            .fail_mapping(1)
            .clock_step(Duration::from_millis(1))
            .build();
        let granule = Align::new(16);
        let limits =
            DmaLimits::NONE.with_max_segment_bytes(4096).with_address_bits(36).with_mapping_granule(granule);
        assert_eq!(platform.limits(), limits);
        let of = DeviceDma::new(platform.clone(), DeviceTag::unique(), 64);
        let made = [(); 3].map(|()| DmaBox::<u64, _>::zeroed(&of, Align::BYTE).is_ok());
        assert_eq!(made, [true, false, true], "the second allocation fails");
        let lent = [(); 2]
            .map(|()| Mapped::new(&of, vec![0; 64], Direction::ToDevice).err().map(Failed::into_error));
        assert_eq!(lent[0].map(|error| error.reason), Some(DmaErrorReason::OutOfMemory), "the first mapping");
        assert!(platform.now() < platform.now(), "a look takes time");
        platform.memory().forgive();
        platform.memory().expect_leak(None);
    }

    #[test]
    fn a_device_of_a_bouncing_platform_sees_only_what_was_mapped() {
        let platform = MockPlatform::builder().bounce().expect_leak(1).build();
        let of = DeviceDma::new(platform.clone(), DeviceTag::unique(), 64);
        let lent = Mapped::new(&of, b"hello".to_vec(), Direction::ToDevice).ok().unwrap();
        assert_eq!(platform.device_memory("disk").get(lent.dma_addr().get()), Ok(*b"hello"));
    }

    #[test]
    #[should_panic(expected = "1 pieces of memory are out, 0 expected\nout: region #1")]
    fn a_driver_that_lives_on_does_not_hide_a_leak_from_finish() {
        let platform = MockPlatform::new();
        let of = DeviceDma::new(platform.clone(), DeviceTag::unique(), 64);
        std::mem::forget(DmaBox::<u64, _>::zeroed(&of, Align::BYTE).ok());
        platform.finish();
    }

    #[test]
    fn what_is_recorded_ends_no_test() {
        let platform = MockPlatform::builder().record_faults().allow_leaks().without_sites().build();
        assert!(platform.device_memory("nic").get32(0x1000).is_err());
        let (faults, violations) = platform.memory().forgive();
        assert_eq!(
            faults[0].to_string(),
            "device `nic` read 4 bytes at dma:0x1000, but nothing is there: below all regions"
        );
        assert_eq!(violations, [""; 0]);
        platform.finish();
    }

    #[test]
    fn a_thousand_platforms_live_side_by_side() {
        let platforms: Vec<_> = (0..1000).map(|_| MockPlatform::new()).collect();
        let first = |platform: &MockPlatform| {
            let of = DeviceDma::new(platform.clone(), DeviceTag::unique(), 64);
            let shared = DmaBox::<u64, _>::zeroed(&of, Align::BYTE).ok().unwrap();
            platform.memory().expect_leak(Some(1));
            shared.dma_addr().get()
        };
        let addrs: HashSet<_> = platforms.iter().map(first).collect();
        assert!(addrs.len() > 1, "an address of one means nothing in another");
        assert!(platforms.iter().all(|platform| platform.memory().regions() == 1), "none knows of another");
    }
}
