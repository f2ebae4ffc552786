//! Which flows begin, and what becomes of the others.

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;

use paravane_appliance::balance::Settings;
use paravane_appliance::drops::Reason;
use paravane_appliance::route::{Kind, Route};

use super::support::*;
use crate::world::{ADMIN, GATEWAY_MAC, GATEWAY_V4, OWN_MAC, PRIVATE, PUBLIC, World, interfaces};

const RULES: &str = "allow public -> private { tcp 80, udp 53 }\nreject public -> private tcp 113\n\
                     reject public -> private udp 113\ndrop public -> private tcp 23\ndefault drop";

#[test]
fn an_allowed_connection_goes_both_ways_and_pays_one_rule() {
    for [far, host] in ends() {
        let mut world = guarded(RULES);
        let there = through(&mut world, PUBLIC, &Tcp::new(far, host, SYN).at(1000, 0), b"");
        assert_eq!((there.source, there.destination, there.ttl), (far, host, 63), "it is as it was");
        let back = through(&mut world, PRIVATE, &Tcp::answer(&there, SYN | ACK), b"");
        let mut one = through(&mut world, PUBLIC, &Tcp::answer(&back, ACK), b"question");
        for round in 0..10 {
            let from = if round % 2 == 0 { PRIVATE } else { PUBLIC };
            one = through(&mut world, from, &Tcp::answer(&one, ACK), b"data");
        }
        assert_eq!(hits(&world, 0), 1);
        assert!(world.dropped().is_empty(), "{:?}", world.dropped());
        assert_eq!(flows(&world), 1);
        // From the other side nothing begins.
        tcp(&mut world, PRIVATE, &Tcp::new(SocketAddr::new(host.ip(), 6000), far, SYN), b"");
        is_dropped(&mut world, PRIVATE, Reason::RuleDrop);
        assert_eq!(hits(&world, 4), 1, "the default");
    }
}

#[test]
fn datagrams_are_answered_and_nobody_elses_are() {
    for [far, host] in ends() {
        let (mut world, dns) = (guarded(RULES), SocketAddr::new(host.ip(), 53));
        udp(&mut world, PUBLIC, [far, dns], b"question");
        assert_eq!(seen(&world.sent_one(PRIVATE)).payload, b"question");
        for _ in 0..3 {
            udp(&mut world, PRIVATE, [dns, far], b"answer");
            assert_eq!(seen(&world.sent_one(PUBLIC)).payload, b"answer");
            udp(&mut world, PUBLIC, [far, dns], b"more");
            assert_eq!(seen(&world.sent_one(PRIVATE)).payload, b"more");
        }
        assert_eq!(hits(&world, 0), 1);
        udp(&mut world, PRIVATE, [dns, SocketAddr::new(far.ip(), 5001)], b"unasked");
        is_dropped(&mut world, PRIVATE, Reason::RuleDrop);
        // Nobody spoke for long: it begins anew.
        for _ in 0..200 {
            world.pass(Duration::from_secs(1));
        }
        assert_eq!(flows(&world), 0);
        udp(&mut world, PRIVATE, [dns, far], b"late");
        assert_eq!(world.path.drops().of(PRIVATE, Reason::RuleDrop), 2);
    }
}

#[test]
fn what_is_dropped_hears_nothing_and_what_is_rejected_does() {
    for [far, host] in ends() {
        let mut world = guarded(RULES);
        let ident = SocketAddr::new(host.ip(), 113);
        tcp(&mut world, PUBLIC, &Tcp::new(far, ident, SYN).at(1000, 0), b"");
        assert_eq!(world.dropped(), [(PUBLIC, Reason::RuleReject, 1)]);
        let reset = seen(&world.sent_one(PUBLIC));
        assert_eq!((reset.source, reset.destination, reset.flags), (ident, far, RST | ACK));
        assert_eq!(reset.acknowledgement, 1001);
        udp(&mut world, PUBLIC, [far, ident], b"who are you");
        let told = world.sent_one(PUBLIC);
        let kind = if far.is_ipv4() { &told[34..36] } else { &told[54..56] };
        assert_eq!(kind, if far.is_ipv4() { [3, 13] } else { [1, 1] }, "administratively prohibited");
        assert_eq!(world.dropped(), [(PUBLIC, Reason::RuleReject, 2)]);
        tcp(&mut world, PUBLIC, &Tcp::new(far, SocketAddr::new(host.ip(), 23), SYN), b"");
        assert!(world.is_silent());
        assert_eq!((hits(&world, 1), hits(&world, 2), hits(&world, 3)), (1, 1, 1));
        assert_eq!(flows(&world), 0);
    }
}

#[test]
fn who_is_rejected_often_is_told_seldom() {
    let [far, host] = ends()[0];
    let mut world = guarded(RULES);
    for port in 0..1000 {
        let ident = SocketAddr::new(host.ip(), 113);
        tcp(&mut world, PUBLIC, &Tcp::new(SocketAddr::new(far.ip(), 1024 + port), ident, SYN), b"");
        udp(&mut world, PUBLIC, [SocketAddr::new(far.ip(), 1024 + port), ident], b"");
    }
    let told = world.sent(PUBLIC).len();
    assert!((2..=200).contains(&told), "{told}");
    assert_eq!(world.dropped(), [(PUBLIC, Reason::RuleReject, 2000)]);
}

#[test]
fn only_what_begins_a_flow_begins_one() {
    for [far, host] in ends() {
        for (flags, reason) in [
            (ACK, Reason::NoFlow),
            (SYN | ACK, Reason::NoFlow),
            (RST, Reason::NoFlow),
            (FIN | ACK, Reason::NoFlow),
            (SYN | FIN, Reason::TcpFlags),
            (SYN | RST, Reason::TcpFlags),
            (FIN, Reason::TcpFlags),
            (0, Reason::TcpFlags),
        ] {
            let mut world = guarded("allow any -> any\ndefault drop");
            tcp(&mut world, PUBLIC, &Tcp::new(far, host, flags), b"");
            is_dropped(&mut world, PUBLIC, reason);
            assert!(world.is_silent(), "{flags}: nobody hears");
            assert_eq!((hits(&world, 0), flows(&world)), (0, 0), "{flags}: no rule is asked");
        }
        let mut world = guarded("allow any -> any\ndefault drop");
        tcp(&mut world, PUBLIC, &Tcp::new(far, SocketAddr::new(far.ip(), 80), SYN), b"");
        is_dropped(&mut world, PUBLIC, Reason::Land);
    }
}

#[test]
fn connections_are_picked_up_where_that_is_said() {
    for [far, host] in ends() {
        let mut settings = Settings::new(64);
        settings.plain.picks_up = true;
        let mut world = guarded_of(RULES, settings, interfaces());
        let ack = Tcp::new(far, host, ACK).at(1000, 9000);
        let there = through(&mut world, PUBLIC, &ack, b"as before");
        through(&mut world, PRIVATE, &Tcp::answer(&there, ACK), b"go on");
        assert_eq!((hits(&world, 0), flows(&world)), (1, 1));
        // Only what might have begun.
        tcp(&mut world, PUBLIC, &Tcp::new(far, SocketAddr::new(host.ip(), 22), ACK).at(1, 1), b"");
        is_dropped(&mut world, PUBLIC, Reason::RuleDrop);
    }
}

#[test]
fn a_limit_bites_and_lets_go() {
    for [far, host] in ends() {
        let mut world =
            guarded("allow public -> private tcp 80 limit 1/s burst 2 counter web log \"web\"\ndefault drop");
        let begin = |world: &mut _, port| {
            tcp(world, PUBLIC, &Tcp::new(SocketAddr::new(far.ip(), port), host, SYN), b"");
            world.sent(PRIVATE).len()
        };
        assert_eq!([1, 2, 3].map(|port| begin(&mut world, port)), [1, 1, 0]);
        assert_eq!(world.dropped(), [(PUBLIC, Reason::RuleLimit, 1)]);
        world.pass(Duration::from_secs(1));
        assert_eq!([3, 4].map(|port| begin(&mut world, port)), [1, 0]);
        // What goes on is no new one.
        tcp(&mut world, PUBLIC, &Tcp::new(SocketAddr::new(far.ip(), 1), host, SYN), b"");
        assert_eq!(world.sent(PRIVATE).len(), 1);
        let filter = world.path.balancer_mut().unwrap().filter_mut().unwrap();
        assert_eq!((filter.hits(0).all, filter.hits(0).limited), (5, 2));
        assert_eq!(filter.counters().next(), Some(("web", 5)));
        assert_eq!(core::iter::from_fn(|| filter.take_logged()).count(), 5);
    }
}

#[test]
fn a_source_has_so_many_flows() {
    for [far, host] in ends() {
        let mut settings = Settings::new(64);
        settings.flows.source_flows = 2;
        let mut world = guarded_of("allow any -> any\ndefault drop", settings, interfaces());
        for port in 1..=3 {
            tcp(&mut world, PUBLIC, &Tcp::new(SocketAddr::new(far.ip(), port), host, SYN), b"");
        }
        assert_eq!(world.sent(PRIVATE).len(), 2);
        assert_eq!(world.dropped(), [(PUBLIC, Reason::SourceFull, 1)]);
        assert_eq!(hits(&world, 0), 2);
    }
}

#[test]
fn what_is_silent_for_long_is_no_flow_any_more() {
    let [far, host] = ends()[0];
    let mut world = guarded(RULES);
    let there = through(&mut world, PUBLIC, &Tcp::new(far, host, SYN).at(1000, 0), b"");
    let back = through(&mut world, PRIVATE, &Tcp::answer(&there, SYN | ACK), b"");
    let ack = through(&mut world, PUBLIC, &Tcp::answer(&back, ACK), b"");
    for _ in 0..80 {
        world.pass(Duration::from_secs(100));
    }
    assert_eq!(flows(&world), 0);
    tcp(&mut world, PRIVATE, &Tcp::answer(&ack, ACK), b"late");
    assert_eq!(world.path.drops().of(PRIVATE, Reason::NoFlow), 1);
}

#[test]
fn by_several_ways_a_flow_is_one() {
    let [far, host] = ends()[0];
    // The far network is behind the host's link as well.
    let mut world = guarded(RULES);
    for (by, gateway) in [(PUBLIC, GATEWAY_V4), (ADMIN, Ipv4Addr::new(10, 9, 0, 7))] {
        let prefix = "203.0.113.0/24".parse().unwrap();
        world.path.add_route(Route { prefix, kind: Kind::via(by, gateway.into()) }).unwrap();
    }
    let there = through(&mut world, PUBLIC, &Tcp::new(far, host, SYN).at(1000, 0), b"");
    let back = through(&mut world, PRIVATE, &Tcp::answer(&there, SYN | ACK), b"");
    let ack = Tcp::answer(&back, ACK);
    world.take(ADMIN, &ack.bytes(GATEWAY_MAC, OWN_MAC[2], b"by the other way"));
    assert_eq!(seen(&world.sent_one(PRIVATE)).payload, b"by the other way");
    assert_eq!((flows(&world), hits(&world, 0)), (1, 1));
}

#[test]
fn a_way_back_may_be_loose() {
    let [far, host] = ends()[0];
    for is_loose in [false, true] {
        let mut all = interfaces();
        all[2].is_loose = is_loose;
        let mut world = guarded_of("allow admin -> private\ndefault drop", Settings::new(64), all);
        let by_admin = |world: &mut World, segment: &Tcp| {
            world.take(ADMIN, &segment.bytes(GATEWAY_MAC, OWN_MAC[2], b""));
        };
        by_admin(&mut world, &Tcp::new(far, host, SYN));
        if !is_loose {
            assert_eq!(world.dropped(), [(ADMIN, Reason::ReversePath, 1)]);
            continue;
        }
        // The answer goes where the way is, and the flow is known wherever it comes in.
        let there = seen(&world.sent_one(PRIVATE));
        let back = through(&mut world, PRIVATE, &Tcp::answer(&there, SYN | ACK), b"");
        by_admin(&mut world, &Tcp::answer(&back, ACK));
        assert_eq!(seen(&world.sent_one(PRIVATE)).flags, ACK);
        assert_eq!(flows(&world), 1);
        // Nobody is from here, or from nowhere.
        for (source, reason) in [("192.0.2.1", Reason::Spoofed), ("198.51.100.7", Reason::ReversePath)] {
            let source = SocketAddr::new(source.parse().unwrap(), 1);
            by_admin(&mut world, &Tcp::new(source, host, SYN));
            assert_eq!(world.path.drops().of(ADMIN, reason), 1, "{reason:?}");
        }
    }
}
