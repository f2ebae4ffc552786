#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
// A file may come from anywhere, and packets do.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

extern crate alloc;

pub mod compiled;
mod decide;
mod diagnostic;
mod lex;
mod names;
pub mod packet;
mod parse;
mod print;
pub mod ranges;
mod resolve;
pub mod rules;
mod shadow;
mod tree;
mod value;

pub use decide::{Explanation, Mismatch};
pub use diagnostic::{Diagnostic, Place, Related, Severity};
pub use packet::{Addresses, Packet, Transport, Zone};
pub use rules::{Action, Decision, Rule, Rules, Verdict};
