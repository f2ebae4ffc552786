//! Whether a device still sends. One that completes nothing says nothing either: no fault, no
//! interrupt.

use core::time::Duration;

use paravane_hal::time::Instant;
use paravane_net::TxCounters;

/// How long nothing may come back before the device is reminded, and again before it counts as
/// hung.
const PATIENCE: Duration = Duration::from_millis(2500);

/// What is to be done about a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// To tell it once more.
    Remind,
    /// To stop and start it.
    Restart,
}

/// When frames in flight were last fewer, or were told of.
#[derive(Debug, Default)]
pub(super) struct Sending {
    completed: u64,
    waits_since: Option<Instant>,
    reminded: bool,
}

impl Sending {
    /// Looks at what was `sent` by a queue that has just taken home what came back, of a device
    /// that has to send or may wait.
    pub(super) fn look(&mut self, now: Instant, sent: TxCounters, must_send: bool) -> Option<Remedy> {
        let waits = must_send && sent.completed < sent.frames;
        match self.waits_since.filter(|_| waits && sent.completed == self.completed) {
            Some(since) if now.since(since) < PATIENCE => None,
            Some(_) if self.reminded => Some(Remedy::Restart),
            Some(_) => {
                (self.waits_since, self.reminded) = (Some(now), true);
                Some(Remedy::Remind)
            }
            None => {
                let waits_since = waits.then_some(now);
                *self = Self { completed: sent.completed, waits_since, reminded: false };
                None
            }
        }
    }

    /// When it has to be looked at again.
    pub(super) fn idle_time(&self, now: Instant) -> Option<Duration> {
        self.waits_since.map(|since| PATIENCE.saturating_sub(now.since(since)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn sent(frames: u64, completed: u64) -> TxCounters {
        TxCounters { frames, completed, bytes: 0, doorbells: 0, doorbells_saved: 0, refused: 0, ring_full: 0 }
    }

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn a_silent_device_is_reminded_then_restarted() {
        let mut sending = Sending::default();
        assert_eq!(sending.look(at(0), sent(3, 0), true), None);
        assert_eq!(sending.idle_time(at(500)), Some(Duration::from_millis(2000)));
        assert_eq!(sending.look(at(2499), sent(5, 0), true), None, "what is sent meanwhile changes nothing");
        assert_eq!(sending.look(at(2500), sent(5, 0), true), Some(Remedy::Remind));
        assert_eq!(sending.look(at(4999), sent(5, 0), true), None);
        assert_eq!(sending.look(at(5000), sent(5, 0), true), Some(Remedy::Restart));
    }

    #[test]
    fn a_device_that_sends_is_left_alone() {
        let mut sending = Sending::default();
        for second in 0..20 {
            assert_eq!(sending.look(at(second * 2000), sent(second + 5, second), true), None);
        }
        assert_eq!(sending.look(at(39_000), sent(25, 25), true), None);
        assert_eq!(sending.idle_time(at(60_000)), None, "nothing is in flight");
        assert_eq!(sending.look(at(60_000), sent(26, 25), true), None, "the wait begins with the frame");
    }

    #[test]
    fn a_late_look_reminds_first() {
        let mut sending = Sending::default();
        assert_eq!(sending.look(at(0), sent(1, 0), true), None);
        assert_eq!(sending.look(at(60_000), sent(1, 0), true), Some(Remedy::Remind));
        assert_eq!(sending.look(at(60_001), sent(1, 1), true), None, "that was it");
        assert_eq!(sending.idle_time(at(60_001)), None);
    }

    #[test]
    fn nothing_has_to_come_back_while_the_device_may_wait() {
        let mut sending = Sending::default();
        assert_eq!(sending.look(at(0), sent(1, 0), false), None);
        assert_eq!(sending.look(at(60_000), sent(1, 0), false), None);
        assert_eq!(sending.look(at(60_000), sent(1, 0), true), None, "from now on");
    }
}
