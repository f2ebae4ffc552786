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
//! A frame longer than a buffer is a chain: the first segment owns the next.

use paravane_hal::addr::{Align, DmaAddr};
use paravane_hal::dma::{Dma, DmaError, DomainTag};
use paravane_hal::pool::{Buffer, Header as _, Linked, Pool, PoolLayout, Supply};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::burst::Burst;
use crate::offload::{ChecksumRequest, RxChecksum, RxHash, TxOffload, VlanTag};

mod checksum;
mod header;

pub use header::FrameHeader;
use header::{Summary, flag};

/// Headroom of a fresh frame: room for any device's header, and a payload that starts on a cache
/// line.
pub const HEADROOM_BYTES: u16 = 64;

/// What a pool of frames is made of.
///
/// ```
/// use paravane_net::FrameLayout;
///
/// let standard = FrameLayout::new(1024);
/// assert_eq!((standard.buffer_bytes, standard.address_bits), (2048, 64));
/// let jumbo_for_an_old_device = FrameLayout::new(256).with_buffer_bytes(9216).with_address_bits(32);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameLayout {
    /// How many buffers.
    pub frames: u32,
    /// How long each is, [`HEADROOM_BYTES`] of headroom included.
    pub buffer_bytes: u16,
    /// How many address bits the narrowest device drives that will use them.
    pub address_bits: u8,
}

impl FrameLayout {
    /// `frames` buffers of 2048 bytes, which hold a standard frame and are two a page, for devices
    /// that drive 64 address bits.
    #[must_use]
    pub const fn new(frames: u32) -> Self {
        Self { frames, buffer_bytes: 2048, address_bits: 64 }
    }

    /// The same with buffers of `buffer_bytes`, headroom included.
    #[must_use]
    pub const fn with_buffer_bytes(self, buffer_bytes: u16) -> Self {
        Self { buffer_bytes, ..self }
    }

    /// The same for devices that drive `address_bits` address bits.
    #[must_use]
    pub const fn with_address_bits(self, address_bits: u8) -> Self {
        Self { address_bits, ..self }
    }
}

/// A pool of frames. A clone is another handle to the same pool; one serves every NIC of a DMA
/// domain.
#[derive(Clone, Debug)]
pub struct FramePool(Pool<FrameHeader>);

impl FramePool {
    /// Makes a pool in `dma`'s memory.
    ///
    /// # Errors
    ///
    /// [`DmaError`]; nothing stays allocated.
    pub fn new<D: Dma + Send + Sync + 'static>(dma: D, layout: FrameLayout) -> Result<Self, DmaError> {
        let FrameLayout { frames, buffer_bytes, address_bits } = layout;
        let layout = PoolLayout {
            buffers: frames,
            buffer_bytes: usize::from(buffer_bytes),
            align: Align::new(64),
            address_bits,
        };
        Pool::new(dma, layout).map(Self)
    }

    /// Takes an empty frame; `None` when all are out.
    #[must_use]
    #[inline]
    pub fn get(&self) -> Option<Frame> {
        self.0.get().map(Frame::fresh)
    }

    /// Takes up to `at_most` empty frames at once, which costs little more than one. Those not used
    /// go back with the supply.
    #[must_use]
    #[inline]
    pub fn take(&self, at_most: usize) -> FrameSupply<'_> {
        FrameSupply(self.0.take(at_most))
    }

    /// How many frames there are.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.0.buffers()
    }

    /// How many are free, counted one by one: not for a data path.
    #[must_use]
    pub fn free(&self) -> usize {
        self.0.free()
    }

    /// Whether none is free, for a moment at least. Unlike [`free`](Self::free) it costs nothing to
    /// ask.
    #[must_use]
    pub fn is_dry(&self) -> bool {
        self.0.is_dry()
    }

    /// Which DMA domain its frames are in.
    #[must_use]
    pub fn domain(&self) -> DomainTag {
        self.0.domain()
    }

    /// Payload that fits one fresh frame.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.0.buffer_bytes().saturating_sub(usize::from(HEADROOM_BYTES))
    }
}

/// Empty frames taken off a pool together. An iterator; dropped, it gives the rest back.
#[derive(Debug)]
pub struct FrameSupply<'p>(Supply<'p, FrameHeader>);

impl FrameSupply<'_> {
    /// Adds the frames to the back of `burst`, as far as it has room, each as `prepare` gives it
    /// back. Returns how many.
    #[inline(always)]
    pub fn fill(&mut self, burst: &mut Burst, mut prepare: impl FnMut(Frame) -> Frame) -> usize {
        let room = burst.room();
        self.0.fill(&mut burst.0, room, |buffer| prepare(Frame::fresh(buffer)).0)
    }

    /// Exchanges frames for others, each with one of `items`, until `exchange` gives one back or
    /// either ends. Those that came join `burst`, as far as it has room. Returns how many.
    #[inline(always)]
    pub fn exchange_zip<T>(
        &mut self,
        items: &[T],
        burst: &mut Burst,
        mut exchange: impl FnMut(Frame, &T) -> Result<Frame, Frame>,
    ) -> usize {
        let items = items.get(..burst.room()).unwrap_or(items);
        self.0.exchange_zip(items, &mut burst.0, |buffer, item| match exchange(Frame::fresh(buffer), item) {
            Ok(frame) => Ok(frame.0),
            Err(frame) => Err(frame.0),
        })
    }
}

impl Iterator for FrameSupply<'_> {
    type Item = Frame;

    #[inline(always)]
    fn next(&mut self) -> Option<Frame> {
        self.0.next().map(Frame::fresh)
    }
}

/// An owned frame. Dropping it gives its buffers back to their pool.
///
/// It is one pointer: moving it costs nothing, and `Option<Frame>` is as small.
#[derive(Debug)]
pub struct Frame(pub(crate) Buffer<FrameHeader>);

const _: () = assert!(size_of::<Option<Frame>>() == size_of::<usize>());

impl Frame {
    /// A buffer as an empty frame. It has no continuation: every way home takes that off.
    #[inline(always)]
    fn fresh(mut buffer: Buffer<FrameHeader>) -> Self {
        buffer.summary = Summary::FRESH;
        Self(buffer)
    }

    /// Whether it asks nothing of the device that sends it, is one segment, and starts where fresh
    /// frames start: by far the most.
    ///
    /// Asked first, it lets the compiler work out where the head is.
    #[must_use]
    #[inline(always)]
    pub fn is_plain(&self) -> bool {
        self.0.is_plain()
    }

    /// Length of this segment.
    #[must_use]
    #[inline(always)]
    pub fn segment_bytes(&self) -> usize {
        usize::from(self.0.summary.len_bytes)
    }

    /// Length of the whole frame, over all segments.
    #[must_use]
    #[inline]
    pub fn total_bytes(&self) -> usize {
        self.segments().map(Frame::segment_bytes).sum()
    }

    /// Room in front of the payload.
    #[must_use]
    #[inline(always)]
    pub fn headroom_bytes(&self) -> usize {
        usize::from(self.0.summary.head_bytes)
    }

    /// What this segment can hold from its head on, payload included.
    #[must_use]
    #[inline(always)]
    pub fn capacity_bytes(&self) -> usize {
        self.0.len_bytes().saturating_sub(self.headroom_bytes())
    }

    /// Which DMA domain this segment is in. A driver compares it with its device's before it uses
    /// [`dma_addr`](Self::dma_addr).
    #[must_use]
    #[inline(always)]
    pub fn domain(&self) -> DomainTag {
        self.0.domain()
    }

    /// Where a device of that domain finds this segment's first byte.
    #[must_use]
    #[inline(always)]
    pub fn dma_addr(&self) -> DmaAddr {
        self.dma_addr_before(0).unwrap_or_else(|| unreachable_head(&self.0))
    }

    /// Where the device finds the byte `before_bytes` in front of the payload: a device header's
    /// place. `None` without that much headroom.
    #[must_use]
    #[inline(always)]
    pub fn dma_addr_before(&self, before_bytes: u16) -> Option<DmaAddr> {
        self.0.dma_addr(usize::from(self.0.summary.head_bytes.checked_sub(before_bytes)?))
    }

    /// Where the device finds the byte `before_bytes` in front of the payload of a frame that is
    /// fresh: a place known beforehand.
    #[must_use]
    #[inline(always)]
    pub fn fresh_dma_addr_before(&self, before_bytes: u16) -> DmaAddr {
        fresh_dma_addr_before(&self.0, before_bytes)
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
        // Two numbers below 2^16.
        let fits = usize::from(HEADROOM_BYTES).wrapping_add(len_bytes.into()) <= self.0.len_bytes();
        // A fresh one has none. Its flag would be overwritten, and the rest would stay with the
        // buffer, seen by nobody.
        if self.0.needs_cleanup() {
            self.drop_next();
        }
        // Written either way, so that what it says needs no second look.
        self.0.summary = Summary::of(if fits { len_bytes } else { 0 });
        fits
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
        let end = self.headroom_bytes().saturating_add(self.segment_bytes());
        let Some(len) = u16::try_from(bytes.len()).ok().and_then(|n| self.0.summary.len_bytes.checked_add(n))
        else {
            return false;
        };
        if !self.0.copy_in(end, bytes) {
            return false;
        }
        self.0.summary.len_bytes = len;
        true
    }

    /// Makes the whole frame at least `min_bytes` long, with zeroes behind its last segment:
    /// nothing that the buffer held before goes along. False, and the frame is as before, where
    /// that segment has no room for them.
    pub fn pad_to(&mut self, min_bytes: usize) -> bool {
        const ZEROES: [u8; 64] = [0; 64];
        let mut missing = min_bytes.saturating_sub(self.total_bytes());
        let mut last = self;
        while last.0.has(flag::NEXT) {
            let Some(next) = last.0.next.as_mut() else { return false };
            last = next;
        }
        if missing > last.capacity_bytes().saturating_sub(last.segment_bytes()) {
            return false;
        }
        // Ends: each turn adds some, for there is room.
        while let Some(zeroes) = ZEROES.get(..missing.min(ZEROES.len())).filter(|some| !some.is_empty()) {
            if !last.append(zeroes) {
                return false;
            }
            missing = missing.saturating_sub(zeroes.len());
        }
        true
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
        let end = offset_bytes.checked_add(size_of::<T>())?;
        if end > self.segment_bytes() {
            return None;
        }
        self.0.read(self.headroom_bytes().checked_add(offset_bytes)?)
    }

    /// Overwrites a plain value in this segment's payload. False past its end.
    #[must_use = "false says that it did not fit, and nothing changed"]
    #[inline]
    pub fn write<T: IntoBytes + Immutable>(&mut self, offset_bytes: usize, value: &T) -> bool {
        let Some(end) = offset_bytes.checked_add(size_of::<T>()) else {
            return false;
        };
        end <= self.segment_bytes() && self.0.write(self.headroom_bytes().saturating_add(offset_bytes), value)
    }

    /// Copies the whole frame, all segments, to the front of `to`; the length, or `None` (and `to`
    /// partly written) when it does not fit.
    #[inline]
    pub fn copy_out(&self, to: &mut [u8]) -> Option<usize> {
        let mut at = 0_usize;
        for segment in self.segments() {
            let end = at.checked_add(segment.segment_bytes())?;
            if !segment.0.copy_out(segment.headroom_bytes(), to.get_mut(at..end)?) {
                return None;
            }
            at = end;
        }
        Some(at)
    }

    /// Makes `next` the continuation of this segment. What continued it so far is dropped.
    pub fn set_next(&mut self, next: Frame) {
        self.0.next = Some(next);
        self.0.set_flag(flag::NEXT, true);
    }

    /// The continuation of this segment.
    #[must_use]
    #[inline(always)]
    pub fn next(&self) -> Option<&Frame> {
        if self.0.has(flag::NEXT) { self.0.next.as_ref() } else { None }
    }

    /// Takes the continuation off.
    pub fn take_next(&mut self) -> Option<Frame> {
        self.0.take_next()
    }

    #[cold]
    fn drop_next(&mut self) {
        drop(self.take_next());
    }

    /// The segments, this one first.
    #[must_use]
    pub fn segments(&self) -> FrameSegments<'_> {
        FrameSegments(Some(self))
    }

    /// The VLAN tag that the device took off, or is to put on.
    #[must_use]
    #[inline(always)]
    pub fn vlan(&self) -> Option<VlanTag> {
        self.0.has(flag::VLAN).then_some(self.0.summary.vlan)
    }

    /// Sets the VLAN tag.
    #[inline(always)]
    pub fn set_vlan(&mut self, tag: Option<VlanTag>) {
        self.0.set_flag(flag::VLAN, tag.is_some());
        self.0.summary.vlan = tag.unwrap_or_default();
    }

    /// What the device says about the checksums.
    #[must_use]
    #[inline(always)]
    pub fn rx_checksum(&self) -> RxChecksum {
        if self.0.has(flag::RX_CHECKSUM) { self.0.rx_checksum } else { RxChecksum::Unverified }
    }

    /// Records what the device says about the checksums.
    #[inline(always)]
    pub fn set_rx_checksum(&mut self, checksum: RxChecksum) {
        let says_something = checksum != RxChecksum::Unverified;
        self.0.set_flag(flag::RX_CHECKSUM, says_something);
        self.0.set_flag(flag::PARTIAL, matches!(checksum, RxChecksum::Partial(_)));
        if says_something {
            self.0.rx_checksum = checksum;
        }
    }

    /// The hash that the device computed.
    #[must_use]
    #[inline(always)]
    pub fn rx_hash(&self) -> Option<RxHash> {
        if self.0.has(flag::RX_HASH) { self.0.rx_hash } else { None }
    }

    /// Records the device's hash.
    #[inline(always)]
    pub fn set_rx_hash(&mut self, hash: Option<RxHash>) {
        self.0.set_flag(flag::RX_HASH, hash.is_some());
        self.0.rx_hash = hash;
    }

    /// What is to be done on the way out: what was asked for, and the checksum that was left
    /// partial on the way in.
    #[must_use]
    #[inline(always)]
    pub fn offload(&self) -> TxOffload {
        let asked = if self.0.has(flag::OFFLOAD) { self.0.offload } else { TxOffload::default() };
        match self.rx_checksum() {
            RxChecksum::Partial(request) => TxOffload { checksum: asked.checksum.or(Some(request)), ..asked },
            _ => asked,
        }
    }

    /// Asks for offloads on the way out. A checksum that was left partial on the way in stays asked
    /// for.
    #[inline(always)]
    pub fn set_offload(&mut self, offload: TxOffload) {
        self.0.set_flag(flag::OFFLOAD, !offload.is_none());
        self.0.set_flag(flag::SEGMENTATION, offload.segmentation.is_some());
        self.0.offload = offload;
    }

    /// Forgets length, continuation and everything the device said: the buffer as it was when
    /// fresh.
    #[inline]
    pub fn clear(&mut self) {
        drop(self.take_next());
        self.0.summary = Summary::FRESH;
    }
}

/// The head never leaves the buffer, so this is never reached; should it be, the buffer's end is a
/// harmless answer.
#[cold]
fn unreachable_head(buffer: &Buffer<FrameHeader>) -> DmaAddr {
    buffer.dma_addr(buffer.len_bytes()).unwrap_or_else(|| unreachable_head(buffer))
}

/// A frame in its place in a burst, which is [plain](Frame::is_plain) but for a checksum that it
/// may ask for.
#[derive(Debug)]
pub struct PlainFrame<'b>(Linked<'b, FrameHeader>);

impl<'b> PlainFrame<'b> {
    /// The frame that `buffer` is, if it is such a one.
    #[inline(always)]
    pub(crate) fn of(buffer: Linked<'b, FrameHeader>) -> Option<Self> {
        buffer.is_plain_but_checksum().then_some(Self(buffer))
    }

    /// Its length.
    #[must_use]
    #[inline(always)]
    pub fn len_bytes(&self) -> u16 {
        self.0.summary.len_bytes
    }

    /// The checksum that it asks for.
    #[must_use]
    #[inline(always)]
    pub fn checksum(&self) -> Option<ChecksumRequest> {
        if self.0.has(flag::OFFLOAD) { self.0.offload.checksum } else { None }
    }

    /// Where the device finds the byte `before_bytes` in front of the payload, within the headroom.
    #[must_use]
    #[inline(always)]
    pub fn dma_addr_before(&self, before_bytes: u16) -> DmaAddr {
        fresh_dma_addr_before(&self.0, before_bytes)
    }

    /// Writes a device header of `size_of::<T>()` bytes right in front of the payload. False
    /// without that much headroom.
    #[must_use = "false says that it did not fit, and nothing changed"]
    #[inline(always)]
    pub fn write_before<T: IntoBytes + Immutable>(&mut self, header: &T) -> bool {
        match usize::from(HEADROOM_BYTES).checked_sub(size_of::<T>()) {
            Some(at) => self.0.write(at, header),
            None => false,
        }
    }
}

/// Where the device finds the byte `before_bytes` in front of where a fresh frame starts.
#[inline(always)]
fn fresh_dma_addr_before(buffer: &Buffer<FrameHeader>, before_bytes: u16) -> DmaAddr {
    buffer
        .dma_addr(usize::from(HEADROOM_BYTES.saturating_sub(before_bytes)))
        .unwrap_or_else(|| unreachable_head(buffer))
}

/// The segments of a frame, first to last.
#[derive(Clone, Debug)]
pub struct FrameSegments<'f>(Option<&'f Frame>);

impl<'f> Iterator for FrameSegments<'f> {
    type Item = &'f Frame;

    #[inline(always)]
    fn next(&mut self) -> Option<&'f Frame> {
        let segment = self.0?;
        self.0 = segment.next();
        Some(segment)
    }
}
