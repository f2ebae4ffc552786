//! Proof that a device has let go of its memory.
//!
//! Freeing memory under a live device is the one mistake that no later check can find. So memory
//! goes back only against a [`Quiet`]: made by whoever stopped the device and saw it stopped (a bus
//! that cleared bus mastering and read it back), borrowed from the stopped device, so that it
//! cannot be started while proofs are about, and naming the device, so that proof about one does
//! not free the memory of another. Memory dropped without proof is leaked, which is safe.

use core::marker::PhantomData;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::dma::Dma;
use crate::time::Clock;

/// Which device memory belongs to. Unique within the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeviceTag(u64);

impl DeviceTag {
    /// A tag that no other device has.
    #[must_use]
    pub fn unique() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Relaxed))
    }
}

/// The device cannot reach memory any more, for as long as this value lives.
#[derive(Debug)]
pub struct Quiet<'device> {
    device: DeviceTag,
    stopped: PhantomData<&'device mut ()>,
}

impl Quiet<'_> {
    /// Vouches that `device` is stopped.
    ///
    /// # Safety
    ///
    /// The device tagged `device` has been seen stopped: it starts no access to memory and none is
    /// under way, and nothing can start it again during the lifetime of the value. The usual proof
    /// is bus mastering cleared and read back as clear, with the lifetime that of an exclusive
    /// borrow of the device.
    #[must_use]
    #[expect(unsafe_code, reason = "the promise that frees memory")]
    pub const unsafe fn vouch(device: DeviceTag) -> Self {
        Self { device, stopped: PhantomData }
    }

    /// Which device is stopped.
    #[must_use]
    pub const fn device(&self) -> DeviceTag {
        self.device
    }
}

/// Whoever can silence a device: a function on PCI, a device whose registers lie in one place
/// ([`MmioDevice`](crate::mmio::MmioDevice)), a connection to a device in another process.
///
/// A driver stops its device by the device's own means first. This is the bus's word that it did.
pub trait Quiesce {
    /// Why the bus does not vouch for it.
    type Error: core::error::Error;

    /// Whom the memory that the device reaches belongs to: what a [`Quiet`] for it names.
    fn tag(&self) -> DeviceTag;

    /// Has the device let go of memory, waits until it has, and vouches for that.
    ///
    /// # Errors
    ///
    /// The bus's reason: the device may still write memory. What it knows of stays allocated.
    fn quiesce(&mut self, clock: &impl Clock) -> Result<Quiet<'_>, Self::Error>;
}

/// A DMA domain as seen for one device: what is allocated through it belongs to that device.
#[derive(Clone, Debug)]
pub struct DeviceDma<D> {
    dma: D,
    device: DeviceTag,
    address_bits: u8,
}

impl<D: Dma> DeviceDma<D> {
    /// `dma` for the device tagged `device`, which drives `address_bits` address bits.
    #[must_use]
    pub fn new(dma: D, device: DeviceTag, address_bits: u8) -> Self {
        Self { dma, device, address_bits }
    }

    /// The domain.
    #[must_use]
    pub fn dma(&self) -> &D {
        &self.dma
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> DeviceTag {
        self.device
    }

    /// How many address bits the device drives.
    #[must_use]
    pub fn address_bits(&self) -> u8 {
        self.address_bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_devices_share_a_tag() {
        assert_ne!(DeviceTag::unique(), DeviceTag::unique());
    }
}
