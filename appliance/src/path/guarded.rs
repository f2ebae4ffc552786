//! Packets of no flow, where a firewall's rules say what may begin.
//!
//! What comes in goes on as its flow does, or rules let one begin with it, or it is dropped; there
//! is no other way through. Neighbours' messages are none of a flow, and stay on their link; that a
//! packet was too long has to be heard by whoever sent it, and goes on whatever rules say.
//!
//! Spec: RFC 4890, 4.3 and 4.4 (what of ICMPv6 must not be dropped).

use core::net::IpAddr;

use paravane_hal::time::Instant;
use paravane_net::Frame;

use super::ways::{Verdict, Ways};
use super::{Path, is_neighbours_kind};
use crate::balance::{Balancer, Came, Decision};
use crate::drops::Reason;
use crate::filter::First;
use crate::flow::{Flow, Hit, Key, Segment};
use crate::icmp::Error;
use crate::interface::InterfaceId;
use crate::packet::wire::IcmpHeader;
use crate::packet::{Body, Packet};
use crate::route::{NextHop, Routes};

/// Whom a packet is for.
#[derive(Clone, Copy, Debug)]
enum For {
    /// Somebody who is reached so.
    Others(NextHop),
    /// This machine.
    Us,
    /// A neighbour's business, or to be dropped: rules have no say.
    Nobody,
}

impl Path {
    /// Whether rules say what may begin.
    pub(super) fn is_guarded(&self) -> bool {
        self.balancer.as_deref().is_some_and(Balancer::is_guarded)
    }

    /// What becomes of a packet that is of no flow by its key. It gets the key by which one that
    /// begins with it is known.
    #[cold]
    pub(super) fn decide_guarded(
        &mut self,
        came: &Came,
        key: &mut Key,
        segment: Option<&Segment>,
        now: Instant,
    ) -> Decision {
        let Self { egress, balancer, expected, .. } = self;
        let (ways, routes) = (&egress.ways, &egress.ways.routes);
        let Some(balancer) = balancer.as_deref_mut() else { return Decision::Routed };
        let to = match whom_for(ways, came) {
            For::Others(hop) => Some(hop.interface),
            // What this machine asked for.
            For::Us if expected.as_deref().is_some_and(|keys| keys.contains(key)) => return Decision::Own,
            For::Us => None,
            For::Nobody => return Decision::Routed,
        };
        if key.source() == key.destination() {
            return Decision::Drop(Reason::Land);
        }
        if segment.is_some_and(|segment| !segment.is_sane()) {
            return Decision::Drop(Reason::TcpFlags);
        }
        // Where a source is reached by several interfaces, its flow is known by the first of them.
        let InterfaceId(home) = ways.came_from(&came.packet).unwrap_or(came.from);
        if home != key.zone() {
            let there = key.in_zone(home);
            if let Some(hit) = balancer.flows().find(&there)
                && !balancer.hands_over(hit.index, now)
            {
                *key = there;
                return of_flow(balancer, hit, key, segment, routes, now);
            }
        }
        let begun = if to.is_some() || balancer.listens(key) {
            balancer.begin(key, segment, routes, now)
        } else {
            Decision::Routed
        };
        if begun != Decision::Routed {
            return begun;
        }
        *key = key.in_zone(home);
        match First::of(came.from, to, &came.packet, &came.transport) {
            Some(first) => balancer.let_in(&first, key, segment, now),
            None => Decision::Routed,
        }
    }

    /// Takes a packet with which nothing begins, for a reason of rules or of limits.
    #[cold]
    pub(super) fn deny(&mut self, from: InterfaceId, frame: Frame, reason: Reason, now: Instant) {
        let InterfaceId(zone) = from;
        let read = Packet::read(&frame).ok();
        let read = read.and_then(|packet| Some((packet, packet.transport(&frame).ok()??)));
        match read
            .and_then(|(packet, transport)| Some((Key::of(&packet, &transport, zone)?, packet, transport)))
        {
            Some((key, packet, transport)) if matches!(Decision::denied(reason), Decision::Refuse(_)) => {
                self.refuse(Came { from, packet, transport, frame }, &key, reason, now);
            }
            _ => self.egress.drop(from, frame, reason),
        }
    }

    /// Takes a message of ICMP that is no echo, nor about any flow: rules are asked of each.
    #[cold]
    pub(super) fn take_message(&mut self, came: Came, icmp: &IcmpHeader, now: Instant) -> Option<Frame> {
        let whom_for = whom_for(&self.egress.ways, &came);
        let to = match whom_for {
            For::Others(hop) => Some(hop.interface),
            For::Us => None,
            For::Nobody => return Some(came.frame),
        };
        let Came { from, packet, transport, frame } = came;
        if !is_too_big(icmp, matches!(packet.body, Body::V6(_)))
            && let Some(first) = First::of(from, to, &packet, &transport)
            && let Some(balancer) = &mut self.balancer
            && let Err(reason) = balancer.judge(&first, now)
        {
            match reason {
                Reason::RuleReject => {
                    self.egress.tell(from, &packet, frame, reason, Error::Prohibited, now);
                }
                _ => self.egress.drop(from, frame, reason),
            }
            return None;
        }
        match whom_for {
            For::Others(hop) => self.forward(from, &packet, frame, hop, now),
            For::Us => self.local(from, &packet, frame, now),
            For::Nobody => return Some(frame),
        }
        None
    }

    /// Takes a later part of a packet whose first part is of no flow. Only where that was let in,
    /// for this machine, is it too.
    #[cold]
    pub(super) fn take_part(&mut self, came: Came, now: Instant) {
        match whom_for(&self.egress.ways, &came) {
            For::Us => self.local(came.from, &came.packet, came.frame, now),
            For::Others(_) | For::Nobody => self.egress.drop(came.from, came.frame, Reason::NoFlow),
        }
    }
}

/// What becomes of a packet of a flow.
pub(super) fn of_flow(
    balancer: &mut Balancer,
    hit: Hit,
    key: &Key,
    segment: Option<&Segment>,
    routes: &Routes,
    now: Instant,
) -> Decision {
    if balancer.flows().get(hit.index).is_some_and(Flow::is_spliced) {
        return Decision::Spliced(hit);
    }
    match balancer.known(hit, key, segment, routes, now) {
        Decision::Goes(hit) if balancer.is_guarded() && balancer.is_own(hit) => Decision::Own,
        decided => decided,
    }
}

fn whom_for(ways: &Ways, came: &Came) -> For {
    match ways.judge(came.from, &came.packet) {
        Verdict::Forward(hop) => For::Others(hop),
        Verdict::Local => For::Us,
        // It has as many hops left as a neighbour's message, and is none.
        Verdict::Neighbour if is_to_us_alone(came) && !is_neighbours_kind(&came.packet, &came.frame) => {
            For::Us
        }
        Verdict::Neighbour | Verdict::Vrrp | Verdict::Drop(_) | Verdict::Tell(..) => For::Nobody,
    }
}

fn is_to_us_alone(came: &Came) -> bool {
    matches!(came.packet.addresses(), Some((_, IpAddr::V6(destination))) if !destination.is_multicast())
}

/// Whether it says that a packet was too long for a link.
///
/// Spec: RFC 1191, 4 (type 3, code 4); RFC 4443, 3.2 (type 2).
const fn is_too_big(icmp: &IcmpHeader, is_v6: bool) -> bool {
    if is_v6 { icmp.kind == 2 } else { icmp.kind == 3 && icmp.code == 4 }
}
