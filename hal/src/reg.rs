//! Registers as typed constants: where, how wide, what they hold, which way they may be used.
//!
//! ```
//! use paravane_hal::reg::{ReadClear, Reg, WriteOnly};
//!
//! /// `CMD`: write a command, then read its result from the same place.
//! const CMD: Reg<u32> = Reg::at(0x20);
//! /// `ICR`: which interrupt fired; empties on read.
//! const ICR: Reg<u32, ReadClear> = Reg::at(0x38);
//! /// A doorbell.
//! const TXPROD: Reg<u32, WriteOnly> = Reg::at(0x600);
//! ```
//!
//! The same `region.read(&CMD)` runs on hardware, on a model, and into a recording.

use core::marker::PhantomData;

use crate::mmio::region::Mmio;

/// May be read and written; reading changes nothing.
#[derive(Debug)]
pub enum ReadWrite {}
/// May be read; reading changes nothing.
#[derive(Debug)]
pub enum ReadOnly {}
/// May be written; what a read gives is not defined.
#[derive(Debug)]
pub enum WriteOnly {}
/// Reading empties the register, so a read is a mutation and asks for `&mut`.
#[derive(Debug)]
pub enum ReadClear {}

/// A register that may be read through a shared handle.
pub trait Readable {}
impl Readable for ReadWrite {}
impl Readable for ReadOnly {}

/// A register that may be written.
pub trait Writable {}
impl Writable for ReadWrite {}
impl Writable for WriteOnly {}

/// A value that fits a register: it knows its width, and crosses a region in one access of that
/// width.
pub trait RegValue: Copy {
    /// Width of the access.
    const WIDTH_BYTES: usize;
    /// Reads at `offset_bytes`, in one access.
    fn read_from(region: &(impl Mmio + ?Sized), offset_bytes: usize) -> Self;
    /// Writes at `offset_bytes`, in one access.
    fn write_to(self, region: &(impl Mmio + ?Sized), offset_bytes: usize);
}

macro_rules! reg_value {
    ($($int:ty: $read:ident, $write:ident;)*) => {$(
        impl RegValue for $int {
            const WIDTH_BYTES: usize = size_of::<$int>();
            #[inline(always)]
            fn read_from(region: &(impl Mmio + ?Sized), offset_bytes: usize) -> Self {
                region.$read(offset_bytes)
            }
            #[inline(always)]
            fn write_to(self, region: &(impl Mmio + ?Sized), offset_bytes: usize) {
                region.$write(offset_bytes, self);
            }
        }
    )*};
}

reg_value! {
    u8: read8, write8;
    u16: read16, write16;
    u32: read32, write32;
}

/// One register of a region.
#[derive(Debug)]
pub struct Reg<T, A = ReadWrite> {
    offset_bytes: usize,
    marker: PhantomData<fn() -> (T, A)>,
}

impl<T, A> Clone for Reg<T, A> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T, A> Copy for Reg<T, A> {}

impl<T: RegValue, A> Reg<T, A> {
    /// Names the register `offset_bytes` from the start of its region.
    ///
    /// # Panics
    ///
    /// When the offset is not a multiple of the register's width; in a constant, that is a compile
    /// error.
    #[must_use]
    pub const fn at(offset_bytes: usize) -> Self {
        assert!(offset_bytes.is_multiple_of(T::WIDTH_BYTES), "a register is aligned to its width");
        Self { offset_bytes, marker: PhantomData }
    }

    /// Where it is, from the start of its region.
    #[must_use]
    pub const fn offset_bytes(self) -> usize {
        self.offset_bytes
    }
}

/// `count` registers of one kind, `stride_bytes` apart.
#[derive(Debug)]
pub struct RegArray<T, A = ReadWrite> {
    first: Reg<T, A>,
    stride_bytes: usize,
    count: usize,
}

impl<T: RegValue, A> RegArray<T, A> {
    /// Names the array that starts at `offset_bytes`.
    #[must_use]
    pub const fn at(offset_bytes: usize, stride_bytes: usize, count: usize) -> Self {
        assert!(stride_bytes.is_multiple_of(T::WIDTH_BYTES), "each register is aligned to its width");
        Self { first: Reg::at(offset_bytes), stride_bytes, count }
    }

    /// The register at `index`, if the array has it.
    #[must_use]
    pub const fn get(&self, index: usize) -> Option<Reg<T, A>> {
        if index >= self.count {
            return None;
        }
        Some(Reg { offset_bytes: self.first.offset_bytes + index * self.stride_bytes, marker: PhantomData })
    }
}
