#![doc = include_str!("../README.md")]

mod clock;
mod memory;
mod platform;
mod registers;

pub use clock::ManualClock;
pub use memory::{AccessFault, FaultKind, Memory};
pub use platform::HeapPlatform;
pub use registers::{DeviceModel, ModelRegion, SharedModel, Width};
