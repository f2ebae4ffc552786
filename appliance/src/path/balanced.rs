//! Packets of a balancer's flows, and those that flows begin with.

use paravane_hal::time::Instant;
use paravane_net::{Burst, Frame};

use super::Path;
use super::guarded::of_flow;
use super::ways::{Fit, Verdict};
use crate::balance::{Balancer, Came, Decision};
use crate::drops::Reason;
use crate::flow::{Hit, Key, Segment};
use crate::icmp::Error;
use crate::interface::InterfaceId;
use crate::nat::{self, Later, Part};
use crate::packet::edit::{EditError, Ends};
use crate::packet::reset::Reset;
use crate::packet::{Body, Packet, Transport};
use crate::route::{Kind, NextHop};

/// How a packet goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    hop: NextHop,
    fit: Fit,
    /// How long packets may be there.
    mtu_bytes: u16,
}

impl Path {
    /// Takes a packet that may be a balancer's; gives back what is as a router has it.
    #[inline(never)]
    pub(super) fn balance(
        &mut self,
        from: InterfaceId,
        packet: &Packet,
        frame: Frame,
        now: Instant,
    ) -> Option<Frame> {
        let is_for_us =
            self.egress.ways.interfaces.get(from.index()).is_some_and(|own| packet.destination == own.mac);
        let transport = packet.transport(&frame);
        if is_for_us
            && self.is_guarded()
            && let Err(malformed) = transport
        {
            self.egress.drop(from, frame, malformed.into());
            return None;
        }
        let (true, Ok(Some(transport))) = (is_for_us, transport) else { return Some(frame) };
        let came = Came { from, packet: *packet, transport, frame };
        match self.part_of(&came) {
            Ok(None) => self.balance_whole(came, None, now),
            Ok(Some(part)) if part.is_first() => self.balance_whole(came, Some(&part), now),
            Ok(Some(part)) => self.balance_later(came, &part, now),
            Err(reason) => {
                self.egress.drop(from, came.frame, reason);
                None
            }
        }
    }

    /// Which part of a packet it is, of one that is in parts and may be the balancer's.
    fn part_of(&mut self, came: &Came) -> Result<Option<Part>, Reason> {
        let InterfaceId(zone) = came.from;
        let part = Part::of(&came.packet, &came.frame, zone);
        if matches!(part, Ok(None)) {
            return Ok(None);
        }
        let ends = came.packet.addresses();
        let balancer = self.balancer.as_deref_mut().zip(ends);
        let known = balancer.filter(|(balancer, (source, to))| balancer.knows(*source, *to));
        let Some((balancer, _)) = known else { return Ok(None) };
        let part = part?;
        if let Some(part) = &part {
            balancer.fragments.admit(part)?;
        }
        Ok(part)
    }

    /// Takes a packet with ports.
    fn balance_whole(&mut self, came: Came, part: Option<&Part>, now: Instant) -> Option<Frame> {
        let InterfaceId(zone) = came.from;
        let Some(mut key) = Key::of(&came.packet, &came.transport, zone) else {
            return self.balance_error(came, now);
        };
        let segment = Segment::of(&came.packet, &came.transport, &came.frame);
        let decision = self.decide(&came, &mut key, segment.as_ref(), now);
        let mut released = Burst::new();
        let noted = part.map_or(Ok(()), |part| self.note_first(part, &key, decision, now, &mut released));
        let from = came.from;
        let rest = match (noted, decision) {
            (Err(reason), _) | (Ok(()), Decision::Drop(reason)) => {
                self.egress.drop(from, came.frame, reason);
                None
            }
            (Ok(()), Decision::Goes(hit)) => {
                self.go(came, hit, now);
                None
            }
            (Ok(()), Decision::Spliced(hit)) => {
                self.splice(came, hit, &key, segment.as_ref(), now);
                None
            }
            (Ok(()), Decision::Asks(number)) => {
                self.ask(came, number, &key, segment.as_ref(), now);
                None
            }
            (Ok(()), Decision::Refuse(reason)) => {
                self.refuse(came, &key, reason, now);
                None
            }
            (Ok(()), Decision::Own) => {
                self.local(from, &came.packet, came.frame, now);
                None
            }
            (Ok(()), Decision::Routed) => Some(came.frame),
        };
        while let Some(frame) = released.pop() {
            self.release(from, frame, decision, now);
        }
        rest
    }

    /// What becomes of it: of one that is of no flow only if it came in where it should.
    fn decide(&mut self, came: &Came, key: &mut Key, segment: Option<&Segment>, now: Instant) -> Decision {
        let Self { egress, balancer, .. } = self;
        let Some(balancer) = balancer else { return Decision::Routed };
        let routes = &egress.ways.routes;
        if let Some(hit) = balancer.flows().find(key)
            && !balancer.hands_over(hit.index, now)
        {
            let decided = of_flow(balancer, hit, key, segment, routes, now);
            // It may begin another.
            if decided != Decision::Routed || !balancer.is_guarded() {
                return decided;
            }
        }
        if balancer.is_guarded() {
            return self.decide_guarded(came, key, segment, now);
        }
        match egress.ways.judge(came.from, &came.packet) {
            // What servers send to this machine itself is no client's.
            Verdict::Local if !balancer.listens(key) => Decision::Routed,
            Verdict::Local | Verdict::Forward(_) => balancer.begin(key, segment, routes, now),
            Verdict::Neighbour | Verdict::Vrrp | Verdict::Drop(_) | Verdict::Tell(..) => Decision::Routed,
        }
    }

    /// Keeps in mind where the first part of a packet went; those that waited for it come to
    /// `released`.
    fn note_first(
        &mut self,
        part: &Part,
        key: &Key,
        decision: Decision,
        now: Instant,
        released: &mut Burst,
    ) -> Result<(), Reason> {
        let Some(balancer) = &mut self.balancer else { return Ok(()) };
        let fragments = &mut balancer.fragments;
        match decision {
            Decision::Goes(hit) => fragments.first(part, hit, key, now, released)?,
            Decision::Routed | Decision::Own => fragments.first_of_nobody(part, now, released)?,
            // No segment of TCP is in parts.
            Decision::Spliced(_) | Decision::Asks(_) | Decision::Drop(_) | Decision::Refuse(_) => {}
        }
        Ok(())
    }

    /// Has a part go that waited for the first one.
    fn release(&mut self, from: InterfaceId, frame: Frame, decision: Decision, now: Instant) {
        let packet = match Packet::read(&frame) {
            Ok(packet) => packet,
            Err(malformed) => return self.egress.drop(from, frame, malformed.into()),
        };
        match (decision, packet.transport(&frame)) {
            (Decision::Goes(hit), Ok(Some(transport))) => {
                self.go(Came { from, packet, transport, frame }, hit, now);
            }
            (Decision::Own, Ok(Some(transport))) => {
                self.take_part(Came { from, packet, transport, frame }, now);
            }
            _ => self.route(from, &packet, frame, now),
        }
    }

    /// Takes a part that is not the first.
    fn balance_later(&mut self, came: Came, part: &Part, now: Instant) -> Option<Frame> {
        let Some(balancer) = &mut self.balancer else { return Some(came.frame) };
        let Came { from, packet, transport, frame } = came;
        match balancer.fragments.later(part, frame, &balancer.flows, now) {
            Later::Goes(frame, hit) => self.go(Came { from, packet, transport, frame }, hit, now),
            Later::Nobodys(frame) if self.is_guarded() => {
                self.take_part(Came { from, packet, transport, frame }, now);
            }
            Later::Nobodys(frame) => return Some(frame),
            Later::Waits => {}
            Later::Lost(frame, lost) => self.egress.drop(from, frame, lost.into()),
        }
        None
    }

    /// By which hop the packets of a flow go on, and how long they may be there.
    pub(super) fn way_of(&self, hit: Hit) -> Option<(NextHop, u16)> {
        let balancer = self.balancer.as_deref()?;
        let is_here = !balancer.is_handing_over() || balancer.is_here(hit.index);
        let flow = balancer.flows().get(hit.index).filter(|_| is_here)?;
        let ways = &self.egress.ways;
        let Kind::Unicast(hop) = ways.routes.lookup(flow.key(hit.direction.other()).source())? else {
            return None;
        };
        Some((*hop, ways.interfaces.get(hop.interface.index())?.mtu_bytes))
    }

    /// Passes on a packet of a flow, with the ends that it is to have.
    fn go(&mut self, came: Came, hit: Hit, now: Instant) {
        if let Some((came, way)) = self.fitting(came, hit, now) {
            self.go_by(came, hit, way, now);
        }
    }

    /// The way of a packet of a flow that may go on. Of another whoever sent it hears: of the
    /// packet that it was when it came.
    pub(super) fn fitting(&mut self, came: Came, hit: Hit, now: Instant) -> Option<(Came, Way)> {
        let Came { from, packet, ref frame, .. } = came;
        let way = self.way_of(hit).and_then(|(hop, mtu_bytes)| {
            let (fit, _) = self.egress.ways.fit(&packet, frame, hop.interface)?;
            Some(Way { hop, fit, mtu_bytes })
        });
        let (reason, error) = match way {
            None => {
                self.egress.drop(from, came.frame, Reason::NoRoute);
                return None;
            }
            Some(_) if hops_left(&packet) <= 1 => (Reason::TimeExceeded, Error::TimeExceeded),
            Some(Way { fit: Fit::TooBig, mtu_bytes, .. }) => (Reason::TooBig, Error::TooBig { mtu_bytes }),
            Some(way) => return Some((came, way)),
        };
        self.egress.tell(from, &packet, came.frame, reason, error, now);
        None
    }

    /// Passes on a packet of a flow by a way that it may go, with the ends that it is to have.
    pub(super) fn go_by(&mut self, came: Came, hit: Hit, way: Way, now: Instant) {
        let Came { from, mut packet, mut transport, mut frame } = came;
        let Way { hop, fit, mtu_bytes } = way;
        let mss_bytes = self.mss_of(from, mtu_bytes, &packet, &transport);
        let total_bytes = total_bytes(&packet);
        let Some(balancer) = &mut self.balancer else { return };
        balancer.count(hit.index, hit.direction, total_bytes);
        let flow = balancer.flows().get(hit.index);
        let translated = flow.ok_or(EditError::Place).and_then(|flow| {
            nat::translate(flow, hit.direction, &mut packet, &mut transport, &mut frame, mss_bytes)
        });
        if translated.is_err() {
            return self.egress.drop(from, frame, Reason::Length);
        }
        self.pass(from, &packet, frame, hop, fit, now);
    }

    /// What the sender of a SYN says at most that it takes.
    fn mss_of(
        &self,
        from: InterfaceId,
        to_bytes: u16,
        packet: &Packet,
        transport: &Transport,
    ) -> Option<u16> {
        let Transport::Tcp(header, _) = transport else { return None };
        let is_syn = header.offset_flags.get() >> 1 & 1 != 0;
        let from_bytes = self.egress.ways.interfaces.get(from.index())?.mtu_bytes;
        is_syn.then(|| nat::mss_of(from_bytes.min(to_bytes), matches!(packet.body, Body::V6(_))))
    }

    /// Drops a packet that nobody takes, and says so to who sent it.
    #[cold]
    pub(super) fn refuse(&mut self, came: Came, key: &Key, reason: Reason, now: Instant) {
        let Came { from, packet, transport, frame } = came;
        let Transport::Tcp(header, at_bytes) = &transport else {
            let error = if reason == Reason::RuleReject { Error::Prohibited } else { Error::PortUnreachable };
            return self.egress.tell(from, &packet, frame, reason, error, now);
        };
        let ends = Ends {
            source: key.source(),
            destination: key.destination(),
            source_port: key.source_port(),
            destination_port: key.destination_port(),
        };
        let end_bytes = wire_start(&packet).saturating_add(total_bytes(&packet));
        let header_bytes = usize::from(header.offset_flags.get() >> 12) * 4;
        let data_bytes = end_bytes.saturating_sub(at_bytes.saturating_add(header_bytes));
        let data_bytes = u32::try_from(data_bytes).unwrap_or(0);
        let answer = Reset::answer(ends, header, data_bytes);
        if let Some(answer) = answer
            && self.balancer.as_deref_mut().is_some_and(|balancer| balancer.may_answer(from, key, now))
        {
            self.send_reset(&answer, now);
        }
        self.egress.drop(from, frame, reason);
    }

    /// Sends what cuts a connection off.
    #[cold]
    fn send_reset(&mut self, reset: &Reset, now: Instant) {
        if let Some(frame) = reset.frame(&self.egress.pool) {
            self.send(frame, now);
        }
    }

    /// What time brings to flows. When to look again.
    pub(super) fn poll_flows(&mut self, now: Instant) -> Option<Instant> {
        let next = self.balancer.as_deref_mut()?.poll(now);
        while let Some(reset) = self.balancer.as_deref_mut().and_then(Balancer::take_reset) {
            self.send_reset(&reset, now);
        }
        self.send_spliced(now);
        next
    }
}

/// How many routers may still pass it on.
pub(super) const fn hops_left(packet: &Packet) -> u8 {
    match &packet.body {
        Body::Arp => 0,
        Body::V4(ip) => ip.header.ttl,
        Body::V6(ip) => ip.header.hop_limit,
    }
}

/// Length of the IP packet.
pub(super) fn total_bytes(packet: &Packet) -> usize {
    match &packet.body {
        Body::Arp => 0,
        Body::V4(ip) => ip.total_bytes(),
        Body::V6(ip) => ip.total_bytes(),
    }
}

/// Where the IP packet begins in its frame.
const fn wire_start(packet: &Packet) -> usize {
    match &packet.body {
        Body::Arp => 0,
        Body::V4(ip) => ip.at_bytes,
        Body::V6(ip) => ip.at_bytes,
    }
}
