//! The transmit side.

use paravane_hal::dma::Direction;

use super::Vmxnet3;
use super::layout::{queue_desc, stop};
use super::queue::{QueueId, Ring};
use super::stats::at;

/// The offload modes, `om`.
mod om {
    pub(super) const ENCAPSULATED: u32 = 1;
    pub(super) const CSUM: u32 = 2;
    pub(super) const TSO: u32 = 3;
}

/// Shorter frames are none.
const HEADER_BYTES: usize = 14;
/// Most descriptors of a frame, and of one to be cut.
const MAX_DESCRIPTORS: usize = 16;
const MAX_TSO_DESCRIPTORS: usize = 24;

/// A frame that left the device, with what was asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The queue that it was sent by.
    pub queue: usize,
    /// Its bytes, all descriptors put together.
    pub bytes: Vec<u8>,
    /// How many descriptors it took.
    pub descriptors: usize,
    /// `om`.
    pub om: u32,
    /// `hlen`.
    pub hlen: u32,
    /// `msscof`.
    pub msscof: u32,
    /// `tci`, if `ti` was set.
    pub tag: Option<u16>,
}

impl Sent {
    /// The checksum that is left to the device: summed from where on, stored where.
    pub(crate) fn checksum(&self) -> Option<(usize, usize)> {
        (self.om == om::CSUM).then_some((self.hlen as usize, self.msscof as usize))
    }

    /// How many frames come of it, as `txNumDeferred` counts.
    fn weight(&self) -> u32 {
        let payload = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX).saturating_sub(self.hlen);
        if self.om == om::TSO { payload.div_ceil(self.msscof.max(1)) } else { 1 }
    }

    /// What the driver should not have asked for, and what a device that stops says about it.
    fn complaint(&self) -> Option<(u32, &'static str)> {
        let most = if self.om == om::TSO { MAX_TSO_DESCRIPTORS } else { MAX_DESCRIPTORS };
        if self.om == om::ENCAPSULATED {
            Some((stop::DESC_NOT_SPT, "om = 1 below revision 4"))
        } else if self.om == om::TSO && self.msscof == 0 {
            Some((stop::TXD_INVALID, "segments of zero bytes"))
        } else if self.descriptors > most {
            Some((stop::BIG_PKT, "too many descriptors in a frame"))
        } else {
            None
        }
    }
}

/// A descriptor, as far as it says where bytes are.
struct Piece {
    index: u32,
    addr: u64,
    len_bytes: usize,
}

/// A frame as its descriptors tell it.
struct Described {
    frame: Sent,
    pieces: Vec<Piece>,
    /// The last descriptor asks for a completion.
    cq: bool,
    /// Where the next frame starts.
    next: Ring,
}

impl Vmxnet3 {
    /// Frames sent since the last call.
    pub fn take_sent(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.sent)
    }

    /// Looks at the transmit rings by itself, as a device does that may be told less often.
    pub fn look(&mut self) {
        if self.personality.needs_doorbell {
            return;
        }
        for queue in 0..self.active.as_ref().map_or(0, |active| active.tx.len()) {
            self.transmit(queue);
            self.check_deferred(queue);
        }
    }

    /// What the device found without a doorbell is what the driver says that it deferred.
    fn check_deferred(&mut self, queue: usize) {
        let Some((desc, found)) = self
            .tx(queue)
            .filter(|queue| queue.stopped.is_none())
            .and_then(|queue| Some((queue.desc, queue.deferred?)))
        else {
            return;
        };
        let told = self.get32(desc + queue_desc::TX_NUM_DEFERRED);
        if found != told {
            self.broken(format!("txNumDeferred is {told}, {found} came without a doorbell"));
        }
    }

    /// A doorbell rang: what waited for one waits no more.
    pub(super) fn doorbell_rang(&mut self, queue: usize, is_heard: bool) {
        let Some(desc) = self.tx(queue).map(|queue| queue.desc) else { return };
        let told = self.get32(desc + queue_desc::TX_NUM_DEFERRED);
        if told != 0 {
            self.broken(format!("a doorbell with {told} in txNumDeferred"));
        }
        if is_heard {
            self.transmit(queue);
        }
        if let Some(queue) = self.tx(queue) {
            queue.deferred = is_heard.then_some(0);
        }
    }

    /// Sends every frame that is there in full.
    pub(super) fn transmit(&mut self, queue: usize) {
        let mut is_completed = false;
        while let Some(described) = self.next_frame(queue) {
            is_completed |= self.send(queue, described);
        }
        if let Some(vector) = self.tx(queue).filter(|_| is_completed).map(|queue| queue.vector) {
            self.raise(vector);
        }
    }

    /// Reads the descriptors of the next frame, if it is there.
    fn next_frame(&mut self, queue: usize) -> Option<Described> {
        let mut next = self.tx(queue).filter(|queue| queue.stopped.is_none())?.ring;
        let mut frame =
            Sent { queue, bytes: Vec::new(), descriptors: 0, om: 0, hlen: 0, msscof: 0, tag: None };
        let mut pieces = Vec::new();
        loop {
            let [low, high, word2, word3] = self.words(next.addr())?;
            if (word2 >> 14 & 1 != 0) != next.generation || pieces.len() == next.entries as usize {
                if !pieces.is_empty() {
                    self.reject(
                        queue,
                        stop::NOEOP,
                        "a frame was shown to the device before all of it was there",
                    );
                }
                return None;
            }
            if word2 & 0b11 << 16 != 0 || word3 & 1 << 14 != 0 {
                self.broken(format!("reserved bits in a transmit descriptor: {word2:#x} {word3:#x}"));
            }
            if pieces.is_empty() {
                frame.om = word3 >> 10 & 3;
                frame.hlen = word3 & 0x3ff;
                frame.msscof = word2 >> 18;
                frame.tag = (word3 >> 15 & 1 != 0).then_some((word3 >> 16) as u16);
            } else if word2 >> 18 != 0 || word3 & !(1 << 12 | 1 << 13) != 0 {
                self.broken("offload fields in a descriptor that does not start a frame");
            }
            let len_bytes = match word2 & 0x3fff {
                0 => 1 << 14,
                len_bytes => len_bytes as usize,
            };
            pieces.push(Piece { index: next.next, addr: u64::from(high) << 32 | u64::from(low), len_bytes });
            next.advance();
            if word3 >> 12 & 1 != 0 {
                frame.descriptors = pieces.len();
                return Some(Described { frame, pieces, cq: word3 >> 13 & 1 != 0, next });
            }
        }
    }

    /// Says what is wrong. A device of that kind stops the queue over it.
    fn reject(&mut self, queue: usize, code: u32, what: &str) -> bool {
        self.broken(what);
        if self.personality.stops_queues {
            self.stop_queue(QueueId::Tx(queue), code);
        }
        self.personality.stops_queues
    }

    /// Sends a frame. Whether it was completed.
    fn send(&mut self, queue: usize, described: Described) -> bool {
        let Described { mut frame, pieces, cq, next } = described;
        if frame.complaint().is_some_and(|(code, what)| self.reject(queue, code, what)) {
            return false;
        }
        let mut eop_index = 0;
        for Piece { index, addr, len_bytes } in pieces {
            let lease = self.lease(addr, len_bytes, Direction::ToDevice);
            let start = frame.bytes.len();
            frame.bytes.resize(start + len_bytes, 0);
            self.read_memory(addr, &mut frame.bytes[start..]);
            if let Some(queue) = self.tx(queue) {
                queue.held.push_back((index, lease));
            }
            eop_index = index;
        }
        let (link, counts_segments) = (self.link, self.personality.counts_segments);
        let Some(state) = self.tx(queue) else { return false };
        state.ring = next;
        state.deferred = state.deferred.map(|deferred| deferred.saturating_add(frame.weight()));
        if frame.bytes.len() < HEADER_BYTES {
            state.counters.count(at::TX_ERROR);
        } else if !link {
            state.counters.count(at::TX_DISCARD);
        } else {
            if frame.om == om::TSO {
                let frames = if counts_segments { frame.weight() } else { 1 };
                state.counters.count_pair(at::TSO, frames.into(), frame.bytes.len() as u64);
            }
            state.counters.count_frame(&frame.bytes);
            self.sent.push(frame);
        }
        let is_completed = cq || self.personality.completes_every_frame;
        if is_completed {
            self.say_tx(queue, eop_index);
        }
        is_completed
    }

    /// Writes a completion into transmit queue 0 that names `eop_index`, true or not.
    pub fn complete_tx(&mut self, eop_index: u32) {
        self.complete_tx_in(0, eop_index);
    }

    /// The same into any queue.
    pub fn complete_tx_in(&mut self, queue: usize, eop_index: u32) {
        self.say_tx(queue, eop_index);
    }

    /// A completion tells the driver that all up to `eop_index` is its own again.
    pub(super) fn release_tx(&mut self, queue: usize, eop_index: u32) {
        let Some(state) = self.tx(queue) else { return };
        match state.held.iter().position(|(index, _)| *index == eop_index) {
            Some(last) => {
                let leases: Vec<_> = state.held.drain(..=last).filter_map(|(_, lease)| lease).collect();
                self.give_back(&leases);
            }
            None => self.lose_track(),
        }
    }
}
