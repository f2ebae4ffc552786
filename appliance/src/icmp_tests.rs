use super::testing::*;
use super::*;
use crate::packet::Body;
use core::net::Ipv4Addr;
use core::time::Duration;
use etherparse::icmpv4::{DestUnreachableHeader, ParameterProblemHeader as Problem4, TimeExceededCode};
use etherparse::icmpv6;
use etherparse::{Icmpv4Slice, Icmpv4Type, Icmpv6Slice, Icmpv6Type};
use paravane_mock_hal::MockPlatform;
use paravane_net::{ChecksumRequest, FrameLayout, MacAddr, RxChecksum, VlanTag};
use proptest::prelude::*;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr};
use std::vec::Vec;

const KEY: [u64; 2] = [9; 2];
const PUBLIC: InterfaceId = InterfaceId(0);
const ALL: [Error; 9] = [
    Error::TimeExceeded,
    Error::NetUnreachable,
    Error::HostUnreachable,
    Error::Prohibited,
    Error::PortUnreachable,
    Error::TooBig { mtu_bytes: 1400 },
    Error::Parameter { problem: Problem::Field, at_bytes: 6 },
    Error::Parameter { problem: Problem::NextHeader, at_bytes: 6 },
    Error::Parameter { problem: Problem::Option, at_bytes: 42 },
];

fn errors() -> Errors {
    Errors::new(Limits::ERRORS, KEY, 2)
}

/// What is said about `frame`.
fn answer_to(frame: &Frame, error: Error) -> Result<Frame, Silence> {
    let packet = Packet::read(frame).unwrap();
    let received = Received { interface: PUBLIC, packet: &packet, frame };
    let from = match packet.addresses() {
        Some((IpAddr::V6(_), _)) => OWN_V6.into(),
        _ => OWN_V4.into(),
    };
    errors().answer(&interfaces(), received, error, from, &pool(1), Instant::default())
}

/// The same about `bytes`.
fn answer(bytes: &[u8], error: Error) -> Result<Vec<u8>, Silence> {
    let answer = answer_to(&frame_of(bytes, 1500), error)?;
    assert!(answer.offload().is_none(), "all is summed");
    Ok(bytes_of(&answer))
}

fn silence(bytes: &[u8], error: Error) -> Option<Silence> {
    answer(bytes, error).err()
}

fn datagram_v4(len: usize) -> Vec<u8> {
    v4(HOST_V4, FAR_V4, 17, &udp(len))
}

fn datagram_v6(len: usize) -> Vec<u8> {
    v6(HOST_V6, FAR_V6, 17, &udp(len))
}

#[test]
fn each_error_is_as_ipv4_has_it() {
    let about = datagram_v4(30);
    let unreachable = Icmpv4Type::DestinationUnreachable;
    let kinds = [
        Icmpv4Type::TimeExceeded(TimeExceededCode::TtlExceededInTransit),
        unreachable(DestUnreachableHeader::Network),
        unreachable(DestUnreachableHeader::Host),
        unreachable(DestUnreachableHeader::FilterProhibited),
        unreachable(DestUnreachableHeader::Port),
        unreachable(DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1400 }),
        Icmpv4Type::ParameterProblem(Problem4::PointerIndicatesError(6)),
        unreachable(DestUnreachableHeader::Protocol),
        Icmpv4Type::ParameterProblem(Problem4::PointerIndicatesError(42)),
    ];
    for (error, kind) in ALL.into_iter().zip(kinds) {
        let bytes = answer(&about, error).unwrap();
        let message = checked(&bytes);
        assert_eq!(Icmpv4Slice::from_slice(&message).unwrap().icmp_type(), kind);
        assert_eq!(message[8..], about[14..], "all of it is quoted, as it was");
        assert_eq!(bytes[..14], [&SENDER.0[..], &OWN[0].0, &[8, 0]].concat());
        assert_eq!(bytes[26..34], [OWN_V4.octets(), HOST_V4.octets()].concat());
        assert_eq!((bytes[15], bytes[22]), (0xc0, 64), "class and time to live");
        assert_eq!(bytes[20..22], [0x40, 0], "not to be cut");
    }
    let bytes = checked(&answer(&about, Error::TimeExceeded).unwrap());
    let packet = Icmpv4Packet::new_checked(&bytes[..]).unwrap();
    let Ok(Icmpv4Repr::TimeExceeded { header, data, .. }) =
        Icmpv4Repr::parse(&packet, &ChecksumCapabilities::default())
    else {
        panic!("{packet}");
    };
    assert_eq!((header.src_addr, header.dst_addr, data), (HOST_V4, FAR_V4, &udp(30)[..]));
}

#[test]
fn each_error_is_as_ipv6_has_it() {
    let about = datagram_v6(30);
    let problem =
        |code, pointer| Icmpv6Type::ParameterProblem(icmpv6::ParameterProblemHeader { code, pointer });
    let unreachable = Icmpv6Type::DestinationUnreachable;
    let kinds = [
        Icmpv6Type::TimeExceeded(icmpv6::TimeExceededCode::HopLimitExceeded),
        unreachable(icmpv6::DestUnreachableCode::NoRoute),
        unreachable(icmpv6::DestUnreachableCode::Address),
        unreachable(icmpv6::DestUnreachableCode::Prohibited),
        unreachable(icmpv6::DestUnreachableCode::Port),
        Icmpv6Type::PacketTooBig { mtu: 1400 },
        problem(icmpv6::ParameterProblemCode::ErroneousHeaderField, 6),
        problem(icmpv6::ParameterProblemCode::UnrecognizedNextHeader, 6),
        problem(icmpv6::ParameterProblemCode::UnrecognizedIpv6Option, 42),
    ];
    for (error, kind) in ALL.into_iter().zip(kinds) {
        let bytes = answer(&about, error).unwrap();
        let message = checked(&bytes);
        assert_eq!(Icmpv6Slice::from_slice(&message).unwrap().icmp_type(), kind);
        assert_eq!(message[8..], about[14..], "all of it is quoted, as it was");
        assert_eq!(bytes[..14], [&SENDER.0[..], &OWN[0].0, &[0x86, 0xdd]].concat());
        assert_eq!(bytes[14..18], [0x6c, 0, 0, 0], "class, and no flow");
        assert_eq!(bytes[20..22], [58, 64], "next header and hop limit");
        assert_eq!(bytes[22..54], [OWN_V6.octets(), HOST_V6.octets()].concat());
        let packet = Icmpv6Packet::new_checked(&message[..]).unwrap();
        let repr = Icmpv6Repr::parse(&OWN_V6, &HOST_V6, &packet, &ChecksumCapabilities::default());
        match repr.unwrap() {
            Icmpv6Repr::DstUnreachable { header, data, .. }
            | Icmpv6Repr::PktTooBig { header, data, .. }
            | Icmpv6Repr::TimeExceeded { header, data, .. }
            | Icmpv6Repr::ParamProblem { header, data, .. } => {
                assert_eq!((header.src_addr, header.dst_addr, data), (HOST_V6, FAR_V6, &udp(30)[..]));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn as_much_is_quoted_as_fits() {
    for len in [0, 1, 519, 520, 521, 600, 1473] {
        let about = datagram_v4(len);
        let message = checked(&answer(&about, Error::TimeExceeded).unwrap());
        assert_eq!(message[8..], about[14..(14 + 548).min(about.len())], "{len}");
    }
    for len in [0, 1, 1183, 1184, 1185, 1400] {
        let about = datagram_v6(len);
        let message = checked(&answer(&about, Error::TimeExceeded).unwrap());
        assert_eq!(message[8..], about[14..(14 + 1232).min(about.len())], "{len}");
    }
    // What an Ethernet frame was filled up with is no part of the packet.
    let about = datagram_v4(1);
    let padded = [&about[..], &[0; 17]].concat();
    assert_eq!(checked(&answer(&padded, Error::TimeExceeded).unwrap())[8..], about[14..]);
}

#[test]
fn a_frame_of_many_segments_is_quoted_like_one() {
    // Of one byte each there would be too many for a long one.
    for (each, len) in [(1, 1300), (7, 9000), (100, 9000), (128, 9000), (511, 9000), (1984, 9000)] {
        for (about, most) in [(datagram_v4(len), 548), (datagram_v6(len), 1232)] {
            let answer = answer_to(&frame_of(&about, each), Error::TimeExceeded).unwrap();
            assert_eq!(checked(&bytes_of(&answer))[8..], about[14..14 + most], "of {each} bytes");
        }
    }
}

#[test]
fn the_header_is_quoted_as_it_came() {
    for about in [datagram_v4(30), datagram_v6(30)] {
        let mut frame = frame_of(&about, 1500);
        let packet = Packet::read(&frame).unwrap();
        // What forwarding would change first.
        let at = if about[12] == 8 { 22 } else { 21 };
        assert!(frame.write(at, &0_u8));
        let from = if about[12] == 8 { OWN_V4.into() } else { OWN_V6.into() };
        let received = Received { interface: PUBLIC, packet: &packet, frame: &frame };
        let answer = errors()
            .answer(&interfaces(), received, Error::TimeExceeded, from, &pool(1), Instant::default())
            .unwrap();
        assert_eq!(checked(&bytes_of(&answer))[8..], about[14..]);
    }
}

#[test]
fn what_travels_beside_is_the_answer_s_own() {
    let mut frame = frame_of(&datagram_v4(30), 1500);
    frame.set_vlan(Some(VlanTag(5)));
    frame.set_rx_checksum(RxChecksum::Partial(ChecksumRequest { start_bytes: 34, offset_bytes: 6 }));
    let answer = answer_to(&frame, Error::TimeExceeded).unwrap();
    assert!(answer.offload().is_none());
    assert_eq!(answer.rx_checksum(), RxChecksum::Unverified);
    assert_eq!(answer.vlan(), Some(VlanTag(5)), "it goes back where it came from");
}

#[test]
fn a_small_buffer_holds_a_short_quote() {
    let frame = frame_of(&datagram_v4(600), 1500);
    let packet = Packet::read(&frame).unwrap();
    let received = Received { interface: PUBLIC, packet: &packet, frame: &frame };
    let small = |bytes: u16| {
        let pool = FramePool::new(MockPlatform::new(), FrameLayout::new(1).with_buffer_bytes(bytes)).unwrap();
        let answer = errors().answer(
            &interfaces(),
            received,
            Error::TimeExceeded,
            OWN_V4.into(),
            &pool,
            Instant::default(),
        );
        answer.map(|frame| checked(&bytes_of(&frame)).len() - 8)
    };
    // Headroom, Ethernet, IP and ICMP take 106.
    assert_eq!(small(256), Ok(150));
    assert_eq!(small(134), Ok(28), "its header and its ports");
    assert_eq!(small(133), Err(Silence::NoBuffer));
    assert_eq!(small(128), Err(Silence::NoBuffer));
}

#[test]
fn nothing_is_said_about_errors() {
    for kind in 0..=255_u8 {
        let is_query = matches!(kind, 0 | 8 | 13..=18);
        let bytes = v4(HOST_V4, FAR_V4, 1, &icmp_v4(kind, 30));
        assert_eq!(answer(&bytes, Error::TimeExceeded).is_ok(), is_query, "{kind}");
        let is_query = kind >= 128 && kind != 137;
        let bytes = v6(HOST_V6, FAR_V6, 58, &icmp_v6(HOST_V6, FAR_V6, kind, 30));
        assert_eq!(answer(&bytes, Error::TooBig { mtu_bytes: 1280 }).is_ok(), is_query, "{kind}");
    }
    // Also not when it hides behind an extension header.
    let behind = [&[58, 0, 1, 4, 0, 0, 0, 0][..], &icmp_v6(HOST_V6, FAR_V6, 1, 30)].concat();
    for extension in [0, 60] {
        let bytes = v6(HOST_V6, FAR_V6, extension, &behind);
        assert_eq!(silence(&bytes, Error::TimeExceeded), Some(Silence::Icmp));
    }
    // Nor when it is none at all.
    assert_eq!(silence(&v4(HOST_V4, FAR_V4, 1, &[3, 1]), Error::TimeExceeded), Some(Silence::Malformed));
    // Each version has its own ICMP; the other's is some protocol.
    assert!(answer(&v4(HOST_V4, FAR_V4, 58, &[1; 8]), Error::TimeExceeded).is_ok());
    assert!(answer(&v6(HOST_V6, FAR_V6, 1, &[3; 8]), Error::TimeExceeded).is_ok());
}

#[test]
fn of_a_packet_in_parts_only_the_first_is_answered() {
    for (fragment, says) in [(0x2000, None), (0x2001, Some(Silence::Fragment)), (1, Some(Silence::Fragment))]
    {
        let mut bytes = datagram_v4(30);
        bytes[20..22].copy_from_slice(&u16::to_be_bytes(fragment));
        sum_v4(&mut bytes);
        assert_eq!(silence(&bytes, Error::TimeExceeded), says, "{fragment:x}");
    }
    for (offset, says) in
        [([0, 1], None), ([0, 9], Some(Silence::Fragment)), ([0, 8], Some(Silence::Fragment))]
    {
        let part = [&[17, 0][..], &offset, &[0, 0, 0, 1], &udp(30)].concat();
        assert_eq!(silence(&v6(HOST_V6, FAR_V6, 44, &part), Error::TimeExceeded), says, "{offset:?}");
    }
}

#[test]
fn what_came_to_many_stations_is_not_answered() {
    for destination in [[0xff; 6], [1, 0, 0x5e, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 1], [0; 6]] {
        for mut bytes in [datagram_v4(30), datagram_v6(30)] {
            bytes[..6].copy_from_slice(&destination);
            for error in ALL {
                let is_told = bytes[12] == 0x86 && is_for_groups(error);
                assert_eq!(silence(&bytes, error), (!is_told).then_some(Silence::Link), "{error:?}");
            }
        }
    }
    for source in [[0xff; 6], [1, 0, 0x5e, 0, 0, 1], [0; 6]] {
        for mut bytes in [datagram_v4(30), datagram_v6(30)] {
            bytes[6..12].copy_from_slice(&source);
            for error in ALL {
                assert_eq!(silence(&bytes, error), Some(Silence::Link), "{error:?}");
            }
        }
    }
}

/// Whether groups of IPv6 are told of it.
fn is_for_groups(error: Error) -> bool {
    matches!(error, Error::TooBig { .. } | Error::Parameter { problem: Problem::Option, .. })
}

#[test]
fn what_is_for_many_hosts_is_not_answered() {
    for destination in
        ["224.0.0.5", "239.1.1.1", "255.255.255.255", "192.0.2.255", "192.0.2.0", "10.255.255.255"]
            .into_iter()
            .chain(["0.0.0.0", "127.0.0.1", "240.0.0.1"])
    {
        let bytes = v4(HOST_V4, destination.parse().unwrap(), 17, &udp(30));
        for error in ALL {
            assert_eq!(silence(&bytes, error), Some(Silence::Destination), "{destination}");
        }
    }
    for destination in ["ff02::1", "ff0e::1234"] {
        let bytes = v6(HOST_V6, destination.parse().unwrap(), 17, &udp(30));
        for error in ALL {
            let says = (!is_for_groups(error)).then_some(Silence::Destination);
            assert_eq!(silence(&bytes, error), says, "{destination} {error:?}");
        }
    }
    for destination in ["::", "::1"] {
        let bytes = v6(HOST_V6, destination.parse().unwrap(), 17, &udp(30));
        for error in ALL {
            assert_eq!(silence(&bytes, error), Some(Silence::Destination), "{destination} {error:?}");
        }
    }
    assert!(answer(&v4(HOST_V4, "192.0.3.255".parse().unwrap(), 17, &udp(3)), ALL[0]).is_ok());
}

#[test]
fn what_is_not_from_one_other_host_is_not_answered() {
    for source in ["192.0.2.255", "192.0.2.0", "10.255.255.255", "10.0.0.0", "192.0.2.1", "10.0.0.1"] {
        let bytes = v4(source.parse().unwrap(), FAR_V4, 17, &udp(30));
        assert_eq!(silence(&bytes, Error::TimeExceeded), Some(Silence::Source), "{source}");
    }
    for source in ["::", "2001:db8::", "2001:db8:7::", "2001:db8::1", "fe80::2"] {
        let bytes = v6(source.parse().unwrap(), FAR_V6, 17, &udp(30));
        assert_eq!(silence(&bytes, Error::TimeExceeded), Some(Silence::Source), "{source}");
        assert_eq!(silence(&bytes, Error::TooBig { mtu_bytes: 1280 }), Some(Silence::Source), "{source}");
    }
    for source in ["192.0.2.2", "192.0.2.254"] {
        assert!(answer(&v4(source.parse().unwrap(), FAR_V4, 17, &udp(3)), ALL[0]).is_ok(), "{source}");
    }
    // In a network of two each is a host.
    let mut interfaces = interfaces();
    interfaces[0].v4[0] = (Ipv4Addr::new(192, 0, 2, 0), 31);
    let frame = frame_of(&v4(Ipv4Addr::new(192, 0, 2, 1), FAR_V4, 17, &udp(3)), 1500);
    let packet = Packet::read(&frame).unwrap();
    let received = Received { interface: PUBLIC, packet: &packet, frame: &frame };
    let from = Ipv4Addr::new(192, 0, 2, 0).into();
    assert!(errors().answer(&interfaces, received, ALL[0], from, &pool(1), Instant::default()).is_ok());
}

#[test]
fn sources_that_no_packet_has_are_refused_here_too() {
    for source in [[0, 0, 0, 1], [127, 0, 0, 1], [224, 0, 0, 1], [255; 4]] {
        let frame = frame_of(&datagram_v4(30), 1500);
        let mut packet = Packet::read(&frame).unwrap();
        let Body::V4(ip) = &mut packet.body else { panic!("IPv4") };
        ip.header.source = source;
        let received = Received { interface: PUBLIC, packet: &packet, frame: &frame };
        let answer =
            errors().answer(&interfaces(), received, ALL[0], OWN_V4.into(), &pool(1), Instant::default());
        assert_eq!(answer.err(), Some(Silence::Source));
    }
}

#[test]
fn the_rest_of_the_reasons() {
    let mut errors = errors();
    let pool = pool(1);
    let frame = frame_of(&datagram_v4(30), 1500);
    let packet = Packet::read(&frame).unwrap();
    let received = Received { interface: PUBLIC, packet: &packet, frame: &frame };
    let mut say = |received, from: IpAddr| {
        errors.answer(&interfaces(), received, Error::TimeExceeded, from, &pool, Instant::default()).err()
    };
    assert_eq!(say(received, OWN_V6.into()), Some(Silence::Version));
    let nowhere = Received { interface: InterfaceId(2), ..received };
    assert_eq!(say(nowhere, OWN_V4.into()), Some(Silence::InterfaceLimit));
    let arp = frame_of(&[&[0xff; 6][..], &SENDER.0, &[8, 6], &[0; 28]].concat(), 1500);
    let packet = Packet::read(&arp).unwrap();
    assert_eq!(
        say(Received { packet: &packet, frame: &arp, ..received }, OWN_V4.into()),
        Some(Silence::NotIp)
    );
    let held = pool.get();
    assert_eq!(say(received, OWN_V4.into()), Some(Silence::NoBuffer));
    drop(held);
    assert_eq!(say(received, OWN_V4.into()), None);
    assert_eq!(pool.free(), 1, "nothing is kept");
    let counters = errors.counters();
    assert_eq!(counters.answered(), 1);
    for why in [Silence::Version, Silence::InterfaceLimit, Silence::NotIp, Silence::NoBuffer] {
        assert_eq!(counters.silent(why), 1, "{why:?}");
    }
    assert_eq!(counters.silent(Silence::Source), 0);
    for (place, why) in Silence::ALL.into_iter().enumerate() {
        assert_eq!(why as usize, place, "{why:?} has a counter of its own");
    }
}

#[test]
fn a_network_hears_so_much_and_others_hear_still() {
    let (mut errors, pool, interfaces) = (errors(), pool(1), interfaces());
    let mut say = |source: Ipv4Addr, now: Instant| {
        let frame = frame_of(&v4(source, FAR_V4, 17, &udp(3)), 1500);
        let packet = Packet::read(&frame).unwrap();
        let received = Received { interface: PUBLIC, packet: &packet, frame: &frame };
        errors.answer(&interfaces, received, Error::TimeExceeded, OWN_V4.into(), &pool, now).err()
    };
    let mut now = Instant::default();
    for n in 0..100_u8 {
        let says = (n >= 50).then_some(Silence::NetworkLimit);
        assert_eq!(say(Ipv4Addr::new(203, 0, 113, n + 1), now), says, "{n}");
    }
    assert_eq!(say(Ipv4Addr::new(203, 0, 114, 1), now), None);
    now = now.saturating_add(Duration::from_millis(10));
    assert_eq!(say(HOST_V4, now), None, "one comes back each 10 ms");
    assert_eq!(say(HOST_V4, now), Some(Silence::NetworkLimit));
    let silences = (0..=255).filter(|n| say(Ipv4Addr::new(100, *n, 1, 1), now).is_some()).count();
    assert_eq!(silences, 0);
    assert_eq!(errors.counters().silent(Silence::NetworkLimit), 51);
}

/// A frame that means something, in which some bytes are then something else.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let payloads = prop_oneof![
        (0..1600_usize).prop_map(|len| (17, udp(len))),
        (any::<u8>(), 0..1600_usize).prop_map(|(kind, len)| (1, icmp_v4(kind, len))),
        (any::<u8>(), 0..1600_usize).prop_map(|(kind, len)| (58, icmp_v6(HOST_V6, OWN_V6, kind, len))),
        prop::collection::vec(any::<u8>(), 0..100).prop_map(|bytes| (6, bytes)),
        (prop_oneof![Just(0_u8), Just(43), Just(44), Just(60)], prop::collection::vec(any::<u8>(), 0..100)),
    ];
    let changes = prop::collection::vec((0..80_usize, any::<u8>()), 0..4);
    let spoiled = prop_oneof![2 => Just(Vec::new()), 1 => changes];
    (payloads, any::<[bool; 2]>(), spoiled).prop_map(|((protocol, payload), [is_v4, is_ours], changes)| {
        let to_v4 = if is_ours { OWN_V4 } else { FAR_V4 };
        let to_v6 = if is_ours { OWN_V6 } else { FAR_V6 };
        let mut bytes = match is_v4 {
            true => v4(HOST_V4, to_v4, protocol, &payload),
            false => v6(HOST_V6, to_v6, protocol, &payload),
        };
        for (at, byte) in changes {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        // A header may now be said to be longer than all there is.
        if is_v4 && 14 + usize::from(bytes[14] & 0xf) * 4 <= bytes.len() {
            sum_v4(&mut bytes);
        }
        bytes
    })
}

fn any_said() -> impl Strategy<Value = RxChecksum> {
    prop_oneof![
        Just(RxChecksum::Unverified),
        Just(RxChecksum::Good),
        Just(RxChecksum::BadL4),
        (any::<u16>(), any::<u16>()).prop_map(|(start_bytes, offset_bytes)| RxChecksum::Partial(
            ChecksumRequest { start_bytes, offset_bytes }
        )),
    ]
}

proptest! {
    #[test]
    fn whatever_comes_what_is_said_is_right(
        bytes in any_frame(),
        each in 40..2000_usize - 64,
        error in prop::sample::select(&ALL[..]),
        said in any_said(),
    ) {
        let mut frame = frame_of(&bytes, each);
        frame.set_rx_checksum(said);
        let Ok(packet) = Packet::read(&frame) else { return Ok(()) };
        if let Ok(answer) = answer_to(&frame, error) {
            let about = packet.addresses().unwrap();
            let said = bytes_of(&answer);
            prop_assert!(answer.offload().is_none());
            let message = checked(&said);
            let most = if about.0.is_ipv4() { 576 } else { 1280 };
            prop_assert!(said.len() - 14 <= most);
            // A quote of nothing else, and no less than fits.
            let quote = &message[8..];
            prop_assert_eq!(quote, &bytes[14..14 + quote.len()]);
            prop_assert!(said.len() - 14 == most || quote.len() == total_bytes(&packet));
            // To who sent it, and nobody else.
            prop_assert_eq!(&said[..6], &bytes[6..12]);
            prop_assert!(MacAddr(packet.source.0).is_unicast());
            prop_assert_eq!(Packet::read(&answer).unwrap().addresses().unwrap().1, about.0);
            // And nothing is ever said about what was said.
            prop_assert!(answer_to(&answer, error).is_err());
        }
    }

    #[test]
    fn whatever_comes_an_echo_is_right_or_leaves_it_alone(
        bytes in any_frame(),
        each in 40..2000_usize - 64,
        said in any_said(),
    ) {
        let mut frame = frame_of(&bytes, each);
        frame.set_rx_checksum(said);
        let Ok(packet) = Packet::read(&frame) else { return Ok(()) };
        let mut echo = Echo::new(Limits::ECHO, KEY, 2);
        let answer = echo.answer(&interfaces(), PUBLIC, &packet, &mut frame, Instant::default());
        if answer.is_err() {
            prop_assert_eq!(bytes_of(&frame), bytes);
            return Ok(());
        }
        let reply = bytes_of(&frame);
        prop_assert_eq!(reply.len(), bytes.len());
        if said == RxChecksum::Unverified {
            checked(&reply);
        }
        let (source, destination) = packet.addresses().unwrap();
        prop_assert_eq!(Packet::read(&frame).unwrap().addresses(), Some((destination, source)));
    }
}

fn total_bytes(packet: &Packet) -> usize {
    match packet.body {
        Body::V4(ip) => ip.total_bytes(),
        Body::V6(ip) => ip.total_bytes(),
        Body::Arp => 0,
    }
}
