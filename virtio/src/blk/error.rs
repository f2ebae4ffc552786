//! Why a block device is not started.

use core::error::Error;
use core::fmt;

use paravane_hal::Failed;

use crate::error::SetUpError;

/// A device cannot be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartError {
    /// For a reason that any device could have.
    SetUp(SetUpError),
    /// The configuration space has no capacity.
    NoCapacity {
        /// How long it is.
        len_bytes: usize,
    },
    /// The device says that its blocks are of a length that no blocks have.
    BlockSize {
        /// What it says.
        block_bytes: u32,
    },
    /// The device says that its segments have no bytes.
    NoSegments,
    /// Not one request fits the queue.
    QueueTooShort {
        /// How many entries it has.
        entries: u16,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetUp(error) => error.fmt(f),
            Self::NoCapacity { len_bytes } => {
                write!(f, "device configuration of {len_bytes} bytes holds no capacity")
            }
            Self::BlockSize { block_bytes } => write!(f, "device says that a block has {block_bytes} bytes"),
            Self::NoSegments => f.write_str("device says that a segment has 0 bytes"),
            Self::QueueTooShort { entries } => write!(f, "a request does not fit a queue of {entries}"),
        }
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::SetUp(error) => Some(error),
            _ => None,
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
