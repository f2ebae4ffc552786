//! A register region behind a pointer.
//!
//! What a CPU offers for registers: one load or store of exactly the width asked for, which the
//! compiler may not split, join or drop (the `volatile` crate). Bounds are checked on each access;
//! against an exit to a hypervisor, or an uncached bus cycle, the comparison costs nothing.

#![expect(unsafe_code, reason = "registers are memory outside the program")]

use core::ptr::NonNull;

use paravane_hal::addr::Align;
use paravane_hal::barrier;
use paravane_hal::mmio::Mmio;
use volatile::VolatilePtr;

/// A mapped region of device registers. A clone reaches the same registers.
#[derive(Clone, Debug)]
pub struct MmioRegion {
    base: NonNull<u8>,
    len_bytes: usize,
}

// SAFETY: the pointer names registers, not memory of a thread; each access stands alone.
unsafe impl Send for MmioRegion {}
// SAFETY: two cores that access a register at once are two bus cycles in some order; nothing of the
// program's memory is shared.
unsafe impl Sync for MmioRegion {}

impl MmioRegion {
    /// Where a region may start: a multiple of the widest access.
    pub const ALIGN: Align = Align::new(size_of::<u32>());

    /// Names the registers at `base`.
    ///
    /// # Safety
    ///
    /// For as long as the value or a clone of it lives:
    /// - `base` is aligned to [`ALIGN`](Self::ALIGN);
    /// - `len_bytes` at `base` are mapped, uncached, for reading and writing, and do not wrap
    ///   around the address space;
    /// - they are registers, or memory outside the program's: no Rust object lies there;
    /// - no access of any width to them can break the program's memory, except through a device
    ///   that was pointed at it by its driver's DMA addresses.
    #[must_use]
    pub const unsafe fn new(base: NonNull<u8>, len_bytes: usize) -> Self {
        Self { base, len_bytes }
    }

    /// The register of type `T` at `offset_bytes`; `None` outside the region or off its alignment.
    #[inline(always)]
    fn register<T: Copy>(&self, offset_bytes: usize) -> Option<VolatilePtr<'_, T>> {
        let end = offset_bytes.checked_add(size_of::<T>())?;
        if end > self.len_bytes || !offset_bytes.is_multiple_of(size_of::<T>()) {
            return None;
        }
        // SAFETY: `offset_bytes` lies inside the region, checked above.
        let place = unsafe { self.base.add(offset_bytes) }.cast::<T>();
        // SAFETY:
        // - Mapped for reads and writes: `new`'s caller vouched for the whole region, and `T` lies
        //   inside it.
        // - Aligned: the offset is, checked above, and so is the base, by `new`'s caller: accesses
        //   are no wider than `ALIGN`.
        // - `T` is an integer, so that every bit pattern is valid.
        Some(unsafe { VolatilePtr::new(place) })
    }

    #[inline(always)]
    fn read<T: Copy>(&self, offset_bytes: usize, nobody: T) -> T {
        let value = self.register::<T>(offset_bytes).map_or(nobody, VolatilePtr::read);
        barrier::after_mmio();
        value
    }

    #[inline(always)]
    fn write<T: Copy>(&self, offset_bytes: usize, value: T) {
        barrier::before_mmio();
        if let Some(register) = self.register::<T>(offset_bytes) {
            register.write(value);
        }
    }
}

impl Mmio for MmioRegion {
    #[inline(always)]
    fn len_bytes(&self) -> usize {
        self.len_bytes
    }
    #[inline(always)]
    fn read8(&self, offset_bytes: usize) -> u8 {
        self.read(offset_bytes, u8::MAX)
    }
    #[inline(always)]
    fn read16(&self, offset_bytes: usize) -> u16 {
        self.read(offset_bytes, u16::MAX)
    }
    #[inline(always)]
    fn read32(&self, offset_bytes: usize) -> u32 {
        self.read(offset_bytes, u32::MAX)
    }
    #[inline(always)]
    fn write8(&self, offset_bytes: usize, value: u8) {
        self.write(offset_bytes, value);
    }
    #[inline(always)]
    fn write16(&self, offset_bytes: usize, value: u16) {
        self.write(offset_bytes, value);
    }
    #[inline(always)]
    fn write32(&self, offset_bytes: usize, value: u32) {
        self.write(offset_bytes, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Eight bytes that play registers, between eight on either side that nobody may touch.
    #[repr(C, align(8))]
    struct Guarded([u8; 24]);

    fn middle(guarded: &mut Guarded) -> MmioRegion {
        let base = NonNull::from(&mut guarded.0[8..16]).cast();
        // SAFETY: the bytes are the test's, which looks at them only after its last access through
        // the region.
        unsafe { MmioRegion::new(base, 8) }
    }

    #[test]
    fn registers_are_little_endian_and_of_their_width() {
        let mut guarded = Guarded([0; 24]);
        let region = middle(&mut guarded);
        region.write32(4, 0x0403_0201);
        region.write16(0, 0xbbaa);
        region.write8(2, 0xcc);
        assert_eq!((region.read8(7), region.read16(4), region.read32(0)), (4, 0x0201, 0x00cc_bbaa));
        assert_eq!(guarded.0[8..16], [0xaa, 0xbb, 0xcc, 0, 1, 2, 3, 4]);
    }

    #[test]
    fn outside_and_off_alignment_nobody_answers() {
        let mut guarded = Guarded([0x11; 24]);
        let region = middle(&mut guarded);
        for offset in [8, 5, 6, 7, usize::MAX, usize::MAX - 3] {
            region.write32(offset, 0xdead_beef);
            assert_eq!(region.read32(offset), u32::MAX, "offset {offset:#x}");
        }
        region.write16(7, 0xdead);
        assert_eq!(region.read16(1), u16::MAX);
        assert_eq!(region.read8(8), u8::MAX);
        assert_eq!(guarded.0, [0x11; 24]);
    }
}
