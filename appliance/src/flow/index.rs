//! Where a flow is, by the hash of a key: buckets of one cache line, two for each key.
//!
//! ```text
//!  tags     8 × 16 bits of a hash; zero where nothing is
//!  slots    8 × (31 bits: which flow; 1 bit: by its first key or its second)
//! ```
//!
//! An entry goes into the first of its two buckets while half of that is free, and then into the
//! emptier one, and stays: so most are found where they are looked for first. With four and a half
//! entries to a bucket on average, whoever comes and goes, less than one in a million finds both
//! full, and is refused; nobody outside can work out which.

use alloc::boxed::Box;
use alloc::vec;

/// No entry.
pub(super) const NONE: u32 = u32::MAX;

/// So many flows, of two entries each, have so many buckets.
const FLOWS_OF_BUCKETS: (usize, usize) = (9, 4);

/// Eight entries.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Bucket {
    tags: [u64; 2],
    slots: [[u32; 4]; 2],
}

const _: () = assert!(size_of::<Bucket>() == 64, "a cache line");

const fn buckets_of(flows: usize) -> usize {
    let (of_flows, buckets) = FLOWS_OF_BUCKETS;
    flows.div_ceil(of_flows).saturating_mul(buckets)
}

/// How many bytes the buckets of so many flows take.
pub(super) const fn bytes_of(flows: usize) -> usize {
    buckets_of(flows).saturating_mul(size_of::<Bucket>())
}

/// All buckets.
#[derive(Debug)]
pub(super) struct Index {
    buckets: Box<[Bucket]>,
}

/// The lowest and the highest bit of each tag in a word.
const LOW: u64 = 0x0001_0001_0001_0001;
const HIGH: u64 = 0x8000_8000_8000_8000;

/// The highest bit of each tag in `word` that is zero.
#[inline(always)]
const fn zeroes(word: u64) -> u64 {
    !((word & !HIGH).wrapping_add(!HIGH) | word) & HIGH
}

/// The lane of the lowest of those.
#[inline(always)]
const fn lane(bits: u64) -> usize {
    (bits.trailing_zeros() / 16) as usize
}

/// What of a hash is kept with an entry; never zero.
#[inline(always)]
const fn tag(hash: u64) -> u64 {
    hash >> 48 | 1
}

impl Index {
    /// For that many flows.
    pub(super) fn new(flows: usize) -> Self {
        let empty = Bucket { tags: [0; 2], slots: [[NONE; 4]; 2] };
        Self { buckets: vec![empty; buckets_of(flows)].into() }
    }

    /// The two buckets of `hash`, which may be one.
    #[inline(always)]
    fn places(&self, hash: u64) -> [usize; 2] {
        let count = self.buckets.len() as u64;
        // That part of all buckets which 24 bits are of all of theirs: there are not as many.
        let part = |bits: u64| ((bits & 0x00ff_ffff).wrapping_mul(count) >> 24) as usize;
        [part(hash), part(hash >> 24)]
    }

    /// The entry of `hash` for which `is_it`.
    #[inline(always)]
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let wanted = tag(hash).wrapping_mul(LOW);
        for place in self.places(hash) {
            let bucket = self.buckets.get(place)?;
            for (tags, slots) in bucket.tags.iter().zip(&bucket.slots) {
                let mut found = zeroes(tags ^ wanted);
                // Ends: each turn clears a bit.
                while found != 0 {
                    match slots.get(lane(found)) {
                        Some(slot) if is_it(*slot) => return Some(*slot),
                        _ => found &= found.wrapping_sub(1),
                    }
                }
            }
        }
        None
    }

    /// Adds an entry; false when both of its buckets are full.
    pub(super) fn insert(&mut self, hash: u64, slot: u32) -> bool {
        let free = |place: usize| {
            let tags = self.buckets.get(place).map_or([1; 2], |bucket| bucket.tags);
            tags.iter().map(|tags| zeroes(*tags).count_ones()).sum::<u32>()
        };
        let [first, second] = self.places(hash);
        let is_first = free(first) > 4 || free(first) >= free(second);
        let place = if is_first { first } else { second };
        let Some(bucket) = self.buckets.get_mut(place) else { return false };
        for (tags, slots) in bucket.tags.iter_mut().zip(&mut bucket.slots) {
            let empty = zeroes(*tags);
            if empty != 0
                && let Some(entry) = slots.get_mut(lane(empty))
            {
                *entry = slot;
                *tags |= tag(hash) << (16 * lane(empty));
                return true;
            }
        }
        false
    }

    /// Takes an entry out; false when it is not there.
    pub(super) fn remove(&mut self, hash: u64, slot: u32) -> bool {
        for place in self.places(hash) {
            let Some(bucket) = self.buckets.get_mut(place) else { continue };
            for (tags, slots) in bucket.tags.iter_mut().zip(&mut bucket.slots) {
                if let Some(lane) = slots.iter().position(|entry| *entry == slot)
                    && let Some(entry) = slots.get_mut(lane)
                {
                    *entry = NONE;
                    *tags &= !(0xffff << (16 * lane));
                    return true;
                }
            }
        }
        false
    }

    /// How many entries there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let filled = |bucket: &Bucket| {
            let tags = bucket.tags.iter().map(|tags| 4 - zeroes(*tags).count_ones() as usize).sum::<usize>();
            let slots = bucket.slots.iter().flatten().filter(|slot| **slot != NONE).count();
            assert_eq!(tags, slots);
            slots
        };
        self.buckets.iter().map(filled).sum()
    }
}
