//! Large packets: such as the device has put together arrive whole, say how they are cut again, and
//! leave by whatever device cuts; those that make no sense do not.

use crate::support::*;
use paravane_hal::irq::Interrupts;
use paravane_mock_hal::model::virtio::net::bits;
use paravane_net::{
    Burst, Change, ChecksumRequest, Control, Frame, RxChecksum, RxOffloads, RxQueue, Segmentation,
    SegmentationKind, TxQueue,
};
use paravane_virtio::net::Config;

/// What a device has that makes and cuts large packets of every kind.
const LARGE: u64 = BASIC
    | MRG_RXBUF
    | bits::CSUM
    | bits::GUEST_CSUM
    | RX_LARGE
    | bits::HOST_TSO4
    | bits::HOST_TSO6
    | bits::HOST_ECN
    | bits::HOST_USO;
const RX_LARGE: u64 =
    bits::GUEST_TSO4 | bits::GUEST_TSO6 | bits::GUEST_ECN | bits::GUEST_USO4 | bits::GUEST_USO6;

const MSS: u16 = 1448;

/// Devices that spread a frame over several buffers, and such as write it to one.
const KINDS: [u64; 2] = [LARGE, LARGE & !MRG_RXBUF];

/// Rings that hold the longest packet, and all that makes them.
fn large() -> Config {
    Config::default().with_rx_entries(64).with_rx_offloads(RxOffloads::all())
}

/// A packet of `len` bytes over IPv4 or IPv6, of a TCP header of `words` words, or of UDP for none.
/// Where that header is.
fn packet(is_ip6: bool, words: u8, len: usize) -> (Vec<u8>, u16) {
    let mut frame = bytes(len, 7);
    frame[12..14].copy_from_slice(if is_ip6 { &[0x86, 0xdd] } else { &[0x08, 0x00] });
    let start: u16 = if is_ip6 { 54 } else { 34 };
    if words > 0 {
        // The other half of the byte is something else.
        frame[usize::from(start) + 12] = words << 4 | 5;
    }
    (frame, start)
}

fn receive_one(up: &mut Up) -> Frame {
    let mut burst = Burst::new();
    assert_eq!(up.rx.receive(&mut burst), Ok(1));
    burst.pop().unwrap()
}

#[test]
fn a_large_packet_says_how_it_is_cut_and_leaves_as_it_came_5_1_6_4() {
    let rings = [0, EVENT_IDX, RING_PACKED | EVENT_IDX];
    for offered in rings.into_iter().flat_map(|ring| KINDS.map(|kind| kind | ring)) {
        let bench = Bench::new(offered);
        let mut up = bench.start_with(&large(), Interrupts::POLLING);
        assert_eq!(bench.model().accepted() & RX_LARGE, RX_LARGE);
        for (gso_type, is_ip6, words, kind, ecn) in [
            (1, false, 5, SegmentationKind::Tcp4, false),
            (1, false, 15, SegmentationKind::Tcp4, false),
            (0x81, false, 8, SegmentationKind::Tcp4, true),
            (4, true, 8, SegmentationKind::Tcp6, false),
            (0x84, true, 5, SegmentationKind::Tcp6, true),
            (5, false, 0, SegmentationKind::Udp, false),
            (5, true, 0, SegmentationKind::Udp, false),
        ] {
            for len in [200, 1518, 1984, 1985, 9000, 65_549, 65_593] {
                let (payload, start_bytes) = packet(is_ip6, words, len);
                let offset_bytes = if words > 0 { 16 } else { 6 };
                let layer4_bytes = if words > 0 { 4 * u16::from(words) } else { 8 };
                assert!(bench.model().deliver_large(gso_type, MSS, (start_bytes, offset_bytes), &payload));
                let frame = receive_one(&mut up);
                assert_eq!(content(&frame), payload, "{len}");
                let checksum = ChecksumRequest { start_bytes, offset_bytes };
                assert_eq!(frame.rx_checksum(), RxChecksum::Partial(checksum));
                let header_bytes = start_bytes + layer4_bytes;
                let cut = Segmentation { kind, header_bytes, mss_bytes: MSS, ecn };
                let offload = frame.offload();
                assert_eq!((offload.checksum, offload.segmentation), (Some(checksum), Some(cut)));
                // As it is: with the length of its headers, which the hint on the way in was not.
                assert_eq!(up.tx.transmit(&mut burst([frame])), Ok(1));
                let [sent] = &bench.sent()[..] else { panic!("one frame") };
                let [header_low, header_high] = header_bytes.to_le_bytes();
                let [mss_low, mss_high] = MSS.to_le_bytes();
                let (at, there) = (start_bytes.to_le_bytes()[0], offset_bytes.to_le_bytes()[0]);
                let header = [1, gso_type, header_low, header_high, mss_low, mss_high, at, 0, there, 0, 0, 0];
                assert_eq!(sent[..12], header);
                assert_eq!(sent[12..], payload);
                assert_eq!(up.tx.reclaim(), Ok(1));
            }
        }
        assert!(up.stop().is_ok());
        bench.assert_clean();
        bench.assert_at_rest();
    }
}

/// A frame that was one of a large packet is as any other when it comes from the pool again.
#[test]
fn what_was_large_is_forgotten_with_the_buffer() {
    let bench = Bench::with_buffers(LARGE, 66, 2048);
    let mut up = bench.start_with(&large().with_rx_entries(64), Interrupts::POLLING);
    let (payload, start) = packet(false, 5, 1000);
    for _ in 0..80 {
        assert!(bench.model().deliver_large(1, MSS, (start, 16), &payload));
        assert!(receive_one(&mut up).offload().segmentation.is_some());
        assert!(bench.model().deliver(&payload));
        let frame = receive_one(&mut up);
        assert!(frame.offload().is_none());
        assert_eq!(frame.rx_checksum(), RxChecksum::Unverified);
    }
    bench.assert_clean();
}

#[test]
fn large_packets_are_agreed_if_they_are_asked_for() {
    let csum = bits::GUEST_CSUM;
    for (asked, expected) in [
        (RxOffloads::default(), csum),
        (RxOffloads::empty(), 0),
        (RxOffloads::TCP4, bits::GUEST_TSO4 | csum),
        (RxOffloads::TCP6, bits::GUEST_TSO6 | csum),
        (RxOffloads::TCP4 | RxOffloads::ECN, bits::GUEST_TSO4 | bits::GUEST_ECN | csum),
        (RxOffloads::ECN, csum),
        (RxOffloads::UDP4 | RxOffloads::UDP6, bits::GUEST_USO4 | bits::GUEST_USO6 | csum),
        (RxOffloads::LARGE, RX_LARGE | csum),
    ] {
        let bench = Bench::new(LARGE);
        let up = bench.start_with(&large().with_rx_offloads(asked), Interrupts::POLLING);
        assert_eq!(bench.model().accepted() & (RX_LARGE | csum), expected, "{asked:?}");
        assert!(up.stop().is_ok());
        bench.assert_clean();
    }
}

/// A packet that never fits would hold up all behind it.
#[test]
fn without_buffers_for_the_longest_none_is_asked_for() {
    for (offered, rx_entries, buffer_bytes, agreed) in [
        (LARGE, 64, 2048, true),
        (LARGE, 34, 2048, false), // 32 in a split ring
        (LARGE | RING_PACKED, 34, 2048, true),
        (LARGE | RING_PACKED, 33, 2048, false),
        (LARGE, 16, 2048, false),
        (LARGE, 16, 4096 + 128, true),
        (LARGE & !MRG_RXBUF, 64, 2048, true),
        (LARGE & !MRG_RXBUF, 34, 2048, false),
        (LARGE & !MRG_RXBUF | RING_PACKED, 34, 2048, true),
        (LARGE & !MRG_RXBUF | RING_PACKED, 33, 2048, false),
        (LARGE & !MRG_RXBUF, 16, 4096 + 128, true),
        // Two pairs have half of the entries each.
        (LARGE | bits::CTRL_VQ | bits::MQ, 64, 2048, false),
        (LARGE | bits::CTRL_VQ | bits::MQ, 128, 2048, true),
    ] {
        let bench = Bench::with_buffers(offered, 300, buffer_bytes);
        let config = large().with_rx_entries(rx_entries);
        let mut up = bench.start_with(&config, Interrupts::POLLING);
        let accepted = bench.model().accepted();
        assert_eq!(accepted & RX_LARGE, if agreed { RX_LARGE } else { 0 }, "{rx_entries} of {buffer_bytes}");
        assert_eq!(accepted & MRG_RXBUF, offered & MRG_RXBUF);
        assert!(bench.model().deliver(&bytes(1000, 1)));
        assert_eq!(receive_one(&mut up).offload().segmentation, None);
        assert!(up.stop().is_ok());
        bench.assert_clean();
        bench.assert_at_rest();
    }
}

#[test]
fn large_packets_are_switched_while_it_runs_5_1_6_5_6() {
    let bench = Bench::new(LARGE | bits::CTRL_VQ | bits::CTRL_GUEST_OFFLOADS);
    let mut up = bench.start_with(&large(), Interrupts::POLLING);
    let arrives = |gso_type, is_ip6, words| {
        let (payload, start) = packet(is_ip6, words, 3000);
        bench.model().deliver_large(gso_type, MSS, (start, if words > 0 { 16 } else { 6 }), &payload)
    };
    let all = || [(1, false, 5), (4, true, 5), (0x81, false, 5), (5, false, 0), (5, true, 0)];
    let which = || all().map(|(gso_type, is_ip6, words)| arrives(gso_type, is_ip6, words));
    assert_eq!(which(), [true; 5]);
    for (offloads, bits, expected) in [
        (RxOffloads::CHECKSUM, bits::GUEST_CSUM, [false; 5]),
        (
            RxOffloads::CHECKSUM | RxOffloads::TCP4 | RxOffloads::UDP6,
            bits::GUEST_CSUM | bits::GUEST_TSO4 | bits::GUEST_USO6,
            [true, false, false, false, true],
        ),
        (
            RxOffloads::CHECKSUM | RxOffloads::TCP6 | RxOffloads::UDP4 | RxOffloads::ECN,
            bits::GUEST_CSUM | bits::GUEST_TSO6 | bits::GUEST_USO4 | bits::GUEST_ECN,
            [false, true, false, true, false],
        ),
        (RxOffloads::all(), bits::GUEST_CSUM | RX_LARGE, [true; 5]),
    ] {
        assert_eq!(up.control.change(Change::RxOffloads(offloads)), Ok(()));
        assert_eq!(bench.model().class.told.guest_offloads, Some(bits));
        assert_eq!(which(), expected, "{offloads:?}");
    }
    // What was off when it was stopped is off when it is started, and may be switched on.
    assert_eq!(up.control.change(Change::RxOffloads(RxOffloads::CHECKSUM)), Ok(()));
    let settings = up.control.settings();
    let device = up.stop().unwrap();
    let mut up = bench.restart(device, &large().with_settings(settings), Interrupts::POLLING);
    assert_eq!(which(), [false; 5]);
    assert_eq!(up.control.change(Change::RxOffloads(RxOffloads::all())), Ok(()));
    assert_eq!(which(), [true; 5]);
    bench.assert_clean();
}

/// What a device says of a packet that is none: dropped, counted, and nothing else is lost.
#[test]
fn a_large_packet_that_makes_no_sense_is_dropped() {
    for offered in KINDS {
        drops_nonsense(&Bench::new(offered));
    }
}

fn drops_nonsense(bench: &Bench) {
    let header = |flags, gso_type, gso_size: u16, start: u16, offset: u16| {
        let [size, start, offset] = [gso_size, start, offset].map(u16::to_le_bytes);
        [flags, gso_type, 0, 0, size[0], size[1], start[0], start[1], offset[0], offset[1], 0, 0]
    };
    let mut up = bench.start_with(&large(), Interrupts::POLLING);
    let mut dropped = 0;
    for len in [1000, 4000] {
        let tcp = |words| packet(false, words, len).0;
        for (header, payload) in [
            // No open checksum: none at all, or one that was verified.
            (header(0, 1, MSS, 34, 16), tcp(5)),
            (header(2, 1, MSS, 34, 16), tcp(5)),
            // Pieces of nothing.
            (header(1, 1, 0, 34, 16), tcp(5)),
            // A kind that does not exist, or was not agreed, or a reduced window of UDP.
            (header(1, 2, MSS, 34, 16), tcp(5)),
            (header(1, 3, MSS, 34, 6), tcp(5)),
            (header(1, 0x85, MSS, 34, 6), tcp(5)),
            (header(1, 0x80, MSS, 34, 16), tcp(5)),
            // A checksum that is not its protocol's.
            (header(1, 1, MSS, 34, 6), tcp(5)),
            (header(1, 5, MSS, 34, 16), tcp(5)),
            // A TCP header that is shorter than one, or starts in front of the packet.
            (header(1, 1, MSS, 34, 16), tcp(4)),
            (header(1, 1, MSS, 13, 16), tcp(5)),
            // Headers that are not in the first segment, or are the whole packet.
            (header(1, 1, MSS, u16::try_from(len - 20).unwrap(), 16), tcp(5)),
            (header(1, 1, MSS, 1980, 16), packet(false, 5, 4000).0),
            (header(1, 1, MSS, u16::MAX, 16), tcp(5)),
            (header(1, 1, MSS, 34, 16), packet(false, 15, 94).0),
            (header(1, 5, MSS, 34, 6), packet(false, 0, 42).0),
        ] {
            assert!(bench.model().deliver_with(header, &payload), "{header:?}");
            assert_eq!(up.rx.receive(&mut Burst::new()), Ok(0), "{header:?}, {len}");
            dropped += 1;
            assert_eq!(up.rx.counters().errors, dropped);
        }
    }
    // Longer than any packet: over more buffers than that has.
    assert!(bench.model().deliver_with(header(1, 1, MSS, 34, 16), &packet(false, 5, 65_594).0));
    assert_eq!(up.rx.receive(&mut Burst::new()), Ok(0));
    assert_eq!(up.rx.counters().oversized, 1);
    // And a long one that is not large.
    assert!(bench.model().deliver(&bytes(1519, 1)));
    assert_eq!(up.rx.receive(&mut Burst::new()), Ok(0));
    assert_eq!(up.rx.counters().oversized, 2);
    let (payload, start) = packet(false, 5, 65_593);
    assert!(bench.model().deliver_large(1, MSS, (start, 16), &payload));
    assert_eq!(content(&receive_one(&mut up)), payload);
    assert!(up.stop().is_ok());
    bench.assert_at_rest();
}

/// What a device was not asked to make is not believed, even where it makes others.
#[test]
fn a_kind_of_large_packet_that_was_not_agreed_is_dropped() {
    let bench = Bench::new(LARGE);
    let mut up = bench.start_with(&large().with_rx_offloads(RxOffloads::TCP4), Interrupts::POLLING);
    let (payload, _) = packet(false, 5, 1000);
    for gso_type in [4, 5, 0x81] {
        let header = [1, gso_type, 0, 0, 0xff, 0, 34, 0, 16, 0, 0, 0];
        assert!(bench.model().deliver_with(header, &payload));
        assert_eq!(up.rx.receive(&mut Burst::new()), Ok(0));
    }
    assert_eq!(up.rx.counters().errors, 3);
    assert!(bench.model().deliver_large(1, MSS, (34, 16), &payload));
    assert!(receive_one(&mut up).offload().segmentation.is_some());
}

/// A device that does not cut UDP, or a packet whose window was reduced, is not asked to.
#[test]
fn what_a_device_does_not_cut_is_not_sent() {
    let bench = Bench::new(LARGE & !(bits::HOST_ECN | bits::HOST_USO));
    let mut up = bench.start_with(&large(), Interrupts::POLLING);
    for (gso_type, words, offset) in [(0x81, 5, 16), (5, 0, 6), (1, 5, 16)] {
        let (payload, start) = packet(false, words, 3000);
        assert!(bench.model().deliver_large(gso_type, MSS, (start, offset), &payload));
        let frame = receive_one(&mut up);
        assert_eq!(up.tx.transmit(&mut burst([frame])), Ok(1));
    }
    assert_eq!((up.tx.counters().refused, bench.sent().len()), (2, 1));
    bench.assert_clean();
}
