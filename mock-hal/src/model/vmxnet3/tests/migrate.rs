//! Another host behind the device.

use super::*;
use crate::model::vmxnet3::capability::{ALL as CAPABILITIES, UDP_RSS, VXLAN_TSO};

#[test]
fn a_host_that_is_moved_to_has_its_own_wishes() {
    let old = Personality { update_rx_prod: false, ..Personality::esxi() };
    let hand = Hand::up(old, 1);
    hand.command(cmd::UPDATE_RX_MODE);
    hand.command(cmd::UPDATE_VLAN_FILTERS);
    hand.post(RX, 0, 0, 0);
    let new = Personality { tx_threshold: 3, update_rx_prod: true, ..old };
    hand.model().move_to(new);
    assert_eq!(hand.get32(TABLE + queue_desc::TX_THRESHOLD), 3);
    assert_eq!(hand.get::<1>(TABLE + queue_desc::BYTES + queue_desc::UPDATE_RX_PROD), [1]);
    assert_eq!(hand.get32(shared::ECR), ecr::DIC);
    hand.post(RX, 0, 1, 1);
    let came = [(); 2].map(|()| hand.model().deliver(&frame(MAC, 60)));
    assert_eq!(came, [true, false], "what was posted before it has, later only what it is told of");
    hand.write(0, bar0::RXPROD, 2);
    assert!(hand.model().deliver(&frame(MAC, 60)));
    assert_eq!(hand.violations(), [""; 0]);
}

#[test]
fn a_host_that_is_moved_to_may_grant_less() {
    let hand = Hand::revised(Personality::esxi(), 7, 2);
    let wanted = UDP_RSS | VXLAN_TSO;
    hand.write(1, bar1::DCR, wanted);
    assert_eq!(hand.command(cmd::ACTIVATE_DEV), 0, "{:?}", hand.violations());
    hand.put32(shared::CMD_INFO, 0b1111);
    assert_eq!(hand.command(cmd::SET_RSS_FIELDS), 0, "{:?}", hand.violations());
    let less = Personality { capabilities: VXLAN_TSO, ..Personality::esxi() };
    hand.model().move_to(less);
    assert_eq!(hand.command(cmd::GET_DCR0_REG), VXLAN_TSO);
    assert_eq!(hand.command(cmd::GET_RSS_FIELDS), 0b11);
    let none = Personality { capabilities: CAPABILITIES, pass_through: 0, ..less };
    hand.model().move_to(none);
    assert_eq!(hand.command(cmd::GET_DCR0_REG), 0, "the hardware has none of it");
}

#[test]
fn a_host_that_is_moved_to_may_know_the_permanent_address_alone() {
    for (personality, is_back) in [(Personality::qemu(), true), (Personality::esxi(), false)] {
        let hand = Hand::up(personality, 1);
        hand.write(1, bar1::MACL, 0x0a0a_0a0a);
        hand.model().move_to(personality);
        assert_eq!(hand.model().mac() == MAC, is_back);
    }
}

#[test]
fn a_device_that_stands_still_moves_without_a_word() {
    let hand = Hand::new(Personality::esxi(), 1);
    hand.model().move_to(Personality { tx_threshold: 2, ..Personality::esxi() });
    assert_eq!(hand.get32(shared::ECR), 0);
    assert_eq!(hand.command(cmd::ACTIVATE_DEV), 0);
    assert_eq!(hand.get32(TABLE + queue_desc::TX_THRESHOLD), 2);
}
