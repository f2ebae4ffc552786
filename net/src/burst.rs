//! A burst: the handful of frames that cross an interface at once.

use paravane_hal::dma::DomainTag;
use paravane_hal::pool::Chain;

use crate::frame::{Frame, FrameHeader, PlainFrame};

/// How many frames a burst holds.
pub const BURST_FRAMES: usize = 32;

/// A first-in first-out queue of up to [`BURST_FRAMES`] frames, without allocation.
///
/// A transmit queue takes from the front what it has room for and leaves the rest; a receive queue
/// adds to the back. The frames are linked, so a burst moves in a few words, and dropped it goes
/// back to its pool in one step.
#[derive(Debug, Default)]
pub struct Burst(pub(crate) Chain<FrameHeader>);

impl Burst {
    /// An empty burst.
    #[must_use]
    #[inline(always)]
    pub const fn new() -> Self {
        Self(Chain::new())
    }

    /// How many frames it holds.
    #[must_use]
    #[inline(always)]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it holds none.
    #[must_use]
    #[inline(always)]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many more it takes.
    #[must_use]
    #[inline(always)]
    pub const fn room(&self) -> usize {
        BURST_FRAMES.saturating_sub(self.len())
    }

    /// The DMA domain of all frames, where the burst knows it: they are of one pool, and none is
    /// several segments.
    #[must_use]
    #[inline(always)]
    pub fn domain(&self) -> Option<DomainTag> {
        self.0.domain()
    }

    /// Adds a frame to the back.
    ///
    /// # Errors
    ///
    /// `frame`, when the burst is full.
    #[inline(always)]
    pub fn push(&mut self, frame: Frame) -> Result<(), Frame> {
        if self.room() == 0 {
            return Err(frame);
        }
        self.0.push(frame.0);
        Ok(())
    }

    /// Adds all frames of `other` to the back.
    ///
    /// # Errors
    ///
    /// `other`, when there is not enough room.
    #[inline(always)]
    pub fn append(&mut self, other: Self) -> Result<(), Self> {
        if other.len() > self.room() {
            return Err(other);
        }
        self.0.append(other.0);
        Ok(())
    }

    /// Takes the frame at the front.
    #[inline(always)]
    pub fn pop(&mut self) -> Option<Frame> {
        self.0.pop().map(Frame)
    }

    /// What `look` says about the frame at the front, which stays there.
    #[inline(always)]
    pub fn peek<T>(&mut self, look: impl FnOnce(&Frame) -> T) -> Option<T> {
        let front = self.pop()?;
        let said = look(&front);
        self.0.push_front(front.0);
        Some(said)
    }

    /// Adds what `next` gives to the back until it gives nothing or the burst is full. Returns how
    /// many came.
    #[inline(always)]
    pub fn fill(&mut self, mut next: impl FnMut() -> Option<Frame>) -> usize {
        let before = self.len();
        while self.room() > 0 {
            let Some(frame) = next() else { break };
            self.0.push(frame.0);
        }
        self.len().wrapping_sub(before)
    }

    /// Hands frames to `take`, front first, until it gives one back, which stays, or none is left.
    /// Returns how many went.
    #[inline(always)]
    pub fn drain(&mut self, mut take: impl FnMut(Frame) -> Result<(), Frame>) -> usize {
        let before = self.len();
        while let Some(frame) = self.pop() {
            if let Err(frame) = take(frame) {
                self.0.push_front(frame.0);
                break;
            }
        }
        before.wrapping_sub(self.len())
    }

    /// Splits off the frames in front, plain but for a checksum that they may ask for, of which
    /// `look` says yes, each with one of `items`, up to the first other one, or until
    /// either ends.
    #[inline(always)]
    pub fn split_plain<T>(&mut self, items: &[T], mut look: impl FnMut(PlainFrame<'_>, &T) -> bool) -> Self {
        Self(
            self.0.split_while(items, |buffer, item| {
                PlainFrame::of(buffer).is_some_and(|frame| look(frame, item))
            }),
        )
    }

    /// Drops every frame, all together.
    #[inline(always)]
    pub fn clear(&mut self) {
        drop(core::mem::take(self));
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
