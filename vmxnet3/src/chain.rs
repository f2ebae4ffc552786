//! A received frame of several buffers, as far as it has come.
//!
//! `sop` begins it, `eop` ends it; a burst may end in between. What breaks that order is a fault of the device; what merely does not fit here
//! is dropped to its end.

use paravane_hal::fault::DeviceFault;
use paravane_net::Frame;

/// Most buffers of a frame that can be asked for: a 9000-byte frame in buffers of a kilobyte, and some.
pub(crate) const MAX_PIECES: usize = 16;

/// Why a frame was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// No fresh buffer to take the place of one of its own.
    NoBuffer,
    /// The device says that it is damaged.
    Damaged,
    /// More buffers than the device was told it may use.
    TooLong,
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
    pieces: [Option<Frame>; MAX_PIECES],
    count: usize,
    max_pieces: usize,
}

impl Chain {
    /// Nothing yet, of frames of at most `max_buffers`.
    pub(crate) fn new(max_buffers: u16) -> Self {
        Self {
            state: State::Idle,
            pieces: [const { None }; MAX_PIECES],
            count: 0,
            max_pieces: usize::from(max_buffers).min(MAX_PIECES),
        }
    }

    /// Whether it is between frames.
    #[inline(always)]
    pub(crate) const fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// A frame starts.
    ///
    /// # Errors
    ///
    /// [`DeviceFault::OutOfSequence`] inside another.
    pub(crate) fn begin(&mut self) -> Result<(), DeviceFault> {
        if !self.is_idle() {
            return Err(DeviceFault::OutOfSequence { what: "sop before the last frame's eop" });
        }
        self.state = State::Collecting;
        Ok(())
    }

    /// Whether the next piece is kept.
    ///
    /// # Errors
    ///
    /// [`DeviceFault::OutOfSequence`] between frames.
    pub(crate) fn wants_piece(&mut self) -> Result<bool, DeviceFault> {
        match self.state {
            State::Idle => Err(DeviceFault::OutOfSequence { what: "no sop before the rest of a frame" }),
            State::Collecting if self.count >= self.max_pieces => {
                self.give_up(Dropped::TooLong);
                Ok(false)
            }
            State::Collecting => Ok(true),
            State::Dropping(_) => Ok(false),
        }
    }

    /// Adds a piece, which is wanted.
    pub(crate) fn add(&mut self, piece: Frame) {
        if let Some(place) = self.pieces.get_mut(self.count) {
            *place = Some(piece);
            self.count = self.count.wrapping_add(1);
        }
    }

    /// Drops what came of this frame, and what will. The first reason stays.
    pub(crate) fn give_up(&mut self, why: Dropped) {
        self.clear();
        if self.state == State::Collecting {
            self.state = State::Dropping(why);
        }
    }

    /// The frame ends: its pieces, linked.
    ///
    /// # Errors
    ///
    /// Why it was dropped.
    pub(crate) fn finish(&mut self) -> Result<Frame, Dropped> {
        let state = core::mem::replace(&mut self.state, State::Idle);
        if let State::Dropping(why) = state {
            return Err(why);
        }
        let mut rest: Option<Frame> = None;
        while let Some(at) = self.count.checked_sub(1) {
            self.count = at;
            let Some(mut piece) = self.pieces.get_mut(at).and_then(Option::take) else { continue };
            if let Some(rest) = rest.take() {
                piece.set_next(rest);
            }
            rest = Some(piece);
        }
        // A frame without a single byte is none.
        rest.ok_or(Dropped::Damaged)
    }

    fn clear(&mut self) {
        for piece in &mut self.pieces {
            drop(piece.take());
        }
        self.count = 0;
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
        chain.begin().unwrap();
        for bytes in [b"ab".as_slice(), b"cde", b"f"] {
            assert_eq!(chain.wants_piece(), Ok(true));
            chain.add(piece(&pool, bytes));
        }
        let frame = chain.finish().unwrap();
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
        chain.begin().unwrap();
        assert_eq!(chain.wants_piece(), Ok(true));
        chain.add(piece(&pool, b"first"));
        assert_eq!(chain.wants_piece(), Ok(false));
        assert_eq!(pool.free(), 4, "what came is given back at once");
        chain.give_up(Dropped::Damaged);
        assert_eq!(chain.finish().unwrap_err(), Dropped::TooLong, "the first reason stays");
        assert!(chain.is_idle());
    }

    #[test]
    fn order_is_the_devices_to_keep() {
        let mut chain = Chain::new(2);
        assert!(matches!(chain.wants_piece(), Err(DeviceFault::OutOfSequence { .. })));
        chain.begin().unwrap();
        assert!(matches!(chain.begin(), Err(DeviceFault::OutOfSequence { .. })));
    }

    #[test]
    fn an_empty_frame_is_damaged() {
        let mut chain = Chain::new(2);
        chain.begin().unwrap();
        assert_eq!(chain.finish().unwrap_err(), Dropped::Damaged);
    }
}
