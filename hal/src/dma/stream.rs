//! Memory that existed before, lent to a device by move.
//!
//! [`Mapped`] owns the memory while the device may reach it. There is no way to lend a borrow: a borrow ends when the program says so, a device
//! when it likes. Dropped without proof that the device let go, the memory is leaked along with its mapping.

use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::addr::DmaAddr;
use crate::dma::{DeviceDma, DeviceTag, Dma, DmaError, DmaErrorReason, DmaMapping, Quiet};

/// Who writes while a mapping lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The device reads.
    ToDevice,
    /// The device writes.
    FromDevice,
    /// Both.
    Both,
}

/// Memory that stays where it is when its owner moves.
///
/// # Safety
///
/// [`memory`](Self::memory) names bytes that are initialised, owned by `self` alone, and neither move nor change length while `self` is moved about and not otherwise
/// used; any byte pattern written there leaves `self` valid.
pub unsafe trait StableMemory: 'static {
    /// The bytes.
    fn memory(&mut self) -> NonNull<[u8]>;
}

// SAFETY: a box owns its bytes on the heap, they stay put when the box moves, and any byte is a `u8`.
unsafe impl StableMemory for Box<[u8]> {
    fn memory(&mut self) -> NonNull<[u8]> {
        NonNull::from(&mut **self)
    }
}

// SAFETY: as for the box; the initialised part of a vector does not move until the vector is used again.
unsafe impl StableMemory for Vec<u8> {
    fn memory(&mut self) -> NonNull<[u8]> {
        NonNull::from(self.as_mut_slice())
    }
}

/// Owned memory that a device reaches.
pub struct Mapped<M: StableMemory, D: Dma> {
    dma: D,
    device: DeviceTag,
    memory: ManuallyDrop<M>,
    mapping: DmaMapping,
}

impl<M: StableMemory, D: Dma> Mapped<M, D> {
    /// Moves `memory` to where the device `of` can reach it.
    ///
    /// # Errors
    ///
    /// The reason, and `memory` back.
    pub fn new(of: &DeviceDma<D>, mut memory: M, direction: Direction) -> Result<Self, (DmaError, M)> {
        let bytes = memory.memory();
        if bytes.is_empty() {
            return Err((DmaError::new(0, DmaErrorReason::BadLength), memory));
        }
        // SAFETY: `bytes` are owned by `memory` and stay put by `StableMemory`; nobody touches `memory` until `unmap`, for only this value has it.
        let mapping = match unsafe { of.dma().map(bytes, direction) } {
            Ok(mapping) => mapping,
            Err(error) => return Err((error, memory)),
        };
        Ok(Self { dma: of.dma().clone(), device: of.device(), memory: ManuallyDrop::new(memory), mapping })
    }

    /// Where the device finds it.
    #[must_use]
    pub fn dma_addr(&self) -> DmaAddr {
        self.mapping.dma()
    }

    /// How long it is.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.mapping.memory().len()
    }

    /// Takes the memory back, against proof that the device has let go.
    ///
    /// # Errors
    ///
    /// `self`, when the proof is about another device.
    pub fn unmap(self, quiet: &Quiet<'_>) -> Result<M, Self> {
        if quiet.device() != self.device {
            return Err(self);
        }
        let Self { dma, memory, mapping, .. } = self;
        // SAFETY: `mapping` came from this domain and its memory is still owned here; `quiet` proves that the device has let go.
        unsafe { dma.unmap(mapping) };
        Ok(ManuallyDrop::into_inner(memory))
    }
}
