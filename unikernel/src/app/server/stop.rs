//! How the program stops: nothing new begins, what is open goes on for a while, what is left is cut
//! off, and then the machine ends.
//!
//! ```text
//!  runs  -- asked -->  drains  -- nothing open, or the limit -->  cuts off  -- nothing left -->  ends
//!                              -- asked again, at once      -->
//! ```

use core::time::Duration;

use log::{info, warn};
use paravane_hal::Platform;
use paravane_hal::time::Instant;
use paravane_pci::ConfigAccess;
use serde::Serialize;

use super::{Host, Nic, Server};
use crate::app::status::Stopping;

/// How long what is open may go on, where nobody says otherwise.
pub const DRAIN: Duration = Duration::from_secs(30);
/// How long it may take to tell both ends of all that is left.
const CUT_OFF: Duration = Duration::from_secs(5);
/// How often the power button is looked at,
const LOOK: Duration = Duration::from_millis(100);
/// and, on the way to the end, whether it has come.
const LOOK_AT_STOP: Duration = Duration::from_millis(20);

/// How the machine ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// It is turned off.
    Off,
    /// It begins anew.
    Restart,
}

impl End {
    /// What `POST` to that target asks for.
    #[must_use]
    pub fn of(target: &str) -> Option<Self> {
        match target.split_once('?').map_or(target, |(path, _)| path) {
            "/stop" => Some(Self::Off),
            "/restart" => Some(Self::Restart),
            _ => None,
        }
    }

    /// For people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Off => "power off",
            Self::Restart => "restart",
        }
    }
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Nobody asked.
    Running,
    /// What is open goes on until then.
    Draining(End, Instant),
    /// Both ends of what is left are told, until then.
    CuttingOff(End, Instant),
}

/// What came of being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// It begins.
    Begun,
    /// It had begun: nothing is waited for any longer.
    Hurried,
    /// It is nearly over.
    Late,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    CutOff,
    End(End),
}

/// The way to the end.
#[derive(Debug)]
pub(super) struct Stop {
    drain: Duration,
    step: Step,
    /// When to look again.
    look_at: Instant,
}

impl Stop {
    pub(super) const fn new(drain: Duration, now: Instant) -> Self {
        Self { drain, step: Step::Running, look_at: now }
    }

    /// Who asks first says how it ends.
    fn ask(&mut self, end: End, now: Instant) -> Asked {
        match self.step {
            Step::Running => {
                self.step = Step::Draining(end, now.saturating_add(self.drain));
                Asked::Begun
            }
            Step::Draining(end, until) if until > now => {
                self.step = Step::Draining(end, now);
                Asked::Hurried
            }
            Step::Draining(..) | Step::CuttingOff(..) => Asked::Late,
        }
    }

    /// What is to be done next, where something `is_left` of what is waited for, or not.
    fn next(&mut self, is_left: bool, now: Instant) -> Option<Due> {
        match self.step {
            Step::Draining(end, until) if !is_left || now >= until => {
                self.step = Step::CuttingOff(end, now.saturating_add(CUT_OFF));
                Some(Due::CutOff)
            }
            Step::CuttingOff(end, until) if !is_left || now >= until => Some(Due::End(end)),
            _ => None,
        }
    }

    const fn is_running(&self) -> bool {
        matches!(self.step, Step::Running)
    }

    /// Whether it is time to look; if so, that is done.
    fn take_look(&mut self, now: Instant) -> bool {
        let is_due = now >= self.look_at;
        if is_due {
            self.look_at = now.saturating_add(if self.is_running() { LOOK } else { LOOK_AT_STOP });
        }
        is_due
    }

    /// How long nobody has to look, where there is a button or not.
    pub(super) fn idle_time(&self, has_button: bool, now: Instant) -> Option<Duration> {
        (has_button || !self.is_running()).then(|| self.look_at.since(now))
    }

    /// For people, with so many connections left.
    pub(super) fn report(&self, connections_left: u32, now: Instant) -> Option<Stopping> {
        let (end, until) = match self.step {
            Step::Running => return None,
            Step::Draining(end, until) => (end, until),
            Step::CuttingOff(end, _) => (end, now),
        };
        Some(Stopping { end, seconds_left: until.since(now).as_secs(), connections_left })
    }
}

impl<P: Platform, C: ConfigAccess + Send, H: Host> Server<P, C, H> {
    /// Looks at who asks for the end, and how far it has come. How the machine is to end, once all
    /// is done.
    pub(super) fn follow_stop(&mut self) -> Option<End> {
        let now = self.host.now();
        if let Some(end) = self.forwarding.take_end() {
            self.ask_to_stop(end, now);
        }
        if !self.stop.take_look(now) {
            return None;
        }
        if self.host.is_power_button_pressed() {
            info!("power: the button was pressed");
            self.ask_to_stop(End::Off, now);
        }
        let is_left = match self.stop.step {
            Step::Running => return None,
            Step::Draining(..) => self.is_anything_open(now),
            // Who asked for it on `admin` is to have the answer.
            Step::CuttingOff(..) => {
                !self.forwarding.is_over() || self.nics.iter().any(|nic| nic.is_sending() || nic.has_unsent())
            }
        };
        match self.stop.next(is_left, now)? {
            Due::CutOff => {
                match is_left {
                    true => warn!("stop: {} connections are cut off", self.connections_left(now)),
                    false => info!("stop: no connection is left"),
                }
                self.forwarding.cut_off();
                if self.serves_by_stacks() {
                    self.nics.iter_mut().for_each(Nic::cut_off);
                }
                None
            }
            Due::End(end) => Some(end),
        }
    }

    fn ask_to_stop(&mut self, end: End, now: Instant) {
        match self.stop.ask(end, now) {
            Asked::Begun => {
                self.forwarding.close(now);
                if self.serves_by_stacks() {
                    self.nics.iter_mut().for_each(Nic::close);
                }
                info!(
                    "stop: {} asked for: nothing new begins, {} open connections have {} s",
                    end.words(),
                    self.connections_left(now),
                    self.stop.drain.as_secs()
                );
            }
            Asked::Hurried => info!("stop: asked for again: connections are not waited for"),
            Asked::Late => {}
        }
        self.stop.look_at = now;
    }

    /// Whether connections to this machine are what it is there for.
    fn serves_by_stacks(&self) -> bool {
        !self.forwarding.is_there()
    }

    fn is_anything_open(&mut self, now: Instant) -> bool {
        self.forwarding.is_anything_open(now)
            || self.serves_by_stacks() && self.nics.iter().any(|nic| nic.connections() > 0)
    }

    /// How many connections are open that are waited for.
    pub(super) fn connections_left(&self, now: Instant) -> u32 {
        let of_stacks =
            if self.serves_by_stacks() { self.nics.iter().map(Nic::connections).sum() } else { 0 };
        self.forwarding.open_connections(now).saturating_add(of_stacks)
    }

    /// Ends the machine, with nothing left in memory that belongs on a disk.
    pub(super) fn end(mut self, end: End) -> ! {
        self.files.close_left();
        match self.files.flush() {
            Ok(()) => info!("stop: disks flushed; {}", end.words()),
            Err(refusal) => warn!("stop: disks not flushed: {}; {}", refusal.why, end.words()),
        }
        self.host.end(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    fn asked() -> Stop {
        let mut stop = Stop::new(DRAIN, at(0));
        assert_eq!((stop.next(false, at(5)), stop.ask(End::Off, at(10))), (None, Asked::Begun));
        stop
    }

    #[test]
    fn it_ends_when_nothing_is_open() {
        let mut stop = asked();
        assert_eq!(stop.next(true, at(11)), None);
        assert_eq!(stop.next(false, at(12)), Some(Due::CutOff));
        assert_eq!(stop.next(false, at(12)), Some(Due::End(End::Off)));
    }

    #[test]
    fn it_ends_at_its_limits_whatever_is_left() {
        let mut stop = asked();
        assert_eq!(stop.next(true, at(39)), None);
        assert_eq!(stop.next(true, at(40)), Some(Due::CutOff));
        assert_eq!(stop.next(true, at(44)), None, "both ends are told");
        assert_eq!(stop.next(true, at(45)), Some(Due::End(End::Off)));
    }

    #[test]
    fn who_asks_again_waits_for_nothing_and_changes_nothing_else() {
        let mut stop = asked();
        assert_eq!(stop.ask(End::Restart, at(11)), Asked::Hurried);
        assert_eq!(stop.ask(End::Restart, at(11)), Asked::Late);
        assert_eq!(stop.next(true, at(11)), Some(Due::CutOff));
        assert_eq!(stop.ask(End::Restart, at(12)), Asked::Late);
        assert_eq!(stop.next(false, at(12)), Some(Due::End(End::Off)));
    }

    #[test]
    fn people_are_told_how_long_it_may_last() {
        let mut stop = asked();
        let told = |stop: &Stop, second| stop.report(7, at(second)).map(|told| (told.seconds_left, told.end));
        assert_eq!(Stop::new(DRAIN, at(0)).report(7, at(1)), None);
        assert_eq!(told(&stop, 15), Some((25, End::Off)));
        assert_eq!(stop.next(false, at(15)), Some(Due::CutOff));
        assert_eq!(told(&stop, 15), Some((0, End::Off)));
    }

    #[test]
    fn looks_are_rare_while_it_runs() {
        let mut stop = Stop::new(DRAIN, at(1));
        assert!(stop.take_look(at(1)) && !stop.take_look(at(1)));
        assert_eq!((stop.idle_time(true, at(1)), stop.idle_time(false, at(1))), (Some(LOOK), None));
        stop.ask(End::Restart, at(2));
        assert!(stop.take_look(at(2)));
        assert_eq!(stop.idle_time(false, at(2)), Some(LOOK_AT_STOP));
    }
}
