#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod burst;
mod control;
mod forward;
mod frame;
mod offload;
mod queue;

pub use burst::{BURST_FRAMES, Burst};
pub use control::{Control, DeviceStats, Events, Link, MacAddr, NicInfo, RxFilter, RxFilterError};
pub use frame::{
    Frame, FrameHeader, FrameLayout, FramePool, FrameSegments, FrameSupply, HEADROOM_BYTES, PlainFrame,
};
pub use offload::{
    ChecksumRequest, Offloads, RxChecksum, RxHash, RxHashKind, Segmentation, SegmentationKind, TxOffload,
    VlanTag,
};
pub use queue::{RxCounters, RxQueue, TxCounters, TxQueue};
