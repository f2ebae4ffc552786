//! The path judges the first packet of a flow as [`Rules::decide`] does, whatever it is.

use core::net::{IpAddr, SocketAddr};

use paravane_appliance::drops::Reason;
use paravane_appliance::interface::InterfaceId;
use paravane_firewall::rules::Verdict;
use paravane_firewall::{Addresses, Packet, Rules, Transport, Zone};
use proptest::prelude::*;

use super::messages::message;
use super::support::*;
use crate::world::{ADMIN, OWN_V4, OWN_V6, PRIVATE, PUBLIC, World};

const RULES: &str = "
    zone inside = { private, admin }
    set office   = { 203.0.113.0/25, 2001:db8:ff:1::/64 }
    set servers  = { 10.0.0.80-10.0.0.82, 2001:db8:2::80 }
    set high     = { 1024-65535 }
    service web  = { tcp { 80, 443 }, udp 443 }
    service ping = { icmp echo-request, icmpv6 echo-request }

    drop   any -> any  from 203.0.113.66 counter scanners
    reject any -> any  tcp 113
    allow  public -> inside  web to servers
    allow  public -> private tcp 22 source-port high from office
    reject public -> inside  udp 53 to servers
    allow  public -> self    ping from office
    allow  public -> inside  ping to servers
    allow  public -> private protocol 47
    drop   inside -> self    icmpv6 echo-request
    allow  inside -> self
    allow  private -> public { udp 53, tcp 1000-2000 }
    allow  private -> public from 10.0.0.80
    reject admin -> public
    allow  private -> admin  from { 10.0.0.80, 2001:db8:2::80 }
    default drop counter rest
";

/// What is sent.
#[derive(Clone, Copy, Debug)]
enum What {
    Tcp(u16, u16),
    Udp(u16, u16),
    Echo,
    Protocol(u8),
}

/// Hosts on or behind each link.
fn hosts(link: InterfaceId, is_v6: bool) -> Vec<IpAddr> {
    let all: &[&str] = match (link, is_v6) {
        (PUBLIC, false) => &["203.0.113.7", "203.0.113.66", "203.0.113.127", "203.0.113.128", "192.0.2.254"],
        (PUBLIC, true) => &["2001:db8:ff::7", "2001:db8:ff:1::1", "2001:db8:1::fe"],
        (PRIVATE, false) => &["10.0.0.79", "10.0.0.80", "10.0.0.82", "10.0.0.83"],
        (PRIVATE, true) => &["2001:db8:2::80", "2001:db8:2::81"],
        (_, false) => &["10.9.0.7", "10.9.0.80"],
        (_, true) => &["2001:db8:9::7", "2001:db8:9::80"],
    };
    all.iter().map(|host| host.parse().unwrap()).collect()
}

/// A packet: where it comes in and goes, which hosts, what.
fn packet() -> impl Strategy<Value = (usize, usize, bool, [prop::sample::Index; 2], What)> {
    let port = || prop::sample::select(vec![22_u16, 53, 80, 113, 443, 1000, 1023, 1024, 2000, 2001, 50_000]);
    let what = prop_oneof![
        4 => (port(), port()).prop_map(|(source, to)| What::Tcp(source, to)),
        4 => (port(), port()).prop_map(|(source, to)| What::Udp(source, to)),
        2 => Just(What::Echo),
        1 => prop::sample::select(vec![47, 50]).prop_map(What::Protocol),
    ];
    (0..3_usize, 0..4_usize, any::<bool>(), any::<[prop::sample::Index; 2]>(), what)
}

fn bytes(from: InterfaceId, [source, to]: [IpAddr; 2], what: What) -> Vec<u8> {
    let (mac, own) = stations(from);
    match what {
        What::Tcp(source_port, port) => {
            let tcp = Tcp::new(SocketAddr::new(source, source_port), SocketAddr::new(to, port), SYN);
            tcp.bytes(mac, own, b"")
        }
        What::Udp(source_port, port) => {
            let (source, to) = (SocketAddr::new(source, source_port), SocketAddr::new(to, port));
            crate::world::udp_between(mac, own, source, to, 64, b"first")
        }
        What::Echo => {
            message(from, [source, to], [if source.is_ipv4() { 8 } else { 128 }, 0, 0, 7, 0, 1], b"ping")
        }
        What::Protocol(protocol) => {
            let ports = (SocketAddr::new(source, 1), SocketAddr::new(to, 1));
            let mut bytes = crate::world::udp_between(mac, own, ports.0, ports.1, 64, b"first");
            if source.is_ipv4() {
                bytes[23] = protocol;
                smoltcp::wire::Ipv4Packet::new_unchecked(&mut bytes[14..]).fill_checksum();
            } else {
                bytes[20] = protocol;
            }
            bytes
        }
    }
}

fn as_rules_see(zones: [u8; 2], ends: [IpAddr; 2], what: What) -> Packet {
    let addresses = match ends {
        [IpAddr::V4(source), IpAddr::V4(destination)] => Addresses::V4 { source, destination },
        [IpAddr::V6(source), IpAddr::V6(destination)] => Addresses::V6 { source, destination },
        _ => panic!("two versions"),
    };
    let transport = match what {
        What::Tcp(source, destination) => Transport::Tcp { source, destination },
        What::Udp(source, destination) => Transport::Udp { source, destination },
        What::Echo if ends[0].is_ipv4() => Transport::Icmp { kind: 8, code: 0 },
        What::Echo => Transport::Icmpv6 { kind: 128, code: 0 },
        What::Protocol(protocol) => Transport::Other(protocol),
    };
    let [from, to] = zones.map(Zone);
    Packet { from, to, addresses, transport }
}

/// The same of all packets of a flow, either way.
fn flow([source, to]: [IpAddr; 2], what: What) -> (u8, [(IpAddr, u16); 2]) {
    let (protocol, mut ends) = match what {
        What::Tcp(from, port) => (6, [(source, from), (to, port)]),
        What::Udp(from, port) => (17, [(source, from), (to, port)]),
        What::Echo => (1, [(source, 0), (to, 0)]),
        What::Protocol(protocol) => (protocol, [(source, 0), (to, 0)]),
    };
    ends.sort_unstable();
    (protocol, ends)
}

fn count(world: &World, reason: Reason) -> u64 {
    [PUBLIC, PRIVATE, ADMIN].iter().map(|&id| world.path.drops().of(id, reason)).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn each_first_packet_is_judged_as_rules_decide(packets in prop::collection::vec(packet(), 1..60)) {
        let (rules, _) = Rules::read(RULES, &ZONES).unwrap();
        let mut world = guarded(RULES);
        let mut seen = Vec::new();
        for (from, to, is_v6, pick, what) in packets {
            let links = [PUBLIC, PRIVATE, ADMIN];
            let own = |link: usize| -> IpAddr { if is_v6 { OWN_V6[link].into() } else { OWN_V4[link].into() } };
            // To the same link nothing is routed here, and `self` is the address of the link.
            if to == from {
                continue;
            }
            let source = *pick[0].get(&hosts(links[from], is_v6));
            let destination = if to == 3 { own(from) } else { *pick[1].get(&hosts(links[to], is_v6)) };
            let ends = [source, destination];
            // Not one that is, or answers, what came before.
            let name = flow(ends, what);
            if seen.contains(&name) {
                continue;
            }
            seen.push(name);
            let zones = [from as u8, to as u8];
            let decision = rules.decide(&as_rules_see(zones, ends, what));
            let before = (hits(&world, decision.rule), count(&world, Reason::RuleDrop), count(&world, Reason::RuleReject));
            world.take(links[from], &bytes(links[from], ends, what));
            let told = world.path.drops();
            let after = (hits(&world, decision.rule), count(&world, Reason::RuleDrop), count(&world, Reason::RuleReject));
            prop_assert_eq!(after.0, before.0 + 1, "{:?} {:?} by rule {}: {:?}", zones, what, decision.rule, told);
            let expected = match decision.verdict {
                Verdict::Allow => (0, 0),
                Verdict::Drop => (1, 0),
                Verdict::Reject => (0, 1),
            };
            prop_assert_eq!((after.1 - before.1, after.2 - before.2), expected, "{:?} {:?} {:?}", zones, ends, what);
            let out: usize = links.iter().enumerate().filter(|(link, _)| *link != from).map(|(_, link)| {
                world.sent(*link).iter().filter(|frame| !is_question(frame)).count()
            }).sum();
            drop(world.sent(links[from]));
            if decision.verdict != Verdict::Allow {
                prop_assert_eq!(out, 0, "what is denied leaves: {:?} {:?} {:?}", zones, ends, what);
            }
            for link in links {
                drop(world.path.fetch(link).map(core::mem::take));
            }
        }
    }
}

/// Whether somebody asks there for a neighbour.
pub fn is_question(frame: &[u8]) -> bool {
    frame[12..14] == [8, 6] || frame[12..14] == [0x86, 0xdd] && frame[20] == 58 && frame[54] == 135
}
