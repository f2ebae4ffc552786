//! A clock that moves when told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use paravane_hal::time::{Clock, Instant};

use crate::loads;
use crate::watchdog::{Access, Watchdog};

/// How far a turn of a waiting loop moves the clock: enough for a wait of seconds to end soon.
const TURN_NANOS: u64 = 100_000;

/// Time that stands still until a test moves it, or a waiting loop turns ([`Clock::relax`]), or by
/// a set step at each look. A clone shows the same time.
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<State>);

#[derive(Debug, Default)]
struct State {
    now_nanos: AtomicU64,
    step_nanos: AtomicU64,
    watchdog: Watchdog,
}

impl ManualClock {
    /// Moves on by `by`.
    pub fn advance(&self, by: Duration) {
        self.move_on(nanos(by));
    }

    /// Every look moves the clock on by `step` afterwards, so that even a loop that only looks
    /// comes to its deadline.
    pub fn step(&self, step: Duration) {
        self.0.step_nanos.store(nanos(step), Ordering::SeqCst);
    }

    /// Ends the test after too many accesses while this clock stands still.
    pub(crate) fn watchdog(&self) -> &Watchdog {
        &self.0.watchdog
    }

    /// Moves on, and says where it was.
    fn move_on(&self, by_nanos: u64) -> u64 {
        loads::next_call();
        if by_nanos > 0 {
            self.0.watchdog.pat();
        }
        self.0.now_nanos.fetch_add(by_nanos, Ordering::SeqCst)
    }
}

fn nanos(of: Duration) -> u64 {
    u64::try_from(of.as_nanos()).unwrap_or(u64::MAX)
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        let step_nanos = self.0.step_nanos.load(Ordering::SeqCst);
        if step_nanos == 0 {
            self.0.watchdog.count(Access::Clock);
        }
        Instant::from_nanos(self.move_on(step_nanos))
    }

    fn relax(&self) {
        self.move_on(TURN_NANOS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paravane_hal::time::Deadline;

    #[test]
    fn it_stands_still_until_told() {
        let clock = ManualClock::default();
        let deadline = Deadline::after(&clock, Duration::from_secs(1));
        assert!((0..1000).all(|_| !deadline.has_passed(&clock)));
        clock.advance(Duration::from_secs(1));
        assert!(deadline.has_passed(&clock));
    }

    #[test]
    fn a_step_at_each_look_ends_every_wait() {
        let clock = ManualClock::default();
        clock.step(Duration::from_millis(10));
        let deadline = Deadline::after(&clock, Duration::from_secs(1));
        assert_eq!((0..1000).take_while(|_| !deadline.has_passed(&clock)).count(), 99);
    }
}
