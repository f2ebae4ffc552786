//! Frames in tunnels (Geneve, VXLAN) on their way out.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "helpers of tests")]

#[path = "support/inside.rs"]
mod inside;
mod support;
#[path = "support/tunnelled.rs"]
mod tunnelled;

use inside::{GENEVE, Inside, PLAIN, kinds};
use paravane_hal::irq::Interrupts;
use paravane_mock_hal::model::vmxnet3::Sent;
use paravane_net::{
    Burst, ChecksumRequest, Frame, Segmentation, SegmentationKind, Tunnel, TunnelKind, TxOffload,
    TxQueue as _, VlanTag,
};
use support::{bytes_of, numbered};
use tunnelled::{OF_TUNNELS, config, offloads, transmit, up_to};

#[test]
fn checksums_inside_are_left_to_the_device() {
    for revision in 4..=7 {
        let machine = up_to(revision);
        let mut up = machine.start(&config(), Interrupts::POLLING);
        assert_eq!((up.control.revision(), offloads(&up)), (revision, OF_TUNNELS));
        for (packet, is_tcp) in kinds().flat_map(|packet| [(packet, true), (packet, false)]) {
            let packet = Inside { is_tcp, ..packet };
            let sent = transmit(&machine, &mut up, packet.given(&machine, None)).unwrap();
            assert_eq!(sent.bytes, packet.open(), "as it was given");
            let [_, _, l4, payload] = packet.places();
            let field = (l4 + usize::from(packet.request().offset_bytes)) as u32;
            let (om, msscof) = if revision < 7 { (1, 0) } else { (2, field) };
            let described = (sent.om, sent.hlen, sent.msscof, sent.ext1, sent.oco);
            assert_eq!(described, (om, payload as u32, msscof, revision == 7, false), "{packet:?}");
            packet.check_wire(&sent.on_wire(), None);
        }
        machine.assert_clean();
        up.stop().unwrap();
        assert_eq!(machine.pool.free(), machine.pool.buffers());
    }
}

#[test]
fn a_large_packet_inside_leaves_as_its_segments() {
    for revision in 4..=7 {
        let machine = up_to(revision);
        let mut up = machine.start(&config(), Interrupts::POLLING);
        for packet in kinds() {
            for (payload_bytes, mss_bytes) in [(3000, 1000), (2701, 1350), (30_000, 1340), (100, 536)] {
                let packet = Inside { payload_bytes, ..packet };
                let sent = transmit(&machine, &mut up, packet.given(&machine, Some(mss_bytes))).unwrap();
                let [_, _, _, payload] = packet.places();
                let described = (sent.om, sent.hlen, sent.msscof, sent.ext1, sent.oco);
                let om = if revision < 7 { 1 } else { 3 };
                let expected = (om, payload as u32, mss_bytes.into(), revision == 7, packet.outer_checksum);
                assert_eq!(described, expected, "{packet:?}");
                packet.check_wire(&sent.on_wire(), Some(mss_bytes));
            }
        }
        machine.assert_clean();
    }
}

/// The outer headers go to the device as they were, but for a checksum that it is to make, where
/// the pseudo-header's sum waits.
#[test]
fn outer_headers_are_the_senders() {
    let machine = up_to(6);
    let mut up = machine.start(&config(), Interrupts::POLLING);
    for packet in kinds() {
        let packet = Inside { payload_bytes: 3000, ..packet };
        let sent = transmit(&machine, &mut up, packet.given(&machine, Some(1000))).unwrap();
        let ([tunnel, inner, ..], given) = (packet.places(), packet.open());
        assert_eq!(sent.bytes[..tunnel - 2], given[..tunnel - 2]);
        assert_eq!(sent.bytes[tunnel..inner], given[tunnel..inner]);
        let field = u16::from_be_bytes([sent.bytes[tunnel - 2], sent.bytes[tunnel - 1]]);
        let expected = if packet.outer_checksum {
            let addresses = if packet.is_v6[0] { &given[22..54] } else { &given[26..34] };
            let words = addresses.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
            let sum = words.sum::<u32>() + 17 + (given.len() - tunnel + 8) as u32;
            sum % 0xffff
        } else {
            0
        };
        assert_eq!(u32::from(field) % 0xffff, expected, "{packet:?}");
    }
}

#[test]
fn they_go_out_in_a_burst_with_others_through_many_laps() {
    for (revision, copies) in [(4, 0), (7, 0), (6, 128)] {
        let machine = up_to(revision);
        let mut up = machine.start(&config().with_tx_copy_bytes(copies), Interrupts::POLLING);
        for number in 0..60 {
            let large = Inside { payload_bytes: 5000, ..PLAIN };
            let small = Inside { payload_bytes: 1 + number as usize % 40, ..PLAIN };
            let mut tagged = small.given(&machine, None);
            tagged.set_vlan(Some(VlanTag(5)));
            let mut burst = Burst::new();
            burst.extend([
                large.given(&machine, Some(1000)),
                machine.frame(&numbered(number)),
                small.given(&machine, None),
                tagged,
                large.given(&machine, Some(1300)),
                machine.frame(&numbered(number + 1)),
            ]);
            assert_eq!(up.tx.transmit(&mut burst), Ok(6));
            up.tx.flush();
            machine.model().look();
            let sent = machine.model().take_sent();
            let wire: Vec<_> = sent.iter().map(Sent::on_wire).collect();
            large.check_wire(&wire[0], Some(1000));
            small.check_wire(&wire[2], None);
            assert_eq!(wire[3][0][12..16], [0x81, 0, 0, 5]);
            assert_eq!([&wire[3][0][..12], &wire[3][0][16..]].concat(), wire[2][0]);
            large.check_wire(&wire[4], Some(1300));
            assert_eq!((&wire[1][0], &wire[5][0]), (&numbered(number), &numbered(number + 1)));
            up.tx.reclaim().unwrap();
        }
        assert_eq!(up.tx.counters().refused, 0);
        machine.assert_clean();
    }
}

/// A ring that is full takes it later, as it is.
#[test]
fn one_that_finds_no_room_is_as_it_was() {
    let machine = up_to(6);
    let mut up = machine.start(&config(), Interrupts::POLLING);
    let packet = Inside { payload_bytes: 20_000, ..PLAIN };
    let mut burst = Burst::new();
    burst.extend((0..4).map(|_| packet.given(&machine, Some(1000))));
    let taken = up.tx.transmit(&mut burst).unwrap();
    assert!(taken > 0 && !burst.is_empty());
    let frame = burst.pop().unwrap();
    assert_eq!((bytes_of(&frame), frame.tunnel()), (packet.open(), Some(packet.tunnel())));
    machine.assert_clean();
}

#[test]
fn a_tunnel_that_is_not_what_it_says_is_refused_before_the_ring_is_touched() {
    let machine = up_to(6);
    let mut up = machine.start(&config(), Interrupts::POLLING);
    let large = Inside { payload_bytes: 3000, ..PLAIN };
    let geneve = Inside { kind: TunnelKind::Geneve, port: GENEVE, ..large };
    let [tunnel, inner, l4, _] = large.places();
    let bytes = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = large.open();
        change(&mut bytes);
        large.asking(&machine, &bytes, Some(1000))
    };
    let asking = |change: &dyn Fn(&mut Frame)| {
        let mut frame = large.given(&machine, Some(1000));
        change(&mut frame);
        frame
    };
    let offload = |change: &dyn Fn(&mut TxOffload)| {
        asking(&|frame| {
            let mut offload = frame.offload();
            change(&mut offload);
            frame.set_offload(offload);
        })
    };
    let cut = |change: &dyn Fn(&mut Segmentation)| {
        offload(&|offload| change(offload.segmentation.as_mut().unwrap()))
    };
    let other = |change: &dyn Fn(&mut Tunnel)| {
        asking(&|frame| {
            let mut tunnel = frame.tunnel().unwrap();
            change(&mut tunnel);
            frame.set_tunnel(Some(tunnel));
        })
    };
    let split_headers = {
        let bytes = large.open();
        let mut frame = machine.chain(&[&bytes[..100], &bytes[100..2000], &bytes[2000..]]);
        frame.set_offload(large.given(&machine, Some(1000)).offload());
        frame.set_tunnel(Some(large.tunnel()));
        frame
    };
    let mut geneve_of_ip = geneve.open();
    geneve_of_ip[tunnel + 2..tunnel + 4].copy_from_slice(&[0x08, 0]);
    let mut geneve_1 = geneve.open();
    geneve_1[tunnel] |= 1 << 6;
    let refused = [
        (
            "another port",
            bytes(&|bytes| bytes[tunnel - 6..tunnel - 4].copy_from_slice(&8472_u16.to_be_bytes())),
        ),
        ("the port of the other kind", {
            bytes(&|bytes| bytes[tunnel - 6..tunnel - 4].copy_from_slice(&GENEVE.to_be_bytes()))
        }),
        ("no number of a network", bytes(&|bytes| bytes[tunnel] = 0)),
        ("no Ethernet inside", geneve.asking(&machine, &geneve_of_ip, Some(1000))),
        ("another version of Geneve", geneve.asking(&machine, &geneve_1, Some(1000))),
        ("TCP outside", bytes(&|bytes| bytes[23] = 6)),
        ("a fragment outside", bytes(&|bytes| bytes[20] = 0x20)),
        ("a fragment inside", bytes(&|bytes| bytes[inner + 20] = 0x20)),
        ("the end of a fragment inside", bytes(&|bytes| bytes[inner + 21] = 1)),
        ("no IP inside", bytes(&|bytes| bytes[inner + 12] = 9)),
        ("another version inside", bytes(&|bytes| bytes[inner + 14] = 0x65)),
        ("a short header inside", bytes(&|bytes| bytes[inner + 14] = 0x44)),
        ("neither TCP nor UDP inside", bytes(&|bytes| bytes[inner + 23] = 50)),
        ("UDP inside", bytes(&|bytes| bytes[inner + 23] = 17)),
        ("a short TCP header", bytes(&|bytes| bytes[l4 + 12] = 4 << 4)),
        ("an inner packet that ends early", bytes(&|bytes| bytes[inner + 17] -= 1)),
        ("an inner packet that ends late", bytes(&|bytes| bytes[inner + 17] += 1)),
        ("an outer packet that ends early", bytes(&|bytes| bytes[17] -= 1)),
        ("something behind the packet", bytes(&|bytes| bytes.push(0))),
        ("a left-over outer checksum", bytes(&|bytes| bytes[tunnel - 1] = 1)),
        ("a reduced window that nobody tells of", bytes(&|bytes| bytes[l4 + 13] |= 1 << 7)),
        ("headers in two segments", split_headers),
        ("a reduced window", cut(&|cut| cut.ecn = true)),
        ("other headers", cut(&|cut| cut.header_bytes += 4)),
        ("another IP", cut(&|cut| cut.kind = SegmentationKind::Tcp6)),
        ("datagrams", cut(&|cut| cut.kind = SegmentationKind::Udp)),
        ("segments of nothing", cut(&|cut| cut.mss_bytes = 0)),
        ("no checksum", offload(&|offload| offload.checksum = None)),
        ("a checksum elsewhere", offload(&|offload| offload.checksum.as_mut().unwrap().start_bytes += 2)),
        ("the other kind", other(&|tunnel| tunnel.kind = TunnelKind::Geneve)),
        ("an inner frame elsewhere", other(&|tunnel| tunnel.outer_header_bytes += 2)),
        ("in no tunnel", asking(&|frame| frame.set_tunnel(None))),
    ];
    for (what, frame) in refused {
        assert_eq!(transmit(&machine, &mut up, frame), None, "{what}");
    }
    let tagged_inside = {
        let mut bytes = large.open();
        bytes.splice(inner + 12..inner + 12, [0x81, 0, 0, 5]);
        let end = bytes.len() as u16;
        bytes[16..18].copy_from_slice(&(end - 14).to_be_bytes());
        let mut frame = large.asking(&machine, &bytes, None);
        let mut cut = large.cut(1000);
        cut.header_bytes += 4;
        let mut checksum = large.request();
        checksum.start_bytes += 4;
        frame.set_offload(TxOffload { checksum: Some(checksum), segmentation: Some(cut) });
        frame
    };
    assert_eq!(transmit(&machine, &mut up, tagged_inside), None, "a tag inside");
    let sent = transmit(&machine, &mut up, large.given(&machine, Some(1000))).unwrap();
    large.check_wire(&sent.on_wire(), Some(1000));
    machine.assert_clean();
}

/// Where only a checksum is asked for, that is made here for whatever the device would not see so.
#[test]
fn a_checksum_that_the_device_would_put_elsewhere_is_made_here() {
    let machine = up_to(6);
    let mut up = machine.start(&config(), Interrupts::POLLING);
    let other = Inside { port: 8472, ..PLAIN };
    let sent = transmit(&machine, &mut up, other.given(&machine, None)).unwrap();
    assert_eq!(sent.om, 0);
    other.check_wire(&[sent.bytes], None);
    let plain = {
        let mut frame = machine.frame(&PLAIN.whole());
        frame.set_tunnel(Some(PLAIN.tunnel()));
        frame
    };
    let sent = transmit(&machine, &mut up, plain).unwrap();
    assert_eq!((sent.om, sent.bytes), (0, PLAIN.whole()), "nothing is asked for");
    let padded = {
        let mut bytes = [PLAIN.open(), vec![0; 4]].concat();
        for (at, len) in [(16, bytes.len() - 14), (38, bytes.len() - 34)] {
            bytes[at..at + 2].copy_from_slice(&(len as u16).to_be_bytes());
        }
        PLAIN.asking(&machine, &bytes, None)
    };
    let sent = transmit(&machine, &mut up, padded).unwrap();
    assert_eq!(sent.om, 0, "the inner packet ends before the outer one");
    PLAIN.check_inner(&sent.bytes);
    let beyond = {
        let mut frame = PLAIN.given(&machine, None);
        let checksum = Some(ChecksumRequest { start_bytes: 1200, offset_bytes: 16 });
        frame.set_offload(TxOffload { checksum, segmentation: None });
        frame
    };
    assert_eq!(transmit(&machine, &mut up, beyond), None, "beyond the frame");
    machine.assert_clean();
}
