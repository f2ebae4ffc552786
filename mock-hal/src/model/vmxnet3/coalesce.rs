//! Interrupts of queues, which may wait until there is more to tell (`SET_COALESCE`).
//!
//! Static: after so many completions. Rate based: so often. How long a completion waits that no
//! other follows is the device's to say, and nobody knows; here it is the test's
//! ([`Vmxnet3::pass_time`]). Adaptive and disabled interrupt at once.

use std::time::Duration;

use super::Vmxnet3;
use super::queue::QueueId;
use super::settings::Coalescing;

/// How interrupts of vectors and queues keep their distance. Starts over with each activation.
#[derive(Debug, Default)]
pub(super) struct Pace {
    now: Duration,
    /// Completions that nobody was told of, by queue.
    untold: Vec<(QueueId, u32)>,
    /// When a vector may interrupt again, and whether it wants to.
    quiet: Vec<(u8, Duration, bool)>,
}

impl Vmxnet3 {
    /// `completions` were written for `queue`: interrupts, now or later.
    pub(super) fn interrupt_for(&mut self, queue: QueueId, completions: u32) {
        let coalescing = self.coalescing();
        let Some((vector, active)) = self.vector_of(queue).zip(self.active.as_mut()) else { return };
        let pace = &mut active.pace;
        let is_due = match coalescing {
            Some(Coalescing::Static { tx_comp_depth, rx_depth, .. }) => {
                let depth = if matches!(queue, QueueId::Tx(_)) { tx_comp_depth } else { rx_depth };
                pace.count(queue, completions) >= depth
            }
            Some(Coalescing::RateBased { interrupts_per_second }) => {
                pace.may(vector, Duration::from_secs(1) / interrupts_per_second)
            }
            _ => true,
        };
        if is_due {
            pace.untold.retain(|(of, _)| *of != queue);
            self.raise(vector);
        }
    }

    fn vector_of(&self, queue: QueueId) -> Option<u8> {
        let active = self.active.as_ref()?;
        match queue {
            QueueId::Tx(index) => active.tx.get(index).map(|queue| queue.vector),
            QueueId::Rx(index) => active.rx.get(index).map(|queue| queue.vector),
        }
    }

    /// `by` passes: what waited for more is told, as far as the rate that was asked for allows.
    pub fn pass_time(&mut self, by: Duration) {
        let Some(active) = &mut self.active else { return };
        active.pace.now += by;
        let mut due = active.pace.due();
        let untold = std::mem::take(&mut active.pace.untold);
        due.extend(untold.into_iter().filter_map(|(queue, _)| self.vector_of(queue)));
        due.sort_unstable();
        due.dedup();
        due.into_iter().for_each(|vector| self.raise(vector));
    }

    /// Another way from here on: what waited by the old one waits no more.
    pub(super) fn forget_pace(&mut self) {
        let Some(active) = &mut self.active else { return };
        let Pace { untold, quiet, .. } = std::mem::take(&mut active.pace);
        let mut due: Vec<u8> = untold.into_iter().filter_map(|(queue, _)| self.vector_of(queue)).collect();
        due.extend(quiet.into_iter().filter(|(.., waits)| *waits).map(|(vector, ..)| vector));
        due.sort_unstable();
        due.dedup();
        due.into_iter().for_each(|vector| self.raise(vector));
    }
}

impl Pace {
    /// How many are untold, `more` included.
    fn count(&mut self, queue: QueueId, more: u32) -> u32 {
        match self.untold.iter_mut().find(|(of, _)| *of == queue) {
            Some((_, untold)) => {
                *untold += more;
                *untold
            }
            None => {
                self.untold.push((queue, more));
                more
            }
        }
    }

    /// Whether `vector` may interrupt; then not for `distance`. One that may not is remembered.
    fn may(&mut self, vector: u8, distance: Duration) -> bool {
        let (now, next) = (self.now, self.now + distance);
        match self.quiet.iter_mut().find(|(of, ..)| *of == vector) {
            Some((_, until, waits)) if *until > now => {
                *waits = true;
                return false;
            }
            Some(quiet) => *quiet = (vector, next, false),
            None => self.quiet.push((vector, next, false)),
        }
        true
    }

    /// Vectors that waited and may interrupt now. The next distance starts at its next completion.
    fn due(&mut self) -> Vec<u8> {
        let now = self.now;
        let due = self.quiet.extract_if(.., |(_, until, waits)| *waits && *until <= now);
        due.map(|(vector, ..)| vector).collect()
    }
}
