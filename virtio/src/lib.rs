#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
// Half of what this crate computes with was written by a device.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

extern crate alloc;
// The storms call it so, wherever they are compiled.
#[cfg(test)]
extern crate self as paravane_virtio;

pub mod blk;
#[cfg(feature = "virtio-drivers")]
pub mod bridge;
mod config;
mod device;
mod error;
#[cfg(test)]
mod example;
pub mod feature;
pub mod init;
pub mod net;
mod queue;
mod ring;
pub mod rng;
pub mod status;
pub mod transport;
mod watch;

pub use error::{BringUpError, QueueResetError, SetUpError, StopError};
