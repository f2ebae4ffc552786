//! Several pairs of queues of one NIC: all that were started are served, wherever the device puts a
//! frame.
//!
//! A device spreads what it receives over its queues as it was told, or as it likes. So what
//! receives is one queue in front of all of them; who has a core for each takes them apart. Frames
//! are sent through the first pair until then.

use alloc::vec::Vec;
use core::ops::Add as _;

use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Armed;

use crate::burst::{Burst, burst_room};
use crate::queue::{RxCounters, RxQueue};

/// A pair of queues besides the first.
pub struct Pair<R, T> {
    /// Receives.
    pub rx: R,
    /// Sends.
    pub tx: T,
}

/// What a running device receives: the queues of all pairs, or of those that were not
/// [taken](Self::take_pairs).
pub struct RxQueues<R, T> {
    first: R,
    others: Vec<Pair<R, T>>,
    /// Which of them is looked at first: each in turn.
    turn: usize,
    /// What broke one of them.
    fault: Option<DeviceFault>,
}

impl<R, T> RxQueues<R, T> {
    /// The first pair's queue, and the other pairs.
    #[must_use]
    pub const fn new(first: R, others: Vec<Pair<R, T>>) -> Self {
        Self { first, others, turn: 0, fault: None }
    }

    /// Takes the pairs behind the first away, to be served elsewhere, each on a core of its own.
    /// Before the device is stopped they are [given back](Self::give_back).
    #[must_use]
    pub fn take_pairs(&mut self) -> Vec<Pair<R, T>> {
        core::mem::take(&mut self.others)
    }

    /// Takes pairs back that were [taken](Self::take_pairs).
    pub fn give_back(&mut self, pairs: impl IntoIterator<Item = Pair<R, T>>) {
        self.others.extend(pairs);
    }

    /// The first pair's queue, and the other pairs that are here.
    #[must_use]
    pub fn into_parts(self) -> (R, Vec<Pair<R, T>>) {
        (self.first, self.others)
    }

    /// The first pair's queue.
    #[must_use]
    pub const fn first(&self) -> &R {
        &self.first
    }

    /// The other pairs that are here.
    #[must_use]
    pub fn others(&self) -> &[Pair<R, T>] {
        &self.others
    }

    /// They, to be changed.
    pub fn others_mut(&mut self) -> &mut [Pair<R, T>] {
        &mut self.others
    }

    /// The queues that are here, first to last: to be reset one by one, where a driver does that.
    /// What broke one of them is forgotten, and found again if it is so still.
    pub fn queues_mut(&mut self) -> impl Iterator<Item = &mut R> {
        self.fault = None;
        core::iter::once(&mut self.first).chain(self.others.iter_mut().map(|pair| &mut pair.rx))
    }

    /// How many queues are here.
    #[must_use]
    pub fn count(&self) -> usize {
        self.others.len().saturating_add(1)
    }

    /// One of them, first to last.
    fn queue(&mut self, index: usize) -> Option<&mut R> {
        match index.checked_sub(1) {
            None => Some(&mut self.first),
            Some(other) => self.others.get_mut(other).map(|pair| &mut pair.rx),
        }
    }
}

impl<R: RxQueue, T> RxQueues<R, T> {
    /// Out of line, so that its calls of each queue do not keep the one queue of most from being
    /// inlined.
    #[inline(never)]
    fn receive_in_turn(&mut self, burst: &mut Burst) -> Result<usize, DeviceFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let count = self.count();
        let (first, before) = (self.turn, burst.len());
        self.turn = first.wrapping_add(1).checked_rem(count).unwrap_or(0);
        // Each once; where a burst is full, the others are first in the turns to come.
        for index in (first..count).chain(0..first) {
            if burst_room(burst) == 0 {
                break;
            }
            if let Some(Err(fault)) = self.queue(index).map(|queue| queue.receive(burst)) {
                self.fault = Some(fault);
                return Err(fault);
            }
        }
        Ok(burst.len().wrapping_sub(before))
    }
}

impl<R: RxQueue, T: Send> RxQueue for RxQueues<R, T> {
    #[inline(always)]
    fn receive(&mut self, burst: &mut Burst) -> Result<usize, DeviceFault> {
        if self.others.is_empty() { self.first.receive(burst) } else { self.receive_in_turn(burst) }
    }

    fn refill(&mut self) -> usize {
        let first = self.first.refill();
        self.others.iter_mut().fold(first, |empty, pair| empty.saturating_add(pair.rx.refill()))
    }

    fn arm(&mut self) -> Result<Armed, DeviceFault> {
        let mut armed = self.first.arm()?;
        for pair in &mut self.others {
            if pair.rx.arm()? == Armed::Pending {
                armed = Armed::Pending;
            }
        }
        Ok(armed)
    }

    fn disarm(&mut self) {
        self.first.disarm();
        self.others.iter_mut().for_each(|pair| pair.rx.disarm());
    }

    fn counters(&self) -> RxCounters {
        self.others.iter().fold(self.first.counters(), |all, pair| all.add(pair.rx.counters()))
    }
}
