//! What is sent: the descriptor, and the completion.

use paravane_hal::fault::DeviceFault;
use paravane_net::VlanTag;

use super::{INDEX, LEN};
use crate::ring::{Cursor, Generation};

/// What the device is asked to do with a frame: the words of its first descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TxSop {
    /// `msscof`, `oco`, `ext1`, at their places in `dw2`.
    word2: u32,
    /// `hlen`, `om`, `ti`, `tci`, at their places in `dw3`.
    word3: u32,
}

impl TxSop {
    /// Send as it is.
    pub(crate) const PLAIN: Self = Self { word2: 0, word3: 0 };

    /// `om` 2: sum from `start_bytes` to the end, store at `field_bytes`, both from the frame's
    /// first byte.
    #[inline(always)]
    pub(crate) const fn checksum(start_bytes: u16, field_bytes: u16) -> Self {
        Self { word2: (field_bytes as u32 & LEN) << 18, word3: start_bytes as u32 & 0x3ff | 2 << 10 }
    }

    /// `om` 3: cut into segments of `mss_bytes` behind `header_bytes` of headers.
    pub(crate) const fn segmentation(header_bytes: u16, mss_bytes: u16) -> Self {
        Self { word2: (mss_bytes as u32 & LEN) << 18, word3: header_bytes as u32 & 0x3ff | 3 << 10 }
    }

    /// `om` 1, up to revision 6: the same about the frame inside a tunnel, behind `header_bytes` of
    /// outer and inner headers. With `mss_bytes` 0 it asks for the checksum alone.
    pub(crate) const fn encapsulated(header_bytes: u16, mss_bytes: u16) -> Self {
        Self { word2: (mss_bytes as u32 & LEN) << 18, word3: header_bytes as u32 & 0x3ff | 1 << 10 }
    }

    /// `ext1`, from revision 7 on: what it asks for is about the frame inside a tunnel.
    pub(crate) const fn inner(self) -> Self {
        Self { word2: self.word2 | 1 << 17, ..self }
    }

    /// `oco`: segments of a tunnel have an outer checksum too.
    pub(crate) const fn with_outer_checksum(self) -> Self {
        Self { word2: self.word2 | 1 << 15, ..self }
    }

    /// Whether it may ask for segments: `om` 3 or 1.
    pub(crate) const fn may_cut(self) -> bool {
        self.word3 & 1 << 10 != 0
    }

    /// Both words, `dw2` in the low half.
    #[inline(always)]
    pub(crate) const fn words(self) -> u64 {
        self.word2 as u64 | (self.word3 as u64) << 32
    }

    /// The same, with an 802.1Q tag to be put in.
    pub(crate) const fn tagged(self, tag: VlanTag) -> Self {
        Self { word3: self.word3 & 0x7fff | 1 << 15 | (tag.0 as u32) << 16, ..self }
    }
}

/// A transmit descriptor. What it says but for the address is made as one number, `dw2` in the low
/// half and `dw3` in the high one.
///
/// ```text
/// dw0, dw1  addr
/// dw2       len 13:0   gen 14   oco 15   dtype 16   ext1 17   msscof 31:18
/// dw3       hlen 9:0   om 11:10   eop 12   cq 13   ext2 14   ti 15   tci 31:16
/// ```
pub(crate) struct TxDesc;

impl TxDesc {
    /// `eop` in `dw3`.
    pub(crate) const EOP: u32 = 1 << 12;
    /// `cq` in `dw3`.
    pub(crate) const CQ: u32 = 1 << 13;

    /// `eop`, with `dw2` in the low half.
    pub(crate) const EOP_WORDS: u64 = (Self::EOP as u64) << 32;

    /// `gen` in `dw2`.
    const GENERATION: u32 = 1 << 14;

    /// What `dw2` and `dw3` of frames have in common that are one segment, sent as they are.
    #[inline(always)]
    pub(crate) const fn plain(generation: Generation) -> PlainTx {
        PlainTx(generation.bit::<14>() as u64 | Self::EOP_WORDS)
    }

    /// `dw2` and `dw3`, saying instead that the descriptor is not the device's yet.
    #[inline(always)]
    pub(crate) const fn not_yet(words: u64) -> u64 {
        words ^ Self::GENERATION as u64
    }

    /// `dw2` and `dw3`, saying instead that more of the frame follows.
    #[inline(always)]
    pub(crate) const fn not_last(words: u64) -> u64 {
        words & !Self::EOP_WORDS
    }
}

/// `dw2` and `dw3` but for the length, and for what the frame asks in its first descriptor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlainTx(u64);

impl PlainTx {
    /// The same of the next lap.
    #[inline(always)]
    pub(crate) const fn flipped(self) -> Self {
        Self(TxDesc::not_yet(self.0))
    }

    /// With the length of a segment, which fits `len`: no frame that may go out is longer.
    #[inline(always)]
    pub(crate) const fn of(self, len_bytes: u16) -> u64 {
        self.0 | len_bytes as u64
    }

    /// The same, where more of the frame follows.
    #[inline(always)]
    pub(crate) const fn of_more(self, len_bytes: u16) -> u64 {
        TxDesc::not_last(self.0) | len_bytes as u64
    }

    /// The same of any segment: 1 to [`MAX_TX_SEGMENT_BYTES`], which is written as 0. There is no
    /// empty segment: an empty one would send 16 KiB of whatever lies there.
    #[inline(always)]
    pub(crate) const fn of_segment(self, len_bytes: usize) -> u64 {
        self.0 | len_bytes as u64 & LEN as u64
    }
}

/// A transmit completion: all up to and including the frame that ends at this index have been sent.
///
/// ```text
/// dw0  txdIdx 11:0
/// dw3  type 30:24   gen 31
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TxCompletion {
    /// How many descriptors are done, from the oldest on that is in flight.
    pub(crate) done: u32,
}

impl TxCompletion {
    /// Reads what the device wrote to a ring in which it has `in_flight` descriptors from `oldest`
    /// on, and said of the first `reported` that they are done.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: a descriptor that does not exist, that the device does not have, or that it
    /// reported before. Whether it ends a frame is for the record of frames to say, when they are
    /// taken home.
    #[inline(always)]
    pub(crate) const fn classify(
        word0: u32,
        oldest: Cursor,
        reported: u32,
        in_flight: u32,
    ) -> Result<Self, DeviceFault> {
        let (index, entries) = (word0 & INDEX, oldest.entries());
        if index >= entries {
            return Err(DeviceFault::IndexOutOfRange { index, entries });
        }
        let done = oldest.steps_to(index).wrapping_add(1);
        if done <= reported || done > in_flight {
            return Err(DeviceFault::NotInFlight { index });
        }
        Ok(Self { done })
    }
}
