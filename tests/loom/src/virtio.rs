//! The split ring: `virtio/src/ring/split.rs` and what it leans on.

use loom::sync::atomic::{Ordering, Ordering::SeqCst, fence};
use loom::thread;

use crate::platform::addr::DmaAddr;
use crate::platform::dma::DeviceDma;
use crate::ring::split::layout;
use crate::ring::split::memory::SplitMemory;
use crate::ring::split::{SplitRing, notify};
use crate::ring::{QueueSize, Ring, Segment};

fn size() -> QueueSize {
    QueueSize::new(2).expect("a ring may have that many")
}

/// A ring, and the device's handle to its memory.
fn ring(event_idx: bool) -> (SplitRing<()>, SplitMemory<()>) {
    let ring = SplitRing::new(&DeviceDma(()), size(), event_idx).expect("there is memory");
    let device = ring.memory().other_side();
    (ring, device)
}

fn segment() -> Segment {
    Segment { addr: DmaAddr(7), len_bytes: 60, writable: false }
}

/// A device that sees the index sees the ring slot and the descriptor behind it.
#[test]
fn what_is_published_is_complete() {
    loom::model(|| {
        let (mut driver, device) = ring(false);
        let device = thread::spawn(move || {
            if device.load_avail(layout::AVAIL_IDX) == 1 {
                fence(Ordering::Acquire);
                assert_eq!(device.load_avail(layout::AVAIL_RING), 1, "the slot");
                assert_eq!(device.descriptors()[1].load::<2>(), 60, "the descriptor");
            }
        });
        driver.post(1, segment());
        assert!(driver.publish().is_some());
        device.join().expect("the device has no complaints");
    });
}

/// A driver that sees the used index sees the element that it counts.
#[test]
fn what_is_observed_is_complete() {
    loom::model(|| {
        let (driver, device) = ring(false);
        let device = thread::spawn(move || {
            device.store_used(layout::USED_RING, 1);
            device.store_used(layout::USED_RING + 1, 60);
            fence(Ordering::Release);
            device.store_used(layout::USED_HEAD, 1 << 16);
        });
        if driver.waiting() == 1 {
            let element = driver.read_used().expect("it was counted");
            assert_eq!((element.id, element.len), (1, 60));
        }
        device.join().expect("the device has no complaints");
    });
}

/// The device is awake at first and asks for no kicks.
fn awake(device: &SplitMemory<()>, event_idx: bool) {
    let (word, value) = if event_idx {
        (layout::avail_event_word(size()), 0xffff)
    } else {
        (layout::USED_HEAD, layout::USED_F_NO_NOTIFY)
    };
    device.store_used(word, value);
}

#[test]
fn no_kick_is_lost_by_flag() {
    no_kick_is_lost(false);
}

#[test]
fn no_kick_is_lost_by_event_index() {
    no_kick_is_lost(true);
}

/// Either the driver sees that the device goes to sleep, and rings, or the device sees the index
/// before it sleeps.
fn no_kick_is_lost(event_idx: bool) {
    loom::model(move || {
        let (mut driver, device) = ring(event_idx);
        awake(&device, event_idx);
        let device = thread::spawn(move || {
            // About to sleep: says so, then looks once more.
            let word = if event_idx { layout::avail_event_word(size()) } else { layout::USED_HEAD };
            device.store_used(word, 0);
            fence(SeqCst);
            device.load_avail(layout::AVAIL_IDX) == 1
        });
        driver.post(0, segment());
        let rings = driver.publish() == Some(true);
        let saw_it = device.join().expect("the device has no complaints");
        assert!(rings || saw_it, "the device sleeps on a full ring");
    });
}

/// Either the driver finds what came before it armed, or the device finds that it is armed and
/// interrupts.
fn no_wake_up_is_lost(event_idx: bool) {
    loom::model(move || {
        let (driver, device) = ring(event_idx);
        driver.disarm();
        let device = thread::spawn(move || {
            device.store_used(layout::USED_HEAD, 1 << 16);
            fence(SeqCst);
            if event_idx {
                let event = device.load_avail(layout::used_event_word(size()));
                notify::need_event(event, 1, 0)
            } else {
                device.load_avail(layout::AVAIL_FLAGS) & layout::AVAIL_F_NO_INTERRUPT == 0
            }
        });
        driver.arm(1);
        let pending = driver.waiting() == 1;
        let interrupts = device.join().expect("the device has no complaints");
        assert!(pending || interrupts, "the driver sleeps on a used buffer");
    });
}

#[test]
fn no_wake_up_is_lost_by_flag() {
    no_wake_up_is_lost(false);
}

#[test]
fn no_wake_up_is_lost_by_event_index() {
    no_wake_up_is_lost(true);
}
