//! The receive side.

use paravane_hal::dma::Direction;

use super::Vmxnet3;
use super::faults::Later;
use super::layout::{stop, upt};
use super::queue::{Buffer, QueueId};
use super::stats::at;
use crate::fault::{Action, FaultPoint};

/// Bits of a completion.
const EOP: u32 = 1 << 14;
const SOP: u32 = 1 << 15;
const ERR: u32 = 1 << 14;
const TS: u32 = 1 << 15;
/// Shorter HEAD buffers are too small.
const MIN_HEAD_BYTES: usize = 128;

/// A buffer that is about to be filled.
struct Taken {
    index: u32,
    addr: u64,
    len_bytes: usize,
}

impl Vmxnet3 {
    /// A frame arrives. Whether it was received whole: not without buffers, nor past the filter.
    pub fn deliver(&mut self, frame: &[u8]) -> bool {
        self.deliver_with(frame, [0; 4])
    }

    /// The same, with more bits set in its last completion (checksum verdict, tag, hash).
    pub fn deliver_with(&mut self, frame: &[u8], extra: [u32; 4]) -> bool {
        let here =
            |action: &Action| matches!(action, Action::Drop | Action::Delay { .. } | Action::Duplicate);
        match self.ask(FaultPoint::Frame, 0, &mut (), here) {
            Some(Action::Drop) => return false,
            Some(Action::Delay { ticks }) => {
                self.put_off(ticks, Later::Frame(frame.to_vec()));
                return false;
            }
            Some(Action::Duplicate) => drop(self.receive(frame, extra)),
            _ => {}
        }
        self.receive(frame, extra)
    }

    /// Whether a frame of `len_bytes` would find buffers.
    pub fn has_room(&mut self, len_bytes: usize) -> bool {
        self.fetch(0, 0);
        self.fetch(0, 1);
        let Some(active) = &self.active else { return false };
        let [heads, bodies] = &active.rx[0].rings;
        let more = usize::from(active.max_rx_buffers).saturating_sub(1);
        let head = heads.stock().next().map(|head| head.len_bytes);
        let room = |head: usize| head + bodies.stock().take(more).map(|body| body.len_bytes).sum::<usize>();
        head.is_some_and(|head| room(head) >= len_bytes)
    }

    /// A frame reached the device. Without receive-side scaling all go to queue 0.
    fn receive(&mut self, frame: &[u8], extra: [u32; 4]) -> bool {
        const QUEUE: usize = 0;
        let (mac, passes_untagged) = (self.mac, self.personality.passes_untagged);
        let Some(active) = self.active.as_ref().filter(|_| self.link) else { return false };
        if active.rx[QUEUE].stopped.is_some() || !active.filter.passes(mac, frame, passes_untagged) {
            return false;
        }
        let (vector, most) = (active.rx[QUEUE].vector, usize::from(active.max_rx_buffers));
        let (stripped, tag) = strip(frame, active.features & upt::RXVLAN != 0);
        let mut buffers = Vec::new();
        let mut room = 0;
        while buffers.is_empty() || (room < stripped.len() && buffers.len() < most) {
            let Some(taken) = self.take(QUEUE, usize::from(!buffers.is_empty())) else { break };
            room += taken.len_bytes;
            buffers.push(taken);
        }
        let Some(last) = buffers.len().checked_sub(1) else {
            self.count_rx(QUEUE, at::RX_OUT_OF_BUF);
            // As QEMU's device: an interrupt, and nothing to show for it.
            self.raise(vector);
            return false;
        };
        let is_whole = room >= stripped.len();
        let queues = self.active.as_ref().map_or(0, |active| active.rx.len());
        let second_ring = u32::try_from(QUEUE + queues).unwrap_or(0) << 16;
        let mut rest = &stripped[..];
        for (position, Taken { index, addr, len_bytes }) in buffers.into_iter().enumerate() {
            let (piece, more) = rest.split_at(rest.len().min(len_bytes));
            rest = more;
            self.put(addr, piece);
            let place = if position == 0 { SOP } else { second_ring };
            let mut words = [index | place, 0, u32::try_from(piece.len()).unwrap_or(0), 0];
            if position == last {
                words[0] |= EOP;
                words[2] |= if is_whole { 0 } else { ERR };
                words[2] |= tag.map_or(0, |tag| TS | u32::from(tag) << 16);
                for (word, more) in words.iter_mut().zip(extra) {
                    *word |= more;
                }
            }
            self.say_rx(QUEUE, words);
        }
        if is_whole {
            if let Some(queue) = self.rx(QUEUE) {
                queue.counters.count_frame(frame);
            }
        } else {
            self.count_rx(QUEUE, at::RX_ERROR);
        }
        self.raise(vector);
        is_whole
    }

    fn count_rx(&mut self, queue: usize, index: usize) {
        if let Some(queue) = self.rx(queue) {
            queue.counters.count(index);
        }
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
        if (word2 >> 14 & 1 != 0) != (ring == 1) {
            self.broken("a HEAD in ring 2 or a BODY in ring 1");
        }
        let (addr, len_bytes) = (u64::from(high) << 32 | u64::from(low), (word2 & 0x3fff) as usize);
        if len_bytes == 0 || (ring == 0 && len_bytes < MIN_HEAD_BYTES) {
            self.broken(format!("a receive buffer of {len_bytes} bytes"));
            if self.personality.stops_queues {
                self.stop_queue(QueueId::Rx(queue), stop::SMALL_BUF);
                return None;
            }
        }
        let lease = self.lease(addr, len_bytes, Direction::FromDevice);
        let state = &mut self.rx(queue)?.rings[ring];
        state.held.push_back(Buffer { index: at.next, addr, len_bytes, lease });
        state.ring.advance();
        Some(())
    }

    /// Takes the next buffer of a ring to fill it, or to pass over it.
    fn take(&mut self, queue: usize, ring: usize) -> Option<Taken> {
        self.fetch(queue, ring);
        let state = &mut self.rx(queue)?.rings[ring];
        let &Buffer { index, addr, len_bytes, .. } = state.held.get(state.used)?;
        state.used += 1;
        Some(Taken { index, addr, len_bytes })
    }

    /// Passes over `count` buffers of ring 1 without using them, as the device may.
    pub fn skip(&mut self, count: usize) {
        for _ in 0..count {
            let _ = self.take(0, 0);
        }
    }

    /// Returns the next buffer of ring 1 unused: a completion without a byte.
    pub fn return_unused(&mut self) {
        if let Some(Taken { index, .. }) = self.take(0, 0) {
            self.say_rx(0, [index | SOP | EOP, 0, 0, 0]);
        }
    }

    /// Writes a completion into receive queue 0, true or not; only its generation and type are the
    /// model's.
    pub fn complete_rx(&mut self, words: [u32; 4]) {
        self.fetch(0, 0);
        self.fetch(0, 1);
        self.say_rx(0, words);
    }

    /// A completion tells the driver that all buffers of its ring up to the one it names are its
    /// own again.
    pub(super) fn release_rx(&mut self, queue: usize, word0: u32) {
        let (index, id) = (word0 & 0xfff, (word0 >> 16 & 0x3ff) as usize);
        let queues = self.active.as_ref().map_or(0, |active| active.rx.len());
        let is_second = id == queue + queues;
        let Some(state) = self.rx(queue).map(|queue| &mut queue.rings[usize::from(is_second)]) else {
            return;
        };
        let last = state.held.iter().position(|buffer| buffer.index == index);
        match last.filter(|_| is_second || id == queue) {
            Some(last) => {
                state.used = state.used.saturating_sub(last + 1);
                let leases: Vec<_> = state.held.drain(..=last).filter_map(|buffer| buffer.lease).collect();
                self.give_back(&leases);
            }
            None => self.lose_track(),
        }
    }
}

/// Takes the tag off a tagged frame, if that is wanted.
fn strip(frame: &[u8], wanted: bool) -> (Vec<u8>, Option<u16>) {
    if !wanted || frame.len() < 16 || frame[12..14] != [0x81, 0x00] {
        return (frame.to_vec(), None);
    }
    let tag = u16::from_be_bytes([frame[14], frame[15]]);
    ([&frame[..12], &frame[16..]].concat(), Some(tag))
}
