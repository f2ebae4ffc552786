//! The packed ring: `virtio/src/ring/packed.rs` and what it leans on.

use loom::sync::atomic::{Ordering, Ordering::SeqCst, fence};
use loom::thread;

use crate::platform::addr::DmaAddr;
use crate::platform::dma::DeviceDma;
use crate::ring::packed::PackedRing;
use crate::ring::packed::layout::{self, ID};
use crate::ring::packed::memory::PackedMemory;
use crate::ring::{Behind, Completions, QueueSize, Ring, Segment, UsedElement};

/// A ring, and the device's handle to its memory.
fn ring(event_idx: bool) -> (PackedRing<()>, PackedMemory<()>) {
    let size = QueueSize::new(2).expect("a ring may have that many");
    let ring = PackedRing::new(&DeviceDma(()), size, event_idx).expect("there is memory");
    let device = ring.memory().other_side();
    (ring, device)
}

fn segment() -> Segment {
    Segment { addr: DmaAddr(7), len_bytes: 60, writable: false }
}

/// Whether the device sees a chain in the first slot.
fn sees_one(device: &PackedMemory<()>) -> bool {
    device.slots()[0].load::<3>() & layout::MARKS == layout::available(true)
}

/// The device is done with the chain called 1.
fn completes(device: &PackedMemory<()>) {
    device.slots()[0].store_pair::<2>(u64::from(layout::used(true) | 1) << 32 | 60);
}

/// A device that sees the first descriptor of a batch sees all of it.
#[test]
fn what_is_published_is_complete() {
    loom::model(|| {
        let (mut driver, device) = ring(false);
        let device = thread::spawn(move || {
            if sees_one(&device) {
                fence(Ordering::Acquire);
                let [first, second] = device.slots() else { unreachable!("there are two") };
                assert_eq!((first.load::<0>(), first.load::<2>()), (7, 60));
                assert_eq!((second.load::<0>(), second.load::<2>()), (7, 60));
                assert_eq!(second.load::<3>() & layout::MARKS, layout::available(true));
                assert_eq!(first.load::<3>() & ID, 1);
            }
        });
        driver.post(1, segment());
        driver.post(0, segment());
        assert!(driver.publish().is_some());
        device.join().expect("the device has no complaints");
    });
}

/// A driver that sees that a chain was used sees what was written to its memory.
#[test]
fn what_is_observed_is_complete() {
    loom::model(|| {
        let (mut driver, device) = ring(false);
        driver.post(1, segment());
        driver.publish();
        let payload = driver.memory().other_side();
        let device = thread::spawn(move || {
            // Any other word stands for it.
            device.store_device_wish(60);
            fence(Ordering::Release);
            completes(&device);
        });
        if driver.read_used() == Some(UsedElement { id: 1, len: 60 }) {
            assert_eq!(payload.load_device_wish(), 60);
        }
        device.join().expect("the device has no complaints");
    });
}

/// The same of chains that are taken by the run.
#[test]
fn what_is_observed_by_the_run_is_complete() {
    loom::model(|| {
        let (mut driver, device) = ring(false);
        driver.post(1, segment());
        driver.publish();
        let payload = driver.memory().other_side();
        let device = thread::spawn(move || {
            device.store_device_wish(60);
            fence(Ordering::Release);
            device.slots()[0].store::<3>(layout::used(true) | 1);
        });
        let mut completions = driver.completions(1);
        if (completions.are_about(1), completions.behind()) == (1, Behind::Unread) {
            assert_eq!(payload.load_device_wish(), 60);
        }
        device.join().expect("the device has no complaints");
    });
}

/// Either the driver sees that the device goes to sleep, and rings, or the device sees the chain
/// before it sleeps.
fn no_kick_is_lost(event_idx: bool) {
    loom::model(move || {
        let (mut driver, device) = ring(event_idx);
        // Awake at first: asks for no kicks.
        device.store_device_wish(layout::EVENT_F_DISABLE);
        let device = thread::spawn(move || {
            // The first descriptor of the first lap, or any.
            let wish = if event_idx { layout::EVENT_F_DESC | 0x8000 } else { layout::EVENT_F_ENABLE };
            device.store_device_wish(wish);
            fence(SeqCst);
            sees_one(&device)
        });
        driver.post(1, segment());
        let rings = driver.publish() == Some(true);
        let saw_it = device.join().expect("the device has no complaints");
        assert!(rings || saw_it, "the device sleeps on a chain");
    });
}

#[test]
fn no_kick_is_lost_by_flag() {
    no_kick_is_lost(false);
}

#[test]
fn no_kick_is_lost_by_event() {
    no_kick_is_lost(true);
}

/// Either the driver finds what came before it armed, or the device finds that it is armed and
/// interrupts.
fn no_wake_up_is_lost(event_idx: bool) {
    loom::model(move || {
        let (mut driver, device) = ring(event_idx);
        driver.post(1, segment());
        driver.publish();
        driver.disarm();
        let device = thread::spawn(move || {
            completes(&device);
            device.slots()[0].store::<3>(layout::used(true) | 1);
            fence(SeqCst);
            device.load_driver_wish() != layout::EVENT_F_DISABLE
        });
        driver.arm(1);
        let pending = driver.is_used(driver.waiting());
        let interrupts = device.join().expect("the device has no complaints");
        assert!(pending || interrupts, "the driver sleeps on what is used");
    });
}

#[test]
fn no_wake_up_is_lost_by_flag() {
    no_wake_up_is_lost(false);
}

#[test]
fn no_wake_up_is_lost_by_event() {
    no_wake_up_is_lost(true);
}
