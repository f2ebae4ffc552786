//! Why an entropy device gave nothing.

use core::error::Error;
use core::fmt;

use paravane_hal::Failed;
use paravane_hal::fault::DeviceFault;

use crate::error::{SetUpError, StopError};

/// A device gave no entropy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadError {
    /// It cannot be started.
    SetUp(SetUpError),
    /// It broke the rules, or did not answer in time.
    Fault(DeviceFault),
    /// It answered, with no bytes. One at the least is what it has to give.
    NoBytes,
    /// It gave what was asked for, and did not stop after that.
    Stop(StopError),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetUp(error) => error.fmt(f),
            Self::Fault(fault) => write!(f, "no entropy: {fault}"),
            Self::NoBytes => f.write_str("no entropy: device answered with 0 bytes, expected 1 or more"),
            Self::Stop(error) => error.fmt(f),
        }
    }
}

impl Error for ReadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::SetUp(error) => Some(error),
            Self::Fault(fault) => Some(fault),
            Self::NoBytes => None,
            Self::Stop(error) => Some(error),
        }
    }
}

impl<E: Into<SetUpError>> From<E> for ReadError {
    fn from(error: E) -> Self {
        Self::SetUp(error.into())
    }
}

impl<P> From<Failed<Self, P>> for ReadError {
    fn from(failed: Failed<Self, P>) -> Self {
        failed.into_error()
    }
}
