//! What is to be said of flows, until somebody says it: not more than people can read.

use alloc::collections::VecDeque;

use paravane_firewall::Packet;
use paravane_firewall::rules::Verdict;
use paravane_hal::time::Instant;

use crate::limit::{Bucket, Pace, Rate};

/// How many wait at most.
const WAITING: usize = 64;
/// How many there are to be in a second.
const RATE: Rate = Rate { per_second: 20, burst: 60 };

/// A flow that a rule with `log` decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Its first packet.
    pub packet: Packet,
    /// The rule's number.
    pub rule: u32,
    /// What the rule says.
    pub verdict: Verdict,
    /// Its limit was reached: the flow was dropped, whatever the rule says.
    pub is_limited: bool,
}

/// Those that wait.
#[derive(Debug)]
pub(super) struct Logs {
    waiting: VecDeque<Logged>,
    pace: Pace,
    bucket: Bucket,
    lost: u64,
}

impl Logs {
    pub(super) fn new() -> Self {
        let waiting = VecDeque::with_capacity(WAITING);
        Self { waiting, pace: RATE.into(), bucket: Bucket::default(), lost: 0 }
    }

    pub(super) fn put(&mut self, logged: Logged, now: Instant) {
        let room = self.waiting.len() < WAITING;
        match self.bucket.taken(self.pace, now.as_nanos()) {
            Some(taken) if room => {
                self.bucket = taken;
                self.waiting.push_back(logged);
            }
            _ => self.lost = self.lost.wrapping_add(1),
        }
    }

    pub(super) fn take(&mut self) -> Option<Logged> {
        self.waiting.pop_front()
    }

    pub(super) const fn lost(&self) -> u64 {
        self.lost
    }
}
