//! One NIC over its whole life: running under a stack, being restarted, or out of order with the
//! reason.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use core::time::Duration;

use log::{error, info, warn};
use paravane_hal::Platform;
use paravane_hal::irq::{Armed, InterruptMode};
use paravane_hal::time::Instant;
use paravane_hal_x86_64::line::Trigger;
use paravane_net::{Control, FramePool, Link, NicInfo, RxCounters, TxCounters};
use paravane_nic::{self as nic, Config, InterruptPlan, NicError};
use paravane_pci::ConfigAccess;

use crate::app::http::{Files, Handle, Wanted};
use crate::app::server::carrier::{Carrier, Moved};
use crate::app::server::forwarding::{Answer, Forwarding, Piece};
use crate::app::server::sending::{Duty, Remedy, Sending};
use crate::app::stack::Stack;
use crate::app::status::{NicReport, RxReport, TxReport};

/// A NIC that broke is started again so many times without having received anything in between.
const RECOVERIES: u8 = 3;

/// One NIC.
pub struct Nic<P: Platform, C: ConfigAccess> {
    name: Cow<'static, str>,
    place: String,
    ids: String,
    trigger: Trigger,
    mode: InterruptMode,
    device: nic::Nic<P, C>,
    /// It has the queues of one that runs; none when it was not started again, for the reason in
    /// `fault`.
    carrier: Box<dyn Carrier<P>>,
    pool: FramePool,
    /// What it was when it was started first.
    info: NicInfo,
    agreed: String,
    link: Link,
    link_changes: u64,
    sending: Sending,
    /// Arming found an event.
    events_pending: bool,
    restarts: u64,
    recoveries: u8,
    woken: u64,
    fault: Option<String>,
    /// What the queues of earlier starts counted.
    before: (TxCounters, RxCounters),
}

/// What a NIC is known by.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Where it is.
    pub place: String,
    /// What it is.
    pub ids: String,
}

impl<P: Platform, C: ConfigAccess + Send> Nic<P, C> {
    /// Starts a NIC, whose line is `trigger`ed, and says so on the console. From then on `carrier`
    /// has its frames.
    ///
    /// # Errors
    ///
    /// Why not, in words.
    pub fn start(
        identity: Identity,
        mut device: nic::Nic<P, C>,
        config: Config,
        mut carrier: Box<dyn Carrier<P>>,
        (plan, trigger): (InterruptPlan, Trigger),
        pool: FramePool,
    ) -> Result<Self, NicError> {
        let queues = device.start(config, pool.clone(), plan)?;
        let (Some(info), Some(control)) = (device.info(), device.control()) else {
            return Err(NicError::NotRunning);
        };
        let (agreed, mode, link) = (control.agreed(), control.interrupts(), control.link());
        let Identity { name, place, ids } = identity;
        info!(
            "nic {name}: {} at {place} {ids} {agreed} mac {} interrupts {}",
            info.driver,
            info.mac,
            mode.name()
        );
        info!("nic {name}: link {link}");
        carrier.begin(&info, queues, &pool);
        carrier.link_changed(link.is_up());
        Ok(Self {
            name,
            place,
            ids,
            trigger,
            mode,
            device,
            carrier,
            pool,
            info,
            agreed,
            link,
            link_changes: 0,
            sending: Sending::default(),
            events_pending: false,
            restarts: 0,
            recoveries: 0,
            woken: 0,
            fault: None,
            before: Default::default(),
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where and what it is, for messages.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{} {}", self.place, self.ids)
    }

    /// Whether there is a carrier.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.link.is_up()
    }

    /// What it was when it was started first.
    #[must_use]
    pub fn info(&self) -> &NicInfo {
        &self.info
    }

    /// Whether its frames are for a stack of its own.
    #[must_use]
    pub fn wants_stack(&self) -> bool {
        self.carrier.wants_stack()
    }

    /// Puts a stack on top, if it wants one, for up to `connections` peers, whose ports,
    /// transaction ids and sequence numbers begin with `seed`.
    pub fn attach_stack(&mut self, seed: u64, connections: usize, now: Instant) {
        self.carrier.attach_stack(&self.name, self.info.mac.0, connections, seed, now);
    }

    /// If it interrupts by one of `lines`: asks it whether it did, which also lowers the line.
    /// Whether it did. Where it interrupts by `messages` and some came, they may be its own and
    /// masked by the driver.
    pub fn acknowledge(&mut self, lines: u64, messages: bool) -> bool {
        let is_asked = self.uses(lines) || (messages && self.mode.messages() > 0);
        match self.device.control() {
            Some(control) if is_asked => control.acknowledge(),
            _ => false,
        }
    }

    /// The line that it interrupts by, and how that rings. May be another after every restart.
    #[must_use]
    pub fn line(&self) -> Option<(u8, Trigger)> {
        let is_by_line = self.mode == InterruptMode::Line;
        is_by_line.then(|| Some((self.device.line()?, self.trigger))).flatten()
    }

    /// Whether it interrupts by one of `lines`.
    fn uses(&self, lines: u64) -> bool {
        let bit = |(line, _)| 1_u64.checked_shl(u32::from(line)).unwrap_or(0);
        self.line().is_some_and(|line| lines & bit(line) != 0)
    }

    /// If it interrupts by one of `lines`: from now on it is polled, for they stay masked.
    pub fn abandon_lines(&mut self, lines: u64) {
        if self.uses(lines) {
            self.mode = InterruptMode::Polling;
            warn!("nic {}: {}: polled from now on", self.name, self.place());
        }
    }

    /// The machine woke up; for counting.
    pub fn woke(&mut self) {
        self.woken = self.woken.saturating_add(1);
    }

    /// Moves frames and connections on, and looks for events and at what was sent if that is asked
    /// for.
    pub fn turn(&mut self, now: Instant, look_for_events: bool, forwarding: &mut dyn Forwarding) -> Moved {
        let is_due = look_for_events || self.sending.is_due(now);
        let look = core::mem::take(&mut self.events_pending) || is_due;
        let mut trouble = if look { self.look_for_events() } else { None };
        let moved = self.carrier.turn(now, forwarding);
        if moved.came {
            self.recoveries = 0;
        }
        if let (None, Some(fault)) = (&trouble, self.carrier.fault()) {
            trouble = self.device.control().map(|control| control.describe(fault));
        }
        if look {
            trouble = trouble.or(self.look_at_sending(now));
        }
        if let Some(trouble) = trouble {
            self.recover(&trouble);
        }
        moved
    }

    /// Has its carrier know of its link. What is wrong with it, in words.
    fn look_for_events(&mut self) -> Option<String> {
        let control = self.device.control()?;
        let fault = control.poll().err();
        let (link, trouble) = (control.link(), fault.map(|fault| control.describe(fault)));
        self.follow_link(link);
        trouble
    }

    /// Reminds it of what it has to send. What is wrong with it, in words.
    fn look_at_sending(&mut self, now: Instant) -> Option<String> {
        let (control, sent) = self.device.control().zip(self.carrier.sent())?;
        let duty = match (control.link().is_up(), control.sends_at_once()) {
            (false, _) => Duty::None,
            (true, false) => Duty::Sometime,
            (true, true) => Duty::AtOnce,
        };
        match self.sending.look(now, sent, duty)? {
            Remedy::Remind => {
                self.carrier.remind();
                None
            }
            Remedy::Restart => Some("no frame comes back as sent".into()),
        }
    }

    /// Sends what others had for it. Returns whether there was anything.
    pub fn send(&mut self, forwarding: &mut dyn Forwarding, now: Instant) -> bool {
        self.carrier.send(forwarding, now)
    }

    /// Asks for interrupts. Returns whether there is something to do at once.
    pub fn arm(&mut self) -> bool {
        if self.is_polled() {
            return false;
        }
        let Some(control) = self.device.control() else { return false };
        let armed = self.carrier.arm().and_then(|queues| Ok((queues, control.arm()?)));
        match armed {
            Ok((Armed::Idle, Armed::Idle)) => false,
            Ok((_, events)) => {
                self.events_pending = events == Armed::Pending;
                true
            }
            Err(fault) => {
                let trouble = control.describe(fault);
                self.recover(&trouble);
                true
            }
        }
    }

    /// Whether the device has frames that it did not send yet.
    #[must_use]
    pub fn is_sending(&self) -> bool {
        self.carrier.sent().is_some_and(|sent| sent.completed < sent.frames)
    }

    /// Whether nobody tells when frames come.
    #[must_use]
    pub fn is_polled(&self) -> bool {
        self.mode == InterruptMode::Polling
    }

    /// How long nothing has to be done if nothing comes.
    pub fn idle_time(&mut self, now: Instant) -> Option<Duration> {
        self.carrier.idle_time(now).into_iter().chain(self.sending.idle_time(now)).min()
    }

    /// What its connections want.
    pub fn wanted(&self) -> impl Iterator<Item = &Wanted> {
        self.carrier.stack().into_iter().flat_map(Stack::wanted)
    }

    /// Answers what its connections want.
    pub fn answer(&mut self, answer: impl FnMut(&Wanted) -> Answer) {
        if let Some(stack) = self.carrier.stack_mut() {
            stack.answer(answer);
            self.carrier.stir();
        }
    }

    /// Moves its connections' files on. Returns whether anything moved.
    pub fn move_files(&mut self, files: &mut dyn Files) -> bool {
        let moved = self.carrier.stack_mut().is_some_and(|stack| stack.move_files(files));
        if moved {
            self.carrier.stir();
        }
        moved
    }

    /// Gives its connections the next pieces of what they send. Whether any send more of them, and
    /// whether there was any.
    pub fn move_pieces(&mut self, piece: &mut dyn FnMut(&Handle) -> Piece) -> (bool, bool) {
        let Some(stack) = self.carrier.stack_mut() else { return (false, false) };
        let moved = stack.move_pieces(piece);
        let has_more = stack.has_pieces();
        if moved {
            self.carrier.stir();
        }
        (has_more, moved)
    }

    /// Has `forwarding` speak by its stack, if it has one.
    pub fn speak(&mut self, forwarding: &mut dyn Forwarding, now: Instant) {
        if self.carrier.stack_mut().and_then(Stack::datagrams).is_some_and(|line| forwarding.speak(line, now))
        {
            self.carrier.stir();
        }
    }

    /// Lets no connection begin on its stack from now on.
    pub fn close(&mut self) {
        self.carrier.stack_mut().into_iter().for_each(Stack::close);
        self.carrier.stir();
    }

    /// How many connections its stack has.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.carrier.stack().map_or(0, Stack::connections)
    }

    /// Whether a peer of its stack has not yet all that was said to it.
    #[must_use]
    pub fn has_unsent(&self) -> bool {
        self.carrier.stack().is_some_and(Stack::has_unsent)
    }

    /// Cuts off what connections its stack has.
    pub fn cut_off(&mut self) {
        self.carrier.stack_mut().into_iter().for_each(Stack::cut_off);
        self.carrier.stir();
    }

    /// Stops the driver, which gives all its memory back, and starts it again. Connections live on.
    ///
    /// # Errors
    ///
    /// Why not, in words; the NIC is then out of order.
    pub fn restart(&mut self) -> Result<(), NicError> {
        let before = self.counted();
        let Some(queues) = self.carrier.end() else { return Err(NicError::NotRunning) };
        self.before = before;
        self.sending = Sending::default();
        match self.device.restart(queues) {
            Ok(queues) => {
                let info = self.device.info().unwrap_or(self.info);
                self.carrier.begin(&info, queues, &self.pool);
                self.restarts = self.restarts.saturating_add(1);
                let running = self.device.control().map(|control| (control.link(), control.interrupts()));
                let (link, mode) = running.unwrap_or((Link::Down, self.mode));
                // A line that was given up stays masked.
                if !(self.is_polled() && mode == InterruptMode::Line) {
                    self.mode = mode;
                }
                self.follow_link(link);
                Ok(())
            }
            Err(failed) => {
                // One that was not stopped keeps what it has: the queues are leaked.
                let error = failed.into_error();
                self.fault = Some(error.to_string());
                self.follow_link(Link::Down);
                Err(error)
            }
        }
    }

    /// A queue broke, or the device asks for a reset: start again, a bounded number of times.
    fn recover(&mut self, trouble: &str) {
        warn!("nic {}: {}: {trouble}", self.name, self.place());
        if self.recoveries >= RECOVERIES {
            error!("nic {}: {}: given up after {RECOVERIES} restarts", self.name, self.place());
            self.fault = Some(trouble.into());
            // Stopped for good: the parts are taken apart so that no frame is left with the device.
            self.before = self.counted();
            if let Some(queues) = self.carrier.end()
                && let Err(error) = self.device.stop(queues)
            {
                error!("nic {}: {}: {error}", self.name, self.place());
            }
            self.follow_link(Link::Down);
            return;
        }
        self.recoveries = self.recoveries.saturating_add(1);
        if let Err(error) = self.restart() {
            error!("nic {}: {}: not restarted: {error}", self.name, self.place());
        }
    }

    fn follow_link(&mut self, link: Link) {
        if link == self.link {
            return;
        }
        if link.is_up() != self.link.is_up() {
            self.link_changes = self.link_changes.saturating_add(1);
            self.carrier.link_changed(link.is_up());
        }
        self.link = link;
        info!("nic {}: link {link}", self.name);
    }

    /// What this and earlier starts counted.
    #[must_use]
    pub fn counted(&self) -> (TxCounters, RxCounters) {
        let (tx, rx) = self.carrier.counters().unwrap_or_default();
        (self.before.0 + tx, self.before.1 + rx)
    }

    /// What is so at the moment. The device is asked for its own.
    #[must_use]
    pub fn report(&mut self) -> NicReport {
        // A fault is looked for in the next turn.
        let device = self.device.control().and_then(|control| control.read_device_stats().ok().flatten());
        let (tx, rx) = self.counted();
        let stack = self.carrier.stack();
        NicReport {
            name: self.name.to_string(),
            driver: self.info.driver,
            place: self.place.clone(),
            ids: self.ids.clone(),
            revision_or_features: self.agreed.clone(),
            interrupts: self.mode.name(),
            mac: self.info.mac.to_string(),
            link: if self.link.is_up() { "up" } else { "down" },
            link_changes: self.link_changes,
            mbps: match self.link {
                Link::Up { mbps, .. } => mbps,
                Link::Down => None,
            },
            address: stack.and_then(Stack::address).map(|address| address.to_string()),
            restarts: self.restarts,
            fault: self.fault.clone(),
            wakeups: self.woken,
            requests: stack.map_or(0, Stack::requests),
            tx: TxReport {
                frames: tx.frames,
                bytes: tx.bytes,
                doorbells: tx.doorbells,
                dropped: tx.refused,
                ring_full: tx.ring_full,
            },
            rx: RxReport {
                frames: rx.frames,
                bytes: rx.bytes,
                dropped: rx.dropped(),
                no_buffer: rx.no_buffer,
                out_of_buffers: device.map(|device| device.rx_out_of_buffers),
            },
        }
    }
}
