#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod addresses;
mod burst;
mod coalescing;
mod control;
mod device;
mod forward;
mod frame;
mod offload;
mod pairs;
mod pool;
mod queue;
mod recover;
mod rss;
mod settings;
mod software;

pub use addresses::{MAC_TABLE_ENTRIES, MacTable, VlanSet};
pub use burst::{BURST_FRAMES, Burst, burst_room};
pub use coalescing::{COALESCING_PAIRS, Coalescing, PairCoalescing};
pub use control::{Control, DeviceStats, Duplex, Events, Link, MacAddr, NicInfo, RxFilter, RxFilterError};
pub use device::{Config, Device, Running};
pub use frame::{Frame, FrameHeader, FrameSegment, FrameSegmentMut, FrameSegments, HEADROOM_BYTES};
pub use offload::{
    ChecksumRequest, Offloads, RxChecksum, RxHash, RxHashKind, Segmentation, SegmentationKind, Tunnel,
    TunnelKind, TxOffload, VlanTag,
};
pub use pairs::{Pair, RxQueues};
pub use pool::{FrameLayout, FramePool, payload_bytes};
pub use queue::{RxCounters, RxQueue, TxCounters, TxQueue};
pub use recover::{Recover, Remains, Unrecovered};
pub use rss::{HashReport, RSS_KEY_BYTES, RSS_TABLE_ENTRIES, Rss, RssKinds};
pub use settings::{Change, ChangeError, RxOffloads, Settings};
pub use software::{CutError, Segments};
