//! VMXNET3's rings: handing a burst over by its first generation bit, observing a completion by its
//! own, and arming.

#![allow(dead_code, reason = "whole files, of which a part is looked at")]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering, Ordering::Relaxed, fence};
use loom::thread;

use crate::platform::barrier;
use crate::platform::dma::Words;
use crate::platform::fault::DeviceFault;
use crate::platform::irq::Armed;

mod ring {
    include!(concat!(env!("OUT_DIR"), "/ring.rs"));
}
use ring::Cursor;

const ENTRIES: u16 = 4;
const TOP_BIT: u32 = 1 << 31;
const GEN: u32 = 1 << 14;

struct TxDesc;
impl TxDesc {
    const CQ: u32 = 1 << 13;
}

include!(concat!(env!("OUT_DIR"), "/batch.rs"));

include!(concat!(env!("OUT_DIR"), "/read_new.rs"));

/// What is checked of a completion is not looked at here: every index goes through.
struct TxCompletion {
    done: u32,
}
impl TxCompletion {
    fn classify(word0: u32, oldest: Cursor, _reported: u32, _in_flight: u32) -> Result<Self, DeviceFault> {
        Ok(Self { done: oldest.steps_to(word0) + 1 })
    }
}

/// As much of a transmit queue as reads completions and arms.
struct TxQueue {
    completions: Shared,
    next_completion: Cursor,
    completed: u32,
    fill: Cursor,
    lent: u32,
    vector: Vector,
    bar0: Arc<AtomicU32>,
}

/// The shared words, by the names that the driver's code uses.
#[derive(Clone)]
struct Shared(Arc<Vec<Words<4>>>);
impl Shared {
    fn new() -> Self {
        Self(Arc::new((0..ENTRIES).map(|_| Words::zero()).collect()))
    }
    fn slots(&self) -> &[Words<4>] {
        &self.0
    }
}

/// The mask register: a store that the device sees when it looks.
struct Vector;
impl Vector {
    fn unmask(&self, imr: &AtomicU32) {
        imr.store(0, Relaxed);
    }
}

impl TxQueue {
    fn new(completions: Shared, imr: Arc<AtomicU32>) -> Self {
        let start = Cursor::start(ENTRIES);
        // Two frames in flight.
        let lent = 2;
        let fill = start.advanced(lent);
        Self { completions, next_completion: start, completed: 0, fill, lent, vector: Vector, bar0: imr }
    }
    fn check(&self) -> Result<(), DeviceFault> {
        Ok(())
    }
}
include!(concat!(env!("OUT_DIR"), "/tx.rs"));

/// As much of a receive queue as arms.
struct RxQueue {
    completions: Shared,
    next_completion: Cursor,
    assembler: Assembler,
    vector: Vector,
    bar0: Arc<AtomicU32>,
}

/// Has a buffer for every slot.
struct Assembler {
    owed: u32,
}

impl Assembler {
    fn can_grow(&self) -> bool {
        false
    }
}

impl RxQueue {
    /// Owes nothing.
    fn post(&mut self) {}
    fn check(&self) -> Result<(), DeviceFault> {
        Ok(())
    }
}
include!(concat!(env!("OUT_DIR"), "/rx.rs"));

include!(concat!(env!("OUT_DIR"), "/rx_ring.rs"));

/// As much of the control half as arms.
struct VmxControl {
    events: Vector,
    device: Registers,
    ecr: Arc<AtomicU32>,
}

struct Registers {
    bar0: Arc<AtomicU32>,
}

struct EventCause(u32);
impl EventCause {
    fn is_empty(&self) -> bool {
        self.0 == 0
    }
}

impl VmxControl {
    fn check(&self) -> Result<(), DeviceFault> {
        Ok(())
    }
    fn causes(&self) -> EventCause {
        EventCause(self.ecr.load(Relaxed))
    }
}
include!(concat!(env!("OUT_DIR"), "/control.rs"));

/// A device that sees the first descriptor's generation sees the whole burst.
#[test]
fn a_burst_is_handed_over_whole() {
    loom::model(|| {
        let driver = Shared::new();
        let device = driver.clone();
        let device = thread::spawn(move || {
            let slots = device.slots();
            if slots[0].load::<2>() & GEN != 0 {
                fence(Ordering::Acquire);
                assert_eq!(slots[0].load::<0>(), 7, "where the first frame is");
                assert_eq!(slots[1].load::<0>(), 8, "where the second frame is");
                assert_eq!(slots[1].load::<2>(), GEN | 60);
                assert_eq!(slots[1].load::<3>() & TxDesc::CQ, TxDesc::CQ, "a completion is wanted");
            }
        });
        let slots = driver.slots();
        slots[0].store::<0>(7);
        slots[1].store::<0>(8);
        slots[1].store::<2>(GEN | 60);
        hand_over(&slots[0], u64::from(GEN | 60), &slots[1], 0);
        device.join().expect("the device has no complaints");
    });
}

fn completes(entry: &Words<4>) {
    entry.store::<0>(1);
    entry.store::<2>(60);
    fence(Ordering::Release);
    entry.store::<3>(TOP_BIT);
}

/// A driver that sees a receive completion's generation sees the rest of it.
#[test]
fn a_receive_completion_is_read_whole() {
    loom::model(|| {
        let driver = Shared::new();
        let device = driver.clone();
        let device = thread::spawn(move || completes(&device.slots()[0]));
        if let Some(words) = read_new(&driver.slots()[0], Cursor::start(ENTRIES)) {
            assert_eq!(words, [1, 0, 60, TOP_BIT]);
        }
        device.join().expect("the device has no complaints");
    });
}

/// The same of a transmit completion.
#[test]
fn a_transmit_completion_is_read_whole() {
    loom::model(|| {
        let shared = Shared::new();
        let mut driver = TxQueue::new(shared.clone(), Arc::new(AtomicU32::new(1)));
        let device = thread::spawn(move || completes(&shared.slots()[0]));
        driver.observe().expect("it is well-formed");
        assert!([0, 2].contains(&driver.completed), "the entry is older than the word that says it is new");
        device.join().expect("the device has no complaints");
    });
}

/// A device that sees a receive descriptor's generation sees where its buffer is.
#[test]
fn a_buffer_is_handed_over_whole() {
    loom::model(|| {
        let shared = Shared::new();
        let device = shared.clone();
        let device = thread::spawn(move || {
            let slots = device.slots();
            if slots[1].load::<2>() & TOP_BIT != 0 {
                fence(Ordering::Acquire);
                assert_eq!(slots[1].load::<0>(), 8, "where the second buffer is");
            }
        });
        let slots = &shared.slots()[..2];
        slots[0].store_pair::<0>(7);
        slots[1].store_pair::<0>(8);
        give(slots, TOP_BIT | 60);
        device.join().expect("the device has no complaints");
    });
}

/// Either the driver finds what came before it armed, or the device finds that it is armed.
fn no_wake_up_is_lost<D: 'static>(
    driver: impl Fn(&Shared, &Arc<AtomicU32>, &Arc<AtomicU32>) -> D + Send + Sync + 'static,
    arm: impl Fn(&mut D) -> Result<Armed, DeviceFault> + Send + Sync + 'static,
) {
    loom::model(move || {
        let (shared, ecr) = (Shared::new(), Arc::new(AtomicU32::new(0)));
        let imr = Arc::new(AtomicU32::new(1));
        let mut driver = driver(&shared, &ecr, &imr);
        let device = thread::spawn(move || {
            completes(&shared.slots()[0]);
            ecr.store(1, Relaxed);
            fence(Ordering::SeqCst);
            imr.load(Relaxed) == 0
        });
        let armed = arm(&mut driver).expect("it is not broken");
        let interrupts = device.join().expect("the device has no complaints");
        assert!(armed == Armed::Pending || interrupts, "the driver sleeps on what is there");
    });
}

#[test]
fn no_wake_up_is_lost_to_transmit() {
    no_wake_up_is_lost(|shared, _, imr| TxQueue::new(shared.clone(), Arc::clone(imr)), TxQueue::arm);
}

#[test]
fn no_wake_up_is_lost_to_receive() {
    no_wake_up_is_lost(
        |shared, _, imr| RxQueue {
            completions: shared.clone(),
            next_completion: Cursor::start(ENTRIES),
            assembler: Assembler { owed: 0 },
            vector: Vector,
            bar0: Arc::clone(imr),
        },
        RxQueue::arm,
    );
}

#[test]
fn no_wake_up_is_lost_to_control() {
    no_wake_up_is_lost(
        |_, ecr, imr| VmxControl {
            events: Vector,
            device: Registers { bar0: Arc::clone(imr) },
            ecr: Arc::clone(ecr),
        },
        VmxControl::arm,
    );
}

/// Two queues on threads of their own, and a device that is at work on both: each is whole and
/// wakes whoever sleeps on it, whatever the other one does at the time. They have no word in common
/// that would have to be ordered.
fn each_queue_is_by_itself<D: Send + 'static>(
    driver: fn(&Shared, &Arc<AtomicU32>) -> D,
    arm: fn(&mut D) -> Result<Armed, DeviceFault>,
) {
    loom::model(move || {
        let queues = [(); 2].map(|()| (Shared::new(), Arc::new(AtomicU32::new(1))));
        let [mut first, mut second] = [0, 1].map(|queue: usize| driver(&queues[queue].0, &queues[queue].1));
        let device = thread::spawn(move || {
            queues.map(|(shared, imr)| {
                completes(&shared.slots()[0]);
                fence(Ordering::SeqCst);
                imr.load(Relaxed) == 0
            })
        });
        let other = thread::spawn(move || arm(&mut second).expect("it is not broken"));
        let armed = [arm(&mut first).expect("it is not broken"), other.join().expect("it ends")];
        let interrupts = device.join().expect("the device has no complaints");
        for (armed, interrupts) in armed.into_iter().zip(interrupts) {
            assert!(armed == Armed::Pending || interrupts, "a queue sleeps on what is there");
        }
    });
}

#[test]
fn no_wake_up_is_lost_to_one_of_two_transmit_queues() {
    each_queue_is_by_itself(|shared, imr| TxQueue::new(shared.clone(), Arc::clone(imr)), TxQueue::arm);
}

#[test]
fn no_wake_up_is_lost_to_one_of_two_receive_queues() {
    each_queue_is_by_itself(
        |shared, imr| RxQueue {
            completions: shared.clone(),
            next_completion: Cursor::start(ENTRIES),
            assembler: Assembler { owed: 0 },
            vector: Vector,
            bar0: Arc::clone(imr),
        },
        RxQueue::arm,
    );
}
