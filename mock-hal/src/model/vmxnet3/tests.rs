//! The model against a driver made by hand, which may break any rule.

use std::sync::MutexGuard;

use paravane_hal::addr::{Align, PhysAddr};
use paravane_hal::dma::{DeviceDma, DeviceTag, DmaBox};
use paravane_hal::mmio::{Mmio, MmioMap};
use paravane_pci::{ConfigAccess, PciAddress};

use super::layout::{bar0, bar1, cmd, ecr, queue_desc, rx_mode, shared, upt};
use super::stats::at;
use super::{ESXI_REVISIONS, Personality, Plugged, QueueId, Vmxnet3, stop};
use crate::MockPlatform;
use crate::fault::{Action, Fault, FaultPlan, FaultPoint};
use crate::registers::ModelRegion;

const AT: PciAddress = PciAddress::new(0, 0, 4, 0).unwrap();
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const GROUP: [u8; 6] = [1, 0, 0x5e, 0, 0, 1];
const ALL: [u8; 6] = [0xff; 6];
const ENTRIES: u32 = 32;

// Where things lie in the hand's memory.
const TABLE: u64 = 0x400;
const TX: u64 = 0x2000;
const RX: u64 = 0x6000;
const COMPLETIONS: u64 = 0x800;
const RING2: u64 = 0x400;
const BUFFERS: u64 = 0xa000;
const BUFFER_BYTES: u32 = 256;

struct Hand {
    platform: MockPlatform,
    device: Plugged,
    bars: [ModelRegion; 2],
    /// Where its memory is, which is leaked.
    base: u64,
}

impl Hand {
    /// A device whose revision is chosen, and that is described with so many queues of each kind,
    /// interrupts off.
    fn new(personality: Personality, queues: u8) -> Self {
        let platform = MockPlatform::builder().record_faults().allow_leaks().build();
        let device = Vmxnet3::plug(&platform, AT, MAC, personality);
        device.config.write16(AT, 0x04, 0b110);
        let bars = [0x10, 0x14].map(|bar| {
            let start = PhysAddr::new(device.config.read32(AT, bar).into());
            MmioMap::map(&platform, start, 0x1000).unwrap()
        });
        let dma = DeviceDma::new(platform.clone(), DeviceTag::unique(), 64);
        let memory = DmaBox::<[u8; 0x2_0000], _>::zeroed(&dma, Align::new(512)).unwrap();
        let base = memory.dma_addr().get();
        let hand = Self { platform, device, bars, base };
        hand.write(1, bar1::VRRS, 1);
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
        self.put(shared::AUTO_MASK, &[1, 1, 0]);
        self.put32(shared::INTR_CTRL, shared::DISABLE_ALL);
        self.put32(shared::RX_MODE, rx_mode::UCAST | rx_mode::BCAST | rx_mode::ALL_MULTI);
        self.put(shared::VF_TABLE, &[0xff; 512]);
        for queue in 0..u64::from(queues) {
            let desc = TABLE + queue * queue_desc::BYTES;
            let rings = TX + queue * 0x1000;
            self.put64(desc + queue_desc::RING_BASE_PA, self.base + rings);
            self.put64(desc + queue_desc::COMP_RING_BASE_PA, self.base + rings + COMPLETIONS);
            self.put32(desc + queue_desc::RING_SIZE, ENTRIES);
            self.put32(desc + queue_desc::COMP_RING_SIZE, ENTRIES);
            let desc = desc + u64::from(queues) * queue_desc::BYTES;
            let rings = RX + queue * 0x1000;
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
        let at = TX + u64::from(queue * 0x1000 + slot * 16);
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

    fn stats(&self, rx: bool) -> [u64; 10] {
        self.command(cmd::GET_STATS);
        let desc = TABLE + if rx { queue_desc::BYTES } else { 0 };
        std::array::from_fn(|index| u64::from_le_bytes(self.get(desc + queue_desc::STATS + 8 * index as u64)))
    }

    fn violations(&self) -> Vec<String> {
        std::mem::take(&mut self.model().violations)
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

#[test]
fn what_is_posted_is_the_devices() {
    let hand = Hand::up(Personality::qemu(), 1);
    hand.put(BUFFERS, &[7; 8]);
    hand.post_rx(0, 0);
    hand.model().tick();
    assert_eq!(hand.get::<8>(BUFFERS), [0xdb; 8], "poisoned");
    hand.post_rx(1, 0);
    hand.model().tick();
    let said = hand.platform.memory().violations();
    assert!(said[0].starts_with("given to device `vmxnet3 00:04.0` while it is out already"), "{said:?}");
    hand.platform.memory().forgive();

    hand.post_rx(2, 2);
    assert!(hand.model().deliver(&frame(MAC, 60)));
    assert_eq!(hand.get::<6>(BUFFERS), MAC);
    hand.command(cmd::QUIESCE_DEV);
    hand.put(RX, &[0; 3 * 16]);
    hand.command(cmd::ACTIVATE_DEV);
    hand.post_rx(0, 2);
    hand.model().tick();
    assert_eq!(hand.platform.memory().violations(), [""; 0], "a device that was stopped holds nothing");
}

#[test]
fn what_is_sent_is_left_alone_until_its_completion() {
    let hand = Hand::up(Personality::esxi(), 1);
    for slot in 0..2 {
        hand.post_tx(0, slot, &frame(MAC, 60), 0, 1 << 12);
    }
    hand.write(0, bar0::TXPROD, 2);
    hand.put(BUFFERS, &[1]);
    hand.send(2, &frame(MAC, 60), 0, 0);
    let said = hand.platform.memory().violations();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("changed while the device had it: 60 bytes"), "{said:?}");
    hand.put(BUFFERS, &[2]);
    hand.send(3, &frame(MAC, 60), 0, 0);
    assert_eq!(hand.platform.memory().violations().len(), 1, "a completion is about all before it");
}

#[test]
fn a_lie_about_buffers_excuses_the_driver() {
    let hand = Hand::up(Personality::qemu(), 1);
    hand.post_rx(0, 0);
    hand.model().complete_rx([9 | 0b11 << 14, 0, 60, 0]);
    hand.post_rx(1, 0);
    hand.model().tick();
    assert_eq!(hand.platform.memory().violations(), [""; 0]);
}

#[test]
fn queues_are_known_by_number() {
    let hand = Hand::up(Personality::qemu(), 2);
    hand.post_tx(1, 0, &frame(MAC, 60), 0, 0b11 << 12);
    hand.write(0, bar0::TXPROD + bar0::STRIDE, 1);
    assert_eq!(hand.model().take_sent().len(), 1);
    assert_eq!(hand.get32(TX + 0x1000 + COMPLETIONS + 12), 1 << 31, "in its own completion ring");
    assert_eq!(hand.get32(TX + COMPLETIONS + 12), 0);
    hand.write(0, bar0::RXPROD + bar0::STRIDE, 1);
    assert_eq!(hand.violations(), [""; 0]);
    hand.write(0, bar0::TXPROD + 2 * bar0::STRIDE, 1);
    assert_eq!(hand.violations(), ["BAR0 register 0x610, which does not exist, written"]);
}

#[test]
fn numbers_of_queues_have_a_limit() {
    for (queues, is_legal) in [(0, false), (1, true), (3, false), (4, true), (8, true), (16, false)] {
        let hand = Hand::new(Personality::qemu(), queues.min(4));
        hand.put(shared::NUM_TX_QUEUES, &[queues]);
        hand.put(shared::NUM_RX_QUEUES, &[1]);
        hand.command(cmd::ACTIVATE_DEV);
        let said = hand.violations();
        assert_eq!(!said.contains(&"at activation: numTxQueues".to_owned()), is_legal, "{queues}: {said:?}");
    }
}

/// As where rings lie over their own description.
#[test]
fn rings_whose_lengths_are_noise_are_refused() {
    let hand = Hand::new(Personality::qemu(), 1);
    for size in [queue_desc::RING_SIZE, queue_desc::RING2_SIZE] {
        hand.put32(TABLE + queue_desc::BYTES + size, u32::MAX);
    }
    assert_ne!(hand.command(cmd::ACTIVATE_DEV), 0);
    assert!(hand.violations()[1].contains("takes both rings"));
}

#[test]
fn a_revision_that_is_not_played_is_refused() {
    let hand = Hand::new(Personality::esxi(), 1);
    hand.write(1, bar1::VRRS, 1 << 2);
    assert_eq!(hand.command(cmd::ACTIVATE_DEV), 1);
    assert_eq!(hand.violations(), ["at activation: the revision is one that this model plays"]);
    hand.write(1, bar1::VRRS, 1 << 7);
    assert_eq!(hand.command(cmd::ACTIVATE_DEV), 1);
    assert_eq!(hand.violations(), ["at activation: 0x80 chosen of the revisions"]);
    hand.write(1, bar1::VRRS, 1);
    hand.command(cmd::FIRST_GET + 0x0a);
    assert_eq!(hand.violations(), ["command 0xf00d000a at revision bit 0x1"]);
    assert!(ESXI_REVISIONS.is_sorted_by_key(|revision| (revision.number, revision.last_get)));
}

#[test]
fn groups_pass_by_the_table() {
    let hand = Hand::up(Personality::qemu(), 1);
    hand.put32(shared::RX_MODE, rx_mode::MCAST);
    hand.command(cmd::UPDATE_RX_MODE);
    for slot in 0..4 {
        hand.post_rx(slot, slot);
    }
    assert!(!hand.model().deliver(&frame(GROUP, 60)), "no table");
    hand.put(BUFFERS - 16, &GROUP);
    hand.put(shared::MF_TABLE_LEN, &6_u16.to_le_bytes());
    hand.put64(shared::MF_TABLE_PA, hand.base + BUFFERS - 16);
    assert!(!hand.model().deliver(&frame(GROUP, 60)), "nobody told the device");
    hand.command(cmd::UPDATE_MAC_FILTERS);
    hand.put(BUFFERS - 16, &[0; 6]);
    assert!(hand.model().deliver(&frame(GROUP, 60)), "copied by the command");
    assert!(!hand.model().deliver(&frame([1, 0, 0x5e, 0, 0, 2], 60)), "another group");
    assert!(!hand.model().deliver(&frame(MAC, 60)));
    assert_eq!(hand.violations(), [""; 0]);
    hand.put(shared::MF_TABLE_LEN, &7_u16.to_le_bytes());
    hand.command(cmd::UPDATE_MAC_FILTERS);
    assert_eq!(hand.violations().len(), 1, "no list of groups");
}

#[test]
fn tagged_frames_pass_by_the_table() {
    for (personality, untagged_passes) in [(Personality::qemu(), true), (Personality::esxi(), false)] {
        let hand = Hand::up(personality, 1);
        for slot in 0..16 {
            hand.post_rx(slot, slot);
        }
        let received = |vlan: Option<u16>| hand.model().deliver(&vlan.map_or_else(|| frame(MAC, 60), tagged));
        assert_eq!(received(Some(37)), personality.activates_filters, "every bit is set");
        hand.command(cmd::UPDATE_RX_MODE);
        hand.command(cmd::UPDATE_VLAN_FILTERS);
        assert!(received(Some(37)), "the device was told");
        hand.put(shared::VF_TABLE, &[0; 512]);
        assert!(received(Some(37)), "nobody told the device");
        hand.command(cmd::UPDATE_VLAN_FILTERS);
        assert!(!received(Some(37)));
        assert_eq!([None, Some(0), Some(4095)].map(received), [untagged_passes; 3]);
        hand.put32(shared::VF_TABLE + 4, 1 << 5);
        hand.command(cmd::UPDATE_VLAN_FILTERS);
        assert_eq!([Some(37), Some(5)].map(received), [true, false]);
        hand.put32(shared::VF_TABLE + 4, 0);
        hand.put32(shared::RX_MODE, rx_mode::PROMISC);
        hand.command(cmd::UPDATE_VLAN_FILTERS);
        hand.command(cmd::UPDATE_RX_MODE);
        assert!(received(Some(5)), "an empty table is none to a promiscuous device");
    }
}

#[test]
fn tags_are_stripped_while_that_is_asked_for() {
    let hand = Hand::up(Personality::qemu(), 1);
    for slot in 0..2 {
        hand.post_rx(slot, slot);
    }
    assert!(hand.model().deliver(&tagged(0x123)));
    hand.put64(shared::UPT_FEATURES, upt::RXVLAN);
    hand.command(cmd::UPDATE_FEATURE);
    assert!(hand.model().deliver(&tagged(0x123)));
    let word2 = |slot: u64| hand.get32(RX + COMPLETIONS + slot * 16 + 8);
    assert_eq!([word2(0), word2(1)], [60, 56 | 1 << 15 | 0x123 << 16]);
}

#[test]
fn frames_are_counted_by_address_and_from_each_activation_on() {
    let hand = Hand::up(Personality::qemu(), 1);
    for (slot, to, len) in [(0, MAC, 60), (1, GROUP, 61), (2, ALL, 62)] {
        hand.send(slot, &frame(to, len), 0, 0);
        hand.post_rx(slot, 8 + slot);
        assert!(hand.model().deliver(&frame(to, len + 10)));
    }
    assert_eq!(hand.stats(false), [0, 0, 1, 60, 1, 61, 1, 62, 0, 0]);
    assert_eq!(hand.stats(true), [0, 0, 1, 70, 1, 71, 1, 72, 0, 0]);
    assert!(!hand.model().deliver(&frame(MAC, 60)));
    assert_eq!(hand.stats(true)[at::RX_OUT_OF_BUF], 1);
    hand.post_rx(3, 12);
    assert!(!hand.model().deliver(&frame(MAC, 300)), "ring 2 is empty");
    assert_eq!(hand.stats(true)[at::RX_ERROR], 1);
    assert_eq!(hand.get32(RX + COMPLETIONS + 3 * 16 + 8), 256 | 1 << 14, "err");

    hand.send(3, &frame(MAC, 13), 0, 0);
    hand.model().set_link(false);
    hand.send(4, &frame(MAC, 60), 0, 0);
    assert_eq!(hand.model().take_sent().len(), 3);
    let [.., errors, discards] = hand.stats(false);
    assert_eq!((errors, discards), (1, 1));
    assert_eq!(hand.get32(TX + COMPLETIONS + 4 * 16), 4, "completed all the same");
    assert!(!hand.model().deliver(&frame(MAC, 60)), "the cable is out");

    hand.command(cmd::QUIESCE_DEV);
    assert_eq!(hand.command(cmd::ACTIVATE_DEV), 0);
    assert_eq!((hand.stats(false), hand.stats(true)), ([0; 10], [0; 10]));
}

#[test]
fn frames_to_be_cut_are_counted_as_each_kind_of_device_does() {
    for (personality, frames) in [(Personality::qemu(), 1), (Personality::esxi(), 2)] {
        let hand = Hand::up(personality, 1);
        hand.send(0, &frame(MAC, 155), 100 << 18, 3 << 10 | 54);
        assert_eq!(hand.stats(false)[at::TSO..at::TSO + 2], [frames, 155]);
    }
}

#[test]
fn what_cannot_be_sent_stops_the_queue_of_a_device_that_stops() {
    let cases = [
        (0, 1 << 10 | 54, stop::DESC_NOT_SPT, "om = 1 below revision 4"),
        (0, 3 << 10 | 54, stop::TXD_INVALID, "segments of zero bytes"),
    ];
    for (word2, word3, code, what) in cases {
        let qemu = Hand::up(Personality::qemu(), 1);
        qemu.send(0, &frame(MAC, 154), word2, word3);
        assert_eq!(qemu.violations(), [what]);
        assert_eq!(qemu.get32(shared::ECR), 0);

        let esxi = Hand::up(Personality::esxi(), 1);
        esxi.send(0, &frame(MAC, 154), word2, word3);
        assert_eq!(esxi.violations(), [what]);
        assert_eq!(esxi.get32(shared::ECR), ecr::TQERR);
        esxi.command(cmd::GET_QUEUE_STATUS);
        assert_eq!(esxi.get::<1>(TABLE + queue_desc::STOPPED), [1]);
        assert_eq!(esxi.get32(TABLE + queue_desc::ERROR), code);
        assert_eq!(esxi.get::<1>(TABLE + queue_desc::BYTES + queue_desc::STOPPED), [0], "the other one runs");
        esxi.send(1, &frame(MAC, 60), 0, 0);
        assert_eq!(esxi.model().take_sent().len(), 0);
    }
}

#[test]
fn a_frame_has_so_many_descriptors_and_an_end() {
    let hand = Hand::up(Personality::esxi(), 1);
    for slot in 0..17 {
        hand.post_tx(0, slot, &[0; 60], 0, u32::from(slot == 16) << 12);
    }
    hand.write(0, bar0::TXPROD, 17);
    assert_eq!(hand.violations(), ["too many descriptors in a frame"]);
    let hand = Hand::up(Personality::esxi(), 1);
    hand.post_tx(0, 0, &[0; 60], 0, 0);
    hand.write(0, bar0::TXPROD, 1);
    assert_eq!(hand.violations(), ["a frame was shown to the device before all of it was there"]);
    hand.command(cmd::GET_QUEUE_STATUS);
    assert_eq!(hand.get32(TABLE + queue_desc::ERROR), stop::NOEOP);
}

#[test]
fn deferred_frames_are_counted_by_both_sides() {
    let hand = Hand::up(Personality::esxi(), 1);
    hand.post_tx(0, 0, &frame(MAC, 60), 0, 0b11 << 12);
    hand.put32(TABLE + queue_desc::TX_NUM_DEFERRED, 1);
    hand.post_tx(0, 1, &frame(MAC, 155), 100 << 18, 0b11 << 12 | 3 << 10 | 54);
    hand.put32(TABLE + queue_desc::TX_NUM_DEFERRED, 3);
    hand.model().look();
    assert_eq!(hand.violations(), [""; 0], "one, and two that come of the other");
    hand.post_tx(0, 2, &frame(MAC, 60), 0, 0b11 << 12);
    hand.model().look();
    assert_eq!(hand.violations(), ["txNumDeferred is 3, 4 came without a doorbell"]);
    hand.write(0, bar0::TXPROD, 3);
    assert_eq!(hand.violations(), ["a doorbell with 3 in txNumDeferred"]);
}

#[test]
fn a_write_to_a_mask_drops_the_pin_of_qemu() {
    for (personality, stays) in [(Personality::qemu(), false), (Personality::esxi(), true)] {
        let hand = Hand::up(personality, 1);
        hand.put32(shared::INTR_CTRL, 0);
        hand.write(0, bar0::IMR, 0);
        hand.model().device_changed();
        assert!(hand.model().line());
        hand.write(0, bar0::IMR, 0);
        assert_eq!(hand.model().line(), stays);
        assert_eq!(hand.platform.interrupts().is_raised(11), stays);
        assert_eq!(hand.bars[1].read32(bar1::ICR), u32::from(stays));
    }
}

#[test]
fn only_the_queue_that_stopped_stands_still() {
    let hand = Hand::up(Personality::qemu(), 1);
    hand.post_rx(0, 0);
    hand.model().stop_queue(QueueId::Rx(0), stop::SMALL_BUF);
    assert!(!hand.model().deliver(&frame(MAC, 60)));
    hand.send(0, &frame(MAC, 60), 0, 0);
    assert_eq!(hand.model().take_sent().len(), 1);
    assert_eq!(hand.get32(shared::ECR), ecr::RQERR);
    hand.write(1, bar1::ECR, ecr::RQERR);
    assert_eq!(hand.get32(shared::ECR), 0);
}

#[test]
fn room_is_what_a_frame_would_find() {
    let hand = Hand::up(Personality::qemu(), 1);
    assert!(!hand.model().has_room(60));
    hand.post_rx(0, 0);
    assert_eq!([60, 256, 257].map(|len| hand.model().has_room(len)), [true, true, false]);
    hand.post_body(0, 1);
    hand.post_body(1, 2);
    assert_eq!([512, 513].map(|len| hand.model().has_room(len)), [true, false], "maxNumRxSG is 2");
    assert!(hand.model().deliver(&frame(MAC, 512)));
    assert_eq!(hand.get(BUFFERS + 511), [0x33]);
    assert!(!hand.model().has_room(60));
}

#[test]
fn a_device_stops_by_its_commands_or_with_its_address() {
    let state = |hand: &Hand| {
        let model = hand.model();
        (model.is_active(), model.shared_addr())
    };
    for personality in [Personality::qemu(), Personality::esxi()] {
        let hand = Hand::up(personality, 1);
        assert_eq!(state(&hand), (true, Some(hand.base)));
        let refused = |command| Fault::nth(FaultPoint::Command, 1, Action::Refuse).of(command);
        hand.model().faults = FaultPlan::new([refused(cmd::QUIESCE_DEV), refused(cmd::RESET_DEV)]);
        assert_eq!([cmd::QUIESCE_DEV, cmd::RESET_DEV].map(|command| hand.command(command)), [1; 2]);
        assert_eq!(state(&hand), (true, Some(hand.base)), "what is refused is not carried out");
        assert_eq!(hand.command(cmd::RESET_DEV), 0);
        assert_eq!(state(&hand), (false, (!personality.forgets_shared).then_some(hand.base)));

        let hand = Hand::up(personality, 1);
        hand.write(1, bar1::DSAL, 0);
        hand.write(1, bar1::DSAH, 0);
        assert_eq!(state(&hand), (false, None));
    }
}

#[test]
fn a_device_remembers_what_was_unmasked_when_it_was_quiesced() {
    let hand = Hand::up(Personality::qemu(), 1);
    hand.write(0, bar0::IMR, 0);
    hand.command(cmd::QUIESCE_DEV);
    assert_eq!(hand.model().left_unmasked, [0]);
    assert_eq!(hand.command(cmd::ACTIVATE_DEV), 0);
    hand.write(0, bar0::IMR, 1);
    hand.command(cmd::QUIESCE_DEV);
    assert_eq!(hand.model().left_unmasked, [0; 0]);
}
