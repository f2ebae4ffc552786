//! The common configuration: status, features, queues, vectors.
//!
//! Spec: VIRTIO 1.2, 4.1.4.3 "Common configuration structure layout".

use super::status::{ACKNOWLEDGE, DRIVER, DRIVER_OK, FAILED, FEATURES_OK, NEEDS_RESET};
use super::{Class, NO_VECTOR, Queue, Reset, Virtio, feature};
use crate::fault::{Action, FaultPoint};
use crate::registers::Width;

pub(super) const DEVICE_STATUS: u32 = 0x14;
pub(super) const QUEUE_SELECT: u32 = 0x16;
pub(super) const QUEUE_SIZE: u32 = 0x18;
/// `queue_reset`, of devices that have it.
pub(super) const QUEUE_RESET: u32 = 0x3a;
/// The registers that say which memory a queue has: `queue_size`, `queue_desc`, `queue_driver`,
/// `queue_device`.
pub(super) const PLACES_RINGS: [u32; 7] = [0x18, 0x20, 0x24, 0x28, 0x2c, 0x30, 0x34];

/// Features of every kind of device that this model plays.
const PLAYED: u64 = feature::INDIRECT_DESC
    | feature::EVENT_IDX
    | feature::VERSION_1
    | feature::ACCESS_PLATFORM
    | feature::ORDER_PLATFORM
    | feature::RING_PACKED
    | feature::IN_ORDER
    | feature::NOTIFICATION_DATA
    | feature::RING_RESET
    | feature::ANY_LAYOUT;

/// Every register: where it is, how wide, whether it can be written.
const FIELDS: [(u32, u32, bool); 17] = [
    (0x00, 4, true),
    (0x04, 4, false),
    (0x08, 4, true),
    (0x0c, 4, true),
    (0x10, 2, true),
    (0x12, 2, false),
    (0x14, 1, true),
    (0x15, 1, false),
    (0x16, 2, true),
    (0x18, 2, true),
    (0x1a, 2, true),
    (0x1c, 2, true),
    (0x1e, 2, false),
    (0x20, 8, true),
    (0x28, 8, true),
    (0x30, 8, true),
    (QUEUE_RESET, 2, true),
];

/// What the select registers say.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Selected {
    device_features: u32,
    driver_features: u32,
    queue: u16,
}

/// Which kind of ring the driver chose, and whether buffers are used in order, whatever the device
/// made of its words. A device that takes one kind for the other writes where no driver gave it
/// memory, and none can help that.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chosen {
    /// Which word of the features it writes.
    select: u32,
    is_packed: bool,
    in_order: bool,
}

impl<C: Class> Virtio<C> {
    /// The driver writes `value` to the register at `at`, and that is what it means.
    pub(super) fn note_choice(&mut self, at: u32, value: u32) {
        match at {
            0x08 => self.chosen.select = value,
            0x0c if self.chosen.select == 1 => {
                self.chosen.is_packed = value & word(feature::RING_PACKED, 1) != 0;
                self.chosen.in_order = value & word(feature::IN_ORDER, 1) != 0;
            }
            _ => {}
        }
    }

    /// An access has the width of its field, or is one half of a 64-bit field; read-only fields are
    /// not written.
    ///
    /// Spec: VIRTIO 1.2, 4.1.3.1 "Driver Requirements: PCI Device Layout".
    pub(super) fn check_access(&mut self, at: u32, width: Width, is_write: bool) {
        let width = u32::try_from(width.bytes()).unwrap_or(0);
        let fits = FIELDS.iter().any(|(start, bytes, can_write)| {
            let is_place = if *bytes == 8 {
                width == 4 && (at == *start || at == *start + 4)
            } else {
                at == *start && width == *bytes
            };
            is_place && (*can_write || !is_write)
        });
        if !fits {
            let verb = if is_write { "write" } else { "read" };
            self.violation(format!("a {width}-byte {verb} at {at:#x} of the common configuration, 4.1.3.1"));
        }
    }

    pub(super) fn selected_queue(&self) -> u16 {
        self.selected.queue
    }

    pub(super) fn queue(&self) -> Option<&Queue> {
        self.queues.get(usize::from(self.selected.queue))
    }

    pub(super) fn read_common(&mut self, at: u32) -> u32 {
        let queue = self.queue().cloned();
        match at {
            0x00 => self.selected.device_features,
            0x04 => word(self.offered_here(), self.selected.device_features),
            0x08 => self.selected.driver_features,
            0x0c => word(self.accepted, self.selected.driver_features),
            0x10 => self.config_vector.into(),
            0x12 => self.queues.len().try_into().unwrap_or(0),
            DEVICE_STATUS => {
                if let Some(left) = self.reset_in_reads {
                    if left == 0 {
                        self.reset();
                    } else {
                        self.reset_in_reads = Some(left - 1);
                    }
                }
                self.status.into()
            }
            0x15 => {
                if self.restless_config {
                    self.generation = self.generation.wrapping_add(1);
                }
                self.generation.into()
            }
            0x16 => self.selected.queue.into(),
            0x18 => queue.map_or(0, |queue| queue.entries).into(),
            0x1a => queue.map_or(NO_VECTOR, |queue| queue.vector).into(),
            0x1c => queue.is_some_and(|queue| queue.is_enabled || self.queues_stay_enabled).into(),
            0x1e if self.personality.layout.notify_multiplier == 0 => 0,
            0x1e => self.selected.queue.into(),
            0x20..0x38 => queue.map_or(0, |queue| word(queue.areas[area(at)], at / 4 % 2)),
            QUEUE_RESET => self.read_queue_reset(),
            _ => 0,
        }
    }

    pub(super) fn write_common(&mut self, at: u32, value: u32) {
        let [low, high, ..] = value.to_le_bytes();
        let half = u16::from_le_bytes([low, high]);
        // Where registers are wider than what is in them.
        let most = match at {
            DEVICE_STATUS => 0xff,
            0x16..0x20 | QUEUE_RESET => 0xffff,
            _ => u32::MAX,
        };
        if value > most {
            self.violation(format!("{value:#x} written to register {at:#x}, which has no such bits"));
        }
        match at {
            0x00 => self.selected.device_features = value,
            0x08 => self.selected.driver_features = value,
            0x0c => self.accept(value),
            0x10 => self.config_vector = self.vector(half),
            DEVICE_STATUS => self.write_status(low),
            0x16 => {
                self.selected.queue = u16::try_from(value).unwrap_or(u16::MAX);
                self.forget_units();
            }
            0x18..0x38 => self.write_queue(at, value, half),
            QUEUE_RESET => self.write_queue_reset(value),
            _ => {}
        }
    }

    fn vector(&self, wanted: u16) -> u16 {
        if wanted < self.personality.vectors { wanted } else { NO_VECTOR }
    }

    fn accept(&mut self, value: u32) {
        // What the device says in between is not the driver's step.
        if self.status & !NEEDS_RESET != ACKNOWLEDGE | DRIVER {
            self.violation(format!("features written in status {:#x}, 3.1.1", self.status));
            if self.personality.steps_features || self.status & FEATURES_OK != 0 {
                self.refusals.push(format!("features written in status {:#x}", self.status));
                return;
            }
        }
        match self.selected.driver_features {
            select @ 0..2 => self.set_accepted(select, value),
            _ if value == 0 => {}
            select => self.violation(format!("features {value:#x} of word {select}, which has none")),
        }
    }

    fn set_accepted(&mut self, select: u32, value: u32) {
        let shift = 32 * select;
        self.accepted = self.accepted & !(0xffff_ffff << shift) | u64::from(value) << shift;
    }

    /// Agrees on what was accepted, or on what a device that lies takes for it. Whether it does.
    fn agree(&mut self) -> bool {
        let agrees = self.agrees();
        let mut is_refused = false;
        for select in 0..2 {
            let heard = word(self.accepted, select);
            let mut kept = heard;
            let here = |action: &Action| *action == Action::Refuse && !is_refused && agrees;
            is_refused |= self.ask(FaultPoint::Features, select, &mut kept, here).is_some();
            if kept != heard {
                self.set_accepted(select, kept);
                self.lied();
            }
        }
        self.accepted &= !(feature::RING_PACKED | feature::IN_ORDER);
        if self.chosen.is_packed {
            self.accepted |= feature::RING_PACKED;
        }
        if self.chosen.in_order {
            self.accepted |= feature::IN_ORDER;
        }
        agrees && !is_refused
    }

    /// Whether what was accepted can be agreed on.
    ///
    /// Spec: VIRTIO 1.2, 2.2.1 "Driver Requirements: Feature Bits", 6.1.
    fn agrees(&mut self) -> bool {
        let accepted = self.accepted;
        let unoffered = accepted & !self.offered_here();
        if unoffered != 0 {
            self.violation(format!("features {unoffered:#x} were not offered, 2.2.1"));
            return false;
        }
        if !self.is_legacy && accepted & feature::VERSION_1 == 0 {
            return false;
        }
        // A device may insist; a driver that does not know of it finds out here.
        if !self.is_legacy
            && self.personality.needs_access_platform
            && accepted & feature::ACCESS_PLATFORM == 0
        {
            self.refusals.push("features without ACCESS_PLATFORM".into());
            return false;
        }
        let unplayed = accepted & !(PLAYED | C::PLAYED);
        if unplayed != 0 {
            self.refusals.push(format!(
                "features {unplayed:#x}, which this device offers and this model does not play"
            ));
            return false;
        }
        !self.rejects_features
    }

    /// Spec: VIRTIO 1.2, 3.1.1 "Driver Requirements: Device Initialization".
    fn write_status(&mut self, value: u8) {
        self.statuses.push(value);
        if value == 0 {
            match self.personality.reset {
                Reset::AtOnce => self.reset(),
                // A device that was never started has nothing to wait for.
                Reset::AfterReads(_) if self.status == 0 => self.reset(),
                // Asked for again, it takes no longer.
                Reset::AfterReads(reads) => _ = self.reset_in_reads.get_or_insert(reads),
                Reset::Never if self.status == 0 => self.reset(),
                Reset::Never => {}
            }
            return;
        }
        let kept = self.status & !NEEDS_RESET;
        let added = value & !self.status;
        let in_order = match added {
            ACKNOWLEDGE => kept == 0,
            DRIVER => kept == ACKNOWLEDGE,
            FEATURES_OK => kept == ACKNOWLEDGE | DRIVER && !self.is_legacy,
            DRIVER_OK => kept == self.set_up_status(),
            FAILED => true,
            _ => false,
        };
        if !in_order || value & kept != kept {
            self.violation(format!("status {value:#x} after {:#x}, 3.1.1", self.status));
            if self.personality.steps_status {
                self.refusals.push(format!("status {value:#x} after {:#x}", self.status));
                return;
            }
        }
        if self.reset_in_reads.is_some() {
            self.violation("a status was written before the reset was done, 4.1.4.3.2");
            self.refusals.push("a status during a reset".into());
            return;
        }
        let mut taken = value;
        if added & FEATURES_OK != 0 && !self.agree() {
            taken &= !FEATURES_OK;
        }
        if added & DRIVER_OK != 0 && self.is_legacy {
            // Whether it agrees or not, it has no way to say so.
            self.agree();
        }
        if added & DRIVER != 0 && self.ignores_status {
            taken &= !DRIVER;
        }
        self.status = taken | self.status & NEEDS_RESET;
    }

    /// Spec: VIRTIO 1.2, 4.1.5.1.3 "Virtqueue Configuration".
    fn write_queue(&mut self, at: u32, value: u32, half: u16) {
        if at == 0x1c && value == 0 && self.front.is_mmio() {
            return self.stop_queue();
        }
        if self.status & !NEEDS_RESET != self.set_up_status() && !self.is_renewing() {
            self.violation(format!("queue register {at:#x} written in status {:#x}, 3.1.1", self.status));
            if self.personality.steps_queues {
                self.refusals.push(format!("queue register {at:#x} written in status {:#x}", self.status));
                return;
            }
        }
        let vector = self.vector(half);
        let max_entries = self.personality.max_entries;
        if at == 0x18 {
            self.note_length();
        }
        // What its driver lays out, which may believe that all was agreed that it accepted.
        let Chosen { is_packed, in_order, .. } = self.chosen;
        let Some(queue) = self.queues.get_mut(usize::from(self.selected.queue)) else {
            let queue = self.selected.queue;
            self.violation(format!("register {at:#x} of queue {queue} written, which does not exist"));
            return;
        };
        let mut complaint = None;
        if queue.is_enabled && at != 0x1a {
            complaint = Some(format!("register {at:#x} of an enabled queue written"));
        } else {
            match at {
                0x18 if half == 0 || half > max_entries || !is_packed && !half.is_power_of_two() => {
                    complaint = Some(format!("a queue of {half} entries, of at most {max_entries}"));
                }
                0x18 => queue.entries = half,
                0x1a => queue.vector = vector,
                0x1c if half != 1 => complaint = Some(format!("{half} written to queue_enable, 4.1.4.3.2")),
                0x1c => complaint = queue.enable(is_packed, in_order),
                0x20..0x38 => {
                    let area = &mut queue.areas[area(at)];
                    let shift = 32 * (at / 4 % 2);
                    *area = *area & !(0xffff_ffff << shift) | u64::from(value) << shift;
                }
                _ => {}
            }
        }
        if let Some(complaint) = complaint {
            self.violation(complaint);
        }
    }
}

impl<C: Class> Virtio<C> {
    /// `QueueReady` is written 0: what the device had of the queue is the driver's again.
    ///
    /// Spec: VIRTIO 1.2, 4.2.2.2: the driver reads it back before it relies on that.
    fn stop_queue(&mut self) {
        if self.personality.steps_queues && self.status & !NEEDS_RESET != ACKNOWLEDGE | DRIVER | FEATURES_OK {
            return self.refusals.push(format!("a queue stopped in status {:#x}", self.status));
        }
        let max_entries = self.personality.max_entries;
        if let Some(queue) = self.queues.get_mut(usize::from(self.selected.queue)) {
            queue.lied(&self.memory);
            *queue = Queue::new(max_entries);
            self.class.queue_disabled(self.selected.queue);
        }
    }
}

/// Which of the three addresses a register belongs to.
const fn area(at: u32) -> usize {
    ((at - 0x20) / 8) as usize
}

/// Word `select` of 64 bits; those beyond are zero.
#[expect(clippy::cast_possible_truncation, reason = "the word is the point")]
const fn word(bits: u64, select: u32) -> u32 {
    match select {
        0 => bits as u32,
        1 => (bits >> 32) as u32,
        _ => 0,
    }
}
