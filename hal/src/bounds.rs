//! What may move to another core, what two cores may share, and what makes a trait object: promises
//! that a field added anywhere could break unseen. Held when the tests are compiled.

use core::marker::PhantomData;

use static_assertions::{assert_impl_all, assert_not_impl_any, assert_obj_safe};

use crate::addr::{DmaAddr, PhysAddr};
use crate::dma::{
    DeviceDma, DeviceTag, DmaBox, DmaError, DmaMapping, DmaRegion, DmaRing, DmaWords, DomainTag, Mapped,
    Quiet, Word16, Word32, Words,
};
use crate::fault::DeviceFault;
use crate::irq::MsiMessage;
use crate::mmio::{MapError, Mmio, Window};
use crate::pool::{Buffer, Chain, Lent, Pool, Posted};
use crate::port::PortIo;
use crate::testing::Heap;
use crate::time::Clock;
use crate::{Failed, Parts};

assert_obj_safe!(Mmio, Clock, PortIo);

assert_impl_all!(DmaAddr: Send, Sync, Copy);
assert_impl_all!(PhysAddr: Send, Sync, Copy);
assert_impl_all!(MsiMessage: Send, Sync, Copy);
assert_impl_all!(DeviceTag: Send, Sync, Copy);
assert_impl_all!(DomainTag: Send, Sync, Copy);
assert_impl_all!(DeviceDma<Heap>: Send, Sync, Clone);
assert_impl_all!(Parts<Heap, (), ()>: Send, Sync, Clone);
assert_impl_all!(Window<()>: Send, Sync, Clone);

// A claim to memory moves. What is done with the memory is its owner's matter.
assert_impl_all!(DmaRegion: Send);
assert_impl_all!(DmaMapping: Send);
// Whoever has a proof cannot make a second one.
assert_not_impl_any!(Quiet<'static>: Clone, Copy);
assert_not_impl_any!(DmaRegion: Clone, Copy);
assert_not_impl_any!(DmaMapping: Clone, Copy);

// One core at a time: structures are written through a shared reference by the device alone, and
// words in two sizes by one thread.
assert_impl_all!(DmaBox<u32, Heap>: Send);
assert_not_impl_any!(DmaBox<u32, Heap>: Sync);
assert_impl_all!(DmaRing<4, Heap>: Send);
assert_not_impl_any!(DmaRing<4, Heap>: Sync);
assert_impl_all!(Words<4>: Send);
assert_not_impl_any!(Words<4>: Sync);
assert_impl_all!(Mapped<Box<[u8]>, Heap>: Send);
assert_not_impl_any!(Mapped<Box<[u8]>, Heap>: Sync, Clone);
// Words of one size are atomics.
assert_impl_all!(DmaWords<Word16, Heap>: Send, Sync);
assert_impl_all!(DmaWords<Word32, Heap>: Send, Sync);

/// What may move, but not be shared.
#[derive(Default)]
struct Movable(PhantomData<core::cell::Cell<u8>>);
impl crate::pool::Header for Movable {}

// A pool is shared by all cores; what it gives out belongs to one.
assert_impl_all!(Pool<Buffer<Movable>>: Send, Sync, Clone);
assert_impl_all!(Buffer<Movable>: Send);
assert_not_impl_any!(Buffer<Movable>: Sync, Clone);
assert_impl_all!(Chain<Buffer<Movable>>: Send);
assert_not_impl_any!(Chain<Buffer<Movable>>: Sync, Clone);
assert_impl_all!(Buffer<u32>: Send, Sync);
assert_impl_all!(Posted<Buffer<Movable>>: Send);
assert_not_impl_any!(Posted<Buffer<Movable>>: Sync, Clone);
assert_impl_all!(Lent<Chain<Buffer<Movable>>>: Send);
assert_not_impl_any!(Lent<Pool<Buffer<Movable>>>: Clone);

assert_impl_all!(DmaError: Send, Sync, core::error::Error);
assert_impl_all!(MapError: Send, Sync, core::error::Error);
assert_impl_all!(DeviceFault: Send, Sync, core::error::Error);
assert_impl_all!(Failed<DmaError, core::cell::Cell<u8>>: Send, core::error::Error);
