//! What a bridge passes on: bus numbers, and a window each for ports, memory and prefetchable
//! memory.
//!
//! ```text
//!        31           24 23           16 15            8 7             0
//! 0x18  |               | subordinate   | secondary     | primary       |   buses
//! 0x1c  |       secondary status        | I/O limit     | I/O base      |   bits 15:12 of both ends; 3:0 width
//! 0x20  |     memory limit, bits 31:20  |    memory base, bits 31:20    |   in bits 15:4 of each half
//! 0x24  |  prefetchable limit, 31:20    |  prefetchable base, 31:20     |   the same; 3:0 width
//! 0x28  |                prefetchable base, upper 32 bits               |
//! 0x2c  |                prefetchable limit, upper 32 bits              |
//! 0x30  |  I/O limit, upper 16 bits     |   I/O base, upper 16 bits     |
//! ```
//!
//! A window lies between base and limit, the granule at the limit included; with the base above the
//! limit nothing passes.
//!
//! Spec: PCI-to-PCI Bridge 1.2, 3.2.5 "Type 1 Configuration Space Header".

use crate::header::{BUS_NUMBERS, REVISION_AND_CLASS, bridge_buses};
use crate::{ConfigAccess, PciAddress};

const IO: u16 = 0x1c;
const MEMORY: u16 = 0x20;
const PREFETCHABLE: u16 = 0x24;
const PREFETCHABLE_BASE_HIGH: u16 = 0x28;
const PREFETCHABLE_LIMIT_HIGH: u16 = 0x2c;
const IO_HIGH: u16 = 0x30;

/// Base above limit, in the layout that memory and prefetchable memory share.
const CLOSED: u32 = 0x0000_fff0;
const IO_CLOSED: u16 = 0x00f0;
/// The bits of both ends that are address, the others say how wide the window is.
const ENDS: u32 = 0xfff0_fff0;
const IO_ENDS: u16 = 0xf0f0;
/// The width, in bits 3:0 of a base: 64 bits of memory, 32 bits of ports.
const WIDTH: u32 = 0xf;
const WIDE: u32 = 1;

/// Which of a bridge's windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WindowKind {
    /// Ports.
    Io = 0,
    /// Memory below 4 GiB.
    Memory = 1,
    /// Memory that may be read ahead, anywhere where the bridge has 64 bits for it.
    Prefetchable = 2,
}

impl WindowKind {
    /// In the order of their numbers.
    pub(crate) const ALL: [Self; 3] = [Self::Io, Self::Memory, Self::Prefetchable];

    /// Of what a window is a multiple, in length and in place.
    pub(crate) const fn granule(self) -> u64 {
        match self {
            Self::Io => 1 << 12,
            Self::Memory | Self::Prefetchable => 1 << 20,
        }
    }
}

/// A range of addresses that a bridge passes on. Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BridgeWindow {
    /// The first address.
    pub start: u64,
    /// The last one.
    pub last: u64,
}

impl BridgeWindow {
    /// Whether `start` to `last` lies inside.
    #[must_use]
    pub const fn covers(&self, start: u64, last: u64) -> bool {
        self.start <= start && last <= self.last
    }
}

/// What the bridge at `at` passes on of `kind`; `None` when that is nothing. A window that begins
/// with address 0, which is where memory and the board's own ports are, is what some bridges show
/// before anybody set it: nothing.
pub(crate) fn read_window(
    access: &impl ConfigAccess,
    at: PciAddress,
    kind: WindowKind,
) -> Option<BridgeWindow> {
    let (base, limit) = match kind {
        WindowKind::Io => {
            let ends = access.read16(at, IO);
            let [base, limit] = ends.to_le_bytes().map(|end| u64::from(end & 0xf0) << 8);
            let high = if u32::from(ends) & WIDTH == WIDE { access.read32(at, IO_HIGH) } else { 0 };
            (base | u64::from(high & 0xffff) << 16, limit | u64::from(high >> 16) << 16)
        }
        WindowKind::Memory => memory_ends(access.read32(at, MEMORY)),
        WindowKind::Prefetchable => {
            let ends = access.read32(at, PREFETCHABLE);
            let high = |at_high| match ends & WIDTH {
                WIDE => u64::from(access.read32(at, at_high)) << 32,
                _ => 0,
            };
            let (base, limit) = memory_ends(ends);
            (base | high(PREFETCHABLE_BASE_HIGH), limit | high(PREFETCHABLE_LIMIT_HIGH))
        }
    };
    let last = limit | kind.granule().wrapping_sub(1);
    (base != 0 && base <= last).then_some(BridgeWindow { start: base, last })
}

/// Base and limit of a memory window, bits 31:20 of each.
fn memory_ends(ends: u32) -> (u64, u64) {
    (u64::from(ends & 0xfff0) << 16, u64::from(ends & 0xfff0_0000))
}

/// Whether the bridge at `at` passes on what nobody else claims, whatever its windows are: its
/// programming interface says so.
///
/// Spec: PCI Code and ID Assignment 1.11, 1.7 "Base Class 06h".
pub(crate) fn decodes_subtractively(access: &impl ConfigAccess, at: PciAddress) -> bool {
    let [_, prog_if, ..] = access.read32(at, REVISION_AND_CLASS).to_le_bytes();
    prog_if == 1
}

/// Whether the bridge at `at` passes on the memory from `start` to `last`.
pub(crate) fn passes_memory(access: &impl ConfigAccess, at: PciAddress, start: u64, last: u64) -> bool {
    let passes = |kind| read_window(access, at, kind).is_some_and(|window| window.covers(start, last));
    passes(WindowKind::Memory) || passes(WindowKind::Prefetchable) || decodes_subtractively(access, at)
}

/// How far the windows of a bridge reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// There is no such window.
    Absent,
    /// To 4 GiB, or to the last port.
    Narrow,
    /// To the end of the address space.
    Wide,
}

/// Closes a window, and says whether there is one at all.
pub(crate) fn close_window(access: &impl ConfigAccess, at: PciAddress, kind: WindowKind) -> Reach {
    match kind {
        WindowKind::Io => {
            // Ports beyond 64 Ki are not given, and with a limit up there nothing is closed.
            access.write32(at, IO_HIGH, 0);
            access.write16(at, IO, IO_CLOSED);
            let seen = access.read16(at, IO);
            if seen & IO_ENDS == IO_CLOSED { Reach::Narrow } else { Reach::Absent }
        }
        // This one is not optional.
        WindowKind::Memory => {
            access.write32(at, MEMORY, CLOSED);
            Reach::Narrow
        }
        WindowKind::Prefetchable => {
            // With the base as high as it goes nothing passes, whatever the order of the rest.
            access.write32(at, PREFETCHABLE_BASE_HIGH, u32::MAX);
            access.write32(at, PREFETCHABLE_LIMIT_HIGH, 0);
            access.write32(at, PREFETCHABLE, CLOSED);
            access.write32(at, PREFETCHABLE_BASE_HIGH, 0);
            match access.read32(at, PREFETCHABLE) {
                u32::MAX => Reach::Absent,
                seen if seen & ENDS != CLOSED => Reach::Absent,
                seen if seen & WIDTH == WIDE => Reach::Wide,
                _ => Reach::Narrow,
            }
        }
    }
}

/// Opens a window that is closed; what it reads then. The register that opens it comes last.
pub(crate) fn open_window(
    access: &impl ConfigAccess,
    at: PciAddress,
    kind: WindowKind,
    window: BridgeWindow,
) -> Option<BridgeWindow> {
    let (start, start_high) = halves(window.start);
    let (last, last_high) = halves(window.last);
    match kind {
        WindowKind::Io => {
            let [_, base, ..] = start.to_le_bytes();
            let [_, limit, ..] = last.to_le_bytes();
            // Two bytes of four: the other two are the secondary status, which writing clears.
            access.write16(at, IO, u16::from_le_bytes([base & 0xf0, limit & 0xf0]));
        }
        WindowKind::Memory => access.write32(at, MEMORY, start >> 16 & 0xfff0 | last & 0xfff0_0000),
        WindowKind::Prefetchable => {
            access.write32(at, PREFETCHABLE_BASE_HIGH, u32::MAX);
            access.write32(at, PREFETCHABLE, start >> 16 & 0xfff0 | last & 0xfff0_0000);
            access.write32(at, PREFETCHABLE_LIMIT_HIGH, last_high);
            access.write32(at, PREFETCHABLE_BASE_HIGH, start_high);
        }
    }
    read_window(access, at, kind)
}

/// The lower and the upper half.
pub(crate) fn halves(value: u64) -> (u32, u32) {
    let [a, b, c, d, high @ ..] = value.to_le_bytes();
    (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes(high))
}

/// Gives the bridge at `at` its bus numbers; whether it took those that matter. The fourth byte, a
/// timer of conventional buses, stays.
pub(crate) fn number(access: &impl ConfigAccess, at: PciAddress, secondary: u8, subordinate: u8) -> bool {
    let [_, _, _, timer] = access.read32(at, BUS_NUMBERS).to_le_bytes();
    access.write32(at, BUS_NUMBERS, u32::from_le_bytes([at.bus(), secondary, subordinate, timer]));
    let seen = bridge_buses(access, at);
    (seen.secondary, seen.subordinate) == (secondary, subordinate)
}
