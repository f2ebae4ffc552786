//! Whatever comes, with services and routes side by side: nothing leaves that rules deny, and what
//! answers something that passed does.

use core::net::{IpAddr, SocketAddr};

use paravane_appliance::balance::{Protocol, Service};
use paravane_appliance::interface::InterfaceId;
use paravane_appliance::nat::Mode;
use paravane_firewall::rules::Verdict;
use paravane_firewall::{Addresses, Packet, Rules, Transport, Zone};
use proptest::prelude::*;

use super::support::{ZONES, filter, other, stations};
use crate::balance::support::*;
use crate::world::{FAR_V4, FAR_V6, PRIVATE, PUBLIC, udp_between};

/// Random rules between both links, whose default may be anything.
fn rules() -> impl Strategy<Value = String> {
    let verdict = prop::sample::select(vec!["allow", "allow", "drop", "reject"]);
    let zones = prop::sample::select(vec![
        "public -> private",
        "private -> public",
        "any -> any",
        "public -> self",
        "any -> private",
    ]);
    let what =
        prop::sample::select(vec!["", "tcp", "udp", "tcp 80", "tcp 8080", "udp 8080", "udp 53", "tcp 1-100"]);
    let whom = prop::sample::select(vec![
        "",
        "",
        "from 203.0.113.7",
        "to 10.0.0.81",
        "to { 10.0.0.80, 2001:db8:2::80 }",
        "from 2001:db8:ff::/64",
    ]);
    let rule = (verdict.clone(), zones, what, whom)
        .prop_map(|(verdict, zones, what, whom)| format!("{verdict} {zones} {what} {whom}\n"));
    (prop::collection::vec(rule, 0..6), verdict)
        .prop_map(|(rules, default)| format!("{}default {default}\n", rules.concat()))
}

/// Who sends what to whom.
#[derive(Clone, Copy, Debug)]
struct Sent {
    from: InterfaceId,
    is_v6: bool,
    is_tcp: bool,
    is_to_service: bool,
    server: usize,
    port: u16,
    source_port: u16,
}

fn sent() -> impl Strategy<Value = Sent> {
    (any::<[bool; 4]>(), 0..2_usize, prop::sample::select(vec![53_u16, 80, 8080, 100]), 5000..5020_u16)
        .prop_map(|([is_in, is_v6, is_tcp, is_to_service], server, port, source_port)| Sent {
            from: if is_in { PUBLIC } else { PRIVATE },
            is_v6,
            is_tcp,
            is_to_service,
            server,
            port,
            source_port,
        })
}

fn ends_of(sent: &Sent) -> [SocketAddr; 2] {
    let ends = if sent.is_v6 { V6 } else { V4 };
    let far: IpAddr = if sent.is_v6 { FAR_V6.into() } else { FAR_V4.into() };
    match sent.from {
        PUBLIC if sent.is_to_service => {
            [SocketAddr::new(far, sent.source_port), SocketAddr::new(ends.vip, PORT)]
        }
        PUBLIC => {
            [SocketAddr::new(far, sent.source_port), SocketAddr::new(ends.servers[sent.server], sent.port)]
        }
        _ => [SocketAddr::new(ends.servers[sent.server], sent.source_port), SocketAddr::new(far, sent.port)],
    }
}

fn bytes(from: InterfaceId, [source, to]: [SocketAddr; 2], flags: Option<u8>) -> Vec<u8> {
    let (mac, own) = stations(from);
    match flags {
        Some(flags) => Tcp::new(source, to, flags).at(1, 1).bytes(mac, own, b""),
        None => udp_between(mac, own, source, to, 64, b"data"),
    }
}

fn decide(rules: &Rules, from: InterfaceId, seen: &Seen, is_tcp: bool) -> Verdict {
    let zone = |id: InterfaceId| Zone(id.0);
    let (source, destination) = (seen.source.port(), seen.destination.port());
    let transport =
        if is_tcp { Transport::Tcp { source, destination } } else { Transport::Udp { source, destination } };
    let addresses = match (seen.source.ip(), seen.destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => Addresses::V4 { source, destination },
        (IpAddr::V6(source), IpAddr::V6(destination)) => Addresses::V6 { source, destination },
        _ => panic!("two versions"),
    };
    rules.decide(&Packet { from: zone(from), to: zone(other(from)), addresses, transport }).verdict
}

/// Two services of each version, for TCP and UDP.
fn balanced(text: &str) -> Balanced {
    let listens = |ends: Ends, protocol| Service {
        mode: Mode::Dnat,
        ..Service::new("both", protocol, SocketAddr::new(ends.vip, PORT))
    };
    let services = vec![listens(V4, Protocol::Tcp), listens(V4, Protocol::Udp)];
    let mut balanced = Balanced::with(V4, services, settings());
    balanced.balancer().set_filter(filter(text));
    balanced
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn nothing_denied_leaves_and_answers_pass(text in rules(), all in prop::collection::vec(sent(), 1..40)) {
        let (rules, _) = Rules::read(&text, &ZONES).unwrap();
        let mut balanced = balanced(&text);
        let world = &mut balanced.world;
        // Pairs of ends that were let through, as their side sees them, and which way they began.
        let mut begun: Vec<(bool, InterfaceId, [SocketAddr; 2])> = Vec::new();
        for sent in all {
            let ends = ends_of(&sent);
            let [source, to] = ends;
            let is_known = begun.iter().any(|(tcp, _, known)| *tcp == sent.is_tcp && {
                let [a, b] = *known;
                [a, b] == ends || [b, a] == ends
            });
            world.take(sent.from, &bytes(sent.from, ends, sent.is_tcp.then_some(SYN)));
            let out: Vec<_> = world.sent(other(sent.from)).iter().map(|frame| seen(frame)).collect();
            // Whoever is rejected hears it; nobody else does.
            drop(world.sent(sent.from));
            prop_assert!(out.len() <= 1);
            let Some(there) = out.first() else { continue };
            if !is_known {
                prop_assert_eq!(decide(&rules, sent.from, there, sent.is_tcp), Verdict::Allow, "{} {:?}", text, there);
                begun.push((sent.is_tcp, sent.from, ends));
                begun.push((sent.is_tcp, sent.from, [there.source, there.destination]));
            }
            // Whoever it was for answers, and that comes back from whom it was for.
            let answer = [there.destination, there.source];
            let by = other(sent.from);
            if sent.is_tcp {
                let answer = Tcp::new(answer[0], answer[1], SYN | ACK).at(9000, there.sequence.wrapping_add(1));
                let (mac, own) = stations(by);
                world.take(by, &answer.bytes(mac, own, b""));
            } else {
                world.take(by, &bytes(by, answer, None));
            }
            let back = world.sent(sent.from);
            if !is_known {
                prop_assert_eq!(back.len(), 1, "{} {:?}: dropped {:?}", text, sent, world.dropped());
                let back = seen(&back[0]);
                prop_assert_eq!((back.source, back.destination), (to, source));
            }
        }
    }
}
