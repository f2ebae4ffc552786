//! A device that lies: each lie ends in a typed fault and a broken queue, and a restart heals. One
//! that only mixes up the pieces of frames costs those frames.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Interrupts;
use paravane_mock_hal::model::vmxnet3::{Personality, Vmxnet3};
use paravane_net::{BURST_FRAMES, Burst, RxQueue as _, TxQueue as _};
use paravane_vmxnet3::Config;
use proptest::prelude::*;
use support::{Machine, MockRunning, bytes_of, numbered, receive_all, send, small};

const SOP: u32 = 1 << 15;
const EOP: u32 = 1 << 14;
const WHOLE: u32 = SOP | EOP;
const SECOND_RING: u32 = 1 << 16;

fn jumbo() -> Config {
    small().with_ip_mtu_bytes(9000)
}

/// How many ways for words to change in the middle of a call are tried with each lie.
const CHANGES: u64 = 4;

/// Receives from a device that tells `lie` while ring words change: whatever that comes to, a
/// restart heals.
fn rx_survives(config: &Config, lie: impl Fn(&mut Vmxnet3), seed: u64) {
    let machine = Machine::new(Personality::qemu());
    let mut running = machine.start(config, Interrupts::POLLING);
    lie(&mut machine.model());
    let loads = machine.device.changing_loads(&machine.platform, seed).first_too(3);
    let mut burst = Burst::new();
    for number in 0..3 {
        loads.next_call();
        let _ = running.rx.receive(&mut burst);
        burst.clear();
        let _ = running.rx.arm();
        let _ = machine.model().deliver(&numbered(number));
    }
    drop(loads);
    rx_heals(&machine, running, config);
}

/// The same with three frames in flight.
fn tx_survives(lie: impl Fn(&mut Vmxnet3), seed: u64) {
    let (machine, mut running) = three_in_flight();
    lie(&mut machine.model());
    let loads = machine.device.changing_loads(&machine.platform, seed).first_too(3);
    let mut burst = Burst::new();
    for number in 0..3 {
        loads.next_call();
        let _ = running.tx.reclaim();
        let _ = running.tx.arm();
        burst.push(machine.frame(&numbered(number)));
        let _ = running.tx.transmit(&mut burst);
        burst.clear();
    }
    drop(loads);
    tx_heals(&machine, running);
}

/// Stops, starts and receives.
fn rx_heals(machine: &Machine, running: MockRunning, config: &Config) {
    let device = running.stop().unwrap();
    assert_eq!(machine.pool.free(), machine.pool.buffers(), "everything came home");
    let mut running = device.start(config, machine.pool.clone(), Interrupts::POLLING).unwrap();
    assert!(machine.model().deliver(&numbered(2)));
    assert_eq!(receive_all(&mut running).iter().map(bytes_of).collect::<Vec<_>>(), [numbered(2)]);
}

/// Stops, starts and sends.
fn tx_heals(machine: &Machine, running: MockRunning) {
    let device = running.stop().unwrap();
    assert_eq!(machine.pool.free(), machine.pool.buffers(), "everything came home");
    let mut running = device.start(&small(), machine.pool.clone(), Interrupts::POLLING).unwrap();
    send(&mut running, machine.frame(&numbered(4)));
    machine.model().look();
    assert_eq!(running.tx.reclaim(), Ok(1));
}

fn three_in_flight() -> (Machine, MockRunning) {
    let machine = Machine::new(Personality { tx_threshold: u32::MAX, ..Personality::esxi() });
    let mut running = machine.start_small();
    for number in 0..2 {
        send(&mut running, machine.frame(&numbered(number)));
    }
    send(&mut running, machine.chain(&[&numbered(2), &[2; 9]]));
    (machine, running)
}

/// Receives from a device that tells `lie`: the fault, which stays, until a restart heals.
fn rx_fault(config: &Config, lie: impl Fn(&mut Vmxnet3)) -> DeviceFault {
    (0..CHANGES).for_each(|seed| rx_survives(config, &lie, seed));
    let machine = Machine::new(Personality::qemu());
    let mut running = machine.start(config, Interrupts::POLLING);
    lie(&mut machine.model());
    let mut burst = Burst::new();
    let fault = running.rx.receive(&mut burst).unwrap_err();
    assert!(machine.model().deliver(&numbered(1)));
    assert_eq!(running.rx.receive(&mut burst), Err(fault), "the queue is broken");
    assert_eq!(running.rx.arm(), Err(fault));
    drop(burst);
    rx_heals(&machine, running, config);
    fault
}

/// Reclaims from a device that tells `lie` with three frames in flight.
fn tx_fault(lie: impl Fn(&mut Vmxnet3)) -> DeviceFault {
    (0..CHANGES).for_each(|seed| tx_survives(&lie, seed));
    let (machine, mut running) = three_in_flight();
    lie(&mut machine.model());
    let fault = running.tx.reclaim().unwrap_err();
    let mut burst = Burst::new();
    burst.push(machine.frame(&numbered(3)));
    assert_eq!(running.tx.transmit(&mut burst), Err(fault), "the queue is broken");
    assert_eq!((burst.len(), running.tx.room()), (1, 0), "and takes nothing");
    drop(burst);
    tx_heals(&machine, running);
    fault
}

#[test]
fn a_receive_slot_beyond_the_ring() {
    let fault = rx_fault(&small(), |model| model.complete_rx([32 | WHOLE, 0, 60, 0]));
    assert_eq!(fault, DeviceFault::IndexOutOfRange { index: 32, entries: 32 });
}

#[test]
fn a_receive_slot_behind_the_last_one() {
    let machine = Machine::new(Personality::qemu());
    let mut running = machine.start_small();
    for number in 0..31 {
        assert!(machine.model().deliver(&numbered(number)));
    }
    assert_eq!(receive_all(&mut running).len(), 31);
    // In one run with the last one.
    assert!(machine.model().deliver(&numbered(31)));
    machine.model().complete_rx([32 | WHOLE, 0, 60, 0]);
    let mut burst = Burst::new();
    let fault = DeviceFault::IndexOutOfRange { index: 32, entries: 32 };
    assert_eq!((running.rx.receive(&mut burst), burst.len()), (Err(fault), 1));
    drop(burst);
    rx_heals(&machine, running, &small());
}

#[test]
fn a_ring_that_does_not_exist() {
    let fault = rx_fault(&small(), |model| model.complete_rx([WHOLE | 2 << 16, 0, 60, 0]));
    assert_eq!(fault, DeviceFault::UnknownKind { what: "rqID", value: 2 }, "a data ring that nobody gave it");
}

#[test]
fn a_receive_slot_completed_twice() {
    let fault = rx_fault(&small(), |model| {
        assert!(model.deliver(&numbered(1)));
        model.complete_rx([WHOLE, 0, 60, 0]);
    });
    assert_eq!(fault, DeviceFault::NotInFlight { index: 0 });
}

#[test]
fn a_receive_slot_that_was_not_posted() {
    let fault = rx_fault(&small(), |model| model.complete_rx([31 | WHOLE, 0, 60, 0]));
    assert_eq!(fault, DeviceFault::NotInFlight { index: 31 });
}

#[test]
fn more_bytes_than_the_buffer_holds() {
    let fault = rx_fault(&small(), |model| model.complete_rx([WHOLE, 0, 1985, 0]));
    assert_eq!(fault, DeviceFault::LengthTooLong { len_bytes: 1985, max_bytes: 1984 });
}

#[test]
fn a_body_in_the_empty_second_ring() {
    let fault = rx_fault(&small(), |model| model.complete_rx([SECOND_RING | EOP, 0, 60, 0]));
    assert_eq!(fault, DeviceFault::NotInFlight { index: 0 });
}

/// What a device in disorder is received as: how many frames of which lengths, how many dropped for
/// it. After that, frames in order arrive as if nothing had been.
fn disorder(said: &[[u32; 4]]) -> (Vec<usize>, u64) {
    let machine = Machine::new(Personality::qemu());
    let mut running = machine.start(&jumbo(), Interrupts::POLLING);
    for words in said {
        machine.model().complete_rx(*words);
    }
    let lengths = receive_all(&mut running).iter().map(paravane_net::Frame::total_bytes).collect();
    let dropped = running.rx.counters().disordered;
    assert_eq!(running.rx.counters().dropped(), dropped, "each is counted once");
    // Through both rings, more than a lap.
    for number in 0..40_u32 {
        let bytes = [numbered(number), vec![0x5a; 3000]].concat();
        assert!(machine.model().deliver(&bytes));
        assert_eq!(receive_all(&mut running).iter().map(bytes_of).collect::<Vec<_>>(), [bytes]);
    }
    assert_eq!(running.rx.counters().disordered, dropped);
    assert!(running.stop().is_ok());
    assert_eq!(machine.pool.free(), machine.pool.buffers(), "everything came home");
    (lengths, dropped)
}

#[test]
fn a_frame_without_a_start() {
    let orphan = |index, more| [index | SECOND_RING | more, 0, 60, 0];
    assert_eq!(disorder(&[orphan(0, EOP)]), (vec![], 1));
    assert_eq!(disorder(&[orphan(0, 0), orphan(1, 0), orphan(2, EOP)]), (vec![], 1), "one frame, once");
    assert_eq!(disorder(&[orphan(0, EOP), orphan(1, EOP)]), (vec![], 2));
    assert_eq!(disorder(&[orphan(0, 0), [WHOLE, 0, 60, 0]]), (vec![60], 1), "neither start nor end");
    // The start is missing and the buffer is one for starts.
    assert_eq!(disorder(&[[EOP, 0, 60, 0], [1 | WHOLE, 0, 61, 0]]), (vec![61], 1));
}

#[test]
fn a_start_inside_a_frame() {
    assert_eq!(disorder(&[[SOP, 0, 1984, 0], [1 | WHOLE, 0, 60, 0]]), (vec![60], 1));
    let rest = [SECOND_RING | EOP, 0, 10, 0];
    assert_eq!(disorder(&[[SOP, 0, 1984, 0], [1 | SOP, 0, 1984, 0], rest]), (vec![1994], 1));
    // Between the two, the device says what it says without a meaning: a buffer that it did not
    // use.
    assert_eq!(disorder(&[[SOP, 0, 1984, 0], [1 | WHOLE, 0, 0, 0], rest]), (vec![1994], 0));
}

#[test]
fn a_piece_in_a_buffer_of_the_wrong_kind() {
    assert_eq!(disorder(&[[SECOND_RING | WHOLE, 0, 60, 0], [WHOLE, 0, 61, 0]]), (vec![61], 1));
    assert_eq!(disorder(&[[SOP, 0, 1984, 0], [1 | EOP, 0, 60, 0], [2 | WHOLE, 0, 61, 0]]), (vec![61], 1));
}

#[test]
fn a_device_all_in_disorder_holds_nobody_up() {
    let machine = Machine::new(Personality::qemu());
    let mut running = machine.start(&jumbo(), Interrupts::POLLING);
    let free = machine.pool.free();
    let mut burst = Burst::new();
    // The queue's stock is filled once.
    let stock = BURST_FRAMES - 1;
    for round in 0..200_u32 {
        // Starts without ends, and the other way round.
        machine.model().complete_rx([(round % 32) | SOP, 0, 1984, 0]);
        machine.model().complete_rx([(round % 32) | SECOND_RING, 0, 1984, 0]);
        assert_eq!(running.rx.receive(&mut burst), Ok(0));
        assert!(machine.pool.free() >= free - stock - 1, "no more than a frame is kept");
    }
    assert_eq!(running.rx.counters().disordered, 199);
}

#[test]
fn damage_counts_with_the_end_of_a_frame() {
    const ERR: u32 = 1 << 14;
    let machine = Machine::new(Personality::qemu());
    let mut running = machine.start(&jumbo(), Interrupts::POLLING);
    machine.model().complete_rx([SOP, 0, 1984 | ERR, 0]);
    machine.model().complete_rx([SECOND_RING | EOP, 0, 10, 0]);
    assert_eq!(
        receive_all(&mut running).iter().map(paravane_net::Frame::total_bytes).collect::<Vec<_>>(),
        [1994]
    );
    machine.model().complete_rx([1 | SOP, 0, 1984, 0]);
    machine.model().complete_rx([1 | SECOND_RING | EOP, 0, 10 | ERR, 0]);
    assert_eq!((receive_all(&mut running).len(), running.rx.counters().errors), (0, 1));
}

#[test]
fn a_frame_that_does_not_end_is_dropped_and_bounded() {
    let machine = Machine::new(Personality::qemu());
    let mut running = machine.start(&jumbo(), Interrupts::POLLING);
    let free = machine.pool.free();
    machine.model().complete_rx([SOP, 0, 1984, 0]);
    for index in 0..20 {
        machine.model().complete_rx([index | SECOND_RING, 0, 1984, 0]);
    }
    let mut burst = Burst::new();
    assert_eq!(running.rx.receive(&mut burst), Ok(0));
    // Its pieces came home. The queue's stock was filled once, and got back what was of no use.
    assert!(machine.pool.free() >= free - BURST_FRAMES);
    machine.model().complete_rx([20 | SECOND_RING | EOP, 0, 1, 0]);
    assert_eq!(running.rx.receive(&mut burst), Ok(0));
    assert_eq!(running.rx.counters().oversized, 1);
}

#[test]
fn frames_before_the_lie_are_kept() {
    let machine = Machine::new(Personality::qemu());
    let mut running = machine.start_small();
    assert!(machine.model().deliver(&numbered(1)));
    machine.model().complete_rx([99 | WHOLE, 0, 60, 0]);
    let mut burst = Burst::new();
    assert!(running.rx.receive(&mut burst).is_err());
    assert_eq!(burst.len(), 1);
    assert_eq!(running.rx.counters().frames, 1);
}

#[test]
fn a_transmit_index_beyond_the_ring() {
    let fault = tx_fault(|model| model.complete_tx(32));
    assert_eq!(fault, DeviceFault::IndexOutOfRange { index: 32, entries: 32 });
}

#[test]
fn a_transmit_index_that_is_not_in_flight() {
    assert_eq!(tx_fault(|model| model.complete_tx(4)), DeviceFault::NotInFlight { index: 4 });
    assert_eq!(tx_fault(|model| model.complete_tx(31)), DeviceFault::NotInFlight { index: 31 });
}

#[test]
fn a_transmit_index_inside_a_frame() {
    assert_eq!(tx_fault(|model| model.complete_tx(2)), DeviceFault::NotInFlight { index: 2 });
}

#[test]
fn a_frame_completed_twice() {
    let fault = tx_fault(|model| {
        model.complete_tx(0);
        model.complete_tx(0);
    });
    assert_eq!(fault, DeviceFault::NotInFlight { index: 0 });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever it writes into completions: no panic, no hang, no buffer lost or given out twice,
    /// and a restart heals.
    #[test]
    fn completions_of_noise(
        rx in proptest::collection::vec(any::<[u32; 4]>(), 1..60),
        // Mostly plausible: small indices, the rings that exist, lengths about the buffer's.
        likely in proptest::collection::vec((0_u32..40, 0_u32..3, 0_u32..4, 0_u32..2100, any::<bool>()), 1..60),
        tx in proptest::collection::vec(0_u32..64, 1..60),
        is_likely in any::<bool>(),
        changes in prop::option::of((any::<u64>(), 1_u32..20)),
    ) {
        let machine = Machine::new(Personality::qemu());
        let mut running = machine.start(&jumbo(), Interrupts::POLLING);
        let loads = changes.map(|(seed, one_in)| {
            machine.device.changing_loads(&machine.platform, seed).one_in(one_in).first_too(one_in)
        });
        let likely = likely.into_iter().map(|(index, queue, flags, len, err)| {
            [index | queue << 16 | flags << 14, 0, len | u32::from(err) << 14, 0]
        });
        let lies: Vec<[u32; 4]> = if is_likely { likely.collect() } else { rx };
        let mut burst = Burst::new();
        for words in lies {
            machine.model().complete_rx(words);
            let _ = running.rx.receive(&mut burst);
            burst.clear();
        }
        for index in tx {
            burst.push(machine.frame(&numbered(index)));
            let _ = running.tx.transmit(&mut burst);
            machine.model().complete_tx(index);
            let _ = running.tx.reclaim();
            burst.clear();
        }
        drop(loads);
        let device = running.stop().unwrap();
        prop_assert_eq!(machine.pool.free(), machine.pool.buffers());
        let mut running = device.start(&jumbo(), machine.pool.clone(), Interrupts::POLLING).unwrap();
        prop_assert!(machine.model().deliver(&numbered(9)));
        prop_assert_eq!(receive_all(&mut running).len(), 1);
    }
}
