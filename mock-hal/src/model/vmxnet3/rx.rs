//! The receive side: a frame, from the wire to its completions. Its buffers are `rx_ring`'s.

use super::Vmxnet3;
use super::checksum::verdict;
use super::faults::Later;
use super::layout::{queue_id, rcd, upt};
use super::queue::QueueId;
use super::rss::Hashed;
use super::rx_ring::Taken;
use super::segment::{Joined, Outer, join};
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
    /// What it was put together from, if it was.
    merged: Option<Merged>,
}

/// Frames that were put together.
#[derive(Clone, Copy)]
struct Merged {
    /// `segCnt`.
    segments: u8,
    /// `mss`.
    mss_bytes: u16,
    /// Together, before that.
    wire_bytes: u64,
}

impl<'a> Arrival<'a> {
    const fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, to: None, said: None, merged: None }
    }
}

impl Vmxnet3 {
    /// A frame arrives, for the queue that its hash says. Whether it was received whole: not
    /// without buffers, nor past the filter, nor by a queue that stopped.
    pub fn deliver(&mut self, frame: &[u8]) -> bool {
        self.arrive(Arrival::of(frame))
    }

    /// The same, with these bits set in its last completion (checksum verdict, hash and its type)
    /// in place of what the device would say of the frame. Where the frame is, how long, and what
    /// tag was taken off, is added.
    pub fn deliver_with(&mut self, frame: &[u8], extra: [u32; 4]) -> bool {
        self.arrive(Arrival { said: Some(extra), ..Arrival::of(frame) })
    }

    /// The same as [`deliver`](Self::deliver), to `queue` whatever the hash says.
    pub fn deliver_to(&mut self, queue: usize, frame: &[u8]) -> bool {
        self.arrive(Arrival { to: Some(queue), ..Arrival::of(frame) })
    }

    /// Frames of a connection arrive together, as [`cut`](super::cut) makes them. A device that was
    /// asked for LRO hands them over as one, where they follow one another; any other one by one.
    /// Whether all of them were received whole.
    ///
    /// From revision 2 on, the first completion of such a frame has type 4 and says how many there
    /// were and what each carried. Where it is the last one too, that is in the place of the hash.
    pub fn deliver_lro(&mut self, segments: &[Vec<u8>]) -> bool {
        let wants = self.active.as_ref().is_some_and(|active| active.features & upt::LRO != 0);
        let joined = if wants && segments.len() > 1 { join(segments) } else { None };
        let Some(Joined { bytes, segments: count, mss_bytes }) = joined else {
            return segments.iter().filter(|frame| self.deliver(frame)).count() == segments.len();
        };
        let wire_bytes = segments.iter().map(|frame| frame.len() as u64).sum();
        let merged = Some(Merged { segments: count, mss_bytes, wire_bytes });
        self.arrive(Arrival { merged, ..Arrival::of(&bytes) })
    }

    fn arrive(&mut self, arrival: Arrival<'_>) -> bool {
        if self.function.is_asleep() {
            if self.would_wake(arrival.bytes) && self.function.wake_up_call() {
                self.wake_up_calls += 1;
            }
            return false;
        }
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
        let in_slot = state.data.is_there()
            && arrival.merged.is_none()
            && stripped.len() <= state.data.slot_bytes as usize;
        let taken = if in_slot {
            self.take_slot(queue).into_iter().collect()
        } else {
            self.take_for(queue, stripped.len())
        };
        if taken.is_empty() {
            self.count_rx(queue, at::RX_OUT_OF_BUF);
            // As QEMU's device: an interrupt, and nothing to show for it.
            self.raise(vector);
            return false;
        }
        let is_whole = taken.iter().map(|taken| taken.len_bytes).sum::<usize>() >= stripped.len();
        let mut says = arrival.said.unwrap_or_else(|| self.describe(frame, hashed));
        says[2] |= if is_whole { 0 } else { rcd::ERR };
        says[2] |= tag.map_or(0, |tag| rcd::TS | u32::from(tag) << 16);
        self.fill(queue, &stripped, taken, says, arrival.merged);
        if is_whole {
            if let Some(queue) = self.rx(queue) {
                match arrival.merged {
                    None => queue.counters.count_frame(frame),
                    Some(Merged { segments, wire_bytes, .. }) => {
                        queue.counters.count_pair(at::LRO, 1, frame.len() as u64);
                        queue.counters.count_frames(frame, segments.into(), wire_bytes);
                    }
                }
            }
        } else {
            self.count_rx(queue, at::RX_ERROR);
        }
        self.interrupt_for(QueueId::Rx(queue), 1);
        is_whole
    }

    /// Puts a frame into buffers that were taken for it, and completes each; the last one `says`
    /// what there is to say of the frame.
    fn fill(
        &mut self,
        queue: usize,
        frame: &[u8],
        taken: Vec<Taken>,
        says: [u32; 4],
        merged: Option<Merged>,
    ) {
        let is_told = merged.is_some() && self.agreed_revision().is_some_and(|revision| revision >= 2);
        let queues = self.active.as_ref().map_or(0, |active| active.rx.len());
        let last = taken.len().saturating_sub(1);
        let mut rest = frame;
        for (position, Taken { source, index, addr, len_bytes }) in taken.into_iter().enumerate() {
            let (piece, more) = rest.split_at(rest.len().min(len_bytes));
            rest = more;
            self.put(addr, piece);
            let id = queue_id(queue, source, queues) << rcd::RQ_ID_SHIFT;
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
            if let Some(merged) = merged.filter(|_| position == 0 && is_told) {
                // Where the hash would be.
                words[0] &= !(0xf << rcd::RSS_TYPE_SHIFT);
                words[1] = merged.segments.into();
                words[3] |= rcd::LRO << rcd::TYPE_SHIFT | u32::from(merged.mss_bytes);
            }
            self.say_rx(queue, words);
        }
    }

    /// What the device says of a frame by itself.
    fn describe(&self, frame: &[u8], hashed: Option<Hashed>) -> [u32; 4] {
        let mut says = hashed.map_or([0; 4], |(kind, hash)| [kind << rcd::RSS_TYPE_SHIFT, hash, 0, 0]);
        let features = self.active.as_ref().map_or(0, |active| active.features);
        if self.personality.verifies_checksums {
            says[3] |= rcd::FCS;
            if features & upt::RXCSUM == 0 {
                says[0] |= rcd::CNC;
            } else {
                let outer = Outer::parse(frame).filter(|_| features & upt::RXINNEROFLD != 0);
                let [word0, word3] = verdict(frame, outer.map_or(0, |outer| outer.inner));
                says[0] |= word0 | if outer.is_some() { rcd::INNER } else { 0 };
                says[3] |= word3;
            }
        }
        says
    }

    fn count_rx(&mut self, queue: usize, index: usize) {
        if let Some(queue) = self.rx(queue) {
            queue.counters.count(index);
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
