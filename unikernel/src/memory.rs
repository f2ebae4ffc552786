//! What memory there is, and what it is used for.
//!
//! The image runs in the identity-mapped first 4 GiB. Of the RAM there, the first MiB stays
//! untouched (firmware tables, and the loader's), the image stays where it is, a part becomes the
//! heap, and the rest becomes frames for DMA and page tables. Only bookkeeping is written at boot:
//! memory is touched when it is used.

use core::fmt;

use paravane_hal_x86_64::frames::FRAME_BYTES;
use paravane_hal_x86_64::range::PhysRange;

/// Below this, firmware and loader keep their things.
pub const FIRST_MIB: u64 = 1 << 20;
const FRAME: u64 = FRAME_BYTES as u64;
/// The end of the identity map.
pub const IDENTITY_END: u64 = 1 << 32;

/// The least RAM above the first MiB, image apart, that is worth starting with.
pub const LEAST_BYTES: u64 = 8 << 20;
/// The heap is half of the RAM, and at most this: a balancer's tables are there.
pub const LARGEST_HEAP_BYTES: u64 = 64 << 20;

/// What a range of the physical address space is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemoryKind {
    /// Free for use.
    Ram,
    /// Firmware's, registers, or anything else.
    Reserved,
    /// ACPI tables.
    AcpiTables,
    /// Memory that ACPI needs kept.
    AcpiNvs,
    /// Broken.
    Unusable,
    /// A kind without a name here.
    Other(u32),
}

impl MemoryKind {
    /// The kind that firmware calls `kind`.
    #[must_use]
    pub const fn from_e820(kind: u32) -> Self {
        match kind {
            1 => Self::Ram,
            2 => Self::Reserved,
            3 => Self::AcpiTables,
            4 => Self::AcpiNvs,
            5 => Self::Unusable,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for MemoryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ram => f.write_str("RAM"),
            Self::Reserved => f.write_str("reserved"),
            Self::AcpiTables => f.write_str("ACPI tables"),
            Self::AcpiNvs => f.write_str("ACPI storage"),
            Self::Unusable => f.write_str("unusable"),
            Self::Other(kind) => write!(f, "type {kind}"),
        }
    }
}

/// What is where, as the loader says.
#[derive(Clone, Debug)]
pub struct MemoryMap {
    entries: [(PhysRange, MemoryKind); Self::CAPACITY],
    len: usize,
    cut: bool,
}

impl MemoryMap {
    /// How many ranges are kept.
    pub const CAPACITY: usize = 64;
    /// Nothing.
    pub const EMPTY: Self =
        Self { entries: [(PhysRange::EMPTY, MemoryKind::Reserved); Self::CAPACITY], len: 0, cut: false };

    /// Adds a range. False when there is no room.
    pub fn push(&mut self, range: PhysRange, kind: MemoryKind) -> bool {
        let Some(place) = self.entries.get_mut(self.len) else {
            self.cut = true;
            return false;
        };
        *place = (range, kind);
        self.len += 1;
        true
    }

    /// The ranges, in the loader's order.
    pub fn iter(&self) -> impl Iterator<Item = (PhysRange, MemoryKind)> + Clone + '_ {
        self.entries.iter().take(self.len).copied()
    }

    /// The RAM, in the loader's order.
    pub fn ram(&self) -> impl Iterator<Item = PhysRange> + Clone + '_ {
        self.iter().filter(|(_, kind)| *kind == MemoryKind::Ram).map(|(range, _)| range)
    }

    /// Whether some ranges were left out.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// Whether all of `range` lies in one range of the map, whatever its kind.
    #[must_use]
    pub fn mentions(&self, range: PhysRange) -> bool {
        self.iter().any(|(entry, _)| entry.start() <= range.start() && range.end() <= entry.end())
    }
}

/// There is too little RAM to run in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLittleMemory {
    /// How much there is below 4 GiB, the first MiB and the image apart, in bytes.
    pub found_bytes: u64,
}

impl fmt::Display for TooLittleMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (found, least) = (self.found_bytes >> 10, LEAST_BYTES >> 10);
        write!(f, "{found} KiB of RAM below 4 GiB beside the image; at least {least} KiB are needed")
    }
}

impl core::error::Error for TooLittleMemory {}

/// Decides what the RAM is used for: returns the heap, and gives every other free range to
/// `frames`.
///
/// RAM is what the map calls so and nowhere calls anything else, for maps do contradict themselves.
///
/// # Errors
///
/// [`TooLittleMemory`]; `frames` was not called.
pub fn plan(
    map: &MemoryMap,
    image: PhysRange,
    frames: &mut dyn FnMut(PhysRange),
) -> Result<PhysRange, TooLittleMemory> {
    let mut found_bytes = 0u64;
    let mut largest = PhysRange::EMPTY;
    each_free(map, image, &mut |range| {
        found_bytes = found_bytes.saturating_add(range.len_bytes());
        if range.len_bytes() > largest.len_bytes() {
            largest = range;
        }
    });
    let heap_bytes = (found_bytes / 2).min(LARGEST_HEAP_BYTES).min(largest.len_bytes() / 2) & !(FRAME - 1);
    // Memory in crumbs is no better than none.
    if found_bytes < LEAST_BYTES || heap_bytes < LEAST_BYTES / 8 {
        return Err(TooLittleMemory { found_bytes });
    }
    let heap = PhysRange::between(largest.start().get(), largest.start().get() + heap_bytes);
    each_free(map, image, &mut |range| {
        if range == largest { frames(PhysRange::between(heap.end(), range.end())) } else { frames(range) }
    });
    Ok(heap)
}

/// Each range of RAM that is free, in whole frames, in ascending order and none twice.
fn each_free(map: &MemoryMap, image: PhysRange, found: &mut dyn FnMut(PhysRange)) {
    let mut holes = [PhysRange::EMPTY; MemoryMap::CAPACITY + 1];
    let others = map.iter().filter(|(_, kind)| *kind != MemoryKind::Ram).map(|(range, _)| range);
    for (hole, range) in holes.iter_mut().zip(others.chain([image])) {
        *hole = range;
    }
    let mut low = FIRST_MIB;
    // What is left of the map above `low`: the range that starts lowest. Each turn moves `low` up,
    // so there are no more turns than ranges.
    while let Some(ram) = map
        .ram()
        .map(|ram| ram.clamp(low, IDENTITY_END))
        .filter(|ram| !ram.is_empty())
        .min_by_key(|ram| ram.start())
    {
        carve(ram, &holes, found);
        low = ram.end();
    }
}

/// What is left of `range` without `holes`. As deep as there are holes.
fn carve(range: PhysRange, holes: &[PhysRange], found: &mut dyn FnMut(PhysRange)) {
    let Some((hole, rest)) = holes.split_first() else {
        let whole =
            PhysRange::between(range.start().get().next_multiple_of(FRAME), range.end() & !(FRAME - 1));
        if !whole.is_empty() {
            found(whole);
        }
        return;
    };
    let (below, above) = range.without(*hole);
    for part in [below, above] {
        if !part.is_empty() {
            carve(part, rest, found);
        }
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
