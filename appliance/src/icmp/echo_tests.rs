use core::net::{Ipv4Addr, Ipv6Addr};
use std::vec::Vec;

use paravane_net::{Segmentation, TxOffload};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, Ipv4Packet};

use super::super::testing::*;
use super::*;

const KEY: [u64; 2] = [5; 2];
const PUBLIC: InterfaceId = InterfaceId(0);

fn request_v4(len: usize) -> Vec<u8> {
    v4(HOST_V4, OWN_V4, 1, &icmp_v4(8, len))
}

fn request_v6(len: usize) -> Vec<u8> {
    v6(HOST_V6, OWN_V6, 58, &icmp_v6(HOST_V6, OWN_V6, 128, len))
}

fn answer_frame(frame: &mut Frame) -> Result<(), Silence> {
    let packet = Packet::read(frame).unwrap();
    let mut echo = Echo::new(Limits::ECHO, KEY, 2);
    let before = bytes_of(frame);
    let answer = echo.answer(&interfaces(), PUBLIC, &packet, frame, Instant::default());
    match answer {
        Ok(()) => assert_eq!(echo.counters().answered(), 1),
        Err(why) => {
            assert_eq!(echo.counters().silent(why), 1);
            assert_eq!(bytes_of(frame), before, "it is as it was");
        }
    }
    answer
}

/// The reply to `bytes` in segments of `each`.
fn answer(bytes: &[u8], each: usize) -> Result<Vec<u8>, Silence> {
    let mut frame = frame_of(bytes, each);
    answer_frame(&mut frame)?;
    Ok(bytes_of(&frame))
}

#[test]
fn a_request_becomes_its_reply() {
    for (len, each) in [(0, 1500), (56, 1500), (57, 1500), (1400, 100), (1401, 77), (9001, 1900)] {
        let reply = answer(&request_v4(len), each).unwrap();
        let message = checked(&reply);
        let packet = Icmpv4Packet::new_checked(&message[..]).unwrap();
        let repr = Icmpv4Repr::parse(&packet, &ChecksumCapabilities::default()).unwrap();
        assert_eq!(repr, Icmpv4Repr::EchoReply { ident: 0xabcd, seq_no: 7, data: &payload(len) });
        assert_eq!(reply[..14], [&SENDER.0[..], &OWN[0].0, &[8, 0]].concat());
        assert_eq!(reply[26..34], [OWN_V4.octets(), HOST_V4.octets()].concat());
        assert_eq!((reply[15], reply[22]), (0x28, 64), "class as it was, time to live anew");

        let reply = answer(&request_v6(len), each).unwrap();
        let message = checked(&reply);
        let packet = Icmpv6Packet::new_checked(&message[..]).unwrap();
        let repr = Icmpv6Repr::parse(&OWN_V6, &HOST_V6, &packet, &ChecksumCapabilities::default()).unwrap();
        assert_eq!(repr, Icmpv6Repr::EchoReply { ident: 0xabcd, seq_no: 7, data: &payload(len) });
        assert_eq!(reply[..14], [&SENDER.0[..], &OWN[0].0, &[0x86, 0xdd]].concat());
        assert_eq!(reply[22..54], [OWN_V6.octets(), HOST_V6.octets()].concat());
        assert_eq!(reply[21], 64);
    }
}

#[test]
fn what_an_ethernet_frame_is_filled_up_with_counts_for_nothing() {
    let padded = [&request_v4(1)[..], &[0xee; 17]].concat();
    let reply = answer(&padded, 1500).unwrap();
    assert!(Ipv4Packet::new_checked(&reply[14..]).unwrap().verify_checksum());
    assert!(Icmpv4Packet::new_checked(&reply[34..43]).unwrap().verify_checksum());
    assert_eq!(reply[43..], [0xee; 17]);
}

#[test]
fn a_request_of_zeroes_is_answered_with_a_sum_that_holds() {
    // All is zero but the kind, and the reply's kind is zero as well.
    let mut message = vec![8, 0, 0xf7, 0xff, 0, 0, 0, 0];
    message.extend([0; 24]);
    let reply = checked(&answer(&v4(HOST_V4, OWN_V4, 1, &message), 1500).unwrap());
    assert_eq!(reply[..4], [0, 0, 0xff, 0xff]);
}

#[test]
fn a_damaged_request_is_never_answered_as_a_whole_one() {
    for mut bytes in [request_v4(100), request_v6(100)] {
        bytes[90] ^= 1;
        assert_eq!(answer(&bytes, 1500), Err(Silence::Checksum));
        for bad in [RxChecksum::BadIp, RxChecksum::BadL4] {
            let mut frame = frame_of(&bytes, 1500);
            frame.set_rx_checksum(bad);
            assert_eq!(answer_frame(&mut frame), Err(Silence::Checksum));
        }
        // A device says it is good: then the reply is as wrong as it was, and no better.
        let mut frame = frame_of(&bytes, 1500);
        frame.set_rx_checksum(RxChecksum::Good);
        assert_eq!(answer_frame(&mut frame), Ok(()));
        let mut reply = bytes_of(&frame);
        reply[90] ^= 1;
        checked(&reply);
    }
}

#[test]
fn a_partial_checksum_stays_so_and_can_be_completed() {
    for is_asked in [false, true] {
        let mut bytes = request_v6(101);
        let sum = Sum::pseudo_header(&HOST_V6.octets(), &OWN_V6.octets(), PROTOCOL_ICMPV6, 109).folded();
        bytes[56..58].copy_from_slice(&sum.to_be_bytes());
        let mut frame = frame_of(&bytes, 50);
        let request = ChecksumRequest { start_bytes: 54, offset_bytes: 2 };
        if is_asked {
            frame.set_offload(TxOffload { checksum: Some(request), segmentation: None });
        } else {
            frame.set_rx_checksum(RxChecksum::Partial(request));
        }
        assert_eq!(answer_frame(&mut frame), Ok(()));
        assert_eq!(frame.offload().checksum, Some(request));
        assert!(frame.complete_checksum());
        assert_eq!(checked(&bytes_of(&frame))[0], 129);
    }
}

#[test]
fn a_checksum_elsewhere_or_a_packet_to_be_cut_is_not_answered() {
    for (start_bytes, offset_bytes) in [(34, 6), (33, 2), (0, 0)] {
        let mut frame = frame_of(&request_v4(10), 1500);
        frame.set_rx_checksum(RxChecksum::Partial(ChecksumRequest { start_bytes, offset_bytes }));
        assert_eq!(answer_frame(&mut frame), Err(Silence::Checksum));
    }
    let mut frame = frame_of(&request_v4(10), 1500);
    let checksum = Some(ChecksumRequest { start_bytes: 34, offset_bytes: 2 });
    frame.set_offload(TxOffload { checksum, segmentation: Some(Segmentation::default()) });
    assert_eq!(answer_frame(&mut frame), Err(Silence::Checksum));
}

#[test]
fn only_requests_are_answered() {
    for kind in (0..=255_u8).filter(|kind| *kind != 8) {
        assert_eq!(answer(&v4(HOST_V4, OWN_V4, 1, &icmp_v4(kind, 8)), 1500), Err(Silence::NotEcho), "{kind}");
    }
    for kind in (0..=255_u8).filter(|kind| *kind != 128) {
        let message = icmp_v6(HOST_V6, OWN_V6, kind, 8);
        assert_eq!(answer(&v6(HOST_V6, OWN_V6, 58, &message), 1500), Err(Silence::NotEcho), "{kind}");
    }
    let mut other_code = request_v4(10);
    other_code[35] = 1;
    assert_eq!(answer(&other_code, 1500), Err(Silence::NotEcho));
    assert_eq!(answer(&v4(HOST_V4, OWN_V4, 17, &udp(10)), 1500), Err(Silence::NotEcho));
    assert_eq!(answer(&v4(HOST_V4, OWN_V4, 1, &[8, 0, 0, 0]), 1500), Err(Silence::Malformed));
    let arp = [&[0xff; 6][..], &SENDER.0, &[8, 6], &[0; 28]].concat();
    assert_eq!(answer(&arp, 1500), Err(Silence::NotEcho));
}

#[test]
fn only_we_are_answered_for() {
    for destination in ["192.0.2.2", "192.0.2.255", "224.0.0.1", "255.255.255.255", "10.1.2.3"] {
        let bytes = v4(HOST_V4, destination.parse().unwrap(), 1, &icmp_v4(8, 8));
        assert_eq!(answer(&bytes, 1500), Err(Silence::NotOurs), "{destination}");
    }
    let to = |destination: &str| {
        let destination: Ipv6Addr = destination.parse().unwrap();
        answer(&v6(HOST_V6, destination, 58, &icmp_v6(HOST_V6, destination, 128, 8)), 1500)
    };
    for destination in ["ff02::1", "2001:db8::2", "2001:db8::"] {
        assert_eq!(to(destination), Err(Silence::NotOurs), "{destination}");
    }
    assert!(to("fe80::1").is_ok());
    assert_eq!(to("fe80::2"), Err(Silence::NotOurs), "that of another link");
    assert!(to("2001:db8:7::1").is_ok(), "an address is ours wherever it is asked for");
    assert!(answer(&v4(HOST_V4, Ipv4Addr::new(10, 0, 0, 1), 1, &icmp_v4(8, 8)), 1500).is_ok());
}

#[test]
fn many_are_never_answered_nor_answered_for() {
    for (at, mac) in [(0, [0xff; 6]), (0, [0x33, 0x33, 0, 0, 0, 1]), (6, [0xff; 6]), (6, [0; 6])] {
        for mut bytes in [request_v4(10), request_v6(10)] {
            bytes[at..at + 6].copy_from_slice(&mac);
            assert_eq!(answer(&bytes, 1500), Err(Silence::Link));
        }
    }
    for source in ["192.0.2.255", "10.255.255.255", "192.0.2.1"] {
        let bytes = v4(source.parse().unwrap(), OWN_V4, 1, &icmp_v4(8, 8));
        assert_eq!(answer(&bytes, 1500), Err(Silence::Source), "{source}");
    }
    let nobody = v6(Ipv6Addr::UNSPECIFIED, OWN_V6, 58, &icmp_v6(Ipv6Addr::UNSPECIFIED, OWN_V6, 128, 8));
    assert_eq!(answer(&nobody, 1500), Err(Silence::Source));
}

#[test]
fn parts_and_options_are_not_answered() {
    for (fragment, says) in [(0x2000, Silence::Fragment), (0x2005, Silence::Fragment), (5, Silence::Fragment)]
    {
        let mut bytes = request_v4(100);
        bytes[20..22].copy_from_slice(&u16::to_be_bytes(fragment));
        sum_v4(&mut bytes);
        assert_eq!(answer(&bytes, 1500), Err(says), "{fragment:x}");
    }
    let message = icmp_v6(HOST_V6, OWN_V6, 128, 8);
    for (extension, header, says) in [
        (44, [58, 0, 0, 1, 0, 0, 0, 1], Silence::Fragment),
        (44, [58, 0, 0, 0, 0, 0, 0, 1], Silence::Options),
        (60, [58, 0, 1, 4, 0, 0, 0, 0], Silence::Options),
        (0, [58, 0, 1, 4, 0, 0, 0, 0], Silence::Options),
    ] {
        let bytes = v6(HOST_V6, OWN_V6, extension, &[&header[..], &message].concat());
        assert_eq!(answer(&bytes, 1500), Err(says), "{extension} {header:?}");
    }
    let mut bytes = request_v4(20);
    bytes.splice(34..34, [1, 1, 1, 0]);
    bytes[14] = 0x46;
    bytes[17] += 4;
    sum_v4(&mut bytes);
    assert_eq!(answer(&bytes, 1500), Err(Silence::Options));
}

#[test]
fn there_are_limits() {
    let mut echo = Echo::new(Limits::ECHO, KEY, 1);
    let mut ask = |interface| {
        let mut frame = frame_of(&request_v4(0), 1500);
        let packet = Packet::read(&frame).unwrap();
        echo.answer(&interfaces(), interface, &packet, &mut frame, Instant::default())
    };
    for _ in 0..200 {
        assert_eq!(ask(PUBLIC), Ok(()));
    }
    assert_eq!(ask(PUBLIC), Err(Silence::NetworkLimit));
    assert_eq!(ask(InterfaceId(1)), Err(Silence::InterfaceLimit), "it was made for one");
    assert_eq!(echo.counters().answered(), 200);
}
