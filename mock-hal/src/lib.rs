#![doc = include_str!("../README.md")]

mod clock;
mod config;
pub mod fault;
mod memory;
pub mod model;
mod platform;
pub mod record;
mod registers;

pub use clock::ManualClock;
pub use config::{ConfigSpace, FunctionSpace};
pub use memory::{AccessFault, FaultKind, Memory};
pub use platform::HeapPlatform;
pub use registers::{DeviceModel, ModelRegion, SharedModel, Width};
