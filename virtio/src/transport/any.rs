//! Any of the transports as one type, for whoever learns at run time which one a device has: the
//! program then has the driver of a class once, and not once for each transport.
//!
//! ```no_run
//! # fn f<P: paravane_hal::Platform, C: paravane_pci::ConfigAccess>(
//! #     function: paravane_pci::Function<C>, platform: P,
//! # ) -> Result<(), paravane_virtio::transport::pci::OpenError> {
//! use paravane_virtio::blk::Device;
//! use paravane_virtio::transport::any::{self, Any, Place};
//!
//! let device: Device<P, Any<P, C>> = any::open_pci(function, platform)?;
//! let Place::Pci(function) = any::close(device.into_parts()) else { return Ok(()) };
//! # Ok(()) }
//! ```

#![expect(private_bounds, reason = "classes are sealed: nobody outside names them")]
#![expect(
    clippy::result_large_err,
    reason = "what was given comes back by value, and none of this is a data path"
)]

use paravane_hal::dma::{DeviceTag, Quiet};
use paravane_hal::irq::{InterruptMode, Interrupts};
use paravane_hal::mmio::{Mmio, MmioDevice, MmioMap, Window};
use paravane_hal::time::Clock;
use paravane_hal::{Failed, Platform};
use paravane_pci::{ConfigAccess, Function};

use super::legacy::{self, LegacyTransport};
use super::mmio::MmioTransport;
use super::pci::{self, OpenError, PciError, PciTransport};
use super::{BusError, Interface, InterruptStatus, Location, QueueDoorbell, QueueError, Steps, Vector};
use crate::device::{Class, Device};
use crate::error::BringUpError;
use crate::ring::{QueueAddresses, QueueSize};
use crate::status::Status;

/// One of the transports.
#[non_exhaustive]
pub enum AnyTransport<R, C> {
    /// A PCI function by its modern registers.
    Pci(PciTransport<R, C>),
    /// A PCI function by its legacy ports.
    Legacy(LegacyTransport<R, C>),
    /// A place of registers.
    Mmio(MmioTransport<R>),
}

/// One of the transports on platform `P`, where configuration space is reached by `C`.
pub type Any<P, C> = AnyTransport<<P as MmioMap>::Region, C>;

/// A device of class `K` that does not run, over one of the transports.
type AnyDevice<P, C, K> = Device<P, Any<P, C>, K>;

/// What a device is on, given up with it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Place<R, C> {
    /// A function.
    Pci(Function<C>),
    /// A place of registers.
    Mmio(MmioDevice<R>),
}

/// Takes `function` into use by its modern registers, where it has them; else by its legacy ports,
/// where the platform has ports.
///
/// # Errors
///
/// [`OpenError`], and the function back.
pub fn open_pci<P: Platform, C: ConfigAccess, K: Class>(
    function: Function<C>,
    platform: P,
) -> Result<AnyDevice<P, C, K>, Failed<OpenError, Function<C>>> {
    let failed = match pci::open(function, platform.clone(), Device::new) {
        Ok(device) => return Ok(device.map_transport(AnyTransport::Pci)),
        Err(failed) => failed,
    };
    let (error, function) = failed.into_parts();
    if error != OpenError::Pci(PciError::LegacyOnly) {
        return Err(Failed::new(error, function));
    }
    legacy::open(function, platform, Device::new).map(|device| device.map_transport(AnyTransport::Legacy))
}

/// Takes the device of `transport` into use.
///
/// # Errors
///
/// [`BringUpError`], and the transport back.
#[expect(clippy::type_complexity, reason = "a device or its transport, each by its name")]
pub fn open_mmio<P: Platform, C: ConfigAccess, K: Class>(
    transport: MmioTransport<P::Region>,
    platform: P,
) -> Result<AnyDevice<P, C, K>, Failed<BringUpError, MmioTransport<P::Region>>> {
    Device::new(transport, platform).map(|device| device.map_transport(AnyTransport::Mmio))
}

/// Gives up what a device is on that is in use no more, and the mappings of a function's registers
/// back.
pub fn close<P: MmioMap, C: ConfigAccess>((transport, platform): (Any<P, C>, P)) -> Place<P::Region, C> {
    match transport {
        AnyTransport::Pci(transport) => Place::Pci(transport.into_function(&platform)),
        AnyTransport::Legacy(transport) => Place::Pci(transport.into_function(&platform)),
        AnyTransport::Mmio(transport) => Place::Mmio(transport.into_device()),
    }
}

/// Hands a step to whichever transport it is.
macro_rules! each {
    ($value:expr, $transport:ident => $step:expr) => {
        match $value {
            Self::Pci($transport) => $step,
            Self::Legacy($transport) => $step,
            Self::Mmio($transport) => $step,
        }
    };
}

impl<R: Mmio + Clone + Send, C: ConfigAccess> Steps<R> for AnyTransport<R, C> {
    fn device_id(&self) -> u16 {
        each!(self, transport => transport.device_id())
    }
    fn interface(&self) -> Interface {
        each!(self, transport => transport.interface())
    }
    fn location(&self) -> Location {
        each!(self, transport => transport.location())
    }
    fn tag(&self) -> DeviceTag {
        each!(self, transport => transport.tag())
    }
    fn open_memory(&mut self) -> Result<(), BusError> {
        each!(self, transport => transport.open_memory())
    }
    fn quiesce(&mut self, clock: &impl Clock) -> Result<Quiet<'_>, BusError> {
        each!(self, transport => transport.quiesce(clock))
    }
    fn close_memory(&mut self, clock: &impl Clock) {
        each!(self, transport => transport.close_memory(clock))
    }
    fn switch_interrupts(&mut self, offered: Interrupts<'_>) -> InterruptMode {
        each!(self, transport => transport.switch_interrupts(offered))
    }
    fn read_status(&self) -> Status {
        each!(self, transport => transport.read_status())
    }
    fn write_status(&mut self, status: Status) {
        each!(self, transport => transport.write_status(status))
    }
    fn read_device_features(&mut self) -> u64 {
        each!(self, transport => transport.read_device_features())
    }
    fn write_driver_features(&mut self, features: u64) {
        each!(self, transport => transport.write_driver_features(features))
    }
    fn read_queue_max(&mut self, queue: u16) -> Result<u16, QueueError> {
        each!(self, transport => transport.read_queue_max(queue))
    }
    fn write_queue(&mut self, queue: u16, size: QueueSize, addresses: &QueueAddresses) {
        each!(self, transport => transport.write_queue(queue, size, addresses))
    }
    fn doorbell(&mut self, queue: u16, with_data: bool) -> Result<QueueDoorbell<R>, QueueError> {
        each!(self, transport => transport.doorbell(queue, with_data))
    }
    fn enable_queue(&mut self, queue: u16) {
        each!(self, transport => transport.enable_queue(queue))
    }
    fn has_queue_reset(&self) -> bool {
        each!(self, transport => transport.has_queue_reset())
    }
    fn reset_queue(&mut self, queue: u16) {
        each!(self, transport => transport.reset_queue(queue))
    }
    fn is_queue_reset(&mut self, queue: u16) -> bool {
        each!(self, transport => transport.is_queue_reset(queue))
    }
    fn set_config_vector(&mut self, vector: Vector) -> bool {
        each!(self, transport => transport.set_config_vector(vector))
    }
    fn set_queue_vector(&mut self, queue: u16, vector: Vector) -> bool {
        each!(self, transport => transport.set_queue_vector(queue, vector))
    }
    fn take_interrupt_status(&mut self) -> InterruptStatus {
        each!(self, transport => transport.take_interrupt_status())
    }
    fn read_config_generation(&self) -> Option<u32> {
        each!(self, transport => transport.read_config_generation())
    }
    fn config(&self) -> &Window<R> {
        each!(self, transport => transport.config())
    }
}
