//! What a queue has lent to its device.
//!
//! The table leaks on drop what it holds: only proof that the device has let go empties it.
//!
//! # Taking out too early
//!
//! A driver takes a slot's value out when its device has completed it, and it is the driver that
//! says so: nothing here can see whether it is true. So nothing that a driver without `unsafe` can
//! take out becomes ordinary memory by that.
//!
//! | Taken out too early | is | becomes ordinary memory |
//! |---|---|---|
//! | [`Buffer`](super::Buffer), and what is made of it | in its pool again: the device may spoil the bytes of whoever gets it next | with the pool, when no handle and no buffer is left |
//! | [`Mapped`](crate::dma::Mapped) | mapped still, and leaked when dropped | by [`unmap`](crate::dma::Mapped::unmap) against proof, or by `unsafe` code |
//! | [`DmaBox`](crate::dma::DmaBox), [`DmaRing`](crate::dma::DmaRing), [`DmaWords`](crate::dma::DmaWords) | allocated still, and leaked when dropped | by `free` against proof |
//!
//! What is left to a driver is the pool, which is not freed while a buffer of it is out: with a
//! receive ring that never shrinks there always is one. Whoever cannot say that keeps a handle to
//! the pool, in a [`Lent`].

use core::mem::{ManuallyDrop, size_of};
use core::ops::{Deref, DerefMut};

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::dma::{DeviceTag, DmaError, DmaErrorReason, Quiet};

/// What a queue has lent to its device, by slot.
///
/// The driver takes a slot's value out when the device has completed it. Dropped, a table that
/// holds something forgets it: the device may still write there. [`reclaim`](Self::reclaim) empties
/// it against proof that it cannot.
#[derive(Debug)]
pub struct Posted<T> {
    slots: ManuallyDrop<Box<[Option<T>]>>,
    device: DeviceTag,
}

impl<T> Posted<T> {
    /// A table of `slots` empty slots for the device tagged `device`.
    ///
    /// # Errors
    ///
    /// [`DmaError`] when there is no memory for it.
    pub fn new(slots: usize, device: DeviceTag) -> Result<Self, DmaError> {
        let mut table = Vec::new();
        if table.try_reserve_exact(slots).is_err() {
            return Err(DmaError::new(
                slots.saturating_mul(size_of::<Option<T>>()),
                DmaErrorReason::OutOfMemory,
            ));
        }
        table.resize_with(slots, || None);
        Ok(Self { slots: ManuallyDrop::new(table.into_boxed_slice()), device })
    }

    /// How many slots hold something. Counted by looking at each.
    #[must_use]
    pub fn posted(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    /// Whether `slot` exists and holds something.
    #[must_use]
    #[inline(always)]
    pub fn holds(&self, slot: usize) -> bool {
        self.slots.get(slot).is_some_and(Option::is_some)
    }

    /// What `slot` holds, left where it is.
    #[must_use]
    #[inline(always)]
    pub fn get(&self, slot: usize) -> Option<&T> {
        self.slots.get(slot).and_then(Option::as_ref)
    }

    /// Every slot, for a driver that walks over a run of them. What it takes out, the device has
    /// completed, it says; what it puts in, the device gets.
    #[must_use]
    #[inline(always)]
    pub fn slots_mut(&mut self) -> &mut [Option<T>] {
        &mut self.slots
    }

    /// Puts `value` into an empty slot.
    ///
    /// # Errors
    ///
    /// `value`, when the slot does not exist or is taken.
    #[inline(always)]
    pub fn put(&mut self, slot: usize, value: T) -> Result<(), T> {
        match self.slots.get_mut(slot) {
            Some(place @ None) => {
                *place = Some(value);
                Ok(())
            }
            _ => Err(value),
        }
    }

    /// Takes what `slot` holds: the device has completed it, the driver says.
    #[inline(always)]
    pub fn take(&mut self, slot: usize) -> Option<T> {
        self.slots.get_mut(slot)?.take()
    }

    /// Puts `value` in the place of what `slot` holds, which comes back: the device has completed
    /// it, the driver says, and gets the new one.
    ///
    /// # Errors
    ///
    /// `value`, when the slot does not exist or is empty.
    #[inline(always)]
    pub fn replace(&mut self, slot: usize, value: T) -> Result<T, T> {
        match self.slots.get_mut(slot) {
            Some(Some(place)) => Ok(core::mem::replace(place, value)),
            _ => Err(value),
        }
    }

    /// Drops everything it holds, against proof that the device has let go. A
    /// [`Mapped`](crate::dma::Mapped) that is dropped leaks its memory: take those out and
    /// [unmap](crate::dma::Mapped::unmap) each against the proof instead.
    ///
    /// # Errors
    ///
    /// `self`, untouched, when the proof is about another device.
    pub fn reclaim(mut self, quiet: &Quiet<'_>) -> Result<(), Self> {
        if quiet.device() != self.device {
            return Err(self);
        }
        // The table itself goes by the drop at the end, which finds it empty.
        for slot in self.slots.iter_mut() {
            drop(slot.take());
        }
        Ok(())
    }
}

/// Something that stays with a device until there is proof that it has let go: what a queue lent to
/// it as one value, or a handle to the pool that it lends from.
///
/// Dropped without proof it is leaked, like what a [`Posted`] holds. A pool of which a handle is
/// leaked is never freed, whatever its driver takes out too early.
#[derive(Debug)]
pub struct Lent<T> {
    value: ManuallyDrop<T>,
    device: DeviceTag,
}

impl<T> Lent<T> {
    /// `value`, for the device tagged `device`.
    #[must_use]
    pub const fn new(value: T, device: DeviceTag) -> Self {
        Self { value: ManuallyDrop::new(value), device }
    }

    /// The value, against proof.
    ///
    /// # Errors
    ///
    /// `self`, when the proof is about another device.
    pub fn reclaim(self, quiet: &Quiet<'_>) -> Result<T, Self> {
        if quiet.device() == self.device { Ok(ManuallyDrop::into_inner(self.value)) } else { Err(self) }
    }
}

impl<T> Deref for Lent<T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Lent<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T> Drop for Posted<T> {
    fn drop(&mut self) {
        if self.slots.iter().all(Option::is_none) {
            // SAFETY: the value is being dropped, so the slots are not used again.
            unsafe { ManuallyDrop::drop(&mut self.slots) };
        }
    }
}
