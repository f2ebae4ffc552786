//! A queue from the device's side: what the driver set up, and the ring in memory.

mod split;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use paravane_hal::dma::Direction;

use crate::device::DeviceMemory;
use crate::memory::{AccessFault, Lease};

pub(super) use split::{Split, Untaken};

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
    /// Bytes that the device has, by the head of their chain.
    held: BTreeMap<u16, Vec<Lease>>,
    /// Heads of chains that the driver took for used, for it was told so in the middle of a call;
    /// what it does with them is no fault of its own.
    excused: BTreeSet<u16>,
    /// Said something false about this queue since it was reset.
    pub(super) has_lied: bool,
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
            held: BTreeMap::new(),
            excused: BTreeSet::new(),
            has_lied: false,
            held_back: None,
        }
    }

    /// From here on the bytes of `chain` are the device's, until it says that it used them.
    pub(super) fn hold(&mut self, memory: &DeviceMemory, chain: &Chain) -> Result<(), Untaken> {
        if self.excused.contains(&chain.head) {
            return Ok(());
        }
        let Entry::Vacant(place) = self.held.entry(chain.head) else {
            return Err(Untaken::Rule(format!("chain {} made available twice, 2.7.13", chain.head)));
        };
        let held = place.insert(Vec::new());
        for segment in &chain.segments {
            let direction = if segment.is_writable { Direction::FromDevice } else { Direction::ToDevice };
            held.push(memory.take(segment.addr, segment.len_bytes as usize, direction)?);
        }
        Ok(())
    }

    /// The driver is told that the chain of `id` is its own again. False if the device never had
    /// it: then it lied.
    pub(super) fn give_back(&mut self, memory: &DeviceMemory, id: u32) -> bool {
        let Ok(head) = u16::try_from(id) else { return false };
        let held = self.held.remove(&head);
        let had_it = held.is_some() || self.excused.contains(&head);
        held.into_iter().flatten().for_each(|lease| memory.give_back(&lease));
        had_it
    }

    /// The driver may take the chain of `id` for used.
    pub(super) fn excuse(&mut self, memory: &DeviceMemory, id: u32) {
        if let Ok(head) = u16::try_from(id) {
            self.give_back(memory, id);
            self.stock.retain(|chain| chain.head != head);
            self.excused.insert(head);
        }
    }

    /// Whether chains are excused: who keeps which rule of the ring can no longer be told.
    pub(super) fn has_excused(&self) -> bool {
        !self.excused.is_empty()
    }

    /// Who owns what of this queue can no longer be told from outside.
    pub(super) fn lied(&mut self, memory: &DeviceMemory) {
        self.has_lied = true;
        std::mem::take(&mut self.held).into_values().flatten().for_each(|lease| memory.give_back(&lease));
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
