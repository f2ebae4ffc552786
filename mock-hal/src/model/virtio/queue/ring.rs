//! Either ring, and how it is made.

use super::super::in_order::Order;
use super::super::queue_reset::Renewal;
use super::packed::Packed;
use super::split::Split;
use super::{Chain, Queue, Untaken};
use crate::device::DeviceMemory;
use crate::fault::Seeded;
use crate::memory::AccessFault;

/// Where the device is in its ring.
#[derive(Clone, Debug)]
pub(super) enum Ring {
    Split(Split),
    Packed(Packed),
}

impl Default for Ring {
    fn default() -> Self {
        Self::Split(Split::default())
    }
}

impl Queue {
    /// The driver enables it. What is wrong with how it was set up, if anything.
    ///
    /// Spec: VIRTIO 1.2, 2.7 "Split Virtqueues", 2.8.9.
    pub(in super::super) fn enable(&mut self, is_packed: bool, in_order: bool) -> Option<String> {
        let [descriptors, driver, device] = self.areas;
        let aligned = if is_packed {
            [(descriptors, 16), (driver, 4), (device, 4)]
        } else {
            [(descriptors, 16), (driver, 2), (device, 4)]
        };
        if self.areas.contains(&0) {
            return Some(format!("a queue was enabled with an address of zero: {:#x?}", self.areas));
        }
        if aligned.iter().any(|(addr, align)| !addr.is_multiple_of(*align)) {
            return Some(format!("a queue was enabled with crooked addresses: {:#x?}", self.areas));
        }
        if is_packed {
            self.ring = Ring::Packed(Packed::new());
        }
        self.order = in_order.then(Order::default);
        self.is_enabled = true;
        self.renewal = Renewal::None;
        None
    }

    /// Whether its ring is packed.
    #[must_use]
    pub const fn is_packed(&self) -> bool {
        matches!(self.ring, Ring::Packed(_))
    }

    /// How many available entries were not taken yet.
    pub(in super::super) fn waiting(&self, memory: &DeviceMemory) -> Result<u16, AccessFault> {
        match &self.ring {
            Ring::Split(ring) => ring.waiting(self.shape(), memory),
            Ring::Packed(ring) => ring.waiting(self.shape(), memory),
        }
    }

    /// Where the driver made nothing available yet, as a notification says it.
    ///
    /// Spec: VIRTIO 1.2, 2.9 "Driver Notifications".
    pub(in super::super) fn position(&self, memory: &DeviceMemory) -> Result<u16, AccessFault> {
        match &self.ring {
            Ring::Split(_) => memory.get16(self.areas[1] + 2),
            Ring::Packed(ring) => ring.position(self.shape(), memory),
        }
    }

    /// Takes the next chain, if there is one.
    pub(in super::super) fn take(
        &mut self,
        memory: &DeviceMemory,
        has_indirect: bool,
    ) -> Result<Option<Chain>, Untaken> {
        let shape = self.shape();
        let chain = match &mut self.ring {
            Ring::Split(ring) => ring.take(shape, memory, has_indirect)?,
            Ring::Packed(ring) => ring.take(shape, memory, has_indirect)?,
        };
        if let (Some(chain), Some(order)) = (&chain, &mut self.order) {
            order.came(chain);
            if let Ring::Split(ring) = &mut self.ring {
                ring.check_order(shape, chain)?;
            }
        }
        Ok(chain)
    }

    /// Whether the chain of `head` was made available, and not taken yet.
    pub(super) fn awaits(&self, memory: &DeviceMemory, head: u16) -> bool {
        match &self.ring {
            Ring::Split(ring) => ring.awaits(self.shape(), memory, head),
            // What a driver believes falsely of this ring, it believes of all of it.
            Ring::Packed(_) => false,
        }
    }

    /// Puts one used element, without showing it yet. It stands for those that are `skipped` as
    /// well, which came before it.
    pub(in super::super) fn put(
        &mut self,
        memory: &DeviceMemory,
        skipped: &[u32],
        id: u32,
        len_bytes: u32,
    ) -> Result<(), AccessFault> {
        let shape = self.shape();
        match &mut self.ring {
            Ring::Split(ring) => {
                ring.put(shape, memory, id, len_bytes)?;
                ring.skip(skipped.len());
                Ok(())
            }
            Ring::Packed(ring) => {
                ring.put(skipped, id, len_bytes);
                Ok(())
            }
        }
    }

    /// Shows what was put so far, `ahead` too many if the device lies. Whether the driver wants an
    /// interrupt for it.
    pub(in super::super) fn show(
        &mut self,
        memory: &DeviceMemory,
        has_event_idx: bool,
        ahead: u16,
    ) -> Result<bool, Untaken> {
        let shape = self.shape();
        let words = match &mut self.ring {
            Ring::Split(ring) => return ring.show(shape, memory, has_event_idx, ahead),
            Ring::Packed(ring) => ring.write_back(shape),
        };
        for at in words.iter().flat_map(|(_, _, passed)| passed) {
            self.pass(memory, *at);
        }
        for (at, word, _) in words {
            let (what, flags) = word.split_at(6);
            memory.write(at + 8, what)?;
            memory.write(at + 14, flags)?;
        }
        match &mut self.ring {
            Ring::Split(_) => Ok(false),
            Ring::Packed(ring) => {
                ring.show_ahead(shape, memory, ahead)?;
                ring.wants_interrupt(shape, memory, has_event_idx)
            }
        }
    }

    /// Says from when on the device wants to be told.
    pub(in super::super) fn tell_wish(
        &self,
        memory: &DeviceMemory,
        has_event_idx: bool,
    ) -> Result<(), AccessFault> {
        match &self.ring {
            Ring::Split(ring) => ring.tell_wish(self.shape(), memory, has_event_idx, self.wish),
            Ring::Packed(ring) => ring.tell_wish(self.shape(), memory, has_event_idx, self.wish),
        }
    }

    /// The driver saw `told` in the `width_bytes` at `addr`, where the device wrote something else.
    /// What that tells it, it may believe.
    pub(in super::super) fn misheard(
        &mut self,
        memory: &DeviceMemory,
        addr: u64,
        width_bytes: usize,
        told: u64,
    ) {
        let shape = self.shape();
        if self.is_packed() {
            // It may think that it is elsewhere in the ring than the device from here on.
            if Packed::believes(shape, memory, addr, width_bytes, told) {
                self.lied(memory);
            }
            return;
        }
        let believed = Split::believed(shape, memory, addr, told);
        // Of all that came before as well, where it believes in an order.
        if self.order.is_some() && !believed.is_empty() {
            return self.lied(memory);
        }
        for id in believed {
            self.excuse(memory, id);
        }
    }

    /// Whether the word at `addr` says only how far the device is, or that it is not here yet.
    pub(in super::super) fn is_hint(&self, memory: &DeviceMemory, addr: u64) -> bool {
        let shape = self.shape();
        match &self.ring {
            Ring::Split(_) => Split::is_hint(shape, addr),
            Ring::Packed(_) => Packed::is_hint(shape, memory, addr),
        }
    }

    /// What comes next in the ring is elsewhere by `slots` from here on: the device lost count.
    pub(in super::super) fn misplace(&mut self, slots: u16) {
        let shape = self.shape();
        match &mut self.ring {
            Ring::Split(ring) => ring.misplace(slots),
            Ring::Packed(ring) => ring.misplace(slots, shape),
        }
    }

    /// Where noise goes, which may be anywhere that the device may write: from where on, and how
    /// many bytes are there.
    pub(in super::super) fn noisy(&mut self, chance: &mut Seeded) -> (u64, u32) {
        let shape = self.shape();
        let Ring::Packed(ring) = &self.ring else { return (shape.areas[2], Split::used_bytes(shape)) };
        if chance.below(4) == 0 {
            return (shape.areas[2], 4);
        }
        let any = u16::try_from(chance.below(shape.entries.into())).ok();
        let (at, is_open) = ring.noisy(shape, any.filter(|_| chance.below(2) == 0));
        // Were it to follow what it wrote over, it would go where no driver led it.
        self.is_stopped |= is_open;
        (at + 8, 8)
    }
}
