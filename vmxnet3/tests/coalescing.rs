//! When the device interrupts for frames that wait.

#![allow(clippy::unwrap_used, clippy::result_large_err, reason = "helpers of tests")]

mod support;

use std::time::Duration;

use paravane_hal::irq::{Armed, Interrupts};
use paravane_mock_hal::fault::{Action, Fault, FaultPlan, FaultPoint, Field};
use paravane_mock_hal::model::vmxnet3::{Coalescing as Told, Personality};
use paravane_net::{Change, ChangeError, Coalescing, Control as _, RxQueue as _, Settings};
use paravane_vmxnet3::{Config, StartError};
use support::{MESSAGES, Machine, numbered, receive_all, small};

const SET_COALESCE: u32 = 0xcafe_000e;

const fn after(max_micros: u32) -> Coalescing {
    Coalescing { max_frames: 32, max_micros }
}

fn with(settings: Settings) -> Config {
    small().with_max_revision(7).with_settings(settings)
}

#[test]
fn it_is_told_at_the_start_while_it_runs_and_by_a_recovery() {
    for revision in 3..=7 {
        let machine = Machine::new(Personality::esxi().up_to(revision));
        let at_start = Settings::default().with(Change::RxCoalescing(after(100)));
        let mut up = machine.start(&with(at_start), Interrupts::POLLING);
        let told = |rate| Some(Told::RateBased { interrupts_per_second: rate });
        assert_eq!(machine.model().coalescing(), told(10_000));
        assert_eq!(up.control.change(Change::TxCoalescing(after(50))), Ok(()));
        assert_eq!(machine.model().coalescing(), told(20_000), "the sooner of both");
        assert_eq!(up.control.change(Change::RxCoalescing(after(20))), Ok(()));
        let settings = up.control.settings();
        let mut up = up.recover(Interrupts::POLLING).unwrap();
        assert_eq!((machine.model().coalescing(), up.control.settings()), (told(50_000), settings));
        machine.model().move_to(Personality::esxi().up_to(revision));
        machine.model().commands.clear();
        up.control.poll().unwrap();
        assert!(machine.model().commands.contains(&SET_COALESCE), "another implementation is told");
        assert_eq!(up.control.change(Change::TxCoalescing(Coalescing::default())), Ok(()));
        assert_eq!(machine.model().coalescing(), Some(Told::Disabled), "at once");
        up.stop().unwrap();
        machine.assert_clean();
    }
}

#[test]
fn frames_wait_as_long_as_was_asked_for() {
    let machine = Machine::new(Personality::esxi());
    let settings = Settings::default().with(Change::RxCoalescing(after(1000)));
    let mut up = machine.start(&with(settings), Interrupts::msix(&MESSAGES));
    assert_eq!(up.rx.arm(), Ok(Armed::Idle));
    machine.model().pass_time(Duration::from_millis(10));
    for number in 0..5 {
        assert!(machine.model().deliver(&numbered(number)));
    }
    let before = machine.model().interrupts.len();
    machine.model().pass_time(Duration::from_millis(2));
    assert!(before <= 1 && !machine.model().interrupts.is_empty(), "one for all of them, {before}");
    assert_eq!(receive_all(&mut up).len(), 5);
    up.stop().unwrap();
    machine.assert_clean();
}

#[test]
fn what_there_is_no_scheme_for_is_refused() {
    let machine = Machine::new(Personality::esxi());
    let mut up = machine.start(&with(Settings::default()), Interrupts::POLLING);
    assert!(!machine.model().commands.contains(&SET_COALESCE), "nothing was asked for");
    for micros in [1, 9, 10_001, u32::MAX] {
        assert_eq!(up.control.change(Change::RxCoalescing(after(micros))), Err(ChangeError::OutOfRange));
    }
    let of_a_pair = Change::RxPairCoalescing { pair: 0, coalescing: after(50) };
    assert_eq!(up.control.change(of_a_pair), Err(ChangeError::NotOffered));
    assert_eq!(up.control.settings(), Settings::default());
    up.stop().unwrap();
    for revision in 1..=2 {
        let machine = Machine::new(Personality::esxi().up_to(revision));
        let mut up = machine.start(&with(Settings::default()), Interrupts::POLLING);
        assert_eq!(up.control.change(Change::RxCoalescing(after(50))), Err(ChangeError::NotOffered));
        up.stop().unwrap();
        machine.assert_clean();
    }
}

#[test]
fn a_device_that_says_no_is_heard() {
    let says_no = Action::Set { field: Field::Value, value: 1 };
    let faults = || FaultPlan::new([Fault::nth(FaultPoint::Reply, 1, says_no).of(SET_COALESCE)]);
    let machine = Machine::new(Personality::esxi());
    let before = Settings::default().with(Change::RxCoalescing(after(100)));
    let mut up = machine.start(&with(before), Interrupts::POLLING);
    machine.model().faults = faults();
    assert_eq!(up.control.change(Change::RxCoalescing(after(50))), Err(ChangeError::Refused));
    assert_eq!(up.control.settings(), before);
    let told = Told::RateBased { interrupts_per_second: 10_000 };
    assert_eq!(machine.model().coalescing(), Some(told), "as before");
    let device = up.stop().unwrap();
    machine.model().faults = faults();
    let failed = device.start(&with(before), machine.pool.clone(), Interrupts::POLLING).unwrap_err();
    assert_eq!(*failed.error(), StartError::Setting { what: "coalescing", error: ChangeError::Refused });
    let (_, device) = failed.into_parts();
    device.start(&with(before), machine.pool.clone(), Interrupts::POLLING).unwrap().stop().unwrap();
    machine.assert_clean();

    // It says yes, and goes on as it did.
    let lost = Action::Drop;
    let machine = Machine::new(Personality::esxi());
    let mut up = machine.start(&with(Settings::default()), Interrupts::POLLING);
    machine.model().faults = FaultPlan::new([Fault::always(FaultPoint::Command, lost).of(SET_COALESCE)]);
    assert_eq!(up.control.change(Change::RxCoalescing(after(50))), Err(ChangeError::Refused));
    up.stop().unwrap();
}
