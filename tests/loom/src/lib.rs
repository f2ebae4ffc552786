//! The drivers' ordering under loom: every interleaving of driver and device, and every stale value
//! that the memory model lets either of them see.
//!
//! The code is the drivers' own, fetched by `build.rs`; the device's side is written here, from the
//! specification. A fence that is missing on the driver's side fails a test, which `ci/mutants`
//! shows by removing each.
//!
//! It speaks of the core fences. What `hal::barrier` makes of them on Arm and RISC-V is stronger;
//! on x86 it is the same.

#![cfg(test)]

mod platform;
#[allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    unused_macros,
    reason = "whole files, of which a part is looked at"
)]
mod ring {
    include!(concat!(env!("OUT_DIR"), "/ring/mod.rs"));
}
mod packed;
mod virtio;
mod vmxnet3;
