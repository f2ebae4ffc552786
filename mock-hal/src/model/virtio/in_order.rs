//! Buffers used in the order in which they came, and several of them told by one used element.
//!
//! Spec: VIRTIO 1.3, 2.7.9 and 2.8.9 "In-order use of descriptors": of a batch the element names
//! the last buffer, and lies where that of the first would; the others, of which none is written,
//! count as used whole. So a buffer that was not written to its end ends a batch.

use std::collections::VecDeque;

use super::queue::{Chain, Queue};
use super::{Class, Virtio};

/// What the device has, and in which order it came.
#[derive(Clone, Debug, Default)]
pub(super) struct Order {
    /// Heads, and how many bytes may be written behind each.
    chains: VecDeque<(u16, usize)>,
    /// Used, and not written down yet: IDs, lengths, and whether the whole of it was used.
    batch: Vec<(u32, u32, bool)>,
    /// Whether the one used last was used whole.
    is_whole: bool,
}

impl Order {
    /// The device took `chain`.
    pub(super) fn came(&mut self, chain: &Chain) {
        self.chains.push_back((chain.head, chain.writable_bytes()));
    }
}

impl Queue {
    /// Takes what comes first of the stock. In any order, that is what is last there.
    pub(super) fn take_from_stock(&mut self) -> Option<Chain> {
        let chains = self.order.iter().flat_map(|order| &order.chains);
        let mut places =
            chains.filter_map(|(head, _)| self.stock.iter().position(|chain| chain.head == *head));
        match places.next() {
            Some(at) => Some(self.stock.remove(at)),
            None => self.stock.pop(),
        }
    }

    /// The device says that it used the chain of `id`, and wrote `len_bytes` there. Whether that is
    /// what it may use now.
    pub(super) fn is_turn_of(&mut self, id: u32, len_bytes: u32) -> bool {
        let Some(order) = &mut self.order else { return true };
        let at = order.chains.iter().position(|(head, _)| u32::from(*head) == id);
        let Some((at, (_, writable_bytes))) = at.and_then(|at| Some((at, order.chains.remove(at)?))) else {
            return false;
        };
        order.is_whole = writable_bytes == len_bytes as usize;
        at == 0
    }
}

impl<C: Class> Virtio<C> {
    /// Keeps what is to be said of the chain of `id`, if this device says it of several at once.
    pub(super) fn joins_batch(&mut self, queue: usize, id: u32, len_bytes: u32) -> bool {
        if !self.personality.batches || self.queues[queue].has_lied {
            self.end_batch(queue);
            return false;
        }
        let Some(order) = &mut self.queues[queue].order else { return false };
        order.batch.push((id, len_bytes, order.is_whole));
        true
    }

    /// Writes down what was kept: an element for as many as it may stand for.
    pub(super) fn end_batch(&mut self, queue: usize) {
        let Some(order) = &mut self.queues[queue].order else { return };
        let batch = std::mem::take(&mut order.batch);
        let mut skipped = Vec::new();
        for (at, (id, len_bytes, is_whole)) in batch.iter().enumerate() {
            if *is_whole && at + 1 < batch.len() {
                skipped.push(*id);
            } else {
                self.put_for(queue, &skipped, *id, *len_bytes);
                skipped.clear();
            }
        }
    }
}
