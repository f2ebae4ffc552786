#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod burst;
mod control;
mod device;
mod forward;
mod frame;
mod offload;
mod pool;
mod queue;
mod recover;
mod rss;
mod settings;

pub use burst::{BURST_FRAMES, Burst, burst_room};
pub use control::{Control, DeviceStats, Events, Link, MacAddr, NicInfo, RxFilter, RxFilterError};
pub use device::{Config, Device, Running};
pub use frame::{Frame, FrameHeader, FrameSegment, FrameSegmentMut, FrameSegments, HEADROOM_BYTES};
pub use offload::{
    ChecksumRequest, Offloads, RxChecksum, RxHash, RxHashKind, Segmentation, SegmentationKind, TxOffload,
    VlanTag,
};
pub use pool::{FrameLayout, FramePool, payload_bytes};
pub use queue::{RxCounters, RxQueue, TxCounters, TxQueue};
pub use recover::{Recover, Remains, Unrecovered};
pub use rss::{RSS_KEY_BYTES, RSS_TABLE_ENTRIES, Rss, RssKinds};
pub use settings::{
    Change, ChangeError, Coalescing, MAC_TABLE_ENTRIES, MacTable, RxOffloads, Settings, VlanSet,
};
