//! A router with rules, and packets in words.

use core::net::SocketAddr;

use paravane_appliance::balance::{Balancer, Settings};
use paravane_appliance::drops::Reason;
use paravane_appliance::filter::{Filter, RuleSet};
use paravane_appliance::interface::{Interface, InterfaceId};
use paravane_firewall::Rules;
use paravane_net::MacAddr;

pub use crate::balance::support::{ACK, FIN, RST, SYN, Seen, Tcp, seen};
use crate::world::{
    ADMIN, FAR_V4, FAR_V6, GATEWAY_MAC, HOST_MAC, HOST_V4, HOST_V6, OWN_MAC, PRIVATE, PUBLIC, World,
    interfaces, limits, random,
};

pub const NAMES: [&str; 3] = ["public", "private", "admin"];
pub const ZONES: [&str; 4] = ["public", "private", "admin", "self"];

pub fn filter(text: &str) -> Filter {
    let rules = Rules::read(text, &ZONES).unwrap_or_else(|errors| panic!("{text}: {}", errors[0])).0;
    Filter::new(RuleSet::Read(rules), &NAMES, &mut random()).unwrap()
}

/// A router with rules and no services.
pub fn guarded(text: &str) -> World {
    guarded_of(text, Settings::new(1024), interfaces())
}

pub fn guarded_of(text: &str, settings: Settings, all: Vec<Interface>) -> World {
    let mut world = World::of(all, limits(), 1024);
    world.meet();
    let mut balancer = Balancer::new(settings, Vec::new(), 3, &mut random()).unwrap();
    balancer.set_filter(filter(text));
    world.path.set_balancer(balancer);
    world
}

/// From whom frames come that come in there.
pub fn stations(from: InterfaceId) -> (MacAddr, MacAddr) {
    (if from == PUBLIC { GATEWAY_MAC } else { HOST_MAC }, OWN_MAC[from.index()])
}

pub fn other(interface: InterfaceId) -> InterfaceId {
    if interface == PUBLIC { PRIVATE } else { PUBLIC }
}

/// Somebody far away and a host, of each version.
pub fn ends() -> [[SocketAddr; 2]; 2] {
    [
        [SocketAddr::new(FAR_V4.into(), 5000), SocketAddr::new(HOST_V4.into(), 80)],
        [SocketAddr::new(FAR_V6.into(), 5000), SocketAddr::new(HOST_V6.into(), 80)],
    ]
}

pub fn tcp(world: &mut World, from: InterfaceId, tcp: &Tcp, payload: &[u8]) {
    let (mac, own) = stations(from);
    world.take(from, &tcp.bytes(mac, own, payload));
}

pub fn udp(world: &mut World, from: InterfaceId, [source, destination]: [SocketAddr; 2], payload: &[u8]) {
    let (mac, own) = stations(from);
    world.take(from, &crate::world::udp_between(mac, own, source, destination, 64, payload));
}

/// The only one that goes on from there to the other side.
pub fn through(world: &mut World, from: InterfaceId, segment: &Tcp, payload: &[u8]) -> Seen {
    tcp(world, from, segment, payload);
    seen(&world.sent_one(other(from)))
}

/// It is the only one that is dropped for that reason, and goes nowhere on.
pub fn is_dropped(world: &mut World, from: InterfaceId, reason: Reason) {
    let dropped = world.dropped();
    assert!(dropped.contains(&(from, reason, 1)), "{reason:?}: {dropped:?}");
    for to in [PUBLIC, PRIVATE, ADMIN].into_iter().filter(|to| *to != from) {
        assert!(world.sent(to).is_empty(), "{reason:?}: it goes out by {to:?}");
    }
}

pub fn hits(world: &World, rule: u32) -> u64 {
    world.path.balancer().unwrap().filter().unwrap().hits(rule).all
}

pub fn flows(world: &World) -> u32 {
    world.path.balancer().unwrap().flows().len()
}
