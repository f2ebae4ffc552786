//! One segment of a frame.

use paravane_hal::addr::DmaAddr;
use paravane_hal::dma::DomainTag;
use paravane_hal::pool::{Buffer, BufferMut};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::header::asks;
use super::{FrameHeader, HEADROOM_BYTES};
use crate::offload::ChecksumRequest;

/// One segment of a frame, to be looked at.
#[derive(Clone, Copy, Debug)]
pub struct FrameSegment<'f>(pub(super) &'f Buffer<FrameHeader>);

impl<'f> From<&'f Buffer<FrameHeader>> for FrameSegment<'f> {
    #[inline(always)]
    fn from(buffer: &'f Buffer<FrameHeader>) -> Self {
        Self(buffer)
    }
}

impl<'f> FrameSegment<'f> {
    /// How long it is.
    #[must_use]
    #[inline(always)]
    pub fn len_bytes(self) -> usize {
        usize::from(self.0.summary.len_bytes)
    }

    /// Room in front of it.
    #[must_use]
    #[inline(always)]
    pub fn headroom_bytes(self) -> usize {
        usize::from(self.0.summary.head_bytes)
    }

    /// Which DMA domain it is in.
    #[must_use]
    #[inline(always)]
    pub fn domain(self) -> DomainTag {
        self.0.domain()
    }

    /// Where a device of that domain finds its first byte.
    #[must_use]
    #[inline(always)]
    pub fn dma_addr(self) -> DmaAddr {
        self.dma_addr_before(0).unwrap_or_else(|| unreachable_head(self.0))
    }

    /// Where the device finds the byte `before_bytes` in front of it. `None` without that much
    /// headroom.
    #[must_use]
    #[inline(always)]
    pub fn dma_addr_before(self, before_bytes: u16) -> Option<DmaAddr> {
        self.0.dma_addr(usize::from(self.0.summary.head_bytes.checked_sub(before_bytes)?))
    }

    /// Where the device finds the byte `before_bytes` in front of a segment that is fresh: a place
    /// known beforehand.
    #[must_use]
    #[inline(always)]
    pub fn fresh_dma_addr_before(self, before_bytes: u16) -> DmaAddr {
        self.0
            .dma_addr(usize::from(HEADROOM_BYTES.saturating_sub(before_bytes)))
            .unwrap_or_else(|| unreachable_head(self.0))
    }

    /// Whether the frame that starts with it asks nothing of the device that sends it, is one
    /// segment, and starts where fresh frames start: by far the most.
    ///
    /// Asked first, it lets the compiler work out where the head is.
    #[must_use]
    #[inline(always)]
    pub fn is_plain(self) -> bool {
        self.0.next().is_none() && self.0.summary.is_fresh_and_asks(0)
    }

    /// Whether the frame that starts with it is plain but for a checksum that it
    /// [asks for](Self::asked_checksum).
    #[must_use]
    #[inline(always)]
    pub fn is_plain_with_checksum(self) -> bool {
        self.0.next().is_none() && self.0.summary.is_fresh_and_asks(asks::CHECKSUM)
    }

    /// The same, whether it asks for one or not.
    #[must_use]
    #[inline(always)]
    pub fn is_plain_but_checksum(self) -> bool {
        self.is_plain() || self.is_plain_with_checksum()
    }

    /// Whether the frame that starts with it starts where fresh frames start, and asks for a
    /// checksum at most, whatever it is made of.
    #[must_use]
    #[inline(always)]
    pub fn starts_fresh(self) -> bool {
        self.0.summary.is_fresh_and_asks(0) || self.0.summary.is_fresh_and_asks(asks::CHECKSUM)
    }

    /// Whether the frame that starts with it asks for no more than a checksum, whatever it is made
    /// of.
    #[must_use]
    #[inline(always)]
    pub fn asks_no_more_than_a_checksum(self) -> bool {
        self.0.asks_no_more_than_a_checksum()
    }

    /// The checksum that a frame asks for which starts with it, and asks for no more.
    #[must_use]
    #[inline(always)]
    pub fn asked_checksum(self) -> Option<ChecksumRequest> {
        self.0.asks(asks::CHECKSUM).then_some(self.0.checksum)
    }

    /// The one that continues it.
    #[must_use]
    #[inline(always)]
    pub fn next(self) -> Option<Self> {
        self.0.next().map(Self)
    }

    /// Reads a plain value from it, once; `None` past its end.
    #[must_use]
    #[inline]
    pub fn read<T: FromBytes>(self, offset_bytes: usize) -> Option<T> {
        self.0.read(place(self, offset_bytes, size_of::<T>())?)
    }

    /// Copies bytes out of its buffer from `offset_bytes` on, counted from its start. False when
    /// they run past the buffer's end.
    #[must_use = "false says that nothing was copied"]
    #[inline]
    pub fn copy_out(self, offset_bytes: usize, to: &mut [u8]) -> bool {
        self.0.copy_out(self.headroom_bytes().saturating_add(offset_bytes), to)
    }
}

/// The first segment of a frame, to be changed where it is.
#[derive(Debug)]
pub struct FrameSegmentMut<'f>(BufferMut<'f, FrameHeader>);

impl<'f> From<BufferMut<'f, FrameHeader>> for FrameSegmentMut<'f> {
    #[inline(always)]
    fn from(buffer: BufferMut<'f, FrameHeader>) -> Self {
        Self(buffer)
    }
}

impl FrameSegmentMut<'_> {
    /// To be looked at.
    #[must_use]
    #[inline(always)]
    pub fn look(&self) -> FrameSegment<'_> {
        FrameSegment(&self.0)
    }

    /// Writes a device header of `size_of::<T>()` bytes right in front of a frame that [starts
    /// fresh](FrameSegment::starts_fresh): where, is known beforehand. False without that much
    /// headroom.
    #[must_use = "false says that it did not fit, and nothing changed"]
    #[inline(always)]
    pub fn write_before_fresh<T: IntoBytes + Immutable>(&mut self, header: &T) -> bool {
        match usize::from(HEADROOM_BYTES).checked_sub(size_of::<T>()) {
            Some(at) => self.0.write(at, header),
            None => false,
        }
    }

    /// Overwrites a plain value in it. False past its end.
    #[must_use = "false says that it did not fit, and nothing changed"]
    #[inline]
    pub fn write<T: IntoBytes + Immutable>(&mut self, offset_bytes: usize, value: &T) -> bool {
        place(self.look(), offset_bytes, size_of::<T>()).is_some_and(|at| self.0.write(at, value))
    }

    /// Overwrites two of them, each at its place; where one is past its end, neither.
    #[must_use = "false says that it did not fit, and nothing changed"]
    #[inline(always)]
    pub fn write_both<A, B>(&mut self, one: (usize, &A), other: (usize, &B)) -> bool
    where
        A: IntoBytes + Immutable,
        B: IntoBytes + Immutable,
    {
        let segment = self.look();
        let places = place(segment, one.0, size_of::<A>()).zip(place(segment, other.0, size_of::<B>()));
        places.is_some_and(|(here, there)| self.0.write(here, one.1) && self.0.write(there, other.1))
    }

    /// Takes off what is behind `len_bytes`. False where it is shorter than that.
    #[must_use = "false says that it is shorter"]
    #[inline]
    pub fn truncate(&mut self, len_bytes: usize) -> bool {
        match u16::try_from(len_bytes) {
            Ok(len) if len <= self.0.summary.len_bytes => {
                self.0.header_mut().summary.len_bytes = len;
                true
            }
            _ => false,
        }
    }
}

/// The segments of a frame, first to last.
#[derive(Clone, Debug)]
pub struct FrameSegments<'f>(pub(super) Option<FrameSegment<'f>>);

impl<'f> Iterator for FrameSegments<'f> {
    type Item = FrameSegment<'f>;

    #[inline(always)]
    fn next(&mut self) -> Option<FrameSegment<'f>> {
        let segment = self.0?;
        self.0 = segment.next();
        Some(segment)
    }
}

/// The head never leaves the buffer, so this is never reached; should it be, the buffer's end is a
/// harmless answer.
#[cold]
pub(super) fn unreachable_head(buffer: &Buffer<FrameHeader>) -> DmaAddr {
    buffer.dma_addr(buffer.len_bytes()).unwrap_or_else(|| unreachable_head(buffer))
}

/// Overwrites a plain value in a segment. False past its end.
#[inline]
pub(super) fn write<T: IntoBytes + Immutable>(
    segment: &mut Buffer<FrameHeader>,
    offset_bytes: usize,
    value: &T,
) -> bool {
    place(FrameSegment(segment), offset_bytes, size_of::<T>()).is_some_and(|at| segment.write(at, value))
}

/// Where so many bytes of a segment are in its buffer, `offset_bytes` from its start; `None` past
/// its end.
#[inline(always)]
fn place(segment: FrameSegment<'_>, offset_bytes: usize, bytes: usize) -> Option<usize> {
    let end = offset_bytes.checked_add(bytes)?;
    if end > segment.len_bytes() {
        return None;
    }
    segment.headroom_bytes().checked_add(offset_bytes)
}

/// Adds `bytes` to a segment's end. False, and nothing changes, when there is no room.
#[inline]
pub(super) fn append(segment: &mut Buffer<FrameHeader>, bytes: &[u8]) -> bool {
    let (head, len) = (segment.summary.head_bytes, segment.summary.len_bytes);
    let end = usize::from(head).saturating_add(usize::from(len));
    let Some(len) = u16::try_from(bytes.len()).ok().and_then(|more| len.checked_add(more)) else {
        return false;
    };
    if !segment.copy_in(end, bytes) {
        return false;
    }
    segment.summary.len_bytes = len;
    true
}

/// Adds `missing` zeroes to a segment's end. False, and nothing changes, when there is no room.
pub(super) fn pad(segment: &mut Buffer<FrameHeader>, mut missing: usize) -> bool {
    const ZEROES: [u8; 64] = [0; 64];
    let used = FrameSegment(segment).headroom_bytes().saturating_add(FrameSegment(segment).len_bytes());
    if missing > segment.len_bytes().saturating_sub(used) {
        return false;
    }
    // Ends: each turn adds some, for there is room.
    while let Some(zeroes) = ZEROES.get(..missing.min(ZEROES.len())).filter(|some| !some.is_empty()) {
        if !append(segment, zeroes) {
            return false;
        }
        missing = missing.saturating_sub(zeroes.len());
    }
    true
}
