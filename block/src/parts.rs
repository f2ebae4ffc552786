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

use alloc::vec::Vec;

use paravane_hal::addr::DmaAddr;

use crate::data::Piece;
use crate::disk::Limits;

/// A segment, as a device is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartSegment {
    /// Where it is.
    pub addr: DmaAddr,
    /// How long.
    pub len_bytes: u32,
}

/// What a device is to do at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// How many bytes of the request came before.
    pub offset_bytes: u64,
    /// How many bytes this part has.
    pub bytes: u32,
}

/// Not one block fits the segments that a device takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFragmented;

/// A place in the data.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    piece: usize,
    offset_bytes: usize,
}

/// The parts of a request, one after the other.
#[derive(Debug)]
pub struct Parts<'a, P> {
    pieces: &'a [P],
    limits: Limits,
    granule_bytes: u32,
    next: Place,
    offset_bytes: u64,
}

impl<'a, P: Piece> Parts<'a, P> {
    /// `pieces` cut to `limits`, at multiples of `granule_bytes`, of which their length is one.
    #[must_use]
    pub fn new(pieces: &'a [P], limits: Limits, granule_bytes: u32) -> Self {
        Self { pieces, limits, granule_bytes: granule_bytes.max(1), next: Place::default(), offset_bytes: 0 }
    }

    /// Puts the segments of the next part into `segments`, in the place of whatever is there:
    /// [`Limits::max_segments`] at most, so with room for that many nothing is allocated. `None` at
    /// the end.
    ///
    /// # Errors
    ///
    /// [`TooFragmented`]; the same at every further call.
    pub fn next(&mut self, segments: &mut Vec<PartSegment>) -> Result<Option<Part>, TooFragmented> {
        segments.clear();
        let max_bytes = self.limits.max_bytes;
        let mut at = self.next;
        let mut bytes = 0_u32;
        // Up to where all are whole granules: bytes, segments with the length of the last, place.
        let mut whole: Option<(u32, usize, u32, Place)> = None;
        while segments.len() < usize::from(self.limits.max_segments) && bytes < max_bytes {
            let Some(piece) = self.pieces.get(at.piece) else { break };
            let left = piece.len_bytes().saturating_sub(at.offset_bytes);
            let most = self.limits.max_segment_bytes.min(max_bytes.saturating_sub(bytes));
            let len_bytes = u32::try_from(left).unwrap_or(u32::MAX).min(most);
            let Some(addr) = piece.dma_addr(at.offset_bytes).filter(|_| len_bytes > 0) else {
                if left > 0 {
                    // No segment can be that short.
                    break;
                }
                at = Place { piece: at.piece.saturating_add(1), offset_bytes: 0 };
                continue;
            };
            segments.push(PartSegment { addr, len_bytes });
            let before = bytes;
            bytes = bytes.saturating_add(len_bytes);
            let boundary = bytes.saturating_sub(bytes.checked_rem(self.granule_bytes).unwrap_or(0));
            if boundary > before {
                let last_bytes = boundary.saturating_sub(before);
                whole = Some((boundary, segments.len(), last_bytes, at.after(last_bytes)));
            }
            at = at.after(len_bytes);
        }
        let Some((bytes, count, last_bytes, next)) = whole else {
            segments.clear();
            let rest = self.pieces.get(self.next.piece..).unwrap_or_default();
            let left = rest.iter().map(Piece::len_bytes).fold(0, usize::saturating_add);
            return if left > self.next.offset_bytes { Err(TooFragmented) } else { Ok(None) };
        };
        segments.truncate(count);
        if let Some(last) = segments.last_mut() {
            last.len_bytes = last_bytes;
        }
        let part = Part { offset_bytes: self.offset_bytes, bytes };
        self.next = next;
        self.offset_bytes = self.offset_bytes.saturating_add(bytes.into());
        Ok(Some(part))
    }
}

impl Place {
    /// The place `bytes` further in the same piece.
    fn after(self, bytes: u32) -> Self {
        // A piece is memory, so its length fits.
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        Self { offset_bytes: self.offset_bytes.saturating_add(bytes), ..self }
    }
}
