//! An honest device, and a driver that is to look at each word once.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use paravane_hal::irq::Interrupts;
use paravane_mock_hal::ChangingLoads;
use paravane_mock_hal::model::vmxnet3::Personality;
use paravane_net::{Burst, RxQueue as _, TxQueue as _};
use support::{Machine, numbered, small};

/// Where in a completion the word is that says whether it is new. The driver guesses by it how many
/// are new, and looks again for each: that look counts, with all bits of the word.
const IS_NEW: usize = 12;

#[test]
fn no_word_but_the_one_that_says_new_is_loaded_twice_in_a_call() {
    for personality in [Personality::qemu(), Personality::esxi()] {
        let machine = Machine::new(personality);
        let config = small().with_ip_mtu_bytes(9000);
        let mut running = machine.start(&config, Interrupts::POLLING);
        let mut burst = Burst::new();
        let mut twice = Vec::new();
        for turn in 0..200_u32 {
            let loads = ChangingLoads::counted();
            let frames = turn % 9;
            for number in 0..frames {
                let mut frame = numbered(number);
                if number == 3 {
                    frame.resize(5000, 7);
                }
                assert!(machine.model().deliver(&frame));
            }
            loads.next_call();
            assert_eq!(running.rx.receive(&mut burst), Ok(frames as usize));
            burst.clear();
            for number in 0..frames {
                let frame = numbered(number);
                burst.push(if number == 2 {
                    machine.chain(&[&frame, &[2; 9]])
                } else {
                    machine.frame(&frame)
                });
            }
            loads.next_call();
            assert_eq!(running.tx.transmit(&mut burst), Ok(frames as usize));
            running.tx.flush();
            machine.model().tick();
            loads.next_call();
            assert_eq!(running.tx.reclaim(), Ok(frames as usize));
            loads.next_call();
            let _ = running.rx.arm().unwrap();
            loads.next_call();
            let _ = running.tx.arm().unwrap();
            twice.push(loads.again_at().into_iter().filter(|place| place % 16 != IS_NEW).count());
        }
        assert!(twice.iter().all(|count| *count == 0), "{twice:?}");
        machine.assert_clean();
    }
}
