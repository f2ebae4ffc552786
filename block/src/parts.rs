//! Cutting a request to what its device takes: the one place where that is done.
//!
//! ```text
//!  data      | piece 0                   | piece 1 | piece 2        |
//!  segments  | longest seg. | rest       |         |                |
//!  parts     | first: as many segments as go, whole blocks  | next  |
//! ```
//!
//! A piece longer than a segment becomes several segments. What has more segments or bytes than a
//! device takes at once becomes several parts, each of them whole blocks, so that a part may end in
//! the middle of a piece.

use paravane_hal::addr::DmaAddr;

use crate::data::Piece;
use crate::disk::{Limits, Transfer};

/// A segment, as a device is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartSegment {
    /// Where it is.
    pub addr: DmaAddr,
    /// How long.
    pub len_bytes: u32,
}

/// What a device is to do at once.
#[derive(Debug)]
pub struct Part<'a, P> {
    /// How many bytes of the request came before.
    pub offset_bytes: u64,
    /// How many bytes this part has.
    pub bytes: u32,
    /// How many segments: [`Limits::max_segments`] at most.
    pub count: u16,
    /// These segments.
    pub segments: Segments<'a, P>,
}

/// Not one block fits the segments that a device takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFragmented;

/// A place in the data.
#[derive(Debug)]
struct Place<'a, P> {
    /// The piece that it is in, and those behind.
    pieces: &'a [P],
    /// Where in that piece.
    offset_bytes: usize,
}

impl<P> Clone for Place<'_, P> {
    #[inline]
    fn clone(&self) -> Self {
        *self
    }
}
impl<P> Copy for Place<'_, P> {}

impl<P: Piece> Place<'_, P> {
    /// The segment that begins here, `most_bytes` long at most, and the place behind it. `None`
    /// where there is none, or it would have no bytes.
    #[inline(always)]
    fn segment(mut self, most_bytes: u32) -> Option<(PartSegment, Self)> {
        // Ends: each turn leaves a piece behind.
        while let [piece, behind @ ..] = self.pieces {
            let left = piece.len_bytes().saturating_sub(self.offset_bytes);
            if left == 0 {
                self = Self { pieces: behind, offset_bytes: 0 };
                continue;
            }
            let len = left.min(usize::try_from(most_bytes).unwrap_or(usize::MAX));
            let len_bytes = u32::try_from(len).unwrap_or(most_bytes);
            let addr = piece.dma_addr(self.offset_bytes).filter(|_| len > 0)?;
            // No further than the piece is long.
            let end = self.offset_bytes.wrapping_add(len);
            return Some((PartSegment { addr, len_bytes }, Self { offset_bytes: end, ..self }));
        }
        None
    }
}

/// The segments of a part, in order.
#[derive(Debug)]
pub struct Segments<'a, P> {
    next: Place<'a, P>,
    /// How many bytes are left of the part.
    bytes: u32,
    max_segment_bytes: u32,
}

impl<P> Clone for Segments<'_, P> {
    #[inline]
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

impl<'a, P: Piece> Part<'a, P> {
    /// `pieces`, which are all that `transfer` moves, as one part: they are within `limits`, says
    /// [`Limits::take`].
    #[must_use]
    #[inline(always)]
    pub fn whole(pieces: &'a [P], transfer: Transfer, limits: Limits) -> Self {
        let bytes = u32::try_from(transfer.bytes).unwrap_or(u32::MAX);
        let next = Place { pieces, offset_bytes: 0 };
        let segments = Segments { next, bytes, max_segment_bytes: limits.max_segment_bytes };
        Self { offset_bytes: 0, bytes, count: u16::try_from(transfer.segments).unwrap_or(u16::MAX), segments }
    }
}

impl<'a, P: Piece> Segments<'a, P> {
    /// How many they are, and the place behind them.
    #[cold]
    fn walk(mut self) -> (u16, Place<'a, P>) {
        let mut count = 0_u16;
        while self.next().is_some() {
            count = count.saturating_add(1);
        }
        (count, self.next)
    }
}

impl<P: Piece> Iterator for Segments<'_, P> {
    type Item = PartSegment;

    #[inline(always)]
    fn next(&mut self) -> Option<PartSegment> {
        if self.bytes == 0 {
            return None;
        }
        let (segment, behind) = self.next.segment(self.bytes.min(self.max_segment_bytes))?;
        self.next = behind;
        // It is no longer.
        self.bytes = self.bytes.wrapping_sub(segment.len_bytes);
        Some(segment)
    }
}

/// The parts of a request, one after the other.
#[derive(Debug)]
pub struct Parts<'a, P> {
    next: Place<'a, P>,
    limits: Limits,
    granule_bytes: u32,
    /// How many bytes came before,
    offset_bytes: u64,
    /// and how many are left.
    left_bytes: u64,
}

impl<'a, P: Piece> Parts<'a, P> {
    /// `pieces`, which are all that `transfer` moves, cut to `limits`.
    #[must_use]
    #[inline(always)]
    pub fn new(pieces: &'a [P], transfer: Transfer, limits: Limits) -> Self {
        let next = Place { pieces, offset_bytes: 0 };
        let Transfer { bytes, granule_bytes, .. } = transfer;
        Self { next, limits, granule_bytes: granule_bytes.max(1), offset_bytes: 0, left_bytes: bytes }
    }

    /// Cuts the next part off; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`TooFragmented`]; the same at every further call.
    #[inline(always)]
    pub fn cut(&mut self) -> Result<Option<Part<'a, P>>, TooFragmented> {
        if self.left_bytes == 0 {
            return Ok(None);
        }
        let Limits { max_segments, max_segment_bytes, max_bytes } = self.limits;
        let most_bytes = u32::try_from(self.left_bytes).map_or(max_bytes, |left| left.min(max_bytes));
        let (mut end, mut count, mut bytes) = (self.next, 0_u16, 0_u32);
        while count < max_segments && bytes < most_bytes {
            let Some((segment, behind)) = end.segment(max_segment_bytes.min(most_bytes.wrapping_sub(bytes)))
            else {
                break;
            };
            end = behind;
            // Neither goes beyond its limit.
            (count, bytes) = (count.wrapping_add(1), bytes.wrapping_add(segment.len_bytes));
        }
        let mut segments = Segments { next: self.next, bytes, max_segment_bytes };
        if u64::from(bytes) < self.left_bytes {
            bytes = bytes.wrapping_sub(bytes.checked_rem(self.granule_bytes).unwrap_or(0));
            if bytes == 0 {
                return Err(TooFragmented);
            }
            segments.bytes = bytes;
            (count, end) = segments.clone().walk();
        }
        let offset_bytes = self.offset_bytes;
        self.next = end;
        self.offset_bytes = offset_bytes.wrapping_add(bytes.into());
        self.left_bytes = self.left_bytes.wrapping_sub(bytes.into());
        Ok(Some(Part { offset_bytes, bytes, count, segments }))
    }
}
