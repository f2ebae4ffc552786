//! The command rings of the receive side: buffers, from being posted to being given back.

use paravane_hal::dma::Direction;

use super::Vmxnet3;
use super::layout::{queue_id, rcd, stop};
use super::queue::{Buffer, QueueId};

/// Shorter HEAD buffers are too small.
const MIN_HEAD_BYTES: usize = 128;

/// A buffer that is about to be filled.
pub(super) struct Taken {
    /// Ring 1, ring 2, or the data ring: as `rqID` counts.
    pub(super) source: usize,
    pub(super) index: u32,
    pub(super) addr: u64,
    pub(super) len_bytes: usize,
}

impl Vmxnet3 {
    pub(super) fn queue_has_room(&mut self, queue: usize, len_bytes: usize) -> bool {
        self.fetch(queue, 0);
        self.fetch(queue, 1);
        let Some(active) = &self.active else { return false };
        let Some([first, second]) = active.rx.get(queue).map(|queue| &queue.rings) else { return false };
        let more = usize::from(active.max_rx_buffers).saturating_sub(1);
        let mut heads = first.stock().skip_while(|buffer| buffer.is_body);
        let head = heads.next().map(|head| head.len_bytes);
        let bodies = heads.take_while(|buffer| buffer.is_body).chain(second.stock());
        let rest = bodies.take(more).map(|body| body.len_bytes).sum::<usize>();
        head.is_some_and(|head| head + rest >= len_bytes)
    }

    /// Takes buffers for a frame of `len_bytes`, as many as there are and a frame may have: a HEAD
    /// first, then the BODY buffers that follow it in ring 1, then those of ring 2.
    pub(super) fn take_for(&mut self, queue: usize, len_bytes: usize) -> Vec<Taken> {
        let most = self.active.as_ref().map_or(0, |active| usize::from(active.max_rx_buffers)).max(1);
        let mut taken = Vec::new();
        let mut room = 0;
        while taken.is_empty() || (room < len_bytes && taken.len() < most) {
            let next = if taken.is_empty() { self.take_head(queue) } else { self.take_body(queue) };
            let Some(next) = next else { break };
            room += next.len_bytes;
            taken.push(next);
        }
        taken
    }

    /// Passes over what BODY buffers are left before the next HEAD.
    fn take_head(&mut self, queue: usize) -> Option<Taken> {
        while self.next_is_body(queue)? {
            let _ = self.take(queue, 0);
        }
        self.take(queue, 0)
    }

    /// Takes the slot beside the next HEAD, which is used up and stays as it is.
    pub(super) fn take_slot(&mut self, queue: usize) -> Option<Taken> {
        let head = self.take_head(queue)?;
        let data = self.rx(queue)?.data;
        let (addr, len_bytes) = (data.slot(head.index), data.slot_bytes as usize);
        Some(Taken { source: 2, addr, len_bytes, ..head })
    }

    fn take_body(&mut self, queue: usize) -> Option<Taken> {
        let ring = if self.next_is_body(queue) == Some(true) { 0 } else { 1 };
        self.take(queue, ring)
    }

    /// Whether the next buffer of ring 1 is a BODY.
    fn next_is_body(&mut self, queue: usize) -> Option<bool> {
        self.fetch(queue, 0);
        self.rx(queue)?.rings[0].stock().next().map(|buffer| buffer.is_body)
    }

    /// Takes every buffer that the driver posted to a ring and, where that is wanted, told about.
    /// From here on they are the device's.
    pub(super) fn fetch(&mut self, queue: usize, ring: usize) {
        while self.fetch_one(queue, ring).is_some() {}
    }

    fn fetch_one(&mut self, queue: usize, ring: usize) -> Option<()> {
        let wants_doorbells = self.personality.update_rx_prod;
        let state = &self.rx(queue).filter(|queue| queue.stopped.is_none())?.rings[ring];
        let (at, told, held) = (state.ring, state.told, state.held.len());
        if wants_doorbells && told.is_none_or(|told| told == at.next) {
            return None;
        }
        let [low, high, word2, word3] = self.words(at.addr())?;
        if (word2 >> 31 != 0) != at.generation {
            return None;
        }
        if held == at.entries as usize {
            self.broken(format!("slot {} posted again before it was completed", at.next));
            return None;
        }
        if word3 != 0 || word2 & 0x7fff_8000 != 0 {
            self.broken(format!("reserved bits in a receive descriptor: {word2:#x} {word3:#x}"));
        }
        let is_body = word2 >> 14 & 1 != 0;
        if ring == 1 && !is_body {
            self.broken("a HEAD in ring 2");
        } else if ring == 0 && is_body && self.revision().is_some_and(|revision| revision.number >= 7) {
            self.broken("a BODY in ring 1, from revision 7 on");
        }
        let (addr, len_bytes) = (u64::from(high) << 32 | u64::from(low), (word2 & 0x3fff) as usize);
        if len_bytes == 0 || (!is_body && len_bytes < MIN_HEAD_BYTES) {
            self.broken(format!("a receive buffer of {len_bytes} bytes"));
            if self.personality.stops_queues {
                self.stop_queue(QueueId::Rx(queue), stop::SMALL_BUF);
                return None;
            }
        }
        let sizes = self.active.as_ref().and_then(|active| active.settings.sizes);
        let announced = match (sizes, ring, is_body) {
            (None, ..) => 0,
            (Some(sizes), _, false) => sizes.head_bytes,
            (Some(sizes), 0, true) => sizes.ring1_body_bytes,
            (Some(sizes), _, true) => sizes.ring2_body_bytes,
        };
        if len_bytes < announced.into() {
            self.broken(format!("a receive buffer of {len_bytes} bytes, where {announced} were announced"));
        }
        let lease = self.lease(addr, len_bytes, Direction::FromDevice);
        let state = &mut self.rx(queue)?.rings[ring];
        state.held.push_back(Buffer { index: at.next, addr, len_bytes, is_body, lease });
        state.ring.advance();
        Some(())
    }

    /// Takes the next buffer of a ring to fill it, or to pass over it.
    fn take(&mut self, queue: usize, ring: usize) -> Option<Taken> {
        self.fetch(queue, ring);
        let state = &mut self.rx(queue)?.rings[ring];
        let &Buffer { index, addr, len_bytes, .. } = state.held.get(state.used)?;
        state.used += 1;
        Some(Taken { source: ring, index, addr, len_bytes })
    }

    /// Passes over `count` buffers of ring 1 of queue 0 without using them, as the device may.
    pub fn skip(&mut self, count: usize) {
        self.skip_in(0, 0, count);
    }

    /// The same of any queue; `ring` is 0 for ring 1 and 1 for ring 2.
    pub fn skip_in(&mut self, queue: usize, ring: usize, count: usize) {
        for _ in 0..count {
            let _ = self.take(queue, ring);
        }
    }

    /// Returns the next buffer of ring 1 of queue 0 unused: a completion without a byte.
    pub fn return_unused(&mut self) {
        self.return_unused_in(0);
    }

    /// The same of any queue.
    pub fn return_unused_in(&mut self, queue: usize) {
        let queues = self.active.as_ref().map_or(0, |active| active.rx.len());
        if let Some(Taken { index, .. }) = self.take(queue, 0) {
            let id = queue_id(queue, 0, queues) << rcd::RQ_ID_SHIFT;
            self.say_rx(queue, [index | id | rcd::SOP | rcd::EOP, 0, 0, 0]);
        }
    }

    /// Writes a completion into receive queue 0, true or not; only its generation is the model's,
    /// and its type unless that is 4.
    pub fn complete_rx(&mut self, words: [u32; 4]) {
        self.complete_rx_in(0, words);
    }

    /// The same into any queue.
    pub fn complete_rx_in(&mut self, queue: usize, words: [u32; 4]) {
        self.fetch(queue, 0);
        self.fetch(queue, 1);
        self.say_rx(queue, words);
    }

    /// A completion tells the driver that all buffers of its ring up to the one it names are its
    /// own again.
    pub(super) fn release_rx(&mut self, queue: usize, word0: u32) {
        let (index, id) = (word0 & 0xfff, (word0 >> 16 & 0x3ff) as usize);
        let queues = self.active.as_ref().map_or(0, |active| active.rx.len());
        let is_second = id == queue + queues;
        let Some(state) = self.rx(queue) else { return };
        // The number of the data ring says so of a buffer of ring 1, where there is one.
        let is_first = id == queue || id == queue + 2 * queues && state.data.is_there();
        let state = &mut state.rings[usize::from(is_second)];
        let last = state.held.iter().position(|buffer| buffer.index == index);
        match last.filter(|_| is_second || is_first) {
            Some(last) => {
                state.used = state.used.saturating_sub(last + 1);
                let leases: Vec<_> = state.held.drain(..=last).filter_map(|buffer| buffer.lease).collect();
                self.give_back(&leases);
            }
            None => self.lose_track(),
        }
    }
}
