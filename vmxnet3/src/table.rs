//! The table of queue descriptors: one transmit queue, then one receive queue, in one piece of
//! memory that control and both queues share.
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
/// Where the receive queue's descriptor starts.
const RX: usize = DESC_WORDS;
/// Both.
const TABLE_WORDS: usize = DESC_WORDS + size_of::<RxQueueDesc>() / 4;

const TX_NUM_DEFERRED: usize = offset_of!(TxQueueDesc, tx_num_deferred) / 4;
const TX_THRESHOLD: usize = offset_of!(TxQueueDesc, tx_threshold) / 4;
const UPDATE_RX_PROD: usize = RX + offset_of!(RxQueueDesc, update_rx_prod) / 4;

/// `queueDescLen`.
pub(crate) const TABLE_BYTES: u32 = 512;
const _: () = assert!(TABLE_WORDS * 4 == TABLE_BYTES as usize);

/// A handle to the table; a clone is another to the same.
pub(crate) struct QueueTable<D: Dma>(Arc<DmaWords<Word32, D>>);

impl<D: Dma> Clone for QueueTable<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<D: Dma> QueueTable<D> {
    /// An empty table.
    pub(crate) fn new(of: &DeviceDma<D>) -> Result<Self, DmaError> {
        // The device asks for 128.
        DmaWords::zeroed(of, TABLE_WORDS, Align::new(512)).map(|words| Self(Arc::new(words)))
    }

    /// Where the device finds it.
    pub(crate) fn dma_addr(&self) -> u64 {
        self.0.dma_addr().get()
    }

    #[inline(always)]
    fn load(&self, word: usize) -> u32 {
        self.0.words().get(word).map_or(0, Word32::load)
    }

    #[inline(always)]
    fn store(&self, word: usize, value: u32) {
        if let Some(word) = self.0.words().get(word) {
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

    /// Describes both queues to a device that is not running.
    pub(crate) fn describe(&self, tx: &TxQueueDesc, rx: &RxQueueDesc) {
        for (at, value) in words_of(tx.as_bytes()).chain(words_of(rx.as_bytes())).enumerate() {
            self.store(at, value);
        }
    }

    /// Copies both descriptors out, each word once.
    pub(crate) fn read(&self) -> (TxQueueDesc, RxQueueDesc) {
        let mut bytes = [0_u8; TABLE_BYTES as usize];
        for (place, word) in bytes.chunks_exact_mut(4).zip(self.0.words()) {
            place.copy_from_slice(&word.load().to_le_bytes());
        }
        let (tx, rx) = bytes.split_at(size_of::<TxQueueDesc>());
        let zeroed = (zerocopy::FromZeros::new_zeroed(), zerocopy::FromZeros::new_zeroed());
        // The halves are as long as the structures, by the assertion above.
        (
            TxQueueDesc::read_from_bytes(tx).unwrap_or(zeroed.0),
            RxQueueDesc::read_from_bytes(rx).unwrap_or(zeroed.1),
        )
    }

    /// Gives the memory back, against proof. False, and the memory is leaked, when another handle
    /// is left or the proof is about another device.
    #[must_use = "false means a leak"]
    pub(crate) fn free(self, quiet: &Quiet<'_>) -> bool {
        Arc::into_inner(self.0).is_some_and(|words| words.free(quiet).is_ok())
    }
}

fn words_of(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.chunks_exact(4).filter_map(|chunk| chunk.try_into().ok().map(u32::from_le_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use paravane_hal::dma::DeviceTag;
    use paravane_mock_hal::Memory;
    use zerocopy::FromZeros;
    use zerocopy::little_endian::{U32, U64};

    fn table() -> (Memory, QueueTable<Memory>) {
        let memory = Memory::default();
        let of = DeviceDma::new(memory.clone(), DeviceTag::unique(), 64);
        (memory, QueueTable::new(&of).unwrap())
    }

    #[test]
    fn descriptors_lie_one_after_the_other() {
        let (memory, table) = table();
        let mut tx = TxQueueDesc::new_zeroed();
        tx.tx_ring_base_pa = U64::new(0x1122_3344_5566_7788);
        tx.tx_ring_size = U32::new(512);
        let mut rx = RxQueueDesc::new_zeroed();
        rx.intr_idx = 7;
        table.describe(&tx, &rx);
        let at = table.dma_addr();
        assert_eq!(memory.device_get(at + 0x10), Ok(0x1122_3344_5566_7788_u64.to_le_bytes()));
        assert_eq!(memory.device_get(at + 0x38), Ok(512_u32.to_le_bytes()));
        assert_eq!(memory.device_get(at + 256 + 0x48), Ok([7_u8]));
    }

    #[test]
    fn the_device_writes_its_wishes_and_its_status() {
        let (memory, table) = table();
        let at = table.dma_addr();
        table.set_tx_num_deferred(3);
        assert_eq!(memory.device_get(at), Ok(3_u32.to_le_bytes()));
        memory.device_write(at + 4, &9_u32.to_le_bytes()).unwrap();
        assert_eq!(table.tx_threshold(), 9);
        assert!(!table.update_rx_prod());
        memory.device_write(at + 256, &[1]).unwrap();
        assert!(table.update_rx_prod());
        memory.device_write(at + 0x50, &[1, 0, 0, 0, 2, 0, 0, 0x80]).unwrap();
        memory.device_write(at + 256 + 0x58 + 8 * 8, &5_u64.to_le_bytes()).unwrap();
        let (tx, rx) = table.read();
        assert_eq!((tx.status.stopped, tx.status.error.get()), (1, 0x8000_0002));
        assert_eq!(rx.stats[8].get(), 5);
    }
}
