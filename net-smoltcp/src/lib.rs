#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod checksum;
mod phy;
mod scratch;

pub use phy::{Batch, Phy, PhyCounters, RxFrame, TxFrame};
