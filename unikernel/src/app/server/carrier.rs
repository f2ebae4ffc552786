//! What carries the frames of a NIC: a stack of its own, or a lane to what passes them on.
//!
//! The NIC is started, restarted and given up below; whoever carries its frames is given its queues
//! for as long as it runs.

use core::ops::BitOrAssign;
use core::time::Duration;

use paravane_hal::Platform;
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Armed;
use paravane_hal::time::Instant;
use paravane_net::{FramePool, NicInfo, RxCounters, RxQueue as _, TxCounters, TxQueue as _};
use paravane_net_smoltcp::Phy;
use paravane_nic::{NicRx, NicTx, Queues};

use super::forwarding::Forwarding;
use crate::app::config::Addressing;
use crate::app::http::Routes;
use crate::app::stack::{Serving, Stack};

/// A NIC whose device takes no more frames is looked at so often, beside the interrupt that tells
/// of room.
pub(super) const BLOCKED_LOOK: Duration = Duration::from_millis(100);

/// What happened in a turn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moved {
    /// Frames came in.
    pub came: bool,
    /// A stack had its turn: its connections may want something, and it may have sent.
    pub served: bool,
    /// More may come soon: whoever is not told looks again before long. Not where frames only wait
    /// for room to be answered.
    pub busy: bool,
    /// There may be more to do at once.
    pub again: bool,
}

impl Moved {
    /// Whether anything happened at all.
    #[must_use]
    pub const fn is_any(self) -> bool {
        self.came || self.served || self.busy || self.again
    }
}

impl BitOrAssign for Moved {
    fn bitor_assign(&mut self, other: Self) {
        self.came |= other.came;
        self.served |= other.served;
        self.busy |= other.busy;
        self.again |= other.again;
    }
}

/// Who carries a NIC's frames.
pub trait Carrier<P: Platform> {
    /// The NIC runs: these are its queues.
    fn begin(&mut self, info: &NicInfo, queues: Queues<P>, pool: &FramePool);
    /// The NIC is to be stopped: gives its queues back, if it ran.
    fn end(&mut self) -> Option<Queues<P>>;
    /// What the queues counted, if the NIC runs.
    fn counters(&self) -> Option<(TxCounters, RxCounters)> {
        self.sent().zip(self.received())
    }
    /// What was sent, if the NIC runs.
    fn sent(&self) -> Option<TxCounters>;
    /// What was received, if the NIC runs.
    fn received(&self) -> Option<RxCounters>;
    /// What broke a queue.
    fn fault(&self) -> Option<DeviceFault>;
    /// Takes sent frames home and received ones in, a bounded number.
    fn turn(&mut self, now: Instant, forwarding: &mut dyn Forwarding) -> Moved;
    /// Sends what others had for this NIC. Whether there was anything.
    fn send(&mut self, _forwarding: &mut dyn Forwarding, _now: Instant) -> bool {
        false
    }
    /// Tells the device once more what it has to send.
    fn remind(&mut self);
    /// Asks for interrupts, and looks once more.
    ///
    /// # Errors
    ///
    /// What broke a queue.
    fn arm(&mut self) -> Result<Armed, DeviceFault>;
    /// How long nothing has to be done here if nothing comes.
    fn idle_time(&mut self, now: Instant) -> Option<Duration>;
    /// The carrier of the link came, or went.
    fn link_changed(&mut self, is_up: bool);
    /// There is something to do in the next turn, though nothing came.
    fn stir(&mut self) {}
    /// Puts a stack on top, if it is one that carries them: `name` and `mac` are the NIC's.
    fn attach_stack(&mut self, _name: &str, _mac: [u8; 6], _connections: usize, _seed: u64, _now: Instant) {}
    /// Whether it is one.
    fn wants_stack(&self) -> bool {
        false
    }
    /// The stack.
    fn stack(&self) -> Option<&Stack> {
        None
    }
    /// The stack.
    fn stack_mut(&mut self) -> Option<&mut Stack> {
        None
    }
}

/// A stack of the NIC's own, which serves HTTP.
pub struct Stacked<P: Platform> {
    addressing: Addressing,
    routes: Routes,
    /// The queues, of a NIC that runs.
    phy: Option<Phy<NicRx<P>, NicTx<P>>>,
    stack: Option<Stack>,
    /// The stack has something to do, though nothing came.
    is_stirred: bool,
    /// When it has, if nothing comes before.
    due: Option<Instant>,
}

impl<P: Platform> Stacked<P> {
    /// One with that address, that serves the pages of `routes`.
    #[must_use]
    pub const fn new(addressing: Addressing, routes: Routes) -> Self {
        Self { addressing, routes, phy: None, stack: None, is_stirred: true, due: None }
    }
}

impl<P: Platform> Carrier<P> for Stacked<P> {
    fn begin(&mut self, info: &NicInfo, Queues { rx, tx }: Queues<P>, pool: &FramePool) {
        self.phy = Some(Phy::new(info, rx, tx, pool.clone()));
        self.is_stirred = true;
    }

    fn end(&mut self) -> Option<Queues<P>> {
        let (rx, tx, _) = self.phy.take()?.into_parts();
        Some(Queues { rx, tx })
    }

    fn sent(&self) -> Option<TxCounters> {
        self.phy.as_ref().map(|phy| phy.tx().counters())
    }

    fn received(&self) -> Option<RxCounters> {
        self.phy.as_ref().map(|phy| phy.rx().counters())
    }

    fn fault(&self) -> Option<DeviceFault> {
        self.phy.as_ref().and_then(Phy::fault)
    }

    fn turn(&mut self, now: Instant, _forwarding: &mut dyn Forwarding) -> Moved {
        let Some(phy) = &mut self.phy else { return Moved::default() };
        let came = phy.service() > 0;
        let Some(stack) = &mut self.stack else { return Moved { came, ..Moved::default() } };
        let is_due = self.due.is_some_and(|due| now >= due);
        // A turn of the stack looks at all its sockets, and frames of other NICs are no reason.
        if !(came || is_due || self.is_stirred) {
            return Moved::default();
        }
        let again = stack.turn(&mut phy.batch(), stack_time(now));
        // Whoever waits for room to send is not told when there is some.
        self.is_stirred = again || !phy.can_send();
        let delay = stack.idle_time(stack_time(now));
        self.due = delay.map(|delay| now.saturating_add(Duration::from_micros(delay.total_micros())));
        // Frames that wait for room to be answered are nothing that moves.
        Moved { came, served: true, busy: again, again }
    }

    fn remind(&mut self) {
        self.phy.iter_mut().for_each(Phy::remind);
    }

    fn arm(&mut self) -> Result<Armed, DeviceFault> {
        self.phy.as_mut().map_or(Ok(Armed::Idle), Phy::arm)
    }

    fn idle_time(&mut self, now: Instant) -> Option<Duration> {
        if !self.phy.as_ref()?.can_send() {
            // What the stack wants to send at once cannot go, however often it is asked.
            return Some(BLOCKED_LOOK);
        }
        self.stack.as_ref()?;
        if self.is_stirred {
            return Some(Duration::ZERO);
        }
        self.due.map(|due| due.since(now))
    }

    fn link_changed(&mut self, is_up: bool) {
        if let (true, Some(stack)) = (is_up, &mut self.stack) {
            stack.link_is_back();
            self.is_stirred = true;
        }
    }

    fn stir(&mut self) {
        self.is_stirred = true;
    }

    fn attach_stack(&mut self, name: &str, mac: [u8; 6], connections: usize, seed: u64, now: Instant) {
        let Some(phy) = &mut self.phy else { return };
        let serving = Serving { connections, seed, routes: self.routes };
        self.stack = Some(Stack::new(name, mac, phy, self.addressing, serving, stack_time(now)));
        self.is_stirred = true;
    }

    fn wants_stack(&self) -> bool {
        true
    }

    fn stack(&self) -> Option<&Stack> {
        self.stack.as_ref()
    }

    fn stack_mut(&mut self) -> Option<&mut Stack> {
        self.stack.as_mut()
    }
}

/// The same time for smoltcp.
fn stack_time(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(now.as_nanos() / 1000).unwrap_or(i64::MAX))
}
