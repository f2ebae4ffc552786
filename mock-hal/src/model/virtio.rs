//! virtio devices over PCI and MMIO, written from the specification's text and from what real
//! monitors are known to do.
//!
//! | Part | Plays |
//! |---|---|
//! | [`Personality`], `layout` | which monitor it is, as data: identity, places, what it insists on |
//! | this file | [`Virtio`]: the shell that every device has, and its way of saying things |
//! | `plug`, `front` | where it sits: [`Plugged`] on PCI or [`PluggedMmio`]; memory, interrupts |
//! | `common` | what both transports have: status, features, queues, vectors |
//! | `registers` | which register of a BAR an access meets; doorbells, interrupts, configuration |
//! | `mmio` | which register it meets where there is no bus; [`Slot`]s without a device |
//! | `legacy` | the interface from before version 1.0, in either place |
//! | `queue` | a queue from the device's side, on either ring: `queue/split`, `queue/packed` |
//! | `queue_reset` | the reset of a single queue |
//! | `in_order` | buffers used in the order in which they came, several of them at one word |
//! | `serve` | requests, done one after the other |
//! | `faults` | what a device does that lies |
//! | [`Net`], [`Blk`] | the network and the block device on that shell |
//!
//! A new kind of device implements [`Class`], here or in the tests of its driver; more queues are a
//! larger [`Class::queues`].
//!
//! The subject of a fault is, for registers, [`common_register`] and its like for the other
//! structures (the structure's `cfg_type` in bits 16 to 18, the offset in it below); for doorbells
//! and completions the queue; for interrupts the vector; for features which 32 of them. There are
//! no commands.
//!
//! Two lists tell what a driver did. [`Virtio::violations`]: a requirement of the specification was
//! broken, by whatever monitor the device belongs to. [`Virtio::refusals`]: this monitor ignored an
//! access that another one would have let pass. A driver that was lied to is excused of what it
//! cannot know better: after a false register until its next reset of all that follows from
//! registers, after a false completion until then of the rules of that queue, whose buffers are
//! nobody's any more.

pub mod blk;
mod common;
mod faults;
mod front;
mod in_order;
mod layout;
mod legacy;
mod mmio;
pub mod net;
mod personality;
mod plug;
mod queue;
mod queue_reset;
mod registers;
mod serve;

#[cfg(test)]
mod blk_tests;
#[cfg(test)]
mod chaos_tests;
#[cfg(test)]
mod hand;
#[cfg(test)]
mod legacy_tests;
#[cfg(test)]
mod mmio_tests;
#[cfg(test)]
mod packed_tests;
#[cfg(test)]
mod tests;

use crate::device::DeviceMemory;
use crate::fault::{FaultPlan, FaultPoint};
use crate::platform::MockPlatform;
use crate::registers::Width;

pub use blk::{Blk, VirtioBlk};
pub use front::Trigger;
pub use layout::{Layout, Place};
pub use legacy::queue_pfn_register;
pub use mmio::{Slot, mmio_register};
pub use net::{Net, Sent, VirtioNet};
pub use personality::{Personality, Reset};
pub use plug::{Plugged, PluggedMmio};
pub use queue::{Chain, NO_VECTOR, Queue, Segment, Wish};
pub use registers::common_register;

use common::{Chosen, Selected};
use faults::Pending;
use front::Front;
use legacy::Units;

/// Device status bits.
///
/// Spec: VIRTIO 1.2, 2.1 "Device Status Field".
pub mod status {
    /// The guest noticed the device.
    pub const ACKNOWLEDGE: u8 = 1;
    /// It has a driver.
    pub const DRIVER: u8 = 2;
    /// The driver is ready.
    pub const DRIVER_OK: u8 = 4;
    /// Features are agreed.
    pub const FEATURES_OK: u8 = 8;
    /// The device cannot go on.
    pub const NEEDS_RESET: u8 = 64;
    /// The driver gave up.
    pub const FAILED: u8 = 128;
}

/// Feature bits that belong to no kind of device.
///
/// Spec: VIRTIO 1.2, 6 "Reserved Feature Bits".
pub mod feature {
    /// `NOTIFY_ON_EMPTY`, of the legacy interface.
    pub const NOTIFY_ON_EMPTY: u64 = 1 << 24;
    /// `ANY_LAYOUT`, of the legacy interface.
    pub const ANY_LAYOUT: u64 = 1 << 27;
    /// `INDIRECT_DESC`.
    pub const INDIRECT_DESC: u64 = 1 << 28;
    /// `EVENT_IDX`.
    pub const EVENT_IDX: u64 = 1 << 29;
    /// `VERSION_1`.
    pub const VERSION_1: u64 = 1 << 32;
    /// `ACCESS_PLATFORM`.
    pub const ACCESS_PLATFORM: u64 = 1 << 33;
    /// `RING_PACKED`.
    pub const RING_PACKED: u64 = 1 << 34;
    /// `IN_ORDER`.
    pub const IN_ORDER: u64 = 1 << 35;
    /// `ORDER_PLATFORM`.
    pub const ORDER_PLATFORM: u64 = 1 << 36;
    /// `NOTIFICATION_DATA`.
    pub const NOTIFICATION_DATA: u64 = 1 << 38;
    /// `RING_RESET`.
    pub const RING_RESET: u64 = 1 << 40;
}

/// What makes a virtio device a network card, a disk, or something else.
pub trait Class: Send + Sized + 'static {
    /// Its number in the specification's list.
    const TYPE: u16;
    /// Class code of its PCI function.
    const PCI_CLASS: u8;
    /// Which features of its own kind this model plays when they are agreed.
    const PLAYED: u64;
    /// Whether it has a link that goes away and comes back.
    const HAS_LINK: bool = false;

    /// How many queues it has.
    fn queues(&self) -> u16;
    /// What it offers of its own kind's features.
    fn features(&self) -> u64;
    /// Its configuration, as long as it can get.
    fn config(&self) -> Vec<u8>;
    /// Which features a byte of the configuration belongs to, of which any will do; `0` for bytes
    /// that are always there, `None` for bytes that belong to nothing.
    fn gate(&self, offset_bytes: usize) -> Option<u64>;
    /// The driver writes to its configuration, `width` wide, to a field of a feature that was
    /// agreed. False: nothing can be written there.
    fn write_config(&mut self, at: u32, width: Width, value: u32) -> bool {
        let _ = (at, width, value);
        false
    }
    /// A queue was notified.
    fn notified(device: &mut Virtio<Self>, queue: u16);
    /// The device has time of its own.
    fn tick(_: &mut Virtio<Self>) {}
    /// Forgets what a reset makes it forget.
    fn reset(&mut self) {}
    /// A queue was disabled, alone: what it was told of it is over.
    fn queue_disabled(&mut self, _queue: u16) {}
    /// The link goes away, or comes back.
    fn flap(&mut self) {}
}

/// A virtio device.
pub struct Virtio<C> {
    front: Front,
    memory: DeviceMemory,
    /// What it is like. Takes effect as it is changed.
    pub personality: Personality,
    /// What goes wrong.
    pub faults: FaultPlan,
    /// The part that only this kind has.
    pub class: C,
    /// Its queues.
    pub queues: Vec<Queue>,
    status: u8,
    offered: u64,
    accepted: u64,
    selected: Selected,
    chosen: Chosen,
    /// Its driver uses the legacy interface.
    is_legacy: bool,
    units: Units,
    config_vector: u16,
    generation: u8,
    isr: u8,
    /// What of it the driver read and did not acknowledge.
    isr_seen: u8,
    /// Bits that `InterruptStatus` shows besides, which mean nothing.
    pub idle_causes: u8,
    /// Status reads until a reset that was asked for is done.
    reset_in_reads: Option<u32>,
    pending: Pending,
    /// Said or heard something false through its registers since it was reset.
    has_lied: bool,
    /// What its driver saw or was told since it was reset is not all true, whether that excuses
    /// anything or not.
    has_misled: bool,
    /// When the reset of a queue is done.
    pub queue_reset: Reset,
    /// Registers read ones, nothing happens any more.
    pub gone: bool,
    /// Does not keep `FEATURES_OK`.
    pub rejects_features: bool,
    /// Does not keep `DRIVER`.
    pub ignores_status: bool,
    /// The generation moves at every look.
    pub restless_config: bool,
    /// Reads of a queue's enable bit say 1 even after a reset.
    pub queues_stay_enabled: bool,
    /// Every status written, in order.
    pub statuses: Vec<u8>,
    /// Queues notified, in order.
    pub doorbells: Vec<u16>,
    /// Requirements of the specification that the driver broke.
    pub violations: Vec<String>,
    /// Accesses that this monitor ignores.
    pub refusals: Vec<String>,
}

impl<C: Class> Virtio<C> {
    fn new(platform: &MockPlatform, front: Front, name: &str, class: C, personality: Personality) -> Self {
        let offered = personality.ring_features | class.features();
        let queues = (0..class.queues()).map(|_| Queue::new(personality.max_entries)).collect();
        Self {
            memory: front.memory(platform, name),
            front,
            personality,
            faults: FaultPlan::default(),
            class,
            queues,
            status: 0,
            offered,
            accepted: 0,
            selected: Selected::default(),
            chosen: Chosen::default(),
            is_legacy: personality.has_legacy && !personality.has_modern,
            units: Units::default(),
            config_vector: NO_VECTOR,
            generation: 0,
            isr: 0,
            isr_seen: 0,
            idle_causes: 0,
            reset_in_reads: None,
            pending: Pending::default(),
            has_lied: false,
            has_misled: false,
            queue_reset: Reset::AfterReads(1),
            gone: false,
            rejects_features: false,
            ignores_status: false,
            restless_config: false,
            queues_stay_enabled: false,
            statuses: Vec::new(),
            doorbells: Vec::new(),
            violations: Vec::new(),
            refusals: Vec::new(),
        }
    }

    /// Offers exactly these features from now on.
    pub fn offer(&mut self, features: u64) {
        self.offered = features;
    }

    /// What it offers.
    #[must_use]
    pub fn offered(&self) -> u64 {
        self.offered
    }

    /// What the driver accepted.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Whether all of `features` were agreed.
    #[must_use]
    pub fn has(&self, features: u64) -> bool {
        self.is_agreed() && self.accepted & features == features
    }

    /// The status as it is.
    #[must_use]
    pub fn status(&self) -> u8 {
        self.status
    }

    /// Whether the driver said that it is ready, and the device does not need a reset.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !self.gone
            && self.status & (status::DRIVER_OK | status::NEEDS_RESET | status::FAILED) == status::DRIVER_OK
    }

    /// Whether MSI-X is on.
    #[must_use]
    pub fn has_msix_on(&self) -> bool {
        self.front.has_msix_on()
    }

    /// Whether it uses buffers in any order.
    fn shuffles(&self) -> bool {
        self.personality.shuffles && !self.has(feature::IN_ORDER)
    }

    /// Gives up, as a device does whose back end died.
    ///
    /// Spec: VIRTIO 1.2, 2.1.2 "Device Requirements: Device Status Field".
    pub fn need_reset(&mut self) {
        self.status |= status::NEEDS_RESET;
        if self.status & status::DRIVER_OK != 0 {
            self.interrupt_config();
        }
    }

    /// Something in the configuration changed: a new generation, and an interrupt.
    pub fn config_changed(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        if self.is_live() {
            self.interrupt_config();
        }
    }

    /// The device has time of its own: what was put off happens.
    pub fn tick(&mut self) {
        self.run_pending();
        if self.is_live() {
            let _ = self.ask(FaultPoint::Tick, 0, &mut (), |_| false);
        }
        if self.is_live() {
            C::tick(self);
        }
    }

    /// An honest device again, whose driver still has to reset it.
    pub fn repent(&mut self) {
        self.faults = FaultPlan::default();
        self.gone = false;
        self.pending = Pending::default();
        for queue in &mut self.queues {
            queue.is_stopped = false;
        }
    }

    fn violation(&mut self, what: impl Into<String>) {
        if !self.has_lied {
            self.violations.push(what.into());
        }
    }

    /// A rule of a ring, or of what is in it, was broken. What a lie excuses is not noted.
    pub fn ring_violation(&mut self, queue: usize, what: impl Into<String>) {
        if !self.queues[queue].is_forgiven() {
            self.violation(what);
        }
    }

    /// Whether its driver was told nothing but the truth since it reset the device: what it has to
    /// show for a request is what was done.
    #[must_use]
    pub fn is_truthful(&self) -> bool {
        !self.has_lied && !self.has_misled && !self.queues.iter().any(Queue::is_forgiven)
    }

    /// A rule of what a buffer holds was broken. Where one of its queues may have buffers that
    /// their driver took back, the device wrote over it itself for all that it knows.
    fn content_violation(&mut self, what: impl Into<String>) {
        if !self.queues.iter().any(Queue::is_forgiven) {
            self.violation(what);
        }
    }

    /// Its way into memory for `queue`. What its driver was told wrongly, and took back therefore,
    /// it does not find there any more, which is nobody's fault.
    fn memory_of(&self, queue: usize) -> DeviceMemory {
        if self.has_lied || self.queues[queue].is_forgiven() {
            self.memory.timid()
        } else {
            self.memory.clone()
        }
    }

    /// From here until its driver resets it, the driver may do anything that does no harm.
    fn lied(&mut self) {
        self.has_lied = true;
        self.memory.give_all_back();
    }

    /// The same of one queue alone.
    fn lied_about(&mut self, queue: usize) {
        self.queues[queue].lied(&self.memory);
    }

    fn reset(&mut self) {
        self.status = 0;
        self.accepted = 0;
        self.selected = Selected::default();
        self.chosen = Chosen::default();
        self.units = Units::default();
        self.config_vector = NO_VECTOR;
        self.isr = 0;
        self.isr_seen = 0;
        self.reset_in_reads = None;
        self.pending = Pending::default();
        self.has_lied = false;
        self.has_misled = false;
        let max_entries = self.personality.max_entries;
        for queue in &mut self.queues {
            *queue = Queue::new(max_entries);
        }
        self.class.reset();
        self.memory.give_all_back();
        if self.personality.has_isr || self.front.is_mmio() {
            self.front.release_line();
        }
    }
}
