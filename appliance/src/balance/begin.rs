//! The first packet of a flow: which server it goes to, and what will come back.

use core::net::{IpAddr, SocketAddr};

use paravane_hal::time::Instant;

use super::decide::Decision;
use super::serving::Serving;
use super::{Balancer, Left};
use crate::drops::Reason;
use crate::filter::First as Asked;
use crate::flow::{Direction, Flow, Hit, Key, New, Segment, Tag};
use crate::interface::InterfaceId;
use crate::nat::{Mode, Target};
use crate::packet::edit::Ends;
use crate::packet::wire::PROTOCOL_TCP;
use crate::pool::ServerId;
use crate::route::{Kind, Routes};
use crate::splice::Client;

/// What a flow begins with.
#[derive(Clone, Copy, Debug)]
pub(super) enum First<'s> {
    /// Its first packet, with its numbers where it is TCP.
    Packet(Option<&'s Segment>),
    /// A client that came back with a cookie.
    Cookie(&'s Client),
}

impl Balancer {
    /// What becomes of a packet that is of no flow, and came in where its source is.
    #[cold]
    pub(crate) fn begin(
        &mut self,
        key: &Key,
        segment: Option<&Segment>,
        routes: &Routes,
        now: Instant,
    ) -> Decision {
        let Some(number) = self.service_at(key) else {
            return self.pick_up_from_server(key, segment, routes, now);
        };
        if self.services.get(usize::from(number)).is_some_and(|serving| serving.service.is_spliced()) {
            return Decision::Asks(number);
        }
        let is_stray = key.protocol() == PROTOCOL_TCP && !segment.is_some_and(Segment::is_syn);
        let begun = match self.services.get(usize::from(number)) {
            Some(serving) if is_stray && !serving.service.flows.picks_up => Err(Reason::NoFlow),
            _ => self.choose(number, key.source(), is_stray, now),
        };
        let first = First::Packet(segment);
        let opened = begun.and_then(|server| self.open((number, server), key, first, routes, now));
        opened.map_or_else(Decision::not, Decision::Goes)
    }

    /// A server for a client; the one that it had elsewhere if it comes in the midst of something.
    pub(super) fn choose(
        &mut self,
        number: u16,
        client: IpAddr,
        is_stray: bool,
        now: Instant,
    ) -> Result<ServerId, Reason> {
        if self.is_closed() {
            return Err(Reason::Stopping);
        }
        let serving = self.services.get_mut(usize::from(number)).ok_or(Reason::NoServer)?;
        let pool = &mut serving.pool;
        let server = if is_stray { pool.adopt(client) } else { pool.choose(client, now) };
        server.map_err(Reason::from)
    }

    /// Opens a flow to a server that counts it already.
    pub(super) fn open(
        &mut self,
        (number, server): (u16, ServerId),
        original: &Key,
        first: First<'_>,
        routes: &Routes,
        now: Instant,
    ) -> Result<Hit, Reason> {
        let opened = self.try_open((number, server), original, first, routes, now);
        if opened.is_err()
            && let Some(serving) = self.services.get_mut(usize::from(number))
        {
            serving.pool.release(server.place());
        }
        opened
    }

    fn try_open(
        &mut self,
        (number, server): (u16, ServerId),
        original: &Key,
        first: First<'_>,
        routes: &Routes,
        now: Instant,
    ) -> Result<Hit, Reason> {
        let Self { flows, nat, services, resets, splicing, filter, .. } = self;
        let serving = services.get(usize::from(number)).ok_or(Reason::NoServer)?;
        let address = serving.pool.address(server).ok_or(Reason::NoServer)?;
        let InterfaceId(zone) = interface_of(routes, address.ip()).ok_or(Reason::NoRoute)?;
        let target =
            Target { address: address.ip(), port: address.port(), zone, mode: serving.service.ends() };
        let reply = nat.reply_key(flows, original, &target)?;
        let (segment, handshake) = match first {
            First::Packet(segment) => (segment, None),
            First::Cookie(client) => (None, Some(client.handshake(&serving.service.splice.service.offer))),
        };
        if let Some((filter, first)) = filter.as_mut().zip(Asked::translated(original, &reply)) {
            // A connection is counted once, however many servers are tried for it.
            let is_again = handshake.is_some_and(|handshake| handshake.is_again);
            if is_again { filter.permits(&first) } else { filter.judge(&first, now) }?;
        }
        let tag = Tag { service: number, server: server.place() };
        let new = New { original: *original, reply, tag, direction: Direction::Original, segment };
        let mut left = Left { services, resets, splicing, now };
        let ended = &mut |index, flow: &Flow, end| left.ended(index, flow, end);
        Ok(match handshake {
            None => flows.open(&new, now, ended)?,
            Some(handshake) => flows.open_spliced(&new, &handshake, now, ended)?,
        })
    }

    /// What becomes of a packet of nobody's flow that is for no service: a server may have sent it,
    /// to a client whose connection another balancer had.
    fn pick_up_from_server(
        &mut self,
        reply: &Key,
        segment: Option<&Segment>,
        routes: &Routes,
        now: Instant,
    ) -> Decision {
        let from = SocketAddr::new(reply.source(), reply.source_port());
        if self.is_another_machines(from, reply) {
            return Decision::Drop(Reason::Elsewhere);
        }
        let Some(segment) = segment.filter(|segment| !segment.is_syn()) else { return Decision::Routed };
        let mut numbered = (0..).zip(&self.services);
        let Some((number, server)) =
            numbered.find_map(|(number, serving)| Some((number, may_pick_up(serving, from, reply)?)))
        else {
            return Decision::Routed;
        };
        let picked_up = self.open_back((number, server), reply, segment, routes, now);
        picked_up.map_or_else(Decision::Drop, Decision::Goes)
    }

    fn open_back(
        &mut self,
        (number, server): (u16, ServerId),
        reply: &Key,
        segment: &Segment,
        routes: &Routes,
        now: Instant,
    ) -> Result<Hit, Reason> {
        if self.is_closed() {
            return Err(Reason::Stopping);
        }
        let client = reply.destination();
        let InterfaceId(zone) = interface_of(routes, client).ok_or(Reason::NoRoute)?;
        let Self { flows, services, resets, splicing, filter, .. } = self;
        let serving = services.get_mut(usize::from(number)).ok_or(Reason::NoServer)?;
        let listen = serving.service.listen;
        let ends = Ends {
            source: client,
            destination: listen.ip(),
            source_port: reply.destination_port(),
            destination_port: listen.port(),
        };
        let original = Key::new(ends, reply.protocol(), zone).ok_or(Reason::NoServer)?;
        if let Some((filter, first)) = filter.as_mut().zip(Asked::translated(&original, reply)) {
            filter.judge(&first, now)?;
        }
        serving.pool.adopt(client)?;
        let tag = Tag { service: number, server: server.place() };
        let new = New { original, reply: *reply, tag, direction: Direction::Reply, segment: Some(segment) };
        let mut left = Left { services, resets, splicing, now };
        let opened = flows.open(&new, now, &mut |index, flow, end| left.ended(index, flow, end));
        if opened.is_err()
            && let Some(serving) = services.get_mut(usize::from(number))
        {
            serving.pool.release(server.place());
        }
        Ok(opened?)
    }
}

/// The server of a service that listens there and has the client's connections, if these may come
/// in their midst.
fn may_pick_up(serving: &Serving, from: SocketAddr, reply: &Key) -> Option<ServerId> {
    let service = &serving.service;
    let is_so =
        service.flows.picks_up && service.mode == Mode::Dnat && service.protocol.number() == reply.protocol();
    let server = if is_so { serving.pool.lookup(reply.destination()) } else { None }?;
    (serving.pool.address(server) == Some(from)).then_some(server)
}

/// By which interface an address is reached.
pub(super) fn interface_of(routes: &Routes, address: IpAddr) -> Option<InterfaceId> {
    match routes.lookup(address)? {
        Kind::Unicast(hop) => Some(hop.interface),
        _ => None,
    }
}
