//! Several pairs of queues of QEMU's vmxnet3: eight transmit queues send at once, and all that is
//! received comes by the first. Skipped, with a word about why, where QEMU is not installed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::result_large_err,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use paravane_hal::irq::{InterruptMode, Interrupts, MsiMessage};
use paravane_hal::time::wait_for;
use paravane_net::{Burst, Control as _, DeviceStats, FrameLayout, FramePool, RxQueue as _, TxQueue as _};
use paravane_pci::Function;
use paravane_qtest_hal::{Chipset, Machine, Qtest, Setup};
use paravane_vmxnet3::{Config, Device, StartError, TxQueue};

const LIMIT: Duration = Duration::from_secs(10);
const QUEUES: u8 = 8;
/// For each queue: its ring of 32 wraps.
const FRAMES: u8 = 100;

fn pool(machine: &Machine) -> FramePool {
    FramePool::new(machine.platform().clone(), FrameLayout::new(1000)).unwrap()
}

fn claim(machine: &Machine) -> Device<Qtest, paravane_qtest_hal::Config> {
    let function = Function::claim(machine.config().clone(), machine.nic_address(0).unwrap()).unwrap();
    Device::new(function, machine.platform().clone()).unwrap()
}

fn of(pairs: u16) -> Config {
    Config::default().with_tx_entries(32).with_rx_entries(32 * pairs).with_pairs(pairs)
}

/// The `number`th frame of a queue, to everyone.
fn frame(queue: u8, number: u8) -> Vec<u8> {
    let mut frame = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 9, 0x88, 0xb5, queue, number]].concat();
    frame.resize(60 + usize::from(number), queue);
    frame
}

/// Sends all frames of a queue, in bursts of five.
fn send_all(pool: &FramePool, queue: u8, tx: &mut TxQueue<Qtest>) {
    let mut numbers = 0..FRAMES;
    let mut burst = Burst::new();
    while !numbers.is_empty() || !burst.is_empty() {
        for number in numbers.by_ref().take(5) {
            let mut out = pool.get().unwrap();
            assert!(out.append(&frame(queue, number)));
            burst.push(out);
        }
        tx.transmit(&mut burst).unwrap();
        tx.reclaim().unwrap();
    }
    assert_eq!(tx.counters().completed, u64::from(FRAMES));
}

fn eight_send_at_once(chipset: Chipset, messages: usize) {
    let Some(machine) = Machine::start_or_skip(&Setup::new(chipset).nic("vmxnet3")) else { return };
    let pool = pool(&machine);
    let messages: Vec<MsiMessage> =
        (0..messages).map(|index| machine.platform().mailbox(index).unwrap().message()).collect();
    let mut up = claim(&machine).start(&of(8), pool.clone(), Interrupts::msix(&messages)).unwrap();
    assert_eq!(up.control.pairs(), 8);
    assert_eq!(up.control.interrupts(), InterruptMode::Msix { vectors: messages.len() as u16 });

    let mut pairs = up.rx.take_pairs();
    thread::scope(|scope| {
        let (pool, machine) = (&pool, &machine);
        let receiver = scope.spawn(move || {
            let mut next = BTreeMap::new();
            for _ in 0..usize::from(QUEUES) * usize::from(FRAMES) {
                let seen = machine.cable(0).unwrap().receive_by(LIMIT).unwrap();
                let number = next.entry(seen[14]).or_insert(0_u8);
                assert_eq!(seen, frame(seen[14], *number), "each queue in its order");
                *number += 1;
            }
            next
        });
        scope.spawn(|| send_all(pool, 0, &mut up.tx));
        for (queue, pair) in (1..).zip(&mut pairs) {
            scope.spawn(move || send_all(pool, queue, pair.tx.as_mut().unwrap()));
        }
        let next = receiver.join().unwrap();
        assert_eq!(next, (0..QUEUES).map(|queue| (queue, FRAMES)).collect());
    });

    // Whatever comes, comes by the first.
    for number in 0..50 {
        machine.cable(0).unwrap().send(&frame(99, number)).unwrap();
        let mut burst = Burst::new();
        wait_for(machine.platform(), LIMIT, || (up.rx.receive(&mut burst) == Ok(1)).then_some(())).unwrap();
        let mut received = vec![0; 60 + usize::from(number)];
        assert_eq!(burst.pop().unwrap().copy_out(&mut received), Some(received.len()));
        assert_eq!(received, frame(99, number));
    }
    for pair in &mut pairs {
        assert_eq!(pair.rx.receive(&mut Burst::new()), Ok(0));
    }
    let bytes: u64 = (0..FRAMES).map(|number| 60 + u64::from(number)).sum();
    let DeviceStats { tx_frames, tx_bytes, rx_frames, .. } = up.control.read_device_stats().unwrap().unwrap();
    let (queues, frames) = (u64::from(QUEUES), u64::from(FRAMES));
    assert_eq!((tx_frames, tx_bytes, rx_frames), (queues * frames, queues * bytes, 50));
    up.rx.give_back(pairs);
    let device = up.stop().unwrap();
    assert_eq!(pool.free(), pool.buffers());
    device.start(&of(1), pool.clone(), Interrupts::POLLING).unwrap().stop().unwrap();
    machine.check().unwrap();
}

#[test]
fn eight_transmit_queues_send_at_once() {
    eight_send_at_once(Chipset::Pc, 17);
    eight_send_at_once(Chipset::Q35, 3);
}

/// Each queue's completions interrupt by its own message.
#[test]
fn each_transmit_queue_has_its_message() {
    let Some(machine) = Machine::start_or_skip(&Setup::new(Chipset::Q35).nic("vmxnet3")) else { return };
    let pool = pool(&machine);
    let mailbox = |index| machine.platform().mailbox(index).unwrap();
    let messages: Vec<MsiMessage> = (0..17).map(|index| mailbox(index).message()).collect();
    let mut up = claim(&machine).start(&of(8), pool.clone(), Interrupts::msix(&messages)).unwrap();
    for (queue, pair) in (1..).zip(up.rx.others_mut()) {
        let tx = pair.tx.as_mut().unwrap();
        let _ = tx.arm().unwrap();
        let mut burst = Burst::new();
        let mut out = pool.get().unwrap();
        assert!(out.append(&frame(1, 1)));
        burst.push(out);
        assert_eq!(tx.transmit(&mut burst), Ok(1));
        wait_for(machine.platform(), LIMIT, || mailbox(2 * queue + 1).take().then_some(())).unwrap();
        let others: Vec<_> = (0..17).filter(|index| mailbox(*index).take()).collect();
        assert_eq!(others, [0; 0], "of queue {queue} alone");
    }
    up.stop().unwrap();
    machine.check().unwrap();
}

/// It has eight of each kind, and says no to more.
#[test]
fn sixteen_receive_queues_are_refused_and_nothing_is_kept() {
    let Some(machine) = Machine::start_or_skip(&Setup::new(Chipset::Q35).nic("vmxnet3")) else { return };
    let pool = pool(&machine);
    let (error, device) =
        claim(&machine).start(&of(16), pool.clone(), Interrupts::POLLING).unwrap_err().into_parts();
    assert_eq!(error, StartError::Refused { code: 1 });
    assert_eq!(pool.free(), pool.buffers());
    device.start(&of(8), pool.clone(), Interrupts::POLLING).unwrap().stop().unwrap();
    machine.check().unwrap();
}
