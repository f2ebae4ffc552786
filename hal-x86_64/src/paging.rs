//! Uncached mappings of device registers, anywhere in the physical address space.
//!
//! A register at physical address *p* is mapped at [`WINDOW_START`] + *p*, in the upper half of the
//! address space: so a BAR beyond 256 GiB is as reachable as one below 4 GiB, mapping the same
//! registers again costs nothing, and a driver that is stopped and started a thousand times uses up
//! neither address space nor page tables. Nothing is ever unmapped.
//!
//! Pages are 2 MiB where address and length allow, else 4 KiB; present, writable, never executable
//! if the CPU has that bit, and strongly uncached (page-level cache disable and write-through both
//! set: entry 3 of the page attribute table, as the CPU comes out of reset).

#![expect(unsafe_code, reason = "page tables decide what an address means")]

use core::arch::x86_64::__cpuid;
use core::ptr::NonNull;

use paravane_hal::addr::PhysAddr;
use paravane_hal::mmio::{MapError, MapErrorReason, MmioMap};
use x86_64::registers::control::{Cr3, Efer, EferFlags};
use x86_64::structures::paging::mapper::{MapToError, Mapper};
use x86_64::structures::paging::page::PageSize;
use x86_64::structures::paging::{
    FrameAllocator as NewTables, OffsetPageTable, Page, PageTable, PageTableFlags, PhysFrame, Size2MiB,
    Size4KiB,
};
use x86_64::{PhysAddr as CpuPhysAddr, VirtAddr};

use crate::frames::{FRAME_BYTES, FrameRequest, FrameSource};
use crate::linear::LinearMap;
use crate::lock::SpinLock;
use crate::mmio::MmioRegion;
use crate::range::PhysRange;

/// Where physical address zero would be, if somebody mapped it as a register: the first address of
/// the upper half.
pub const WINDOW_START: u64 = 0xffff_8000_0000_0000;
/// Three quarters of the upper half; the last quarter is left to the kernel.
pub const WINDOW_BYTES: u64 = 0x6000_0000_0000;

/// Where a region may start: what [`MmioRegion::new`] asks for.
const REGISTER_ALIGN: u64 = MmioRegion::ALIGN.bytes() as u64;

/// Maps registers for drivers. The handle that implements [`MmioMap`] is a reference to it.
#[derive(Debug)]
pub struct MmioMapper<F> {
    tables: SpinLock<Tables>,
    frames: F,
    /// How far from its physical address the CPU finds memory.
    linear: LinearMap,
    /// Memory that must never be taken for registers.
    ram: &'static [PhysRange],
    flags: PageTableFlags,
    /// The first physical address that the CPU cannot drive, or the window not hold.
    reach: u64,
}

#[derive(Debug)]
struct Tables(OffsetPageTable<'static>);

impl Tables {
    /// The tables under `root`; `None` when that lies outside `linear`.
    ///
    /// # Safety
    ///
    /// `root` is a level 4 table whose tables, those to come too, all lie in `linear`; no other
    /// reference to it exists or is made, and the window's part is changed by nobody else.
    unsafe fn under(root: PhysAddr, linear: LinearMap) -> Option<Self> {
        let root = linear.to_virt(root, FRAME_BYTES as u64)?.cast::<PageTable>();
        // SAFETY: the table is there (`to_virt`), and this is the only reference to it, by the
        // caller.
        let root: &'static mut PageTable = unsafe { &mut *root.as_ptr() };
        // SAFETY: all tables are at this distance from their physical address: `linear`, by the
        // caller.
        Some(Self(unsafe { OffsetPageTable::new(root, VirtAddr::new_truncate(linear.offset())) }))
    }
}

impl<F: FrameSource> MmioMapper<F> {
    /// Maps into the page tables that are active now, with table frames from `frames`. Refuses to
    /// map any of `ram`.
    ///
    /// Only this address space gets the mappings. A kernel with several makes the mapper before the
    /// others copy the upper half of its root table, and maps a first register at every 512 GiB
    /// that is to be shared.
    ///
    /// `None` when the active tables lie outside `linear`.
    ///
    /// # Safety
    ///
    /// - Four-level paging is active, its tables all lie in `linear`, and from now on nothing else
    ///   changes them where the window is.
    /// - No reference to the root table exists, or is made while the mapper lives: it takes the
    ///   whole table by `&mut`. Who changes entries outside the window does so through a pointer.
    /// - Nothing else is mapped in the window: `WINDOW_BYTES` from `WINDOW_START`.
    /// - `frames` gives out frames of `linear` that nothing else uses.
    /// - `ram` names all memory that the program, or the hypervisor on its behalf, uses as memory.
    pub unsafe fn new(frames: F, linear: LinearMap, ram: &'static [PhysRange]) -> Option<Self> {
        let root = PhysAddr::new(Cr3::read().0.start_address().as_u64());
        let mut flags = PageTableFlags::PRESENT
            | PageTableFlags::WRITABLE
            | PageTableFlags::NO_CACHE
            | PageTableFlags::WRITE_THROUGH;
        if Efer::read().contains(EferFlags::NO_EXECUTE_ENABLE) {
            flags |= PageTableFlags::NO_EXECUTE;
        }
        let reach = 1u64.checked_shl(physical_address_bits()).unwrap_or(u64::MAX).min(WINDOW_BYTES);
        // SAFETY: the root is the active one, of which the caller says all that is asked here.
        let tables = unsafe { Tables::under(root, linear) }?;
        Some(Self { tables: SpinLock::new(tables), frames, linear, ram, flags, reach })
    }

    /// Maps the pages from `start` up to, not including, `end`; both at pages.
    fn map_pages(&self, start: u64, end: u64) -> Result<(), MapErrorReason> {
        self.tables.with(|tables| {
            let mut at = start;
            while at < end {
                let large = at.is_multiple_of(Size2MiB::SIZE) && end - at >= Size2MiB::SIZE;
                at += if large && self.map_page::<Size2MiB>(&mut tables.0, at)? {
                    Size2MiB::SIZE
                } else if self.map_page::<Size4KiB>(&mut tables.0, at)? {
                    Size4KiB::SIZE
                } else {
                    return Err(MapErrorReason::NotRegisters);
                };
            }
            Ok(())
        })
    }

    /// Maps the page at `at`. False when something else is there already: smaller pages of it.
    fn map_page<S: PageSize + core::fmt::Debug>(
        &self,
        tables: &mut OffsetPageTable<'static>,
        at: u64,
    ) -> Result<bool, MapErrorReason>
    where
        OffsetPageTable<'static>: Mapper<S>,
    {
        let page = Page::<S>::containing_address(VirtAddr::new_truncate(WINDOW_START + at));
        let frame = PhysFrame::<S>::containing_address(CpuPhysAddr::new_truncate(at));
        // SAFETY:
        // - The page lies in the window, where nothing else is (`new`'s caller), so no mapping in
        //   use changes its meaning.
        // - The frame holds no memory of the program: `MmioMap::map` compared it with `ram`.
        let mapped = unsafe { tables.map_to(page, frame, self.flags, &mut TableFrames(self)) };
        match mapped {
            // A page that was not present is in no translation cache; there is nothing to flush.
            Ok(flush) => {
                flush.ignore();
                Ok(true)
            }
            // Equal addresses map to equal pages, so what is there is what is wanted.
            Err(MapToError::ParentEntryHugePage) => Ok(true),
            // The error names the frame that was asked for. The tables say what is there: the same
            // page, or a table of smaller ones.
            Err(MapToError::PageAlreadyMapped(_)) => {
                Ok(tables.translate_page(page).is_ok_and(|there| there == frame))
            }
            Err(MapToError::FrameAllocationFailed) => Err(MapErrorReason::OutOfMemory),
        }
    }
}

/// Frames for new page tables.
struct TableFrames<'a, F>(&'a MmioMapper<F>);

// SAFETY: the frames are unused and inside the linear map, by `MmioMapper::new`'s caller; one
// outside is not passed on.
unsafe impl<F: FrameSource> NewTables<Size4KiB> for TableFrames<'_, F> {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        let run = self.0.frames.alloc_frames(FrameRequest::ONE).ok()?;
        self.0.linear.to_virt(run.start, FRAME_BYTES as u64)?;
        PhysFrame::from_start_address(CpuPhysAddr::try_new(run.start.get()).ok()?).ok()
    }
}

impl<F: FrameSource> MmioMap for MmioMapper<F> {
    type Region = MmioRegion;

    fn map(&self, start: PhysAddr, len_bytes: usize) -> Result<MmioRegion, MapError> {
        let refuse = |reason| MapError::new(start, len_bytes, reason);
        let out_of_range = refuse(MapErrorReason::OutOfRange);
        let wanted =
            PhysRange::new(start, len_bytes as u64).filter(|range| !range.is_empty()).ok_or(out_of_range)?;
        // Whole pages become reachable, so whole pages must be free of memory.
        let page = FRAME_BYTES as u64;
        let first = start.get() & !(page - 1);
        let end = wanted
            .end()
            .checked_next_multiple_of(page)
            .filter(|end| *end <= self.reach)
            .ok_or(out_of_range)?;
        if self.ram.iter().any(|ram| ram.overlaps(PhysRange::between(first, end))) {
            return Err(refuse(MapErrorReason::NotRegisters));
        }
        if !start.get().is_multiple_of(REGISTER_ALIGN) {
            return Err(refuse(MapErrorReason::Misaligned));
        }
        self.map_pages(first, end).map_err(refuse)?;
        let virt = usize::try_from(WINDOW_START + start.get()).map_err(|_| out_of_range)?;
        let base = NonNull::new(core::ptr::with_exposed_provenance_mut(virt)).ok_or(out_of_range)?;
        // SAFETY:
        // - Mapped uncached for reading and writing over the whole length, just now and for good.
        // - Not memory of the program: compared with `ram` above, whole pages at a time, and the
        //   window is nobody else's.
        // - Aligned: checked above, and the window starts at a page.
        // - What devices do on their own account is their drivers' matter, as the contract says.
        Ok(unsafe { MmioRegion::new(base, len_bytes) })
    }
}

/// How many physical address bits the CPU drives.
fn physical_address_bits() -> u32 {
    const WIDTHS: u32 = 0x8000_0008;
    if __cpuid(0x8000_0000).eax >= WIDTHS { __cpuid(WIDTHS).eax & 0xff } else { 36 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::FrameAllocator;
    use x86_64::structures::paging::Translate;
    use x86_64::structures::paging::mapper::{MappedFrame, TranslateResult};

    const MEMORY: PhysRange = PhysRange::between(0x100_0000, 0x104_0000);

    /// A mapper whose tables lie in heap memory that plays physical memory at 16 MiB, never given
    /// back.
    fn mapper() -> MmioMapper<SpinLock<FrameAllocator<16>>> {
        let len = usize::try_from(MEMORY.len_bytes()).unwrap();
        let layout = std::alloc::Layout::from_size_align(len, FRAME_BYTES).unwrap();
        // SAFETY: the layout has a size.
        let memory = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) }).unwrap();
        // SAFETY: the memory is writable at that place, and leaked, so for good.
        let linear = unsafe { LinearMap::new(MEMORY, memory.as_ptr().expose_provenance()) };
        let mut frames = FrameAllocator::new();
        frames.add(MEMORY).unwrap();
        let root = frames.alloc(FrameRequest::ONE).unwrap().start;
        // SAFETY: a zeroed frame is an empty table, and nobody else has the memory.
        let tables = unsafe { Tables::under(root, linear) }.unwrap();
        let flags = PageTableFlags::PRESENT | PageTableFlags::WRITABLE;
        MmioMapper {
            tables: SpinLock::new(tables),
            frames: SpinLock::new(frames),
            linear,
            ram: &[MEMORY],
            flags,
            reach: 1 << 46,
        }
    }

    impl<F: FrameSource> MmioMapper<F> {
        /// Maps registers that nobody touches, for there is no CPU that uses the tables.
        fn try_map(&self, start: u64, len_bytes: usize) -> Result<(), MapErrorReason> {
            self.map(PhysAddr::new(start), len_bytes).map(drop).map_err(|error| error.reason)
        }

        /// How long the page is in which the register at `at` is mapped; `None` when it is not, or
        /// to another place.
        fn page_bytes(&self, at: u64) -> Option<u64> {
            let virt = VirtAddr::new_truncate(WINDOW_START + at);
            self.tables.with(|tables| match tables.0.translate(virt) {
                TranslateResult::Mapped { frame, offset, .. } => {
                    (frame.start_address().as_u64() + offset == at).then_some(match frame {
                        MappedFrame::Size4KiB(_) => Size4KiB::SIZE,
                        _ => Size2MiB::SIZE,
                    })
                }
                _ => None,
            })
        }
    }

    #[test]
    fn registers_are_mapped_in_the_largest_pages_that_fit() {
        let mapper = mapper();
        mapper.try_map(0xfe00_0000, 0x20_1000).unwrap();
        assert_eq!(mapper.page_bytes(0xfe00_0000), Some(Size2MiB::SIZE));
        assert_eq!(mapper.page_bytes(0xfe1f_fffc), Some(Size2MiB::SIZE));
        assert_eq!(mapper.page_bytes(0xfe20_0000), Some(Size4KiB::SIZE));
        assert_eq!(mapper.page_bytes(0xfe20_1000), None);
    }

    #[test]
    fn a_large_region_over_a_small_one_is_mapped_whole() {
        let mapper = mapper();
        mapper.try_map(0xfe00_1000, 0x1000).unwrap();
        mapper.try_map(0xfe00_0000, 0x40_0000).unwrap();
        for at in [0xfe00_0000, 0xfe00_1000, 0xfe1f_f000] {
            assert_eq!(mapper.page_bytes(at), Some(Size4KiB::SIZE), "{at:#x}");
        }
        assert_eq!(mapper.page_bytes(0xfe20_0000), Some(Size2MiB::SIZE));
    }

    #[test]
    fn a_small_region_inside_a_large_one_costs_no_table() {
        let mapper = mapper();
        mapper.try_map(0xfe00_0000, 0x20_0000).unwrap();
        let before = mapper.frames.with(|frames| frames.free_bytes());
        mapper.try_map(0xfe00_1000, 0x1000).unwrap();
        mapper.try_map(0xfe00_0000, 0x20_0000).unwrap();
        assert_eq!(mapper.frames.with(|frames| frames.free_bytes()), before);
        assert_eq!(mapper.page_bytes(0xfe00_1000), Some(Size2MiB::SIZE));
    }

    #[test]
    fn what_is_no_place_for_registers_is_refused() {
        let mapper = mapper();
        assert_eq!(mapper.try_map(0xfe00_0000, 0), Err(MapErrorReason::OutOfRange));
        assert_eq!(mapper.try_map(1 << 46, 4), Err(MapErrorReason::OutOfRange));
        assert_eq!(mapper.try_map(MEMORY.end() - 4, 4), Err(MapErrorReason::NotRegisters));
        assert_eq!(mapper.try_map(MEMORY.end() - 0x1000, 0x1000), Err(MapErrorReason::NotRegisters));
        assert_eq!(mapper.try_map(0xfe00_0001, 4), Err(MapErrorReason::Misaligned));
        assert_eq!(mapper.page_bytes(0xfe00_0000), None);
    }
}
