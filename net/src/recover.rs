//! The way back of a NIC that failed: stopped, and started again as it was.

use core::fmt;

use paravane_hal::Failed;
use paravane_hal::irq::Interrupts;
use paravane_hal::recover::RecoverError;

use crate::control::Control as _;
use crate::device::{Device, Running};
use crate::pool::FramePool;

/// A NIC whose driver knows how to start it as it was.
pub trait Recover: Device {
    /// How `running` was started, with what it was told since, and the features that were agreed
    /// then and no others; and where its frames come from.
    fn terms(running: &Running<Self>) -> (Self::Config, FramePool);
}

/// What is left of a NIC that did not come back.
pub enum Remains<D: Device> {
    /// It was not stopped, or is another than before.
    Running(Running<D>),
    /// It was not started again, as is said here.
    Stopped(D, D::Config, FramePool),
}

impl<D: Device> fmt::Debug for Remains<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running(running) => running.fmt(f),
            Self::Stopped(..) => f.write_str("Stopped"),
        }
    }
}

/// Why a NIC did not come back.
pub type Unrecovered<D> = RecoverError<<D as Device>::StopError, <D as Device>::StartError>;

impl<D: Recover> Running<D> {
    /// Brings it back after it asked for a reset, went silent, or broke a queue: resets it, which
    /// sends all of its frames home, and starts it with the features, settings and queues that it
    /// had, and with `interrupts`, the same as before. Of a change that was under way nothing is
    /// left. All is as after a start: disarmed, with counters at zero, and queues in one piece.
    ///
    /// # Errors
    ///
    /// [`RecoverError`], and what is left. Pairs of queues that were taken away have to be given
    /// back before.
    pub fn recover(self, interrupts: Interrupts<'_>) -> Result<Self, Failed<Unrecovered<D>, Remains<D>>> {
        let (config, pool) = D::terms(&self);
        let before = (self.control.info(), self.control.interrupts());
        let device = match self.stop() {
            Ok(device) => device,
            Err(failed) => {
                let (error, running) = failed.into_parts();
                return Err(Failed::new(RecoverError::NotStopped(error), Remains::Running(running)));
            }
        };
        let running = match device.start(&config, pool.clone(), interrupts) {
            Ok(running) => running,
            Err(failed) => {
                let (error, device) = failed.into_parts();
                let remains = Remains::Stopped(device, config, pool);
                return Err(Failed::new(RecoverError::NotStarted(error), remains));
            }
        };
        if (running.control.info(), running.control.interrupts()) != before {
            return Err(Failed::new(RecoverError::Changed, Remains::Running(running)));
        }
        Ok(running)
    }
}
