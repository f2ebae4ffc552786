//! What a Multiboot2 loader, such as GRUB, leaves in memory: tags, one behind the other.
//!
//! ```text
//! information    0 total_size   4 reserved   8 tags, each at a multiple of 8
//! tag            0 type   4 size, itself included
//!  1  command line     8 bytes up to a zero
//!  6  memory map       8 entry_size   12 entry_version   16 entries: 0 addr   8 size   16 type   20 reserved
//! 14, 15  ACPI         8 a copy of the RSDP, of ACPI 1.0 or of a later one
//!  0  end
//! ```
//!
//! Spec: Multiboot2 Specification version 2.0, 3.6 "Boot information format".

#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use paravane_hal::addr::PhysAddr;
use paravane_hal_x86_64::range::PhysRange;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{BootInfo, LoaderError, MapEntry, after, command_line, copy, memory_map};
use crate::cmdline::CommandLine;
use crate::firmware::PhysicalMemory;
use crate::memory::MemoryKind;

/// What the loader leaves in `eax`.
pub(super) const MAGIC: u32 = 0x36d7_6289;
/// A command line, a memory map, a framebuffer, ACPI, and some twenty more are all there are.
const MOST_TAGS: usize = 64;

const END: u32 = 0;
const COMMAND_LINE: u32 = 1;
const MEMORY_MAP: u32 = 6;
const ACPI_OLD: u32 = 14;
const ACPI_NEW: u32 = 15;
/// How long an RSDP is, at least.
const OLD_RSDP_BYTES: u32 = 20;
const NEW_RSDP_BYTES: u32 = 36;

/// The head of the whole, and of each tag, and of what is in a memory map's.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Pair(u32, u32);

/// How long a [`Pair`] is.
const PAIR_BYTES: u32 = 8;

/// Reads everything from the information at `at` on.
pub(super) fn read(memory: &impl PhysicalMemory, at: PhysAddr) -> Result<BootInfo, LoaderError> {
    const WHAT: &str = "Multiboot2 information";
    let Pair(total_bytes, _) = copy(memory, WHAT, at)?;
    let end = after(at, total_bytes.into());
    let (mut line, mut map, mut rsdp) = (CommandLine::EMPTY, None, None);
    let mut tag = after(at, PAIR_BYTES.into());
    for _ in 0..MOST_TAGS {
        if tag >= end {
            break;
        }
        let Pair(kind, size_bytes) = copy(memory, WHAT, tag)?;
        // One that is shorter than its own head, or ends behind all, ends all that can be said.
        let Some(content_bytes) = size_bytes.checked_sub(PAIR_BYTES).filter(|_| kind != END) else { break };
        if after(tag, size_bytes.into()) > end {
            break;
        }
        let content = after(tag, PAIR_BYTES.into());
        match kind {
            COMMAND_LINE => line = command_line(memory, content, content_bytes.into()),
            MEMORY_MAP => {
                let Pair(entry_bytes, _) = copy(memory, "memory map", content)?;
                let entries = content_bytes.saturating_sub(PAIR_BYTES).checked_div(entry_bytes);
                // Longer ones have more in them, behind what is read.
                if let Some(entries) = entries.filter(|_| entry_bytes as usize >= size_of::<MapEntry>()) {
                    let first = after(content, PAIR_BYTES.into());
                    map = Some(memory_map(memory, first, entries, entry_bytes.into())?);
                }
            }
            ACPI_NEW if content_bytes >= NEW_RSDP_BYTES => rsdp = Some(content),
            ACPI_OLD if content_bytes >= OLD_RSDP_BYTES => rsdp = rsdp.or(Some(content)),
            _ => {}
        }
        tag = after(tag, u64::from(size_bytes).next_multiple_of(PAIR_BYTES.into()));
    }
    let mut map = map.ok_or(LoaderError::NoMemoryMap { of: WHAT })?;
    // The RSDP is a copy, in RAM that is called free: it is kept for as long as there are tables.
    if rsdp.is_some() && !map.push(PhysRange::between(at.get(), end.get()), MemoryKind::AcpiTables) {
        rsdp = None;
    }
    Ok(BootInfo { command_line: line, memory: map, rsdp })
}

#[cfg(test)]
#[path = "multiboot2_tests.rs"]
mod tests;
