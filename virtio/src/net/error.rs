//! What can go wrong with a network device that is not running, one error per operation.

use core::error::Error;
use core::fmt;

use paravane_hal::Failed;
use paravane_hal::dma::{DmaError, DomainTag};
use paravane_pci::{CommandError, Ids, QuiesceError};

use crate::init::InitError;
use crate::transport::QueueError;
use crate::transport::pci::PciError;

/// A device cannot be taken into use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BringUpError {
    /// It is not a virtio network device.
    NotVirtioNet {
        /// What it is.
        ids: Ids,
    },
    /// Its registers cannot be found or reached.
    Transport(PciError),
    /// It does not reset.
    Init(InitError),
}

impl fmt::Display for BringUpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotVirtioNet { ids } => write!(f, "{ids} is not a virtio network device"),
            Self::Transport(error) => error.fmt(f),
            Self::Init(error) => error.fmt(f),
        }
    }
}

impl Error for BringUpError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NotVirtioNet { .. } => None,
            Self::Transport(error) => Some(error),
            Self::Init(error) => Some(error),
        }
    }
}

/// A device cannot be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartError {
    /// A step of bring-up failed.
    Init(InitError),
    /// The function does not get to use memory.
    Command(CommandError),
    /// A queue cannot be set up.
    Queue(QueueError),
    /// A queue of no entries was asked for.
    NoEntries {
        /// Which.
        queue: u16,
    },
    /// There is no memory for the queues.
    Dma(DmaError),
    /// The device cannot reach the pool's buffers.
    ForeignPool {
        /// Where they are.
        pool: DomainTag,
        /// Where the device is.
        device: DomainTag,
    },
    /// The pool's buffers are too short for what the device may send.
    BuffersTooShort {
        /// What one holds.
        payload_bytes: usize,
        /// What it has to hold.
        needed_bytes: usize,
    },
    /// The MTU asked for is not one that the device has.
    Mtu {
        /// The one asked for.
        ip_mtu_bytes: u16,
        /// The least that an MTU may be.
        min_bytes: u16,
        /// The most that the device says it may be.
        max_bytes: u16,
    },
    /// The configuration space never stood still while it was read.
    ConfigUnstable,
    /// The bus does not vouch for the silence of a device that keeps memory of an earlier start.
    NotQuiet(QuiesceError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Init(error) => error.fmt(f),
            Self::Command(error) => error.fmt(f),
            Self::Queue(error) => error.fmt(f),
            Self::NoEntries { queue } => write!(f, "queue {queue} was asked for with 0 entries"),
            Self::Dma(error) => error.fmt(f),
            Self::ForeignPool { pool, device } => {
                write!(f, "the frame pool is in {pool}, the device in {device}")
            }
            Self::BuffersTooShort { payload_bytes, needed_bytes } => {
                write!(f, "buffers hold {payload_bytes} bytes, and a received frame may take {needed_bytes}")
            }
            Self::Mtu { ip_mtu_bytes, min_bytes, max_bytes } => {
                write!(f, "IP MTU of {ip_mtu_bytes} bytes: not from {min_bytes} to {max_bytes}")
            }
            Self::ConfigUnstable => f.write_str("device configuration changes faster than it can be read"),
            Self::NotQuiet(error) => write!(f, "virtio-net keeps memory of an earlier start: {error}"),
        }
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Init(error) => Some(error),
            Self::Command(error) => Some(error),
            Self::Queue(error) => Some(error),
            Self::Dma(error) => Some(error),
            Self::NotQuiet(error) => Some(error),
            Self::NoEntries { .. }
            | Self::ForeignPool { .. }
            | Self::BuffersTooShort { .. }
            | Self::Mtu { .. }
            | Self::ConfigUnstable => None,
        }
    }
}

impl From<InitError> for StartError {
    fn from(error: InitError) -> Self {
        Self::Init(error)
    }
}

impl From<QueueError> for StartError {
    fn from(error: QueueError) -> Self {
        Self::Queue(error)
    }
}

impl From<DmaError> for StartError {
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
    /// It did not confirm the reset: it may still reach memory.
    NoReset(InitError),
    /// The bus does not vouch for its silence: it may still reach memory.
    NotQuiet(QuiesceError),
}

impl fmt::Display for StopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ForeignQueue => f.write_str("virtio-net not stopped: a queue belongs to another device"),
            Self::NoReset(error) => write!(f, "virtio-net not stopped, memory kept: {error}"),
            Self::NotQuiet(error) => write!(f, "virtio-net not stopped, memory kept: {error}"),
        }
    }
}

impl Error for StopError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::ForeignQueue => None,
            Self::NoReset(error) => Some(error),
            Self::NotQuiet(error) => Some(error),
        }
    }
}

impl<P> From<Failed<Self, P>> for BringUpError {
    fn from(failed: Failed<Self, P>) -> Self {
        failed.into_error()
    }
}

impl<P> From<Failed<Self, P>> for StartError {
    fn from(failed: Failed<Self, P>) -> Self {
        failed.into_error()
    }
}

impl<P> From<Failed<Self, P>> for StopError {
    fn from(failed: Failed<Self, P>) -> Self {
        failed.into_error()
    }
}
