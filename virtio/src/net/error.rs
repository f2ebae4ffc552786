//! What can go wrong with a network device that is not running, one error per operation.

use core::fmt;

use paravane_hal::Platform;
use paravane_hal::dma::{DmaError, DomainTag};
use paravane_pci::{CommandError, ConfigAccess, Ids, QuiesceError};

use crate::init::InitError;
use crate::net::{Device, NetControl, RxQueue, TxQueue};
use crate::transport::QueueError;
use crate::transport::pci::PciError;

/// A device cannot be taken into use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

impl core::error::Error for BringUpError {}

/// A device cannot be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// The configuration space never stood still while it was read.
    ConfigUnstable,
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
            Self::ConfigUnstable => f.write_str("device configuration changes faster than it can be read"),
        }
    }
}

impl core::error::Error for StartError {}

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

/// Why a device is still to be reckoned with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StuckReason {
    /// It did not confirm the reset.
    NoReset(InitError),
    /// The bus does not vouch for its silence.
    NotQuiet(QuiesceError),
}

impl fmt::Display for StuckReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoReset(error) => error.fmt(f),
            Self::NotQuiet(error) => error.fmt(f),
        }
    }
}

/// A device could not be stopped cleanly.
#[expect(
    clippy::large_enum_variant,
    reason = "both are rare, and a box would need an allocator in a failure path"
)]
pub enum StopError<P: Platform, C: ConfigAccess> {
    /// The queues belong to another device. Nothing was done.
    OthersQueues {
        /// The control half.
        control: NetControl<P, C>,
        /// The receive queue.
        rx: RxQueue<P>,
        /// The transmit queue.
        tx: TxQueue<P>,
    },
    /// The device may still use its memory, so that was leaked: the queues', and the buffers that were with the device.
    Stuck {
        /// Why.
        reason: StuckReason,
        /// How many frames are gone with it.
        leaked_frames: usize,
        /// The device. It can be tried again, and gets new memory.
        device: Device<P, C>,
    },
}

impl<P: Platform, C: ConfigAccess> fmt::Display for StopError<P, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OthersQueues { .. } => f.write_str("the queues given are another device's"),
            Self::Stuck { reason, leaked_frames, .. } => {
                write!(
                    f,
                    "device does not let go ({reason}); its queues and {leaked_frames} frames are leaked"
                )
            }
        }
    }
}

impl<P: Platform, C: ConfigAccess> fmt::Debug for StopError<P, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<P: Platform, C: ConfigAccess> core::error::Error for StopError<P, C> {}
