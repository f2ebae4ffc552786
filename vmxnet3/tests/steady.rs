//! What a frame costs once traffic flows, counted by the device: accesses to its registers. That
//! the heap is not asked is the bench's to count (`heap`), where driver and device have
//! allocators apart.

#![allow(clippy::unwrap_used, clippy::result_large_err, reason = "helpers of tests")]

mod support;

use paravane_hal::irq::Interrupts;
use paravane_mock_hal::model::vmxnet3::Personality;
use paravane_net::{BURST_FRAMES, Burst, Control as _, RxQueue as _, TxQueue as _};
use support::{Machine, MockRunning, numbered, small};

const TURNS: usize = 200;

/// How often `act` reached a register of the device.
fn accesses<T>(machine: &Machine, act: impl FnOnce() -> T) -> (u64, T) {
    let before = machine.model().accesses;
    let value = act();
    (machine.model().accesses - before, value)
}

fn up(personality: Personality, pairs: u16) -> (Machine, MockRunning) {
    let machine = Machine::new(personality);
    let config = small().with_pairs(pairs).with_rx_entries(64 * pairs).with_tx_entries(64);
    let running = machine.start(&config, Interrupts::POLLING);
    (machine, running)
}

/// Bursts of every length on every queue; what receiving them took, and how many there were.
fn receive(personality: Personality, pairs: u16) -> (u64, usize) {
    let (machine, mut running) = up(personality, pairs);
    let mut all = (0, 0);
    for turn in 0..TURNS {
        let queue = turn % usize::from(pairs);
        let frames = 1 + turn % BURST_FRAMES;
        for number in (0..).take(frames) {
            assert!(machine.model().deliver_to(queue, &numbered(number)));
        }
        let mut burst = Burst::new();
        let (took, received) = accesses(&machine, || running.rx.receive(&mut burst));
        assert_eq!(received, Ok(frames));
        burst.clear();
        let (more, _) = accesses(&machine, || (running.rx.refill(), running.control.poll().unwrap()));
        all = (all.0 + took + more, all.1 + 1);
    }
    machine.assert_clean();
    all
}

#[test]
fn a_received_frame_touches_no_register_of_a_device_that_looks_by_itself() {
    let quiet = Personality { update_rx_prod: false, ..Personality::esxi() };
    for pairs in [1, 8] {
        assert_eq!(receive(quiet, pairs).0, 0, "{pairs} pairs");
        let (took, bursts) = receive(Personality::esxi(), pairs);
        let bursts = u64::try_from(bursts).unwrap();
        assert!((1..=bursts).contains(&took), "{pairs} pairs: {took} of {bursts} bursts were told of");
    }
}

#[test]
fn a_transmitted_burst_touches_one_register_at_most() {
    for (tx_threshold, most) in [(0, 1), (1, 1), (40, 1), (u32::MAX, 0)] {
        for pairs in [1, 8] {
            let (machine, mut running) = up(Personality { tx_threshold, ..Personality::esxi() }, pairs);
            let mut rang = 0;
            for turn in 0..TURNS {
                let frames = 1 + turn % BURST_FRAMES;
                let mut burst = Burst::new();
                burst.extend((0..).take(frames).map(|number| machine.frame(&numbered(number))));
                let tx = match (turn % usize::from(pairs)).checked_sub(1) {
                    None => &mut running.tx,
                    Some(other) => running.rx.others_mut()[other].tx.as_mut().unwrap(),
                };
                let (took, sent) = accesses(&machine, || tx.transmit(&mut burst));
                assert_eq!(sent, Ok(frames));
                assert!(took <= most, "{took} of {most} with a threshold of {tx_threshold}");
                rang += took;
                machine.model().tick();
                assert_eq!(accesses(&machine, || tx.reclaim()), (0, Ok(frames)));
            }
            let turns = u64::try_from(TURNS).unwrap();
            assert_eq!(rang == turns, tx_threshold <= 1, "{rang} with a threshold of {tx_threshold}");
            machine.assert_clean();
        }
    }
}
