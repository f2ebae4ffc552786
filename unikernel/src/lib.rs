#![doc = include_str!("../README.md")]
// On a host everything is built to be checked and tested; only the image has no standard library.
#![cfg_attr(target_os = "none", no_std)]

extern crate alloc;

pub mod app;
pub mod boot;
pub mod build;
pub mod bus;
pub mod cmdline;
pub mod console;
pub mod disk;
pub mod entropy;
pub mod exit;
pub mod firmware;
pub mod interrupts;
pub mod last_panic;
pub mod loader;
pub mod memory;
pub mod platform;
mod ports;
pub mod power;
pub mod trial;

/// Names the program of an image: a function that takes the [`Machine`](platform::Machine) and
/// never returns.
///
/// ```no_run
/// # #![no_main]
/// use paravane_unikernel::platform::Machine;
///
/// paravane_unikernel::entry!(main);
///
/// fn main(machine: Machine) -> ! {
///     loop {
///         machine.interrupts.idle(None);
///     }
/// }
/// ```
///
/// The file that has it is `no_main`. Built for a host, for checking, it gets a `main` that says
/// so.
#[macro_export]
macro_rules! entry {
    ($program:path) => {
        const _: () = {
            const PROGRAM: fn($crate::platform::Machine) -> ! = $program;

            #[cfg(target_os = "none")]
            #[unsafe(no_mangle)]
            #[allow(unsafe_code, reason = "the one symbol between the image's entry and its program")]
            extern "Rust" fn paravane_main(machine: $crate::platform::Machine) -> ! {
                PROGRAM(machine)
            }

            #[cfg(not(target_os = "none"))]
            #[unsafe(export_name = "main")]
            #[allow(unsafe_code, reason = "what a host's C runtime calls")]
            extern "C" fn host_main() -> i32 {
                let _ = PROGRAM;
                $crate::not_an_image(cfg!(test))
            }
        };
    };
}

/// What an image does when it is run as a program of a host. Where the test harness runs it, that
/// is nothing: images have no tests of their own.
#[cfg(not(target_os = "none"))]
#[doc(hidden)]
#[must_use]
pub fn not_an_image(in_tests: bool) -> i32 {
    if in_tests {
        return 0;
    }
    eprintln!("this is an image for a virtual machine: build it with --target x86_64-unknown-none");
    2
}
