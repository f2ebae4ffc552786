//! The straight way of flows: plain packets of IPv4 that go as their flow does.
//!
//! All packets of a burst are read, and their flows looked for, before any of them goes: so a
//! processor waits for the memory of all flows at once. Then they go in rows, as those do that are
//! [routed](super::straight). A packet that begins or cuts off a connection, is of no flow, or has
//! anything else about it is taken out, and has the way by [`balance`](Path::balance). What goes
//! straight would have gone just so on that way.

use core::net::Ipv4Addr;

use paravane_hal::time::Instant;
use paravane_net::{BURST_FRAMES, Burst, Frame};

use super::Path;
use super::straight::Nexts;
use super::ways::Ways;
use crate::balance::{Balancer, Decision};
use crate::drops::Reason;
use crate::flow::{Key, Lookup, Segment};
use crate::interface::InterfaceId;
use crate::neighbour::Neighbours;
use crate::packet::edit::Ends;
use crate::packet::plain::{Carried, Link, Plain};
use crate::packet::wire::{PROTOCOL_TCP, PROTOCOL_UDP};

/// What is the same for all packets of a row.
struct Row<'p> {
    balancer: &'p mut Balancer,
    ways: &'p Ways,
    neighbours: &'p mut Neighbours,
    nexts: &'p mut Nexts,
    now: Instant,
}

impl Path {
    /// Takes every frame of `burst`, some of which are of a balancer's flows.
    pub(super) fn take_flows(&mut self, from: InterfaceId, burst: &mut Burst, now: Instant) {
        // Ends: each turn takes one out at least.
        while !burst.is_empty() {
            let mut some = burst.take_front(BURST_FRAMES);
            self.take_some(from, &mut some, now);
        }
    }

    fn take_some(&mut self, from: InterfaceId, burst: &mut Burst, now: Instant) {
        let (mut plains, mut lookups) = ([None; BURST_FRAMES], [Lookup::NONE; BURST_FRAMES]);
        let Some((own, balancer)) = self.egress.ways.link_of(from).zip(self.balancer.as_deref()) else {
            return burst.clear();
        };
        let mut frames = Burst::new();
        let mut places = plains.iter_mut().zip(&mut lookups);
        burst.walk(&mut frames, BURST_FRAMES, |frame| {
            if let (Some((place, lookup)), Some(plain)) = (places.next(), Plain::read(&frame))
                && let Some(key) = key_of(plain, from, own)
            {
                (*place, *lookup) = (Some(plain), balancer.flows().lookup(key));
            }
            Ok(Some(frame))
        });
        let count = frames.len();
        balancer.flows().prepare(lookups.get_mut(..count).unwrap_or_default());
        let mut rest = (plains.get(..count).unwrap_or_default(), lookups.get(..count).unwrap_or_default());
        // Ends: each turn takes one out at least, for one that is left is odd, or begins a row.
        while !frames.is_empty() {
            let (taken, is_odd) = self.take_flow_row(from, &mut frames, rest, now);
            let mut passed = taken;
            if is_odd && let Some(frame) = frames.pop() {
                passed = passed.saturating_add(1);
                self.take_one(from, frame, now);
            }
            let (plains, lookups) = rest;
            rest = (plains.get(passed..).unwrap_or_default(), lookups.get(passed..).unwrap_or_default());
        }
    }

    /// Passes on those in front that go straight, by one interface; how many, and whether the next
    /// one does not go straight.
    #[inline(always)]
    fn take_flow_row(
        &mut self,
        from: InterfaceId,
        frames: &mut Burst,
        (plains, lookups): (&[Option<Plain>], &[Lookup]),
        now: Instant,
    ) -> (usize, bool) {
        let Self { egress, neighbours, nexts, balancer, .. } = self;
        let Some(balancer) = balancer.as_deref_mut() else { return (0, true) };
        nexts.begin_row();
        let mut row = Row { balancer, ways: &egress.ways, neighbours, nexts, now };
        let (mut gone, mut lookups, drops) = (Burst::new(), lookups.iter(), &mut egress.drops);
        let taken = frames.walk_with(&mut gone, plains, |mut frame, plain| {
            let looked = plain.zip(lookups.next());
            match looked.and_then(|(plain, lookup)| row.take(&mut frame, plain, lookup)) {
                Some(Taken::Goes) => Ok(Some(frame)),
                Some(Taken::Dropped(reason)) => {
                    drops.count(from, reason);
                    Ok(None)
                }
                None => Err(frame),
            }
        });
        let (out, is_over) = nexts.end_row();
        if let Some(out) = out {
            egress.emit_row(from, out, gone);
        }
        (taken, !is_over)
    }
}

/// What became of a packet that went straight.
enum Taken {
    Goes,
    Dropped(Reason),
}

impl Row<'_> {
    /// Passes `frame` on, if it goes straight; it is as it was, if not.
    #[inline(always)]
    fn take(&mut self, frame: &mut Frame, plain: Plain, lookup: &Lookup) -> Option<Taken> {
        let hit = self.balancer.flows().found(lookup)?;
        let carried = plain.carried(frame)?;
        let segment = match &carried {
            Carried::Tcp { header, data_bytes } => Some(Segment::new(header, *data_bytes)),
            Carried::Udp { .. } => None,
        };
        if segment.as_ref().is_some_and(|segment| !segment.is_usual()) {
            return None;
        }
        // Where it goes, and whether it fits there: before the flow hears of it.
        let flow = self.balancer.flows().get(hit.index)?;
        if flow.is_spliced() {
            return None;
        }
        let to = flow.rewrite(hit.direction)?;
        let destination = flow.key(hit.direction.other()).ends_v4()?.source.octets();
        let next = self.nexts.next(self.ways, self.neighbours, destination, self.now)?;
        if plain.total_bytes() > usize::from(next.mtu_bytes()) {
            return None;
        }
        let link = next.link();
        let routes = &self.ways.routes;
        match self.balancer.known(hit, lookup.key(), segment.as_ref(), routes, self.now) {
            Decision::Goes(hit) if plain.forward_as(frame, &carried, &to, link) => {
                self.balancer.count(hit.index, hit.direction, plain.total_bytes());
                Some(Taken::Goes)
            }
            Decision::Drop(reason) | Decision::Refuse(reason) => Some(Taken::Dropped(reason)),
            // None is so that was read as it was.
            _ => Some(Taken::Dropped(Reason::Length)),
        }
    }
}

/// The key of a packet that may go straight, which came in by `from`, where `own` is our station.
#[inline(always)]
fn key_of(plain: Plain, InterfaceId(zone): InterfaceId, own: Link) -> Option<Key> {
    let has_ports = matches!(plain.protocol(), PROTOCOL_TCP | PROTOCOL_UDP);
    if !has_ports || !plain.is_for(own) || plain.hops_left() <= 1 || plain.is_fragment() {
        return None;
    }
    let [source_port, destination_port] = plain.ports();
    let source = Ipv4Addr::from_octets(plain.source());
    let destination = Ipv4Addr::from_octets(plain.destination());
    let ends = Ends { source, destination, source_port, destination_port };
    Some(Key::v4(ends, plain.protocol(), zone))
}
