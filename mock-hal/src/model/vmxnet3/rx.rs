//! The receive side: a frame, from the wire to its completions. Its buffers are `rx_ring`'s.

use super::Vmxnet3;
use super::faults::Later;
use super::layout::{queue_id, rcd, upt};
use super::rss::Hashed;
use super::rx_ring::Taken;
use super::stats::at;
use crate::fault::{Action, FaultPoint};

/// A frame that reached the device.
#[derive(Clone, Copy)]
struct Arrival<'a> {
    bytes: &'a [u8],
    /// The queue that it goes to, whatever its hash says.
    to: Option<usize>,
    /// What its last completion says of it besides where it is. The device says that by itself
    /// otherwise.
    said: Option<[u32; 4]>,
}

impl Vmxnet3 {
    /// A frame arrives, for the queue that its hash says. Whether it was received whole: not
    /// without buffers, nor past the filter, nor by a queue that stopped.
    pub fn deliver(&mut self, frame: &[u8]) -> bool {
        self.arrive(Arrival { bytes: frame, to: None, said: None })
    }

    /// The same, with these bits set in its last completion (checksum verdict, hash and its type)
    /// in place of what the device would say of the frame. Where the frame is, how long, and what
    /// tag was taken off, is added.
    pub fn deliver_with(&mut self, frame: &[u8], extra: [u32; 4]) -> bool {
        self.arrive(Arrival { bytes: frame, to: None, said: Some(extra) })
    }

    /// The same as [`deliver`](Self::deliver), to `queue` whatever the hash says.
    pub fn deliver_to(&mut self, queue: usize, frame: &[u8]) -> bool {
        self.arrive(Arrival { bytes: frame, to: Some(queue), said: None })
    }

    fn arrive(&mut self, arrival: Arrival<'_>) -> bool {
        let here =
            |action: &Action| matches!(action, Action::Drop | Action::Delay { .. } | Action::Duplicate);
        match self.ask(FaultPoint::Frame, 0, &mut (), here) {
            Some(Action::Drop) => return false,
            Some(Action::Delay { ticks }) => {
                self.put_off(ticks, Later::Frame(arrival.to, arrival.bytes.to_vec()));
                return false;
            }
            Some(Action::Duplicate) => drop(self.receive(arrival)),
            _ => {}
        }
        self.receive(arrival)
    }

    /// Which queue a frame goes to by its hash; and that hash. [`deliver`](Self::deliver) asks the
    /// same.
    pub(super) fn steer(&self, frame: &[u8]) -> (usize, Option<Hashed>) {
        let Some(active) = &self.active else { return (0, None) };
        let asked_for = active.features & upt::RSS != 0;
        let Some(rss) = active.rss.as_ref().filter(|_| asked_for) else { return (0, None) };
        let hashed = rss.hash(frame, active.rss_fields);
        (rss.queue(hashed), hashed)
    }

    /// The queue that a frame would go to. 0 without receive-side scaling, and for what has no
    /// hash.
    #[must_use]
    pub fn queue_of(&self, frame: &[u8]) -> usize {
        self.steer(frame).0
    }

    /// Whether a frame of `len_bytes` would find buffers, whichever queue it goes to.
    pub fn has_room(&mut self, len_bytes: usize) -> bool {
        let queues = self.active.as_ref().map_or(0, |active| active.rx.len());
        let spread = if self.active.as_ref().is_some_and(|active| active.rss.is_some()) { queues } else { 1 };
        queues > 0 && (0..spread).all(|queue| self.queue_has_room(queue, len_bytes))
    }

    /// A frame reached the device.
    fn receive(&mut self, arrival: Arrival<'_>) -> bool {
        let frame = arrival.bytes;
        let (mac, passes_untagged) = (self.mac, self.personality.passes_untagged);
        let (steered, hashed) = self.steer(frame);
        let queue = arrival.to.unwrap_or(steered);
        let Some(active) = self.active.as_ref().filter(|_| self.link) else { return false };
        let Some(state) = active.rx.get(queue).filter(|state| state.stopped.is_none()) else { return false };
        if !active.filter.passes(mac, frame, passes_untagged) {
            return false;
        }
        let vector = state.vector;
        let (stripped, tag) = strip(frame, active.features & upt::RXVLAN != 0);
        let taken = self.take_for(queue, stripped.len());
        if taken.is_empty() {
            self.count_rx(queue, at::RX_OUT_OF_BUF);
            // As QEMU's device: an interrupt, and nothing to show for it.
            self.raise(vector);
            return false;
        }
        let is_whole = taken.iter().map(|taken| taken.len_bytes).sum::<usize>() >= stripped.len();
        let mut says = arrival.said.unwrap_or_else(|| describe(hashed));
        says[2] |= if is_whole { 0 } else { rcd::ERR };
        says[2] |= tag.map_or(0, |tag| rcd::TS | u32::from(tag) << 16);
        self.fill(queue, &stripped, taken, says);
        if is_whole {
            if let Some(queue) = self.rx(queue) {
                queue.counters.count_frame(frame);
            }
        } else {
            self.count_rx(queue, at::RX_ERROR);
        }
        self.raise(vector);
        is_whole
    }

    /// Puts a frame into buffers that were taken for it, and completes each; the last one `says`
    /// what there is to say of the frame.
    fn fill(&mut self, queue: usize, frame: &[u8], taken: Vec<Taken>, says: [u32; 4]) {
        let queues = self.active.as_ref().map_or(0, |active| active.rx.len());
        let last = taken.len().saturating_sub(1);
        let mut rest = frame;
        for (position, Taken { ring, index, addr, len_bytes }) in taken.into_iter().enumerate() {
            let (piece, more) = rest.split_at(rest.len().min(len_bytes));
            rest = more;
            self.put(addr, piece);
            let id = queue_id(queue, ring, queues) << rcd::RQ_ID_SHIFT;
            let mut words = [index | id, 0, u32::try_from(piece.len()).unwrap_or(0), 0];
            if position == 0 {
                words[0] |= rcd::SOP;
            }
            if position == last {
                words[0] |= rcd::EOP;
                for (word, more) in words.iter_mut().zip(says) {
                    *word |= more;
                }
            }
            self.say_rx(queue, words);
        }
    }

    fn count_rx(&mut self, queue: usize, index: usize) {
        if let Some(queue) = self.rx(queue) {
            queue.counters.count(index);
        }
    }
}

/// What the device says of a frame by itself.
fn describe(hashed: Option<Hashed>) -> [u32; 4] {
    hashed.map_or([0; 4], |(kind, hash)| [kind << rcd::RSS_TYPE_SHIFT, hash, 0, 0])
}

/// Takes the tag off a tagged frame, if that is wanted.
fn strip(frame: &[u8], wanted: bool) -> (Vec<u8>, Option<u16>) {
    if !wanted || frame.len() < 16 || frame[12..14] != [0x81, 0x00] {
        return (frame.to_vec(), None);
    }
    let tag = u16::from_be_bytes([frame[14], frame[15]]);
    ([&frame[..12], &frame[16..]].concat(), Some(tag))
}
