//! Recording and playing back with nothing but cargo: the device is a model.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use paravane_hal::irq::MsiMessage;
use paravane_mock_hal::model::vmxnet3::{Personality, Plugged, Sent, Vmxnet3};
use paravane_mock_hal::record::{RecordedConfig, Recorder, Recording};
use paravane_mock_hal::{MockPlatform, PciHost, message};
use paravane_pci::PciAddress;
use paravane_tests::scenario::replay::Replay;
use paravane_tests::scenario::{Driver, Stage, life};

const MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x6d, 0x6f, 0x64];

/// A model, with a recorder between it and the driver.
struct Modelled {
    device: Plugged,
    recorder: Recorder<MockPlatform>,
    config: RecordedConfig<PciHost>,
    sent: RefCell<VecDeque<Vec<u8>>>,
}

impl Modelled {
    fn new(personality: Personality) -> Self {
        let platform = MockPlatform::new();
        let address = PciAddress::new(0, 0, 4, 0).unwrap();
        let device = Vmxnet3::plug(&platform, address, MAC, personality);
        let recorder = Recorder::new(platform);
        let config = recorder.config(device.config.clone());
        Self { device, recorder, config, sent: RefCell::default() }
    }

    fn model(&self) -> MutexGuard<'_, Vmxnet3> {
        self.device.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&self) -> Recording {
        let messages = self.messages().unwrap().into_iter();
        let messages: Vec<String> =
            messages.map(|message| format!("{:#x} {:#x}", message.address(), message.data())).collect();
        let provenance: Vec<_> = messages.iter().map(|message| ("message", message.as_str())).collect();
        self.recorder.finish(&provenance).unwrap()
    }
}

impl Stage for Modelled {
    type Platform = Recorder<MockPlatform>;
    type Config = RecordedConfig<PciHost>;

    fn platform(&self) -> Self::Platform {
        self.recorder.clone()
    }
    fn config(&self) -> Self::Config {
        self.config.clone()
    }
    fn step(&self, name: &str) -> Result<()> {
        self.recorder.step(name);
        Ok(())
    }
    fn give(&self, frame: &[u8]) -> Result<()> {
        self.recorder.give(frame);
        self.model().deliver(frame);
        self.rest()
    }
    fn take(&self) -> Result<Vec<u8>> {
        self.rest()?;
        let frame = self.sent.borrow_mut().pop_front().context("nothing came out of the model")?;
        self.recorder.take(&frame);
        Ok(frame)
    }
    fn rest(&self) -> Result<()> {
        self.recorder.synchronise();
        self.model().look();
        self.sent.borrow_mut().extend(self.model().take_sent().iter().flat_map(Sent::on_wire));
        self.recorder.synchronise();
        Ok(())
    }
    fn set_link(&self, up: bool) -> Result<()> {
        self.recorder.step(if up { "set link up" } else { "set link down" });
        self.model().set_link(up);
        Ok(())
    }
    fn messages(&self) -> Result<Vec<MsiMessage>> {
        Ok((0x40..0x43).map(|data| message(0xfee0_0000, data)).collect())
    }
    fn interrupt(&self) -> Result<u16> {
        let vector = u16::from(self.model().interrupts.pop().context("the model did not interrupt")?);
        self.recorder.interrupt(vector);
        Ok(vector)
    }
}

fn there_and_back(personality: Personality, driver: Driver) {
    let stage = Modelled::new(personality);
    life(&stage, driver).unwrap();
    assert_eq!(stage.model().violations, Vec::<String>::new());
    // Through its text, as a person would keep it.
    let recording = Recording::parse(&stage.finish().to_string()).unwrap();
    let replay = Replay::new(&recording);
    life(&replay, driver).unwrap();
    replay.replayer().finish().unwrap();
}

#[test]
fn a_driver_meets_the_recorded_model_again() {
    there_and_back(Personality::qemu(), Driver::Vmxnet3);
    there_and_back(Personality::qemu(), Driver::Vmxnet3Offloads);
}

#[test]
fn a_device_that_defers_doorbells_is_recorded_too() {
    there_and_back(Personality::esxi(), Driver::Vmxnet3);
    there_and_back(Personality::esxi(), Driver::Vmxnet3Offloads);
}
