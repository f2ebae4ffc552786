//! Back in one call after whatever went wrong: everything home in between, everything as it was
//! afterwards. And one queue alone, while the others go on.

use std::time::Duration;

use crate::pairs::bench as bench_with_pairs;
use crate::support::*;
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::{Armed, InterruptMode, Interrupts};
use paravane_hal::recover::{Progress, RecoverError};
use paravane_mock_hal::fault::{Action, Fault, FaultPoint, Field};
use paravane_mock_hal::model::virtio::net::bits;
use paravane_mock_hal::model::virtio::{Personality, feature};
use paravane_net::{
    Burst, Change, Coalescing, Control, MacAddr, Remains, Rss, RssKinds, RxFilter, RxQueue, Settings,
    TxQueue, VlanSet,
};
use paravane_virtio::QueueResetError;
use paravane_virtio::init::RESET_TIMEOUT;
use paravane_virtio::net::{Config, StartError, StopError};
use paravane_virtio::transport::QueueError;

const ALL: u64 = BASIC
    | MRG_RXBUF
    | OFFLOADS
    | bits::CTRL_VQ
    | bits::CTRL_RX
    | bits::CTRL_VLAN
    | bits::CTRL_MAC_ADDR
    | bits::MQ
    | bits::RSS;

/// A frame each way.
fn echo(bench: &Bench, up: &mut Up) {
    assert!(bench.model().deliver(&bytes(90, 3)));
    let mut frames = Burst::new();
    assert_eq!(up.rx.receive(&mut frames), Ok(1));
    assert_eq!(up.tx.transmit(&mut frames), Ok(1));
    bench.model().tick();
    assert_eq!(bench.sent().len(), 1);
    assert_eq!(up.tx.reclaim(), Ok(1));
}

/// Has something go wrong with a device that runs; what is noticed.
type Break = fn(&Bench, &mut Up) -> DeviceFault;

fn asks_for_a_reset(bench: &Bench, up: &mut Up) -> DeviceFault {
    bench.model().need_reset();
    up.control.poll().unwrap_err()
}

fn breaks_a_queue(bench: &Bench, up: &mut Up) -> DeviceFault {
    let lie = Action::Set { field: Field::Index, value: 77 };
    bench.model().faults.add(Fault::nth(FaultPoint::RxCompletion, 1, lie));
    bench.model().deliver(&bytes(60, 1));
    up.rx.receive(&mut Burst::new()).unwrap_err()
}

fn hangs(bench: &Bench, up: &mut Up) -> DeviceFault {
    let limit = Duration::from_secs(5);
    bench.model().class.serves_doorbells = false;
    assert_eq!(up.tx.transmit(&mut burst((0..8).map(|i| bench.frame(&bytes(60, i))))), Ok(8));
    let progress = Progress::from(up.tx.counters());
    assert_eq!(progress.outstanding, 8);
    assert_eq!(up.control.watch(progress, limit), Ok(()));
    bench.platform.clock().advance(limit - Duration::from_millis(1));
    assert_eq!(up.control.watch(progress, limit), Ok(()));
    bench.platform.clock().advance(Duration::from_millis(1));
    let fault = up.control.watch(progress, limit).unwrap_err();
    assert_eq!(fault, DeviceFault::NoAnswer { after_ms: 5000 });
    assert_eq!(up.control.poll(), Err(fault), "and it stays so");
    bench.model().class.serves_doorbells = true;
    fault
}

#[test]
fn a_nic_comes_back_with_all_that_it_was_told_since_its_start() {
    let breaks: [Break; 3] = [asks_for_a_reset, breaks_a_queue, hangs];
    for ring in [0, EVENT_IDX, RING_PACKED | EVENT_IDX] {
        for break_it in breaks {
            let bench = bench_with_pairs(ALL | ring, 2);

            let vlans = VlanSet::EMPTY.with(7, true);
            let spread = Rss::new(RssKinds::UDP4, &[0, 1]).unwrap();
            let settings = Settings::default().with_vlans(vlans).with_rss(spread);
            let config = Config::default().with_rx_entries(32).with_tx_entries(32).with_settings(settings);
            let mut up = bench.start_with(&config, Interrupts::msix(&MESSAGES));
            let promiscuous = Change::Filter(RxFilter::PROMISCUOUS);
            for change in [Change::Mac(MacAddr::local(5)), Change::Vlan { vid: 9, wanted: true }, promiscuous]
            {
                assert_eq!(up.control.change(change), Ok(()));
            }
            let told = bench.model().class.told.clone();
            let before =
                (up.control.info(), up.control.features(), up.control.pairs(), up.control.settings());
            let bytes_running = bench.platform.memory().bytes();
            let _ = break_it(&bench, &mut up);

            let mut up = up.recover(Interrupts::msix(&MESSAGES)).unwrap();
            let after = (up.control.info(), up.control.features(), up.control.pairs(), up.control.settings());
            assert_eq!(after, before);
            assert_eq!(up.control.interrupts(), InterruptMode::Msix { vectors: 3 });
            assert_eq!(bench.model().class.told, told);
            assert_eq!(bench.platform.memory().bytes(), bytes_running);
            assert_eq!(bench.pool.free(), bench.pool.buffers() - 32, "those that are posted");
            bench.model().take_sent();
            for _ in 0..40 {
                echo(&bench, &mut up);
            }
            assert_eq!(up.rx.arm(), Ok(Armed::Idle));
            assert!(up.stop().is_ok());
            bench.assert_clean();
            bench.assert_at_rest();
        }
    }
}

#[test]
fn each_queue_there_is_is_watched() {
    let bench = Bench::new(BASIC);
    let mut up = bench.start();
    for second in 0..=5 {
        let busy = Progress { outstanding: 3, completed: second };
        assert_eq!(up.control.watch_queue(0, busy, Duration::from_secs(5)), Ok(()));
        bench.platform.clock().advance(Duration::from_secs(1));
    }
    let hung = Progress { outstanding: 3, completed: 0 };
    assert_eq!(up.control.watch_queue(9, hung, Duration::ZERO), Ok(()), "there is no such queue");
    assert_eq!(up.control.watch_queue(0, hung, Duration::from_secs(5)), Ok(()));
    bench.platform.clock().advance(Duration::from_secs(5));
    let late = Err(DeviceFault::NoAnswer { after_ms: 5000 });
    assert_eq!(up.control.watch_queue(0, hung, Duration::from_secs(5)), late);
    assert!(up.stop().is_ok());
}

#[test]
fn a_device_that_sends_something_does_not_hang() {
    let bench = Bench::new(BASIC);
    let mut up = bench.start();
    for _ in 0..10 {
        assert_eq!(up.tx.transmit(&mut burst([bench.frame(&bytes(60, 1))])), Ok(1));
        bench.platform.clock().advance(Duration::from_secs(4));
        up.tx.reclaim().unwrap();
        assert_eq!(up.control.watch(up.tx.counters().into(), Duration::from_secs(5)), Ok(()));
    }
    bench.platform.clock().advance(Duration::from_secs(60));
    assert_eq!(
        up.control.watch(up.tx.counters().into(), Duration::from_secs(5)),
        Ok(()),
        "it has nothing to do"
    );
    assert!(up.stop().is_ok());
}

#[test]
fn a_reset_that_never_ends_leaves_all_parts() {
    let bench = Bench::new(BASIC);
    let mut up = bench.start();
    let _ = hangs(&bench, &mut up);
    bench.model().personality.reset = Reset::Never;
    let (error, remains) = up.recover(Interrupts::msix(&MESSAGES)).unwrap_err().into_parts();
    assert!(matches!(error, RecoverError::NotStopped(StopError::NoReset(_))), "{error}");
    let Remains::Running(up) = remains else { panic!("{remains:?}") };
    assert_eq!(bench.pool.free(), bench.pool.buffers() - 16 - 8, "nothing was freed");
    bench.model().personality.reset = Reset::AtOnce;
    let mut up = up.recover(Interrupts::msix(&MESSAGES)).unwrap();
    echo(&bench, &mut up);
    assert!(up.stop().is_ok());
    bench.assert_clean();
    bench.assert_at_rest();
}

#[test]
fn a_device_that_does_not_start_again_comes_back_stopped_with_its_terms() {
    let bench = Bench::new(BASIC);
    let mut up = bench.start();
    let _ = asks_for_a_reset(&bench, &mut up);
    bench.model().rejects_features = true;
    let (error, remains) = up.recover(Interrupts::POLLING).unwrap_err().into_parts();
    assert!(matches!(error, RecoverError::NotStarted(StartError::SetUp(_))), "{error}");
    let Remains::Stopped(device, config, pool) = remains else { panic!("{remains:?}") };
    bench.model().rejects_features = false;
    let mut up = device.start(&config, pool, Interrupts::POLLING).unwrap();
    assert_eq!(up.control.info().rx_slots, 16);
    echo(&bench, &mut up);
    assert!(up.stop().is_ok());
    bench.assert_clean();
    bench.assert_at_rest();
}

#[test]
fn a_device_that_comes_back_as_another_says_so() {
    let bench = Bench::new(BASIC | OFFLOADS);
    let mut up = bench.start();
    let _ = asks_for_a_reset(&bench, &mut up);
    bench.model().offer(BASIC);
    let (error, remains) = up.recover(Interrupts::msix(&MESSAGES)).unwrap_err().into_parts();
    assert_eq!(error, RecoverError::Changed);
    let Remains::Running(up) = remains else { panic!("{remains:?}") };
    // More than it had is not made use of.
    bench.model().offer(BASIC | OFFLOADS | MRG_RXBUF);
    let up = up.recover(Interrupts::msix(&MESSAGES)).unwrap();
    assert_eq!(up.control.features().bits(), BASIC);
    let failed = up.recover(Interrupts::POLLING).unwrap_err();
    assert_eq!(*failed.error(), RecoverError::Changed, "it interrupted, and polls now");
    let Remains::Running(up) = failed.into_parts().1 else { panic!("it runs") };
    assert!(up.stop().is_ok());
    bench.assert_clean();
    bench.assert_at_rest();
}

/// Each ring, and both kinds of monitor.
fn benches_with_queue_reset() -> impl Iterator<Item = Bench> {
    let of = |ring| {
        let features = BASIC | EVENT_IDX | feature::RING_RESET | ring;
        [Bench::new(features), Bench::with_layout(features, |layout| layout.common.len_bytes = 0x3c)]
    };
    [0, RING_PACKED].into_iter().flat_map(of)
}

#[test]
fn a_queue_is_reset_alone_and_the_other_goes_on() {
    for bench in benches_with_queue_reset() {
        let mut up = bench.start();
        // Somewhere in the ring, with some in flight.
        for _ in 0..21 {
            echo(&bench, &mut up);
        }
        for round in 0..4 {
            bench.model().class.serves_doorbells = false;
            let free = bench.pool.free();
            assert_eq!(up.tx.transmit(&mut burst((0..5).map(|i| bench.frame(&bytes(60, i))))), Ok(5));
            assert!(bench.model().deliver(&bytes(70, round)));
            assert_eq!(up.control.reset_tx(&mut up.tx), Ok(()));
            assert_eq!((up.tx.room(), bench.pool.free()), (16, free));
            assert_eq!(Progress::from(up.tx.counters()).outstanding, 0);
            let mut received = Burst::new();
            assert_eq!(up.rx.receive(&mut received), Ok(1), "what came meanwhile");
            drop(received);
            bench.model().class.serves_doorbells = true;
            for _ in 0..19 {
                echo(&bench, &mut up);
            }
            let queues: Vec<_> = up.rx.queues_mut().collect();
            for queue in queues {
                assert_eq!(up.control.reset_rx(queue), Ok(()));
            }
            assert_eq!(up.rx.refill(), 0, "each slot has a buffer again");
            for _ in 0..19 {
                echo(&bench, &mut up);
            }
            let _ = bench.messages();
            assert_eq!(up.rx.arm(), Ok(Armed::Idle));
            assert!(bench.model().deliver(&bytes(60, 1)));
            assert_eq!(bench.messages(), [MESSAGES[0].data()], "its message is the one that it was");
            assert_eq!(up.rx.receive(&mut Burst::new()), Ok(1));
        }
        assert!(up.stop().is_ok());
        bench.assert_clean();
        bench.assert_at_rest();
    }
}

#[test]
fn a_broken_queue_is_whole_again_when_it_was_reset() {
    for bench in benches_with_queue_reset() {
        let mut up = bench.start();
        let fault = breaks_a_queue(&bench, &mut up);
        assert_eq!(up.rx.receive(&mut Burst::new()), Err(fault));
        for queue in up.rx.queues_mut() {
            assert_eq!(up.control.reset_rx(queue), Ok(()));
        }
        for _ in 0..40 {
            echo(&bench, &mut up);
        }
        assert!(up.stop().is_ok());
        bench.assert_clean();
        bench.assert_at_rest();
    }
}

#[test]
fn a_queue_reset_that_never_ends_is_not_waited_for_for_ever() {
    use paravane_hal::time::Clock as _;
    for bench in benches_with_queue_reset() {
        let mut up = bench.start();
        bench.model().class.serves_doorbells = false;
        assert_eq!(up.tx.transmit(&mut burst([bench.frame(&bytes(60, 1))])), Ok(1));
        bench.model().queue_reset = Reset::Never;
        let before = bench.platform.now();
        let error = up.control.reset_tx(&mut up.tx).unwrap_err();
        assert_eq!(error, QueueResetError::Queue(QueueError::NoReset { queue: 1, after: RESET_TIMEOUT }));
        assert!(bench.platform.now().since(before) < RESET_TIMEOUT * 2);
        assert_eq!(bench.pool.free(), bench.pool.buffers() - 17, "the device may have it");
        assert_eq!(up.tx.reclaim(), Err(DeviceFault::NeedsReset));
        bench.model().class.serves_doorbells = true;
        let mut up = up.recover(Interrupts::msix(&MESSAGES)).unwrap();
        echo(&bench, &mut up);
        assert!(up.stop().is_ok());
        bench.assert_clean();
        bench.assert_at_rest();
    }
}

#[test]
fn a_slow_queue_reset_is_waited_for() {
    for bench in benches_with_queue_reset() {
        let mut up = bench.start();
        bench.model().queue_reset = Reset::AfterReads(100);
        assert_eq!(up.control.reset_tx(&mut up.tx), Ok(()));
        echo(&bench, &mut up);
        assert!(up.stop().is_ok());
        bench.assert_clean();
    }
}

/// Firecracker's registers end before those of the reset, whatever is offered.
#[test]
fn without_the_feature_or_its_register_no_queue_is_reset() {
    let short = Bench::with_layout(BASIC | feature::RING_RESET, |layout| layout.common.len_bytes = 0x38);
    for bench in [Bench::new(BASIC), short, Bench::of(Personality::firecracker(), BASIC)] {
        let mut up = bench.start();
        assert_eq!(up.control.reset_tx(&mut up.tx), Err(QueueResetError::NotOffered));
        echo(&bench, &mut up);
        assert!(up.stop().is_ok());
        bench.assert_clean();
    }
}

#[test]
fn a_queue_of_another_device_is_not_reset() {
    let benches = [(); 2].map(|()| Bench::new(BASIC | feature::RING_RESET));
    let [mut one, mut other] = [benches[0].start(), benches[1].start()];
    assert_eq!(one.control.reset_tx(&mut other.tx), Err(QueueResetError::ForeignQueue));
    echo(&benches[1], &mut other);
    assert!(one.stop().is_ok() && other.stop().is_ok());
}

/// One that is enabled again goes by what was told of all of its direction; so what was told of it
/// alone is told again.
#[test]
fn a_queue_that_was_reset_interrupts_as_it_did_5_1_6_5_8() {
    let told = bits::CTRL_VQ | bits::NOTF_COAL | bits::VQ_NOTF_COAL | feature::RING_RESET;
    for ring in [0, RING_PACKED] {
        let bench = Bench::new(BASIC | told | ring);
        let mut up = bench.start();
        let coalescing = |max_frames| Coalescing { max_frames, max_micros: 9 };
        for change in [
            Change::RxCoalescing(coalescing(1)),
            Change::RxPairCoalescing { pair: 0, coalescing: coalescing(2) },
            Change::TxPairCoalescing { pair: 0, coalescing: coalescing(3) },
        ] {
            assert_eq!(up.control.change(change), Ok(()));
        }
        let settings = up.control.settings();
        let before = bench.model().class.told.clone();
        assert_eq!(up.control.reset_tx(&mut up.tx), Ok(()));
        assert_eq!(bench.model().class.told, before);
        for queue in up.rx.queues_mut() {
            assert_eq!(up.control.reset_rx(queue), Ok(()));
        }
        assert_eq!((bench.model().class.told.clone(), up.control.settings()), (before, settings));

        // Where it cannot be told, nobody says that it was.
        bench.model().class.refuses = Some((6, 2));
        assert_eq!(up.control.reset_tx(&mut up.tx), Ok(()));
        bench.model().class.refuses = None;
        assert_eq!(up.control.settings().tx_pair_coalescing.of(0), None);
        assert_eq!(bench.model().class.told.queue_coalescing.len(), 1);
        // The device is about something else.
        assert_eq!(up.control.submit_change(Change::TxCoalescing(coalescing(4))), Ok(()));
        for queue in up.rx.queues_mut() {
            assert_eq!(up.control.reset_rx(queue), Ok(()));
        }
        while !up.control.poll_change().unwrap() {}
        assert_eq!(up.control.settings().rx_pair_coalescing.of(0), None);
        assert_eq!(bench.model().class.told.queue_coalescing.len(), 0);
        echo(&bench, &mut up);
        assert!(up.stop().is_ok());
        bench.assert_clean();
    }
}
