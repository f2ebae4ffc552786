//! A router between three links, on which hosts speak that nobody here wrote: packets are made by
//! `etherparse`, and read by `smoltcp`'s wire formats.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    unreachable_pub,
    reason = "tests"
)]

mod balance;
mod drops;
mod firewall;
mod forward;
mod neighbours;
mod straight;
mod vrrp;
mod world;
