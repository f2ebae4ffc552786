//! Capabilities, from revision 7 on.

use super::*;
use crate::model::vmxnet3::capability::{
    ALL, ESP_RSS_IPV6, GENEVE_TSO, LARGE_BAR, NOT_APPLICABLE, OUT_OF_ORDER, UDP_RSS,
};
use crate::model::vmxnet3::layout::rss_field;

fn granted(hand: &Hand, wanted: u32) -> u32 {
    hand.write(1, bar1::DCR, wanted);
    hand.command(cmd::GET_DCR0_REG)
}

#[test]
fn what_is_granted_was_asked_for_and_is_there() {
    let few = Personality { capabilities: UDP_RSS | GENEVE_TSO, ..Personality::esxi() };
    let hand = Hand::revised(few, 7, 1);
    assert_eq!(hand.bars[1].read32(bar1::DCR), UDP_RSS | GENEVE_TSO);
    assert_eq!(hand.bars[1].read32(bar1::PTCR), NOT_APPLICABLE);
    assert_eq!(hand.bars[1].read32(bar1::DCR + 8), 0, "only the first means anything");
    assert_eq!(hand.command(cmd::GET_MAX_CAPABILITIES), UDP_RSS | GENEVE_TSO);
    assert_eq!(hand.command(cmd::GET_DCR0_REG), 0, "until somebody asks");
    assert_eq!(granted(&hand, UDP_RSS | ESP_RSS_IPV6), UDP_RSS);
    assert_eq!(granted(&hand, GENEVE_TSO), GENEVE_TSO, "in place of the others");
    hand.command(cmd::RESET_DEV);
    assert_eq!(hand.command(cmd::GET_DCR0_REG), 0, "as when it was switched on");
    let through = Personality { pass_through: UDP_RSS | OUT_OF_ORDER, ..Personality::esxi() };
    let hand = Hand::revised(through, 7, 1);
    assert_eq!(granted(&hand, ALL), UDP_RSS, "what the hardware has too, and in order");
    assert_eq!(hand.violations(), [""; 0]);
}

#[test]
fn earlier_revisions_have_no_such_registers() {
    let hand = Hand::revised(Personality::esxi(), 6, 1);
    assert_eq!(hand.bars[1].read32(bar1::DCR), 0);
    assert_eq!(granted(&hand, ALL), u32::MAX);
    let said = [
        "BAR1 register 0x48 read below revision 7",
        "DCR0 written below revision 7",
        "command 0xf00d0012 at revision bit 0x20",
    ];
    assert_eq!(hand.violations(), said);
}

#[test]
fn doorbells_move_where_a_large_bar_was_granted() {
    let hand = Hand::revised(Personality::esxi(), 7, 2);
    assert_eq!(granted(&hand, LARGE_BAR), LARGE_BAR);
    assert_eq!(hand.command(cmd::ACTIVATE_DEV), 0);
    let start = PhysAddr::new(hand.device.config.read32(AT, 0x10).into());
    let bar = MmioMap::map(&hand.platform, start, 0x2000).unwrap();
    hand.post_tx(1, 0, &frame(MAC, 60), 0, 0b11 << 12);
    bar.write32(0x1000 + 8, 1);
    assert_eq!(hand.model().take_sent()[0].queue, 1);
    bar.write32(0x1400, 1);
    bar.write32(0x1808, 1);
    assert_eq!(hand.model().doorbells, [(0x1008, 1), (0x1400, 1), (0x1808, 1)]);
    bar.write32(0, 1);
    let stop = Action::StopQueue { code: stop::NOEOP };
    hand.model().faults = FaultPlan::new([Fault::nth(FaultPoint::Doorbell, 1, stop)]);
    bar.write32(0x1008, 0);
    hand.command(cmd::GET_QUEUE_STATUS);
    assert_eq!(hand.get::<1>(TABLE + queue_desc::BYTES + queue_desc::STOPPED), [1]);
    assert_eq!(hand.violations(), [""; 0]);
    bar.write32(bar0::TXPROD, 1);
    assert_eq!(hand.violations(), ["BAR0 register 0x600, which does not exist, written"]);
    hand.write(1, bar1::DCR, 0);
    assert_eq!(hand.violations(), ["LARGE_BAR changed while the device runs"]);
}

#[test]
fn fields_of_rss_need_their_capability() {
    let hand = Hand::revised(Personality::esxi(), 7, 2);
    hand.command(cmd::ACTIVATE_DEV);
    let fields = |hand: &Hand, wanted: u32| {
        hand.put32(shared::CMD_INFO, wanted);
        assert_eq!(hand.command(cmd::SET_RSS_FIELDS), 0);
        hand.command(cmd::GET_RSS_FIELDS)
    };
    let tcp = rss_field::TCP4 | rss_field::TCP6;
    assert_eq!(fields(&hand, rss_field::ALL), tcp);
    granted(&hand, UDP_RSS | ESP_RSS_IPV6);
    assert_eq!(fields(&hand, rss_field::ALL), rss_field::ALL & !rss_field::ESP4);
}
