//! Interrupts that wait for more.

use std::time::Duration;

use super::*;

const CONF: u64 = 0x8000;

/// A device with interrupts, which never masks, coalesced by these words.
fn up(words: [u32; 4]) -> Hand {
    let personality = Personality { conf_intr: 1 << 2, update_rx_prod: false, ..Personality::esxi() };
    let hand = Hand::revised(Personality { checks_headers: false, ..personality }, 3, 1);
    hand.put(shared::AUTO_MASK, &[0, 1, 0]);
    hand.device.config.write16(AT, 0x9e, 0x8000);
    assert_eq!(hand.command(cmd::ACTIVATE_DEV), 0, "{:?}", hand.model().violations);
    hand.command(cmd::UPDATE_RX_MODE);
    hand.command(cmd::UPDATE_VLAN_FILTERS);
    hand.put32(shared::INTR_CTRL, 0);
    hand.write(0, bar0::IMR, 0);
    (0..16).for_each(|slot| hand.post_rx(slot, slot));
    set(&hand, words);
    hand
}

fn set(hand: &Hand, words: [u32; 4]) {
    hand.put(CONF, &words.map(u32::to_le_bytes).concat());
    hand.put32(shared::CMD_INFO, 1);
    hand.put32(shared::CMD_INFO + 4, 16);
    hand.put64(shared::CMD_INFO + 8, hand.base + CONF);
    assert_eq!(hand.command(cmd::SET_COALESCE), 0);
}

fn interrupts(hand: &Hand) -> usize {
    std::mem::take(&mut hand.model().interrupts).len()
}

fn receive(hand: &Hand) -> usize {
    assert!(hand.model().deliver(&frame(MAC, 60)));
    interrupts(hand)
}

#[test]
fn interrupts_come_at_once_unless_they_were_told_to_wait() {
    for words in [[0; 4], [1, 0, 0, 0], [2, 0, 0, 0], [2, 1, 1, 1]] {
        let hand = up(words);
        assert_eq!([(); 3].map(|()| receive(&hand)), [1; 3], "{words:?}");
        hand.model().pass_time(Duration::from_secs(1));
        assert_eq!(interrupts(&hand), 0);
    }
}

#[test]
fn so_many_completions_are_told_at_once_and_time_tells_the_rest() {
    let hand = up([2, 64, 2, 3]);
    assert_eq!([(); 7].map(|()| receive(&hand)), [0, 0, 1, 0, 0, 1, 0]);
    hand.model().pass_time(Duration::from_micros(1));
    assert_eq!(interrupts(&hand), 1);
    hand.model().pass_time(Duration::from_micros(1));
    assert_eq!(interrupts(&hand), 0, "told");
    let sent: Vec<usize> = (0..5)
        .map(|slot| {
            hand.send(slot, &frame(ALL, 60), 0, 0);
            interrupts(&hand)
        })
        .collect();
    assert_eq!(sent, [0, 1, 0, 1, 0]);
    hand.model().device_changed();
    assert_eq!(interrupts(&hand), 1, "events never wait");
    set(&hand, [0; 4]);
    assert_eq!(interrupts(&hand), 1, "the one that waited");
}

#[test]
fn interrupts_of_a_rate_keep_their_distance() {
    let hand = up([3, 1000, 0, 0]);
    assert_eq!([(); 3].map(|()| receive(&hand)), [1, 0, 0]);
    hand.model().pass_time(Duration::from_micros(999));
    assert_eq!(interrupts(&hand), 0);
    hand.model().pass_time(Duration::from_micros(1));
    assert_eq!(interrupts(&hand), 1, "once for both");
    assert_eq!(receive(&hand), 1);
    assert_eq!(receive(&hand), 0);
    hand.model().pass_time(Duration::from_secs(1));
    assert_eq!(interrupts(&hand), 1);
    assert_eq!(hand.violations(), [""; 0]);
}
