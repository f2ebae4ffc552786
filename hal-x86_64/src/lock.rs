//! A spin lock and a cell that is set once: what a kernel without threads needs to share a value.
//!
//! Not for values that an interrupt handler touches: a handler that interrupted the holder would
//! wait for ever. Held for short table work only (no device is waited for inside), so spinning is
//! cheaper than any queue.

#![expect(unsafe_code, reason = "shared mutability, guarded by the flag beside it")]

use core::cell::UnsafeCell;
use core::fmt;
use core::mem::MaybeUninit;
use core::sync::atomic::{
    AtomicBool, AtomicU8,
    Ordering::{Acquire, Relaxed, Release},
};

/// A value that one caller at a time may change.
pub struct SpinLock<T> {
    locked: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the lock gives out one reference at a time, so sharing it moves the value between cores,
// never aliases it.
unsafe impl<T: Send> Sync for SpinLock<T> {}

/// Opens the lock when the holder is done, also when it unwinds.
struct Opens<'a>(&'a AtomicBool);

impl Drop for Opens<'_> {
    fn drop(&mut self) {
        self.0.store(false, Release);
    }
}

impl<T> SpinLock<T> {
    /// Puts `value` under a lock.
    pub const fn new(value: T) -> Self {
        Self { locked: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// Runs `work` on the value, alone. Not to be called again from inside `work`, nor from an
    /// interrupt handler.
    pub fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        while self.locked.compare_exchange_weak(false, true, Acquire, Relaxed).is_err() {
            core::hint::spin_loop();
        }
        let _opens = Opens(&self.locked);
        // SAFETY: the exchange above succeeded for one caller only, and `_opens` releases after
        // `work` gave the reference up.
        work(unsafe { &mut *self.value.get() })
    }
}

impl<T> fmt::Debug for SpinLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpinLock").field("locked", &self.locked.load(Relaxed)).finish_non_exhaustive()
    }
}

/// A value that is set once and read ever after, from interrupt handlers too.
pub struct Once<T> {
    state: AtomicU8,
    value: UnsafeCell<MaybeUninit<T>>,
}

const UNSET: u8 = 0;
const BUSY: u8 = 1;
const SET: u8 = 2;

// SAFETY: after `SET` the value is only read, by shared references; before, one caller alone writes
// it.
unsafe impl<T: Send + Sync> Sync for Once<T> {}

impl<T> Once<T> {
    /// Nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: AtomicU8::new(UNSET), value: UnsafeCell::new(MaybeUninit::uninit()) }
    }

    /// The value, once it is there.
    #[must_use]
    #[inline]
    pub fn get(&self) -> Option<&T> {
        if self.state.load(Acquire) != SET {
            return None;
        }
        // SAFETY: `SET` is stored after the value was written, and nothing writes it again.
        let value = unsafe { &*self.value.get() };
        // SAFETY: as above; it was written.
        Some(unsafe { value.assume_init_ref() })
    }

    /// Sets the value.
    ///
    /// # Errors
    ///
    /// `value`, when there is one already.
    pub fn set(&self, value: T) -> Result<&T, T> {
        if self.state.compare_exchange(UNSET, BUSY, Acquire, Relaxed).is_err() {
            return Err(value);
        }
        // SAFETY: the exchange succeeded for this caller alone, and readers wait for `SET`.
        let placed = unsafe { &mut *self.value.get() }.write(value);
        self.state.store(SET, Release);
        Ok(placed)
    }
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for Once<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Once").field(&self.get()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::thread;

    #[test]
    fn no_addition_is_lost() {
        let sum = Arc::new(SpinLock::new(0u32));
        let adders: Vec<_> = (0..4)
            .map(|_| {
                let sum = Arc::clone(&sum);
                thread::spawn(move || (0..1000).for_each(|_| sum.with(|sum| *sum += 1)))
            })
            .collect();
        adders.into_iter().for_each(|adder| adder.join().unwrap());
        assert_eq!(sum.with(|sum| *sum), 4000);
    }

    #[test]
    fn a_panic_inside_leaves_the_lock_open() {
        let lock = Arc::new(SpinLock::new(7));
        let held = Arc::clone(&lock);
        assert!(thread::spawn(move || held.with(|_| panic!("inside"))).join().is_err());
        assert_eq!(lock.with(|value| *value), 7);
    }

    #[test]
    fn once_is_once() {
        let once = Once::new();
        assert_eq!(once.get(), None);
        assert_eq!(once.set(5), Ok(&5));
        assert_eq!(once.set(6), Err(6));
        assert_eq!(once.get(), Some(&5));
    }
}
