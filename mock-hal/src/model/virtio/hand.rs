//! A driver made of single steps, over MMIO, for the model's own tests: what each ring does is for
//! the tests themselves.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "tests")]

use std::num::NonZeroUsize;

use paravane_hal::addr::{Align, PhysAddr};
use paravane_hal::dma::{Dma, DmaRegion, DmaRequest};
use paravane_hal::mmio::{Mmio, MmioMap};

use super::{Class, Personality, PluggedMmio, Virtio};
use crate::platform::MockPlatform;
use crate::registers::ModelRegion;

pub(super) const START: PhysAddr = PhysAddr::new(0xc000_1000);
pub(super) const LINE: u8 = 5;
/// Memory of each queue: three parts of 1 KiB, and some for tables.
const QUEUE_BYTES: u64 = 0x1000;
/// Where buffers start, each of 512 bytes.
const BUFFERS: u64 = 3 * QUEUE_BYTES;

pub(super) struct Hand<C: Class> {
    pub(super) platform: MockPlatform,
    pub(super) device: PluggedMmio<C>,
    pub(super) registers: ModelRegion,
    memory: Option<DmaRegion>,
}

impl<C: Class> Hand<C> {
    pub(super) fn new(personality: Personality, class: C) -> Self {
        Self::on(MockPlatform::new(), personality, class)
    }

    /// The same, where what the device is denied ends no test.
    pub(super) fn forgiving(personality: Personality, class: C) -> Self {
        Self::on(MockPlatform::builder().record_faults().build(), personality, class)
    }

    fn on(platform: MockPlatform, personality: Personality, class: C) -> Self {
        let device = Virtio::plug_mmio(&platform, START, LINE, class, personality);
        let registers = MmioMap::map(&platform, START, device.len_bytes).unwrap();
        let request = DmaRequest {
            len_bytes: NonZeroUsize::new(0x1_0000).unwrap(),
            align: Align::PAGE,
            address_bits: 64,
        };
        let memory = Some(platform.alloc(request).unwrap());
        Self { platform, device, registers, memory }
    }

    pub(super) fn read(&self, at: usize) -> u32 {
        self.registers.read32(at)
    }

    pub(super) fn write(&self, at: usize, value: u32) {
        self.registers.write32(at, value);
    }

    pub(super) fn status(&self, value: u8) -> u32 {
        self.write(0x70, value.into());
        self.read(0x70)
    }

    pub(super) fn accept(&self, features: u64) {
        for (word, bits) in [(0, features as u32), (1, (features >> 32) as u32)] {
            self.write(0x24, word);
            self.write(0x20, bits);
        }
    }

    /// Part `part` of queue `index`.
    pub(super) fn area(&self, queue: usize, part: u64) -> u64 {
        self.memory.as_ref().unwrap().dma().get() + queue as u64 * QUEUE_BYTES + part * 0x400
    }

    pub(super) fn buffer(&self, index: u16) -> u64 {
        self.area(0, 0) + BUFFERS + 0x200 * u64::from(index)
    }

    pub(super) fn negotiate(&self, features: u64) {
        for step in [1, 3] {
            assert_eq!(self.status(step), step.into());
        }
        self.accept(features);
        assert_eq!(self.status(11), 11);
    }

    pub(super) fn set_up_queue(&self, queue: usize, entries: u16) {
        self.write(0x30, queue as u32);
        self.write(0x38, entries.into());
        for (part, at) in [(0, 0x80), (1, 0x90), (2, 0xa0)] {
            let addr = self.area(queue, part);
            self.write(at, addr as u32);
            self.write(at + 4, (addr >> 32) as u32);
        }
        self.write(0x44, 1);
        assert_eq!(self.read(0x44), 1);
    }

    pub(super) fn set_up(&self, features: u64, queues: usize, entries: u16) {
        self.negotiate(features);
        (0..queues).for_each(|queue| self.set_up_queue(queue, entries));
        assert_eq!(self.status(15), 15);
    }

    pub(super) fn notify(&self, queue: usize) {
        self.write(0x50, queue as u32);
    }

    pub(super) fn poke(&self, addr: u64, bytes: &[u8]) {
        self.platform.memory().device_write(addr, bytes).unwrap();
    }

    pub(super) fn peek<const N: usize>(&self, addr: u64) -> [u8; N] {
        self.platform.memory().device_get(addr).unwrap()
    }

    pub(super) fn violations(&self) -> Vec<String> {
        std::mem::take(&mut self.device.lock().violations)
    }

    pub(super) fn refusals(&self) -> Vec<String> {
        std::mem::take(&mut self.device.lock().refusals)
    }
}

impl<C: Class> Drop for Hand<C> {
    fn drop(&mut self) {
        self.device.lock().reset();
        if let Some(memory) = self.memory.take() {
            #[expect(unsafe_code, reason = "memory is given back")]
            // SAFETY: allocated here, given back once, and the device was reset.
            unsafe {
                self.platform.free(memory);
            }
        }
    }
}
