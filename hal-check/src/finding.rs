//! What can be wrong with a platform, in words for whoever wrote it: whose promise it is, what was
//! expected, what was seen, what to do.

use alloc::string::String;
use core::fmt;
use core::time::Duration;

use paravane_hal::addr::{DmaAddr, PhysAddr};
use paravane_hal::dma::{DmaError, DmaLimits, DmaRequest, DomainTag};
use paravane_hal::mmio::MapError;
use paravane_hal::time::Instant;

/// A region under both its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where the CPU finds it.
    pub cpu: usize,
    /// Where a device finds it.
    pub dma: DmaAddr,
    /// How long it is.
    pub len_bytes: usize,
}

impl Place {
    pub(crate) fn shares_cpu_bytes(&self, other: &Self) -> bool {
        let end = |place: &Self| place.cpu.saturating_add(place.len_bytes);
        self.cpu < end(other) && other.cpu < end(self)
    }

    pub(crate) fn shares_device_bytes(&self, other: &Self) -> bool {
        let end = |place: &Self| place.dma.get().saturating_add(place.len_bytes as u64);
        self.dma.get() < end(other) && other.dma.get() < end(self)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at cpu:{:#x}, {:?}", self.len_bytes, self.cpu, self.dma)
    }
}

/// How wide an access is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 8 bits.
    Byte,
    /// 16 bits.
    Half,
    /// 32 bits.
    Word,
}

impl Width {
    /// In bits, as the methods of `Mmio` have it in their names.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::Byte => 8,
            Self::Half => 16,
            Self::Word => 32,
        }
    }
}

/// One register of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register {
    /// Its name in the device's specification.
    pub name: &'static str,
    /// Where its structure starts.
    pub start: PhysAddr,
    /// Where it is in that.
    pub offset_bytes: usize,
    /// How wide it is.
    pub width: Width,
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, start, offset_bytes, width } = self;
        write!(f, "{name} ({} bits at {:#x} of {start:?})", width.bits(), offset_bytes)
    }
}

/// A promise that the platform does not keep.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each one's words stand in `Display`, right below")]
pub enum Finding {
    LimitsChange { first: DmaLimits, then: DmaLimits },
    LimitsOdd { limits: DmaLimits, why: &'static str },
    DomainChanges { first: DomainTag, then: DomainTag },
    DomainOfClone { own: DomainTag, clone: DomainTag },
    Refused { request: DmaRequest, error: DmaError },
    TooShort { request: DmaRequest, has_bytes: usize },
    CpuMisaligned { request: DmaRequest, cpu: usize },
    DeviceMisaligned { request: DmaRequest, dma: DmaAddr },
    TooHigh { request: DmaRequest, dma: DmaAddr, address_bits: u8 },
    NotZeroed { place: Place, at: usize, value: u8 },
    Overlap { first: Place, second: Place },
    NotKept { place: Place, at: usize, stored: u8, value: u8 },
    ImpossibleGranted { place: Place, len_bytes: usize, max_segment_bytes: usize },
    NothingComesBack { rounds: u32, len_bytes: usize, error: DmaError },
    BytesInUse { before: usize, after: usize },
    MapRefused { len_bytes: usize, round: u32, error: DmaError },
    MapOther { len_bytes: usize },
    MapTooHigh { dma: DmaAddr, address_bits: u8 },
    MapSpoiled { at: usize, len_bytes: usize },
    ClockStopped { looks: u32, at: Instant },
    ClockBackwards { earlier: Instant, later: Instant },
    ClockCoarse { smallest: Duration },
    ClockSlow { looks: u32, passed: Duration },
    ClockRate { own_nanos: u128, reference_nanos: u128 },
    ReferenceStopped { looks: u32 },
    CannotMap { error: MapError, what: &'static str },
    MapsRunOut { rounds: u32, error: MapError },
    RegionTooShort { start: PhysAddr, wanted_bytes: usize, has_bytes: usize },
    RegisterReads { register: Register, expected: &'static str, seen: u32 },
    RegisterKeeps { register: Register, written: u32, seen: u32 },
    NeighbourChanged { written: Register, neighbour: Register, before: u32, after: u32 },
    PartDiffers { register: Register, part_offset_bytes: usize, whole: u32, part: u32 },
    OverlapDiffers { register: Register, when: &'static str, first: u32, second: u32 },
    AnsweredOutside { start: PhysAddr, len_bytes: usize, offset_bytes: usize, width: Width, seen: u32 },
    NonsenseMapped { start: PhysAddr, len_bytes: usize },
    PoolTooSmall { has: u32, wanted: u32, ring_entries: u16 },
    PoolMemory { frames: u32, error: DmaError },
    Driver { step: &'static str, reason: String, hint: &'static str },
    Elsewhere { place: Place, by_bytes: isize, step: &'static str },
    NotRead { place: Place, reason: String },
    NoWrites { place: Place, regions: usize, was_read: bool, waited: Duration },
    DoorbellLost { waited: Duration },
    Broken { fault: String },
    NoAnswer { waited: Duration, link_up: bool },
    WrongBytes { at: usize, expected: u8, seen: u8, frame_bytes: usize },
    NotHome { missing: usize, frames: usize },
}

fn wanted(f: &mut fmt::Formatter<'_>, request: &DmaRequest) -> fmt::Result {
    let DmaRequest { len_bytes, align, address_bits } = request;
    write!(f, "the HAL's `Dma::alloc` was asked for {len_bytes} bytes")?;
    write!(f, " aligned to {} below 2^{address_bits}", align.bytes())
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LimitsChange { .. }
            | Self::LimitsOdd { .. }
            | Self::DomainChanges { .. }
            | Self::DomainOfClone { .. } => self.about_domain(f),
            Self::Refused { .. }
            | Self::TooShort { .. }
            | Self::CpuMisaligned { .. }
            | Self::DeviceMisaligned { .. }
            | Self::TooHigh { .. }
            | Self::NotZeroed { .. }
            | Self::Overlap { .. }
            | Self::NotKept { .. }
            | Self::ImpossibleGranted { .. }
            | Self::NothingComesBack { .. }
            | Self::BytesInUse { .. } => self.about_memory(f),
            Self::MapRefused { .. }
            | Self::MapOther { .. }
            | Self::MapTooHigh { .. }
            | Self::MapSpoiled { .. } => self.about_mapping(f),
            Self::ClockStopped { .. }
            | Self::ClockBackwards { .. }
            | Self::ClockCoarse { .. }
            | Self::ClockSlow { .. }
            | Self::ClockRate { .. }
            | Self::ReferenceStopped { .. } => self.about_clock(f),
            Self::CannotMap { .. }
            | Self::MapsRunOut { .. }
            | Self::RegionTooShort { .. }
            | Self::RegisterReads { .. }
            | Self::RegisterKeeps { .. }
            | Self::NeighbourChanged { .. }
            | Self::PartDiffers { .. }
            | Self::OverlapDiffers { .. }
            | Self::AnsweredOutside { .. }
            | Self::NonsenseMapped { .. } => self.about_registers(f),
            _ => self.about_nic(f),
        }
    }
}

impl Finding {
    fn about_domain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LimitsChange { first, then } => write!(
                f,
                "the HAL's `Dma::limits` said {first:?}, then {then:?}; expected one answer for its whole \
                 life, from clones too; return a constant of the domain"
            ),
            Self::LimitsOdd { limits, why } => write!(
                f,
                "the HAL's `Dma::limits` says {limits:?}, but {why}; without limits it is `DmaLimits::NONE`"
            ),
            Self::DomainChanges { first, then } => write!(
                f,
                "the HAL's `Dma::domain` said {first}, then {then}; expected one answer; call \
                 `DomainTag::unique` once when the value is made and keep the tag"
            ),
            Self::DomainOfClone { own, clone } => write!(
                f,
                "the HAL's `Dma::domain` says {own}, and a clone says {clone}; expected that a clone reaches \
                 the same memory under the same addresses, for drivers keep clones; share the tag and the \
                 page tables between clones, or leave `domain` out without an IOMMU"
            ),
            _ => Ok(()),
        }
    }

    fn about_memory(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { request, error } => {
                wanted(f, request)?;
                write!(
                    f,
                    " and said: {error}; expected a region, for every driver needs such; look how much \
                     memory the domain was given and how it aligns"
                )
            }
            Self::TooShort { request, has_bytes } => {
                wanted(f, request)?;
                write!(
                    f,
                    " and gave {has_bytes}; expected as many or more; round the length up to whole pages, \
                     not down, and name the length given in `DmaRegion::new`"
                )
            }
            Self::CpuMisaligned { request, cpu } => {
                wanted(f, request)?;
                write!(
                    f,
                    " and gave cpu:{cpu:#x}; expected a CPU address that is a multiple of {}; align the \
                     allocation, or refuse alignments beyond a page with `DmaRequest::check`",
                    request.align.bytes()
                )
            }
            Self::DeviceMisaligned { request, dma } => {
                wanted(f, request)?;
                write!(
                    f,
                    " and gave {dma:?}; expected a device address that is a multiple of {}; where an offset \
                     or an IOMMU lies between the two addresses, it has to keep the alignment, or refuse \
                     with `DmaRequest::check`",
                    request.align.bytes()
                )
            }
            Self::TooHigh { request, dma, address_bits } => {
                wanted(f, request)?;
                write!(
                    f,
                    " and gave {dma:?}; expected its last byte below 2^{address_bits}, for the device \
                     drives no more bits; allocate lower, or refuse with `DmaErrorReason::AddressWidth`"
                )
            }
            Self::NotZeroed { place, at, value } => write!(
                f,
                "the HAL's `Dma::alloc` gave {place}, where byte {at} holds {value:#04x}{}; expected zeros, \
                 on which rings rest; zero each region in `alloc` before it is returned, also one that \
                 came back by `free`",
                if *value == 0xa5 { ", as its last owner left it" } else { "" }
            ),
            Self::Overlap { first, second } => {
                let which = match (first.shares_cpu_bytes(second), first.shares_device_bytes(second)) {
                    (true, true) => "share bytes",
                    (true, false) => "share bytes as the CPU sees them, though not as a device does",
                    _ => "share device addresses, though not CPU addresses",
                };
                write!(
                    f,
                    "the HAL's `Dma::alloc` gave two regions at once that {which}: {first}, and {second}; \
                     expected regions apart; look how the allocator marks what is out (a length not rounded \
                     up to pages, a clone with a free list of its own)"
                )
            }
            Self::NotKept { place, at, stored, value } => write!(
                f,
                "the HAL's `Dma::alloc` gave {place}; {stored:#04x} was stored in byte {at}, and {value:#04x} \
                 is there now; expected memory that keeps what is stored, and belongs to nobody else; look \
                 whether the range is RAM, mapped once, and reserved from the kernel's own allocator"
            ),
            Self::ImpossibleGranted { place, len_bytes, max_segment_bytes } => write!(
                f,
                "the HAL's `Dma::alloc` was asked for {len_bytes:#x} bytes, where `limits` says \
                 {max_segment_bytes:#x} at most, and gave {place}; expected an error; look for arithmetic \
                 that wraps or cuts the length"
            ),
            Self::NothingComesBack { rounds, len_bytes, error } => write!(
                f,
                "the HAL's `Dma::free` does not give back: {len_bytes} bytes were allocated and freed \
                 {rounds} times, one at a time, and then `alloc` said: {error}; expected that to go on for \
                 ever; look whether `free` returns all pages of the region, also the last one"
            ),
            Self::BytesInUse { before, after } => write!(
                f,
                "the HAL's `Dma::free` does not give all back: {before} bytes were out before the checks and \
                 {after} after them, with every region freed; expected the same; compare what `alloc` takes \
                 with what `free` returns, lengths rounded up included"
            ),
            _ => Ok(()),
        }
    }

    fn about_mapping(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MapRefused { len_bytes, round, error } => write!(
                f,
                "the HAL's `Dma::map` of {len_bytes} bytes, each mapping before it undone, failed in round \
                 {round}: {error}; expected a mapping, or `Unmappable` each time where none are offered; \
                 look whether `unmap` gives everything back"
            ),
            Self::MapOther { len_bytes } => write!(
                f,
                "the HAL's `Dma::map` was given {len_bytes} bytes and named other memory, or another \
                 direction, in its `DmaMapping`; expected those given, also where a copy is made, so that \
                 `unmap` knows them"
            ),
            Self::MapTooHigh { dma, address_bits } => write!(
                f,
                "the HAL's `Dma::map` gave {dma:?}, and `limits` promises addresses of {address_bits} bits; \
                 bounce what lies higher, or refuse it"
            ),
            Self::MapSpoiled { at, len_bytes } => write!(
                f,
                "the HAL's `Dma::map` and `unmap` of {len_bytes} bytes to a device that was never told \
                 changed byte {at}; expected that what a device only reads stays; with `ToDevice` nothing is \
                 to be copied back"
            ),
            _ => Ok(()),
        }
    }

    fn about_clock(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClockStopped { looks, at } => write!(
                f,
                "the HAL's `Clock::now` stands still: {looks} looks, `relax` between them, all saw {} ns; \
                 expected time to pass, or every wait for a device is endless; start the timer before \
                 drivers, and read the counter instead of a value that an interrupt updates while \
                 interrupts are off",
                at.as_nanos()
            ),
            Self::ClockBackwards { earlier, later } => write!(
                f,
                "the HAL's `Clock::now` went back from {} ns to {} ns; expected that it never does; look for \
                 a counter that wraps, halves read at different moments, cores that differ, or arithmetic \
                 that overflows on its way to nanoseconds",
                earlier.as_nanos(),
                later.as_nanos()
            ),
            Self::ClockCoarse { smallest } => write!(
                f,
                "the HAL's `Clock::now` moves in steps of {smallest:?} or more; expected 100 ms at the very \
                 most, for drivers wait for milliseconds; read a finer counter, and look at the unit: \
                 `Instant` is in nanoseconds"
            ),
            Self::ClockSlow { looks, passed } => write!(
                f,
                "the HAL's `Clock::now` says that {looks} looks took {passed:?}, which no CPU can; expected \
                 nanoseconds; look at the unit (microseconds, ticks of a slow counter, seconds)"
            ),
            Self::ClockRate { own_nanos, reference_nanos } => write!(
                f,
                "the HAL's `Clock::now` counted {own_nanos} ns while the reference counted \
                 {reference_nanos}; expected the same within a factor of two; look at the counter's \
                 frequency and the unit"
            ),
            Self::ReferenceStopped { looks } => write!(
                f,
                "the reference that was given to measure `Clock::now` against did not move on 20 ms in \
                 {looks} looks; give one that counts nanoseconds, or more looks"
            ),
            _ => Ok(()),
        }
    }

    fn about_registers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CannotMap { error, what } => write!(
                f,
                "the HAL's `MmioMap::map` refuses {what}: {error}; expected a region wherever a BAR can be, \
                 at any multiple of four; look at alignment to pages (map the page, keep the offset) and at \
                 addresses beyond 4 GiB"
            ),
            Self::MapsRunOut { rounds, error } => write!(
                f,
                "the HAL's `MmioMap` mapped and unmapped the same 8 bytes {rounds} times, and then said: \
                 {error}; expected that to go on for ever; give back in `unmap`, or hand out the mapping of \
                 a page that is there already"
            ),
            Self::RegionTooShort { start, wanted_bytes, has_bytes } => write!(
                f,
                "the HAL's `MmioMap::map` was asked for {wanted_bytes} bytes at {start:?} and its region \
                 says it has {has_bytes}; expected those asked for; `Mmio::len_bytes` counts from the start \
                 asked for, not from the page"
            ),
            Self::RegisterReads { register, expected, seen } => write!(
                f,
                "the HAL's `Mmio::read{}`: {register} reads {seen:#x}; expected {expected}; look whether \
                 the region starts at the address asked for, whether offsets are in bytes, and whether the \
                 access is one of exactly {} bits, uncached",
                register.width.bits(),
                register.width.bits()
            ),
            Self::RegisterKeeps { register, written, seen } => write!(
                f,
                "the HAL's `Mmio::write{}`: {register} was written {written:#x} and reads {seen:#x}; \
                 expected what was written; look at offset and width of both accesses, and that neither is \
                 cached or optimised away",
                register.width.bits()
            ),
            Self::NeighbourChanged { written, neighbour, before, after } => write!(
                f,
                "the HAL's `Mmio::write{}`: writing {written} changed {neighbour} from {before:#x} to \
                 {after:#x}; expected one access of exactly {} bits; do not widen it, and do not read, \
                 merge and write back",
                written.width.bits(),
                written.width.bits()
            ),
            Self::PartDiffers { register, part_offset_bytes, whole, part } => write!(
                f,
                "the HAL's `MmioMap::map`: {register} reads {whole:#x} through a mapping of the whole, and \
                 {part:#x} through one that starts {part_offset_bytes:#x} bytes in; expected the same; keep \
                 the offset within the page when the page is mapped"
            ),
            Self::OverlapDiffers { register, when, first, second } => write!(
                f,
                "the HAL's `MmioMap`: {register} reads {first:#x} through one mapping and {second:#x} \
                 {when}; expected the same, for regions may overlap and each lasts until its last clone is \
                 gone; count mappings and clones in `unmap`, or never unmap"
            ),
            Self::AnsweredOutside { start, len_bytes, offset_bytes, width, seen } => write!(
                f,
                "the HAL's `Mmio::read{}` at offset {offset_bytes:#x} of the {len_bytes} bytes mapped at \
                 {start:?} gave {seen:#x}; expected all ones, as where nobody answers, and no access; \
                 compare the end of each access with the length asked for, and its offset with its width",
                width.bits()
            ),
            Self::NonsenseMapped { start, len_bytes } => write!(
                f,
                "the HAL's `MmioMap::map` mapped {len_bytes} bytes at {start:?}; expected \
                 `MapErrorReason::OutOfRange` for a range that is empty or wraps around"
            ),
            _ => Ok(()),
        }
    }

    fn about_nic(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PoolTooSmall { has, wanted, ring_entries } => write!(
                f,
                "the pool is too small, which is a matter of its size and not of the device: {has} frames; \
                 two rings of {ring_entries} and what is under way between them want {wanted}; make it as \
                 large, or the rings smaller"
            ),
            Self::PoolMemory { frames, error } => write!(
                f,
                "the HAL's `Dma::alloc` has no memory for a pool of {frames} frames of 2 KiB: {error}; give \
                 the domain more, or ask for fewer frames"
            ),
            Self::Driver { step, reason, hint } => write!(f, "the driver could not {step}: {reason}; {hint}"),
            Self::Elsewhere { place, by_bytes, step } => write!(
                f,
                "the HAL's `Dma::alloc` gave the wrong device address: for {place}, the device writes \
                 {by_bytes:+} bytes from where the CPU sees it ({step}); expected the same bytes under both \
                 addresses; look at the translation from the CPU's address to the device's: the offset of a \
                 linear map, the base of the region, a page counted twice"
            ),
            Self::NotRead { place, reason } => write!(
                f,
                "the device answers at its registers, but does not find what was stored for it at the device \
                 addresses of the HAL's `Dma::alloc` ({reason}); the structure lies at {place}; expected the \
                 same bytes under both addresses; look at the translation to device addresses, at an IOMMU \
                 or a monitor's memory map that leaves the range out, and at stores that stay in a cache \
                 the device does not see"
            ),
            Self::NoWrites { place, regions, was_read, waited } => {
                write!(
                    f,
                    "the device answers at its registers, but in {waited:?} none of its writes arrived: \
                     device addresses from the HAL's `Dma::alloc` do not lead to the memory ({regions} \
                     regions, the first {place}); expected a frame reported as sent; "
                )?;
                f.write_str(if *was_read {
                    "it read what was stored there, so the addresses are right for reading: look whether an \
                     IOMMU maps them read-only, whether a cache or a bounce buffer hides what a device \
                     writes (`alloc` promises coherent memory)"
                } else {
                    "look at the translation from CPU to device addresses (upper halves included), at \
                     bridges on the way (`paravane_pci::enable_path`) and an IOMMU that does not know the \
                     device, and whether the memory is coherent"
                })
            }
            Self::DoorbellLost { waited } => write!(
                f,
                "a frame was not sent in {waited:?}, and was once the device was told again: the HAL's \
                 `Mmio::write` of the doorbell came before the stores it announces, or did not come; \
                 expected a write after every earlier store to memory (`barrier::before_mmio`), sent at \
                 once (no write combining)"
            ),
            Self::Broken { fault } => write!(
                f,
                "what the device wrote makes no sense: {fault}; on a device that others use without trouble \
                 look at the HAL first: memory that is not zeroed, shared with somebody, or not coherent; \
                 an `Mmio` whose accesses move past each other"
            ),
            Self::NoAnswer { waited, link_up } => write!(
                f,
                "no answer to ARP in {waited:?}, link {}; sending works, so look at the wire and the peer \
                 first; then, as what is received is the one thing that the device writes into the pool's \
                 memory, at the pool's device addresses, where the region is longer than a page",
                if *link_up { "up" } else { "down" }
            ),
            Self::WrongBytes { at, expected, seen, frame_bytes } => write!(
                f,
                "a frame of {frame_bytes} bytes was reported as received, and byte {at} is {seen:#04x}; \
                 expected {expected:#04x}: the report arrived and the bytes did not; look whether the HAL's \
                 `Dma::alloc` gives one contiguous range to the device, page after page, and coherent memory"
            ),
            Self::NotHome { missing, frames } => {
                write!(f, "the NIC stopped, and {missing} of {frames} frames are not back; expected all")
            }
            _ => Ok(()),
        }
    }
}
