//! Frames for Wireshark: what comes and goes by the interfaces of the path, while somebody asks.
//!
//! ```text
//!  frames in  -- burst --+                       +-- at most so many bytes of each --> ring
//!                        +-- filter: let through? +-- no room: counted
//!  frames out -- burst --+                                     ring --> pieces of an answer
//! ```
//!
//! The ring is allocated when a capture begins. From then on nothing is: the way of frames is not
//! held up by who reads slowly, and what does not fit is counted and told.
//!
//! | Part | Holds |
//! |---|---|
//! | [`filter`] | which frames, in words |
//! | [`facts`] | what a filter asks of a frame |
//! | `pcapng` | the format |
//! | `query` | what may be asked for |

pub mod facts;
pub mod filter;
mod pcapng;
mod query;

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use facts::Facts;
use paravane_appliance::interface::InterfaceId;
use paravane_hal::time::Instant;
use paravane_net::{Burst, FrameSegment};
use pcapng::Way;
pub(super) use query::Query;

/// How many bytes wait at most for who asked.
const RING_BYTES: usize = 1 << 20;
/// How many of a frame are kept at most.
const MOST_BYTES: usize = 1536;
/// How many go into one piece of an answer.
const PIECE_BYTES: usize = 16 << 10;
/// What is looked at before it is known whether a frame is wanted.
const LOOKED_BYTES: usize = 128;
/// A burst is no longer.
const BURST: &[(); 1024] = &[(); 1024];

/// Frames let through, and those of them that there was no room for, by interface.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    seen: u64,
    lost: u64,
}

/// One capture.
#[derive(Debug)]
pub(super) struct Capture {
    query: Query,
    /// What begins the file, until it is taken.
    begin: Option<Vec<u8>>,
    ring: VecDeque<u8>,
    counts: Vec<Counts>,
    until: Instant,
    packets_left: u32,
    /// What has to be added to the uptime, in microseconds.
    offset_us: u64,
    is_ended: bool,
}

impl Capture {
    /// One of what comes and goes by the interfaces called `names`.
    ///
    /// # Errors
    ///
    /// Why there is none: one line.
    pub(super) fn begin(
        query: Query,
        names: &[&str],
        made_by: &str,
        offset_us: u64,
        now: Instant,
    ) -> Result<Self, String> {
        let mut ring = VecDeque::new();
        let no_room = |_| format!("no memory: a capture takes {} KiB", RING_BYTES >> 10);
        ring.try_reserve_exact(RING_BYTES).map_err(no_room)?;
        let begin = pcapng::begin(made_by, names.iter().copied(), u32::from(query.bytes));
        Ok(Self {
            begin: Some(begin),
            ring,
            counts: names.iter().map(|_| Counts::default()).collect(),
            until: now.saturating_add(Duration::from_secs(query.seconds.into())),
            packets_left: query.packets,
            offset_us,
            is_ended: false,
            query,
        })
    }

    /// Whether frames are still wanted.
    fn is_over(&self, now: Instant) -> bool {
        self.packets_left == 0 || now >= self.until
    }

    /// Looks at frames that came in by `interface`.
    pub(super) fn came(&mut self, interface: InterfaceId, burst: &Burst, now: Instant) {
        self.look(interface, burst, 0, Way::In, now);
    }

    /// Looks at frames that go out by it, but for the first ones of `burst`, which were seen.
    pub(super) fn goes(&mut self, interface: InterfaceId, burst: &Burst, seen: usize, now: Instant) {
        self.look(interface, burst, seen, Way::Out, now);
    }

    fn look(&mut self, interface: InterfaceId, burst: &Burst, seen: usize, way: Way, now: Instant) {
        if self.is_over(now) || self.query.interface.is_some_and(|wanted| wanted != interface) {
            return;
        }
        let mut at = 0_usize;
        burst.look_with(BURST, |frame, ()| {
            if at >= seen {
                self.take(interface, frame.into(), way, now);
            }
            at = at.saturating_add(1);
            true
        });
    }

    /// Keeps one frame, if it is wanted.
    fn take(&mut self, interface: InterfaceId, frame: FrameSegment<'_>, way: Way, now: Instant) {
        let mut bytes = [0; MOST_BYTES];
        let (looked, whole) = copy(frame, &mut bytes, LOOKED_BYTES);
        if self.packets_left == 0 || !self.query.filter.lets(&Facts::of(bytes.get(..looked).unwrap_or(&[]))) {
            return;
        }
        let Some(counts) = self.counts.get_mut(interface.index()) else { return };
        counts.seen = counts.seen.saturating_add(1);
        self.packets_left = self.packets_left.saturating_sub(1);
        let (kept, _) = copy(frame, &mut bytes, self.query.bytes.into());
        let unix_us = (now.as_nanos() / 1000).saturating_add(self.offset_us);
        let (head, padding, tail) = pcapng::packet(u32::from(interface.0), unix_us, (kept, whole), way);
        let needed = head.len() + kept + padding + tail.len();
        // The ring stays as long as it was made.
        if RING_BYTES.saturating_sub(self.ring.len()) < needed {
            counts.lost = counts.lost.saturating_add(1);
            return;
        }
        self.ring.extend(head);
        self.ring.extend(bytes.iter().take(kept));
        self.ring.extend(core::iter::repeat_n(0, padding));
        self.ring.extend(tail);
    }

    /// The next bytes of the file; none where there are none yet. `None`: that was all.
    pub(super) fn piece(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.is_ended {
            return None;
        }
        let mut piece = self.begin.take().unwrap_or_default();
        let len = self.ring.len().min(PIECE_BYTES);
        piece.extend(self.ring.drain(..len));
        if self.ring.is_empty() && self.is_over(now) {
            self.is_ended = true;
            let unix_us = (now.as_nanos() / 1000).saturating_add(self.offset_us);
            piece.extend(pcapng::end(self.counts.iter().map(|counts| (counts.seen, counts.lost)), unix_us));
        }
        Some(piece)
    }
}

/// Copies the first bytes of a frame, at most so many. How many these are, and how long all of it
/// is.
fn copy(frame: FrameSegment<'_>, to: &mut [u8; MOST_BYTES], most: usize) -> (usize, usize) {
    let (mut copied, mut whole) = (0_usize, 0_usize);
    let mut segment = Some(frame);
    // Ends: a frame has so many segments, each looked at once.
    while let Some(one) = segment {
        let len = one.len_bytes();
        whole = whole.saturating_add(len);
        let wanted = len.min(most.min(MOST_BYTES).saturating_sub(copied));
        let room = to.get_mut(copied..copied.saturating_add(wanted));
        if room.is_some_and(|room| one.copy_out(0, room)) {
            copied = copied.saturating_add(wanted);
        }
        segment = one.next();
    }
    (copied, whole)
}

#[cfg(test)]
mod tests;
