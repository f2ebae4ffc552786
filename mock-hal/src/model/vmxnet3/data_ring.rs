//! Data rings: small frames, or the start of others, in slots beside a command ring.

use super::Vmxnet3;
use super::layout::queue_desc;
use super::queue::Ring;

/// What a transmit slot has where nothing else was agreed, and the most that one has.
const TX_SLOT_BYTES: u32 = 128;
const MAX_SLOT_BYTES: u32 = 2048;

/// A data ring; without one, its base is 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct DataRing {
    pub(super) base: u64,
    pub(super) slots: u32,
    pub(super) slot_bytes: u32,
}

impl DataRing {
    pub(super) const fn is_there(&self) -> bool {
        self.base != 0
    }

    pub(super) fn slot(&self, index: u32) -> u64 {
        self.base + u64::from(index) * u64::from(self.slot_bytes)
    }

    pub(super) fn contains(&self, addr: u64) -> bool {
        self.is_there() && (self.base..self.slot(self.slots)).contains(&addr)
    }

    fn in_place(&self, ring: &Ring) -> bool {
        self.base.is_multiple_of(512) && self.slots == ring.entries
    }

    /// Whether this may be the data ring of a transmit queue whose device says `told` of slots.
    pub(super) fn is_legal_tx(&self, ring: &Ring, told: Option<u32>) -> bool {
        let is_right = match told {
            Some(told) => self.slot_bytes == told || self.slot_bytes == TX_SLOT_BYTES,
            None => self.slot_bytes == TX_SLOT_BYTES,
        };
        !self.is_there() || (self.in_place(ring) && is_right)
    }

    /// Whether this may be the data ring of a receive queue, where the revision has some.
    pub(super) fn is_legal_rx(&self, ring: &Ring, has_them: bool) -> bool {
        let is_right = (1..=MAX_SLOT_BYTES).contains(&self.slot_bytes) && self.slot_bytes.is_multiple_of(64);
        !self.is_there() || (has_them && self.in_place(ring) && is_right)
    }
}

impl Vmxnet3 {
    /// Of a transmit queue. A slot whose length is not told has 128 bytes.
    pub(super) fn read_tx_data(&mut self, desc: u64) -> DataRing {
        let told = u32::from(self.get16(desc + queue_desc::DATA_SLOT_BYTES));
        DataRing {
            base: self.get64(desc + queue_desc::TX_DATA_RING_BASE_PA),
            slots: self.get32(desc + queue_desc::TX_DATA_RING_SIZE),
            slot_bytes: if told == 0 { TX_SLOT_BYTES } else { told },
        }
    }

    /// Of a receive queue: a slot for each descriptor of ring 1.
    pub(super) fn read_rx_data(&mut self, desc: u64) -> DataRing {
        DataRing {
            base: self.get64(desc + queue_desc::RX_DATA_RING_BASE_PA),
            slots: self.get32(desc + queue_desc::RING_SIZE),
            slot_bytes: self.get16(desc + queue_desc::DATA_SLOT_BYTES).into(),
        }
    }

    /// `GET_TXDATA_DESC_SIZE`, where the revision has that.
    pub(super) fn tx_slot_bytes(&self) -> Option<u32> {
        let has_it = self.revision().is_some_and(|revision| revision.number >= 3);
        has_it.then_some(self.personality.tx_data_slot_bytes)
    }
}
