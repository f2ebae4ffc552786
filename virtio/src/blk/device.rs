//! A block device that is not running: claimed, or stopped.
//!
//! ```text
//!  transport --new--> Device --start--> Running { control, queue }
//!                    Device <--stop---
//!  transport <--into_parts-- Device
//! ```
//!
//! What is the same for every class of device, [`device`](crate::device) does.

use core::fmt;

use paravane_hal::dma::Quiet;
use paravane_hal::{Failed, Platform};

use crate::blk::CLASS;
use crate::blk::queue::{BlkRing, Places};
use crate::device;
use crate::error::BringUpError;
use crate::transport::{Location, Transport};

/// A claimed block device that does not run: it was reset, or does not answer to that.
pub struct Device<P: Platform, T: Transport<P::Region>>(pub(crate) device::Device<P, T, Rings<P>>);

/// A running block device, in parts that may go to different cores. Its requests carry `B`.
pub type Running<P, T, B> = paravane_block::Running<Device<P, T>, B>;

/// Its queue, while nobody has it.
pub(crate) struct Rings<P: Platform> {
    pub(crate) ring: Option<BlkRing<P>>,
    pub(crate) places: Option<Places<P>>,
}

impl<P: Platform> Default for Rings<P> {
    fn default() -> Self {
        Self { ring: None, places: None }
    }
}

impl<P: Platform> device::Rings for Rings<P> {
    fn is_none(&self) -> bool {
        self.ring.is_none() && self.places.is_none()
    }

    fn free(self, quiet: &Quiet<'_>) {
        // They were made for the device that the proof is about.
        let freed = [
            self.ring.is_none_or(|ring| ring.free(quiet)),
            self.places.is_none_or(|places| places.free(quiet)),
        ];
        debug_assert!(freed == [true; 2], "a ring of another device");
    }
}

impl<P: Platform, T: Transport<P::Region>> Device<P, T> {
    /// Takes the device behind `transport` into use: resets it, so that whatever drove it before is
    /// over. It may not use memory until it is started.
    ///
    /// # Errors
    ///
    /// [`BringUpError`], and the transport back.
    pub fn new(transport: T, platform: P) -> Result<Self, Failed<BringUpError, T>> {
        device::Device::open(transport, platform, CLASS).map(Self)
    }

    /// The transport.
    #[must_use]
    pub fn transport(&self) -> &T {
        &self.0.transport
    }

    /// Where it is.
    #[must_use]
    pub fn location(&self) -> Location {
        self.0.location()
    }

    /// Whether a start failed and the device did not confirm the reset after it: the memory that it
    /// was told of waits in here for a [`start`](Self::start) that begins with a reset which the
    /// device does confirm.
    #[must_use]
    pub fn keeps_memory(&self) -> bool {
        self.0.keeps_memory()
    }

    /// Gives transport and platform up. Memory that it [keeps](Self::keeps_memory) is leaked.
    #[must_use]
    pub fn into_parts(self) -> (T, P) {
        (self.0.transport, self.0.platform)
    }
}

impl<P: Platform, T: Transport<P::Region>> fmt::Debug for Device<P, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "virtio_blk::Device({})", self.location())
    }
}
