//! Several pairs of queues: all that were started are served, together or taken apart, and all come
//! home.

use crate::support::*;
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::{Armed, Interrupts};
use paravane_mock_hal::MockPlatform;
use paravane_mock_hal::fault::{Action, Fault, FaultPoint, Field};
use paravane_mock_hal::model::virtio::{self as model, Personality, Virtio, net::bits};
use paravane_net::{
    Burst, Change, ChangeError, Control, FrameLayout, FramePool, Rss, RssKinds, RxQueue, Settings, TxQueue,
};
use paravane_pci::PciAddress;
use paravane_virtio::net::{Config, StartError, StopError};

const SEVERAL: u64 = BASIC | bits::CTRL_VQ | bits::MQ;

/// A device with so many pairs.
pub fn bench(offered: u64, pairs: u16) -> Bench {
    let platform = MockPlatform::new();
    let net = model::Net::new(MAC).with_features(offered).with_pairs(pairs);
    let plugged = Virtio::plug(&platform, PciAddress::new(0, 0, 3, 0).unwrap(), net, Personality::qemu());
    plugged.lock().offer(offered);
    let pool = FramePool::new(platform.clone(), FrameLayout::new(1024)).unwrap();
    let bytes_at_rest = platform.memory().bytes();
    Bench { platform, plugged, pool, bytes_at_rest }
}

/// Sixteen entries each way for each of so many pairs.
fn entries(pairs: u16) -> Config {
    Config::default().with_rx_entries(16 * pairs).with_tx_entries(16 * pairs)
}

/// A frame that the model spreads to `pair` of so few.
fn spread_to(pair: u8) -> Vec<u8> {
    let mut frame = [&MAC[..], &[0; 54]].concat();
    let sum = frame.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    // 256 is a multiple of 2 and of 4.
    frame[11] = pair.wrapping_sub(sum);
    frame
}

/// How many frames are received together.
fn receive_all(up: &mut Up) -> usize {
    let mut burst = Burst::new();
    up.rx.receive(&mut burst).unwrap()
}

#[test]
fn frames_of_every_pair_are_received_together() {
    for ring in [0, EVENT_IDX, RING_PACKED] {
        let bench = bench(SEVERAL | ring, 4);
        let mut up = bench.start_with(&entries(4), Interrupts::POLLING);
        assert_eq!(up.control.pairs(), 4);
        assert_eq!(bench.model().class.told.pairs, 4);
        let info = up.control.info();
        assert_eq!((info.rx_slots, info.tx_slots), (64, 64), "in all, and for one");
        assert_eq!(bench.pool.free(), bench.pool.buffers() - 64);
        // More than the entries of one, so that each goes round.
        for _ in 0..40 {
            for pair in 0..4 {
                assert!(bench.model().deliver(&spread_to(pair)));
            }
            assert_eq!(receive_all(&mut up), 4);
        }
        assert_eq!((up.rx.counters().frames, up.rx.counters().dropped()), (160, 0));
        assert!(up.stop().is_ok());
        bench.assert_clean();
        bench.assert_at_rest();
    }
}

/// As Cloud Hypervisor's host does.
#[test]
fn a_device_that_spreads_whatever_it_is_told_is_served() {
    let personality = Personality::cloud_hypervisor();
    let bench = Bench::of(personality, personality.ring_features | personality.net_features);
    bench.model().class.spreads_over_all = true;
    let mut up = bench.start_with(&Config::default(), Interrupts::msix(&MESSAGES));
    assert_eq!(up.control.pairs(), 2);
    for pair in 0..2 {
        assert_eq!(up.rx.arm(), Ok(Armed::Idle));
        assert!(bench.model().deliver(&spread_to(pair)));
        assert_eq!(bench.messages(), [MESSAGES[0].data()], "whoever waits for frames is told");
        assert_eq!(receive_all(&mut up), 1);
    }
    assert!(up.stop().is_ok());
    bench.assert_clean();
    bench.assert_at_rest();
}

#[test]
fn pairs_are_as_many_as_both_have_and_entries_allow() {
    for (has, config, started) in [
        (4, entries(4), 4),
        (4, entries(8), 4),
        (4, entries(4).with_pairs(3), 3),
        (4, entries(4).with_pairs(1), 1),
        (4, entries(4).with_pairs(0), 1),
        (4, entries(2), 2),
        (4, entries(4).with_rx_entries(47), 2),
        (4, entries(1).with_rx_entries(8), 1),
        (4, entries(4).with_tx_entries(16), 4),
        (1, entries(8), 1),
    ] {
        let bench = bench(SEVERAL, has);
        let up = bench.start_with(&config, Interrupts::POLLING);
        assert_eq!(up.control.pairs(), started);
        assert_eq!(bench.model().class.told.pairs, started);
        // Behind all that the device has, whatever was started.
        assert_eq!(bench.model().control_queue(), 2 * usize::from(has));
        assert!(bench.model().queues[2 * usize::from(has)].is_enabled);
        assert!(up.stop().is_ok());
        bench.assert_clean();
        bench.assert_at_rest();
    }
}

#[test]
fn a_count_of_pairs_that_cannot_be_is_not_believed() {
    for pairs in [0, 0x8001] {
        let bench = bench(SEVERAL, 1);
        let config = Action::Set { field: Field::Value, value: pairs };
        // `max_virtqueue_pairs`, in the device's own structure.
        bench.model().faults.add(Fault::always(FaultPoint::RegisterRead, config).of(4 << 16 | 8));
        let up = bench.start_with(&entries(4), Interrupts::POLLING);
        assert_eq!((up.control.pairs(), bench.model().accepted() & bits::MQ), (1, 0));
        assert!(up.stop().is_ok());
        bench.assert_at_rest();
    }
}

#[test]
fn pairs_taken_apart_go_both_ways_and_are_missed_at_the_stop() {
    let bench = bench(SEVERAL, 4);
    let mut up = bench.start_with(&entries(4), Interrupts::POLLING);
    let mut pairs = up.rx.take_pairs();
    assert_eq!(pairs.len(), 3);
    for (number, pair) in (1..).zip(&mut pairs) {
        assert!(bench.model().deliver(&spread_to(number)));
        assert_eq!(receive_all(&mut up), 0, "another's");
        let mut burst = Burst::new();
        assert_eq!(pair.rx.receive(&mut burst), Ok(1));
        assert_eq!(pair.tx.transmit(&mut burst), Ok(1));
        let sent = bench.model().take_sent();
        assert_eq!((sent[0].pair, &sent[0].bytes), (number.into(), &spread_to(number)));
        assert_eq!(pair.tx.reclaim(), Ok(1));
    }
    let (error, mut up) = up.stop().unwrap_err().into_parts();
    assert_eq!(error, StopError::QueuesMissing { started: 4, given: 1 });
    assert!(error.to_string().contains("4 queues were started"), "{error}");
    assert_eq!(bench.model().status(), 15, "nothing was done");
    up.rx.give_back(pairs);
    assert!(bench.model().deliver(&spread_to(2)));
    assert_eq!(receive_all(&mut up), 1, "served together again");
    assert!(up.stop().is_ok());
    bench.assert_clean();
    bench.assert_at_rest();
}

#[test]
fn pairs_of_another_device_are_given_back() {
    let (one, other) = (bench(SEVERAL, 2), bench(SEVERAL, 2));
    let mut ups = [&one, &other].map(|bench| bench.start_with(&entries(2), Interrupts::POLLING));
    let taken = ups.each_mut().map(|up| up.rx.take_pairs());
    let [mut a, mut b] = ups;
    let [of_a, of_b] = taken;
    a.rx.give_back(of_b);
    let (error, mut a) = a.stop().unwrap_err().into_parts();
    assert_eq!(error, StopError::ForeignQueue);
    b.rx.give_back(a.rx.take_pairs());
    a.rx.give_back(of_a);
    assert!(a.stop().is_ok() && b.stop().is_ok());
    one.assert_at_rest();
    other.assert_at_rest();
}

/// What stays with the caller is what came before, and the fault stays.
#[test]
fn a_lie_in_one_pair_breaks_what_receives() {
    let bench = bench(SEVERAL, 2);
    let mut up = bench.start_with(&entries(8).with_pairs(2), Interrupts::POLLING);
    assert!(bench.model().deliver(&spread_to(0)));
    let lie = Action::Set { field: Field::Index, value: 77 };
    bench.model().faults.add(Fault::nth(FaultPoint::RxCompletion, 1, lie).of(2));
    assert!(bench.model().deliver(&spread_to(1)));
    let mut burst = Burst::new();
    let fault = DeviceFault::IndexOutOfRange { index: 77, entries: 64 };
    assert_eq!(up.rx.receive(&mut burst), Err(fault));
    assert_eq!(burst.len(), 1);
    // Though the other would fill bursts.
    (0..60).for_each(|_| assert!(bench.model().deliver(&spread_to(0))));
    for _ in 0..3 {
        assert_eq!(up.rx.receive(&mut Burst::new()), Err(fault));
    }
    assert_eq!(up.rx.arm(), Err(fault));
    bench.model().repent();
    drop(burst);
    let device = up.stop().unwrap();
    bench.assert_at_rest();
    let mut up = bench.restart(device, &entries(2), Interrupts::POLLING);
    assert!(bench.model().deliver(&spread_to(1)));
    assert_eq!(receive_all(&mut up), 1);
    bench.assert_clean();
}

/// However busy one is: each is first in its turn.
#[test]
fn a_busy_pair_does_not_starve_the_others() {
    let bench = bench(SEVERAL, 2);
    let mut up = bench.start_with(&entries(8).with_pairs(2), Interrupts::POLLING);
    let mut others = 0;
    for _ in 0..2 {
        for _ in 0..40 {
            assert!(bench.model().deliver(&spread_to(0)));
        }
        assert!(bench.model().deliver(&spread_to(1)));
        let mut burst = Burst::new();
        assert_eq!(up.rx.receive(&mut burst), Ok(32));
        while let Some(frame) = burst.pop() {
            others += usize::from(content(&frame) == spread_to(1));
        }
    }
    assert!(others > 0);
}

#[test]
fn arming_reports_what_waits_in_any_pair() {
    let bench = bench(SEVERAL | EVENT_IDX, 4);
    let mut up = bench.start_with(&entries(4), Interrupts::msix(&MESSAGES));
    for pair in 0..4 {
        assert!(bench.model().deliver(&spread_to(pair)));
        assert_eq!(up.rx.arm(), Ok(Armed::Pending), "{pair}");
        assert_eq!(receive_all(&mut up), 1);
        up.rx.disarm();
        let _ = bench.messages();
        assert!(bench.model().deliver(&spread_to(pair)));
        assert_eq!(bench.messages(), [], "{pair}");
        assert_eq!(receive_all(&mut up), 1);
    }
    bench.assert_clean();
}

#[test]
fn a_start_of_pairs_that_is_refused_gives_everything_back() {
    let bench = bench(SEVERAL, 4);
    bench.model().class.refuses = Some((4, 0));
    let failed = bench.device().start(&entries(4), bench.pool.clone(), Interrupts::POLLING);
    let error = failed.unwrap_err().into_error();
    assert_eq!(error, StartError::Setting { what: "pairs of queues", error: ChangeError::Refused });
    bench.assert_at_rest();
}

/// A datagram over IPv4 between two stations, told apart by its ports.
fn datagram(port: u16) -> Vec<u8> {
    let mut frame = [&MAC[..], &[2; 6], &[8, 0], &[0x45, 0, 0, 46], &[0; 5], &[17], &[0; 2]].concat();
    frame.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend(port.to_be_bytes());
    frame.extend([0; 24]);
    frame
}

#[test]
fn a_spread_sends_each_flow_to_its_pair_5_1_6_5_7() {
    for also in [bits::MQ, 0] {
        let bench = bench(BASIC | bits::CTRL_VQ | bits::RSS | also, 4);
        let spread = |table: &[u16]| Rss::new(RssKinds::UDP4, table).unwrap();
        let settings = Settings::default().with_rss(spread(&[0, 1, 2, 3]));
        let mut up = bench.start_with(&entries(4).with_settings(settings), Interrupts::POLLING);
        let told = bench.model().class.told.spread.clone().unwrap();
        assert_eq!((told.table.len(), told.max_tx_vq, told.unclassified), (4, 4, 0));
        let mut pairs = up.rx.take_pairs();
        let mut seen = [0; 4];
        for port in 1..=64 {
            let pair = told.pair_of(&datagram(port));
            assert!(bench.model().deliver(&datagram(port)));
            let mut burst = Burst::new();
            let received = match pair.checked_sub(1) {
                None => up.rx.receive(&mut burst),
                Some(other) => pairs[usize::from(other)].rx.receive(&mut burst),
            };
            assert_eq!(received, Ok(1), "{port}");
            seen[usize::from(pair)] += 1;
        }
        assert!(seen.iter().all(|frames| *frames > 0), "{seen:?}");
        // All to the second from here on.
        assert_eq!(up.control.change(Change::Rss(spread(&[1, 1]))), Ok(()));
        assert!(bench.model().deliver(&datagram(1)));
        assert_eq!(pairs[0].rx.receive(&mut Burst::new()), Ok(1));
        assert_eq!(up.control.change(Change::Rss(spread(&[4]))), Err(ChangeError::OutOfRange));
        assert_eq!(up.control.settings().rss, Some(spread(&[1, 1])));
        up.rx.give_back(pairs);
        assert!(up.stop().is_ok());
        bench.assert_clean();
        bench.assert_at_rest();
    }
}

/// Where there are messages for each, each has its own; control shares that of events.
#[test]
fn queues_have_messages_of_their_own() {
    let bench = bench(SEVERAL, 2);
    let messages = [0x40, 0x41, 0x42, 0x43, 0x44].map(|data| paravane_mock_hal::message(0xfee0_0000, data));
    let up = bench.start_with(&entries(2), Interrupts::msix(&messages));
    let vectors: Vec<_> = bench.model().queues.iter().map(|queue| queue.vector).collect();
    // The device has four of them.
    assert_eq!(vectors, [0, 1, 2, 1, 3]);
    assert!(up.stop().is_ok());
    let device = bench.device();
    let up = bench.restart(device, &entries(2), Interrupts::msix(&MESSAGES));
    let vectors: Vec<_> = bench.model().queues.iter().map(|queue| queue.vector).collect();
    assert_eq!(vectors, [0, 1, 0, 1, 2]);
    assert!(up.stop().is_ok());
    bench.assert_clean();
}
