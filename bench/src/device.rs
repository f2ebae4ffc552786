//! Devices that do the least a device has to: take descriptors, give completions. They check
//! nothing and cost the drivers nothing.
//!
//! They share the process with the drivers and run between the measured calls, never inside them.

#![expect(unsafe_code, reason = "a device reads and writes memory by the addresses it was given")]

pub mod virtio;
pub mod vmxnet3;

use std::ptr::with_exposed_provenance_mut;

/// The memory at a device address, which is the CPU's.
fn at<T>(addr: u64) -> *mut T {
    with_exposed_provenance_mut(usize::try_from(addr).unwrap_or(0))
}

/// Reads a value at a device address.
fn load<T: Copy>(addr: u64) -> T {
    // SAFETY: drivers give addresses of regions that `Plain::alloc` exposed (and `virtio-drivers`
    // of buffers its harness exposed) and that stay until the device is stopped; devices here add
    // no more than the offsets of the layouts that those regions hold. Drivers and devices take
    // turns in one thread.
    unsafe { at::<T>(addr).read_volatile() }
}

/// Writes a value at a device address.
fn store<T: Copy>(addr: u64, value: T) {
    // SAFETY: as in `load`.
    unsafe { at::<T>(addr).write_volatile(value) };
}

/// Writes `bytes` at a device address.
fn store_bytes(addr: u64, bytes: &[u8]) {
    // SAFETY: as in `load`; `bytes` is this process's own and no DMA memory.
    unsafe { at::<u8>(addr).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
}
