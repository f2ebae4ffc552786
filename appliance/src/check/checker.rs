//! Up or down, by what was heard.

use core::time::Duration;

use paravane_hal::time::Instant;

use super::attempt::Failure;
use super::settings::{Passive, Settings};
use crate::pool::Health;

/// How a connection began, as the path sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// The server took it.
    Good,
    /// The server refused it, or did not answer.
    Failed,
}

/// What was heard last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Last {
    /// When.
    pub at: Instant,
    /// How long it took.
    pub took: Duration,
    /// What.
    pub result: Result<(), Failure>,
}

/// What is known of one server.
#[derive(Debug)]
pub(super) struct Checker {
    pub(super) health: Health,
    /// When it is to be asked, or is up by itself.
    pub(super) at: Instant,
    pub(super) last: Option<Last>,
    pub(super) failures: u64,
    /// So many results in a row speak against its health.
    against: u8,
    fall: u8,
    rise: u8,
    /// So many connections failed, and none was good since.
    failed: u32,
    /// When the first of them did.
    failed_from: Instant,
}

impl Checker {
    /// Of a server that is said to be so: the first answer decides.
    pub(super) const fn new(health: Health, settings: &Settings, at: Instant) -> Self {
        let (fall, rise) = (settings.fall, settings.rise);
        let of = match health {
            Health::Up => fall,
            Health::Down => rise,
        };
        Self {
            health,
            at,
            last: None,
            failures: 0,
            against: of.saturating_sub(1),
            fall,
            rise,
            failed: 0,
            failed_from: at,
        }
    }

    /// An attempt ended so. What the server is now, if it was not before.
    pub(super) fn heard(&mut self, last: Last) -> Option<Health> {
        self.last = Some(last);
        let (heard, needed) = match last.result {
            Ok(()) => (Health::Up, self.rise),
            Err(_) => (Health::Down, self.fall),
        };
        if last.result.is_err() {
            self.failures = self.failures.wrapping_add(1);
        }
        if heard == self.health {
            self.against = 0;
            return None;
        }
        self.against = self.against.saturating_add(1);
        if self.against < needed {
            return None;
        }
        Some(self.set(heard))
    }

    /// A connection began so.
    pub(super) fn saw(&mut self, report: Report, passive: Passive, now: Instant) -> Option<Health> {
        if report == Report::Good {
            self.failed = 0;
            return None;
        }
        if self.health == Health::Down {
            return None;
        }
        if self.failed == 0 || now.since(self.failed_from) > passive.window {
            self.failed = 0;
            self.failed_from = now;
        }
        self.failed = self.failed.saturating_add(1);
        if self.failed < passive.failures {
            return None;
        }
        Some(self.set(Health::Down))
    }

    /// It is up again because nobody says otherwise.
    pub(super) fn forgive(&mut self) -> Option<Health> {
        (self.health == Health::Down).then(|| self.set(Health::Up))
    }

    const fn set(&mut self, health: Health) -> Health {
        self.health = health;
        self.against = 0;
        self.failed = 0;
        health
    }
}
