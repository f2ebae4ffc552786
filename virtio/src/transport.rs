//! What a device class needs of the bus its device sits on, whichever bus that is.
//!
//! Register-shaped on purpose: each call is one step of the specification, and the order of the
//! steps is [`init`](crate::init)'s business alone.
//!
//! | Transport | Registers | Interrupts | Silenced by |
//! |---|---|---|---|
//! | [`pci`] | capabilities name places in BARs | MSI-X, or the line | the device's reset, and bus mastering |
//! | [`legacy`] | ports, those of BAR 0 | MSI-X, or the line | the device's reset, and bus mastering |
//! | [`mmio`] | one window, of either version | a line | the device's reset |
//!
//! [`any`] is all three as one type. Classes know the trait [`Transport`] alone; what is peculiar
//! to a bus stays in its module.

#![expect(private_interfaces, reason = "the steps are sealed: nobody outside names them")]

use core::fmt;
use core::time::Duration;

use paravane_hal::addr::PhysAddr;
use paravane_hal::dma::{DeviceTag, Quiet};
use paravane_hal::irq::{InterruptMode, Interrupts};
use paravane_hal::mmio::{Mmio, NoReset, Window};
use paravane_hal::time::Clock;

use crate::queue::Doorbell;
use crate::ring::{QueueAddresses, QueueSize};
use crate::status::Status;

pub mod any;
pub mod legacy;
pub mod mmio;
pub mod pci;

/// A bus that a virtio device sits on: [`pci::PciTransport`], [`legacy::LegacyTransport`] or
/// [`mmio::MmioTransport`], whose registers are reached as `R`. Not to be implemented elsewhere.
pub trait Transport<R>: steps::Steps<R> {}

impl<R, T: steps::Steps<R>> Transport<R> for T {}

/// The doorbell of one queue: its place was computed once, and a ring is one write of the queue's
/// number, and where the queue goes on if that was agreed.
pub(crate) struct QueueDoorbell<R> {
    place: Window<R>,
    queue: u16,
    /// As wide as the bus wants it.
    width: DoorbellWidth,
}

/// How wide the write to a doorbell is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DoorbellWidth {
    /// 16 bits.
    Bits16,
    /// 32 bits.
    Bits32,
    /// 32 bits, of which the upper half says where the queue goes on.
    ///
    /// Spec: VIRTIO 1.2, 4.1.5.2 "Available Buffer Notifications", 4.2.3.3.
    Data,
}

impl<R> QueueDoorbell<R> {
    /// Whose it is.
    pub(crate) fn queue(&self) -> u16 {
        self.queue
    }
}

impl<R: Mmio> QueueDoorbell<R> {
    /// Out of the way of most, which say no more than a number.
    #[cold]
    #[inline(never)]
    fn ring_with(&self, position: impl FnOnce() -> u16) {
        self.place.write32(0, u32::from(self.queue) | u32::from(position()) << 16);
    }

    /// That of `queue`, at the start of `place`.
    pub(crate) fn new(place: Window<R>, queue: u16, width: DoorbellWidth) -> Self {
        Self { place, queue, width }
    }
}

impl<R: Mmio + Send> Doorbell for QueueDoorbell<R> {
    #[inline(always)]
    fn ring(&self, position: impl FnOnce() -> u16) {
        match self.width {
            DoorbellWidth::Bits16 => self.place.write16(0, self.queue),
            DoorbellWidth::Bits32 => self.place.write32(0, self.queue.into()),
            DoorbellWidth::Data => self.ring_with(position),
        }
    }
}

bitflags::bitflags! {
    /// The interrupt status: why the line was raised.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct InterruptStatus: u8 {
        /// A queue has used buffers.
        const QUEUE = 1;
        /// The configuration changed, or the device needs a reset.
        const CONFIG = 1 << 1;
    }
}

/// By which of the two interfaces of the specification a device is driven.
///
/// Spec: VIRTIO 1.2, 1.3 "Terminology".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interface {
    /// That of version 1.0 and later.
    Modern,
    /// That from before: features of 32 bits that are not confirmed, a configuration without a
    /// generation, queues in one area that is found by the number of its first page.
    Legacy {
        /// A queue is as long as the device says, no shorter.
        fixed_size: bool,
    },
}

impl Interface {
    /// How long a page is whose number a legacy device is told.
    pub(crate) const PAGE_BYTES: u32 = 4096;

    /// Whether it is the legacy one.
    pub(crate) const fn is_legacy(self) -> bool {
        matches!(self, Self::Legacy { .. })
    }

    /// How wide the addresses of queues are: a page number has 32 bits.
    pub(crate) const fn address_bits(self) -> u8 {
        match self {
            Self::Modern => 64,
            Self::Legacy { .. } => 32 + 12,
        }
    }
}

/// The number of the page where a queue of the legacy interface begins.
pub(crate) fn page_number(addresses: &QueueAddresses) -> u32 {
    let page = addresses.descriptors.get() >> Interface::PAGE_BYTES.trailing_zeros();
    // The memory was asked for where its number has 32 bits. All ones is no page of anybody's.
    u32::try_from(page).unwrap_or(u32::MAX)
}

/// The interrupt vector of a queue, or of configuration changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vector {
    /// Entry of the MSI-X table.
    Entry(u16),
    /// None.
    None,
}

pub(crate) use steps::Steps;

mod steps {
    use super::*;

    /// The steps that a [`Transport`] is made of.
    pub trait Steps<R> {
        /// The virtio device's kind, as the bus says: 1 for a network device, 2 for a block device.
        fn device_id(&self) -> u16;

        /// By which interface the device is driven.
        fn interface(&self) -> Interface;

        /// Where the device is, for messages.
        fn location(&self) -> Location;

        /// Whom its memory belongs to.
        fn tag(&self) -> DeviceTag;

        /// Lets the device reach memory. Comes after a reset: a device that was left running by
        /// whoever was here before must not write to memory that is ours today.
        ///
        /// # Errors
        ///
        /// [`BusError`]; it may not.
        fn open_memory(&mut self) -> Result<(), BusError>;

        /// After the device confirmed its reset: has the bus keep it from memory, and vouches for
        /// its silence.
        ///
        /// # Errors
        ///
        /// [`BusError`]: it may still reach memory.
        fn quiesce(&mut self, clock: &impl Clock) -> Result<Quiet<'_>, BusError>;

        /// Keeps the device from memory as far as the bus can, which is no proof.
        fn close_memory(&mut self, clock: &impl Clock);

        /// Lets the device interrupt in the best way that is offered and that bus and device have,
        /// and in no other. Which one; the device has yet to agree to its messages.
        ///
        /// Comes before vectors are assigned, and after every reset.
        fn switch_interrupts(&mut self, offered: Interrupts<'_>) -> InterruptMode;

        /// Reads the status.
        fn read_status(&self) -> Status;

        /// Writes the status, whole.
        fn write_status(&mut self, status: Status);

        /// Reads what the device offers.
        fn read_device_features(&mut self) -> u64;

        /// Writes what the driver accepts.
        fn write_driver_features(&mut self, features: u64);

        /// The largest size of `queue`; zero if there is no such queue.
        ///
        /// # Errors
        ///
        /// [`QueueError::AlreadyEnabled`]: the device did not forget the queue when it was reset.
        fn read_queue_max(&mut self, queue: u16) -> Result<u16, QueueError>;

        /// Tells the device where `queue` is.
        fn write_queue(&mut self, queue: u16, size: QueueSize, addresses: &QueueAddresses);

        /// Finds the doorbell of `queue`, at which the device is told more if `with_data`.
        ///
        /// # Errors
        ///
        /// [`QueueError::NoDoorbell`]: the place that the device names is not there.
        fn doorbell(&mut self, queue: u16, with_data: bool) -> Result<QueueDoorbell<R>, QueueError>;

        /// Starts `queue`. Comes last, after everything else about it was written.
        fn enable_queue(&mut self, queue: u16);

        /// Whether there is a register to reset a queue by.
        fn has_queue_reset(&self) -> bool;

        /// Has the device give `queue` up, alone.
        fn reset_queue(&mut self, queue: u16);

        /// Whether it has: then it touches nothing of the queue until that is started again.
        fn is_queue_reset(&mut self, queue: u16) -> bool;

        /// Asks for `vector` at configuration changes; false when the device has no resources for
        /// it. Without effect on buses without vectors.
        #[must_use]
        fn set_config_vector(&mut self, vector: Vector) -> bool;

        /// Asks for `vector` at used buffers of `queue`; as
        /// [`set_config_vector`](Self::set_config_vector).
        #[must_use]
        fn set_queue_vector(&mut self, queue: u16, vector: Vector) -> bool;

        /// Reads, and thereby empties, the interrupt status; the line falls. Never used with
        /// message interrupts, where some devices have none.
        fn take_interrupt_status(&mut self) -> InterruptStatus;

        /// A number that changes with the configuration; `None` where the interface has none.
        fn read_config_generation(&self) -> Option<u32>;

        /// The device's own configuration space, exactly as long as the device says. Empty where a
        /// device has none. Accessed in the natural width of each field.
        fn config(&self) -> &Window<R>;
    }
}

/// Where a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Location {
    /// At this address on PCI.
    Pci(pci::Address),
    /// Its registers start at this physical address.
    Mmio(PhysAddr),
}

impl Location {
    /// A number that tells it from others of the machine, and is the same at every boot.
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Pci(at) => pci::number(at),
            // Places are hundreds of bytes long, and all near one another.
            Self::Mmio(at) => u32::try_from(at.get() >> 8).unwrap_or(u32::MAX),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pci(at) => at.fmt(f),
            Self::Mmio(at) => write!(f, "mmio {:#x}", at.get()),
        }
    }
}

/// The bus does not do as it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BusError {
    /// The function does not get to use memory.
    Command(pci::CommandError),
    /// The function does not let go of memory.
    NotQuiet(pci::QuiesceError),
    /// The device does not let go of memory.
    NoReset(NoReset),
}

impl fmt::Display for BusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(error) => error.fmt(f),
            Self::NotQuiet(error) => error.fmt(f),
            Self::NoReset(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for BusError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Command(error) => Some(error),
            Self::NotQuiet(error) => Some(error),
            Self::NoReset(error) => Some(error),
        }
    }
}

/// A queue cannot be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueError {
    /// The device has no such queue.
    Absent {
        /// Which.
        queue: u16,
    },
    /// The device says that it is running already, right after a reset.
    AlreadyEnabled {
        /// Which.
        queue: u16,
    },
    /// It has a length that no ring has, and takes no other.
    Size {
        /// Which.
        queue: u16,
        /// How many entries the device says.
        entries: u16,
    },
    /// The device does not give it up, though asked to.
    NoReset {
        /// Which.
        queue: u16,
        /// How long was waited.
        after: Duration,
    },
    /// The device has no resources for its message any more.
    NoVector {
        /// Which.
        queue: u16,
    },
    /// Its doorbell lies outside the notification registers.
    NoDoorbell {
        /// Which.
        queue: u16,
        /// Where it would be, from the start of them.
        offset_bytes: u64,
        /// How long they are.
        len_bytes: usize,
    },
}

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Absent { queue } => write!(f, "device has no queue {queue}"),
            Self::AlreadyEnabled { queue } => write!(f, "queue {queue} is enabled right after a reset"),
            Self::Size { queue, entries } => write!(
                f,
                "device says that queue {queue} has {entries} entries, expected a power of two of at most 32768"
            ),
            Self::NoReset { queue, after } => {
                write!(f, "device does not give queue {queue} up: not reset after {} ms", after.as_millis())
            }
            Self::NoVector { queue } => {
                write!(f, "device has no resources for the message of queue {queue} after its reset")
            }
            Self::NoDoorbell { queue, offset_bytes, len_bytes } => {
                write!(
                    f,
                    "doorbell of queue {queue} at {offset_bytes:#x} lies outside the {len_bytes} bytes of notification registers"
                )
            }
        }
    }
}

impl core::error::Error for QueueError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_every_queue_has_a_number_of_32_bits() {
        let bits = Interface::Legacy { fixed_size: true }.address_bits();
        let pages = (1_u128 << bits) / u128::from(Interface::PAGE_BYTES);
        assert_eq!(pages, 1 << 32, "as many as there are numbers");
    }
}
