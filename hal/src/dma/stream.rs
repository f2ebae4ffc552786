//! Memory that existed before, lent to a device by move.
//!
//! [`Mapped`] owns the memory while the device may reach it. There is no way to lend a borrow: a borrow ends when the program says so, a device
//! when it likes. It comes back in two ways: completed, out of the table in which its queue posted it ([`Posted::unmap`](crate::pool::Posted::unmap)), or
//! against proof that the device has let go. Dropped without either, it is leaked along with its mapping.

use core::mem::ManuallyDrop;
use core::num::NonZeroUsize;
use core::ptr::NonNull;

#[cfg(feature = "alloc")]
use alloc::{boxed::Box, vec::Vec};

use crate::Failed;
use crate::addr::{Align, DmaAddr};
use crate::dma::{DeviceDma, DeviceTag, Dma, DmaError, DmaErrorReason, DmaMapping, DmaRequest, Quiet};

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
#[cfg(feature = "alloc")]
unsafe impl StableMemory for Box<[u8]> {
    fn memory(&mut self) -> NonNull<[u8]> {
        NonNull::from(&mut **self)
    }
}

// SAFETY: as for the box; the initialised part of a vector does not move until the vector is used again.
#[cfg(feature = "alloc")]
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
    pub fn new(of: &DeviceDma<D>, mut memory: M, direction: Direction) -> Result<Self, Failed<DmaError, M>> {
        let bytes = memory.memory();
        let Some(len) = NonZeroUsize::new(bytes.len()) else {
            return Err(Failed::new(DmaError::new(0, DmaErrorReason::BadLength), memory));
        };
        // SAFETY: `bytes` are owned by `memory` and stay put by `StableMemory`; nobody touches `memory` until `unmap`, for only this value has it.
        let mapping = match unsafe { of.dma().map(bytes, direction) } {
            Ok(mapping) => mapping,
            Err(error) => return Err(Failed::new(error, memory)),
        };
        let (dma, device, address_bits) = (of.dma().clone(), of.device(), of.address_bits());
        let mapped = Self { dma, device, memory: ManuallyDrop::new(memory), mapping };
        let reachable = DmaRequest { address_bits, ..DmaRequest::new(len, Align::BYTE) };
        if !reachable.accepts(mapped.mapping.dma()) {
            // SAFETY: nobody asked for the address, so the device never learnt it.
            let memory = unsafe { mapped.give_back() };
            let reason = DmaErrorReason::AddressWidth { address_bits };
            return Err(Failed::new(DmaError::new(len.get(), reason), memory));
        }
        Ok(mapped)
    }

    /// Whose it is for now.
    #[must_use]
    pub fn device(&self) -> DeviceTag {
        self.device
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
        // SAFETY: `quiet` proves it.
        Ok(unsafe { self.give_back() })
    }

    /// Takes the memory back.
    ///
    /// # Safety
    ///
    /// The device has let go of it: it never learnt the address, was stopped, or has completed it.
    pub(crate) unsafe fn give_back(self) -> M {
        let Self { dma, memory, mapping, .. } = self;
        // SAFETY: `mapping` came from this domain and its memory is still owned here; the device has let go, by the caller.
        unsafe { dma.unmap(mapping) };
        ManuallyDrop::into_inner(memory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Posted;
    use crate::testing::Heap;
    use core::sync::atomic::Ordering;

    fn mappings(heap: &Heap) -> usize {
        heap.mappings.load(Ordering::SeqCst)
    }

    #[test]
    fn what_a_device_completed_comes_back_while_it_runs() {
        let heap = Heap::default();
        let of = DeviceDma::new(heap.clone(), DeviceTag::unique(), 64);
        let mut posted = Posted::new(2, of.device()).unwrap();
        let mapped = Mapped::new(&of, b"frame".to_vec(), Direction::ToDevice).ok().unwrap();
        assert!(posted.put(1, mapped).is_ok());
        assert_eq!(mappings(&heap), 1);
        assert_eq!(posted.unmap(0), None, "nothing is posted there");
        assert_eq!(posted.unmap(1), Some(b"frame".to_vec()));
        assert_eq!((posted.unmap(1), mappings(&heap)), (None, 0));
    }

    #[test]
    fn a_table_completes_for_its_own_device_alone() {
        let heap = Heap::default();
        let of = DeviceDma::new(heap.clone(), DeviceTag::unique(), 64);
        let mut posted = Posted::new(1, DeviceTag::unique()).unwrap();
        let mapped = Mapped::new(&of, vec![0_u8; 8], Direction::FromDevice).ok().unwrap();
        assert!(posted.put(0, mapped).is_ok());
        assert_eq!(posted.unmap(0), None);
        assert!(posted.holds(0), "it is still the other device's");
        assert_eq!(mappings(&heap), 1);
    }

    #[test]
    fn memory_beyond_the_device_is_refused_and_unmapped() {
        let heap = Heap::default();
        let narrow = DeviceDma::new(heap.clone(), DeviceTag::unique(), 32);
        let (error, memory) =
            Mapped::new(&narrow, vec![7_u8; 8], Direction::Both).err().unwrap().into_parts();
        assert_eq!(error.reason, DmaErrorReason::AddressWidth { address_bits: 32 });
        assert_eq!((memory, mappings(&heap)), (vec![7; 8], 0));
    }
}
