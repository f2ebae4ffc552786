//! Completing a checksum in software, where no device does it.

use super::{Frame, FrameSegment, segment};
use crate::offload::{RxChecksum, TxOffload};

/// How much is summed at once: copied out of memory that a device may write, it fits the stack.
const PIECE_BYTES: usize = 256;

impl Frame {
    /// Completes the layer-4 checksum that the frame asks for, over all its segments, so that it
    /// asks no more; that of the frame inside as well, for one in a tunnel. True also when it asks
    /// for none.
    ///
    /// False, and nothing is written, when the request does not fit the frame, or when it is to be
    /// cut: each segment has a checksum of its own.
    #[must_use]
    pub fn complete_checksum(&mut self) -> bool {
        let TxOffload { checksum, segmentation } = self.offload();
        let Some(request) = checksum else { return segmentation.is_none() };
        let start = usize::from(request.start_bytes);
        let field = start.saturating_add(usize::from(request.offset_bytes));
        if segmentation.is_some() || field.saturating_add(2) > self.total_bytes() {
            return false;
        }
        let Some(sum) = self.sum_from(start) else { return false };
        // Zero means "no checksum" to UDP; its other representation says the same to everyone.
        let checksum = match !sum {
            0 => 0xffff,
            other => other,
        };
        let [high, low] = checksum.to_be_bytes();
        if !(self.put_byte(field, high) && self.put_byte(field.saturating_add(1), low)) {
            return false;
        }
        self.set_offload(TxOffload::default());
        self.set_tunnel(None);
        self.set_rx_checksum(RxChecksum::Unverified);
        true
    }

    /// The Internet checksum's sum of the frame from `start` on: folded, not complemented.
    fn sum_from(&self, start: usize) -> Option<u16> {
        let mut sum = Sum::default();
        let mut skip = start;
        for segment in self.segments() {
            let len = segment.len_bytes();
            let mut at = skip.min(len);
            skip = skip.saturating_sub(len);
            while at < len {
                let mut piece = [0; PIECE_BYTES];
                let piece = piece.get_mut(..len.saturating_sub(at).min(PIECE_BYTES))?;
                if !segment.copy_out(at, piece) {
                    return None;
                }
                sum.add(piece);
                at = at.saturating_add(piece.len());
            }
        }
        Some(sum.folded())
    }

    /// Overwrites the byte `at` bytes into the frame, in whichever segment it lies. False past its
    /// end.
    fn put_byte(&mut self, mut at: usize, byte: u8) -> bool {
        let holds = |segment: FrameSegment<'_>| match at.checked_sub(segment.len_bytes()) {
            Some(beyond) => {
                at = beyond;
                false
            }
            None => true,
        };
        let Some(index) = self.segments().position(holds) else { return false };
        self.0.change(index, |found| segment::write(found, at, &byte)) == Some(true)
    }
}

/// A sum of 16-bit words whose bytes come in pieces of any length.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum {
    words: u64,
    /// The next byte is the low half of a word.
    is_odd: bool,
}

impl Sum {
    pub(crate) fn add(&mut self, piece: &[u8]) {
        let mut rest = piece;
        if let (true, [low, after @ ..]) = (self.is_odd, piece) {
            self.words = self.words.wrapping_add(u64::from(*low));
            self.is_odd = false;
            rest = after;
        }
        let (words, last) = rest.as_chunks::<2>();
        // A frame is far too short for the sum to wrap.
        for word in words {
            self.words = self.words.wrapping_add(u64::from(u16::from_be_bytes(*word)));
        }
        if let [high] = last {
            self.words = self.words.wrapping_add(u64::from(*high) << 8);
            self.is_odd = true;
        }
    }

    pub(crate) fn folded(self) -> u16 {
        let mut sum = self.words;
        while sum > 0xffff {
            sum = (sum & 0xffff).wrapping_add(sum >> 16);
        }
        u16::try_from(sum).unwrap_or(u16::MAX)
    }
}
