//! How much there may be of everything.

use core::time::Duration;

use paravane_hal::time::Instant;

/// How much there may be of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Interfaces: ids are below it.
    pub interfaces: u8,
    /// Neighbours that are pinned.
    pub pinned: u32,
    /// Those that are not.
    pub learned: u32,
    /// Of them, those that are being asked for the first time.
    pub questions: u32,
    /// So many of them begin to be asked for in a second, by interface. Each is asked for
    /// [three times](super::MAX_SOLICIT) at most.
    pub questions_per_second: u32,
    /// So many at once, where none were for a while.
    pub questions_at_once: u32,
    /// Frames that wait for those that are pinned; as many again may wait for others.
    pub waiting: u16,
    /// Of them, for one neighbour.
    pub waiting_each: u16,
}

impl Limits {
    /// For `interfaces` with a network of some thousand neighbours behind them: about 430 KiB.
    #[must_use]
    pub const fn new(interfaces: u8) -> Self {
        Self {
            interfaces,
            pinned: 1024,
            learned: 4096,
            questions: 1024,
            questions_per_second: 200,
            questions_at_once: 100,
            waiting: 64,
            waiting_each: 3,
        }
    }
}

/// What an interface may ask still.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    /// When it may ask [as many as at most](Limits::questions_at_once).
    full_at: Instant,
}

impl Bucket {
    /// Whether one more may be asked for.
    pub(super) fn take(&mut self, limits: &Limits, now: Instant) -> bool {
        let Some(each) = Duration::from_secs(1).checked_div(limits.questions_per_second) else {
            return false;
        };
        let full_at = self.full_at.max(now).saturating_add(each);
        if full_at.since(now) > each.saturating_mul(limits.questions_at_once) {
            return false;
        }
        self.full_at = full_at;
        true
    }
}
