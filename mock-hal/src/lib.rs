#![doc = include_str!("../README.md")]

mod builder;
mod checksum;
mod clock;
mod device;
pub mod fault;
mod interrupts;
mod loads;
mod memory;
pub mod model;
pub mod pcap;
pub mod pci;
mod platform;
mod ports;
pub mod record;
mod registers;
pub mod storms;
mod watchdog;
pub mod wire;

pub use builder::Builder;
pub use clock::ManualClock;
pub use device::DeviceMemory;
pub use interrupts::{Interrupts, message};
pub use loads::{ChangedLoad, ChangingLoads};
pub use memory::{AccessFault, DeviceWrite, FaultKind, Lease, Memory};
pub use pci::{FunctionSpace, PciDevice, PciHost};
pub use platform::MockPlatform;
pub use registers::{DeviceModel, ModelRegion, SharedModel, Width};
