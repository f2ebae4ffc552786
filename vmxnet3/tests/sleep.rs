//! Going to sleep, what wakes a machine from it, and coming back.

#![allow(clippy::unwrap_used, clippy::panic, clippy::result_large_err, reason = "helpers of tests")]

mod support;

use paravane_hal::irq::{Armed, Interrupts};
use paravane_mock_hal::fault::{Action, Fault, FaultPlan, FaultPoint, Field};
use paravane_mock_hal::model::vmxnet3::{Personality, Sleep};
use paravane_net::{
    Change, Control as _, DeviceStats, MacAddr, Recover as _, Rss, RssKinds, RxQueue as _, Settings,
    TxQueue as _, VlanSet,
};
use paravane_pci::PowerError;
use paravane_vmxnet3::{Config, ShutDownError, StopError, WakeUp};
use support::{Machine, MockDevice, MockRunning, exchange, messages, numbered, receive_all, small};

const MESSAGES: [paravane_hal::irq::MsiMessage; 5] = messages();
const OURS: MacAddr = MacAddr([2, 0, 0, 0, 0, 77]);

fn sleeps(sleep: Sleep) -> Personality {
    Personality { sleep, ..Personality::esxi() }
}

fn suspend(
    MockRunning { control, rx, tx }: MockRunning,
    wake: &WakeUp,
) -> Result<MockDevice, paravane_hal::Failed<StopError, MockRunning>> {
    control.suspend(rx, tx, wake)
}

fn magic(mac: [u8; 6]) -> Vec<u8> {
    [&[0xff; 6][..], &mac, &[0x08, 0x42], &[0xff; 6], &mac.repeat(16)].concat()
}

/// The byte behind the header is 5, and the one after the next 7.
fn pattern() -> [Option<u8>; 17] {
    let mut pattern = [None; 17];
    (pattern[14], pattern[16]) = (Some(5), Some(7));
    pattern
}

#[test]
fn the_frames_that_were_asked_for_wake_the_machine() {
    let passes = [vec![1; 14], vec![5, 99, 7], vec![0; 60]].concat();
    let fails = [vec![1; 14], vec![5, 99, 8], vec![0; 60]].concat();
    let by_pattern = WakeUp::NONE.with_pattern(&[Some(9)]).unwrap().with_pattern(&pattern()).unwrap();
    let wakes = [
        (WakeUp::NONE, [false, false]),
        (WakeUp::NONE.with_magic_packet(), [true, false]),
        (by_pattern, [false, true]),
        (by_pattern.with_magic_packet(), [true, true]),
    ];
    for sleep in [Sleep::Forgets, Sleep::Keeps] {
        for (wake, [by_magic, by_pattern]) in wakes {
            for can_wake in [false, true] {
                let machine = Machine::new(sleeps(sleep));
                let mut device = suspend(machine.start_small(), &wake).unwrap();
                assert!(!machine.model().is_active());
                device.sleep(can_wake).unwrap();
                let mac = machine.model().mac();
                for (frame, calls) in
                    [(magic(mac), by_magic), (passes.clone(), by_pattern), (fails.clone(), false)]
                {
                    assert_eq!(machine.model().would_wake(&frame), calls);
                    machine.model().wake_up_calls = 0;
                    machine.model().deliver(&frame);
                    assert_eq!(machine.model().wake_up_calls > 0, calls && can_wake, "{wake:?}");
                }
                assert!(
                    device.start(&small(), machine.pool.clone(), Interrupts::POLLING).unwrap().stop().is_ok()
                );
                assert_eq!(machine.pool.free(), machine.pool.buffers());
                machine.assert_clean();
            }
        }
    }
}

fn config() -> Config {
    let rss = Rss::new(RssKinds::TCP4, &[0, 1, 2, 3]).unwrap();
    let settings = Settings::default().with_vlans(VlanSet::EMPTY.with(7, true)).with_rss(rss);
    small().with_pairs(4).with_rx_entries(128).with_ip_mtu_bytes(9000).with_settings(settings)
}

/// Everything as before, statistics too; and frames that were on their way come home.
#[test]
fn after_a_sleep_it_runs_as_it_did_before() {
    for sleep in [Sleep::Forgets, Sleep::Keeps] {
        let machine = Machine::new(sleeps(sleep));
        let mut up = machine.start(&config(), Interrupts::msix(&MESSAGES));
        up.control.change(Change::Mac(OURS)).unwrap();
        let to_us = [&OURS.0[..], &numbered(3)[6..]].concat();
        for _ in 0..3 {
            assert!(machine.model().deliver_to(0, &to_us));
            assert_eq!(receive_all(&mut up).len(), 1);
        }
        let (terms, pool) = MockDevice::terms(&up);
        let (info, settings) = (up.control.info(), up.control.settings());
        let mut device = suspend(up, &WakeUp::NONE.with_magic_packet()).unwrap();
        device.sleep(true).unwrap();

        let mut up = device.start(&terms, pool, Interrupts::msix(&MESSAGES)).unwrap();
        assert_eq!((up.control.info(), up.control.settings()), (info, settings));
        assert!(machine.model().deliver_to(0, &to_us));
        assert_eq!(receive_all(&mut up).len(), 1);
        let DeviceStats { rx_frames, .. } = up.control.read_device_stats().unwrap().unwrap();
        assert_eq!(rx_frames, 4, "it goes on counting");
        assert_eq!(up.rx.arm(), Ok(Armed::Idle));
        machine.model().interrupts.clear();
        assert!(machine.model().deliver_to(0, &to_us));
        assert!(!machine.model().interrupts.is_empty(), "and interrupts");
        up.stop().unwrap();
        assert_eq!(machine.pool.free(), machine.pool.buffers());
        machine.assert_clean();
    }
}

/// Suspended and not put to sleep: what is frozen and thawed with its host, perhaps elsewhere.
#[test]
fn what_was_suspended_may_come_back_as_another() {
    for revision in 1..=7 {
        let machine = Machine::new(sleeps(Sleep::Forgets).up_to(7));
        let device = suspend(machine.start_small(), &WakeUp::NONE).unwrap();
        let other = sleeps(Sleep::Forgets).up_to(revision);
        machine.model().personality = other;
        let mut up =
            device.start(&small().with_max_revision(7), machine.pool.clone(), Interrupts::POLLING).unwrap();
        assert_eq!(machine.model().agreed_revision(), Some(revision));
        exchange(&machine, &mut up, 5);
        up.stop().unwrap();
        machine.assert_clean();
    }
}

#[test]
fn qemu_has_no_power_management() {
    let machine = Machine::new(Personality::qemu());
    let mut device = suspend(machine.start_small(), &WakeUp::NONE).unwrap();
    let error = device.sleep(true).unwrap_err();
    assert!(matches!(error, PowerError::Unmanaged { .. }), "{error}");
    let mut up = device.start(&small(), machine.pool.clone(), Interrupts::POLLING).unwrap();
    exchange(&machine, &mut up, 5);
    up.stop().unwrap();
}

const QUIESCE: u32 = 0xcafe_0001;
const UPDATE_PMCFG: u32 = 0xcafe_0008;

#[test]
fn one_that_will_not_wake_the_machine_runs_on() {
    let machine = Machine::new(sleeps(Sleep::Forgets));
    let up = machine.start(&small(), Interrupts::msix(&MESSAGES[..3]));
    let refuse =
        Fault::nth(FaultPoint::Reply, 1, Action::Set { field: Field::Value, value: 3 }).of(UPDATE_PMCFG);
    machine.model().faults = FaultPlan::new([refuse]);
    let (error, mut up) = suspend(up, &WakeUp::NONE.with_magic_packet()).unwrap_err().into_parts();
    let StopError::WakeUp { code } = error else { panic!("{error}") };
    assert_eq!(
        error.to_string(),
        format!(
            "vmxnet3 not suspended: answers {code:#x} to UPDATE_PMCFG, expected 0; \
             suspend it with nothing to wake it, or stop it"
        )
    );
    exchange(&machine, &mut up, 5);
    assert_eq!(up.rx.arm(), Ok(Armed::Idle));
    up.stop().unwrap();
}

#[test]
fn one_that_may_reach_memory_still_is_not_suspended() {
    let machine = Machine::new(sleeps(Sleep::Forgets));
    let up = machine.start_small();
    let refuse = Fault::nth(FaultPoint::Command, 1, Action::Refuse).of(QUIESCE);
    machine.model().faults = FaultPlan::new([refuse]);
    let (error, mut up) = suspend(up, &WakeUp::NONE).unwrap_err().into_parts();
    assert!(matches!(error, StopError::StillRunning(ShutDownError::Unconfirmed { .. })), "{error}");
    assert!(up.rx.arm().is_err() && up.tx.reclaim().is_err() && up.control.poll().is_err());
    up.stop().unwrap();
    assert_eq!(machine.pool.free(), machine.pool.buffers());
}

/// However it came to sleep, a start wakes it.
#[test]
fn one_that_sleeps_is_woken_whatever_was_before() {
    for sleep in [Sleep::Forgets, Sleep::Keeps] {
        let machine = Machine::new(sleeps(sleep));
        let mut device = machine.start_small().stop().unwrap();
        device.sleep(true).unwrap();
        let up = device.start(&small(), machine.pool.clone(), Interrupts::POLLING).unwrap();
        let mut device = suspend(up, &WakeUp::NONE).unwrap();
        device.sleep(false).unwrap();
        let refused = small().with_ip_mtu_bytes(10);
        let failed = device.start(&refused, machine.pool.clone(), Interrupts::POLLING).unwrap_err();
        let mut device = failed.into_parts().1;
        device.sleep(true).unwrap();
        let mut up = device.start(&small(), machine.pool.clone(), Interrupts::POLLING).unwrap();
        exchange(&machine, &mut up, 5);
        up.stop().unwrap();
        machine.assert_clean();
    }
}

/// It was asked for nothing.
#[test]
fn one_that_knows_no_wake_up_is_suspended_with_none() {
    let machine = Machine::new(sleeps(Sleep::Forgets));
    let up = machine.start_small();
    let refuse = Fault::nth(FaultPoint::Reply, 1, Action::Set { field: Field::Value, value: 3 });
    machine.model().faults = FaultPlan::new([refuse.of(UPDATE_PMCFG)]);
    let device = suspend(up, &WakeUp::NONE).unwrap();
    device.start(&small(), machine.pool.clone(), Interrupts::POLLING).unwrap().stop().unwrap();
}

/// Its memory stays with it, for a device that is dropped in its sleep may be woken by others.
#[test]
fn one_that_is_dropped_asleep_keeps_its_memory() {
    let machine = Machine::new(sleeps(Sleep::Keeps));
    let held = machine.pool.buffers() - {
        let up = machine.start_small();
        let device = suspend(up, &WakeUp::NONE).unwrap();
        drop(device);
        machine.pool.free()
    };
    assert_eq!(held, 31);
}

#[test]
fn queues_that_are_missing_keep_it_awake() {
    let machine = Machine::new(sleeps(Sleep::Forgets));
    let mut up = machine.start(&config(), Interrupts::POLLING);
    let pairs = up.rx.take_pairs();
    let (error, mut up) = suspend(up, &WakeUp::NONE).unwrap_err().into_parts();
    assert_eq!(error, StopError::QueuesMissing { started: 8, given: 2 });
    up.rx.give_back(pairs);
    exchange(&machine, &mut up, 5);
    up.stop().unwrap();
}
