//! Physical frames: which are free, and who gets which.
//!
//! Pure bookkeeping over frame numbers: no memory is touched, so property tests drive it through
//! every shape of a memory map. The table is a sorted array of free ranges with a fixed capacity,
//! so it needs no heap and can live in a static before there is one.
//!
//! Runs are taken from the top: low memory is kept for devices that drive few address bits.
//!
//! # Why freeing never fails for want of room
//!
//! Freeing a run adds at most one range. So an allocation is refused while *free ranges plus runs
//! handed out* would pass the capacity: after that, giving runs back in any order fits.

use core::{fmt, num::NonZeroUsize};

use paravane_hal::addr::{Align, PhysAddr};

use crate::lock::SpinLock;
use crate::range::PhysRange;

/// One frame, in bytes.
pub const FRAME_BYTES: usize = 4096;
const FRAME_SHIFT: u32 = FRAME_BYTES.trailing_zeros();

/// Which frames are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRequest {
    /// How many, contiguous.
    pub frames: NonZeroUsize,
    /// Divides the address of the first; less than a frame counts as a frame.
    pub align: Align,
    /// No byte of the run may lie beyond 2 to this power.
    pub address_bits: u8,
}

impl FrameRequest {
    /// One frame, anywhere.
    pub const ONE: Self = Self { frames: NonZeroUsize::MIN, align: Align::PAGE, address_bits: 64 };
}

/// Contiguous frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRun {
    /// Where the first is.
    pub start: PhysAddr,
    /// How many there are.
    pub frames: NonZeroUsize,
}

impl FrameRun {
    /// How long the run is.
    #[must_use]
    pub const fn len_bytes(&self) -> usize {
        self.frames.get().saturating_mul(FRAME_BYTES)
    }

    fn range(&self) -> Option<Frames> {
        if !self.start.get().is_multiple_of(FRAME_BYTES as u64) {
            return None;
        }
        let first = self.start.get() >> FRAME_SHIFT;
        Some(Frames { first, end: first.checked_add(self.frames.get() as u64)? })
    }
}

/// Frames could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// No run that long and so aligned is left.
    OutOfMemory,
    /// One is left, but beyond what was asked for.
    AddressWidth {
        /// How many address bits were asked for.
        address_bits: u8,
    },
    /// The table has no room to take the run back later.
    TableFull,
    /// The run lies outside what the allocator was given, or does not start at a frame.
    NotManaged,
    /// Some of the frames are free already, or overlap what was there.
    Overlap,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::OutOfMemory => f.write_str("no run of frames that long is left"),
            Self::AddressWidth { address_bits } => {
                write!(f, "no such run of frames is left below 2^{address_bits}")
            }
            Self::TableFull => f.write_str("memory is in more pieces than the frame table has room for"),
            Self::NotManaged => f.write_str("these frames were never given to the allocator"),
            Self::Overlap => f.write_str("some of these frames are free already"),
        }
    }
}

impl core::error::Error for FrameError {}

/// Whoever has frames to give: the seam for a kernel with an allocator of its own.
pub trait FrameSource {
    /// Gives out a run.
    ///
    /// # Errors
    ///
    /// [`FrameError`]; nothing is given out.
    fn alloc_frames(&self, request: FrameRequest) -> Result<FrameRun, FrameError>;

    /// Takes a run back, whole, as it was given out.
    ///
    /// # Errors
    ///
    /// [`FrameError`]: the run is not one that was given out. It stays out of use.
    fn free_frames(&self, run: FrameRun) -> Result<(), FrameError>;
}

impl<const RANGES: usize> FrameSource for SpinLock<FrameAllocator<RANGES>> {
    fn alloc_frames(&self, request: FrameRequest) -> Result<FrameRun, FrameError> {
        self.with(|frames| frames.alloc(request))
    }
    fn free_frames(&self, run: FrameRun) -> Result<(), FrameError> {
        self.with(|frames| frames.free(run))
    }
}

impl<S: FrameSource + ?Sized> FrameSource for &S {
    fn alloc_frames(&self, request: FrameRequest) -> Result<FrameRun, FrameError> {
        (**self).alloc_frames(request)
    }
    fn free_frames(&self, run: FrameRun) -> Result<(), FrameError> {
        (**self).free_frames(run)
    }
}

/// Frame numbers `first..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frames {
    first: u64,
    end: u64,
}

impl Frames {
    const NONE: Self = Self { first: 0, end: 0 };

    fn count(self) -> u64 {
        self.end - self.first
    }

    fn overlaps(self, other: Self) -> bool {
        self.first < other.end && other.first < self.end
    }

    fn contains(self, other: Self) -> bool {
        self.first <= other.first && other.end <= self.end
    }

    /// Where a run of `count` frames aligned to `align` starts, as high as it fits here and below
    /// `limit`.
    fn highest(self, count: u64, align: u64, limit: u64) -> Option<u64> {
        let first = self.end.min(limit).checked_sub(count)? & !(align - 1);
        (first >= self.first).then_some(first)
    }
}

/// Sorted ranges, no two of which overlap or touch.
#[derive(Debug)]
struct Table<const RANGES: usize> {
    ranges: [Frames; RANGES],
    len: usize,
}

impl<const RANGES: usize> Table<RANGES> {
    const EMPTY: Self = Self { ranges: [Frames::NONE; RANGES], len: 0 };

    fn used(&self) -> &[Frames] {
        self.ranges.get(..self.len).unwrap_or_default()
    }

    /// Puts `range` at `index`, moving what follows up. False when there is no room.
    fn insert_at(&mut self, index: usize, range: Frames) -> bool {
        if index > self.len || self.len >= RANGES {
            return false;
        }
        self.ranges.copy_within(index..self.len, index + 1);
        self.ranges[index] = range;
        self.len += 1;
        true
    }

    fn remove_at(&mut self, index: usize) {
        if index < self.len {
            self.ranges.copy_within(index + 1..self.len, index);
            self.len -= 1;
        }
    }

    /// Adds `range`, joined with its neighbours where they touch.
    fn insert(&mut self, range: Frames) -> Result<(), FrameError> {
        let index = self.used().partition_point(|other| other.end < range.first);
        let Some(next) = self.used().get(index).copied().filter(|next| next.first <= range.end) else {
            return if self.insert_at(index, range) { Ok(()) } else { Err(FrameError::TableFull) };
        };
        if next.overlaps(range) {
            return Err(FrameError::Overlap);
        }
        // It touches `next`; it may touch the one after as well, and close the gap between.
        let mut joined = Frames { first: next.first.min(range.first), end: next.end.max(range.end) };
        if let Some(after) = self.used().get(index + 1).copied().filter(|after| after.first <= joined.end) {
            if after.overlaps(range) {
                return Err(FrameError::Overlap);
            }
            joined.end = after.end;
            self.remove_at(index + 1);
        }
        self.ranges[index] = joined;
        Ok(())
    }

    /// Takes `part` out of the range at `index`, which contains it. False when the rest is two
    /// pieces and there is no room.
    fn take(&mut self, index: usize, part: Frames) -> bool {
        let whole = self.ranges[index];
        let below = Frames { first: whole.first, end: part.first };
        let above = Frames { first: part.end, end: whole.end };
        match (below.count() > 0, above.count() > 0) {
            (false, false) => self.remove_at(index),
            (true, false) => self.ranges[index] = below,
            (false, true) => self.ranges[index] = above,
            (true, true) => {
                if !self.insert_at(index + 1, above) {
                    return false;
                }
                self.ranges[index] = below;
            }
        }
        true
    }
}

/// A frame allocator with room for `RANGES` pieces of free memory and runs in use together.
#[derive(Debug)]
pub struct FrameAllocator<const RANGES: usize = 128> {
    free: Table<RANGES>,
    managed: Table<RANGES>,
    /// Runs handed out and not yet back.
    runs_out: usize,
    managed_frames: u64,
    free_frames: u64,
}

impl<const RANGES: usize> FrameAllocator<RANGES> {
    /// An allocator that has nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { free: Table::EMPTY, managed: Table::EMPTY, runs_out: 0, managed_frames: 0, free_frames: 0 }
    }

    /// Gives it the whole frames inside `memory`. A range without a whole frame is nothing, and no
    /// error.
    ///
    /// # Errors
    ///
    /// [`FrameError::Overlap`] and [`FrameError::TableFull`]; the range is not taken.
    pub fn add(&mut self, memory: PhysRange) -> Result<(), FrameError> {
        let first = memory.start().get().div_ceil(FRAME_BYTES as u64);
        let range = Frames { first, end: memory.end() >> FRAME_SHIFT };
        if range.end <= range.first {
            return Ok(());
        }
        if self.managed.used().iter().any(|other| other.overlaps(range)) {
            return Err(FrameError::Overlap);
        }
        // Neighbours join in both tables alike, so room is looked for once; the one slot kept free
        // is for the rest of a split.
        if self.managed.len >= RANGES || self.free.len + self.runs_out >= RANGES {
            return Err(FrameError::TableFull);
        }
        self.free.insert(range)?;
        self.managed.insert(range)?;
        self.managed_frames += range.count();
        self.free_frames += range.count();
        Ok(())
    }

    /// Gives out a run, as high in memory as the request allows.
    ///
    /// # Errors
    ///
    /// [`FrameError`]; nothing is given out.
    pub fn alloc(&mut self, request: FrameRequest) -> Result<FrameRun, FrameError> {
        let count = request.frames.get() as u64;
        let align = (request.align.bytes() as u64 >> FRAME_SHIFT).max(1);
        let limit = match request.address_bits {
            bits if u32::from(bits) >= u64::BITS => u64::MAX,
            bits => (1u64 << bits) >> FRAME_SHIFT,
        };
        let find = |limit| {
            let fits = |(index, range): (usize, &Frames)| {
                range.highest(count, align, limit).map(|first| (index, first))
            };
            self.free.used().iter().enumerate().rev().find_map(fits)
        };
        let Some((index, first)) = find(limit) else {
            return Err(match find(u64::MAX) {
                Some(_) => FrameError::AddressWidth { address_bits: request.address_bits },
                None => FrameError::OutOfMemory,
            });
        };
        let part = Frames { first, end: first + count };
        let whole = self.free.ranges[index];
        let pieces_after =
            self.free.len + usize::from(part.first > whole.first) + usize::from(part.end < whole.end) - 1;
        if pieces_after + self.runs_out + 1 > RANGES || !self.free.take(index, part) {
            return Err(FrameError::TableFull);
        }
        self.runs_out += 1;
        self.free_frames -= count;
        Ok(FrameRun { start: PhysAddr::new(first << FRAME_SHIFT), frames: request.frames })
    }

    /// Takes a run back.
    ///
    /// # Errors
    ///
    /// [`FrameError::NotManaged`] and [`FrameError::Overlap`] when the run cannot have come from
    /// here; it is not taken.
    pub fn free(&mut self, run: FrameRun) -> Result<(), FrameError> {
        let range = run.range().ok_or(FrameError::NotManaged)?;
        if !self.managed.used().iter().any(|managed| managed.contains(range)) {
            return Err(FrameError::NotManaged);
        }
        self.free.insert(range)?;
        self.runs_out = self.runs_out.saturating_sub(1);
        self.free_frames += range.count();
        Ok(())
    }

    /// Bytes that it was given.
    #[must_use]
    pub const fn managed_bytes(&self) -> u64 {
        self.managed_frames << FRAME_SHIFT
    }

    /// Bytes that are free.
    #[must_use]
    pub const fn free_bytes(&self) -> u64 {
        self.free_frames << FRAME_SHIFT
    }

    /// Bytes that are handed out.
    #[must_use]
    pub const fn in_use_bytes(&self) -> u64 {
        (self.managed_frames - self.free_frames) << FRAME_SHIFT
    }
}

impl<const RANGES: usize> Default for FrameAllocator<RANGES> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;
