//! Requests by chance, many at once, held against a copy; and what is left of them when QEMU is
//! killed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, thread};

use paravane_block::{
    BlockBuffer, BlockPool, Completion, Operation, Request, RequestQueue as _, SectorRange,
};
use paravane_qtest_hal::Machine;
use paravane_virtio::blk::Config;

use crate::{Chance, LIMIT, SECTOR, Up, bytes_of, disk_by, next, puts_in_order, qcow2};

const SECTORS: usize = 8192;
const DEPTH: usize = 64;
const REQUESTS: u64 = 10_000;

const RAW: &str = "file={file},format=raw,discard=unmap";
const QCOW2: &str = "file={file},format=qcow2,discard=unmap";

/// What a sector holds that was written by request `token`: nothing else does.
fn pattern(token: u64, sector: usize) -> Vec<u8> {
    let words = (0..64_u64).map(|word| token << 40 ^ (sector as u64) << 8 ^ word);
    words.flat_map(u64::to_le_bytes).collect()
}

/// What a sector may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Held {
    Zeroes,
    Written(u64),
    /// It was discarded.
    Anything,
}

impl Held {
    fn is(self, sector: usize, bytes: &[u8]) -> bool {
        match self {
            Self::Zeroes => bytes.iter().all(|byte| *byte == 0),
            Self::Written(token) => bytes == pattern(token, sector),
            Self::Anything => true,
        }
    }
}

struct Run {
    up: Up,
    pool: BlockPool,
    chance: Chance,
    /// What is stored, as far as requests completed.
    held: Vec<Held>,
    /// Requests that are out: which sectors, and what is stored there if they are done.
    busy: BTreeMap<u64, (Range<usize>, Option<Held>)>,
    token: u64,
}

impl Run {
    fn new(up: Up, pool: BlockPool, seed: u64) -> Self {
        let held = vec![Held::Zeroes; SECTORS];
        Self { up, pool, chance: Chance(seed), held, busy: BTreeMap::new(), token: 0 }
    }

    fn pieces(&mut self) -> Vec<BlockBuffer> {
        let count = 1 + self.chance.below(5);
        let piece = |chance: &mut Chance| {
            let mut buffer = self.pool.get().unwrap();
            assert!(buffer.set_len_bytes((1 + chance.below(8)) * SECTOR));
            buffer
        };
        (0..count).map(|_| piece(&mut self.chance)).collect()
    }

    /// One more request, unless it is about sectors of another.
    fn submit(&mut self) {
        let kind = self.chance.below(16);
        let data = if kind < 13 { self.pieces() } else { Vec::new() };
        let sectors = match kind {
            13.. => 1 + self.chance.below(100),
            _ => data.iter().map(BlockBuffer::len_bytes).sum::<usize>() / SECTOR,
        };
        let first = self.chance.below(SECTORS - sectors);
        let range = first..first + sectors;
        let is_apart = |(other, _): &(Range<usize>, _)| range.end <= other.start || other.end <= range.start;
        if !self.busy.values().all(is_apart) {
            return;
        }
        let token = self.token;
        let sector = first as u64;
        let of = SectorRange { sector, sectors: sectors.try_into().unwrap() };
        let (request, held) = match kind {
            0..6 => (Request::read(sector, data), None),
            6..13 => (Request::write(sector, fill(data, token, first)), Some(Held::Written(token))),
            13 => (Request::discard(of), Some(Held::Anything)),
            14 => (Request::write_zeroes(of, false), Some(Held::Zeroes)),
            _ => (Request::write_zeroes(of, true), Some(Held::Zeroes)),
        };
        let queues = self.up.more_queues.len() + 1;
        let queue = match self.chance.below(queues).checked_sub(1) {
            None => &mut self.up.queue,
            Some(more) => &mut self.up.more_queues[more],
        };
        queue.submit(request.with_token(token)).unwrap();
        self.busy.insert(token, (range, held));
        self.token += 1;
    }

    /// Waits for one. What it was.
    fn complete(&mut self) -> Operation {
        let Completion { request, result } = next(&mut self.up);
        result.unwrap();
        let (range, held) = self.busy.remove(&request.token).unwrap();
        if let Some(held) = held {
            self.held[range.clone()].fill(held);
        }
        if let Some(data) = request.data.filter(|_| matches!(request.operation, Operation::Read { .. })) {
            self.compare(range, &bytes_of(&data));
        }
        request.operation
    }

    fn compare(&self, range: Range<usize>, bytes: &[u8]) {
        for (sector, bytes) in range.zip(bytes.chunks(SECTOR)) {
            assert!(self.held[sector].is(sector, bytes), "sector {sector}: {:?}", self.held[sector]);
        }
    }

    fn flush(&mut self) {
        let token = self.token;
        self.token += 1;
        self.busy.insert(token, (0..0, None));
        self.up.queue.submit(Request::flush().with_token(token)).unwrap();
        while self.busy.contains_key(&token) {
            self.complete();
        }
    }

    fn read_all(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        for first in (0..SECTORS).step_by(64) {
            let data: Vec<BlockBuffer> = (0..8).map(|_| self.pool.get().unwrap()).collect();
            self.up.queue.submit(Request::read(first as u64, data)).unwrap();
            let Completion { request, result } = next(&mut self.up);
            result.unwrap();
            all.extend(bytes_of(&request.data.unwrap()));
        }
        all
    }
}

/// `data`, full of what request `token` writes from sector `first` on.
fn fill(mut data: Vec<BlockBuffer>, token: u64, first: usize) -> Vec<BlockBuffer> {
    let mut sector = first;
    for buffer in &mut data {
        for at in (0..buffer.len_bytes()).step_by(SECTOR) {
            assert!(buffer.copy_in(at, &pattern(token, sector)));
            sector += 1;
        }
    }
    data
}

fn config(queues: u16) -> Config {
    Config::default().with_entries(1024).with_queues(queues)
}

fn ten_thousand(image: &[u8], drive: &str, options: &str, queues: u16) {
    let Some((machine, up, pool)) = disk_by(image, options, drive, &config(queues)) else { return };
    assert_eq!(up.more_queues.len() + 1, usize::from(queues));
    let mut run = Run::new(up, pool, 0x9e37_79b9_7f4a_7c15);
    let mut deepest = 0;
    while run.token < REQUESTS || !run.busy.is_empty() {
        if run.token < REQUESTS && run.busy.len() < DEPTH {
            run.submit();
        } else {
            deepest = deepest.max(run.busy.len());
            run.complete();
        }
    }
    assert_eq!(deepest, DEPTH);
    run.flush();
    let all = run.read_all();
    run.compare(0..SECTORS, &all);
    assert_eq!(run.pool.free(), run.pool.buffers());
    let Run { up, held, .. } = run;
    up.stop(&mut |_, _| panic!("nothing was in flight")).unwrap();
    // And after a cold start.
    let image = machine.disk_bytes(0).unwrap();
    drop(machine);
    let (_machine, up, pool) = disk_by(&image, options, drive, &config(1)).unwrap();
    let mut run = Run { held, ..Run::new(up, pool, 1) };
    assert!(run.read_all() == all);
}

#[test]
fn ten_thousand_requests_in_four_queues_leave_a_raw_image_as_it_should_be() {
    let image = vec![0; SECTORS * SECTOR];
    ten_thousand(&image, RAW, ",num-queues=4,queue-size=1024", 4);
}

#[test]
fn ten_thousand_requests_in_a_packed_ring_leave_a_qcow2_image_as_it_should_be() {
    let image = qcow2::empty((SECTORS * SECTOR) as u64);
    ten_thousand(&image, QCOW2, ",packed=on,queue-size=1024,num-queues=1", 1);
}

#[test]
fn ten_thousand_requests_are_done_in_order_by_a_disk_that_keeps_it() {
    if Machine::has_property_or_skip("virtio-blk-pci", "in_order") && puts_in_order() {
        let image = vec![0; SECTORS * SECTOR];
        ten_thousand(&image, RAW, ",in_order=on,num-queues=4,queue-size=1024", 4);
        ten_thousand(&image, RAW, ",in_order=on,packed=on,queue-size=1024,num-queues=1", 1);
    }
}

/// Kills a child, and waits until it writes nothing any more.
fn kill(process_id: u32) {
    let killed = Command::new("kill").args(["-9", &process_id.to_string()]).status().unwrap();
    assert!(killed.success());
    let start = Instant::now();
    // Dead, and not asked for its last words yet.
    let is_dead =
        || fs::read_to_string(format!("/proc/{process_id}/stat")).is_ok_and(|stat| stat.contains(") Z "));
    while !is_dead() {
        assert!(start.elapsed() < LIMIT, "it lives on");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Writes, flushes and is killed in the middle of writes: what a flush acknowledged is in the file.
fn killed(image: &[u8], drive: &str) {
    let options = ",queue-size=1024";
    for seed in 1..4 {
        let Some((machine, up, pool)) = disk_by(image, options, drive, &config(1)) else { return };
        let mut run = Run::new(up, pool, seed << 40 | 0x5bd1_e995);
        let mut flushed = Vec::new();
        // Ends with requests in the device's hands.
        for round in 0..300 + 77 * seed {
            while run.busy.len() < DEPTH {
                run.submit();
            }
            run.complete();
            if round % 100 == 50 {
                // Of what was completed before it was submitted.
                flushed.clone_from(&run.held);
                run.flush();
            }
        }
        let since: Vec<Range<usize>> = run.busy.values().map(|(range, _)| range.clone()).collect();
        core::iter::once(&mut run.up.queue).for_each(|queue| queue.publish());
        kill(machine.process_id());
        let held_at_last = run.held.clone();
        let left = machine.disk_bytes(0).unwrap();
        drop((run, machine));

        let (_machine, up, pool) = disk_by(&left, options, drive, &config(1)).unwrap();
        let mut run = Run::new(up, pool, 1);
        let all = run.read_all();
        let mut compared = 0;
        for (sector, bytes) in all.chunks(SECTOR).enumerate() {
            // What was changed after the flush may be there or not.
            let is_still =
                held_at_last[sector] == flushed[sector] && !since.iter().any(|range| range.contains(&sector));
            if is_still {
                assert!(flushed[sector].is(sector, bytes), "sector {sector}: {:?}", flushed[sector]);
                compared += usize::from(matches!(flushed[sector], Held::Written(_)));
            }
        }
        assert!(compared > 100, "some of it was written and flushed: {compared}");
    }
}

#[test]
fn what_a_flush_acknowledged_survives_the_death_of_a_raw_disk() {
    killed(&vec![0; SECTORS * SECTOR], RAW);
}

#[test]
fn what_a_flush_acknowledged_survives_the_death_of_a_qcow2_disk() {
    killed(&qcow2::empty((SECTORS * SECTOR) as u64), QCOW2);
}
