//! A burst: the handful of frames that cross an interface at once.

use paravane_hal::dma::DomainTag;
use paravane_hal::pool::Chain;

use crate::frame::{Frame, FrameHeader, FrameSegment};

/// How many frames a receive queue has a burst hold at most, and how many are a good handful to send.
pub const BURST_FRAMES: usize = 32;

/// A first-in first-out queue of frames, without allocation.
///
/// A transmit queue takes from the front what it has room for and leaves the rest; a receive queue
/// adds to the back, until there are [`BURST_FRAMES`]. The frames are linked, so a burst of any
/// length moves in a few words, and dropped it goes back to its pool in one step.
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

    /// How many more a receive queue adds to it.
    #[must_use]
    #[inline(always)]
    pub const fn room(&self) -> usize {
        BURST_FRAMES.saturating_sub(self.len())
    }

    /// The DMA domain of all frames, where the burst knows it: they are of one pool.
    #[must_use]
    #[inline(always)]
    pub fn domain(&self) -> Option<DomainTag> {
        self.0.domain()
    }

    /// Adds a frame to the back.
    #[inline(always)]
    pub fn push(&mut self, frame: Frame) {
        self.0.push(frame.0);
    }

    /// Adds all frames of `other` to the back.
    #[inline(always)]
    pub fn append(&mut self, other: Self) {
        self.0.append(other.0);
    }

    /// Takes the frame at the front.
    #[inline(always)]
    pub fn pop(&mut self) -> Option<Frame> {
        self.0.pop().map(Frame)
    }

    /// Adds a frame to the front.
    #[inline(always)]
    pub fn push_front(&mut self, frame: Frame) {
        self.0.push_front(frame.0);
    }

    /// Shows frames from the front to `by`, each by its first segment and with one of `items`, until
    /// either ends or `by` says no. How many it said yes to.
    #[inline(always)]
    pub fn look_with<'i, T>(
        &self,
        items: &'i [T],
        mut by: impl FnMut(FrameSegment<'_>, &'i T) -> bool,
    ) -> usize {
        self.0.look_with(items, |buffer, item| by(FrameSegment(buffer), item))
    }

    /// Takes `count` frames from the front, or all.
    #[inline(always)]
    #[must_use]
    pub fn take_front(&mut self, count: usize) -> Self {
        Self(self.0.take_front(count))
    }

    /// Takes up to `at_most` frames from the front and gives each to `by`: what that gives back
    /// joins the back of `to`; what it gives as an error stays in front, and ends it. How many were
    /// taken.
    ///
    /// `by` may do anything with a frame: keep it, change it, give another one back. Should it
    /// panic, frames are leaked.
    #[inline(always)]
    pub fn walk(
        &mut self,
        to: &mut Self,
        at_most: usize,
        mut by: impl FnMut(Frame) -> Result<Option<Frame>, Frame>,
    ) -> usize {
        self.0.walk(&mut to.0, at_most, |buffer| match by(Frame(buffer)) {
            Ok(frame) => Ok(frame.map(|frame| frame.0)),
            Err(frame) => Err(frame.0),
        })
    }

    /// The same, each frame with one of `items`, until either ends.
    #[inline(always)]
    pub fn walk_with<'i, T>(
        &mut self,
        to: &mut Self,
        items: &'i [T],
        mut by: impl FnMut(Frame, &'i T) -> Result<Option<Frame>, Frame>,
    ) -> usize {
        self.0.walk_with(&mut to.0, items, |buffer, item| match by(Frame(buffer), item) {
            Ok(frame) => Ok(frame.map(|frame| frame.0)),
            Err(frame) => Err(frame.0),
        })
    }

    /// As [`walk_with`](Self::walk_with), for who gives another frame for each, and for frames of
    /// one segment: what continues one is dropped first.
    #[inline(always)]
    pub fn exchange_with<'i, T>(
        &mut self,
        to: &mut Self,
        items: &'i [T],
        mut by: impl FnMut(Frame, &'i T) -> Result<Frame, Frame>,
    ) -> usize {
        self.0.exchange_with(&mut to.0, items, |buffer, item| match by(Frame(buffer), item) {
            Ok(frame) => Ok(frame.0),
            Err(frame) => Err(frame.0),
        })
    }

    /// Takes frames from the front, as long as `by` says so of how many segments each has. Each
    /// segment comes back as a frame of its own: for who gives them to their pool.
    #[inline(always)]
    #[must_use]
    pub fn take_apart(&mut self, by: impl FnMut(usize) -> bool) -> Self {
        Self(self.0.take_apart(by))
    }

    /// Drops every frame, all together.
    #[inline(always)]
    pub fn clear(&mut self) {
        drop(core::mem::take(self));
    }
}

impl From<Frame> for Burst {
    /// A burst of one.
    #[inline(always)]
    fn from(frame: Frame) -> Self {
        Self(frame.0.into())
    }
}

impl Extend<Frame> for Burst {
    /// Adds frames to the back.
    #[inline]
    fn extend<I: IntoIterator<Item = Frame>>(&mut self, frames: I) {
        for frame in frames {
            self.push(frame);
        }
    }
}
