//! Frames that a device uses in the order in which they came, each reported or several at once.

use crate::support::*;
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::{Armed, Interrupts};
use paravane_mock_hal::MockPlatform;
use paravane_mock_hal::fault::{Action, Fault, FaultPoint, Field};
use paravane_mock_hal::model::virtio::Personality;
use paravane_net::{Burst, Frame, RxQueue, TxQueue};

/// IN_ORDER.
const IN_ORDER: u64 = 1 << 35;

/// A buffer that holds 200 bytes of a frame.
const PIECE: u16 = 264;

/// What is offered, and whether several are reported at once.
fn cases() -> impl Iterator<Item = (u64, bool)> {
    let rings = [0, EVENT_IDX, RING_PACKED, RING_PACKED | EVENT_IDX];
    let offers = rings.map(|ring| BASIC | IN_ORDER | MRG_RXBUF | ring);
    offers.into_iter().flat_map(|offered| [(offered, false), (offered, true)])
}

fn bench((offered, batches): (u64, bool), buffers: (u32, u16)) -> Bench {
    let personality = Personality { batches, shuffles: true, ..Personality::qemu() };
    Bench::on(MockPlatform::new(), personality, offered, buffers)
}

/// A frame in so many segments.
fn spread(bench: &Bench, payload: &[u8], segments: usize) -> Frame {
    let mut pieces = payload.chunks(payload.len().div_ceil(segments)).rev().map(|piece| bench.frame(piece));
    let mut frame = pieces.next().unwrap();
    for mut piece in pieces {
        piece.set_next(frame);
        frame = piece;
    }
    frame
}

/// What is in each of the frames.
fn contents(mut frames: Burst) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| frames.pop()).map(|frame| content(&frame)).collect()
}

#[test]
fn frames_go_both_ways_however_many_are_reported_at_once() {
    for case in cases() {
        // Frames of 200 bytes and more are spread over several buffers.
        let bench = bench(case, (64, PIECE));
        let mut up = bench.start();
        assert_ne!(bench.model().accepted() & IN_ORDER, 0);
        for round in 0..60_u8 {
            let frames: Vec<_> =
                (0..5 + round % 3).map(|at| bytes(90 + usize::from(round), round ^ at)).collect();
            let segments = |at: usize| 1 + usize::from(at % 4 == 1) * usize::from(round % 3);
            let sent = frames.iter().enumerate().map(|(at, frame)| spread(&bench, frame, segments(at)));
            assert_eq!(up.tx.transmit(&mut burst(sent)), Ok(frames.len()));
            assert_eq!(up.tx.reclaim(), Ok(frames.len()), "all at once");
            let expected: Vec<_> = frames.iter().map(|frame| [&[0; 12], &frame[..]].concat()).collect();
            assert_eq!(bench.sent(), expected);

            let frames: Vec<_> = [60, 500, 61, 700].map(|len| bytes(len, round)).to_vec();
            frames.iter().for_each(|frame| assert!(bench.model().deliver(frame)));
            let mut received = Burst::new();
            assert_eq!(up.rx.receive(&mut received), Ok(4));
            assert_eq!(contents(received), frames);
            assert_eq!(up.rx.arm(), Ok(Armed::Idle));
        }
        bench.assert_clean();
        up.stop().unwrap();
        bench.assert_at_rest();
    }
}

#[test]
fn a_buffer_that_nothing_is_said_of_counts_as_written_whole() {
    for case in cases() {
        let bench = bench(case, (64, PIECE));
        let mut up = bench.start();
        // All that a buffer holds; the last is shorter.
        let (whole, last) = (bytes(200, 1), bytes(100, 2));
        for _ in 0..40 {
            for frame in [&whole, &whole, &last] {
                let header = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];
                assert!(bench.model().fill_one(&[&header, &frame[..]].concat()));
            }
            bench.model().show(RX, 0);
            let mut received = Burst::new();
            assert_eq!(up.rx.receive(&mut received), Ok(3));
            assert_eq!(contents(received), [&whole, &whole, &last].map(Clone::clone));
        }
        bench.assert_clean();
    }
}

#[test]
fn a_ring_that_is_short_of_buffers_goes_on_in_order() {
    for case in cases() {
        let bench = bench(case, (20, 2048));
        let mut hold: Vec<_> = (0..8).map(|_| bench.pool.get().unwrap()).collect();
        // Four fewer than it has entries, and two more that are there in time.
        let mut up = bench.start();
        hold.truncate(6);
        for round in 0..50_u8 {
            (0..3).for_each(|at| assert!(bench.model().deliver(&bytes(60 + usize::from(round), at))));
            let mut received = Burst::new();
            assert_eq!(up.rx.receive(&mut received), Ok(2));
            assert_eq!(contents(received), [0, 1].map(|at| bytes(60 + usize::from(round), at)));
            assert_eq!(up.rx.counters().no_buffer, u64::from(round) + 1, "the third goes back as it is");
        }
        drop(hold);
        up.rx.refill();
        for round in 0..20 {
            assert!(bench.model().deliver(&bytes(60, round)));
            let mut received = Burst::new();
            assert_eq!(up.rx.receive(&mut received), Ok(1));
            assert_eq!(contents(received), [bytes(60, round)]);
        }
        bench.assert_clean();
        up.stop().unwrap();
        bench.assert_at_rest();
    }
}

#[test]
fn what_is_left_of_a_batch_is_pending() {
    for case in cases() {
        let bench = bench(case, (256, PIECE));
        let config = small().with_rx_entries(128);
        let mut up = bench.start_with(&config, Interrupts::msix(&MESSAGES));
        let header = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];
        let whole = [&header, &bytes(200, 1)[..]].concat();
        (0..100).for_each(|_| assert!(bench.model().fill_one(&whole)));
        bench.model().show(RX, 0);
        let (mut received, mut looks) = (0, 0);
        while received < 100 {
            assert_eq!(up.rx.arm(), Ok(Armed::Pending), "{received} of 100");
            received += up.rx.receive(&mut Burst::new()).unwrap();
            looks += 1;
        }
        assert!(looks > 1, "a burst holds fewer");
        assert_eq!(up.rx.arm(), Ok(Armed::Idle));
        bench.assert_clean();
    }
}

/// What the device says of `point`'s next buffer.
fn lie(bench: &Bench, point: FaultPoint, index: u32) {
    bench.model().faults.add(Fault::nth(point, 1, Action::Set { field: Field::Index, value: index }));
}

#[test]
fn a_buffer_that_is_not_there_or_not_counted_breaks_a_queue() {
    for case in cases().filter(|(_, batches)| !batches) {
        let is_packed = case.0 & RING_PACKED != 0;
        for (index, fault) in [
            (9, DeviceFault::NotInFlight { index: 9 }),
            (16, DeviceFault::IndexOutOfRange { index: 16, entries: 16 }),
        ] {
            let bench = bench(case, (64, 2048));
            let mut up = bench.start();
            lie(&bench, FaultPoint::TxCompletion, index);
            assert_eq!(up.tx.transmit(&mut burst((0..4).map(|at| bench.frame(&bytes(60, at))))), Ok(4));
            assert_eq!(up.tx.reclaim(), Err(fault));
            assert_eq!(up.tx.reclaim(), Err(fault), "it stays broken");
            up.stop().unwrap();
            bench.assert_at_rest();
        }
        let bench = bench(case, (64, 2048));
        let mut up = bench.start();
        // One is used, and it is the third: on a packed ring that are three.
        bench.model().class.serves_doorbells = false;
        assert_eq!(up.tx.transmit(&mut burst((0..4).map(|at| bench.frame(&bytes(60, at))))), Ok(4));
        bench.model().put(TX, 2, 0);
        bench.model().show(TX, 0);
        lie(&bench, FaultPoint::RxCompletion, 2);
        assert!(bench.model().deliver(&bytes(60, 1)));
        let (sent, mut received) = (up.tx.reclaim(), Burst::new());
        let arrived = up.rx.receive(&mut received);
        if is_packed {
            assert_eq!(sent, Ok(3));
            // One, behind two that are said to be full by that, and are longer than allowed.
            assert!(arrived.is_ok(), "{arrived:?}");
            assert!(up.rx.counters().oversized >= 1);
        } else {
            for fault in [sent, arrived] {
                assert!(matches!(fault, Err(DeviceFault::OutOfSequence { .. })), "{fault:?}");
            }
        }
        drop(received);
        up.stop().unwrap();
        bench.assert_at_rest();
    }
}
