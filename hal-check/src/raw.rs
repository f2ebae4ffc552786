//! Raw memory: all that the checks do with a region that is not safe by itself.

#![expect(unsafe_code, reason = "calls `Dma`, and looks at memory that it gave out")]

#[cfg(feature = "nic")]
pub(crate) mod watched;

use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use paravane_hal::addr::DmaAddr;
use paravane_hal::dma::{Direction, Dma, DmaError, DmaRegion, DmaRequest};

/// A region of the platform's that no device is told of. Dropped, it goes back.
pub(crate) struct Piece<'d, D: Dma> {
    dma: &'d D,
    /// Taken only on the way out.
    region: ManuallyDrop<DmaRegion>,
}

impl<'d, D: Dma> Piece<'d, D> {
    /// What the platform gives for `request`, right or wrong.
    pub(crate) fn alloc(dma: &'d D, request: DmaRequest) -> Result<Self, DmaError> {
        Ok(Self { dma, region: ManuallyDrop::new(dma.alloc(request)?) })
    }

    pub(crate) fn cpu(&self) -> usize {
        self.region.cpu().addr().get()
    }

    pub(crate) fn dma(&self) -> DmaAddr {
        self.region.dma()
    }

    pub(crate) fn len_bytes(&self) -> usize {
        self.region.len_bytes().get()
    }

    /// The byte at `at`; nothing beyond the end.
    fn place(&self, at: usize) -> Option<NonNull<u8>> {
        // SAFETY:
        // - Bounds: `at` is below the length that the platform named for the region, and
        //   `Dma::alloc` promises that all of it is one allocation.
        (at < self.len_bytes()).then(|| unsafe { self.region.cpu().add(at) })
    }

    /// The first byte, of those from `from` on, that is not `byte`: where, and what it is.
    pub(crate) fn first_other_than(&self, byte: u8) -> Option<(usize, u8)> {
        (0..self.len_bytes()).find_map(|at| {
            let place = self.place(at)?;
            // SAFETY:
            // - Valid: a byte of a region that `Dma::alloc` gave out for reading and writing,
            //   initialised by the platform or, if it does not zero, by whoever had the memory; a
            //   volatile read of a byte takes any.
            // - Race: no device knows of the region, and no other code has it.
            let seen = unsafe { place.read_volatile() };
            (seen != byte).then_some((at, seen))
        })
    }

    /// Stores `byte` everywhere.
    pub(crate) fn fill(&self, byte: u8) {
        for at in 0..self.len_bytes() {
            if let Some(place) = self.place(at) {
                // SAFETY: as for the read in `first_other_than`; nobody holds a reference to the
                // memory.
                unsafe { place.write_volatile(byte) };
            }
        }
    }
}

impl<D: Dma> Drop for Piece<'_, D> {
    fn drop(&mut self) {
        // SAFETY: taken once, for the value is going.
        let region = unsafe { ManuallyDrop::take(&mut self.region) };
        // SAFETY:
        // - It came from `alloc` of this very value.
        // - Nothing uses its CPU address any more: only methods of this value did.
        // - No device learnt its address: the checks only compare it.
        unsafe { self.dma.free(region) };
    }
}

/// What a mapping was.
pub(crate) struct Lent {
    pub(crate) dma: DmaAddr,
    /// Whether it names the memory that was given.
    pub(crate) is_ours: bool,
}

/// Maps `memory` in `direction`, tells no device, and unmaps it.
pub(crate) fn lend<D: Dma>(dma: &D, memory: &mut [u8], direction: Direction) -> Result<Lent, DmaError> {
    let place = NonNull::from(memory);
    // SAFETY: the memory is borrowed exclusively until this function returns, stays where it is,
    // and nobody touches it before `unmap` below.
    let mapping = unsafe { dma.map(place, direction) }?;
    let is_same = core::ptr::eq(mapping.memory().as_ptr(), place.as_ptr());
    let is_ours = is_same && mapping.direction() == direction;
    let lent = Lent { dma: mapping.dma(), is_ours };
    // SAFETY: it came from `map` of this very value, its memory is still borrowed, and no device
    // learnt the address.
    unsafe { dma.unmap(mapping) };
    Ok(lent)
}

#[cfg(test)]
mod tests {
    use core::num::NonZeroUsize;

    use paravane_hal::addr::Align;
    use paravane_mock_hal::MockPlatform;

    use super::*;

    #[test]
    fn a_piece_is_looked_at_to_its_last_byte_and_goes_back() {
        let platform = MockPlatform::new();
        let request = DmaRequest::new(NonZeroUsize::new(100).unwrap(), Align::new(64));
        let piece = Piece::alloc(&platform, request).ok().unwrap();
        assert_eq!(piece.first_other_than(0), None);
        platform.device_memory("nic").write(piece.dma().get() + 99, &[7]).unwrap();
        assert_eq!(piece.first_other_than(0), Some((99, 7)));
        piece.fill(3);
        assert_eq!(piece.first_other_than(3), None);
        drop(piece);
        platform.finish();
    }

    #[test]
    fn lent_memory_is_back_and_as_it_was() {
        let platform = MockPlatform::builder().bounce().build();
        let mut memory = [5; 64];
        let lent = lend(&platform, &mut memory, Direction::ToDevice).unwrap();
        assert!(lent.is_ours && lent.dma.get() != 0);
        assert_eq!(memory, [5; 64]);
        platform.finish();
    }
}
