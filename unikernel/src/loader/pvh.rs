//! What a PVH loader leaves in memory.
//!
//! ```text
//! hvm_start_info   0 magic   4 version   8 flags   12 nr_modules   16 modlist_paddr   24 cmdline_paddr
//!                 32 rsdp_paddr   40 memmap_paddr   48 memmap_entries   52 reserved        (40 on: version 1)
//! memmap entry     0 addr    8 size   16 type   20 reserved
//! ```
//!
//! Copied out, field by field, through a reader that says no to addresses where nothing can be: a
//! loader's mistake is a message, not a fault. Modules (initial RAM disks) are not for this image;
//! their memory is used as any other.
//!
//! Spec: Xen, `public/arch-x86/hvm/start_info.h`.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use core::fmt;

use paravane_hal::addr::PhysAddr;
use paravane_hal_x86_64::range::PhysRange;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::cmdline::CommandLine;
use crate::firmware::PhysicalMemory;
use crate::loader::BootInfo;
use crate::memory::{MemoryKind, MemoryMap};

const MAGIC: u32 = 0x336e_c578;
/// The first version with a memory map.
const WITH_MEMORY_MAP: u32 = 1;

/// The loader's structures make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PvhError {
    /// There is no `hvm_start_info`.
    Magic {
        /// Where one was expected.
        at: PhysAddr,
        /// What is there.
        found: u32,
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
        /// The version of its structures.
        version: u32,
    },
}

impl fmt::Display for PvhError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Magic { at, found } => {
                write!(
                    f,
                    "hvm_start_info expected at {:#x}: magic {found:#010x}, should be {MAGIC:#010x}",
                    at.get()
                )
            }
            Self::Unreadable { what, at } => {
                write!(f, "{what} said to be at {:#x}, which cannot be read", at.get())
            }
            Self::NoMemoryMap { version } => {
                write!(f, "hvm_start_info version {version} comes without a memory map")
            }
        }
    }
}

impl core::error::Error for PvhError {}

#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct StartInfo {
    magic: u32,
    version: u32,
    flags: u32,
    nr_modules: u32,
    modlist_paddr: u64,
    cmdline_paddr: u64,
    rsdp_paddr: u64,
}

const _: () = assert!(size_of::<StartInfo>() == 40);

/// What version 1 adds, behind the rest.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct MapInfo {
    paddr: u64,
    entries: u32,
    reserved: u32,
}

#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct MapEntry {
    addr: u64,
    size: u64,
    kind: u32,
    reserved: u32,
}

const _: () = assert!(size_of::<MapEntry>() == 24);

/// Copies a `T` from `at`.
fn copy<T: Default + FromBytes + IntoBytes>(
    memory: &impl PhysicalMemory,
    what: &'static str,
    at: PhysAddr,
) -> Result<T, PvhError> {
    let mut value = T::default();
    if memory.read(at, value.as_mut_bytes()) { Ok(value) } else { Err(PvhError::Unreadable { what, at }) }
}

/// Where the element `index` of `size` bytes is in what starts at `start`.
fn nth(start: PhysAddr, index: u64, size: usize) -> PhysAddr {
    PhysAddr::new(start.get().saturating_add(index.saturating_mul(size as u64)))
}

/// Reads everything from the `hvm_start_info` at `at` on.
///
/// # Errors
///
/// [`PvhError`]. A command line that is missing or cannot be read is empty, and no error; more
/// memory than the map has room for is left out, and [`MemoryMap::is_cut`] says so.
pub fn read(memory: &impl PhysicalMemory, at: PhysAddr) -> Result<BootInfo, PvhError> {
    // The magic first: nothing else is believed before it.
    let magic: u32 = copy(memory, "hvm_start_info", at)?;
    if magic != MAGIC {
        return Err(PvhError::Magic { at, found: magic });
    }
    let info: StartInfo = copy(memory, "hvm_start_info", at)?;
    if info.version < WITH_MEMORY_MAP {
        return Err(PvhError::NoMemoryMap { version: info.version });
    }
    let map: MapInfo = copy(memory, "hvm_start_info", nth(at, 1, size_of::<StartInfo>()))?;
    if map.paddr == 0 || map.entries == 0 {
        return Err(PvhError::NoMemoryMap { version: info.version });
    }
    Ok(BootInfo {
        command_line: command_line(memory, info.cmdline_paddr),
        memory: memory_map(memory, map)?,
        rsdp: Some(info.rsdp_paddr).filter(|at| *at != 0).map(PhysAddr::new),
    })
}

fn memory_map(memory: &impl PhysicalMemory, map: MapInfo) -> Result<MemoryMap, PvhError> {
    let mut entries = MemoryMap::EMPTY;
    for index in 0..u64::from(map.entries) {
        let entry: MapEntry =
            copy(memory, "memory map", nth(PhysAddr::new(map.paddr), index, size_of::<MapEntry>()))?;
        let size = entry.size.min(u64::MAX.saturating_sub(entry.addr));
        let range = PhysRange::between(entry.addr, entry.addr.saturating_add(size));
        if !range.is_empty() && !entries.push(range, MemoryKind::from_e820(entry.kind)) {
            break;
        }
    }
    Ok(entries)
}

/// The bytes at `at` up to the first zero.
fn command_line(memory: &impl PhysicalMemory, at: u64) -> CommandLine {
    let mut line = CommandLine::EMPTY;
    if at == 0 {
        return line;
    }
    for index in 0.. {
        let mut byte = [0];
        // One byte at a time: the line may end right before something that cannot be read.
        if !memory.read(nth(PhysAddr::new(at), index, 1), &mut byte) || byte == [0] || !line.push(byte[0]) {
            break;
        }
    }
    line
}

#[cfg(test)]
#[path = "pvh_tests.rs"]
mod tests;
