//! A frame that the device has written: its header, its buffers, and what is known of it.

use paravane_net::{Frame, RxChecksum, RxCounters, RxHash, TxOffload};

use crate::net::header::{HASH_HEADER_BYTES, HEADER_BYTES, RawHeader, lengthen, split_hash};
use crate::net::judge::{Drop, Verdict};

/// Reads the header of `header_bytes` in front of `frame`, as it was posted, as one of usual
/// length, and the hash that it may have. A frame that was posted has room for either.
pub(super) fn read_header(frame: &Frame, header_bytes: u16) -> Option<(RawHeader, Option<RxHash>)> {
    match header_bytes {
        HEADER_BYTES => frame.read_before_fresh().map(|header| (header, None)),
        HASH_HEADER_BYTES => frame.read_before_fresh().map(split_hash),
        _ => frame.read_before_fresh().map(|short| (lengthen(short), None)),
    }
}

/// Notes on `frame`, which is all there, what is known of it. `None` when it is dropped, and
/// counted.
pub(super) fn hand_up(
    counters: &mut RxCounters,
    mut frame: Frame,
    Verdict { checksum, large }: Verdict,
) -> Option<Frame> {
    if let Some(large) = large {
        match large.segmentation(&frame) {
            Ok(segmentation) => {
                frame.set_offload(TxOffload { checksum: None, segmentation: Some(segmentation) });
            }
            Err(reason) => {
                count(counters, reason);
                return None;
            }
        }
    }
    if checksum != RxChecksum::Unverified {
        frame.set_rx_checksum(checksum);
    }
    Some(frame)
}

/// Counts a frame that was dropped.
#[cold]
pub(super) fn count(counters: &mut RxCounters, reason: Drop) {
    let counter = match reason {
        Drop::Empty => &mut counters.skipped,
        Drop::Damaged => &mut counters.errors,
        Drop::Oversized => &mut counters.oversized,
    };
    *counter = counter.wrapping_add(1);
}

/// The buffers of one frame while they are collected.
#[derive(Default)]
pub(super) struct Pieces {
    /// Last piece first: each new one goes in front, and the chain is turned round at the end, so
    /// that adding is one step.
    reversed: Option<Frame>,
    pub(super) total_bytes: u32,
    /// A piece had no replacement and stayed with the device.
    incomplete: bool,
}

impl Pieces {
    /// Adds a buffer that holds `piece_bytes` of the frame, from `before_bytes` in front of its
    /// place on: a continuation starts where the device's header would be.
    pub(super) fn add(&mut self, piece: Option<Frame>, piece_bytes: u32, before_bytes: u16) {
        self.total_bytes = self.total_bytes.saturating_add(piece_bytes);
        let Some(mut piece) = piece else {
            self.incomplete = true;
            return;
        };
        // As its last owner left it.
        piece.clear();
        let fits = piece.extend_front(before_bytes) && piece.set_segment_bytes(piece_bytes as usize);
        self.incomplete |= !fits;
        if let Some(before) = self.reversed.take() {
            piece.set_next(before);
        }
        self.reversed = Some(piece);
    }

    /// The frame, first piece first, and its length. `None` when a piece is missing; the others go
    /// home.
    pub(super) fn into_frame(self) -> Option<(Frame, u32)> {
        if self.incomplete {
            return None;
        }
        let (mut rest, mut frame) = (self.reversed, None);
        while let Some(mut piece) = rest {
            rest = piece.take_next();
            if let Some(after) = frame.take() {
                piece.set_next(after);
            }
            frame = Some(piece);
        }
        Some((frame?, self.total_bytes))
    }
}
