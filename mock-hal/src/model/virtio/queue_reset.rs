//! Reset of one queue, while the others go on.
//!
//! Spec: VIRTIO 1.2, 2.6.1 "Virtqueue Reset"; registers are of 4.1.4.3 and 4.2.2.

use super::{Class, Queue, Reset, Virtio, feature};

/// Where a queue is between what it was and what it is next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Renewal {
    /// It was not reset.
    #[default]
    None,
    /// It is being reset: done when the register was read so many times; never, where there is no
    /// number.
    UnderWay(Option<u32>),
    /// It was reset, and waits to be set up and enabled.
    Done,
}

impl<C: Class> Virtio<C> {
    /// The selected queue was reset, and may be set up while the device runs.
    pub(super) fn is_renewing(&self) -> bool {
        self.queue().is_some_and(|queue| queue.renewal == Renewal::Done)
    }

    /// Reads 1 as long as the reset is under way.
    pub(super) fn read_queue_reset(&mut self) -> u32 {
        self.check_agreed("queue_reset read");
        let selected = usize::from(self.selected_queue());
        let Some(queue) = self.queues.get_mut(selected) else { return 0 };
        match queue.renewal {
            Renewal::UnderWay(None) => 1,
            Renewal::UnderWay(Some(0)) => {
                self.renew(selected);
                0
            }
            Renewal::UnderWay(Some(left)) => {
                queue.renewal = Renewal::UnderWay(Some(left - 1));
                1
            }
            Renewal::None | Renewal::Done => 0,
        }
    }

    /// A driver writes 1, to a queue that is enabled, of a device that it agreed with on that.
    pub(super) fn write_queue_reset(&mut self, value: u32) {
        self.check_agreed("queue_reset written");
        if value != 1 {
            return self.violation(format!("{value} written to queue_reset, 4.1.4.3.2"));
        }
        let selected = usize::from(self.selected_queue());
        let reset = self.queue_reset;
        match self.queues.get_mut(selected) {
            Some(queue) if queue.is_enabled => {
                queue.renewal = Renewal::UnderWay(match reset {
                    Reset::AtOnce => Some(0),
                    Reset::AfterReads(reads) => Some(reads),
                    Reset::Never => None,
                });
                if reset == Reset::AtOnce {
                    self.renew(selected);
                }
            }
            _ => self.violation(format!("queue {selected} reset, which is not enabled")),
        }
    }

    fn check_agreed(&mut self, what: &str) {
        if !self.has(feature::RING_RESET) {
            self.violation(format!("{what} without RING_RESET, 2.6.1"));
        }
    }

    /// Nothing of the queue is the device's any more, and none of its settings is kept.
    fn renew(&mut self, index: usize) {
        let entries = self.personality.max_entries;
        let queue = &mut self.queues[index];
        queue.lied(&self.memory);
        *queue = Queue::new(entries);
        queue.renewal = Renewal::Done;
        self.pending.forget(index);
        self.class.queue_disabled(u16::try_from(index).unwrap_or(u16::MAX));
    }
}
