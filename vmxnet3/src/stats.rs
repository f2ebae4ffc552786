//! The device's own counters, which it writes into the queue descriptors on demand. They start over
//! at each activation; what earlier ones came to, [`Device`](crate::Device) keeps.

use paravane_net::DeviceStats;
use zerocopy::little_endian::U64;

use crate::shared::{RxQueueDesc, TxQueueDesc};

/// Both queues' counters in driver-neutral form. Each kind of address has frames and bytes of its
/// own; here they are added up.
pub(crate) fn device_stats(tx: &TxQueueDesc, rx: &RxQueueDesc) -> DeviceStats {
    // Frames to be cut (TSO) and frames put together (LRO) have counters of their own and are
    // counted by address as well.
    let [_, _, tx_kinds @ .., tx_errors, tx_discards] = &tx.stats;
    let (tx_frames, tx_bytes) = add_up(tx_kinds);
    let [_, _, rx_kinds @ .., rx_out_of_buffers, rx_errors] = &rx.stats;
    let (rx_frames, rx_bytes) = add_up(rx_kinds);
    DeviceStats {
        tx_frames,
        tx_bytes,
        tx_errors: tx_errors.get(),
        tx_discards: tx_discards.get(),
        rx_frames,
        rx_bytes,
        rx_errors: rx_errors.get(),
        rx_out_of_buffers: rx_out_of_buffers.get(),
    }
}

/// Adds pairs of frames and bytes up.
fn add_up(kinds: &[U64]) -> (u64, u64) {
    kinds.chunks_exact(2).fold((0, 0), |(frames, bytes), pair| match pair {
        [more_frames, more_bytes] => {
            (frames.wrapping_add(more_frames.get()), bytes.wrapping_add(more_bytes.get()))
        }
        _ => (frames, bytes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    #[test]
    fn kinds_of_address_are_added_up() {
        let mut tx = TxQueueDesc::new_zeroed();
        tx.stats = [1_u64, 100, 2, 200, 3, 300, 4, 400, 5, 6].map(U64::new);
        let mut rx = RxQueueDesc::new_zeroed();
        rx.stats = [9_u64, 900, 2, 200, 3, 300, 4, 400, 7, 8].map(U64::new);
        let stats = device_stats(&tx, &rx);
        assert_eq!((stats.tx_frames, stats.tx_bytes, stats.tx_errors, stats.tx_discards), (9, 900, 5, 6));
        assert_eq!((stats.rx_frames, stats.rx_bytes), (9, 900));
        assert_eq!((stats.rx_out_of_buffers, stats.rx_errors), (7, 8));
    }
}
