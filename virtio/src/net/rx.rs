//! Receiving.
//!
//! | Part | Holds |
//! |---|---|
//! | this file | the receive queue, of either kind |
//! | [`single`] | each buffer is one descriptor, and a frame may be spread over several |
//! | [`big`] | each buffer holds the longest packet, in several descriptors |
//! | [`frame`] | a frame that the device has written |

mod big;
mod frame;
mod single;

use paravane_hal::Platform;
use paravane_hal::dma::{DeviceTag, Quiet};
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Armed;
use paravane_net::{Burst, FramePool, RxCounters};

use crate::device::Rings as _;
use crate::error::QueueResetError;
use crate::net::device::Net;
use crate::net::judge::RxRules;
use crate::transport::Transport;
use crate::watch::Watch;
pub(crate) use big::segments_of;
use big::{BigQueue, BigRing};
use single::{SingleQueue, SingleRing};

/// The ring under a receive queue, as far as it is there: of single buffers, or of big ones.
pub(crate) type RxRings<P> = (Option<SingleRing<P>>, Option<BigRing<P>>);

/// The receive queue of a running device.
pub struct RxQueue<P: Platform>(Kind<P>);

enum Kind<P: Platform> {
    Single(SingleQueue<P>),
    Big(BigQueue<P>),
}

/// Does the same with a queue of either kind.
macro_rules! each_kind {
    ($queue:expr, $name:ident => $what:expr) => {
        match $queue {
            Kind::Single($name) => $what,
            Kind::Big($name) => $what,
        }
    };
}

impl<P: Platform> RxQueue<P> {
    /// Puts frames on top of one of `rings` and posts as many of `pool`'s as fit, up to `slots`
    /// buffers. The device is not told yet. `None` where no ring is there.
    pub(crate) fn new(rings: RxRings<P>, pool: FramePool, rules: RxRules, slots: u16) -> Option<Self> {
        let (single, big) = rings;
        Some(Self(match (single, big) {
            (Some(ring), _) => Kind::Single(SingleQueue::new(ring, pool, rules, slots)),
            (None, ring) => Kind::Big(BigQueue::new(ring?, pool, rules, slots)),
        }))
    }

    /// The ring, to be given back.
    pub(crate) fn into_rings(self) -> RxRings<P> {
        match self.0 {
            Kind::Single(queue) => (Some(queue.ring), None),
            Kind::Big(queue) => (None, Some(queue.ring)),
        }
    }

    /// Gives its memory back. False when the proof is about another device.
    pub(crate) fn free(self, quiet: &Quiet<'_>) -> bool {
        self.into_rings().free(quiet)
    }

    /// Which device it belongs to.
    pub(crate) fn device(&self) -> DeviceTag {
        each_kind!(&self.0, queue => queue.ring.device())
    }

    /// Its number at the device.
    pub(crate) fn number(&self) -> u16 {
        each_kind!(&self.0, queue => queue.ring.doorbell().queue())
    }

    /// Where its frames come from.
    pub(crate) fn pool(&self) -> &FramePool {
        each_kind!(&self.0, queue => &queue.pool)
    }

    /// Breaks the queue.
    #[cold]
    pub(crate) fn fail(&mut self, fault: DeviceFault) {
        each_kind!(&mut self.0, queue => _ = queue.ring.fail(fault));
    }

    /// Tells the device about everything posted.
    pub(crate) fn publish(&mut self) {
        each_kind!(&mut self.0, queue => queue.publish());
    }

    /// Has the device give it up, if it `can`, and starts it again with fresh frames.
    ///
    /// # Errors
    ///
    /// As [`restart_queue`](Watch::restart_queue).
    pub(crate) fn restart<T: Transport<P::Region>>(
        &mut self,
        watch: &mut Watch<P, T, Net>,
        can: bool,
    ) -> Result<(), QueueResetError> {
        each_kind!(&mut self.0, queue => {
            watch.restart_queue(&mut queue.ring, can)?;
            queue.renew();
        });
        Ok(())
    }
}

impl<P: Platform> paravane_net::RxQueue for RxQueue<P> {
    #[inline(always)]
    fn receive(&mut self, burst: &mut Burst) -> Result<usize, DeviceFault> {
        match &mut self.0 {
            Kind::Single(queue) => queue.receive(burst),
            Kind::Big(queue) => queue.receive(burst),
        }
    }

    fn refill(&mut self) -> usize {
        each_kind!(&mut self.0, queue => queue.refill())
    }

    fn arm(&mut self) -> Result<Armed, DeviceFault> {
        each_kind!(&mut self.0, queue => queue.arm())
    }

    fn disarm(&mut self) {
        each_kind!(&mut self.0, queue => queue.disarm());
    }

    fn counters(&self) -> RxCounters {
        each_kind!(&self.0, queue => queue.counters())
    }
}
