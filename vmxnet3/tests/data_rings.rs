//! Short frames by way of data rings.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use paravane_hal::irq::Interrupts;
use paravane_mock_hal::MockPlatform;
use paravane_mock_hal::fault::{Action, Fault, FaultPoint, Field};
use paravane_mock_hal::model::vmxnet3::Personality;
use paravane_net::{Burst, ChecksumRequest, RxQueue as _, TxOffload, TxQueue as _};
use paravane_vmxnet3::Config;
use support::{Machine, MockRunning, bytes_of, exchange, numbered, receive_all, send, small};

const MAX_REVISION: u8 = 7;

fn copying() -> Config {
    small().with_max_revision(MAX_REVISION).with_tx_copy_bytes(200).with_rx_copy_bytes(200)
}

fn start(machine: &Machine) -> MockRunning {
    machine.start(&copying(), Interrupts::POLLING)
}

fn of_length(len_bytes: usize) -> Vec<u8> {
    let mut bytes = numbered(1340);
    bytes.truncate(len_bytes);
    bytes
}

#[test]
fn short_frames_are_copied_at_each_revision_as_far_as_a_slot_holds() {
    for revision in 1..=MAX_REVISION {
        let machine = Machine::new(Personality::esxi().up_to(revision));
        let mut running = start(&machine);
        // A slot of 256 bytes is the device's answer, from when it is asked.
        let most_bytes = if revision < 3 { 128 } else { 200 };
        for turn in 0..40_usize {
            for len_bytes in [60, 64, 65, 127, 128, 129, 199, 200, 201, 256, 1400] {
                let bytes = of_length(len_bytes);
                let in_pieces = turn % 2 == 1;
                let frame = if in_pieces {
                    machine.chain(&[&bytes[..14], &bytes[14..34], &bytes[34..]])
                } else {
                    machine.frame(&bytes)
                };
                send(&mut running, frame);
                running.tx.flush();
                machine.model().look();
                let sent = machine.model().take_sent().pop().unwrap();
                let is_copied = len_bytes <= most_bytes;
                let shown = format!("revision {revision}, {len_bytes} bytes");
                assert_eq!(sent.bytes, bytes, "{shown}");
                assert_eq!(sent.data_ring_bytes, if is_copied { len_bytes } else { 0 }, "{shown}");
                assert_eq!(sent.descriptors, if in_pieces && !is_copied { 3 } else { 1 }, "{shown}");
                assert_eq!(running.tx.reclaim(), Ok(1), "{shown}");
            }
        }
        machine.assert_clean();
        assert!(running.stop().is_ok());
        assert_eq!(machine.pool.free(), machine.pool.buffers());
    }
}

#[test]
fn bursts_of_all_lengths_leave_in_order() {
    for personality in [Personality::esxi(), Personality::qemu()] {
        let machine = Machine::new(Personality { completes_every_frame: true, ..personality });
        let mut running = start(&machine);
        let (mut given, mut left) = (0, 0);
        for turn in 0..200 {
            let mut burst = Burst::new();
            for _ in 0..turn % 33 {
                let bytes = numbered(given * 37);
                let (head, rest) = bytes.split_at(40);
                burst.push(if given % 3 == 0 { machine.chain(&[head, rest]) } else { machine.frame(&bytes) });
                given += 1;
            }
            while !burst.is_empty() {
                running.tx.transmit(&mut burst).unwrap();
                machine.model().look();
                running.tx.reclaim().unwrap();
            }
            running.tx.flush();
            for sent in machine.model().take_sent() {
                assert_eq!(sent.bytes, numbered(left * 37));
                left += 1;
            }
        }
        assert_eq!((given, running.tx.reclaim()), (left, Ok(0)));
        assert_eq!(running.tx.counters().frames, u64::from(given));
        machine.assert_clean();
    }
}

/// Whatever it was made of, a copy is one descriptor, and the next frame is behind it.
#[test]
fn a_copy_of_a_chain_is_sent_by_itself() {
    let machine = Machine::new(Personality { tx_threshold: u32::MAX, ..Personality::esxi() });
    let mut running = start(&machine);
    let bytes = of_length(100);
    let mut burst = Burst::new();
    burst.push(machine.chain(&[&bytes[..20], &bytes[20..50], &bytes[50..]]));
    burst.push(machine.frame(&bytes));
    let held = machine.pool.free();
    assert_eq!(running.tx.transmit(&mut burst), Ok(2));
    assert_eq!(machine.pool.free(), held + 2, "what was copied is not held");
    machine.model().complete_tx(0);
    assert_eq!(running.tx.reclaim(), Ok(0), "one of a burst of two");
    machine.model().complete_tx(1);
    assert_eq!(running.tx.reclaim(), Ok(2));
}

#[test]
fn a_copy_asks_for_what_its_frame_asked_for() {
    let machine = Machine::new(Personality::qemu());
    let mut running = start(&machine);
    let mut frame = machine.frame(&of_length(100));
    let checksum = Some(ChecksumRequest { start_bytes: 34, offset_bytes: 16 });
    frame.set_offload(TxOffload { checksum, segmentation: None });
    let mut burst = Burst::new();
    burst.extend([frame, machine.frame(&[0; 13]), machine.frame(&of_length(90))]);
    assert_eq!(running.tx.transmit(&mut burst), Ok(3));
    let sent = machine.model().take_sent();
    assert_eq!(
        sent.iter().map(|sent| (sent.om, sent.hlen, sent.msscof)).collect::<Vec<_>>(),
        [(2, 34, 50), (0, 0, 0)]
    );
    assert!(sent.iter().all(|sent| sent.data_ring_bytes == sent.bytes.len()));
    assert_eq!(running.tx.counters().refused, 1);
}

#[test]
fn short_frames_come_by_the_data_ring_from_revision_3_on() {
    for revision in 1..=MAX_REVISION {
        let machine = Machine::new(Personality::esxi().up_to(revision));
        let mut running = start(&machine);
        let mut number = 0;
        for turn in 0..300 {
            let mut expected = Vec::new();
            for _ in 0..turn % 20 {
                // Some fit a slot of 256 bytes, some do not; the device passes over a few.
                let bytes = numbered(number * 61);
                machine.model().skip(usize::from(number % 11 == 0));
                assert!(machine.model().deliver(&bytes));
                expected.push(bytes);
                number += 1;
            }
            assert_eq!(receive_all(&mut running).iter().map(bytes_of).collect::<Vec<_>>(), expected);
        }
        assert_eq!(running.rx.counters().dropped(), 0);
        machine.assert_clean();
        assert!(running.stop().is_ok());
        assert_eq!(machine.pool.free(), machine.pool.buffers());
    }
}

/// What a completion says of the data ring of the only queue.
fn said(machine: &Machine, flags: u32, len_bytes: u32) {
    machine.model().complete_rx([flags << 14 | 2 << 16, 0, len_bytes, 3 << 24]);
}

#[test]
fn what_does_not_fit_a_slot_breaks_the_queue() {
    for (len_bytes, fits) in [(1, true), (256, true), (257, false), (1984, false)] {
        let machine = Machine::new(Personality::esxi());
        let mut running = start(&machine);
        said(&machine, 0b11, len_bytes);
        let received = running.rx.receive(&mut Burst::new());
        assert_eq!(received.is_ok(), fits, "{len_bytes}");
    }
    // Without one, there is no such ring.
    for len_bytes in [0, 60] {
        let machine = Machine::new(Personality::esxi());
        let mut running = machine.start_small();
        said(&machine, 0b11, len_bytes);
        assert!(running.rx.receive(&mut Burst::new()).is_err());
    }
}

#[test]
fn a_part_of_a_frame_does_not_come_by_a_slot() {
    for flags in [0b10, 0b01, 0b00] {
        let machine = Machine::new(Personality::esxi());
        let mut running = machine.start(&copying().with_ip_mtu_bytes(9000), Interrupts::POLLING);
        said(&machine, flags, 100);
        assert_eq!(receive_all(&mut running).len(), 0);
        let end = [1 << 14 | 1 << 16, 0, 100, 3 << 24];
        if flags == 0b10 {
            machine.model().complete_rx(end);
            assert_eq!(receive_all(&mut running).len(), 0);
        }
        // The device goes on behind the slot that was named.
        machine.model().skip(1);
        assert!(machine.model().deliver(&numbered(1)));
        assert_eq!(receive_all(&mut running).len(), 1);
        assert_eq!(running.rx.counters().disordered, 1, "{flags:b}");
    }
}

#[test]
fn a_slot_that_comes_back_empty_is_no_frame() {
    let machine = Machine::new(Personality::esxi());
    let mut running = start(&machine);
    said(&machine, 0b11, 0);
    assert_eq!(receive_all(&mut running).len(), 0);
    machine.model().skip(1);
    assert_eq!((running.rx.counters().skipped, running.rx.counters().dropped()), (1, 0));
    exchange(&machine, &mut running, 5);
}

#[test]
fn a_lie_about_the_ring_is_no_worse_than_a_fault() {
    for value in 0..4 {
        let machine = Machine::new(Personality::esxi());
        let mut running = start(&machine);
        let lie = Action::Set { field: Field::Queue, value };
        machine.model().faults.add(Fault::nth(FaultPoint::RxCompletion, 1, lie));
        machine.model().deliver(&numbered(1));
        let received = running.rx.receive(&mut Burst::new());
        assert_eq!(received.is_ok(), [0, 2].contains(&value), "{value}");
    }
}

#[test]
fn without_memory_for_a_data_ring_it_goes_on_without() {
    let mut rings_left = Vec::new();
    for nth in 1..40 {
        let platform = MockPlatform::builder().fail_allocation(nth).build();
        let Some(machine) = Machine::on(platform, Personality::esxi(), 256) else { continue };
        let Ok(mut running) = machine.claim().start(&copying(), machine.pool.clone(), Interrupts::POLLING)
        else {
            continue;
        };
        send(&mut running, machine.frame(&of_length(100)));
        running.tx.flush();
        let sends = machine.model().take_sent().iter().any(|sent| sent.data_ring_bytes > 0);
        let desc = {
            let shared = machine.model().shared_addr().unwrap();
            let table = machine.platform.memory().device_get(shared + 0x28).unwrap();
            u64::from_le_bytes(table) + 256
        };
        let receives = machine.platform.memory().device_get(desc + 0x30) != Ok([0; 8]);
        rings_left.push((sends, receives));
        assert_eq!(running.tx.reclaim(), Ok(1));
        exchange(&machine, &mut running, 3);
        machine.assert_clean();
        assert!(running.stop().is_ok());
        assert_eq!(machine.pool.free(), machine.pool.buffers());
    }
    rings_left.sort_unstable();
    rings_left.dedup();
    assert_eq!(rings_left, [(false, true), (true, false), (true, true)]);
}
