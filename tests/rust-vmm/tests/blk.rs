//! Requests over split rings that rust-vmm's device side walks, held against a shadow of the disk.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(clippy::cast_possible_truncation, reason = "bytes that tell frames and requests apart")]

use std::collections::BTreeMap;

use paravane_block::{
    BlockBuffer, BlockLayout, BlockPool, Completion, Control as _, Operation, Request, RequestQueue as _,
};
use paravane_hal::irq::{Armed, Interrupts};
use paravane_rust_vmm::Machine;
use paravane_rust_vmm::blk::{Blk, ID, SECTOR_BYTES};
use paravane_rust_vmm::registers::{EVENT_IDX, INDIRECT_DESC};
use paravane_rust_vmm::ring::MAX_ENTRIES;
use paravane_virtio::blk::{Config, Device, Running};
use paravane_virtio::transport::mmio::MmioTransport;
use proptest::collection::vec;
use proptest::prelude::*;

type Disk = Machine<Blk>;
type Bus = MmioTransport<paravane_rust_vmm::machine::Registers<Blk>>;
type Data = Vec<BlockBuffer>;

/// Requests under way at once touch different places: what order they are done in is the device's.
const PLACES: usize = 48;
/// What a device may offer.
const OFFERED: [u64; 4] = [0, EVENT_IDX, INDIRECT_DESC, INDIRECT_DESC | EVENT_IDX];
/// How long a place is.
const PLACE_BYTES: usize = 16 * SECTOR_BYTES;

struct Bench {
    machine: Disk,
    pool: BlockPool,
    bytes_at_rest: usize,
    up: Running<Disk, Bus, Data>,
    armed: bool,
    shadow: Vec<u8>,
    /// What each place is under way for.
    under_way: BTreeMap<u64, Vec<u8>>,
    done: u64,
    out_of_order: u64,
    flushes: u64,
}

impl Bench {
    fn new(offered: u64, entries: u16) -> Self {
        let machine = Machine::new(Blk::new(PLACES * 16, offered));
        let pool = BlockPool::new(machine.clone(), BlockLayout::new(512).with_buffer_bytes(2048)).unwrap();
        let bytes_at_rest = machine.out_bytes();
        let device = Device::new(machine.claim(), machine.clone()).unwrap();
        let up = device.start(&Config::default().with_entries(entries), Interrupts::LINE).unwrap();
        Self {
            machine,
            pool,
            bytes_at_rest,
            up,
            armed: false,
            shadow: vec![0; PLACES * PLACE_BYTES],
            under_way: BTreeMap::new(),
            done: 0,
            out_of_order: 0,
            flushes: 0,
        }
    }

    /// Pieces of so many sectors.
    fn data(&self, pieces: &[usize]) -> Option<Data> {
        let piece = |sectors: &usize| {
            let mut buffer = self.pool.get()?;
            assert!(buffer.set_len_bytes(sectors * SECTOR_BYTES));
            Some(buffer)
        };
        pieces.iter().map(piece).collect()
    }

    /// Reads or writes pieces of so many sectors at a place, if it is free and the queue has room.
    fn ask(&mut self, ask: &Ask) {
        let token = ask.place as u64;
        if self.under_way.contains_key(&token) {
            return;
        }
        let Some(mut data) = self.data(&ask.pieces) else { return };
        let len_bytes = ask.pieces.iter().sum::<usize>() * SECTOR_BYTES;
        let start = ask.place * PLACE_BYTES;
        let sector = (start / SECTOR_BYTES) as u64;
        let (request, bytes) = if ask.write {
            let bytes: Vec<_> = (0..len_bytes).map(|i| (i as u8).wrapping_mul(3) ^ ask.fill).collect();
            let mut from = &bytes[..];
            for piece in &mut data {
                let (here, rest) = from.split_at(piece.len_bytes());
                assert!(piece.copy_in(0, here));
                from = rest;
            }
            (Request::write(sector, data), bytes)
        } else {
            (Request::read(sector, data), self.shadow[start..start + len_bytes].to_vec())
        };
        if self.up.queue.submit(request.with_token(token)).is_ok() {
            self.shadow[start..start + len_bytes].copy_from_slice(&bytes);
            self.under_way.insert(token, bytes);
        }
    }

    fn flush(&mut self) {
        let token = PLACES as u64 + self.flushes;
        if self.up.queue.submit(Request::flush().with_token(token)).is_ok() {
            self.under_way.insert(token, Vec::new());
            self.flushes += 1;
        }
    }

    fn serve(&mut self) {
        if self.armed && !self.up.control.acknowledge() {
            return;
        }
        loop {
            let mut last = None;
            while let Some(Completion { request, result }) = self.up.queue.poll().unwrap() {
                result.unwrap();
                let bytes = self.under_way.remove(&request.token).expect("a request that is under way");
                if let Operation::Read { .. } = request.operation {
                    let mut read = Vec::new();
                    for piece in request.data.unwrap() {
                        let mut bytes = vec![0; piece.len_bytes()];
                        assert!(piece.copy_out(0, &mut bytes));
                        read.extend(bytes);
                    }
                    assert!(read == bytes, "place {} reads as another", request.token);
                }
                self.out_of_order += u64::from(last.is_some_and(|last| last > request.token));
                last = Some(request.token);
                self.done += 1;
            }
            self.armed = true;
            if self.up.queue.arm() == Ok(Armed::Idle) {
                return;
            }
        }
    }

    fn finish(mut self) {
        self.up.queue.publish();
        self.machine.device().class.keep = 0;
        for _ in 0..3 {
            self.machine.device().turn();
            self.serve();
        }
        assert_eq!(self.machine.device().broken, [""; 0]);
        assert_eq!(self.under_way.len(), 0, "requests under way: one side sleeps");
        assert!(self.machine.device().class.disk == self.shadow, "the disk is not what was written");
        assert_eq!(self.machine.device().class.flushes, self.flushes);
        drop(self.up.stop(&mut |_, _| panic!("nothing is under way")).unwrap());
        assert_eq!(self.pool.free(), self.pool.buffers());
        assert_eq!(self.machine.out_bytes(), self.bytes_at_rest);
    }
}

#[derive(Clone, Debug)]
struct Ask {
    place: usize,
    pieces: Vec<usize>,
    write: bool,
    fill: u8,
}

#[derive(Clone, Debug)]
enum Step {
    Ask(Ask),
    Flush,
    Publish,
    /// A turn of the device that leaves so many requests undone.
    Turn(usize),
    Serve,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ask = (0..PLACES, vec(1..=4_usize, 1..=4), any::<bool>(), any::<u8>())
        .prop_map(|(place, pieces, write, fill)| Step::Ask(Ask { place, pieces, write, fill }));
    let step = prop_oneof![
        8 => ask,
        1 => Just(Step::Flush),
        2 => Just(Step::Publish),
        2 => (0..8_usize).prop_map(Step::Turn),
        2 => Just(Step::Serve),
    ];
    vec(step, 0..300)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_requests_leave_what_they_should(
        steps in steps(),
        offered in prop::sample::select(&OFFERED[..]),
        entries in prop::sample::select(&[16_u16, 64, MAX_ENTRIES][..]),
    ) {
        let mut bench = Bench::new(offered, entries);
        for step in steps {
            match step {
                Step::Ask(ask) => bench.ask(&ask),
                Step::Flush => bench.flush(),
                Step::Publish => bench.up.queue.publish(),
                Step::Turn(keep) => {
                    let mut device = bench.machine.device();
                    device.class.keep = keep;
                    device.turn();
                }
                Step::Serve => bench.serve(),
            }
        }
        bench.finish();
    }
}

#[test]
fn thirty_two_at_once_come_back_in_an_order_of_the_devices() {
    for offered in OFFERED {
        let mut bench = Bench::new(offered, MAX_ENTRIES);
        for place in 0..32 {
            bench.ask(&Ask { place, pieces: vec![1, 3, 2, 4], write: true, fill: place as u8 });
        }
        assert_eq!(bench.up.queue.in_flight(), 32);
        bench.up.queue.publish();
        let mut device = bench.machine.device();
        device.class.keep = 8;
        device.turn();
        assert_eq!(device.class.held(), 8);
        drop(device);
        bench.serve();
        assert_eq!((bench.done, bench.out_of_order), (24, 23));
        bench.finish();
    }
}

/// Some in tables, some longer than a table, and as many of the short ones as there are entries.
#[test]
fn chains_in_tables_are_done_as_others_are() {
    for offered in OFFERED {
        let mut bench = Bench::new(offered, 16);
        let has_tables = offered & INDIRECT_DESC != 0;
        for round in 0..200_u8 {
            for place in 0..PLACES {
                let pieces = if round % 4 == 3 { vec![1; 1 + place % 11] } else { vec![1, 1] };
                bench.ask(&Ask { place, pieces, write: round % 2 == 0, fill: round });
            }
            if round % 4 != 3 {
                assert_eq!(bench.up.queue.in_flight(), if has_tables { 16 } else { 4 });
            }
            bench.up.queue.publish();
            bench.machine.device().turn();
            bench.serve();
        }
        let in_tables = bench.machine.device().ring(0).unwrap().in_tables;
        assert_eq!(in_tables > 0, has_tables, "{in_tables}");
        assert!(in_tables < bench.machine.device().ring(0).unwrap().taken);
        bench.finish();
    }
}

#[test]
fn requests_are_done_beyond_the_wrap_of_indices() {
    for offered in OFFERED {
        let mut bench = Bench::new(offered, 64);
        while bench.machine.device().ring(0).unwrap().taken < 66_000 {
            for place in 0..16 {
                let write = bench.done.is_multiple_of(5);
                bench.ask(&Ask { place, pieces: vec![1], write, fill: bench.done as u8 });
            }
            bench.up.queue.publish();
            bench.machine.device().turn();
            bench.serve();
            assert_eq!(bench.under_way.len(), 0);
        }
        bench.finish();
    }
}

#[test]
fn who_it_is_and_where_it_ends() {
    let mut bench = Bench::new(0, 16);
    let mut buffer = bench.pool.get().unwrap();
    assert!(buffer.set_len_bytes(ID.len()));
    bench.up.queue.submit(Request::identify(vec![buffer])).unwrap();
    let beyond = Request::read(PLACES as u64 * 16, bench.data(&[1]).unwrap());
    assert!(bench.up.queue.submit(beyond).is_err(), "not even asked");
    bench.up.queue.publish();
    bench.machine.device().turn();
    let Completion { request, result } = bench.up.queue.poll().unwrap().unwrap();
    result.unwrap();
    let mut id = [0; ID.len()];
    assert!(request.data.unwrap()[0].copy_out(0, &mut id));
    assert_eq!(id, ID);
    bench.finish();
}
