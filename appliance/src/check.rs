//! Whether servers answer: when to ask, what an answer says, and when that makes one up or down.
//!
//! Nothing here knows a socket. Whoever has some asks what is [due](Checks::due), carries each
//! [`Attempt`] out, and says how it [ended](Checks::end):
//!
//! ```
//! use paravane_appliance::check::{Attempt, Checks, Due};
//! use paravane_appliance::pool::Pool;
//! use paravane_hal::time::Instant;
//! # use core::net::SocketAddr;
//! # trait Stack {
//! #     fn connect(&mut self, to: SocketAddr) -> Option<Self::Socket>;
//! #     type Socket: Socket;
//! # }
//! # trait Socket {
//! #     fn is_connected(&self) -> bool;
//! #     fn is_closed(&self) -> bool;
//! #     fn send(&mut self, bytes: &[u8]) -> usize;
//! #     fn receive(&mut self, take: impl FnMut(&[u8]));
//! # }
//!
//! /// Once around.
//! fn turn<S: Stack>(
//!     checks: &mut Checks,
//!     running: &mut Vec<(S::Socket, Attempt)>,
//!     stack: &mut S,
//!     pool: &mut Pool,
//!     now: Instant,
//! ) {
//!     while let Some(due) = checks.due(now) {
//!         match due {
//!             Due::Probe(attempt) => {
//!                 let view = pool.server(attempt.server(), now);
//!                 let to = view.map(|view| checks.settings().address_of(view.server));
//!                 match to.and_then(|to| stack.connect(to)) {
//!                     Some(socket) => running.push((socket, attempt)),
//!                     None => checks.put_off(attempt, now),
//!                 }
//!             }
//!             Due::Marked(server, health) => {
//!                 let _ = pool.mark(server, health, now);
//!             }
//!         }
//!     }
//!     for (mut socket, mut attempt) in running.drain(..).collect::<Vec<_>>() {
//!         if socket.is_connected() {
//!             attempt.connected();
//!             let sent = socket.send(attempt.unsent(checks.settings()));
//!             attempt.sent(sent);
//!             socket.receive(|bytes| attempt.received(bytes));
//!         }
//!         if socket.is_closed() {
//!             attempt.closed();
//!         }
//!         if !attempt.is_over(now) {
//!             running.push((socket, attempt));
//!         } else if let Some((server, health)) = checks.end(attempt, now) {
//!             let _ = pool.mark(server, health, now);
//!         }
//!     }
//! }
//! ```
//!
//! Beside that the path [reports](Checks::report) what it sees of connections. All is allocated
//! when [`Checks`] are made.
//!
//! | Part | Holds |
//! |---|---|
//! | this file | [`Checks`]: those of a service, and which is due |
//! | `settings` | [`Settings`] |
//! | `checker` | up or down, by what was heard |
//! | `attempt` | [`Attempt`]: one question, and its answer |
//! | `http` | the request, and what is read of an answer |

mod attempt;
mod checker;
mod http;
mod settings;

use alloc::vec::Vec;
use core::num::NonZeroU32;
use core::time::Duration;

use paravane_hal::time::Instant;

use crate::pool::{Health, ServerId};
use crate::random::Random;
pub use attempt::{Attempt, Failure};
use checker::Checker;
pub use checker::{Last, Report};
pub use http::{Http, MAX_ANSWER_BYTES};
pub use settings::{CheckError, Passive, Probe, Settings};

/// The end of time.
const NEVER: Instant = Instant::from_nanos(u64::MAX);

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Due {
    /// A server is to be asked.
    Probe(Attempt),
    /// A server is up again: that it failed is long ago, and nobody asks it.
    Marked(ServerId, Health),
}

/// The servers of a service, and how each is.
#[derive(Debug)]
pub struct Checks {
    settings: Settings,
    /// By place.
    checkers: Vec<Option<(ServerId, Checker)>>,
    random: Random,
    max_running: u16,
    running: u16,
    /// Nothing is due before.
    next: Instant,
}

impl Checks {
    /// Of nobody yet. `max_servers` is that of the pool; so many attempts are made at a time as
    /// there are sockets for them.
    ///
    /// # Errors
    ///
    /// [`CheckError`]: with such settings no server would be found up, or down.
    pub fn new(
        settings: Settings,
        max_servers: u16,
        max_running: u16,
        random: &mut Random,
    ) -> Result<Self, CheckError> {
        settings.check()?;
        if max_running == 0 {
            return Err(CheckError::Zero { setting: "max_running" });
        }
        Ok(Self {
            settings,
            checkers: core::iter::repeat_with(|| None).take(max_servers.into()).collect(),
            random: random.fork(),
            max_running,
            running: 0,
            next: NEVER,
        })
    }

    /// As they were made.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Begins with a server, which the pool has as `health`. That is a guess: the first answer
    /// decides. It is asked some time within the first interval, so that not all are at once.
    pub fn add(&mut self, server: ServerId, health: Health, now: Instant) {
        let first = now.saturating_add(self.part(self.settings.interval));
        let at = if self.settings.probe.is_some() { first } else { NEVER };
        let checker = Checker::new(health, &self.settings, at);
        if let Some(place) = self.checkers.get_mut(usize::from(server.place())) {
            self.next = self.next.min(checker.at);
            *place = Some((server, checker));
        }
    }

    /// Ends with a server: it is out of the pool, or maintained. An attempt that is under way goes
    /// on, and says nothing.
    pub fn remove(&mut self, server: ServerId) {
        let place = self.checkers.get_mut(usize::from(server.place()));
        if let Some(place) = place.filter(|place| place.as_ref().is_some_and(|(own, _)| *own == server)) {
            *place = None;
        }
    }

    /// What is to be done by now, if anything: to be asked until there is nothing.
    pub fn due(&mut self, now: Instant) -> Option<Due> {
        if now < self.next || self.running >= self.max_running {
            return None;
        }
        self.find_due(now)
    }

    /// When something may be due again; `None` when not before an attempt ends.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        (self.next < NEVER && self.running < self.max_running).then_some(self.next)
    }

    #[cold]
    fn find_due(&mut self, now: Instant) -> Option<Due> {
        let mut earliest: Option<&mut (ServerId, Checker)> = None;
        let mut then = NEVER;
        for entry in self.checkers.iter_mut().flatten() {
            let at = entry.1.at;
            if earliest.as_ref().is_some_and(|(_, checker)| checker.at <= at) {
                then = then.min(at);
            } else if let Some((_, later)) = earliest.replace(entry) {
                then = then.min(later.at);
            }
        }
        self.next = then;
        let (server, checker) = earliest?;
        if checker.at > now {
            self.next = checker.at;
            return None;
        }
        checker.at = NEVER;
        let server = *server;
        if self.settings.probe.is_none() {
            return checker.forgive().map(|health| Due::Marked(server, health));
        }
        self.running = self.running.saturating_add(1);
        Some(Due::Probe(Attempt::new(server, &self.settings, now)))
    }

    /// An attempt has [ended](Attempt::is_over): the server that is another by that, and how it is.
    pub fn end(&mut self, attempt: Attempt, now: Instant) -> Option<(ServerId, Health)> {
        self.running = self.running.saturating_sub(1);
        let server = attempt.server();
        let at = self.after_interval(attempt.began_at(), now);
        let checker = self.checker_mut(server)?;
        checker.at = at;
        let last = Last { at: now, took: now.since(attempt.began_at()), result: attempt.result() };
        let change = checker.heard(last);
        self.next = self.next.min(at);
        change.map(|health| (server, health))
    }

    /// An attempt cannot be made now: there is no socket, say. The server is asked an interval
    /// later, and nothing is said of it.
    pub fn put_off(&mut self, attempt: Attempt, now: Instant) {
        self.running = self.running.saturating_sub(1);
        let at = self.after_interval(now, now);
        if let Some(checker) = self.checker_mut(attempt.server()) {
            checker.at = at;
            self.next = self.next.min(at);
        }
    }

    /// The path saw how a connection began at a server. Where [`Passive`] says so, the server may
    /// be down by that.
    ///
    /// What clients can bring about is not to be reported, or they shut servers down: that a server
    /// refused a SYN, or did not answer one, is; that a connection was reset later is not.
    pub fn report(&mut self, server: ServerId, report: Report, now: Instant) -> Option<Health> {
        let (passive, asks) = (self.settings.passive?, self.settings.probe.is_some());
        let checker = self.checker_mut(server)?;
        let change = checker.saw(report, passive, now)?;
        if !asks {
            let at = now.saturating_add(passive.hold);
            checker.at = at;
            self.next = self.next.min(at);
        }
        Some(change)
    }

    /// What was heard of a server last, when it was asked.
    #[must_use]
    pub fn last(&self, server: ServerId) -> Option<Last> {
        self.checker(server)?.last
    }

    /// How often a server did not answer as it should; or not at all.
    #[must_use]
    pub fn failures(&self, server: ServerId) -> u64 {
        self.checker(server).map_or(0, |checker| checker.failures)
    }

    /// How a server is.
    #[must_use]
    pub fn health(&self, server: ServerId) -> Option<Health> {
        self.checker(server).map(|checker| checker.health)
    }

    /// When a server is asked next that was asked at `then`: an interval later, more or less, and
    /// not before `now`.
    fn after_interval(&mut self, then: Instant, now: Instant) -> Instant {
        let interval = self.settings.interval;
        let jitter = interval.saturating_mul(self.settings.jitter_percent.into()) / 100;
        let more = self.part(jitter.saturating_mul(2));
        then.saturating_add(interval.saturating_sub(jitter)).saturating_add(more).max(now)
    }

    /// Some part of a time, each as likely as another.
    fn part(&mut self, of: Duration) -> Duration {
        const PARTS: NonZeroU32 = NonZeroU32::new(1 << 16).unwrap();
        of.saturating_mul(self.random.below(PARTS)) / PARTS.get()
    }

    fn checker(&self, server: ServerId) -> Option<&Checker> {
        let (own, checker) = self.checkers.get(usize::from(server.place()))?.as_ref()?;
        (*own == server).then_some(checker)
    }

    fn checker_mut(&mut self, server: ServerId) -> Option<&mut Checker> {
        let (own, checker) = self.checkers.get_mut(usize::from(server.place()))?.as_mut()?;
        (*own == server).then_some(checker)
    }
}

#[cfg(test)]
mod tests;
