#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]

pub mod dma;
pub mod frames;
pub mod linear;
pub mod lock;
pub mod mmio;
pub mod msi;
pub mod pic;
pub mod range;

// What follows speaks to the CPU itself.
#[cfg(target_arch = "x86_64")]
pub mod apic;
#[cfg(target_arch = "x86_64")]
pub mod paging;
#[cfg(target_arch = "x86_64")]
pub mod port;
#[cfg(target_arch = "x86_64")]
pub mod tsc;
