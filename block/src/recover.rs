//! The way back of a disk that failed: stopped, and started again as it was.

use core::fmt;

use paravane_hal::Failed;
use paravane_hal::dma::Quiet;
use paravane_hal::irq::Interrupts;
use paravane_hal::recover::RecoverError;

use crate::control::Control as _;
use crate::data::Data;
use crate::device::{Device, Running};
use crate::request::Request;

/// A disk whose driver knows how to start it as it was.
pub trait Recover: Device {
    /// How the disk behind `control` was started, and the features that were agreed then and no
    /// others.
    fn terms(control: &Self::Control) -> Self::Config;
}

/// What is left of a disk that did not come back.
pub enum Remains<D: Device, B: Data> {
    /// It was not stopped, or is another than before.
    Running(Running<D, B>),
    /// It was not started again, as is said here.
    Stopped(D, D::Config),
}

impl<D: Device, B: Data> fmt::Debug for Remains<D, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running(running) => running.fmt(f),
            Self::Stopped(..) => f.write_str("Stopped"),
        }
    }
}

/// Why a disk did not come back.
pub type Unrecovered<D> = RecoverError<<D as Device>::StopError, <D as Device>::StartError>;

impl<D: Recover, B: Data> Running<D, B> {
    /// Brings it back after it asked for a reset, went silent, or broke a queue: resets it, gives
    /// the requests that it had not done, and may have done half, to `unfinished`, and starts it
    /// with the features and queues that it had, the cache as it was, and `interrupts`, the same as
    /// before. All is as after a start: disarmed, with counters at zero.
    ///
    /// # Errors
    ///
    /// [`RecoverError`], and what is left.
    pub fn recover(
        self,
        interrupts: Interrupts<'_>,
        unfinished: &mut dyn FnMut(Request<B>, &Quiet<'_>),
    ) -> Result<Self, Failed<Unrecovered<D>, Remains<D, B>>> {
        let (config, write_cache) = (D::terms(&self.control), self.control.write_cache());
        let before = (self.control.info(), self.control.interrupts(), self.more_queues.len());
        let device = match self.stop(unfinished) {
            Ok(device) => device,
            Err(failed) => {
                let (error, running) = failed.into_parts();
                return Err(Failed::new(RecoverError::NotStopped(error), Remains::Running(running)));
            }
        };
        let mut running = match device.start(&config, interrupts) {
            Ok(running) => running,
            Err(failed) => {
                let (error, device) = failed.into_parts();
                return Err(Failed::new(RecoverError::NotStarted(error), Remains::Stopped(device, config)));
            }
        };
        let after = (running.control.info(), running.control.interrupts(), running.more_queues.len());
        let has_cache =
            running.control.write_cache() == write_cache || running.control.set_write_cache(write_cache);
        if after != before || !has_cache {
            return Err(Failed::new(RecoverError::Changed, Remains::Running(running)));
        }
        Ok(running)
    }
}
