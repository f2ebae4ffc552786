//! A burst: the handful of frames that cross an interface at once.

use paravane_hal::pool::Chain;

use crate::frame::Frame;

/// How many frames a receive queue has a burst hold at most, and how many are a good handful to
/// send.
pub const BURST_FRAMES: usize = 32;

/// A first-in first-out queue of frames, without allocation.
///
/// A transmit queue takes from the front what it has room for and leaves the rest; a receive queue
/// adds to the back, until there are [`BURST_FRAMES`]. The frames are linked, so a burst of any
/// length moves in a few words, and dropped it goes back to its pool in one step.
pub type Burst = Chain<Frame>;

/// How many more frames a receive queue adds to `burst`.
#[must_use]
#[inline(always)]
pub const fn burst_room(burst: &Burst) -> usize {
    BURST_FRAMES.saturating_sub(burst.len())
}
