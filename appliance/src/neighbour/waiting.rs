//! Frames that wait for somebody's MAC address.

use alloc::collections::VecDeque;

use paravane_net::Frame;

use super::table::Index;

/// Frames, each for an entry, oldest first.
///
/// A few dozen at most: they are looked through one by one.
#[derive(Debug)]
pub(super) struct Waiting {
    frames: VecDeque<(Index, Frame)>,
    all: usize,
    each: usize,
}

impl Waiting {
    /// Room for `all`, and no more than `each` for one entry.
    pub(super) fn new(all: usize, each: usize) -> Self {
        Self { frames: VecDeque::with_capacity(all), all, each }
    }

    /// Takes `frame` for the entry `index`. Gives the one back that has no room then: the entry's
    /// oldest one, or the oldest of all.
    #[must_use = "what has no room is given back"]
    pub(super) fn push(&mut self, index: Index, frame: Frame) -> Option<Frame> {
        let of_entry = self.frames.iter().filter(|(other, _)| *other == index).count();
        let displaced = if of_entry >= self.each {
            self.take(index)
        } else if self.frames.len() >= self.all {
            self.frames.pop_front().map(|(_, frame)| frame)
        } else {
            None
        };
        // Without room for any, it is this one that is given back.
        if self.all == 0 || self.each == 0 {
            return Some(frame);
        }
        self.frames.push_back((index, frame));
        displaced
    }

    /// The oldest one for the entry `index`.
    pub(super) fn take(&mut self, index: Index) -> Option<Frame> {
        let place = self.frames.iter().position(|(other, _)| *other == index)?;
        self.frames.remove(place).map(|(_, frame)| frame)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// For how many there is memory.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.frames.capacity()
    }
}
