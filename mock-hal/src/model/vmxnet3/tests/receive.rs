//! What is received.

use super::*;

#[test]
fn room_is_what_a_frame_would_find() {
    let hand = Hand::up(Personality::qemu(), 1);
    assert!(!hand.model().has_room(60));
    hand.post_rx(0, 0);
    assert_eq!([60, 256, 257].map(|len| hand.model().has_room(len)), [true, true, false]);
    hand.post_body(0, 1);
    hand.post_body(1, 2);
    assert_eq!([512, 513].map(|len| hand.model().has_room(len)), [true, false], "maxNumRxSG is 2");
    assert!(hand.model().deliver(&frame(MAC, 512)));
    assert_eq!(hand.get(BUFFERS + 511), [0x33]);
    assert!(!hand.model().has_room(60));
}
