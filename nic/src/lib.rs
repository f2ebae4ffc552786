#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![expect(
    clippy::result_large_err,
    reason = "what was given comes back by value; a NIC is started a few times in a boot"
)]

extern crate alloc;

mod device;
mod error;
mod interrupts;
mod kind;
mod nic;
mod queues;

pub use device::Device;
pub use error::NicError;
pub use interrupts::{InterruptPlan, IrqMode, Vectors};
pub use kind::Kind;
pub use nic::Nic;
pub use paravane_net::Config;
pub use paravane_virtio::transport::any::Place;
pub use queues::{NicControl, NicRx, NicTx, Queues};
