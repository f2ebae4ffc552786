//! Several pairs of queues: each by itself, and all together.

#![allow(
    clippy::unwrap_used,
    clippy::result_large_err,
    clippy::cast_possible_truncation,
    reason = "helpers of tests"
)]

#[path = "support/hand.rs"]
mod hand;
mod support;

use std::thread;

use hand::Hand;
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::{Armed, InterruptMode, Interrupts, MsiMessage};
use paravane_mock_hal::model::vmxnet3::{Personality, QueueId, stop};
use paravane_net::{Burst, Control as _, RxQueue as _, TxQueue as _};
use paravane_vmxnet3::{Config, StopError, TxQueue};
use support::{Machine, MockRunning, both, bytes_of, messages, numbered, receive_all, send, small};

const MANY: [MsiMessage; 25] = messages();

/// The shortest rings for so many pairs, before there were any number of them.
fn of(pairs: u16) -> Config {
    small().with_pairs(pairs).with_rx_entries(32 * pairs).with_max_revision(5)
}

fn start(machine: &Machine, pairs: u16) -> MockRunning {
    machine.start(&of(pairs), Interrupts::POLLING)
}

fn send_by(machine: &Machine, tx: &mut TxQueue<paravane_mock_hal::MockPlatform>, number: u32) {
    let mut burst = Burst::new();
    burst.push(machine.frame(&numbered(number)));
    assert_eq!(tx.transmit(&mut burst), Ok(1));
    tx.flush();
}

#[test]
fn as_many_pairs_are_started_as_were_asked_for() {
    for (asked, pairs, tx, most) in [(1, 1, 1, 1), (2, 2, 2, 2), (7, 4, 4, 4), (8, 8, 8, 8), (99, 16, 8, 16)]
    {
        let machine = Machine::new(Personality::esxi());
        let mut up = machine.start(&of(16).with_pairs(asked), Interrupts::POLLING);
        assert_eq!(up.control.pairs(), pairs);
        let taken = up.rx.take_pairs();
        assert_eq!((taken.len() + 1, taken.iter().flat_map(|pair| &pair.tx).count() + 1), (most, tx));
        assert_eq!(up.control.info().rx_slots, 512, "all share what one would have");
        up.rx.give_back(taken);
        let free = machine.pool.free();
        assert_eq!(
            machine.pool.buffers() - free,
            usize::from(512 - pairs),
            "one slot of each ring stays free"
        );
        up.stop().unwrap();
        machine.assert_clean();
    }
}

#[test]
fn each_transmit_queue_rings_its_own_doorbell() {
    both(|machine| {
        let mut up = start(&machine, 8);
        machine.model().doorbells.clear();
        send_by(&machine, &mut up.tx, 0);
        let mut pairs = up.rx.take_pairs();
        for (number, pair) in (1..).zip(&mut pairs) {
            send_by(&machine, pair.tx.as_mut().unwrap(), number);
        }
        let rung: Vec<_> = machine.model().doorbells.iter().map(|(offset, _)| *offset).collect();
        assert_eq!(rung, (0..8).map(|queue| 0x600 + 8 * queue).collect::<Vec<_>>());
        let sent: Vec<_> = machine.model().take_sent().into_iter().map(|sent| sent.bytes).collect();
        assert_eq!(sent, (0..8).map(numbered).collect::<Vec<_>>());
        for pair in &mut pairs {
            assert_eq!(pair.tx.as_mut().unwrap().reclaim(), Ok(1));
        }
        assert_eq!(up.tx.reclaim(), Ok(1));
        up.rx.give_back(pairs);
        up.stop().unwrap();
        machine.assert_clean();
    });
}

/// Rings of 32 wrap a few times, each on a thread of its own. By the device that looks when it is
/// told to: what the other has found by itself, and when, no count of its agrees about.
#[test]
fn eight_transmit_queues_send_at_once() {
    const FRAMES: u32 = 150;
    let machine = Machine::new(Personality::qemu());
    let mut up = start(&machine, 8);
    let pairs = up.rx.take_pairs();
    let pairs = thread::scope(|scope| {
        let machine = &machine;
        let work = (1..).zip(pairs).map(|(queue, mut pair)| {
            scope.spawn(move || {
                let tx = pair.tx.as_mut().unwrap();
                let mut numbers = 0..FRAMES;
                let mut burst = Burst::new();
                while !numbers.is_empty() || !burst.is_empty() {
                    let more = numbers.by_ref().take(5);
                    burst.extend(more.map(|number| machine.frame(&numbered(queue * 1000 + number))));
                    tx.transmit(&mut burst).unwrap();
                    tx.reclaim().unwrap();
                }
                assert_eq!(tx.counters().completed, FRAMES.into());
                pair
            })
        });
        let work: Vec<_> = work.collect();
        work.into_iter().map(|work| work.join().unwrap()).collect::<Vec<_>>()
    });
    let sent: Vec<_> = machine.model().take_sent().into_iter().map(|sent| sent.bytes).collect();
    assert_eq!(sent.len(), 7 * FRAMES as usize);
    for queue in 1..8 {
        // In the order of their queue, each once.
        let mut due = (0..FRAMES).map(|number| numbered(queue * 1000 + number)).peekable();
        sent.iter().for_each(|bytes| _ = due.next_if_eq(bytes));
        assert_eq!(due.next(), None, "queue {queue}");
    }
    let counted = up.control.read_device_stats().unwrap().unwrap();
    assert_eq!(counted.tx_frames, 7 * u64::from(FRAMES), "over all queues");
    up.rx.give_back(pairs);
    up.stop().unwrap();
    assert_eq!(machine.pool.free(), machine.pool.buffers());
    machine.assert_clean();
}

#[test]
fn every_receive_queue_is_received_by() {
    let machine = Machine::new(Personality::esxi());
    let mut up = machine.start(&of(16).with_ip_mtu_bytes(9000), Interrupts::POLLING);
    let mut hands: Vec<_> = (1..16).map(|queue| Hand::of(&machine, queue)).collect();
    // Around each ring a few times.
    for round in 0..100 {
        let mut due = vec![numbered(round)];
        assert!(machine.model().deliver(&due[0]));
        for (number, hand) in (1..).zip(&mut hands) {
            let mut frame = numbered(1000 * number + round);
            // Over both rings, now and then.
            frame.resize(if round % 5 == 0 { 7000 } else { frame.len() }, number as u8);
            hand.deliver(&frame, [0; 4]);
            due.push(frame);
        }
        let mut received: Vec<_> = receive_all(&mut up).iter().map(bytes_of).collect();
        received.sort();
        due.sort();
        assert!(received == due, "round {round}");
    }
    assert_eq!(up.rx.counters().frames, 1600);
    drop(hands);
    up.stop().unwrap();
    assert_eq!(machine.pool.free(), machine.pool.buffers());
}

/// A device that wants doorbells looks at no ring of which it was not told.
#[test]
fn every_receive_queue_is_announced() {
    both(|machine| {
        let mut up = start(&machine, 4);
        let told: Vec<_> = machine.model().doorbells.iter().filter(|(at, _)| *at >= 0x800).copied().collect();
        let first = (0..4).map(|queue| (0x800 + 8 * queue, 31));
        let second = (0..4).map(|queue| (0xa00 + 8 * queue, 0));
        assert!(first.chain(second).all(|doorbell| told.contains(&doorbell)), "{told:?}");
        assert_eq!((told.len(), up.rx.refill()), (8, 0));
        up.stop().unwrap();
        machine.assert_clean();
    });
}

/// `rqID` of queue 5 of 8, of its neighbours, of second rings and data rings.
#[test]
fn a_completion_of_another_queues_ring_breaks_the_queue_alone() {
    for (id, is_known) in [
        (5, true),
        (13, true),
        (0, false),
        (4, false),
        (6, false),
        (8, false),
        (12, false),
        (14, false),
        (21, false),
        (1023, false),
    ] {
        let machine = Machine::new(Personality::esxi());
        let mut up = start(&machine, 8);
        Hand::of(&machine, 5).complete([id << 16 | 1 << 15 | 1 << 14, 0, 60, 0]);
        let mut pairs = up.rx.take_pairs();
        let outcome = pairs[4].rx.receive(&mut Burst::new());
        match id {
            5 => assert_eq!(outcome, Ok(1)),
            // It has no body there.
            13 => assert_eq!(outcome, Err(DeviceFault::NotInFlight { index: 0 })),
            _ => assert_eq!(outcome, Err(DeviceFault::UnknownKind { what: "rqID", value: id })),
        }
        assert_eq!(outcome.is_ok() || id == 13, is_known);
        for pair in pairs.iter_mut().filter(|pair| pair.rx.counters().frames == 0).take(4) {
            assert_eq!(pair.rx.receive(&mut Burst::new()), Ok(0), "others go on");
        }
        up.rx.give_back(pairs);
        up.stop().unwrap();
        assert_eq!(machine.pool.free(), machine.pool.buffers());
    }
}

#[test]
fn each_queue_interrupts_by_its_own_message() {
    let machine = Machine::new(Personality::qemu());
    let mut up = machine.start(&of(8), Interrupts::msix(&MANY));
    assert_eq!(up.control.interrupts(), InterruptMode::Msix { vectors: 17 }, "no more than it has users");
    let mut pairs = up.rx.take_pairs();
    for (queue, pair) in (1_u8..).zip(&mut pairs) {
        let tx = pair.tx.as_mut().unwrap();
        assert_eq!((tx.arm(), pair.rx.arm()), (Ok(Armed::Idle), Ok(Armed::Idle)));
        send_by(&machine, tx, 1);
        assert_eq!(core::mem::take(&mut machine.model().interrupts), [2 * queue + 1]);
        tx.disarm();
    }
    assert_eq!(up.rx.arm(), Ok(Armed::Idle));
    assert!(machine.model().deliver(&numbered(1)));
    machine.model().set_link(false);
    assert_eq!(up.control.arm(), Ok(Armed::Pending));
    assert_eq!(core::mem::take(&mut machine.model().interrupts), [0, 16]);
    up.rx.give_back(pairs);
    up.stop().unwrap();
    assert_eq!(machine.model().left_unmasked, [], "a stop masks them all");
    machine.assert_clean();
}

#[test]
fn with_few_messages_like_queues_share() {
    for (messages, tx_vector, events) in [(3, 1, 2), (2, 0, 1), (1, 0, 0)] {
        let machine = Machine::new(Personality::qemu());
        let mut up = machine.start(&of(8), Interrupts::msix(&MANY[..messages]));
        let mut pairs = up.rx.take_pairs();
        for pair in &mut pairs {
            let tx = pair.tx.as_mut().unwrap();
            tx.disarm();
            assert_eq!(tx.arm(), Ok(Armed::Idle));
            send_by(&machine, tx, 1);
            assert_eq!(core::mem::take(&mut machine.model().interrupts), [tx_vector], "{messages} messages");
        }
        assert_eq!(up.control.arm(), Ok(Armed::Idle));
        machine.model().interrupts.clear();
        machine.model().set_link(false);
        assert_eq!(machine.model().interrupts, [events]);
        up.rx.give_back(pairs);
        up.stop().unwrap();
        machine.assert_clean();
    }
}

#[test]
fn a_queue_that_stops_gives_its_reason_whichever_it_is() {
    let machine = Machine::new(Personality::esxi());
    for queue in [QueueId::Tx(7), QueueId::Rx(15), QueueId::Tx(0), QueueId::Rx(8)] {
        let mut up = start(&machine, 16);
        machine.model().stop_queue(queue, stop::TXD_INVALID);
        assert_eq!(up.control.poll(), Err(DeviceFault::Stopped { code: stop::TXD_INVALID }), "{queue:?}");
        up.stop().unwrap();
    }
    machine.assert_clean();
}

#[test]
fn a_stop_takes_all_queues_of_the_device_and_no_others() {
    let (one, other) = (Machine::new(Personality::esxi()), Machine::new(Personality::esxi()));
    let (mut up, mut foreign) = (start(&one, 4), start(&other, 4));
    let pairs = up.rx.take_pairs();
    let (error, mut up) = up.stop().unwrap_err().into_parts();
    assert_eq!(error, StopError::QueuesMissing { started: 8, given: 2 });
    assert!(error.to_string().contains("8 queues were started and 2 are here"));
    assert!(one.model().is_active());
    up.rx.give_back(foreign.rx.take_pairs());
    let (error, mut up) = up.stop().unwrap_err().into_parts();
    assert_eq!(error, StopError::ForeignQueue);
    foreign.rx.give_back(up.rx.take_pairs());
    up.rx.give_back(pairs);
    // With frames in flight both ways on every queue.
    send(&mut up, one.frame(&numbered(1)));
    for pair in up.rx.others_mut() {
        send_by(&one, pair.tx.as_mut().unwrap(), 2);
    }
    let at_rest = one.platform.memory().regions();
    let device = up.stop().unwrap();
    assert_eq!(one.pool.free(), one.pool.buffers());
    assert!(one.platform.memory().regions() < at_rest);
    // Any other number, any number of times.
    let device = device.start(&of(16), one.pool.clone(), Interrupts::POLLING).unwrap().stop().unwrap();
    device.start(&of(1), one.pool.clone(), Interrupts::POLLING).unwrap().stop().unwrap();
    foreign.stop().unwrap();
    one.assert_clean();
}

#[test]
fn a_stop_that_fails_breaks_every_queue() {
    let machine = Machine::new(Personality::esxi());
    let mut up = start(&machine, 16);
    up.control.poll().unwrap();
    machine.model().gone = true;
    let (_, mut up) = up.stop().unwrap_err().into_parts();
    for pair in up.rx.others_mut() {
        assert_eq!(pair.rx.receive(&mut Burst::new()), Err(DeviceFault::NeedsReset));
        if let Some(tx) = &mut pair.tx {
            assert_eq!(tx.reclaim(), Err(DeviceFault::NeedsReset));
        }
    }
    machine.model().gone = false;
    up.stop().unwrap();
    assert_eq!(machine.pool.free(), machine.pool.buffers());
}

/// A queue whose interrupt is shared sleeps masked where another one's masks it too.
#[test]
fn where_the_driver_masks_queues_share_one_message_at_most() {
    for (messages, vectors) in [(1, 1), (2, 2), (3, 2), (5, 2), (8, 2), (9, 9), (25, 9)] {
        let machine = Machine::new(Personality { conf_intr: 1 << 2, ..Personality::qemu() });
        let up = machine.start(&of(4), Interrupts::msix(&MANY[..messages]));
        assert_eq!(up.control.interrupts(), InterruptMode::Msix { vectors }, "{messages} messages");
        up.stop().unwrap();
    }
    // The device masks: like queues share.
    let machine = Machine::new(Personality::qemu());
    let mut up = machine.start(&of(4), Interrupts::msix(&MANY[..5]));
    assert_eq!(up.control.interrupts(), InterruptMode::Msix { vectors: 5 });
    assert_eq!(up.rx.arm(), Ok(Armed::Idle));
    up.stop().unwrap();
}

#[test]
fn a_small_pool_is_shared_evenly() {
    // Four first rings of 31 buffers, and four second ones.
    for (frames, first, second) in [
        (400, [31; 4], [31; 4]),
        (264, [17; 4], [17; 4]),
        (132, [8, 8, 8, 9], [8, 8, 8, 9]),
        (16, [1; 4], [1; 4]),
    ] {
        let machine = Machine::with_pool(Personality::esxi(), frames);
        let config = of(4).with_ip_mtu_bytes(9000);
        let mut up = machine.start(&config, Interrupts::POLLING);
        let posted = |at: usize| {
            let rung = machine.model().doorbells.clone();
            [0, 1, 2, 3].map(|queue| {
                rung.iter().find(|(offset, _)| *offset == at + 8 * queue).map(|(_, index)| *index).unwrap()
            })
        };
        assert_eq!((posted(0x800), posted(0xa00)), (first, second), "{frames} frames");
        // What is left is for all of them: a queue takes of it what others need not have.
        let (short, spare) = (248 - first.iter().chain(&second).sum::<u32>(), machine.pool.free());
        let taken = short as usize - up.rx.refill();
        assert_eq!(machine.pool.free(), spare - taken, "slots that wait for buffers");
        assert!(machine.pool.free() >= (4 * first[0] as usize).min(128), "and some to receive with");
        up.stop().unwrap();
        assert_eq!(machine.pool.free(), machine.pool.buffers());
        machine.assert_clean();
    }
}

/// What one queue has in stock is not missing to another.
#[test]
fn every_queue_receives_however_small_the_pool_is() {
    for frames in (8..280).step_by(4) {
        let machine = Machine::with_pool(Personality::esxi(), frames);
        let mut up = machine.start(&of(4), Interrupts::POLLING);
        for number in 0..40 {
            // One by one, and each kept while the next queue has its turn.
            let mut kept = Vec::new();
            for queue in 0..4 {
                assert!(machine.model().deliver_to(queue, &numbered(number)));
                let frames_received = receive_all(&mut up);
                assert_eq!(frames_received.len(), 1, "queue {queue}, {frames} frames");
                kept = frames_received;
            }
            drop(kept);
        }
        up.stop().unwrap();
        assert_eq!(machine.pool.free(), machine.pool.buffers());
    }
}

#[test]
fn a_pool_too_small_for_all_queues_starts_none() {
    let machine = Machine::with_pool(Personality::esxi(), 31);
    let failed = machine.claim().start(&of(16), machine.pool.clone(), Interrupts::POLLING).unwrap_err();
    assert_eq!(
        failed.error().to_string(),
        "vmxnet3 not started: the frame pool has too few free buffers, two for each ring at least"
    );
    assert_eq!(machine.pool.free(), machine.pool.buffers());
    assert!(!machine.model().is_active());
}
