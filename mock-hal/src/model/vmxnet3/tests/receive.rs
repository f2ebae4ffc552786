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

#[test]
fn bodies_of_ring_1_continue_a_frame_and_are_passed_over_otherwise() {
    let hand = Hand::up(Personality::qemu(), 1);
    for (slot, kind) in [(0, 0), (1, 1 << 14), (2, 1 << 14), (3, 0)] {
        hand.post(RX, kind, slot, slot);
    }
    hand.post_body(0, 4);
    assert!(hand.model().has_room(512));
    assert!(hand.model().deliver(&frame(MAC, 400)));
    assert!(hand.model().deliver(&frame(MAC, 400)));
    let said = |slot: u64| {
        (hand.get32(RX + COMPLETIONS + slot * 16) & 0x3ff_ffff, hand.get32(RX + COMPLETIONS + slot * 16 + 8))
    };
    assert_eq!([said(0), said(1)], [(1 << 15, 256), (1 | 1 << 14, 144)]);
    assert_eq!([said(2), said(3)], [(3 | 1 << 15, 256), (1 << 14 | 1 << 16, 144)], "slot 2 is passed over");
    assert_eq!(hand.violations(), [""; 0]);
    let seventh = Hand::revised(Personality::esxi(), 7, 1);
    assert_eq!(seventh.command(cmd::ACTIVATE_DEV), 0);
    seventh.post(RX, 1 << 14, 0, 0);
    seventh.write(0, bar0::RXPROD, 1);
    seventh.model().tick();
    assert_eq!(seventh.violations(), ["a BODY in ring 1, from revision 7 on"]);
}
