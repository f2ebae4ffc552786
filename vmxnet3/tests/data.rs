//! Frames both ways, through many laps of every ring; and how they are sent.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;
#[path = "support/tcp.rs"]
mod tcp;

use paravane_hal::irq::Interrupts;
use paravane_mock_hal::fault::{Action, Fault, FaultPoint};
use paravane_mock_hal::model::vmxnet3::Personality;
use paravane_net::{
    Burst, ChecksumRequest, Control as _, Frame, Offloads, RxQueue as _, Segmentation, SegmentationKind,
    TxOffload, TxQueue as _, VlanTag,
};
use support::{Machine, both, bytes_of, numbered, receive_all, send, small};
use tcp::{PLAIN, Tcp, folded};

#[test]
fn frames_arrive_in_order_through_many_laps() {
    both(|machine| {
        let mut running = machine.start_small();
        let (mut sent, mut received) = (0, 0);
        for turn in 0..400 {
            for _ in 0..turn % 28 {
                assert!(machine.model().deliver(&numbered(sent)));
                sent += 1;
            }
            for frame in receive_all(&mut running) {
                assert_eq!(bytes_of(&frame), numbered(received));
                received += 1;
            }
        }
        assert_eq!(sent, received);
        assert!(sent > 32 * 100, "many laps");
        let counters = running.rx.counters();
        assert_eq!((counters.frames, counters.dropped(), counters.skipped), (sent.into(), 0, 0));
        machine.assert_clean();
    });
}

#[test]
fn frames_leave_in_order_through_many_laps() {
    both(|machine| {
        let mut running = machine.start_small();
        let (mut given, mut left) = (0, 0);
        for turn in 0..400 {
            let mut burst = Burst::new();
            for _ in 0..turn % 33 {
                burst.push(machine.frame(&numbered(given)));
                given += 1;
            }
            while !burst.is_empty() {
                running.tx.transmit(&mut burst).unwrap();
                machine.model().look();
                running.tx.reclaim().unwrap();
            }
            running.tx.flush();
            for sent in machine.model().take_sent() {
                assert_eq!(sent.bytes, numbered(left));
                left += 1;
            }
        }
        machine.model().look();
        assert_eq!(given, left);
        running.tx.reclaim().unwrap();
        assert_eq!(running.tx.counters().completed, u64::from(given));
        assert_eq!(running.tx.room(), 31);
        assert_eq!(machine.pool.buffers() - machine.pool.free(), 31, "what the receive ring holds");
        machine.assert_clean();
    });
}

#[test]
fn every_ring_size_wraps() {
    for entries in (32..=4096).step_by(352) {
        let machine = Machine::with_pool(Personality::esxi(), 6000);
        let config = small().with_tx_entries(entries).with_rx_entries(entries);
        let mut running = machine.start(&config, Interrupts::POLLING);
        for number in 0..u32::from(entries) * 2 + 40 {
            assert!(machine.model().deliver(&numbered(number)));
            let frames = receive_all(&mut running);
            assert_eq!(frames.len(), 1);
            let mut burst = Burst::new();
            burst.extend(frames);
            assert_eq!(running.tx.transmit(&mut burst), Ok(1), "forwarded as it is");
            running.tx.flush();
            running.tx.reclaim().unwrap();
        }
        let sent = machine.model().take_sent();
        assert!(sent.iter().zip(0..).all(|(sent, number)| sent.bytes == numbered(number)));
        machine.assert_clean();
    }
}

#[test]
fn a_burst_asks_for_one_completion_and_rings_once() {
    let machine = Machine::new(Personality { completes_every_frame: false, ..Personality::qemu() });
    let mut running = machine.start_small();
    machine.model().doorbells.clear();
    let mut burst = Burst::new();
    for number in 0..20 {
        burst.push(machine.frame(&numbered(number)));
    }
    assert_eq!(running.tx.transmit(&mut burst), Ok(20));
    assert_eq!(machine.model().doorbells, [(0x600, 20)]);
    assert_eq!(running.tx.reclaim(), Ok(20), "one completion stands for all");
    assert_eq!(running.tx.counters().doorbells, 1);
}

#[test]
fn a_device_that_looks_by_itself_is_told_less_often() {
    let machine = Machine::new(Personality::esxi());
    let mut running = machine.start_small();
    machine.model().doorbells.clear();
    for number in 0..7 {
        send(&mut running, machine.frame(&numbered(number)));
    }
    assert_eq!(machine.model().doorbells, []);
    send(&mut running, machine.frame(&numbered(7)));
    assert_eq!(machine.model().doorbells, [(0x600, 8)], "the threshold is 8");
    let counters = running.tx.counters();
    assert_eq!((counters.doorbells, counters.doorbells_saved), (1, 7));
    send(&mut running, machine.frame(&numbered(8)));
    running.tx.flush();
    running.tx.flush();
    assert_eq!(machine.model().doorbells.len(), 2, "once, and only if something waits");
    assert_eq!(machine.model().take_sent().len(), 9);
}

#[test]
fn a_threshold_of_zero_means_always() {
    let machine = Machine::new(Personality { tx_threshold: 0, ..Personality::esxi() });
    let mut running = machine.start_small();
    machine.model().doorbells.clear();
    send(&mut running, machine.frame(&numbered(1)));
    assert_eq!(machine.model().doorbells.len(), 1);
}

#[test]
fn a_full_ring_takes_what_fits_and_rings_whatever_the_threshold() {
    let machine = Machine::new(Personality { tx_threshold: u32::MAX, ..Personality::esxi() });
    let mut running = machine.start_small();
    machine.model().doorbells.clear();
    let mut burst = Burst::new();
    for number in 0..32 {
        burst.push(machine.frame(&numbered(number)));
    }
    assert_eq!(running.tx.transmit(&mut burst), Ok(31), "one descriptor stays free");
    assert_eq!(burst.len(), 1);
    assert_eq!(running.tx.counters().ring_full, 1);
    assert_eq!(machine.model().doorbells, [(0x600, 31)]);
    assert_eq!(running.tx.transmit(&mut burst), Ok(1), "what was sent makes room by itself");
}

#[test]
fn a_device_that_lost_a_doorbell_is_reminded() {
    let machine = Machine::new(Personality::qemu());
    let mut running = machine.start_small();
    running.tx.remind();
    machine.model().faults.add(Fault::nth(FaultPoint::Doorbell, 1, Action::Drop));
    machine.model().doorbells.clear();
    send(&mut running, machine.frame(&numbered(1)));
    running.tx.flush();
    assert_eq!(
        (machine.model().take_sent().len(), running.tx.reclaim()),
        (0, Ok(0)),
        "it was told, for all we know"
    );
    running.tx.remind();
    assert_eq!((machine.model().take_sent().len(), running.tx.reclaim()), (1, Ok(1)));
    running.tx.remind();
    assert_eq!(machine.model().doorbells, [(0x600, 1); 2], "with nothing in flight there is nothing to say");
    machine.assert_clean();
}

#[test]
fn a_frame_in_pieces_leaves_as_one() {
    both(|machine| {
        let mut running = machine.start_small();
        // Wraps at each of its pieces in turn.
        for number in 0..100 {
            let bytes = numbered(1000 + number);
            let pieces: Vec<&[u8]> = bytes.chunks(bytes.len().div_ceil(7)).collect();
            let descriptors = pieces.len();
            send(&mut running, machine.chain(&pieces));
            running.tx.flush();
            let sent = machine.model().take_sent();
            assert_eq!(sent.len(), 1);
            assert_eq!((sent[0].descriptors, &sent[0].bytes), (descriptors, &bytes));
            running.tx.reclaim().unwrap();
        }
        machine.assert_clean();
    });
}

#[test]
fn a_chain_that_does_not_fit_waits() {
    let machine = Machine::new(Personality { tx_threshold: u32::MAX, ..Personality::esxi() });
    let mut running = machine.start_small();
    let mut burst = Burst::new();
    for number in 0..30 {
        burst.push(machine.frame(&numbered(number)));
    }
    assert_eq!(running.tx.transmit(&mut burst), Ok(30));
    burst.push(machine.chain(&[&[1; 40], &[2; 40]]));
    assert_eq!(running.tx.transmit(&mut burst), Ok(0));
    assert_eq!(running.tx.counters().ring_full, 1);
    machine.model().look();
    assert_eq!(running.tx.transmit(&mut burst), Ok(1));
    machine.assert_clean();
}

#[test]
fn offloads_are_described_in_the_first_descriptor() {
    let machine = Machine::new(Personality::qemu());
    let mut running = machine.start_small();
    let checksum = ChecksumRequest { start_bytes: 34, offset_bytes: 16 };

    let mut summed = machine.frame(&numbered(500));
    summed.set_offload(TxOffload { checksum: Some(checksum), segmentation: None });
    summed.set_vlan(Some(VlanTag(0xa123)));
    send(&mut running, summed);

    let bytes = Tcp { payload_bytes: 2000, ..PLAIN }.open_frame();
    let mut cut = machine.chain(&[&bytes[..66], &bytes[66..1066], &bytes[1066..]]);
    let tcp4 = Segmentation { kind: SegmentationKind::Tcp4, header_bytes: 66, mss_bytes: 1448, ecn: false };
    cut.set_offload(TxOffload { checksum: Some(checksum), segmentation: Some(tcp4) });
    send(&mut running, cut);

    let sent = machine.model().take_sent();
    assert_eq!((sent[0].om, sent[0].hlen, sent[0].msscof, sent[0].tag), (2, 34, 50, Some(0xa123)));
    assert_eq!((sent[1].om, sent[1].hlen, sent[1].msscof, sent[1].tag), (3, 66, 1448, None));
    assert_eq!((sent[1].bytes.len(), sent[1].descriptors), (2066, 3));
    machine.assert_clean();
}

/// What a NIC offers is what it takes: a stack that goes by it loses no frame.
#[test]
fn what_is_offered_is_sent_and_nothing_else_is() {
    let machine = Machine::new(Personality::qemu());
    let mut running = machine.start_small();
    let offers = running.control.info().offloads;
    for (offload, kind, ecn) in [
        (Offloads::TSO4, SegmentationKind::Tcp4, false),
        (Offloads::TSO6, SegmentationKind::Tcp6, false),
        (Offloads::USO, SegmentationKind::Udp, false),
        (Offloads::ECN, SegmentationKind::Tcp4, true),
    ] {
        let packet = Tcp { is_v6: kind == SegmentationKind::Tcp6, payload_bytes: 500, ..PLAIN };
        let mut frame = machine.frame(&packet.open_frame());
        let (checksum, cut) = packet.asked(100);
        let segmentation = Some(Segmentation { kind, ecn, ..cut });
        frame.set_offload(TxOffload { checksum: Some(checksum), segmentation });
        let _ = running.tx.transmit(&mut frame.into());
        let sent = machine.model().take_sent().len();
        assert_eq!(sent == 1, offers.contains(offload), "{offload:?}");
    }
    assert!(offers.contains(Offloads::CHECKSUM | Offloads::VLAN));
    machine.assert_clean();
}

#[test]
fn frames_of_a_burst_each_ask_for_their_own_checksum() {
    let machine = Machine::new(Personality { completes_every_frame: false, ..Personality::qemu() });
    let mut running = machine.start_small();
    let asking = |number, start_bytes| {
        let mut frame = machine.frame(&numbered(number));
        let checksum = Some(ChecksumRequest { start_bytes, offset_bytes: 16 });
        frame.set_offload(TxOffload { checksum, segmentation: None });
        frame
    };
    for lap in 0..20 {
        machine.model().doorbells.clear();
        let mut burst = Burst::new();
        burst.extend([asking(500, 34), machine.frame(&numbered(501)), asking(502, 54)]);
        assert_eq!(running.tx.transmit(&mut burst), Ok(3));
        let sent: Vec<_> =
            machine.model().take_sent().iter().map(|sent| (sent.om, sent.hlen, sent.msscof)).collect();
        assert_eq!(sent, [(2, 34, 50), (0, 0, 0), (2, 54, 70)], "lap {lap}");
        assert_eq!(machine.model().doorbells.len(), 1);
        assert_eq!(running.tx.reclaim(), Ok(3), "the last one asks for the completion as well");
    }
    // The descriptor has no room for where it is, so it is summed before; the other is not held up.
    let mut burst = Burst::new();
    burst.extend([asking(1200, 1100), asking(503, 34)]);
    assert_eq!(running.tx.transmit(&mut burst), Ok(2));
    let sent = machine.model().take_sent();
    assert_eq!((sent[0].om, sent[1].om), (0, 2));
    assert_ne!(sent[0].bytes[1116..1118], numbered(1200)[1116..1118]);
    machine.assert_clean();
}

#[test]
fn a_frame_to_be_cut_counts_as_what_comes_of_it() {
    let machine = Machine::new(Personality { tx_threshold: 3, ..Personality::esxi() });
    let mut running = machine.start_small();
    machine.model().doorbells.clear();
    let packet = Tcp { payload_bytes: 2897, ..PLAIN };
    let bytes = packet.open_frame();
    let mut cut = machine.chain(&[&bytes[..66], &bytes[66..1566], &bytes[1566..]]);
    let (checksum, segmentation) = packet.asked(1448);
    cut.set_offload(TxOffload { checksum: Some(checksum), segmentation: Some(segmentation) });
    send(&mut running, cut);
    assert_eq!(machine.model().doorbells.len(), 1, "2897 bytes of payload are three segments");
}

#[test]
fn what_cannot_be_sent_is_refused_and_comes_home() {
    let machine = Machine::new(Personality::qemu());
    let mut running = machine.start_small();
    let free = machine.pool.free();
    let mut burst = Burst::new();
    burst.push(machine.frame(&[0; 13]));
    burst.push(machine.frame(&[0; 1519]));
    burst.push(machine.pool.get().unwrap());
    burst.push(machine.chain(&[&[0; 60], &[]]));
    burst.push(machine.chain(&[[0_u8; 14].as_slice(); 17]));
    burst.push(machine.frame(&numbered(1)));
    assert_eq!(running.tx.transmit(&mut burst), Ok(6));
    assert_eq!(running.tx.counters().refused, 5);
    assert_eq!(machine.model().take_sent().len(), 1, "the good one is not held up");
    running.tx.reclaim().unwrap();
    assert_eq!(machine.pool.free(), free);
    machine.assert_clean();
}

#[test]
fn a_chain_that_is_refused_leaves_nothing_for_the_device() {
    both(|machine| {
        let mut running = machine.start_small();
        let empty_inside: &[&[u8]] = &[&[1; 60], &[], &[2; 60]];
        let too_many: &[&[u8]] = &[[3; 40].as_slice(); 17];
        let too_long: &[&[u8]] = &[&[4; 1000], &[5; 519]];
        for turn in 0..100 {
            let mut burst = Burst::new();
            burst.push(machine.frame(&numbered(turn)));
            burst.push(machine.chain([empty_inside, too_many, too_long][turn as usize % 3]));
            assert_eq!(running.tx.transmit(&mut burst), Ok(2));
            running.tx.flush();
            machine.model().look();
            let sent: Vec<_> = machine.model().take_sent().into_iter().map(|sent| sent.bytes).collect();
            assert_eq!(sent, [numbered(turn)]);
            assert_eq!(running.tx.reclaim(), Ok(1));
        }
        assert_eq!(running.tx.counters().refused, 100);
        machine.assert_clean();
    });
}

#[test]
fn chains_and_trimmed_frames_of_a_burst_ask_for_their_own_checksum() {
    both(|machine| {
        let mut running = machine.start_small();
        let asking = |mut frame: Frame, start_bytes| {
            let checksum = Some(ChecksumRequest { start_bytes, offset_bytes: 16 });
            frame.set_offload(TxOffload { checksum, segmentation: None });
            frame
        };
        let trimmed = |number| {
            let mut frame = machine.frame(&[&[9; 4], numbered(number).as_slice()].concat());
            assert!(frame.trim_front(4));
            frame
        };
        let halves = |number| machine.chain(&[&numbered(number)[..50], &numbered(number)[50..]]);
        for lap in 0..20 {
            let mut burst = Burst::new();
            burst.extend([machine.frame(&numbered(500)), asking(trimmed(501), 34), halves(502)]);
            burst.extend([asking(halves(503), 54), asking(trimmed(504), 74)]);
            assert_eq!(running.tx.transmit(&mut burst), Ok(5));
            running.tx.flush();
            machine.model().look();
            let sent = machine.model().take_sent();
            assert_eq!(sent.iter().map(|sent| sent.descriptors).collect::<Vec<_>>(), [1, 1, 2, 2, 1]);
            let asked: Vec<_> = sent.iter().map(|sent| (sent.om, sent.hlen, sent.msscof)).collect();
            assert_eq!(asked, [(0, 0, 0), (2, 34, 50), (0, 0, 0), (2, 54, 70), (2, 74, 90)], "lap {lap}");
            assert!(sent.iter().zip(500..).all(|(sent, number)| sent.bytes.len() == numbered(number).len()));
            assert_eq!(running.tx.reclaim(), Ok(5));
        }
        machine.assert_clean();
    });
}

/// Sends `frames`, made in buffers that are full of something else; what left.
fn sent_of(machine: &Machine, frames: impl IntoIterator<Item = Frame>) -> Vec<Vec<u8>> {
    let mut running = machine.start_small();
    let mut burst = Burst::new();
    burst.extend(frames);
    let offered = burst.len();
    assert_eq!(running.tx.transmit(&mut burst), Ok(offered));
    running.tx.flush();
    machine.model().look();
    let sent = machine.model().take_sent().into_iter().map(|sent| sent.bytes).collect();
    assert_eq!((running.tx.reclaim(), running.tx.counters().refused), (Ok(offered), 0));
    assert!(running.stop().is_ok());
    machine.assert_clean();
    sent
}

/// A machine whose pool has something in every byte.
fn used_machine() -> Machine {
    let machine = Machine::new(Personality::esxi());
    let used: Vec<_> = std::iter::from_fn(|| machine.pool.get()).collect();
    for mut frame in used {
        assert!(frame.append(&[0xee; 1984]));
    }
    machine
}

/// UDP over IPv4 with nothing in it, and the sum of the pseudo-header for a checksum.
fn empty_datagram() -> Vec<u8> {
    let mut bytes = Tcp { options: [0, 0], ..PLAIN }.frame();
    bytes.truncate(42);
    bytes[16..18].copy_from_slice(&[0, 28]);
    bytes[23] = 17;
    bytes[38..40].copy_from_slice(&[0, 8]);
    let sum = folded(&bytes[26..34], 8 + 17);
    bytes[40..42].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().max(60), 0);
    bytes
}

#[test]
fn short_frames_leave_as_long_as_ethernet_has_them_and_with_zeroes() {
    let machine = used_machine();
    // A burst of them, and of others between them.
    let lengths = [14, 42, 54, 59, 60, 61, 54, 1514, 20];
    let bytes: Vec<Vec<u8>> = lengths.iter().map(|len_bytes| vec![0x11; *len_bytes]).collect();
    let sent = sent_of(&machine, bytes.iter().map(|bytes| machine.frame(bytes)));
    assert_eq!(sent, bytes.iter().map(|bytes| padded(bytes)).collect::<Vec<_>>());

    // In several buffers, with a checksum to be filled in, with a tag to be put in.
    let datagram = empty_datagram();
    let mut summed = machine.frame(&datagram);
    let checksum = Some(ChecksumRequest { start_bytes: 34, offset_bytes: 6 });
    summed.set_offload(TxOffload { checksum, segmentation: None });
    let mut tagged = machine.frame(&[0x33; 42]);
    tagged.set_vlan(Some(VlanTag(5)));
    let sent = sent_of(&machine, [summed, tagged, machine.chain(&[&[0x44; 14], &[0x55; 6], &[0x66; 1]])]);
    assert_eq!(sent[..2], [padded(&datagram), padded(&[0x33; 42])]);
    assert_eq!(sent[2], padded(&[&[0x44; 14][..], &[0x55; 6], &[0x66]].concat()));
}

#[test]
fn a_burst_of_acknowledgements_is_padded_and_one_completion_is_for_all() {
    let machine = Machine::new(Personality { completes_every_frame: false, ..Personality::qemu() });
    let mut running = machine.start(&small().with_tx_entries(64), Interrupts::POLLING);
    let mut burst = Burst::new();
    burst.extend((0..32).map(|_| machine.frame(&[0x11; 54])));
    assert_eq!(running.tx.transmit(&mut burst), Ok(32));
    assert_eq!(running.tx.reclaim(), Ok(32));
    let sent = machine.model().take_sent();
    assert!(sent.iter().all(|sent| sent.bytes == padded(&[0x11; 54])) && sent.len() == 32);
}

#[test]
fn a_frame_to_be_cut_or_without_room_is_not_padded() {
    let machine = used_machine();
    let packet = Tcp { options: [0, 0], payload_bytes: 1, ..PLAIN };
    let mut cut = machine.frame(&packet.open_frame());
    let (checksum, segmentation) = packet.asked(1448);
    cut.set_offload(TxOffload { checksum: Some(checksum), segmentation: Some(segmentation) });
    let mut full = machine.pool.get().unwrap();
    assert!(full.append(&[0x22; 1984]) && full.trim_front(1984 - 20));
    let sent = sent_of(&machine, [cut, full]);
    // As the device wants its headers.
    let mut expected = packet.frame();
    expected[24..26].fill(0);
    expected[50..52].copy_from_slice(&packet.pseudo_sum(0).to_be_bytes());
    assert_eq!(sent, [expected, vec![0x22; 20]]);
}

#[test]
fn frames_of_another_dma_domain_are_refused() {
    let (machine, other) = (Machine::new(Personality::qemu()), Machine::new(Personality::qemu()));
    let mut running = machine.start_small();
    let mut burst = Burst::new();
    burst.push(machine.frame(&numbered(1)));
    burst.push(other.frame(&numbered(2)));
    let mut chain = machine.frame(&numbered(3));
    chain.set_next(other.frame(&numbered(4)));
    burst.push(chain);
    burst.push(machine.frame(&numbered(5)));
    assert_eq!(running.tx.transmit(&mut burst), Ok(4));
    let sent: Vec<_> = machine.model().take_sent().into_iter().map(|sent| sent.bytes).collect();
    assert_eq!(sent, [numbered(1), numbered(5)]);
    assert_eq!((running.tx.counters().refused, other.pool.free()), (2, other.pool.buffers()));
    machine.assert_clean();
}
