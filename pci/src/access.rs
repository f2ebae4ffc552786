//! Reaching configuration space.
//!
//! | Part | Reaches it by |
//! |---|---|
//! | [`Cam`] | ports `0xCF8` and `0xCFC`: the first 256 bytes of segment 0, on x86 |
//! | [`Ecam`] | a mapped region, 4 KiB a function; found in ACPI's MCFG, in a device tree, or known to the platform |
//! | [`Dwords`] | whatever gives dwords: a [`DwordAccess`], which most kernels have already |
//! | [`Patched`] | another access, with single bytes replaced: to see what happens when a device is broken |
//!
//! An embedder with a third way (a hypercall, a socket to an emulator) implements [`ConfigAccess`].

use core::ops::RangeInclusive;

mod cam;
mod dword;
mod ecam;
mod patched;

pub use cam::{Alone, Cam, Exclusive};
pub use dword::{DwordAccess, Dwords};
pub use ecam::{Ecam, EcamEntry, EcamError};
pub use patched::{Patched, PatchesFull};

use crate::PciAddress;

/// Bytes of configuration space that every function has.
pub const CONFIG_BYTES: u16 = 256;
/// Bytes of configuration space that a PCI Express function has.
pub const EXTENDED_CONFIG_BYTES: u16 = 4096;

/// Configuration space of the functions of one segment.
///
/// **Driver authors** do not call this: a [`Function`](crate::Function) does.
///
/// **Platform authors** keep these promises:
/// - A write changes what it names and nothing beside it. Best is one access of exactly that width.
///   Who has dwords alone reads and writes the whole one, and must not write back what was read
///   where that clears bits, as in the status register beside the command register: [`Dwords`] does
///   that.
/// - Values are in the CPU's byte order; configuration space is little-endian.
/// - Where nobody answers (no such function, another segment, an offset that is out of range or not
///   a multiple of the width), reads give all ones and writes go nowhere.
///
/// Whoever can write configuration space can move and start any device. As with
/// [`PortIo`](paravane_hal::port::PortIo) and [`Mmio`](paravane_hal::mmio::Mmio), making the value
/// is where that is argued; the value is the authority.
///
/// A [`Quiet`](paravane_hal::dma::Quiet) from [`quiesce`](crate::Function::quiesce) leans on these
/// promises, and still the trait is safe to implement: the accesses here stand on `Mmio` and
/// `PortIo`, which are as safe, and who holds one of those writes any address into a device's
/// registers without a lie. The line is drawn around the values, not around the traits.
pub trait ConfigAccess {
    /// Reads a byte.
    fn read8(&self, at: PciAddress, offset: u16) -> u8;
    /// Reads 16 bits.
    fn read16(&self, at: PciAddress, offset: u16) -> u16;
    /// Reads 32 bits.
    fn read32(&self, at: PciAddress, offset: u16) -> u32;
    /// Writes a byte.
    fn write8(&self, at: PciAddress, offset: u16, value: u8);
    /// Writes 16 bits.
    fn write16(&self, at: PciAddress, offset: u16, value: u16);
    /// Writes 32 bits.
    fn write32(&self, at: PciAddress, offset: u16, value: u32);

    /// How much of a function's space can be reached: [`CONFIG_BYTES`] or
    /// [`EXTENDED_CONFIG_BYTES`].
    fn config_bytes(&self) -> u16;
    /// The segment.
    fn segment(&self) -> u16;
    /// The buses that can be reached. The first is a root bus.
    fn buses(&self) -> RangeInclusive<u8>;
}

impl<C: ConfigAccess + ?Sized> ConfigAccess for &C {
    fn read8(&self, at: PciAddress, offset: u16) -> u8 {
        (**self).read8(at, offset)
    }
    fn read16(&self, at: PciAddress, offset: u16) -> u16 {
        (**self).read16(at, offset)
    }
    fn read32(&self, at: PciAddress, offset: u16) -> u32 {
        (**self).read32(at, offset)
    }
    fn write8(&self, at: PciAddress, offset: u16, value: u8) {
        (**self).write8(at, offset, value);
    }
    fn write16(&self, at: PciAddress, offset: u16, value: u16) {
        (**self).write16(at, offset, value);
    }
    fn write32(&self, at: PciAddress, offset: u16, value: u32) {
        (**self).write32(at, offset, value);
    }
    fn config_bytes(&self) -> u16 {
        (**self).config_bytes()
    }
    fn segment(&self) -> u16 {
        (**self).segment()
    }
    fn buses(&self) -> RangeInclusive<u8> {
        (**self).buses()
    }
}

/// Whether an access of `width_bytes` at `offset` is aligned and inside `config_bytes`.
fn answers(offset: u16, width_bytes: u16, config_bytes: u16) -> bool {
    offset.is_multiple_of(width_bytes)
        && offset.checked_add(width_bytes).is_some_and(|end| end <= config_bytes)
}
