//! Frames in tunnels (Geneve, VXLAN) on their way in: what a device says of the inside, and what it
//! put together there.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "support/inside.rs"]
mod inside;
mod support;
#[path = "support/tunnelled.rs"]
mod tunnelled;

use inside::{GENEVE, Inside, PLAIN, kinds};
use paravane_hal::irq::Interrupts;
use paravane_net::{RxChecksum, RxQueue as _, TunnelKind, TxOffload};
use paravane_vmxnet3::TunnelPorts;
use support::{bytes_of, numbered, receive_all};
use tunnelled::{config, transmit, up_to};

#[test]
fn what_is_found_inside_is_said_by_itself() {
    for revision in [4, 6, 7] {
        let machine = up_to(revision);
        let mut up = machine.start(&config(), Interrupts::POLLING);
        for (packet, is_tcp) in kinds().flat_map(|packet| [(packet, true), (packet, false)]) {
            let packet = Inside { is_tcp, ..packet };
            for damage in [None, Some(packet.places()[3])] {
                let mut wire = packet.whole();
                if let Some(at) = damage {
                    wire[at] ^= 0x40;
                }
                assert!(machine.model().deliver(&wire));
                let frame = receive_all(&mut up).pop().unwrap();
                assert_eq!(frame.has_good_inner_checksum(), damage.is_none(), "{packet:?}");
                assert_eq!(frame.rx_checksum(), RxChecksum::Unverified);
                assert_eq!((frame.tunnel(), frame.offload().is_none()), (None, true));
                assert_eq!(bytes_of(&frame), wire);
            }
        }
        let other = Inside { port: 8472, ..PLAIN };
        assert!(machine.model().deliver(&Inside { outer_checksum: true, ..other }.whole()));
        let frame = receive_all(&mut up).pop().unwrap();
        assert_eq!((frame.has_good_inner_checksum(), frame.rx_checksum()), (false, RxChecksum::Good));
        machine.assert_clean();
    }
}

/// `ext1`, `cnc`, and all bits of a good verdict, as a device may set them over anything.
#[test]
fn a_device_that_lies_about_the_inside_vouches_for_no_other() {
    const GOOD: u32 = 1 << 16 | 1 << 18 | 1 << 19 | 1 << 21;
    const CNC: u32 = 1 << 30;
    let machine = up_to(6);
    let mut up = machine.start(&config(), Interrupts::POLLING);
    let inside = PLAIN.whole();
    let other = Inside { port: 8472, ..PLAIN }.whole();
    let short = inside[..100].to_vec();
    for (bytes, word0, word3, is_good) in [
        (&inside, 2 << 12, GOOD, true),
        (&inside, 3 << 12, GOOD, true),
        (&inside, 1 << 12, GOOD, false),
        (&inside, 2 << 12 | CNC, GOOD, false),
        (&inside, 2 << 12, GOOD & !(1 << 16), false),
        (&inside, 2 << 12, 0, false),
        (&other, 2 << 12, GOOD, false),
        (&numbered(300), 2 << 12, GOOD, false),
        (&short, 2 << 12, GOOD, false),
    ] {
        assert!(machine.model().deliver_with(bytes, [word0, 0, 0, word3]));
        let frame = receive_all(&mut up).pop().unwrap();
        assert_eq!(frame.has_good_inner_checksum(), is_good, "{word0:#x} {word3:#x}");
        assert_eq!(frame.rx_checksum(), RxChecksum::Unverified);
        assert_eq!(bytes_of(&frame), *bytes);
    }
    // And nothing of it stays with the buffers.
    for number in 0..64 {
        assert!(machine.model().deliver_with(&numbered(number), [0, 0, 0, GOOD]));
        let frame = receive_all(&mut up).pop().unwrap();
        assert!(!frame.has_good_inner_checksum());
        assert_eq!(frame.rx_checksum(), RxChecksum::Good);
    }
    machine.assert_clean();
}

/// A first completion that says that the frame was put together of so many, each with so much.
fn merged(segments: u32, mss_bytes: u32, is_good: bool) -> [u32; 4] {
    const GOOD: u32 = 1 << 16 | 1 << 18 | 1 << 19 | 1 << 21;
    let word0 = if is_good { 2 << 12 } else { 2 << 12 | 1 << 30 };
    [word0, segments, 0, 4 << 24 | GOOD & !0xffff | mss_bytes]
}

#[test]
fn a_large_packet_inside_says_how_it_is_cut_again() {
    for revision in [4, 6, 7] {
        let machine = up_to(revision);
        let config = config().with_rx2_entries(64).with_lro(true);
        let mut up = machine.start(&config, Interrupts::POLLING);
        for packet in kinds() {
            let packet = Inside { payload_bytes: 1700, ..packet };
            for is_good in [true, false] {
                assert!(machine.model().deliver_with(&packet.whole(), merged(2, 900, is_good)));
                let frame = receive_all(&mut up).pop().unwrap();
                assert_eq!(frame.rx_checksum(), RxChecksum::Unverified);
                assert_eq!(frame.tunnel(), Some(packet.tunnel()));
                assert_eq!(frame.has_good_inner_checksum(), is_good);
                let TxOffload { checksum, segmentation } = frame.offload();
                assert_eq!(segmentation, Some(packet.cut(900)), "{packet:?}");
                assert_eq!(checksum, is_good.then(|| packet.request()));
                let expected = if is_good { packet.open() } else { packet.whole() };
                assert_eq!(bytes_of(&frame), expected);
                // Sent on, it is cut as it came; what nobody vouches for is not sent on.
                match transmit(&machine, &mut up, frame) {
                    Some(sent) => packet.check_wire(&sent.on_wire(), Some(900)),
                    None => assert!(!is_good),
                }
            }
        }
        assert_eq!(up.rx.counters().dropped(), 0);
        machine.assert_clean();
    }
}

#[test]
fn a_large_packet_of_which_the_inside_is_not_known_is_dropped() {
    let large = Inside { payload_bytes: 1700, ..PLAIN };
    let [_, inner, l4, _] = large.places();
    let change = |at: usize, byte: u8| {
        let mut bytes = large.whole();
        bytes[at] = byte;
        bytes
    };
    let other_port = Inside { port: 8472, ..large }.whole();
    let udp = Inside { is_tcp: false, ..large }.whole();
    let longer = [large.whole(), vec![0]].concat();
    for (what, tunnels, bytes) in [
        ("no tunnels", TunnelPorts::NONE, large.whole()),
        ("another kind's", TunnelPorts::NONE.with(TunnelKind::Geneve, GENEVE), large.whole()),
        ("another port", TunnelPorts::ASSIGNED, other_port),
        ("UDP inside", TunnelPorts::ASSIGNED, udp),
        ("a fragment inside", TunnelPorts::ASSIGNED, change(inner + 20, 0x20)),
        ("a long TCP header", TunnelPorts::ASSIGNED, change(l4 + 12, 4 << 4)),
        ("a longer frame", TunnelPorts::ASSIGNED, longer),
    ] {
        let machine = up_to(6);
        let config = config().with_rx2_entries(64).with_lro(true).with_tunnels(tunnels);
        let mut up = machine.start(&config, Interrupts::POLLING);
        machine.model().deliver_with(&bytes, merged(2, 900, true));
        assert_eq!(receive_all(&mut up).len(), 0, "{what}");
        assert_eq!((up.rx.counters().errors, up.rx.counters().dropped()), (1, 1), "{what}");
        assert!(machine.model().deliver(&large.whole()[..1400]));
        assert_eq!(receive_all(&mut up).len(), 1, "and it goes on");
    }
}

/// Outer headers count for the longest that can have come.
#[test]
fn no_segment_inside_is_longer_than_what_can_be_received() {
    let machine = up_to(6);
    let config = config().with_rx2_entries(64).with_lro(true);
    let mut up = machine.start(&config, Interrupts::POLLING);
    for packet in kinds() {
        let packet = Inside { payload_bytes: 1700, ..packet };
        assert!(machine.model().deliver_with(&packet.whole(), merged(2, 1500, true)));
        let frame = receive_all(&mut up).pop().unwrap();
        let largest = 1500 - (packet.places()[3] - 14);
        let cut = frame.offload().segmentation.unwrap();
        assert_eq!(usize::from(cut.mss_bytes), largest, "{packet:?}");
    }
}
