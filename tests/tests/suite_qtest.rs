//! The driver suite on QEMU's own devices, with nothing booted. Skipped, with a word about why,
//! where QEMU is not installed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fmt;

use paravane_hal::irq::MsiMessage;
use paravane_net::MacAddr;
use paravane_qtest_hal::{Chipset, Config, Machine, Qtest, Setup};
use paravane_suite::{Environment, peer};

struct OnQemu(Machine);

impl Environment for OnQemu {
    type Platform = Qtest;
    type Config = Config;

    fn platform(&self) -> Qtest {
        self.0.platform().clone()
    }
    fn config(&self) -> Config {
        self.0.config().clone()
    }
    fn mac(&self) -> MacAddr {
        MacAddr(Setup::mac(0))
    }
    fn dma_bytes_in_use(&self) -> usize {
        self.0.platform().dma_bytes_in_use()
    }
    fn set_link(&mut self, up: bool) {
        self.0.set_link(0, up).unwrap();
    }
    fn turn(&mut self) {
        let cable = self.0.cable(0).unwrap();
        while let Some(frame) = cable.receive() {
            if let Some(answer) = peer::answer(&frame) {
                cable.send(&answer).unwrap();
            }
        }
    }
    fn messages(&self) -> Vec<MsiMessage> {
        (0..3).map(|index| self.0.platform().mailbox(index).unwrap().message()).collect()
    }
    fn rang(&mut self) -> bool {
        (0..3).filter(|index| self.0.platform().mailbox(*index).unwrap().take()).count() > 0
    }
    fn report(&mut self, line: fmt::Arguments<'_>) {
        println!("{line}");
    }
}

fn run(chipset: Chipset, nic: &str) {
    let Some(machine) = Machine::start_or_skip(&Setup::new(chipset).nic(nic)) else { return };
    let address = machine.nic_address(0).unwrap();
    let mut environment = OnQemu(machine);
    let ran = paravane_suite::run(&mut environment, address);
    environment.0.check().unwrap();
    ran.unwrap();
}

#[test]
fn vmxnet3_on_pc() {
    run(Chipset::Pc, "vmxnet3");
}

#[test]
fn vmxnet3_on_q35() {
    run(Chipset::Q35, "vmxnet3");
}

#[test]
fn virtio_modern_on_pc() {
    run(Chipset::Pc, "virtio-net-pci,disable-legacy=on,disable-modern=off");
}

#[test]
fn virtio_modern_on_q35() {
    run(Chipset::Q35, "virtio-net-pci,disable-legacy=on,disable-modern=off");
}

#[test]
fn virtio_transitional_on_pc() {
    run(Chipset::Pc, "virtio-net-pci,disable-legacy=off,disable-modern=off");
}

#[test]
fn virtio_transitional_on_q35() {
    run(Chipset::Q35, "virtio-net-pci,disable-legacy=off,disable-modern=off");
}

#[test]
fn virtio_in_order() {
    if Machine::has_property_or_skip("virtio-net-pci", "in_order") {
        run(Chipset::Q35, "virtio-net-pci,disable-legacy=on,disable-modern=off,in_order=on");
        run(Chipset::Q35, "virtio-net-pci,disable-legacy=on,disable-modern=off,in_order=on,packed=on");
    }
}

#[test]
fn virtio_packed_on_pc() {
    run(Chipset::Pc, "virtio-net-pci,disable-legacy=on,disable-modern=off,packed=on");
}

#[test]
fn virtio_packed_on_q35() {
    run(Chipset::Q35, "virtio-net-pci,disable-legacy=on,disable-modern=off,packed=on");
}
