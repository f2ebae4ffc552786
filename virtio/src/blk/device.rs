//! A block device that is not running: claimed, or stopped.
//!
//! ```text
//!  transport --new--> Device --start--> Running { control, queue, more_queues }
//!                    Device <--stop---
//!  transport <--into_parts-- Device
//! ```
//!
//! What is the same for every class of device, [`device`](crate::device) does.

use alloc::vec::Vec;

use paravane_hal::Platform;
use paravane_hal::dma::Quiet;

use crate::blk::DEVICE_ID;
use crate::blk::lane::BlkRing;
use crate::blk::places::Places;
use crate::device::{self, Class, Rings};

/// The block device among the classes.
pub struct Blk;

/// What the device is told of for one queue, as far as it is there.
pub(crate) type QueueMemory<P> = (Option<BlkRing<P>>, Option<Places<P>>);

impl Class for Blk {
    const DEVICE_ID: u16 = DEVICE_ID;
    const NAME: &'static str = "virtio-blk";

    type Rings<P: Platform> = Vec<QueueMemory<P>>;
}

impl<P: Platform> Rings for Option<Places<P>> {
    fn is_none(&self) -> bool {
        self.is_none()
    }

    fn free(self, quiet: &Quiet<'_>) -> bool {
        self.is_none_or(|places| places.free(quiet))
    }
}

/// A claimed block device that does not run: it was reset, or does not answer to that.
pub type Device<P, T> = device::Device<P, T, Blk>;

/// A running block device, in parts that may go to different cores. Its requests carry `B`.
pub type Running<P, T, B> = paravane_block::Running<Device<P, T>, B>;
