//! virtio-net and virtio-blk, as far as a data path sees them: split or packed queues, event index,
//! one queue or pair of queues, polled. Both virtio drivers run on them, on packed queues only
//! ours.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{store, store_bytes};
use crate::platform::Registers;
use crate::space::Space;
use crate::subject::Kind;

mod queue;

pub use queue::Queue;

/// Which device it is.
#[derive(Debug)]
pub struct Class {
    /// The number of its kind.
    pub id: u8,
    /// What it offers.
    ///
    /// Indirect descriptors are not among it: no driver gains by them here, and one would allocate
    /// for each frame.
    pub features: u64,
    /// Its configuration space.
    pub config: &'static [u8],
    queues: usize,
}

/// VERSION_1 and EVENT_IDX.
const EVERY: u64 = 1 << 32 | 1 << 29;
/// And RING_PACKED, where that is offered.
const RING_PACKED: u64 = 1 << 34;

/// A network device: STATUS, MAC, GUEST_CSUM, CSUM; `mac`, `status`.
pub const NET: Class = Class {
    id: 1,
    features: EVERY | 1 << 16 | 1 << 5 | 1 << 1 | 1,
    config: &[2, 0, 0, 0, 0, 1, 1, 0],
    queues: 2,
};

/// A block device: SEG_MAX; `capacity` of [`SECTORS`], no `size_max`, `seg_max` 126.
pub const BLK: Class = Class {
    id: 2,
    features: EVERY | 1 << 2,
    config: &[0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 126, 0, 0, 0],
    queues: 1,
};
/// How many sectors the block device has.
pub const SECTORS: u64 = 0x10_0000;

/// Entries of any queue.
pub const ENTRIES: u16 = 256;
/// Length of the header in front of each frame.
pub const HEADER_BYTES: usize = 12;
/// `flags` of a frame whose checksum the device found good.
const DATA_VALID: u8 = 2;
/// Length of the header in front of each request.
const REQUEST_HEADER_BYTES: u32 = 16;
/// The status of a request that was done.
const OK: u8 = 0;

/// The receive queue, or the one for requests.
pub const RX: usize = 0;
/// The transmit queue.
pub const TX: usize = 1;

/// Where the registers are in BAR 0.
const COMMON: usize = 0x0000;
const ISR: usize = 0x1000;
const DEVICE: usize = 0x2000;
const NOTIFY: usize = 0x3000;

/// The device.
pub struct Device {
    class: &'static Class,
    packed: bool,
    status: u8,
    feature_select: u32,
    queue_select: usize,
    queues: [Queue; 2],
    /// Frames taken off the transmit queue so far.
    pub sent: u64,
    /// And their bytes, header included.
    pub sent_bytes: u64,
}

impl Device {
    fn new(class: &'static Class, packed: bool) -> Self {
        Self {
            class,
            packed,
            status: 0,
            feature_select: 0,
            queue_select: 0,
            queues: Default::default(),
            sent: 0,
            sent_bytes: 0,
        }
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
        queue.complete(&chains, kind);
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
            let Some(mut chain) = queue.take() else { return false };
            store_bytes(chain.first, &header);
            store_bytes(chain.first + HEADER_BYTES as u64, frame);
            chain.written_bytes = written_bytes;
            chains.push(chain);
        }
        queue.complete(&chains, kind);
        true
    }

    /// Says of every read that was made available that it is done. What was read is whatever is
    /// there.
    pub fn read_blocks(&mut self) {
        let queue = &mut self.queues[RX];
        if !queue.is_ready() {
            return;
        }
        let mut chains = Vec::with_capacity(ENTRIES.into());
        while let Some(mut chain) = queue.take() {
            store(chain.last, OK);
            let len_bytes = u32::try_from(chain.len_bytes).unwrap_or(0);
            chain.written_bytes = len_bytes.saturating_sub(REQUEST_HEADER_BYTES);
            chains.push(chain);
        }
        queue.complete(&chains, Kind::Plain);
    }

    fn read(&self, offset_bytes: usize) -> u32 {
        let queue = self.queues.get(self.queue_select).copied().unwrap_or_default();
        match offset_bytes {
            0x04 => match self.feature_select {
                0 => u32::try_from(self.class.features & 0xffff_ffff).unwrap_or(0),
                1 => u32::try_from((self.class.features | if self.packed { RING_PACKED } else { 0 }) >> 32)
                    .unwrap_or(0),
                _ => 0,
            },
            0x12 => u32::try_from(self.class.queues).unwrap_or(0),
            0x14 => self.status.into(),
            0x18 if self.queue_select >= self.class.queues => 0,
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
            0x14 if value == 0 => return *self = Self::new(self.class, self.packed),
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
pub struct Port {
    class: &'static Class,
    device: Mutex<Device>,
}

impl Port {
    /// A device of `class`, with packed or split queues.
    pub fn new(class: &'static Class, packed: bool) -> Self {
        Self { class, device: Mutex::new(Device::new(class, packed)) }
    }

    /// Which device it is.
    pub fn class(&self) -> &'static Class {
        self.class
    }

    /// The device, for its turn.
    pub fn device(&self) -> MutexGuard<'_, Device> {
        self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its configuration space: four capabilities say where the registers are.
    pub fn space(&self) -> Space {
        let space = Space::new(0x1af4, 0x1040 + u16::from(self.class.id), 1);
        space.put(0x06, &[0x10, 0]);
        space.put(0x34, &[0x40]);
        for (at, next, len, kind, offset, len_bytes) in [
            (0x40, 0x50, 16, 1, COMMON, 0x38),
            (0x50, 0x64, 20, 2, NOTIFY, 0x1000),
            (0x64, 0x74, 16, 3, ISR, 1),
            (0x74, 0x00, 16, 4, DEVICE, self.class.config.len()),
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
                let byte = self.class.config.get(offset_bytes - DEVICE + i).copied().unwrap_or(0);
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
