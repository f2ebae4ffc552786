//! The functions through which every word of a ring is loaded, and every value copied out that is
//! not a frame's or a request's data.
//!
//! What a device shares with a driver may change between two loads of the same word. No test sees a
//! driver that relies on the contrary as long as memory holds still under it, so there is a door:
//! with the crate's feature `changing-loads`, each load asks a hook, which may answer another value
//! than the one that lies there. Without the feature there is no hook, and a load is a load.
//!
//! The feature is for host tests. It is off by default, and costs an atomic load a word where it is
//! on.

/// What a driver sees of `value`, which is what lies at `place`.
#[cfg(not(feature = "changing-loads"))]
#[inline(always)]
pub(super) fn seen<T, V>(_place: &T, value: V) -> V {
    value
}

#[cfg(feature = "changing-loads")]
pub(super) use changing::seen;

#[cfg(feature = "changing-loads")]
pub mod changing {
    //! The hook. See the module above.

    use core::mem::transmute;
    use core::ptr::{from_ref, null_mut};
    use core::sync::atomic::{AtomicPtr, Ordering};

    /// Asked at each load of a word that a device shares. Gets where the word lies, how long it is
    /// in bytes (2, 4, or 8 for two words in one access) and what lies there, in the CPU's byte
    /// order, and answers what the driver is to see. Values that are copied out are asked for in
    /// pieces of eight bytes and what is left, little-endian.
    ///
    /// The place tells one word from another and is for nothing else: the device's side of the
    /// memory may be written meanwhile. Called by whichever thread loads; one that is armed for
    /// some threads keeps that in thread-local storage. It must not load such words itself.
    pub type Hook = fn(place: *const (), width_bytes: usize, value: u64) -> u64;

    /// A [`Hook`], or null.
    static HOOK: AtomicPtr<()> = AtomicPtr::new(null_mut());

    /// Has every later load ask `hook`, in the whole program. Only the latest one is asked.
    pub fn install(hook: Hook) {
        HOOK.store(hook as *mut (), Ordering::Release);
    }

    /// Integers that words are made of.
    pub(in crate::dma) trait Value: Copy {
        fn widen(self) -> u64;
        fn narrow(wide: u64) -> Self;
    }

    macro_rules! value {
        ($($int:ty)*) => {$(
            impl Value for $int {
                #[allow(clippy::useless_conversion, reason = "one of them is as wide")]
                fn widen(self) -> u64 {
                    self.into()
                }
                #[allow(clippy::cast_possible_truncation, reason = "the hook answers for the width it was told")]
                fn narrow(wide: u64) -> Self {
                    wide as Self
                }
            }
        )*};
    }
    value! { u16 u32 u64 }

    #[inline]
    pub(in crate::dma) fn seen<T, V: Value>(place: &T, value: V) -> V {
        let hook = HOOK.load(Ordering::Acquire);
        if hook.is_null() {
            return value;
        }
        V::narrow(ask(hook, from_ref(place).cast(), size_of::<V>(), value.widen()))
    }

    /// What a driver sees of `bytes`, which were copied from `place`.
    pub(in crate::dma) fn see_bytes(place: *const u8, bytes: &mut [u8]) {
        let hook = HOOK.load(Ordering::Acquire);
        if hook.is_null() {
            return;
        }
        for (piece, at) in bytes.chunks_mut(8).zip((0..).step_by(8)) {
            let mut word = [0; 8];
            word.iter_mut().zip(&*piece).for_each(|(word, byte)| *word = *byte);
            let told = ask(hook, place.wrapping_add(at).cast(), piece.len(), u64::from_le_bytes(word));
            piece.iter_mut().zip(told.to_le_bytes()).for_each(|(byte, told)| *byte = told);
        }
    }

    fn ask(hook: *mut (), place: *const (), width_bytes: usize, value: u64) -> u64 {
        // SAFETY: not null, so `install` stored it, which was given a `Hook`; pointers to functions
        // and to data are as long on every target that has both a host's tests and this crate.
        let hook = unsafe { transmute::<*mut (), Hook>(hook) };
        hook(place, width_bytes, value)
    }
}

#[cfg(all(test, feature = "changing-loads"))]
mod tests {
    use super::changing::install;
    use crate::addr::Align;
    use crate::dma::{DeviceDma, DeviceTag, DmaBox, DmaRing, DmaWords, Word16, Word32};
    use crate::testing::Heap;
    use std::cell::Cell;

    thread_local! {
        /// How many loads this thread made since it was armed; each sees that many more.
        static LOADS: Cell<Option<u64>> = const { Cell::new(None) };
    }

    fn count(_place: *const (), width_bytes: usize, value: u64) -> u64 {
        let loads = LOADS.get();
        LOADS.set(loads.map(|loads| loads + 1));
        assert!(matches!(width_bytes, 1..=8));
        value.wrapping_add(loads.unwrap_or(0))
    }

    #[test]
    fn each_load_of_a_word_may_see_another_value() {
        install(count);
        let of = DeviceDma::new(Heap::default(), DeviceTag::unique(), 64);
        let ring = DmaRing::<4, _>::zeroed(&of, 1, Align::BYTE).unwrap();
        let halves = DmaWords::<Word16, _>::zeroed(&of, 1, Align::BYTE).unwrap();
        let words = DmaWords::<Word32, _>::zeroed(&of, 1, Align::BYTE).unwrap();
        let entry = &ring.slots()[0];
        assert_eq!((entry.load::<1>(), entry.load::<1>()), (0, 0), "not armed");
        LOADS.set(Some(0));
        assert_eq!((entry.load::<1>(), entry.load::<1>()), (0, 1));
        assert_eq!((entry.load_pair::<0>(), halves.words()[0].load(), words.words()[0].load()), (2, 3, 4));
        assert_eq!(entry.snapshot(), [5, 6, 7, 8]);
        LOADS.set(Some(0x1_0000));
        assert_eq!(halves.words()[0].load(), 0, "what a word cannot hold is cut off");
        LOADS.set(None);
    }

    #[test]
    fn each_copy_of_a_value_may_see_another_one() {
        install(count);
        let of = DeviceDma::new(Heap::default(), DeviceTag::unique(), 64);
        let long = DmaBox::<[u8; 11], _>::zeroed(&of, Align::BYTE).unwrap();
        let bytes = DmaBox::<u8, _>::array_zeroed(&of, 2, Align::BYTE).unwrap();
        LOADS.set(Some(1));
        assert_eq!(long.read(), [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0], "in two pieces");
        assert_eq!((bytes.read_at(1), bytes.read_at(1)), (Some(3), Some(4)));
        LOADS.set(None);
        assert_eq!(long.read(), [0; 11], "not armed");
    }
}
