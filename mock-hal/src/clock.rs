//! A clock that moves when told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use paravane_hal::time::{Clock, Instant};

/// How far a turn of a waiting loop moves the clock: enough for a wait of seconds to end soon.
const TURN_NANOS: u64 = 100_000;

/// Time that stands still until a test moves it, or a waiting loop turns ([`Clock::relax`]). A clone shows the same time.
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// Moves on by `by`.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.load(Ordering::SeqCst))
    }

    fn relax(&self) {
        self.0.fetch_add(TURN_NANOS, Ordering::SeqCst);
    }
}
