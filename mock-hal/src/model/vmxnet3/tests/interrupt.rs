//! Interrupts and masks.

use super::*;

#[test]
fn a_write_to_a_mask_drops_the_pin_of_qemu() {
    for (personality, stays) in [(Personality::qemu(), false), (Personality::esxi(), true)] {
        let hand = Hand::up(personality, 1);
        hand.put32(shared::INTR_CTRL, 0);
        hand.write(0, bar0::IMR, 0);
        hand.model().device_changed();
        assert!(hand.model().line());
        hand.write(0, bar0::IMR, 0);
        assert_eq!(hand.model().line(), stays);
        assert_eq!(hand.platform.interrupts().is_raised(11), stays);
        assert_eq!(hand.bars[1].read32(bar1::ICR), u32::from(stays));
    }
}

#[test]
fn a_device_remembers_what_was_unmasked_when_it_was_quiesced() {
    let hand = Hand::up(Personality::qemu(), 1);
    hand.write(0, bar0::IMR, 0);
    hand.command(cmd::QUIESCE_DEV);
    assert_eq!(hand.model().left_unmasked, [0]);
    assert_eq!(hand.command(cmd::ACTIVATE_DEV), 0);
    hand.write(0, bar0::IMR, 1);
    hand.command(cmd::QUIESCE_DEV);
    assert_eq!(hand.model().left_unmasked, [0; 0]);
}
