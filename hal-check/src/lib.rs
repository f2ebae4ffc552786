#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod clock;
mod finding;
mod memory;
#[cfg(feature = "nic")]
mod nic;
mod raw;
#[cfg(feature = "nic")]
mod registers;
mod report;
mod settings;

use paravane_hal::Platform;

pub use finding::{Finding, Place, Register, Width};
#[cfg(feature = "nic")]
pub use nic::{check_nic, frames_wanted};
pub use report::{Check, Outcome, Report, Verdict};
pub use settings::{ArpPeer, Settings};

/// Checks memory and clock, without a device. Whatever is allocated goes back.
pub fn check_platform<P: Platform>(platform: &P, settings: &Settings<'_>) -> Report {
    let mut report = Report::default();
    memory::run(platform, settings, &mut report);
    clock::run(platform, settings, &mut report);
    report
}
