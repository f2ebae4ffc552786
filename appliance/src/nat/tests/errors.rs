//! Errors about packets that were translated, from either side.

use proptest::prelude::*;
use smoltcp::wire::{Icmpv4Message, Icmpv4Packet, Icmpv6Packet, Ipv4Packet};

use super::super::*;
use super::support::*;
use crate::packet::testing::{Carries, Said, Sample, address, bytes_of, plain, single};

/// An error of `router` to `destination`, which quotes so much of a packet.
fn error(about: &Sample, router: [u8; 16], destination: [u8; 16], kind: u8, len: usize) -> Sample {
    let packet = about.bytes(Said::Good);
    let packet = &packet[14..packet.len() - about.padding];
    Sample {
        source: router,
        destination,
        carries: Carries::Icmp(kind),
        // A next hop's MTU, where it has one.
        ports: [0, 1300],
        payload: packet[..len.min(packet.len())].to_vec(),
        ..plain(about.is_v6, Carries::Udp(true))
    }
}

/// What becomes of an error from `zone`.
fn translated(table: &Table, frame: &mut Frame, zone: u8) -> Option<Direction> {
    let (mut packet, mut transport) = read(frame);
    let (quoted, key) = error_of(&packet, &transport, frame, zone)?;
    let hit = table.find(&key)?;
    let flow = table.get(hit.index).unwrap();
    translate_error(flow, hit.direction, &quoted, &mut packet, &mut transport, frame).unwrap();
    // What was read says what the frame says.
    let (again, transport_again) = read(frame);
    assert_eq!(format!("{packet:?} {transport:?}"), format!("{again:?} {transport_again:?}"));
    Some(hit.direction)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn an_error_is_about_what_its_receiver_sent(
        from in of_flows(0..100),
        world in world(),
        router in address(),
        kind in 0_usize..3,
        behind in 8_usize..80,
        is_from_server in any::<bool>(),
    ) {
        prop_assume!(!matches!(from.carries, Carries::Other(_)));
        let mut table = table();
        let Some((_, [original, reply])) = world.open(&mut table, &single(&from.bytes(Said::Good))) else {
            return Ok(());
        };
        let kind = if from.is_v6 { [1, 2, 3][kind] } else { [3, 11, 12][kind] };
        // In whole words: half a checksum stays as it is.
        let len = from.network_bytes() + behind / 2 * 2;
        prop_assume!(14 + 40 + 8 + len <= 600);
        let sent = |key: &Key| with_ends(&from, key);

        // About a client's packet: on the servers' side it has other ends.
        let sent_on = sent(&reply.reversed(OUTSIDE));
        let router = if is_from_server { sent_on.destination } else { router };
        let before = error(&sent_on, router, sent_on.source, kind, len);
        let mut frame = single(&before.bytes(Said::Good));
        prop_assert_eq!(translated(&table, &mut frame, INSIDE), Some(Direction::Reply));
        let came = sent(&original);
        // The service alone is known there.
        let expected = error(&came, came.destination, came.source, kind, len);
        prop_assert_eq!(bytes_of(&frame), expected.bytes(Said::Good));

        // About a server's: on the clients' side it is the service's.
        let came = answer(&from, &reply);
        let sent_on = answer(&from, &original.reversed(INSIDE));
        let before = error(&sent_on, router, sent_on.source, kind, len);
        let mut frame = single(&before.bytes(Said::Good));
        prop_assert_eq!(translated(&table, &mut frame, OUTSIDE), Some(Direction::Original));
        let teller = if world.is_full { came.destination } else { router };
        let expected = error(&came, teller, came.source, kind, len);
        prop_assert_eq!(bytes_of(&frame), expected.bytes(Said::Good));
    }

    /// Nothing that strangers send makes it panic, or finds a flow that they do not know of.
    #[test]
    fn what_quotes_nothing_known_is_no_error(
        is_v6 in any::<bool>(),
        kind in any::<u8>(),
        quote in prop::collection::vec(any::<u8>(), 0..120),
        version in any::<bool>(),
    ) {
        let mut quote = quote;
        if let (true, Some(first)) = (version, quote.first_mut()) {
            *first = if is_v6 { 0x60 } else { 0x45 };
        }
        let sample = Sample { payload: quote, ..plain(is_v6, Carries::Icmp(kind)) };
        prop_assert_eq!(translated(&table(), &mut single(&sample.bytes(Said::Good)), OUTSIDE), None);
    }
}

/// The world of the tests below.
fn one(is_v6: bool, carries: Carries) -> (Table, Sample, [Key; 2]) {
    let from = plain(is_v6, carries);
    let world = World { is_full: false, server: [9; 16], own: [8; 16], port: 8080 };
    let mut table = table();
    let (_, keys) = world.open(&mut table, &single(&from.bytes(Said::Good))).unwrap();
    (table, from, keys)
}

#[test]
fn the_mtu_of_a_link_behind_us_gets_to_who_sends() {
    let (table, from, [_, reply]) = one(false, Carries::Tcp(Vec::new(), 0x10));
    let sent_on = with_ends(&from, &reply.reversed(OUTSIDE));
    let mut bytes = error(&sent_on, [7; 16], sent_on.source, 3, 28).bytes(Said::Good);
    // Fragmentation needed.
    let icmp = &mut bytes[34..];
    icmp[1] = 4;
    Icmpv4Packet::new_unchecked(&mut icmp[..]).fill_checksum();
    let mut frame = single(&bytes);
    assert_eq!(translated(&table, &mut frame, INSIDE), Some(Direction::Reply));
    let bytes = bytes_of(&frame);
    let packet = Icmpv4Packet::new_checked(&bytes[34..]).unwrap();
    assert!(packet.verify_checksum());
    assert_eq!((packet.msg_type(), packet.msg_code()), (Icmpv4Message::DstUnreachable, 4));
    assert_eq!(bytes[40..42], 1300_u16.to_be_bytes());
    let inner = Ipv4Packet::new_unchecked(&bytes[42..]);
    assert!(inner.verify_checksum());
    assert_eq!(inner.dst_addr().octets(), from.destination[..4]);
    assert_eq!(bytes[62..66], [from.ports[0].to_be_bytes(), from.ports[1].to_be_bytes()].concat());

    let (table, from, [_, reply]) = one(true, Carries::Udp(true));
    let sent_on = with_ends(&from, &reply.reversed(OUTSIDE));
    let mut frame = single(&error(&sent_on, [7; 16], sent_on.source, 2, 48).bytes(Said::Good));
    assert_eq!(translated(&table, &mut frame, INSIDE), Some(Direction::Reply));
    let bytes = bytes_of(&frame);
    let packet = Icmpv6Packet::new_checked(&bytes[54..]).unwrap();
    assert!(packet.verify_checksum(&from.destination.into(), &from.source.into()));
    assert_eq!(packet.pkt_too_big_mtu(), 1300);
}

#[test]
fn an_error_for_somebody_else_is_none() {
    let (table, from, [_, reply]) = one(false, Carries::Udp(true));
    let sent_on = with_ends(&from, &reply.reversed(OUTSIDE));
    let good = error(&sent_on, [7; 16], sent_on.source, 3, 28);
    let of = |sample: &Sample, zone| translated(&table, &mut single(&sample.bytes(Said::Good)), zone);
    assert_eq!(of(&good, INSIDE), Some(Direction::Reply));
    assert_eq!(of(&good, OUTSIDE), None, "of another side");
    assert_eq!(of(&error(&sent_on, [7; 16], [66; 16], 3, 28), INSIDE), None, "not for its sender");
    assert_eq!(of(&error(&sent_on, [7; 16], sent_on.source, 3, 23), INSIDE), None, "no ports");
    for kind in [0, 4, 5, 8, 13] {
        assert_eq!(of(&error(&sent_on, [7; 16], sent_on.source, kind, 28), INSIDE), None, "{kind}");
    }
    let later = Sample { fragment: 100, ..sent_on.clone() };
    assert_eq!(of(&error(&later, [7; 16], sent_on.source, 3, 28), INSIDE), None, "it has no ports");
}
