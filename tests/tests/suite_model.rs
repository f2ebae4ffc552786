//! The driver suite on models of the devices: with nothing but cargo.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fmt;
use std::mem;

use paravane_hal::irq::MsiMessage;
use paravane_mock_hal::model::vmxnet3::{Personality, Plugged, Vmxnet3};
use paravane_mock_hal::{MockPlatform, PciHost};
use paravane_net::MacAddr;
use paravane_pci::PciAddress;
use paravane_suite::{Environment, peer};

const MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x6d, 0x6f, 0x64];

struct OnVmxnet3 {
    platform: MockPlatform,
    device: Plugged,
}

impl Environment for OnVmxnet3 {
    type Platform = MockPlatform;
    type Config = PciHost;

    fn platform(&self) -> MockPlatform {
        self.platform.clone()
    }
    fn config(&self) -> PciHost {
        self.device.config.clone()
    }
    fn mac(&self) -> MacAddr {
        MacAddr(MAC)
    }
    fn dma_bytes_in_use(&self) -> usize {
        self.platform.memory().bytes()
    }
    fn set_link(&mut self, up: bool) {
        self.device.model.lock().unwrap().set_link(up);
    }
    fn turn(&mut self) {
        let mut model = self.device.model.lock().unwrap();
        model.look();
        for sent in model.take_sent() {
            if let Some(answer) = peer::answer(&sent.bytes) {
                model.deliver(&answer);
            }
        }
    }
    fn messages(&self) -> Vec<MsiMessage> {
        (0x40..0x43).map(|data| MsiMessage { address: 0xfee0_0000, data }).collect()
    }
    fn rang(&mut self) -> bool {
        !mem::take(&mut self.device.model.lock().unwrap().interrupts).is_empty()
    }
    fn report(&mut self, line: fmt::Arguments<'_>) {
        println!("{line}");
    }
}

fn vmxnet3(personality: Personality) {
    let platform = MockPlatform::new();
    let address = PciAddress::new(0, 0, 4, 0).unwrap();
    let device = Vmxnet3::plug(&platform, address, MAC, personality);
    let mut environment = OnVmxnet3 { platform, device };
    paravane_suite::run(&mut environment, address).unwrap();
    assert_eq!(environment.device.model.lock().unwrap().violations, Vec::<String>::new());
    assert_eq!(environment.platform.memory().faults(), []);
}

#[test]
fn vmxnet3_as_qemu_has_it() {
    vmxnet3(Personality::qemu());
}

#[test]
fn vmxnet3_as_esxi_has_it() {
    vmxnet3(Personality::esxi());
}
