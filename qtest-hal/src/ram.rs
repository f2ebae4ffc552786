//! The machine's RAM: a file that QEMU and the test process both map, and the allocator of the part
//! that devices use.
//!
//! A device address is an offset into the file, the CPU address is wherever the file was mapped:
//! the two never agree by accident.

#![expect(unsafe_code, reason = "the mapping is raw memory, and this module knows how long it lives")]

use std::collections::BTreeMap;
use std::fs::File;
use std::num::NonZeroUsize;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;
use std::sync::{Mutex, MutexGuard, PoisonError};

use paravane_hal::addr::DmaAddr;
use paravane_hal::dma::{
    Direction, DmaError, DmaErrorReason, DmaLimits, DmaMapping, DmaRegion, DmaRequest, DomainTag,
};
use rustix::mm::{MapFlags, ProtFlags};

use crate::error::QtestError;

/// What lies below is not all RAM: the display's window and the firmware's shadow.
const FIRST_BYTE: usize = 1 << 20;
/// Where messages of devices are collected: conventional memory, which is never handed out.
const MAILBOXES: usize = 0x1_0000;
/// How many there are.
pub(crate) const MAILBOX_COUNT: usize = 64;
/// Between two regions, so that neighbours are not contiguous.
const GAP_BYTES: usize = 4096;
/// What a region is filled with when it is given back: a device that still uses it reads this.
const FREED: u8 = 0xdf;

/// The mapped file.
#[derive(Debug)]
pub(crate) struct Ram {
    domain: DomainTag,
    base: NonNull<u8>,
    len_bytes: usize,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    /// Length by offset.
    regions: BTreeMap<usize, usize>,
    /// Copies of memory that lies elsewhere, by their offset.
    bounced: BTreeMap<u64, DmaRegion>,
}

// SAFETY: the mapping belongs to the process and not to a thread, and the books about it are behind
// a lock.
unsafe impl Send for Ram {}
// SAFETY: as above; memory is handed out to one owner at a time.
unsafe impl Sync for Ram {}

impl Ram {
    /// Makes a file of `len_bytes` at `path` and maps it.
    pub(crate) fn create(path: &Path, len_bytes: usize) -> Result<Self, QtestError> {
        let fails = |error: std::io::Error| QtestError::system(format!("make {}", path.display()), error);
        let file = File::options().read(true).write(true).create_new(true).open(path).map_err(fails)?;
        file.set_len(len_bytes as u64).map_err(fails)?;
        // SAFETY:
        // - The address is the kernel's choice, so nothing that is mapped is replaced.
        // - The file keeps its length: nobody but QEMU knows it, and QEMU maps a file that is long
        //   enough as it is.
        // - QEMU writes at any moment: all that this crate makes of the memory is raw pointers, and
        //   what `hal` makes of them is atomics and volatile copies.
        let base = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                len_bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                &file,
                0,
            )
        };
        let base = base.map_err(|errno| QtestError::system("map the machine's memory", errno))?;
        let base = NonNull::new(base.cast()).ok_or_else(|| {
            QtestError::system("map the machine's memory", "the kernel mapped it at address zero")
        })?;
        Ok(Self { domain: DomainTag::unique(), base, len_bytes, used: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much is allocated or mapped.
    pub(crate) fn bytes_in_use(&self) -> usize {
        self.lock().regions.values().sum()
    }

    /// Mailbox `index`, and its physical address.
    pub(crate) fn mailbox(&self, index: usize) -> Option<(&AtomicU32, u64)> {
        let offset = MAILBOXES + 4 * index;
        if index >= MAILBOX_COUNT || offset + 4 > self.len_bytes {
            return None;
        }
        // SAFETY: checked above.
        let word = unsafe { self.base.add(offset) };
        // SAFETY:
        // - Valid for as long as `self`, aligned (the mapping is, and the offset), and initialised:
        //   a new file is zeroes.
        // - Shared with QEMU, whose store is atomic at this size, and with nobody else: `alloc`
        //   starts further up.
        let word = unsafe { AtomicU32::from_ptr(word.as_ptr().cast()) };
        Some((word, offset as u64))
    }

    /// Whether `start..start + len_bytes` of the physical address space is RAM, in part at least.
    pub(crate) fn overlaps(&self, start: u64, len_bytes: usize) -> bool {
        start < self.len_bytes as u64 && len_bytes > 0
    }

    /// A machine's memory is its own.
    pub(crate) fn domain(&self) -> DomainTag {
        self.domain
    }

    pub(crate) fn limits(&self) -> DmaLimits {
        DmaLimits::NONE.with_address_bits(32)
    }

    pub(crate) fn alloc(&self, request: DmaRequest) -> Result<DmaRegion, DmaError> {
        let len_bytes = request.len_bytes.get();
        let fails = |reason| DmaError::new(len_bytes, reason);
        let mut used = self.lock();
        let mut from = FIRST_BYTE;
        let mut starts = used.regions.iter().map(|(start, len)| (*start, *len)).chain([(self.len_bytes, 0)]);
        let offset = loop {
            let Some((next, next_len)) = starts.next() else {
                return Err(fails(DmaErrorReason::OutOfMemory));
            };
            let start = from
                .checked_next_multiple_of(request.align.bytes())
                .ok_or(fails(DmaErrorReason::BadLength))?;
            if start.checked_add(len_bytes).ok_or(fails(DmaErrorReason::BadLength))? <= next {
                break start;
            }
            from = next.saturating_add(next_len).saturating_add(GAP_BYTES);
        };
        drop(starts);
        // SAFETY: the range was found free and inside the file, which QEMU has as its RAM from
        // address 0 on; what follows takes it.
        let dma = unsafe { DmaAddr::from_platform(offset as u64) };
        if !request.accepts(dma) {
            return Err(fails(DmaErrorReason::AddressWidth { address_bits: request.address_bits }));
        }
        used.regions.insert(offset, len_bytes);
        drop(used);
        // SAFETY: the offset lies inside the mapping.
        let cpu = unsafe { self.base.add(offset) };
        // SAFETY: the range lies inside the mapping, and nobody else has it.
        unsafe { cpu.write_bytes(0, len_bytes) };
        Ok(DmaRegion::new(cpu, dma, request.len_bytes))
    }

    /// Takes a region back.
    ///
    /// # Safety
    ///
    /// As [`Dma::free`](paravane_hal::dma::Dma::free).
    pub(crate) unsafe fn free(&self, region: &DmaRegion) {
        // SAFETY: the region came from `alloc`, so it lies inside the mapping, and nobody uses it
        // any more.
        unsafe { region.cpu().write_bytes(FREED, region.len_bytes().get()) };
        let offset = usize::try_from(region.dma().get()).unwrap_or(usize::MAX);
        self.lock().regions.remove(&offset);
    }

    /// Maps memory of the process: a region of the file stands for it, and bytes are copied on both
    /// ends.
    ///
    /// # Safety
    ///
    /// As [`Dma::map`](paravane_hal::dma::Dma::map).
    pub(crate) unsafe fn map(
        &self,
        memory: NonNull<[u8]>,
        direction: Direction,
    ) -> Result<DmaMapping, DmaError> {
        let Some(len_bytes) = NonZeroUsize::new(memory.len()) else {
            return Err(DmaError::new(0, DmaErrorReason::BadLength));
        };
        let region = self.alloc(DmaRequest::new(len_bytes, paravane_hal::addr::Align::new(64)))?;
        if direction != Direction::FromDevice {
            // SAFETY: the caller's memory is valid, the region is ours, and the two cannot overlap.
            unsafe { memory.cast::<u8>().copy_to_nonoverlapping(region.cpu(), len_bytes.get()) };
        }
        let dma = region.dma();
        self.lock().bounced.insert(dma.get(), region);
        Ok(DmaMapping::new(memory, dma, direction))
    }

    /// Ends a mapping.
    ///
    /// # Safety
    ///
    /// As [`Dma::unmap`](paravane_hal::dma::Dma::unmap).
    pub(crate) unsafe fn unmap(&self, mapping: &DmaMapping) {
        let Some(region) = self.lock().bounced.remove(&mapping.dma().get()) else { return };
        if mapping.direction() != Direction::ToDevice {
            let len_bytes = mapping.memory().len();
            // SAFETY: the caller's memory is still valid, the region is as long, and the device has
            // let go.
            unsafe { region.cpu().copy_to_nonoverlapping(mapping.memory().cast(), len_bytes) };
        }
        // SAFETY: `map` allocated it, and only `map` and `unmap` knew its CPU address.
        unsafe { self.free(&region) };
    }
}

impl Drop for Ram {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length. Whoever has a region has the platform's value
        // too, which keeps this one alive.
        let unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len_bytes) };
        // It fails for a range that is not one, which this was from the start.
        debug_assert!(unmapped.is_ok(), "the machine's memory did not unmap");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use paravane_hal::addr::Align;

    fn ram(len_bytes: usize) -> (Ram, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        (Ram::create(&folder.path().join("ram"), len_bytes).unwrap(), folder)
    }

    fn request(len_bytes: usize) -> DmaRequest {
        DmaRequest::new(NonZeroUsize::new(len_bytes).unwrap(), Align::PAGE)
    }

    #[test]
    fn regions_keep_apart_and_come_back() {
        let (ram, _folder) = ram(2 << 20);
        let first = ram.alloc(request(100)).unwrap();
        let second = ram.alloc(request(5000)).unwrap();
        assert!(second.dma().get() - first.dma().get() >= 100 + GAP_BYTES as u64);
        assert_eq!(ram.bytes_in_use(), 5100);
        // SAFETY: no device knows of it.
        unsafe { ram.free(&first) };
        assert_eq!(ram.alloc(request(90)).unwrap().dma(), first.dma(), "and the gap is used again");
        // SAFETY: as above.
        unsafe { ram.free(&second) };
        assert_eq!(ram.bytes_in_use(), 90);
    }

    #[test]
    fn memory_runs_out_with_a_reason() {
        let (ram, _folder) = ram(2 << 20);
        assert_eq!(ram.alloc(request(2 << 20)).unwrap_err().reason, DmaErrorReason::OutOfMemory);
        let narrow = DmaRequest { address_bits: 16, ..request(1) };
        let reason = DmaErrorReason::AddressWidth { address_bits: 16 };
        assert_eq!(ram.alloc(narrow).unwrap_err().reason, reason);
        assert_eq!(ram.bytes_in_use(), 0);
    }

    #[test]
    fn mappings_are_copied_at_both_ends() {
        let (ram, _folder) = ram(2 << 20);
        let mut bytes = [1_u8, 2, 3];
        let memory = NonNull::from(&mut bytes[..]);
        // SAFETY: the array stays where it is until the mapping ends, and no device knows of it.
        let mapping = unsafe { ram.map(memory, Direction::Both) }.unwrap();
        let offset = usize::try_from(mapping.dma().get()).unwrap();
        // SAFETY: inside the mapping; the test plays the device.
        let device = unsafe { ram.base.add(offset) };
        // SAFETY: as above.
        assert_eq!(unsafe { device.read() }, 1);
        // SAFETY: as above.
        unsafe { device.write(9) };
        // SAFETY: the mapping is this memory's.
        unsafe { ram.unmap(&mapping) };
        assert_eq!((bytes, ram.bytes_in_use()), ([9, 2, 3], 0));
    }
}
