//! QEMU's own disk, driven from here. Skipped, with a word about why, where QEMU is not installed.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, reason = "tests")]

mod faults;
mod features;
mod qcow2;
mod random;

use std::time::{Duration, Instant};

use paravane_block::{
    BlockBuffer, BlockLayout, BlockPool, Completion, Control as _, Request, RequestQueue as _, SubmitError,
};
use paravane_hal::irq::Interrupts;
use paravane_hal::mmio::MmioMap;
use paravane_pci::{Function, PciAddress};
use paravane_qtest_hal::{Chipset, Config, Machine, Qtest, Setup};
use paravane_virtio::blk::{Config as BlkConfig, Device, Running};
use paravane_virtio::transport::Transport;
use paravane_virtio::transport::legacy::{self, Legacy};
use paravane_virtio::transport::pci::{self, Pci};

const SECTOR: usize = 512;
const SECTORS: usize = 2048;
const DEPTH: usize = 16;
const ROUNDS: u64 = 600;
const LIMIT: Duration = Duration::from_secs(60);

type Region = <Qtest as MmioMap>::Region;
type Up<T = Pci<Qtest, Config>> = Running<Qtest, T, Vec<BlockBuffer>>;

/// How a function becomes a disk.
type Open<T> = fn(Function<Config>, Qtest) -> Device<Qtest, T>;

fn by_registers(function: Function<Config>, platform: Qtest) -> Device<Qtest, Pci<Qtest, Config>> {
    pci::open(function, platform, Device::new).unwrap()
}

fn by_ports(function: Function<Config>, platform: Qtest) -> Device<Qtest, Legacy<Qtest, Config>> {
    legacy::open(function, platform, Device::new).unwrap()
}

/// A machine with one disk that holds `bytes`, started; and its pool.
fn disk(bytes: &[u8], options: &str) -> Option<(Machine, Up, BlockPool)> {
    disk_by(bytes, options, "file={file},format=raw", &BlkConfig::default())
}

/// The same with such a back end, driven so.
fn disk_by(bytes: &[u8], options: &str, drive: &str, config: &BlkConfig) -> Option<(Machine, Up, BlockPool)> {
    disk_opened(bytes, &format!(",disable-legacy=on{options}"), drive, config, by_registers)
}

/// The same, opened so.
fn disk_opened<T: Transport<Region> + Send>(
    bytes: &[u8],
    options: &str,
    drive: &str,
    config: &BlkConfig,
    open: Open<T>,
) -> Option<(Machine, Up<T>, BlockPool)> {
    let device = format!("virtio-blk-pci,addr=0x6,serial=paravane-1{options}");
    let setup = Setup::new(Chipset::Q35).disk_by(&device, bytes.to_vec(), drive);
    let machine = Machine::start_or_skip(&setup)?;
    let address = PciAddress::new(0, 0, 6, 0).unwrap();
    let function = Function::claim(machine.config().clone(), address).unwrap();
    let device = open(function, machine.platform().clone());
    let up = device.start(config, Interrupts::POLLING).unwrap();
    let pool = BlockPool::new(machine.platform().clone(), BlockLayout::new(512)).unwrap();
    Some((machine, up, pool))
}

/// Numbers that are the same in every run.
pub struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 20).unwrap() % end
    }
}

/// Whether QEMU puts in order what its files answer out of order. Before 10.1 it loses a request
/// where that happens round the end of a ring ("cannot fill buffer id 0").
fn puts_in_order() -> bool {
    let version = Machine::qemu_version().unwrap();
    let mut numbers =
        version.split(|letter: char| !letter.is_ascii_digit()).filter_map(|word| word.parse().ok());
    let version: [u32; 2] = [(); 2].map(|()| numbers.next().unwrap_or(0));
    if version < [10, 1] {
        println!("one request at a time: QEMU {version:?} does not put them in order");
    }
    version >= [10, 1]
}

/// Waits for one more request to be complete, in whichever queue.
fn next<T: Transport<Region> + Send>(up: &mut Up<T>) -> Completion<Vec<BlockBuffer>> {
    let start = Instant::now();
    loop {
        for queue in core::iter::once(&mut up.queue).chain(&mut up.more_queues) {
            if let Some(completion) = queue.poll().unwrap() {
                return completion;
            }
        }
        assert!(start.elapsed() < LIMIT, "nothing after {LIMIT:?}");
    }
}

fn bytes_of(data: &[BlockBuffer]) -> Vec<u8> {
    let mut all = Vec::new();
    for buffer in data {
        let mut bytes = vec![0; buffer.len_bytes()];
        assert!(buffer.copy_out(0, &mut bytes));
        all.extend(bytes);
    }
    all
}

/// Reads and writes of several pieces, many at a time, none of which overlaps another that is in
/// flight: each read finds what was written last, and so does the file in the end.
fn reads_find_what_was_written<T: Transport<Region> + Send>(options: &str, open: Open<T>) {
    reads_at_depth(options, open, DEPTH);
}

/// The same, so many at a time.
fn reads_at_depth<T: Transport<Region> + Send>(options: &str, open: Open<T>, depth: usize) {
    let mut shadow: Vec<u8> = (0..SECTORS * SECTOR).map(|at| (at / SECTOR).to_le_bytes()[0] ^ 0x5a).collect();
    let (raw, config) = ("file={file},format=raw", BlkConfig::default());
    let Some((machine, mut up, pool)) = disk_opened(&shadow, options, raw, &config, open) else { return };
    assert_eq!(up.control.capacity_sectors(), SECTORS as u64);
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let mut busy: Vec<(u64, usize, usize)> = Vec::new();
    let mut token = 0;
    while token < ROUNDS || !busy.is_empty() {
        if token < ROUNDS && busy.len() < depth {
            let pieces: Vec<usize> = (0..=chance.below(4)).map(|_| 1 + chance.below(6)).collect();
            let sectors = pieces.iter().sum::<usize>();
            let first = chance.below(SECTORS - sectors);
            let overlaps = |other: &(u64, usize, usize)| first < other.2 && other.1 < first + sectors;
            if !busy.iter().any(overlaps) {
                let mut data: Vec<BlockBuffer> = Vec::new();
                for sectors in pieces {
                    let mut buffer = pool.get().unwrap();
                    assert!(buffer.set_len_bytes(sectors * SECTOR));
                    data.push(buffer);
                }
                let request = if chance.below(2) == 0 {
                    let mut at = first * SECTOR;
                    for buffer in &mut data {
                        let fill = chance.below(256).to_le_bytes()[0];
                        let place = &mut shadow[at..at + buffer.len_bytes()];
                        place.fill(fill);
                        assert!(buffer.copy_in(0, place));
                        at += place.len();
                    }
                    Request::write(first as u64, data)
                } else {
                    Request::read(first as u64, data)
                };
                up.queue.submit(request.with_token(token)).unwrap();
                busy.push((token, first, first + sectors));
                token += 1;
                continue;
            }
        }
        let Completion { request, result } = next(&mut up);
        result.unwrap();
        let at = busy.iter().position(|(token, ..)| *token == request.token).unwrap();
        let (_, first, end) = busy.swap_remove(at);
        let data = request.data.unwrap();
        assert_eq!(bytes_of(&data), shadow[first * SECTOR..end * SECTOR], "sectors {first} to {end}");
    }
    up.queue.submit(Request::flush()).unwrap();
    next(&mut up).result.unwrap();
    assert!(machine.disk_bytes(0).unwrap() == shadow, "the file holds what was written");
    assert_eq!(pool.free(), pool.buffers());
    up.stop(&mut |_, _| panic!("nothing was in flight")).unwrap();
}

#[test]
fn a_split_ring_reads_what_it_wrote() {
    reads_find_what_was_written(",disable-legacy=on", by_registers);
}

#[test]
fn a_packed_ring_reads_what_it_wrote() {
    reads_find_what_was_written(",disable-legacy=on,packed=on", by_registers);
}

#[test]
fn a_disk_that_keeps_the_order_reads_what_it_wrote() {
    if Machine::has_property_or_skip("virtio-blk-pci", "in_order") {
        let depth = if puts_in_order() { DEPTH } else { 1 };
        reads_at_depth(",disable-legacy=on,in_order=on", by_registers, depth);
        reads_at_depth(",disable-legacy=on,in_order=on,packed=on", by_registers, depth);
    }
}

#[test]
fn a_disk_reads_by_its_ports_what_it_wrote() {
    reads_find_what_was_written(",disable-modern=on,disable-legacy=off", by_ports);
}

#[test]
fn a_transitional_disk_does_so_either_way() {
    reads_find_what_was_written(",disable-modern=off,disable-legacy=off", by_ports);
    reads_find_what_was_written(",disable-modern=off,disable-legacy=off", by_registers);
}

#[test]
fn a_disk_says_its_name_and_what_it_does_not_take() {
    let Some((_machine, mut up, pool)) = disk(&[0; SECTORS * SECTOR], "") else { return };
    let buffer = |bytes| {
        let mut buffer = pool.get().unwrap();
        assert!(buffer.set_len_bytes(bytes));
        vec![buffer]
    };
    up.queue.submit(Request::identify(buffer(20))).unwrap();
    let Completion { request, result } = next(&mut up);
    result.unwrap();
    assert_eq!(&bytes_of(&request.data.unwrap())[..10], b"paravane-1");
    let beyond = up.queue.submit(Request::read(SECTORS as u64, buffer(SECTOR))).unwrap_err();
    assert!(matches!(beyond.error(), SubmitError::OutOfRange { .. }), "{beyond}");
}
