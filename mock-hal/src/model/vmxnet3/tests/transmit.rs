//! What is sent, and what is counted.

use super::frames::{V4, to_cut};
use super::*;

#[test]
fn frames_are_counted_by_address_and_from_each_activation_on() {
    let hand = Hand::up(Personality::qemu(), 1);
    for (slot, to, len) in [(0, MAC, 60), (1, GROUP, 61), (2, ALL, 62)] {
        hand.send(slot, &frame(to, len), 0, 0);
        hand.post_rx(slot, 8 + slot);
        assert!(hand.model().deliver(&frame(to, len + 10)));
    }
    assert_eq!(hand.stats(false), [0, 0, 1, 60, 1, 61, 1, 62, 0, 0]);
    assert_eq!(hand.stats(true), [0, 0, 1, 70, 1, 71, 1, 72, 0, 0]);
    assert!(!hand.model().deliver(&frame(MAC, 60)));
    assert_eq!(hand.stats(true)[at::RX_OUT_OF_BUF], 1);
    hand.post_rx(3, 12);
    assert!(!hand.model().deliver(&frame(MAC, 300)), "ring 2 is empty");
    assert_eq!(hand.stats(true)[at::RX_ERROR], 1);
    assert_eq!(hand.get32(RX + COMPLETIONS + 3 * 16 + 8), 256 | 1 << 14, "err");

    hand.send(3, &frame(MAC, 13), 0, 0);
    hand.model().set_link(false);
    hand.send(4, &frame(MAC, 60), 0, 0);
    assert_eq!(hand.model().take_sent().len(), 3);
    let [.., errors, discards] = hand.stats(false);
    assert_eq!((errors, discards), (1, 1));
    assert_eq!(hand.get32(TX + COMPLETIONS + 4 * 16), 4, "completed all the same");
    assert!(!hand.model().deliver(&frame(MAC, 60)), "the cable is out");

    hand.command(cmd::QUIESCE_DEV);
    assert_eq!(hand.command(cmd::ACTIVATE_DEV), 0);
    assert_eq!((hand.stats(false), hand.stats(true)), ([0; 10], [0; 10]));
}

#[test]
fn frames_to_be_cut_are_counted_as_each_kind_of_device_does() {
    for (personality, frames) in [(Personality::qemu(), 1), (Personality::esxi(), 2)] {
        let hand = Hand::up(personality, 1);
        hand.send(0, &to_cut(V4, 0, 101), 100 << 18, 3 << 10 | 54);
        assert_eq!(hand.stats(false)[at::TSO..at::TSO + 2], [frames, 155]);
    }
}

#[test]
fn what_cannot_be_sent_stops_the_queue_of_a_device_that_stops() {
    let cases = [
        (0, 1 << 10 | 54, stop::DESC_NOT_SPT, "om = 1 below revision 4"),
        (0, 3 << 10 | 54, stop::TXD_INVALID, "segments of zero bytes"),
    ];
    for (word2, word3, code, what) in cases {
        let qemu = Hand::up(Personality::qemu(), 1);
        qemu.send(0, &frame(MAC, 154), word2, word3);
        assert_eq!(qemu.violations(), [what]);
        assert_eq!(qemu.get32(shared::ECR), 0);

        let esxi = Hand::up(Personality::esxi(), 1);
        esxi.send(0, &frame(MAC, 154), word2, word3);
        assert_eq!(esxi.violations(), [what]);
        assert_eq!(esxi.get32(shared::ECR), ecr::TQERR);
        esxi.command(cmd::GET_QUEUE_STATUS);
        assert_eq!(esxi.get::<1>(TABLE + queue_desc::STOPPED), [1]);
        assert_eq!(esxi.get32(TABLE + queue_desc::ERROR), code);
        assert_eq!(esxi.get::<1>(TABLE + queue_desc::BYTES + queue_desc::STOPPED), [0], "the other one runs");
        esxi.send(1, &frame(MAC, 60), 0, 0);
        assert_eq!(esxi.model().take_sent().len(), 0);
    }
}

#[test]
fn a_frame_has_so_many_descriptors_and_an_end() {
    let hand = Hand::up(Personality::esxi(), 1);
    for slot in 0..17 {
        hand.post_tx(0, slot, &[0; 60], 0, u32::from(slot == 16) << 12);
    }
    hand.write(0, bar0::TXPROD, 17);
    assert_eq!(hand.violations(), ["too many descriptors in a frame"]);
    let hand = Hand::up(Personality::esxi(), 1);
    hand.post_tx(0, 0, &[0; 60], 0, 0);
    hand.write(0, bar0::TXPROD, 1);
    assert_eq!(hand.violations(), ["a frame was shown to the device before all of it was there"]);
    hand.command(cmd::GET_QUEUE_STATUS);
    assert_eq!(hand.get32(TABLE + queue_desc::ERROR), stop::NOEOP);
}

#[test]
fn deferred_frames_are_counted_by_both_sides() {
    let hand = Hand::up(Personality::esxi(), 1);
    hand.post_tx(0, 0, &frame(MAC, 60), 0, 0b11 << 12);
    hand.put32(TABLE + queue_desc::TX_NUM_DEFERRED, 1);
    hand.post_tx(0, 1, &to_cut(V4, 0, 101), 100 << 18, 0b11 << 12 | 3 << 10 | 54);
    hand.put32(TABLE + queue_desc::TX_NUM_DEFERRED, 3);
    hand.model().look();
    assert_eq!(hand.violations(), [""; 0], "one, and two that come of the other");
    hand.post_tx(0, 2, &frame(MAC, 60), 0, 0b11 << 12);
    hand.model().look();
    assert_eq!(hand.violations(), ["txNumDeferred is 3, 4 came without a doorbell"]);
    hand.write(0, bar0::TXPROD, 3);
    assert_eq!(hand.violations(), ["a doorbell with 3 in txNumDeferred"]);
}
