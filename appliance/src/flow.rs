//! Flows: what two hosts say to each other, known again by each of its packets.
//!
//! ```text
//!  burst -- Lookup::new    hash all keys
//!        -- Table::prepare the buckets of all, and then their flows: none waits for another's memory
//!        -- Table::found   whose is it, and which way?
//!             yes -- Table::track  does it belong there, and how far is it?
//!             no  -- Table::open   a new one, within the limits
//!  time  -- Table::poll    those of which nothing was heard end
//! ```
//!
//! All memory is taken when a table is made: [`Table::bytes_of`] says how much, 157 bytes a flow.
//! Nothing ever walks the table, and nothing is done all at once.
//!
//! Who floods it with beginnings takes no more than the share of those that are *unproven*, of
//! which one side alone has shown that it is there. When that share is full, the oldest of them
//! gives way to the newest: an honest client, which answers within a round trip, is proven before
//! its turn comes, unless the share is turned over faster than that. A flow that is proven never
//! gives way. A SYN is proven by the acknowledgement of the answer to it; what has no such thing,
//! by a packet that follows an answer.
//!
//! | Part | Holds |
//! |---|---|
//! | this file | [`Table`]: who is known, how far each is, who ends |
//! | `open` | who begins, within the limits |
//! | `key` | [`Key`]: by what packets belong together |
//! | `entry` | [`Flow`], [`State`] |
//! | `hash` | by what nobody outside knows where a key leads |
//! | `index` | where a flow is, by the hash of a key |
//! | `tcp` | how a TCP connection goes on |
//! | `list`, `time` | whose time comes when |
//! | `limits` | [`Limits`], [`Service`], [`Counters`] |
//!
//! Services and sources are held to their limits here, and servers by their [`pool`](crate::pool).

mod entry;
mod hash;
mod index;
mod key;
mod limits;
mod list;
mod open;
mod tcp;
mod time;

use alloc::boxed::Box;
use alloc::vec;

use paravane_hal::time::Instant;

use crate::limit::Networks;
use crate::packet::wire::PROTOCOL_TCP;
use crate::random::Random;
pub use entry::{Direction, Flow, State, Tag};
pub(crate) use hash::HashKey;
use index::{Index, NONE};
pub use key::Key;
pub use limits::{Counters, End, Limits, Refused, Service, Timeouts};
use limits::{Served, count};
use list::{Lists, UNPROVEN};
pub use open::{Handshake, New};
use tcp::Step;
pub use tcp::{Invalid, Segment};

/// The most flows that a table may have.
const MAX_FLOWS: u32 = 1 << 24;

/// All flows.
#[derive(Debug)]
pub struct Table {
    flows: Box<[Flow]>,
    index: Index,
    hash_key: HashKey,
    lists: Lists,
    /// The first place that is free; each knows the next.
    free: u32,
    len: u32,
    unproven: u32,
    /// The second up to which flows have ended whose time was over.
    second: u32,
    limits: Limits,
    services: Box<[Served]>,
    sources: Networks,
    counters: Counters,
}

/// A key on its way to be found.
#[derive(Clone, Copy, Debug)]
pub struct Lookup {
    key: Key,
    hash: u64,
    slot: u32,
}

impl AsMut<Self> for Lookup {
    fn as_mut(&mut self) -> &mut Self {
        self
    }
}

impl Lookup {
    /// Of no packet: nothing is found.
    pub(crate) const NONE: Self = Self { key: Key::NONE, hash: 0, slot: NONE };

    /// Whether nothing was found where it was looked for, or it was not.
    #[inline(always)]
    pub(crate) const fn is_nobodys(&self) -> bool {
        self.slot == NONE
    }
}

/// A flow that was found, and which way it goes. Good until a flow ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Its place.
    pub index: u32,
    /// Which way.
    pub direction: Direction,
}

/// What is to be done with a packet of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Pass,
    /// It begins anew, and the flow is no more: it is to be [opened](Table::open).
    Reopened,
    /// It is none of its flow, and is to be dropped.
    Invalid(Invalid),
}

impl Table {
    /// One without flows, and with services that are [general](Service::GENERAL). Allocates all
    /// that it will need.
    #[must_use]
    pub fn new(limits: Limits, random: &mut Random) -> Self {
        let len = limits.flows.min(MAX_FLOWS);
        let mut flows = vec![Flow::FREE; len as usize].into_boxed_slice();
        for (flow, next) in flows.iter_mut().zip(1..len) {
            flow.after = next;
        }
        let served = (0..limits.services).map(|_| Served::new(Service::GENERAL));
        Self {
            index: Index::new(flows.len()),
            free: if flows.is_empty() { NONE } else { 0 },
            flows,
            hash_key: HashKey::new(random),
            lists: Lists::new(),
            len: 0,
            unproven: 0,
            second: 0,
            limits,
            services: served.collect(),
            sources: Networks::new(
                limits.source.into(),
                limits.source_flows,
                limits.sources,
                random.hash_key(),
            ),
            counters: Counters::default(),
        }
    }

    /// How many bytes the flows and the index of a table take that has so many.
    #[must_use]
    pub const fn bytes_of(flows: u32) -> usize {
        index::bytes_of(flows as usize) + flows as usize * entry::FLOW_BYTES
    }

    /// Sets what a service has; flows that it has already stay. False where there is no such one.
    pub fn set_service(&mut self, number: u16, service: Service) -> bool {
        let Some(served) = self.services.get_mut(usize::from(number)) else { return false };
        (served.service, served.pace) = (service, service.rate.into());
        true
    }

    /// The first step of finding a flow.
    #[must_use]
    #[inline]
    pub fn lookup(&self, key: Key) -> Lookup {
        Lookup { key, hash: key.hash(&self.hash_key), slot: NONE }
    }

    /// The second step, for a whole burst: first the buckets of all, then their flows. Nothing here
    /// hangs on what came before it, so a processor waits for the memory of all at once.
    #[inline(never)]
    pub fn prepare(&self, lookups: &mut [impl AsMut<Lookup>]) {
        for lookup in &mut *lookups {
            let lookup = lookup.as_mut();
            lookup.slot = self.index.find(lookup.hash, |_| true).unwrap_or(NONE);
        }
        // Both cache lines of each flow are on their way; what is in them does not matter yet.
        let mut looked = 0;
        for lookup in lookups {
            if let Some(flow) = self.flows.get(hit(lookup.as_mut().slot).index as usize) {
                looked ^= flow.key(Direction::Original).zone() ^ flow.list;
            }
        }
        core::hint::black_box(looked);
    }

    /// The last step: whose packets have that key. What came and went meanwhile does not matter.
    #[must_use]
    #[inline]
    pub fn found(&self, lookup: &Lookup) -> Option<Hit> {
        if self.is_at(lookup.slot, &lookup.key) {
            return Some(hit(lookup.slot));
        }
        self.found_late(lookup)
    }

    /// The same of a flow that is just where it was looked for, as nearly all are: and the flow.
    #[inline(always)]
    pub(crate) fn found_there(&mut self, lookup: &Lookup) -> Option<(&mut Flow, Direction)> {
        let Hit { index, direction } = hit(lookup.slot);
        let flow = self.flows.get_mut(index as usize)?;
        flow.key(direction).is(&lookup.key).then_some((flow, direction))
    }

    /// The same of one that is not where it was looked for: it is new, or another has its tag.
    #[cold]
    fn found_late(&self, lookup: &Lookup) -> Option<Hit> {
        let slot = self.index.find(lookup.hash, |slot| self.is_at(slot, &lookup.key));
        slot.map(hit)
    }

    /// All steps for one key.
    #[must_use]
    pub fn find(&self, key: &Key) -> Option<Hit> {
        self.found_late(&self.lookup(*key))
    }

    #[inline(always)]
    fn is_at(&self, slot: u32, key: &Key) -> bool {
        let Hit { index, direction } = hit(slot);
        self.flows.get(index as usize).is_some_and(|flow| flow.key(direction).is(key))
    }

    /// A flow by its place; `None` when there is none.
    #[must_use]
    #[inline]
    pub fn get(&self, index: u32) -> Option<&Flow> {
        self.flows.get(index as usize).filter(|flow| flow.list != list::LOOSE)
    }

    /// Says that a packet of a flow came: with the numbers of `segment` where it is TCP.
    ///
    /// A packet that does not belong to its flow changes nothing. Nor does an ICMP error ever.
    #[inline]
    pub fn track(
        &mut self,
        hit: Hit,
        segment: Option<&Segment>,
        now: Instant,
        ended: &mut impl FnMut(u32, &Flow, End),
    ) -> Verdict {
        let Hit { index, direction } = hit;
        let flow = self.flows.get_mut(index as usize).filter(|flow| flow.list != list::LOOSE);
        let Some(flow) = flow else { return Verdict::Pass };
        let before = flow.state;
        let step = match segment {
            Some(segment) => tcp::step(before, &mut flow.sides, direction, segment),
            None if flow.key(direction).protocol() == PROTOCOL_TCP => Step::Stays,
            None => Step::To(talk(before, direction)),
        };
        let state = match step {
            Step::To(state) => state,
            Step::Stays => return Verdict::Pass,
            Step::Unheard => return self.take_half(hit, segment, now),
            Step::Reopens => {
                self.end(index, End::Reopened, ended);
                return Verdict::Reopened;
            }
            Step::Not(invalid) => return self.invalid(invalid),
        };
        self.came(hit, state, now);
        Verdict::Pass
    }

    /// Does what [`track`](Self::track) does with a packet of the flow that was
    /// [found there](Self::found_there), where that takes a connection further that was answered.
    /// False, and nothing changed, of all else. By value: what has its address taken lies in
    /// memory, for all others too.
    #[inline(never)]
    pub(crate) fn goes_further(&mut self, lookup: &Lookup, segment: Segment, now: Instant) -> bool {
        let hit = hit(lookup.slot);
        let Some(flow) = self.flows.get_mut(hit.index as usize) else { return false };
        let state = tcp::goes_further(flow.state, &mut flow.sides, hit.direction, &segment);
        if let Some(state) = state {
            self.came(hit, state, now);
        }
        state.is_some()
    }

    /// A packet came that belongs to its flow, which is in `state` then.
    fn came(&mut self, Hit { index, direction }: Hit, state: State, now: Instant) {
        let Some(flow) = self.flows.get_mut(index as usize) else { return };
        let before = flow.state;
        // The time of a beginning runs from its first packet on, and that of an end from its last
        // step: nobody makes them longer.
        let is_fixed = match before {
            State::SynSent | State::SynReceived => !has_begun(state),
            State::TimeWait => state == before,
            _ => false,
        };
        if !is_fixed {
            flow.seen = time::seconds(now);
        }
        flow.state = state;
        if state != before || !flow.is_proven() {
            self.moved(index, direction, is_fixed);
        }
    }

    /// Takes what a client says to an answer that it had by another way, of a service whose
    /// connections may come in their middle.
    #[cold]
    fn take_half(&mut self, hit: Hit, segment: Option<&Segment>, now: Instant) -> Verdict {
        let Self { flows, services, .. } = self;
        let Hit { index, direction } = hit;
        let picks_up = |flow: &&mut Flow| {
            services.get(usize::from(flow.tag.service)).is_some_and(|served| served.service.picks_up)
        };
        let flow = flows.get_mut(index as usize).filter(picks_up);
        let begun = segment.and_then(|segment| tcp::pick_up(segment, direction));
        let (Some(flow), Some((state, sides))) = (flow, begun) else {
            return self.invalid(Invalid::State);
        };
        (flow.state, flow.sides, flow.seen) = (state, sides, time::seconds(now));
        self.moved(index, direction, false);
        Verdict::Pass
    }

    #[cold]
    fn invalid(&mut self, why: Invalid) -> Verdict {
        count(&mut self.counters.invalid, why as usize);
        Verdict::Invalid(why)
    }

    /// Sees to it that a flow, which is in another state or unproven, waits for the right time.
    #[cold]
    fn moved(&mut self, index: u32, direction: Direction, is_fixed: bool) {
        let Some(flow) = self.flows.get_mut(index as usize) else { return };
        if !flow.is_proven() {
            if !is_proof(flow, direction) {
                if !is_fixed {
                    self.lists.push(&mut self.flows, UNPROVEN, index);
                }
                return;
            }
            self.unproven = self.unproven.wrapping_sub(1);
        }
        self.schedule(index);
    }

    /// Takes out a flow. False when there is none.
    pub fn remove(&mut self, index: u32, ended: &mut impl FnMut(u32, &Flow, End)) -> bool {
        self.get(index).is_some() && self.end(index, End::Removed, ended)
    }

    /// Takes out a flow that goes on elsewhere. False when there is none.
    pub(crate) fn hand_over(&mut self, index: u32, ended: &mut impl FnMut(u32, &Flow, End)) -> bool {
        self.get(index).is_some() && self.end(index, End::HandedOver, ended)
    }

    /// Ends a flow that is in use.
    fn end(&mut self, index: u32, end: End, ended: &mut impl FnMut(u32, &Flow, End)) -> bool {
        let Some(flow) = self.flows.get(index as usize) else { return false };
        ended(index, flow, end);
        for direction in [Direction::Original, Direction::Reply] {
            self.index.remove(flow.key(direction).hash(&self.hash_key), slot(index, direction));
        }
        let (service, is_proven) = (flow.tag.service, flow.is_proven());
        if flow.is_held {
            self.sources.give_back(flow.key(Direction::Original).host());
        }
        self.lists.unlink(&mut self.flows, index);
        if let Some(flow) = self.flows.get_mut(index as usize) {
            *flow = Flow { after: self.free, ..Flow::FREE };
            self.free = index;
        }
        self.len = self.len.wrapping_sub(1);
        self.unproven = self.unproven.wrapping_sub((!is_proven).into());
        if let Some(served) = self.services.get_mut(usize::from(service)) {
            served.flows = served.flows.wrapping_sub(1);
        }
        count(&mut self.counters.ended, end as usize);
        true
    }

    /// The flows, from the place `first` on: for who shows some of them, and goes on later behind
    /// the last one.
    pub fn iter_from(&self, first: u32) -> impl Iterator<Item = (u32, &Flow)> {
        let flows = self.flows.get(first as usize..).unwrap_or_default();
        flows.iter().zip(first..).filter(|(flow, _)| flow.list != list::LOOSE).map(|(flow, at)| (at, flow))
    }

    /// How many flows there are.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many of them are unproven.
    #[must_use]
    pub const fn unproven(&self) -> u32 {
        self.unproven
    }

    /// How many there may be.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How many flows a service has.
    #[must_use]
    pub fn flows_of_service(&self, service: u16) -> u32 {
        self.services.get(usize::from(service)).map_or(0, |served| served.flows)
    }

    /// What was counted.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }
}

/// How far a flow is that has no states of its own.
const fn talk(state: State, direction: Direction) -> State {
    match (state, direction) {
        (State::Unanswered, Direction::Reply) => State::Answered,
        (State::Answered, Direction::Original) => State::Stream,
        _ => state,
    }
}

/// Whether a TCP connection has got over its beginning.
const fn has_begun(state: State) -> bool {
    !matches!(state, State::SynSent | State::SynReceived | State::Close)
}

/// Whether both sides are there, now that something came in that direction.
const fn is_proof(flow: &Flow, direction: Direction) -> bool {
    let [_, reply] = &flow.sides;
    match flow.state {
        State::SynSent | State::SynReceived | State::Close | State::Unanswered | State::Answered => false,
        State::Stream => true,
        _ if reply.is_picked_up() => matches!(direction, Direction::Original) && reply.is_seen(),
        _ => true,
    }
}

/// What the index keeps: a place, and which way.
#[inline(always)]
const fn slot(index: u32, direction: Direction) -> u32 {
    index << 1 | direction as u32
}

#[inline(always)]
const fn hit(slot: u32) -> Hit {
    Hit { index: slot >> 1, direction: Direction::of(slot) }
}

#[cfg(test)]
mod tests;
