//! The self-test over QEMU's own devices, with nothing booted. Skipped, with a word about why, where QEMU is not installed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "support/arp.rs"]
mod arp;

use paravane_hal_check::{Check, Settings, Verdict, check_nic, check_platform};
use paravane_pci::Function;
use paravane_qtest_hal::{Chipset, Machine, Setup};

fn run(chipset: Chipset, nic: &str) {
    let machine = match Machine::start(&Setup::new(chipset).nic(nic)) {
        Ok(machine) => machine,
        Err(error) if error.may_skip() => return println!("skipped: {error}"),
        Err(error) => panic!("{error}"),
    };
    let platform = machine.platform();
    let in_use = || platform.dma_bytes_in_use();
    let cable = machine.cable(0).unwrap();
    let turn = || {
        while let Some(frame) = cable.receive() {
            if let Some(answer) = arp::answer(&frame) {
                cable.send(&answer).unwrap();
            }
        }
    };
    let settings = Settings::default()
        .with_free_rounds(256)
        .with_bytes_in_use(&in_use)
        .with_peer(arp::PEER)
        .with_turn(&turn);
    let mut report = check_platform(platform, &settings);
    let function = Function::claim(machine.config().clone(), machine.nic_address(0).unwrap()).unwrap();
    report.append(check_nic(platform, function, &settings));
    machine.check().unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.verdict(Check::NicReceive), Some(&Verdict::Passed), "{report}");
    assert_eq!(platform.dma_bytes_in_use(), 0);
}

#[test]
fn vmxnet3() {
    run(Chipset::Pc, "vmxnet3");
    run(Chipset::Q35, "vmxnet3");
}

#[test]
fn virtio_modern() {
    run(Chipset::Pc, "virtio-net-pci,disable-legacy=on,disable-modern=off");
    run(Chipset::Q35, "virtio-net-pci,disable-legacy=on,disable-modern=off");
}

#[test]
fn virtio_transitional() {
    run(Chipset::Pc, "virtio-net-pci,disable-legacy=off,disable-modern=off");
}
