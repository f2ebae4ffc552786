//! More queues than revisions before the sixth have: up to 32 of each kind, and any number.

#![allow(
    clippy::unwrap_used,
    clippy::result_large_err,
    clippy::cast_possible_truncation,
    reason = "helpers of tests"
)]

mod support;

use paravane_hal::irq::{Armed, InterruptMode, Interrupts, MsiMessage};
use paravane_mock_hal::model::vmxnet3::{Personality, QueueId, stop};
use paravane_net::{Burst, Control as _, RxQueue as _, TxQueue as _};
use paravane_vmxnet3::Config;
use support::{Machine, bytes_of, messages, numbered, small};

const MESSAGES: [MsiMessage; 65] = messages();

fn of(pairs: u16) -> Config {
    small().with_pairs(pairs).with_rx_entries(32 * pairs)
}

#[test]
fn as_many_pairs_are_started_as_the_device_takes() {
    let takes = |tx, rx| Personality::esxi().with_queues(tx, rx);
    let knows_not = Personality { max_queues_conf: 0, ..Personality::esxi() };
    for (personality, asked, rx, tx) in [
        (takes(32, 32), 32, 32, 32),
        (takes(32, 32), 99, 32, 32),
        (takes(32, 32), 17, 17, 17),
        (takes(3, 5), 9, 5, 3),
        (takes(1, 1), 9, 1, 1),
        (knows_not, 32, 8, 8),
        (takes(32, 32).up_to(5), 32, 16, 8),
    ] {
        let machine = Machine::new(personality);
        let mut up = machine.start(&of(32).with_pairs(asked), Interrupts::POLLING);
        assert_eq!(up.control.pairs(), rx, "{asked}");
        let pairs = up.rx.take_pairs();
        assert_eq!(pairs.iter().flat_map(|pair| &pair.tx).count() + 1, tx, "{asked}");
        up.rx.give_back(pairs);
        up.stop().unwrap();
        assert_eq!(machine.pool.free(), machine.pool.buffers());
        machine.assert_clean();
    }
}

/// The vectors of the extended configuration, each with its user, and a recovery with all of it.
#[test]
fn each_of_64_queues_has_an_interrupt_and_its_frames() {
    let machine = Machine::with_pool(Personality::esxi(), 4096);
    let mut up = machine.start(&of(32), Interrupts::msix(&MESSAGES));
    for round in 0..2 {
        assert_eq!(up.control.interrupts(), InterruptMode::Msix { vectors: 65 });
        assert_eq!(machine.model().moderation(64), Some(8), "the last is adaptive too");
        let mut pairs = up.rx.take_pairs();
        assert_eq!(pairs.len(), 31);
        for (queue, pair) in (1_u8..).zip(&mut pairs) {
            let tx = pair.tx.as_mut().unwrap();
            assert_eq!((pair.rx.arm(), tx.arm()), (Ok(Armed::Idle), Ok(Armed::Idle)));
            machine.model().interrupts.clear();
            assert!(machine.model().deliver_to(queue.into(), &numbered(queue.into())));
            assert_eq!(machine.model().interrupts, [2 * queue], "round {round}");
            let mut burst = Burst::new();
            assert_eq!(pair.rx.receive(&mut burst), Ok(1));
            assert_eq!(bytes_of(&burst.pop().unwrap()), numbered(queue.into()));
            burst.push(machine.frame(&numbered(7)));
            assert_eq!(tx.transmit(&mut burst), Ok(1));
            tx.flush();
            machine.model().look();
            assert_eq!(machine.model().interrupts, [2 * queue, 2 * queue + 1]);
            assert_eq!(machine.model().take_sent().first().map(|sent| sent.queue), Some(queue.into()));
            assert_eq!(tx.reclaim(), Ok(1));
        }
        up.rx.give_back(pairs);
        assert_eq!(up.control.arm(), Ok(Armed::Idle));
        machine.model().interrupts.clear();
        machine.model().stop_queue(QueueId::Tx(31), stop::BIG_PKT);
        assert_eq!(machine.model().interrupts, [64]);
        up.control.poll().unwrap_err();
        up = up.recover(Interrupts::msix(&MESSAGES)).unwrap();
    }
    up.stop().unwrap();
    assert_eq!(machine.model().left_unmasked, [], "a stop masks them all");
    assert_eq!(machine.pool.free(), machine.pool.buffers());
    machine.assert_clean();
}

/// With 9 queues of each kind, and 9 of one alone: the configuration is the extended one.
#[test]
fn few_messages_are_shared_by_many_queues() {
    for (pairs, messages) in [(9, 3), (32, 2), (32, 25), (9, 1)] {
        let machine = Machine::with_pool(Personality::esxi(), 4096);
        let mut up = machine.start(&of(pairs), Interrupts::msix(&MESSAGES[..messages]));
        let mut pairs = up.rx.take_pairs();
        for (queue, pair) in (1..).zip(&mut pairs) {
            assert_eq!(pair.rx.arm(), Ok(Armed::Idle));
            machine.model().interrupts.clear();
            assert!(machine.model().deliver_to(queue, &numbered(1)));
            assert_eq!(machine.model().interrupts.len(), 1, "queue {queue} of {messages} messages");
            assert_eq!(pair.rx.receive(&mut Burst::new()), Ok(1));
        }
        up.rx.give_back(pairs);
        up.stop().unwrap();
        machine.assert_clean();
    }
}

#[test]
fn longer_packets_come_with_the_sixth_revision() {
    let machine = Machine::new(Personality::esxi());
    let mut up = machine.start(&small().with_ip_mtu_bytes(9190), Interrupts::POLLING);
    assert_eq!(up.control.info().max_frame_bytes, 9204);
    let mut frame = numbered(1);
    frame.resize(9204, 9);
    assert!(machine.model().deliver(&frame));
    let mut burst = Burst::new();
    assert_eq!(up.rx.receive(&mut burst), Ok(1));
    assert_eq!(bytes_of(&burst.pop().unwrap()), frame);
    up.stop().unwrap();
    machine.assert_clean();
}
