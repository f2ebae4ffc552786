//! virtio-net, as far as a data path sees it: split or packed queues, event index, one queue pair,
//! polled. Both virtio drivers run on it, on packed queues only ours.

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
/// And RING_PACKED, where that is offered.
const RING_PACKED: u64 = 1 << 34;
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
    packed: bool,
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
    packed: bool,
    /// Of the next chain to be taken.
    next_avail: u16,
    /// Of the next one to be given back.
    next_used: u16,
    /// Packed: the laps that these two are in, true at first.
    laps: (bool, bool),
}

/// A chain that was taken.
#[derive(Clone, Copy)]
struct Chain {
    id: u16,
    /// Where its first buffer is.
    addr: u64,
    descriptors: u16,
    len_bytes: u64,
}

impl Queue {
    /// A queue of `entries` at these addresses.
    pub fn new(entries: u16, descriptors: u64, avail: u64, used: u64) -> Self {
        Self { entries, descriptors, avail, used, enabled: true, ..Self::default() }
    }

    fn is_ready(&self) -> bool {
        self.entries != 0 && self.used != 0
    }

    /// Takes the next chain, if there is one.
    fn take(&mut self) -> Option<Chain> {
        if self.packed {
            return self.take_packed();
        }
        let idx: u16 = load(self.avail + 2);
        if idx == self.next_avail {
            return None;
        }
        let id = load(self.avail + 4 + u64::from(self.next_avail % self.entries) * 2);
        self.next_avail = self.next_avail.wrapping_add(1);
        let mut at = self.descriptor(id);
        let mut chain = Chain { id, addr: load(at), descriptors: 1, len_bytes: load::<u32>(at + 8).into() };
        while load::<u16>(at + 12) & 1 != 0 {
            at = self.descriptor(load(at + 14));
            chain.descriptors += 1;
            chain.len_bytes += u64::from(load::<u32>(at + 8));
        }
        Some(chain)
    }

    fn take_packed(&mut self) -> Option<Chain> {
        let mut at = self.descriptor(self.next_avail);
        let mut flags: u16 = load(at + 14);
        if flags & 0x8080 != if self.laps.0 { 0x80 } else { 0x8000 } {
            return None;
        }
        let mut chain = Chain { id: 0, addr: load(at), descriptors: 0, len_bytes: 0 };
        loop {
            chain.descriptors += 1;
            chain.len_bytes += u64::from(load::<u32>(at + 8));
            self.next_avail += 1;
            if self.next_avail == self.entries {
                (self.next_avail, self.laps.0) = (0, !self.laps.0);
            }
            if flags & 1 == 0 {
                chain.id = load(at + 12);
                return Some(chain);
            }
            at = self.descriptor(self.next_avail);
            flags = load(at + 14);
        }
    }

    fn descriptor(&self, index: u16) -> u64 {
        self.descriptors + u64::from(index) * 16
    }

    /// Gives `chains` back, last one first if they are to be out of order.
    fn complete(&mut self, chains: &[Chain], written_bytes: u32, kind: Kind) {
        for index in 0..chains.len() {
            let chain = match kind {
                Kind::OutOfOrder => chains[chains.len() - 1 - index],
                _ => chains[index],
            };
            if self.packed {
                let at = self.descriptor(self.next_used);
                store(at + 8, written_bytes);
                store(at + 12, chain.id);
                store(at + 14, if self.laps.1 { 0x8080_u16 } else { 0 });
                self.next_used += chain.descriptors;
                if self.next_used >= self.entries {
                    (self.next_used, self.laps.1) = (self.next_used - self.entries, !self.laps.1);
                }
                continue;
            }
            let element = self.used + 4 + u64::from(self.next_used % self.entries) * 8;
            store(element, u32::from(chain.id));
            store(element + 4, written_bytes);
            self.next_used = self.next_used.wrapping_add(1);
        }
        // Asks to be told about the next chain: it goes to sleep after each turn, as a device in
        // another thread would.
        if self.packed {
            store(self.used, self.next_avail | u16::from(self.laps.0) << 15);
            store(self.used + 2, 2_u16);
            return;
        }
        store(self.used + 2, self.next_used);
        store(self.used + 4 + u64::from(self.entries) * 8, self.next_avail);
    }
}

impl Device {
    fn new(packed: bool) -> Self {
        Self { packed, ..Self::default() }
    }

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
        let mut chains = Vec::with_capacity(ENTRIES.into());
        while let Some(chain) = queue.take() {
            self.sent_bytes += chain.len_bytes;
            self.sent += 1;
            chains.push(chain);
        }
        queue.complete(&chains, 0, kind);
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
        let mut chains = Vec::with_capacity(frames);
        while chains.len() < frames {
            let Some(chain) = queue.take() else { return false };
            store_bytes(chain.addr, &header);
            store_bytes(chain.addr + HEADER_BYTES as u64, frame);
            chains.push(chain);
        }
        queue.complete(&chains, written_bytes, kind);
        true
    }

    fn read(&self, offset_bytes: usize) -> u32 {
        let queue = self.queues.get(self.queue_select).copied().unwrap_or_default();
        match offset_bytes {
            0x04 => match self.feature_select {
                0 => u32::try_from(FEATURES & 0xffff_ffff).unwrap_or(0),
                1 => u32::try_from((FEATURES | if self.packed { RING_PACKED } else { 0 }) >> 32).unwrap_or(0),
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
            0x14 if value == 0 => return *self = Self::new(self.packed),
            0x14 => return self.status = value as u8,
            0x16 => return self.queue_select = value as usize,
            _ => {}
        }
        let Some(queue) = self.queues.get_mut(self.queue_select) else { return };
        let low = |old: u64| old & !0xffff_ffff | u64::from(value);
        let high = |old: u64| old & 0xffff_ffff | u64::from(value) << 32;
        match offset_bytes {
            0x18 => queue.entries = value as u16,
            0x1c => (queue.enabled, queue.packed, queue.laps) = (value == 1, self.packed, (true, true)),
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
    /// A device with packed queues.
    pub fn packed() -> Self {
        Self(Mutex::new(Device::new(true)))
    }

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
