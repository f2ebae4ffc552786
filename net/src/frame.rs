//! Frames: buffers of a pool that hold, or will hold, an Ethernet frame (header first, FCS not
//! included).
//!
//! ```text
//!  buffer  |<-- headroom -->|<------- payload ------->|<-- room -->|
//!          0            head_bytes              head + len      buffer end
//! ```
//!
//! Headroom in front of the payload is where a driver puts its device's header (virtio-net's twelve
//! bytes), so that header and frame are one descriptor and nobody copies. Every pooled frame starts
//! with [`HEADROOM_BYTES`] of it, received ones included, so a frame received by one driver can be
//! sent by any other as it is.
//!
//! A frame longer than a buffer has several segments: each owns the next.

use paravane_hal::addr::DmaAddr;
use paravane_hal::dma::DomainTag;
use paravane_hal::pool::{Buffer, BufferMut, Pooled};
use zerocopy::{FromBytes, Immutable, IntoBytes};

mod beside;
mod checksum;
mod header;
mod segment;

pub(crate) use checksum::Sum;
pub use header::FrameHeader;
use header::Summary;
pub use segment::{FrameSegment, FrameSegmentMut, FrameSegments};

/// Headroom of a fresh frame: room for any device's header, and a payload that starts on a cache
/// line.
pub const HEADROOM_BYTES: u16 = 64;

/// An owned frame. Dropping it gives its buffers back to their pool.
///
/// It is one pointer: moving it costs nothing, and `Option<Frame>` is as small.
#[derive(Debug)]
pub struct Frame(Buffer<FrameHeader>);

const _: () = assert!(size_of::<Option<Frame>>() == size_of::<usize>());

impl Pooled for Frame {
    type Header = FrameHeader;

    #[inline(always)]
    fn of(buffer: Buffer<FrameHeader>) -> Self {
        Self(buffer)
    }

    /// An empty frame.
    #[inline(always)]
    fn fresh(mut buffer: Buffer<FrameHeader>) -> Self {
        buffer.summary = Summary::FRESH;
        Self(buffer)
    }

    #[inline(always)]
    fn into_buffer(self) -> Buffer<FrameHeader> {
        self.0
    }
}

impl Frame {
    /// Length of this segment.
    #[must_use]
    #[inline(always)]
    pub fn segment_bytes(&self) -> usize {
        self.first().len_bytes()
    }

    /// Length of the whole frame, over all segments.
    #[must_use]
    #[inline]
    pub fn total_bytes(&self) -> usize {
        self.segments().map(FrameSegment::len_bytes).sum()
    }

    /// Room in front of the payload.
    #[must_use]
    #[inline(always)]
    pub fn headroom_bytes(&self) -> usize {
        self.first().headroom_bytes()
    }

    /// What this segment can hold from its head on, payload included.
    #[must_use]
    #[inline(always)]
    pub fn capacity_bytes(&self) -> usize {
        self.0.len_bytes().saturating_sub(self.headroom_bytes())
    }

    /// Which DMA domain its first segment is in. A driver compares it with its device's before it
    /// uses [`dma_addr`](Self::dma_addr).
    #[must_use]
    #[inline(always)]
    pub fn domain(&self) -> DomainTag {
        self.0.domain()
    }

    /// Where a device of that domain finds this segment's first byte.
    #[must_use]
    #[inline(always)]
    pub fn dma_addr(&self) -> DmaAddr {
        self.first().dma_addr()
    }

    /// Where the device finds the byte `before_bytes` in front of the payload: a device header's
    /// place. `None` without that much headroom.
    #[must_use]
    #[inline(always)]
    pub fn dma_addr_before(&self, before_bytes: u16) -> Option<DmaAddr> {
        self.first().dma_addr_before(before_bytes)
    }

    /// Says that the payload of this segment is `len_bytes` long, as found out after a device wrote
    /// it. False, and nothing changes, when the segment cannot hold that.
    #[must_use = "false says that it did not fit, and nothing changed"]
    #[inline]
    pub fn set_segment_bytes(&mut self, len_bytes: usize) -> bool {
        match u16::try_from(len_bytes) {
            // Two numbers below 2^16.
            Ok(len) if self.headroom_bytes().wrapping_add(len_bytes) <= self.0.len_bytes() => {
                self.0.summary.len_bytes = len;
                true
            }
            _ => false,
        }
    }

    /// Says that a device wrote `len_bytes` to a fresh frame, of which nothing else is known: the
    /// rest of a frame that is not fresh is dropped. False, and the frame is empty, when the buffer
    /// cannot hold that.
    #[inline(always)]
    pub fn set_received(&mut self, len_bytes: u16) -> bool {
        // A fresh one has none.
        if self.0.next().is_some() {
            self.drop_next();
        }
        // Two numbers below 2^16.
        let end = usize::from(len_bytes).wrapping_add(HEADROOM_BYTES.into());
        let fits = end <= self.0.len_bytes();
        self.0.summary = Summary::of(len_bytes);
        if !fits {
            self.empty();
        }
        fits
    }

    /// Says that nothing is in it.
    #[cold]
    #[inline(never)]
    fn empty(&mut self) {
        self.0.summary = Summary::FRESH;
    }

    /// Removes `bytes` from the front of this segment: the headroom grows. False when it is
    /// shorter.
    #[must_use = "false says that it did not fit, and nothing changed"]
    pub fn trim_front(&mut self, bytes: u16) -> bool {
        match self.0.summary.len_bytes.checked_sub(bytes) {
            Some(rest) => {
                self.0.summary.len_bytes = rest;
                self.0.summary.head_bytes = self.0.summary.head_bytes.saturating_add(bytes);
                true
            }
            None => false,
        }
    }

    /// Puts `bytes` in front of the payload, out of the headroom. False when there is not enough.
    #[must_use = "false says that it did not fit, and nothing changed"]
    pub fn prepend(&mut self, bytes: &[u8]) -> bool {
        let Some((head, len)) = u16::try_from(bytes.len()).ok().and_then(|n| {
            Some((self.0.summary.head_bytes.checked_sub(n)?, self.0.summary.len_bytes.checked_add(n)?))
        }) else {
            return false;
        };
        if !self.0.copy_in(usize::from(head), bytes) {
            return false;
        }
        self.0.summary.head_bytes = head;
        self.0.summary.len_bytes = len;
        true
    }

    /// Takes `bytes` of headroom into the payload, as they are: a device wrote payload there. False
    /// when there is not enough.
    #[must_use = "false says that it did not fit, and nothing changed"]
    pub fn extend_front(&mut self, bytes: u16) -> bool {
        let Some((head, len)) =
            self.0.summary.head_bytes.checked_sub(bytes).zip(self.0.summary.len_bytes.checked_add(bytes))
        else {
            return false;
        };
        self.0.summary.head_bytes = head;
        self.0.summary.len_bytes = len;
        true
    }

    /// Adds `bytes` to the end of this segment. False, and nothing changes, when there is no room.
    #[must_use = "false says that it did not fit, and nothing changed"]
    #[inline]
    pub fn append(&mut self, bytes: &[u8]) -> bool {
        segment::append(&mut self.0, bytes)
    }

    /// Makes the whole frame at least `min_bytes` long, with zeroes behind its last segment:
    /// nothing that the buffer held before goes along. False, and the frame is as before, where
    /// that segment has no room for them.
    pub fn pad_to(&mut self, min_bytes: usize) -> bool {
        let missing = min_bytes.saturating_sub(self.total_bytes());
        let last = self.segments().skip(1).count();
        self.0.change(last, |last| segment::pad(last, missing)) == Some(true)
    }

    /// Writes a device header of `size_of::<T>()` bytes right in front of the payload, which does
    /// not grow. False without that much headroom.
    #[must_use = "false says that it did not fit, and nothing changed"]
    #[inline]
    pub fn write_before<T: IntoBytes + Immutable>(&mut self, header: &T) -> bool {
        match self.headroom_bytes().checked_sub(size_of::<T>()) {
            Some(at) => self.0.write(at, header),
            None => false,
        }
    }

    /// Reads the device header of `size_of::<T>()` bytes right in front of the payload, once.
    #[must_use]
    #[inline]
    pub fn read_before<T: FromBytes>(&self) -> Option<T> {
        self.0.read(self.headroom_bytes().checked_sub(size_of::<T>())?)
    }

    /// The same of a fresh frame, where the payload starts in a place known beforehand.
    #[must_use]
    #[inline(always)]
    pub fn read_before_fresh<T: FromBytes>(&self) -> Option<T> {
        self.0.read(usize::from(HEADROOM_BYTES).checked_sub(size_of::<T>())?)
    }

    /// Reads a plain value from this segment's payload, once; `None` past its end.
    #[must_use]
    #[inline]
    pub fn read<T: FromBytes>(&self, offset_bytes: usize) -> Option<T> {
        self.first().read(offset_bytes)
    }

    /// Overwrites a plain value in this segment's payload. False past its end.
    #[must_use = "false says that it did not fit, and nothing changed"]
    #[inline]
    pub fn write<T: IntoBytes + Immutable>(&mut self, offset_bytes: usize, value: &T) -> bool {
        segment::write(&mut self.0, offset_bytes, value)
    }

    /// Copies the whole frame, all segments, to the front of `to`; the length, or `None` (and `to`
    /// partly written) when it does not fit.
    #[inline]
    pub fn copy_out(&self, to: &mut [u8]) -> Option<usize> {
        let mut at = 0_usize;
        for segment in self.segments() {
            let end = at.checked_add(segment.len_bytes())?;
            if !segment.copy_out(0, to.get_mut(at..end)?) {
                return None;
            }
            at = end;
        }
        Some(at)
    }

    /// Makes `next` the continuation of this segment. What continued it so far is dropped.
    #[inline(always)]
    pub fn set_next(&mut self, next: Self) {
        self.0.set_next(next.0);
    }

    /// Adds `rest` behind its last segment.
    pub fn extend(&mut self, rest: Self) {
        let last = self.segments().skip(1).count();
        self.0.change(last, |last| last.set_next(rest.0));
    }

    /// Takes the continuation off.
    #[inline(always)]
    pub fn take_next(&mut self) -> Option<Self> {
        self.0.take_next().map(Self)
    }

    #[cold]
    fn drop_next(&mut self) {
        drop(self.take_next());
    }

    /// Its first segment.
    #[inline(always)]
    const fn first(&self) -> FrameSegment<'_> {
        FrameSegment(&self.0)
    }

    /// Its first segment.
    #[must_use]
    #[inline(always)]
    pub const fn first_segment(&self) -> FrameSegment<'_> {
        self.first()
    }

    /// Its first segment, for a device's header to be written in front of it.
    #[inline(always)]
    pub fn first_segment_mut(&mut self) -> FrameSegmentMut<'_> {
        FrameSegmentMut::from(BufferMut::from(&mut self.0))
    }

    /// The segments, first to last.
    #[must_use]
    #[inline(always)]
    pub const fn segments(&self) -> FrameSegments<'_> {
        FrameSegments(Some(self.first()))
    }

    /// Forgets length, continuation and everything the device said: the buffer as it was when
    /// fresh.
    #[inline]
    pub fn clear(&mut self) {
        drop(self.take_next());
        self.0.summary = Summary::FRESH;
    }
}
