//! What can go wrong, by operation: finding a device's feet, starting it, stopping it. What goes
//! wrong while it runs is a [`DeviceFault`].

use core::fmt;

use paravane_hal::Failed;
use paravane_hal::dma::{DmaError, DomainTag};
use paravane_hal::fault::DeviceFault;
use paravane_net::{ChangeError, MacAddr};
use paravane_pci::{BarError, CapabilityError, CommandError, Ids, PowerError, QuiesceError};

use crate::revision::SPOKEN;

/// A function could not be made ready to start. It is stopped, as far as it could be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BringUpError {
    /// It is another device.
    WrongIds(Ids),
    /// It could not be brought to full power.
    Power(PowerError),
    /// Its registers could not be reached.
    Bar(BarError),
    /// Its registers do not come on.
    Command(CommandError),
    /// Its capability list is broken.
    Capability(CapabilityError),
    /// What its last owner left running could not be stopped.
    StillRunning(ShutDownError),
    /// It speaks no protocol revision that this driver speaks.
    Revision {
        /// What it offers: bit n for revision n + 1.
        offered: u32,
    },
    /// It does not speak version 1 of the pass-through protocol.
    UptVersion {
        /// What it offers: bit n for version n + 1.
        offered: u32,
    },
    /// It does not answer.
    Fault(DeviceFault),
}

impl fmt::Display for BringUpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongIds(ids) => write!(f, "not a vmxnet3 device: {ids}, expected 15ad:07b0"),
            Self::Power(error) => write!(f, "vmxnet3 not powered: {error}"),
            Self::Bar(error) => write!(f, "vmxnet3 registers out of reach: {error}"),
            Self::Command(error) => write!(f, "vmxnet3 registers do not come on: {error}"),
            Self::Capability(error) => write!(f, "vmxnet3 capabilities unreadable: {error}"),
            Self::StillRunning(error) => write!(f, "vmxnet3 left running by its last owner: {error}"),
            Self::Revision { offered } => {
                write!(f, "vmxnet3 speaks revisions {offered:#b} (VRRS), this driver {SPOKEN:#b}")
            }
            Self::UptVersion { offered } => {
                write!(f, "vmxnet3 speaks UPT versions {offered:#b} (UVRS), wanted 0b1")
            }
            Self::Fault(fault) => write!(f, "vmxnet3 does not answer: {fault}"),
        }
    }
}

impl core::error::Error for BringUpError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Power(error) => Some(error),
            Self::Bar(error) => Some(error),
            Self::Command(error) => Some(error),
            Self::Capability(error) => Some(error),
            Self::StillRunning(error) => Some(error),
            Self::Fault(fault) => Some(fault),
            Self::WrongIds(_) | Self::Revision { .. } | Self::UptVersion { .. } => None,
        }
    }
}

impl<P> From<Failed<Self, P>> for BringUpError {
    /// The parts are dropped.
    fn from(failed: Failed<Self, P>) -> Self {
        failed.into_error()
    }
}

impl From<BarError> for BringUpError {
    fn from(error: BarError) -> Self {
        Self::Bar(error)
    }
}

impl From<CapabilityError> for BringUpError {
    fn from(error: CapabilityError) -> Self {
        Self::Capability(error)
    }
}

impl From<DeviceFault> for BringUpError {
    fn from(fault: DeviceFault) -> Self {
        Self::Fault(fault)
    }
}

/// A configuration that no device takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// A ring's size is not a multiple of 32 from 32 to 4096.
    RingEntries {
        /// Which ring.
        ring: &'static str,
        /// The size asked for.
        entries: u16,
    },
    /// A ring's size is no power of two, which the agreed revision asks for.
    RingNoPowerOfTwo {
        /// Which ring.
        ring: &'static str,
        /// The size asked for.
        entries: u16,
    },
    /// The IP MTU is not from 60 to 9000 bytes, or to 9190 from revision 6 on.
    Mtu {
        /// The one asked for.
        ip_mtu_bytes: u16,
    },
    /// No station may have that address.
    Mac(MacAddr),
    /// The pool's buffers are too short for the device, or for frames of this MTU.
    BufferTooShort {
        /// What a buffer holds.
        payload_bytes: u32,
        /// What it has to hold.
        min_bytes: u32,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RingEntries { ring, entries } => {
                write!(f, "{ring} ring of {entries}: not a multiple of 32 from 32 to 4096")
            }
            Self::RingNoPowerOfTwo { ring, entries } => {
                write!(f, "{ring} ring of {entries}: not a power of two, as from revision 7 on it has to be")
            }
            Self::Mtu { ip_mtu_bytes } => write!(
                f,
                "IP MTU of {ip_mtu_bytes} bytes: not from 60 to 9000, or to 9190 from revision 6 on"
            ),
            Self::Mac(mac) => write!(f, "{mac} is not a station's address"),
            Self::BufferTooShort { payload_bytes, min_bytes } => {
                write!(f, "pool buffers hold {payload_bytes} bytes, needed are {min_bytes}")
            }
        }
    }
}

impl core::error::Error for ConfigError {}

/// A device could not be started. It is stopped, and memory that it had been told of is back; but
/// for [`NotStopped`](Self::NotStopped).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartError {
    /// It speaks no revision that it may speak by
    /// [`Config::max_revision`](crate::Config::max_revision).
    Revision {
        /// What it offers: bit n for revision n + 1.
        offered: u32,
        /// What it may.
        max_revision: u8,
    },
    /// The configuration is wrong.
    Config(ConfigError),
    /// Of the settings, one is not to be had.
    Setting {
        /// Which.
        what: &'static str,
        /// Why not.
        error: ChangeError,
    },
    /// The device cannot reach the pool's buffers.
    ForeignPool {
        /// Where they are.
        pool: DomainTag,
        /// Where the device is.
        device: DomainTag,
    },
    /// No memory for rings.
    Memory(DmaError),
    /// The pool had no buffer for the receive ring.
    PoolEmpty,
    /// It was not allowed to reach memory.
    Command(CommandError),
    /// It refused to activate. It gives no reason; what it is known to check was checked before.
    Refused {
        /// Its answer to `ACTIVATE_DEV`.
        code: u32,
    },
    /// It refused to be told how long receive buffers are.
    BufferSizes {
        /// Its answer to `SET_RING_BUFFER_SIZE`.
        code: u32,
    },
    /// It does not answer, or broke while it was started.
    Fault(DeviceFault),
    /// One of the above, and then it could not be stopped. The device keeps its memory, for it may
    /// still write there; the next start stops it first.
    NotStopped(ShutDownError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Revision { offered, max_revision } => write!(
                f,
                "vmxnet3 not started: it speaks revisions {offered:#b} (VRRS), and {max_revision} is the highest allowed"
            ),
            Self::Config(error) => write!(f, "vmxnet3 not started: {error}"),
            Self::Setting { what, error } => {
                write!(f, "vmxnet3 not started: {what}: {error}; leave it out of the settings")
            }
            Self::ForeignPool { pool, device } => {
                write!(f, "vmxnet3 not started: the frame pool is in {pool}, the device in {device}")
            }
            Self::Memory(error) => write!(f, "vmxnet3 not started: {error}"),
            Self::PoolEmpty => f.write_str(
                "vmxnet3 not started: the frame pool has too few free buffers, two for each ring at least",
            ),
            Self::Command(error) => write!(f, "vmxnet3 not started: {error}"),
            Self::Refused { code } => write!(f, "vmxnet3 refused to activate, answer {code:#x}"),
            Self::BufferSizes { code } => {
                write!(f, "vmxnet3 refused the length of receive buffers, answer {code:#x}")
            }
            Self::Fault(fault) => write!(f, "vmxnet3 broke while it was started: {fault}"),
            Self::NotStopped(error) => {
                write!(f, "vmxnet3 neither started nor stopped, memory kept: {error}")
            }
        }
    }
}

impl core::error::Error for StartError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            Self::Setting { error, .. } => Some(error),
            Self::Memory(error) => Some(error),
            Self::Command(error) => Some(error),
            Self::Fault(fault) => Some(fault),
            Self::NotStopped(error) => Some(error),
            Self::Revision { .. }
            | Self::ForeignPool { .. }
            | Self::PoolEmpty
            | Self::Refused { .. }
            | Self::BufferSizes { .. } => None,
        }
    }
}

impl<P> From<Failed<Self, P>> for StartError {
    /// The parts are dropped.
    fn from(failed: Failed<Self, P>) -> Self {
        failed.into_error()
    }
}

impl From<ConfigError> for StartError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<DeviceFault> for StartError {
    fn from(fault: DeviceFault) -> Self {
        Self::Fault(fault)
    }
}

/// A device was not stopped. All parts are there still, to be stopped again or to be leaked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopError {
    /// A queue belongs to another device. This one still runs.
    ForeignQueue,
    /// Queues that were taken apart were not all given back. It still runs.
    QueuesMissing {
        /// How many queues were started.
        started: u16,
        /// How many are here.
        given: u16,
    },
    /// It does not say that it will wake the machine so, and was not suspended. It still runs.
    WakeUp {
        /// Its answer to `UPDATE_PMCFG`, expected 0; all ones when nobody answers.
        code: u32,
    },
    /// It was told to stop and cannot be proven to have stopped: it may still reach memory.
    StillRunning(ShutDownError),
}

impl fmt::Display for StopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ForeignQueue => f.write_str("vmxnet3 not stopped: a queue belongs to another device"),
            Self::QueuesMissing { started, given } => {
                write!(f, "vmxnet3 not stopped: {started} queues were started and {given} are here")
            }
            Self::WakeUp { code } => write!(
                f,
                "vmxnet3 not suspended: answers {code:#x} to UPDATE_PMCFG, expected 0; suspend it with nothing to wake it, or stop it"
            ),
            Self::StillRunning(error) => write!(f, "vmxnet3 not stopped, memory kept: {error}"),
        }
    }
}

impl core::error::Error for StopError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::StillRunning(error) => Some(error),
            Self::ForeignQueue | Self::QueuesMissing { .. } | Self::WakeUp { .. } => None,
        }
    }
}

impl<P> From<Failed<Self, P>> for StopError {
    /// The parts are dropped: what the device may still reach is leaked.
    fn from(failed: Failed<Self, P>) -> Self {
        failed.into_error()
    }
}

/// A device was told to stop, and no proof could be had that it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShutDownError {
    /// It sleeps, and does not wake up to be told.
    Power(PowerError),
    /// The bus does not vouch for it.
    Bus(QuiesceError),
    /// Bus mastering is off, but the device itself confirms neither that it stopped nor that it was
    /// reset: one of the answers has to be 0.
    Unconfirmed {
        /// Its answer to `QUIESCE_DEV`; all ones when nobody answers.
        quiesce: u32,
        /// Its answer to `RESET_DEV`.
        reset: u32,
    },
}

impl fmt::Display for ShutDownError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Power(error) => error.fmt(f),
            Self::Bus(error) => error.fmt(f),
            Self::Unconfirmed { quiesce, reset } => write!(
                f,
                "answers {quiesce:#x} to QUIESCE_DEV and {reset:#x} to RESET_DEV, expected 0 to either"
            ),
        }
    }
}

impl core::error::Error for ShutDownError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Power(error) => Some(error),
            Self::Bus(error) => Some(error),
            Self::Unconfirmed { .. } => None,
        }
    }
}
