//! A device, what it was shown last, and what is at the other end of its cable.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::time::Duration;

use paravane_hal::dma::DeviceDma;
use paravane_hal::irq::InterruptMode;
use paravane_hal::time::{Clock as _, Instant, wait_for};
use paravane_net::MacAddr;
use paravane_suite::{Environment, peer};

use crate::raw::layout::{bar0, cmd, queue, rx_mode, shared};
use crate::raw::live::{Live, Plan};
use crate::raw::ring::{Offload, Received};
use crate::raw::{NEWEST, Raw};

/// For what is to come: it does within microseconds, and a machine with other things to do takes
/// longer.
pub(crate) const ANSWER: Duration = Duration::from_secs(2);
/// For what is not to come.
pub(crate) const QUIET: Duration = Duration::from_millis(200);
/// The most vectors of a device whose configuration is in its first place.
const MASKS: usize = 25;

/// A device on a platform.
pub(crate) struct Bench<'e, E: Environment> {
    pub(crate) environment: &'e mut E,
    pub(crate) raw: Raw<E::Platform, E::Config>,
    live: Option<Live<E::Platform>>,
    /// What it was shown before that, if it was not reset since.
    old: Option<Live<E::Platform>>,
    /// Somebody answers at the other end.
    pub(crate) has_peer: bool,
    pub(crate) mac: [u8; 6],
}

impl<'e, E: Environment> Bench<'e, E> {
    pub(crate) fn new(environment: &'e mut E, raw: Raw<E::Platform, E::Config>) -> Self {
        let mac = raw.permanent_mac();
        Self { environment, raw, live: None, old: None, has_peer: false, mac }
    }

    /// One queue of each kind at the newest revision, with buffers, without interrupts.
    pub(crate) fn plan(&self) -> Plan {
        // Who masks, an administrator says; 0 is the device.
        let masks = self.raw.command(cmd::GET_CONF_INTR) >> 2 & 0b11;
        Plan {
            revision: self.raw.offered(NEWEST),
            tx_queues: 1,
            rx_queues: 1,
            interrupts: false,
            auto_mask: masks == 0,
            fills: true,
        }
    }

    /// What the device was shown.
    pub(crate) fn live(&mut self) -> Result<&mut Live<E::Platform>, String> {
        self.live.as_mut().ok_or_else(|| "the device was shown nothing".to_string())
    }

    /// Shows the device all that activation reads. It masters the bus then, and does not run.
    pub(crate) fn lay(&mut self, plan: Plan) -> Result<(), String> {
        self.down()?;
        let of = DeviceDma::new(self.raw.platform.clone(), self.raw.function.tag(), 64);
        let live = Live::new(&of, plan).map_err(|error| error.to_string())?;
        self.raw.choose(plan.revision);
        if plan.interrupts {
            let messages = self.environment.messages();
            let first = messages.get(..1).ok_or("the platform has no messages")?;
            let mode = self.raw.switch_on(first);
            if !matches!(mode, InterruptMode::Msix { .. }) {
                return Err(format!("no messages by MSI-X, {mode} instead"));
            }
        }
        self.raw.set_shared(live.shared.address(0));
        self.live = Some(live);
        self.raw.set_bus_master(true)
    }

    /// Begins all rings anew, in memory of its own, for a device that was quiesced and not reset.
    pub(crate) fn renew(&mut self) -> Result<(), String> {
        let plan = self.live()?.plan;
        let of = DeviceDma::new(self.raw.platform.clone(), self.raw.function.tag(), 64);
        let live = Live::new(&of, plan).map_err(|error| error.to_string())?;
        self.raw.set_shared(live.shared.address(0));
        // What it had, it may know of until it is reset.
        self.old = self.live.replace(live);
        Ok(())
    }

    /// `ACTIVATE_DEV`, and its answer.
    pub(crate) fn activate(&self) -> u32 {
        self.raw.command(cmd::ACTIVATE_DEV)
    }

    /// Brings it up: activated, with buffers, receiving what is for its own address.
    pub(crate) fn up(&mut self, plan: Plan) -> Result<(), String> {
        self.lay(plan)?;
        self.go()
    }

    /// The same once it was shown everything.
    pub(crate) fn go(&mut self) -> Result<(), String> {
        match self.activate() {
            0 => self.finish(),
            code => Err(format!("ACTIVATE_DEV answers {code:#x}")),
        }
    }

    /// What follows an activation.
    pub(crate) fn finish(&mut self) -> Result<(), String> {
        let mac = self.mac;
        let plan = self.live()?.plan;
        if plan.revision >= 7 {
            let live = self.live()?;
            let [heads, bodies] = live.rx.first().map_or([0; 2], |queue| queue.buffer_bytes());
            // A head, no body in ring 1, a body in ring 2.
            live.shared.put32(shared::CMD_INFO, heads);
            live.shared.put32(shared::CMD_INFO + 4, bodies);
            self.raw.command(cmd::SET_RING_BUFFER_SIZE);
        }
        if plan.fills {
            self.post()?;
        }
        self.raw.write_mac(mac);
        self.live()?.shared.put32(shared::RX_MODE, rx_mode::UCAST);
        for command in [cmd::UPDATE_RX_MODE, cmd::UPDATE_VLAN_FILTERS, cmd::UPDATE_MAC_FILTERS] {
            self.raw.command(command);
        }
        if plan.interrupts {
            self.live()?.shared.put32(shared::INTR_CTRL, 0);
            // What an earlier fact left.
            let _ = self.environment.rang();
        }
        Ok(())
    }

    /// Posts all buffers, and tells.
    pub(crate) fn post(&mut self) -> Result<(), String> {
        self.live()?.rx.iter_mut().for_each(|queue| queue.fill());
        self.tell()
    }

    /// Rings for every ring of buffers.
    pub(crate) fn tell(&mut self) -> Result<(), String> {
        let nexts: Vec<_> =
            self.live()?.rx.iter().map(|queue| queue.rings.each_ref().map(|ring| ring.next())).collect();
        for (number, nexts) in nexts.into_iter().enumerate() {
            for (kind, next) in bar0::RXPROD.into_iter().zip(nexts) {
                self.raw.write_bar0(kind, number, next);
            }
        }
        Ok(())
    }

    /// Stops the device, and takes its memory back.
    ///
    /// # Errors
    ///
    /// It does not stop: the memory stays.
    pub(crate) fn down(&mut self) -> Result<(), String> {
        if self.live.is_some() {
            // A device that is quiesced does not listen to masks, and may remember them.
            (0..MASKS).for_each(|vector| self.raw.mask(vector, true));
        }
        let quiet = self.raw.silence()?;
        for live in [self.live.take(), self.old.take()].into_iter().flatten() {
            live.free(&quiet);
        }
        self.raw.switch_off();
        Ok(())
    }

    /// Ends the use of the device.
    pub(crate) fn close(self) {
        self.raw.close();
    }

    /// Shows the device a frame to be sent by `queue`, and does not ring. The index of its last
    /// descriptor.
    pub(crate) fn push(&mut self, queue: usize, pieces: &[&[u8]], offload: &Offload) -> Result<u32, String> {
        let live = self.live()?;
        let desc = live.tx_desc(queue);
        let ring = live.tx.get_mut(queue).ok_or("no such queue")?;
        let last = ring.push(pieces, offload);
        let deferred = desc.wrapping_add(queue::TX_NUM_DEFERRED);
        let total =
            pieces.iter().map(|piece| piece.len()).sum::<usize>().saturating_sub(offload.hlen as usize);
        let frames = if offload.om == 3 { total.div_ceil(offload.msscof.max(1) as usize) } else { 1 };
        let frames = u32::try_from(frames).unwrap_or(u32::MAX);
        live.table.put32(deferred, live.table.get32(deferred).saturating_add(frames));
        Ok(last)
    }

    /// Rings for `queue`.
    pub(crate) fn ring(&mut self, queue: usize) -> Result<(), String> {
        let live = self.live()?;
        let desc = live.tx_desc(queue);
        live.table.put32(desc.wrapping_add(queue::TX_NUM_DEFERRED), 0);
        let next = live.tx.get(queue).ok_or("no such queue")?.next();
        self.raw.write_bar0(bar0::TXPROD, queue, next);
        Ok(())
    }

    /// Sends a frame by queue 0, and rings.
    pub(crate) fn send(&mut self, frame: &[u8]) -> Result<u32, String> {
        let last = self.push(0, &[frame], &Offload::NONE)?;
        self.ring(0)?;
        Ok(last)
    }

    pub(crate) fn now(&self) -> Instant {
        self.raw.platform.now()
    }

    /// Looks until there is something, or `limit` has passed.
    pub(crate) fn wait<T>(
        &mut self,
        limit: Duration,
        mut look: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<T> {
        let clock = self.raw.platform.clone();
        let found = wait_for(&clock, limit, || {
            self.environment.turn();
            look(self)
        });
        found.ok()
    }

    /// The next completion of transmit queue `queue`.
    pub(crate) fn completion(&mut self, queue: usize) -> Option<[u32; 4]> {
        self.live.as_mut()?.tx.get_mut(queue)?.completions.next()
    }

    /// The next frame that receive queue `queue` has. Its buffers are posted again.
    pub(crate) fn received(&mut self, queue: usize) -> Option<Received> {
        let live = self.live.as_mut()?;
        let queues = live.rx.len().try_into().unwrap_or(u32::MAX);
        let frame = live.rx.get_mut(queue)?.next(queues)?;
        let at = live.rx_desc(queue).wrapping_add(queue::UPDATE_RX_PROD);
        if live.table.get8(at) != 0 {
            let _ = self.tell();
        }
        Some(frame)
    }

    /// The next frame that came from the other end by receive queue 0, waited for.
    pub(crate) fn frame(&mut self, limit: Duration) -> Option<Received> {
        self.wait(limit, |bench| {
            let frame = bench.received(0)?;
            (frame.bytes.get(6..12) == Some(&peer::PEER.0)).then_some(frame)
        })
    }

    /// The next frame that receive queue 0 has, whoever sent it: its bytes may be elsewhere.
    pub(crate) fn frame_anyhow(&mut self, limit: Duration) -> Option<Received> {
        self.wait(limit, |bench| bench.received(0))
    }

    /// The next frame that the other end says it got, and how long it was there.
    pub(crate) fn arrived(&mut self, limit: Duration) -> Option<(Vec<u8>, usize)> {
        let frame = self.frame(limit)?;
        peer::unwrapped(&frame.bytes).map(|(inside, len_bytes)| (inside.to_vec(), len_bytes))
    }

    /// Has the other end send `frame`.
    pub(crate) fn have_sent(&mut self, frame: &[u8]) -> Result<(), String> {
        if !self.has_peer {
            return Err("nobody answers at the other end".into());
        }
        let wrapper =
            peer::wrapped(peer::PEER, MacAddr(self.mac), frame).ok_or("a frame that is too long")?;
        self.send(&wrapper).map(drop)
    }

    /// Whether somebody is at the other end, who shows what arrives there.
    pub(crate) fn look_for_peer(&mut self) -> Result<bool, String> {
        let plan = self.plan();
        self.up(plan)?;
        let question = crate::frame::plain(self.mac, 60);
        // A switch may need a moment before it passes anything.
        for _ in 0..3 {
            self.send(&question)?;
            self.has_peer = self.arrived(ANSWER).is_some_and(|(inside, _)| inside == question);
            if self.has_peer {
                break;
            }
        }
        Ok(self.has_peer)
    }

    /// That somebody is, for a fact that needs it.
    pub(crate) fn need_peer(&self) -> Result<(), String> {
        if self.has_peer { Ok(()) } else { Err("nobody answers at the other end".into()) }
    }
}
