#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
// The device is a stranger: what it writes neither indexes nor overflows.
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

extern crate alloc;

mod assemble;
mod batch;
mod capability;
mod chain;
mod change;
mod cmd_info;
mod coalesce;
mod command;
mod config;
mod control;
mod data_ring;
mod desc;
mod device;
mod error;
mod event;
mod filter;
mod headers;
mod intr;
mod large;
mod memory;
mod offload;
mod pairs;
mod plan;
mod regs;
mod revision;
mod ring;
mod rss;
mod rx;
mod rx_ring;
mod shared;
mod start;
mod stats;
mod stop;
mod table;
mod tunnel;
mod tx;
mod wake;

pub use config::Config;
pub use control::VmxControl;
pub use device::{Device, is_vmxnet3};
pub use error::{BringUpError, ConfigError, ShutDownError, StartError, StopError};
pub use event::stop_reason;
pub use intr::WantedInterrupts;
pub use pairs::{Pair, RxQueues};
pub use rx::RxQueue;
pub use start::Running;
pub use tunnel::TunnelPorts;
pub use tx::TxQueue;
pub use wake::WakeUp;
