//! Several pairs of queues, as `net` has them in front of one another.
//!
//! A device spreads what it receives over the pairs that it was told to use, and some over those
//! that they have, whatever they were told.
//!
//! Spec: VIRTIO 1.2, 5.1.6.5.5 "Device operation in multiqueue mode".

use paravane_hal::Platform;
use paravane_hal::dma::{DeviceTag, Quiet};
use paravane_hal::fault::DeviceFault;

use crate::net::rx::RxQueue;
use crate::net::tx::TxQueue;

/// A pair of queues besides the first.
pub type Pair<P> = paravane_net::Pair<RxQueue<P>, TxQueue<P>>;

/// What a running device receives: the queues of all pairs, or of those that were not taken away.
pub type RxQueues<P> = paravane_net::RxQueues<RxQueue<P>, TxQueue<P>>;

/// Which devices the queues in `rx` belong to.
pub(crate) fn tags<P: Platform>(rx: &RxQueues<P>) -> impl Iterator<Item = DeviceTag> + '_ {
    let others = rx.others().iter().flat_map(|Pair { rx, tx }| [rx.device(), tx.ring().device()]);
    [rx.first().device()].into_iter().chain(others)
}

/// Breaks all of them.
pub(crate) fn fail<P: Platform>(rx: &mut RxQueues<P>, fault: DeviceFault) {
    rx.queues_mut().for_each(|rx| rx.fail(fault));
    rx.others_mut().iter_mut().for_each(|pair| pair.tx.fail(fault));
}

/// Gives their memory back. False when the proof is about another device.
pub(crate) fn free<P: Platform>(rx: RxQueues<P>, quiet: &Quiet<'_>) -> bool {
    let (first, others) = rx.into_parts();
    others
        .into_iter()
        .fold(first.free(quiet), |freed, Pair { rx, tx }| rx.free(quiet) & tx.into_ring().free(quiet) & freed)
}
