//! Messages of ICMP: those about flows, those that have to be heard, and the others.

use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;

use etherparse::PacketBuilder;
use paravane_appliance::drops::Reason;

use super::support::*;
use crate::balance::errors::{said, too_big};
use crate::world::{
    FAR_V4, FAR_V6, HOST_MAC, HOST_V4, HOST_V6, OWN_MAC, OWN_V6, PRIVATE, PUBLIC, World, udp as datagram,
};

/// A message of that type and code, and four bytes more.
pub fn message(
    from: paravane_appliance::interface::InterfaceId,
    [source, to]: [IpAddr; 2],
    said: [u8; 6],
    payload: &[u8],
) -> Vec<u8> {
    let (mac, own) = stations(from);
    let link = PacketBuilder::ethernet2(mac.0, own.0);
    let [kind, code, rest @ ..] = said;
    let mut bytes = Vec::new();
    match (source, to) {
        (IpAddr::V4(source), IpAddr::V4(to)) => {
            let packet = link.ipv4(source.octets(), to.octets(), 64).icmpv4_raw(kind, code, rest);
            packet.write(&mut bytes, payload).unwrap();
        }
        (IpAddr::V6(source), IpAddr::V6(to)) => {
            let packet = link.ipv6(source.octets(), to.octets(), 64).icmpv6_raw(kind, code, rest);
            packet.write(&mut bytes, payload).unwrap();
        }
        _ => panic!("two versions"),
    }
    bytes
}

fn hosts() -> [[IpAddr; 2]; 2] {
    [[FAR_V4.into(), HOST_V4.into()], [FAR_V6.into(), HOST_V6.into()]]
}

#[test]
fn an_error_goes_with_the_flow_that_it_is_about_whatever_rules_say() {
    for [far, host] in ends() {
        let mut world = guarded("allow public -> private tcp 80\ndefault drop");
        tcp(&mut world, PUBLIC, &Tcp::new(far, host, SYN).at(1000, 0), b"");
        let there = world.sent_one(PRIVATE);
        // Of the host's link, and back to who sent it.
        world.take(PRIVATE, &too_big(PRIVATE, host.ip(), &there, 1280));
        let told = said(&world.sent_one(PUBLIC));
        assert_eq!((told.to, told.mtu_bytes), (far.ip(), Some(1280)));
        assert_eq!(flows(&world), 1, "it changes no flow");
        let mut unreachable = too_big(PRIVATE, host.ip(), &there, 0);
        if far.is_ipv4() {
            unreachable[35] = 1;
            unreachable[37] += 3;
        } else {
            unreachable[54] = 1;
            unreachable[56] += 1;
        }
        world.take(PRIVATE, &unreachable);
        assert_eq!(world.sent(PUBLIC).len(), 1, "{:?}", world.dropped());
        // From where nobody may be from, it is nobody's.
        let own = if far.is_ipv4() { crate::world::OWN_V4[1].into() } else { OWN_V6[1].into() };
        world.take(PRIVATE, &too_big(PRIVATE, own, &there, 1280));
        is_dropped(&mut world, PRIVATE, Reason::Spoofed);
    }
}

#[test]
fn that_a_packet_was_too_big_is_always_heard() {
    for [far, host] in ends() {
        let mut world = guarded("reject any -> any\ndefault drop");
        // About a packet that nobody here has seen.
        let (mac, own) = stations(PUBLIC);
        let unseen = Tcp::new(far, host, ACK).bytes(mac, own, b"");
        world.take(PRIVATE, &too_big(PRIVATE, host.ip(), &unseen, 1280));
        assert_eq!(said(&world.sent_one(PUBLIC)).mtu_bytes, Some(1280));
        assert_eq!(hits(&world, 0), 0);
    }
}

#[test]
fn messages_that_are_about_no_flow_are_asked_about_each() {
    for [far, host] in hosts() {
        let unreachable = if far.is_ipv4() { [3, 1, 0, 0, 0, 0] } else { [1, 3, 0, 0, 0, 0] };
        let word =
            if far.is_ipv4() { "icmp destination-unreachable" } else { "icmpv6 destination-unreachable" };
        for (verdict, passes) in [("allow", true), ("drop", false), ("reject", false)] {
            let text = format!("{verdict} public -> private {word}\ndefault drop");
            let mut world = guarded(&text);
            for round in 1..=3 {
                world.take(PUBLIC, &message(PUBLIC, [far, host], unreachable, &[0; 32]));
                assert_eq!(world.sent(PRIVATE).len(), usize::from(passes), "{text}");
                assert!(world.sent(PUBLIC).is_empty(), "nobody is told of an error");
                assert_eq!((hits(&world, 0), flows(&world)), (round, 0));
            }
        }
        let mut world = guarded("allow private -> any\ndefault drop");
        world.take(PUBLIC, &message(PUBLIC, [far, host], unreachable, &[0; 32]));
        is_dropped(&mut world, PUBLIC, Reason::RuleDrop);
    }
}

#[test]
fn an_echo_is_a_flow() {
    for [far, host] in hosts() {
        let (ask, reply) = if far.is_ipv4() { (8, 0) } else { (128, 129) };
        let mut world =
            guarded("allow public -> private { icmp echo-request, icmpv6 echo-request }\ndefault drop");
        for number in 0..3 {
            world.take(PUBLIC, &message(PUBLIC, [far, host], [ask, 0, 0, 7, 0, number], b"ping"));
            assert_eq!(world.sent(PRIVATE).len(), 1);
            world.take(PRIVATE, &message(PRIVATE, [host, far], [reply, 0, 0, 7, 0, number], b"ping"));
            assert_eq!(world.sent(PUBLIC).len(), 1);
        }
        assert_eq!((hits(&world, 0), flows(&world)), (1, 1));
        world.take(PRIVATE, &message(PRIVATE, [host, far], [reply, 0, 0, 8, 0, 0], b"unasked"));
        is_dropped(&mut world, PRIVATE, Reason::NoFlow);
        world.take(PRIVATE, &message(PRIVATE, [host, far], [ask, 0, 0, 8, 0, 0], b"back"));
        is_dropped(&mut world, PRIVATE, Reason::RuleDrop);
    }
}

#[test]
fn neighbours_are_found_whatever_rules_say() {
    let mut world = World::new();
    let mut balancer = paravane_appliance::balance::Balancer::new(
        paravane_appliance::balance::Settings::new(64),
        Vec::new(),
        3,
        &mut crate::world::random(),
    )
    .unwrap();
    balancer.set_filter(filter("drop any -> self\nallow any -> any\ndefault drop"));
    world.path.set_balancer(balancer);
    // Both versions ask, and are answered; what waited goes on.
    for far in [IpAddr::V4(FAR_V4), FAR_V6.into()] {
        let host: IpAddr = if far.is_ipv4() { HOST_V4.into() } else { HOST_V6.into() };
        world.take(PRIVATE, &datagram(HOST_MAC, OWN_MAC[1], host, far, b"out"));
    }
    world.answer_all();
    world.pass(Duration::from_millis(1));
    assert_eq!(world.sent(PUBLIC).len(), 2, "{:?}", world.dropped());
    assert_eq!(hits(&world, 0), 0);
}

#[test]
fn what_is_as_young_as_a_neighbours_message_and_is_none_is_asked_about() {
    let own: Ipv6Addr = OWN_V6[1];
    for (text, answered) in [("drop any -> self", 0), ("allow private -> self icmpv6 echo-request", 1)] {
        let mut world = guarded(&format!("{text}\ndefault drop"));
        let mut ping = message(PRIVATE, [HOST_V6.into(), own.into()], [128, 0, 0, 7, 0, 1], b"ping");
        ping[21] = 255;
        world.take(PRIVATE, &ping);
        assert_eq!(world.sent(PRIVATE).len(), answered, "{text}: {:?}", world.dropped());
        assert_eq!(hits(&world, 0), 1);
    }
}
