//! Stop, start again, stop for good; and what happens when a device does not let go.

use std::time::Duration;

use crate::support::*;
use paravane_hal::irq::{Armed, Interrupts};
use paravane_hal::time::Clock as _;
use paravane_mock_hal::model::virtio::Personality;
use paravane_net::{Burst, Control, Events, Link, RxFilter, RxFilterError, RxQueue, TxQueue};
use paravane_virtio::init::{InitError, RESET_TIMEOUT};
use paravane_virtio::net::{LOOK_EVERY, StartError, StopError, StuckReason};

#[test]
fn a_hundred_restarts_leave_memory_as_it_was() {
    let bench = Bench::new(BASIC | EVENT_IDX | MRG_RXBUF);
    let mut device = bench.device();
    let mut bytes_running = None;
    for round in 0..100 {
        let mut up = bench.restart(device, &small(), Interrupts::Msix(&MESSAGES));
        let running = *bytes_running.get_or_insert(bench.platform.memory().bytes());
        assert_eq!(bench.platform.memory().bytes(), running);
        for i in 0..20 {
            bench.model().deliver(&bytes(60, i));
            let mut burst = Burst::new();
            assert_eq!(up.rx.receive(&mut burst), Ok(1));
            assert_eq!(up.tx.transmit(&mut burst), Ok(1));
        }
        assert_eq!(bench.sent().len(), 20, "in round {round}");
        bench.model().take_sent();
        device = up.control.stop(up.rx, up.tx).unwrap();
        bench.assert_at_rest();
        assert!(!bench.masters_bus());
    }
    bench.assert_clean();
}

#[test]
fn frames_in_flight_come_home_at_stop() {
    let bench = Bench::new(BASIC);
    let mut up = bench.start();
    bench.model().class.serves_doorbells = false;
    assert_eq!(up.tx.transmit(&mut burst((0..8).map(|i| bench.frame(&bytes(60, i))))), Ok(8));
    assert_eq!(bench.pool.free(), bench.pool.frames() - 16 - 8);
    let device = up.control.stop(up.rx, up.tx).unwrap();
    bench.assert_at_rest();
    assert_eq!(bench.model().statuses.last(), Some(&0));
    assert_eq!(device.into_function().ids().device, 0x1041);
    bench.assert_clean();
}

#[test]
fn a_device_that_does_not_reset_keeps_its_memory() {
    let bench = Bench::new(BASIC);
    let up = bench.start();
    bench.model().personality.reset = Reset::Never;
    let Err(error) = up.control.stop(up.rx, up.tx) else { panic!("stopped") };
    assert_eq!(bench.platform.memory().bytes(), bench.bytes_at_rest + queue_bytes(16) * 2);
    let StopError::Stuck { reason: StuckReason::NoReset(_), leaked_frames: 16, device } = error else {
        panic!("{error}");
    };
    assert_eq!(bench.pool.free(), bench.pool.frames() - 16);
    // Once it comes to its senses it can be used again, with memory of its own.
    bench.model().personality.reset = Reset::AtOnce;
    let up = bench.restart(device, &small(), Interrupts::Polling);
    assert!(up.control.stop(up.rx, up.tx).is_ok());
    bench.assert_clean();
}

/// Not even `FAILED` is written into it, and one wait is enough.
#[test]
fn a_reset_that_does_not_end_is_left_in_peace() {
    let bench = Bench::of(Personality::openvmm(), BASIC | 1 << 33);
    let up = bench.start();
    bench.model().personality.reset = Reset::Never;
    let Err(StopError::Stuck { device, .. }) = up.control.stop(up.rx, up.tx) else { panic!("stopped") };
    bench.model().statuses.clear();
    let before = bench.platform.now();
    let Err((error, _)) = device.start(&small(), bench.pool.clone(), Interrupts::Polling) else {
        panic!("started")
    };
    assert!(matches!(error, StartError::Init(InitError::NoReset { .. })), "{error}");
    assert_eq!(bench.model().statuses, [0]);
    assert!(bench.platform.now().since(before) < RESET_TIMEOUT * 2);
    assert!(!bench.masters_bus());
    bench.assert_clean();
}

/// What a queue of `entries` takes: descriptor table, available ring, used ring.
fn queue_bytes(entries: usize) -> usize {
    16 * entries + (6 + 2 * entries) + (8 + 8 * entries)
}

#[test]
fn a_monitor_that_never_resets_is_driven_once() {
    let personality = Personality::firecracker_without_reset();
    let bench = Bench::of(personality, personality.ring_features | personality.net_features);
    let mut up = bench.start();
    assert_eq!(up.tx.transmit(&mut burst([bench.frame(&bytes(60, 1))])), Ok(1));
    assert_eq!(bench.sent().len(), 1);
    let Err(StopError::Stuck { reason: StuckReason::NoReset(_), device, .. }) = up.control.stop(up.rx, up.tx)
    else {
        panic!("stopped")
    };
    let bytes_leaked = bench.platform.memory().bytes();
    let Err((StartError::Init(InitError::NoReset { .. }), _)) =
        device.start(&small(), bench.pool.clone(), Interrupts::Polling)
    else {
        panic!("started again")
    };
    assert_eq!(bench.platform.memory().bytes(), bytes_leaked, "leaked once");
    bench.assert_clean();
}

#[test]
fn a_device_that_keeps_the_bus_keeps_its_memory() {
    let bench = Bench::new(BASIC);
    let up = bench.start();
    // Bus mastering cannot be switched off any more.
    bench.space(|space| space.allow(4, &[0b011]));
    let Err(error) = up.control.stop(up.rx, up.tx) else { panic!("stopped") };
    assert!(matches!(error, StopError::Stuck { reason: StuckReason::NotQuiet(_), .. }), "{error}");
    assert!(bench.platform.memory().bytes() > bench.bytes_at_rest);
}

#[test]
fn parts_dropped_without_stop_are_leaked_not_freed() {
    let bench = Bench::new(BASIC);
    drop(bench.start());
    assert_eq!(bench.platform.memory().bytes(), bench.bytes_at_rest + queue_bytes(16) * 2);
    assert!(
        bench.model().deliver(&bytes(60, 1)),
        "the device goes on writing to memory that is still its own"
    );
    bench.assert_clean();
}

#[test]
fn queues_of_another_device_are_given_back() {
    let (one, other) = (Bench::new(BASIC), Bench::new(BASIC));
    let (mut a, b) = (one.start(), other.start());
    let Err(StopError::OthersQueues { control, rx, tx }) = a.control.stop(b.rx, b.tx) else {
        panic!("taken")
    };
    assert_eq!(one.model().status(), 15, "nothing was done");
    a.control = control;
    assert!(a.control.stop(a.rx, a.tx).is_ok());
    assert!(b.control.stop(rx, tx).is_ok());
    one.assert_at_rest();
    other.assert_at_rest();
}

#[test]
fn the_link_is_followed_by_message() {
    let bench = Bench::new(BASIC);
    let mut up = bench.start();
    assert_eq!(up.control.poll(), Ok(Events::empty()));
    bench.model().set_link(false);
    assert_eq!(bench.messages(), [MESSAGES[0].data()]);
    // However soon after the last look: whoever had the message calls once.
    assert_eq!(up.control.poll(), Ok(Events::LINK));
    assert!(!up.control.link().is_up());
    assert_eq!(up.control.arm(), Ok(Armed::Idle));
    bench.assert_clean();
}

#[test]
fn a_link_that_comes_back_may_be_faster() {
    let bench = Bench::new(BASIC | 1 << 63);
    let mut up = bench.start();
    assert_eq!(up.control.link(), Link::Up { mbps: Some(10_000) });
    bench.model().set_link(false);
    assert_eq!(up.control.poll(), Ok(Events::LINK));
    bench.model().class.speed_mbps = 25_000;
    bench.model().set_link(true);
    assert_eq!(up.control.poll(), Ok(Events::LINK));
    assert_eq!(up.control.link(), Link::Up { mbps: Some(25_000) });
    bench.assert_clean();
}

#[test]
fn the_link_is_followed_by_polling() {
    let bench = Bench::new(BASIC);
    let mut up = bench.start_with(&small(), Interrupts::Polling);
    assert_eq!(up.control.poll(), Ok(Events::empty()));
    bench.model().set_link(false);
    assert_eq!(up.control.poll(), Ok(Events::empty()), "a look costs an exit, so not at every poll");
    bench.platform.clock().advance(LOOK_EVERY + Duration::from_millis(1));
    assert_eq!(up.control.poll(), Ok(Events::LINK));
    assert_eq!(up.control.poll(), Ok(Events::empty()));
    bench.assert_clean();
}

#[test]
fn a_filter_that_the_device_does_not_have_is_named() {
    let bench = Bench::new(BASIC);
    let mut up = bench.start();
    assert_eq!(up.control.set_filter(RxFilter::default()), Ok(()));
    let has = RxFilter::UNICAST | RxFilter::BROADCAST;
    assert_eq!(up.control.set_filter(RxFilter::PROMISCUOUS), Err(RxFilterError::NotOffered(has)));
    assert_eq!(up.control.read_device_stats(), Ok(None));
}
