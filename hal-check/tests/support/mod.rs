//! A platform with one mistake, planted; a NIC on it; a station on the wire.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, clippy::panic, reason = "helpers of tests")]
#![allow(unsafe_code, reason = "breaks the promises of `Dma` to see them missed")]

pub mod arp;
pub mod nic;

use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};

use paravane_hal::addr::{DmaAddr, PhysAddr};
use paravane_hal::dma::{
    Direction, Dma, DmaError, DmaErrorReason, DmaLimits, DmaMapping, DmaRegion, DmaRequest, DomainTag,
};
use paravane_hal::mmio::{MapError, MapErrorReason, Mmio, MmioMap};
use paravane_hal::time::{Clock, Instant};
use paravane_hal_check::{Report, Verdict};
use paravane_mock_hal::{Builder, MockPlatform, ModelRegion};

/// What is wrong with a platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    None,
    /// Limits that differ from call to call.
    Limits,
    /// A clone is of another domain.
    Clone,
    /// Refuses alignments that drivers need.
    Refuses,
    /// Lengths are rounded down to pages.
    Short,
    CpuMisaligned,
    DeviceMisaligned,
    /// The address width asked for is not looked at.
    TooHigh,
    NotZeroed,
    /// The next region starts where the last page of the one before does.
    Overlap,
    /// Two regions have one device address.
    OneDevicePage,
    /// Somebody else uses the memory as well.
    Shared,
    /// More is granted than there is.
    Grants,
    FreeDoesNothing,
    /// `free` returns less than `alloc` took, and only the platform's own count shows it.
    FreeReturnsLess,
    /// `unmap` copies something back that a device only read.
    MapSpoils,
    StoppedClock,
    BackwardsClock,
    /// Seconds for nanoseconds.
    SlowClock,
    /// Thrice as fast as time.
    FastClock,
    /// Registers are looked for so many bytes further on.
    Offset(usize),
    /// A mapping starts at its page, whatever was asked for.
    PageStart,
    /// 16-bit registers are accessed as 32 bits.
    Wide,
    /// Writes of 8 and 16 bits write 32.
    WideWrites,
    /// A region answers beyond its end.
    NoBounds,
    /// A second mapping takes the first one's place.
    OneMapping,
    /// `unmap` ends every mapping of the place.
    Unmaps,
    /// `unmap` gives nothing back, and there is room for few.
    KeepsMaps,
    /// Empty ranges are mapped.
    Nonsense,
    /// Device addresses are so many bytes off.
    Off(i64),
    /// What a device writes does not show, though it sees what the CPU stores.
    WritesHidden,
    /// Neither side sees the other.
    Incoherent,
    /// The first doorbell of virtio's transmit queue is lost.
    Doorbell,
}

/// A platform with a mistake.
pub struct Planted {
    pub mock: MockPlatform,
    pub mistake: Mistake,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    calls: u64,
    /// Given back, as it was left.
    left: Vec<DmaRegion>,
    /// Bytes that were given out, less those that came back.
    taken: usize,
    bump: usize,
    arena: Option<DmaRegion>,
    /// What the CPU has instead of the memory, and how long it is.
    shadows: Vec<Shadow>,
    /// The device address of all regions.
    one_page: Option<u64>,
    /// The region that was given out last, if it is out.
    last: Option<Last>,
    maps: u64,
    /// The last mapping that was unmapped.
    unmapped: u64,
    lost: bool,
}

struct Shadow {
    cpu: NonNull<u8>,
    real: DmaRegion,
}

// SAFETY: memory from the heap, reached under a lock.
unsafe impl Send for Shadow {}

struct Last(NonNull<u8>);

// SAFETY: as for `Shadow`.
unsafe impl Send for Last {}

/// What a machine with little memory has.
const BUDGET: usize = 3 << 20;

impl Planted {
    pub fn new(mistake: Mistake) -> Self {
        Self::on(mistake, MockPlatform::builder())
    }

    pub fn on(mistake: Mistake, builder: Builder) -> Self {
        let mock = builder.record_faults().allow_leaks().without_sites().build();
        Self { mock, mistake, state: Arc::default() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.state.inner.lock().unwrap()
    }

    pub fn bytes_taken(&self) -> usize {
        self.state().taken
    }

    fn has(&self, mistake: Mistake) -> bool {
        self.mistake == mistake
    }
}

impl Clone for Planted {
    fn clone(&self) -> Self {
        let mock = if self.has(Mistake::Clone) { MockPlatform::new() } else { self.mock.clone() };
        Self { mock, mistake: self.mistake, state: Arc::clone(&self.state) }
    }
}

fn addr(raw: u64) -> DmaAddr {
    // SAFETY: none; that is what is planted.
    unsafe { DmaAddr::from_platform(raw) }
}

fn fill(cpu: NonNull<u8>, byte: u8, len_bytes: usize) {
    // SAFETY: the callers' regions are that long.
    unsafe { cpu.as_ptr().write_bytes(byte, len_bytes) };
}

// SAFETY: mostly not: that is what is planted. Wherever memory is named, it is there.
unsafe impl Dma for Planted {
    fn limits(&self) -> DmaLimits {
        let mut limits = self.mock.limits();
        if self.has(Mistake::Limits) {
            let mut state = self.state();
            state.calls += 1;
            limits.max_segment_bytes = 0x10_0000 << (state.calls % 2);
        }
        limits
    }

    fn domain(&self) -> DomainTag {
        self.mock.domain()
    }

    fn alloc(&self, request: DmaRequest) -> Result<DmaRegion, DmaError> {
        let len = request.len_bytes.get();
        let align = request.align.bytes();
        let fails = |reason| Err(DmaError::new(len, reason));
        match self.mistake {
            Mistake::Refuses if align > 512 => {
                return fails(DmaErrorReason::Alignment { align: request.align });
            }
            Mistake::Grants if len > 1 << 40 => {
                let small = DmaRequest { len_bytes: NonZeroUsize::new(4096).unwrap(), ..request };
                let region = self.mock.alloc(small)?;
                return Ok(DmaRegion::new(region.cpu(), region.dma(), region.len_bytes()));
            }
            Mistake::FreeDoesNothing if self.state().taken + len > BUDGET => {
                return fails(DmaErrorReason::OutOfMemory);
            }
            Mistake::Overlap if len < 1 << 20 => return self.bump(len, align),
            Mistake::TooHigh => {
                return self.mock.alloc(DmaRequest { address_bits: 64, ..request });
            }
            Mistake::CpuMisaligned => {
                let longer = DmaRequest { len_bytes: request.len_bytes.saturating_add(4), ..request };
                let region = self.mock.alloc(longer)?;
                // SAFETY: four bytes longer than asked for.
                let cpu = unsafe { region.cpu().add(4) };
                return Ok(DmaRegion::new(cpu, region.dma(), request.len_bytes));
            }
            Mistake::WritesHidden | Mistake::Incoherent => return self.shadowed(request),
            _ => {}
        }
        if self.has(Mistake::NotZeroed) {
            let fits = |region: &DmaRegion| request.check(region).is_ok();
            let mut state = self.state();
            if let Some(at) = state.left.iter().position(fits) {
                return Ok(state.left.swap_remove(at));
            }
        }
        let region = self.mock.alloc(request)?;
        self.state().taken += len;
        let (cpu, dma, len_bytes) = (region.cpu(), region.dma().get(), region.len_bytes());
        let dma = match self.mistake {
            Mistake::DeviceMisaligned => dma + 4,
            Mistake::Off(by) => dma.wrapping_add_signed(by),
            Mistake::OneDevicePage => *self.state().one_page.get_or_insert(dma),
            _ => dma,
        };
        let len_bytes = match self.mistake {
            Mistake::Short if len > 4096 => NonZeroUsize::new(len / 4096 * 4096).unwrap(),
            _ => len_bytes,
        };
        if self.has(Mistake::Shared)
            && let Some(Last(other)) = self.state().last.replace(Last(cpu))
        {
            fill(other, 0x77, 1);
        }
        Ok(DmaRegion::new(cpu, addr(dma), len_bytes))
    }

    unsafe fn free(&self, region: DmaRegion) {
        let mut state = self.state();
        let len_bytes = region.len_bytes();
        state.last.take_if(|last| last.0 == region.cpu());
        match self.mistake {
            Mistake::OneDevicePage | Mistake::FreeDoesNothing | Mistake::Overlap | Mistake::Grants => return,
            Mistake::NotZeroed => return state.left.push(region),
            Mistake::FreeReturnsLess => state.taken -= len_bytes.get() / 4096 * 4096,
            _ => state.taken = state.taken.saturating_sub(len_bytes.get()),
        }
        let (cpu, dma) = match self.mistake {
            // SAFETY: undoes what `alloc` did.
            Mistake::CpuMisaligned => (unsafe { region.cpu().sub(4) }, region.dma().get()),
            Mistake::DeviceMisaligned => (region.cpu(), region.dma().get() - 4),
            Mistake::Off(by) => (region.cpu(), region.dma().get().wrapping_add_signed(-by)),
            Mistake::WritesHidden | Mistake::Incoherent => {
                let at = state.shadows.iter().position(|shadow| shadow.cpu == region.cpu()).unwrap();
                let shadow = state.shadows.swap_remove(at);
                (shadow.real.cpu(), shadow.real.dma().get())
            }
            _ => (region.cpu(), region.dma().get()),
        };
        // SAFETY: what `alloc` had from the mock.
        unsafe { self.mock.free(DmaRegion::new(cpu, addr(dma), len_bytes)) };
    }

    unsafe fn map(&self, memory: NonNull<[u8]>, direction: Direction) -> Result<DmaMapping, DmaError> {
        // SAFETY: the caller's obligations are the same ones.
        unsafe { Dma::map(&self.mock, memory, direction) }
    }

    unsafe fn unmap(&self, mapping: DmaMapping) {
        if self.has(Mistake::MapSpoils) {
            fill(mapping.memory().cast(), 0xdb, mapping.memory().len());
        }
        // SAFETY: the caller's obligations are the same ones.
        unsafe { Dma::unmap(&self.mock, mapping) }
    }
}

impl Planted {
    /// An allocator that rounds lengths down to pages.
    fn bump(&self, len: usize, align: usize) -> Result<DmaRegion, DmaError> {
        let mut state = self.state();
        if state.arena.is_none() {
            let len_bytes = NonZeroUsize::new(BUDGET).unwrap();
            state.arena =
                Some(self.mock.alloc(DmaRequest::new(len_bytes, paravane_hal::addr::Align::new(0x1_0000)))?);
        }
        let start = state.bump.next_multiple_of(align);
        let start = if start + len > BUDGET { 0 } else { start };
        state.bump = start + len / 4096 * 4096;
        let arena = state.arena.as_ref().unwrap();
        // SAFETY: the arena is that long.
        let cpu = unsafe { arena.cpu().add(start) };
        fill(cpu, 0, len);
        Ok(DmaRegion::new(cpu, addr(arena.dma().get() + start as u64), NonZeroUsize::new(len).unwrap()))
    }

    /// The CPU gets other memory than the device.
    fn shadowed(&self, request: DmaRequest) -> Result<DmaRegion, DmaError> {
        let real = self.mock.alloc(request)?;
        let other = self.mock.alloc(request)?;
        let region = DmaRegion::new(other.cpu(), real.dma(), real.len_bytes());
        self.state().shadows.push(Shadow { cpu: other.cpu(), real });
        Ok(region)
    }

    /// What the CPU stored reaches the device.
    fn flush(&self) {
        if self.has(Mistake::WritesHidden) {
            for Shadow { cpu, real } in &self.state().shadows {
                // SAFETY: both are that long, and apart.
                unsafe { real.cpu().as_ptr().copy_from_nonoverlapping(cpu.as_ptr(), real.len_bytes().get()) };
            }
        }
    }
}

impl Clock for Planted {
    fn now(&self) -> Instant {
        let now = self.mock.now().as_nanos();
        let mut state = self.state();
        state.calls += 1;
        Instant::from_nanos(match self.mistake {
            Mistake::StoppedClock => 12_345,
            Mistake::BackwardsClock if state.calls.is_multiple_of(5) => now.saturating_sub(1_000_000),
            Mistake::SlowClock => now / 1_000_000_000,
            Mistake::FastClock => now * 3,
            _ => now,
        })
    }

    fn relax(&self) {
        self.mock.relax();
    }
}

impl MmioMap for Planted {
    type Region = PlantedRegion;

    fn map(&self, start: PhysAddr, len_bytes: usize) -> Result<PlantedRegion, MapError> {
        if self.has(Mistake::Nonsense) && len_bytes == 0 {
            let inner = MmioMap::map(&self.mock, start, 4)?;
            return Ok(PlantedRegion { inner, len_bytes, number: 0, platform: self.clone() });
        }
        let number = {
            let mut state = self.state();
            state.maps += 1;
            state.maps
        };
        let page = PhysAddr::new(start.get() / 4096 * 4096);
        let inner = match self.mistake {
            Mistake::PageStart => {
                MmioMap::map(&self.mock, start, len_bytes)?;
                MmioMap::map(&self.mock, page, len_bytes)?
            }
            Mistake::NoBounds | Mistake::Offset(_) => {
                MmioMap::map(&self.mock, start, len_bytes)?;
                MmioMap::map(&self.mock, start, 0x200)?
            }
            _ => MmioMap::map(&self.mock, start, len_bytes)?,
        };
        if self.has(Mistake::KeepsMaps) && number > 16 {
            return Err(MapError::new(start, len_bytes, MapErrorReason::OutOfMemory));
        }
        Ok(PlantedRegion { inner, len_bytes, number, platform: self.clone() })
    }

    fn unmap(&self, region: PlantedRegion) {
        self.state().unmapped = region.number;
    }
}

/// Registers of a platform with a mistake.
#[derive(Clone)]
pub struct PlantedRegion {
    inner: ModelRegion,
    len_bytes: usize,
    /// Which mapping it is.
    number: u64,
    platform: Planted,
}

impl PlantedRegion {
    /// Where an access of `width` lands.
    fn at(&self, offset_bytes: usize) -> usize {
        match self.platform.mistake {
            Mistake::Offset(by) => offset_bytes.saturating_add(by),
            // Gone with the mapping that came after it.
            Mistake::OneMapping if self.number == 1 && self.platform.state().maps > 65 => usize::MAX,
            // The parts that are mapped first start elsewhere.
            Mistake::Unmaps if self.platform.state().unmapped > 65 => usize::MAX,
            _ => offset_bytes,
        }
    }

    fn write(&self) -> bool {
        self.platform.flush();
        true
    }
}

impl Mmio for PlantedRegion {
    fn len_bytes(&self) -> usize {
        self.len_bytes
    }
    fn read8(&self, offset_bytes: usize) -> u8 {
        self.inner.read8(self.at(offset_bytes))
    }
    fn read16(&self, offset_bytes: usize) -> u16 {
        if self.platform.has(Mistake::Wide) {
            let word = self.inner.read32(offset_bytes & !3);
            return (word >> (8 * (offset_bytes & 2))) as u16;
        }
        self.inner.read16(self.at(offset_bytes))
    }
    fn read32(&self, offset_bytes: usize) -> u32 {
        self.inner.read32(self.at(offset_bytes))
    }
    fn write8(&self, offset_bytes: usize, value: u8) {
        self.write();
        if self.platform.has(Mistake::WideWrites) {
            // A bus splits what is too wide for a register.
            self.inner.write16(self.at(offset_bytes + 2), 0);
        }
        self.inner.write8(self.at(offset_bytes), value);
    }
    fn write16(&self, offset_bytes: usize, value: u16) {
        self.write();
        let is_doorbell = offset_bytes >= 0x3000 && value == 1;
        if self.platform.has(Mistake::Doorbell) && is_doorbell && !self.platform.state().lost {
            self.platform.state().lost = true;
            return;
        }
        self.inner.write16(self.at(offset_bytes), value);
    }
    fn write32(&self, offset_bytes: usize, value: u32) {
        self.write();
        self.inner.write32(self.at(offset_bytes), value);
    }
}

/// What `check` found, in words.
pub fn words(report: &Report, check: paravane_hal_check::Check) -> String {
    match report.verdict(check) {
        Some(Verdict::Failed(finding)) => finding.to_string(),
        other => panic!("{check} was expected to fail and ended with {other:?}\n{report}"),
    }
}
