#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]

#[cfg(feature = "alloc")]
extern crate alloc;

pub mod addr;
pub mod barrier;
pub mod dma;
pub mod entropy;
mod failed;
pub mod fault;
pub mod irq;
pub mod mmio;
mod parts;
#[cfg(feature = "alloc")]
pub mod pool;
pub mod port;
pub mod recover;
pub mod reg;
pub mod time;

pub use failed::Failed;
pub use parts::Parts;

#[cfg(test)]
mod bounds;
#[cfg(test)]
mod testing;

/// Everything a driver on a bus needs of the kernel: DMA memory, register mappings, time. Any value
/// that has the three is one, [`Parts`] for instance.
///
/// It may be used by several cores, for the parts of a driver are: its queues and its control half
/// have a clone each, and share memory.
///
/// A driver that needs less asks for the single traits.
pub trait Platform: dma::Dma + mmio::MmioMap + time::Clock + Send + Sync {}

impl<P: dma::Dma + mmio::MmioMap + time::Clock + Send + Sync> Platform for P {}
