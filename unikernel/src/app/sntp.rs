//! The time of day, from a server: a client of SNTP, as a state machine that knows no socket.
//!
//! ```text
//!  due ---- ask: 48 bytes, with a number that nobody guesses ----> server
//!  answer: is it to that question, and good?  <------------------- server
//!     yes: so many microseconds have to be added to the uptime; asked again after 17 minutes
//!     no, or none: asked again after 16 s, 32 s … 17 minutes; or never, where the server says so
//! ```
//!
//! Spec: RFC 4330 "Simple Network Time Protocol (SNTP) Version 4"; RFC 5905, 7.3 "Packet Header
//! Variables" and 14 "Simple Network Time Protocol (SNTP)".

use core::fmt;
use core::time::Duration;

use paravane_hal::time::Instant;

mod packet;

pub use packet::{Answer, BYTES, Unusable};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(4);
/// The first and the longest pause after a question that went wrong. No client may ask more often
/// than each 15 seconds.
///
/// Spec: RFC 4330, 10 "Best Practices".
const PAUSES: (Duration, Duration) = (Duration::from_secs(16), Duration::from_secs(1024));

/// What is known of the time, and when to ask next.
#[derive(Debug)]
pub struct Client {
    /// When to ask; never again, where the server does not want to be asked.
    next: Option<Instant>,
    pause: Duration,
    asked: Option<Asked>,
    /// What has to be added to the uptime, in microseconds.
    offset_us: Option<u64>,
    /// How often a good answer came.
    good: u64,
    /// What was wrong with the last one.
    trouble: Option<Trouble>,
}

/// A question that nobody answered yet.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// What the answer has to repeat.
    number: u64,
    at: Instant,
}

/// Why the time is not known, or not asked for any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nobody answered.
    Silence,
    /// What came is no time.
    Unusable(Unusable),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silence => f.write_str("no answer"),
            Self::Unusable(unusable) => unusable.fmt(f),
        }
    }
}

impl Client {
    /// One that asks at once.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self { next: Some(now), pause: PAUSES.0, asked: None, offset_us: None, good: 0, trouble: None }
    }

    /// What has to be added to the uptime to have microseconds since 1970.
    #[must_use]
    pub const fn offset_us(&self) -> Option<u64> {
        self.offset_us
    }

    /// How often a good answer came.
    #[must_use]
    pub const fn good(&self) -> u64 {
        self.good
    }

    /// What was wrong with the last question, if anything was.
    #[must_use]
    pub const fn trouble(&self) -> Option<Trouble> {
        self.trouble
    }

    /// When something is to be done next.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.asked.map(|asked| asked.at.saturating_add(PATIENCE)).or(self.next)
    }

    /// A question, if it is time for one. `number` is one that nobody guesses, and not zero.
    pub fn ask(&mut self, now: Instant, number: u64) -> Option<[u8; BYTES]> {
        if self.asked.is_some_and(|asked| now.since(asked.at) >= PATIENCE) {
            self.fail(now, Trouble::Silence);
        }
        if self.asked.is_some() || self.next.is_none_or(|next| now < next) {
            return None;
        }
        self.asked = Some(Asked { number, at: now });
        Some(packet::question(number))
    }

    /// Takes what came from the server. Whether the time is known by it; what was nobody's answer
    /// changes nothing, for anybody may send it.
    pub fn receive(&mut self, bytes: &[u8], now: Instant) -> bool {
        let Some(asked) = self.asked else { return false };
        let answer = match Answer::read(bytes, asked.number) {
            Ok(answer) => answer,
            Err(Unusable::NotOurs) => return false,
            Err(unusable) => {
                self.refuse(now, unusable);
                return false;
            }
        };
        let travelled = u64::try_from(now.since(asked.at).as_micros()).unwrap_or(u64::MAX);
        let uptime_us = now.as_nanos() / 1000;
        let offset_us = answer.unix_us(travelled).and_then(|unix_us| unix_us.checked_sub(uptime_us));
        let Some(offset_us) = offset_us else {
            self.refuse(now, Unusable::Times);
            return false;
        };
        self.offset_us = Some(offset_us);
        self.good = self.good.saturating_add(1);
        (self.asked, self.trouble) = (None, None);
        (self.pause, self.next) = (PAUSES.0, Some(now.saturating_add(PAUSES.1)));
        true
    }

    /// The server answered, and not with the time.
    fn refuse(&mut self, now: Instant, unusable: Unusable) {
        if unusable == Unusable::Rate {
            // It said that this is too often: the next pause is the longest.
            self.pause = PAUSES.1;
        }
        self.fail(now, Trouble::Unusable(unusable));
        if unusable == Unusable::Denied {
            self.next = None;
        }
    }

    fn fail(&mut self, now: Instant, trouble: Trouble) {
        (self.asked, self.trouble) = (None, Some(trouble));
        self.next = Some(now.saturating_add(self.pause));
        self.pause = self.pause.saturating_mul(2).min(PAUSES.1);
    }
}

#[cfg(test)]
mod tests;
