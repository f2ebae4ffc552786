//! One piece of coherent memory in two copies: the driver's, and the device's.
//!
//! The driver's copy is made here, the device's came from the platform. [`Mirror::push`] carries over what the driver stored, [`Mirror::pull`] what the device
//! stored; a third copy, private, remembers what both had in common, and so tells who stored what.

#![expect(unsafe_code, reason = "raw memory that a driver, or a device, changes meanwhile")]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

use paravane_hal::dma::DmaRegion;

/// What is compared at a time. Both copies start at a multiple of it.
const CHUNK: usize = 8;
/// What the device wrote is written down in pieces that start and end at multiples of this, as devices store words.
const GRAIN: usize = 4;

/// The same memory twice.
pub(super) struct Mirror {
    driver: NonNull<u8>,
    layout: Layout,
    device: DmaRegion,
    common: Vec<u8>,
}

// SAFETY: the copies are places, not views bound to a thread; they are reached under the lock of the recording.
unsafe impl Send for Mirror {}

/// A run of bytes that the device wrote.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) offset_bytes: usize,
    pub(super) bytes: Vec<u8>,
}

impl Mirror {
    /// Makes the driver's copy for `device`, aligned to `align_bytes`. The region back when there is no memory.
    pub(super) fn new(device: DmaRegion, align_bytes: usize) -> Result<Self, DmaRegion> {
        let len = device.len_bytes().get();
        let Ok(layout) = Layout::from_size_align(len, align_bytes.max(CHUNK)) else { return Err(device) };
        // SAFETY: a region's length is not zero.
        let Some(driver) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { return Err(device) };
        Ok(Self { driver, layout, device, common: vec![0; len] })
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

    /// Shows the device what the driver stored since the last call.
    pub(super) fn push(&mut self) {
        let (from, to) = (Copy(self.driver), Copy(self.device.cpu()));
        for (chunk, common) in self.common.chunks_mut(CHUNK).enumerate() {
            let start = chunk * CHUNK;
            let now = from.read(start, common.len());
            let Some(now) = now.get(..common.len()).filter(|now| *now != common) else { continue };
            // Byte by byte: the device may have stored to the others.
            for (at, (new, old)) in now.iter().zip(common).enumerate().filter(|(_, (new, old))| new != old) {
                to.write(start + at, *new);
                *old = *new;
            }
        }
    }

    /// Shows the driver what the device stored since the last call, and says what it was.
    pub(super) fn pull(&mut self) -> Vec<Run> {
        let (from, to) = (Copy(self.device.cpu()), Copy(self.driver));
        let mut runs: Vec<Run> = Vec::new();
        for (chunk, common) in self.common.chunks_mut(CHUNK).enumerate() {
            let now = from.read(chunk * CHUNK, common.len());
            if now.get(..common.len()) == Some(common) {
                continue;
            }
            for (grain, (new, old)) in now.chunks(GRAIN).zip(common.chunks_mut(GRAIN)).enumerate() {
                let Some(new) = new.get(..old.len()).filter(|new| *new != old) else { continue };
                let start = chunk * CHUNK + grain * GRAIN;
                for (at, (new, old)) in
                    new.iter().zip(old.iter_mut()).enumerate().filter(|(_, (a, b))| a != b)
                {
                    to.write(start + at, *new);
                    *old = *new;
                }
                match runs.last_mut().filter(|run| run.offset_bytes + run.bytes.len() == start) {
                    Some(run) => run.bytes.extend(new),
                    None => runs.push(Run { offset_bytes: start, bytes: new.to_vec() }),
                }
            }
        }
        runs
    }
}

/// One of the copies, aligned to [`CHUNK`] and as long as `common`. What is asked of it lies inside.
#[derive(Clone, Copy)]
struct Copy(NonNull<u8>);

impl Copy {
    /// Reads a whole chunk at once, so that no word of it is torn; fewer bytes at the end, the others zero.
    fn read(self, start_bytes: usize, len_bytes: usize) -> [u8; CHUNK] {
        let place = self.0.as_ptr().wrapping_add(start_bytes);
        if len_bytes == CHUNK {
            // SAFETY: in bounds, for the caller goes by the length that both copies have; aligned, both being so at their start.
            return unsafe { place.cast::<u64>().read_volatile() }.to_ne_bytes();
        }
        let mut bytes = [0; CHUNK];
        for (at, byte) in bytes.iter_mut().enumerate().take(len_bytes) {
            // SAFETY: in bounds, as above.
            *byte = unsafe { place.wrapping_add(at).read_volatile() };
        }
        bytes
    }

    fn write(self, at_bytes: usize, byte: u8) {
        // SAFETY: in bounds, as in `read`.
        unsafe { self.0.as_ptr().wrapping_add(at_bytes).write_volatile(byte) };
    }
}
