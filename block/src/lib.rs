#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
// Lengths and counts here meet what a device said.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

extern crate alloc;

mod adapt;
mod blocking;
mod buffer;
mod control;
mod data;
mod device;
mod disk;
mod future;
mod in_flight;
mod parts;
mod queue;
mod ranges;
mod recover;
mod request;
mod shape;

#[cfg(feature = "embedded-io")]
pub use adapt::bytes::Bytes;
#[cfg(feature = "embedded-sdmmc")]
pub use adapt::sdmmc::SharedDisk;
pub use blocking::{Disk, DiskError};
pub use buffer::{BlockBuffer, BlockLayout, BlockPool, BufferHeader};
pub use control::{Control, Events};
pub use data::{Data, Piece};
pub use device::{Config, Device, Running};
pub use disk::{Capacity, DiskInfo, Limits, Rules, SECTOR_BYTES, Transfer};
pub use future::{Pending, Tasks};
pub use in_flight::InFlight;
pub use parts::{Part, PartSegment, Parts, Segments, TooFragmented};
pub use queue::{QueueCounters, RequestQueue};
pub use ranges::{RangeLimits, RangeParts, SectorRange};
pub use recover::{Recover, Remains, Unrecovered};
pub use request::{
    Completion, ID_BYTES, LIFETIME_BYTES, Operation, Request, RequestError, RequestFault, SubmitError,
};
pub use shape::{Geometry, Lifetime, Reserve, Topology};
