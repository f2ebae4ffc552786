//! Which frames pass, and their tags.

use super::*;

#[test]
fn groups_pass_by_the_table() {
    let hand = Hand::up(Personality::qemu(), 1);
    hand.put32(shared::RX_MODE, rx_mode::MCAST);
    hand.command(cmd::UPDATE_RX_MODE);
    for slot in 0..4 {
        hand.post_rx(slot, slot);
    }
    assert!(!hand.model().deliver(&frame(GROUP, 60)), "no table");
    hand.put(BUFFERS - 16, &GROUP);
    hand.put(shared::MF_TABLE_LEN, &6_u16.to_le_bytes());
    hand.put64(shared::MF_TABLE_PA, hand.base + BUFFERS - 16);
    assert!(!hand.model().deliver(&frame(GROUP, 60)), "nobody told the device");
    hand.command(cmd::UPDATE_MAC_FILTERS);
    hand.put(BUFFERS - 16, &[0; 6]);
    assert!(hand.model().deliver(&frame(GROUP, 60)), "copied by the command");
    assert!(!hand.model().deliver(&frame([1, 0, 0x5e, 0, 0, 2], 60)), "another group");
    assert!(!hand.model().deliver(&frame(MAC, 60)));
    assert_eq!(hand.violations(), [""; 0]);
    hand.put(shared::MF_TABLE_LEN, &7_u16.to_le_bytes());
    hand.command(cmd::UPDATE_MAC_FILTERS);
    assert_eq!(hand.violations().len(), 1, "no list of groups");
}

#[test]
fn tagged_frames_pass_by_the_table() {
    for (personality, untagged_passes) in [(Personality::qemu(), true), (Personality::esxi(), false)] {
        let hand = Hand::up(personality, 1);
        for slot in 0..16 {
            hand.post_rx(slot, slot);
        }
        let received = |vlan: Option<u16>| hand.model().deliver(&vlan.map_or_else(|| frame(MAC, 60), tagged));
        assert_eq!(received(Some(37)), personality.activates_filters, "every bit is set");
        hand.command(cmd::UPDATE_RX_MODE);
        hand.command(cmd::UPDATE_VLAN_FILTERS);
        assert!(received(Some(37)), "the device was told");
        hand.put(shared::VF_TABLE, &[0; 512]);
        assert!(received(Some(37)), "nobody told the device");
        hand.command(cmd::UPDATE_VLAN_FILTERS);
        assert!(!received(Some(37)));
        assert_eq!([None, Some(0), Some(4095)].map(received), [untagged_passes; 3]);
        hand.put32(shared::VF_TABLE + 4, 1 << 5);
        hand.command(cmd::UPDATE_VLAN_FILTERS);
        assert_eq!([Some(37), Some(5)].map(received), [true, false]);
        hand.put32(shared::VF_TABLE + 4, 0);
        hand.put32(shared::RX_MODE, rx_mode::PROMISC);
        hand.command(cmd::UPDATE_VLAN_FILTERS);
        hand.command(cmd::UPDATE_RX_MODE);
        assert!(received(Some(5)), "an empty table is none to a promiscuous device");
    }
}

#[test]
fn tags_are_stripped_while_that_is_asked_for() {
    let hand = Hand::up(Personality::qemu(), 1);
    for slot in 0..2 {
        hand.post_rx(slot, slot);
    }
    assert!(hand.model().deliver(&tagged(0x123)));
    hand.put64(shared::UPT_FEATURES, upt::RXVLAN);
    hand.command(cmd::UPDATE_FEATURE);
    assert!(hand.model().deliver(&tagged(0x123)));
    let word2 = |slot: u64| hand.get32(RX + COMPLETIONS + slot * 16 + 8);
    assert_eq!([word2(0), word2(1)], [60, 56 | 1 << 15 | 0x123 << 16]);
}
