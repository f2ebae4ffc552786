//! Memory that existed before, lent to a device by move.
//!
//! [`Mapped`] owns the memory while the device may reach it. There is no way to lend a borrow: a
//! borrow ends when the program says so, a device when it likes. It comes back against proof that
//! the device has let go, or by `unsafe` code that says so. Dropped without either, it is leaked
//! together with its mapping.

use core::marker::PhantomData;
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

/// Memory that can be lent: its owner can be taken apart into the bytes and whatever else it is
/// made of, and put together again. While it is apart nobody has a claim to the bytes that a
/// device's access could break.
///
/// # Safety
///
/// [`into_raw`](Self::into_raw) gives up bytes that are initialised, valid for reads and writes,
/// and nobody else's until [`from_raw`](Self::from_raw); they neither move nor change length
/// meanwhile. Any byte pattern written there leaves the value valid.
pub unsafe trait StableMemory: Sized + 'static {
    /// What there is beside the bytes.
    type Rest;

    /// Takes the owner apart.
    fn into_raw(self) -> (NonNull<[u8]>, Self::Rest);

    /// Puts it together again.
    ///
    /// # Safety
    ///
    /// Both came from one call of [`into_raw`](Self::into_raw), and nobody else reaches the bytes
    /// any more.
    unsafe fn from_raw(bytes: NonNull<[u8]>, rest: Self::Rest) -> Self;
}

#[cfg(feature = "alloc")]
// SAFETY: a box owns its bytes on the heap, which stay where they are once it gave its pointer up;
// any byte is a `u8`.
unsafe impl StableMemory for Box<[u8]> {
    type Rest = ();

    fn into_raw(self) -> (NonNull<[u8]>, ()) {
        (NonNull::from(Box::leak(self)), ())
    }

    unsafe fn from_raw(bytes: NonNull<[u8]>, (): ()) -> Self {
        // SAFETY: the pointer that `leak` gave, by the caller.
        unsafe { Box::from_raw(bytes.as_ptr()) }
    }
}

#[cfg(feature = "alloc")]
// SAFETY: as for the box; the capacity is what a vector has beside its bytes.
unsafe impl StableMemory for Vec<u8> {
    type Rest = usize;

    fn into_raw(self) -> (NonNull<[u8]>, usize) {
        let mut vec = ManuallyDrop::new(self);
        // Not by a slice, which would be a claim to the bytes that are in use and no others: the
        // capacity goes back with them.
        let start = NonNull::new(vec.as_mut_ptr()).unwrap_or(NonNull::dangling());
        (NonNull::slice_from_raw_parts(start, vec.len()), vec.capacity())
    }

    unsafe fn from_raw(bytes: NonNull<[u8]>, capacity: usize) -> Self {
        // SAFETY: pointer, length and capacity of a vector that was not dropped, by the caller.
        unsafe { Self::from_raw_parts(bytes.cast().as_ptr(), bytes.len(), capacity) }
    }
}

/// Owned memory that a device reaches.
///
/// It becomes ordinary memory again against proof that the device has let go
/// ([`unmap`](Self::unmap)), or by somebody who vouches that the device has completed it
/// ([`unmap_completed`](Self::unmap_completed)). No safe code has another way, so a
/// [`Posted`](crate::pool::Posted) table of them can be emptied too early without harm: what comes
/// out is mapped still.
pub struct Mapped<M: StableMemory, D: Dma> {
    dma: D,
    device: DeviceTag,
    bytes: NonNull<[u8]>,
    /// Not dropped: without a way back the memory is leaked, and this belongs to it.
    rest: ManuallyDrop<M::Rest>,
    mapping: DmaMapping,
    owner: PhantomData<M>,
}

// SAFETY: it has the memory to itself, as its owner had; the pointer is a claim to it, not a view
// of thread-bound state.
unsafe impl<M: StableMemory<Rest: Send> + Send, D: Dma + Send> Send for Mapped<M, D> {}

impl<M: StableMemory, D: Dma> Mapped<M, D> {
    /// Moves `memory` to where the device `of` can reach it.
    ///
    /// # Errors
    ///
    /// The reason, and `memory` back.
    pub fn new(of: &DeviceDma<D>, memory: M, direction: Direction) -> Result<Self, Failed<DmaError, M>> {
        // Before anything is lent: from here on the pointer is the only way to the bytes.
        let (bytes, rest) = memory.into_raw();
        let fail = |rest, reason| {
            // SAFETY: from `into_raw` above; no device learnt of the bytes.
            Failed::new(DmaError::new(bytes.len(), reason), unsafe { M::from_raw(bytes, rest) })
        };
        let Some(len) = NonZeroUsize::new(bytes.len()) else {
            return Err(fail(rest, DmaErrorReason::BadLength));
        };
        // SAFETY: `bytes` are valid, stay where they are and are nobody else's until `from_raw`, by
        // `StableMemory`.
        let mapping = match unsafe { of.dma().map(bytes, direction) } {
            Ok(mapping) => mapping,
            Err(error) => {
                let memory = fail(rest, error.reason).into_parts().1;
                return Err(Failed::new(error, memory));
            }
        };
        let (dma, device, address_bits) = (of.dma().clone(), of.device(), of.address_bits());
        let reachable = DmaRequest { address_bits, ..DmaRequest::new(len, Align::BYTE) };
        let is_reached = reachable.accepts(mapping.dma());
        let rest = ManuallyDrop::new(rest);
        let mapped = Self { dma, device, bytes, rest, mapping, owner: PhantomData };
        if is_reached {
            return Ok(mapped);
        }
        let error = DmaError::new(len.get(), DmaErrorReason::AddressWidth { address_bits });
        // SAFETY: nobody asked for the address, so the device never learnt it.
        Err(Failed::new(error, unsafe { mapped.unmap_completed() }))
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

    /// Where the device finds the byte at `offset_bytes`; `None` past the end.
    #[must_use]
    pub fn dma_addr_at(&self, offset_bytes: usize) -> Option<DmaAddr> {
        (offset_bytes <= self.bytes.len()).then(|| self.mapping.dma().offset(offset_bytes))
    }

    /// How long it is.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Who may write.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.mapping.direction()
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
        Ok(unsafe { self.unmap_completed() })
    }

    /// Takes the memory back while its device runs.
    ///
    /// A device that goes on with it all the same is stopped by the domain, if that takes mappings
    /// back (an IOMMU) or copies (a bounce buffer). Where it does neither, memory from a
    /// [`Pool`](crate::pool::Pool) is the safer choice.
    ///
    /// # Safety
    ///
    /// The device has let go of the memory: it has completed it, as checked against what it was
    /// given, or never learnt the address, or was stopped.
    pub unsafe fn unmap_completed(self) -> M {
        let Self { dma, bytes, rest, mapping, .. } = self;
        // SAFETY: `mapping` came from this domain and its memory is still owned here; the device
        // has let go, by the caller.
        unsafe { dma.unmap(mapping) };
        // SAFETY: from `into_raw`; the device was the only other who reached the bytes.
        unsafe { M::from_raw(bytes, ManuallyDrop::into_inner(rest)) }
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
        assert!(posted.take(0).is_none(), "nothing is posted there");
        let mapped = posted.take(1).unwrap();
        assert_eq!(mappings(&heap), 1, "taken out of the table, it is mapped still");
        // SAFETY: there is no device.
        assert_eq!(unsafe { mapped.unmap_completed() }, b"frame");
        assert_eq!((posted.posted(), mappings(&heap)), (0, 0));
    }

    #[test]
    fn what_is_taken_without_a_completion_is_leaked() {
        let heap = Heap::default();
        let of = DeviceDma::new(heap.clone(), DeviceTag::unique(), 64);
        let mut posted = Posted::new(1, of.device()).unwrap();
        let mapped = Mapped::new(&of, vec![0_u8; 8], Direction::FromDevice).ok().unwrap();
        assert!(posted.put(0, mapped).is_ok());
        drop(posted.take(0));
        assert_eq!(mappings(&heap), 1, "the device may have it");
    }

    /// For Miri, under both of its models: the device's pointer is older than every move of the
    /// owner.
    fn written_while_mapped<M: StableMemory + AsRef<[u8]>>(memory: M) {
        let heap = Heap::default();
        let of = DeviceDma::new(heap.clone(), DeviceTag::unique(), 64);
        let device = |at| heap.mapped.load(Ordering::SeqCst).wrapping_add(at);
        let mapped = Box::new(Mapped::new(&of, memory, Direction::FromDevice).ok().unwrap());
        // SAFETY: what was mapped is that long, and is not touched by its owner while it is.
        unsafe { device(3).write_volatile(7) };
        let moved = *mapped;
        // SAFETY: as above.
        unsafe { device(4).write_volatile(8) };
        // SAFETY: there is no device.
        let memory = moved.unmap(&unsafe { Quiet::vouch(of.device()) }).ok().unwrap();
        assert_eq!((memory.as_ref(), mappings(&heap)), ([0, 0, 0, 7, 8].as_slice(), 0));
    }

    #[test]
    fn a_device_writes_to_a_box_that_moved() {
        written_while_mapped(vec![0_u8; 5].into_boxed_slice());
    }

    #[test]
    fn a_device_writes_to_a_vector_that_moved() {
        let mut memory = Vec::with_capacity(64);
        memory.extend([0_u8; 5]);
        written_while_mapped(memory);
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
