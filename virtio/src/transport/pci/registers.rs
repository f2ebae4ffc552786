//! The common configuration: registers that every virtio function on PCI has.
//!
//! Each is accessed in its own width, 64-bit ones as two halves, low first: that is what every
//! device takes, and what strict ones (Firecracker) take alone.
//!
//! Spec: VIRTIO 1.2, 4.1.4.3 "Common configuration structure layout", 4.1.3.1 "Driver Requirements:
//! PCI Device Layout".

use paravane_hal::reg::{ReadOnly, Reg};

/// How long the structure is at least: up to and with `queue_device`. Some devices expose exactly
/// that; what lies beyond belongs to features.
pub(crate) const COMMON_BYTES: usize = 0x38;

/// Which 32 bits of the features offered [`DEVICE_FEATURE`] shows.
pub(crate) const DEVICE_FEATURE_SELECT: Reg<u32> = Reg::at(0x00);
/// Features offered.
pub(crate) const DEVICE_FEATURE: Reg<u32, ReadOnly> = Reg::at(0x04);
/// Which 32 bits of the features accepted [`DRIVER_FEATURE`] is.
pub(crate) const DRIVER_FEATURE_SELECT: Reg<u32> = Reg::at(0x08);
/// Features accepted.
pub(crate) const DRIVER_FEATURE: Reg<u32> = Reg::at(0x0c);
/// MSI-X table entry for configuration changes; read back to see whether the device could.
pub(crate) const CONFIG_MSIX_VECTOR: Reg<u16> = Reg::at(0x10);
/// The status; zero resets.
pub(crate) const DEVICE_STATUS: Reg<u8> = Reg::at(0x14);
/// Changes with the device's own configuration.
pub(crate) const CONFIG_GENERATION: Reg<u8, ReadOnly> = Reg::at(0x15);
/// Which queue the registers below are about.
pub(crate) const QUEUE_SELECT: Reg<u16> = Reg::at(0x16);
/// Entries: the maximum when read after a reset, then what was written.
pub(crate) const QUEUE_SIZE: Reg<u16> = Reg::at(0x18);
/// MSI-X table entry for used buffers; read back to see whether the device could.
pub(crate) const QUEUE_MSIX_VECTOR: Reg<u16> = Reg::at(0x1a);
/// One starts the queue. Zero is never written.
pub(crate) const QUEUE_ENABLE: Reg<u16> = Reg::at(0x1c);
/// Which doorbell is the queue's, in units of the multiplier.
pub(crate) const QUEUE_NOTIFY_OFF: Reg<u16, ReadOnly> = Reg::at(0x1e);
/// Where the descriptor table is; low half.
pub(crate) const QUEUE_DESC: Reg<u32> = Reg::at(0x20);
/// Where the available ring is; low half.
pub(crate) const QUEUE_DRIVER: Reg<u32> = Reg::at(0x28);
/// Where the used ring is; low half.
pub(crate) const QUEUE_DEVICE: Reg<u32> = Reg::at(0x30);

/// One has the device give the queue up. Reads 1 until that is done. With `RING_RESET`.
pub(crate) const QUEUE_RESET: Reg<u16> = Reg::at(0x3a);

/// No vector, and "could not" when read back.
pub(crate) const NO_VECTOR: u16 = 0xffff;

/// The interrupt status, alone in its structure; empties on read.
pub(crate) const ISR: Reg<u8, paravane_hal::reg::ReadClear> = Reg::at(0);
