//! Back in one call after whatever went wrong: everything home in between, everything as it was
//! afterwards.

#![allow(
    clippy::unwrap_used,
    clippy::result_large_err,
    clippy::cast_possible_truncation,
    reason = "helpers of tests"
)]

mod support;
#[path = "support/told.rs"]
mod told;

use std::time::Duration;

use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::{InterruptMode, Interrupts};
use paravane_hal::recover::{Progress, RecoverError};
use paravane_mock_hal::fault::{Action, Fault, FaultPoint, Field};
use paravane_mock_hal::model::vmxnet3::{Personality, QueueId, stop};
use paravane_net::{
    Burst, Change, Control as _, MacAddr, MacTable, Remains, Rss, RssKinds, RxFilter, RxQueue as _, Settings,
    TxCounters, TxQueue as _, VlanSet,
};
use paravane_vmxnet3::{Config, StartError, StopError, stop_reason};
use support::{MESSAGES, Machine, MockRunning, numbered, receive_all, send, small};
use told::told;

const LIMIT: Duration = Duration::from_secs(5);
const ACTIVATE: u32 = 0xcafe_0000;

/// Has something go wrong with a device that runs; what is noticed.
type Break = fn(&Machine, &mut MockRunning) -> DeviceFault;

fn stops_a_transmit_queue(machine: &Machine, up: &mut MockRunning) -> DeviceFault {
    machine.model().stop_queue(QueueId::Tx(1), stop::TXD_INVALID);
    let fault = up.control.poll().unwrap_err();
    assert_eq!(fault, DeviceFault::Stopped { code: stop::TXD_INVALID });
    assert_eq!(stop_reason(stop::TXD_INVALID), "an invalid transmit descriptor");
    fault
}

fn stops_a_receive_queue(machine: &Machine, up: &mut MockRunning) -> DeviceFault {
    machine.model().stop_queue(QueueId::Rx(3), stop::SMALL_BUF);
    up.control.poll().unwrap_err()
}

fn becomes_another_and_stops_a_queue(machine: &Machine, up: &mut MockRunning) -> DeviceFault {
    machine.model().stop_queue(QueueId::Rx(1), stop::SWITCH);
    machine.model().device_changed();
    let fault = up.control.poll().unwrap_err();
    assert_eq!(fault, DeviceFault::Stopped { code: stop::SWITCH });
    assert_eq!(up.control.poll(), Err(fault), "and it stays so");
    fault
}

fn breaks_a_receive_queue(machine: &Machine, up: &mut MockRunning) -> DeviceFault {
    let lie = Action::Set { field: Field::Index, value: 77 };
    machine.model().faults.add(Fault::nth(FaultPoint::RxCompletion, 1, lie));
    machine.model().deliver(&[&MacAddr::local(5).0[..], &numbered(1)[6..]].concat());
    up.rx.receive(&mut Burst::new()).unwrap_err()
}

fn hangs(machine: &Machine, up: &mut MockRunning) -> DeviceFault {
    machine.model().faults.add(Fault::always(FaultPoint::Doorbell, Action::Drop));
    send(up, machine.frame(&numbered(1)));
    up.tx.remind();
    let progress = Progress::from(up.tx.counters());
    assert_eq!(progress.outstanding, 1);
    assert_eq!(up.control.watch(progress, LIMIT), Ok(()));
    machine.platform.clock().advance(LIMIT - Duration::from_millis(1));
    assert_eq!(up.control.watch(progress, LIMIT), Ok(()));
    machine.platform.clock().advance(Duration::from_millis(1));
    let fault = up.control.watch(progress, LIMIT).unwrap_err();
    assert_eq!(fault, DeviceFault::NoAnswer { after_ms: 5000 });
    assert_eq!(up.control.poll(), Err(fault), "and it stays so");
    fault
}

/// Others send meanwhile; each queue has to.
#[test]
fn one_queue_that_hangs_is_noticed_whatever_the_others_do() {
    for hung in 0..4 {
        let machine = Machine::new(Personality::qemu());
        let mut up = machine.start(&config(), Interrupts::POLLING);
        let mut progress = [Progress { outstanding: 3, completed: 10 }; 4];
        let mut watch = |second: u64| {
            machine.platform.clock().advance(Duration::from_secs(second.min(1)));
            for (queue, progress) in (0..).zip(&mut progress) {
                progress.completed += u64::from(queue != hung);
                up.control.watch_queue(queue, *progress, LIMIT)?;
            }
            // There is no such queue.
            up.control.watch_queue(4, Progress { outstanding: 1, completed: 0 }, LIMIT)
        };
        for second in 0..5 {
            assert_eq!(watch(second), Ok(()), "{second} s");
        }
        assert_eq!(watch(5), Err(DeviceFault::NoAnswer { after_ms: 5000 }), "queue {hung}");
        up.recover(Interrupts::POLLING).unwrap().stop().unwrap();
    }
}

fn config() -> Config {
    let rss = Rss::new(RssKinds::TCP4, &[0, 1, 2, 3]).unwrap();
    let settings = Settings::default().with_vlans(VlanSet::EMPTY.with(7, true)).with_rss(rss);
    small().with_pairs(4).with_rx_entries(128).with_ip_mtu_bytes(9000).with_settings(settings)
}

/// A frame each way, by the address that was set, on every queue that sends.
fn exchange(machine: &Machine, up: &mut MockRunning) {
    let frame = [&MacAddr::local(5).0[..], &numbered(3)[6..]].concat();
    assert!(machine.model().deliver(&frame));
    assert_eq!(receive_all(up).len(), 1);
    send(up, machine.frame(&numbered(4)));
    up.tx.flush();
    for tx in up.rx.others_mut().iter_mut().filter_map(|pair| pair.tx.as_mut()) {
        let mut burst = Burst::new();
        burst.push(machine.frame(&numbered(4)));
        assert_eq!(tx.transmit(&mut burst), Ok(1));
        tx.flush();
    }
    machine.model().tick();
    assert_eq!(machine.model().take_sent().len(), 4);
    assert_eq!(up.tx.reclaim(), Ok(1));
    for tx in up.rx.others_mut().iter_mut().filter_map(|pair| pair.tx.as_mut()) {
        assert_eq!(tx.reclaim(), Ok(1));
    }
}

#[test]
fn a_nic_comes_back_with_all_that_it_was_told_since_its_start() {
    let breaks: [Break; 5] = [
        stops_a_transmit_queue,
        stops_a_receive_queue,
        becomes_another_and_stops_a_queue,
        breaks_a_receive_queue,
        hangs,
    ];
    for personality in [Personality::qemu(), Personality::esxi()] {
        for break_it in breaks {
            let machine = Machine::new(personality);
            let interrupts = Interrupts::msix(&MESSAGES);
            let mut up = machine.start(&config(), interrupts);
            let free_running = machine.pool.free();
            let group = MacAddr([1, 0, 0x5e, 0, 0, 1]);
            for change in [
                Change::Mac(MacAddr::local(5)),
                Change::Vlan { vid: 9, wanted: true },
                Change::Filter(RxFilter::UNICAST),
                Change::Addresses { unicast: MacTable::EMPTY, multicast: MacTable::of(&[group]).unwrap() },
            ] {
                assert_eq!(up.control.change(change), Ok(()));
            }
            exchange(&machine, &mut up);
            let before = (up.control.info(), up.control.pairs(), up.control.settings(), told(&machine));
            let bytes_running = machine.platform.memory().bytes();
            let _ = break_it(&machine, &mut up);
            machine.model().be_honest();

            let mut up = up.recover(interrupts).unwrap();
            let after = (up.control.info(), up.control.pairs(), up.control.settings(), told(&machine));
            assert_eq!(after, before);
            assert_eq!(up.control.interrupts(), InterruptMode::Msix { vectors: 3 });
            assert_eq!(machine.platform.memory().bytes(), bytes_running);
            assert_eq!(machine.pool.free(), free_running, "those that are posted, and no others");
            machine.model().take_sent();
            for _ in 0..40 {
                exchange(&machine, &mut up);
            }
            up.stop().unwrap();
            assert_eq!(machine.pool.free(), machine.pool.buffers());
            machine.assert_clean();
        }
    }
}

#[test]
fn nobody_hangs_who_has_nothing_to_send_or_no_carrier() {
    let machine = Machine::new(Personality::qemu());
    let mut up = machine.start_small();
    let watch = |up: &mut MockRunning, counters: TxCounters| {
        let outcome = up.control.watch(Progress::from(counters), LIMIT);
        machine.platform.clock().advance(LIMIT * 2);
        outcome
    };
    for _ in 0..3 {
        assert_eq!(watch(&mut up, TxCounters::default()), Ok(()));
    }
    machine.model().set_link(false);
    up.control.poll().unwrap();
    let waiting = TxCounters { frames: 5, ..TxCounters::default() };
    for _ in 0..3 {
        assert_eq!(watch(&mut up, waiting), Ok(()));
    }
    machine.model().set_link(true);
    up.control.poll().unwrap();
    assert_eq!(watch(&mut up, waiting), Ok(()), "from now on it counts");
    assert_eq!(watch(&mut up, waiting), Err(DeviceFault::NoAnswer { after_ms: 5000 }));
    up.stop().unwrap();
}

#[test]
fn what_does_not_come_back_is_tried_again_as_often_as_was_said() {
    for (refusals, attempts, comes_back) in [(2, 3, true), (2, 2, false), (0, 1, true), (1, 0, false)] {
        let machine = Machine::new(Personality::esxi());
        let up = machine.start(&config(), Interrupts::POLLING);
        let settings = up.control.settings();
        let mut refuse = Fault::nth(FaultPoint::Command, 1, Action::Refuse).of(ACTIVATE);
        refuse.on.count = refusals;
        machine.model().faults.add(refuse);
        match up.recover_within(attempts, Interrupts::POLLING) {
            Ok(up) => {
                assert!(comes_back, "{refusals} of {attempts}");
                assert_eq!(up.control.settings(), settings);
                up.stop().unwrap();
            }
            Err(failed) => {
                assert!(!comes_back, "{refusals} of {attempts}");
                let (error, remains) = failed.into_parts();
                assert_eq!(error, RecoverError::NotStarted(StartError::Refused { code: 1 }));
                let Remains::Stopped(device, config, pool) = remains else { unreachable!("it was stopped") };
                machine.model().be_honest();
                device.start(&config, pool, Interrupts::POLLING).unwrap().stop().unwrap();
            }
        }
        assert_eq!(machine.pool.free(), machine.pool.buffers());
        machine.assert_clean();
    }
}

#[test]
fn pairs_that_are_elsewhere_are_missed() {
    let machine = Machine::new(Personality::esxi());
    let mut up = machine.start(&config(), Interrupts::POLLING);
    let pairs = up.rx.take_pairs();
    let (error, remains) = up.recover_within(2, Interrupts::POLLING).unwrap_err().into_parts();
    assert_eq!(error, RecoverError::NotStopped(StopError::QueuesMissing { started: 8, given: 2 }));
    let Remains::Running(mut up) = remains else { unreachable!("it was not stopped") };
    up.rx.give_back(pairs);
    up.recover(Interrupts::POLLING).unwrap().stop().unwrap();
    machine.assert_clean();
}

#[test]
fn one_that_came_back_in_another_way_says_so() {
    let machine = Machine::new(Personality::esxi());
    let up = machine.start(&config(), Interrupts::msix(&MESSAGES));
    let (error, remains) = up.recover_within(3, Interrupts::POLLING).unwrap_err().into_parts();
    assert_eq!(error, RecoverError::Changed);
    let Remains::Running(up) = remains else { unreachable!("it runs") };
    assert_eq!(up.control.interrupts(), InterruptMode::Polling);
    up.stop().unwrap();
    machine.assert_clean();
}
