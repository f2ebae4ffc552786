//! The model against a driver made by hand, which may break any rule.

#![allow(clippy::cast_possible_truncation, reason = "numbers of queues and slots are small")]

mod capability;
mod chaos;
mod coalesce;
mod data_ring;
mod faults;
mod filter;
mod frames;
mod interrupt;
mod life;
mod lro;
mod memory;
mod migrate;
mod offload;
mod queues;
mod receive;
mod rss;
mod settings;
mod sleep;
mod transmit;
mod verdict;
mod wake;

use std::sync::MutexGuard;

use paravane_hal::addr::{Align, PhysAddr};
use paravane_hal::dma::{DeviceDma, DeviceTag, DmaBox};
use paravane_hal::mmio::{Mmio, MmioMap};
use paravane_pci::{ConfigAccess, PciAddress};

use super::layout::{bar0, bar1, cmd, ecr, queue_desc, rx_mode, shared, upt};
use super::stats::at;
use super::{ESXI_REVISIONS, Personality, Plugged, QueueId, Vmxnet3, stop};
use crate::MockPlatform;
use crate::fault::{Action, Fault, FaultPlan, FaultPoint, Field};
use crate::registers::ModelRegion;

const AT: PciAddress = PciAddress::new(0, 0, 4, 0).unwrap();
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const GROUP: [u8; 6] = [1, 0, 0x5e, 0, 0, 1];
const ALL: [u8; 6] = [0xff; 6];
const ENTRIES: u32 = 32;

// Where things lie in the hand's memory.
const TABLE: u64 = 0x400;
const TX: u64 = 0x1_0000;
const RX: u64 = 0x3_0000;
/// Of the rings of a queue, to those of the next.
const STRIDE: u64 = 0x1000;
const COMPLETIONS: u64 = 0x800;
const RING2: u64 = 0x400;
const BUFFERS: u64 = 0x6_0000;
const BUFFER_BYTES: u32 = 256;

struct Hand {
    platform: MockPlatform,
    device: Plugged,
    bars: [ModelRegion; 2],
    /// Where its memory is, which is leaked.
    base: u64,
}

impl Hand {
    /// A device whose first revision is chosen, and that is described with so many queues of each
    /// kind, interrupts off.
    fn new(personality: Personality, queues: u8) -> Self {
        Self::revised(personality, 1, queues)
    }

    /// The same with another revision.
    fn revised(personality: Personality, revision: u8, queues: u8) -> Self {
        let platform = MockPlatform::builder().record_faults().allow_leaks().build();
        let device = Vmxnet3::plug(&platform, AT, MAC, personality);
        device.config.write16(AT, 0x04, 0b110);
        let bars = [0x10, 0x14].map(|bar| {
            let start = PhysAddr::new(device.config.read32(AT, bar).into());
            MmioMap::map(&platform, start, 0x1000).unwrap()
        });
        let dma = DeviceDma::new(platform.clone(), DeviceTag::unique(), 64);
        let memory = DmaBox::<[u8; 0x10_0000], _>::zeroed(&dma, Align::new(512)).unwrap();
        let base = memory.dma_addr().get();
        let hand = Self { platform, device, bars, base };
        hand.write(1, bar1::VRRS, 1 << (revision - 1));
        hand.describe(queues);
        hand
    }

    /// The same, activated, with every frame let through and a doorbell for the buffers that come.
    fn up(personality: Personality, queues: u8) -> Self {
        let hand = Self::new(personality, queues);
        assert_eq!(hand.command(cmd::ACTIVATE_DEV), 0, "{:?}", hand.model().violations);
        hand
    }

    fn describe(&self, queues: u8) {
        self.put32(shared::MAGIC, shared::MAGIC_VALUE);
        self.put32(shared::GOS, 1 << 2 | 2);
        self.put64(shared::REV_SPT, 1 << 32 | 1);
        self.put64(shared::QUEUE_DESC_PA, self.base + TABLE);
        self.put32(shared::QUEUE_DESC_LEN, u32::from(queues) * 512);
        self.put32(shared::MTU, 1500);
        self.put(shared::MAX_NUM_RX_SG, &[2, 0, queues, queues]);
        let [auto_mask, intr_ctrl] = interrupt_conf(queues);
        self.put(auto_mask, &[1, 1, 0]);
        self.put32(intr_ctrl, shared::DISABLE_ALL);
        self.put32(shared::RX_MODE, rx_mode::UCAST | rx_mode::BCAST | rx_mode::ALL_MULTI);
        self.put(shared::VF_TABLE, &[0xff; 512]);
        for queue in 0..u64::from(queues) {
            let desc = TABLE + queue * queue_desc::BYTES;
            let rings = TX + queue * STRIDE;
            self.put64(desc + queue_desc::RING_BASE_PA, self.base + rings);
            self.put64(desc + queue_desc::COMP_RING_BASE_PA, self.base + rings + COMPLETIONS);
            self.put32(desc + queue_desc::RING_SIZE, ENTRIES);
            self.put32(desc + queue_desc::COMP_RING_SIZE, ENTRIES);
            let desc = desc + u64::from(queues) * queue_desc::BYTES;
            let rings = RX + queue * STRIDE;
            self.put64(desc + queue_desc::RING_BASE_PA, self.base + rings);
            self.put64(desc + queue_desc::RING2_BASE_PA, self.base + rings + RING2);
            self.put64(desc + queue_desc::COMP_RING_BASE_PA, self.base + rings + COMPLETIONS);
            self.put32(desc + queue_desc::RING_SIZE, ENTRIES);
            self.put32(desc + queue_desc::RING2_SIZE, ENTRIES);
            self.put32(desc + queue_desc::COMP_RING_SIZE, 2 * ENTRIES);
        }
        let halves = [self.base & 0xffff_ffff, self.base >> 32].map(|half| u32::try_from(half).unwrap());
        self.write(1, bar1::DSAL, halves[0]);
        self.write(1, bar1::DSAH, halves[1]);
    }

    fn model(&self) -> MutexGuard<'_, Vmxnet3> {
        self.device.model.lock().unwrap()
    }

    fn write(&self, bar: usize, offset: usize, value: u32) {
        self.bars[bar].write32(offset, value);
    }

    fn command(&self, command: u32) -> u32 {
        self.write(1, bar1::CMD, command);
        self.bars[1].read32(bar1::CMD)
    }

    fn put(&self, at: u64, bytes: &[u8]) {
        self.platform.memory().device_write(self.base + at, bytes).unwrap();
    }

    fn put32(&self, at: u64, value: u32) {
        self.put(at, &value.to_le_bytes());
    }

    fn put64(&self, at: u64, value: u64) {
        self.put(at, &value.to_le_bytes());
    }

    fn get<const N: usize>(&self, at: u64) -> [u8; N] {
        self.platform.memory().device_get(self.base + at).unwrap()
    }

    fn get32(&self, at: u64) -> u32 {
        u32::from_le_bytes(self.get(at))
    }

    /// Describes `bytes` in slot `slot` of a transmit queue, on its first lap.
    fn post_tx(&self, queue: u32, slot: u32, bytes: &[u8], word2: u32, word3: u32) {
        let buffer = BUFFERS + u64::from((queue * ENTRIES + slot) * BUFFER_BYTES);
        self.put(buffer, bytes);
        let at = TX + u64::from(queue) * STRIDE + u64::from(slot * 16);
        self.put64(at, self.base + buffer);
        self.put32(at + 12, word3);
        self.put32(at + 8, word2 | 1 << 14 | u32::try_from(bytes.len()).unwrap());
    }

    /// Sends a whole frame from slot `slot` of queue 0 by its doorbell.
    fn send(&self, slot: u32, bytes: &[u8], word2: u32, word3: u32) {
        self.post_tx(0, slot, bytes, word2, word3 | 0b11 << 12);
        self.write(0, bar0::TXPROD, slot + 1);
    }

    /// Posts buffer `buffer` in slot `slot` of ring 1 of receive queue 0, on its first lap, and
    /// tells.
    fn post_rx(&self, slot: u32, buffer: u32) {
        self.post(RX, 0, slot, buffer);
        self.write(0, bar0::RXPROD, slot + 1);
    }

    /// The same for ring 2.
    fn post_body(&self, slot: u32, buffer: u32) {
        self.post(RX + RING2, 1 << 14, slot, buffer);
        self.write(0, bar0::RXPROD2, slot + 1);
    }

    fn post(&self, ring: u64, kind: u32, slot: u32, buffer: u32) {
        let at = ring + u64::from(slot) * 16;
        self.put64(at, self.base + BUFFERS + u64::from(buffer * BUFFER_BYTES));
        self.put32(at + 8, 1 << 31 | kind | BUFFER_BYTES);
    }

    /// Of queue 0, where there is no other.
    fn stats(&self, rx: bool) -> [u64; 10] {
        self.command(cmd::GET_STATS);
        let desc = TABLE + if rx { queue_desc::BYTES } else { 0 };
        std::array::from_fn(|index| u64::from_le_bytes(self.get(desc + queue_desc::STATS + 8 * index as u64)))
    }

    fn violations(&self) -> Vec<String> {
        std::mem::take(&mut self.model().violations)
    }
}

/// Where the interrupt configuration of a device with so many queues is, and its `intrCtrl`.
fn interrupt_conf(queues: u8) -> [u64; 2] {
    if queues > 8 {
        [shared::AUTO_MASK_EXT, shared::INTR_CTRL_EXT]
    } else {
        [shared::AUTO_MASK, shared::INTR_CTRL]
    }
}

/// A frame of `len` bytes to `to`.
fn frame(to: [u8; 6], len: usize) -> Vec<u8> {
    let mut bytes = to.to_vec();
    bytes.resize(len, 0x33);
    bytes
}

fn tagged(vlan: u16) -> Vec<u8> {
    let mut bytes = frame(MAC, 60);
    bytes[12..14].copy_from_slice(&[0x81, 0]);
    bytes[14..16].copy_from_slice(&vlan.to_be_bytes());
    bytes
}
