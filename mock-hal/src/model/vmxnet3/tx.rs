//! The transmit side.

use super::Vmxnet3;

/// A frame that left the device, with what was asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
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

impl Vmxnet3 {
    /// Frames sent since the last call.
    pub fn take_sent(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.sent)
    }

    /// Looks at the transmit ring by itself, as a device does that may be told less often.
    pub fn look(&mut self) {
        if !self.personality.needs_doorbell {
            self.transmit();
        }
    }

    /// Sends every frame that is there in full.
    pub(super) fn transmit(&mut self) {
        let mut completed = false;
        while let Some(asked) = self.transmit_one() {
            completed |= asked;
        }
        if let Some(active) = self.active.filter(|_| completed) {
            self.raise(active.tx_vector);
        }
    }

    /// Sends one frame. Whether it was completed; `None` when there was none.
    fn transmit_one(&mut self) -> Option<bool> {
        let mut active = self.active?;
        let mut frame = Sent { bytes: Vec::new(), descriptors: 0, om: 0, hlen: 0, msscof: 0, tag: None };
        loop {
            let [low, high, word2, word3] = self.words(active.tx.addr());
            if (word2 >> 14 & 1 != 0) != active.tx.generation {
                if frame.descriptors > 0 {
                    self.broken("a frame was shown to the device before all of it was there");
                }
                return None;
            }
            if word2 & 0b11 << 16 != 0 || word3 & 1 << 14 != 0 {
                self.broken(format!("reserved bits in a transmit descriptor: {word2:#x} {word3:#x}"));
            }
            let len = match word2 & 0x3fff {
                0 => 1 << 14,
                len => len as usize,
            };
            if frame.descriptors == 0 {
                frame.om = word3 >> 10 & 3;
                frame.hlen = word3 & 0x3ff;
                frame.msscof = word2 >> 18;
                frame.tag = (word3 >> 15 & 1 != 0).then_some((word3 >> 16) as u16);
            } else if word2 >> 18 != 0 || word3 & !(1 << 12 | 1 << 13) != 0 {
                self.broken("offload fields in a descriptor that does not start a frame");
            }
            let start = frame.bytes.len();
            frame.bytes.resize(start + len, 0);
            self.read_memory(u64::from(high) << 32 | u64::from(low), &mut frame.bytes[start..]);
            frame.descriptors += 1;
            if frame.descriptors > 24 {
                self.broken("a frame without an end");
                return None;
            }
            let eop_index = active.tx.next;
            active.tx.advance();
            if word3 >> 12 & 1 != 0 {
                let asked = word3 >> 13 & 1 != 0 || self.personality.completes_every_frame;
                self.active = Some(active);
                self.stats.tx_frames += 1;
                self.stats.tx_bytes += frame.bytes.len() as u64;
                self.sent.push(frame);
                if asked {
                    self.complete_tx(eop_index);
                }
                return Some(asked);
            }
        }
    }

    /// Writes a transmit completion that names `eop_index`, true or not.
    pub fn complete_tx(&mut self, eop_index: u32) {
        self.say_tx(eop_index);
    }
}
