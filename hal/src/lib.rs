#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod addr;
pub mod barrier;
pub mod dma;
pub mod fault;
pub mod irq;
pub mod mmio;
pub mod pool;
pub mod port;
pub mod reg;
pub mod time;

#[cfg(test)]
mod testing;

/// Everything a driver on a bus needs of the kernel: DMA memory, register mappings, time. Any value that has the three is one.
///
/// A driver that needs less asks for the single traits.
pub trait Platform: dma::Dma + mmio::MmioMap + time::Clock {}

impl<P: dma::Dma + mmio::MmioMap + time::Clock> Platform for P {}
