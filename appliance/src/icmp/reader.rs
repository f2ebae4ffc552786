//! The bytes of a frame, over all its segments.

use paravane_net::{Frame, FrameSegment, FrameSegments};

use crate::packet::sum::Sum;

/// How much is summed at once: whole words, so that only the last one may be half.
const PIECE_BYTES: usize = 512;

/// A place in a frame.
#[derive(Debug)]
pub(crate) struct Reader<'f> {
    segment: Option<FrameSegment<'f>>,
    behind: FrameSegments<'f>,
    /// From the start of `segment`.
    at_bytes: usize,
}

impl<'f> Reader<'f> {
    /// The place `at_bytes` into `frame`.
    pub(crate) fn new(frame: &'f Frame, at_bytes: usize) -> Self {
        let mut behind = frame.segments();
        Self { segment: behind.next(), behind, at_bytes }
    }

    /// Copies what comes next until `to` is full or the frame ends; how many bytes.
    pub(crate) fn fill(&mut self, to: &mut [u8]) -> usize {
        let mut filled = 0_usize;
        while let Some(segment) = self.segment {
            let here = segment.len_bytes().saturating_sub(self.at_bytes);
            let end = filled.saturating_add(here.min(to.len().saturating_sub(filled)));
            let copied = to.get_mut(filled..end).is_some_and(|to| segment.copy_out(self.at_bytes, to));
            if !copied || end == to.len() {
                self.at_bytes = self.at_bytes.saturating_add(end.saturating_sub(filled));
                return if copied { end } else { filled };
            }
            filled = end;
            self.at_bytes = self.at_bytes.saturating_sub(segment.len_bytes());
            self.segment = self.behind.next();
        }
        filled
    }

    /// The sum of the next `len_bytes`; `None` when the frame has not as many.
    pub(crate) fn sum(mut self, len_bytes: usize) -> Option<Sum> {
        let (mut sum, mut left) = (Sum::ZERO, len_bytes);
        // Ends: each turn takes some off.
        while left != 0 {
            let mut piece = [0; PIECE_BYTES];
            let piece = piece.get_mut(..left.min(PIECE_BYTES))?;
            if self.fill(piece) != piece.len() {
                return None;
            }
            sum = sum.and_bytes(piece);
            left = left.saturating_sub(piece.len());
        }
        Some(sum)
    }
}
