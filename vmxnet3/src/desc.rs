//! The four descriptors as values: what they say, and how that lies in their words.
//!
//! Nothing here touches memory. The words are the device headers' `dw0` to `dw3`. A completion is a
//! stranger's word: `classify`, of each kind, is the one place where it is checked, and what comes
//! out cannot be wrong about the ring. There is no other way to make one.

mod rx;
mod tx;

pub(crate) use rx::{BufferKind, Merged, RingIds, RxCompletion, RxDesc, RxGeometry, RxJudged};
pub(crate) use tx::{PlainTx, TxCompletion, TxDesc, TxSop};

/// The longest piece of memory that one transmit descriptor names.
pub(crate) const MAX_TX_SEGMENT_BYTES: u32 = 1 << 14;
/// The longest buffer that one receive descriptor names.
pub(crate) const MAX_RX_BUFFER_BYTES: u32 = (1 << 14) - 1;
/// The shortest buffer that may start a frame; the device stops the queue at a shorter one.
pub(crate) const MIN_RX_HEAD_BYTES: u32 = 128;

/// `len`, in `dw2` of all but transmit completions.
const LEN: u32 = (1 << 14) - 1;
/// `txdIdx` and `rxdIdx`.
const INDEX: u32 = (1 << 12) - 1;

#[cfg(test)]
#[path = "desc_tests.rs"]
mod tests;
