//! virtio-net, as far as a data path sees it: split queues, event index, one queue pair, polled.
//! Both virtio drivers run on it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{load, store, store_bytes};
use crate::platform::Registers;
use crate::space::Space;
use crate::subject::Kind;

/// VERSION_1, EVENT_IDX, STATUS, MAC, GUEST_CSUM, CSUM.
///
/// Indirect descriptors are not offered: neither driver gains by them here, and one would allocate
/// for each frame.
pub const FEATURES: u64 = 1 << 32 | 1 << 29 | 1 << 16 | 1 << 5 | 1 << 1 | 1;
/// Entries of either queue.
pub const ENTRIES: u16 = 256;
/// Length of the header in front of each frame.
pub const HEADER_BYTES: usize = 12;
/// `flags` of a frame whose checksum the device found good.
const DATA_VALID: u8 = 2;
/// `mac`, `status`.
pub const CONFIG: [u8; 8] = [2, 0, 0, 0, 0, 1, 1, 0];

/// The receive queue.
pub const RX: usize = 0;
/// The transmit queue.
pub const TX: usize = 1;

/// Where the registers are in BAR 0.
const COMMON: usize = 0x0000;
const ISR: usize = 0x1000;
const DEVICE: usize = 0x2000;
const NOTIFY: usize = 0x3000;

/// The device.
#[derive(Default)]
pub struct Device {
    status: u8,
    feature_select: u32,
    queue_select: usize,
    queues: [Queue; 2],
    /// Frames taken off the transmit queue so far.
    pub sent: u64,
    /// And their bytes, header included.
    pub sent_bytes: u64,
}

/// One queue and where the device stands in it.
#[derive(Clone, Copy, Default)]
pub struct Queue {
    entries: u16,
    descriptors: u64,
    avail: u64,
    used: u64,
    enabled: bool,
    /// Of the next chain to be taken.
    next_avail: u16,
    /// Of the next one to be given back.
    next_used: u16,
}

impl Queue {
    /// A queue of `entries` at these addresses.
    pub fn new(entries: u16, descriptors: u64, avail: u64, used: u64) -> Self {
        Self { entries, descriptors, avail, used, enabled: true, next_avail: 0, next_used: 0 }
    }

    fn is_ready(&self) -> bool {
        self.entries != 0 && self.used != 0
    }

    /// Takes the next chain, if there is one: its head.
    fn take(&mut self) -> Option<u16> {
        let idx: u16 = load(self.avail + 2);
        if idx == self.next_avail {
            return None;
        }
        let head = load(self.avail + 4 + u64::from(self.next_avail % self.entries) * 2);
        self.next_avail = self.next_avail.wrapping_add(1);
        Some(head)
    }

    fn descriptor(&self, index: u16) -> u64 {
        self.descriptors + u64::from(index) * 16
    }

    /// Gives the chains headed by `heads` back, last one first if they are to be out of order.
    fn complete(&mut self, heads: &[u16], written_bytes: u32, kind: Kind) {
        for index in 0..heads.len() {
            let head = match kind {
                Kind::OutOfOrder => heads[heads.len() - 1 - index],
                _ => heads[index],
            };
            let element = self.used + 4 + u64::from(self.next_used % self.entries) * 8;
            store(element, u32::from(head));
            store(element + 4, written_bytes);
            self.next_used = self.next_used.wrapping_add(1);
        }
        store(self.used + 2, self.next_used);
        // Asks to be told about the next chain: it goes to sleep after each turn, as a device in
        // another thread would.
        store(self.used + 4 + u64::from(self.entries) * 8, self.next_avail);
    }
}

impl Device {
    /// Tells it where a queue is; for a transport that is not PCI.
    pub fn set_queue(&mut self, index: usize, queue: Queue) {
        if let Some(place) = self.queues.get_mut(index) {
            *place = queue;
        }
    }

    /// Takes every frame that was made available, and completes it.
    pub fn transmit(&mut self, kind: Kind) {
        let queue = &mut self.queues[TX];
        if !queue.is_ready() {
            return;
        }
        let mut heads = Vec::with_capacity(ENTRIES.into());
        while let Some(head) = queue.take() {
            let mut at = queue.descriptor(head);
            loop {
                self.sent_bytes += u64::from(load::<u32>(at + 8));
                if load::<u16>(at + 12) & 1 == 0 {
                    break;
                }
                at = queue.descriptor(load(at + 14));
            }
            self.sent += 1;
            heads.push(head);
        }
        queue.complete(&heads, 0, kind);
    }

    /// Delivers `frames` times `frame`. False when the driver has not given enough buffers.
    pub fn deliver(&mut self, frame: &[u8], frames: usize, kind: Kind) -> bool {
        let queue = &mut self.queues[RX];
        if !queue.is_ready() {
            return false;
        }
        let mut header = [0; HEADER_BYTES];
        // num_buffers: one.
        header[10] = 1;
        if kind == Kind::Checksum {
            header[0] = DATA_VALID;
        }
        let written_bytes = u32::try_from(HEADER_BYTES + frame.len()).unwrap_or(0);
        let mut heads = Vec::with_capacity(frames);
        while heads.len() < frames {
            let Some(head) = queue.take() else { return false };
            let addr: u64 = load(queue.descriptor(head));
            store_bytes(addr, &header);
            store_bytes(addr + HEADER_BYTES as u64, frame);
            heads.push(head);
        }
        queue.complete(&heads, written_bytes, kind);
        true
    }

    fn read(&self, offset_bytes: usize) -> u32 {
        let queue = self.queues.get(self.queue_select).copied().unwrap_or_default();
        match offset_bytes {
            0x04 => match self.feature_select {
                0 => u32::try_from(FEATURES & 0xffff_ffff).unwrap_or(0),
                1 => u32::try_from(FEATURES >> 32).unwrap_or(0),
                _ => 0,
            },
            0x12 => 2,
            0x14 => self.status.into(),
            0x18 if self.queue_select > TX => 0,
            0x18 if queue.entries == 0 => ENTRIES.into(),
            0x18 => queue.entries.into(),
            0x1a => 0xffff,
            0x1c => queue.enabled.into(),
            0x1e => u32::try_from(self.queue_select).unwrap_or(0),
            _ => 0,
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "registers are as wide as the access")]
    fn write(&mut self, offset_bytes: usize, value: u32) {
        match offset_bytes {
            0x00 => return self.feature_select = value,
            0x14 if value == 0 => return *self = Self::default(),
            0x14 => return self.status = value as u8,
            0x16 => return self.queue_select = value as usize,
            _ => {}
        }
        let Some(queue) = self.queues.get_mut(self.queue_select) else { return };
        let low = |old: u64| old & !0xffff_ffff | u64::from(value);
        let high = |old: u64| old & 0xffff_ffff | u64::from(value) << 32;
        match offset_bytes {
            0x18 => queue.entries = value as u16,
            0x1c => queue.enabled = value == 1,
            0x20 => queue.descriptors = low(queue.descriptors),
            0x24 => queue.descriptors = high(queue.descriptors),
            0x28 => queue.avail = low(queue.avail),
            0x2c => queue.avail = high(queue.avail),
            0x30 => queue.used = low(queue.used),
            0x34 => queue.used = high(queue.used),
            _ => {}
        }
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

    /// Its configuration space: four capabilities say where the registers are.
    pub fn space() -> Space {
        let space = Space::new(0x1af4, 0x1041, 1);
        space.put(0x06, &[0x10, 0]);
        space.put(0x34, &[0x40]);
        for (at, next, len, kind, offset, len_bytes) in [
            (0x40, 0x50, 16, 1, COMMON, 0x38),
            (0x50, 0x64, 20, 2, NOTIFY, 0x1000),
            (0x64, 0x74, 16, 3, ISR, 1),
            (0x74, 0x00, 16, 4, DEVICE, CONFIG.len()),
        ] {
            space.put(at, &[0x09, next, len, kind]);
            space.put(at + 8, &offset.to_le_bytes()[..4]);
            space.put(at + 12, &len_bytes.to_le_bytes()[..4]);
        }
        // Doorbells four bytes apart.
        space.put(0x60, &[4, 0, 0, 0]);
        space
    }
}

impl Registers for Port {
    fn read(&self, _bar: usize, offset_bytes: usize, width_bytes: usize) -> u32 {
        match offset_bytes {
            ISR => 0,
            DEVICE..NOTIFY => (0..width_bytes).rev().fold(0, |value, i| {
                let byte = CONFIG.get(offset_bytes - DEVICE + i).copied().unwrap_or(0);
                value << 8 | u32::from(byte)
            }),
            _ => self.device().read(offset_bytes),
        }
    }

    fn write(&self, _bar: usize, offset_bytes: usize, _width_bytes: usize, value: u32) {
        self.device().write(offset_bytes, value);
    }

    fn doorbells_from(&self, _bar: usize) -> usize {
        NOTIFY
    }
}
