//! The platform that plays a recording back.

#![expect(unsafe_code, reason = "`Dma` is an unsafe trait; every call goes to `Memory`")]

use std::ops::RangeInclusive;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use paravane_hal::addr::PhysAddr;
use paravane_hal::dma::{
    Direction, Dma, DmaError, DmaErrorReason, DmaLimits, DmaMapping, DmaRegion, DmaRequest, DomainTag,
};
use paravane_hal::mmio::{MapError, MapErrorReason, Mmio, MmioDevice, MmioMap};
use paravane_hal::port::PortIo;
use paravane_hal::time::{Clock, Instant};
use paravane_pci::{ConfigAccess, PciAddress};

use super::divergence::ReplayError;
use super::entry::{Access, Entry, Operation, Place, Space, Value};
use super::play::Play;
use super::recording::{ConfigShape, Recording};
use crate::memory::Memory;
use crate::registers::Width;

/// How far a look at the clock moves it.
const LOOK_NANOS: u64 = 1_000;
/// How far a turn of a waiting loop moves it: enough for a wait of seconds to end soon.
const TURN_NANOS: u64 = 100_000;

/// A platform that answers as a recorded device did. A clone is another handle to the same playing
/// back.
///
/// The driver has to make the recorded accesses in the recorded order. It may
///
/// - get its memory at other addresses: the recording names them;
/// - allocate and map earlier or later than the recorded driver, though not in other sizes;
/// - give memory back later, not before the last access that the recorded driver made first: it may
///   be the one that stopped the device;
/// - look at the clock as often as it likes: the device moves on at a look, and does not wait for
///   one;
/// - repeat a read more or less often, where the recorded driver repeated it with the same answer.
///
/// At the first difference it panics with a [`Divergence`](super::Divergence); one made by
/// [`lenient`](Self::lenient) remembers it for [`finish`](Self::finish) instead, and behaves from
/// then on like a device that is gone: reads give all ones, and the clock goes on, so that waits
/// end.
#[derive(Clone)]
pub struct Replayer {
    play: Shared,
    memory: Memory,
}

#[derive(Clone)]
struct Shared {
    play: Arc<Mutex<Play>>,
    lenient: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Play> {
        // A difference that panicked is remembered; what comes after it is answered as by a device
        // that is gone.
        self.play.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `step`, and panics if that is where driver and recording parted.
    #[expect(clippy::panic, reason = "a test double fails the test where the driver went wrong")]
    fn run<T>(&self, step: impl FnOnce(&mut Play) -> T) -> T {
        let mut play = self.lock();
        let agreed = play.failure().is_none();
        let result = step(&mut play);
        if let Some(divergence) = play.failure().filter(|_| agreed && !self.lenient) {
            panic!("{divergence}");
        }
        result
    }

    fn read(&self, width: Width, space: Space) -> u32 {
        let access = Access { operation: Operation::Read, width, space, value: Value::Number(0), times: 1 };
        self.run(|play| play.access(&access))
    }

    fn write(&self, width: Width, space: Space, value: u32) {
        let value = Value::Number(value);
        let access = Access { operation: Operation::Write, width, space, value, times: 1 };
        self.run(|play| play.access(&access));
    }
}

impl Replayer {
    /// Plays `recording` back, and panics at the first difference.
    #[must_use]
    pub fn new(recording: Recording) -> Self {
        Self::with(recording, false)
    }

    /// Plays `recording` back, and remembers the first difference.
    #[must_use]
    pub fn lenient(recording: Recording) -> Self {
        Self::with(recording, true)
    }

    fn with(recording: Recording, lenient: bool) -> Self {
        let play = Play::new(recording);
        let memory = play.memory().clone();
        Self { play: Shared { play: Arc::new(Mutex::new(play)), lenient }, memory }
    }

    /// The memory that it gives out, for counting.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Its configuration space.
    #[must_use]
    pub fn config(&self) -> ReplayConfig {
        let shape = self.play.lock().recording().config.clone();
        let shape = shape.unwrap_or(ConfigShape { config_bytes: 0, segment: 0, buses: 0..=0 });
        ReplayConfig { play: self.play.clone(), shape }
    }

    /// Its I/O ports.
    #[must_use]
    pub fn ports(&self) -> ReplayPorts {
        ReplayPorts { play: self.play.clone() }
    }

    /// Claims the device whose registers are at `start`, as the recorded driver did, which the one
    /// at `reset_at_bytes` resets.
    ///
    /// # Errors
    ///
    /// [`MapError`]: the recording has none there.
    pub fn claim(
        &self,
        start: PhysAddr,
        len_bytes: usize,
        reset_at_bytes: usize,
    ) -> Result<MmioDevice<ReplayRegion>, MapError> {
        // SAFETY: behind the registers there is no device: what the recorded one wrote to memory is
        // written by calls that the memory checks.
        unsafe { MmioDevice::claim(self, start, len_bytes, reset_at_bytes) }
    }

    /// Begins something, as the recording does here.
    pub fn step(&self, name: &str) {
        let got = format!("step {name}");
        let is_it = |entry: &Entry| {
            matches!(entry, Entry::Step(_)).then(|| entry.to_string() == got).filter(|same| *same)
        };
        self.play.run(|play| play.outside(&got, is_it));
    }

    /// Gives `bytes` to the device from outside, as the recording does here.
    pub fn give(&self, bytes: &[u8]) {
        let given = Entry::Give(bytes.to_vec());
        self.play.run(|play| play.outside(&given.to_string(), |entry| (*entry == given).then_some(())));
    }

    /// Lets the device do all that it did before the driver, or the outside, acted again.
    pub fn synchronise(&self) {
        self.play.run(Play::synchronise);
    }

    /// What comes out of the device here, if something does.
    #[must_use]
    pub fn take(&self) -> Option<Vec<u8>> {
        self.play.run(|play| {
            play.outside_if_next(|entry| match entry {
                Entry::Take(bytes) => Some(bytes.clone()),
                _ => None,
            })
        })
    }

    /// The vector on which the device interrupts here, if it does.
    #[must_use]
    pub fn interrupt(&self) -> Option<u16> {
        self.play.run(|play| {
            play.outside_if_next(|entry| match entry {
                Entry::Interrupt { vector } => Some(*vector),
                _ => None,
            })
        })
    }

    /// Ends the playing back.
    ///
    /// # Errors
    ///
    /// [`ReplayError`]: where the driver did something else, or what it left out, or what it did to
    /// its memory.
    pub fn finish(&self) -> Result<(), ReplayError> {
        self.play.lock().finish()
    }
}

impl Clock for Replayer {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.play.run(|play| play.look(LOOK_NANOS)))
    }
    fn relax(&self) {
        self.play.run(|play| play.look(TURN_NANOS));
    }
}

impl MmioMap for Replayer {
    type Region = ReplayRegion;

    fn map(&self, start: PhysAddr, len_bytes: usize) -> Result<ReplayRegion, MapError> {
        let place = self.play.run(|play| play.map(start.get(), len_bytes));
        let place = place.ok_or(MapError::new(start, len_bytes, MapErrorReason::NotRegisters))?;
        Ok(ReplayRegion { play: self.play.clone(), place, len_bytes })
    }
}

// SAFETY: memory comes from `Memory`, which keeps the promises; the only device is this module,
// which reaches memory through it. A clone holds the same.
unsafe impl Dma for Replayer {
    fn limits(&self) -> DmaLimits {
        self.play.lock().recording().limits
    }

    fn domain(&self) -> DomainTag {
        self.memory.domain()
    }

    fn alloc(&self, request: DmaRequest) -> Result<DmaRegion, DmaError> {
        let none = DmaError::new(request.len_bytes.get(), DmaErrorReason::OutOfMemory);
        match self.play.run(|play| play.alloc(request)) {
            Ok(Some(memory)) => {
                let region = self.memory.alloc(request)?;
                let (addr, len) = (region.dma().get(), region.len_bytes().get());
                self.play.lock().hold(memory, addr, len, None);
                Ok(region)
            }
            Ok(None) | Err(()) => Err(none),
        }
    }

    unsafe fn free(&self, region: DmaRegion) {
        self.play.run(|play| play.let_go(region.dma().get()));
        // SAFETY: the caller's obligations are the same ones.
        unsafe { self.memory.free(region) };
    }

    unsafe fn map(&self, memory: NonNull<[u8]>, direction: Direction) -> Result<DmaMapping, DmaError> {
        let none = DmaError::new(memory.len(), DmaErrorReason::OutOfMemory);
        let number = self.play.run(|play| play.lend(memory.len(), direction)).ok_or(none)?;
        // SAFETY: the caller's obligations are the same ones.
        let mapping = unsafe { self.memory.map(memory, direction) }?;
        self.play.lock().hold(number, mapping.dma().get(), memory.len(), Some(direction));
        Ok(mapping)
    }

    unsafe fn unmap(&self, mapping: DmaMapping) {
        self.play.run(|play| play.let_go(mapping.dma().get()));
        // SAFETY: the caller's obligations are the same ones.
        unsafe { self.memory.unmap(mapping) };
    }
}

/// Registers that answer as they did.
#[derive(Clone)]
pub struct ReplayRegion {
    play: Shared,
    place: Place,
    len_bytes: usize,
}

impl ReplayRegion {
    fn at(&self, offset_bytes: usize) -> Space {
        let Place { name, offset_bytes: start } = &self.place;
        Space::Register(Place { name: name.clone(), offset_bytes: start.wrapping_add(offset_bytes) })
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the access is as wide as its method says")]
impl Mmio for ReplayRegion {
    fn len_bytes(&self) -> usize {
        self.len_bytes
    }
    fn read8(&self, offset_bytes: usize) -> u8 {
        self.play.read(Width::Byte, self.at(offset_bytes)) as u8
    }
    fn read16(&self, offset_bytes: usize) -> u16 {
        self.play.read(Width::Half, self.at(offset_bytes)) as u16
    }
    fn read32(&self, offset_bytes: usize) -> u32 {
        self.play.read(Width::Word, self.at(offset_bytes))
    }
    fn write8(&self, offset_bytes: usize, value: u8) {
        self.play.write(Width::Byte, self.at(offset_bytes), value.into());
    }
    fn write16(&self, offset_bytes: usize, value: u16) {
        self.play.write(Width::Half, self.at(offset_bytes), value.into());
    }
    fn write32(&self, offset_bytes: usize, value: u32) {
        self.play.write(Width::Word, self.at(offset_bytes), value);
    }
}

/// Configuration space that answers as it did.
#[derive(Clone)]
pub struct ReplayConfig {
    play: Shared,
    shape: ConfigShape,
}

#[expect(clippy::cast_possible_truncation, reason = "the access is as wide as its method says")]
impl ConfigAccess for ReplayConfig {
    fn read8(&self, at: PciAddress, offset: u16) -> u8 {
        self.play.read(Width::Byte, Space::Config { at, offset }) as u8
    }
    fn read16(&self, at: PciAddress, offset: u16) -> u16 {
        self.play.read(Width::Half, Space::Config { at, offset }) as u16
    }
    fn read32(&self, at: PciAddress, offset: u16) -> u32 {
        self.play.read(Width::Word, Space::Config { at, offset })
    }
    fn write8(&self, at: PciAddress, offset: u16, value: u8) {
        self.play.write(Width::Byte, Space::Config { at, offset }, value.into());
    }
    fn write16(&self, at: PciAddress, offset: u16, value: u16) {
        self.play.write(Width::Half, Space::Config { at, offset }, value.into());
    }
    fn write32(&self, at: PciAddress, offset: u16, value: u32) {
        self.play.write(Width::Word, Space::Config { at, offset }, value);
    }
    fn config_bytes(&self) -> u16 {
        self.shape.config_bytes
    }
    fn segment(&self) -> u16 {
        self.shape.segment
    }
    fn buses(&self) -> RangeInclusive<u8> {
        self.shape.buses.clone()
    }
}

/// Ports that answer as they did.
#[derive(Clone)]
pub struct ReplayPorts {
    play: Shared,
}

#[expect(clippy::cast_possible_truncation, reason = "the access is as wide as its method says")]
impl PortIo for ReplayPorts {
    fn in8(&self, port: u16) -> u8 {
        self.play.read(Width::Byte, Space::Port(port)) as u8
    }
    fn in16(&self, port: u16) -> u16 {
        self.play.read(Width::Half, Space::Port(port)) as u16
    }
    fn in32(&self, port: u16) -> u32 {
        self.play.read(Width::Word, Space::Port(port))
    }
    fn out8(&self, port: u16, value: u8) {
        self.play.write(Width::Byte, Space::Port(port), value.into());
    }
    fn out16(&self, port: u16, value: u16) {
        self.play.write(Width::Half, Space::Port(port), value.into());
    }
    fn out32(&self, port: u16, value: u32) {
        self.play.write(Width::Word, Space::Port(port), value);
    }
}
