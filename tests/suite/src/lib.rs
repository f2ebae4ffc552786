//! One set of driver tests, run unchanged on every platform that there is.
//!
//! | platform | who answers the driver | where it is run |
//! |---|---|---|
//! | model | a model of the device | `tests/tests/suite_model.rs` |
//! | replay | a recording | `tests/tests/suite_replay.rs` |
//! | qtest | QEMU's device, with nothing booted | `tests/tests/suite_qtest.rs` |
//! | bare metal | QEMU's device, below a booted image | `paravane-guest-suite` of `unikernel`, cases `suite/…` of `guest-matrix` |
//!
//! What differs is behind [`Environment`]: memory and registers, a cable with a [`peer`] at its
//! other end, somebody who unplugs the cable. The tests know a driver as a
//! [`Device`](paravane_net::Device), and a device by nothing but what its driver says. They panic
//! about nothing and need no standard library: a failure is a value with a sentence in it.
//!
//! A platform that is a recording answers only what was asked when it was made; so every test asks
//! in the same order each time, and waits by looking.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod cases;
mod environment;
mod nic;
pub mod peer;

use alloc::string::{String, ToString as _};
use core::fmt;

use paravane_pci::{Function, PciAddress};
use paravane_virtio::net as virtio_net;
use paravane_virtio::transport::pci;

pub use environment::Environment;

/// A test did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which.
    pub case: &'static str,
    /// What was expected and what was seen.
    pub reason: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.case, self.reason)
    }
}

impl core::error::Error for Failure {}

/// Runs all tests on the NIC at `address`, whichever driver it takes; how many there were.
///
/// # Errors
///
/// [`Failure`]: the first test that did not pass. Nothing is said about the others, and the device
/// may be left running.
pub fn run<E: Environment>(environment: &mut E, address: PciAddress) -> Result<usize, Failure> {
    let fails = |reason: String| Failure { case: "find the driver", reason };
    let function = Function::claim(environment.config(), address);
    // Only its identity is wanted; whoever claims it to keep it is a driver.
    let ids = function.map_err(|error| fails(alloc::format!("{error}")))?.ids();
    if paravane_vmxnet3::is_vmxnet3(&ids) {
        cases::run(environment, address, |function, platform| {
            paravane_vmxnet3::Device::new(function, platform).map_err(|failed| failed.to_string())
        })
    } else if pci::device_id(&ids) == Some(virtio_net::DEVICE_ID) {
        cases::run(environment, address, |function, platform| {
            pci::open(function, platform, virtio_net::Device::new).map_err(|failed| failed.to_string())
        })
    } else {
        Err(fails(alloc::format!("{address} {ids} is none that there is a driver for")))
    }
}
