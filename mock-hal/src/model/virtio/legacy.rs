//! The interface from before version 1.0: by ports on PCI, version 1 where there is no bus.
//!
//! What it has in common with the other one goes by the names that it has there. Its own are where
//! a queue is, and in which units: a queue is one area, told by the number of its first page, and
//! starts when that is told.
//!
//! Spec: VIRTIO 1.2, 2.7.2 "Legacy Interfaces: A Note on Virtqueue Layout", 3.1.2 "Legacy
//! Interface: Device Initialization", 4.1.4.10 "Legacy Interfaces: A Note on PCI Device Layout",
//! 4.2.4 "Legacy interface".

use super::mmio::Access;
use super::registers::Hit;
use super::status::{ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK};
use super::{Class, Queue, Virtio, feature};
use crate::registers::Width;

/// The BAR of the ports.
pub(super) const PORTS_BAR: u8 = 0;
/// The unit of page numbers on PCI, and the only alignment there.
const PCI_PAGE_BYTES: u32 = 4096;

/// `GuestPageSize`.
pub(super) const GUEST_PAGE_SIZE: u32 = 0x28;
/// `QueueAlign`.
pub(super) const QUEUE_ALIGN: u32 = 0x3c;
/// `QueuePFN`, by ports the "Queue Address".
pub(super) const QUEUE_PFN: u32 = 0x40;

/// Every port, how wide it is, what can be done to it, and what it is.
const PORTS: [(u32, Width, Access, Hit); 8] = [
    (0x00, Width::Word, Access::Read, Hit::Common(0x04)),
    (0x04, Width::Word, Access::Both, Hit::Common(0x0c)),
    (0x08, Width::Word, Access::Both, Hit::Legacy(QUEUE_PFN)),
    (0x0c, Width::Half, Access::Read, Hit::Common(0x18)),
    (0x0e, Width::Half, Access::Both, Hit::Common(0x16)),
    (0x10, Width::Half, Access::Write, Hit::Notify(0)),
    (0x12, Width::Byte, Access::Both, Hit::Common(0x14)),
    (0x13, Width::Byte, Access::Read, Hit::Isr),
];

/// Those that are there while MSI-X is on, in front of the configuration.
const MSIX_PORTS: [(u32, Width, Access, Hit); 2] = [
    (0x14, Width::Half, Access::Both, Hit::Common(0x10)),
    (0x16, Width::Half, Access::Both, Hit::Common(0x1a)),
];

/// Every register of version 1, what can be done to it, and what it is.
pub(super) const REGISTERS: [(u32, Access, Hit); 18] = [
    (0x000, Access::Read, Hit::Mmio(0x000)),
    (0x004, Access::Read, Hit::Mmio(0x004)),
    (0x008, Access::Read, Hit::Mmio(0x008)),
    (0x00c, Access::Read, Hit::Mmio(0x00c)),
    (0x010, Access::Read, Hit::Common(0x04)),
    (0x014, Access::Write, Hit::Common(0x00)),
    (0x020, Access::Write, Hit::Common(0x0c)),
    (0x024, Access::Write, Hit::Common(0x08)),
    (0x028, Access::Write, Hit::Legacy(GUEST_PAGE_SIZE)),
    (0x030, Access::Write, Hit::Common(0x16)),
    (0x034, Access::Read, Hit::Mmio(0x034)),
    (0x038, Access::Write, Hit::Common(0x18)),
    (0x03c, Access::Write, Hit::Legacy(QUEUE_ALIGN)),
    (0x040, Access::Both, Hit::Legacy(QUEUE_PFN)),
    (0x050, Access::Write, Hit::Notify(0)),
    (0x060, Access::Read, Hit::Isr),
    (0x064, Access::Write, Hit::Mmio(super::mmio::ACK)),
    (0x070, Access::Both, Hit::Common(0x14)),
];

/// How a plan names the port or register of the legacy interface that tells where a queue is.
#[must_use]
pub const fn queue_pfn_register() -> u32 {
    Hit::Legacy(QUEUE_PFN).subject()
}

/// In which units a driver without a bus tells where queues are; zero is not said yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Units {
    page_bytes: u32,
    /// Of the queue that is selected.
    align_bytes: u32,
    /// Whether its length was written since it was selected.
    has_length: bool,
}

impl<C: Class> Virtio<C> {
    /// Whether its driver uses the legacy interface.
    #[must_use]
    pub fn is_legacy(&self) -> bool {
        self.is_legacy
    }

    /// What it offers on the interface that its driver uses.
    pub(super) fn offered_here(&self) -> u64 {
        if self.is_legacy {
            (self.offered | self.personality.legacy_features) & u64::from(u32::MAX)
        } else {
            self.offered
        }
    }

    /// The status in which queues are set up.
    pub(super) fn set_up_status(&self) -> u8 {
        if self.is_legacy { ACKNOWLEDGE | DRIVER } else { ACKNOWLEDGE | DRIVER | FEATURES_OK }
    }

    /// Whether what was accepted is agreed. On the legacy interface that is never said.
    pub(super) fn is_agreed(&self) -> bool {
        let said = if self.is_legacy { DRIVER_OK } else { FEATURES_OK };
        self.status & said != 0
    }

    /// Whether what was accepted is what the driver goes by where it reads the configuration.
    pub(super) fn goes_by_accepted(&self) -> bool {
        self.is_agreed() || self.is_legacy && self.accepted != 0
    }

    /// What a port is that is accessed.
    pub(super) fn meet_port(&mut self, at: u32, width: Width, is_write: bool) -> Option<Hit> {
        self.choose_interface(true, is_write);
        let has_msix = self.front.has_msix_on();
        let config = if has_msix { 0x18 } else { 0x14 };
        if at >= config {
            return Some(Hit::Device(at - config));
        }
        let more = if has_msix { &MSIX_PORTS[..] } else { &[] };
        let found = PORTS.iter().chain(more).find(|(place, wide, access, _)| {
            let other_way = if is_write { Access::Read } else { Access::Write };
            *place == at && *wide == width && *access != other_way
        });
        if found.is_none() {
            let verb = if is_write { "write" } else { "read" };
            self.violation(format!("a {}-byte {verb} of port {at:#x}, 4.1.4.10", width.bytes()));
        }
        found.map(|(.., hit)| *hit)
    }

    /// A driver uses one interface from reset to reset. A device that has both finds out which.
    pub(super) fn choose_interface(&mut self, by_ports: bool, is_write: bool) {
        if !self.personality.has_legacy || self.is_legacy == by_ports {
            return;
        }
        if self.status == 0 {
            self.is_legacy = by_ports;
        } else if is_write {
            self.violation("a register of the other interface was written");
        }
    }

    /// Whether queues are as long as it says itself, and is not told.
    pub(super) fn has_own_lengths(&self) -> bool {
        self.is_legacy && !self.front.is_mmio()
    }

    /// It has said, and it was a lie, that the selected queue has so many entries. Where that is
    /// all that its driver has to go by, it goes by it as well: else its rings would lie outside
    /// of the memory that they were given, and nothing but an IOMMU helps against that.
    pub(super) fn go_by_length(&mut self, entries: u32) {
        let selected = usize::from(self.selected_queue());
        if self.has_own_lengths()
            && let Some(queue) = self.queues.get_mut(selected)
            && !queue.is_enabled
        {
            queue.entries = u16::try_from(entries).unwrap_or(0);
        }
    }

    /// Reads a register that only the legacy interface has.
    pub(super) fn read_legacy(&self, at: u32) -> u32 {
        let Some(queue) = self.queue().filter(|_| at == QUEUE_PFN) else { return 0 };
        let page = queue.areas[0] / u64::from(self.page_bytes().max(1));
        if self.queues_stay_enabled { 1 } else { u32::try_from(page).unwrap_or(0) }
    }

    fn page_bytes(&self) -> u32 {
        if self.front.is_mmio() { self.units.page_bytes } else { PCI_PAGE_BYTES }
    }

    /// Another queue was selected, whose units are not said.
    pub(super) fn forget_units(&mut self) {
        self.units = Units { page_bytes: self.units.page_bytes, ..Units::default() };
    }

    /// The length of the selected queue was written.
    pub(super) fn note_length(&mut self) {
        self.units.has_length = true;
    }

    /// Writes a register that only the legacy interface has.
    pub(super) fn write_legacy(&mut self, at: u32, value: u32) {
        let has_queues = self.queues.iter().any(|queue| queue.is_enabled);
        match at {
            GUEST_PAGE_SIZE if !value.is_power_of_two() => {
                self.violation(format!("pages of {value} bytes, 4.2.4"));
            }
            GUEST_PAGE_SIZE if has_queues && value != self.units.page_bytes => {
                self.violation("the page size changes under queues, 4.2.4");
            }
            GUEST_PAGE_SIZE => self.units.page_bytes = value,
            QUEUE_ALIGN if !value.is_power_of_two() => {
                self.violation(format!("a queue aligned to {value} bytes, 4.2.4"));
            }
            QUEUE_ALIGN => self.units.align_bytes = value,
            _ => {
                let complaint = self.place_queue(value);
                complaint.into_iter().for_each(|complaint| self.violation(complaint));
            }
        }
    }

    /// The selected queue is at page `page`; none, for zero. What is wrong with that, if anything.
    fn place_queue(&mut self, page: u32) -> Option<String> {
        let status = self.status & !super::status::NEEDS_RESET;
        let (is_mmio, selected) = (self.front.is_mmio(), self.selected_queue());
        let units = if is_mmio {
            self.units
        } else {
            Units { page_bytes: PCI_PAGE_BYTES, align_bytes: PCI_PAGE_BYTES, has_length: true }
        };
        let max_entries = self.personality.max_entries;
        let (memory, set_up_status) = (self.memory.clone(), self.set_up_status());
        let Some(queue) = self.queues.get_mut(usize::from(selected)) else {
            return Some(format!("queue {selected} was placed, which does not exist"));
        };
        if page == 0 {
            queue.lied(&memory);
            *queue = Queue::new(max_entries);
            return None;
        }
        if status != set_up_status {
            return Some(format!("a queue was placed in status {status:#x}, 3.1.2"));
        }
        if queue.is_enabled {
            return Some("a queue was placed that has a place".into());
        }
        if units.page_bytes == 0 || units.align_bytes == 0 || !units.has_length {
            return Some(format!("a queue was placed in units that were not said: {units:?}, 4.2.4"));
        }
        let start = u64::from(page) * u64::from(units.page_bytes);
        let entries = u64::from(queue.entries);
        let avail = start + 16 * entries;
        let behind = avail + 2 * (3 + entries);
        queue.areas = [start, avail, behind.next_multiple_of(units.align_bytes.into())];
        queue.enable(false, false)
    }

    /// Whether buffers have to be cut up as drivers of old did: without `ANY_LAYOUT`.
    pub(super) fn wants_old_layout(&self) -> bool {
        self.is_legacy && self.accepted & feature::ANY_LAYOUT == 0
    }
}
