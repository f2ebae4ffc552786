//! How the image starts.
//!
//! `entry.s` takes the machine from 32-bit protected mode to Rust; [`loader`] reads what was left
//! there; [`start`] puts the parts of a [`Machine`] together in the order in which they need
//! one another, and calls the program.

#![expect(unsafe_code, reason = "the first code that runs, and the program's entry")]

use paravane_hal::addr::PhysAddr;
use paravane_pci::tables::search_bios_area;

use crate::firmware::{FirmwareMemory, PhysicalMemory};
use crate::loader::{self, BootInfo};
use crate::platform::Machine;
use crate::{build, console, fatal};

/// What the time-stamp counter said at the image's first instruction.
#[must_use]
pub fn first_ticks() -> u64 {
    #[cfg(target_os = "none")]
    {
        unsafe extern "C" {
            static first_ticks: u64;
        }
        // SAFETY: `entry.s` defines the symbol, wrote it before any Rust ran, and nobody writes it
        // again.
        unsafe { first_ticks }
    }
    #[cfg(not(target_os = "none"))]
    0
}

/// The first Rust code: reads what the loader, which gave `number`, left at `found`, puts the
/// machine together, and runs `program`.
///
/// # Safety
///
/// Called once, by `entry.s`: in 64-bit mode on the boot page tables, with nothing else running,
/// and all that the loader wrote still there.
pub unsafe fn start(found: u32, number: u32, program: fn(Machine) -> !) -> ! {
    console::open();
    log::info!("Paravane {}", build::ID);
    // Nothing of memory is in use yet but the image itself.
    let memory = FirmwareMemory::EVERYTHING;
    let boot = loader::read(&memory, PhysAddr::new(u64::from(found)), number).map(|boot| {
        // The BIOS notes in the first page where else it is.
        let search = || search_bios_area(&|from, into: &mut [u8]| memory.read(from, into));
        BootInfo { rsdp: boot.rsdp.or_else(search), ..boot }
    });
    unmap_null_page();
    match boot {
        Ok(boot) => program(Machine::assemble(boot, first_ticks())),
        Err(error) => fatal!("not started by a loader that this image knows: {error}"),
    }
}

/// From here on a null pointer leads nowhere. Not earlier: loaders keep their structures in the
/// first page.
fn unmap_null_page() {
    #[cfg(target_os = "none")]
    {
        unsafe extern "C" {
            /// `entry.s`: the page table whose first entry is the page at zero.
            static mut boot_level_1: [u64; 1024];
        }
        let entry = (&raw mut boot_level_1).cast::<u64>();
        // SAFETY: the table is there and nobody else is at it: this runs once, before anything else
        // that knows of page tables.
        unsafe { entry.write_volatile(0) };
        x86_64::instructions::tlb::flush(x86_64::VirtAddr::zero());
    }
}

#[cfg(target_os = "none")]
mod image {
    use core::arch::global_asm;

    use crate::platform::Machine;

    global_asm!(include_str!("boot/entry.s"), start = sym enter);

    unsafe extern "Rust" {
        /// Defined by [`entry!`](crate::entry) in the program.
        safe fn paravane_main(machine: Machine) -> !;
    }

    /// Where `entry.s` goes on. `found` is what the loader left in `ebx`, `number` in `eax`.
    extern "C" fn enter(found: u32, number: u32) -> ! {
        // SAFETY: this is the call that `start` is written for.
        unsafe { super::start(found, number, paravane_main) }
    }
}
