//! The network device.
//!
//! | Part | Holds |
//! |---|---|
//! | [`Device`] (`device`, `start`) | claim, start, stop |
//! | [`NetControl`] (`control`) | link, events, what was agreed |
//! | [`RxQueue`], [`TxQueue`] (`rx`, `tx`) | the two lives of a frame |
//! | `in_place`, `in_turn` | what the two have lent to the device |
//! | [`RxQueues`], [`Pair`] (`pairs`) | several pairs of them |
//! | `control_queue`, `change` | what the device is told while it runs |
//! | `header`, `command`, `config`, [`features`] | formats, as values |
//! | `judge` | what may come in and what may go out, as rules |
//! | `large` | how a packet is cut that the device has put together |
//! | [`Config`] (`agree`) | what both sides say before they start |
//!
//! One receive and one transmit queue, or several pairs of them: what a queue does, it does by
//! itself.
//!
//! Spec: VIRTIO 1.2, 5.1 "Network Device".

mod agree;
mod change;
mod command;
mod config;
mod control;
mod control_queue;
mod device;
mod error;
pub mod features;
mod header;
mod in_place;
mod in_turn;
mod judge;
mod large;
mod pairs;
mod rx;
mod start;
mod tx;

pub use agree::Config;
pub use config::MIN_IP_MTU_BYTES;
pub use control::NetControl;
pub use control_queue::COMMAND_TIMEOUT;
pub use device::{Device, Running};
pub use error::StartError;
pub use features::{Allowed, Negotiated, NetFeatures};
pub use pairs::{Pair, RxQueues};
pub use rx::RxQueue;
pub use tx::TxQueue;

pub use crate::error::{BringUpError, SetUpError, StopError};
pub use crate::watch::LOOK_EVERY;

/// The network device among the kinds of device.
pub const DEVICE_ID: u16 = 1;

/// Number of the first receive queue.
pub(crate) const RX_QUEUE: u16 = 0;
/// Number of the first transmit queue.
pub(crate) const TX_QUEUE: u16 = 1;
