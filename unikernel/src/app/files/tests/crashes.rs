//! The machine may end at any time: between any two writes, with or without what was not flushed,
//! or with some of it.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use paravane_block::{
    BlockBuffer, Completion, DiskInfo, Operation, QueueCounters, Request, RequestQueue, SubmitError,
};
use paravane_hal::Failed;
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Armed;

use super::bench::{Bench, Kind, Queue, bytes_of, content};
use super::store;
use crate::app::files::Volume;

/// A queue that takes so many writes and flushes, and nothing more.
struct Ending {
    queue: Queue,
    left: Arc<AtomicUsize>,
    /// The last sector that was written since the last flush.
    last: Arc<Mutex<Option<u64>>>,
}

impl RequestQueue<BlockBuffer> for Ending {
    fn info(&self) -> &DiskInfo {
        self.queue.info()
    }
    fn capacity_sectors(&self) -> u64 {
        self.queue.capacity_sectors()
    }
    fn submit(
        &mut self,
        request: Request<BlockBuffer>,
    ) -> Result<(), Failed<SubmitError, Request<BlockBuffer>>> {
        let counts = matches!(request.operation, Operation::Write { .. } | Operation::Flush);
        if counts && self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_err() {
            return Err(Failed::new(SubmitError::Unsupported, request));
        }
        match request.operation {
            Operation::Write { sector } => *self.last.lock().unwrap() = Some(sector),
            Operation::Flush => *self.last.lock().unwrap() = None,
            _ => {}
        }
        self.queue.submit(request)
    }
    fn publish(&mut self) {
        self.queue.publish();
    }
    fn poll(&mut self) -> Result<Option<Completion<BlockBuffer>>, DeviceFault> {
        self.queue.poll()
    }
    fn remind(&mut self) {
        self.queue.remind();
    }
    fn room(&self) -> usize {
        self.queue.room()
    }
    fn in_flight(&self) -> usize {
        self.queue.in_flight()
    }
    fn arm(&mut self) -> Result<Armed, DeviceFault> {
        self.queue.arm()
    }
    fn disarm(&mut self) {
        self.queue.disarm();
    }
    fn counters(&self) -> QueueCounters {
        self.queue.counters()
    }
}

/// What of the writes since the last flush is on the disk when the machine has ended.
const KEPT: [Kept; 3] = [Kept::All, Kept::None, Kept::Last];

#[derive(Clone, Copy, Debug)]
enum Kept {
    All,
    None,
    /// Caches need not keep an order.
    Last,
}

/// Stores `called` on a disk that ends after `writes`. Whether that was answered, how many writes
/// and flushes were left, and what is on the disk.
fn store_until(
    image: &[u8],
    called: &str,
    bytes: &[u8],
    writes: usize,
    kept: Kept,
) -> (bool, usize, Vec<u8>) {
    let bench = Bench::of(image.to_vec(), false);
    let (left, last) = (Arc::new(AtomicUsize::new(writes)), Arc::default());
    let queue: Queue = Box::new(Ending { queue: bench.queue(), left: left.clone(), last: Arc::clone(&last) });
    let mut volume = Volume::mount(bench.disk(queue), bench.platform.clone()).unwrap();
    let is_done = store(&mut volume, called, bytes, 1000).is_ok();
    let all = bench.image();
    bench.lose_power();
    let mut image = bench.image();
    let last = *last.lock().unwrap();
    match (kept, last) {
        (Kept::All, _) => image = all,
        (Kept::Last, Some(sector)) => {
            let place = usize::try_from(sector).unwrap() * 512;
            image[place..place + 512].copy_from_slice(&all[place..place + 512]);
        }
        _ => {}
    }
    (is_done, left.load(Relaxed), image)
}

#[test]
fn at_any_end_there_is_the_old_file_or_the_new_one() {
    // So many others that the new name is in another sector of the directory than the old one, or
    // in the same.
    for others in [1, 20] {
        let others: Vec<String> = (0..others).map(|number| format!("o{number}")).collect();
        let mut files = vec![("a.bin", 1500)];
        files.extend(others.iter().map(|called| (called.as_str(), 600)));
        let (old, new) = (content("a.bin", 1500), content("new", 2600));
        let image = super::bench::made(Kind::Fat16, &files);
        let (is_done, left, _) = store_until(&image, "a.bin", &new, 1000, Kept::All);
        assert!(is_done);
        let needed = 1000 - left;
        for writes in 0..=needed {
            for kept in KEPT {
                let (is_done, _, image) = store_until(&image, "a.bin", &new, writes, kept);
                let found = bytes_of(&image, "a.bin").unwrap();
                assert!(found == new || (found == old && !is_done), "after {writes} of {needed}, {kept:?}");
                for other in &others {
                    assert!(bytes_of(&image, other).unwrap() == content(other, 600), "{other}");
                }
                // The next start goes on from there.
                let bench = Bench::of(image, false);
                let mut volume = bench.mount();
                assert!(!store(&mut volume, "a.bin", &old, 1000).unwrap());
                assert!(store(&mut volume, "b.bin", &new, 1000).unwrap());
                assert!(bytes_of(&bench.image(), "a.bin").unwrap() == old);
                assert!(bytes_of(&bench.image(), "b.bin").unwrap() == new);
                for other in &others {
                    assert!(bytes_of(&bench.image(), other).unwrap() == content(other, 600), "{other}");
                }
                bench.assert_clean();
            }
        }
    }
}

#[test]
fn at_any_end_there_is_no_new_file_or_all_of_it() {
    let new = content("new", 2600);
    let image = super::bench::made(Kind::Fat16, &[]);
    let (is_done, left, _) = store_until(&image, "n.bin", &new, 1000, Kept::All);
    assert!(is_done);
    for writes in 0..=1000 - left {
        for kept in KEPT {
            let (is_done, _, image) = store_until(&image, "n.bin", &new, writes, kept);
            match bytes_of(&image, "n.bin") {
                Some(found) => assert!(found == new, "after {writes}, {kept:?}"),
                None => assert!(!is_done, "after {writes}, {kept:?}"),
            }
        }
    }
}
