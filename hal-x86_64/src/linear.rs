//! Where physical memory appears to the CPU: one stretch of it, mapped at a fixed distance.
//!
//! Identity mapping is a distance of zero; a higher-half kernel's direct map is another. Frames
//! become pointers, and pointers into the stretch become physical addresses, by one addition that
//! is checked against the stretch's bounds.

#![expect(unsafe_code, reason = "the promise that turns numbers into pointers")]

use core::ptr::NonNull;

use paravane_hal::addr::PhysAddr;

use crate::range::PhysRange;

/// A stretch of physical memory and where the CPU finds it.
#[derive(Clone, Copy, Debug)]
pub struct LinearMap {
    memory: PhysRange,
    virt_start: usize,
}

impl LinearMap {
    /// Says that `memory` appears at `virt_start`.
    ///
    /// # Safety
    ///
    /// From now on, and for good:
    /// - every frame of `memory` that is RAM is mapped, write-back cached, writable, at
    ///   `virt_start` plus its distance from the start of `memory`;
    /// - the stretch does not wrap around the CPU's address space.
    #[must_use]
    pub const unsafe fn new(memory: PhysRange, virt_start: usize) -> Self {
        Self { memory, virt_start }
    }

    /// The physical stretch.
    #[must_use]
    pub const fn memory(&self) -> PhysRange {
        self.memory
    }

    /// What to add to a physical address to get the CPU's, modulo 2⁶⁴.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        (self.virt_start as u64).wrapping_sub(self.memory.start().get())
    }

    /// Where the CPU finds `len_bytes` at `start`, if all of them lie in the stretch. Never the
    /// null pointer.
    #[must_use]
    pub fn to_virt(&self, start: PhysAddr, len_bytes: u64) -> Option<NonNull<u8>> {
        let wanted = PhysRange::new(start, len_bytes)?;
        if start < self.memory.start() || wanted.end() > self.memory.end() {
            return None;
        }
        let distance = usize::try_from(start.get().checked_sub(self.memory.start().get())?).ok()?;
        let address = self.virt_start.checked_add(distance)?;
        NonNull::new(core::ptr::with_exposed_provenance_mut(address))
    }

    /// The physical address of the `len_bytes` at `virt`, if all of them lie in the stretch.
    #[must_use]
    pub fn to_phys(&self, virt: NonNull<u8>, len_bytes: usize) -> Option<PhysAddr> {
        let distance = virt.as_ptr().expose_provenance().checked_sub(self.virt_start)? as u64;
        let end = distance.checked_add(len_bytes as u64)?;
        if end > self.memory.len_bytes() {
            return None;
        }
        self.memory.start().checked_add(distance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> LinearMap {
        // SAFETY: the test turns numbers into pointers and back, and follows none.
        unsafe { LinearMap::new(PhysRange::between(0x1000, 0x9000), 0xffff_8000_0000_1000) }
    }

    #[test]
    fn there_and_back() {
        let virt = map().to_virt(PhysAddr::new(0x2345), 16).unwrap();
        assert_eq!(virt.as_ptr().addr(), 0xffff_8000_0000_2345);
        assert_eq!(map().to_phys(virt, 16), Some(PhysAddr::new(0x2345)));
        assert_eq!(map().offset(), 0xffff_8000_0000_0000);
    }

    #[test]
    fn the_last_byte_counts() {
        assert!(map().to_virt(PhysAddr::new(0x8ff0), 16).is_some());
        assert!(map().to_virt(PhysAddr::new(0x8ff0), 17).is_none());
        assert!(map().to_virt(PhysAddr::new(0x0fff), 1).is_none());
        assert!(map().to_virt(PhysAddr::new(0x2000), u64::MAX).is_none());
        let last = map().to_virt(PhysAddr::new(0x8ff0), 16).unwrap();
        assert!(map().to_phys(last, 17).is_none());
        assert!(map().to_phys(NonNull::<u8>::dangling(), 1).is_none());
    }

    #[test]
    fn null_is_not_memory() {
        // SAFETY: as above.
        let identity = unsafe { LinearMap::new(PhysRange::between(0, 0x1000), 0) };
        assert!(identity.to_virt(PhysAddr::new(0), 16).is_none());
        assert_eq!(identity.to_virt(PhysAddr::new(16), 16).unwrap().as_ptr().addr(), 16);
    }
}
