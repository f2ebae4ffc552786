//! Hashes of received frames: that they are reported beside the frame, behind longer headers, and
//! by what the device was told.

use crate::support::*;
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Interrupts;
use paravane_mock_hal::fault::{Action, Fault, FaultPoint, Field};
use paravane_mock_hal::model::virtio::net::bits;
use paravane_net::{
    Burst, Change, ChangeError, ChecksumRequest, Control, HashReport, Rss, RssKinds, RxChecksum, RxHashKind,
    RxQueue, Settings, TxOffload, TxQueue,
};
use paravane_virtio::net::{Config, StartError};

const HASHES: u64 = BASIC | MRG_RXBUF | bits::CSUM | bits::GUEST_CSUM | bits::CTRL_VQ | bits::HASH_REPORT;
const RINGS: [u64; 3] = [0, EVENT_IDX, RING_PACKED | EVENT_IDX];

fn reporting(kinds: RssKinds) -> Config {
    small().with_settings(Settings::default().with_hash_report(HashReport::new(kinds)))
}

/// A frame of `len` bytes over IPv4 or IPv6, of the protocol of that number.
fn frame(is_ip6: bool, protocol: u8, len: usize) -> Vec<u8> {
    let mut frame = bytes(len, 3);
    frame[12..14].copy_from_slice(if is_ip6 { &[0x86, 0xdd] } else { &[0x08, 0x00] });
    frame[if is_ip6 { 20 } else { 23 }] = protocol;
    frame
}

/// All kinds of frames that are hashed.
fn kinds() -> [(Vec<u8>, RxHashKind); 6] {
    [
        (frame(false, 1, 60), RxHashKind::Ip4),
        (frame(false, 6, 61), RxHashKind::Tcp4),
        (frame(false, 17, 62), RxHashKind::Udp4),
        (frame(true, 1, 80), RxHashKind::Ip6),
        (frame(true, 6, 81), RxHashKind::Tcp6),
        (frame(true, 17, 82), RxHashKind::Udp6),
    ]
}

fn hash(bench: &Bench, frame: &[u8]) -> u32 {
    let told = bench.model().class.told.clone();
    told.hashes.or(told.spread.map(|spread| spread.hashes)).unwrap().hash_of(frame).unwrap().0
}

#[test]
fn hashes_are_reported_beside_the_frame_5_1_6_4_4() {
    for ring in RINGS {
        let bench = Bench::new(HASHES | ring);
        let mut up = bench.start_with(&reporting(RssKinds::VIRTIO), Interrupts::POLLING);
        assert_eq!(bench.model().accepted() & bits::HASH_REPORT, bits::HASH_REPORT);
        let mut burst = Burst::new();
        for turn in 0..10 {
            for (payload, kind) in kinds() {
                assert!(bench.model().deliver(&payload));
                assert_eq!(up.rx.receive(&mut burst), Ok(1), "{turn}");
                let received = burst.pop().unwrap();
                assert_eq!(content(&received), payload);
                assert_eq!(received.headroom_bytes(), 64, "like any other");
                let reported = received.rx_hash().unwrap();
                assert_eq!((reported.value, reported.kind), (hash(&bench, &payload), kind));
            }
            let arp =
                frame(false, 0, 60).into_iter().enumerate().map(|(i, byte)| if i == 13 { 6 } else { byte });
            assert!(bench.model().deliver(&arp.collect::<Vec<_>>()));
            assert_eq!(up.rx.receive(&mut burst), Ok(1));
            assert_eq!(burst.pop().unwrap().rx_hash(), None, "of none of the kinds");
        }
        assert!(up.stop().is_ok());
        bench.assert_clean();
        bench.assert_at_rest();
    }
}

/// Headers of twenty bytes, both ways: over several buffers, with checksums.
#[test]
fn frames_behind_long_headers_are_whole_both_ways() {
    for ring in RINGS {
        let bench = Bench::with_buffers(HASHES | ring | bits::MTU, 256, 576);
        bench.model().class.mtu = 9000;
        let mut up = bench.start_with(
            &reporting(RssKinds::VIRTIO).with_rx_entries(64).with_tx_entries(32),
            Interrupts::POLLING,
        );
        let mut burst = Burst::new();
        // Of 512 bytes behind the header, and 20 more where there is none.
        for len in [60, 512, 513, 1044, 1045, 9014] {
            let payload = frame(false, 6, len);
            assert!(bench.model().deliver_with([1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0], &payload));
            assert_eq!(up.rx.receive(&mut burst), Ok(1), "{len}");
            let received = burst.pop().unwrap();
            assert_eq!(content(&received), payload);
            assert_eq!(received.segments().count(), (len + 20).div_ceil(532));
            assert_eq!(received.rx_hash().unwrap().value, hash(&bench, &payload));
            let request = ChecksumRequest { start_bytes: 34, offset_bytes: 16 };
            assert_eq!(received.rx_checksum(), RxChecksum::Partial(request));
            burst.push(received);
            let mut plain = bench.frame(&bytes(100, 9));
            plain.set_offload(TxOffload::default());
            burst.push(plain);
            assert_eq!(up.tx.transmit(&mut burst), Ok(2));
            let [forwarded, plain] = &bench.sent()[..] else { panic!("two frames") };
            assert_eq!(forwarded[..12], [1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0]);
            assert_eq!(forwarded[12..], payload);
            assert_eq!(*plain, [&[0; 12][..], &bytes(100, 9)].concat());
            assert_eq!(up.tx.reclaim(), Ok(2));
        }
        bench.assert_clean();
    }
}

#[test]
fn what_is_hashed_is_changed_while_it_runs_and_brought_back_5_1_6_5_6_4() {
    let bench = Bench::new(HASHES);
    let mut up = bench.start_with(&reporting(RssKinds::TCP4), Interrupts::POLLING);
    let mut burst = Burst::new();
    let mut seen = |up: &mut Up| {
        kinds().map(|(payload, _)| {
            assert!(bench.model().deliver(&payload));
            assert_eq!(up.rx.receive(&mut burst), Ok(1));
            burst.pop().unwrap().rx_hash().is_some()
        })
    };
    assert_eq!(seen(&mut up), [false, true, false, false, false, false]);
    let report = HashReport::new(RssKinds::IP4 | RssKinds::UDP6).with_key([0x5c; 40]);
    assert_eq!(up.control.change(Change::HashReport(report)), Ok(()));
    assert_eq!(seen(&mut up), [true, true, true, false, false, true]);
    let told = bench.model().class.told.clone();
    assert_eq!(told.hashes.clone().unwrap().key, [0x5c; 40]);
    let settings = up.control.settings();
    assert_eq!(settings.hash_report, Some(report));
    let device = up.stop().unwrap();
    let mut up = bench.restart(device, &small().with_settings(settings), Interrupts::POLLING);
    assert_eq!(bench.model().class.told, told);
    assert_eq!(seen(&mut up), [true, true, true, false, false, true]);
    assert_eq!(up.control.change(Change::HashReport(HashReport::new(RssKinds::empty()))), Ok(()));
    assert_eq!(seen(&mut up), [false; 6]);
    bench.assert_clean();
}

/// By one command: a device that was told of hashes alone would spread no more.
#[test]
fn a_device_that_spreads_reports_what_it_spreads_by() {
    let bench = Bench::new(HASHES | bits::RSS | bits::MQ);
    let rss = Rss::new(RssKinds::UDP4, &[0, 1]).unwrap();
    let settings = Settings::default().with_rss(rss).with_hash_report(HashReport::new(RssKinds::TCP4));
    let config = small().with_rx_entries(32).with_settings(settings);
    let mut up = bench.start_with(&config, Interrupts::POLLING);
    assert!(!bench.model().class.commands.contains(&(4, 2)));
    let mut burst = Burst::new();
    for (payload, kind) in kinds() {
        assert!(bench.model().deliver(&payload));
        assert_eq!(up.rx.receive(&mut burst), Ok(1));
        let reported = burst.pop().unwrap().rx_hash();
        assert_eq!(reported.is_some(), kind == RxHashKind::Udp4);
        assert!(reported.is_none_or(|reported| reported.value == hash(&bench, &payload)));
    }
    assert!(up.stop().is_ok());
    bench.assert_clean();
}

#[test]
fn hashes_that_nobody_asks_for_are_not_agreed() {
    let bench = Bench::new(HASHES);
    let mut up = bench.start();
    assert_eq!(bench.model().accepted() & bits::HASH_REPORT, 0);
    let report = Change::HashReport(HashReport::new(RssKinds::IP4));
    assert_eq!(up.control.change(report), Err(ChangeError::NotOffered));
    assert!(up.stop().is_ok());
    for offered in [HASHES & !bits::HASH_REPORT, HASHES & !bits::CTRL_VQ] {
        let bench = Bench::new(offered);
        let failed = bench.device().start(&reporting(RssKinds::IP4), bench.pool.clone(), Interrupts::POLLING);
        let error = StartError::Setting { what: "report of hashes", error: ChangeError::NotOffered };
        assert_eq!(failed.unwrap_err().into_error(), error);
        bench.assert_at_rest();
        bench.assert_clean();
    }
}

/// Lengths are held against the longer header.
#[test]
fn a_length_that_cannot_be_breaks_a_queue_with_long_headers() {
    let set = |value| Action::Set { field: Field::Length, value };
    for (action, expected) in [
        (set(19), DeviceFault::LengthTooShort { len_bytes: 19, min_bytes: 20 }),
        (set(2005), DeviceFault::LengthTooLong { len_bytes: 2005, max_bytes: 2004 }),
    ] {
        for ring in RINGS {
            let bench = Bench::new(HASHES | ring);
            let mut up = bench.start_with(&reporting(RssKinds::IP4), Interrupts::POLLING);
            bench.model().faults.add(Fault::nth(FaultPoint::RxCompletion, 1, action));
            assert!(bench.model().deliver(&bytes(60, 1)));
            assert_eq!(up.rx.receive(&mut Burst::new()), Err(expected));
            bench.model().repent();
            assert!(up.stop().is_ok());
            bench.assert_at_rest();
        }
    }
}
