//! D3, and back.

use super::*;
use crate::model::vmxnet3::Sleep;

const PMCSR: u16 = 0x44;
const PME: u16 = 1 << 8 | 1 << 15;

fn esxi(sleep: Sleep) -> Personality {
    Personality { sleep, update_rx_prod: false, ..Personality::esxi() }
}

/// A device that runs, and that a magic packet wakes; its interrupt is unmasked.
fn up(sleep: Sleep) -> Hand {
    let hand = Hand::up(esxi(sleep), 1);
    hand.put32(shared::PM_CONF_DESC, 1);
    hand.put32(shared::PM_CONF_DESC + 4, 920);
    hand.put64(shared::PM_CONF_DESC + 8, hand.base + 0x8000);
    hand.put(0x8000, &[1]);
    assert_eq!(hand.command(cmd::UPDATE_PMCFG), 0);
    hand.command(cmd::UPDATE_RX_MODE);
    hand.command(cmd::UPDATE_VLAN_FILTERS);
    hand.post_rx(0, 0);
    hand
}

fn pmcsr(hand: &Hand, value: u16) {
    hand.device.config.write16(AT, PMCSR, value);
}

fn magic() -> Vec<u8> {
    [frame(ALL, 14), vec![0xff; 6], MAC.repeat(16)].concat()
}

#[test]
fn nothing_is_received_in_d3_and_the_right_frame_calls() {
    let hand = up(Sleep::Forgets);
    pmcsr(&hand, PME | 3);
    let [plain, magic] = [frame(MAC, 60), magic()];
    for (frame, calls) in [(&plain, 0), (&magic, 1)] {
        assert!(!hand.model().deliver(frame));
        assert_eq!(hand.model().wake_up_calls, calls);
    }
    assert_eq!(hand.device.config.read16(AT, PMCSR), PME | 3);
    hand.command(cmd::QUIESCE_DEV);
    assert!(hand.model().is_active(), "nobody decodes the command");
    pmcsr(&hand, 3 | 1 << 15);
    assert_eq!(hand.device.config.read16(AT, PMCSR), 3);
    hand.model().deliver(&magic);
    assert_eq!(hand.model().wake_up_calls, 1, "not allowed to");
    assert_eq!(hand.violations(), [""; 0]);
}

#[test]
fn a_device_forgets_all_in_d3_or_nothing() {
    for (sleep, is_active) in [(Sleep::Forgets, false), (Sleep::Keeps, true)] {
        let hand = up(sleep);
        hand.write(1, bar1::MACL, 0x0a0a_0a0a);
        hand.write(0, bar0::IMR, 0);
        pmcsr(&hand, 3);
        assert_eq!(hand.model().left_unmasked, [0]);
        pmcsr(&hand, 0);
        let model = hand.model();
        assert_eq!(model.is_active(), is_active);
        assert_eq!(model.shared_addr().is_some(), is_active);
        assert_eq!(model.agreed_revision().is_some(), is_active);
        assert_eq!(model.mac() == MAC, !is_active);
        let call = [frame(ALL, 14), vec![0xff; 6], model.mac().repeat(16)].concat();
        assert_eq!(model.would_wake(&call), is_active);
        drop(model);
        assert_eq!(hand.device.config.read16(AT, 4), if is_active { 0b110 } else { 0 });
        let mac = hand.model().mac();
        assert_eq!(hand.model().deliver(&frame(mac, 60)), is_active);
    }
}

#[test]
fn a_driver_restores_configuration_space_and_activates_anew() {
    let hand = up(Sleep::Forgets);
    let bars = [0x10, 0x14].map(|bar| hand.device.config.read32(AT, bar));
    pmcsr(&hand, 3);
    pmcsr(&hand, 0);
    for (bar, value) in [0x10, 0x14].into_iter().zip(bars) {
        hand.device.config.write32(AT, bar, value);
    }
    hand.device.config.write16(AT, 4, 0b110);
    hand.command(cmd::QUIESCE_DEV);
    hand.command(cmd::RESET_DEV);
    hand.write(1, bar1::VRRS, 1);
    hand.describe(1);
    assert_eq!(hand.command(cmd::ACTIVATE_DEV), 0, "{:?}", hand.violations());
    let qemu = Hand::new(Personality::qemu(), 1);
    assert_eq!(qemu.device.config.read16(AT, 0x34), 0x84, "no power management");
}
