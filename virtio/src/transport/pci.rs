//! The PCI transport, modern interface: capabilities say where registers are, MSI-X or the line
//! interrupts.
//!
//! Modern and transitional devices look alike from here: a transitional one is driven through its
//! modern capabilities, and its legacy I/O BAR is never touched. A device that has only the legacy
//! interface is refused with an error that says so: [`legacy`](super::legacy) drives it.
//!
//! Spec: VIRTIO 1.2, 4.1 "Virtio Over PCI Bus".

#![expect(
    clippy::result_large_err,
    reason = "what was given comes back by value, and none of this is a data path"
)]

use core::fmt;

use paravane_hal::Failed;
use paravane_hal::dma::{DeviceTag, Quiet};
use paravane_hal::irq::{InterruptMode, Interrupts};
use paravane_hal::mmio::{Mmio, MmioExt, MmioMap, Window};
use paravane_hal::time::Clock;
use paravane_pci::{
    BarError, CapabilityError, Command, ConfigAccess, Function, FunctionInterrupts, Ids, PowerError,
};

use crate::config::end_bytes;
use crate::error::BringUpError;
use crate::ring::{QueueAddresses, QueueSize};
use crate::status::Status;
use crate::transport::{
    BusError, DoorbellWidth, Interface, InterruptStatus, Location, QueueDoorbell, QueueError, Steps, Vector,
};

pub(crate) mod capability;
mod discover;
mod registers;

pub use capability::Structure;
pub use discover::PlaceError;
use discover::{Bars, Places, discover};
use registers as reg;

/// A function whose virtio registers were found and mapped.
pub struct PciTransport<R, C> {
    function: Function<C>,
    device_id: u16,
    common: Window<R>,
    notify: Window<R>,
    notify_off_multiplier: u32,
    isr: Option<Window<R>>,
    config: Window<R>,
    interrupts: FunctionInterrupts<R>,
    /// What the windows above are parts of.
    bars: Bars<R>,
}

/// The transport of a function on platform `P`, whose configuration space is reached by `C`.
pub type Pci<P, C> = PciTransport<<P as MmioMap>::Region, C>;

/// Where a function is.
pub use paravane_pci::PciAddress as Address;
pub use paravane_pci::{CommandError, InterruptError, QuiesceError};

/// A number that is another for each function of the machine.
pub(super) fn number(at: Address) -> u32 {
    u32::from(at.segment()) << 16
        | u32::from(at.bus()) << 8
        | u32::from(at.device()) << 3
        | u32::from(at.function())
}

/// Which kind of virtio device a function is; `None` when it is none.
///
/// Spec: VIRTIO 1.2, 4.1.2 "PCI Device Discovery".
#[must_use]
pub fn device_id(ids: &Ids) -> Option<u16> {
    if ids.vendor != VENDOR {
        return None;
    }
    match ids.device {
        // A transitional function says its kind as its subsystem.
        TRANSITIONAL_FIRST..=TRANSITIONAL_LAST => Some(ids.subsystem),
        MODERN_BASE..=MODERN_LAST => ids.device.checked_sub(MODERN_BASE),
        _ => None,
    }
}

/// The vendor of all virtio functions.
const VENDOR: u16 = 0x1af4;
/// Modern functions number their kind from here,
const MODERN_BASE: u16 = 0x1040;
/// to here.
const MODERN_LAST: u16 = 0x107f;
/// Transitional functions are these.
const TRANSITIONAL_FIRST: u16 = 0x1000;
const TRANSITIONAL_LAST: u16 = 0x103f;

/// Takes `function` into use as the class of device that `new` makes of its transport.
///
/// ```no_run
/// # fn f<P: paravane_hal::Platform, C: paravane_pci::ConfigAccess>(
/// #     function: paravane_pci::Function<C>, platform: P,
/// # ) -> Result<(), paravane_virtio::transport::pci::OpenError> {
/// use paravane_virtio::{net, transport::pci};
///
/// let device = pci::open(function, platform, net::Device::new)?;
/// let function = pci::close(device.into_parts());
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`OpenError`], and the function back.
pub fn open<P: MmioMap + Clock + Clone, C: ConfigAccess, D>(
    function: Function<C>,
    platform: P,
    new: impl FnOnce(Pci<P, C>, P) -> Result<D, Failed<BringUpError, Pci<P, C>>>,
) -> Result<D, Failed<OpenError, Function<C>>> {
    let transport = PciTransport::open(function, &platform).map_err(|failed| {
        let (error, function) = failed.into_parts();
        Failed::new(OpenError::Pci(error), function)
    })?;
    new(transport, platform.clone()).map_err(|failed| {
        let (error, transport) = failed.into_parts();
        Failed::new(OpenError::Device(error), transport.into_function(&platform))
    })
}

/// Gives the function of a device up that is in use no more, and the mappings of its registers
/// back.
pub fn close<P: MmioMap, C: ConfigAccess>((transport, platform): (Pci<P, C>, P)) -> Function<C> {
    transport.into_function(&platform)
}

/// A function cannot be taken into use as a device of some class: either half of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// Its registers cannot be found or reached.
    Pci(PciError),
    /// The device is of another class, or does not reset.
    Device(BringUpError),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pci(error) => error.fmt(f),
            Self::Device(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Pci(error) => Some(error),
            Self::Device(error) => Some(error),
        }
    }
}

impl<P> From<Failed<Self, P>> for OpenError {
    fn from(failed: Failed<Self, P>) -> Self {
        failed.into_error()
    }
}

/// A function cannot be driven through this transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PciError {
    /// It is no virtio device.
    NotVirtio {
        /// What it is.
        ids: Ids,
    },
    /// There are no virtio capabilities at all: the device has only the interface from before
    /// version 1.0, which [`legacy::open`](super::legacy::open) drives.
    LegacyOnly,
    /// The ports of the legacy interface cannot be reached.
    Ports(BarError),
    /// The region of the ports is shorter than the BAR.
    PortsCut {
        /// How long it is.
        len_bytes: usize,
    },
    /// The legacy interface speaks in its machine's byte order, and is driven in little-endian
    /// alone.
    BigEndian,
    /// No usable place for registers that are needed.
    NoStructure {
        /// Which registers.
        structure: Structure,
        /// Why the last place offered for them is not usable; `None` when none was offered.
        last: Option<PlaceError>,
    },
    /// A capability list or capability is broken.
    Capability(CapabilityError),
    /// The function does not wake up.
    Power(PowerError),
    /// The function does not answer at its memory BARs.
    Command(CommandError),
}

impl fmt::Display for PciError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotVirtio { ids } => write!(f, "{ids} is not a virtio device"),
            Self::LegacyOnly => f.write_str(
                "device has only the legacy virtio interface, which this driver was not opened for; open it by its ports, or have the hypervisor offer the modern one (QEMU: disable-modern=off)",
            ),
            Self::Ports(error) => write!(f, "legacy virtio interface: {error}"),
            Self::PortsCut { len_bytes } => write!(f, "legacy virtio interface: {len_bytes} ports were mapped, which are too few"),
            Self::BigEndian => f.write_str(
                "legacy virtio interface: not driven on a big-endian machine; have the hypervisor offer the modern one (QEMU: disable-modern=off)",
            ),
            Self::NoStructure { structure, last: None } => write!(f, "device offers no {structure} registers"),
            Self::NoStructure { structure, last: Some(why) } => {
                write!(f, "device offers no usable {structure} registers: {why}")
            }
            Self::Capability(error) => error.fmt(f),
            Self::Power(error) => error.fmt(f),
            Self::Command(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for PciError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::NotVirtio { .. }
            | Self::LegacyOnly
            | Self::PortsCut { .. }
            | Self::BigEndian
            | Self::NoStructure { last: None, .. } => None,
            Self::Ports(error) => Some(error),
            Self::NoStructure { last: Some(error), .. } => Some(error),
            Self::Capability(error) => Some(error),
            Self::Power(error) => Some(error),
            Self::Command(error) => Some(error),
        }
    }
}

impl<P> From<Failed<Self, P>> for PciError {
    fn from(failed: Failed<Self, P>) -> Self {
        failed.into_error()
    }
}

impl From<CapabilityError> for PciError {
    fn from(error: CapabilityError) -> Self {
        Self::Capability(error)
    }
}

impl From<CommandError> for PciError {
    fn from(error: CommandError) -> Self {
        Self::Command(error)
    }
}

impl<R: Mmio + Clone + Send, C: ConfigAccess> PciTransport<R, C> {
    /// Finds and maps the registers of `function`, which answers at its memory BARs from here on
    /// and may not use memory.
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
        let mut bars = Bars::new();
        match discover(&mut function, platform, &mut bars) {
            Ok(Places { common, notify: (notify, notify_off_multiplier), isr, config }) => {
                let interrupts = FunctionInterrupts::open(&mut function, platform);
                Ok(Self {
                    function,
                    device_id,
                    common,
                    notify,
                    notify_off_multiplier,
                    isr,
                    config,
                    interrupts,
                    bars,
                })
            }
            Err(error) => {
                bars.unmap(platform);
                Err(Failed::new(error, function))
            }
        }
    }

    /// The function.
    #[must_use]
    pub fn function(&self) -> &Function<C> {
        &self.function
    }

    /// Gives the function up, and its mappings to the `mapper` that made them.
    #[must_use]
    pub fn into_function(self, mapper: &impl MmioMap<Region = R>) -> Function<C> {
        let Self { mut function, common, notify, isr, config, interrupts, bars, .. } = self;
        drop((common, notify, isr, config));
        interrupts.close(&mut function, mapper);
        bars.unmap(mapper);
        function
    }

    /// Why the function does not interrupt in a better way, if it has one and something is wrong
    /// with that.
    #[must_use]
    pub fn interrupt_error(&self) -> Option<InterruptError> {
        self.interrupts.error()
    }

    fn select(&self, queue: u16) {
        self.common.write(&reg::QUEUE_SELECT, queue);
    }

    /// Writes a vector and reads it back.
    fn set_vector(&self, register: &paravane_hal::reg::Reg<u16>, vector: Vector) -> bool {
        let wanted = match vector {
            Vector::Entry(entry) => entry,
            Vector::None => reg::NO_VECTOR,
        };
        self.common.write(register, wanted);
        self.common.read(register) == wanted
    }
}

impl<R: Mmio + Clone + Send, C: ConfigAccess> Steps<R> for PciTransport<R, C> {
    fn device_id(&self) -> u16 {
        self.device_id
    }

    fn interface(&self) -> Interface {
        Interface::Modern
    }

    fn location(&self) -> Location {
        Location::Pci(self.function.address())
    }

    fn tag(&self) -> DeviceTag {
        self.function.tag()
    }

    fn open_memory(&mut self) -> Result<(), BusError> {
        self.function.enable(Command::MEMORY | Command::BUS_MASTER).map_err(BusError::Command)
    }

    fn quiesce(&mut self, clock: &impl Clock) -> Result<Quiet<'_>, BusError> {
        self.function.quiesce(clock).map_err(BusError::NotQuiet)
    }

    fn close_memory(&mut self, clock: &impl Clock) {
        let _ = self.function.quiesce(clock);
    }

    fn switch_interrupts(&mut self, offered: Interrupts<'_>) -> InterruptMode {
        // Virtio has no use for MSI without the X.
        let usable = offered.without_msi();
        // A device that cannot say why it raised its line cannot be driven by it.
        let usable = if self.isr.is_some() { usable } else { usable.without_line() };
        self.interrupts.switch_on(&mut self.function, usable)
    }

    fn read_status(&self) -> Status {
        Status::from_bits_retain(self.common.read(&reg::DEVICE_STATUS))
    }

    fn write_status(&mut self, status: Status) {
        self.common.write(&reg::DEVICE_STATUS, status.bits());
    }

    fn read_device_features(&mut self) -> u64 {
        let [low, high] = [0, 1].map(|half| {
            self.common.write(&reg::DEVICE_FEATURE_SELECT, half);
            self.common.read(&reg::DEVICE_FEATURE)
        });
        u64::from(low) | u64::from(high) << 32
    }

    #[expect(clippy::cast_possible_truncation, reason = "the halves are the point")]
    fn write_driver_features(&mut self, features: u64) {
        for (select, half) in [(0, features as u32), (1, (features >> 32) as u32)] {
            self.common.write(&reg::DRIVER_FEATURE_SELECT, select);
            self.common.write(&reg::DRIVER_FEATURE, half);
        }
    }

    fn read_queue_max(&mut self, queue: u16) -> Result<u16, QueueError> {
        self.select(queue);
        if self.common.read(&reg::QUEUE_ENABLE) != 0 {
            return Err(QueueError::AlreadyEnabled { queue });
        }
        Ok(self.common.read(&reg::QUEUE_SIZE))
    }

    fn write_queue(&mut self, queue: u16, size: QueueSize, addresses: &QueueAddresses) {
        self.select(queue);
        self.common.write(&reg::QUEUE_SIZE, size.entries());
        self.common.write64_halves(reg::QUEUE_DESC.offset_bytes(), addresses.descriptors.get());
        self.common.write64_halves(reg::QUEUE_DRIVER.offset_bytes(), addresses.driver.get());
        self.common.write64_halves(reg::QUEUE_DEVICE.offset_bytes(), addresses.device.get());
    }

    fn doorbell(&mut self, queue: u16, with_data: bool) -> Result<QueueDoorbell<R>, QueueError> {
        self.select(queue);
        let notify_off = self.common.read(&reg::QUEUE_NOTIFY_OFF);
        // 16 bits times 32 bits.
        let offset_bytes = u64::from(notify_off).saturating_mul(u64::from(self.notify_off_multiplier));
        let outside = QueueError::NoDoorbell { queue, offset_bytes, len_bytes: self.notify.len_bytes() };
        let offset = usize::try_from(offset_bytes).map_err(|_| outside)?;
        let (len_bytes, width) =
            if with_data { (4, DoorbellWidth::Data) } else { (2, DoorbellWidth::Bits16) };
        let place = self.notify.part(offset, len_bytes).ok_or(outside)?;
        Ok(QueueDoorbell::new(place, queue, width))
    }

    fn enable_queue(&mut self, queue: u16) {
        self.select(queue);
        self.common.write(&reg::QUEUE_ENABLE, 1);
    }

    fn has_queue_reset(&self) -> bool {
        self.common.len_bytes() >= end_bytes(&reg::QUEUE_RESET)
    }

    fn reset_queue(&mut self, queue: u16) {
        self.select(queue);
        self.common.write(&reg::QUEUE_RESET, 1);
    }

    fn is_queue_reset(&mut self, queue: u16) -> bool {
        self.select(queue);
        self.common.read(&reg::QUEUE_RESET) == 0 && self.common.read(&reg::QUEUE_ENABLE) == 0
    }

    fn set_config_vector(&mut self, vector: Vector) -> bool {
        self.set_vector(&reg::CONFIG_MSIX_VECTOR, vector)
    }

    fn set_queue_vector(&mut self, queue: u16, vector: Vector) -> bool {
        self.select(queue);
        self.set_vector(&reg::QUEUE_MSIX_VECTOR, vector)
    }

    fn take_interrupt_status(&mut self) -> InterruptStatus {
        let bits = self.isr.as_mut().map_or(0, |isr| isr.take(&reg::ISR));
        // A device that is gone answers all ones; it raised nothing.
        if bits == u8::MAX { InterruptStatus::empty() } else { InterruptStatus::from_bits_truncate(bits) }
    }

    fn read_config_generation(&self) -> Option<u32> {
        Some(self.common.read(&reg::CONFIG_GENERATION).into())
    }

    fn config(&self) -> &Window<R> {
        &self.config
    }
}
