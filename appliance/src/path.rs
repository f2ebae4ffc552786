//! The way of packets through the box: a burst comes in by one interface, and each frame of it goes
//! out by another, is answered, waits, is for this machine, or is dropped for a reason.
//!
//! ```text
//!  rx of a NIC -- take --> who is it for?  --> routed   --> its interface's egress --> tx of a NIC
//!                                          --> answered --> egress where it came in
//!                                          --> ours     --> local, for a stack
//!                                          --> none     --> drops, by reason
//!  time        -- poll --> what was waited for
//! ```
//!
//! A frame crosses without a copy. What it asks of a NIC, or what a NIC found about it, goes along;
//! where the next NIC does not cut large packets, they are cut here.
//!
//! | Part | Holds |
//! |---|---|
//! | this file | [`Path`], and what comes in |
//! | `straight` | plain packets, in rows: nearly all of them |
//! | `balanced` | packets of a balancer's flows |
//! | `guarded` | those that begin a flow, where a firewall's rules say what may |
//! | `opening` | those of them that are plain |
//! | `flows` | packets of flows that are plain, in rows |
//! | `spliced` | those whose connections are spliced |
//! | `errors` | ICMP errors about packets of flows |
//! | `ways` | where a packet goes, and whether it fits there |
//! | `own` | what this machine itself sends, and waits for |
//! | `shared` | addresses that this machine has at times |
//! | `egress` | what goes out: passed on, cut, told |

mod balanced;
mod egress;
mod errors;
mod flows;
mod guarded;
mod opening;
mod own;
mod shared;
mod spliced;
mod straight;
mod ways;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use paravane_hal::time::Instant;
use paravane_net::{Burst, Frame, FramePool};

use crate::balance::Balancer;
use crate::drops::{Drops, Reason};
use crate::flow::Key;
use crate::icmp::{self, Echo, Error, Errors, Silence};
use crate::interface::{Interface, InterfaceId};
use crate::neighbour::{self, Event, Neighbours};
use crate::packet::wire::{IcmpHeader, PROTOCOL_ICMP, PROTOCOL_ICMPV6};
use crate::packet::{Body, Packet, Transport};
use crate::random::Random;
use crate::route::{Kind, NextHop, Prefix, Route, RouteError, Routes};
pub use egress::PortCounters;
use egress::{EVENTS, Egress, Port, UNDELIVERABLE, Undeliverable};
use flows::Looked;
use shared::Shared;
use straight::Nexts;
use ways::{Fit, Verdict, Ways};

/// How many interfaces there may be.
pub const MAX_INTERFACES: usize = 16;

/// How much of anything there is at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Routes.
    pub routes: u32,
    /// Frames that wait for a NIC to take them, each.
    pub egress_frames: u16,
    /// Frames for this machine that wait to be fetched, by interface.
    pub local_frames: u16,
    /// Neighbours, and what waits for them.
    pub neighbours: neighbour::Limits,
    /// ICMP errors.
    pub errors: icmp::Limits,
    /// Echo replies.
    pub echo: icmp::Limits,
}

impl Limits {
    /// For so many interfaces: some megabytes.
    #[must_use]
    pub const fn new(interfaces: u8) -> Self {
        Self {
            routes: 1 << 20,
            egress_frames: 512,
            local_frames: 128,
            neighbours: neighbour::Limits::new(interfaces),
            errors: icmp::Limits::ERRORS,
            echo: icmp::Limits::ECHO,
        }
    }
}

/// Interfaces with their addresses, routes, and all that is known of the links.
#[derive(Debug)]
pub struct Path {
    egress: Egress,
    neighbours: Neighbours,
    echo: Echo,
    /// Where packets were passed on to lately.
    nexts: Nexts,
    balancer: Option<Box<Balancer>>,
    /// What this machine waits for, if not for all that is for it.
    expected: Option<Vec<Key>>,
    /// Room for what is known of a burst.
    looked: Vec<Looked>,
    /// The addresses that it shares with other machines.
    shared: Shared,
}

/// Why a path cannot be made, or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathError {
    /// More than [`MAX_INTERFACES`].
    Interfaces(usize),
    /// A route is refused.
    Route(RouteError),
    /// A route leads to an interface that there is not.
    NoInterface(InterfaceId),
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interfaces(count) => write!(f, "{count} interfaces, {MAX_INTERFACES} at most"),
            Self::Route(error) => error.fmt(f),
            Self::NoInterface(InterfaceId(number)) => {
                write!(f, "a route leads to interface {number}, which there is not")
            }
        }
    }
}

impl core::error::Error for PathError {}

impl From<RouteError> for PathError {
    fn from(error: RouteError) -> Self {
        Self::Route(error)
    }
}

impl Path {
    /// One over `interfaces`, whose networks are on their links; other routes come with
    /// [`add_route`](Self::add_route). Frames that it makes itself are from `pool`. Allocates all
    /// that it will need.
    ///
    /// # Errors
    ///
    /// [`PathError`].
    pub fn new(
        interfaces: Vec<Interface>,
        limits: Limits,
        pool: FramePool,
        random: &mut Random,
    ) -> Result<Self, PathError> {
        let count = interfaces.len();
        if count > MAX_INTERFACES {
            return Err(PathError::Interfaces(count));
        }
        let mut routes = Routes::new(limits.routes);
        routes.extend(connected(&interfaces))?;
        let egress = Egress {
            ports: (0..count).map(|_| Port::default()).collect(),
            errors: Errors::new(limits.errors, random.hash_key(), count),
            drops: Drops::new(count),
            events: VecDeque::with_capacity(EVENTS),
            undeliverable: VecDeque::with_capacity(UNDELIVERABLE),
            ways: Ways { interfaces: interfaces.into(), routes },
            limits,
            pool,
        };
        let mut nexts = Nexts::new();
        nexts.make_room(egress.ways.routes.groups_v4());
        Ok(Self {
            egress,
            neighbours: Neighbours::new(limits.neighbours, random.hash_key()),
            echo: Echo::new(limits.echo, random.hash_key(), count),
            nexts,
            balancer: None,
            expected: None,
            looked: Looked::room(),
            shared: Shared::default(),
        })
    }

    /// Has `balancer` take what is for its services, from now on. Their addresses have to be those
    /// of interfaces. Allocates what connections need that are spliced, if any are.
    pub fn set_balancer(&mut self, mut balancer: Balancer) {
        let all = self.egress.ways.interfaces.iter();
        let narrowest_bytes = all.map(|interface| interface.mtu_bytes).min().unwrap_or(0);
        balancer.make_splices(&self.egress.pool, narrowest_bytes);
        self.balancer = Some(Box::new(balancer));
        self.find_services();
    }

    /// Its balancer, if it has one.
    #[must_use]
    pub fn balancer(&self) -> Option<&Balancer> {
        self.balancer.as_deref()
    }

    /// The same, to change servers, and to check them.
    pub fn balancer_mut(&mut self) -> Option<&mut Balancer> {
        self.balancer.as_deref_mut()
    }

    /// Adds a route, and keeps its next hop in mind whatever happens.
    ///
    /// # Errors
    ///
    /// [`PathError`]; nothing changed.
    pub fn add_route(&mut self, route: Route) -> Result<(), PathError> {
        let Ways { interfaces, routes } = &mut self.egress.ways;
        let Kind::Unicast(hop) = route.kind else {
            routes.insert(route)?;
            return Ok(());
        };
        if hop.interface.index() >= interfaces.len() {
            return Err(PathError::NoInterface(hop.interface));
        }
        let is_new = routes.insert(route)?;
        self.nexts.make_room(routes.groups_v4());
        if is_new && let Some(gateway) = hop.gateway {
            // Where as many are pinned as there may be, it is one like others.
            let _ = self.neighbours.pin(hop.interface, gateway);
        }
        Ok(())
    }

    /// Takes every frame of `burst`, which came in by `from`.
    pub fn take(&mut self, from: InterfaceId, burst: &mut Burst, now: Instant) {
        let count = burst.len() as u64;
        let Some(port) = self.egress.ports.get_mut(from.index()) else { return burst.clear() };
        port.counters.received = port.counters.received.wrapping_add(count);
        if self.balancer.is_some() {
            return self.take_flows(from, burst, now);
        }
        // Ends: each turn takes one out at least, for one that is left is odd, or begins a row.
        while !burst.is_empty() {
            let is_odd = self.take_row(from, burst, now);
            if is_odd && let Some(frame) = burst.pop() {
                self.take_one(from, frame, now);
            }
        }
    }

    fn take_one(&mut self, from: InterfaceId, frame: Frame, now: Instant) {
        let packet = match Packet::read(&frame) {
            Ok(packet) => packet,
            Err(malformed) => return self.egress.drop(from, frame, malformed.into()),
        };
        let rest =
            if self.balancer.is_some() { self.balance(from, &packet, frame, now) } else { Some(frame) };
        if let Some(frame) = rest {
            self.route(from, &packet, frame, now);
        }
    }

    /// Takes a packet as a router does.
    #[inline]
    fn route(&mut self, from: InterfaceId, packet: &Packet, frame: Frame, now: Instant) {
        match self.egress.ways.judge(from, packet) {
            // Where rules say what goes on, it went on before it came here.
            Verdict::Forward(_) | Verdict::Local if self.is_guarded() => {
                self.egress.drop(from, frame, Reason::NoFlow);
            }
            Verdict::Forward(hop) => self.forward(from, packet, frame, hop, now),
            Verdict::Local => self.local(from, packet, frame, now),
            Verdict::Neighbour => self.neighbour(from, packet, frame, now),
            Verdict::Vrrp => self.hear_vrrp(from, packet, frame, now),
            Verdict::Drop(reason) => self.egress.drop(from, frame, reason),
            Verdict::Tell(reason, error) => self.egress.tell(from, packet, frame, reason, error, now),
        }
    }

    /// Passes `frame` on, whose headers are `packet`, to `hop`; or has it wait for who that is.
    #[inline]
    fn forward(&mut self, from: InterfaceId, packet: &Packet, frame: Frame, hop: NextHop, now: Instant) {
        let Some((fit, mtu_bytes)) = self.egress.ways.fit(packet, &frame, hop.interface) else {
            return self.egress.drop(from, frame, Reason::NoRoute);
        };
        if fit == Fit::TooBig {
            let error = Error::TooBig { mtu_bytes };
            return self.egress.tell(from, packet, frame, Reason::TooBig, error, now);
        }
        self.pass(from, packet, frame, hop, fit, now);
    }

    /// The same of one that is known to fit.
    #[inline]
    fn pass(
        &mut self,
        from: InterfaceId,
        packet: &Packet,
        frame: Frame,
        hop: NextHop,
        fit: Fit,
        now: Instant,
    ) {
        let Some(next) = hop.gateway.or_else(|| packet.addresses().map(|(_, destination)| destination))
        else {
            return self.egress.drop(from, frame, Reason::NoRoute);
        };
        match self.nexts.mac(&mut self.neighbours, hop.interface, next, now) {
            Some(mac) => self.egress.send_on(from, packet, frame, (hop.interface, mac), fit),
            None => self.wait(from, (hop.interface, next), frame, now),
        }
    }

    /// Has a frame wait, as it came in, for who has the next hop's address.
    #[cold]
    fn wait(
        &mut self,
        from: InterfaceId,
        (interface, next): (InterfaceId, IpAddr),
        frame: Frame,
        now: Instant,
    ) {
        let Self { egress, neighbours, .. } = self;
        let out = &mut |output| egress.output(output);
        neighbours.wait(interface, next, frame, Some(from), now, out);
    }

    /// Takes `frame`, which is for this machine: answers an echo, keeps the rest to be fetched.
    #[cold]
    fn local(&mut self, from: InterfaceId, packet: &Packet, mut frame: Frame, now: Instant) {
        let Self { egress, echo, .. } = self;
        let answer = if is_icmp(packet) {
            echo.answer(&egress.ways.interfaces, from, packet, &mut frame, now)
        } else {
            Err(Silence::NotEcho)
        };
        match answer {
            Ok(()) => {
                egress.count(from, |counters| &mut counters.echoes);
                egress.emit(from, from, frame);
            }
            Err(Silence::NotEcho) => self.keep(from, packet, frame),
            // A stack would answer it, within no limit.
            Err(_) => egress.drop(from, frame, Reason::Echo),
        }
    }

    /// Takes what may be a message of a neighbour.
    #[cold]
    fn neighbour(&mut self, from: InterfaceId, packet: &Packet, frame: Frame, now: Instant) {
        let Self { egress, neighbours, .. } = self;
        if let Body::V6(ip) = &packet.body
            && !is_neighbours_kind(packet, &frame)
        {
            return if ip.destination().is_multicast() {
                egress.drop(from, frame, Reason::Group)
            } else {
                self.local(from, packet, frame, now)
            };
        }
        // Held here too: what comes of it is sent by all of them.
        let interfaces = Arc::clone(&egress.ways.interfaces);
        let Some(own) = interfaces.get(from.index()) else { return };
        let heard = neighbours.receive(from, own, packet, frame, now, &mut |output| egress.output(output));
        if heard.is_err() {
            egress.drops.count(from, Reason::Neighbour);
        }
    }

    /// What time brings: neighbours are asked, and those given up who do not answer. When to call
    /// again, at the latest, if nothing comes in before.
    pub fn poll(&mut self, now: Instant) -> Option<Instant> {
        let Self { egress, neighbours, .. } = self;
        let (pool, interfaces) = (egress.pool.clone(), Arc::clone(&egress.ways.interfaces));
        let neighbours = neighbours.poll(now, &pool, &interfaces, &mut |output| egress.output(output));
        while let Some(Undeliverable { from, to, frame }) = self.egress.undeliverable.pop_front() {
            self.undeliverable(from, to, frame, now);
        }
        let flows = self.poll_flows(now);
        let vrrp = self.poll_vrrp(now);
        [neighbours, flows, vrrp].into_iter().flatten().min()
    }

    /// What is to be sent by `interface`: what its NIC does not take stays.
    pub fn egress(&mut self, interface: InterfaceId) -> Option<&mut Burst> {
        self.egress.ports.get_mut(interface.index()).map(|port| &mut port.egress)
    }

    /// What came in by `interface` for this machine.
    pub fn fetch(&mut self, interface: InterfaceId) -> Option<&mut Burst> {
        self.egress.ports.get_mut(interface.index()).map(|port| &mut port.local)
    }

    /// The oldest thing that people want to know of, and have not heard.
    pub fn take_event(&mut self) -> Option<Event> {
        self.egress.events.pop_front()
    }

    /// The interfaces.
    #[must_use]
    pub fn interfaces(&self) -> &[Interface] {
        &self.egress.ways.interfaces
    }

    /// The routes.
    #[must_use]
    pub const fn routes(&self) -> &Routes {
        &self.egress.ways.routes
    }

    /// The neighbours.
    #[must_use]
    pub const fn neighbours(&self) -> &Neighbours {
        &self.neighbours
    }

    /// What was dropped, and why.
    #[must_use]
    pub const fn drops(&self) -> &Drops {
        &self.egress.drops
    }

    /// What passed `interface`.
    #[must_use]
    pub fn counters(&self, interface: InterfaceId) -> PortCounters {
        self.egress.ports.get(interface.index()).map(|port| port.counters).unwrap_or_default()
    }
}

/// Whether it may be an echo request.
fn is_icmp(packet: &Packet) -> bool {
    match &packet.body {
        Body::Arp => false,
        Body::V4(ip) => ip.header.protocol == PROTOCOL_ICMP,
        Body::V6(ip) => ip.header.next_header == PROTOCOL_ICMPV6,
    }
}

/// Whether it is one of the messages by which neighbours and routers are found.
fn is_neighbours_kind(packet: &Packet, frame: &Frame) -> bool {
    matches!(packet.transport(frame), Ok(Some(Transport::Icmp(IcmpHeader { kind: 133..=137, .. }, _))))
}

/// The routes that interfaces have by their addresses: these are ours, the networks around them are
/// on the link, and their broadcast addresses are nobody's.
fn connected(interfaces: &[Interface]) -> impl Iterator<Item = Route> {
    interfaces.iter().zip(0_u8..).flat_map(|(interface, number)| {
        let id = InterfaceId(number);
        let v4 = interface.v4.iter().map(|(address, bits)| (IpAddr::V4(*address), *bits, 32));
        // Each link has an fe80::/64: what is for one is asked of its interface.
        let v6 = interface.v6.iter().filter(|(address, _)| !address.is_unicast_link_local());
        let v6 = v6.map(|(address, bits)| (IpAddr::V6(*address), *bits, 128));
        v4.chain(v6).flat_map(move |(address, bits, all_bits)| {
            // An address by itself has no network around it.
            let network = Prefix::around(address, bits).ok().filter(|_| bits < all_bits);
            let own = Prefix::around(address, all_bits).ok();
            let last = network.and_then(Prefix::broadcast);
            let last = last.and_then(|last| Prefix::around(last.into(), all_bits).ok());
            let route = |prefix: Option<Prefix>, kind| prefix.map(|prefix| Route { prefix, kind });
            [route(own, Kind::Local(id)), route(network, Kind::on_link(id)), route(last, Kind::Broadcast)]
                .into_iter()
                .flatten()
        })
    })
}
