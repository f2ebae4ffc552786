//! Devices that make large packets and write each frame to one buffer: it holds the longest, and
//! what a frame leaves of it is free again with the frame.

use crate::support::*;
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::{Armed, Interrupts};
use paravane_mock_hal::fault::{Action, Fault, FaultPoint, Field};
use paravane_mock_hal::model::virtio::feature;
use paravane_mock_hal::model::virtio::net::bits;
use paravane_net::{Burst, Frame, HashReport, RssKinds, RxHashKind, RxOffloads, RxQueue, Settings};
use paravane_virtio::net::Config;

const BIG: u64 = BASIC | bits::CSUM | bits::GUEST_CSUM | bits::GUEST_TSO4;
/// Of how many buffers of 2 KiB the longest packet is.
const SEGMENTS: usize = 34;

/// Room for three frames.
fn config() -> Config {
    Config::default().with_rx_entries(128).with_rx_offloads(RxOffloads::TCP4)
}

/// A large packet of `len` bytes over IPv4, its TCP header 20 of them.
fn packet(len: usize) -> Vec<u8> {
    let mut packet = bytes(len, 5);
    packet[34 + 12] = 5 << 4;
    packet
}

fn receive_large(bench: &Bench, up: &mut Up, payload: &[u8]) -> Frame {
    assert!(bench.model().deliver_large(1, 1448, (34, 16), payload));
    receive_one(up)
}

fn receive_one(up: &mut Up) -> Frame {
    let mut burst = Burst::new();
    assert_eq!(up.rx.receive(&mut burst), Ok(1));
    burst.pop().unwrap()
}

#[test]
fn what_a_frame_leaves_of_its_buffer_is_free_with_it() {
    for ring in [0, EVENT_IDX, RING_PACKED | EVENT_IDX] {
        let bench = Bench::new(BIG | ring);
        let mut up = bench.start_with(&config(), Interrupts::POLLING);
        let free = bench.pool.free();
        assert_eq!(free, bench.pool.buffers() - 3 * SEGMENTS);
        for (len, segments) in [(14, 1), (60, 1), (1518, 1), (60, 1)] {
            let payload = bytes(len, 5);
            assert!(bench.model().deliver(&payload));
            let frame = receive_one(&mut up);
            assert_eq!((content(&frame), frame.segments().count()), (payload, segments));
            assert_eq!(frame.headroom_bytes(), 64, "like any other");
            assert_eq!(bench.pool.free(), free - segments, "another one was posted");
        }
        for (len, segments) in [(1984, 1), (1985, 2), (3968, 2), (3969, 3), (65_593, SEGMENTS)] {
            let payload = packet(len);
            let frame = receive_large(&bench, &mut up, &payload);
            assert_eq!((content(&frame), frame.segments().count()), (payload, segments));
            assert_eq!(bench.pool.free(), free - segments);
        }
        assert_eq!(bench.pool.free(), free);
        let counters = up.rx.counters();
        assert_eq!((counters.frames, counters.errors, counters.oversized), (9, 0, 0));
        assert!(up.stop().is_ok());
        bench.assert_clean();
        bench.assert_at_rest();
    }
}

/// Three frames are there at once, and a device that shuffles uses them in any order.
#[test]
fn frames_come_in_any_order_as_many_as_there_is_room_for() {
    let bench = Bench::new(BIG | EVENT_IDX);
    bench.model().personality.shuffles = true;
    let mut up = bench.start_with(&config(), Interrupts::POLLING);
    for round in 0..20_u8 {
        let payloads = [60, 1000, 90].map(|len| bytes(len, round));
        payloads.iter().for_each(|payload| assert!(bench.model().deliver(payload)));
        assert!(!bench.model().deliver(&payloads[0]), "there is no fourth");
        let mut burst = Burst::new();
        assert_eq!(up.rx.receive(&mut burst), Ok(3));
        let seen: Vec<_> = std::iter::from_fn(|| burst.pop()).map(|frame| content(&frame)).collect();
        assert_eq!(seen, payloads);
        assert_eq!(up.rx.receive(&mut burst), Ok(0));
    }
    assert!(up.stop().is_ok());
    bench.assert_clean();
    bench.assert_at_rest();
}

/// Fewer buffers than a frame takes are none: nobody is kept awake by them.
#[test]
fn a_queue_wakes_when_the_pool_has_a_whole_frame() {
    let bench = Bench::with_buffers(BIG, 40, 2048);
    let mut up = bench.start_with(&config(), Interrupts::POLLING);
    assert_eq!(bench.pool.free(), 6);
    let held = receive_large(&bench, &mut up, &packet(65_000));
    assert_eq!(held.segments().count(), 33);
    assert_eq!(up.rx.arm(), Ok(Armed::Idle));
    assert_eq!(up.rx.refill(), 3);
    assert!(!bench.model().deliver(&bytes(60, 1)));
    drop(held);
    assert_eq!(up.rx.arm(), Ok(Armed::Pending));
    assert_eq!(up.rx.refill(), 2);
    assert_eq!(up.rx.arm(), Ok(Armed::Idle));
    assert!(bench.model().deliver(&bytes(60, 1)));
    assert_eq!(up.rx.arm(), Ok(Armed::Pending));
    assert_eq!(content(&receive_one(&mut up)), bytes(60, 1));
    assert!(up.stop().is_ok());
    bench.assert_clean();
    bench.assert_at_rest();
}

#[test]
fn a_length_that_cannot_be_breaks_the_queue() {
    let most = 12 + 34 * 1984;
    for (said, fault) in [
        (11, DeviceFault::LengthTooShort { len_bytes: 11, min_bytes: 12 }),
        (0, DeviceFault::LengthTooShort { len_bytes: 0, min_bytes: 12 }),
        (most + 1, DeviceFault::LengthTooLong { len_bytes: most + 1, max_bytes: most }),
    ] {
        let bench = Bench::new(BIG);
        let mut up = bench.start_with(&config(), Interrupts::POLLING);
        let lie = Action::Set { field: Field::Length, value: said };
        bench.model().faults.add(Fault::nth(FaultPoint::RxCompletion, 1, lie));
        assert!(bench.model().deliver(&bytes(60, 1)));
        assert_eq!(up.rx.receive(&mut Burst::new()), Err(fault));
        assert_eq!(up.rx.receive(&mut Burst::new()), Err(fault), "it stays so");
        assert_eq!(up.rx.arm(), Err(fault));
        // As it was, with as many buffers.
        let mut up = up.recover(Interrupts::POLLING).unwrap();
        assert_eq!(bench.pool.free(), bench.pool.buffers() - 3 * SEGMENTS);
        assert!(bench.model().deliver(&bytes(70, 2)));
        assert_eq!(content(&receive_one(&mut up)), bytes(70, 2));
        assert!(up.stop().is_ok());
        bench.assert_at_rest();
    }
}

#[test]
fn hashes_come_in_front_of_it_as_well() {
    let bench = Bench::new(BIG | bits::CTRL_VQ | bits::HASH_REPORT);
    let settings = Settings::default().with_hash_report(HashReport::new(RssKinds::VIRTIO));
    let mut up = bench.start_with(&config().with_settings(settings), Interrupts::POLLING);
    let mut payload = bytes(80, 3);
    (payload[12], payload[13], payload[23]) = (8, 0, 6);
    assert!(bench.model().deliver(&payload));
    let frame = receive_one(&mut up);
    assert_eq!(content(&frame), payload);
    assert_eq!(frame.rx_hash().map(|hash| hash.kind), Some(RxHashKind::Tcp4));
    bench.assert_clean();
}

#[test]
fn a_queue_that_was_reset_has_fresh_frames() {
    let bench = Bench::new(BIG | feature::RING_RESET);
    let mut up = bench.start_with(&config(), Interrupts::POLLING);
    assert!(bench.model().deliver(&bytes(60, 1)));
    let queue = up.rx.queues_mut().next().unwrap();
    assert_eq!(up.control.reset_rx(queue), Ok(()));
    assert_eq!(up.rx.receive(&mut Burst::new()), Ok(0), "lost with the queue");
    assert_eq!(bench.pool.free(), bench.pool.buffers() - 3 * SEGMENTS);
    for round in 0..5 {
        assert!(bench.model().deliver(&bytes(60, round)));
        assert_eq!(content(&receive_one(&mut up)), bytes(60, round));
    }
    assert!(up.stop().is_ok());
    bench.assert_clean();
    bench.assert_at_rest();
}
