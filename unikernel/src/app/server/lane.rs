//! The lane between a NIC and what passes frames on: whole bursts, and no copy.

use core::time::Duration;

use paravane_appliance::interface::InterfaceId;
use paravane_hal::Platform;
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Armed;
use paravane_hal::time::Instant;
use paravane_net::{
    BURST_FRAMES, Burst, FramePool, NicInfo, RxCounters, RxQueue as _, TxCounters, TxQueue as _,
};
use paravane_nic::Queues;

use super::carrier::{BLOCKED_LOOK, Carrier, Moved};
use super::forwarding::Forwarding;

/// Bursts taken in before others have their turn.
const BURSTS: usize = 4;

/// One NIC's lane, by which frames of an interface come and go.
pub struct Lane<P: Platform> {
    interface: InterfaceId,
    /// Of a NIC that runs.
    queues: Option<Queues<P>>,
    fault: Option<DeviceFault>,
    /// The link changed, and who passes frames on was not told.
    link: Option<bool>,
    /// Frames wait for room in the ring to be sent.
    is_blocked: bool,
    /// So many of them.
    left: usize,
    /// The pool had too few frames for the ring.
    is_starved: bool,
}

impl<P: Platform> Lane<P> {
    /// The lane of `interface`.
    #[must_use]
    pub const fn new(interface: InterfaceId) -> Self {
        Self {
            interface,
            queues: None,
            fault: None,
            link: None,
            is_blocked: false,
            left: 0,
            is_starved: false,
        }
    }

    /// Does something with the queues of a NIC that runs and is in one piece.
    fn with<R: Default>(
        &mut self,
        work: impl FnOnce(&mut Queues<P>, InterfaceId) -> Result<R, DeviceFault>,
    ) -> R {
        let Some(queues) = self.queues.as_mut().filter(|_| self.fault.is_none()) else { return R::default() };
        work(queues, self.interface).unwrap_or_else(|fault| {
            self.fault = Some(fault);
            R::default()
        })
    }
}

impl<P: Platform> Carrier<P> for Lane<P> {
    fn begin(&mut self, _info: &NicInfo, queues: Queues<P>, _pool: &FramePool) {
        self.queues = Some(queues);
        self.fault = None;
    }

    fn end(&mut self) -> Option<Queues<P>> {
        self.queues.take()
    }

    fn sent(&self) -> Option<TxCounters> {
        self.queues.as_ref().map(|queues| queues.tx.counters())
    }

    fn received(&self) -> Option<RxCounters> {
        self.queues.as_ref().map(|queues| queues.rx.counters())
    }

    fn fault(&self) -> Option<DeviceFault> {
        self.fault
    }

    fn turn(&mut self, now: Instant, forwarding: &mut dyn Forwarding) -> Moved {
        let link = self.link.take();
        if let Some(is_up) = link {
            forwarding.link_changed(self.interface, is_up, now);
        }
        let moved = self.with(|Queues { rx, tx }, interface| {
            tx.reclaim()?;
            let mut moved = Moved::default();
            for _ in 0..BURSTS {
                let mut burst = Burst::new();
                let taken = rx.receive(&mut burst);
                // What came before a fault is as good as any.
                if !burst.is_empty() {
                    (moved.came, moved.busy) = (true, true);
                    forwarding.take(interface, &mut burst, now);
                }
                // Whoever asks for interrupts hears of what comes from now on.
                if taken? < BURST_FRAMES {
                    return Ok(moved);
                }
            }
            moved.again = true;
            Ok(moved)
        });
        // Whoever was told of a link may wait for another time than before.
        Moved { again: moved.again || link.is_some(), ..moved }
    }

    fn send(&mut self, forwarding: &mut dyn Forwarding, now: Instant) -> bool {
        forwarding.leaving(self.interface, self.left, now);
        let Some(burst) = forwarding.egress(self.interface).filter(|burst| !burst.is_empty()) else {
            (self.is_blocked, self.left) = (false, 0);
            return false;
        };
        let sent = self.with(|Queues { tx, .. }, _| {
            let sent = tx.transmit(burst)?;
            if burst.is_empty() {
                return Ok(sent);
            }
            // The ring was full: make room once and try again.
            tx.reclaim()?;
            Ok(sent.saturating_add(tx.transmit(burst)?))
        });
        (self.is_blocked, self.left) = (!burst.is_empty(), burst.len());
        sent > 0
    }

    fn remind(&mut self) {
        self.queues.iter_mut().for_each(|queues| queues.tx.remind());
    }

    fn arm(&mut self) -> Result<Armed, DeviceFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let is_blocked = self.is_blocked;
        let mut is_starved = false;
        let armed = self.with(|Queues { rx, tx }, _| {
            is_starved = rx.refill() > 0;
            // Sent frames need no interrupt of their own while there is room to send.
            let has_room = is_blocked && tx.arm()? == Armed::Pending;
            Ok(Some(if has_room { Armed::Pending } else { rx.arm()? }))
        });
        self.is_starved = is_starved;
        self.fault.map_or(Ok(armed.unwrap_or(Armed::Idle)), Err)
    }

    fn idle_time(&mut self, _now: Instant) -> Option<Duration> {
        (self.is_blocked || self.is_starved).then_some(BLOCKED_LOOK)
    }

    fn link_changed(&mut self, is_up: bool) {
        self.link = Some(is_up);
    }
}
