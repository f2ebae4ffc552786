//! The network device.
//!
//! | Part | Holds |
//! |---|---|
//! | [`Device`] (`device`, `start`) | claim, start, stop |
//! | [`NetControl`] (`control`) | link, events, what was agreed |
//! | [`RxQueue`], [`TxQueue`] (`rx`, `tx`) | the two lives of a frame |
//! | `in_place`, `in_turn` | what the two have lent to the device |
//! | `header`, `config`, [`features`] | formats, as values |
//! | `judge` | what may come in and what may go out, as rules |
//! | [`Config`] (`agree`) | what both sides say before they start |
//!
//! One receive and one transmit queue. That there are these two and no more, [`Running`] and
//! bring-up count on; a queue by itself does not.
//!
//! Spec: VIRTIO 1.2, 5.1 "Network Device".

mod agree;
mod config;
mod control;
mod device;
mod error;
pub mod features;
mod header;
mod in_place;
mod in_turn;
mod judge;
mod rx;
mod start;
mod tx;

pub use agree::Config;
pub use config::MIN_IP_MTU_BYTES;
pub use control::NetControl;
pub use device::{Device, Running};
pub use error::StartError;
pub use features::{Allowed, Negotiated, NetFeatures};
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
