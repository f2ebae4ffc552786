//! Words that both sides may change at any time: the entries of rings.

use core::cell::Cell;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};

use super::load::seen;

/// One entry of a ring: `W` words that both sides may change at any time. Little-endian in memory.
///
/// One thread at a time has it: accesses to the same words in two sizes, by two threads at once,
/// are outside Rust's memory model.
///
/// ```compile_fail,E0277
/// fn reached_from_two_threads<T: Sync>() {}
/// reached_from_two_threads::<paravane_hal::dma::Words<4>>();
/// ```
#[repr(C, align(8))]
#[derive(Debug)]
pub struct Words<const W: usize>([AtomicU32; W], PhantomData<Cell<()>>);

const _: () = assert!(size_of::<Words<4>>() == 16 && align_of::<Words<4>>() == align_of::<AtomicU64>());

impl<const W: usize> Words<W> {
    /// Reads word `I`. Which order it has with other accesses, the caller's
    /// [`barrier`](crate::barrier) says.
    #[must_use]
    #[inline(always)]
    pub fn load<const I: usize>(&self) -> u32 {
        const { assert!(I < W, "the entry has that word") };
        load32(&self.0.as_slice()[I])
    }

    /// Writes word `I`.
    #[inline(always)]
    pub fn store<const I: usize>(&self, value: u32) {
        const { assert!(I < W, "the entry has that word") };
        self.0.as_slice()[I].store(value.to_le(), Relaxed);
    }

    /// Reads words `I` (low half) and `I + 1` (high half) in one access.
    #[must_use]
    #[inline(always)]
    pub fn load_pair<const I: usize>(&self) -> u64 {
        let pair = self.pair::<I>();
        seen(pair, u64::from_le(pair.load(Relaxed)))
    }

    /// Writes words `I` (low half) and `I + 1` (high half) in one access.
    #[inline(always)]
    pub fn store_pair<const I: usize>(&self, value: u64) {
        self.pair::<I>().store(value.to_le(), Relaxed);
    }

    /// Reads every word once, in order.
    #[must_use]
    #[inline(always)]
    pub fn snapshot(&self) -> [u32; W] {
        core::array::from_fn(|i| load32(&self.0[i]))
    }

    /// Two words as one.
    #[inline(always)]
    fn pair<const I: usize>(&self) -> &AtomicU64 {
        const { assert!(I.is_multiple_of(2) && I + 1 < W, "the entry has those words, and they are a pair") };
        let place = core::ptr::from_ref(&self.0).cast::<AtomicU32>().wrapping_add(I).cast::<AtomicU64>();
        // SAFETY:
        // - Bounds, alignment: words `I` and `I + 1` are inside, `I` is even, and an entry is
        //   aligned to eight bytes.
        // - Initialised: atomics of every size have the layout of their integer, and every pattern
        //   is valid.
        // - Shared: it is reached by atomic accesses alone. Two sizes are never mixed by two
        //   threads, for the type is not `Sync`; a device is no thread of this program.
        unsafe { &*place }
    }
}

#[inline(always)]
fn load32(word: &AtomicU32) -> u32 {
    seen(word, u32::from_le(word.load(Relaxed)))
}

/// One word of 16 bits that both sides may change at any time. Little-endian in memory; values are
/// in the CPU's order.
#[repr(transparent)]
#[derive(Debug)]
pub struct Word16(AtomicU16);

impl Word16 {
    /// Reads it. Which order that has with other accesses, the caller's [`barrier`](crate::barrier)
    /// says.
    #[must_use]
    #[inline(always)]
    pub fn load(&self) -> u16 {
        seen(&self.0, u16::from_le(self.0.load(Relaxed)))
    }

    /// Writes it.
    #[inline(always)]
    pub fn store(&self, value: u16) {
        self.0.store(value.to_le(), Relaxed);
    }
}

/// One word of 32 bits that both sides may change at any time. Little-endian in memory; values are
/// in the CPU's order.
#[repr(transparent)]
#[derive(Debug)]
pub struct Word32(AtomicU32);

impl Word32 {
    /// Reads it. Which order that has with other accesses, the caller's [`barrier`](crate::barrier)
    /// says.
    #[must_use]
    #[inline(always)]
    pub fn load(&self) -> u32 {
        load32(&self.0)
    }

    /// Writes it.
    #[inline(always)]
    pub fn store(&self, value: u32) {
        self.0.store(value.to_le(), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_two_words_low_one_first() {
        let words = Words::<4>([const { AtomicU32::new(0) }; 4], PhantomData);
        words.store_pair::<2>(0x1122_3344_5566_7788);
        assert_eq!(words.snapshot(), [0, 0, 0x5566_7788, 0x1122_3344]);
        words.store::<0>(7);
        assert_eq!(words.load_pair::<0>(), 7);
        assert_eq!(words.load_pair::<2>(), 0x1122_3344_5566_7788);
        assert_eq!(words.load::<3>(), 0x1122_3344);
    }
}
