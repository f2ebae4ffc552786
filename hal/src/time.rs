//! Time: a monotonic clock, and the deadlines that end every wait.

use core::{fmt, time::Duration};

/// A point on a platform's monotonic clock, in nanoseconds since some point of its choosing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Instant(u64);

impl Instant {
    /// The point `nanos` after the clock's start.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's start.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to here; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The point `by` later, or the end of time.
    #[must_use]
    pub fn saturating_add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// A monotonic clock.
///
/// **Driver authors** use it for deadlines only; nothing in a data path asks for the time.
///
/// **Platform authors**: `now` never goes back, advances while nobody sleeps, and is cheap enough
/// to be read in a loop. A clock that stands still makes the waits built on it endless.
pub trait Clock {
    /// The time now.
    fn now(&self) -> Instant;

    /// Called once per turn of a waiting loop: a pause instruction, a yield, or a model's chance to
    /// move.
    fn relax(&self) {
        core::hint::spin_loop();
    }
}

impl<C: Clock + ?Sized> Clock for &C {
    fn now(&self) -> Instant {
        (**self).now()
    }
    fn relax(&self) {
        (**self).relax();
    }
}

/// When a wait ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    at: Instant,
    timeout: Duration,
}

impl Deadline {
    /// `timeout` from now.
    pub fn after(clock: &impl Clock, timeout: Duration) -> Self {
        Self { at: clock.now().saturating_add(timeout), timeout }
    }

    /// Whether it has passed.
    pub fn has_passed(&self, clock: &impl Clock) -> bool {
        clock.now() >= self.at
    }
}

/// A wait ended before what it waited for came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut {
    /// How long was waited.
    pub after: Duration,
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nothing after {} ms", self.after.as_millis())
    }
}

impl core::error::Error for TimedOut {}

/// Asks `look` again and again until it has an answer or `timeout` has passed. Looks at least once,
/// and once more after the deadline, so that a wait that slept too long still sees what came
/// meanwhile.
///
/// # Errors
///
/// [`TimedOut`]: `look` never had an answer.
pub fn wait_for<T>(
    clock: &impl Clock,
    timeout: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> Result<T, TimedOut> {
    let deadline = Deadline::after(clock, timeout);
    loop {
        let late = deadline.has_passed(clock);
        if let Some(answer) = look() {
            return Ok(answer);
        }
        if late {
            return Err(TimedOut { after: deadline.timeout });
        }
        clock.relax();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;

    /// Moves one millisecond at each look.
    #[derive(Clone, Default)]
    struct Ticking(Cell<u64>);

    impl Clock for Ticking {
        fn now(&self) -> Instant {
            self.0.set(self.0.get() + 1_000_000);
            Instant::from_nanos(self.0.get())
        }
    }

    #[test]
    fn a_wait_ends_with_its_answer() {
        let mut looks = 0;
        let answer = wait_for(&Ticking::default(), Duration::from_millis(50), || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(answer, Ok(3));
    }

    #[test]
    fn a_wait_ends_without_one_too() {
        let mut looks = 0;
        let end = wait_for(&Ticking::default(), Duration::from_millis(5), || {
            looks += 1;
            None::<()>
        });
        assert_eq!(end, Err(TimedOut { after: Duration::from_millis(5) }));
        assert_eq!(looks, 5, "one look a millisecond, the last one after the deadline");
    }

    #[test]
    fn the_end_of_time_does_not_wrap() {
        assert_eq!(Instant::from_nanos(5).saturating_add(Duration::MAX).as_nanos(), u64::MAX);
    }
}
