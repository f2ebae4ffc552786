//! What can go wrong with a device of any class, one error per operation.

use core::error::Error;
use core::fmt;

use paravane_hal::Failed;
use paravane_hal::dma::DmaError;
use paravane_hal::fault::DeviceFault;

use crate::init::InitError;
use crate::transport::{BusError, Location, QueueError};

/// A device cannot be taken into use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BringUpError {
    /// It is a device of another class.
    OtherClass {
        /// Where it is.
        at: Location,
        /// Its kind.
        seen: u16,
        /// The kind that is driven.
        expected: u16,
    },
    /// It does not reset.
    Init(InitError),
}

impl fmt::Display for BringUpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherClass { at, seen, expected } => {
                write!(f, "{at}: virtio device of kind {seen}, expected {expected}")
            }
            Self::Init(error) => error.fmt(f),
        }
    }
}

impl Error for BringUpError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::OtherClass { .. } => None,
            Self::Init(error) => Some(error),
        }
    }
}

/// A device cannot be started, for a reason that does not lie in its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetUpError {
    /// A step of bring-up failed.
    Init(InitError),
    /// The bus does not let the device reach memory, or does not vouch for the silence of one that
    /// keeps memory of an earlier start.
    Bus(BusError),
    /// A queue cannot be set up.
    Queue(QueueError),
    /// A queue of no entries was asked for.
    NoEntries {
        /// Which.
        queue: u16,
    },
    /// There is no memory for the queues.
    Dma(DmaError),
    /// The configuration space never stood still while it was read.
    ConfigUnstable,
}

impl fmt::Display for SetUpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Init(error) => error.fmt(f),
            Self::Bus(error) => error.fmt(f),
            Self::Queue(error) => error.fmt(f),
            Self::NoEntries { queue } => write!(f, "queue {queue} was asked for with 0 entries"),
            Self::Dma(error) => error.fmt(f),
            Self::ConfigUnstable => f.write_str("device configuration changes faster than it can be read"),
        }
    }
}

impl Error for SetUpError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Init(error) => Some(error),
            Self::Bus(error) => Some(error),
            Self::Queue(error) => Some(error),
            Self::Dma(error) => Some(error),
            Self::NoEntries { .. } | Self::ConfigUnstable => None,
        }
    }
}

impl From<InitError> for SetUpError {
    fn from(error: InitError) -> Self {
        Self::Init(error)
    }
}

impl From<QueueError> for SetUpError {
    fn from(error: QueueError) -> Self {
        Self::Queue(error)
    }
}

impl From<DmaError> for SetUpError {
    fn from(error: DmaError) -> Self {
        Self::Dma(error)
    }
}

/// A device could not be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopError {
    /// A queue belongs to another device. This one still runs.
    ForeignQueue,
    /// Queues that were taken apart were not all given back. It still runs.
    QueuesMissing {
        /// How many pairs or queues were started.
        started: u16,
        /// How many are here.
        given: u16,
    },
    /// It did not confirm the reset: it may still reach memory.
    NoReset(InitError),
    /// The bus does not vouch for its silence: it may still reach memory.
    NotQuiet(BusError),
}

impl fmt::Display for StopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ForeignQueue => f.write_str("device not stopped: a queue belongs to another one"),
            Self::QueuesMissing { started, given } => {
                write!(
                    f,
                    "device not stopped: {started} queues were started, {given} came back; give back those taken"
                )
            }
            Self::NoReset(error) => write!(f, "device not stopped, memory kept: {error}"),
            Self::NotQuiet(error) => write!(f, "device not stopped, memory kept: {error}"),
        }
    }
}

impl Error for StopError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::ForeignQueue | Self::QueuesMissing { .. } => None,
            Self::NoReset(error) => Some(error),
            Self::NotQuiet(error) => Some(error),
        }
    }
}

/// A queue was not reset alone. Stopping the device is what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueResetError {
    /// That was not agreed: the device does not offer `RING_RESET`. Nothing has happened.
    NotOffered,
    /// The queue belongs to another device. Nothing has happened.
    ForeignQueue,
    /// Something is wrong with the device itself. Nothing has happened.
    Fault(DeviceFault),
    /// The device does not go along. The queue is broken, and its control says so as well.
    Queue(QueueError),
}

impl fmt::Display for QueueResetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOffered => f.write_str("queue not reset: the device does not offer RING_RESET"),
            Self::ForeignQueue => f.write_str("queue not reset: it belongs to another device"),
            Self::Fault(fault) => write!(f, "queue not reset: {fault}"),
            Self::Queue(error) => write!(f, "queue not reset: {error}"),
        }
    }
}

impl Error for QueueResetError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NotOffered | Self::ForeignQueue => None,
            Self::Fault(fault) => Some(fault),
            Self::Queue(error) => Some(error),
        }
    }
}

impl<P> From<Failed<Self, P>> for BringUpError {
    fn from(failed: Failed<Self, P>) -> Self {
        failed.into_error()
    }
}

impl<P> From<Failed<Self, P>> for StopError {
    fn from(failed: Failed<Self, P>) -> Self {
        failed.into_error()
    }
}
