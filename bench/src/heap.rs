//! That no call of the data path asks the heap for memory, in any of the loops that are counted.

#![expect(unsafe_code, reason = "an allocator that counts what the system's is asked for")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use clap::ValueEnum as _;

use crate::blk;
use crate::large;
use crate::subject::{self, Driver, Moving, Point};

/// Turns before any is looked at: every ring wraps, every path has been taken.
const WARM_UP: usize = 300;
const TURNS: usize = 300;

thread_local! {
    /// How often this thread asked.
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

/// The system's, counted.
struct Counting;

// SAFETY: every call goes to the system's allocator as it came; the count is a cell that needs no
// memory of the heap, and there is nothing to drop in it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.set(ASKED.get() + 1);
        // SAFETY: the caller's promise about `layout` is the one that is asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: it came from `alloc` with this layout, as the caller promises.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static HEAP: Counting = Counting;

/// How often the driver's turns of `moving` asked.
fn asked(moving: &mut dyn Moving) -> u64 {
    let mut asked = 0;
    for turn in 0..WARM_UP + TURNS {
        moving.turn(&mut |work| {
            let before = ASKED.get();
            work();
            if turn >= WARM_UP {
                asked += ASKED.get() - before;
            }
        });
    }
    moving.check().unwrap();
    asked
}

#[test]
fn an_allocation_would_be_seen() {
    let before = ASKED.get();
    drop(std::hint::black_box(Box::new(1_u64)));
    assert_eq!(ASKED.get() - before, 1);
}

#[test]
fn frames_travel_without_the_heap() {
    for driver in [Driver::Vmxnet3, Driver::Virtio, Driver::VirtioPacked] {
        for point in Point::all().filter(|point| point.is_for(driver)) {
            let mut moving = subject::start(driver, point).unwrap();
            assert_eq!(asked(&mut *moving), 0, "{} {point:?}", driver.name());
        }
    }
}

#[test]
fn eight_pairs_and_large_packets_travel_without_the_heap() {
    for work in large::Work::value_variants() {
        let mut moving = large::start(*work).unwrap();
        assert_eq!(asked(&mut *moving), 0, "{}", work.name());
    }
}

#[test]
fn reads_are_asked_for_and_done_without_the_heap() {
    for driver in [blk::Driver::Virtio, blk::Driver::VirtioPacked] {
        for point in blk::Point::all() {
            let mut moving = blk::start(driver, point).unwrap();
            assert_eq!(asked(&mut *moving), 0, "{} {point:?}", driver.name());
        }
    }
}
