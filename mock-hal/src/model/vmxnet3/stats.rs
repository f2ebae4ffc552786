//! What the device counts, pair by pair: frames, then bytes.

use super::Vmxnet3;
use super::layout::queue_desc;

/// Where each counter is among the ten of a queue.
pub(super) mod at {
    /// Frames to be cut.
    pub(crate) const TSO: usize = 0;
    /// Frames that were put together.
    pub(crate) const LRO: usize = 0;
    pub(crate) const UCAST: usize = 2;
    pub(crate) const MCAST: usize = 4;
    pub(crate) const BCAST: usize = 6;
    pub(crate) const TX_ERROR: usize = 8;
    pub(crate) const TX_DISCARD: usize = 9;
    pub(crate) const RX_OUT_OF_BUF: usize = 8;
    pub(crate) const RX_ERROR: usize = 9;
}

/// The ten counters of a queue, which start over at each activation.
#[derive(Debug, Default)]
pub(super) struct Counters([u64; 10]);

impl Counters {
    /// One more.
    pub(super) fn count(&mut self, index: usize) {
        self.0[index] += 1;
    }

    /// `frames` more, of `bytes` together.
    pub(super) fn count_pair(&mut self, index: usize, frames: u64, bytes: u64) {
        self.0[index] += frames;
        self.0[index + 1] += bytes;
    }

    /// A frame more, by the address that it goes to.
    pub(super) fn count_frame(&mut self, frame: &[u8]) {
        self.count_frames(frame, 1, frame.len() as u64);
    }

    /// `frames` more, of `bytes` together, all to the address of `frame`.
    pub(super) fn count_frames(&mut self, frame: &[u8], frames: u64, bytes: u64) {
        let kind = match frame {
            [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, ..] => at::BCAST,
            [first, ..] if first & 1 != 0 => at::MCAST,
            _ => at::UCAST,
        };
        self.count_pair(kind, frames, bytes);
    }
}

impl Vmxnet3 {
    /// `GET_STATS`.
    pub(super) fn write_stats(&mut self) {
        let Some(active) = &self.active else { return };
        let tx = active.tx.iter().map(|queue| (queue.desc, queue.counters.0));
        let rx = active.rx.iter().map(|queue| (queue.desc, queue.counters.0));
        for (desc, counters) in tx.chain(rx).collect::<Vec<_>>() {
            self.put(desc + queue_desc::STATS, &counters.map(u64::to_le_bytes).concat());
        }
    }

    /// `GET_QUEUE_STATUS`.
    pub(super) fn write_status(&mut self) {
        let Some(active) = &self.active else { return };
        let tx = active.tx.iter().map(|queue| (queue.desc, queue.stopped));
        let rx = active.rx.iter().map(|queue| (queue.desc, queue.stopped));
        for (desc, stopped) in tx.chain(rx).collect::<Vec<_>>() {
            self.put(desc + queue_desc::STOPPED, &[u8::from(stopped.is_some())]);
            self.put32(desc + queue_desc::ERROR, stopped.unwrap_or(0));
        }
    }
}
