//! Frames that wait for somebody's MAC address.

use alloc::collections::VecDeque;

use paravane_net::Frame;

use super::table::Index;
use crate::interface::InterfaceId;

/// A frame that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    /// For which entry.
    pub(super) index: Index,
    /// Where it came in.
    pub(super) from: Option<InterfaceId>,
    /// It.
    pub(super) frame: Frame,
}

/// They, oldest first.
///
/// A few dozen at most: they are looked through one by one.
#[derive(Debug)]
pub(super) struct Waiting {
    frames: VecDeque<Waiter>,
    all: usize,
    each: usize,
}

impl Waiting {
    /// Room for `all`, and no more than `each` for one entry.
    pub(super) fn new(all: usize, each: usize) -> Self {
        Self { frames: VecDeque::with_capacity(all), all, each }
    }

    /// Takes `waiter`. Gives the one back that has no room then: the oldest one of its entry, or
    /// the oldest of all.
    #[must_use = "what has no room is given back"]
    pub(super) fn push(&mut self, waiter: Waiter) -> Option<Waiter> {
        // Without room for any, it is this one that is given back.
        if self.all == 0 || self.each == 0 {
            return Some(waiter);
        }
        let of_entry = self.frames.iter().filter(|other| other.index == waiter.index).count();
        let displaced = if of_entry >= self.each {
            self.take(waiter.index)
        } else if self.frames.len() >= self.all {
            self.frames.pop_front()
        } else {
            None
        };
        self.frames.push_back(waiter);
        displaced
    }

    /// The oldest one for the entry `index`.
    pub(super) fn take(&mut self, index: Index) -> Option<Waiter> {
        let place = self.frames.iter().position(|waiter| waiter.index == index)?;
        self.frames.remove(place)
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
