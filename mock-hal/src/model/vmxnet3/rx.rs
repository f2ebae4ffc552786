//! The receive side.

use super::faults::Later;
use super::{Active, Vmxnet3};
use crate::fault::{Action, FaultPoint};

/// A posted buffer that the device took.
struct Taken {
    addr: u64,
    len: usize,
    index: u32,
}

impl Vmxnet3 {
    /// A frame arrives. Whether it was received: not without a buffer, nor past the filter's kinds of address.
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

    /// A frame reached the device.
    fn receive(&mut self, frame: &[u8], extra: [u32; 4]) -> bool {
        let Some(active) = self.active.filter(|active| self.passes(active, frame)) else { return false };
        let mut rest = frame;
        let mut buffers = 0;
        while !rest.is_empty() || buffers == 0 {
            let first = buffers == 0;
            let taken = if buffers < active.max_rx_buffers { self.take(usize::from(!first)) } else { None };
            let Some(Taken { addr, len, index }) = taken else {
                if first {
                    self.stats.rx_out_of_buffers += 1;
                    // As QEMU's device: an interrupt, and nothing to show for it.
                    self.raise(active.rx_vector);
                } else {
                    self.broken("a frame ran out of buffers");
                }
                return false;
            };
            let (piece, more) = rest.split_at(rest.len().min(len));
            self.put(addr, piece);
            rest = more;
            let is_last = rest.is_empty();
            let flags = u32::from(is_last) << 14 | u32::from(first) << 15 | u32::from(!first) << 16;
            let mut words = [index | flags, 0, u32::try_from(piece.len()).unwrap_or(0), 0];
            if is_last {
                for (word, more) in words.iter_mut().zip(extra) {
                    *word |= more;
                }
            }
            self.complete_rx(words);
            buffers += 1;
        }
        self.stats.rx_frames += 1;
        self.stats.rx_bytes += frame.len() as u64;
        self.raise(active.rx_vector);
        true
    }

    fn passes(&self, active: &Active, frame: &[u8]) -> bool {
        let to = frame.get(..6).unwrap_or(&[0; 6]);
        let mode = active.rx_mode;
        let wanted = if to == self.mac {
            1
        } else if to == [0xff; 6] {
            1 << 2
        } else if to[0] & 1 != 0 {
            1 << 3
        } else {
            0
        };
        mode & (wanted | 1 << 4) != 0
    }

    /// Takes the next buffer of a ring, if the driver posted one and, where that is wanted, said so.
    fn take(&mut self, ring_index: usize) -> Option<Taken> {
        let mut active = self.active?;
        let ring = active.rx[ring_index];
        let [low, high, word2, word3] = self.words(ring.addr());
        if (word2 >> 31 != 0) != ring.generation {
            return None;
        }
        if self.personality.update_rx_prod && active.rx_told[ring_index].is_none_or(|told| told == ring.next)
        {
            return None;
        }
        if word3 != 0 || word2 & 0x7fff_8000 != 0 {
            self.broken(format!("reserved bits in a receive descriptor: {word2:#x} {word3:#x}"));
        }
        if (word2 >> 14 & 1 != 0) != (ring_index == 1) {
            self.broken("a HEAD in ring 2 or a BODY in ring 1");
        }
        let len = (word2 & 0x3fff) as usize;
        if len == 0 || (ring_index == 0 && len < 128) {
            self.broken(format!("a receive buffer of {len} bytes"));
        }
        let index = ring.next;
        active.rx[ring_index].advance();
        self.active = Some(active);
        Some(Taken { addr: u64::from(high) << 32 | u64::from(low), len, index })
    }

    /// Passes over `count` buffers of ring 1 without using them, as the device may.
    pub fn skip(&mut self, count: usize) {
        for _ in 0..count {
            let _ = self.take(0);
        }
    }

    /// Returns the next buffer of ring 1 unused: a completion without a byte.
    pub fn return_unused(&mut self) {
        if let Some(Taken { index, .. }) = self.take(0) {
            self.complete_rx([index | 0b11 << 14, 0, 0, 0]);
        }
    }

    /// Which slot of a ring it will use next.
    #[must_use]
    pub fn next_rx(&self, ring: usize) -> u32 {
        self.active.map_or(0, |active| active.rx[ring].next)
    }

    /// Writes a receive completion, true or not; only its generation and type are the model's.
    pub fn complete_rx(&mut self, words: [u32; 4]) {
        let [word0, word1, word2, word3] = words;
        self.say_rx([word0, word1, word2, word3 & 0x00ff_ffff | self.personality.rcd_type << 24]);
    }
}
