#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod balance;
pub mod check;
pub mod drops;
pub mod filter;
pub mod flow;
pub mod icmp;
pub mod interface;
pub mod limit;
mod list;
pub mod nat;
pub mod neighbour;
pub mod packet;
pub mod path;
pub mod pool;
pub mod random;
pub mod route;
pub mod splice;
pub mod vrrp;
