//! The MMIO transport: all registers in one window, 32 bits each, and a line.
//!
//! Of its two versions the first has the legacy interface. They differ in how features are read and
//! in how a device is told where a queue is; an open transport knows which it has.
//!
//! Nothing announces such a device; where it is and which line it has, a command line, a device
//! tree or ACPI says. Whether the line is level or edge triggered is between that and the kernel:
//! here a cause is read and acknowledged either way.
//!
//! Spec: VIRTIO 1.2, 4.2 "Virtio Over MMIO", 4.2.4 "Legacy interface".

use core::fmt;

use paravane_hal::Failed;
use paravane_hal::addr::PhysAddr;
use paravane_hal::dma::{DeviceTag, Quiesce as _, Quiet};
use paravane_hal::irq::{InterruptMode, Interrupts};
use paravane_hal::mmio::{Mmio, MmioDevice, MmioExt, MmioMap, Window};
use paravane_hal::reg::{ReadOnly, Reg, WriteOnly};
use paravane_hal::time::Clock;

use crate::ring::{QueueAddresses, QueueSize};
use crate::status::Status;
use crate::transport::{
    BusError, DoorbellWidth, Interface, InterruptStatus, Location, QueueDoorbell, QueueError, Steps, Vector,
    page_number,
};

pub mod acpi;
#[cfg(feature = "device-tree")]
pub mod device_tree;

/// The register by which [`MmioDevice::claim`] resets a virtio device: its status.
pub const RESET_AT_BYTES: usize = STATUS.offset_bytes();

/// How long the registers are at least. The configuration space of the device's class follows them.
pub const REGISTERS_BYTES: usize = 0x100;

const MAGIC: Reg<u32, ReadOnly> = Reg::at(0x000);
const VERSION: Reg<u32, ReadOnly> = Reg::at(0x004);
const DEVICE_ID: Reg<u32, ReadOnly> = Reg::at(0x008);
const DEVICE_FEATURES: Reg<u32, ReadOnly> = Reg::at(0x010);
const DEVICE_FEATURES_SEL: Reg<u32, WriteOnly> = Reg::at(0x014);
const DRIVER_FEATURES: Reg<u32, WriteOnly> = Reg::at(0x020);
const DRIVER_FEATURES_SEL: Reg<u32, WriteOnly> = Reg::at(0x024);
const QUEUE_SEL: Reg<u32, WriteOnly> = Reg::at(0x030);
const QUEUE_SIZE_MAX: Reg<u32, ReadOnly> = Reg::at(0x034);
const QUEUE_SIZE: Reg<u32, WriteOnly> = Reg::at(0x038);
const QUEUE_READY: Reg<u32> = Reg::at(0x044);
const QUEUE_NOTIFY: Reg<u32, WriteOnly> = Reg::at(0x050);
const INTERRUPT_STATUS: Reg<u32, ReadOnly> = Reg::at(0x060);
const INTERRUPT_ACK: Reg<u32, WriteOnly> = Reg::at(0x064);
const STATUS: Reg<u32> = Reg::at(0x070);
const QUEUE_DESC: Reg<u32, WriteOnly> = Reg::at(0x080);
const QUEUE_DRIVER: Reg<u32, WriteOnly> = Reg::at(0x090);
const QUEUE_DEVICE: Reg<u32, WriteOnly> = Reg::at(0x0a0);
const QUEUE_RESET: Reg<u32> = Reg::at(0x0c0);
const CONFIG_GENERATION: Reg<u32, ReadOnly> = Reg::at(0x0fc);

// Version 1 alone.
const GUEST_PAGE_SIZE: Reg<u32, WriteOnly> = Reg::at(0x028);
const QUEUE_ALIGNMENT: Reg<u32, WriteOnly> = Reg::at(0x03c);
const QUEUE_PFN: Reg<u32> = Reg::at(0x040);

/// "virt", little-endian.
const MAGIC_VALUE: u32 = 0x7472_6976;

/// A place of registers whose device was looked at.
pub struct MmioTransport<R> {
    device: MmioDevice<R>,
    device_id: u16,
    interface: Interface,
    registers: Window<R>,
    config: Window<R>,
}

/// There is no device that this transport drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MmioError {
    /// The place is shorter than the registers are.
    TooShort {
        /// Where.
        start: PhysAddr,
        /// How long it is.
        len_bytes: usize,
    },
    /// It does not say that it is a virtio device.
    NotVirtio {
        /// Where.
        start: PhysAddr,
        /// What it says.
        magic: u32,
    },
    /// It has another version of the interface.
    Version {
        /// Where.
        start: PhysAddr,
        /// Which.
        version: u32,
    },
    /// A place that is kept for a device, and has none.
    Empty {
        /// Where.
        start: PhysAddr,
    },
    /// A kind of device that there is no number for.
    DeviceId {
        /// Where.
        start: PhysAddr,
        /// What it says.
        device_id: u32,
    },
}

impl fmt::Display for MmioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { start, len_bytes } => write!(
                f,
                "mmio {:#x}: {len_bytes} bytes of registers, expected {REGISTERS_BYTES} or more",
                start.get()
            ),
            Self::NotVirtio { start, magic } => {
                write!(
                    f,
                    "mmio {:#x}: not a virtio device: magic {magic:#x}, expected {MAGIC_VALUE:#x}",
                    start.get()
                )
            }
            Self::Version { start, version: 1 } => write!(
                f,
                "mmio {:#x}: device has the legacy interface, which is not driven on a big-endian machine; have the hypervisor offer version 2 (QEMU: -global virtio-mmio.force-legacy=off)",
                start.get()
            ),
            Self::Version { start, version } => {
                write!(f, "mmio {:#x}: interface version {version}, expected 1 or 2", start.get())
            }
            Self::Empty { start } => write!(f, "mmio {:#x}: no device there", start.get()),
            Self::DeviceId { start, device_id } => {
                write!(f, "mmio {:#x}: device of kind {device_id:#x}, which there is not", start.get())
            }
        }
    }
}

impl core::error::Error for MmioError {}

impl<P> From<Failed<Self, P>> for MmioError {
    fn from(failed: Failed<Self, P>) -> Self {
        failed.into_error()
    }
}

impl<R: Mmio + Clone + Send> MmioTransport<R> {
    /// Looks at what is at the registers of `device`: its kind, with nothing written.
    ///
    /// # Errors
    ///
    /// [`MmioError`], and `device` back.
    pub fn open(device: MmioDevice<R>) -> Result<Self, Failed<MmioError, MmioDevice<R>>> {
        let (start, region) = (device.start(), device.region());
        let window = |from: usize, len_bytes: usize| Window::new(region.clone(), from, len_bytes).ok();
        let found = look_closely(region, start).and_then(|(device_id, interface)| {
            let len_bytes = region.len_bytes();
            // As long as was seen.
            let windows = window(0, REGISTERS_BYTES)
                .zip(window(REGISTERS_BYTES, len_bytes.saturating_sub(REGISTERS_BYTES)));
            let (registers, config) = windows.ok_or(MmioError::TooShort { start, len_bytes })?;
            Ok((device_id, interface, registers, config))
        });
        match found {
            Ok((device_id, interface, registers, config)) => {
                Ok(Self { device, device_id, interface, registers, config })
            }
            Err(error) => Err(Failed::new(error, device)),
        }
    }

    /// Which kind of device it is: 1 for a network device, 2 for a block device.
    #[must_use]
    pub fn device_id(&self) -> u16 {
        self.device_id
    }

    /// Whether it has the legacy interface: version 1.
    #[must_use]
    pub fn is_legacy(&self) -> bool {
        self.interface.is_legacy()
    }

    /// Gives the device up.
    #[must_use]
    pub fn into_device(self) -> MmioDevice<R> {
        self.device
    }

    /// Gives the device up, and its mapping back to the `mapper` that made it.
    pub fn release<M: MmioMap<Region = R>>(self, mapper: &M) {
        let Self { device, registers, config, .. } = self;
        drop((registers, config));
        device.release(mapper);
    }

    fn select(&self, queue: u16) {
        self.registers.write(&QUEUE_SEL, queue.into());
    }
}

/// Which kind of virtio device has its `registers` at `start`. Three of them are read, and none is
/// written: for whoever has to know before anybody claims the device.
///
/// # Errors
///
/// [`MmioError`].
///
/// Spec: VIRTIO 1.2, 4.2.2.2 "Driver Requirements: MMIO Device Register Layout".
pub fn look(registers: &impl Mmio, start: PhysAddr) -> Result<u16, MmioError> {
    look_closely(registers, start).map(|(device_id, _)| device_id)
}

/// The same, and which interface it has.
fn look_closely(registers: &impl Mmio, start: PhysAddr) -> Result<(u16, Interface), MmioError> {
    let len_bytes = registers.len_bytes();
    if len_bytes < REGISTERS_BYTES {
        return Err(MmioError::TooShort { start, len_bytes });
    }
    let magic = registers.read(&MAGIC);
    if magic != MAGIC_VALUE {
        return Err(MmioError::NotVirtio { start, magic });
    }
    let (version, device_id) = (registers.read(&VERSION), registers.read(&DEVICE_ID));
    if device_id == 0 {
        // A place without a device may have any version.
        return Err(MmioError::Empty { start });
    }
    let interface = match version {
        // It speaks in the order of its guest, which is taken to be the other interface's.
        1 if cfg!(target_endian = "little") => Interface::Legacy { fixed_size: false },
        2 => Interface::Modern,
        _ => return Err(MmioError::Version { start, version }),
    };
    let device_id = u16::try_from(device_id).map_err(|_| MmioError::DeviceId { start, device_id })?;
    Ok((device_id, interface))
}

impl<R: Mmio + Clone + Send> Steps<R> for MmioTransport<R> {
    fn device_id(&self) -> u16 {
        self.device_id
    }

    fn interface(&self) -> Interface {
        self.interface
    }

    fn location(&self) -> Location {
        Location::Mmio(self.device.start())
    }

    fn tag(&self) -> DeviceTag {
        self.device.tag()
    }

    /// There is no bus that would keep it from memory.
    fn open_memory(&mut self) -> Result<(), BusError> {
        Ok(())
    }

    fn quiesce(&mut self, clock: &impl Clock) -> Result<Quiet<'_>, BusError> {
        self.device.quiesce(clock).map_err(BusError::NoReset)
    }

    fn close_memory(&mut self, _clock: &impl Clock) {}

    fn switch_interrupts(&mut self, offered: Interrupts<'_>) -> InterruptMode {
        if offered.line { InterruptMode::Line } else { InterruptMode::Polling }
    }

    fn read_status(&self) -> Status {
        // All ones stay all ones; no other status has more than eight bits.
        u8::try_from(self.registers.read(&STATUS)).map_or(Status::GONE, Status::from_bits_retain)
    }

    fn write_status(&mut self, status: Status) {
        self.registers.write(&STATUS, status.bits().into());
    }

    fn read_device_features(&mut self) -> u64 {
        let read = |half| {
            self.registers.write(&DEVICE_FEATURES_SEL, half);
            u64::from(self.registers.read(&DEVICE_FEATURES))
        };
        let low = read(0);
        if self.interface.is_legacy() { low } else { low | read(1) << 32 }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the halves are the point")]
    fn write_driver_features(&mut self, features: u64) {
        // A legacy device has nothing in the second.
        let halves = if self.interface.is_legacy() { 1 } else { 2 };
        for (select, half) in [(0, features as u32), (1, (features >> 32) as u32)].into_iter().take(halves) {
            self.registers.write(&DRIVER_FEATURES_SEL, select);
            self.registers.write(&DRIVER_FEATURES, half);
        }
    }

    fn read_queue_max(&mut self, queue: u16) -> Result<u16, QueueError> {
        self.select(queue);
        let enabled = if self.interface.is_legacy() { QUEUE_PFN } else { QUEUE_READY };
        if self.registers.read(&enabled) != 0 {
            return Err(QueueError::AlreadyEnabled { queue });
        }
        // More than any queue can have is as good as that.
        Ok(u16::try_from(self.registers.read(&QUEUE_SIZE_MAX)).unwrap_or(u16::MAX))
    }

    fn write_queue(&mut self, queue: u16, size: QueueSize, addresses: &QueueAddresses) {
        self.select(queue);
        self.registers.write(&QUEUE_SIZE, size.entries().into());
        if self.interface.is_legacy() {
            // In the unit that was named before. The number starts the queue, so it comes last.
            self.registers.write(&GUEST_PAGE_SIZE, Interface::PAGE_BYTES);
            self.registers.write(&QUEUE_ALIGNMENT, Interface::PAGE_BYTES);
            self.registers.write(&QUEUE_PFN, page_number(addresses));
            return;
        }
        self.registers.write64_halves(QUEUE_DESC.offset_bytes(), addresses.descriptors.get());
        self.registers.write64_halves(QUEUE_DRIVER.offset_bytes(), addresses.driver.get());
        self.registers.write64_halves(QUEUE_DEVICE.offset_bytes(), addresses.device.get());
    }

    fn doorbell(&mut self, queue: u16, with_data: bool) -> Result<QueueDoorbell<R>, QueueError> {
        let offset = QUEUE_NOTIFY.offset_bytes();
        let outside =
            QueueError::NoDoorbell { queue, offset_bytes: offset as u64, len_bytes: REGISTERS_BYTES };
        let place = self.registers.part(offset, 4).ok_or(outside)?;
        let width = if with_data { DoorbellWidth::Data } else { DoorbellWidth::Bits32 };
        Ok(QueueDoorbell::new(place, queue, width))
    }

    fn enable_queue(&mut self, queue: u16) {
        // A legacy device knows it by the queue's place.
        if !self.interface.is_legacy() {
            self.select(queue);
            self.registers.write(&QUEUE_READY, 1);
        }
    }

    fn has_queue_reset(&self) -> bool {
        !self.interface.is_legacy()
    }

    fn reset_queue(&mut self, queue: u16) {
        self.select(queue);
        self.registers.write(&QUEUE_RESET, 1);
    }

    fn is_queue_reset(&mut self, queue: u16) -> bool {
        self.select(queue);
        self.registers.read(&QUEUE_RESET) == 0 && self.registers.read(&QUEUE_READY) == 0
    }

    fn set_config_vector(&mut self, _vector: Vector) -> bool {
        false
    }

    fn set_queue_vector(&mut self, _queue: u16, _vector: Vector) -> bool {
        false
    }

    fn take_interrupt_status(&mut self) -> InterruptStatus {
        let bits = self.registers.read(&INTERRUPT_STATUS);
        // The low byte has all that there are. A device that is gone answers all ones; it raised
        // nothing.
        let why = match bits {
            u32::MAX => InterruptStatus::empty(),
            bits => InterruptStatus::from_bits_truncate((bits & 0xff) as u8),
        };
        // Spec: VIRTIO 1.2, 4.2.2.2: no bit that means nothing.
        if !why.is_empty() {
            self.registers.write(&INTERRUPT_ACK, why.bits().into());
        }
        why
    }

    fn read_config_generation(&self) -> Option<u32> {
        (!self.interface.is_legacy()).then(|| self.registers.read(&CONFIG_GENERATION))
    }

    fn config(&self) -> &Window<R> {
        &self.config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Registers at the front of the place.
    struct Front([u32; 3]);

    impl Mmio for Front {
        fn len_bytes(&self) -> usize {
            REGISTERS_BYTES
        }
        fn read32(&self, at: usize) -> u32 {
            self.0[at / 4]
        }
        fn write32(&self, at: usize, _: u32) {
            panic!("{at:#x} was written by who only looks")
        }
        fn read8(&self, _: usize) -> u8 {
            panic!("control registers are 32 bits wide")
        }
        fn read16(&self, _: usize) -> u16 {
            panic!("control registers are 32 bits wide")
        }
        fn write8(&self, _: usize, _: u8) {
            panic!("control registers are 32 bits wide")
        }
        fn write16(&self, _: usize, _: u16) {
            panic!("control registers are 32 bits wide")
        }
    }

    #[test]
    fn who_is_there() {
        let start = PhysAddr::new(0xfeb0_0000);
        let seen = |front| look(&Front(front), start);
        assert_eq!(seen([0x7472_6976, 2, 1]), Ok(1));
        assert_eq!(seen([0x7472_6976, 2, 0]), Err(MmioError::Empty { start }));
        assert_eq!(seen([0x7472_6976, 1, 0]), Err(MmioError::Empty { start }), "also a legacy one");
        assert_eq!(seen([0x7472_6976, 1, 1]), Ok(1));
        assert_eq!(seen([0x7472_6976, 0, 1]), Err(MmioError::Version { start, version: 0 }));
        assert_eq!(seen([0x7472_6976, 3, 1]), Err(MmioError::Version { start, version: 3 }));
        assert_eq!(seen([u32::MAX; 3]), Err(MmioError::NotVirtio { start, magic: u32::MAX }));
        assert_eq!(seen([0, 2, 1]), Err(MmioError::NotVirtio { start, magic: 0 }));
    }
}
