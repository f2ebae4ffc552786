//! Why a network device is not started.

use core::error::Error;
use core::fmt;

use paravane_hal::Failed;
use paravane_hal::dma::DomainTag;
use paravane_net::ChangeError;

use crate::error::SetUpError;

/// A device cannot be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartError {
    /// For a reason that any device could have.
    SetUp(SetUpError),
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
    /// The device has the legacy interface and does not offer `ANY_LAYOUT`: it would have every
    /// header in a descriptor of its own.
    NoAnyLayout,
    /// The device's control queue is too short for a command.
    ControlQueueTooShort {
        /// How many entries it has.
        entries: u16,
        /// What a command takes.
        needed: u16,
    },
    /// The device was not told what it was to be told.
    Setting {
        /// What of it.
        what: &'static str,
        /// Why not.
        error: ChangeError,
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
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetUp(error) => error.fmt(f),
            Self::ForeignPool { pool, device } => {
                write!(f, "the frame pool is in {pool}, the device in {device}")
            }
            Self::BuffersTooShort { payload_bytes, needed_bytes } => {
                write!(f, "buffers hold {payload_bytes} bytes, and a received frame may take {needed_bytes}")
            }
            Self::NoAnyLayout => f.write_str(
                "legacy device does not offer ANY_LAYOUT (feature 27), and headers are not sent apart; have the hypervisor offer it, or the modern interface (QEMU: any_layout=on, disable-modern=off)",
            ),
            Self::ControlQueueTooShort { entries, needed } => {
                write!(f, "the control queue has {entries} entries, and a command takes {needed}")
            }
            Self::Setting { what, error } => {
                write!(
                    f,
                    "{what} not set: {error}; leave it out of the settings, or CTRL_VQ out of what is allowed"
                )
            }
            Self::Mtu { ip_mtu_bytes, min_bytes, max_bytes } => {
                write!(f, "IP MTU of {ip_mtu_bytes} bytes: not from {min_bytes} to {max_bytes}")
            }
        }
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::SetUp(error) => Some(error),
            Self::Setting { error, .. } => Some(error),
            Self::ForeignPool { .. }
            | Self::BuffersTooShort { .. }
            | Self::NoAnyLayout
            | Self::ControlQueueTooShort { .. }
            | Self::Mtu { .. } => None,
        }
    }
}

impl<E: Into<SetUpError>> From<E> for StartError {
    fn from(error: E) -> Self {
        Self::SetUp(error.into())
    }
}

impl<P> From<Failed<Self, P>> for StartError {
    fn from(failed: Failed<Self, P>) -> Self {
        failed.into_error()
    }
}
