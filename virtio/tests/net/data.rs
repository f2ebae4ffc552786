//! Frames both ways: what the device sees of them, what comes back, when anybody is told.

use crate::support::*;
use paravane_hal::irq::{Armed, Interrupts};
use paravane_mock_hal::fault::{Action, Fault, FaultPoint, Field};
use paravane_net::{
    Burst, ChecksumRequest, Control, RxChecksum, RxQueue, Segmentation, SegmentationKind, Tunnel, TxOffload,
    TxQueue, VlanTag, payload_bytes,
};

#[test]
fn a_frame_goes_out_behind_a_plain_header() {
    let bench = Bench::new(BASIC | EVENT_IDX);
    let mut up = bench.start();
    let payload = bytes(60, 7);
    let mut burst = burst([bench.frame(&payload)]);
    assert_eq!(up.tx.transmit(&mut burst), Ok(1));
    assert_eq!(bench.sent(), [[&[0; 12], &payload[..]].concat()]);
    assert_eq!(up.tx.reclaim(), Ok(1));
    let counters = up.tx.counters();
    assert_eq!((counters.frames, counters.bytes, counters.completed, counters.doorbells), (1, 60, 1, 1));
    bench.assert_clean();
}

#[test]
fn a_burst_costs_one_doorbell() {
    let bench = Bench::new(BASIC | EVENT_IDX);
    let mut up = bench.start_with(&paravane_virtio::net::Config::default(), Interrupts::POLLING);
    bench.model().doorbells.clear();
    let mut burst = burst((0..32).map(|i| bench.frame(&bytes(64, i))));
    assert_eq!(up.tx.transmit(&mut burst), Ok(32));
    assert_eq!(bench.model().doorbells, [1]);
    assert_eq!(bench.sent().len(), 32);
    bench.assert_clean();
}

#[test]
fn a_device_that_looks_anyway_is_not_told() {
    for ring_features in [0, EVENT_IDX] {
        let bench = Bench::new(BASIC | ring_features);
        let mut up = bench.start();
        bench.model().queues[TX].wish = Wish::Never;
        bench.model().tell_wish(TX);
        bench.model().doorbells.clear();
        assert_eq!(up.tx.transmit(&mut burst([bench.frame(&bytes(60, 1))])), Ok(1));
        assert_eq!(bench.model().doorbells, []);
        assert_eq!(up.tx.counters().doorbells_saved, 1);
        up.tx.flush();
        assert_eq!(bench.model().doorbells, [1], "whoever cannot wait tells it anyway");
        up.tx.flush();
        assert_eq!(bench.model().doorbells, [1], "once");
        bench.assert_clean();
    }
}

#[test]
fn a_device_that_wants_every_third_is_told_at_every_third_2_7_10() {
    let bench = Bench::new(BASIC | EVENT_IDX);
    let mut up = bench.start();
    bench.model().queues[TX].wish = Wish::After(2);
    bench.model().tell_wish(TX);
    bench.model().doorbells.clear();
    let told: Vec<usize> = (0..9)
        .map(|i| {
            assert_eq!(up.tx.transmit(&mut burst([bench.frame(&bytes(60, i))])), Ok(1));
            bench.model().doorbells.len()
        })
        .collect();
    assert_eq!(told, [0, 0, 1, 1, 1, 2, 2, 2, 3]);
    assert_eq!(bench.sent().len(), 9);
    bench.assert_clean();
}

/// The device sleeps until it is told. Seventy thousand frames in batches of every size carry the
/// 16-bit indices past their end, and not one may be left behind.
#[test]
fn no_kick_is_lost_when_indices_wrap() {
    for ring_features in [0, EVENT_IDX] {
        let bench = Bench::new(BASIC | ring_features);
        let mut up = bench.start();
        let mut sent = 0_usize;
        let mut batch = 1;
        while sent < 70_000 {
            batch = batch % 16 + 1;
            let mut burst = burst((0..batch).map(|_| bench.frame(&sent.to_le_bytes().repeat(8))));
            assert_eq!(up.tx.transmit(&mut burst), Ok(batch));
            sent += batch;
            assert_eq!(bench.model().take_sent().len(), batch, "all of the batch that ends at {sent}");
        }
        assert_eq!(up.tx.counters().frames, up.tx.counters().completed + up.tx.reclaim().unwrap() as u64);
        bench.assert_clean();
    }
}

#[test]
fn frames_keep_coming_in_when_indices_wrap() {
    for ring_features in [0, EVENT_IDX] {
        let bench = Bench::new(BASIC | ring_features);
        let mut up = bench.start();
        let mut received = 0_u32;
        let mut burst = Burst::new();
        while received < 70_000 {
            let batch = received % 16 + 1;
            for i in 0..batch {
                assert!(bench.model().deliver(&(received + i).to_le_bytes().repeat(16)));
            }
            assert_eq!(up.rx.receive(&mut burst), Ok(batch as usize));
            for i in 0..batch {
                let frame = burst.pop().unwrap();
                assert_eq!(frame.read::<u32>(0), Some((received + i).to_le()));
                assert_eq!(frame.total_bytes(), 64);
                assert_eq!(frame.headroom_bytes(), 64, "like a fresh one");
            }
            received += batch;
        }
        assert_eq!(up.rx.counters().frames, u64::from(received));
        assert_eq!(up.rx.counters().bytes, u64::from(received) * 64);
        bench.assert_clean();
    }
}

#[test]
fn a_small_burst_takes_what_it_can_and_the_rest_waits() {
    let bench = Bench::new(BASIC | EVENT_IDX);
    let mut up = bench.start_with(&paravane_virtio::net::Config::default(), Interrupts::POLLING);
    for i in 0..40 {
        bench.model().deliver(&bytes(60, i));
    }
    let mut burst = Burst::new();
    assert_eq!(up.rx.receive(&mut burst), Ok(32));
    assert_eq!(up.rx.receive(&mut burst), Ok(0), "no room");
    burst.clear();
    assert_eq!(up.rx.receive(&mut burst), Ok(8));
    assert_eq!(content(&burst.pop().unwrap()), bytes(60, 32));
    bench.assert_clean();
}

#[test]
fn a_frame_over_several_buffers_arrives_whole_5_1_6_4() {
    let bench = Bench::with_buffers(BASIC | MRG_RXBUF | 1 << 3, 256, 576);
    bench.model().class.mtu = 9000;
    let mut up = bench.start_with(&small_rx(64), Interrupts::POLLING);
    let mut burst = Burst::new();
    // Buffers of 512 bytes behind the header: from one to eighteen of them, with and without a full
    // last one.
    for len in [60, 512, 513, 1024, 1500, 5000, 512 * 4 + 12 * 3, 9014] {
        let payload = bytes(len, 3);
        assert!(bench.model().deliver(&payload));
        assert_eq!(up.rx.receive(&mut burst), Ok(1));
        let frame = burst.pop().unwrap();
        assert_eq!(content(&frame), payload);
        assert_eq!(frame.segments().count(), (len + 12).div_ceil(524));
        // What came in can go out as it is.
        assert_eq!(up.tx.transmit(&mut crate::support::burst([frame])), Ok(1));
        let [sent] = &bench.sent()[..] else { panic!("one frame") };
        assert_eq!(sent[12..], payload);
    }
    assert_eq!(up.tx.counters().refused, 0);
    bench.assert_clean();
}

/// The ring is full of buffers that were never used before, or were the second of a frame: what
/// their last owner left does not count when they are posted once more.
#[test]
fn the_buffer_of_a_frame_that_is_dropped_is_posted_again_as_a_fresh_one_is() {
    for (packed, len) in [0, RING_PACKED].into_iter().flat_map(|packed| [(packed, 60), (packed, 1000)]) {
        let bench = Bench::with_buffers(BASIC | MRG_RXBUF | packed, 80, 640);
        let mut up = bench.start();
        let mut burst = Burst::new();
        for turn in 0..20 {
            assert!(bench.model().deliver(&bytes(len, turn)));
            assert_eq!(up.rx.receive(&mut burst), Ok(1));
        }
        let keeps = len == 60;
        let kept = if keeps { std::mem::take(&mut burst) } else { Burst::new() };
        burst.clear();
        for turn in 0..32_u8 {
            // A kind of segmentation that there is not.
            let odd = [0, 77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            assert!(bench.model().deliver_with(odd, &bytes(60, 1)));
            assert_eq!(up.rx.receive(&mut burst), Ok(0));
            assert_eq!(up.rx.counters().dropped(), u64::from(turn) + 1);
        }
        for turn in 0..32 {
            assert!(bench.model().deliver(&bytes(len, turn)));
            assert_eq!(up.rx.receive(&mut burst), Ok(1), "{len} bytes, {turn}");
            assert_eq!(content(&burst.pop().unwrap()), bytes(len, turn));
        }
        drop(kept);
        bench.assert_clean();
    }
}

fn small_rx(rx_entries: u16) -> paravane_virtio::net::Config {
    paravane_virtio::net::Config::default().with_rx_entries(rx_entries)
}

#[test]
fn a_count_of_zero_buffers_means_one() {
    let bench = Bench::new(BASIC | MRG_RXBUF);
    let mut up = bench.start();
    let zero = Action::Set { field: Field::Queue, value: 0 };
    bench.model().faults.add(Fault::nth(FaultPoint::RxCompletion, 1, zero));
    bench.model().deliver(&bytes(60, 1));
    let mut burst = Burst::new();
    assert_eq!(up.rx.receive(&mut burst), Ok(1));
    assert_eq!(bench.model().faults.hits(), 1);
    bench.assert_clean();
}

#[test]
fn the_end_of_a_spread_frame_may_come_a_moment_later() {
    let bench = Bench::new(BASIC | MRG_RXBUF);
    let mut up = bench.start();
    let mut head = [0; 12];
    head[10] = 2;
    bench.model().fill_one(&[&head[..], &bytes(100, 1)].concat());
    bench.model().show(RX, 0);
    let mut burst = Burst::new();
    assert_eq!(up.rx.receive(&mut burst), Ok(0));
    bench.model().fill_one(&bytes(50, 2));
    bench.model().show(RX, 0);
    assert_eq!(up.rx.receive(&mut burst), Ok(1));
    assert_eq!(content(&burst.pop().unwrap()), [bytes(100, 1), bytes(50, 2)].concat());
    bench.assert_clean();
}

#[test]
fn a_chain_of_segments_is_one_frame_on_the_wire() {
    let bench = Bench::new(BASIC | EVENT_IDX);
    let mut up = bench.start();
    let mut frame = bench.frame(&bytes(14, 1));
    let mut second = bench.frame(&bytes(100, 2));
    second.set_next(bench.frame(&bytes(200, 3)));
    frame.set_next(second);
    assert_eq!(up.tx.transmit(&mut burst([frame])), Ok(1));
    assert_eq!(up.tx.room(), 13);
    let expected = [vec![0; 12], bytes(14, 1), bytes(100, 2), bytes(200, 3)].concat();
    assert_eq!(bench.sent(), [expected]);
    assert_eq!(up.tx.reclaim(), Ok(1));
    assert_eq!(up.tx.room(), 16);
    bench.assert_clean();
}

#[test]
fn what_cannot_be_sent_is_dropped_and_counted() {
    let bench = Bench::new(BASIC | EVENT_IDX);
    let mut up = bench.start();
    let mut tagged = bench.frame(&bytes(60, 1));
    tagged.set_vlan(Some(VlanTag(5)));
    let mut asking = bench.frame(&bytes(60, 1));
    asking.set_offload(TxOffload {
        checksum: Some(ChecksumRequest { start_bytes: 34, offset_bytes: 16 }),
        segmentation: Some(Segmentation {
            kind: SegmentationKind::Tcp4,
            header_bytes: 54,
            mss_bytes: 4,
            ecn: false,
        }),
    });
    let mut with_empty_end = bench.frame(&bytes(60, 1));
    with_empty_end.set_next(bench.frame(&[]));
    let mut endless = bench.frame(&bytes(60, 1));
    for _ in 0..17 {
        let mut longer = bench.frame(&bytes(60, 1));
        longer.set_next(endless);
        endless = longer;
    }
    let mut no_headroom = bench.frame(&bytes(20, 1));
    assert!(no_headroom.prepend(&bytes(60, 2)));
    let refused = [
        bench.frame(&[]),
        bench.frame(&bytes(1519, 1)),
        tagged,
        asking,
        with_empty_end,
        endless,
        no_headroom,
    ];
    let count = refused.len();
    let mut burst = burst(refused);
    burst.push(bench.frame(&bytes(60, 9)));
    assert_eq!(up.tx.transmit(&mut burst), Ok(count + 1));
    assert_eq!(up.tx.counters().refused, count as u64);
    assert_eq!(bench.sent().len(), 1, "the good one went");
    assert_eq!(up.tx.reclaim(), Ok(1));
    assert_eq!(up.tx.room(), 16);
    drop(up.rx);
    bench.assert_clean();
}

#[test]
fn frames_of_several_segments_ask_for_their_own_checksums_or_are_dropped() {
    let bench = Bench::new(BASIC | OFFLOADS);
    let mut up = bench.start();
    let two = |first: &[u8], second: &[u8]| {
        let mut frame = bench.frame(first);
        frame.set_next(bench.frame(second));
        frame
    };
    let mut asking = two(&bytes(60, 1), &bytes(40, 2));
    let checksum = Some(ChecksumRequest { start_bytes: 34, offset_bytes: 16 });
    asking.set_offload(TxOffload { checksum, segmentation: None });
    let frames =
        [asking, two(&bytes(60, 3), &[]), two(&bytes(60, 4), &bytes(50, 5)), two(&[], &bytes(60, 6))];
    assert_eq!(up.tx.transmit(&mut burst(frames)), Ok(4));
    assert_eq!((up.tx.counters().refused, up.tx.counters().bytes, up.tx.room()), (2, 210, 12));
    let asks = [1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0];
    let asked = [&asks[..], &bytes(60, 1), &bytes(40, 2)].concat();
    let plain = [&[0; 12][..], &bytes(60, 4), &bytes(50, 5)].concat();
    assert_eq!(bench.sent(), [asked, plain]);
    assert_eq!((up.tx.reclaim(), up.tx.room()), (Ok(2), 16));
    bench.assert_clean();
}

#[test]
fn offloads_are_asked_of_a_device_that_agreed() {
    let bench = Bench::with_buffers(BASIC | OFFLOADS, 256, 4096);
    let mut up = bench.start();
    let mut frame = bench.frame(&bytes(4000, 1));
    frame.set_offload(TxOffload {
        checksum: Some(ChecksumRequest { start_bytes: 34, offset_bytes: 16 }),
        segmentation: Some(Segmentation {
            kind: SegmentationKind::Tcp4,
            header_bytes: 54,
            mss_bytes: 1460,
            ecn: false,
        }),
    });
    assert_eq!(up.tx.transmit(&mut burst([frame])), Ok(1));
    assert_eq!(bench.sent()[0][..12], [1, 1, 54, 0, 0xb4, 0x05, 34, 0, 16, 0, 0, 0]);
    bench.assert_clean();
}

#[test]
fn frames_of_a_burst_each_ask_for_their_own_checksum() {
    let asking = |bench: &Bench, start_bytes| {
        let mut frame = bench.frame(&bytes(100, 1));
        let checksum = Some(ChecksumRequest { start_bytes, offset_bytes: 16 });
        frame.set_offload(TxOffload { checksum, segmentation: None });
        frame
    };
    for (features, flags) in [(BASIC | OFFLOADS, 1), (BASIC, 0)] {
        let bench = Bench::new(features);
        let mut up = bench.start();
        let frames =
            [asking(&bench, 34), bench.frame(&bytes(100, 1)), asking(&bench, 54), asking(&bench, 90)];
        assert_eq!(up.tx.transmit(&mut burst(frames)), Ok(4));
        let sent = bench.sent();
        let headers: Vec<_> = sent.iter().map(|sent| (sent[0], sent[6], sent[8])).collect();
        let asked = |start_bytes| (flags, flags * start_bytes, flags * 16);
        assert_eq!(headers, [asked(34), (0, 0, 0), asked(54)]);
        let is_summed =
            |sent: &[u8], field: usize| sent[12 + field..14 + field] != bytes(100, 1)[field..field + 2];
        assert_eq!((is_summed(&sent[0], 50), is_summed(&sent[2], 70)), (flags == 0, flags == 0));
        assert_eq!(up.tx.counters().refused, 1, "the field of the last one lies outside it");
        bench.assert_clean();
    }
}

#[test]
fn a_packet_of_64_kib_goes_out_in_buffers_of_2_kib() {
    let bench = Bench::new(BASIC | OFFLOADS);
    let mut up = bench.start_with(&paravane_virtio::net::Config::default(), Interrupts::POLLING);
    let packet = bytes(65_549, 7);
    let pieces = packet.chunks(payload_bytes(&bench.pool)).rev().map(|piece| bench.frame(piece));
    let mut frame = pieces.reduce(|rest, mut piece| (piece.set_next(rest), piece).1).unwrap();
    assert_eq!(frame.segments().count(), 34);
    assert!(up.control.info().max_cut_segments >= 34);
    frame.set_offload(TxOffload {
        checksum: Some(ChecksumRequest { start_bytes: 34, offset_bytes: 16 }),
        segmentation: Some(Segmentation {
            kind: SegmentationKind::Tcp4,
            header_bytes: 54,
            mss_bytes: 1460,
            ecn: false,
        }),
    });
    assert_eq!(up.tx.transmit(&mut burst([frame])), Ok(1));
    let [sent] = &bench.sent()[..] else { panic!("not sent") };
    assert!(sent[12..] == packet);
    bench.assert_clean();
}

#[test]
fn a_packet_inside_of_a_tunnel_is_not_cut() {
    let bench = Bench::new(BASIC | OFFLOADS);
    let mut up = bench.start();
    let checksum = Some(ChecksumRequest { start_bytes: 84, offset_bytes: 16 });
    let cut = Segmentation { kind: SegmentationKind::Tcp4, header_bytes: 104, mss_bytes: 1400, ecn: false };
    for (segmentation, refused) in [(None, 0), (Some(cut), 1)] {
        let mut frame = bench.frame(&bytes(1000, 1));
        frame.set_offload(TxOffload { checksum, segmentation });
        frame.set_tunnel(Some(Tunnel { outer_header_bytes: 50, ..Tunnel::default() }));
        assert_eq!(up.tx.transmit(&mut burst([frame])), Ok(1));
        assert_eq!(up.tx.counters().refused, refused);
    }
    let [sent] = &bench.sent()[..] else { panic!("one is sent") };
    assert_eq!(sent[..12], [1, 0, 0, 0, 0, 0, 84, 0, 16, 0, 0, 0], "its checksum is one like others");
    bench.assert_clean();
}

#[test]
fn what_the_device_says_about_checksums_travels_along() {
    let bench = Bench::new(BASIC | OFFLOADS);
    let mut up = bench.start();
    bench.model().deliver_with([2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &bytes(60, 1));
    bench.model().deliver_with([1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0], &bytes(60, 1));
    bench.model().deliver_with([1, 0, 0, 0, 0, 0, 34, 0, 26, 0, 0, 0], &bytes(60, 1));
    let mut burst = Burst::new();
    assert_eq!(up.rx.receive(&mut burst), Ok(2));
    assert_eq!(burst.pop().unwrap().rx_checksum(), RxChecksum::Good);
    let request = ChecksumRequest { start_bytes: 34, offset_bytes: 16 };
    assert_eq!(burst.pop().unwrap().rx_checksum(), RxChecksum::Partial(request));
    assert_eq!(up.rx.counters().errors, 1, "the field of the third lies outside it");
    bench.assert_clean();
}

#[test]
fn frames_that_are_none_are_dropped_by_reason() {
    let bench = Bench::new(BASIC);
    let mut up = bench.start();
    for len in [0, 13, 1519, 60] {
        bench.model().deliver(&bytes(len, 1));
    }
    let mut burst = Burst::new();
    assert_eq!(up.rx.receive(&mut burst), Ok(1));
    let counters = up.rx.counters();
    assert_eq!((counters.skipped, counters.errors, counters.oversized), (1, 1, 1));
    assert_eq!(bench.model().waiting(RX), 16, "their buffers went back");
    bench.assert_clean();
}

#[test]
fn frames_of_another_dma_domain_are_refused() {
    let (bench, other) = (Bench::new(BASIC), Bench::new(BASIC));
    let mut up = bench.start();
    let mut chain = bench.frame(&bytes(60, 3));
    chain.set_next(other.frame(&bytes(60, 4)));
    let mut burst =
        burst([bench.frame(&bytes(60, 1)), other.frame(&bytes(60, 2)), chain, bench.frame(&bytes(60, 5))]);
    assert_eq!(up.tx.transmit(&mut burst), Ok(4));
    let sent: Vec<_> = bench.sent().iter().map(|frame| frame[12..].to_vec()).collect();
    assert_eq!(sent, [bytes(60, 1), bytes(60, 5)]);
    assert_eq!((up.tx.counters().refused, other.pool.free()), (2, other.pool.buffers()));
    bench.assert_clean();
}

#[test]
fn a_device_that_lost_a_doorbell_is_reminded() {
    let bench = Bench::new(BASIC | EVENT_IDX);
    let mut up = bench.start();
    up.tx.remind();
    bench.model().doorbells.clear();
    bench.model().faults.add(Fault::nth(FaultPoint::Doorbell, 1, Action::Drop));
    assert_eq!(up.tx.transmit(&mut burst([bench.frame(&bytes(60, 1))])), Ok(1));
    up.tx.flush();
    assert_eq!((bench.sent().len(), up.tx.reclaim()), (0, Ok(0)), "it was told, for all we know");
    up.tx.remind();
    assert_eq!((bench.sent().len(), up.tx.reclaim()), (1, Ok(1)));
    up.tx.remind();
    assert_eq!(up.tx.counters().doorbells, 2, "with nothing in flight there is nothing to say");
    bench.assert_clean();
}

#[test]
fn a_full_ring_leaves_frames_where_they_are() {
    let bench = Bench::new(BASIC | EVENT_IDX);
    let mut up = bench.start();
    bench.model().class.serves_doorbells = false;
    let mut burst = burst((0..20).map(|i| bench.frame(&bytes(60, i))));
    assert_eq!(up.tx.transmit(&mut burst), Ok(16));
    assert_eq!((burst.len(), up.tx.room(), up.tx.counters().ring_full), (4, 0, 1));
    bench.model().send_all();
    assert_eq!(up.tx.transmit(&mut burst), Ok(4), "sent ones make room without being asked");
    bench.model().send_all();
    assert_eq!(bench.sent().iter().map(|frame| frame[12]).collect::<Vec<_>>(), (0..20).collect::<Vec<u8>>());
    bench.assert_clean();
}

/// A limit of this queue: descriptors are free again in the order of the ring. With one chain that
/// the device keeps, it takes as many others as there are entries behind that; each goes home when
/// it is sent, and the ring goes on with all of its entries when the slow one is done.
#[test]
fn behind_a_chain_that_the_device_keeps_a_lap_of_others_is_sent() {
    for ring_features in [0, EVENT_IDX] {
        let bench = Bench::new(BASIC | ring_features);
        let mut up = bench.start();
        bench.model().class.serves_doorbells = false;
        let at_rest = bench.pool.free();
        for round in 0..40_u8 {
            assert_eq!(up.tx.transmit(&mut burst([bench.frame(&bytes(60, round))])), Ok(1));
            let slow = bench.model().take(TX).unwrap();
            for others in 1..16 {
                assert_eq!(up.tx.room(), 16 - others, "in round {round}");
                assert_eq!(up.tx.transmit(&mut burst([bench.frame(&bytes(60, 99))])), Ok(1));
                assert!(bench.model().send_one().is_some());
                bench.model().show(TX, 0);
                assert_eq!(up.tx.reclaim(), Ok(1));
                assert_eq!(bench.pool.free(), at_rest - 1, "all home but the one that the device has");
            }
            let mut more = burst([bench.frame(&bytes(60, 98))]);
            assert_eq!((up.tx.room(), up.tx.transmit(&mut more), more.len()), (0, Ok(0), 1));
            // Full, not broken: what is armed now wakes when the slow one is done.
            assert_eq!(up.tx.arm(), Ok(Armed::Idle));
            bench.messages();
            bench.model().put(TX, slow.head.into(), 0);
            bench.model().show(TX, 0);
            assert_eq!(bench.messages(), [MESSAGES[1].data()]);
            assert_eq!(up.tx.reclaim(), Ok(1));
            assert_eq!((up.tx.room(), bench.pool.free()), (16, at_rest - 1));
            assert_eq!(up.tx.transmit(&mut more), Ok(1));
            assert!(bench.model().send_one().is_some());
            bench.model().show(TX, 0);
            assert_eq!((up.tx.reclaim(), bench.pool.free()), (Ok(1), at_rest));
            bench.sent();
        }
        bench.assert_clean();
    }
}

#[test]
fn a_dry_pool_drops_frames_and_never_the_ring() {
    let bench = Bench::with_buffers(BASIC | EVENT_IDX, 18, 2048);
    let mut up = bench.start();
    let hold: Vec<_> = std::iter::from_fn(|| bench.pool.get()).collect();
    assert_eq!(hold.len(), 2);
    let mut burst = Burst::new();
    for i in 0..40 {
        bench.model().deliver(&bytes(60, i));
        assert_eq!(up.rx.receive(&mut burst), Ok(0));
    }
    assert_eq!(up.rx.counters().no_buffer, 40);
    assert_eq!(bench.model().waiting(RX), 16);
    drop(hold);
    bench.model().deliver(&bytes(60, 99));
    assert_eq!(up.rx.receive(&mut burst), Ok(1));
    bench.assert_clean();
}

#[test]
fn a_ring_that_could_not_be_filled_is_filled_later() {
    let bench = Bench::with_buffers(BASIC | EVENT_IDX, 18, 2048);
    let hold: Vec<_> = (0..10).map(|_| bench.pool.get().unwrap()).collect();
    let mut up = bench.start();
    assert_eq!(bench.model().waiting(RX), 8);
    assert_eq!(up.rx.refill(), 8);
    drop(hold);
    assert_eq!(up.rx.refill(), 0);
    assert_eq!(bench.model().waiting(RX), 16);
    bench.assert_clean();
}

#[test]
fn an_armed_queue_interrupts_once_and_a_disarmed_one_does_not() {
    for ring_features in [0, EVENT_IDX] {
        let bench = Bench::new(BASIC | ring_features);
        let mut up = bench.start();
        let mut burst = Burst::new();
        bench.model().deliver(&bytes(60, 1));
        assert_eq!(bench.messages(), [], "nobody asked");
        assert_eq!(up.rx.arm(), Ok(Armed::Pending), "it slipped in");
        assert_eq!(up.rx.receive(&mut burst), Ok(1));
        assert_eq!(up.rx.arm(), Ok(Armed::Idle));
        bench.model().deliver(&bytes(60, 2));
        assert_eq!(bench.messages(), [MESSAGES[0].data()]);
        assert_eq!(up.rx.receive(&mut burst), Ok(1));
        bench.model().deliver(&bytes(60, 3));
        assert_eq!(bench.messages(), [], "receiving disarms");
        bench.assert_clean();
    }
}

#[test]
fn an_armed_transmit_queue_interrupts_when_most_were_sent() {
    let bench = Bench::new(BASIC | EVENT_IDX);
    let mut up = bench.start();
    bench.model().class.serves_doorbells = false;
    assert_eq!(up.tx.transmit(&mut burst((0..16).map(|i| bench.frame(&bytes(60, i))))), Ok(16));
    assert_eq!(up.tx.arm(), Ok(Armed::Idle));
    for sent in 1..=16 {
        bench.model().send_one();
        bench.model().show(TX, 0);
        let expected: &[u32] = if sent == 12 { &[MESSAGES[1].data()] } else { &[] };
        assert_eq!(bench.messages(), expected, "after {sent}");
    }
    assert_eq!(up.tx.reclaim(), Ok(16));
    bench.assert_clean();
}

#[test]
fn a_transmit_queue_armed_with_nothing_in_flight_interrupts_at_the_next() {
    let bench = Bench::new(BASIC | EVENT_IDX);
    let mut up = bench.start();
    assert_eq!(up.tx.arm(), Ok(Armed::Idle));
    assert_eq!(up.tx.transmit(&mut burst([bench.frame(&bytes(60, 1))])), Ok(1));
    assert_eq!(bench.messages(), [MESSAGES[1].data()]);
    assert_eq!(up.tx.reclaim(), Ok(1));
    bench.assert_clean();
}

#[test]
fn the_line_says_why_it_was_raised() {
    let bench = Bench::new(BASIC | EVENT_IDX);
    bench.without_msix();
    let mut up = bench.start_with(&small(), Interrupts::LINE);
    assert!(!up.control.acknowledge(), "somebody else's");
    assert_eq!(up.rx.arm(), Ok(Armed::Idle));
    bench.model().deliver(&bytes(60, 1));
    assert!(up.control.acknowledge());
    assert!(!up.control.acknowledge(), "reading lowered it");
    bench.model().set_link(false);
    assert!(up.control.acknowledge());
    assert_eq!(up.control.poll(), Ok(paravane_net::Events::LINK));
    assert!(!up.control.link().is_up());
    bench.assert_clean();
}

#[test]
fn a_length_on_a_transmit_chain_means_nothing() {
    let bench = Bench::new(BASIC);
    let mut up = bench.start();
    bench.model().class.serves_doorbells = false;
    assert_eq!(up.tx.transmit(&mut burst([bench.frame(&bytes(60, 1))])), Ok(1));
    let chain = bench.model().take(TX).unwrap();
    bench.model().put(TX, chain.head.into(), 72);
    bench.model().show(TX, 0);
    assert_eq!(up.tx.reclaim(), Ok(1), "some devices report what they read");
    bench.assert_clean();
}

/// What a queue does not get from its pool when it is started, it gets when it is armed later: the
/// device has no buffer to interrupt for.
#[test]
fn a_queue_whose_pool_was_dry_at_the_start_wakes_when_there_are_buffers() {
    for ring_features in [0, EVENT_IDX] {
        let bench = Bench::with_buffers(BASIC | ring_features, 17, 2048);
        let hold: Vec<_> = std::iter::from_fn(|| bench.pool.get()).collect();
        let mut up = bench.start();
        assert_eq!(bench.model().waiting(RX), 0);
        assert_eq!(up.rx.arm(), Ok(Armed::Idle), "there is nothing to be done");
        drop(hold);
        assert_eq!(up.rx.arm(), Ok(Armed::Pending), "there are empty slots to fill");
        let mut burst = Burst::new();
        assert_eq!(up.rx.receive(&mut burst), Ok(0));
        assert_eq!(bench.model().waiting(RX), 16);
        assert_eq!(up.rx.arm(), Ok(Armed::Idle));
        assert!(bench.model().deliver(&bytes(60, 1)));
        assert_eq!(bench.messages(), [MESSAGES[0].data()]);
        assert_eq!(up.rx.receive(&mut burst), Ok(1));
        bench.assert_clean();
    }
}

/// One torn frame is forgiven, and so is the next one, when the first has come to its end.
#[test]
fn each_spread_frame_may_be_late_once() {
    let bench = Bench::new(BASIC | MRG_RXBUF);
    let mut up = bench.start();
    let mut burst = Burst::new();
    let mut head = [0; 12];
    head[10] = 2;
    for seed in 0..3 {
        bench.model().fill_one(&[&head[..], &bytes(100, seed)].concat());
        bench.model().show(RX, 0);
        assert_eq!(up.rx.receive(&mut burst), Ok(0));
        bench.model().fill_one(&bytes(50, seed));
        bench.model().show(RX, 0);
        assert_eq!(up.rx.receive(&mut burst), Ok(1));
    }
    bench.assert_clean();
}
