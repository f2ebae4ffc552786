//! Whether a device still sends. One that completes nothing says nothing either: no fault, no
//! interrupt.
//!
//! One that may wait for its host as long as it likes is told again, for it may sleep over a
//! doorbell that it was not rung: QEMU 7.2's virtio-net on a packed ring names the place that it
//! wants a doorbell for once, after its host was full, and goes on from there by itself.

use core::time::Duration;

use paravane_hal::time::Instant;
use paravane_net::TxCounters;

/// How long nothing may come back before the device is reminded, and again before it counts as
/// hung.
const PATIENCE: Duration = Duration::from_millis(2500);
/// The same of one that may wait as long as it likes. It never counts as hung.
const NUDGE: Duration = Duration::from_millis(100);

/// What a device owes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Duty {
    /// Nothing: its link is down.
    #[default]
    None,
    /// To send in its host's good time.
    Sometime,
    /// To send at once.
    AtOnce,
}

impl Duty {
    fn patience(self) -> Option<Duration> {
        match self {
            Self::None => None,
            Self::Sometime => Some(NUDGE),
            Self::AtOnce => Some(PATIENCE),
        }
    }
}

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
    duty: Duty,
    waits_since: Option<Instant>,
    reminded: bool,
}

impl Sending {
    /// Looks at what was `sent` by a queue that has just taken home what came back.
    pub(super) fn look(&mut self, now: Instant, sent: TxCounters, duty: Duty) -> Option<Remedy> {
        let patience = duty.patience().filter(|_| sent.completed < sent.frames);
        let is_same = sent.completed == self.completed && duty == self.duty;
        match self.waits_since.filter(|_| is_same).zip(patience) {
            Some((since, patience)) if now.since(since) < patience => None,
            Some(_) if self.reminded && duty == Duty::AtOnce => Some(Remedy::Restart),
            Some(_) => {
                (self.waits_since, self.reminded) = (Some(now), true);
                Some(Remedy::Remind)
            }
            None => {
                let waits_since = patience.map(|_| now);
                *self = Self { completed: sent.completed, duty, waits_since, reminded: false };
                None
            }
        }
    }

    /// Whether it has to be looked at.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.idle_time(now).is_some_and(|left| left.is_zero())
    }

    /// When it has to be looked at again.
    pub(super) fn idle_time(&self, now: Instant) -> Option<Duration> {
        let since = self.waits_since?;
        Some(self.duty.patience()?.saturating_sub(now.since(since)))
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
        assert_eq!(sending.look(at(0), sent(3, 0), Duty::AtOnce), None);
        assert_eq!(sending.idle_time(at(500)), Some(Duration::from_millis(2000)));
        assert_eq!(
            sending.look(at(2499), sent(5, 0), Duty::AtOnce),
            None,
            "what is sent meanwhile changes nothing"
        );
        assert_eq!(sending.look(at(2500), sent(5, 0), Duty::AtOnce), Some(Remedy::Remind));
        assert_eq!(sending.look(at(4999), sent(5, 0), Duty::AtOnce), None);
        assert_eq!(sending.look(at(5000), sent(5, 0), Duty::AtOnce), Some(Remedy::Restart));
    }

    #[test]
    fn a_device_that_sends_is_left_alone() {
        let mut sending = Sending::default();
        for second in 0..20 {
            assert_eq!(sending.look(at(second * 2000), sent(second + 5, second), Duty::AtOnce), None);
        }
        assert_eq!(sending.look(at(39_000), sent(25, 25), Duty::AtOnce), None);
        assert_eq!(sending.idle_time(at(60_000)), None, "nothing is in flight");
        assert_eq!(
            sending.look(at(60_000), sent(26, 25), Duty::AtOnce),
            None,
            "the wait begins with the frame"
        );
    }

    #[test]
    fn a_late_look_reminds_first() {
        let mut sending = Sending::default();
        assert_eq!(sending.look(at(0), sent(1, 0), Duty::AtOnce), None);
        assert_eq!(sending.look(at(60_000), sent(1, 0), Duty::AtOnce), Some(Remedy::Remind));
        assert_eq!(sending.look(at(60_001), sent(1, 1), Duty::AtOnce), None, "that was it");
        assert_eq!(sending.idle_time(at(60_001)), None);
    }

    #[test]
    fn nothing_has_to_come_back_while_the_link_is_down() {
        let mut sending = Sending::default();
        assert_eq!(sending.look(at(0), sent(1, 0), Duty::None), None);
        assert_eq!(sending.look(at(60_000), sent(1, 0), Duty::None), None);
        assert_eq!(sending.idle_time(at(60_000)), None);
        assert_eq!(sending.look(at(60_000), sent(1, 0), Duty::AtOnce), None, "from now on");
    }

    #[test]
    fn a_device_that_may_wait_is_told_again_and_never_restarted() {
        let mut sending = Sending::default();
        assert_eq!(sending.look(at(0), sent(3, 0), Duty::Sometime), None);
        assert_eq!(sending.idle_time(at(40)), Some(Duration::from_millis(60)));
        assert_eq!(sending.look(at(99), sent(5, 0), Duty::Sometime), None);
        for round in 1..50 {
            assert_eq!(sending.look(at(round * 100), sent(5, 0), Duty::Sometime), Some(Remedy::Remind));
        }
        assert_eq!(sending.look(at(5000), sent(5, 4), Duty::Sometime), None, "it moved");
    }
}
