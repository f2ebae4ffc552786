//! Stop, start again, stop for good; and what happens when a device does not let go.

use std::time::Duration;

use crate::support::*;
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::{Armed, Interrupts};
use paravane_hal::time::Clock as _;
use paravane_mock_hal::fault::{Action, Fault, FaultPoint, Field};
use paravane_mock_hal::model::virtio::{Personality, common_register};
use paravane_net::{Burst, Control, Duplex, Events, Link, RxFilter, RxFilterError, RxQueue, TxQueue};
use paravane_virtio::init::{InitError, RESET_TIMEOUT};
use paravane_virtio::net::{LOOK_EVERY, Running, SetUpError, StartError, StopError};
use paravane_virtio::transport::pci;

#[test]
fn a_hundred_restarts_leave_memory_as_it_was() {
    let bench = Bench::new(BASIC | EVENT_IDX | MRG_RXBUF);
    let mut device = bench.device();
    let mut bytes_running = None;
    for round in 0..100 {
        let mut up = bench.restart(device, &small(), Interrupts::msix(&MESSAGES));
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
    assert_eq!(bench.pool.free(), bench.pool.buffers() - 16 - 8);
    let device = up.control.stop(up.rx, up.tx).unwrap();
    bench.assert_at_rest();
    assert_eq!(bench.model().statuses.last(), Some(&0));
    assert_eq!(pci::close(device.into_parts()).ids().device, 0x1041);
    bench.assert_clean();
}

/// A reset that was merely slow, or a device that comes to its senses: what the stop gave back is
/// freed by the next one.
#[test]
fn a_device_that_does_not_reset_keeps_its_memory() {
    let bench = Bench::new(BASIC);
    let mut up = bench.start();
    bench.model().class.serves_doorbells = false;
    assert_eq!(up.tx.transmit(&mut burst((0..8).map(|i| bench.frame(&bytes(60, i))))), Ok(8));
    bench.model().personality.reset = Reset::Never;
    for _ in 0..3 {
        let (error, back) = up.stop().unwrap_err().into_parts();
        assert!(matches!(error, StopError::NoReset(_)), "{error}");
        assert!(error.to_string().contains("memory kept"), "{error}");
        assert_eq!(bench.platform.memory().bytes(), bench.bytes_at_rest + queue_bytes(16) * 2);
        assert_eq!(bench.pool.free(), bench.pool.buffers() - 16 - 8, "the same, however often");
        up = back;
        // What may still run serves nothing any more.
        assert_eq!(up.rx.receive(&mut Burst::new()), Err(DeviceFault::NeedsReset));
        assert_eq!(up.tx.reclaim(), Err(DeviceFault::NeedsReset));
        assert_eq!(up.control.poll(), Err(DeviceFault::NeedsReset));
    }
    bench.model().personality.reset = Reset::AtOnce;
    let device = up.stop().unwrap();
    bench.assert_at_rest();
    let up = bench.restart(device, &small(), Interrupts::POLLING);
    assert!(up.stop().is_ok());
    bench.assert_at_rest();
    bench.assert_clean();
}

#[test]
fn a_reset_that_is_slower_than_the_wait_is_seen_by_the_next_stop() {
    let personality = Personality::firecracker_slow_to_reset();
    let bench = Bench::of(personality, personality.ring_features | personality.net_features);
    let (error, up) = bench.start().stop().unwrap_err().into_parts();
    assert!(matches!(error, StopError::NoReset(_)), "{error}");
    assert!(up.stop().is_ok(), "it was under way all the time");
    bench.assert_at_rest();
    bench.assert_clean();
}

/// Not even `FAILED` is written into it, and one wait is enough.
#[test]
fn a_reset_that_does_not_end_is_left_in_peace() {
    let bench = Bench::of(Personality::openvmm(), BASIC | 1 << 33);
    // Dropped with the error, at the end.
    bench.platform.memory().expect_leak(Some(6));
    let device = starts_late_and_stays(&bench);
    bench.model().statuses.clear();
    let before = bench.platform.now();
    let failed = device.start(&small(), bench.pool.clone(), Interrupts::POLLING).unwrap_err();
    assert!(
        matches!(failed.error(), StartError::SetUp(SetUpError::Init(InitError::NoReset { .. }))),
        "{failed}"
    );
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
fn a_monitor_that_never_resets_is_driven_once_and_loses_nothing_while_the_parts_are_kept() {
    let personality = Personality::firecracker_without_reset();
    let bench = Bench::of(personality, personality.ring_features | personality.net_features);
    let mut up = bench.start();
    assert_eq!(up.tx.transmit(&mut burst([bench.frame(&bytes(60, 1))])), Ok(1));
    assert_eq!(bench.sent().len(), 1);
    let (bytes_running, free) = (bench.platform.memory().bytes(), bench.pool.free());
    for _ in 0..3 {
        let (error, back) = up.stop().unwrap_err().into_parts();
        assert!(matches!(error, StopError::NoReset(_)), "{error}");
        assert_eq!((bench.platform.memory().bytes(), bench.pool.free()), (bytes_running, free));
        up = back;
    }
    // Its host may start it anew, and then the parts go home.
    bench.model().personality.reset = Reset::AtOnce;
    assert!(up.stop().is_ok());
    bench.assert_at_rest();
    bench.assert_clean();
}

/// A device that, from its next start on, says no when it is to go, and does not confirm the reset
/// after that.
fn starts_late_and_stays(bench: &Bench) -> Net {
    let device = bench.device();
    bench.model().personality.reset = Reset::Never;
    let no = Action::Set { field: Field::Value, value: 7 };
    bench.model().faults.add(Fault::nth(FaultPoint::RegisterRead, 4, no).of(common_register(0x14)));
    let failed = device.start(&small(), bench.pool.clone(), Interrupts::POLLING).unwrap_err();
    let (error, device) = failed.into_parts();
    assert!(
        matches!(error, StartError::SetUp(SetUpError::Init(InitError::StatusRejected { .. }))),
        "{error}"
    );
    assert!(device.keeps_memory());
    device
}

/// The device value keeps the rings, and frees them when a reset was confirmed.
#[test]
fn what_a_failed_start_left_with_the_device_comes_home_with_the_next() {
    let bench = Bench::new(BASIC);
    let mut device = starts_late_and_stays(&bench);
    for _ in 0..3 {
        let failed = device.start(&small(), bench.pool.clone(), Interrupts::POLLING).unwrap_err();
        let error;
        (error, device) = failed.into_parts();
        assert!(matches!(error, StartError::SetUp(SetUpError::Init(InitError::NoReset { .. }))), "{error}");
        assert!(device.keeps_memory());
        assert_eq!(bench.platform.memory().bytes(), bench.bytes_at_rest + queue_bytes(16) * 2);
        assert_eq!(bench.pool.free(), bench.pool.buffers(), "buffers are posted to who runs alone");
    }
    bench.model().personality.reset = Reset::AtOnce;
    let up = bench.restart(device, &small(), Interrupts::POLLING);
    assert_eq!(bench.platform.memory().bytes(), bench.bytes_at_rest + queue_bytes(16) * 2);
    assert_eq!(bench.pool.free(), bench.pool.buffers() - 16);
    let device = up.stop().unwrap();
    assert!(!device.keeps_memory());
    bench.assert_at_rest();
    bench.assert_clean();
}

#[test]
fn a_device_that_keeps_the_bus_keeps_its_memory() {
    let bench = Bench::new(BASIC);
    let up = bench.start();
    // Bus mastering cannot be switched off any more.
    bench.space(|space| space.allow(4, &[0b011]));
    let (error, up) = up.stop().unwrap_err().into_parts();
    assert!(matches!(error, StopError::NotQuiet(_)), "{error}");
    assert!(bench.platform.memory().bytes() > bench.bytes_at_rest);
    bench.space(|space| space.allow(4, &[0b111]));
    assert!(up.stop().is_ok());
    bench.assert_at_rest();
}

#[test]
fn a_stopped_device_has_no_way_to_interrupt() {
    for interrupts in [Interrupts::msix(&MESSAGES), Interrupts::LINE] {
        let bench = Bench::new(BASIC);
        let up = bench.start_with(&small(), interrupts);
        assert_eq!(
            (bench.sends_messages(), bench.pin_disabled()),
            match interrupts {
                Interrupts::LINE => (false, false),
                _ => (true, true),
            }
        );
        assert!(up.stop().is_ok());
        assert_eq!((bench.sends_messages(), bench.pin_disabled()), (false, true));
        bench.assert_clean();
    }
}

/// Of the registers that were mapped nothing is left, whether the device was used or refused.
#[test]
fn who_is_done_with_a_function_gives_its_mappings_back() {
    let bench = Bench::new(BASIC);
    let device = bench.device();
    assert!(bench.platform.mapped_regions() > 1, "registers and the table of messages");
    let up = bench.restart(device, &small(), Interrupts::msix(&MESSAGES));
    let function = pci::close(up.stop().unwrap().into_parts());
    assert_eq!(bench.platform.mapped_regions(), 0);
    // No reset, no registers.
    bench.model().gone = true;
    let (_, function) = pci::open(function, bench.platform.clone(), Net::new).unwrap_err().into_parts();
    assert_eq!(bench.platform.mapped_regions(), 0);
    bench.model().gone = false;
    assert!(pci::open(function, bench.platform.clone(), Net::new).is_ok());

    let bench = Bench::with_layout(BASIC, |layout| layout.notify_multiplier = 3);
    let failed = bench.not_opened();
    assert_eq!(bench.platform.mapped_regions(), 0, "{failed}");
    bench.assert_clean();
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
    let (error, Running { control, rx, tx }) = a.control.stop(b.rx, b.tx).unwrap_err().into_parts();
    assert_eq!(error, StopError::ForeignQueue);
    assert_eq!(one.model().status(), 15, "nothing was done");
    a.control = control;
    assert!(a.stop().is_ok());
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
    assert_eq!(bench.messages(), [MESSAGES[2].data()]);
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
    assert_eq!(up.control.link(), Link::Up { mbps: Some(10_000), duplex: Some(Duplex::Full) });
    bench.model().set_link(false);
    assert_eq!(up.control.poll(), Ok(Events::LINK));
    bench.model().class.speed_mbps = 25_000;
    bench.model().set_link(true);
    assert_eq!(up.control.poll(), Ok(Events::LINK));
    assert_eq!(up.control.link(), Link::Up { mbps: Some(25_000), duplex: Some(Duplex::Full) });
    bench.model().set_link(false);
    assert_eq!(up.control.poll(), Ok(Events::LINK));
    (bench.model().class.speed_mbps, bench.model().class.full_duplex) = (10, false);
    bench.model().set_link(true);
    assert_eq!(up.control.poll(), Ok(Events::LINK));
    assert_eq!(up.control.link(), Link::Up { mbps: Some(10), duplex: Some(Duplex::Half) });
    assert_eq!(up.control.link().to_string(), "up 10 Mbit/s half duplex");
    bench.assert_clean();
}

#[test]
fn the_link_is_followed_by_polling() {
    let bench = Bench::new(BASIC);
    let mut up = bench.start_with(&small(), Interrupts::POLLING);
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
