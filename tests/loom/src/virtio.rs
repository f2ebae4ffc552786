//! The split queue: `virtio/src/queue/split.rs` and what it leans on.

#![allow(dead_code, unreachable_pub, unused_imports, reason = "whole files, of which a part is looked at")]

use loom::sync::Arc;
use loom::sync::atomic::{Ordering::SeqCst, fence};
use loom::thread;

use crate::platform::addr::DmaAddr;
use crate::platform::dma::DeviceDma;

pub(crate) mod layout {
    include!(concat!(env!("OUT_DIR"), "/layout.rs"));
}
pub(crate) mod notify {
    include!(concat!(env!("OUT_DIR"), "/notify.rs"));
}
pub(crate) mod split {
    include!(concat!(env!("OUT_DIR"), "/split.rs"));

    impl SplitMemory<()> {
        /// The device's look at the available ring.
        pub(crate) fn avail_word(&self, word: usize) -> &Word16 {
            &self.avail.words()[word]
        }
        /// The device's look at the used ring.
        pub(crate) fn used_word(&self, word: usize) -> &Word32 {
            &self.used.words()[word]
        }
    }
}

use layout::QueueSize;
use split::{Segment, SplitMemory};

type Memory = Arc<SplitMemory<()>>;

fn memory() -> Memory {
    let size = QueueSize::new(2).expect("a power of two");
    Arc::new(SplitMemory::new(&DeviceDma(()), size).expect("there is memory"))
}

fn size() -> QueueSize {
    QueueSize::new(2).expect("a power of two")
}

/// A device that sees the index sees the ring slot and the descriptor behind it.
#[test]
fn what_is_published_is_complete() {
    loom::model(|| {
        let driver = memory();
        let device = Arc::clone(&driver);
        let device = thread::spawn(move || {
            if device.avail_word(layout::AVAIL_IDX).load() == 1 {
                fence(loom::sync::atomic::Ordering::Acquire);
                assert_eq!(device.avail_word(layout::AVAIL_RING).load(), 1, "the slot");
                assert_eq!(device.descriptors()[1].load::<2>(), 60, "the descriptor");
            }
        });
        driver.describe(1, Segment { addr: DmaAddr(7), len_bytes: 60, writable: false }, None);
        driver.offer(0, 1);
        driver.publish(1);
        device.join().expect("the device has no complaints");
    });
}

/// A driver that sees the used index sees the element that it counts.
#[test]
fn what_is_observed_is_complete() {
    loom::model(|| {
        let driver = memory();
        let device = Arc::clone(&driver);
        let device = thread::spawn(move || {
            device.used_word(layout::USED_RING).store(1);
            device.used_word(layout::USED_RING + 1).store(60);
            fence(loom::sync::atomic::Ordering::Release);
            device.used_word(layout::USED_HEAD).store(1 << 16);
        });
        if driver.read_used_idx() == 1 {
            let element = driver.read_used(0);
            assert_eq!((element.id, element.len), (1, 60));
        }
        device.join().expect("the device has no complaints");
    });
}

/// The device is awake at first and asks for no kicks.
fn awake(memory: &Memory, event_idx: bool) {
    let (word, value) = if event_idx {
        (layout::avail_event_word(size()), 0xffff)
    } else {
        (layout::USED_HEAD, layout::USED_F_NO_NOTIFY)
    };
    memory.used_word(word).store(value);
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
        let driver = memory();
        awake(&driver, event_idx);
        let device = Arc::clone(&driver);
        let device = thread::spawn(move || {
            // About to sleep: says so, then looks once more.
            let word = if event_idx { layout::avail_event_word(size()) } else { layout::USED_HEAD };
            device.used_word(word).store(0);
            fence(SeqCst);
            device.avail_word(layout::AVAIL_IDX).load() == 1
        });
        driver.publish(1);
        let rings = driver.reads_kick_owed(event_idx, 1, 0);
        let saw_it = device.join().expect("the device has no complaints");
        assert!(rings || saw_it, "the device sleeps on a full ring");
    });
}

/// Either the driver finds what came before it armed, or the device finds that it is armed and
/// interrupts.
fn no_wake_up_is_lost(event_idx: bool) {
    loom::model(move || {
        let driver = memory();
        if event_idx {
            driver.ask_not_before_lap(0);
        } else {
            driver.ask_never();
        }
        let device = Arc::clone(&driver);
        let device = thread::spawn(move || {
            device.used_word(layout::USED_HEAD).store(1 << 16);
            fence(SeqCst);
            if event_idx {
                let event = device.avail_word(layout::used_event_word(size())).load();
                notify::need_event(event, 1, 0)
            } else {
                device.avail_word(layout::AVAIL_FLAGS).load() & layout::AVAIL_F_NO_INTERRUPT == 0
            }
        });
        if event_idx {
            driver.ask_at(0);
        } else {
            driver.ask_always();
        }
        let pending = driver.read_used_idx() == 1;
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
