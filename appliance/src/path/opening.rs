//! The short way of packets with which flows begin, where a firewall's rules say which may: of
//! plain ones of UDP, and of SYNs, between two networks.
//!
//! What is opened here would have been opened just so by [`balance`](Path::balance), and what is
//! denied, denied. All else is left as it came: what is of a flow, or for a service, or this
//! machine's, and what somebody is to be asked or told about.

use core::net::{Ipv4Addr, SocketAddr};

use paravane_hal::time::Instant;
use paravane_net::{Frame, MacAddr};

use super::Path;
use super::ways::Ways;
use crate::drops::Reason;
use crate::flow::{Key, Segment};
use crate::interface::InterfaceId;
use crate::nat;
use crate::packet::edit::{Hop, clamp_mss_at};
use crate::packet::plain::{Plain, TCP_AT};
use crate::packet::wire::{PROTOCOL_TCP, PROTOCOL_UDP};
use crate::route::NextHop;

/// What a connection begins with.
#[derive(Clone, Copy, Debug)]
struct Syn {
    segment: Segment,
    header_bytes: usize,
    checksum: u16,
}

impl Syn {
    /// Of a plain packet of TCP, if it is one.
    fn of(plain: Plain, frame: &Frame) -> Option<Self> {
        let tcp = plain.tcp(frame.first_segment())?;
        let (segment, header_bytes) = Segment::syn(plain, &tcp, frame)?;
        Some(Self { segment, header_bytes, checksum: tcp.checksum })
    }
}

/// Where a flow goes that begins.
#[derive(Clone, Copy, Debug)]
struct NewWay {
    hop: NextHop,
    /// Our address there.
    source: MacAddr,
    /// The longest segment that goes there, and comes back.
    mss_bytes: u16,
}

impl Path {
    /// Has a flow begin with `frame`, where it is plain, rules let it, and all is known of its way;
    /// or drops it, where they do not. Comes back as it was of all else.
    #[inline(never)]
    pub(super) fn open(&mut self, from: InterfaceId, mut frame: Frame, now: Instant) -> Option<Frame> {
        let Some(plain) = Plain::read(frame.first_segment()) else { return Some(frame) };
        let syn = match plain.protocol() {
            PROTOCOL_TCP => Syn::of(plain, &frame).map(Some),
            PROTOCOL_UDP => plain.udp(frame.first_segment()).map(|_| None),
            _ => None,
        };
        let Some(syn) = syn else { return Some(frame) };
        let Some(NewWay { hop, source, mss_bytes }) = self.new_way(from, plain) else { return Some(frame) };
        let Some(balancer) = self.balancer.as_deref_mut() else { return Some(frame) };
        let InterfaceId(zone) = from;
        let key = Key::of_words(plain.addresses(), plain.ports(), plain.protocol(), zone);
        let server = SocketAddr::new(key.source(), key.source_port());
        if balancer.flows().find(&key).is_some()
            || balancer.listens(&key)
            || balancer.is_another_machines(server, &key)
        {
            return Some(frame);
        }
        if let Err(reason) =
            balancer.let_in_plain(&key, hop.interface, syn.as_ref().map(|syn| &syn.segment), now)
        {
            self.deny(from, frame, reason, now);
            return None;
        }
        // Only now: what is denied keeps no neighbour in mind. Of one who is not known it is as any
        // other packet of its flow.
        let next = hop.gateway.unwrap_or(Ipv4Addr::from_octets(plain.destination()).into());
        let Some(mac) = self.nexts.mac(&mut self.neighbours, hop.interface, next, now) else {
            return Some(frame);
        };
        if let Some(Syn { header_bytes, checksum, .. }) = syn
            && clamp_mss_at(&mut frame, TCP_AT, header_bytes, checksum, mss_bytes).is_err()
        {
            self.egress.drop(from, frame, Reason::Length);
            return None;
        }
        let link = Hop { destination: mac, source }.into();
        if plain.forward(&mut frame.first_segment_mut(), link) {
            self.egress.count(from, |counters| &mut counters.forwarded);
            self.egress.emit(from, hop.interface, frame);
        } else {
            self.egress.drop(from, frame, Reason::Length);
        }
        None
    }

    /// Where a packet goes with which a flow may begin; `None` where it may not, or goes the long
    /// way.
    #[inline(always)]
    fn new_way(&self, from: InterfaceId, plain: Plain) -> Option<NewWay> {
        let Ways { interfaces, routes } = &self.egress.ways;
        let may_pass = plain.is_for(self.egress.ways.link_of(from)?)
            && plain.hops_left() > 1
            && !plain.is_fragment()
            && routes.way_v4(plain.source()).is_by(from)
            && plain.source() != plain.destination()
            && !self.balancer.as_deref()?.is_handing_over();
        let hop = routes.next_hop_v4(routes.way_v4(plain.destination())).filter(|_| may_pass)?;
        let (own, out) = (interfaces.get(from.index())?, interfaces.get(hop.interface.index())?);
        if plain.total_bytes() > usize::from(out.mtu_bytes) {
            return None;
        }
        let mss_bytes = nat::mss_of(own.mtu_bytes.min(out.mtu_bytes), false);
        Some(NewWay { hop, source: out.mac, mss_bytes })
    }
}
