//! One piece of coherent memory in two copies: the driver's, and the device's.
//!
//! The driver's copy is made here, the device's came from the platform. [`Mirror::push`] carries
//! over what the driver stored, [`Mirror::pull`] what the device stored; a third copy, private,
//! remembers what both had in common, and so tells who stored what.

#![expect(unsafe_code, reason = "raw memory that a driver, or a device, changes meanwhile")]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

use paravane_hal::dma::DmaRegion;

/// What is compared at a time. Both copies start at a multiple of it.
const CHUNK: usize = size_of::<u64>();
/// What the device wrote is written down in pieces that start and end at multiples of this, as
/// devices store words.
const GRAIN: usize = 4;

/// The same memory twice.
pub(super) struct Mirror {
    driver: NonNull<u8>,
    layout: Layout,
    device: DmaRegion,
    /// In chunks; the bytes of the last one that the memory does not have are zero.
    common: Vec<u64>,
}

// SAFETY: the copies are places, not views bound to a thread; they are reached under the lock of
// the recording.
unsafe impl Send for Mirror {}

/// A run of bytes that the device wrote.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) offset_bytes: usize,
    pub(super) bytes: Vec<u8>,
}

impl Mirror {
    /// Makes the driver's copy for `device`, aligned to `align_bytes`. The region back when there
    /// is no memory.
    pub(super) fn new(device: DmaRegion, align_bytes: usize) -> Result<Self, DmaRegion> {
        let len = device.len_bytes().get();
        let Ok(layout) = Layout::from_size_align(len, align_bytes.max(CHUNK)) else { return Err(device) };
        // SAFETY: a region's length is not zero.
        let Some(driver) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { return Err(device) };
        Ok(Self { driver, layout, device, common: vec![0; len.div_ceil(CHUNK)] })
    }

    /// Where the driver finds its copy.
    pub(super) fn driver(&self) -> NonNull<u8> {
        self.driver
    }

    /// The device's side.
    pub(super) fn device(&self) -> &DmaRegion {
        &self.device
    }

    /// Gives up the driver's copy, and the device's region back.
    ///
    /// # Safety
    ///
    /// Nobody uses the driver's copy any more.
    pub(super) unsafe fn release(self) -> DmaRegion {
        // SAFETY: allocated in `new` with this layout, and given up by the caller.
        unsafe { dealloc(self.driver.as_ptr(), self.layout) };
        self.device
    }

    fn copies(&self) -> (Copy, Copy) {
        let len_bytes = self.layout.size();
        (Copy { start: self.driver, len_bytes }, Copy { start: self.device.cpu(), len_bytes })
    }

    /// Shows the device what the driver stored since the last call.
    pub(super) fn push(&mut self) {
        let (driver, device) = self.copies();
        for (chunk, common) in self.common.iter_mut().enumerate() {
            let now = driver.read(chunk);
            if now != *common {
                device.change(chunk, *common, now);
                *common = now;
            }
        }
    }

    /// Shows the driver what the device stored since the last call, and says what it was.
    pub(super) fn pull(&mut self) -> Vec<Run> {
        let (driver, device) = self.copies();
        let mut runs: Vec<Run> = Vec::new();
        for (chunk, common) in self.common.iter_mut().enumerate() {
            let now = device.read(chunk);
            if now == *common {
                continue;
            }
            driver.change(chunk, *common, now);
            let (new, old) = (now.to_ne_bytes(), common.to_ne_bytes());
            *common = now;
            for (grain, (new, old)) in new.chunks(GRAIN).zip(old.chunks(GRAIN)).enumerate() {
                let start = chunk * CHUNK + grain * GRAIN;
                let len = GRAIN.min(driver.len_bytes.saturating_sub(start));
                let Some(new) = new.get(..len).filter(|new| old.get(..len) != Some(new)) else { continue };
                match runs.last_mut().filter(|run| run.offset_bytes + run.bytes.len() == start) {
                    Some(run) => run.bytes.extend(new),
                    None => runs.push(Run { offset_bytes: start, bytes: new.to_vec() }),
                }
            }
        }
        runs
    }
}

/// One of the copies, aligned to [`CHUNK`]. A chunk that is asked for starts inside.
#[derive(Clone, Copy)]
struct Copy {
    start: NonNull<u8>,
    len_bytes: usize,
}

impl Copy {
    /// Reads a whole chunk at once, so that no word of it is torn; at the end, what there is of it.
    fn read(self, chunk: usize) -> u64 {
        let place = self.start.as_ptr().wrapping_add(chunk * CHUNK);
        if chunk * CHUNK + CHUNK <= self.len_bytes {
            // SAFETY: in bounds by the condition, and aligned as the start is.
            return unsafe { place.cast::<u64>().read_volatile() };
        }
        let mut bytes = [0; CHUNK];
        for (at, byte) in bytes.iter_mut().enumerate().take(self.len_bytes - chunk * CHUNK) {
            // SAFETY: in bounds by the loop's limit.
            *byte = unsafe { place.wrapping_add(at).read_volatile() };
        }
        u64::from_ne_bytes(bytes)
    }

    /// Writes the bytes in which `new` differs from `old`: the other side may have written to the
    /// others.
    fn change(self, chunk: usize, old: u64, new: u64) {
        let (old, new) = (old.to_ne_bytes(), new.to_ne_bytes());
        for (at, byte) in new.into_iter().enumerate().filter(|(at, byte)| old.get(*at) != Some(byte)) {
            // SAFETY: in bounds, for `read` leaves the bytes behind the end zero in both.
            unsafe { self.start.as_ptr().wrapping_add(chunk * CHUNK + at).write_volatile(byte) };
        }
    }
}
