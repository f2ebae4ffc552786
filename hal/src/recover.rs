//! Words for the way back of a device that failed, and how it is noticed that one hangs.

use core::error::Error;
use core::fmt;
use core::ops::Add;
use core::time::Duration;

use crate::time::{Clock, Instant};

/// A device that failed did not come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoverError<Stop, Start> {
    /// It was not stopped, and may still reach memory.
    NotStopped(Stop),
    /// It was stopped, and not started again.
    NotStarted(Start),
    /// It runs, and is another than before: what it says of itself, or how it interrupts.
    Changed,
}

impl<Stop: fmt::Display, Start: fmt::Display> fmt::Display for RecoverError<Stop, Start> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStopped(error) => write!(f, "not recovered: {error}"),
            Self::NotStarted(error) => write!(f, "not recovered: stopped, and not started again: {error}"),
            Self::Changed => f.write_str(
                "not recovered: the device came back with other properties or interrupts; ask it again, or stop it",
            ),
        }
    }
}

impl<Stop: Error + 'static, Start: Error + 'static> Error for RecoverError<Stop, Start> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NotStopped(error) => Some(error),
            Self::NotStarted(error) => Some(error),
            Self::Changed => None,
        }
    }
}

/// How far a device is with what it was given. The sum of several queues is that of their device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// What it has, and is not done with.
    pub outstanding: usize,
    /// What it was done with, ever.
    pub completed: u64,
}

impl Add for Progress {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            outstanding: self.outstanding.saturating_add(other.outstanding),
            completed: self.completed.wrapping_add(other.completed),
        }
    }
}

/// Notices a device that has something to do and gets nothing done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience {
    /// How far it was, and since when.
    seen: Option<(Progress, Instant)>,
}

impl Patience {
    /// Whether a device that is as far as `progress` says has had something to do and got nothing
    /// done for `limit`, as far as was looked: each look that finds it idle, or further than the
    /// one before, begins anew.
    pub fn is_over(&mut self, clock: &impl Clock, progress: Progress, limit: Duration) -> bool {
        let now = clock.now();
        match self.seen {
            Some((before, since)) if before.completed == progress.completed && progress.outstanding > 0 => {
                now.since(since) >= limit
            }
            _ => {
                self.seen = (progress.outstanding > 0).then_some((progress, now));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;

    struct At(Cell<u64>);

    impl Clock for At {
        fn now(&self) -> Instant {
            Instant::from_nanos(self.0.get() * 1_000_000_000)
        }
    }

    #[test]
    fn patience_ends_where_nothing_gets_done() {
        let (clock, mut patience) = (At(Cell::new(0)), Patience::default());
        let mut is_over = |at, outstanding, completed| {
            clock.0.set(at);
            patience.is_over(&clock, Progress { outstanding, completed }, Duration::from_secs(5))
        };
        assert!(!is_over(0, 0, 0));
        assert!(!is_over(100, 3, 0), "what was idle was not late");
        assert!(!is_over(104, 5, 0));
        assert!(is_over(105, 5, 0), "counted from when there was something to do");
        assert!(is_over(106, 9, 0), "and it stays so");
        assert!(!is_over(107, 8, 1));
        assert!(!is_over(111, 1, 1));
        assert!(!is_over(113, 0, 1), "nothing to do is no hang");
        assert!(!is_over(200, 1, 1));
        assert!(is_over(205, 1, 1));
    }

    #[test]
    fn of_several_queues_each_counts() {
        let queue = |outstanding, completed| Progress { outstanding, completed };
        assert_eq!(queue(1, 10) + queue(0, 5), queue(1, 15));
    }

    #[test]
    fn an_error_says_how_far_it_came() {
        let said = |error: RecoverError<&str, &str>| error.to_string();
        assert!(said(RecoverError::NotStopped("no reset")).ends_with("recovered: no reset"));
        assert!(said(RecoverError::NotStarted("no memory")).ends_with("started again: no memory"));
        assert!(said(RecoverError::Changed).contains("other properties"));
    }
}
