//! Chains in tables of descriptors.

use paravane_block::{Request, RequestQueue as _, SubmitError};
use paravane_mock_hal::model::virtio::blk::REQUESTS;
use paravane_mock_hal::model::virtio::feature;

use crate::support::{Bench, SECTOR, Up, ask, completed, stop};

/// `flags` of a descriptor.
const NEXT: u16 = 1;
const INDIRECT: u16 = 4;

fn benches() -> [Bench; 2] {
    [Bench::new(), Bench::packed()]
}

/// A queue of 32 entries, filled with reads of so many pieces. How many it took.
fn fill(bench: &Bench, up: &mut Up, pieces: &[usize]) -> usize {
    for taken in 0.. {
        let request = Request::read(0, bench.data(pieces));
        if let Err(failed) = up.queue.submit(request) {
            assert_eq!(*failed.error(), SubmitError::Full);
            return taken;
        }
    }
    unreachable!("a queue is full at some time")
}

#[test]
fn a_queue_holds_as_many_requests_as_it_has_entries() {
    for bench in benches() {
        bench.model().class.takes_its_time = true;
        let mut up = bench.start();
        assert_eq!((up.queue.info().max_in_flight, up.queue.room()), (32, 32));
        assert_eq!(fill(&bench, &mut up, &[SECTOR]), 32);
        assert_eq!(up.queue.room(), 0);
        up.queue.publish();
        for done in 0..32 {
            assert_eq!(up.queue.room(), done);
            if done % 4 == 0 {
                bench.model().tick();
            }
            completed(&mut up).result.unwrap();
        }
        assert_eq!(stop(up), 0);
        bench.assert_at_rest();
    }
}

#[test]
fn without_the_feature_each_segment_takes_an_entry() {
    for bench in benches() {
        let bench = bench.without(feature::INDIRECT_DESC);
        bench.model().class.takes_its_time = true;
        let mut up = bench.start();
        assert_eq!((up.queue.info().max_in_flight, up.queue.room()), (10, 10));
        assert_eq!(fill(&bench, &mut up, &[SECTOR]), 10);
        assert_eq!(stop(up), 10);
        bench.assert_at_rest();
    }
}

/// A table has eight entries, two of which are header and status.
#[test]
fn what_is_longer_than_a_table_goes_by_the_ring() {
    for bench in benches() {
        bench.model().class.takes_its_time = true;
        let mut up = bench.start();
        assert_eq!(fill(&bench, &mut up, &[SECTOR; 7]), 3, "nine entries each");
        assert!(up.queue.submit(Request::read(0, bench.data(&[SECTOR; 6]))).is_ok(), "one of the five left");
        assert_eq!(up.queue.room(), 4);
        assert_eq!(stop(up), 4);
        let mut up = bench.start();
        bench.model().class.takes_its_time = false;
        for (fill, pieces) in [(1, 6), (2, 7), (3, 5), (4, 12)] {
            let written = bench.filled(&vec![SECTOR; pieces], fill);
            ask(&mut up, Request::write(2, written)).result.unwrap();
            let end = (2 + pieces) * SECTOR;
            assert!(bench.model().class.disk[2 * SECTOR..end].iter().all(|byte| *byte == fill));
        }
        stop(up);
        bench.assert_at_rest();
    }
}

/// Whatever a device writes where it may write nothing: a table is the driver's again as it was,
/// whole and new, with the next request.
#[test]
fn a_table_that_the_device_wrote_over_is_nobodys_loss() {
    for bench in benches() {
        let mut up = bench.start();
        for round in 0..40_u64 {
            up.queue.submit(Request::write(round, bench.filled(&[SECTOR, SECTOR], 7))).unwrap();
            // The table of the descriptor that is written first in each round: the ring's first,
            // or the next one.
            let slot = if bench.is_packed() { round % 32 } else { 0 };
            let at = bench.model().queues[REQUESTS].areas[0] + 16 * slot;
            let table = u64::from_le_bytes(bench.platform.memory().device_get(at).unwrap());
            up.queue.publish();
            bench.platform.memory().device_write(table, &[0xff; 128]).unwrap();
            completed(&mut up).result.unwrap();
        }
        assert_eq!(bench.model().class.disk[40 * SECTOR], 7);
        stop(up);
        bench.assert_at_rest();
    }
}

/// What a device says of a descriptor besides that it is done with it has no part in what comes
/// home.
#[test]
fn flags_of_a_used_descriptor_that_lie_are_not_believed() {
    let bench = Bench::packed();
    let mut up = bench.start();
    let ring = bench.model().queues[REQUESTS].areas[0];
    for round in 0..100_u64 {
        up.queue.submit(Request::read(0, bench.data(&[SECTOR, SECTOR]))).unwrap();
        up.queue.publish();
        let at = ring + 16 * (round % 32) + 14;
        let flags = u16::from_le_bytes(bench.platform.memory().device_get(at).unwrap());
        let lie = flags ^ if round % 3 == 0 { INDIRECT | NEXT } else { NEXT };
        bench.platform.memory().device_write(at, &lie.to_le_bytes()).unwrap();
        completed(&mut up).result.unwrap();
    }
    assert_eq!(up.queue.room(), 32);
    stop(up);
    bench.assert_at_rest();
}

/// A chain is no longer than its queue, in a table either.
#[test]
fn a_short_queue_has_short_tables() {
    for entries in [3, 4, 8] {
        let mut bench = Bench::packed();
        bench.entries = entries;
        let mut up = bench.start();
        let most = up.queue.info().limits.max_segments;
        assert_eq!(most, entries - 2);
        for round in 0..20 {
            let data = bench.filled(&vec![SECTOR; most.into()], 1);
            ask(&mut up, Request::write(round, data)).result.unwrap();
        }
        assert_eq!(up.queue.counters().parts, 20);
        stop(up);
        bench.assert_at_rest();
    }
}
