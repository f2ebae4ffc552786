//! VMXNET3, as far as a data path sees it: revision 2, which puts segments together, and polled.

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

/// A received packet of several segments: the type of its completion.
const LARGE: u32 = 4 << 24;

/// The device.
#[derive(Default)]
pub struct Device {
    shared: u64,
    command: u32,
    tx: Vec<TxQueue>,
    rx: Vec<RxQueue>,
    /// Frames taken off the transmit rings so far.
    pub sent: u64,
    /// And their bytes.
    pub sent_bytes: u64,
}

#[derive(Clone, Copy)]
struct TxQueue {
    ring: Ring,
    completions: Ring,
}

#[derive(Clone, Copy)]
struct RxQueue {
    /// What `rqID` calls it: by that of its first ring, and of the second one.
    ids: [u32; 2],
    rings: [Ring; 2],
    completions: Ring,
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
        let mut queue: u64 = load(self.shared + 0x28);
        let [tx, rx]: [u8; 2] = load(self.shared + 0x3e);
        self.tx.clear();
        self.rx.clear();
        for _ in 0..tx {
            let ring = Ring::new(load(queue + 0x10), load(queue + 0x38));
            let completions = Ring::new(load(queue + 0x20), load(queue + 0x40));
            self.tx.push(TxQueue { ring, completions });
            queue += 256;
        }
        for index in 0..u32::from(rx) {
            let ring = |place: u64| Ring::new(load(queue + 0x10 + place * 8), load(queue + 0x38 + place * 4));
            self.rx.push(RxQueue {
                ids: [index, u32::from(rx) + index],
                rings: [ring(0), ring(1)],
                completions: Ring::new(load(queue + 0x20), load(queue + 0x40)),
            });
            queue += 256;
        }
    }

    /// Takes every frame that was handed over, and completes where a completion was asked for.
    pub fn transmit(&mut self) {
        for TxQueue { ring, completions } in &mut self.tx {
            loop {
                let at = ring.at();
                let word2: u32 = load(at + 8);
                if word2 >> 14 & 1 != ring.generation {
                    break;
                }
                let word3: u32 = load(at + 12);
                self.sent_bytes += u64::from(word2 & 0x3fff);
                self.sent += u64::from(word3 >> 12 & 1);
                if word3 >> 13 & 1 != 0 {
                    let done = completions.at();
                    store(done, ring.index);
                    store(done + 12, completions.generation << 31);
                    completions.step();
                }
                ring.step();
            }
        }
    }

    /// Delivers `frames` times `frame` to the first queue. False when the driver has not given
    /// enough buffers.
    pub fn deliver(&mut self, frame: &[u8], frames: usize, kind: Kind) -> bool {
        self.deliver_to(0, frame, frames, kind)
    }

    /// The same to another queue.
    pub fn deliver_to(&mut self, queue: usize, frame: &[u8], frames: usize, kind: Kind) -> bool {
        let Some(queue) = self.rx.get_mut(queue) else { return false };
        let (not_calculated, checksums) = match kind {
            Kind::Checksum => (0, GOOD_TCP4),
            _ => (1 << 30, 0),
        };
        (0..frames).all(|_| {
            if kind == Kind::PassedOver {
                if !queue.has_buffer(0) {
                    return false;
                }
                queue.rings[0].step();
            }
            let said = [0, checksums];
            // First and last buffer of the frame, of ring 1.
            queue.complete(0, frame, 1 << 14 | 1 << 15 | not_calculated, said)
        })
    }

    /// Delivers `packet`, which came in `segments` of `mss_bytes` each, to the first queue.
    pub fn deliver_large(&mut self, packet: &[u8], segments: u32, mss_bytes: u16) -> bool {
        let Some(queue) = self.rx.first_mut() else { return false };
        let mut rest = packet;
        while !rest.is_empty() {
            let is_first = rest.len() == packet.len();
            let ring = usize::from(!is_first);
            let piece = rest.split_at_checked(queue.buffer_bytes(ring)).unwrap_or((rest, &[]));
            rest = piece.1;
            let ends = u32::from(rest.is_empty()) << 14 | u32::from(is_first) << 15;
            // The first one says of what it came, the last one that both checksums are right.
            let said = if is_first { [segments, LARGE | u32::from(mss_bytes)] } else { [0, GOOD_TCP4] };
            if piece.0.is_empty() || !queue.complete(ring, piece.0, ends, said) {
                return false;
            }
        }
        true
    }
}

impl RxQueue {
    /// Puts `bytes` in the next buffer of a ring. False when there is none.
    fn complete(&mut self, ring: usize, bytes: &[u8], flags: u32, [word1, word3]: [u32; 2]) -> bool {
        if !self.has_buffer(ring) {
            return false;
        }
        store_bytes(load(self.rings[ring].at()), bytes);
        let done = self.completions.at();
        store(done, self.rings[ring].index | self.ids[ring] << 16 | flags);
        store(done + 4, word1);
        store(done + 8, u32::try_from(bytes.len()).unwrap_or(0));
        store(done + 12, self.completions.generation << 31 | word3);
        self.completions.step();
        self.rings[ring].step();
        true
    }

    /// Whether the driver has given the next buffer of a ring.
    fn has_buffer(&self, ring: usize) -> bool {
        let word2: u32 = load(self.rings[ring].at() + 8);
        word2 >> 31 == self.rings[ring].generation
    }

    /// How long that is.
    fn buffer_bytes(&self, ring: usize) -> usize {
        let word2: u32 = load(self.rings[ring].at() + 8);
        (word2 & 0x3fff) as usize
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
            // Two revisions, one version.
            (1, 0x00) => 0b11,
            (1, 0x08) => 1,
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
