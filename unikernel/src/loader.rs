//! What whoever started the image told it.
//!
//! Copied out, field by field, through a reader that says no to addresses where nothing can be: a
//! loader's mistake is a message, not a fault. Modules (initial RAM disks) are not for this image;
//! their memory is used as any other.

use core::fmt;

use paravane_hal::addr::PhysAddr;
use paravane_hal_x86_64::range::PhysRange;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::cmdline::CommandLine;
use crate::firmware::PhysicalMemory;
use crate::memory::{MemoryKind, MemoryMap};

pub mod multiboot2;
pub mod pvh;

/// What the loader said. Copied out of its structures, which are forgotten afterwards.
#[derive(Debug)]
pub struct BootInfo {
    /// The kernel command line.
    pub command_line: CommandLine,
    /// What is where in the physical address space.
    pub memory: MemoryMap,
    /// Where ACPI starts, if the loader knows, or firmware left it where a BIOS does.
    pub rsdp: Option<PhysAddr>,
}

/// The loader's structures make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoaderError {
    /// Nobody we know started us.
    Unknown {
        /// Where a loader's structures were expected.
        at: PhysAddr,
        /// What is there.
        found: u32,
        /// What the loader says it is.
        number: u32,
    },
    /// A structure lies where nothing can be read.
    Unreadable {
        /// Which.
        what: &'static str,
        /// Where it was said to be.
        at: PhysAddr,
    },
    /// The loader gives no memory map.
    NoMemoryMap {
        /// Whose structures they are.
        of: &'static str,
    },
}

impl fmt::Display for LoaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Unknown { at, found, number } => write!(
                f,
                "expected hvm_start_info ({:#010x}) at {:#x}, which holds {found:#010x}, or {:#010x} in eax, which was {number:#010x}",
                pvh::MAGIC,
                at.get(),
                multiboot2::MAGIC
            ),
            Self::Unreadable { what, at } => {
                write!(f, "{what} said to be at {:#x}, which cannot be read", at.get())
            }
            Self::NoMemoryMap { of } => write!(f, "{of} comes without a memory map"),
        }
    }
}

impl core::error::Error for LoaderError {}

/// Reads what the loader left at `at`. One that has a number for itself gave `number`.
///
/// PVH's structure is looked for first: QEMU's qboot starts an image by PVH with another loader's
/// number.
///
/// # Errors
///
/// [`LoaderError`]. A command line that is missing or cannot be read is empty, and no error; more
/// memory than the map has room for is left out, and [`MemoryMap::is_cut`] says so.
pub fn read(memory: &impl PhysicalMemory, at: PhysAddr, number: u32) -> Result<BootInfo, LoaderError> {
    let found: u32 = copy(memory, "the loader's structure", at)?;
    if found == pvh::MAGIC {
        pvh::read(memory, at)
    } else if number == multiboot2::MAGIC {
        multiboot2::read(memory, at)
    } else {
        Err(LoaderError::Unknown { at, found, number })
    }
}

/// A range of memory, as both kinds of loaders and a BIOS describe it. PVH's structure has another
/// word behind it, and Multiboot2's may have any number.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct MapEntry {
    addr: u64,
    size: u64,
    kind: u32,
    reserved: u32,
}

const _: () = assert!(size_of::<MapEntry>() == 24);

/// Of a longer map, what is behind them is left out.
const MOST_ENTRIES: u32 = 1024;

/// A memory map of `entries` entries, `step_bytes` apart from `start` on.
fn memory_map(
    memory: &impl PhysicalMemory,
    start: PhysAddr,
    entries: u32,
    step_bytes: u64,
) -> Result<MemoryMap, LoaderError> {
    let mut map = MemoryMap::EMPTY;
    for index in 0..u64::from(entries.min(MOST_ENTRIES)) {
        let at = after(start, index.saturating_mul(step_bytes));
        let entry: MapEntry = copy(memory, "memory map", at)?;
        let size = entry.size.min(u64::MAX.saturating_sub(entry.addr));
        let range = PhysRange::between(entry.addr, entry.addr.saturating_add(size));
        if !range.is_empty() && !map.push(range, MemoryKind::from_e820(entry.kind)) {
            break;
        }
    }
    Ok(map)
}

/// The bytes at `at` up to the first zero, or `most` of them.
fn command_line(memory: &impl PhysicalMemory, at: PhysAddr, most: u64) -> CommandLine {
    let mut line = CommandLine::EMPTY;
    // Ends where the line is full, if not before.
    for index in 0..most {
        let mut byte = [0];
        // One byte at a time: the line may end right before something that cannot be read.
        if !memory.read(after(at, index), &mut byte) || byte == [0] || !line.push(byte[0]) {
            break;
        }
    }
    line
}

/// Copies a `T` from `at`.
fn copy<T: Default + FromBytes + IntoBytes>(
    memory: &impl PhysicalMemory,
    what: &'static str,
    at: PhysAddr,
) -> Result<T, LoaderError> {
    let mut value = T::default();
    if memory.read(at, value.as_mut_bytes()) { Ok(value) } else { Err(LoaderError::Unreadable { what, at }) }
}

/// What is `bytes` behind `start`.
fn after(start: PhysAddr, bytes: u64) -> PhysAddr {
    PhysAddr::new(start.get().saturating_add(bytes))
}

#[cfg(test)]
#[path = "loader/tests.rs"]
mod tests;
