//! The legacy PCI transport: the interface from before version 1.0, by the I/O ports of BAR 0.
//!
//! A transitional function has these ports beside its modern registers. It is driven either way:
//! by [`pci::open`](super::pci::open) through the modern ones, or by [`open`] through the ports. A
//! function that `pci` refuses with [`PciError::LegacyOnly`] has nothing but ports.
//!
//! ```text
//!  0x00  device features   u32      0x0e  queue select      u16
//!  0x04  driver features   u32      0x10  queue notify      u16
//!  0x08  queue page        u32      0x12  status            u8
//!  0x0c  queue size        u16      0x13  interrupt status  u8
//!  with MSI-X on:  0x14  config vector  u16,  0x16  queue vector  u16
//!  then the configuration of the device's class
//! ```
//!
//! Queues are as long as the device says. The platform has to have ports, as
//! [`MmioMap::map_ports`] says, and the machine has to be little-endian, as its device takes it to
//! be.
//!
//! Spec: VIRTIO 1.2, 4.1.4.10 "Legacy Interfaces: A Note on PCI Device Layout".

#![expect(
    clippy::result_large_err,
    reason = "what was given comes back by value, and none of this is a data path"
)]

use paravane_hal::Failed;
use paravane_hal::dma::{DeviceTag, Quiet};
use paravane_hal::irq::{InterruptMode, Interrupts};
use paravane_hal::mmio::{Mmio, MmioExt, MmioMap, Window};
use paravane_hal::reg::{ReadClear, ReadOnly, Reg};
use paravane_hal::time::Clock;
use paravane_pci::{Command, ConfigAccess, Function, FunctionInterrupts};

use super::pci::{InterruptError, OpenError, PciError, device_id};
use crate::error::BringUpError;
use crate::ring::{QueueAddresses, QueueSize};
use crate::status::Status;
use crate::transport::{
    BusError, DoorbellWidth, Interface, InterruptStatus, Location, QueueDoorbell, QueueError, Steps, Vector,
    page_number,
};

const DEVICE_FEATURES: Reg<u32, ReadOnly> = Reg::at(0x00);
const DRIVER_FEATURES: Reg<u32> = Reg::at(0x04);
const QUEUE_PAGE: Reg<u32> = Reg::at(0x08);
const QUEUE_SIZE: Reg<u16, ReadOnly> = Reg::at(0x0c);
const QUEUE_SELECT: Reg<u16> = Reg::at(0x0e);
const QUEUE_NOTIFY_AT_BYTES: usize = 0x10;
const STATUS: Reg<u8> = Reg::at(0x12);
const ISR: Reg<u8, ReadClear> = Reg::at(0x13);
/// While MSI-X is on; else the configuration starts there.
const CONFIG_VECTOR: Reg<u16> = Reg::at(0x14);
const QUEUE_VECTOR: Reg<u16> = Reg::at(0x16);

/// No vector, and "could not" when read back.
const NO_VECTOR: u16 = 0xffff;

/// The BAR of the ports.
const PORTS_BAR: usize = 0;
/// Where the configuration starts without MSI-X,
const CONFIG_AT_BYTES: usize = 0x14;
/// and with it, which is also how many ports there are at least.
const CONFIG_BEHIND_VECTORS_AT_BYTES: usize = 0x18;

/// A function whose legacy ports were mapped.
pub struct LegacyTransport<R, C> {
    function: Function<C>,
    device_id: u16,
    ports: R,
    /// Messages are on: there are registers for vectors, in front of the configuration.
    has_vectors: bool,
    config: Window<R>,
    config_behind_vectors: Window<R>,
    interrupts: FunctionInterrupts<R>,
}

/// The legacy transport of a function on platform `P`, whose configuration space is reached by `C`.
pub type Legacy<P, C> = LegacyTransport<<P as MmioMap>::Region, C>;

/// Takes `function` into use through its ports, as the class of device that `new` makes of its
/// transport.
///
/// ```no_run
/// # fn f<P: paravane_hal::Platform, C: paravane_pci::ConfigAccess>(
/// #     function: paravane_pci::Function<C>, platform: P,
/// # ) -> Result<(), paravane_virtio::transport::pci::OpenError> {
/// use paravane_virtio::{net, transport::legacy};
///
/// let device = legacy::open(function, platform, net::Device::new)?;
/// let function = legacy::close(device.into_parts());
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`OpenError`], and the function back.
pub fn open<P: MmioMap + Clock + Clone, C: ConfigAccess, D>(
    function: Function<C>,
    platform: P,
    new: impl FnOnce(Legacy<P, C>, P) -> Result<D, Failed<BringUpError, Legacy<P, C>>>,
) -> Result<D, Failed<OpenError, Function<C>>> {
    let transport = LegacyTransport::open(function, &platform).map_err(|failed| {
        let (error, function) = failed.into_parts();
        Failed::new(OpenError::Pci(error), function)
    })?;
    new(transport, platform.clone()).map_err(|failed| {
        let (error, transport) = failed.into_parts();
        Failed::new(OpenError::Device(error), transport.into_function(&platform))
    })
}

/// Gives the function of a device up that is in use no more, and the mapping of its ports back.
pub fn close<P: MmioMap, C: ConfigAccess>((transport, platform): (Legacy<P, C>, P)) -> Function<C> {
    transport.into_function(&platform)
}

impl<R: Mmio + Clone + Send, C: ConfigAccess> LegacyTransport<R, C> {
    /// Finds and maps the ports of `function`, which answers there from here on and may not use
    /// memory.
    ///
    /// # Errors
    ///
    /// [`PciError`], and the function back.
    pub fn open<M: MmioMap<Region = R> + Clock>(
        mut function: Function<C>,
        platform: &M,
    ) -> Result<Self, Failed<PciError, Function<C>>> {
        let ids = function.ids();
        let Some(device_id) = device_id(&ids) else {
            return Err(Failed::new(PciError::NotVirtio { ids }, function));
        };
        let ports = match prepare(&mut function, platform) {
            Ok(ports) => ports,
            Err(error) => return Err(Failed::new(error, function)),
        };
        let from = |start_bytes: usize| {
            let len_bytes = ports.len_bytes().saturating_sub(start_bytes);
            Window::new(ports.clone(), start_bytes, len_bytes).ok()
        };
        let windows = from(CONFIG_AT_BYTES).zip(from(CONFIG_BEHIND_VECTORS_AT_BYTES));
        let Some((config, config_behind_vectors)) = windows else {
            let len_bytes = ports.len_bytes();
            platform.unmap(ports);
            return Err(Failed::new(PciError::PortsCut { len_bytes }, function));
        };
        let interrupts = FunctionInterrupts::open(&mut function, platform);
        let has_vectors = false;
        Ok(Self { function, device_id, ports, has_vectors, config, config_behind_vectors, interrupts })
    }

    /// The function.
    #[must_use]
    pub fn function(&self) -> &Function<C> {
        &self.function
    }

    /// Gives the function up, and its mappings to the `mapper` that made them.
    #[must_use]
    pub fn into_function(self, mapper: &impl MmioMap<Region = R>) -> Function<C> {
        let Self { mut function, ports, config, config_behind_vectors, interrupts, .. } = self;
        drop((config, config_behind_vectors));
        interrupts.close(&mut function, mapper);
        mapper.unmap(ports);
        function
    }

    /// Why the function does not interrupt in a better way, if it has one and something is wrong
    /// with that.
    #[must_use]
    pub fn interrupt_error(&self) -> Option<InterruptError> {
        self.interrupts.error()
    }

    fn select(&self, queue: u16) {
        self.ports.write(&QUEUE_SELECT, queue);
    }

    /// Writes a vector and reads it back.
    fn set_vector(&self, register: &Reg<u16>, vector: Vector) -> bool {
        // The register is there with messages on alone.
        if !self.has_vectors {
            return false;
        }
        let wanted = match vector {
            Vector::Entry(entry) => entry,
            Vector::None => NO_VECTOR,
        };
        self.ports.write(register, wanted);
        self.ports.read(register) == wanted
    }
}

/// Wakes `function`, has it answer at its ports, and maps them.
fn prepare<R: Mmio + Clone, C: ConfigAccess, M: MmioMap<Region = R> + Clock>(
    function: &mut Function<C>,
    platform: &M,
) -> Result<R, PciError> {
    if cfg!(target_endian = "big") {
        return Err(PciError::BigEndian);
    }
    function.ensure_d0(platform).map_err(PciError::Power)?;
    function.enable(Command::IO)?;
    if function.msix()?.is_some() {
        // For the table, which is in memory. One that cannot be reached is not used.
        let _ = function.enable(Command::MEMORY);
    }
    function.map_port_bar(platform, PORTS_BAR, CONFIG_BEHIND_VECTORS_AT_BYTES).map_err(PciError::Ports)
}

impl<R: Mmio + Clone + Send, C: ConfigAccess> Steps<R> for LegacyTransport<R, C> {
    fn device_id(&self) -> u16 {
        self.device_id
    }

    fn interface(&self) -> Interface {
        Interface::Legacy { fixed_size: true }
    }

    fn location(&self) -> Location {
        Location::Pci(self.function.address())
    }

    fn tag(&self) -> DeviceTag {
        self.function.tag()
    }

    fn open_memory(&mut self) -> Result<(), BusError> {
        self.function.enable(Command::IO | Command::BUS_MASTER).map_err(BusError::Command)
    }

    fn quiesce(&mut self, clock: &impl Clock) -> Result<Quiet<'_>, BusError> {
        self.function.quiesce(clock).map_err(BusError::NotQuiet)
    }

    fn close_memory(&mut self, clock: &impl Clock) {
        let _ = self.function.quiesce(clock);
    }

    fn switch_interrupts(&mut self, offered: Interrupts<'_>) -> InterruptMode {
        // Virtio has no use for MSI without the X.
        let mode = self.interrupts.switch_on(&mut self.function, offered.without_msi());
        self.has_vectors = matches!(mode, InterruptMode::Msix { .. });
        mode
    }

    fn read_status(&self) -> Status {
        Status::from_bits_retain(self.ports.read(&STATUS))
    }

    fn write_status(&mut self, status: Status) {
        self.ports.write(&STATUS, status.bits());
    }

    fn read_device_features(&mut self) -> u64 {
        self.ports.read(&DEVICE_FEATURES).into()
    }

    #[expect(clippy::cast_possible_truncation, reason = "no more were offered")]
    fn write_driver_features(&mut self, features: u64) {
        self.ports.write(&DRIVER_FEATURES, features as u32);
    }

    fn read_queue_max(&mut self, queue: u16) -> Result<u16, QueueError> {
        self.select(queue);
        if self.ports.read(&QUEUE_PAGE) != 0 {
            return Err(QueueError::AlreadyEnabled { queue });
        }
        Ok(self.ports.read(&QUEUE_SIZE))
    }

    fn write_queue(&mut self, queue: u16, _size: QueueSize, addresses: &QueueAddresses) {
        self.select(queue);
        self.ports.write(&QUEUE_PAGE, page_number(addresses));
    }

    fn doorbell(&mut self, queue: u16, _with_data: bool) -> Result<QueueDoorbell<R>, QueueError> {
        let (offset, len_bytes) = (QUEUE_NOTIFY_AT_BYTES, self.ports.len_bytes());
        let outside = QueueError::NoDoorbell { queue, offset_bytes: offset as u64, len_bytes };
        let place = Window::new(self.ports.clone(), offset, 2).map_err(|_| outside)?;
        Ok(QueueDoorbell::new(place, queue, DoorbellWidth::Bits16))
    }

    /// The device knows it by the queue's place.
    fn enable_queue(&mut self, _queue: u16) {}

    fn has_queue_reset(&self) -> bool {
        false
    }

    fn reset_queue(&mut self, _queue: u16) {}

    fn is_queue_reset(&mut self, _queue: u16) -> bool {
        false
    }

    fn set_config_vector(&mut self, vector: Vector) -> bool {
        self.set_vector(&CONFIG_VECTOR, vector)
    }

    fn set_queue_vector(&mut self, queue: u16, vector: Vector) -> bool {
        self.select(queue);
        self.set_vector(&QUEUE_VECTOR, vector)
    }

    fn take_interrupt_status(&mut self) -> InterruptStatus {
        let bits = self.ports.take(&ISR);
        // A device that is gone answers all ones; it raised nothing.
        if bits == u8::MAX { InterruptStatus::empty() } else { InterruptStatus::from_bits_truncate(bits) }
    }

    fn read_config_generation(&self) -> Option<u32> {
        None
    }

    fn config(&self) -> &Window<R> {
        if self.has_vectors { &self.config_behind_vectors } else { &self.config }
    }
}
