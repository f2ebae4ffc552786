//! A NIC for as long as its owner wants it: open, started, restarted.

use core::fmt;

use paravane_hal::irq::InterruptMode;
use paravane_hal::mmio::MmioDevice;
use paravane_hal::{Failed, Platform};
use paravane_net::{Config, Control, Device as _, FramePool, NicInfo, Running};
use paravane_pci::{ConfigAccess, Function};
use paravane_virtio::transport::any::Place;

use crate::device::Device;
use crate::error::NicError;
use crate::interrupts::{InterruptPlan, Vectors};
use crate::kind::Kind;
use crate::queues::{NicControl, Queues};

/// A NIC of either kind, in all its states; the queues of one that runs are their owner's.
///
/// It stays in its place: starting and stopping borrow it, and whatever fails, nothing is lost.
/// Dropped while it runs, its device keeps the memory that it has, which is leaked; stop it first.
pub struct Nic<P: Platform, C: ConfigAccess> {
    kind: Kind,
    vectors: Vectors,
    state: State<P, C>,
    /// What it was started with; a restart asks for the same.
    start: Option<Start>,
}

struct Start {
    config: Config,
    pool: FramePool,
    plan: InterruptPlan,
}

/// How often a restart tries what fails. Not by the drivers' own `recover_within`, which would have
/// each driver's start in an image a second time: 100 KiB for both.
const ATTEMPTS: u8 = 3;

enum State<P: Platform, C: ConfigAccess> {
    Stopped(Device<P, C>),
    Running(NicControl<P, C>),
    /// Between two of them, and never seen: nothing that is called there returns early.
    Changing,
}

impl<P: Platform, C: ConfigAccess + Send> Nic<P, C> {
    /// Takes over the device behind `function`, which ids say the driver of, and stops what its
    /// last owner left running.
    ///
    /// # Errors
    ///
    /// [`NicError`], and the function back.
    pub fn open(function: Function<C>, platform: P) -> Result<Self, Failed<NicError, Function<C>>> {
        let mut vectors = Vectors::of(&function);
        let device = Device::open(function, platform)?;
        vectors.wanted = device.wanted_interrupts();
        Ok(Self { kind: device.kind(), vectors, state: State::Stopped(device), start: None })
    }

    /// Takes over the virtio network device behind `device`'s registers, which interrupts by `line`
    /// if the platform has that, and stops what its last owner left running.
    ///
    /// # Errors
    ///
    /// [`NicError`], and `device` back.
    pub fn open_mmio(
        device: MmioDevice<P::Region>,
        line: Option<u8>,
        platform: P,
    ) -> Result<Self, Failed<NicError, MmioDevice<P::Region>>> {
        let device = Device::open_mmio(device, platform)?;
        Ok(Self {
            kind: device.kind(),
            vectors: Vectors::line(line),
            state: State::Stopped(device),
            start: None,
        })
    }

    /// Which driver it has.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What it can interrupt by, and what its host wants.
    #[must_use]
    pub fn vectors(&self) -> Vectors {
        self.vectors
    }

    /// Starts it. Received frames come from `pool`; [`Config::frames`] says how many that should
    /// have.
    ///
    /// Queues and control start disarmed: nothing interrupts before they are armed.
    ///
    /// # Errors
    ///
    /// [`NicError`]. It is stopped then, and may be started in another way.
    pub fn start(
        &mut self,
        config: Config,
        pool: FramePool,
        plan: InterruptPlan,
    ) -> Result<Queues<P>, NicError> {
        if self.is_running() {
            return Err(NicError::Running);
        }
        self.start = Some(Start { config, pool, plan });
        self.start_again()
    }

    /// Starts it as it was started last.
    ///
    /// # Errors
    ///
    /// [`NicError`]. It is stopped then.
    fn start_again(&mut self) -> Result<Queues<P>, NicError> {
        let Some(Start { config, pool, plan }) = &self.start else { return Err(NicError::NotRunning) };
        match core::mem::replace(&mut self.state, State::Changing) {
            State::Stopped(device) => match device.start(config, pool.clone(), plan.interrupts()) {
                Ok(Running { control, rx, tx }) => {
                    self.state = State::Running(control);
                    Ok(Queues { rx, tx })
                }
                Err(failed) => {
                    let (error, device) = failed.into_parts();
                    self.state = State::Stopped(device);
                    Err(error)
                }
            },
            other => {
                self.state = other;
                Err(NicError::Running)
            }
        }
    }

    /// Stops it and takes its queues back. Its memory is free again, and frames that its device had
    /// are in their pools.
    ///
    /// # Errors
    ///
    /// [`NicError`], and the queues back. They are broken if the device was told to stop and may
    /// still reach memory; to stop it may be tried again.
    pub fn stop(&mut self, queues: Queues<P>) -> Result<(), Failed<NicError, Queues<P>>> {
        match core::mem::replace(&mut self.state, State::Changing) {
            State::Running(control) => {
                // A restart brings back what was changed since the start.
                let settings = control.settings();
                match (Running { control, rx: queues.rx, tx: queues.tx }).stop() {
                    Ok(device) => {
                        self.state = State::Stopped(device);
                        self.start.iter_mut().for_each(|start| start.config.settings = settings);
                        Ok(())
                    }
                    Err(failed) => {
                        Err(failed.map_parts(|Running { control, rx, tx }: Running<Device<P, C>>| {
                            self.state = State::Running(control);
                            Queues { rx, tx }
                        }))
                    }
                }
            }
            other => {
                self.state = other;
                Err(Failed::new(NicError::NotRunning, queues))
            }
        }
    }

    /// Stops it, and starts it as it was started, with the [settings](Control::settings) as they
    /// have become: what heals a NIC that broke. Either is tried a few times.
    ///
    /// A device that has become another meanwhile, as after a move to another host, runs:
    /// [`info`](Self::info) tells what it is now.
    ///
    /// # Errors
    ///
    /// [`NicError`]. With the queues, it was not [stopped](Self::stop), and that may be tried
    /// again. Without, it was not started again and is stopped; another [`start`](Self::start) may
    /// work.
    pub fn restart(&mut self, queues: Queues<P>) -> Result<Queues<P>, Failed<NicError, Option<Queues<P>>>> {
        let mut queues = Some(queues);
        for _ in 1..ATTEMPTS {
            match self.restart_once(queues) {
                Ok(queues) => return Ok(queues),
                Err(failed) => queues = failed.into_parts().1,
            }
        }
        self.restart_once(queues)
    }

    /// The same, tried once. One without queues is stopped already.
    #[inline(never)]
    fn restart_once(
        &mut self,
        queues: Option<Queues<P>>,
    ) -> Result<Queues<P>, Failed<NicError, Option<Queues<P>>>> {
        if let Some(queues) = queues {
            self.stop(queues).map_err(|failed| failed.map_parts(Some))?;
        }
        self.start_again().map_err(|error| Failed::new(error, None))
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running(_))
    }

    /// The control half of one that runs: link, events, filter, counters.
    pub fn control(&mut self) -> Option<&mut NicControl<P, C>> {
        match &mut self.state {
            State::Running(control) => Some(control),
            _ => None,
        }
    }

    /// The line that it interrupts by, if it does; to be opened after every start.
    #[must_use]
    pub fn line(&self) -> Option<u8> {
        let State::Running(control) = &self.state else { return None };
        let plan = &self.start.as_ref()?.plan;
        plan.line.filter(|_| control.interrupts() == InterruptMode::Line)
    }

    /// What does not change while it runs.
    #[must_use]
    pub fn info(&self) -> Option<NicInfo> {
        let State::Running(control) = &self.state else { return None };
        Some(control.info())
    }

    /// Gives up what a stopped one is on.
    ///
    /// # Errors
    ///
    /// It runs; it comes back.
    pub fn into_place(mut self) -> Result<Place<P::Region, C>, Failed<NicError, Self>> {
        match core::mem::replace(&mut self.state, State::Changing) {
            State::Stopped(device) => Ok(device.into_place()),
            other => {
                self.state = other;
                Err(Failed::new(NicError::Running, self))
            }
        }
    }
}

impl<P: Platform, C: ConfigAccess> fmt::Debug for Nic<P, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_running = matches!(self.state, State::Running(_));
        let state = if is_running { "running" } else { "stopped" };
        write!(f, "Nic({}, {state})", self.kind.name())
    }
}
