//! A burst: the handful of frames that cross an interface at once.

use crate::frame::Frame;

/// How many frames a burst holds.
pub const BURST_FRAMES: usize = 32;

const _: () = assert!(BURST_FRAMES.is_power_of_two());

/// A first-in first-out queue of up to [`BURST_FRAMES`] frames, without allocation.
///
/// A transmit queue takes from the front what it has room for and leaves the rest; a receive queue adds to the back.
#[derive(Debug)]
pub struct Burst {
    frames: [Option<Frame>; BURST_FRAMES],
    /// Free-running; the place is this modulo the capacity.
    first: usize,
    len: usize,
}

impl Burst {
    /// An empty burst.
    #[must_use]
    pub const fn new() -> Self {
        Self { frames: [const { None }; BURST_FRAMES], first: 0, len: 0 }
    }

    /// How many frames it holds.
    #[must_use]
    #[inline(always)]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    #[must_use]
    #[inline(always)]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many more it takes.
    #[must_use]
    #[inline(always)]
    pub const fn room(&self) -> usize {
        BURST_FRAMES.saturating_sub(self.len)
    }

    /// Adds a frame to the back.
    ///
    /// # Errors
    ///
    /// `frame`, when the burst is full.
    #[inline(always)]
    pub fn push(&mut self, frame: Frame) -> Result<(), Frame> {
        let at = self.first.wrapping_add(self.len) % BURST_FRAMES;
        match self.frames.get_mut(at) {
            Some(place) if self.len < BURST_FRAMES => {
                *place = Some(frame);
                self.len = self.len.wrapping_add(1);
                Ok(())
            }
            _ => Err(frame),
        }
    }

    /// Takes the frame at the front.
    #[inline(always)]
    pub fn pop(&mut self) -> Option<Frame> {
        let frame = self.frames.get_mut(self.first % BURST_FRAMES)?.take()?;
        self.first = self.first.wrapping_add(1);
        self.len = self.len.wrapping_sub(1);
        Some(frame)
    }

    /// The frame at the front, left where it is.
    #[must_use]
    #[inline(always)]
    pub fn front(&self) -> Option<&Frame> {
        self.frames.get(self.first % BURST_FRAMES)?.as_ref()
    }

    /// Drops every frame.
    pub fn clear(&mut self) {
        while self.pop().is_some() {}
    }
}

impl Default for Burst {
    fn default() -> Self {
        Self::new()
    }
}

impl Extend<Frame> for Burst {
    /// Adds frames while there is room, and drops the rest.
    fn extend<I: IntoIterator<Item = Frame>>(&mut self, frames: I) {
        for frame in frames {
            if self.push(frame).is_err() {
                break;
            }
        }
    }
}
