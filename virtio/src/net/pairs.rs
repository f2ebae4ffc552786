//! Several pairs of queues: all that were started are served, wherever the device puts a frame.
//!
//! A device spreads what it receives over the pairs that it was told to use, and some over those
//! that they have, whatever they were told. So what receives is one queue in front of all of them;
//! who has a core for each takes them apart. Frames are sent through the first pair until then.
//!
//! Spec: VIRTIO 1.2, 5.1.6.5.5 "Device operation in multiqueue mode".

use alloc::vec::Vec;
use core::ops::Add as _;

use paravane_hal::Platform;
use paravane_hal::dma::{DeviceTag, Quiet};
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Armed;
use paravane_net::{Burst, FramePool, RxCounters, RxQueue as _, burst_room};

use crate::net::rx::RxQueue;
use crate::net::tx::TxQueue;

/// A pair of queues besides the first.
pub struct Pair<P: Platform> {
    /// Receives.
    pub rx: RxQueue<P>,
    /// Sends.
    pub tx: TxQueue<P>,
}

impl<P: Platform> Pair<P> {
    /// Breaks both.
    pub(crate) fn fail(&mut self, fault: DeviceFault) {
        self.rx.fail(fault);
        self.tx.fail(fault);
    }

    /// Which devices they belong to.
    pub(crate) fn tags(&self) -> [DeviceTag; 2] {
        [self.rx.device(), self.tx.ring().device()]
    }

    /// Gives their memory back. False when the proof is about another device.
    pub(crate) fn free(self, quiet: &Quiet<'_>) -> bool {
        self.rx.free(quiet) & self.tx.into_ring().free(quiet)
    }
}

/// What a running device receives: the queues of all pairs, or of those that were not
/// [taken](Self::take_pairs).
pub struct RxQueues<P: Platform> {
    first: RxQueue<P>,
    others: Vec<Pair<P>>,
    /// Which of them is looked at first: each in turn.
    turn: usize,
    /// What broke one of them.
    fault: Option<DeviceFault>,
}

impl<P: Platform> RxQueues<P> {
    pub(crate) fn new(first: RxQueue<P>, others: Vec<Pair<P>>) -> Self {
        Self { first, others, turn: 0, fault: None }
    }

    /// Takes the pairs behind the first away, to be served elsewhere, each on a core of its own.
    /// Before the device is stopped they are [given back](Self::give_back).
    #[must_use]
    pub fn take_pairs(&mut self) -> Vec<Pair<P>> {
        core::mem::take(&mut self.others)
    }

    /// Takes pairs back that were [taken](Self::take_pairs).
    pub fn give_back(&mut self, pairs: impl IntoIterator<Item = Pair<P>>) {
        self.others.extend(pairs);
    }

    /// The first pair's, and the other pairs.
    pub(crate) fn into_parts(self) -> (RxQueue<P>, Vec<Pair<P>>) {
        (self.first, self.others)
    }

    /// Where frames come from.
    pub(crate) fn pool(&self) -> &FramePool {
        self.first.pool()
    }

    /// The queues that are here, first to last: for [`NetControl::reset_rx`](super::NetControl).
    /// What broke one of them is forgotten, and found again if it is so still.
    pub fn queues_mut(&mut self) -> impl Iterator<Item = &mut RxQueue<P>> {
        self.fault = None;
        core::iter::once(&mut self.first).chain(self.others.iter_mut().map(|pair| &mut pair.rx))
    }

    /// How many queues are here.
    pub(crate) fn count(&self) -> usize {
        self.others.len().saturating_add(1)
    }

    /// Which devices they belong to.
    pub(crate) fn tags(&self) -> impl Iterator<Item = DeviceTag> + '_ {
        [self.first.device()].into_iter().chain(self.others.iter().flat_map(Pair::tags))
    }

    /// Breaks all.
    pub(crate) fn fail(&mut self, fault: DeviceFault) {
        self.first.fail(fault);
        self.others.iter_mut().for_each(|pair| pair.fail(fault));
    }

    /// Gives their memory back. False when the proof is about another device.
    pub(crate) fn free(self, quiet: &Quiet<'_>) -> bool {
        let first = self.first.free(quiet);
        self.others.into_iter().fold(first, |freed, pair| pair.free(quiet) & freed)
    }

    /// Tells the device about all buffers posted.
    pub(crate) fn publish(&mut self) {
        self.first.publish();
        self.others.iter_mut().for_each(|pair| pair.rx.publish());
    }

    /// One of them, first to last.
    fn queue(&mut self, index: usize) -> Option<&mut RxQueue<P>> {
        match index.checked_sub(1) {
            None => Some(&mut self.first),
            Some(other) => self.others.get_mut(other).map(|pair| &mut pair.rx),
        }
    }

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

impl<P: Platform> paravane_net::RxQueue for RxQueues<P> {
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
