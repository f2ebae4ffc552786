//! Bring-up, one function per step of the specification, for any transport.
//!
//! ```text
//!  1 reset ............ status 0, waited for
//!  2 acknowledge ...... ACKNOWLEDGE
//!  3 claim ............ DRIVER, read back
//!  4 negotiate ........ features read, chosen, written
//!  5 seal ............. FEATURES_OK, read back; not on the legacy interface, which has none
//!  6 (the class) ...... configuration, queues, vectors
//!  7 go ............... DRIVER_OK
//! ```
//!
//! Firecracker is the yardstick: it follows the status one bit at a time and drops everything else,
//! so every write here adds exactly one bit. A step that fails leaves the device as it is;
//! `give_up` says so to the device, unless what failed was the reset.
//!
//! Spec: VIRTIO 1.2, 3.1.1 "Driver Requirements: Device Initialization", 3.1.2 "Legacy Interface:
//! Device Initialization".

use core::fmt;
use core::time::Duration;

use paravane_hal::time::{Clock, TimedOut, wait_for};

use crate::feature::RingFeatures;
use crate::status::Status;
use crate::transport::{QueueError, Steps};

/// How long a reset may take. It is immediate nearly everywhere; a device that first waits for its
/// back end's requests takes longer.
pub const RESET_TIMEOUT: Duration = Duration::from_secs(3);

/// A step of bring-up failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InitError {
    /// The status did not become zero.
    NoReset {
        /// What it was when the wait ended.
        status: Status,
        /// How long was waited.
        after: Duration,
    },
    /// Registers read all ones.
    Gone,
    /// The status does not hold what was written.
    StatusRejected {
        /// What was written.
        written: Status,
        /// What was read back.
        read: Status,
    },
    /// The device does not offer `VERSION_1`.
    NotVersion1 {
        /// What it offers.
        offered: u64,
    },
    /// The device does not accept the features chosen.
    FeaturesRejected {
        /// What it offers.
        offered: u64,
        /// What was chosen.
        chosen: u64,
    },
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoReset { status, after } => {
                write!(f, "device does not reset: status still {status} after {} ms", after.as_millis())
            }
            Self::Gone => f.write_str("device is gone: its registers read all ones"),
            Self::StatusRejected { written, read } => {
                write!(f, "device ignores its status: wrote {written}, read back {read}")
            }
            Self::NotVersion1 { offered } => {
                write!(
                    f,
                    "device does not offer VERSION_1 (features {offered:#x}); only virtio 1.0 and later is driven"
                )
            }
            Self::FeaturesRejected { offered, chosen } => {
                write!(f, "device offers features {offered:#x} but rejects {chosen:#x}")
            }
        }
    }
}

impl core::error::Error for InitError {}

/// Step 1: resets the device and waits until it says that it is. After this it uses no memory and
/// raises no interrupts.
///
/// # Errors
///
/// [`InitError::NoReset`], [`InitError::Gone`]: the device may still use whatever it was given.
pub(crate) fn reset<R>(transport: &mut impl Steps<R>, clock: &impl Clock) -> Result<(), InitError> {
    transport.write_status(Status::empty());
    let mut status = Status::empty();
    // All ones never becomes zero by waiting, but a device that is being reset underneath may
    // answer so for a moment: the deadline decides.
    let done = wait_for(clock, RESET_TIMEOUT, || {
        status = transport.read_status();
        status.is_empty().then_some(())
    });
    match done {
        Ok(()) => Ok(()),
        Err(TimedOut { .. }) if status.is_all_ones() => Err(InitError::Gone),
        Err(TimedOut { after }) => Err(InitError::NoReset { status, after }),
    }
}

/// Steps 2 and 3: says that the device was found, then that there is a driver. Read back: a device
/// that sits behind a transport which drops writes shows it here, before anything leans on it.
///
/// # Errors
///
/// [`InitError::StatusRejected`], [`InitError::Gone`].
pub(crate) fn acknowledge_and_claim<R>(transport: &mut impl Steps<R>) -> Result<(), InitError> {
    transport.write_status(Status::ACKNOWLEDGE);
    let written = Status::ACKNOWLEDGE | Status::DRIVER;
    transport.write_status(written);
    expect_status(transport, written)
}

/// Steps 4 and 5: writes the features that `choose` picks of those offered, says that this is
/// final, and looks whether the device agrees. Returns the choice. The legacy interface has no
/// fifth step.
///
/// # Errors
///
/// [`InitError::NotVersion1`], before anything is written; [`InitError::FeaturesRejected`];
/// [`InitError::Gone`].
pub(crate) fn negotiate<R, T: Steps<R>>(
    transport: &mut T,
    choose: impl FnOnce(&mut T, u64) -> u64,
) -> Result<u64, InitError> {
    let offered = transport.read_device_features();
    let is_legacy = transport.interface().is_legacy();
    if !is_legacy && offered & RingFeatures::VERSION_1.bits() == 0 {
        return Err(InitError::NotVersion1 { offered });
    }
    // Without its register there is nothing to it.
    let offered =
        if transport.has_queue_reset() { offered } else { offered & !RingFeatures::RING_RESET.bits() };
    let chosen = choose(transport, offered) & offered;
    transport.write_driver_features(chosen);
    if is_legacy {
        return Ok(chosen);
    }
    let written = Status::ACKNOWLEDGE | Status::DRIVER | Status::FEATURES_OK;
    transport.write_status(written);
    match expect_status(transport, written) {
        Err(InitError::StatusRejected { .. }) => Err(InitError::FeaturesRejected { offered, chosen }),
        other => other.map(|()| chosen),
    }
}

/// Resets `queue` of a device that runs, and waits until it is: then the device touches nothing of
/// it. It has to be told all about it before it is started again.
///
/// # Errors
///
/// [`QueueError::NoReset`]: the device may still use what it was given.
///
/// Spec: VIRTIO 1.2, 2.6.1 "Virtqueue Reset".
pub(crate) fn reset_queue<R>(
    transport: &mut impl Steps<R>,
    queue: u16,
    clock: &impl Clock,
) -> Result<(), QueueError> {
    transport.reset_queue(queue);
    wait_for(clock, RESET_TIMEOUT, || transport.is_queue_reset(queue).then_some(()))
        .map_err(|TimedOut { after }| QueueError::NoReset { queue, after })
}

/// Step 7: starts the device. From here on it may use its queues, and notifications mean something.
///
/// # Errors
///
/// [`InitError::StatusRejected`], [`InitError::Gone`].
pub(crate) fn go<R>(transport: &mut impl Steps<R>) -> Result<(), InitError> {
    let sealed = if transport.interface().is_legacy() { Status::empty() } else { Status::FEATURES_OK };
    let written = Status::ACKNOWLEDGE | Status::DRIVER | sealed | Status::DRIVER_OK;
    transport.write_status(written);
    expect_status(transport, written)
}

/// Says that the driver gave up: adds `FAILED`, so that the host can tell a driver that failed from
/// one that never came.
///
/// Not while a reset is under way, which it would disturb.
pub(crate) fn give_up<R>(transport: &mut impl Steps<R>) {
    let status = transport.read_status();
    if !status.is_all_ones() {
        transport.write_status(status | Status::FAILED);
    }
}

/// Whether the device holds the status just written. It may have added `DEVICE_NEEDS_RESET`, which
/// is noticed later, at the first poll.
fn expect_status<R>(transport: &impl Steps<R>, written: Status) -> Result<(), InitError> {
    let read = transport.read_status();
    if read.is_all_ones() {
        Err(InitError::Gone)
    } else if read.contains(written) {
        Ok(())
    } else {
        Err(InitError::StatusRejected { written, read })
    }
}
