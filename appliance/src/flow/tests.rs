//! A table as its users see it.

#![allow(clippy::cast_possible_truncation, reason = "tests")]

mod flood;
mod memory;
mod model;
mod sources;
mod spliced;
mod states;
mod support;
