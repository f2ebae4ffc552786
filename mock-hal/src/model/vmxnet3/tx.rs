//! The transmit side.

use paravane_hal::dma::Direction;

use super::Vmxnet3;
use super::layout::{queue_desc, stop};
use super::offload::{self, Agreed};
use super::queue::{QueueId, Ring};
use super::sent::Sent;
use super::stats::at;

/// Shorter frames are none.
const HEADER_BYTES: usize = 14;

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
    /// A descriptor is of a type that there is not.
    is_unknown: bool,
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
        let mut completed = 0;
        while let Some(described) = self.next_frame(queue) {
            completed += u32::from(self.send(queue, described));
        }
        if completed > 0 {
            self.interrupt_for(QueueId::Tx(queue), completed);
        }
    }

    /// Reads the descriptors of the next frame, if it is there.
    fn next_frame(&mut self, queue: usize) -> Option<Described> {
        let mut next = self.tx(queue).filter(|queue| queue.stopped.is_none())?.ring;
        let held = self.tx(queue)?.held.len();
        let mut frame = Sent { queue, ..Sent::default() };
        let mut is_unknown = false;
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
            if held + pieces.len() >= next.entries as usize && self.keeps_leases() {
                self.reject(queue, stop::TXD_REUSE, "a descriptor used again before it was completed");
                return None;
            }
            is_unknown |= word2 & 1 << 16 != 0 || word3 & 1 << 14 != 0;
            if pieces.is_empty() {
                frame.om = word3 >> 10 & 3;
                frame.hlen = word3 & 0x3ff;
                frame.msscof = word2 >> 18;
                frame.tag = (word3 >> 15 & 1 != 0).then_some((word3 >> 16) as u16);
                frame.oco = word2 >> 15 & 1 != 0;
                frame.ext1 = word2 >> 17 & 1 != 0;
            } else if word2 >> 18 != 0 || word2 & 0b101 << 15 != 0 || word3 & !(1 << 12 | 1 << 13) != 0 {
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
                return Some(Described { frame, pieces, cq: word3 >> 13 & 1 != 0, is_unknown, next });
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

    /// What a device complains about that sees the descriptors of a frame.
    fn complaint(&mut self, described: &Described, agreed: Agreed) -> Option<offload::Complaint> {
        let Described { frame, pieces, is_unknown, .. } = described;
        if *is_unknown {
            return Some((stop::DESC_NOT_SPT, "a transmit descriptor of an unknown type"));
        }
        let data = self.tx(frame.queue)?.data;
        for (position, piece) in pieces.iter().enumerate().filter(|(_, piece)| data.contains(piece.addr)) {
            if position > 0 || piece.addr != data.slot(piece.index) {
                return Some((stop::TXD_INVALID, "data of a slot that is not its own"));
            }
            if piece.len_bytes > data.slot_bytes as usize {
                return Some((stop::TXD_INVALID, "more data than a slot has"));
            }
        }
        offload::of_descriptors(frame, agreed)
    }

    fn agreed(&self) -> Agreed {
        Agreed {
            revision: self.agreed_revision().unwrap_or(1),
            granted: self.granted,
            mtu: self.active.as_ref().map_or(0, |active| active.mtu),
        }
    }

    /// Sends a frame. Whether it was completed.
    fn send(&mut self, queue: usize, described: Described) -> bool {
        let agreed = self.agreed();
        let complaint = self.complaint(&described, agreed);
        if complaint.is_some_and(|(code, what)| self.reject(queue, code, what)) {
            return false;
        }
        let Described { mut frame, pieces, cq, next, .. } = described;
        let first_bytes = pieces.first().map_or(0, |piece| piece.len_bytes);
        let data = self.tx(queue).map(|queue| queue.data);
        if pieces.first().is_some_and(|piece| data.is_some_and(|data| data.contains(piece.addr))) {
            frame.data_ring_bytes = first_bytes;
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
        if self.personality.checks_headers
            && let Some((code, what)) = offload::of_headers(&frame, first_bytes, agreed)
            && self.reject(queue, code, what)
        {
            return false;
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
            if frame.is_cut() {
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
