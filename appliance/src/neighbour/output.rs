//! What comes of it.

use core::net::IpAddr;

use paravane_net::{Frame, MacAddr};

use super::Ignored;
use crate::drops::Reason;
use crate::interface::InterfaceId;

/// What is to be done next.
#[derive(Debug)]
pub enum Output {
    /// To be sent as it is: a request, a probe, a reply.
    Send {
        /// From there.
        interface: InterfaceId,
        /// This.
        frame: Frame,
    },
    /// It waited for `mac`, which is to be put into it now, and is to be sent.
    Release {
        /// From there.
        interface: InterfaceId,
        /// To whom.
        mac: MacAddr,
        /// This.
        frame: Frame,
    },
    /// It waited for somebody who does not answer. Who sent it is to be told.
    Unreachable {
        /// Behind which he should be.
        interface: InterfaceId,
        /// Who does not answer.
        address: IpAddr,
        /// Where it came in.
        from: Option<InterfaceId>,
        /// This.
        frame: Frame,
    },
    /// It cannot wait, or not any longer. It is counted.
    Drop {
        /// For which it was.
        interface: InterfaceId,
        /// Where it came in.
        from: Option<InterfaceId>,
        /// This.
        frame: Frame,
        /// Why.
        reason: Dropped,
    },
    /// Something that people want to know of.
    Event(Event),
}

/// Something that people want to know of. Of each neighbour at most once a second, but for
/// conflicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A neighbour has another MAC address now: it was replaced, or somebody claims to be it.
    Changed {
        /// Behind which it is.
        interface: InterfaceId,
        /// Whose it is.
        address: IpAddr,
        /// What it was.
        old: MacAddr,
        /// What it is.
        new: MacAddr,
    },
    /// Somebody else uses one of the interface's own addresses. Nothing was changed for it.
    Conflict {
        /// Whose address.
        interface: InterfaceId,
        /// Which.
        address: IpAddr,
        /// Who.
        mac: MacAddr,
    },
}

/// Why a frame does not wait, or waits no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// As many frames wait, and it waited longest.
    Waiting,
    /// [As many](super::Limits::questions) neighbours are asked for.
    Questions,
    /// As many were asked for [lately](super::Limits::questions_per_second).
    Rate,
    /// [As many](super::Limits::learned) neighbours are in use.
    Full,
    /// There is no such interface.
    Interface,
    /// The neighbour did not answer.
    Unanswered,
}

impl Dropped {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Waiting, Self::Questions, Self::Rate, Self::Full, Self::Interface, Self::Unanswered];
}

impl From<Dropped> for Reason {
    fn from(reason: Dropped) -> Self {
        match reason {
            Dropped::Unanswered => Self::Unresolved,
            _ => Self::NeighbourQueue,
        }
    }
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests and probes that were sent.
    pub asked: u64,
    /// Those that were not, for want of a frame, or of an address to ask from.
    pub unasked: u64,
    /// Replies that were sent.
    pub replied: u64,
    /// Answers to our questions.
    pub answered: u64,
    /// Changes of a neighbour's MAC address.
    pub changed: u64,
    /// Neighbours that gave way to others.
    pub evicted: u64,
    pub(super) dropped: [u64; Dropped::ALL.len()],
    pub(super) ignored: [u64; Ignored::ALL.len()],
}

impl Counters {
    /// Frames that were dropped for `reason`.
    #[must_use]
    pub fn dropped(&self, reason: Dropped) -> u64 {
        self.dropped.get(reason as usize).copied().unwrap_or(0)
    }

    /// Messages that were ignored for `reason`.
    #[must_use]
    pub fn ignored(&self, reason: Ignored) -> u64 {
        self.ignored.get(reason as usize).copied().unwrap_or(0)
    }

    pub(super) fn drop(&mut self, reason: Dropped) {
        count(self.dropped.get_mut(reason as usize));
    }

    pub(super) fn ignore(&mut self, reason: Ignored) {
        count(self.ignored.get_mut(reason as usize));
    }
}

fn count(counter: Option<&mut u64>) {
    if let Some(counter) = counter {
        *counter = counter.wrapping_add(1);
    }
}
