//! The table of queue descriptors: all transmit queues, then all receive queues, in one piece of
//! memory that control and the queues share.
//!
//! Each word has one writer on the driver's side: the queue its doorbell words, control everything
//! else, and that before the device starts.

use alloc::sync::Arc;
use core::mem::offset_of;

use paravane_hal::addr::Align;
use paravane_hal::dma::{DeviceDma, Dma, DmaError, DmaWords, Quiet, Word32};
use zerocopy::{FromBytes, IntoBytes};

use crate::shared::{RxQueueDesc, TxQueueDesc};

/// Words in a queue descriptor, of either kind.
const DESC_WORDS: usize = size_of::<TxQueueDesc>() / 4;
/// The same in bytes.
const DESC_BYTES: u32 = 256;
const _: () = assert!(size_of::<TxQueueDesc>() == DESC_BYTES as usize);
const _: () = assert!(size_of::<RxQueueDesc>() == DESC_BYTES as usize);

const TX_NUM_DEFERRED: usize = offset_of!(TxQueueDesc, tx_num_deferred) / 4;
const TX_THRESHOLD: usize = offset_of!(TxQueueDesc, tx_threshold) / 4;
const UPDATE_RX_PROD: usize = offset_of!(RxQueueDesc, update_rx_prod) / 4;

/// How many queues of each kind a device has, or is to have: at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueCounts {
    /// `numTxQueues`.
    pub(crate) tx: u8,
    /// `numRxQueues`.
    pub(crate) rx: u8,
}

impl QueueCounts {
    /// The most that a device takes before revision 6.
    pub(crate) const CLASSIC: Self = Self { tx: 8, rx: 16 };

    /// The most that it takes from then on, by its answer to `GET_MAX_QUEUES_CONF`: transmit queues
    /// in the lowest byte, receive queues in the next; 0 where it does not know.
    pub(crate) fn from_max_queues_conf(answer: u32) -> Self {
        // Not known is 8, and no revision has more than 32.
        let [tx, rx] = [answer, answer >> 8].map(|most| match most & 0xff {
            0 => 8,
            most => u8::try_from(most).unwrap_or(0).min(32),
        });
        Self { tx, rx }
    }

    /// Whether these are more than `intrConf` has vectors for: `intrConfExt` takes its place.
    pub(crate) const fn are_extended(self) -> bool {
        self.tx > Self::CLASSIC.tx || self.rx > Self::CLASSIC.rx
    }

    /// Of both kinds.
    pub(crate) const fn all(self) -> u16 {
        // At most twice 255.
        (self.tx as u16).wrapping_add(self.rx as u16)
    }
}

/// The table.
pub(crate) struct QueueTable<D: Dma> {
    words: Arc<DmaWords<Word32, D>>,
    counts: QueueCounts,
}

impl<D: Dma> QueueTable<D> {
    /// An empty table for so many queues.
    pub(crate) fn new(of: &DeviceDma<D>, counts: QueueCounts) -> Result<Self, DmaError> {
        let words = usize::from(counts.all()).saturating_mul(DESC_WORDS);
        // The device asks for 128.
        let words = DmaWords::zeroed(of, words, Align::new(512))?;
        Ok(Self { words: Arc::new(words), counts })
    }

    /// Where the device finds it.
    pub(crate) fn dma_addr(&self) -> u64 {
        self.words.dma_addr().get()
    }

    /// For how many queues it is.
    pub(crate) const fn counts(&self) -> QueueCounts {
        self.counts
    }

    /// `queueDescLen`.
    pub(crate) fn len_bytes(&self) -> u32 {
        u32::from(self.counts.all()).wrapping_mul(DESC_BYTES)
    }

    /// The descriptor of transmit queue `queue`, for that.
    pub(crate) fn tx(&self, queue: u8) -> QueueWords<D> {
        self.place(queue.into())
    }

    /// The descriptor of receive queue `queue`, for that.
    pub(crate) fn rx(&self, queue: u8) -> QueueWords<D> {
        self.place(u16::from(self.counts.tx).wrapping_add(queue.into()))
    }

    fn place(&self, desc: u16) -> QueueWords<D> {
        QueueWords { words: Arc::clone(&self.words), at: usize::from(desc).wrapping_mul(DESC_WORDS) }
    }

    /// Describes transmit queue `queue` to a device that is not running.
    pub(crate) fn describe_tx(&self, queue: u8, desc: &TxQueueDesc) {
        self.tx(queue).store_all(desc.as_bytes());
    }

    /// Describes receive queue `queue` to a device that is not running.
    pub(crate) fn describe_rx(&self, queue: u8, desc: &RxQueueDesc) {
        self.rx(queue).store_all(desc.as_bytes());
    }

    /// Copies the descriptors of all transmit queues out, each word once.
    pub(crate) fn read_tx(&self) -> impl Iterator<Item = TxQueueDesc> + '_ {
        (0..self.counts.tx).map(|queue| self.tx(queue).load_all())
    }

    /// The same of all receive queues.
    pub(crate) fn read_rx(&self) -> impl Iterator<Item = RxQueueDesc> + '_ {
        (0..self.counts.rx).map(|queue| self.rx(queue).load_all())
    }

    /// Gives the memory back, against proof. False, and the memory is leaked, when a queue is left
    /// or the proof is about another device.
    #[must_use = "false means a leak"]
    pub(crate) fn free(self, quiet: &Quiet<'_>) -> bool {
        Arc::into_inner(self.words).is_some_and(|words| words.free(quiet).is_ok())
    }
}

/// One queue's descriptor in the table, as the queue sees it.
pub(crate) struct QueueWords<D: Dma> {
    words: Arc<DmaWords<Word32, D>>,
    /// Where the descriptor starts; it is in the table as a whole.
    at: usize,
}

impl<D: Dma> QueueWords<D> {
    #[inline(always)]
    fn load(&self, word: usize) -> u32 {
        self.words.words().get(self.at.wrapping_add(word)).map_or(0, Word32::load)
    }

    #[inline(always)]
    fn store(&self, word: usize, value: u32) {
        if let Some(word) = self.words.words().get(self.at.wrapping_add(word)) {
            word.store(value);
        }
    }

    /// Says how many frames were published since the last doorbell.
    #[inline(always)]
    pub(crate) fn set_tx_num_deferred(&self, frames: u32) {
        self.store(TX_NUM_DEFERRED, frames);
    }

    /// From how many of them on the device wants a doorbell.
    #[inline(always)]
    pub(crate) fn tx_threshold(&self) -> u32 {
        self.load(TX_THRESHOLD)
    }

    /// Whether the device wants to be told about fresh receive buffers.
    #[inline(always)]
    pub(crate) fn update_rx_prod(&self) -> bool {
        self.load(UPDATE_RX_PROD) & 0xff != 0
    }

    fn store_all(&self, desc: &[u8]) {
        for (word, bytes) in desc.as_chunks().0.iter().enumerate() {
            self.store(word, u32::from_le_bytes(*bytes));
        }
    }

    fn load_all<T: FromBytes + IntoBytes>(&self) -> T {
        let mut desc = T::new_zeroed();
        for (word, bytes) in desc.as_mut_bytes().as_chunks_mut().0.iter_mut().enumerate() {
            *bytes = self.load(word).to_le_bytes();
        }
        desc
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paravane_hal::dma::DeviceTag;
    use paravane_mock_hal::Memory;
    use std::vec::Vec;
    use zerocopy::FromZeros;
    use zerocopy::little_endian::{U32, U64};

    fn table(counts: QueueCounts) -> (Memory, QueueTable<Memory>) {
        let memory = Memory::default();
        let of = DeviceDma::new(memory.clone(), DeviceTag::unique(), 64);
        (memory, QueueTable::new(&of, counts).unwrap())
    }

    #[test]
    fn transmit_queues_come_first_and_receive_queues_behind() {
        let (memory, table) = table(QueueCounts { tx: 2, rx: 4 });
        for queue in 0..2 {
            let mut tx = TxQueueDesc::new_zeroed();
            tx.tx_ring_base_pa = U64::new(0x1122_3344_5566_7700 + u64::from(queue));
            tx.tx_ring_size = U32::new(512);
            table.describe_tx(queue, &tx);
        }
        for queue in 0..4 {
            let mut rx = RxQueueDesc::new_zeroed();
            rx.intr_idx = 7 + queue;
            table.describe_rx(queue, &rx);
        }
        let at = table.dma_addr();
        assert_eq!(table.len_bytes(), 6 * 256);
        for queue in 0..2_u64 {
            let base: u64 = 0x1122_3344_5566_7700 + queue;
            assert_eq!(memory.device_get(at + queue * 256 + 0x10), Ok(base.to_le_bytes()));
            assert_eq!(memory.device_get(at + queue * 256 + 0x38), Ok(512_u32.to_le_bytes()));
        }
        for queue in 0..4_u8 {
            let desc = at + (2 + u64::from(queue)) * 256;
            assert_eq!(memory.device_get(desc + 0x48), Ok([7 + queue]));
        }
    }

    #[test]
    fn the_most_queues_are_two_bytes_of_the_answer() {
        let most = |answer| {
            let QueueCounts { tx, rx } = QueueCounts::from_max_queues_conf(answer);
            [tx, rx]
        };
        assert_eq!([most(0x2018), most(0x0104), most(0xffff_2020)], [[24, 32], [4, 1], [32, 32]]);
        assert_eq!([most(0), most(0x1000), most(0x0001)], [[8, 8], [8, 16], [1, 8]]);
        assert_eq!(most(0xffff_fffe), [32, 32]);
        let extended = |tx, rx| QueueCounts { tx, rx }.are_extended();
        assert_eq!([extended(8, 16), extended(9, 9), extended(8, 17)], [false, true, true]);
    }

    #[test]
    fn the_device_writes_its_wishes_and_its_status() {
        let (memory, table) = table(QueueCounts { tx: 2, rx: 2 });
        let second = table.dma_addr() + 256;
        let words = table.tx(1);
        words.set_tx_num_deferred(3);
        assert_eq!(memory.device_get(second), Ok(3_u32.to_le_bytes()));
        memory.device_write(second + 4, &9_u32.to_le_bytes()).unwrap();
        assert_eq!((table.tx(0).tx_threshold(), words.tx_threshold()), (0, 9));
        memory.device_write(second + 512, &[1]).unwrap();
        assert_eq!([0, 1].map(|queue| table.rx(queue).update_rx_prod()), [false, true]);
        memory.device_write(second + 0x50, &[1, 0, 0, 0, 2, 0, 0, 0x80]).unwrap();
        memory.device_write(second + 512 + 0x58 + 8 * 8, &5_u64.to_le_bytes()).unwrap();
        let status: Vec<_> = table.read_tx().map(|tx| (tx.status.stopped, tx.status.error.get())).collect();
        assert_eq!(status, [(0, 0), (1, 0x8000_0002)]);
        assert_eq!(table.read_rx().map(|rx| rx.stats[8].get()).collect::<Vec<_>>(), [0, 5]);
    }
}
