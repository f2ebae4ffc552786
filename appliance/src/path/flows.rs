//! The straight way of flows: plain packets of IPv4 that go as their flow does.
//!
//! All packets of a burst are read, and their flows looked for, before any of them goes: so a
//! processor waits for the memory of all flows at once. Then they go in rows, as those do that are
//! [routed](super::straight). A packet that begins a connection or cuts it off, is of no flow, or
//! has anything else about it, is left as it came, and has the way by [`balance`](Path::balance).
//! What goes straight would have gone just so on that way.

use alloc::vec::Vec;

use paravane_hal::time::Instant;
use paravane_net::{BURST_FRAMES, Burst, FrameSegment, FrameSegmentMut};

use super::Path;
use super::straight::Nexts;
use super::ways::Ways;
use crate::balance::{Serving, count};
use crate::flow::{Key, Lookup, Segment, Table};
use crate::interface::InterfaceId;
use crate::neighbour::Neighbours;
use crate::packet::plain::{Link, Plain};
use crate::packet::wire::PROTOCOL_TCP;

/// A packet as it came, and whose it may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Looked {
    plain: Plain,
    /// Of TCP.
    segment: Segment,
    checksum: u16,
    lookup: Lookup,
}

impl AsMut<Lookup> for Looked {
    #[inline(always)]
    fn as_mut(&mut self) -> &mut Lookup {
        &mut self.lookup
    }
}

impl Looked {
    const NONE: Self = Self { plain: Plain::NONE, segment: Segment::NONE, checksum: 0, lookup: Lookup::NONE };

    /// Room for those of a burst.
    pub(super) fn room() -> Vec<Self> {
        alloc::vec![Self::NONE; BURST_FRAMES]
    }

    /// Takes a packet in that may go straight, which came in by `from`, where `own` is our station.
    #[inline(always)]
    fn read(
        &mut self,
        frame: FrameSegment<'_>,
        InterfaceId(zone): InterfaceId,
        own: Link,
        flows: &Table,
    ) -> Option<()> {
        let plain = Plain::read(frame)?;
        if !plain.is_for(own) || plain.hops_left() <= 1 || plain.is_fragment() {
            return None;
        }
        self.plain = plain;
        self.lookup = flows.lookup(Key::of_words(plain.addresses(), plain.ports(), plain.protocol(), zone));
        if plain.protocol() == PROTOCOL_TCP {
            let tcp = plain.tcp(frame)?;
            (self.segment, self.checksum) = (Segment::data(&tcp)?, tcp.checksum);
        } else {
            (self.segment, self.checksum) = (Segment::NONE, plain.udp(frame)?);
        }
        Some(())
    }
}

/// What is the same for all packets of a row.
struct Row<'p> {
    flows: &'p mut Table,
    services: &'p mut [Serving],
    ways: &'p Ways,
    neighbours: &'p mut Neighbours,
    nexts: &'p mut Nexts,
    now: Instant,
}

impl Path {
    /// Takes every frame of `burst`, some of which are of a balancer's flows.
    pub(super) fn take_flows(&mut self, from: InterfaceId, burst: &mut Burst, now: Instant) {
        let mut room = core::mem::take(&mut self.looked);
        // Ends: each turn takes one out at least.
        while !burst.is_empty() {
            let mut some = burst.take_front(BURST_FRAMES);
            self.take_some(from, &mut some, &mut room, now);
        }
        self.looked = room;
    }

    fn take_some(&mut self, from: InterfaceId, burst: &mut Burst, room: &mut [Looked], now: Instant) {
        let count = self.look(from, burst, room);
        let mut looked = room.get(..count).unwrap_or_default();
        // Ends: each turn takes one out at least, for one that is left is odd, or begins a row.
        while !burst.is_empty() {
            let (taken, is_odd) = self.take_flow_row(from, burst, looked, now);
            let mut passed = taken;
            if is_odd && let Some(frame) = burst.pop() {
                passed = passed.saturating_add(1);
                let rest = if self.is_guarded() { self.open(from, frame, now) } else { Some(frame) };
                if let Some(frame) = rest {
                    self.take_one(from, frame, now);
                }
            }
            looked = looked.get(passed..).unwrap_or_default();
        }
    }

    /// Reads packets that may go straight, and looks for their flows; how many it looked at.
    #[inline(never)]
    fn look(&self, from: InterfaceId, burst: &Burst, room: &mut [Looked]) -> usize {
        let Some((own, balancer)) = self.egress.ways.link_of(from).zip(self.balancer.as_deref()) else {
            return 0;
        };
        let flows = balancer.flows();
        let count = burst.look_with_mut(room, |frame, looked| {
            if looked.read(frame.into(), from, own, flows).is_none() {
                *looked = Looked::NONE;
            }
            true
        });
        flows.prepare(room.get_mut(..count).unwrap_or_default());
        count
    }

    /// Passes on those in front that go straight, by one interface; how many, and whether the next
    /// one does not go straight.
    #[inline(never)]
    fn take_flow_row(
        &mut self,
        from: InterfaceId,
        burst: &mut Burst,
        looked: &[Looked],
        now: Instant,
    ) -> (usize, bool) {
        let Self { egress, neighbours, nexts, balancer, .. } = self;
        let Some(balancer) = balancer.as_deref_mut() else { return (0, true) };
        // A row that would end where it begins, as those of many SYNs do; or whose flows may be
        // another machine's by now.
        if balancer.is_handing_over() || looked.first().is_none_or(|first| first.lookup.is_nobodys()) {
            return (0, true);
        }
        nexts.begin_row();
        let (flows, services) = balancer.flows_and_services();
        let mut row = Row { flows, services, ways: &egress.ways, neighbours, nexts, now };
        let gone = burst.change_with(looked, |frame, looked| row.take(frame.into(), looked).is_some());
        let (out, is_over) = nexts.end_row();
        if let Some(out) = out {
            egress.emit_row(from, out, burst.take_front(gone));
        }
        (gone, !is_over)
    }
}

impl Row<'_> {
    /// Passes `frame` on, if it goes straight; it is as it was, if not.
    #[inline(always)]
    fn take(&mut self, mut frame: FrameSegmentMut<'_>, looked: &Looked) -> Option<()> {
        let Looked { plain, segment, checksum, lookup } = looked;
        let (flow, direction) = self.flows.found_there(lookup)?;
        // Where it goes, and whether it fits there: before the flow hears of it.
        let to = flow.plain_ends(direction)?;
        let next = self.nexts.next(self.ways, self.neighbours, to.destination(), self.now)?;
        let total_bytes = plain.total_bytes();
        if total_bytes > usize::from(next.mtu_bytes()) {
            return None;
        }
        let tag = flow.tag();
        let belongs =
            flow.goes_on(direction, segment, self.now) || self.flows.goes_further(lookup, *segment, self.now);
        let goes = belongs && plain.forward_as(&mut frame, *checksum, to, next.link());
        if goes {
            count(self.services, tag, direction, total_bytes);
        }
        goes.then_some(())
    }
}
