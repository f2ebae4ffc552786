//! Frames both ways over split rings that rust-vmm's device side walks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(clippy::cast_possible_truncation, reason = "bytes that tell frames and requests apart")]

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use paravane_hal::irq::{Armed, Interrupts};
use paravane_net::{Burst, Control as _, Frame, FrameLayout, FramePool, RxQueue as _, TxQueue as _};
use paravane_rust_vmm::Machine;
use paravane_rust_vmm::net::{MRG_RXBUF, Net, OFFERS};
use paravane_rust_vmm::registers::EVENT_IDX;
use paravane_rust_vmm::ring::MAX_ENTRIES;
use paravane_virtio::net::{Config, Device, Running};
use paravane_virtio::transport::mmio::MmioTransport;
use proptest::collection::vec;
use proptest::prelude::*;

type Nic = Machine<Net>;
type Bus = MmioTransport<paravane_rust_vmm::machine::Registers<Net>>;

struct Bench {
    machine: Nic,
    pool: FramePool,
    bytes_at_rest: usize,
    up: Running<Nic, Bus>,
    /// Nothing is looked at until there is an interrupt.
    armed: bool,
    sent: Vec<Vec<u8>>,
    delivered: Vec<Vec<u8>>,
    received: Vec<Vec<u8>>,
}

impl Bench {
    fn new(offered: u64, entries: u16) -> Self {
        let machine = Machine::new(Net::new(offered));
        // Mergeable buffers are shorter than most frames.
        let buffer_bytes = if offered & MRG_RXBUF == 0 { 2048 } else { 576 };
        let layout = FrameLayout::new(1024).with_buffer_bytes(buffer_bytes);
        let pool = FramePool::new(machine.clone(), layout).unwrap();
        let bytes_at_rest = machine.out_bytes();
        let device = Device::new(machine.claim(), machine.clone()).unwrap();
        let config = Config::default().with_tx_entries(entries).with_rx_entries(entries);
        let up = device.start(&config, pool.clone(), Interrupts::LINE).unwrap();
        let (sent, delivered, received) = (Vec::new(), Vec::new(), Vec::new());
        Self { machine, pool, bytes_at_rest, up, armed: false, sent, delivered, received }
    }

    /// Frames of these lengths, in pieces, as many as there is room for.
    fn send(&mut self, lens: &[usize]) {
        let mut burst = Burst::new();
        for len in lens {
            let bytes = content(*len, self.sent.len());
            let Some(frame) = self.frame(&bytes) else { break };
            burst.push(frame);
            self.sent.push(bytes);
        }
        let offered = burst.len();
        let taken = self.up.tx.transmit(&mut burst).unwrap();
        self.sent.truncate(self.sent.len() - (offered - taken));
    }

    /// In pieces of at most 400 bytes, if one buffer does not hold it.
    fn frame(&self, bytes: &[u8]) -> Option<Frame> {
        let mut pieces = Vec::new();
        for piece in bytes.chunks(400.max(bytes.len() / 3)) {
            let mut frame = self.pool.get()?;
            if !frame.append(piece) {
                return None;
            }
            pieces.push(frame);
        }
        pieces.into_iter().rev().reduce(|rest, mut frame| {
            frame.set_next(rest);
            frame
        })
    }

    fn deliver(&mut self, lens: &[usize]) {
        for len in lens {
            let bytes = content(*len, self.delivered.len());
            self.machine.device().class.waiting.push_back(bytes.clone());
            self.delivered.push(bytes);
        }
    }

    /// What a program does that sleeps until it is interrupted.
    fn serve(&mut self) {
        if self.armed && !self.up.control.acknowledge() {
            return;
        }
        loop {
            let mut burst = Burst::new();
            while self.up.rx.receive(&mut burst).unwrap() != 0 {
                while let Some(frame) = burst.pop() {
                    let mut bytes = vec![0; frame.total_bytes()];
                    assert_eq!(frame.copy_out(&mut bytes), Some(bytes.len()));
                    self.received.push(bytes);
                }
            }
            self.up.tx.reclaim().unwrap();
            self.armed = true;
            if self.up.rx.arm() == Ok(Armed::Idle) && self.up.tx.arm() == Ok(Armed::Idle) {
                return;
            }
        }
    }

    /// Everything arrives, as it was and in order, by doorbells and interrupts alone; then all
    /// comes home.
    fn finish(mut self) {
        for _ in 0..self.delivered.len() + 2 {
            self.machine.device().turn();
            self.serve();
        }
        assert_eq!(self.machine.device().broken, [""; 0]);
        assert_eq!(self.received.len(), self.delivered.len(), "frames received: one side sleeps");
        assert!(self.received == self.delivered, "another frame was received than was delivered");
        let sent = std::mem::take(&mut self.machine.device().class.sent);
        assert_eq!(sent.len(), self.sent.len(), "frames sent: one side sleeps");
        assert!(sent == self.sent, "another frame was sent than was given");
        drop(self.up.stop().unwrap());
        assert_eq!(self.pool.free(), self.pool.buffers());
        assert_eq!(self.machine.out_bytes(), self.bytes_at_rest);
        assert_eq!(self.machine.device().broken, [""; 0]);
    }
}

/// `len` bytes that tell frame `number` apart.
fn content(len: usize, number: usize) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(7) ^ number ^ number >> 8) as u8).collect()
}

#[derive(Clone, Debug)]
enum Step {
    Send(Vec<usize>),
    Deliver(Vec<usize>),
    Turn,
    Serve,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        vec(14..1514_usize, 1..9).prop_map(Step::Send),
        vec(14..1514_usize, 1..9).prop_map(Step::Deliver),
        Just(Step::Turn),
        Just(Step::Serve),
    ];
    vec(step, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_traffic_arrives_as_it_was(
        steps in steps(),
        offered in prop::sample::select(&OFFERS[..]),
        entries in prop::sample::select(&[16_u16, 64, MAX_ENTRIES][..]),
    ) {
        let mut bench = Bench::new(offered, entries);
        for step in steps {
            match step {
                Step::Send(lens) => bench.send(&lens),
                Step::Deliver(lens) => bench.deliver(&lens),
                Step::Turn => bench.machine.device().turn(),
                Step::Serve => bench.serve(),
            }
        }
        bench.finish();
    }
}

/// `virtio-queue` can start anywhere, a driver starts at zero; so the rings go round until their
/// indices have wrapped.
#[test]
fn traffic_arrives_beyond_the_wrap_of_indices() {
    for offered in OFFERS {
        let mut bench = Bench::new(offered, 64);
        let lens = [60; 30];
        while bench.machine.device().ring(1).unwrap().taken < 66_000 {
            bench.send(&lens);
            bench.deliver(&lens);
            bench.machine.device().turn();
            bench.serve();
            assert_eq!(bench.machine.device().broken, [""; 0]);
            let sent = std::mem::take(&mut bench.machine.device().class.sent);
            assert!(sent == std::mem::take(&mut bench.sent));
            assert_eq!(sent.len(), lens.len());
            assert!(std::mem::take(&mut bench.received) == std::mem::take(&mut bench.delivered));
        }
        assert!(bench.machine.device().ring(0).unwrap().taken > 65_536);
        bench.finish();
    }
}

/// There is no second frame that would make up for a doorbell or an interrupt that is missing.
#[test]
fn a_frame_alone_wakes_either_side() {
    for offered in OFFERS {
        let mut bench = Bench::new(offered, 16);
        bench.serve();
        for frames in 1..100 {
            bench.deliver(&[60]);
            bench.machine.device().turn();
            bench.serve();
            assert_eq!(bench.received.len(), frames, "the driver sleeps");
            bench.send(&[60]);
            bench.machine.device().turn();
            assert_eq!(bench.machine.device().class.sent.len(), frames, "the device sleeps");
            bench.serve();
        }
        bench.finish();
    }
}

#[test]
fn a_frame_is_spread_over_buffers() {
    let mut bench = Bench::new(MRG_RXBUF, 16);
    bench.deliver(&[60, 1514, 600, 1514]);
    bench.machine.device().turn();
    assert_eq!(bench.machine.device().class.spread, 3);
    bench.finish();
}

/// On another core, with nothing between its steps and the driver's. Not with mergeable buffers:
/// `virtio-queue` shows each used buffer at once, and those of one frame have to be seen together.
#[test]
fn a_device_on_a_core_of_its_own_loses_no_wake_up() {
    for offered in [EVENT_IDX, 0] {
        let mut bench = Bench::new(offered, 32);
        let over = AtomicBool::new(false);
        let machine = bench.machine.clone();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(SeqCst) {
                    machine.device().turn();
                    std::thread::yield_now();
                }
            });
            for _ in 0..400 {
                bench.send(&[60, 1514, 200]);
                bench.deliver(&[60, 1514]);
                bench.serve();
            }
            over.store(true, SeqCst);
        });
        bench.finish();
    }
}
