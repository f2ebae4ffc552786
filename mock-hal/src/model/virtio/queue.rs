//! A queue from the device's side: what the driver set up, and the ring in memory.

mod split;

use paravane_hal::dma::Direction;

use crate::device::DeviceMemory;
use crate::memory::{AccessFault, Lease};

pub(super) use split::Split;

/// The vector that stands for none.
///
/// Spec: VIRTIO 1.2, 4.1.5.1.2 "MSI-X Vector Configuration".
pub const NO_VECTOR: u16 = 0xffff;

/// When the device wants to hear of more buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// After so many that it is not told about: 0 for the next one.
    After(u16),
    /// Not at all: it looks by itself.
    Never,
}

/// One descriptor of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it is.
    pub addr: u64,
    /// How long it is.
    pub len_bytes: u32,
    /// The device may write it; otherwise it may read it.
    pub is_writable: bool,
}

/// Buffers that the driver made available together.
#[derive(Clone, Debug)]
pub struct Chain {
    /// What the device gives back to say that it is done.
    pub head: u16,
    /// Its descriptors, in order.
    pub segments: Vec<Segment>,
    leases: Vec<Lease>,
}

impl Chain {
    /// How many bytes the device may write.
    #[must_use]
    pub fn writable_bytes(&self) -> usize {
        self.segments
            .iter()
            .filter(|segment| segment.is_writable)
            .map(|segment| segment.len_bytes as usize)
            .sum()
    }

    /// Reads all that the device may read.
    pub(super) fn read(&self, memory: &DeviceMemory) -> Result<Vec<u8>, AccessFault> {
        let mut bytes = Vec::new();
        for segment in self.segments.iter().filter(|segment| !segment.is_writable) {
            let start = bytes.len();
            bytes.resize(start + segment.len_bytes as usize, 0);
            memory.read(segment.addr, &mut bytes[start..])?;
        }
        Ok(bytes)
    }

    /// Writes `bytes` to what the device may write, which is long enough.
    pub(super) fn write(&self, memory: &DeviceMemory, mut bytes: &[u8]) -> Result<(), AccessFault> {
        for segment in self.segments.iter().filter(|segment| segment.is_writable) {
            let (now, rest) = bytes.split_at(bytes.len().min(segment.len_bytes as usize));
            memory.write(segment.addr, now)?;
            bytes = rest;
        }
        Ok(())
    }

    /// From here on the bytes are the device's, until [`give_back`](Self::give_back).
    pub(super) fn hold(&mut self, memory: &DeviceMemory) -> Result<(), AccessFault> {
        for segment in &self.segments {
            let direction = if segment.is_writable { Direction::FromDevice } else { Direction::ToDevice };
            self.leases.push(memory.take(segment.addr, segment.len_bytes as usize, direction)?);
        }
        Ok(())
    }

    pub(super) fn give_back(&mut self, memory: &DeviceMemory) {
        for lease in self.leases.drain(..) {
            memory.give_back(&lease);
        }
    }
}

/// A queue.
#[derive(Clone, Debug)]
pub struct Queue {
    /// How many entries it has.
    pub entries: u16,
    /// Its interrupt.
    pub vector: u16,
    /// Whether the driver enabled it.
    pub is_enabled: bool,
    /// `queue_desc`, `queue_driver`, `queue_device`.
    pub areas: [u64; 3],
    /// When the device wants to be told.
    pub wish: Wish,
    /// The device does not look at it any more.
    pub is_stopped: bool,
    pub(super) ring: Split,
    /// Taken, and not used yet.
    pub(super) stock: Vec<Chain>,
    /// Given back out of turn by a device that lies.
    pub(super) held_back: Option<(u32, u32)>,
}

impl Queue {
    pub(super) fn new(max_entries: u16) -> Self {
        Self {
            entries: max_entries,
            vector: NO_VECTOR,
            is_enabled: false,
            areas: [0; 3],
            wish: Wish::After(0),
            is_stopped: false,
            ring: Split::default(),
            stock: Vec::new(),
            held_back: None,
        }
    }

    /// What is wrong with how it was set up, if anything.
    ///
    /// Spec: VIRTIO 1.2, 2.7 "Split Virtqueues".
    pub(super) fn complaint(&self) -> Option<String> {
        let [descriptors, driver, device] = self.areas;
        let aligned = [(descriptors, 16), (driver, 2), (device, 4)];
        if self.areas.contains(&0) {
            Some(format!("a queue was enabled with an address of zero: {:#x?}", self.areas))
        } else if aligned.iter().any(|(addr, align)| !addr.is_multiple_of(*align)) {
            Some(format!("a queue was enabled with crooked addresses: {:#x?}", self.areas))
        } else {
            None
        }
    }
}
