//! The block device.
//!
//! | Part | Holds |
//! |---|---|
//! | [`Device`] (`device`, `start`) | claim, start, stop |
//! | [`BlkControl`] (`control`) | capacity, events, what was agreed |
//! | [`RequestQueue`] (`queue`) | the life of a request |
//! | `admit` | requests of several parts, or of no data |
//! | `lane` | from a part to a chain |
//! | `places` | where headers, ranges and statuses lie |
//! | `request` | its formats, and how its end is judged |
//! | `config`, [`features`] | what the device says about itself |
//!
//! One queue or several, many requests in each, done in any order.
//!
//! Spec: VIRTIO 1.2, 5.2 "Block Device".

mod admit;
mod config;
mod control;
mod device;
mod error;
pub mod features;
mod lane;
mod places;
mod queue;
mod request;
mod start;

pub use control::BlkControl;
pub use device::{Device, Running};
pub use error::StartError;
pub use features::{Allowed, BlkFeatures, Negotiated};
pub use queue::RequestQueue;
pub use start::Config;

pub use crate::error::{BringUpError, SetUpError, StopError};
pub use crate::watch::LOOK_EVERY;

/// The block device among the kinds of device.
pub const DEVICE_ID: u16 = 2;

/// Number of the first request queue.
pub(crate) const REQUEST_QUEUE: u16 = 0;
