//! What whoever started the image told it.

use paravane_hal::addr::PhysAddr;

use crate::cmdline::CommandLine;
use crate::memory::MemoryMap;

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
