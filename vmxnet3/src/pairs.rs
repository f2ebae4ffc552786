//! Several pairs of queues, as `net` has them in front of one another.
//!
//! Before revision 6 a device has up to 8 transmit queues and 16 receive queues, so pairs from the
//! ninth on only receive.

use paravane_hal::Platform;
use paravane_hal::dma::{DeviceTag, Quiet};
use paravane_hal::fault::DeviceFault;

use crate::rx::RxQueue;
use crate::tunnel::Tunnels;
use crate::tx::TxQueue;

/// A pair of queues besides the first; behind the last transmit queue, of a receive queue alone.
pub type Pair<P> = paravane_net::Pair<RxQueue<P>, Option<TxQueue<P>>>;

/// What a running device receives: the queues of all pairs, or of those that were not taken away.
pub type RxQueues<P> = paravane_net::RxQueues<RxQueue<P>, Option<TxQueue<P>>>;

/// All receive queues that are here, first to last.
pub(crate) fn rx_queues<P: Platform>(rx: &RxQueues<P>) -> impl Iterator<Item = &RxQueue<P>> {
    [rx.first()].into_iter().chain(rx.others().iter().map(|pair| &pair.rx))
}

/// The same of transmit queues, of which `tx` is the first.
pub(crate) fn tx_queues<'q, P: Platform>(
    rx: &'q RxQueues<P>,
    tx: &'q TxQueue<P>,
) -> impl Iterator<Item = &'q TxQueue<P>> {
    [tx].into_iter().chain(rx.others().iter().filter_map(|pair| pair.tx.as_ref()))
}

/// Says what all transmit queues may ask of their device about frames in tunnels.
pub(crate) fn allow<P: Platform>(rx: &mut RxQueues<P>, tx: &mut TxQueue<P>, tunnels: Tunnels) {
    let others = rx.others_mut().iter_mut().filter_map(|pair| pair.tx.as_mut());
    [tx].into_iter().chain(others).for_each(|tx| tx.allow(tunnels));
}

/// Which devices they belong to, `tx` included.
pub(crate) fn tags<'q, P: Platform>(
    rx: &'q RxQueues<P>,
    tx: &'q TxQueue<P>,
) -> impl Iterator<Item = DeviceTag> + 'q {
    rx_queues(rx).map(RxQueue::device).chain(tx_queues(rx, tx).map(TxQueue::device))
}

/// Ends all that are in `rx`.
pub(crate) fn break_with<P: Platform>(rx: &mut RxQueues<P>, fault: DeviceFault) {
    for rx in rx.queues_mut() {
        rx.break_with(fault);
    }
    for tx in rx.others_mut().iter_mut().filter_map(|pair| pair.tx.as_mut()) {
        tx.break_with(fault);
    }
}

/// Gives their memory and frames back, against proof. False when some had to be leaked.
#[must_use = "false means a leak"]
pub(crate) fn release<P: Platform>(rx: RxQueues<P>, quiet: &Quiet<'_>) -> bool {
    let (first, others) = rx.into_parts();
    others.into_iter().fold(first.release(quiet), |freed, Pair { rx, tx }| {
        rx.release(quiet) & tx.is_none_or(|tx| tx.release(quiet)) & freed
    })
}
