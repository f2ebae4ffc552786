//! What is said of the machine's end.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use super::read::{HERE, Refused, kind_of, parse, put, unknown};
use super::{Config, Origin, Setting, Source};
use crate::app::config::file::{Entry, Value};
use crate::app::server::DRAIN;

/// What there is in its table.
const KEYS: &str = "drain-seconds, panic";

/// The longest time that connections may have: an hour. Who presses the button again waits for
/// none of it.
const MOST_SECONDS: u64 = 3600;

/// What follows a panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnPanic {
    /// The machine begins anew, some times in a row.
    Reset,
    /// It stands still.
    Halt,
}

impl OnPanic {
    /// The one that is called so.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        match text {
            "reset" => Some(Self::Reset),
            "halt" => Some(Self::Halt),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Halt => "halt",
        }
    }
}

/// How the machine ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// How long connections that are open may go on.
    pub drain: Setting<Duration>,
    /// What follows a panic.
    pub panic: Setting<OnPanic>,
}

impl Default for Stop {
    fn default() -> Self {
        Self { drain: Setting::default_of(DRAIN), panic: Setting::default_of(OnPanic::Reset) }
    }
}

impl Stop {
    pub(super) fn effective(&self, all: &mut Vec<(String, String, Origin)>) {
        let drain = self.drain.value.as_secs().to_string();
        all.push(("stop.drain-seconds".into(), drain, self.drain.origin));
        all.push(("stop.panic".into(), self.panic.value.name().into(), self.panic.origin));
    }
}

impl Config {
    pub(super) fn take_stop(&mut self, source: Source, entry: &Entry, key: &str) -> Result<(), Refused> {
        let origin = Origin::Said(source, entry.at);
        match key {
            "drain-seconds" => put(&mut self.stop.drain, seconds(&entry.value), origin, entry),
            "panic" => put(&mut self.stop.panic, parse(&entry.value, on_panic), origin, entry),
            key => unknown(entry, key, " in [stop]", KEYS),
        }
    }
}

fn on_panic(text: &str) -> Result<OnPanic, String> {
    OnPanic::of(text)
        .ok_or_else(|| format!("'{text}' is nothing that follows a panic; there are reset, halt"))
}

fn seconds(value: &Value) -> Result<Duration, Refused> {
    let wanted = format!("a number of seconds from 0 to {MOST_SECONDS} is wanted");
    let Value::Integer(text) = value else { return Err((HERE, format!("{}; {wanted}", kind_of(value)))) };
    let seconds = text.parse().ok().filter(|seconds| *seconds <= MOST_SECONDS);
    seconds.map(Duration::from_secs).ok_or_else(|| (HERE, format!("'{text}'; {wanted}")))
}
