//! The platform that writes down what passes through it.

#![expect(unsafe_code, reason = "`Dma` is an unsafe trait, and lent memory is looked at before and after")]

use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use paravane_hal::addr::{Align, PhysAddr};
use paravane_hal::dma::{
    Direction, Dma, DmaError, DmaErrorReason, DmaLimits, DmaMapping, DmaRegion, DmaRequest, DomainTag,
};
use paravane_hal::mmio::{MapError, Mmio, MmioDevice, MmioMap};
use paravane_hal::port::PortIo;
use paravane_hal::time::{Clock, Instant};
use paravane_pci::{ConfigAccess, PciAddress};

use super::entry::{Entry, Operation, Place, Space};
use super::log::{Lent, Log};
use super::mirror::Mirror;
use super::recording::{ConfigShape, Recording};
use super::text::ParseError;
use crate::registers::Width;

/// What the mirrors need both copies aligned to.
const MIRROR_ALIGN: Align = Align::new(8);

/// A platform around another one, writing down what passes. A clone writes into the same recording.
///
/// Configuration space and ports are wrapped by [`config`](Self::config) and
/// [`ports`](Self::ports). What comes from elsewhere is told to it: [`step`](Self::step),
/// [`give`](Self::give), [`take`](Self::take), [`interrupt`](Self::interrupt). How memory is
/// recorded, and what that asks of the driver, is told at the [module](super).
///
/// For one thread at a time: the order of the lines is the order of the calls.
#[derive(Clone)]
pub struct Recorder<H> {
    inner: H,
    log: SharedLog,
}

/// A recording in the making.
#[derive(Clone)]
struct SharedLog(Arc<Mutex<Log>>);

impl SharedLog {
    fn lock(&self) -> MutexGuard<'_, Log> {
        // Consistent after each statement; whoever panicked elsewhere has spoilt the recording, not
        // the log.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads through: the device sees what was stored before, the driver what the device stores
    /// meanwhile.
    fn read<T: Copy + Into<u32>>(&self, width: Width, space: Space, read: impl FnOnce() -> T) -> T {
        let mut log = self.lock();
        log.push();
        let value = read();
        log.access(Operation::Read, width, space, value.into());
        log.pull();
        value
    }

    /// Writes through.
    fn write<T: Copy + Into<u32>>(&self, width: Width, space: Space, value: T, write: impl FnOnce(T)) {
        let mut log = self.lock();
        log.push();
        write(value);
        log.access(Operation::Write, width, space, value.into());
        log.pull();
    }

    fn look<T>(&self, look: impl FnOnce() -> T) -> T {
        let mut log = self.lock();
        log.push();
        let value = look();
        log.look();
        value
    }

    fn note(&self, entry: Entry) {
        let mut log = self.lock();
        log.push();
        log.entries.push(entry);
        log.pull();
    }
}

impl<H: Dma> Recorder<H> {
    /// Records what passes through `inner`.
    #[must_use]
    pub fn new(inner: H) -> Self {
        let log = Log::new(inner.limits());
        Self { inner, log: SharedLog(Arc::new(Mutex::new(log))) }
    }

    /// The platform inside.
    #[must_use]
    pub fn inner(&self) -> &H {
        &self.inner
    }

    /// Configuration space that is recorded too. One a recording.
    #[must_use]
    pub fn config<C: ConfigAccess>(&self, inner: C) -> RecordedConfig<C> {
        let (config_bytes, segment, buses) = (inner.config_bytes(), inner.segment(), inner.buses());
        self.log.lock().config = Some(ConfigShape { config_bytes, segment, buses });
        RecordedConfig { inner, log: self.log.clone() }
    }

    /// I/O ports that are recorded too.
    #[must_use]
    pub fn ports<P: PortIo>(&self, inner: P) -> RecordedPorts<P> {
        RecordedPorts { inner, log: self.log.clone() }
    }

    /// Writes down that something begins.
    pub fn step(&self, name: &str) {
        self.log.note(Entry::Step(name.split_whitespace().collect::<Vec<_>>().join(" ")));
    }

    /// Writes down that `bytes` are given to the device from outside.
    pub fn give(&self, bytes: &[u8]) {
        self.log.note(Entry::Give(bytes.to_vec()));
    }

    /// Writes down that `bytes` came out of the device.
    pub fn take(&self, bytes: &[u8]) {
        self.log.note(Entry::Take(bytes.to_vec()));
    }

    /// Writes down what firmware left in memory.
    pub fn firmware(&self, start: PhysAddr, bytes: &[u8]) {
        self.log.note(Entry::Firmware { start: start.get(), bytes: bytes.to_vec() });
    }

    /// Writes down that the device interrupted.
    pub fn interrupt(&self, vector: u16) {
        self.log.note(Entry::Interrupt { vector });
    }

    /// Lets both sides see what the other stored, as a look at the clock does. True when the device
    /// had stored something.
    pub fn synchronise(&self) -> bool {
        let mut log = self.log.lock();
        log.push();
        let before = log.entries.len();
        log.look();
        log.entries.len() > before
    }

    /// The recording so far, with where it comes from.
    ///
    /// # Errors
    ///
    /// [`ParseError`], when what was recorded cannot be said in the format.
    pub fn finish(&self, provenance: &[(&str, &str)]) -> Result<Recording, ParseError> {
        let log = self.log.lock();
        let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let unread = Recording {
            provenance: provenance
                .iter()
                .map(|(name, value)| (one_line(name).replace(' ', "-"), one_line(value)))
                .collect(),
            limits: log.limits,
            config: log.config.clone(),
            entries: log.entries.clone(),
            lines: Vec::new(),
        };
        // What is written down and cannot be read again is of no use to anybody; better to learn of
        // it now.
        Recording::parse(&unread.to_string())
    }
}

impl<H: Clock> Clock for Recorder<H> {
    fn now(&self) -> Instant {
        self.log.look(|| self.inner.now())
    }
    fn relax(&self) {
        self.log.look(|| self.inner.relax());
    }
}

impl<H: MmioMap> MmioMap for Recorder<H> {
    type Region = RecordedRegion<H::Region>;

    fn map(&self, start: PhysAddr, len_bytes: usize) -> Result<Self::Region, MapError> {
        let inner = self.inner.map(start, len_bytes)?;
        let mut log = self.log.lock();
        let place = log.name_registers(start.get());
        log.entries.push(Entry::Map { place: place.clone(), start: start.get(), len_bytes });
        Ok(RecordedRegion { inner, place, log: self.log.clone() })
    }

    /// Not recorded: no device sees it.
    fn unmap(&self, region: Self::Region) {
        self.inner.unmap(region.inner);
    }
}

impl<H: MmioMap> Recorder<H> {
    /// A device that was claimed on the platform inside, claimed again so that what passes is
    /// recorded.
    ///
    /// # Errors
    ///
    /// [`MapError`]; the device is given up.
    pub fn claim(
        &self,
        device: MmioDevice<H::Region>,
    ) -> Result<MmioDevice<RecordedRegion<H::Region>>, MapError> {
        let (start, len_bytes, reset_at_bytes) =
            (device.start(), device.region().len_bytes(), device.reset_at_bytes());
        device.release(&self.inner);
        // SAFETY: whoever claimed the device that was given made both promises about what is there,
        // for as long as that value lives, or what was made of it. This was made of it, and it is
        // gone.
        unsafe { MmioDevice::claim(self, start, len_bytes, reset_at_bytes) }
    }
}

// SAFETY:
// - `alloc`: the driver's copy is unique, zeroed memory of the length and alignment asked for; the
//   device reaches the platform's region at the address returned. Each side sees the other's stores
//   from the next point of synchronisation on; where a driver needs them between two of them, it
//   works on older bytes, which the contract of coherent memory allows a slow device anyway.
// - `map`: the platform inside maps the memory itself and keeps its promises.
unsafe impl<H: Dma> Dma for Recorder<H> {
    fn limits(&self) -> DmaLimits {
        self.inner.limits()
    }

    fn domain(&self) -> DomainTag {
        self.inner.domain()
    }

    fn alloc(&self, request: DmaRequest) -> Result<DmaRegion, DmaError> {
        let mut log = self.log.lock();
        let aligned = DmaRequest { align: request.align.max(MIRROR_ALIGN), ..request };
        let region =
            self.inner.alloc(aligned).inspect_err(|_| log.entries.push(Entry::Refuse { request }))?;
        match Mirror::new(region, aligned.align.bytes()) {
            Ok(mirror) => {
                let region =
                    DmaRegion::new(mirror.driver(), mirror.device().dma(), mirror.device().len_bytes());
                let memory = log.watch(mirror);
                log.entries.push(Entry::Alloc { memory, request });
                Ok(region)
            }
            Err(region) => {
                // SAFETY: just allocated, and nobody has learnt of it.
                unsafe { self.inner.free(region) };
                Err(DmaError::new(request.len_bytes.get(), DmaErrorReason::OutOfMemory))
            }
        }
    }

    unsafe fn free(&self, region: DmaRegion) {
        let mut log = self.log.lock();
        let Some((memory, mirror)) = log.unwatch(region.dma().get()) else {
            unreachable!("a region is freed once, on the domain that it came from");
        };
        log.entries.push(Entry::Free { memory });
        // SAFETY: the caller gives the driver's copy up.
        let region = unsafe { mirror.release() };
        // SAFETY: it came from `inner`; the caller vouches for the device.
        unsafe { self.inner.free(region) };
    }

    unsafe fn map(&self, memory: NonNull<[u8]>, direction: Direction) -> Result<DmaMapping, DmaError> {
        // SAFETY: the caller's obligations are the same ones.
        let mapping = unsafe { self.inner.map(memory, direction) }?;
        // SAFETY: valid by the caller's promise, and ours to look at until the device is told of
        // it.
        let before = unsafe { memory.as_ref() }.to_vec();
        let mut log = self.log.lock();
        let len_bytes = before.len();
        let memory = log.lend(mapping.dma().get(), direction, before);
        log.entries.push(Entry::Lend { memory, len_bytes, direction });
        Ok(mapping)
    }

    unsafe fn unmap(&self, mapping: DmaMapping) {
        let (dma, place) = (mapping.dma().get(), mapping.memory());
        // SAFETY: the caller's obligations are the same ones.
        unsafe { self.inner.unmap(mapping) };
        let mut log = self.log.lock();
        let Some(Lent { memory, direction, before, .. }) = log.take_back(dma) else { return };
        log.entries.push(Entry::Return { memory });
        // SAFETY: still valid by the caller's promise; the device has let go, and its owner waits
        // for this call.
        let after = unsafe { place.as_ref() };
        if direction != Direction::ToDevice && after != before {
            log.entries.push(Entry::Device { memory, offset_bytes: 0, bytes: after.to_vec() });
        }
    }
}

/// Registers whose accesses are recorded.
#[derive(Clone)]
pub struct RecordedRegion<R> {
    inner: R,
    place: Place,
    log: SharedLog,
}

impl<R> RecordedRegion<R> {
    fn at(&self, offset_bytes: usize) -> Space {
        let Place { name, offset_bytes: start } = &self.place;
        Space::Register(Place { name: name.clone(), offset_bytes: start.wrapping_add(offset_bytes) })
    }
}

impl<R: Mmio> Mmio for RecordedRegion<R> {
    fn len_bytes(&self) -> usize {
        self.inner.len_bytes()
    }
    fn read8(&self, offset_bytes: usize) -> u8 {
        self.log.read(Width::Byte, self.at(offset_bytes), || self.inner.read8(offset_bytes))
    }
    fn read16(&self, offset_bytes: usize) -> u16 {
        self.log.read(Width::Half, self.at(offset_bytes), || self.inner.read16(offset_bytes))
    }
    fn read32(&self, offset_bytes: usize) -> u32 {
        self.log.read(Width::Word, self.at(offset_bytes), || self.inner.read32(offset_bytes))
    }
    fn write8(&self, offset_bytes: usize, value: u8) {
        self.log
            .write(Width::Byte, self.at(offset_bytes), value, |value| self.inner.write8(offset_bytes, value));
    }
    fn write16(&self, offset_bytes: usize, value: u16) {
        self.log.write(Width::Half, self.at(offset_bytes), value, |value| {
            self.inner.write16(offset_bytes, value)
        });
    }
    fn write32(&self, offset_bytes: usize, value: u32) {
        self.log.write(Width::Word, self.at(offset_bytes), value, |value| {
            self.inner.write32(offset_bytes, value)
        });
    }
}

/// Configuration space whose accesses are recorded.
#[derive(Clone)]
pub struct RecordedConfig<C> {
    inner: C,
    log: SharedLog,
}

impl<C: ConfigAccess> ConfigAccess for RecordedConfig<C> {
    fn read8(&self, at: PciAddress, offset: u16) -> u8 {
        self.log.read(Width::Byte, Space::Config { at, offset }, || self.inner.read8(at, offset))
    }
    fn read16(&self, at: PciAddress, offset: u16) -> u16 {
        self.log.read(Width::Half, Space::Config { at, offset }, || self.inner.read16(at, offset))
    }
    fn read32(&self, at: PciAddress, offset: u16) -> u32 {
        self.log.read(Width::Word, Space::Config { at, offset }, || self.inner.read32(at, offset))
    }
    fn write8(&self, at: PciAddress, offset: u16, value: u8) {
        let space = Space::Config { at, offset };
        self.log.write(Width::Byte, space, value, |value| self.inner.write8(at, offset, value));
    }
    fn write16(&self, at: PciAddress, offset: u16, value: u16) {
        let space = Space::Config { at, offset };
        self.log.write(Width::Half, space, value, |value| self.inner.write16(at, offset, value));
    }
    fn write32(&self, at: PciAddress, offset: u16, value: u32) {
        let space = Space::Config { at, offset };
        self.log.write(Width::Word, space, value, |value| self.inner.write32(at, offset, value));
    }
    fn config_bytes(&self) -> u16 {
        self.inner.config_bytes()
    }
    fn segment(&self) -> u16 {
        self.inner.segment()
    }
    fn buses(&self) -> std::ops::RangeInclusive<u8> {
        self.inner.buses()
    }
}

/// Ports whose accesses are recorded.
#[derive(Clone)]
pub struct RecordedPorts<P> {
    inner: P,
    log: SharedLog,
}

impl<P: PortIo> PortIo for RecordedPorts<P> {
    fn in8(&self, port: u16) -> u8 {
        self.log.read(Width::Byte, Space::Port(port), || self.inner.in8(port))
    }
    fn in16(&self, port: u16) -> u16 {
        self.log.read(Width::Half, Space::Port(port), || self.inner.in16(port))
    }
    fn in32(&self, port: u16) -> u32 {
        self.log.read(Width::Word, Space::Port(port), || self.inner.in32(port))
    }
    fn out8(&self, port: u16, value: u8) {
        self.log.write(Width::Byte, Space::Port(port), value, |value| self.inner.out8(port, value));
    }
    fn out16(&self, port: u16, value: u16) {
        self.log.write(Width::Half, Space::Port(port), value, |value| self.inner.out16(port, value));
    }
    fn out32(&self, port: u16, value: u32) {
        self.log.write(Width::Word, Space::Port(port), value, |value| self.inner.out32(port, value));
    }
}
