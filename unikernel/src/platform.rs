//! What a program of this image is given: the [`Machine`], and in it one [`Platform`] value for its
//! drivers.

#![expect(unsafe_code, reason = "this is where the machine's parts are vouched for")]

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;

use linked_list_allocator::Heap;
use log::warn;
use paravane_hal::Parts;
use paravane_hal::mmio::MmioMap;
use paravane_hal::port::WithPorts;
use paravane_hal_x86_64::apic::{Lint0, LocalApic};
use paravane_hal_x86_64::dma::{DmaDomain, FrameDma};
use paravane_hal_x86_64::frames::FrameAllocator;
use paravane_hal_x86_64::line::Trigger;
use paravane_hal_x86_64::linear::LinearMap;
use paravane_hal_x86_64::lock::{Once, SpinLock};
use paravane_hal_x86_64::paging::MmioMapper;
use paravane_hal_x86_64::pic::Pic;
use paravane_hal_x86_64::port::X86Ports;
use paravane_hal_x86_64::range::PhysRange;
use paravane_hal_x86_64::tsc::kvmclock::{KvmClock, KvmClockPage};
use paravane_hal_x86_64::tsc::{TscClock, TscSource};

use crate::firmware::{FirmwareMemory, PhysicalMemory};
use crate::interrupts::madt::Wiring;
use crate::interrupts::{self, Interrupts, NoSuchLine, Starting};
use crate::loader::BootInfo;
use crate::memory::{IDENTITY_END, MemoryMap, plan};
use crate::ports::ports;
use crate::{cmdline, console, fatal};

/// The frames of this machine.
pub type Frames = SpinLock<FrameAllocator<128>>;

static FRAMES: Frames = SpinLock::new(FrameAllocator::new());
#[cfg_attr(target_os = "none", global_allocator)]
static HEAP: GlobalHeap = GlobalHeap(SpinLock::new(Heap::empty()));
static DMA: Once<DmaDomain<&'static Frames>> = Once::new();
static MMIO: Once<MmioMapper<&'static Frames>> = Once::new();
static RAM: Once<[PhysRange; MemoryMap::CAPACITY + 1]> = Once::new();
static BOOT: Once<BootInfo> = Once::new();
static KVMCLOCK: KvmClockPage = KvmClockPage::new();

/// When nobody knows how fast the TSC runs: faster than any does, so that waits last longer than
/// they should, never shorter.
const ASSUMED_HZ: u64 = 5_000_000_000;

/// Everything there is.
#[derive(Debug)]
pub struct Machine {
    /// What the loader said.
    pub boot: &'static BootInfo,
    /// What drivers are given.
    pub platform: Platform,
    /// Interrupts, and sleep.
    pub interrupts: Interrupts,
    /// I/O ports, for configuration space and the like.
    pub ports: X86Ports,
    /// Firmware's tables, for reading.
    pub firmware: FirmwareMemory,
}

/// DMA, register mappings and time: all that the drivers ask for, in one value that is copied
/// freely.
pub type Platform = Parts<FrameDma<&'static Frames>, Registers, TscClock>;

/// Register mappings, and the ports.
pub type Registers = WithPorts<&'static MmioMapper<&'static Frames>, X86Ports>;

/// Registers as drivers reach them.
pub type Region = <Registers as MmioMap>::Region;

impl Machine {
    /// Puts the machine together; its time starts at `first_ticks`. Called once, by the image's
    /// entry.
    pub(crate) fn assemble(boot: BootInfo, first_ticks: u64) -> Self {
        let Ok(boot) = BOOT.set(boot) else { fatal!("the machine is assembled once") };
        let map = claim_memory(boot);
        let (Some(mmio), Some(dma)) = (MMIO.get(), DMA.get()) else {
            fatal!("page tables outside the identity map")
        };
        interrupts::load_handlers();
        // SAFETY: the handlers are in place, and this is the first and only use of the controllers.
        let pic = unsafe { Pic::set_up(ports(), interrupts::first_line_vector()) };
        // SAFETY: ring 0, the only CPU in use; the handlers are in place, the spurious one ends
        // nothing.
        let apic = match unsafe { LocalApic::enable(mmio, interrupts::SPURIOUS, Lint0::ExtInt) } {
            Ok(apic) => apic,
            Err(error) => fatal!("{error}"),
        };
        let Some(starting) = Starting::begin(apic, pic) else { fatal!("interrupts are set up once") };
        let clock = calibrate(map, first_ticks);
        console::set_clock(clock);
        let Some(interrupts) = starting.finish(clock) else {
            fatal!("the local APIC's timer does not count")
        };
        report_cuts(boot);
        let platform =
            Platform { dma: FrameDma::new(dma), mmio: WithPorts { mapper: mmio, io: ports() }, clock };
        Self { boot, platform, interrupts, ports: ports(), firmware: FirmwareMemory::of(&boot.memory) }
    }
}

impl Machine {
    /// Lets devices interrupt by `line`: one that firmware wrote into their configuration space, or
    /// that came with their place.
    ///
    /// # Errors
    ///
    /// [`NoSuchLine`].
    pub fn enable_line(&self, line: u8, trigger: Trigger) -> Result<(), NoSuchLine> {
        self.interrupts.enable_line(line, trigger, &self.platform.mmio.mapper, || self.wiring())
    }

    /// How lines are wired.
    pub(crate) fn wiring(&self) -> Wiring {
        let memory = |from, into: &mut [u8]| self.firmware.read(from, into);
        let said = self.boot.rsdp.map_or(Ok(Wiring::USUAL), |rsdp| Wiring::read(&memory, rsdp));
        said.unwrap_or_else(|reason| {
            warn!("interrupts: ACPI tables not used: {reason}");
            Wiring::USUAL
        })
    }
}

/// Says what of the loader's word was more than there is room for.
fn report_cuts(boot: &BootInfo) {
    if boot.command_line.is_cut() {
        warn!("command line: longer than {} bytes; the words behind that are ignored", cmdline::CAPACITY);
    }
    if boot.memory.is_cut() {
        warn!("memory map: more than {} ranges; the others are not used", MemoryMap::CAPACITY);
    }
}

/// Shares the RAM out: heap, frames, and the knowledge of what is RAM.
fn claim_memory(boot: &'static BootInfo) -> LinearMap {
    let image = image();
    let heap = plan(&boot.memory, image, &mut |range| {
        // More pieces than the table has room for: the rest stays unused.
        let _ = FRAMES.with(|frames| frames.add(range));
    });
    let heap = match heap {
        Ok(heap) => heap,
        Err(error) => fatal!("{error}"),
    };
    // SAFETY: `entry.s` mapped these 4 GiB at their own addresses, write-back, and nobody unmaps
    // them. The null page and the one below the stack, which it left out, are no RAM that is given
    // out: below the first MiB, and inside the image.
    let map = unsafe { LinearMap::new(PhysRange::between(0, IDENTITY_END), 0) };
    let Some(start) = map.to_virt(heap.start(), heap.len_bytes()) else { fatal!("the heap is at {heap}") };
    // SAFETY: the range is RAM that `plan` gave to nobody else, mapped, and never taken back.
    HEAP.0.with(|heap_of_all| unsafe { heap_of_all.init(start.as_ptr(), heap_len(heap)) });

    let mut ram = [PhysRange::EMPTY; MemoryMap::CAPACITY + 1];
    for (place, range) in ram.iter_mut().zip(boot.memory.ram().chain([image])) {
        *place = range;
    }
    if let Ok(ram) = RAM.set(ram) {
        // SAFETY:
        // - `entry.s` set up four levels, in the image's own memory, and nothing else changes them.
        // - Nobody in Rust has a reference to them: they are `entry.s`'s, and reached by no other
        //   code.
        // - The upper half is empty.
        // - `FRAMES` gives out frames below 4 GiB that `plan` gave to nobody else.
        // - `ram` is all the loader calls so, and the image.
        if let Some(mapper) = unsafe { MmioMapper::new(&FRAMES, map, ram.as_slice()) } {
            // There is none yet; the ranges above were set for the first time.
            let _ = MMIO.set(mapper);
        }
    }
    // SAFETY: as for the mapper; and no IOMMU is on, for nobody turned one on.
    let domain = unsafe { DmaDomain::new(&FRAMES, map) };
    // As above.
    let _ = DMA.set(domain);
    map
}

fn heap_len(heap: PhysRange) -> usize {
    // Below 4 GiB, so it fits.
    usize::try_from(heap.len_bytes()).unwrap_or(0)
}

/// The image's own memory, from the linker.
fn image() -> PhysRange {
    #[cfg(target_os = "none")]
    {
        unsafe extern "C" {
            static image_start: u8;
            static image_end: u8;
        }
        PhysRange::between((&raw const image_start).addr() as u64, (&raw const image_end).addr() as u64)
    }
    #[cfg(not(target_os = "none"))]
    PhysRange::EMPTY
}

/// The clock, starting at `first_ticks`.
fn calibrate(map: LinearMap, first_ticks: u64) -> TscClock {
    let page = NonNull::from(&KVMCLOCK);
    let kvmclock = map.to_phys(page.cast(), size_of::<KvmClockPage>()).map(|phys| {
        // SAFETY: the page is where the identity map says, and this is ring 0.
        unsafe { KvmClock::new(&KVMCLOCK, phys) }
    });
    let clock = TscClock::calibrate(&ports(), kvmclock)
        .ok()
        .or_else(|| TscClock::new(ASSUMED_HZ, TscSource::Assumed));
    match clock {
        Some(clock) => clock.starting_at(first_ticks),
        None => fatal!("no clock"),
    }
}

impl Machine {
    /// Bytes of the heap that are left.
    #[must_use]
    pub fn heap_bytes_free(&self) -> usize {
        HEAP.0.with(|heap| heap.free())
    }

    /// Bytes of DMA memory that are left.
    #[must_use]
    pub fn dma_bytes_free(&self) -> u64 {
        FRAMES.with(|frames| frames.free_bytes())
    }
}

/// The heap behind `alloc`.
struct GlobalHeap(SpinLock<Heap>);

// SAFETY: the heap gives out each byte once until it comes back, aligned as asked, and the lock
// keeps callers apart. Interrupt handlers do not allocate.
unsafe impl GlobalAlloc for GlobalHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.with(|heap| heap.allocate_first_fit(layout).map_or(core::ptr::null_mut(), NonNull::as_ptr))
    }
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if let Some(memory) = NonNull::new(memory) {
            // SAFETY: the caller got `memory` from `alloc` with this layout, and is done with it.
            self.0.with(|heap| unsafe { heap.deallocate(memory, layout) });
        }
    }
}
