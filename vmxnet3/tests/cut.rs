//! Packets that the device cuts (TSO), as the stack leaves them.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;
#[path = "support/tcp.rs"]
mod tcp;

use paravane_hal::irq::Interrupts;
use paravane_mock_hal::model::vmxnet3::{Personality, cut};
use paravane_net::{Burst, Frame, Segmentation, SegmentationKind, TxOffload, TxQueue as _, VlanTag};
use support::{Machine, MockRunning, bytes_of, numbered, send, small};
use tcp::{CWR, PLAIN, Tcp, kinds};

/// `packet` in buffers, first to last, and asking to be cut.
fn large(machine: &Machine, packet: &Tcp, mss_bytes: u16) -> Frame {
    let bytes = packet.open_frame();
    let pieces: Vec<&[u8]> = bytes.chunks(1984).collect();
    let mut frame = machine.chain(&pieces);
    let (request, cut) = packet.asked(mss_bytes);
    frame.set_offload(TxOffload { checksum: Some(request), segmentation: Some(cut) });
    frame
}

fn on_wire(machine: &Machine, running: &mut MockRunning) -> Vec<Vec<u8>> {
    running.tx.flush();
    machine.model().look();
    let sent = machine.model().take_sent();
    running.tx.reclaim().unwrap();
    sent.iter().flat_map(|sent| sent.on_wire()).collect()
}

#[test]
fn a_large_packet_leaves_as_its_segments_at_each_revision() {
    let revisions = (1..=7).map(|revision| Personality::esxi().up_to(revision));
    for personality in revisions.chain([Personality::qemu()]) {
        let machine = Machine::new(personality);
        let mut running = machine.start(&small().with_max_revision(7), Interrupts::POLLING);
        for (packet, mss_bytes) in kinds() {
            let fits = packet.frame().len().div_ceil(1984) <= 24 && packet.flags & CWR == 0;
            send(&mut running, large(&machine, &packet, mss_bytes));
            let expected = if fits { cut(&packet.frame(), mss_bytes) } else { Vec::new() };
            assert_eq!(on_wire(&machine, &mut running), expected, "{packet:?}");
        }
        machine.assert_clean();
    }
}

#[test]
fn a_tag_goes_into_each_segment() {
    let machine = Machine::new(Personality::esxi());
    let mut running = machine.start_small();
    let packet = Tcp { payload_bytes: 3000, ..PLAIN };
    let mut frame = large(&machine, &packet, 1448);
    frame.set_vlan(Some(VlanTag(0x2005)));
    send(&mut running, frame);
    let segments = on_wire(&machine, &mut running);
    assert_eq!(segments.len(), 3);
    assert!(segments.iter().all(|segment| segment[12..16] == [0x81, 0x00, 0x20, 0x05]));
}

#[test]
fn what_is_not_what_it_says_is_refused_before_the_ring_is_touched() {
    let machine = Machine::new(Personality::esxi());
    let mut running = machine.start_small();
    let packet = Tcp { payload_bytes: 3000, ..PLAIN };
    let (request, asked) = packet.asked(1448);
    let with = |change: &dyn Fn(&mut Frame)| {
        let mut frame = large(&machine, &packet, 1448);
        change(&mut frame);
        frame
    };
    let says = |checksum, segmentation| {
        with(&move |frame| frame.set_offload(TxOffload { checksum, segmentation: Some(segmentation) }))
    };
    let refused = [
        says(None, asked),
        says(Some(request), Segmentation { kind: SegmentationKind::Tcp6, ..asked }),
        says(Some(request), Segmentation { header_bytes: asked.header_bytes - 4, ..asked }),
        says(Some(request), Segmentation { header_bytes: asked.header_bytes + 4, ..asked }),
        says(Some(paravane_net::ChecksumRequest { start_bytes: 38, ..request }), asked),
        says(Some(paravane_net::ChecksumRequest { offset_bytes: 6, ..request }), asked),
        // UDP, a fragment, another length.
        with(&|frame| assert!(frame.write(23, &17_u8))),
        with(&|frame| assert!(frame.write(20, &0x20_u8))),
        with(&|frame| assert!(frame.write(17, &0_u8))),
        // A window that was reduced, which is not said.
        with(&|frame| assert!(frame.write(47, &(1_u8 << 7 | 1 << 4)))),
    ];
    let count = refused.len();
    let mut burst = Burst::new();
    burst.push(machine.frame(&numbered(1)));
    for frame in refused {
        burst.push(frame);
        burst.push(machine.frame(&numbered(2)));
    }
    assert_eq!(running.tx.transmit(&mut burst), Ok(1 + 2 * count));
    assert_eq!(running.tx.counters().refused, count as u64);
    let sent = on_wire(&machine, &mut running);
    assert_eq!(sent.len(), 1 + count);
    assert!(sent[1..].iter().all(|bytes| *bytes == numbered(2)));
    machine.assert_clean();
}

/// What waits is as it was given: it may leave by another device.
#[test]
fn a_packet_that_does_not_fit_waits_as_it_was() {
    let machine = Machine::new(Personality { tx_threshold: u32::MAX, ..Personality::esxi() });
    let mut running = machine.start(&small(), Interrupts::POLLING);
    let mut burst = Burst::new();
    burst.extend((0..30).map(|number| machine.frame(&numbered(number))));
    let packet = Tcp { payload_bytes: 3000, ..PLAIN };
    burst.push(large(&machine, &packet, 1448));
    assert_eq!(running.tx.transmit(&mut burst), Ok(30));
    let frame = burst.pop().unwrap();
    assert_eq!(bytes_of(&frame), packet.open_frame());
    assert_eq!(on_wire(&machine, &mut running).len(), 30);
    send(&mut running, frame);
    assert_eq!(on_wire(&machine, &mut running), cut(&packet.frame(), 1448));
    machine.assert_clean();
}
