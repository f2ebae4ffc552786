//! Waiting.

use std::time::Duration;

use paravane_block::{Disk, DiskError, Operation, RequestQueue as _, Reserve, SubmitError};
use paravane_hal::fault::DeviceFault;
use paravane_hal::time::Clock as _;
use paravane_mock_hal::MockPlatform;

use crate::ram::{Bench, Ram, SECTOR, SECTORS};

const LIMIT: Duration = Duration::from_millis(100);

fn disk(bench: &Bench) -> Disk<Ram, MockPlatform> {
    Disk::new(bench.queue(512), bench.pool.clone(), bench.platform.clone(), LIMIT)
}

#[test]
fn what_is_written_is_read_through_short_buffers_and_in_any_order() {
    for shuffles in [false, true] {
        let bench = Bench::new(8);
        bench.state().shuffles = shuffles;
        let mut disk = disk(&bench);
        let bytes: Vec<u8> = (0..20 * SECTOR).map(|at| (at % 251).to_le_bytes()[0]).collect();
        disk.write(7, &bytes).unwrap();
        assert_eq!(bench.state().disk[7 * SECTOR..27 * SECTOR], bytes);
        assert_eq!(bench.state().disk[27 * SECTOR], 27);
        let mut read = vec![0; 20 * SECTOR];
        disk.read(7, &mut read).unwrap();
        assert!(read == bytes);
        assert_eq!(bench.state().most_waiting, 4, "as many as the queue takes");
        disk.flush().unwrap();
        assert_eq!(bench.state().done.last(), Some(&Operation::Flush));
        bench.assert_home();
    }
}

#[test]
fn fewer_buffers_than_requests_are_enough_and_none_are_an_error() {
    let bench = Bench::new(2);
    let mut disk = disk(&bench);
    let mut bytes = vec![0; 10 * SECTOR];
    disk.read(0, &mut bytes).unwrap();
    assert_eq!((bytes[0], bytes[9 * SECTOR]), (0, 9));
    let taken = [bench.pool.get().unwrap(), bench.pool.get().unwrap()];
    assert_eq!(disk.read(0, &mut bytes), Err(DiskError::NoBuffer { block_bytes: 512 }));
    assert_eq!(disk.identify(), Err(DiskError::NoBuffer { block_bytes: 512 }));
    drop(taken);
    disk.read(0, &mut []).unwrap();
    let mut long = Disk::new(bench.queue(4096), bench.pool.clone(), bench.platform.clone(), LIMIT);
    assert_eq!(long.read(0, &mut [0; 4096]), Err(DiskError::NoBuffer { block_bytes: 4096 }));
}

#[test]
fn what_cannot_be_done_whole_is_not_begun() {
    let bench = Bench::new(2);
    let mut disk = disk(&bench);
    let refused = |error| Err(DiskError::Refused(error));
    let capacity_sectors = SECTORS as u64;
    let beyond = SubmitError::OutOfRange { sector: 60, sectors: 5, capacity_sectors };
    assert_eq!(disk.write(60, &[0; 5 * SECTOR]), refused(beyond));
    let halves = SubmitError::NotBlocks { bytes: 700, block_bytes: 512 };
    assert_eq!(disk.write(0, &[0; 700]), refused(halves));
    let beyond = SubmitError::OutOfRange { sector: u64::MAX, sectors: 40, capacity_sectors };
    assert_eq!(disk.discard(u64::MAX, 40), refused(beyond));
    assert_eq!(bench.state().done, []);
    let mut queue = bench.queue(512);
    queue.rules.info.discard = None;
    let mut plain = Disk::new(queue, bench.pool.clone(), bench.platform.clone(), LIMIT);
    assert_eq!(plain.discard(0, 1), refused(SubmitError::Unsupported));
    bench.assert_home();
}

#[test]
fn ranges_are_asked_for_one_after_the_other() {
    let bench = Bench::new(2);
    let mut disk = disk(&bench);
    disk.discard(3, 30).unwrap();
    let ranges = [(3, 13), (16, 16), (32, 1)];
    let discards = ranges.map(|(sector, sectors)| Operation::Discard { sector, sectors });
    assert_eq!(bench.state().done, discards);
    disk.write_zeroes(3, 4, true).unwrap();
    disk.secure_erase(7, 1).unwrap();
    let firsts: Vec<u8> = bench.state().disk.chunks(SECTOR).map(|sector| sector[0]).collect();
    assert_eq!(firsts[2..9], [2, 0, 0, 0, 0, 0xee, 0xdd]);
    assert_eq!(bench.state().most_waiting, 1);
}

#[test]
fn a_disk_says_who_it_is_and_how_worn() {
    let bench = Bench::new(1);
    let mut disk = disk(&bench);
    assert_eq!(&disk.identify().unwrap(), b"a disk in memory    ");
    let lifetime = disk.lifetime().unwrap();
    assert_eq!((lifetime.reserve, lifetime.used_percent_a), (Reserve::Normal, Some(50)));
    assert_eq!((disk.info().driver, disk.capacity_sectors()), ("ram", 64));
    bench.assert_home();
}

#[test]
fn an_error_of_the_disk_says_which_part_and_the_rest_comes_home() {
    let bench = Bench::new(8);
    bench.state().bad_sector = Some(7);
    let mut disk = disk(&bench);
    let Err(DiskError::Failed(error)) = disk.read(0, &mut [0; 20 * SECTOR]) else { panic!("a bad sector") };
    assert_eq!(error.operation, Operation::Read { sector: 6 });
    assert_eq!(disk.into_queue().in_flight(), 0);
    bench.assert_home();
}

#[test]
fn a_disk_that_sleeps_is_waited_for_no_longer_than_was_said() {
    let bench = Bench::new(8);
    bench.state().does = 1;
    let mut disk = disk(&bench);
    let start = bench.platform.now();
    let error = disk.read(0, &mut [0; 15 * SECTOR]).unwrap_err();
    assert!(matches!(error, DiskError::TimedOut(_)), "{error}");
    assert!(bench.platform.now() >= start.saturating_add(LIMIT));
    assert_eq!(bench.pool.free(), 8 - 4, "the device may write there");
    assert!(matches!(disk.flush(), Err(DiskError::TimedOut(_))), "the queue is full");
    // It wakes up, and nothing of before is taken for an answer.
    bench.state().does = usize::MAX;
    let mut bytes = [0xff; SECTOR];
    disk.read(40, &mut bytes).unwrap();
    assert_eq!(bytes, [40; SECTOR]);
    bench.assert_home();
    // The same of one that is asked one thing.
    bench.state().does = 0;
    assert!(matches!(disk.identify(), Err(DiskError::TimedOut(_))));
    bench.state().does = usize::MAX;
    assert_eq!(disk.lifetime().unwrap().used_percent_a, Some(50));
    bench.assert_home();
}

#[test]
fn a_broken_queue_is_told_at_once() {
    let bench = Bench::new(8);
    bench.state().fault = Some(DeviceFault::Gone);
    let mut disk = disk(&bench);
    assert_eq!(disk.read(0, &mut [0; SECTOR]), Err(DiskError::Fault(DeviceFault::Gone)));
    assert_eq!(disk.flush(), Err(DiskError::Fault(DeviceFault::Gone)));
}

#[test]
fn errors_are_for_people() {
    let texts = [
        (DiskError::Fault(DeviceFault::Gone), DeviceFault::Gone.to_string()),
        (DiskError::Refused(SubmitError::ReadOnly), "the disk is read-only".into()),
        (
            DiskError::NoBuffer { block_bytes: 4096 },
            "the pool has no buffer of 4096 bytes for the disk".into(),
        ),
    ];
    for (error, text) in texts {
        assert_eq!(error.to_string(), text);
    }
}
