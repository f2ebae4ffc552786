//! The registers of a device over MMIO, version 2, and its turns.
//!
//! Spec: VIRTIO 1.2, 4.2.2 "MMIO Device Register Layout".

use virtio_queue::QueueT as _;

use crate::machine::{Broken, Memory};
use crate::ring::Ring;

/// VERSION_1.
pub const VERSION_1: u64 = 1 << 32;
/// INDIRECT_DESC.
pub const INDIRECT_DESC: u64 = 1 << 28;
/// EVENT_IDX.
pub const EVENT_IDX: u64 = 1 << 29;

/// DRIVER_OK.
const DRIVER_OK: u32 = 4;
/// FEATURES_OK.
const FEATURES_OK: u32 = 8;
/// Where the configuration of the class starts.
const CONFIG: usize = 0x100;

/// What a class of device is beside its registers and rings.
pub trait Class: Send + 'static {
    /// The number of its kind.
    const ID: u32;
    /// How many queues it has.
    const QUEUES: usize;

    /// What it offers.
    fn features(&self) -> u64;
    /// Its configuration space.
    fn config(&self) -> Vec<u8>;
    /// What was agreed.
    fn agreed(&mut self, features: u64);
    /// Does what there is to do, on `rings` as they are woken.
    fn turn(&mut self, rings: &mut [Ring]) -> Result<(), Broken>;
    /// Forgets what it took from rings, which are gone.
    fn reset(&mut self);
}

/// A device.
pub struct Device<C> {
    /// The class.
    pub class: C,
    /// Each rule that the driver broke.
    pub broken: Vec<Broken>,
    memory: Memory,
    status: u32,
    device_half: u32,
    driver_half: u32,
    features: u64,
    selected: usize,
    rings: Vec<Ring>,
}

impl<C: Class> Device<C> {
    /// A device after power-on.
    #[must_use]
    pub fn new(class: C, memory: Memory) -> Self {
        let rings = (0..C::QUEUES).map(|_| Ring::new(memory.clone())).collect();
        Self {
            class,
            broken: Vec::new(),
            memory,
            status: 0,
            device_half: 0,
            driver_half: 0,
            features: 0,
            selected: 0,
            rings,
        }
    }

    /// A queue.
    #[must_use]
    pub fn ring(&self, queue: usize) -> Option<&Ring> {
        self.rings.get(queue)
    }

    /// Lets the device do what there is to do.
    pub fn turn(&mut self) {
        if self.status & DRIVER_OK != 0
            && let Err(broken) = self.class.turn(&mut self.rings)
        {
            self.broken.push(broken);
        }
    }

    fn half(&self) -> Option<&Ring> {
        self.rings.get(self.selected)
    }

    /// Reads `bytes` at an offset that they divide.
    pub fn read(&mut self, offset_bytes: usize, bytes: &mut [u8]) {
        if let Some(at) = offset_bytes.checked_sub(CONFIG) {
            let config = self.class.config();
            bytes.fill(0xff);
            if let Some(field) = config.get(at..at + bytes.len()) {
                bytes.copy_from_slice(field);
            }
            return;
        }
        if bytes.len() != 4 {
            self.broken.push(format!("{} bytes were read at {offset_bytes:#x}", bytes.len()));
            return;
        }
        let low = |features: u64, half: u32| (features >> (32 * half.min(1)) & 0xffff_ffff) as u32;
        let value = match offset_bytes {
            0x000 => u32::from_le_bytes(*b"virt"),
            0x004 => 2,
            0x008 => C::ID,
            0x010 => low(self.class.features(), self.device_half),
            0x034 => self.half().map_or(0, |ring| ring.queue.max_size().into()),
            0x044 => self.half().is_some_and(|ring| ring.queue.ready()).into(),
            0x060 => self.rings.iter().any(|ring| ring.interrupt).into(),
            0x070 => self.status,
            _ => 0,
        };
        bytes.copy_from_slice(&value.to_le_bytes());
    }

    /// Writes `bytes` at an offset that they divide.
    pub fn write(&mut self, offset_bytes: usize, bytes: &[u8]) {
        let Ok(value) = bytes.try_into().map(u32::from_le_bytes) else {
            self.broken.push(format!("{} bytes were written at {offset_bytes:#x}", bytes.len()));
            return;
        };
        match offset_bytes {
            0x014 => self.device_half = value,
            0x020 if self.driver_half == 0 => self.features = self.features >> 32 << 32 | u64::from(value),
            0x020 => self.features = self.features & 0xffff_ffff | u64::from(value) << 32,
            0x024 => self.driver_half = value,
            0x030 => self.selected = value as usize,
            0x050 => self.kick(value as usize),
            0x064 => self.rings.iter_mut().for_each(|ring| ring.interrupt = false),
            0x070 => self.write_status(value),
            _ => self.write_queue(offset_bytes, value),
        }
    }

    fn kick(&mut self, queue: usize) {
        let told = self.rings.get_mut(queue).filter(|ring| ring.queue.ready()).map(Ring::wake);
        match told {
            Some(Ok(())) => {}
            Some(Err(broken)) => self.broken.push(broken),
            None => self.broken.push(format!("a doorbell for queue {queue}, which is not ready")),
        }
    }

    fn write_status(&mut self, status: u32) {
        if status == 0 {
            self.class.reset();
            self.rings = (0..C::QUEUES).map(|_| Ring::new(self.memory.clone())).collect();
            (self.status, self.features) = (0, 0);
            return;
        }
        let new = status & !self.status;
        self.status = status;
        if new & FEATURES_OK != 0 {
            if self.features & !self.class.features() != 0 || self.features & VERSION_1 == 0 {
                self.broken.push(format!("features {:#x} were accepted", self.features));
                self.status &= !FEATURES_OK;
            }
            self.class.agreed(self.features);
        }
        if new & DRIVER_OK != 0 {
            for (queue, ring) in self.rings.iter_mut().enumerate() {
                ring.queue.set_event_idx(self.features & EVENT_IDX != 0);
                ring.may_have_tables = self.features & INDIRECT_DESC != 0;
                if !ring.queue.is_valid(&*self.memory) {
                    self.broken.push(format!("queue {queue} is not valid: {:?}", ring.queue));
                } else if let Err(broken) = ring.wake() {
                    self.broken.push(broken);
                }
            }
        }
    }

    fn write_queue(&mut self, offset_bytes: usize, value: u32) {
        let in_time = self.status & (FEATURES_OK | DRIVER_OK) == FEATURES_OK;
        let Some(ring) = self.rings.get_mut(self.selected).filter(|_| in_time) else {
            self.broken.push(format!("{value:#x} was written at {offset_bytes:#x} out of turn"));
            return;
        };
        let (queue, half) = (&mut ring.queue, Some(value));
        match offset_bytes {
            0x038 => queue.set_size(u16::try_from(value).unwrap_or(0)),
            0x044 => queue.set_ready(value == 1),
            0x080 => queue.set_desc_table_address(half, None),
            0x084 => queue.set_desc_table_address(None, half),
            0x090 => queue.set_avail_ring_address(half, None),
            0x094 => queue.set_avail_ring_address(None, half),
            0x0a0 => queue.set_used_ring_address(half, None),
            0x0a4 => queue.set_used_ring_address(None, half),
            _ => self.broken.push(format!("{value:#x} was written at {offset_bytes:#x}")),
        }
    }
}
