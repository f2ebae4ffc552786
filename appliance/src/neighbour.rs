//! Who has the next hop's address on the link: ARP and NDP in one cache.
//!
//! ```text
//!  path -- lookup --> MAC                                (known: nearly always)
//!       -- wait ----> frame waits, poll sends a request  (not known yet)
//!  wire -- receive -> reply / frames that waited, with the MAC / event
//!  time -- poll ----> requests, probes / frames that nobody answered for
//! ```
//!
//! What comes of it is handed to a closure, one [`Output`] after another, so that each frame that
//! goes in comes out exactly once.
//!
//! Everyone on a link can say anything, so:
//!
//! - Entries are made only for those that the path asks for, and strangers' packets make it ask. So
//!   new questions are limited by interface, and all of them together; entries, and frames that
//!   wait, likewise. Nothing is allocated after [`Neighbours::new`].
//! - Next hops and back ends are [pinned](Neighbours::pin): none of these limits holds them up.
//! - A MAC address is learned from the answer to a question. Other messages change what is known,
//!   at most once a second, and then it is [asked](State::Probe) for before long.
//! - Where an entry is in the table depends on a key that nobody outside knows.
//!
//! Not here: routers and prefixes, address configuration, and whether an address is free
//! (RFC 4862); others that ask whether one of ours is are told that it is not.
//!
//! Spec: RFC 826 "An Ethernet Address Resolution Protocol"; RFC 4861 "Neighbor Discovery for IP
//! version 6", 7.

#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

mod ask;
mod entry;
mod heard;
mod learn;
mod limits;
mod list;
mod output;
mod table;
mod waiting;
pub mod wire;

#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use paravane_hal::time::Instant;
use paravane_net::{Frame, MacAddr};

use crate::interface::InterfaceId;
pub use ask::announce;
use entry::Key;
pub use entry::State;
pub use heard::Ignored;
use limits::Bucket;
pub use limits::Limits;
pub use output::{Counters, Dropped, Event, Output};
use table::{Index, NONE, Table};
use waiting::{Waiter, Waiting};

/// For how long an answer holds: `REACHABLE_TIME`.
///
/// Spec: RFC 4861, 10 "Protocol Constants", as are those that follow.
pub const REACHABLE: Duration = Duration::from_secs(30);
/// How long one is used again before it is asked: `DELAY_FIRST_PROBE_TIME`.
pub const DELAY: Duration = Duration::from_secs(5);
/// How long an answer may take: `RETRANS_TIMER`.
pub const RETRANSMIT: Duration = Duration::from_secs(1);
/// How often one is asked: `MAX_MULTICAST_SOLICIT` and `MAX_UNICAST_SOLICIT`.
pub const MAX_SOLICIT: u8 = 3;

/// Where an entry was found, so that it is found faster the next time. Wherever it points, what is
/// found is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hint(Index);

impl Default for Hint {
    fn default() -> Self {
        Self(NONE)
    }
}

/// What is known of a neighbour, for people to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Behind which interface.
    pub interface: InterfaceId,
    /// Its address.
    pub address: IpAddr,
    /// Its MAC address.
    pub mac: Option<MacAddr>,
    /// How sure that is.
    pub state: State,
    /// It stays.
    pub is_pinned: bool,
}

/// All neighbours of all interfaces.
#[derive(Debug)]
pub struct Neighbours {
    table: Table,
    /// Frames for those that are pinned, and for others.
    waiting: [Waiting; 2],
    questions: Vec<Bucket>,
    limits: Limits,
    counters: Counters,
}

impl Neighbours {
    /// None yet. Allocates all it will ever need; `key` is to be random, and known to nobody.
    #[must_use]
    pub fn new(limits: Limits, key: [u64; 2]) -> Self {
        let waiting = || Waiting::new(limits.waiting.into(), limits.waiting_each.into());
        Self {
            table: Table::new(limits.learned as usize, limits.pinned as usize, key),
            waiting: [waiting(), waiting()],
            questions: alloc::vec![Bucket::default(); limits.interfaces.into()],
            limits,
            counters: Counters::default(),
        }
    }

    /// The MAC address of `address`, if it is known, and marks it as used. Where it is not, the
    /// frame has to [wait](Self::wait).
    #[inline]
    pub fn lookup(&mut self, interface: InterfaceId, address: IpAddr, now: Instant) -> Option<MacAddr> {
        let index = self.table.find(Key::new(interface, address))?;
        self.used(index, now)
    }

    /// The same, faster where `hint` is from the last time: it says where, and learns it.
    #[inline]
    pub fn lookup_near(
        &mut self,
        hint: &mut Hint,
        interface: InterfaceId,
        address: IpAddr,
        now: Instant,
    ) -> Option<MacAddr> {
        let key = Key::new(interface, address);
        if self.table.get(hint.0).is_none_or(|entry| entry.key != key) {
            *hint = Hint(self.table.find(key)?);
        }
        self.used(hint.0, now)
    }

    /// What is known, marked as used.
    #[inline(always)]
    fn used(&mut self, index: Index, now: Instant) -> Option<MacAddr> {
        let entry = self.table.get_mut(index)?;
        entry.used = true;
        let mac = entry.mac;
        match entry.state {
            State::Reachable if now.since(entry.at) < REACHABLE => Some(mac),
            State::Delay | State::Probe => Some(mac),
            State::Reachable | State::Stale => {
                self.begin_delay(index, now);
                Some(mac)
            }
            State::Unresolved | State::Incomplete => None,
        }
    }

    #[cold]
    fn begin_delay(&mut self, index: Index, now: Instant) {
        self.table.set(index, State::Delay, now);
    }

    /// Has `frame`, which came in `from` there, or is of the box itself, wait for the MAC address
    /// of `address`, a host's on the link. That is asked for by the next [`poll`](Self::poll).
    ///
    /// Of those that wait already, the oldest may be dropped for it. Where it may not wait it comes
    /// out at once: [dropped](Output::Drop), or [released](Output::Release) when the address is
    /// known after all.
    pub fn wait(
        &mut self,
        interface: InterfaceId,
        address: IpAddr,
        frame: Frame,
        from: Option<InterfaceId>,
        now: Instant,
        out: &mut dyn FnMut(Output),
    ) {
        let index = match self.question(interface, address, now) {
            Ok(index) => index,
            Err(reason) => {
                return self.drop_waiter(Waiter { index: NONE, from, frame }, interface, reason, out);
            }
        };
        if let Some(mac) = self.used(index, now) {
            return out(Output::Release { interface, mac, frame });
        }
        let is_pinned = self.table.get(index).is_some_and(|entry| entry.pins > 0);
        let [pinned, learned] = &mut self.waiting;
        let waiting = if is_pinned { pinned } else { learned };
        if let Some(displaced) = waiting.push(Waiter { index, from, frame }) {
            // It may be another neighbour's.
            let its = self.table.get(displaced.index).map_or(interface, |entry| entry.key.interface());
            self.drop_waiter(displaced, its, Dropped::Waiting, out);
        }
    }

    /// The entry for `address`, which is asked for where its MAC address is not known.
    fn question(&mut self, interface: InterfaceId, address: IpAddr, now: Instant) -> Result<Index, Dropped> {
        let key = Key::new(interface, address);
        if let Some(index) = self.table.find(key) {
            if self.table.get(index).is_some_and(|entry| entry.state == State::Unresolved) {
                self.table.set(index, State::Incomplete, now);
            }
            return Ok(index);
        }
        let bucket = self.questions.get_mut(interface.index()).ok_or(Dropped::Interface)?;
        if self.table.questions >= self.limits.questions as usize {
            return Err(Dropped::Questions);
        }
        if !bucket.take(&self.limits, now) {
            return Err(Dropped::Rate);
        }
        let index = self.table.insert(key, 0).ok_or(Dropped::Full)?;
        self.table.set(index, State::Incomplete, now);
        Ok(index)
    }

    fn drop_waiter(
        &mut self,
        Waiter { from, frame, .. }: Waiter,
        interface: InterfaceId,
        reason: Dropped,
        out: &mut dyn FnMut(Output),
    ) {
        self.counters.drop(reason);
        out(Output::Drop { interface, from, frame, reason });
    }

    /// The oldest frame that waits for the entry `index`.
    fn take_waiting(&mut self, index: Index) -> Option<Waiter> {
        self.waiting.iter_mut().find_map(|waiting| waiting.take(index))
    }

    /// Keeps `address`, whatever happens, until it is [unpinned](Self::unpin) as often as it was
    /// pinned: a next hop, a back end. It is asked for when something waits for it.
    ///
    /// False, and nothing changes, when [as many](Limits::pinned) are pinned, or there is no such
    /// interface.
    #[must_use = "false says that it is not pinned"]
    pub fn pin(&mut self, interface: InterfaceId, address: IpAddr) -> bool {
        if self.questions.get(interface.index()).is_none() {
            return false;
        }
        let key = Key::new(interface, address);
        match self.table.find(key) {
            Some(index) => self.table.pin(index),
            None => self.table.insert(key, 1).is_some(),
        }
    }

    /// Takes one pin off. Without any left it is one like others, and where there are as many of
    /// them it is forgotten: then what waits for it is dropped.
    pub fn unpin(&mut self, interface: InterfaceId, address: IpAddr, out: &mut dyn FnMut(Output)) {
        let Some(index) = self.table.find(Key::new(interface, address)) else { return };
        if self.table.unpin(index) {
            while let Some(waiter) = self.take_waiting(index) {
                self.drop_waiter(waiter, interface, Dropped::Full, out);
            }
            self.table.remove(index);
        }
    }

    /// All of them, in no order.
    pub fn iter(&self, now: Instant) -> impl Iterator<Item = Neighbour> {
        self.table.iter().map(move |entry| Neighbour {
            interface: entry.key.interface(),
            address: entry.key.address(),
            mac: entry.state.has_mac().then_some(entry.mac),
            state: match entry.state {
                State::Reachable if now.since(entry.at) >= REACHABLE => State::Stale,
                state => state,
            },
            is_pinned: entry.pins > 0,
        })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.learned.saturating_add(self.table.pinned)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many frames wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.iter().map(Waiting::len).fold(0, usize::saturating_add)
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters { evicted: self.table.evicted, ..self.counters }
    }
}
