//! A machine with one device, and what the tests do with it again and again.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "helpers of tests")]

use std::sync::MutexGuard;

use paravane_hal::irq::{Interrupts, MsiMessage};
use paravane_mock_hal::model::vmxnet3::{Personality, Plugged, Vmxnet3};
use paravane_mock_hal::{MockPlatform, PciHost, message};
use paravane_net::{Burst, Frame, FrameLayout, FramePool, RxQueue as _, TxQueue as _};
use paravane_pci::{Function, PciAddress};
use paravane_vmxnet3::{Config, Device, Running};

pub type MockDevice = Device<MockPlatform, PciHost>;
pub type MockRunning = Running<MockPlatform, PciHost>;

pub const MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];
pub const MESSAGES: [MsiMessage; 3] = messages();

/// Messages that differ.
#[allow(clippy::cast_possible_truncation, reason = "few")]
pub const fn messages<const COUNT: usize>() -> [MsiMessage; COUNT] {
    let mut messages = [message(0xfee0_0000, 0x40); COUNT];
    let mut index = 1;
    while index < COUNT {
        messages[index] = message(0xfee0_0000, 0x40 + index as u32);
        index += 1;
    }
    messages
}

/// In the control word of the MSI-X capability.
pub const MSIX_ENABLE: u16 = 1 << 15;

/// A platform, a device in it, and a pool.
pub struct Machine {
    pub platform: MockPlatform,
    pub device: Plugged,
    pub pool: FramePool,
}

impl Machine {
    pub fn new(personality: Personality) -> Self {
        Self::with_pool(personality, 2048)
    }

    pub fn with_pool(personality: Personality, frames: u32) -> Self {
        Self::on(MockPlatform::new(), personality, frames).unwrap()
    }

    /// On a platform of that kind; `None` without memory for the pool.
    pub fn on(platform: MockPlatform, personality: Personality, frames: u32) -> Option<Self> {
        let address = PciAddress::new(0, 0, 4, 0).unwrap();
        let device = Vmxnet3::plug(&platform, address, MAC, personality);
        let pool = FramePool::new(platform.clone(), FrameLayout::new(frames)).ok()?;
        Some(Self { platform, device, pool })
    }

    pub fn model(&self) -> MutexGuard<'_, Vmxnet3> {
        self.device.model.lock().unwrap()
    }

    pub fn claim(&self) -> MockDevice {
        let function = Function::claim(self.device.config.clone(), self.device.address).unwrap();
        Device::new(function, self.platform.clone()).unwrap()
    }

    pub fn start(&self, config: &Config, interrupts: Interrupts<'_>) -> MockRunning {
        self.claim().start(config, self.pool.clone(), interrupts).unwrap()
    }

    /// Small rings, polling.
    pub fn start_small(&self) -> MockRunning {
        self.start(&small(), Interrupts::POLLING)
    }

    /// Nobody broke a rule: neither the driver, as the model saw it, nor the model in the driver's
    /// memory.
    pub fn assert_clean(&self) {
        assert_eq!(self.model().violations, Vec::<String>::new());
        assert_eq!(self.platform.memory().faults(), []);
    }

    /// A frame with these bytes.
    pub fn frame(&self, bytes: &[u8]) -> Frame {
        let mut frame = self.pool.get().unwrap();
        assert!(frame.append(bytes));
        frame
    }

    /// A frame in several segments.
    pub fn chain(&self, segments: &[&[u8]]) -> Frame {
        let mut chain: Option<Frame> = None;
        for bytes in segments.iter().rev() {
            let mut frame = self.frame(bytes);
            if let Some(rest) = chain.take() {
                frame.set_next(rest);
            }
            chain = Some(frame);
        }
        chain.unwrap()
    }
}

/// The shortest rings, so that they wrap soon.
pub fn small() -> Config {
    Config::default().with_tx_entries(32).with_rx_entries(32).with_rx2_entries(32)
}

/// The `number`th frame of a test: to us, and unlike any other.
pub fn numbered(number: u32) -> Vec<u8> {
    let mut bytes = MAC.to_vec();
    bytes.extend([2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    bytes.extend(number.to_be_bytes());
    let len = 60 + number as usize % 1400;
    bytes.resize(len, number as u8);
    bytes
}

pub fn bytes_of(frame: &Frame) -> Vec<u8> {
    let mut bytes = vec![0; frame.total_bytes()];
    assert_eq!(frame.copy_out(&mut bytes), Some(bytes.len()));
    bytes
}

/// Receives everything that is there.
pub fn receive_all(running: &mut MockRunning) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut burst = Burst::new();
    while running.rx.receive(&mut burst).unwrap() > 0 {
        while let Some(frame) = burst.pop() {
            frames.push(frame);
        }
    }
    frames
}

/// Sends one frame, which the queue takes.
pub fn send(running: &mut MockRunning, frame: Frame) {
    let mut burst = Burst::new();
    burst.push(frame);
    assert_eq!(running.tx.transmit(&mut burst), Ok(1));
}

/// One frame each way, checked.
pub fn exchange(machine: &Machine, running: &mut MockRunning, number: u32) {
    assert!(machine.model().deliver(&numbered(number)));
    let frames = receive_all(running);
    assert_eq!(frames.iter().map(bytes_of).collect::<Vec<_>>(), [numbered(number)]);
    send(running, machine.frame(&numbered(number + 1)));
    running.tx.flush();
    machine.model().look();
    let sent = machine.model().take_sent();
    assert_eq!(sent.into_iter().map(|sent| sent.bytes).collect::<Vec<_>>(), [numbered(number + 1)]);
    assert_eq!(running.tx.reclaim(), Ok(1));
}

/// Runs `test` on QEMU's device, and on ESXi's.
pub fn both(test: impl Fn(Machine)) {
    test(Machine::new(Personality::qemu()));
    test(Machine::new(Personality::esxi()));
}
