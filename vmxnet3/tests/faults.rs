//! Each kind of fault, as data: what the device does, and what comes of it. A typed fault or a
//! clean loss, and a restart heals.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Interrupts;
use paravane_mock_hal::fault::{Action, Fault, FaultPlan, FaultPoint, Field};
use paravane_mock_hal::model::vmxnet3::{Personality, stop};
use paravane_net::{Burst, Control as _, Events, RxQueue as _, TxQueue as _};
use paravane_vmxnet3::StartError;
use support::{Machine, bytes_of, numbered, small};

/// What three frames each way come to.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    /// The first fault that the driver saw.
    fault: Option<DeviceFault>,
    /// Which frames it received.
    received: Vec<u32>,
    /// How many of the sent ones came home.
    reclaimed: usize,
}

fn carry(faults: Vec<Fault>) -> Seen {
    let machine = Machine::new(Personality::qemu());
    let mut running = machine.start_small();
    machine.model().faults = FaultPlan::new(faults);
    let mut seen = Seen { fault: None, received: Vec::new(), reclaimed: 0 };
    let mut burst = Burst::new();
    for number in 0..3 {
        machine.model().deliver(&numbered(number));
        burst.push(machine.frame(&numbered(100 + number)));
        let mut faults = [running.tx.transmit(&mut burst).err(), None, None, None];
        burst.clear();
        machine.model().tick();
        match running.tx.reclaim() {
            Ok(frames) => seen.reclaimed += frames,
            Err(fault) => faults[1] = Some(fault),
        }
        faults[2] = running.rx.receive(&mut burst).err();
        while let Some(frame) = burst.pop() {
            let bytes = bytes_of(&frame);
            let number = (0..3).find(|number| numbered(*number) == bytes);
            seen.received.push(number.unwrap_or(u32::MAX));
        }
        faults[3] = running.control.poll().err();
        seen.fault = seen.fault.or(faults.into_iter().flatten().next());
    }
    assert!(machine.model().faults.hits() > 0, "it happened");

    machine.model().be_honest();
    let device = running.stop().unwrap();
    assert_eq!(machine.pool.free(), machine.pool.buffers(), "everything came home");
    machine.model().take_sent();
    let mut running = device.start(&small(), machine.pool.clone(), Interrupts::POLLING).unwrap();
    assert!(machine.model().deliver(&numbered(9)), "a restart heals");
    assert_eq!(support::receive_all(&mut running).iter().map(bytes_of).collect::<Vec<_>>(), [numbered(9)]);
    support::send(&mut running, machine.frame(&numbered(8)));
    assert_eq!(running.tx.reclaim(), Ok(1));
    assert_eq!(machine.model().take_sent()[0].bytes, numbered(8));
    seen
}

fn second(point: FaultPoint, action: Action) -> Vec<Fault> {
    vec![Fault::nth(point, 2, action)]
}

#[test]
fn each_kind_of_fault_has_its_outcome() {
    use FaultPoint::{Doorbell, Frame, RxCompletion, TxCompletion};
    let set = |field, value| Action::Set { field, value };
    let flip = |field, bits| Action::Flip { field, bits };
    let lost = |received: &[u32], reclaimed| Seen { fault: None, received: received.to_vec(), reclaimed };
    let broken = |fault, received: &[u32], reclaimed| Seen {
        fault: Some(fault),
        received: received.to_vec(),
        reclaimed,
    };
    let cases = [
        // Dropped, and never completed.
        (second(Frame, Action::Drop), lost(&[0, 2], 3)),
        (second(RxCompletion, Action::Drop), lost(&[0, 2], 3)),
        (vec![Fault::always(RxCompletion, Action::Drop)], lost(&[], 3)),
        (second(TxCompletion, Action::Drop), lost(&[0, 1, 2], 3)),
        (vec![Fault::always(TxCompletion, Action::Drop)], lost(&[0, 1, 2], 0)),
        (vec![Fault::always(Doorbell, Action::Drop)], lost(&[0, 1, 2], 0)),
        // Delayed.
        (second(Frame, Action::Delay { ticks: 1 }), lost(&[0, 1, 2], 3)),
        (second(Doorbell, Action::Delay { ticks: 1 }), lost(&[0, 1, 2], 3)),
        (second(TxCompletion, Action::Delay { ticks: 1 }), lost(&[0, 1, 2], 3)),
        // Duplicated: completed twice.
        (second(Frame, Action::Duplicate), lost(&[0, 1, 1, 2], 3)),
        (second(RxCompletion, Action::Duplicate), broken(DeviceFault::NotInFlight { index: 1 }, &[0, 1], 3)),
        (
            second(TxCompletion, Action::Duplicate),
            broken(DeviceFault::NotInFlight { index: 1 }, &[0, 1, 2], 1),
        ),
        // Out of order.
        (second(TxCompletion, Action::Reorder), broken(DeviceFault::NotInFlight { index: 1 }, &[0, 1, 2], 1)),
        // Lies about index, ring, length, flags, generation.
        (
            second(RxCompletion, set(Field::Index, 99)),
            broken(DeviceFault::IndexOutOfRange { index: 99, entries: 32 }, &[0], 3),
        ),
        (
            second(TxCompletion, Action::Add { field: Field::Index, value: 7 }),
            broken(DeviceFault::NotInFlight { index: 8 }, &[0, 1, 2], 1),
        ),
        (
            second(RxCompletion, set(Field::Queue, 2)),
            broken(DeviceFault::UnknownKind { what: "rqID", value: 2 }, &[0], 3),
        ),
        (
            second(RxCompletion, set(Field::Length, 1985)),
            broken(DeviceFault::LengthTooLong { len_bytes: 1985, max_bytes: 1984 }, &[0], 3),
        ),
        (second(RxCompletion, flip(Field::Flags, 0b100)), lost(&[0, 2], 3)),
        (second(RxCompletion, flip(Field::Generation, 1)), lost(&[0], 3)),
        (second(TxCompletion, flip(Field::Generation, 1)), lost(&[0, 1, 2], 1)),
        // Completed what was never posted: slot 0 is the driver's after the first frame.
        (
            second(RxCompletion, Action::Invent { index: 0 }),
            broken(DeviceFault::NotInFlight { index: 0 }, &[0], 3),
        ),
        (
            second(TxCompletion, Action::Invent { index: 20 }),
            broken(DeviceFault::NotInFlight { index: 20 }, &[0, 1, 2], 1),
        ),
        // A queue that stops, the nearest to a demand for a reset, and a device that is gone.
        (
            second(TxCompletion, Action::StopQueue { code: stop::TXD_INVALID }),
            broken(DeviceFault::Stopped { code: stop::TXD_INVALID }, &[0, 1, 2], 2),
        ),
        (
            second(Frame, Action::StopQueue { code: stop::SMALL_BUF }),
            broken(DeviceFault::Stopped { code: stop::SMALL_BUF }, &[0], 3),
        ),
        (second(Frame, Action::DemandReset), broken(DeviceFault::NeedsReset, &[0, 1, 2], 3)),
    ];
    let wrong: Vec<_> = cases
        .into_iter()
        .map(|(faults, expected)| (carry(faults.clone()), expected, faults))
        .filter(|(seen, expected, _)| seen != expected)
        .collect();
    assert!(wrong.is_empty(), "seen, expected, of which faults: {wrong:#?}");
}

#[test]
fn memory_that_changes_inside_a_call_breaks_what_a_restart_heals() {
    // Noise at each doorbell: between the driver's look at its memory before it, and the one after.
    // `carry` sees to the rest.
    let scribbled = |seed| carry(vec![Fault::always(FaultPoint::Doorbell, Action::Scribble { seed })]);
    let broken = (0..100).filter(|seed| scribbled(*seed).fault.is_some()).count();
    assert!(broken > 0, "some of it was read");
}

#[test]
fn a_flapping_link_is_an_event() {
    let machine = Machine::new(Personality::qemu());
    let mut running = machine.start_small();
    machine.model().faults = FaultPlan::new(second(FaultPoint::Tick, Action::FlapLink));
    let seen = [(); 3].map(|()| {
        machine.model().tick();
        (running.control.poll().unwrap(), running.control.link().is_up())
    });
    assert_eq!(seen, [(Events::empty(), true), (Events::LINK, false), (Events::empty(), false)]);
}

#[test]
fn an_event_whose_acknowledgement_is_lost_comes_again() {
    const ECR: u32 = 1 << 16 | 0x40;
    let machine = Machine::new(Personality::qemu());
    let mut running = machine.start_small();
    machine.model().faults = FaultPlan::new([Fault::nth(FaultPoint::RegisterWrite, 1, Action::Drop).of(ECR)]);
    machine.model().set_link(false);
    let events = [(); 3].map(|()| running.control.poll().unwrap());
    assert_eq!(events, [Events::LINK, Events::LINK, Events::empty()]);
}

#[test]
fn a_refused_activation_is_told_and_the_next_works() {
    const ACTIVATE_DEV: u32 = 0xcafe_0000;
    let machine = Machine::new(Personality::qemu());
    let device = machine.claim();
    machine.model().faults =
        FaultPlan::new([Fault::nth(FaultPoint::Command, 1, Action::Refuse).of(ACTIVATE_DEV)]);
    let (error, device) =
        device.start(&small(), machine.pool.clone(), Interrupts::POLLING).unwrap_err().into_parts();
    assert_eq!(error, StartError::Refused { code: 1 });
    assert_eq!(machine.pool.free(), machine.pool.buffers());
    assert!(device.start(&small(), machine.pool.clone(), Interrupts::POLLING).is_ok());
}

#[test]
fn registers_of_all_ones_are_a_device_that_is_gone() {
    let machine = Machine::new(Personality::qemu());
    let mut running = machine.start_small();
    machine.model().faults = FaultPlan::new(second(FaultPoint::Command, Action::AllOnes));
    assert!(running.control.read_device_stats().is_ok());
    assert_eq!(running.control.read_device_stats(), Err(DeviceFault::Gone));
    assert_eq!(running.control.poll(), Err(DeviceFault::Gone), "and stays");
}
