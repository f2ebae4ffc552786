//! A queue from the device's side: what the driver set up, and who has which buffers.

mod chain;
mod packed;
mod ring;
mod split;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use paravane_hal::dma::Direction;

use super::in_order::Order;
use super::queue_reset::Renewal;
use crate::device::DeviceMemory;
use crate::memory::Lease;

pub(super) use chain::Untaken;
pub use chain::{Chain, Segment};
use ring::Ring;

/// The vector that stands for none.
///
/// Spec: VIRTIO 1.2, 4.1.5.1.2 "MSI-X Vector Configuration".
pub const NO_VECTOR: u16 = 0xffff;

/// `flags` of a descriptor, in either ring.
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// When the device wants to hear of more buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// After so many that it is not told about: 0 for the next one.
    After(u16),
    /// Not at all: it looks by itself.
    Never,
}

/// Where a ring is, and how long.
#[derive(Clone, Copy, Debug)]
struct Shape {
    entries: u16,
    areas: [u64; 3],
}

/// What the device has of one chain.
#[derive(Clone, Debug, Default)]
struct Held {
    buffers: Vec<Lease>,
    /// Its descriptors, by where they are, unless they are slots of a packed ring: as long as the
    /// device has them, nobody touches them.
    descriptors: BTreeMap<u64, Lease>,
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
    /// Whether it was reset alone.
    pub(super) renewal: Renewal,
    /// The device does not look at it any more.
    pub is_stopped: bool,
    ring: Ring,
    /// In which order it has to use buffers, if that was agreed.
    pub(super) order: Option<Order>,
    /// Taken, and not used yet.
    pub(super) stock: Vec<Chain>,
    /// What the device has, by the head of its chain.
    held: BTreeMap<u16, Held>,
    /// Slots of a packed ring that the device has not passed yet, by where they are. In which order
    /// it uses chains has no part in that.
    slots: BTreeMap<u64, Lease>,
    /// Heads of chains that the driver took for used, for it was told so in the middle of a call;
    /// what it does with them is no fault of its own.
    excused: BTreeSet<u16>,
    /// The driver may have taken back what the device did not even look at: what lies in the ring
    /// follows no rule any more.
    is_confused: bool,
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
            renewal: Renewal::None,
            is_stopped: false,
            ring: Ring::default(),
            order: None,
            stock: Vec::new(),
            held: BTreeMap::new(),
            slots: BTreeMap::new(),
            excused: BTreeSet::new(),
            is_confused: false,
            has_lied: false,
            held_back: None,
        }
    }

    const fn shape(&self) -> Shape {
        Shape { entries: self.entries, areas: self.areas }
    }

    /// Whether a driver that breaks a rule of this ring may have been led to.
    pub(super) const fn is_forgiven(&self) -> bool {
        self.has_lied || self.is_confused
    }

    /// From here on `chain`, its buffers and its descriptors, is the device's, until it says that
    /// it used them.
    pub(super) fn hold(&mut self, memory: &DeviceMemory, chain: &Chain) -> Result<(), Untaken> {
        // Of a packed ring that its two sides read differently, no slot is anybody's for sure.
        if self.excused.contains(&chain.head) || self.has_lied && self.is_packed() {
            return Ok(());
        }
        let (is_packed, slots) = (self.is_packed(), self.slot_addrs());
        let Entry::Vacant(place) = self.held.entry(chain.head) else {
            return Err(Untaken::Rule(format!("chain {} made available twice, 2.7.13", chain.head)));
        };
        let held = place.insert(Held::default());
        for at in &chain.words {
            let lease = memory.take(*at, 16, Direction::ToDevice)?;
            let of = if is_packed && slots.contains(at) { &mut self.slots } else { &mut held.descriptors };
            of.insert(*at, lease);
        }
        for segment in &chain.segments {
            let direction = if segment.is_writable { Direction::FromDevice } else { Direction::ToDevice };
            held.buffers.push(memory.take(segment.addr, segment.len_bytes as usize, direction)?);
        }
        Ok(())
    }

    /// The driver is told that the chain of `id` is its own again. False if the device never had
    /// it: then it lied.
    pub(super) fn give_back(&mut self, memory: &DeviceMemory, id: u32) -> bool {
        let Ok(head) = u16::try_from(id) else { return false };
        let held = self.held.remove(&head);
        let is_excused = self.excused.contains(&head);
        // Excused, given anew, and now used for what it was before.
        self.is_confused |= is_excused && self.awaits(memory, head);
        let had_it = held.is_some() || is_excused;
        held.into_iter().for_each(|held| release(memory, held));
        had_it
    }

    /// The driver may take the chain of `id` for used.
    pub(super) fn excuse(&mut self, memory: &DeviceMemory, id: u32) {
        if let Ok(head) = u16::try_from(id) {
            self.is_confused |= self.awaits(memory, head);
            self.give_back(memory, id);
            self.stock.retain(|chain| chain.head != head);
            self.excused.insert(head);
        }
    }

    /// Who owns what of this queue can no longer be told from outside.
    pub(super) fn lied(&mut self, memory: &DeviceMemory) {
        self.has_lied = true;
        std::mem::take(&mut self.held).into_values().for_each(|held| release(memory, held));
        std::mem::take(&mut self.slots).values().for_each(|lease| memory.give_back(lease));
    }

    /// Where the descriptors of the ring are.
    fn slot_addrs(&self) -> Range<u64> {
        self.areas[0]..self.areas[0] + 16 * u64::from(self.entries)
    }

    /// The device passes the slot of a packed ring that is at `addr`: it may write there, and then
    /// the driver.
    fn pass(&mut self, memory: &DeviceMemory, addr: u64) {
        self.slots.remove(&addr).iter().for_each(|lease| memory.give_back(lease));
    }
}

fn release(memory: &DeviceMemory, held: Held) {
    let leases = held.descriptors.values().chain(&held.buffers);
    leases.for_each(|lease| memory.give_back(lease));
}
