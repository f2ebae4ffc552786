//! Who of several machines has the addresses that their network knows: VRRP, version 3.
//!
//! ```text
//!                  start                     nobody was heard for a while
//!   Initialize ------------> Backup ------------------------------------> Active
//!        ^                     ^  <---------------------------------------   |
//!        +---------------------+    somebody of a higher priority was heard  |
//!        +-------------------------------------------------------------------+ stop
//! ```
//!
//! [`Instance`] says when something is to be sent, and whether the addresses are this machine's
//! now; [`Advertisement`] is what is sent. Time comes in, and nothing here knows a NIC. Virtual
//! addresses are reached at the machine's own MAC address, as a switch that allows no other wants
//! it: who becomes active announces them (gratuitous ARP, unsolicited neighbour advertisements).
//!
//! An instance is of one IP version; a machine that has addresses of both has two. [`Instances`]
//! are all that a machine has, and which of them move together.
//! [`Path`](crate::path::Path::set_vrrp) has them speak and listen, and has their addresses come
//! and go.
//!
//! Spec: RFC 9568 "Virtual Router Redundancy Protocol (VRRP) Version 3 for IPv4 and IPv6".

#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

mod addresses;
mod advertisement;
mod instance;
mod instances;
mod member;

pub use addresses::{Addresses, MAX_ADDRESSES};
pub use advertisement::{Advertisement, Checksum, Malformed, PROTOCOL_VRRP};
pub use instance::{Instance, Output, Role, Settings, SettingsError};
pub use instances::Instances;
pub(crate) use instances::Task;
pub use member::{Counters, Event, Member, State};

#[cfg(test)]
mod tests;
