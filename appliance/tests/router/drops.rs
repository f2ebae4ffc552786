//! Each reason for which a frame is dropped, and that it is the only one.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use paravane_appliance::drops::Reason;
use paravane_appliance::interface::InterfaceId;
use paravane_net::{ChecksumRequest, MacAddr, Segmentation, SegmentationKind, TxOffload};
use smoltcp::wire::Ipv4Packet;

use super::world::{
    ADMIN, FAR_V4, FAR_V6, GATEWAY_MAC, HOST_MAC, HOST_V4, HOST_V6, OWN_MAC, OWN_V4, PRIVATE, PUBLIC, World,
    interfaces, limits, udp, udp_with_ttl,
};

/// From the host to somebody far away.
fn out() -> Vec<u8> {
    udp(HOST_MAC, OWN_MAC[1], HOST_V4.into(), FAR_V4.into(), b"payload")
}

fn out_v6() -> Vec<u8> {
    udp(HOST_MAC, OWN_MAC[1], HOST_V6.into(), FAR_V6.into(), b"payload")
}

/// From the host to `destination`, and from `source` to somebody far away.
fn to(destination: impl Into<IpAddr>) -> Vec<u8> {
    let destination = destination.into();
    let source = if destination.is_ipv4() { HOST_V4.into() } else { HOST_V6.into() };
    udp(HOST_MAC, OWN_MAC[1], source, destination, b"payload")
}

fn from(source: impl Into<IpAddr>) -> Vec<u8> {
    let source = source.into();
    let destination = if source.is_ipv4() { FAR_V4.into() } else { FAR_V6.into() };
    udp(HOST_MAC, OWN_MAC[1], source, destination, b"payload")
}

/// `bytes` with others at a place, and the header's sum made right.
fn with(mut bytes: Vec<u8>, at: usize, other: &[u8]) -> Vec<u8> {
    bytes[at..at + other.len()].copy_from_slice(other);
    if bytes[12..14] == [0x08, 0x00] && bytes[14] >> 4 == 4 && bytes[14] & 0xf >= 5 {
        Ipv4Packet::new_unchecked(&mut bytes[14..]).fill_checksum();
    }
    bytes
}

/// With a loose source route among the options.
fn source_routed() -> Vec<u8> {
    let mut bytes = out();
    bytes[14] = 0x47;
    bytes.splice(34..34, [131, 7, 4, 192, 0, 2, 9, 0]);
    let total = (bytes.len() - 14) as u16;
    with(bytes, 16, &total.to_be_bytes())
}

/// Comes in by `interface`, is dropped for `reason` and no other, and leaves nothing behind; what
/// is said of it, if anything, goes back where it came from.
fn is_dropped(interface: InterfaceId, bytes: &[u8], reason: Reason) {
    let mut world = World::acquainted();
    world.take(interface, bytes);
    assert_eq!(world.dropped(), [(interface, reason, 1)]);
    for other in [PUBLIC, PRIVATE, ADMIN].into_iter().filter(|other| *other != interface) {
        assert!(world.sent(other).is_empty(), "{reason:?} goes out by {other:?}");
    }
    drop(world.sent_frames(interface));
    assert!(world.all_home(), "{reason:?}");
}

#[test]
fn each_reason_is_told_from_the_others() {
    let short = out()[..30].to_vec();
    let link_local: Ipv6Addr = "fe80::77".parse().unwrap();
    let mut wrong_sum = out();
    wrong_sum[24] ^= 1;
    for (bytes, reason) in [
        (short, Reason::TooShort),
        (with(out(), 12, &[0x88, 0xcc]), Reason::EtherType),
        (with(out(), 14, &[0x65]), Reason::Version),
        (with(out_v6(), 14, &[0x40]), Reason::Version),
        (with(out(), 16, &[0x40, 0]), Reason::Length),
        (with(out_v6(), 18, &[0x40, 0]), Reason::Length),
        (wrong_sum, Reason::HeaderChecksum),
        (source_routed(), Reason::SourceRoute),
        (from(Ipv4Addr::new(127, 0, 0, 1)), Reason::Source),
        (from(Ipv6Addr::UNSPECIFIED), Reason::Source),
        (udp(HOST_MAC, MacAddr::local(0xcc), HOST_V4.into(), FAR_V4.into(), b""), Reason::OtherStation),
        (udp(HOST_MAC, MacAddr([0xff; 6]), HOST_V4.into(), FAR_V4.into(), b""), Reason::Group),
        (to(Ipv4Addr::new(224, 0, 0, 5)), Reason::Group),
        (to(Ipv4Addr::BROADCAST), Reason::Group),
        (to(Ipv4Addr::new(192, 0, 2, 255)), Reason::Group),
        (to("ff02::1".parse::<Ipv6Addr>().unwrap()), Reason::Group),
        (to(OWN_V4[0]), Reason::OtherInterface),
        (to(OWN_V4[2]), Reason::OtherInterface),
        (from(OWN_V4[1]), Reason::Spoofed),
        (from(OWN_V4[0]), Reason::Spoofed),
        (to(Ipv4Addr::new(169, 254, 1, 1)), Reason::LinkLocal),
        (to(link_local), Reason::LinkLocal),
        (from(link_local), Reason::LinkLocal),
        (from(FAR_V4), Reason::ReversePath),
        (from(Ipv4Addr::new(10, 9, 0, 7)), Reason::ReversePath),
        (udp_with_ttl(HOST_MAC, OWN_MAC[1], HOST_V4.into(), FAR_V4.into(), 1, b""), Reason::TimeExceeded),
        (udp_with_ttl(HOST_MAC, OWN_MAC[1], HOST_V6.into(), FAR_V6.into(), 1, b""), Reason::TimeExceeded),
        (to("2001:db8:eeee::1".parse::<Ipv6Addr>().unwrap()), Reason::NoRoute),
        (to(Ipv4Addr::new(127, 0, 0, 1)), Reason::NoRoute),
        (to(Ipv4Addr::new(198, 51, 100, 1)), Reason::Prohibited),
        (to(Ipv4Addr::new(198, 51, 101, 1)), Reason::Prohibited),
        (with(out(), 12, &[0x08, 0x06]), Reason::Neighbour),
    ] {
        is_dropped(PRIVATE, &bytes, reason);
    }
}

#[test]
fn nothing_from_elsewhere_reaches_an_interface() {
    for (id, own) in [PUBLIC, PRIVATE, ADMIN].into_iter().zip(OWN_V4) {
        let mut world = World::acquainted();
        // From each of the other links, by every port that there is in UDP's field.
        for port in (0..=u16::MAX).step_by(257) {
            let mut bytes = udp(GATEWAY_MAC, OWN_MAC[0], FAR_V4.into(), own.into(), b"let me in");
            bytes[36..38].copy_from_slice(&port.to_be_bytes());
            world.take(PUBLIC, &bytes);
            let fetched = world.path.fetch(id).map(core::mem::take).unwrap_or_default();
            assert_eq!(fetched.len(), usize::from(id == PUBLIC), "{id:?}, port {port}");
        }
        let dropped = world.path.drops().of(PUBLIC, Reason::OtherInterface);
        assert_eq!(dropped, if id == PUBLIC { 0 } else { 256 }, "{id:?}");
    }
}

#[test]
fn what_is_not_fetched_or_taken_is_dropped_at_its_limit() {
    let mut few = limits();
    (few.local_frames, few.egress_frames) = (2, 3);
    let mut world = World::of(interfaces(), few, 256);
    world.meet();
    for _ in 0..4 {
        world.take(PRIVATE, &to(OWN_V4[1]));
    }
    assert_eq!(world.dropped(), [(PRIVATE, Reason::LocalFull, 2)]);
    for _ in 0..4 {
        world.take(PRIVATE, &out());
    }
    assert_eq!(world.path.drops().of(PRIVATE, Reason::EgressFull), 1);
    assert_eq!(world.sent(PUBLIC).len(), 3);
}

#[test]
fn what_cannot_be_cut_is_dropped() {
    let segmentation =
        Segmentation { kind: SegmentationKind::Tcp4, header_bytes: 42, mss_bytes: 100, ecn: false };
    let checksum = Some(ChecksumRequest { start_bytes: 34, offset_bytes: 6 });
    let mut world = World::acquainted();
    let mut frame = world.frame(&out());
    // It is no TCP.
    frame.set_offload(TxOffload { checksum, segmentation: Some(segmentation) });
    world.take_frame(PRIVATE, frame);
    assert_eq!(world.dropped(), [(PRIVATE, Reason::Segmentation, 1)]);
    assert!(world.is_silent() && world.all_home());
}

#[test]
fn without_buffers_nothing_is_cut() {
    let mut narrow = interfaces();
    narrow[0].mtu_bytes = 576;
    let mut world = World::of(narrow, limits(), 16);
    world.meet();
    // It may be cut.
    let long = udp(HOST_MAC, OWN_MAC[1], HOST_V4.into(), FAR_V4.into(), &[1; 1400]);
    let frame = world.frame(&with(long, 20, &[0, 0]));
    let held: Vec<_> = core::iter::from_fn(|| world.pool.get()).collect();
    world.take_frame(PRIVATE, frame);
    assert_eq!(world.dropped(), [(PRIVATE, Reason::NoBuffer, 1)]);
    drop(held);
    assert!(world.is_silent() && world.all_home());
}

#[test]
fn more_than_may_wait_for_a_neighbour_is_dropped() {
    let mut world = World::new();
    for _ in 0..5 {
        world.take(PUBLIC, &udp(GATEWAY_MAC, OWN_MAC[0], FAR_V4.into(), HOST_V4.into(), b"first"));
    }
    assert_eq!(world.dropped(), [(PUBLIC, Reason::NeighbourQueue, 2)]);
    world.pass(Duration::from_millis(1));
    assert_eq!(world.sent(PRIVATE).len(), 1, "one question");
    assert!(world.all_home());
}

#[test]
fn an_echo_that_is_not_answered_is_nobody_elses_to_answer() {
    let ping = |number: u16| {
        let packet = etherparse::PacketBuilder::ethernet2(HOST_MAC.0, OWN_MAC[1].0)
            .ipv4(HOST_V4.octets(), OWN_V4[1].octets(), 64)
            .icmpv4_echo_request(7, number);
        let mut bytes = Vec::new();
        packet.write(&mut bytes, b"anybody there").unwrap();
        bytes
    };
    let mut damaged = ping(0);
    damaged[50] ^= 1;
    is_dropped(PRIVATE, &damaged, Reason::Echo);

    let mut world = World::acquainted();
    for number in 0..1000 {
        world.take(PRIVATE, &ping(number));
        drop(world.sent_frames(PRIVATE));
    }
    let answered = world.path.counters(PRIVATE).echoes;
    assert!((1..1000).contains(&answered));
    assert_eq!(world.dropped(), [(PRIVATE, Reason::Echo, 1000 - answered)]);
    assert_eq!(world.path.counters(PRIVATE).local, 0);
}

/// A reason that nothing fires is one that nobody has seen work.
#[test]
fn each_reason_is_fired_here() {
    let tests = [
        include_str!("drops.rs"),
        include_str!("forward.rs"),
        include_str!("neighbours.rs"),
        include_str!("balance/begin.rs"),
        include_str!("balance/fragments.rs"),
        include_str!("balance/own.rs"),
        include_str!("balance/refused.rs"),
        include_str!("balance/servers.rs"),
        include_str!("balance/splice/begin.rs"),
        include_str!("balance/splice/end.rs"),
        include_str!("firewall/begin.rs"),
        include_str!("vrrp/services.rs"),
        include_str!("vrrp/stranger.rs"),
    ];
    for reason in Reason::ALL {
        let name = format!("Reason::{reason:?}");
        let fired = tests.iter().any(|test| {
            let mut places = test.match_indices(&name);
            places
                .any(|(at, _)| test.as_bytes().get(at + name.len()).is_some_and(|next| b",)".contains(next)))
        });
        assert!(fired, "{reason:?}");
    }
}
