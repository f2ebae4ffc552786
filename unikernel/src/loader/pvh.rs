//! What a PVH loader leaves in memory.
//!
//! ```text
//! hvm_start_info   0 magic   4 version   8 flags   12 nr_modules   16 modlist_paddr   24 cmdline_paddr
//!                 32 rsdp_paddr   40 memmap_paddr   48 memmap_entries   52 reserved        (40 on: version 1)
//! memmap entry     0 addr    8 size   16 type   20 reserved
//! ```
//!
//! Spec: Xen, `public/arch-x86/hvm/start_info.h`.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use paravane_hal::addr::PhysAddr;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{BootInfo, LoaderError, MapEntry, after, command_line, copy, memory_map};
use crate::cmdline::CommandLine;
use crate::firmware::PhysicalMemory;

pub(super) const MAGIC: u32 = 0x336e_c578;
/// The first version with a memory map.
const WITH_MEMORY_MAP: u32 = 1;

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

/// Reads everything from the `hvm_start_info` at `at` on, whose magic was seen.
pub(super) fn read(memory: &impl PhysicalMemory, at: PhysAddr) -> Result<BootInfo, LoaderError> {
    const NO_MEMORY_MAP: LoaderError = LoaderError::NoMemoryMap { of: "hvm_start_info" };
    let info: StartInfo = copy(memory, "hvm_start_info", at)?;
    if info.version < WITH_MEMORY_MAP {
        return Err(NO_MEMORY_MAP);
    }
    let map: MapInfo = copy(memory, "hvm_start_info", after(at, size_of::<StartInfo>() as u64))?;
    if map.paddr == 0 || map.entries == 0 {
        return Err(NO_MEMORY_MAP);
    }
    let command_line = match info.cmdline_paddr {
        0 => CommandLine::EMPTY,
        at => command_line(memory, PhysAddr::new(at), u64::MAX),
    };
    Ok(BootInfo {
        command_line,
        memory: memory_map(memory, PhysAddr::new(map.paddr), map.entries, size_of::<MapEntry>() as u64)?,
        rsdp: Some(info.rsdp_paddr).filter(|at| *at != 0).map(PhysAddr::new),
    })
}

#[cfg(test)]
#[path = "pvh_tests.rs"]
mod tests;
