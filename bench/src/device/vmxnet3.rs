//! VMXNET3, as far as a data path sees it: revision 1, one queue pair, polled.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{load, store, store_bytes};
use crate::platform::Registers;
use crate::space::Space;
use crate::subject::Kind;

const ACTIVATE: u32 = 0xcafe_0000;
const RESET: u32 = 0xcafe_0002;
const PERM_MAC_LOW: u32 = 0xf00d_0003;
const PERM_MAC_HIGH: u32 = 0xf00d_0004;
const LINK: u32 = 0xf00d_0002;

/// `tuc`, `tcp`, `ipc`, `v4`: both checksums of TCP over IPv4 are right.
const GOOD_TCP4: u32 = 1 << 16 | 1 << 18 | 1 << 19 | 1 << 21;

/// The device.
#[derive(Default)]
pub struct Device {
    shared: u64,
    command: u32,
    tx: Ring,
    tx_completions: Ring,
    rx: Ring,
    rx_completions: Ring,
    /// Frames taken off the transmit ring so far.
    pub sent: u64,
    /// And their bytes.
    pub sent_bytes: u64,
}

/// A ring of 16-byte entries and where the device stands in it.
#[derive(Clone, Copy, Default)]
struct Ring {
    base: u64,
    entries: u32,
    index: u32,
    generation: u32,
}

impl Ring {
    fn new(base: u64, entries: u32) -> Self {
        Self { base, entries, index: 0, generation: 1 }
    }

    fn at(&self) -> u64 {
        self.base + u64::from(self.index) * 16
    }

    fn step(&mut self) {
        self.index += 1;
        if self.index == self.entries {
            self.index = 0;
            self.generation ^= 1;
        }
    }
}

impl Device {
    /// Starts by what the driver wrote down.
    fn activate(&mut self) {
        let table: u64 = load(self.shared + 0x28);
        let (tx, rx) = (table, table + 256);
        self.tx = Ring::new(load(tx + 0x10), load(tx + 0x38));
        self.tx_completions = Ring::new(load(tx + 0x20), load(tx + 0x40));
        self.rx = Ring::new(load(rx + 0x10), load(rx + 0x38));
        self.rx_completions = Ring::new(load(rx + 0x20), load(rx + 0x40));
    }

    /// Takes every frame that was handed over, and completes where a completion was asked for.
    pub fn transmit(&mut self) {
        if self.tx.entries == 0 {
            return;
        }
        loop {
            let at = self.tx.at();
            let word2: u32 = load(at + 8);
            if word2 >> 14 & 1 != self.tx.generation {
                return;
            }
            let word3: u32 = load(at + 12);
            self.sent_bytes += u64::from(word2 & 0x3fff);
            self.sent += u64::from(word3 >> 12 & 1);
            if word3 >> 13 & 1 != 0 {
                let done = self.tx_completions.at();
                store(done, self.tx.index);
                store(done + 12, self.tx_completions.generation << 31);
                self.tx_completions.step();
            }
            self.tx.step();
        }
    }

    /// Delivers `frames` times `frame`. False when the driver has not given enough buffers.
    pub fn deliver(&mut self, frame: &[u8], frames: usize, kind: Kind) -> bool {
        let len_bytes = u32::try_from(frame.len()).unwrap_or(0);
        let (not_calculated, checksums) = match kind {
            Kind::Checksum => (0, GOOD_TCP4),
            _ => (1 << 30, 0),
        };
        for _ in 0..frames {
            if kind == Kind::PassedOver {
                if !self.has_buffer() {
                    return false;
                }
                self.rx.step();
            }
            if !self.has_buffer() {
                return false;
            }
            store_bytes(load(self.rx.at()), frame);
            let done = self.rx_completions.at();
            // First and last buffer of the frame, of ring 1.
            store(done, self.rx.index | 1 << 14 | 1 << 15 | not_calculated);
            store(done + 4, 0_u32);
            store(done + 8, len_bytes);
            store(done + 12, self.rx_completions.generation << 31 | checksums);
            self.rx_completions.step();
            self.rx.step();
        }
        true
    }

    /// Whether the driver has given the next receive buffer.
    fn has_buffer(&self) -> bool {
        let word2: u32 = load(self.rx.at() + 8);
        self.rx.entries != 0 && word2 >> 31 == self.rx.generation
    }
}

/// The device behind its registers.
#[derive(Default)]
pub struct Port(Mutex<Device>);

impl Port {
    /// The device, for its turn.
    pub fn device(&self) -> MutexGuard<'_, Device> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its configuration space.
    pub fn space() -> Space {
        Space::new(0x15ad, 0x07b0, 2)
    }
}

impl Registers for Port {
    fn read(&self, bar: usize, offset_bytes: usize, _width_bytes: usize) -> u32 {
        match (bar, offset_bytes) {
            // One revision, one version.
            (1, 0x00 | 0x08) => 1,
            (1, 0x20) => match self.device().command {
                PERM_MAC_LOW => 0x0000_0002,
                PERM_MAC_HIGH => 0x0100,
                LINK => 10_000 << 16 | 1,
                _ => 0,
            },
            _ => 0,
        }
    }

    fn write(&self, bar: usize, offset_bytes: usize, _width_bytes: usize, value: u32) {
        let mut device = self.device();
        match (bar, offset_bytes) {
            (1, 0x10) => device.shared = device.shared & !0xffff_ffff | u64::from(value),
            (1, 0x18) => device.shared = device.shared & 0xffff_ffff | u64::from(value) << 32,
            (1, 0x20) => {
                device.command = value;
                match value {
                    ACTIVATE => device.activate(),
                    RESET => *device = Device::default(),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn doorbells_from(&self, bar: usize) -> usize {
        if bar == 0 { 0 } else { usize::MAX }
    }
}
