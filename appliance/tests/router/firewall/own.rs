//! What is for the router itself.

use core::net::{IpAddr, SocketAddr};

use paravane_appliance::drops::Reason;
use paravane_appliance::flow::Key;
use paravane_appliance::packet::edit::Ends;
use paravane_appliance::packet::wire::PROTOCOL_TCP;

use super::messages::message;
use super::support::*;
use crate::world::{HOST_V4, HOST_V6, OWN_V4, OWN_V6, PRIVATE, World};

/// A host, and the router's address there.
fn neighbours() -> [[IpAddr; 2]; 2] {
    [[HOST_V4.into(), OWN_V4[1].into()], [HOST_V6.into(), OWN_V6[1].into()]]
}

fn fetched(world: &mut World) -> usize {
    world.path.fetch(PRIVATE).map(core::mem::take).unwrap_or_default().len()
}

#[test]
fn an_echo_is_answered_where_rules_let_it_in() {
    for [host, own] in neighbours() {
        let ask = if host.is_ipv4() { 8 } else { 128 };
        let ping = |number| message(PRIVATE, [host, own], [ask, 0, 0, 7, 0, number], b"ping");
        let mut world =
            guarded("allow private -> self { icmp echo-request, icmpv6 echo-request }\ndefault drop");
        for number in 0..3 {
            world.take(PRIVATE, &ping(number));
            assert_eq!(world.sent(PRIVATE).len(), 1, "{:?}", world.dropped());
        }
        assert_eq!(hits(&world, 0), 1);
        let mut world = guarded("allow private -> public\ndefault drop");
        world.take(PRIVATE, &ping(0));
        assert_eq!(world.dropped(), [(PRIVATE, Reason::RuleDrop, 1)]);
        assert!(world.is_silent());
    }
}

#[test]
fn a_connection_to_the_router_is_a_flow() {
    for [host, own] in neighbours() {
        let (host, own) = (SocketAddr::new(host, 5000), SocketAddr::new(own, 22));
        let mut world = guarded("allow private -> self tcp 22\nreject any -> self\ndefault drop");
        // Not before it begins.
        tcp(&mut world, PRIVATE, &Tcp::new(host, own, ACK), b"");
        assert_eq!((fetched(&mut world), world.dropped()), (0, vec![(PRIVATE, Reason::NoFlow, 1)]));
        tcp(&mut world, PRIVATE, &Tcp::new(host, own, SYN).at(1000, 0), b"");
        assert_eq!(fetched(&mut world), 1);
        // The router's stack answers, over the path.
        let answer = Tcp::new(own, host, SYN | ACK).at(9000, 1001);
        let frame = world.frame(&answer.bytes(Default::default(), Default::default(), b""));
        world.path.send(frame, world.now);
        let answer = seen(&world.sent_one(PRIVATE));
        for _ in 0..3 {
            tcp(&mut world, PRIVATE, &Tcp::answer(&answer, ACK), b"");
            assert_eq!(fetched(&mut world), 1, "{:?}", world.dropped());
        }
        assert_eq!((hits(&world, 0), flows(&world)), (1, 1));
        tcp(&mut world, PRIVATE, &Tcp::new(host, SocketAddr::new(own.ip(), 23), SYN), b"");
        assert_eq!(fetched(&mut world), 0);
        assert_eq!(seen(&world.sent_one(PRIVATE)).flags, RST | ACK, "it is rejected");
    }
}

#[test]
fn what_the_router_asked_for_is_asked_of_no_rule() {
    for [host, own] in neighbours() {
        let (host, own) = (SocketAddr::new(host, 80), SocketAddr::new(own, 61_000));
        let ends = Ends {
            source: host.ip(),
            destination: own.ip(),
            source_port: host.port(),
            destination_port: own.port(),
        };
        let key = Key::new(ends, PROTOCOL_TCP, PRIVATE.0).unwrap();
        let mut world = guarded("drop any -> self\ndefault drop");
        world.path.expect(vec![key]);
        tcp(&mut world, PRIVATE, &Tcp::new(host, own, SYN | ACK), b"");
        assert_eq!((fetched(&mut world), hits(&world, 0), flows(&world)), (1, 0, 0));
        tcp(&mut world, PRIVATE, &Tcp::new(host, SocketAddr::new(own.ip(), 61_001), SYN), b"");
        assert_eq!((fetched(&mut world), hits(&world, 0)), (0, 1));
    }
}
