//! A burst: the handful of frames that cross an interface at once.

use crate::frame::{Frame, FrameReturns};

/// How many frames a burst holds.
pub const BURST_FRAMES: usize = 32;

const _: () = assert!(BURST_FRAMES.is_power_of_two());

/// A first-in first-out queue of up to [`BURST_FRAMES`] frames, without allocation.
///
/// A transmit queue takes from the front what it has room for and leaves the rest; a receive queue adds to the back.
#[derive(Debug)]
pub struct Burst {
    frames: [Option<Frame>; BURST_FRAMES],
    /// Frames lie from here
    first: usize,
    /// to here; everything else is `None`.
    end: usize,
}

impl Burst {
    /// An empty burst.
    #[must_use]
    pub const fn new() -> Self {
        Self { frames: [const { None }; BURST_FRAMES], first: 0, end: 0 }
    }

    /// How many frames it holds.
    #[must_use]
    #[inline(always)]
    pub const fn len(&self) -> usize {
        self.end.wrapping_sub(self.first)
    }

    /// Whether it holds none.
    #[must_use]
    #[inline(always)]
    pub const fn is_empty(&self) -> bool {
        self.first == self.end
    }

    /// How many more it takes.
    #[must_use]
    #[inline(always)]
    pub const fn room(&self) -> usize {
        BURST_FRAMES.saturating_sub(self.len())
    }

    /// Adds a frame to the back.
    ///
    /// # Errors
    ///
    /// `frame`, when the burst is full.
    #[inline(always)]
    pub fn push(&mut self, frame: Frame) -> Result<(), Frame> {
        if self.end >= BURST_FRAMES {
            self.close_up();
        }
        match self.frames.get_mut(self.end) {
            Some(place) => {
                put(place, frame);
                self.end = self.end.wrapping_add(1);
                Ok(())
            }
            None => Err(frame),
        }
    }

    /// Takes the frame at the front.
    #[inline(always)]
    pub fn pop(&mut self) -> Option<Frame> {
        let frame = self.frames.get_mut(self.first)?.take()?;
        self.first = self.first.wrapping_add(1);
        Some(frame)
    }

    /// The frame at the front, left where it is.
    #[must_use]
    #[inline(always)]
    pub fn front(&self) -> Option<&Frame> {
        self.frames.get(self.first)?.as_ref()
    }

    /// Adds what `next` gives to the back until it gives nothing or the burst is full. Returns how many came.
    #[inline(always)]
    pub fn fill(&mut self, mut next: impl FnMut() -> Option<Frame>) -> usize {
        self.close_up();
        let mut added = 0_usize;
        for place in self.frames.get_mut(self.end..).unwrap_or_default() {
            let Some(frame) = next() else { break };
            put(place, frame);
            added = added.wrapping_add(1);
        }
        self.end = self.end.wrapping_add(added);
        added
    }

    /// Hands frames to `take`, front first, until it gives one back, which stays, or none is left. Returns how many went.
    #[inline(always)]
    pub fn drain(&mut self, mut take: impl FnMut(Frame) -> Result<(), Frame>) -> usize {
        let mut taken = 0_usize;
        for place in self.frames.get_mut(self.first..self.end).unwrap_or_default() {
            let Some(frame) = place.take() else { break };
            if let Err(frame) = take(frame) {
                put(place, frame);
                break;
            }
            taken = taken.wrapping_add(1);
        }
        self.first = self.first.wrapping_add(taken);
        taken
    }

    /// Drops every frame, all together.
    #[inline]
    pub fn clear(&mut self) {
        let mut returns = FrameReturns::new();
        self.drain(|frame| {
            returns.put(frame);
            Ok(())
        });
    }

    /// Moves the frames to the start, so that all room is behind them.
    #[inline(always)]
    fn close_up(&mut self) {
        if self.is_empty() {
            (self.first, self.end) = (0, 0);
        } else if self.first > 0 {
            self.shift();
        }
    }

    #[cold]
    fn shift(&mut self) {
        self.frames.rotate_left(self.first);
        (self.first, self.end) = (0, self.len());
    }
}

/// Fills a place that is known to be empty, without asking it.
#[inline(always)]
fn put(place: &mut Option<Frame>, frame: Frame) {
    core::mem::forget(place.replace(frame));
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
