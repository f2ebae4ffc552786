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
        self.recover_within(1, interrupts)
    }

    /// The same, tried up to `attempts` times, at least once: a device that is slow to let go, or
    /// refuses to start while its host is busy, may do it the next time. Nothing waits in between.
    ///
    /// # Errors
    ///
    /// As [`recover`](Self::recover), of the last attempt. One that came back as another is not
    /// tried again.
    pub fn recover_within(
        self,
        attempts: u8,
        interrupts: Interrupts<'_>,
    ) -> Result<Self, Failed<Unrecovered<D>, Remains<D>>> {
        let before = (self.control.info(), self.control.interrupts());
        let mut outcome = Remains::Running(self).start_again(interrupts);
        for _ in 1..attempts {
            let Err(failed) = outcome else { break };
            outcome = failed.into_parts().1.start_again(interrupts);
        }
        let running = outcome?;
        if (running.control.info(), running.control.interrupts()) != before {
            return Err(Failed::new(RecoverError::Changed, Remains::Running(running)));
        }
        Ok(running)
    }
}

impl<D: Recover> Remains<D> {
    /// Stops it, if it runs, and starts it as it was.
    fn start_again(
        self,
        interrupts: Interrupts<'_>,
    ) -> Result<Running<D>, Failed<Unrecovered<D>, Remains<D>>> {
        let (device, config, pool) = match self {
            Self::Stopped(device, config, pool) => (device, config, pool),
            Self::Running(running) => {
                let (config, pool) = D::terms(&running);
                match running.stop() {
                    Ok(device) => (device, config, pool),
                    Err(failed) => {
                        let (error, running) = failed.into_parts();
                        return Err(Failed::new(RecoverError::NotStopped(error), Self::Running(running)));
                    }
                }
            }
        };
        device.start(&config, pool.clone(), interrupts).map_err(|failed| {
            let (error, device) = failed.into_parts();
            Failed::new(RecoverError::NotStarted(error), Self::Stopped(device, config, pool))
        })
    }
}
