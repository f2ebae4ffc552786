//! What is passed on, and how.

use etherparse::{NetHeaders, PacketHeaders, TransportHeader};
use paravane_appliance::drops::Reason;
use paravane_net::{ChecksumRequest, Offloads, RxChecksum, Segmentation, SegmentationKind, TxOffload};
use proptest::prelude::*;
use smoltcp::wire::{Icmpv4Packet, Icmpv6Packet, Ipv4Packet, Ipv6Packet};

use super::world::{
    FAR_V4, FAR_V6, GATEWAY_MAC, HOST_MAC, HOST_V4, HOST_V6, OWN_MAC, OWN_V4, OWN_V6, PRIVATE, PUBLIC, World,
    bytes_of, interfaces, limits, udp, udp_with_ttl,
};

/// The same packet one hop further: other stations, one hop less, and a sum to match.
fn one_hop_further(bytes: &[u8]) -> Vec<u8> {
    let mut expected = bytes.to_vec();
    expected[..6].copy_from_slice(&GATEWAY_MAC.0);
    expected[6..12].copy_from_slice(&OWN_MAC[0].0);
    if expected[12..14] == [0x08, 0x00] {
        expected[22] -= 1;
        Ipv4Packet::new_unchecked(&mut expected[14..]).fill_checksum();
    } else {
        expected[21] -= 1;
    }
    expected
}

proptest! {
    #[test]
    fn a_packet_goes_on_as_it_is(
        is_v6: bool,
        ttl in 2_u8..,
        payload in proptest::collection::vec(any::<u8>(), 0..1400),
    ) {
        let mut world = World::acquainted();
        let (source, destination) =
            if is_v6 { (HOST_V6.into(), FAR_V6.into()) } else { (HOST_V4.into(), FAR_V4.into()) };
        let packet = udp_with_ttl(HOST_MAC, OWN_MAC[1], source, destination, ttl, &payload);
        // As Ethernet has it: short frames are padded.
        let mut frame = packet.clone();
        frame.resize(frame.len().max(60), 0);
        world.take(PRIVATE, &frame);
        prop_assert_eq!(world.sent_one(PUBLIC), one_hop_further(&packet));
        prop_assert!(world.all_home() && world.dropped().is_empty());
    }
}

#[test]
fn what_a_device_found_or_left_to_do_goes_along() {
    let request = ChecksumRequest { start_bytes: 34, offset_bytes: 6 };
    for said in [RxChecksum::Good, RxChecksum::Unverified, RxChecksum::Partial(request)] {
        let mut world = World::acquainted();
        let packet = udp(HOST_MAC, OWN_MAC[1], HOST_V4.into(), FAR_V4.into(), b"summed");
        let mut frame = world.frame(&packet);
        frame.set_rx_checksum(said);
        world.take_frame(PRIVATE, frame);
        let sent = world.sent_frames(PUBLIC);
        let asked = matches!(said, RxChecksum::Partial(_)).then_some(request);
        assert_eq!(sent[0].offload(), TxOffload { checksum: asked, segmentation: None });
        assert_eq!(bytes_of(&sent[0]), one_hop_further(&packet));
    }
}

/// Three segments of TCP that were received as one.
fn large(world: &World) -> (Vec<u8>, paravane_net::Frame) {
    let mut bytes = Vec::new();
    let payload: Vec<u8> = (0..3000_u32).map(|byte| byte as u8).collect();
    etherparse::PacketBuilder::ethernet2(HOST_MAC.0, OWN_MAC[1].0)
        .ipv4(HOST_V4.octets(), FAR_V4.octets(), 64)
        .tcp(40_000, 80, 1_000_000, 5000)
        .ack(77)
        .psh()
        .write(&mut bytes, &payload)
        .unwrap();
    let mut frame = world.frame(&bytes);
    let segmentation =
        Segmentation { kind: SegmentationKind::Tcp4, header_bytes: 54, mss_bytes: 1400, ecn: false };
    let checksum = Some(ChecksumRequest { start_bytes: 34, offset_bytes: 16 });
    frame.set_offload(TxOffload { checksum, segmentation: Some(segmentation) });
    (payload, frame)
}

#[test]
fn a_large_packet_is_cut_by_whoever_can() {
    // By the NIC: it goes on whole.
    let mut able = interfaces();
    able[0].offloads = Offloads::CHECKSUM | Offloads::TSO4;
    able[0].large_bytes = 65_535;
    let mut world = World::of(able, limits(), 256);
    world.meet();
    let (_, frame) = large(&world);
    let asked = frame.offload();
    world.take_frame(PRIVATE, frame);
    let sent = world.sent_frames(PUBLIC);
    assert_eq!((sent.len(), sent[0].offload()), (1, asked));
    drop(sent);
    assert!(world.all_home());

    // By the router.
    let mut world = World::acquainted();
    let (payload, frame) = large(&world);
    world.take_frame(PRIVATE, frame);
    let mut together = Vec::new();
    for mut frame in world.sent_frames(PUBLIC) {
        assert!(frame.complete_checksum());
        let bytes = bytes_of(&frame);
        let headers = PacketHeaders::from_ethernet_slice(&bytes).unwrap();
        let (Some(NetHeaders::Ipv4(ip, _)), Some(TransportHeader::Tcp(tcp))) =
            (headers.net, headers.transport)
        else {
            panic!("another packet")
        };
        assert_eq!(ip.calc_header_checksum(), ip.header_checksum);
        assert_eq!(tcp.calc_checksum_ipv4(&ip, headers.payload.slice()).unwrap(), tcp.checksum);
        assert_eq!(tcp.sequence_number as usize, 1_000_000 + together.len());
        assert!(bytes.len() <= 1514 && ip.time_to_live == 63);
        together.extend_from_slice(headers.payload.slice());
    }
    assert!(together == payload);
    assert!(world.all_home());
}

#[test]
fn the_longest_that_a_link_takes_is_found_out() {
    let mut narrow = interfaces();
    narrow[1].mtu_bytes = 1280;
    // Over IPv4, of a packet that may not be cut.
    let mut world = World::of(narrow.clone(), limits(), 256);
    world.meet();
    let mut packet = udp(GATEWAY_MAC, OWN_MAC[0], FAR_V4.into(), HOST_V4.into(), &[7; 1300]);
    packet[20] |= 0x40;
    Ipv4Packet::new_unchecked(&mut packet[14..]).fill_checksum();
    world.take(PUBLIC, &packet);
    let sent = world.sent_one(PUBLIC);
    let ip = Ipv4Packet::new_checked(&sent[14..]).unwrap();
    assert!((ip.src_addr(), ip.dst_addr()) == (OWN_V4[0], FAR_V4) && ip.verify_checksum());
    let message = Icmpv4Packet::new_checked(ip.payload()).unwrap();
    assert!(message.verify_checksum());
    assert_eq!((u8::from(message.msg_type()), message.msg_code()), (3, 4));
    assert_eq!(ip.payload()[6..8], 1280_u16.to_be_bytes());
    assert!(packet[14..].starts_with(&ip.payload()[8..]), "what is quoted is as it came in");
    assert_eq!(world.path.drops().of(PUBLIC, Reason::TooBig), 1);

    // Of one that may: in parts, which are all of it.
    packet[20] &= !0x40;
    Ipv4Packet::new_unchecked(&mut packet[14..]).fill_checksum();
    world.take(PUBLIC, &packet);
    let parts = world.sent(PRIVATE);
    let mut together = vec![0; 1308];
    for part in &parts {
        let ip = Ipv4Packet::new_checked(&part[14..]).unwrap();
        assert!(ip.verify_checksum() && ip.total_len() <= 1280);
        let at = usize::from(ip.frag_offset());
        together[at..at + ip.payload().len()].copy_from_slice(ip.payload());
    }
    assert!(parts.len() == 2 && together == packet[34..]);

    // Over IPv6.
    let mut packet = udp(GATEWAY_MAC, OWN_MAC[0], FAR_V6.into(), HOST_V6.into(), &[7; 1300]);
    packet.truncate(14 + 40 + 1308);
    world.take(PUBLIC, &packet);
    let sent = world.sent_one(PUBLIC);
    let ip = Ipv6Packet::new_checked(&sent[14..]).unwrap();
    assert_eq!((ip.src_addr(), ip.dst_addr()), (OWN_V6[0], FAR_V6));
    let message = Icmpv6Packet::new_checked(ip.payload()).unwrap();
    assert!(message.verify_checksum(&ip.src_addr(), &ip.dst_addr()));
    assert_eq!((u8::from(message.msg_type()), ip.payload()[4..8].to_vec()), (2, vec![0, 0, 5, 0]));
    assert!(world.all_home());
}
