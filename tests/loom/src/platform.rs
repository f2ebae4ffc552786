//! What the drivers' code expects of the platform, made of loom's atomics. One run of a model is
//! one platform.

#![allow(dead_code, reason = "as much as the drivers' files name")]

pub(crate) mod barrier {
    //! The barriers that the drivers call, as the fences that `paravane_hal::barrier` says they
    //! are.
    use loom::sync::atomic::{Ordering, fence};

    pub(crate) fn release() {
        fence(Ordering::Release);
    }
    pub(crate) fn acquire() {
        fence(Ordering::Acquire);
    }
    pub(crate) fn full() {
        fence(Ordering::SeqCst);
    }
}

pub(crate) mod addr {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct DmaAddr(pub(crate) u64);
    impl DmaAddr {
        pub(crate) const fn get(self) -> u64 {
            self.0
        }
    }
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Align;
    impl Align {
        pub(crate) const fn new(_bytes: usize) -> Self {
            Self
        }
    }
}

pub(crate) mod irq {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Armed {
        Idle,
        Pending,
    }
}

pub(crate) mod fault {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum DeviceFault {
        NotInFlight { index: u32 },
    }
}

pub(crate) mod dma {
    use core::marker::PhantomData;
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};

    use super::addr::{Align, DmaAddr};

    pub(crate) trait Dma {}
    impl Dma for () {}
    #[derive(Debug)]
    pub(crate) struct DmaError;
    pub(crate) struct DeviceDma<D>(pub(crate) D);
    pub(crate) struct Quiet<'a>(PhantomData<&'a ()>);

    /// A word that starts as zero.
    pub(crate) trait Word {
        fn zero() -> Self;
    }
    macro_rules! word {
        ($name:ident, $atomic:ident, $int:ty) => {
            pub(crate) struct $name($atomic);
            impl $name {
                pub(crate) fn load(&self) -> $int {
                    self.0.load(Relaxed)
                }
                pub(crate) fn store(&self, value: $int) {
                    self.0.store(value, Relaxed);
                }
            }
            impl Word for $name {
                fn zero() -> Self {
                    Self($atomic::new(0))
                }
            }
        };
    }
    word!(Word16, AtomicU16, u16);
    word!(Word32, AtomicU32, u32);

    pub(crate) struct DmaWords<T, D>(Arc<Vec<T>>, PhantomData<D>);
    impl<T, D> Clone for DmaWords<T, D> {
        fn clone(&self) -> Self {
            Self(Arc::clone(&self.0), PhantomData)
        }
    }
    impl<T: Word, D> DmaWords<T, D> {
        pub(crate) fn zeroed(_of: &DeviceDma<D>, count: usize, _align: Align) -> Result<Self, DmaError> {
            Ok(Self(Arc::new((0..count).map(|_| T::zero()).collect()), PhantomData))
        }
        pub(crate) fn words(&self) -> &[T] {
            &self.0
        }
        pub(crate) fn dma_addr(&self) -> DmaAddr {
            DmaAddr(0)
        }
        pub(crate) fn free(self, _quiet: &Quiet<'_>) -> Result<(), Self> {
            Ok(())
        }
    }

    /// One descriptor or completion: its words, and beside them what was last stored as a pair,
    /// for loom knows no access to half of a word.
    pub(crate) struct Words<const N: usize>([AtomicU32; N], Vec<AtomicU64>);
    impl<const N: usize> Words<N> {
        pub(crate) fn zero() -> Self {
            let pairs = (0..N / 2).map(|_| AtomicU64::new(0)).collect();
            Self(core::array::from_fn(|_| AtomicU32::new(0)), pairs)
        }
        pub(crate) fn load<const I: usize>(&self) -> u32 {
            self.0[I].load(Relaxed)
        }
        pub(crate) fn store<const I: usize>(&self, value: u32) {
            self.0[I].store(value, Relaxed);
        }
        #[allow(clippy::cast_possible_truncation, reason = "halves")]
        pub(crate) fn store_pair<const I: usize>(&self, value: u64) {
            self.0[I].store(value as u32, Relaxed);
            self.0[I + 1].store((value >> 32) as u32, Relaxed);
            self.1[I / 2].store(value, Relaxed);
        }
        pub(crate) fn load_pair<const I: usize>(&self) -> u64 {
            self.1[I / 2].load(Relaxed)
        }
    }

    #[derive(Clone)]
    pub(crate) struct DmaRing<const N: usize, D>(Arc<Vec<Words<N>>>, PhantomData<D>);
    impl<const N: usize, D> DmaRing<N, D> {
        pub(crate) fn zeroed(_of: &DeviceDma<D>, count: usize, _align: Align) -> Result<Self, DmaError> {
            Ok(Self(Arc::new((0..count).map(|_| Words::zero()).collect()), PhantomData))
        }
        pub(crate) fn slots(&self) -> &[Words<N>] {
            &self.0
        }
        pub(crate) fn dma_addr(&self) -> DmaAddr {
            DmaAddr(0)
        }
        pub(crate) fn free(self, _quiet: &Quiet<'_>) -> Result<(), Self> {
            Ok(())
        }
    }
}
