//! Devices of the legacy interface, a network card and a disk: by ports, and on no bus.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests")]
#![allow(clippy::result_large_err, reason = "errors give the device back")]

mod mmio;
mod ports;
mod support;
