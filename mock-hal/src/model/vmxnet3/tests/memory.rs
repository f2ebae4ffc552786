//! Whose memory is whose.

use super::*;

#[test]
fn what_is_posted_is_the_devices() {
    let hand = Hand::up(Personality::qemu(), 1);
    hand.put(BUFFERS, &[7; 8]);
    hand.post_rx(0, 0);
    hand.model().tick();
    assert_eq!(hand.get::<8>(BUFFERS), [0xdb; 8], "poisoned");
    hand.post_rx(1, 0);
    hand.model().tick();
    let said = hand.platform.memory().violations();
    assert!(said[0].starts_with("given to device `vmxnet3 00:04.0` while it is out already"), "{said:?}");
    hand.platform.memory().forgive();

    hand.post_rx(2, 2);
    assert!(hand.model().deliver(&frame(MAC, 60)));
    assert_eq!(hand.get::<6>(BUFFERS), MAC);
    hand.command(cmd::QUIESCE_DEV);
    hand.put(RX, &[0; 3 * 16]);
    hand.command(cmd::ACTIVATE_DEV);
    hand.post_rx(0, 2);
    hand.model().tick();
    assert_eq!(hand.platform.memory().violations(), [""; 0], "a device that was stopped holds nothing");
}

#[test]
fn what_is_sent_is_left_alone_until_its_completion() {
    let hand = Hand::up(Personality::esxi(), 1);
    for slot in 0..2 {
        hand.post_tx(0, slot, &frame(MAC, 60), 0, 1 << 12);
    }
    hand.write(0, bar0::TXPROD, 2);
    hand.put(BUFFERS, &[1]);
    hand.send(2, &frame(MAC, 60), 0, 0);
    let said = hand.platform.memory().violations();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("changed while the device had it: 60 bytes"), "{said:?}");
    hand.put(BUFFERS, &[2]);
    hand.send(3, &frame(MAC, 60), 0, 0);
    assert_eq!(hand.platform.memory().violations().len(), 1, "a completion is about all before it");
}

#[test]
fn a_lie_about_buffers_excuses_the_driver() {
    let hand = Hand::up(Personality::qemu(), 1);
    hand.post_rx(0, 0);
    hand.model().complete_rx([9 | 0b11 << 14, 0, 60, 0]);
    hand.post_rx(1, 0);
    hand.model().tick();
    assert_eq!(hand.platform.memory().violations(), [""; 0]);
}
