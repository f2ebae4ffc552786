//! Coherent memory as a driver uses it: [`DmaBox`] for one structure, [`DmaRing`] for entries of
//! words, [`DmaWords`] for an array of small words.
//!
//! A device may write any of it at any time. So nothing here gives out a plain reference:
//! structures are copied in and out with volatile accesses, and ring words are atomics, to which a
//! reference is fine. A device that scribbles can produce a wrong value, never undefined behaviour.
//!
//! Memory is given back with [`free`](DmaBox::free) against a [`Quiet`]. Dropped before anyone
//! asked for its device address, it is freed as well, for no device can know of it; dropped later,
//! it is leaked.
//!
//! Where a device wants rings and words one behind the other, [`DmaBlock`] hands them out of one
//! region.

use core::cell::Cell;
use core::hint::assert_unchecked;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::num::NonZeroUsize;
use core::ptr::NonNull;
use core::slice;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::addr::{Align, DmaAddr};
use crate::dma::copy::{volatile_read, volatile_write};
use crate::dma::words::{Word16, Word32, Words};
use crate::dma::{DeviceDma, DeviceTag, Dma, DmaError, DmaErrorReason, DmaRegion, DmaRequest, Quiet};

#[cfg(feature = "alloc")]
mod block;
mod part;

#[cfg(feature = "alloc")]
pub use block::DmaBlock;
use part::Part;

/// An owned region, and whether a device may know of it.
struct Owned<D: Dma> {
    dma: D,
    device: DeviceTag,
    /// Taken only on the way out.
    region: ManuallyDrop<DmaRegion>,
    exposed: AtomicBool,
}

impl<D: Dma> Owned<D> {
    fn alloc(of: &DeviceDma<D>, len_bytes: usize, align: Align) -> Result<Self, DmaError> {
        let len = NonZeroUsize::new(len_bytes).ok_or(DmaError::new(len_bytes, DmaErrorReason::BadLength))?;
        let request = DmaRequest { address_bits: of.address_bits(), ..DmaRequest::new(len, align) };
        let region = of.dma().alloc(request)?;
        let owned = Self {
            dma: of.dma().clone(),
            device: of.device(),
            region: ManuallyDrop::new(region),
            exposed: AtomicBool::new(false),
        };
        // A platform that answers with less than was asked for is not believed; `owned` gives the
        // region back.
        request.check(&owned.region).map(|()| owned)
    }

    fn cpu<T>(&self) -> NonNull<T> {
        self.region.cpu().cast()
    }

    fn expose(&self, offset_bytes: usize) -> DmaAddr {
        self.exposed.store(true, Relaxed);
        self.region.dma().offset(offset_bytes)
    }

    /// Gives the memory back if `quiet` is about its device; else the owner back.
    fn free(self, quiet: &Quiet<'_>) -> Result<(), Self> {
        if quiet.device() != self.device {
            return Err(self);
        }
        self.exposed.store(false, Relaxed);
        drop(self);
        Ok(())
    }
}

impl<D: Dma> Drop for Owned<D> {
    fn drop(&mut self) {
        if self.exposed.load(Relaxed) {
            return;
        }
        // SAFETY: `region` is not used after this; the value is being dropped.
        let region = unsafe { ManuallyDrop::take(&mut self.region) };
        // SAFETY:
        // - `region` came from `alloc` on a clone of this domain, and a clone reaches the same
        //   domain.
        // - Views of it borrow the value that owns this one, so none is left.
        // - The device cannot reach it: either nobody asked for the device address since `alloc`,
        //   or `free` saw the proof and cleared the mark.
        unsafe { self.dma.free(region) };
    }
}

/// One field of a structure in shared memory: where it is, and what it holds.
///
/// Made by [`field!`](crate::field), so that offset and type cannot disagree.
#[derive(Debug)]
pub struct Field<T, F> {
    offset_bytes: usize,
    marker: PhantomData<fn(&T) -> &F>,
}

impl<T, F> Clone for Field<T, F> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T, F> Copy for Field<T, F> {}

impl<T, F> Field<T, F> {
    /// Used by [`field!`](crate::field): the projection fixes the type, and is never called.
    #[doc(hidden)]
    #[must_use]
    pub const fn of(offset_bytes: usize, _projection: fn(&T) -> &F) -> Self {
        // The field's length first: a sum could wrap, for the offset is anybody's.
        let room = size_of::<T>().checked_sub(size_of::<F>());
        assert!(matches!(room, Some(last) if offset_bytes <= last), "a field lies inside its structure");
        Self { offset_bytes, marker: PhantomData }
    }

    /// The part `inner` of this field.
    #[must_use]
    pub const fn then<G>(self, inner: Field<F, G>) -> Field<T, G> {
        Field { offset_bytes: self.offset_bytes + inner.offset_bytes, marker: PhantomData }
    }

    /// Where it is, from the start of the structure.
    #[must_use]
    pub const fn offset_bytes(self) -> usize {
        self.offset_bytes
    }
}

/// Names a field of a plain-data structure: `field!(DriverShared, ecr)`.
#[macro_export]
macro_rules! field {
    ($structure:ty, $($field:ident).+) => {
        const {
            $crate::dma::Field::<$structure, _>::of(
                ::core::mem::offset_of!($structure, $($field).+),
                |structure: &$structure| &structure.$($field).+,
            )
        }
    };
}

/// One structure in memory shared with a device, or an array of them laid end to end.
pub struct DmaBox<T, D: Dma> {
    owned: Owned<D>,
    count: usize,
    marker: PhantomData<Cell<T>>,
}

// SAFETY: the memory is reached through this value alone on the CPU's side; nothing in it is bound
// to a thread.
unsafe impl<T: Send, D: Dma + Send> Send for DmaBox<T, D> {}

impl<T: FromBytes + IntoBytes + Immutable, D: Dma> DmaBox<T, D> {
    /// Allocates one `T`, all bytes zero.
    ///
    /// # Errors
    ///
    /// [`DmaError`]; nothing is allocated.
    pub fn zeroed(of: &DeviceDma<D>, align: Align) -> Result<Self, DmaError> {
        Self::array_zeroed(of, 1, align)
    }

    /// Allocates `count` of `T`, all bytes zero.
    ///
    /// # Errors
    ///
    /// [`DmaError`]; nothing is allocated.
    pub fn array_zeroed(of: &DeviceDma<D>, count: usize, align: Align) -> Result<Self, DmaError> {
        let align = Align::checked(align_of::<T>()).map_or(align, |of_type| of_type.max(align));
        let len_bytes =
            size_of::<T>().checked_mul(count).ok_or(DmaError::new(usize::MAX, DmaErrorReason::BadLength))?;
        Ok(Self { owned: Owned::alloc(of, len_bytes, align)?, count, marker: PhantomData })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Where the device finds the first. From here on the memory counts as known to the device.
    #[must_use]
    pub fn dma_addr(&self) -> DmaAddr {
        self.owned.expose(0)
    }

    /// Where the device finds the one at `index`, if there is one.
    #[must_use]
    pub fn dma_addr_of(&self, index: usize) -> Option<DmaAddr> {
        (index < self.count).then(|| self.owned.expose(index * size_of::<T>()))
    }

    /// Where the CPU finds the one at `index`.
    #[inline(always)]
    fn place(&self, index: usize) -> Option<NonNull<T>> {
        // SAFETY: bounds checked here.
        (index < self.count).then(|| unsafe { self.first().add(index) })
    }

    /// Where the CPU finds the first. There is one, for `alloc` refuses an empty request.
    #[inline(always)]
    fn first(&self) -> NonNull<T> {
        let first = self.owned.cpu::<T>();
        // SAFETY: `array_zeroed` asked for no less than the alignment of a `T`, and `alloc`
        // believes no platform that answers with less.
        unsafe { assert_unchecked(first.is_aligned()) };
        first
    }

    /// A field of the one at `place`, which is one of ours.
    #[inline(always)]
    fn field_of<F>(place: NonNull<T>, field: Field<T, F>) -> NonNull<F> {
        // SAFETY: a `Field<T, F>` lies inside a `T`, and `place` is one's start.
        unsafe { place.cast::<u8>().add(field.offset_bytes) }.cast()
    }

    /// Copies the one at `index` out, if there is one. The copy is the driver's; look at it, not at
    /// the memory, from then on.
    #[must_use]
    pub fn read_at(&self, index: usize) -> Option<T> {
        // SAFETY: the place is ours, and aligned by `array_zeroed`.
        self.place(index).map(|place| unsafe { volatile_read(place) })
    }

    /// Copies `value` to `index`. False, and nothing is written, when there is no such place.
    #[must_use = "false says that there is no such place"]
    pub fn write_at(&mut self, index: usize, value: &T) -> bool {
        // SAFETY: as in `read_at`.
        self.place(index).map(|place| unsafe { volatile_write(place, value) }).is_some()
    }

    /// Copies the first out.
    #[must_use]
    pub fn read(&self) -> T {
        // SAFETY: as in `read_at`.
        unsafe { volatile_read(self.first()) }
    }

    /// Copies `value` to the first.
    pub fn write(&mut self, value: &T) {
        // SAFETY: as in `read_at`.
        unsafe { volatile_write(self.first(), value) };
    }

    /// Reads one field of the first, in one access if it is an aligned integer.
    #[must_use]
    #[inline]
    pub fn get<F: FromBytes + IntoBytes + Immutable>(&self, field: Field<T, F>) -> F {
        // SAFETY: the field is part of a `T` of ours.
        unsafe { volatile_read(Self::field_of(self.first(), field)) }
    }

    /// Writes one field of the first, in one access if it is an aligned integer.
    #[inline]
    pub fn set<F: FromBytes + IntoBytes + Immutable>(&mut self, field: Field<T, F>, value: F) {
        // SAFETY: as in `get`.
        unsafe { volatile_write(Self::field_of(self.first(), field), &value) };
    }

    /// Reads one field of the one at `index`, if there is one.
    #[must_use]
    #[inline]
    pub fn get_at<F: FromBytes + IntoBytes + Immutable>(
        &self,
        index: usize,
        field: Field<T, F>,
    ) -> Option<F> {
        // SAFETY: as in `get`.
        self.place(index).map(|place| unsafe { volatile_read(Self::field_of(place, field)) })
    }

    /// Writes one field of the one at `index`. False when there is no such place.
    #[must_use = "false says that there is no such place"]
    #[inline]
    pub fn set_at<F: FromBytes + IntoBytes + Immutable>(
        &mut self,
        index: usize,
        field: Field<T, F>,
        value: F,
    ) -> bool {
        // SAFETY: as in `get`.
        self.place(index)
            .map(|place| unsafe { volatile_write(Self::field_of(place, field), &value) })
            .is_some()
    }

    /// Gives the memory back, against proof that its device has let go.
    ///
    /// # Errors
    ///
    /// `self`, when the proof is about another device.
    pub fn free(self, quiet: &Quiet<'_>) -> Result<(), Self> {
        let Self { owned, count, .. } = self;
        owned.free(quiet).map_err(|owned| Self { owned, count, marker: PhantomData })
    }
}

/// A ring of entries of `W` words in shared memory. The driver gives the words their meaning.
pub struct DmaRing<const W: usize, D: Dma> {
    part: Part<D>,
    count: usize,
}

// SAFETY: the memory is atomics, and nothing in it is bound to a thread.
unsafe impl<const W: usize, D: Dma + Send> Send for DmaRing<W, D> {}

impl<const W: usize, D: Dma> DmaRing<W, D> {
    /// Allocates `count` entries, all words zero.
    ///
    /// # Errors
    ///
    /// [`DmaError`]; nothing is allocated.
    pub fn zeroed(of: &DeviceDma<D>, count: usize, align: Align) -> Result<Self, DmaError> {
        let len_bytes = size_of::<Words<W>>()
            .checked_mul(count)
            .ok_or(DmaError::new(usize::MAX, DmaErrorReason::BadLength))?;
        Ok(Self { part: Part::alloc(of, len_bytes, align.max(Align::new(align_of::<Words<W>>())))?, count })
    }

    /// The entries.
    #[must_use]
    #[inline(always)]
    pub fn slots(&self) -> &[Words<W>] {
        // SAFETY:
        // - Bounds, alignment: `zeroed` asked for `count` entries at no less than an entry's
        //   alignment, or a `DmaBlock` had so many left there, which no other part has.
        // - Initialised: `Dma::alloc` zeroes, and zero is a valid word.
        // - Shared with the device: every word is atomic, so a store from the other side is never a
        //   data race with this reference; it is memory, so a stray load is harmless.
        // - Lifetime: the reference borrows `self`, and only consuming `self` gives the memory up.
        unsafe { slice::from_raw_parts(self.part.cpu().as_ptr(), self.count) }
    }

    /// Where the device finds it. From here on the memory counts as known to the device.
    #[must_use]
    pub fn dma_addr(&self) -> DmaAddr {
        self.part.expose()
    }

    /// Where the device finds entry `index`; `None` when there is none. Likewise.
    #[must_use]
    #[inline(always)]
    pub fn dma_addr_of(&self, index: usize) -> Option<DmaAddr> {
        // Within the region, so the product does not wrap.
        (index < self.count).then(|| self.part.expose().offset(index.wrapping_mul(size_of::<Words<W>>())))
    }

    /// Gives the memory back, against proof that its device has let go.
    ///
    /// # Errors
    ///
    /// `self`, when the proof is about another device.
    pub fn free(self, quiet: &Quiet<'_>) -> Result<(), Self> {
        let Self { part, count } = self;
        part.free(quiet).map_err(|part| Self { part, count })
    }
}

/// A word that [`DmaWords`] can hold: every bit pattern is valid, and both sides may change it at
/// any time.
pub trait SharedWord: sealed::Word {}
impl SharedWord for Word16 {}
impl SharedWord for Word32 {}

mod sealed {
    use super::{Word16, Word32};
    /// Implemented here only: [`DmaWords`](super::DmaWords) makes references to these from zeroed
    /// memory.
    pub trait Word {}
    impl Word for Word16 {}
    impl Word for Word32 {}
}

/// An array of words in shared memory.
pub struct DmaWords<A: SharedWord, D: Dma> {
    part: Part<D>,
    count: usize,
    marker: PhantomData<A>,
}

// SAFETY: the memory is atomics, and nothing in it is bound to a thread.
unsafe impl<A: SharedWord, D: Dma + Send> Send for DmaWords<A, D> {}
// SAFETY: a shared reference gives out references to atomics and the device address, nothing else;
// the memory's own mark is an atomic too.
unsafe impl<A: SharedWord, D: Dma + Sync> Sync for DmaWords<A, D> {}

impl<A: SharedWord, D: Dma> DmaWords<A, D> {
    /// Allocates `count` words, all zero.
    ///
    /// # Errors
    ///
    /// [`DmaError`]; nothing is allocated.
    pub fn zeroed(of: &DeviceDma<D>, count: usize, align: Align) -> Result<Self, DmaError> {
        let len_bytes =
            size_of::<A>().checked_mul(count).ok_or(DmaError::new(usize::MAX, DmaErrorReason::BadLength))?;
        Ok(Self {
            part: Part::alloc(of, len_bytes, align.max(Align::new(align_of::<A>())))?,
            count,
            marker: PhantomData,
        })
    }

    /// The words.
    #[must_use]
    #[inline(always)]
    pub fn words(&self) -> &[A] {
        // SAFETY:
        // - Bounds, alignment: `zeroed` asked for `count` words at no less than their alignment, or
        //   a `DmaBlock` had so many left there, which no other part has.
        // - Initialised: `Dma::alloc` zeroes, and zero is a valid word; `SharedWord` is sealed to
        //   atomic integers.
        // - Shared with the device: atomics, as in `DmaRing::slots`.
        // - Lifetime: the reference borrows `self`, and only consuming `self` gives the memory up.
        unsafe { slice::from_raw_parts(self.part.cpu().as_ptr(), self.count) }
    }

    /// Where the device finds it. From here on the memory counts as known to the device.
    #[must_use]
    pub fn dma_addr(&self) -> DmaAddr {
        self.part.expose()
    }

    /// Gives the memory back, against proof that its device has let go.
    ///
    /// # Errors
    ///
    /// `self`, when the proof is about another device.
    pub fn free(self, quiet: &Quiet<'_>) -> Result<(), Self> {
        let Self { part, count, .. } = self;
        part.free(quiet).map_err(|part| Self { part, count, marker: PhantomData })
    }
}

#[cfg(test)]
#[path = "shared_tests.rs"]
mod tests;
