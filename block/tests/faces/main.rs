//! The faces over a queue: waiting, futures, and other crates' traits, on a disk in memory.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, reason = "tests")]

#[cfg(all(feature = "embedded-io", feature = "embedded-sdmmc", feature = "gpt_disk_io"))]
mod adapters;
mod blocking;
mod future;
mod ram;
