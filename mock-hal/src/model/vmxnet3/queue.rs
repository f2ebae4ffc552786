//! Queues, as the device sees them.

use std::collections::VecDeque;

use super::data_ring::DataRing;
use super::stats::Counters;
use crate::memory::Lease;

/// A command or completion ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ring {
    pub(super) base: u64,
    pub(super) entries: u32,
    pub(super) next: u32,
    pub(super) generation: bool,
}

impl Ring {
    pub(super) const fn new(base: u64, entries: u32) -> Self {
        Self { base, entries, next: 0, generation: true }
    }

    pub(super) fn addr(&self) -> u64 {
        self.base + u64::from(self.next) * 16
    }

    pub(super) fn advance(&mut self) {
        self.next += 1;
        if self.next == self.entries {
            self.next = 0;
            self.generation = !self.generation;
        }
    }
}

/// Which queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueId {
    /// A transmit queue.
    Tx(usize),
    /// A receive queue.
    Rx(usize),
}

/// A transmit queue.
#[derive(Debug)]
pub(super) struct TxQueue {
    /// Where its `TxQueueDesc` is.
    pub(super) desc: u64,
    pub(super) ring: Ring,
    pub(super) completions: Ring,
    pub(super) data: DataRing,
    pub(super) vector: u8,
    /// The code that it stopped with.
    pub(super) stopped: Option<u32>,
    /// What the device read and did not report yet: which slot, and the bytes behind it.
    pub(super) held: VecDeque<(u32, Option<Lease>)>,
    /// What it found without a doorbell since the last one, as `txNumDeferred` counts; `None` when
    /// doorbells were lost on the way.
    pub(super) deferred: Option<u32>,
    /// A completion that changes places with the next.
    pub(super) late: Option<u32>,
    pub(super) counters: Counters,
}

/// A buffer that the device took from a ring.
#[derive(Debug)]
pub(super) struct Buffer {
    pub(super) index: u32,
    pub(super) addr: u64,
    pub(super) len_bytes: usize,
    /// Continues a frame, where others may start one.
    pub(super) is_body: bool,
    pub(super) lease: Option<Lease>,
}

/// A command ring of a receive queue.
#[derive(Debug)]
pub(super) struct RxRing {
    /// Where the next buffer is taken from the ring.
    pub(super) ring: Ring,
    /// The doorbell's last value.
    pub(super) told: Option<u32>,
    /// Buffers that the device took and did not report yet, in order.
    pub(super) held: VecDeque<Buffer>,
    /// How many of them, from the first on, have been filled or passed over.
    pub(super) used: usize,
}

impl RxRing {
    pub(super) const fn new(ring: Ring) -> Self {
        Self { ring, told: None, held: VecDeque::new(), used: 0 }
    }

    /// The buffers that are still to be filled.
    pub(super) fn stock(&self) -> impl Iterator<Item = &Buffer> {
        self.held.iter().skip(self.used)
    }
}

/// A receive queue.
#[derive(Debug)]
pub(super) struct RxQueue {
    /// Where its `RxQueueDesc` is.
    pub(super) desc: u64,
    pub(super) rings: [RxRing; 2],
    pub(super) completions: Ring,
    pub(super) data: DataRing,
    pub(super) vector: u8,
    /// The code that it stopped with.
    pub(super) stopped: Option<u32>,
    /// A completion that changes places with the next.
    pub(super) late: Option<[u32; 4]>,
    pub(super) counters: Counters,
}
