//! A device that lies: a typed fault, a broken queue that stays broken, nothing freed early, and
//! all well again after stop and start.

use crate::support::*;
use paravane_hal::fault::DeviceFault;
use paravane_mock_hal::fault::{Action, Fault, FaultPoint, Field};
use paravane_mock_hal::model::virtio::VirtioNet;
use paravane_net::{Burst, Control, RxQueue, TxQueue};
use proptest::prelude::*;

/// How many ways for words to change in the middle of a call are tried with each lie.
const CHANGES: u64 = 4;

/// Lets `lie` happen to a running device while ring words change under the receive queue: whatever
/// that comes to, stop and start repair it.
fn rx_survives(offered: u64, lie: impl Fn(&mut VirtioNet), seed: u64) {
    let bench = Bench::new(BASIC | offered);
    let mut up = bench.start();
    lie(&mut bench.model());
    let loads = bench.plugged.changing_loads(&bench.platform, seed).first_too(3);
    let mut received = Burst::new();
    for _ in 0..3 {
        loads.next_call();
        let _ = up.rx.receive(&mut received);
        received.clear();
        let _ = up.rx.arm();
    }
    up.rx.refill();
    drop(loads);
    repairs(&bench, up);
}

/// The same under the transmit queue.
fn tx_survives(lie: impl Fn(&mut VirtioNet), seed: u64) {
    let bench = Bench::new(BASIC | EVENT_IDX);
    let mut up = bench.start();
    bench.model().class.serves_doorbells = false;
    assert_eq!(up.tx.transmit(&mut burst((0..4).map(|i| bench.frame(&bytes(60, i))))), Ok(4));
    lie(&mut bench.model());
    let loads = bench.plugged.changing_loads(&bench.platform, seed).first_too(3);
    for i in 0..3 {
        loads.next_call();
        let _ = up.tx.reclaim();
        let _ = up.tx.arm();
        let _ = up.tx.transmit(&mut burst([bench.frame(&bytes(60, i))]));
    }
    drop(loads);
    repairs(&bench, up);
}

/// Lets `lie` happen to a running device, checks that the receive queue answers with `fault` from
/// then on, and that stop and start repair it.
fn rx_breaks(offered: u64, lie: impl Fn(&mut VirtioNet), fault: DeviceFault) {
    (0..CHANGES).for_each(|seed| rx_survives(offered, &lie, seed));
    let bench = Bench::new(BASIC | offered);
    let mut up = bench.start();
    lie(&mut bench.model());
    let mut burst = Burst::new();
    let first = (0..3).find_map(|_| up.rx.receive(&mut burst).err());
    assert_eq!(first, Some(fault));
    assert_eq!(up.rx.receive(&mut burst), Err(fault), "it stays broken");
    assert_eq!(up.rx.arm(), Err(fault));
    up.rx.refill();
    burst.clear();
    repairs(&bench, up);
}

/// The same for the transmit queue, which has frames in flight when `lie` happens.
fn tx_breaks(lie: impl Fn(&mut VirtioNet), fault: DeviceFault) {
    (0..CHANGES).for_each(|seed| tx_survives(&lie, seed));
    let bench = Bench::new(BASIC | EVENT_IDX);
    let mut up = bench.start();
    bench.model().class.serves_doorbells = false;
    assert_eq!(up.tx.transmit(&mut burst((0..4).map(|i| bench.frame(&bytes(60, i))))), Ok(4));
    lie(&mut bench.model());
    assert_eq!(up.tx.reclaim(), Err(fault));
    assert_eq!(up.tx.reclaim(), Err(fault), "it stays broken");
    let mut waiting = burst([bench.frame(&bytes(60, 9))]);
    assert_eq!(up.tx.transmit(&mut waiting), Err(fault));
    assert_eq!(waiting.len(), 1, "frames not taken stay");
    drop(waiting);
    up.tx.flush();
    repairs(&bench, up);
}

/// Stops, starts, and moves frames both ways.
fn repairs(bench: &Bench, up: Up) {
    let device = up.control.stop(up.rx, up.tx).unwrap();
    bench.assert_at_rest();
    bench.model().class.serves_doorbells = true;
    bench.model().take_sent();
    let mut up = bench.restart(device, &small(), paravane_hal::irq::Interrupts::POLLING);
    bench.model().deliver(&bytes(60, 5));
    let mut burst = Burst::new();
    assert_eq!(up.rx.receive(&mut burst), Ok(1));
    assert_eq!(up.tx.transmit(&mut burst), Ok(1));
    assert_eq!(bench.sent().len(), 1);
    bench.assert_clean();
}

#[test]
fn frames_before_the_lie_are_kept() {
    let bench = Bench::new(BASIC);
    let mut up = bench.start();
    for i in 0..2 {
        assert!(bench.model().deliver(&bytes(60, i)));
    }
    bench.model().put(RX, 99, 72);
    bench.model().show(RX, 0);
    let mut burst = Burst::new();
    let fault = DeviceFault::IndexOutOfRange { index: 99, entries: 16 };
    assert_eq!(up.rx.receive(&mut burst), Err(fault));
    assert_eq!((burst.len(), up.rx.counters().frames), (2, 2));
}

#[test]
fn a_head_beyond_the_ring() {
    let lie = |model: &mut VirtioNet| {
        model.put(RX, 16, 60);
        model.show(RX, 0);
    };
    rx_breaks(0, lie, DeviceFault::IndexOutOfRange { index: 16, entries: 16 });
    let lie = |model: &mut VirtioNet| {
        model.put(TX, u32::MAX, 0);
        model.show(TX, 0);
    };
    tx_breaks(lie, DeviceFault::IndexOutOfRange { index: u32::MAX, entries: 16 });
}

#[test]
fn a_head_that_only_looks_small_in_16_bits() {
    let lie = |model: &mut VirtioNet| {
        model.put(RX, 0x1_0000, 60);
        model.show(RX, 0);
    };
    rx_breaks(EVENT_IDX, lie, DeviceFault::IndexOutOfRange { index: 0x1_0000, entries: 16 });
}

#[test]
fn a_chain_used_twice() {
    let lie = |model: &mut VirtioNet| {
        let chain = model.take(TX).unwrap();
        model.put(TX, chain.head.into(), 0);
        model.put(TX, chain.head.into(), 0);
        model.show(TX, 0);
    };
    tx_breaks(lie, DeviceFault::NotInFlight { index: 0 });
}

#[test]
fn a_chain_that_was_never_posted() {
    let lie = |model: &mut VirtioNet| {
        model.put(TX, 9, 0);
        model.show(TX, 0);
    };
    tx_breaks(lie, DeviceFault::NotInFlight { index: 9 });
}

#[test]
fn the_middle_of_a_chain_is_no_head() {
    let bench = Bench::new(BASIC);
    let mut up = bench.start();
    bench.model().class.serves_doorbells = false;
    let mut frame = bench.frame(&bytes(60, 1));
    frame.set_next(bench.frame(&bytes(60, 2)));
    assert_eq!(up.tx.transmit(&mut burst([frame])), Ok(1));
    bench.model().put(TX, 1, 0);
    bench.model().show(TX, 0);
    assert_eq!(up.tx.reclaim(), Err(DeviceFault::NotInFlight { index: 1 }));
    repairs(&bench, up);
}

#[test]
fn more_used_than_in_flight() {
    let lie = |model: &mut VirtioNet| model.show(RX, 17);
    rx_breaks(EVENT_IDX, lie, DeviceFault::TooManyCompletions { completed: 17, in_flight: 16 });
    let lie = |model: &mut VirtioNet| model.show(TX, 5);
    tx_breaks(lie, DeviceFault::TooManyCompletions { completed: 5, in_flight: 4 });
    let lie = |model: &mut VirtioNet| model.show(TX, u16::MAX);
    tx_breaks(lie, DeviceFault::TooManyCompletions { completed: 65_535, in_flight: 4 });
}

/// A used index that is ahead of the elements shows what an earlier lap left there.
#[test]
fn elements_of_an_earlier_lap() {
    let lie = |model: &mut VirtioNet| model.show(RX, 1);
    rx_breaks(0, lie, DeviceFault::LengthTooShort { len_bytes: 0, min_bytes: 12 });
}

#[test]
fn more_written_than_the_buffer_holds() {
    let lie = |model: &mut VirtioNet| {
        let chain = model.take(RX).unwrap();
        let max = chain.segments[0].len_bytes;
        model.put(RX, chain.head.into(), max + 1);
        model.show(RX, 0);
    };
    rx_breaks(0, lie, DeviceFault::LengthTooLong { len_bytes: 1997, max_bytes: 1996 });
}

#[test]
fn less_written_than_a_header() {
    let lie = |model: &mut VirtioNet| {
        let chain = model.take(RX).unwrap();
        model.put(RX, chain.head.into(), 11);
        model.show(RX, 0);
    };
    rx_breaks(0, lie, DeviceFault::LengthTooShort { len_bytes: 11, min_bytes: 12 });
}

#[test]
fn counts_of_buffers_that_cannot_be() {
    let spread = |count: u16| {
        move |model: &mut VirtioNet| {
            let false_count = Action::Set { field: Field::Queue, value: count.into() };
            model.faults.add(Fault::nth(FaultPoint::RxCompletion, 1, false_count));
            model.deliver(&bytes(60, 1));
        }
    };
    let more_than_used = DeviceFault::OutOfSequence { what: "num_buffers is more than was used" };
    rx_breaks(MRG_RXBUF, spread(2), more_than_used);
    rx_breaks(MRG_RXBUF, spread(16), more_than_used);
    let more_than_ring = DeviceFault::OutOfSequence { what: "num_buffers is more than the ring holds" };
    rx_breaks(MRG_RXBUF, spread(17), more_than_ring);
    rx_breaks(MRG_RXBUF, spread(u16::MAX), more_than_ring);
}

#[test]
fn a_continuation_that_is_empty_or_used_already() {
    let lie = |model: &mut VirtioNet| {
        let mut header = [0; 12];
        header[10] = 2;
        model.fill_one(&[&header[..], &bytes(60, 1)].concat());
        model.fill_one(&[]);
        model.show(RX, 0);
    };
    rx_breaks(MRG_RXBUF, lie, DeviceFault::LengthTooShort { len_bytes: 0, min_bytes: 1 });
    let lie = |model: &mut VirtioNet| {
        let mut header = [0; 12];
        header[10] = 2;
        model.fill_one(&[&header[..], &bytes(60, 1)].concat());
        model.put(RX, 77, 60);
        model.show(RX, 0);
    };
    rx_breaks(MRG_RXBUF, lie, DeviceFault::IndexOutOfRange { index: 77, entries: 16 });
}

#[test]
fn a_continuation_that_names_or_claims_too_much() {
    let begin = |model: &mut VirtioNet| {
        let mut header = [0; 12];
        header[10] = 2;
        model.fill_one(&[&header[..], &bytes(60, 1)].concat());
        model.take(RX).unwrap()
    };
    let lie = |model: &mut VirtioNet| {
        let chain = begin(model);
        model.put(RX, u32::from(chain.head) + 0x1_0000, 60);
        model.show(RX, 0);
    };
    rx_breaks(MRG_RXBUF, lie, DeviceFault::IndexOutOfRange { index: 0x1_0001, entries: 16 });
    let lie = |model: &mut VirtioNet| {
        let chain = begin(model);
        model.put(RX, chain.head.into(), 1997);
        model.show(RX, 0);
    };
    rx_breaks(MRG_RXBUF, lie, DeviceFault::LengthTooLong { len_bytes: 1997, max_bytes: 1996 });
}

#[test]
fn a_frame_over_too_many_buffers_is_dropped_whole() {
    let bench = Bench::new(BASIC | MRG_RXBUF);
    let mut up = bench.start();
    bench.model().deliver(&bytes(12_000, 1));
    bench.model().deliver(&bytes(60, 2));
    let mut burst = Burst::new();
    assert_eq!(up.rx.receive(&mut burst), Ok(1));
    assert_eq!(up.rx.counters().oversized, 1);
    assert_eq!(content(&burst.pop().unwrap()), bytes(60, 2));
    repairs(&bench, up);
}

#[test]
fn a_device_that_needs_a_reset_says_so_once_and_for_all() {
    let bench = Bench::new(BASIC);
    let mut up = bench.start();
    assert_eq!(up.control.poll(), Ok(paravane_net::Events::empty()));
    bench.model().need_reset();
    assert_eq!(bench.messages(), [MESSAGES[2].data()]);
    bench.platform.clock().advance(paravane_virtio::net::LOOK_EVERY);
    assert_eq!(up.control.poll(), Err(DeviceFault::NeedsReset));
    assert_eq!(up.control.arm(), Err(DeviceFault::NeedsReset));
    repairs(&bench, up);
}

#[test]
fn a_device_that_vanishes_is_gone() {
    let bench = Bench::new(BASIC);
    let mut up = bench.start();
    bench.model().gone = true;
    assert_eq!(up.control.poll(), Err(DeviceFault::Gone));
    let (error, up) = up.stop().unwrap_err().into_parts();
    assert!(error.to_string().contains("memory kept"), "{error}");
    assert!(bench.platform.memory().bytes() > bench.bytes_at_rest, "nothing is freed under it");
    bench.model().gone = false;
    assert!(up.stop().is_ok());
    bench.assert_at_rest();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Whatever a device writes to the used ring and to the buffers, calls end, nothing panics, and
    /// stop gets everything back.
    #[test]
    fn arbitrary_used_rings_do_no_harm(
        elements in proptest::collection::vec((0_u32..20, 0_u32..2100, any::<[u8; 12]>()), 0..16),
        jump in 0_u16..20,
        features in prop::sample::select(vec![0, EVENT_IDX, MRG_RXBUF, OFFLOADS, EVENT_IDX | MRG_RXBUF | OFFLOADS]),
        changes in prop::option::of((any::<u64>(), 1_u32..20)),
    ) {
        let bench = Bench::new(BASIC | features);
        let mut up = bench.start();
        let loads = changes
            .map(|(seed, one_in)| bench.plugged.changing_loads(&bench.platform, seed).first_too(one_in));
        bench.model().class.serves_doorbells = false;
        up.tx.transmit(&mut burst((0..4).map(|i| bench.frame(&bytes(60, i))))).unwrap();
        let mut burst = Burst::new();
        for (id, len, header) in elements {
            {
                let mut model = bench.model();
                if let Some(chain) = model.take(RX) {
                    bench.platform.memory().device_write(chain.segments[0].addr, &header).unwrap();
                }
                for queue in [RX, TX] {
                    model.put(queue, id, len);
                    model.show(queue, 0);
                }
            }
            let _ = up.rx.receive(&mut burst);
            let _ = up.tx.reclaim();
            burst.clear();
        }
        bench.model().show(RX, jump);
        let _ = up.rx.receive(&mut burst);
        burst.clear();
        drop(loads);
        let stopped = up.control.stop(up.rx, up.tx);
        prop_assert!(stopped.is_ok());
        bench.assert_at_rest();
        prop_assert_eq!(bench.platform.memory().faults(), vec![]);
    }
}
