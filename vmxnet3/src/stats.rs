//! The device's own counters, which it writes into the queue descriptors on demand. They start over
//! at each activation; what earlier ones came to, [`Device`](crate::Device) keeps.

use core::ops::Add;

use paravane_net::DeviceStats;
use zerocopy::little_endian::U64;

use crate::shared::{RxQueueDesc, TxQueueDesc};

/// All queues' counters in driver-neutral form. Each kind of address has frames and bytes of its
/// own; here they are added up.
pub(crate) fn device_stats(
    tx: impl Iterator<Item = TxQueueDesc>,
    rx: impl Iterator<Item = RxQueueDesc>,
) -> DeviceStats {
    let queues = tx.map(|tx| of_tx(&tx)).chain(rx.map(|rx| of_rx(&rx)));
    queues.fold(DeviceStats::default(), Add::add)
}

// Frames to be cut (TSO) and frames put together (LRO) have counters of their own and are counted
// by address as well.

fn of_tx(tx: &TxQueueDesc) -> DeviceStats {
    let [_, _, kinds @ .., tx_errors, tx_discards] = &tx.stats;
    let (tx_frames, tx_bytes) = add_up(kinds);
    let (tx_errors, tx_discards) = (tx_errors.get(), tx_discards.get());
    DeviceStats { tx_frames, tx_bytes, tx_errors, tx_discards, ..DeviceStats::default() }
}

fn of_rx(rx: &RxQueueDesc) -> DeviceStats {
    let [_, _, kinds @ .., rx_out_of_buffers, rx_errors] = &rx.stats;
    let (rx_frames, rx_bytes) = add_up(kinds);
    let (rx_out_of_buffers, rx_errors) = (rx_out_of_buffers.get(), rx_errors.get());
    DeviceStats { rx_frames, rx_bytes, rx_out_of_buffers, rx_errors, ..DeviceStats::default() }
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
        let stats = device_stats([tx].into_iter(), [rx].into_iter());
        assert_eq!((stats.tx_frames, stats.tx_bytes, stats.tx_errors, stats.tx_discards), (9, 900, 5, 6));
        assert_eq!((stats.rx_frames, stats.rx_bytes), (9, 900));
        assert_eq!((stats.rx_out_of_buffers, stats.rx_errors), (7, 8));
        let several = device_stats([tx; 3].into_iter(), [rx; 2].into_iter());
        assert_eq!((several.tx_frames, several.tx_discards), (27, 18));
        assert_eq!((several.rx_bytes, several.rx_out_of_buffers), (1800, 14));
    }
}
