#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]

pub mod dma;
pub mod frames;
pub mod ioapic;
pub mod line;
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
pub mod entropy;
#[cfg(target_arch = "x86_64")]
pub mod paging;
#[cfg(target_arch = "x86_64")]
pub mod port;
#[cfg(target_arch = "x86_64")]
pub mod tsc;

/// What a driver takes of a platform moves to the driver's thread, and is shared by its queues.
const _: () = {
    const fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<mmio::MmioRegion>();
    is_send_and_sync::<dma::FrameDma<&'static lock::SpinLock<frames::FrameAllocator>>>();
};

#[cfg(target_arch = "x86_64")]
const _: () = {
    const fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<port::X86Ports>();
    is_send_and_sync::<tsc::TscClock>();
    is_send_and_sync::<entropy::CpuEntropy>();
    is_send_and_sync::<paging::MmioMapper<&'static lock::SpinLock<frames::FrameAllocator>>>();
};
