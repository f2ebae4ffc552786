//! Which register an access meets; doorbells, interrupt status, the device's own configuration;
//! interrupts.

use super::common::{DEVICE_STATUS, PLACES_RINGS, QUEUE_SELECT, QUEUE_SIZE};
use super::legacy::PORTS_BAR;
use super::status::DRIVER_OK;
use super::{Class, Layout, Place, Virtio, feature};
use crate::fault::{Action, FaultPoint};
use crate::registers::{DeviceModel, Width};

/// The structures, with the offset in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hit {
    Common(u32),
    Isr,
    Device(u32),
    Notify(u32),
    /// One that only MMIO has.
    Mmio(u32),
    /// One that only the legacy interface has.
    Legacy(u32),
}

impl Hit {
    /// How a plan names the register.
    pub(super) const fn subject(self) -> u32 {
        let (cfg_type, offset) = match self {
            Self::Common(offset) => (1, offset),
            Self::Notify(offset) => (2, offset),
            Self::Isr => (3, 0),
            Self::Device(offset) => (4, offset),
            Self::Mmio(offset) => (0, offset),
            Self::Legacy(offset) => (5, offset),
        };
        cfg_type << 16 | offset
    }
}

/// How a plan names the register of the common configuration at `offset_bytes`.
#[must_use]
pub const fn common_register(offset_bytes: u32) -> u32 {
    Hit::Common(offset_bytes).subject()
}

/// Interrupt status bits.
///
/// Spec: VIRTIO 1.2, 4.1.4.5 "ISR status capability".
const ISR_QUEUE: u8 = 1;
const ISR_CONFIG: u8 = 2;

impl<C: Class> Virtio<C> {
    fn meet(&mut self, bar: u8, offset_bytes: usize, width: Width, is_write: bool) -> Option<Hit> {
        if self.front.is_mmio() {
            return self.meet_mmio(u32::try_from(offset_bytes).ok()?, width, is_write);
        }
        if bar == PORTS_BAR && self.personality.has_legacy {
            return self.meet_port(u32::try_from(offset_bytes).ok()?, width, is_write);
        }
        let hit = self.find(bar, offset_bytes, width);
        self.choose_interface(false, is_write);
        if hit.is_none() && is_write {
            self.violation(format!("a write at {offset_bytes:#x} of BAR {bar}, where nothing is"));
        }
        hit
    }

    fn find(&self, bar: u8, offset_bytes: usize, width: Width) -> Option<Hit> {
        let Layout { common, notify, isr, device, .. } = self.personality.layout;
        if bar != self.personality.layout.bar {
            return None;
        }
        let at = u32::try_from(offset_bytes).ok()?;
        let end = at + u32::try_from(width.bytes()).ok()?;
        let own_bytes = self.class.config().len();
        let device = Place { len_bytes: self.personality.device_config_bytes(own_bytes), ..device };
        let inside = |place: Place| {
            (at >= place.offset_bytes && end <= place.offset_bytes + place.len_bytes)
                .then(|| at - place.offset_bytes)
        };
        inside(common)
            .map(Hit::Common)
            .or_else(|| inside(isr).map(|_| Hit::Isr))
            .or_else(|| inside(device).map(Hit::Device))
            .or_else(|| inside(notify).map(Hit::Notify))
    }

    /// A field is there for whoever agreed on it; before that, only to find out whether to agree.
    ///
    /// Spec: VIRTIO 1.2, 2.5 "Device Configuration Space", 3.1.1.
    fn read_config(&mut self, at: u32, width: Width) -> u32 {
        let bytes = self.class.config();
        let mut value = [0; 4];
        for (i, byte) in value.iter_mut().enumerate().take(width.bytes()) {
            let place = at as usize + i;
            let known = if self.goes_by_accepted() { self.accepted } else { self.offered_here() };
            match self.class.gate(place) {
                Some(gate) if gate == 0 || known & gate != 0 => {}
                _ => self
                    .violation(format!("byte {place} of the configuration read without its feature, 2.5.3")),
            }
            *byte = bytes.get(place).copied().unwrap_or(0);
        }
        // Without a generation that is all that a driver has to go by.
        if self.restless_config && self.is_legacy {
            self.generation = self.generation.wrapping_add(1);
            value[0] ^= self.generation;
            // Who looks once, for a field that one access reads, is told what is not so.
            self.lied();
        }
        u32::from_le_bytes(value)
    }

    /// A field is written by whoever agreed on it. Whether it was.
    fn write_config(&mut self, at: u32, width: Width, value: u32) -> bool {
        let gate = self.class.gate(at as usize).filter(|gate| *gate != 0);
        gate.is_some_and(|gate| self.has(gate)) && self.class.write_config(at, width, value)
    }

    /// Spec: VIRTIO 1.2, 4.1.5.2 "Available Buffer Notifications".
    fn ring_doorbell(&mut self, at: u32, width: Width, value: u32) {
        // With the data, a queue's number is half of it.
        let has_data = self.has(feature::NOTIFICATION_DATA);
        let (number, data) = if has_data { (value & 0xffff, value >> 16) } else { (value, 0) };
        let queue = u16::try_from(number).unwrap_or(u16::MAX);
        let is_width = if has_data { Width::Word } else { Width::Half };
        let multiplier = self.personality.layout.notify_multiplier;
        let is_elsewhere = !self.is_legacy && u32::from(queue) * multiplier != at;
        if !self.front.is_mmio() && (width != is_width || is_elsewhere) {
            self.violation(format!("doorbell {value} at {at:#x}, {} bytes wide", width.bytes()));
        }
        if self.status & DRIVER_OK == 0 {
            self.violation("a doorbell before DRIVER_OK, 3.1.1");
        }
        if self.queues.get(usize::from(queue)).is_none_or(|queue| !queue.is_enabled) {
            self.violation(format!("a doorbell of queue {queue}, which is not enabled"));
            return;
        }
        if has_data && self.is_live() {
            self.check_position(queue, data);
        }
        self.doorbells.push(queue);
        let here = |action: &Action| matches!(action, Action::Drop | Action::Delay { .. });
        match self.ask(FaultPoint::Doorbell, queue.into(), &mut (), here) {
            Some(Action::Drop) => {}
            Some(Action::Delay { ticks }) => self.pending.doorbells.push((ticks, queue)),
            _ => self.serve(queue),
        }
    }

    /// The driver says where its queue goes on.
    ///
    /// Spec: VIRTIO 1.2, 2.9 "Driver Notifications".
    fn check_position(&mut self, queue: u16, data: u32) {
        let index = usize::from(queue);
        if let Ok(position) = self.queues[index].position(&self.memory)
            && u32::from(position) != data
        {
            self.ring_violation(index, format!("queue {queue} goes on at {position:#x}, not {data:#x}, 2.9"));
        }
    }

    pub(super) fn serve(&mut self, queue: u16) {
        let is_stopped = self.queues.get(usize::from(queue)).is_none_or(|queue| queue.is_stopped);
        if self.is_live() && !is_stopped {
            C::notified(self, queue);
        }
    }

    pub(super) fn interrupt_config(&mut self) {
        self.interrupt(self.config_vector, ISR_CONFIG);
    }

    pub(super) fn interrupt_queue(&mut self, queue: usize) {
        self.interrupt(self.queues[queue].vector, ISR_QUEUE);
    }

    fn interrupt(&mut self, vector: u16, cause: u8) {
        let here =
            |action: &Action| matches!(action, Action::Drop | Action::Delay { .. } | Action::Duplicate);
        match self.ask(FaultPoint::Interrupt, vector.into(), &mut (), here) {
            Some(Action::Drop) => return,
            Some(Action::Delay { ticks }) => return self.pending.interrupts.push((ticks, (vector, cause))),
            Some(Action::Duplicate) => self.send_interrupt(vector, cause),
            _ => {}
        }
        self.send_interrupt(vector, cause);
    }

    pub(super) fn send_interrupt(&mut self, vector: u16, cause: u8) {
        if self.front.has_msix_on() {
            self.front.raise_msix(vector);
        } else if self.personality.has_isr || self.front.is_mmio() {
            self.isr |= cause;
            self.front.raise_line();
        }
    }

    fn answer(&mut self, hit: Hit, width: Width) -> u32 {
        match hit {
            Hit::Common(at) => {
                if !self.front.is_mmio() {
                    self.check_access(at, width, false);
                }
                self.read_common(at)
            }
            Hit::Mmio(at) => self.read_mmio(at),
            Hit::Legacy(at) => self.read_legacy(at),
            // Reading takes nothing back there: that is for `InterruptACK`.
            Hit::Isr if self.front.is_mmio() => {
                self.isr_seen |= self.isr;
                (self.isr | self.idle_causes).into()
            }
            Hit::Isr => {
                if self.has_msix_on() {
                    self.violation("interrupt status read with MSI-X on, 4.1.4.5.2");
                }
                if !self.personality.has_isr {
                    self.refusals.push("interrupt status read".into());
                    return 0;
                }
                self.front.release_line();
                std::mem::take(&mut self.isr).into()
            }
            Hit::Device(at) => self.read_config(at, width),
            Hit::Notify(_) => {
                self.violation("a doorbell was read");
                0
            }
        }
    }
}

impl<C: Class> DeviceModel for Virtio<C> {
    fn read(&mut self, bar: u8, offset_bytes: usize, width: Width) -> u32 {
        self.run_scribbles();
        if self.gone {
            self.lied();
            return u32::MAX;
        }
        let Some(hit) = self.meet(bar, offset_bytes, width, false) else { return 0 };
        let value = self.answer(hit, width);
        let mut seen = (value, width);
        let _ = self.ask(FaultPoint::RegisterRead, hit.subject(), &mut seen, |_| false);
        let (seen, _) = seen;
        if self.gone {
            self.lied();
            return u32::MAX;
        }
        if seen != value {
            // Whoever says that it was reset may no longer touch memory; a device that breaks this
            // cannot be driven at all. So it was.
            if hit == Hit::Common(DEVICE_STATUS) && seen == 0 {
                self.reset();
            }
            if hit == Hit::Common(QUEUE_SIZE) {
                self.go_by_length(seen);
            }
            self.lied();
        }
        seen
    }

    fn write(&mut self, bar: u8, offset_bytes: usize, width: Width, value: u32) {
        self.run_scribbles();
        if self.gone {
            return self.lied();
        }
        let Some(hit) = self.meet(bar, offset_bytes, width, true) else { return };
        if let Hit::Common(at) = hit {
            self.note_choice(at, value);
        }
        let mut heard = (value, width);
        // A device that mistakes an address writes anywhere; that is for an IOMMU to stop, so
        // addresses arrive as they are.
        let is_safe = match hit {
            Hit::Common(QUEUE_SELECT) => !self.has_own_lengths(),
            Hit::Common(at) => !PLACES_RINGS.contains(&at) && at != DEVICE_STATUS,
            _ => false,
        };
        if is_safe {
            let here = |action: &Action| *action == Action::Drop;
            let lost = self.ask(FaultPoint::RegisterWrite, hit.subject(), &mut heard, here).is_some();
            if self.gone || lost || heard.0 != value {
                self.lied();
            }
            if self.gone || lost {
                return;
            }
        }
        let (value, _) = heard;
        match hit {
            Hit::Common(at) => {
                if !self.front.is_mmio() {
                    self.check_access(at, width, true);
                }
                self.write_common(at, value);
            }
            Hit::Mmio(at) => self.write_mmio(at, value),
            Hit::Legacy(at) => self.write_legacy(at, value),
            Hit::Notify(at) => self.ring_doorbell(at, width, value),
            Hit::Device(at) if self.write_config(at, width, value) => {}
            Hit::Isr | Hit::Device(_) => {
                self.violation(format!("a write at {offset_bytes:#x}, where nothing can be written"));
            }
        }
    }
}
