//! Translation against packets that had the other ends from the start, with smoltcp's sums.

#![allow(clippy::cast_possible_truncation, reason = "tests")]

mod errors;
mod fragments;
mod packets;
mod ports;
mod storm;
mod support;
