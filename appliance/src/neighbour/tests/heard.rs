//! What is believed, and what is not.

use core::net::{Ipv4Addr, Ipv6Addr};

use paravane_mock_hal::MockPlatform;
use paravane_net::{ChecksumRequest, Frame, FrameLayout, FramePool, MacAddr, RxChecksum};
use proptest::prelude::*;

use super::support::*;
use crate::neighbour::{Event, Ignored, State};
use crate::packet::Packet;
use crate::packet::sum::Sum;

const ALL: MacAddr = MacAddr([0xff; 6]);
const GROUP: MacAddr = MacAddr([0x33, 0x33, 0xff, 0, 0, 1]);
const NONE: MacAddr = MacAddr([0; 6]);

/// Changes bytes of a message about IPv6, and makes its checksum right again.
fn with(said: Said, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = said.bytes();
    change(&mut bytes);
    let len = bytes.len() - 54;
    bytes[18..20].copy_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
    if len >= 4 {
        bytes[56..58].fill(0);
        let sum = Sum::pseudo_header(&bytes[22..38], &bytes[38..54], 58, u32::try_from(len).unwrap());
        let checksum = sum.and_bytes(&bytes[54..]).checksum();
        bytes[56..58].copy_from_slice(&checksum.to_be_bytes());
    }
    bytes
}

/// What became of a message: nothing, and it is counted.
fn assert_ignored(bytes: &[u8], reason: Ignored, why: &str) {
    let mut this = Router::new();
    for (mark, address) in (0..).zip(BOTH) {
        this.wait(address, mark);
    }
    this.poll();
    this.outs();
    assert_eq!(this.hear_bytes(bytes), Err(reason), "{why}");
    assert_eq!(this.outs().iter().filter(|out| !matches!(out, Out::Event(_))).count(), 0, "{why}");
    assert_eq!(this.neighbours.counters().ignored(reason), 1, "{why}");
    for address in BOTH {
        assert_eq!(this.state(address), Some(State::Incomplete), "{why}");
    }
}

fn arp(from: MacAddr, to: MacAddr, is_reply: bool, sender: (MacAddr, Ipv4Addr), target: Ipv4Addr) -> Vec<u8> {
    Said { from, to, what: What::Arp { is_reply, sender, target: (NONE, target) } }.bytes()
}

#[test]
fn arp_that_is_not_in_order_is_ignored() {
    let reply = |sender| arp(THEIRS, OURS, true, sender, OUR_V4);
    let known = (THEIRS, THEIR_V4);
    let elsewhere = Ipv4Addr::new(10, 0, 0, 77);
    for (bytes, reason, why) in [
        (arp(THEIRS, OTHERS, true, known, OUR_V4), Ignored::NotForUs, "a frame for others"),
        (arp(THEIRS, GROUP, true, known, OUR_V4), Ignored::NotForUs, "a frame for a group"),
        (arp(THEIRS, ALL, true, known, OUR_V4), Ignored::NotForUs, "an answer to all"),
        (arp(THEIRS, OURS, true, known, elsewhere), Ignored::NotForUs, "an answer to another address"),
        (arp(THEIRS, ALL, false, known, elsewhere), Ignored::NotForUs, "a question for others"),
        (arp(OTHERS, ALL, false, known, THEIR_V4), Ignored::Sender, "announced by somebody else"),
        (arp(ALL, OURS, true, known, OUR_V4), Ignored::Sender, "a frame from a group"),
        (reply((ALL, THEIR_V4)), Ignored::Sender, "a group"),
        (reply((NONE, THEIR_V4)), Ignored::Sender, "nobody"),
        (reply((THEIRS, Ipv4Addr::new(127, 0, 0, 1))), Ignored::Sender, "loopback"),
        (reply((THEIRS, Ipv4Addr::new(224, 0, 0, 1))), Ignored::Sender, "a group of IPv4"),
        (reply((THEIRS, Ipv4Addr::BROADCAST)), Ignored::Sender, "all of IPv4"),
        (reply((THEIRS, Ipv4Addr::new(0, 0, 0, 1))), Ignored::Sender, "this network"),
        (reply((THEIRS, Ipv4Addr::UNSPECIFIED)), Ignored::NotForUs, "an answer from nobody"),
        (reply((OURS, THEIR_V4)), Ignored::Own, "our MAC address"),
        (arp(OURS, OURS, true, known, OUR_V4), Ignored::Own, "a frame of ours"),
        (reply((THEIRS, OUR_V4)), Ignored::Conflict, "our address"),
    ] {
        assert_ignored(&bytes, reason, why);
    }
    let good = reply(known);
    for at in [14, 15, 16, 17, 18, 19, 20, 21] {
        let mut bytes = good.clone();
        bytes[at] ^= 4;
        assert_ignored(&bytes, Ignored::Kind, "other links, networks, lengths, operations");
    }
    assert_ignored(&good[..41], Ignored::Length, "cut short");
}

#[test]
fn neighbour_discovery_that_is_not_in_order_is_ignored() {
    let good = answer(BOTH[1], THEIRS);
    let ask = question(BOTH[1], THEIRS);
    let bytes = good.bytes();
    let group: Ipv6Addr = "ff02::1".parse().unwrap();
    for (bytes, reason, why) in [
        (with(good, |bytes| bytes[21] = 254), Ignored::HopLimit, "a router passed it on"),
        (with(good, |bytes| bytes[20] = 17), Ignored::Kind, "no ICMP"),
        (with(good, |bytes| bytes[54] = 134), Ignored::Kind, "a router's advertisement"),
        (with(good, |bytes| bytes[55] = 1), Ignored::Kind, "a code that there is none of"),
        (with(good, |bytes| bytes.truncate(77)), Ignored::Length, "cut short"),
        (with(good, |bytes| bytes.resize(600, 1)), Ignored::Length, "too long"),
        (with(good, |bytes| bytes[79] = 0), Ignored::Option, "an option without length"),
        (with(good, |bytes| bytes[79] = 2), Ignored::Option, "an option longer than the rest"),
        (with(good, |bytes| bytes.push(2)), Ignored::Option, "an option without end"),
        (with(good, |bytes| bytes[78] = 1), Ignored::NoMac, "the address of somebody else"),
        (with(good, |bytes| bytes.truncate(78)), Ignored::NoMac, "without an address"),
        (with(good, |bytes| bytes[80] = 1), Ignored::Sender, "a group's MAC address"),
        (with(good, |bytes| bytes[80..86].fill(0)), Ignored::Sender, "nobody's MAC address"),
        (with(good, |bytes| bytes[80..86].copy_from_slice(&OURS.0)), Ignored::Own, "our MAC address"),
        (with(good, |bytes| bytes[62..78].copy_from_slice(&group.octets())), Ignored::Target, "a group"),
        (with(good, |bytes| bytes[62..78].fill(0)), Ignored::Target, "nobody"),
        (with(good, |bytes| bytes[22..38].fill(0)), Ignored::Sender, "from nobody"),
        (with(good, |bytes| bytes[53] = 9), Ignored::NotForUs, "a packet for another address"),
        (with(good, |bytes| bytes[5] = 9), Ignored::NotForUs, "a frame for another station"),
        (with(good, |bytes| bytes[6..12].copy_from_slice(&OURS.0)), Ignored::Own, "a frame of ours"),
        (with(good, |bytes| bytes[6] = 1), Ignored::Sender, "a frame from a group"),
        (
            with(good, |bytes| bytes[38..54].copy_from_slice(&group.octets())),
            Ignored::Sender,
            "an answer to all",
        ),
        (
            with(good, |bytes| {
                bytes[38..54].copy_from_slice(&group.octets());
                bytes[53] = 2;
                bytes[58] = 0x20;
            }),
            Ignored::NotForUs,
            "an announcement to all routers",
        ),
        (
            with(announcement(BOTH[1], THEIRS), |bytes| bytes[11] = 9),
            Ignored::Sender,
            "announced by somebody else",
        ),
        (
            with(good, |bytes| bytes[62..78].copy_from_slice(&OUR_V6.octets())),
            Ignored::Conflict,
            "our address",
        ),
        (with(ask, |bytes| bytes[77] = 9), Ignored::NotForUs, "a question for others"),
        (with(ask, |bytes| bytes[53] = 9), Ignored::NotForUs, "a question to another group"),
        (with(ask, |bytes| bytes[22..38].fill(0)), Ignored::Sender, "from nobody, who is somewhere"),
        (with(ask, |bytes| bytes[22..38].copy_from_slice(&OUR_V6.octets())), Ignored::Conflict, "from us"),
    ] {
        assert_ignored(&bytes, reason, why);
    }
    let mut wrong = bytes;
    wrong[56] ^= 1;
    assert_ignored(&wrong, Ignored::Checksum, "a wrong checksum");
}

#[test]
fn a_question_for_somebody_else_teaches_nothing() {
    let [v4, v6] = BOTH;
    let inconsistent = [
        (v4, arp(OTHERS, ALL, false, (THEIRS, THEIR_V4), OUR_V4)),
        (v6, with(question(v6, THEIRS), |bytes| bytes[6..12].copy_from_slice(&OTHERS.0))),
    ];
    for (address, mut bytes) in inconsistent {
        let mut this = Router::new();
        this.wait(address, 1);
        this.hear_bytes(&bytes).unwrap();
        assert!(matches!(this.outs()[..], [Out::Send(Said { to: THEIRS, .. })]), "it is answered only");
        assert_eq!(this.state(address), Some(State::Incomplete));
        bytes[..6].copy_from_slice(&OURS.0);
        this.hear_bytes(&bytes).unwrap();
        assert_eq!(this.state(address), Some(State::Stale), "to us alone, it may say so");
    }
}

#[test]
fn who_uses_our_address_is_told_of() {
    let v4 = arp(THEIRS, ALL, false, (THEIRS, OUR_V4), OUR_V4);
    let v6 = with(answer(BOTH[1], THEIRS), |bytes| bytes[62..78].copy_from_slice(&OUR_V6.octets()));
    let from = with(question(BOTH[1], THEIRS), |bytes| bytes[22..38].copy_from_slice(&OUR_V6.octets()));
    for (bytes, address) in [(v4, OUR_V4.into()), (v6, OUR_V6.into()), (from, OUR_V6.into())] {
        let mut this = Router::new();
        assert_eq!(this.hear_bytes(&bytes), Err(Ignored::Conflict));
        assert_eq!(this.outs(), [Out::Event(Event::Conflict { interface: LINK, address, mac: THEIRS })]);
        assert!(this.neighbours.is_empty());
    }
}

#[test]
fn who_asks_whether_our_address_is_free_is_told_that_it_is_not() {
    let mut this = Router::new();
    this.hear_bytes(&arp(THEIRS, ALL, false, (THEIRS, Ipv4Addr::UNSPECIFIED), OUR_V4)).unwrap();
    let target = (THEIRS, Ipv4Addr::UNSPECIFIED);
    let what = What::Arp { is_reply: true, sender: (OURS, OUR_V4), target };
    assert_eq!(this.outs(), [Out::Send(Said { from: OURS, to: THEIRS, what })]);

    let nameless = Said {
        from: THEIRS,
        to: GROUP,
        what: What::Solicit {
            source: Ipv6Addr::UNSPECIFIED,
            destination: "ff02::1:ff00:1".parse().unwrap(),
            target: OUR_V6,
            mac: None,
        },
    };
    this.hear(nameless).unwrap();
    let what = What::Advertise {
        source: OUR_V6,
        destination: "ff02::1".parse().unwrap(),
        target: OUR_V6,
        mac: Some(OURS),
        flags: [true, false, true],
    };
    assert_eq!(this.outs(), [Out::Send(Said { from: OURS, to: MacAddr([0x33, 0x33, 0, 0, 0, 1]), what })]);
    let to_us = with(nameless, |bytes| bytes[38..54].copy_from_slice(&OUR_V6.octets()));
    assert_eq!(this.hear_bytes(&to_us), Err(Ignored::NotForUs), "its frame is for a group");
    let to_us = with(nameless, |bytes| {
        bytes[..6].copy_from_slice(&OURS.0);
        bytes[38..54].copy_from_slice(&OUR_V6.octets());
    });
    assert_eq!(this.hear_bytes(&to_us), Err(Ignored::Sender));
}

#[test]
fn a_probe_of_us_is_answered_to_where_it_came_from() {
    let mut this = Router::new();
    let what = What::Solicit { source: THEIR_V6, destination: OUR_V6, target: OUR_V6, mac: None };
    this.hear(Said { from: THEIRS, to: OURS, what }).unwrap();
    let (source, destination, target) = (OUR_V6, THEIR_V6, OUR_V6);
    let what = What::Advertise { source, destination, target, mac: Some(OURS), flags: [true; 3] };
    assert_eq!(this.outs(), [Out::Send(Said { from: OURS, to: THEIRS, what })]);
}

#[test]
fn where_there_is_no_room_for_the_reply_there_is_none() {
    let mut this = Router::new();
    let small = FrameLayout::new(1).with_buffer_bytes(64 + 80);
    this.pool = FramePool::new(MockPlatform::new(), small).unwrap();
    let what = What::Solicit { source: THEIR_V6, destination: OUR_V6, target: OUR_V6, mac: None };
    assert_eq!(this.hear(Said { from: THEIRS, to: OURS, what }), Err(Ignored::NoRoom));
    assert_eq!((this.outs(), this.neighbours.counters().replied), (vec![], 0));
    assert_eq!(this.pool.free(), 1);
}

#[test]
fn other_options_are_stepped_over() {
    let mut this = Router::new();
    this.wait(BOTH[1], 1);
    let bytes = with(answer(BOTH[1], THEIRS), |bytes| {
        let nonce: Vec<u8> = [14, 2].into_iter().chain([7; 14]).collect();
        bytes.splice(78..78, nonce);
        bytes.extend([2, 1, 2, 9, 9, 9, 9, 9]);
    });
    this.hear_bytes(&bytes).unwrap();
    assert_eq!(this.outs(), [Out::Release(THEIRS, 1)], "the first address counts");
}

fn hear_as(said: RxChecksum, change: impl FnOnce(&mut Vec<u8>)) -> Result<(), Ignored> {
    let mut this = Router::new();
    this.wait(BOTH[1], 1);
    let mut bytes = answer(BOTH[1], THEIRS).bytes();
    change(&mut bytes);
    let mut frame = this.frame(&bytes);
    frame.set_rx_checksum(said);
    let packet = Packet::read(&frame).unwrap();
    this.hear_frame(&packet, frame)
}

#[test]
fn the_device_is_asked_about_the_checksum() {
    let partial = |start_bytes| RxChecksum::Partial(ChecksumRequest { start_bytes, offset_bytes: 2 });
    let pseudo = |bytes: &mut Vec<u8>| {
        let sum = Sum::pseudo_header(&bytes[22..38], &bytes[38..54], 58, 32).folded();
        bytes[56..58].copy_from_slice(&sum.to_be_bytes());
    };
    let wrong = |bytes: &mut Vec<u8>| bytes[57] ^= 1;
    assert_eq!(hear_as(RxChecksum::Unverified, wrong), Err(Ignored::Checksum));
    assert_eq!(hear_as(RxChecksum::Good, wrong), Ok(()));
    assert_eq!(hear_as(RxChecksum::BadL4, |_| {}), Err(Ignored::Checksum));
    assert_eq!(hear_as(RxChecksum::Unverified, pseudo), Err(Ignored::Checksum));
    assert_eq!(hear_as(partial(54), pseudo), Ok(()));
    assert_eq!(hear_as(partial(54), |bytes| pseudo(bytes)), Ok(()));
    assert_eq!(hear_as(partial(60), pseudo), Err(Ignored::Checksum), "it lies");
    assert_eq!(hear_as(partial(600), pseudo), Err(Ignored::Checksum), "and how");
}

#[test]
fn a_frame_in_pieces_is_read_all_the_same() {
    let mut this = Router::new();
    this.wait(BOTH[1], 1);
    let bytes = answer(BOTH[1], THEIRS).bytes();
    let mut frame = this.frame(&bytes[..75]);
    frame.extend(this.frame(&bytes[75..]));
    let packet = Packet::read(&frame).unwrap();
    this.hear_frame(&packet, frame).unwrap();
    assert_eq!(this.outs(), [Out::Release(THEIRS, 1)]);
    assert_eq!(this.pool.free(), this.pool.buffers());
}

/// A frame of those bytes as far as its headers are any.
fn read(this: &Router, bytes: &[u8]) -> Option<(Packet, Frame)> {
    let frame = this.frame(bytes);
    Some((Packet::read(&frame).ok()?, frame))
}

proptest! {
    #[test]
    fn no_flipped_bit_gets_through(bit in 22_usize * 8..86 * 8) {
        let mut this = Router::new();
        this.wait(BOTH[1], 1);
        let mut bytes = answer(BOTH[1], THEIRS).bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Some((packet, frame)) = read(&this, &bytes) {
            prop_assert!(this.hear_frame(&packet, frame).is_err());
        }
        prop_assert_eq!(this.state(BOTH[1]), Some(State::Incomplete));
    }

    #[test]
    fn hostile_bytes_change_nothing_else(
        kind in 0_usize..6,
        changes in proptest::collection::vec((0_usize..120, any::<u8>()), 0..6),
        len in prop_oneof![Just(usize::MAX), 0_usize..130],
        more in proptest::collection::vec(any::<u8>(), 0..40),
        checksum in prop_oneof![
            Just(RxChecksum::Unverified),
            Just(RxChecksum::Good),
            (0_u16..200, any::<u16>()).prop_map(|(start_bytes, offset_bytes)| {
                RxChecksum::Partial(ChecksumRequest { start_bytes, offset_bytes })
            }),
        ],
    ) {
        let mut this = Router::new();
        for (mark, address) in (0..).zip(BOTH) {
            this.wait(address, mark);
        }
        this.poll();
        this.outs();
        let address = BOTH[kind % 2];
        let said = [answer, announcement, question][kind / 2](address, THEIRS);
        let mut bytes = said.bytes();
        bytes.extend(more);
        for (at, value) in changes {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        bytes.truncate(len);
        if let Some((packet, mut frame)) = read(&this, &bytes) {
            frame.set_rx_checksum(checksum);
            let result = this.hear_frame(&packet, frame);
            let outs = this.outs();
            prop_assert!(result.is_ok() || outs.iter().all(|out| matches!(out, Out::Event(_))));
        }
        this.neighbours.table.check();
        prop_assert_eq!(this.neighbours.len(), 2, "nobody is learned who was not asked for");
        // What came out of it has a MAC address that a station may have.
        for known in this.neighbours.iter(this.now) {
            prop_assert!(known.mac.is_none_or(|mac| mac.is_unicast() && mac != OURS));
        }
        this.run(seconds(4));
        prop_assert_eq!(this.neighbours.waiting(), 0);
    }
}
