//! What can go wrong between a test and QEMU.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// QEMU could not be started, or stopped answering.
///
/// Plain text inside, so that the first one can be kept and given to everybody who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QtestError {
    /// The program is not in the search path.
    NotInstalled {
        /// Its name.
        program: String,
    },
    /// The operating system refused.
    System {
        /// What was tried.
        action: String,
        /// Its reason.
        reason: String,
    },
    /// A socket did not appear.
    NoSocket {
        /// Where it should be.
        path: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
    /// The process is gone.
    Ended {
        /// What was going on.
        during: String,
        /// Exit status, or signal.
        status: String,
        /// What it wrote to its standard error.
        said: String,
    },
    /// The socket was closed from the other side.
    Closed {
        /// What was going on.
        during: String,
    },
    /// No answer came.
    NoAnswer {
        /// To what.
        command: String,
        /// How long was waited.
        waited: Duration,
    },
    /// The answer is not one.
    Answer {
        /// To what.
        command: String,
        /// The line.
        answer: String,
    },
    /// The bus could not be set up.
    Bus {
        /// Which function, and why.
        reason: String,
    },
}

impl QtestError {
    pub(crate) fn system(action: impl Into<String>, reason: impl fmt::Display) -> Self {
        Self::System { action: action.into(), reason: reason.to_string() }
    }

    /// Whether QEMU is simply not there.
    #[must_use]
    pub fn is_not_installed(&self) -> bool {
        matches!(self, Self::NotInstalled { .. })
    }

    /// Whether a test that ends in this may count as skipped: QEMU is not there, and
    /// `PARAVANE_NEEDS_QEMU` is not set, as it is where its absence is a mistake.
    #[must_use]
    pub fn may_skip(&self) -> bool {
        self.is_not_installed() && std::env::var_os("PARAVANE_NEEDS_QEMU").is_none()
    }
}

impl fmt::Display for QtestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInstalled { program } => {
                write!(f, "{program} is not installed: nothing of that name in PATH; set QEMU to use another")
            }
            Self::System { action, reason } => write!(f, "cannot {action}: {reason}"),
            Self::NoSocket { path, waited } => {
                write!(f, "no socket at {} after {} ms", path.display(), waited.as_millis())
            }
            Self::Ended { during, status, said } => {
                write!(f, "QEMU ended ({status}) during {during:?}")?;
                if said.is_empty() { f.write_str(", without a word") } else { write!(f, "; it said: {said}") }
            }
            Self::Closed { during } => write!(f, "the test socket was closed during {during:?}"),
            Self::NoAnswer { command, waited } => {
                write!(f, "no answer to {command:?} after {} ms", waited.as_millis())
            }
            Self::Answer { command, answer } => write!(f, "{command:?} was answered with {answer:?}"),
            Self::Bus { reason } => write!(f, "the bus could not be set up: {reason}"),
        }
    }
}

impl std::error::Error for QtestError {}
