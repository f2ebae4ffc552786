//! Each kind of fault that a device can have, and what the driver makes of it: a typed fault or a
//! clean loss, and all well after a restart.

use std::time::Duration;

use crate::support::*;
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::{Armed, Interrupts};
use paravane_mock_hal::fault::{Action, Fault, FaultPoint, Field};
use paravane_mock_hal::model::virtio::common_register;
use paravane_net::{Burst, Control, Events, RxQueue, TxQueue};
use paravane_virtio::init::InitError;
use paravane_virtio::net::{LOOK_EVERY, StartError};
use paravane_virtio::transport::QueueError;

const OFFERED: u64 = BASIC | EVENT_IDX | MRG_RXBUF;

/// What came of four frames each way, the last ones after some time of the device's own.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    start: Result<(), StartError>,
    /// Frames that arrived, by their first byte.
    received: Vec<u8>,
    /// Frames on the wire, by their first byte.
    sent: Vec<u8>,
    /// How many of them the driver knows to be sent.
    completed: u64,
    rx: Result<(), DeviceFault>,
    tx: Result<(), DeviceFault>,
    control: Result<Events, DeviceFault>,
    link_up: bool,
    /// Interrupts of the receive queue, which was armed once, and of the configuration.
    messages: Vec<u32>,
}

impl Seen {
    fn honest() -> Self {
        Self {
            start: Ok(()),
            received: vec![1, 2, 3, 4],
            sent: vec![1, 2, 3, 4],
            completed: 4,
            rx: Ok(()),
            tx: Ok(()),
            control: Ok(Events::empty()),
            link_up: true,
            messages: vec![MESSAGES[0].data()],
        }
    }

    fn not_started(error: StartError) -> Self {
        Self {
            start: Err(error),
            received: Vec::new(),
            sent: Vec::new(),
            completed: 0,
            messages: Vec::new(),
            ..Self::honest()
        }
    }
}

fn see(faults: &[Fault]) -> (Seen, u64) {
    let bench = Bench::new(OFFERED);
    let device = bench.device();
    faults.iter().for_each(|fault| bench.model().faults.add(*fault));
    let (seen, device) = match device.start(&small(), bench.pool.clone(), Interrupts::msix(&MESSAGES)) {
        Ok(mut up) => {
            let seen = exchange(&bench, &mut up);
            bench.model().gone = false;
            (seen, up.stop().unwrap())
        }
        Err(failed) => {
            let (error, device) = failed.into_parts();
            (Seen::not_started(error), device)
        }
    };
    let hits = bench.model().faults.hits();
    bench.assert_at_rest();
    bench.model().repent();
    bench.model().class.link_up = true;
    let mut up = bench.restart(device, &small(), Interrupts::msix(&MESSAGES));
    bench.messages();
    assert_eq!(exchange(&bench, &mut up), Seen::honest(), "after a restart; before: {faults:?}");
    assert!(up.control.stop(up.rx, up.tx).is_ok());
    bench.assert_at_rest();
    bench.assert_clean();
    (seen, hits)
}

fn exchange(bench: &Bench, up: &mut Up) -> Seen {
    let mut seen = Seen { received: Vec::new(), sent: Vec::new(), ..Seen::honest() };
    let armed = up.rx.arm();
    assert!(matches!(armed, Ok(Armed::Idle) | Err(_)), "nothing came yet");
    for number in 1..=4 {
        if number == 4 {
            // What was put off has happened by then.
            for _ in 0..4 {
                bench.model().tick();
            }
        }
        let mut burst = burst([bench.frame(&[number; 60])]);
        seen.tx = seen.tx.and(up.tx.transmit(&mut burst).map(drop)).and(up.tx.reclaim().map(drop));
        bench.model().deliver(&[number; 60]);
    }
    let mut burst = Burst::new();
    // Until nothing is there any more: a frame may be torn at the first look.
    for _ in 0..3 {
        seen.rx = seen.rx.and(up.rx.receive(&mut burst).map(drop));
    }
    while let Some(frame) = burst.pop() {
        seen.received.push(content(&frame)[0]);
    }
    seen.tx = seen.tx.and(up.tx.reclaim().map(drop));
    bench.platform.clock().advance(LOOK_EVERY + Duration::from_millis(1));
    seen.control = up.control.poll();
    seen.link_up = up.control.link().is_up();
    seen.sent = bench.sent().iter().map(|frame| frame[12]).collect();
    seen.completed = up.tx.counters().completed;
    seen.messages = bench.messages();
    seen
}

type Change = fn(&mut Seen);

/// That all is as with an honest device but for what `change` changes, and that each fault
/// happened.
fn check(cases: &[(&[Fault], Change)]) {
    for (faults, change) in cases {
        let mut expected = Seen::honest();
        change(&mut expected);
        let (seen, hits) = see(faults);
        assert_eq!(seen, expected, "{faults:?}");
        assert!(hits >= faults.len() as u64, "{faults:?} happened {hits} times");
    }
}

const fn set(field: Field, value: u32) -> Action {
    Action::Set { field, value }
}

use Action::{
    AllOnes, Delay, DemandReset, Drop as Lose, Duplicate, FlapLink, Invent, Refuse, Reorder, StopQueue,
};
use FaultPoint::{
    Doorbell, Features, Frame, Interrupt, RegisterRead, RegisterWrite, RxCompletion, Tick, TxCompletion,
};

#[test]
fn what_happens_to_a_frame_or_a_notification_is_no_fault() {
    check(&[
        (&[Fault::nth(Frame, 2, Lose)], |seen| seen.received = vec![1, 3, 4]),
        (&[Fault::nth(Frame, 2, Delay { ticks: 2 })], |seen| seen.received = vec![1, 3, 2, 4]),
        (&[Fault::nth(Frame, 2, Duplicate)], |seen| seen.received = vec![1, 2, 2, 3, 4]),
        (&[Fault::nth(Frame, 2, Reorder)], |seen| seen.received = vec![1, 3, 2, 4]),
        (&[Fault::nth(Doorbell, 2, Lose).of(1)], |_| {}),
        (&[Fault::always(Doorbell, Delay { ticks: 1 }).of(1)], |seen| {
            // The last one's time has not come.
            (seen.sent, seen.completed) = (vec![1, 2, 3], 3);
        }),
        (&[Fault::nth(Interrupt, 1, Lose)], |seen| seen.messages.clear()),
        (&[Fault::nth(Interrupt, 1, Delay { ticks: 3 })], |_| {}),
        (&[Fault::nth(Interrupt, 1, Duplicate)], |seen| seen.messages = vec![MESSAGES[0].data(); 2]),
    ]);
}

#[test]
fn completions_that_are_lost_late_or_out_of_order_are_no_fault() {
    check(&[
        (&[Fault::nth(RxCompletion, 2, Lose)], |seen| seen.received = vec![1, 3, 4]),
        (&[Fault::nth(RxCompletion, 2, Delay { ticks: 2 })], |seen| seen.received = vec![1, 3, 2, 4]),
        (&[Fault::nth(RxCompletion, 2, Reorder)], |seen| seen.received = vec![1, 3, 2, 4]),
        (&[Fault::always(RxCompletion, Lose)], |seen| {
            seen.received.clear();
            seen.messages.clear();
        }),
        (&[Fault::nth(TxCompletion, 2, Lose)], |seen| seen.completed = 3),
        (&[Fault::nth(TxCompletion, 2, Delay { ticks: 2 })], |_| {}),
        (&[Fault::nth(TxCompletion, 2, Reorder)], |_| {}),
        (&[Fault::always(TxCompletion, Lose)], |seen| seen.completed = 0),
    ]);
}

#[test]
fn completions_that_lie_are_typed_faults() {
    let index_16 = DeviceFault::IndexOutOfRange { index: 16, entries: 16 };
    let too_many = DeviceFault::TooManyCompletions { completed: 2, in_flight: 1 };
    let not_posted = DeviceFault::NotInFlight { index: 9 };
    let lie = |point, field, value| Fault::nth(point, 2, set(field, value));
    for (fault, rx) in [
        (lie(RxCompletion, Field::Index, 16), index_16),
        (Fault::nth(RxCompletion, 2, Invent { index: 16 }), index_16),
        (
            lie(RxCompletion, Field::Length, 1997),
            DeviceFault::LengthTooLong { len_bytes: 1997, max_bytes: 1996 },
        ),
        (lie(RxCompletion, Field::Length, 11), DeviceFault::LengthTooShort { len_bytes: 11, min_bytes: 12 }),
        (
            lie(RxCompletion, Field::Queue, 17),
            DeviceFault::OutOfSequence { what: "num_buffers is more than the ring holds" },
        ),
    ] {
        let (seen, hits) = see(&[fault]);
        let expected = Seen { received: vec![1], rx: Err(rx), ..Seen::honest() };
        assert_eq!((seen, hits), (expected, 1), "{fault:?}");
    }
    for (fault, tx) in [
        (lie(TxCompletion, Field::Index, 16), index_16),
        (lie(TxCompletion, Field::Index, 9), not_posted),
        (Fault::nth(TxCompletion, 2, Invent { index: 9 }), too_many),
        (Fault::nth(TxCompletion, 2, Duplicate), too_many),
        (
            lie(TxCompletion, Field::Generation, 2),
            DeviceFault::TooManyCompletions { completed: 3, in_flight: 1 },
        ),
    ] {
        let (seen, hits) = see(&[fault]);
        let expected = Seen { sent: vec![1, 2], completed: 1, tx: Err(tx), ..Seen::honest() };
        assert_eq!((seen, hits), (expected, 1), "{fault:?}");
    }
    // A slot's replacement is the device's as well, so its completion cannot be told from a true
    // one: a frame that nobody sent.
    check(&[(&[Fault::nth(RxCompletion, 2, Duplicate)], |seen| seen.received = vec![1, 2, 0, 3, 4])]);
}

#[test]
fn a_device_that_stops_says_so_or_is_silent() {
    check(&[
        (&[Fault::nth(Tick, 1, FlapLink)], |seen| {
            seen.received = vec![1, 2, 3];
            seen.control = Ok(Events::LINK);
            seen.link_up = false;
            seen.messages.push(MESSAGES[2].data());
        }),
        (&[Fault::nth(Tick, 1, FlapLink), Fault::nth(Tick, 2, FlapLink)], |seen| {
            seen.messages.extend([MESSAGES[2].data(); 2]);
        }),
        (&[Fault::nth(Tick, 1, StopQueue { code: 0 })], |seen| seen.received = vec![1, 2, 3]),
        (&[Fault::nth(Tick, 1, StopQueue { code: 1 })], |seen| {
            seen.sent = vec![1, 2, 3];
            seen.completed = 3;
        }),
        (&[Fault::nth(Tick, 1, DemandReset)], |seen| {
            (seen.received, seen.sent, seen.completed) = (vec![1, 2, 3], vec![1, 2, 3], 3);
            seen.control = Err(DeviceFault::NeedsReset);
            seen.messages.push(MESSAGES[2].data());
        }),
        (&[Fault::nth(Tick, 1, AllOnes)], |seen| {
            (seen.received, seen.sent, seen.completed) = (vec![1, 2, 3], vec![1, 2, 3], 3);
            seen.control = Err(DeviceFault::Gone);
        }),
    ]);
}

#[test]
fn what_is_refused_or_misheard_at_bring_up_is_named() {
    let read = |register: u32, value: u32| {
        Fault::nth(RegisterRead, 1, set(Field::Value, value)).of(common_register(register))
    };
    // `VERSION_1` is in the second half.
    let half_heard = Fault::nth(RegisterWrite, 2, Lose).of(common_register(0x0c));
    let rejected = StartError::from(InitError::FeaturesRejected { offered: OFFERED, chosen: OFFERED });
    let cases = [
        (Fault::nth(Features, 1, Refuse), rejected),
        (half_heard, rejected),
        (read(0x18, 0), StartError::from(QueueError::Absent { queue: 0 })),
        (read(0x1c, 1), StartError::from(QueueError::AlreadyEnabled { queue: 0 })),
    ];
    for (fault, expected) in cases {
        assert_eq!(see(&[fault]), (Seen::not_started(expected), 1), "{fault:?}");
    }
}

/// Noise over a used ring, in the middle of a call or between two: what comes of it is a typed
/// fault or nothing, and it heals.
#[test]
fn memory_that_changes_under_the_driver_is_survived() {
    for point in [Doorbell, RegisterRead, RxCompletion, TxCompletion, Tick] {
        let is_noticed = |seed| {
            let (seen, hits) = see(&[Fault::always(point, Action::Scribble { seed })]);
            assert_ne!(hits, 0, "{point:?}");
            seen.rx.is_err() || seen.tx.is_err()
        };
        let noticed = (0..32).map(is_noticed).filter(|noticed| *noticed).count();
        assert_ne!(noticed, 0, "{point:?}");
    }
}
