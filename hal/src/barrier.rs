//! Barriers towards a device.
//!
//! A core fence orders what *other CPUs* see. A device is another observer: on x86 it sees stores
//! in program order, so core fences are the answer; on Arm it sits outside the inner-shareable
//! domain that core fences speak of, and on RISC-V, registers are in another ordering domain than
//! memory. Hence one place for all four.
//!
//! | Call | Stands between | and |
//! |---|---|---|
//! | [`release`] | filling a descriptor | the store that hands it over |
//! | [`acquire`] | the load that proves a completion is there | every other look at it |
//! | [`full`] | publishing (or arming) | reading the flag that says whether to ring (or work that slipped in) |
//! | [`before_mmio`] | stores to shared memory | a doorbell. [`Mmio`](crate::mmio::Mmio) writes include it; drivers need not call it |
//!
//! Under Miri the core fences stand in: it has no devices and no assembly.

#![cfg_attr(
    all(not(miri), any(target_arch = "aarch64", target_arch = "riscv64")),
    expect(unsafe_code, reason = "barrier instructions that the core library does not offer")
)]

#[cfg(all(not(miri), any(target_arch = "aarch64", target_arch = "riscv64")))]
macro_rules! instruction {
    ($text:literal) => {
        // SAFETY: a barrier instruction touches no register, no memory and no stack; without
        // `nomem` the compiler treats it as touching all memory, so that it moves no access across,
        // which is the point.
        unsafe { core::arch::asm!($text, options(nostack, preserves_flags)) }
    };
}

#[cfg(any(miri, not(any(target_arch = "aarch64", target_arch = "riscv64"))))]
use core::sync::atomic::{Ordering, fence};

/// Everything stored so far is visible to the device before anything stored after.
#[doc(alias = "dma_wmb")]
#[inline(always)]
pub fn release() {
    #[cfg(all(not(miri), target_arch = "aarch64"))]
    instruction!("dmb osh");
    #[cfg(all(not(miri), target_arch = "riscv64"))]
    instruction!("fence rw, w");
    #[cfg(any(miri, not(any(target_arch = "aarch64", target_arch = "riscv64"))))]
    fence(Ordering::Release);
}

/// Everything loaded so far is loaded before anything loaded or stored after.
#[doc(alias = "dma_rmb")]
#[inline(always)]
pub fn acquire() {
    #[cfg(all(not(miri), target_arch = "aarch64"))]
    instruction!("dmb oshld");
    #[cfg(all(not(miri), target_arch = "riscv64"))]
    instruction!("fence r, rw");
    #[cfg(any(miri, not(any(target_arch = "aarch64", target_arch = "riscv64"))))]
    fence(Ordering::Acquire);
}

/// Orders every earlier access before every later one, an earlier store before a later load
/// included.
#[doc(alias = "mb")]
#[inline(always)]
pub fn full() {
    #[cfg(all(not(miri), target_arch = "aarch64"))]
    instruction!("dmb osh");
    #[cfg(all(not(miri), target_arch = "riscv64"))]
    instruction!("fence rw, rw");
    #[cfg(any(miri, not(any(target_arch = "aarch64", target_arch = "riscv64"))))]
    fence(Ordering::SeqCst);
}

/// Everything stored to memory so far is visible to the device before a register write that
/// follows.
///
/// For implementers of [`Mmio`](crate::mmio::Mmio).
#[inline(always)]
pub fn before_mmio() {
    #[cfg(all(not(miri), target_arch = "aarch64"))]
    instruction!("dmb oshst");
    #[cfg(all(not(miri), target_arch = "riscv64"))]
    instruction!("fence w, o");
    // x86 sends an uncached store after the write-back stores before it; the compiler must not swap
    // them.
    #[cfg(any(miri, not(any(target_arch = "aarch64", target_arch = "riscv64"))))]
    core::sync::atomic::compiler_fence(Ordering::Release);
}

/// A register read so far has happened before anything that follows.
///
/// For implementers of [`Mmio`](crate::mmio::Mmio): a driver that reads a command's result then
/// reads what the command left in memory.
#[inline(always)]
pub fn after_mmio() {
    #[cfg(all(not(miri), target_arch = "aarch64"))]
    instruction!("dmb oshld");
    #[cfg(all(not(miri), target_arch = "riscv64"))]
    instruction!("fence i, rw");
    #[cfg(any(miri, not(any(target_arch = "aarch64", target_arch = "riscv64"))))]
    core::sync::atomic::compiler_fence(Ordering::Acquire);
}
