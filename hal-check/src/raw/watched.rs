//! A platform that sees where a device reads and writes: what [`check_nic`](crate::check_nic) gives
//! the driver instead of the author's own.
//!
//! Each region that the driver asks for is made longer, by two pages on either side:
//!
//! ```text
//!  | copy | copy | the driver's page | copy | copy |
//!    -2     -1            0             +1     +2
//! ```
//!
//! Before each write to a register the copies are made equal to the driver's page. A platform that
//! names an address some pages off has the device find a copy, work on it, and write its answers
//! there, where nobody else writes. So the distance shows; and what a device that is led astray
//! writes hits a copy, not the kernel.
//!
//! Regions longer than a page (the frames) have margins and no copies: it does not matter whose
//! bytes of them a device sends.

use core::array;
use core::num::NonZeroUsize;
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicIsize, AtomicPtr, AtomicU64, AtomicUsize};

use alloc::boxed::Box;
use alloc::sync::Arc;

use paravane_hal::addr::{Align, DmaAddr, PhysAddr};
use paravane_hal::dma::{Direction, Dma, DmaError, DmaLimits, DmaMapping, DmaRegion, DmaRequest, DomainTag};
use paravane_hal::mmio::{MapError, Mmio, MmioMap};
use paravane_hal::time::{Clock, Instant};

use crate::finding::Place;

const PAGE: usize = 4096;
/// On either side.
const MARGIN: usize = 2 * PAGE;
/// Where the copies are, in pages from the driver's.
const SHIFTS: [isize; 4] = [-2, -1, 1, 2];
/// A driver of one queue pair asks for fewer.
const ENTRIES: usize = 64;

/// The platform of the author, watched.
pub(crate) struct Watched<P> {
    platform: P,
    book: Arc<Book>,
}

impl<P: Clone> Clone for Watched<P> {
    fn clone(&self) -> Self {
        Self { platform: self.platform.clone(), book: Arc::clone(&self.book) }
    }
}

/// What is known of the regions that are out.
struct Book {
    entries: [Entry; ENTRIES],
    regions: AtomicUsize,
}

/// One region. Whoever took it writes it. Copies are made on the one thread that runs the check.
struct Entry {
    /// Some region's, or about to be.
    is_taken: AtomicBool,
    is_out: AtomicBool,
    /// Where the CPU sees the driver's part.
    cpu: AtomicPtr<u8>,
    dma: AtomicU64,
    len_bytes: AtomicUsize,
    /// The whole, as the platform gave it: a box, while it is out.
    whole: AtomicPtr<DmaRegion>,
    has_copies: AtomicBool,
    /// What each copy was when it was made, as a sum.
    sums: [AtomicU64; SHIFTS.len()],
    /// How many bytes off something was written; 0 for nothing.
    seen_at: AtomicIsize,
}

impl Entry {
    fn empty() -> Self {
        Self {
            is_taken: AtomicBool::new(false),
            is_out: AtomicBool::new(false),
            cpu: AtomicPtr::new(ptr::null_mut()),
            dma: AtomicU64::new(0),
            len_bytes: AtomicUsize::new(0),
            whole: AtomicPtr::new(ptr::null_mut()),
            has_copies: AtomicBool::new(false),
            sums: array::from_fn(|_| AtomicU64::new(0)),
            seen_at: AtomicIsize::new(0),
        }
    }

    fn place(&self) -> Option<Place> {
        let cpu = self.cpu.load(Relaxed);
        (!cpu.is_null()).then(|| Place {
            cpu: cpu.addr(),
            // SAFETY: the number is the one that the platform gave, and is only shown.
            dma: unsafe { DmaAddr::from_platform(self.dma.load(Relaxed)) },
            len_bytes: self.len_bytes.load(Relaxed),
        })
    }

    /// The page that lies `shift` pages from the driver's.
    fn page(&self, shift: isize) -> Option<&[AtomicU64; PAGE / 8]> {
        let is_ours = self.is_out.load(Relaxed) && self.has_copies.load(Relaxed) && shift.unsigned_abs() <= 2;
        let cpu = NonNull::new(self.cpu.load(Relaxed)).filter(|_| is_ours)?;
        let page = cpu.as_ptr().wrapping_offset(shift * PAGE.cast_signed());
        // SAFETY:
        // - Bounds, alignment: a region with copies is two pages, one page and two pages long,
        //   starts at a page, and `cpu` is the middle one; it was checked to be so before it was
        //   written down.
        // - Initialised: `Dma::alloc` zeroes; if the platform does not, whoever had the memory
        //   wrote it.
        // - Shared with the device, and with the driver's references to atomics and volatile
        //   copies: words here are atomics, and driver and entry are on one thread.
        // - Lifetime: the region is out, and goes back in `free` alone, which nothing calls
        //   meanwhile.
        Some(unsafe { &*page.cast() })
    }

    fn sum(&self, shift: isize) -> Option<u64> {
        let words = self.page(shift)?.iter().map(|word| word.load(Relaxed));
        Some(words.fold(0, |sum, word| (sum.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// Looks what was written to the copies since they were made.
    fn look(&self) {
        for (shift, sum) in SHIFTS.iter().zip(&self.sums) {
            if self.sum(*shift).is_some_and(|now| now != sum.load(Relaxed)) && self.seen_at.load(Relaxed) == 0
            {
                self.seen_at.store(*shift * PAGE.cast_signed(), Relaxed);
            }
        }
    }

    /// Makes the copies equal to the driver's page, but for those that were written to.
    fn copy(&self) {
        self.look();
        if self.seen_at.load(Relaxed) != 0 {
            return;
        }
        for shift in SHIFTS {
            if let (Some(from), Some(to)) = (self.page(0), self.page(shift)) {
                from.iter().zip(to).for_each(|(from, to)| to.store(from.load(Relaxed), Relaxed));
            }
        }
        self.sum_up();
    }

    /// Remembers what the copies are.
    fn sum_up(&self) {
        for (shift, sum) in SHIFTS.iter().zip(&self.sums) {
            sum.store(self.sum(*shift).unwrap_or(0), Relaxed);
        }
    }
}

impl<P> Watched<P> {
    pub(crate) fn new(platform: P) -> Self {
        let book = Book { entries: array::from_fn(|_| Entry::empty()), regions: AtomicUsize::new(0) };
        Self { platform, book: Arc::new(book) }
    }

    /// Where a device wrote that should have written to a region: the region, and how many bytes
    /// off.
    pub(crate) fn stray(&self) -> Option<(Place, isize)> {
        self.book.entries.iter().find_map(|entry| {
            entry.look();
            let by_bytes = entry.seen_at.load(Relaxed);
            entry.place().filter(|_| by_bytes != 0).map(|place| (place, by_bytes))
        })
    }

    /// The first region that was given out for `len_bytes` or less, and how many there were.
    pub(crate) fn first(&self, len_bytes: usize) -> (Option<Place>, usize) {
        let mut places = self.book.entries.iter().filter_map(Entry::place);
        let first = places.find(|place| place.len_bytes <= len_bytes);
        (first, self.book.regions.load(Relaxed))
    }

    /// Takes an entry that is no region's.
    fn take_entry(&self) -> Option<&Entry> {
        self.book.entries.iter().find(|entry| !entry.is_taken.swap(true, Acquire))
    }
}

/// The request with margins on both sides; `None` where that is more than there can be.
fn widened(request: &DmaRequest, limits: &DmaLimits) -> Option<DmaRequest> {
    let pages = request.len_bytes.get().checked_next_multiple_of(PAGE)?;
    let len_bytes = pages.checked_add(2 * MARGIN).filter(|len| *len <= limits.max_segment_bytes)?;
    let align = request.align.max(Align::PAGE);
    (align.bytes() <= MARGIN).then_some(DmaRequest {
        len_bytes: NonZeroUsize::new(len_bytes)?,
        align,
        ..*request
    })
}

// SAFETY: what the driver gets is the platform's region or the middle of one, at the addresses that
// the platform gave for it; so each promise holds here as far as it holds there, which is what is
// to be found out. A clone has a clone of the platform.
unsafe impl<P: Dma> Dma for Watched<P> {
    fn limits(&self) -> DmaLimits {
        self.platform.limits()
    }
    fn domain(&self) -> DomainTag {
        self.platform.domain()
    }
    fn alloc(&self, request: DmaRequest) -> Result<DmaRegion, DmaError> {
        self.book.regions.fetch_add(1, Relaxed);
        let plainly = || self.platform.alloc(request);
        let Some(wide) = widened(&request, &self.platform.limits()) else { return plainly() };
        let Some(entry) = self.take_entry() else { return plainly() };
        let Ok(region) = self.platform.alloc(wide) else {
            entry.is_taken.store(false, Release);
            return plainly();
        };
        if let Err(error) = wide.check(&region) {
            entry.is_taken.store(false, Release);
            // SAFETY: it came from `alloc` a moment ago, and nobody has its addresses.
            unsafe { self.platform.free(region) };
            return Err(error);
        }
        // SAFETY: the margin lies inside the region, which was checked to be as long as asked for.
        let cpu = unsafe { region.cpu().add(MARGIN) };
        // SAFETY: by the platform's promise the region is contiguous for the device, so this is the
        // device address of `cpu`, for all that follows it.
        let dma = unsafe { DmaAddr::from_platform(region.dma().get().wrapping_add(MARGIN as u64)) };
        entry.cpu.store(cpu.as_ptr(), Relaxed);
        entry.dma.store(dma.get(), Relaxed);
        entry.len_bytes.store(request.len_bytes.get(), Relaxed);
        entry.whole.store(Box::into_raw(Box::new(region)), Relaxed);
        entry.has_copies.store(request.len_bytes.get() <= PAGE, Relaxed);
        entry.seen_at.store(0, Relaxed);
        entry.is_out.store(true, Relaxed);
        // All zero now, as the page is.
        entry.sum_up();
        Ok(DmaRegion::new(cpu, dma, request.len_bytes))
    }
    unsafe fn free(&self, region: DmaRegion) {
        let is_it = |entry: &&Entry| {
            entry.is_out.load(Relaxed) && ptr::eq(entry.cpu.load(Relaxed), region.cpu().as_ptr())
        };
        let entry = self.book.entries.iter().find(is_it);
        let whole = entry.and_then(|entry| {
            entry.look();
            entry.is_out.store(false, Relaxed);
            let whole = NonNull::new(entry.whole.swap(ptr::null_mut(), Relaxed))?;
            // SAFETY: from `Box::into_raw` in `alloc`, and swapped out once.
            Some(*unsafe { Box::from_raw(whole.as_ptr()) })
        });
        if let Some(entry) = entry {
            entry.is_taken.store(false, Release);
        }
        let whole = whole.unwrap_or(region);
        // SAFETY: it is the region that the platform gave; the rest is the caller's obligations.
        unsafe { self.platform.free(whole) }
    }
    unsafe fn map(&self, memory: NonNull<[u8]>, direction: Direction) -> Result<DmaMapping, DmaError> {
        // SAFETY: the caller's obligations are the same ones.
        unsafe { self.platform.map(memory, direction) }
    }
    unsafe fn unmap(&self, mapping: DmaMapping) {
        // SAFETY: the caller's obligations are the same ones.
        unsafe { self.platform.unmap(mapping) }
    }
}

impl<P: Clock> Clock for Watched<P> {
    fn now(&self) -> Instant {
        self.platform.now()
    }
    fn relax(&self) {
        self.platform.relax();
    }
}

impl<P: MmioMap> MmioMap for Watched<P> {
    type Region = WatchedRegion<P::Region>;

    fn map(&self, start: PhysAddr, len_bytes: usize) -> Result<Self::Region, MapError> {
        let region = self.platform.map(start, len_bytes)?;
        Ok(WatchedRegion { region, book: Arc::clone(&self.book) })
    }

    fn unmap(&self, region: Self::Region) {
        self.platform.unmap(region.region);
    }
}

/// Registers. Before a write the copies are made: it may be the one that has the device look.
#[derive(Clone)]
pub(crate) struct WatchedRegion<R> {
    region: R,
    book: Arc<Book>,
}

impl<R: Mmio> WatchedRegion<R> {
    fn written(&self) -> &R {
        self.book.entries.iter().for_each(Entry::copy);
        &self.region
    }
}

impl<R: Mmio> Mmio for WatchedRegion<R> {
    fn len_bytes(&self) -> usize {
        self.region.len_bytes()
    }
    fn read8(&self, offset_bytes: usize) -> u8 {
        self.region.read8(offset_bytes)
    }
    fn read16(&self, offset_bytes: usize) -> u16 {
        self.region.read16(offset_bytes)
    }
    fn read32(&self, offset_bytes: usize) -> u32 {
        self.region.read32(offset_bytes)
    }
    fn write8(&self, offset_bytes: usize, value: u8) {
        self.written().write8(offset_bytes, value);
    }
    fn write16(&self, offset_bytes: usize, value: u16) {
        self.written().write16(offset_bytes, value);
    }
    fn write32(&self, offset_bytes: usize, value: u32) {
        self.written().write32(offset_bytes, value);
    }
}

#[cfg(test)]
mod tests {
    use paravane_mock_hal::MockPlatform;

    use super::*;

    fn request(len_bytes: usize) -> DmaRequest {
        DmaRequest::new(NonZeroUsize::new(len_bytes).unwrap(), Align::new(512))
    }

    /// What the driver does before each write to a register.
    fn copy(watched: &Watched<MockPlatform>) {
        watched.book.entries.iter().for_each(Entry::copy);
    }

    #[test]
    fn a_device_that_is_led_astray_finds_a_copy_and_is_seen_to_write_there() {
        let platform = MockPlatform::new();
        let device = platform.device_memory("nic");
        // Miri takes minutes for each.
        for shift in SHIFTS.into_iter().take(if cfg!(miri) { 1 } else { SHIFTS.len() }) {
            let watched = Watched::new(platform.clone());
            let region = watched.alloc(request(600)).unwrap();
            device.write(region.dma().get() + 599, &[9]).unwrap();
            assert_eq!(watched.stray().map(|(_, by)| by), None, "where it should");
            copy(&watched);
            let elsewhere = region.dma().get().wrapping_add_signed((shift * PAGE.cast_signed()) as i64);
            assert_eq!(device.get(elsewhere + 598).unwrap(), [0, 9]);
            device.write(elsewhere + 4, &[1]).unwrap();
            copy(&watched);
            let (place, by_bytes) = watched.stray().unwrap();
            assert_eq!((place.dma, place.len_bytes), (region.dma(), 600));
            assert_eq!(by_bytes, shift * PAGE.cast_signed());
            // SAFETY: from `alloc`, and no device goes there any more.
            unsafe { watched.free(region) };
        }
        platform.finish();
    }

    #[test]
    fn regions_of_every_kind_go_back_as_they_came() {
        // The last is longer than there may be with margins.
        let platform = MockPlatform::builder().max_segment(64 << 10).build();
        let watched = Watched::new(platform.clone());
        let regions: Vec<_> = [1, 4096, 4097, if cfg!(miri) { 4098 } else { 60 << 10 }]
            .map(|len| watched.alloc(request(len)).unwrap())
            .into();
        copy(&watched);
        assert_eq!(watched.first(4096).1, 4);
        for region in regions {
            assert_eq!(region.dma().get() % 512, 0);
            // SAFETY: as above.
            unsafe { watched.free(region) };
        }
        assert!(watched.alloc(request(65 << 10)).is_err());
        platform.finish();
    }
}
