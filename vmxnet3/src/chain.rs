//! A received frame of several buffers, as far as it has come.
//!
//! `sop` begins it, `eop` ends it; a burst may end in between. What breaks that order, or does not
//! fit here, is dropped to its end and counted once: some devices are known to lose an `sop` or an
//! `eop` under load, and nothing else is lost with it. Slots and lengths are another matter; those
//! were checked before.

use paravane_net::{Burst, Frame};

/// Most buffers of a frame that can be asked for: a 9000-byte frame in buffers of a kilobyte, and
/// some.
pub(crate) const MAX_PIECES: u16 = 16;
/// The same where the device puts packets together: as many as are known to have been asked for
/// (Linux, with its longest list of fragments).
pub(crate) const MAX_LARGE_PIECES: u16 = 46;
/// No frame is longer, whatever it is made of: what the length field of IPv6 counts, its header,
/// and the Ethernet header with a tag.
pub(crate) const MAX_LARGE_BYTES: u32 = 65_535 + 40 + 18;

/// Why a frame was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// No fresh buffer to take the place of one of its own.
    NoBuffer,
    /// The device says that it is damaged.
    Damaged,
    /// More buffers than the device was told it may use.
    TooLong,
    /// It has no start or no end, or a piece in a buffer of the wrong kind.
    Disordered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Between frames.
    Idle,
    Collecting,
    /// Inside a frame that is dropped.
    Dropping(Dropped),
}

#[derive(Debug)]
pub(crate) struct Chain {
    state: State,
    /// What came of the frame: each piece by itself, until all are joined at the end.
    pieces: Burst,
    /// How long they are together.
    total_bytes: u32,
    max_pieces: usize,
}

impl Chain {
    /// Nothing yet, of frames of at most `max_buffers`.
    pub(crate) fn new(max_buffers: u16) -> Self {
        Self { state: State::Idle, pieces: Burst::new(), total_bytes: 0, max_pieces: max_buffers.into() }
    }

    /// Whether it is between frames.
    #[inline(always)]
    pub(crate) const fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// A frame starts. Why the last one was dropped, if that has no end.
    #[must_use]
    pub(crate) fn begin(&mut self) -> Option<Dropped> {
        self.clear();
        match core::mem::replace(&mut self.state, State::Collecting) {
            State::Idle => None,
            State::Collecting => Some(Dropped::Disordered),
            State::Dropping(why) => Some(why),
        }
    }

    /// Whether the next piece, of `len_bytes`, is kept. The rest of a frame that did not start is
    /// not.
    #[must_use]
    pub(crate) fn wants_piece(&mut self, len_bytes: u16) -> bool {
        let fits = self.pieces.len() < self.max_pieces
            && self.total_bytes.saturating_add(len_bytes.into()) <= MAX_LARGE_BYTES;
        match self.state {
            State::Idle => self.state = State::Dropping(Dropped::Disordered),
            State::Collecting if fits => return true,
            State::Collecting => self.give_up(Dropped::TooLong),
            State::Dropping(_) => {}
        }
        false
    }

    /// Adds a piece, which is wanted.
    pub(crate) fn add(&mut self, piece: Frame) {
        let len_bytes = u32::try_from(piece.segment_bytes()).unwrap_or(u32::MAX);
        self.total_bytes = self.total_bytes.saturating_add(len_bytes);
        self.pieces.push(piece);
    }

    /// Drops what came of this frame, and what will. The first reason stays.
    pub(crate) fn give_up(&mut self, why: Dropped) {
        self.clear();
        if self.state == State::Collecting {
            self.state = State::Dropping(why);
        }
    }

    /// The frame ends: all its pieces, and how long they are together.
    ///
    /// # Errors
    ///
    /// Why it was dropped.
    pub(crate) fn finish(&mut self) -> Result<(Frame, u32), Dropped> {
        let state = core::mem::replace(&mut self.state, State::Idle);
        if let State::Dropping(why) = state {
            return Err(why);
        }
        let total_bytes = core::mem::take(&mut self.total_bytes);
        // A frame without a single byte is none.
        let frame = core::mem::take(&mut self.pieces).join().ok_or(Dropped::Damaged)?;
        Ok((frame, total_bytes))
    }

    fn clear(&mut self) {
        self.pieces = Burst::new();
        self.total_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paravane_mock_hal::Memory;
    use paravane_net::{FrameLayout, FramePool};

    fn piece(pool: &FramePool, bytes: &[u8]) -> Frame {
        let mut frame = pool.get().unwrap();
        assert!(frame.append(bytes));
        frame
    }

    #[test]
    fn pieces_come_out_in_order() {
        let pool = FramePool::new(Memory::default(), FrameLayout::new(4).with_buffer_bytes(256)).unwrap();
        let mut chain = Chain::new(3);
        assert_eq!(chain.begin(), None);
        for bytes in [b"ab".as_slice(), b"cde", b"f"] {
            assert!(chain.wants_piece(3));
            chain.add(piece(&pool, bytes));
        }
        let (frame, total_bytes) = chain.finish().unwrap();
        assert_eq!(total_bytes, 6);
        let mut bytes = [0; 8];
        assert_eq!(frame.copy_out(&mut bytes), Some(6));
        assert_eq!(&bytes[..6], b"abcdef");
        assert!(chain.is_idle());
        drop(frame);
        assert_eq!(pool.free(), 4);
    }

    #[test]
    fn a_frame_of_too_many_pieces_is_dropped_to_its_end() {
        let pool = FramePool::new(Memory::default(), FrameLayout::new(4).with_buffer_bytes(256)).unwrap();
        let mut chain = Chain::new(1);
        assert_eq!(chain.begin(), None);
        assert!(chain.wants_piece(60));
        chain.add(piece(&pool, b"first"));
        assert!(!chain.wants_piece(60));
        assert_eq!(pool.free(), 4, "what came is given back at once");
        chain.give_up(Dropped::Damaged);
        assert_eq!(chain.finish().unwrap_err(), Dropped::TooLong, "the first reason stays");
        assert!(chain.is_idle());
    }

    #[test]
    fn a_frame_longer_than_any_packet_is_dropped() {
        let layout = FrameLayout::new(8).with_buffer_bytes(16_384);
        let pool = FramePool::new(Memory::default(), layout).unwrap();
        let mut chain = Chain::new(MAX_LARGE_PIECES);
        for (last_bytes, fits) in [(1593, true), (1594, false), (1593, true)] {
            assert_eq!(chain.begin(), None);
            for _ in 0..4 {
                assert!(chain.wants_piece(16_000));
                chain.add(piece(&pool, &[0; 16_000]));
            }
            assert_eq!(chain.wants_piece(last_bytes), fits, "{last_bytes}");
            assert_eq!(chain.finish().err(), (!fits).then_some(Dropped::TooLong));
        }
        assert_eq!(pool.free(), 8);
    }

    #[test]
    fn a_start_ends_what_has_no_end() {
        let pool = FramePool::new(Memory::default(), FrameLayout::new(4).with_buffer_bytes(256)).unwrap();
        let mut chain = Chain::new(1);
        assert_eq!(chain.begin(), None);
        chain.add(piece(&pool, b"lost"));
        assert_eq!(chain.begin(), Some(Dropped::Disordered));
        assert_eq!(pool.free(), 4);
        chain.add(piece(&pool, b"kept"));
        assert_eq!(chain.finish().map(|(_, total_bytes)| total_bytes).unwrap(), 4, "counted anew");
        assert_eq!(chain.begin(), None);
        chain.give_up(Dropped::NoBuffer);
        assert_eq!(chain.begin(), Some(Dropped::NoBuffer), "its own reason");
    }

    #[test]
    fn what_did_not_start_is_dropped_to_its_end_and_counted_once() {
        let mut chain = Chain::new(2);
        for _ in 0..3 {
            assert!(!chain.wants_piece(60));
        }
        assert_eq!(chain.finish().unwrap_err(), Dropped::Disordered);
        assert!(!chain.wants_piece(60));
        assert_eq!(chain.begin(), Some(Dropped::Disordered));
    }

    #[test]
    fn an_empty_frame_is_damaged() {
        let mut chain = Chain::new(2);
        assert_eq!(chain.begin(), None);
        assert_eq!(chain.finish().unwrap_err(), Dropped::Damaged);
    }
}
