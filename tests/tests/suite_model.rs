//! The driver suite on models of the devices: with nothing but cargo.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex};

use paravane_hal::irq::MsiMessage;
use paravane_mock_hal::model::virtio::net::{Net, bits};
use paravane_mock_hal::model::virtio::{self, Virtio};
use paravane_mock_hal::model::vmxnet3::{self, Vmxnet3};
use paravane_mock_hal::pci::machine::{self, Machine};
use paravane_mock_hal::{MockPlatform, PciHost, message};
use paravane_net::MacAddr;
use paravane_suite::{Environment, peer};

const MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x6d, 0x6f, 0x64];

/// What the suite needs of a model.
trait Card {
    /// Whether it can tell whether the cable is in.
    fn tells_of_link(&self) -> bool {
        true
    }
    /// Takes the cable out or puts it in.
    fn set_link(&mut self, up: bool);
    /// Sends what there is to send.
    fn send(&mut self) -> Vec<Vec<u8>>;
    /// Receives a frame.
    fn receive(&mut self, frame: &[u8]);
    /// Whether it interrupted since the last call.
    fn rang(&mut self) -> bool;
}

/// A model in the place of the device.
struct OnModel<C> {
    platform: MockPlatform,
    machine: Machine,
    card: C,
}

impl<C: Card> Environment for OnModel<C> {
    type Platform = MockPlatform;
    type Config = PciHost;

    fn platform(&self) -> MockPlatform {
        self.platform.clone()
    }
    fn config(&self) -> PciHost {
        self.platform.pci().clone()
    }
    fn mac(&self) -> MacAddr {
        MacAddr(MAC)
    }
    fn dma_bytes_in_use(&self) -> usize {
        self.platform.memory().bytes()
    }
    fn set_link(&mut self, up: bool) {
        self.card.set_link(up);
    }
    fn tells_of_link(&self) -> bool {
        self.card.tells_of_link()
    }
    fn turn(&mut self) {
        for answer in self.card.send().iter().filter_map(|frame| peer::answer(frame)) {
            self.card.receive(&answer);
        }
    }
    fn messages(&self) -> Vec<MsiMessage> {
        (0x40..0x43).map(|data| message(0xfee0_0000, data)).collect()
    }
    fn rang(&mut self) -> bool {
        self.card.rang()
    }
    fn report(&mut self, line: fmt::Arguments<'_>) {
        println!("{line}");
    }
}

impl<C: Card> OnModel<C> {
    /// Runs the suite; nobody may have broken a rule then.
    fn run(mut self, violations: impl FnOnce(&C) -> Vec<String>) {
        let address = self.machine.address(0);
        paravane_suite::run(&mut self, address).unwrap();
        assert_eq!(violations(&self.card), Vec::<String>::new());
        self.platform.finish();
    }
}

struct Vmxnet3Card(Arc<Mutex<Vmxnet3>>);

impl Card for Vmxnet3Card {
    fn set_link(&mut self, up: bool) {
        self.0.lock().unwrap().set_link(up);
    }
    fn send(&mut self) -> Vec<Vec<u8>> {
        let mut model = self.0.lock().unwrap();
        model.look();
        model.take_sent().into_iter().map(|sent| sent.bytes).collect()
    }
    fn receive(&mut self, frame: &[u8]) {
        self.0.lock().unwrap().deliver(frame);
    }
    fn rang(&mut self) -> bool {
        !mem::take(&mut self.0.lock().unwrap().interrupts).is_empty()
    }
}

fn vmxnet3(machine: Machine, personality: vmxnet3::Personality) {
    let platform = MockPlatform::new();
    machine.build(platform.pci());
    let device = Vmxnet3::plug(&platform, machine.address(0), MAC, personality);
    let card = Vmxnet3Card(device.model);
    OnModel { platform, machine, card }.run(|card| card.0.lock().unwrap().violations.clone());
}

#[test]
fn vmxnet3_as_qemu_has_it() {
    vmxnet3(machine::QEMU_PC, vmxnet3::Personality::qemu());
    vmxnet3(machine::QEMU_Q35, vmxnet3::Personality::qemu());
}

#[test]
fn vmxnet3_as_esxi_has_it() {
    vmxnet3(machine::ESXI, vmxnet3::Personality::esxi());
}

struct VirtioCard {
    platform: MockPlatform,
    device: virtio::Plugged<Net>,
}

impl Card for VirtioCard {
    fn tells_of_link(&self) -> bool {
        self.device.lock().offered() & bits::STATUS != 0
    }
    fn set_link(&mut self, up: bool) {
        self.device.lock().set_link(up);
    }
    fn send(&mut self) -> Vec<Vec<u8>> {
        let mut model = self.device.lock();
        model.tick();
        model.take_sent().into_iter().map(|sent| sent.bytes).collect()
    }
    fn receive(&mut self, frame: &[u8]) {
        self.device.lock().deliver(frame);
    }
    fn rang(&mut self) -> bool {
        !self.platform.take_interrupts().is_empty()
    }
}

fn virtio(machine: Machine, personality: virtio::Personality) {
    let platform = MockPlatform::new();
    machine.build(platform.pci());
    let device = Virtio::plug(&platform, machine.address(0), Net::of(&personality, MAC), personality);
    let card = VirtioCard { platform: platform.clone(), device };
    OnModel { platform, machine, card }.run(|card| card.device.lock().violations.clone());
}

#[test]
fn virtio_as_qemu_has_it() {
    virtio(machine::QEMU_PC, virtio::Personality::qemu());
    virtio(machine::QEMU_Q35, virtio::Personality::qemu());
}

#[test]
fn virtio_as_qemu_has_it_by_default() {
    virtio(machine::QEMU_PC, virtio::Personality::qemu_transitional());
    virtio(machine::QEMU_Q35, virtio::Personality::qemu_transitional());
}

#[test]
fn virtio_as_firecracker_has_it() {
    virtio(machine::FIRECRACKER, virtio::Personality::firecracker());
}

#[test]
fn virtio_as_cloud_hypervisor_has_it() {
    virtio(machine::CLOUD_HYPERVISOR, virtio::Personality::cloud_hypervisor());
}

#[test]
fn virtio_as_openvmm_has_it() {
    virtio(machine::OPENVMM, virtio::Personality::openvmm());
}
