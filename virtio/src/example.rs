//! A class of device that does not exist, built with the tests alone: `docs/adding.md` adds it.
//!
//! A *mirror* has one queue. A request is a text, which the device reads, and an image as long,
//! into which it writes the text from back to front. It may say how long a text can be.

mod model;
mod queue;
mod storm;
mod tests;

use paravane_hal::irq::Interrupts;
use paravane_hal::mmio::MmioExt as _;
use paravane_hal::reg::{ReadOnly, Reg};
use paravane_hal::{Failed, Platform};

use crate::config::end_bytes;
use crate::device::{self, Class, queue_size};
use crate::error::{SetUpError, StopError};
use crate::feature::{Allowed, ClassFeatures, FieldEnd};
use crate::transport::{QueueError, Transport};
use crate::watch::Watch;
use queue::{MirrorQueue, MirrorRing};

/// The only queue.
const REQUEST_QUEUE: u16 = 0;
const QUEUES: u16 = 1;

/// `max_bytes`: how long a text can be.
const MAX_BYTES: Reg<u32, ReadOnly> = Reg::at(0);

bitflags::bitflags! {
    /// Features of the mirror that this driver implements.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct MirrorFeatures: u64 {
        /// The device says how long a text can be. Without it, any length will do.
        const MAX_BYTES = 1;
    }
}

impl ClassFeatures for MirrorFeatures {
    const FIELDS: &'static [FieldEnd] = &[(Self::MAX_BYTES.bits(), end_bytes(&MAX_BYTES))];
}

/// The mirror among the classes.
struct Mirror;

impl Class for Mirror {
    const DEVICE_ID: u16 = 63;
    const NAME: &'static str = "virtio-mirror";

    type Rings<P: Platform> = Option<MirrorRing<P>>;
}

/// A claimed mirror that does not run: it was reset, or does not answer to that.
type Device<P, T> = device::Device<P, T, Mirror>;

/// A running mirror, in parts that may go to different cores.
type Running<P, T> = (Watch<P, T, Mirror>, MirrorQueue<P>);

impl<P: Platform, T: Transport<P::Region>> Device<P, T> {
    /// Starts it. On an error it comes back, reset.
    fn start(
        self,
        entries: u16,
        allowed: Allowed<MirrorFeatures>,
        interrupts: Interrupts<'_>,
    ) -> Result<Running<P, T>, Failed<SetUpError, Self>> {
        let (device, rings, (max_bytes, interrupts)) = self.bring_up(|device, ring| {
            let features = device.agree(allowed)?;
            let says_max = features.has(MirrorFeatures::MAX_BYTES);
            let max_bytes = if says_max { device.transport.config().read(&MAX_BYTES) } else { u32::MAX };

            let format = features.format();
            let size = queue_size(&mut device.transport, REQUEST_QUEUE, entries, format.packed)?;
            device.set_up(REQUEST_QUEUE, size, format, ring)?;
            Ok((max_bytes, device.enable(QUEUES, interrupts)))
        })?;
        let Some(ring) = rings else {
            return Err(device.abandon(rings, QueueError::Absent { queue: REQUEST_QUEUE }.into()));
        };
        let queue = MirrorQueue { ring, max_bytes, domain: device.platform.domain() };
        Ok((Watch::new(device, interrupts), queue))
    }

    /// Stops it; what it had goes home. On an error all parts come back.
    #[expect(clippy::result_large_err, reason = "all parts come back by move, once a stop")]
    fn stop((control, queue): Running<P, T>) -> Result<Self, Failed<StopError, Running<P, T>>> {
        let tags = [queue.ring.device()];
        let fail = |queue: &mut MirrorQueue<P>, fault| _ = queue.ring.fail(fault);
        control.stop(queue, &tags, fail, |queue, quiet| queue.ring.free(quiet))
    }
}
