//! What a device class needs of the bus its device sits on, whichever bus that is.
//!
//! Register-shaped on purpose: each call is one step of the specification, and the order of the
//! steps is [`init`](crate::init)'s business alone. The PCI transport is [`pci`]; a memory-mapped
//! one fits the same trait, for its configuration space is a window of registers too.
//!
//! [`init`](crate::init), queues and vectors know this trait alone. The network device does not
//! yet: it claims, interrupts and silences a PCI function, and a second transport has to bring
//! these three along first.

use core::fmt;

use paravane_hal::mmio::Mmio;

use crate::queue::{QueueAddresses, QueueSize};
use crate::status::Status;

pub mod pci;

/// Tells the device that a queue has something new. Found once, kept with the queue.
pub(crate) trait Doorbell: Send {
    /// Tells it. One register write, ordered after all stores to shared memory before.
    fn ring(&self);
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

/// The interrupt vector of a queue, or of configuration changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vector {
    /// Entry of the MSI-X table.
    Entry(u16),
    /// None.
    None,
}

/// A device on some bus.
pub(crate) trait Transport {
    /// How a queue is announced.
    type Doorbell: Doorbell;
    /// The device's own configuration space, exactly as long as the device says. Accessed in the
    /// natural width of each field.
    type Config: Mmio;

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

    /// Finds the doorbell of `queue`.
    ///
    /// # Errors
    ///
    /// [`QueueError::NoDoorbell`]: the place that the device names is not there.
    fn doorbell(&mut self, queue: u16) -> Result<Self::Doorbell, QueueError>;

    /// Starts `queue`. Comes last, after everything else about it was written.
    fn enable_queue(&mut self, queue: u16);

    /// Asks for `vector` at configuration changes; false when the device has no resources for it.
    /// Without effect on buses without vectors.
    #[must_use]
    fn set_config_vector(&mut self, vector: Vector) -> bool;

    /// Asks for `vector` at used buffers of `queue`; as
    /// [`set_config_vector`](Self::set_config_vector).
    #[must_use]
    fn set_queue_vector(&mut self, queue: u16, vector: Vector) -> bool;

    /// Whether the device has a line, and can say why it raised it. Asked while messages are to be
    /// off.
    fn has_interrupt_status(&self) -> bool;

    /// Reads, and thereby empties, the interrupt status; the line falls. Never used with message
    /// interrupts, where some devices have none.
    fn take_interrupt_status(&mut self) -> InterruptStatus;

    /// A number that changes with the configuration.
    fn read_config_generation(&self) -> u32;

    /// The device's own configuration space. Empty where a device has none.
    fn config(&self) -> &Self::Config;
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
