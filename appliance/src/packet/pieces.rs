//! What it takes to cut a packet: the header of each piece, and payload that moves into it.

use paravane_hal::pool::Chain;
use paravane_net::{Frame, FramePool, payload_bytes};

use super::Malformed;
use super::edit::{EditError, trim};
use super::sum::Sum;

/// The longest headers that are copied to each piece: Ethernet, IP with options or extensions, and
/// TCP with options.
pub(super) const MAX_HEADER_BYTES: usize = 192;
/// The most pieces that one packet is cut into: 64 KiB in pieces of as many bytes as a TCP segment
/// has at the least.
pub(super) const MAX_PIECES: usize = 1024;
/// How much is copied at once. It fits the stack.
const STEP_BYTES: usize = 512;

/// Why a frame is not cut. It is whole then, as it was, and no piece of it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CutError {
    /// Its headers cannot be read.
    Malformed(Malformed),
    /// It is not to be cut: it does not ask for it, forbids it, or is no packet that can be.
    NotToBeCut,
    /// What it asks for does not fit its headers, or these are longer than any are.
    Headers,
    /// No payload fits a piece: an MSS of zero, or an MTU that is hardly longer than the headers.
    Size,
    /// A piece would not fit a buffer of the pool.
    TooLong,
    /// It would come to more pieces than anyone needs.
    TooMany,
    /// The pool has not as many buffers now.
    PoolDry,
}

impl From<Malformed> for CutError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<EditError> for CutError {
    fn from(_: EditError) -> Self {
        Self::Headers
    }
}

/// Takes as many frames as there will be pieces, all or none. The longest is `piece_bytes` long.
pub(super) fn reserve(pool: &FramePool, pieces: usize, piece_bytes: usize) -> Result<Chain<Frame>, CutError> {
    if piece_bytes > payload_bytes(pool) {
        return Err(CutError::TooLong);
    }
    if pieces > MAX_PIECES {
        return Err(CutError::TooMany);
    }
    let free = pool.take(pieces);
    if free.len() < pieces { Err(CutError::PoolDry) } else { Ok(free) }
}

/// The headers of a piece, as they will be in it.
#[derive(Clone, Copy, Debug)]
#[repr(align(8))]
pub(super) struct Header {
    bytes: [u8; MAX_HEADER_BYTES],
    len_bytes: usize,
}

impl Header {
    /// The first `len_bytes` of `frame`; `None` if its first segment has not as many, or they are
    /// too many.
    pub(super) fn of(frame: &Frame, len_bytes: usize) -> Option<Self> {
        let mut header = Self { bytes: [0; MAX_HEADER_BYTES], len_bytes };
        let bytes = header.bytes.get_mut(..len_bytes)?;
        let is_there = len_bytes <= frame.segment_bytes() && frame.first_segment().copy_out(0, bytes);
        is_there.then_some(header)
    }

    /// All of it.
    pub(super) fn bytes(&self) -> &[u8] {
        self.behind(0)
    }

    /// What of it is behind the first `at_bytes`.
    pub(super) fn behind(&self, at_bytes: usize) -> &[u8] {
        self.bytes.get(at_bytes..self.len_bytes).unwrap_or_default()
    }

    /// From `at_bytes` to `end_bytes`.
    pub(super) fn within(&self, at_bytes: usize, end_bytes: usize) -> &[u8] {
        self.bytes.get(at_bytes..end_bytes).unwrap_or_default()
    }

    /// Puts `bytes` at `at_bytes`; no place is asked for that the header has not.
    pub(super) fn put<const N: usize>(&mut self, at_bytes: usize, bytes: [u8; N]) {
        if let Some(place) = self.bytes.get_mut(at_bytes..).and_then(|rest| rest.first_chunk_mut()) {
            *place = bytes;
        }
    }

    /// Shortens it.
    pub(super) fn truncate(&mut self, len_bytes: usize) {
        self.len_bytes = self.len_bytes.min(len_bytes);
    }

    /// Sums an IPv4 header anew that lies at `at_bytes`, `header_bytes` long: it is ours.
    pub(super) fn sum_v4(&mut self, at_bytes: usize, header_bytes: usize) {
        let checksum_at = at_bytes.saturating_add(V4_CHECKSUM_AT);
        self.put(checksum_at, [0; 2]);
        let sum = Sum::ZERO.and_bytes(self.within(at_bytes, at_bytes.saturating_add(header_bytes)));
        self.put(checksum_at, sum.checksum().to_be_bytes());
    }
}

/// Where the checksum is in an IPv4 header.
const V4_CHECKSUM_AT: usize = 10;

/// What is not in a piece yet. Buffers go home as soon as they are empty.
#[derive(Debug)]
pub(super) struct Payload(Option<Frame>);

impl Payload {
    /// What follows the first `header_bytes` of `frame` up to `end_bytes`, where its packet ends.
    /// `None` if they are not all in the first segment.
    ///
    /// # Errors
    ///
    /// The frame, as it was.
    pub(super) fn of(mut frame: Frame, header_bytes: usize, end_bytes: usize) -> Result<Self, Frame> {
        if trim(&mut frame, end_bytes).is_err() {
            return Err(frame);
        }
        match u16::try_from(header_bytes) {
            Ok(header_bytes) if frame.trim_front(header_bytes) => Ok(Self(Some(frame))),
            _ => Err(frame),
        }
    }

    /// Adds the next `len_bytes` to the end of `piece`, which gives their sum; `None` when there
    /// are not as many, or they do not fit.
    pub(super) fn move_to(&mut self, piece: &mut Frame, len_bytes: usize) -> Option<Sum> {
        let (mut sum, mut moved) = (Sum::ZERO, 0_usize);
        // Ends: each turn moves a byte at least, or leaves a segment behind.
        while moved < len_bytes {
            let from = self.0.as_mut()?;
            let here = from.segment_bytes();
            if here == 0 {
                self.0 = from.take_next();
                continue;
            }
            // First to where words begin, then in whole ones: both sides of a copy lie alike.
            let skew = from.headroom_bytes() & 7;
            let to_word = if skew == 0 { STEP_BYTES } else { 8_usize.saturating_sub(skew) };
            let len = len_bytes.saturating_sub(moved).min(here).min(to_word);
            let mut step = Step([0; STEP_BYTES + 8]);
            let bytes = step.0.get_mut(skew..skew.saturating_add(len))?;
            let is_moved = from.first_segment().copy_out(0, bytes)
                && piece.append(bytes)
                && from.trim_front(u16::try_from(len).ok()?);
            if !is_moved {
                return None;
            }
            sum = if moved % 2 == 0 { sum.and_bytes(bytes) } else { sum.and_odd_bytes(bytes) };
            moved = moved.saturating_add(len);
        }
        Some(sum)
    }
}

/// Bytes on their way.
#[repr(align(8))]
struct Step([u8; STEP_BYTES + 8]);
