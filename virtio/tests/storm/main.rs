//! Storms: a device that does anything at any time, within the memory that it has, and a driver
//! that lives through it.
//!
//! | Part | Holds |
//! |---|---|
//! | `runner` | one storm: hostile steps, restarts, recoveries, an honest device at the end |
//! | `kind` | what it has to know of a kind of device |
//! | `net`, `blk` | the kinds; `ledger` is what was asked of a disk |
//! | `place` | where the device is: on a PCI bus, at its ports, or on no bus |
//! | `looks` | which words a driver may look at twice |
//!
//! A step is one call into the driver or one thing that the device does. After each step: no call
//! waited longer than its deadline by the platform's clock, and the memory that both sides reach is
//! what they may reach (the platform ends the test otherwise). After each stop of the driver:
//! everything came home, for what a device keeps that would not be reset is kept in parts until it
//! is; what no lie excuses was not done; and no word that names or measures a buffer was loaded
//! twice in a call. After each storm the driver, started again on the same device, now honest, does
//! all that is asked of it.
//!
//! Half of the restarts are recoveries, by the one call: after what broke a queue, after the
//! device asked for a reset, or out of nothing. A device that tells the truth comes back with the
//! features, settings, queues, interrupts, cache and memory that it had, and was told what it had
//! been told; one that lies may come back in part, and still nothing is lost, or given back twice.
//! The honest device at the end asks for a reset, lies or hangs once in the middle of its work,
//! recovers, and does all that is asked of it once more.
//!
//! Words change under the driver in all of them, between two loads of a call and, in two starts of
//! three, before the first one.
//!
//! The steps that `PARAVANE_STORM_STEPS` asks for, a million in `ci/test`, are those of each mix,
//! of which there are ten: two kinds of device, two buses, two formats of the ring; and both kinds
//! by the ports of the legacy interface, which has one format. How to see a storm again:
//! `paravane_mock_hal::storms`.
//!
//! `src/example/storm.rs` has five more of a kind that is built with the crate's own tests alone;
//! it shares all but `net`, `blk` and `ledger`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(clippy::result_large_err, reason = "errors give the device back")]
#![allow(unreachable_pub, reason = "one binary")]

mod blk;
mod kind;
mod ledger;
mod looks;
mod net;
mod place;
mod runner;

use paravane_mock_hal::model::virtio::{Blk, Net};

use blk::Disk;
use net::Nic;
use place::{OnMmio, OnPci, OnPorts};
use runner::{Rings, storm};

#[test]
fn a_nic_on_pci_with_split_rings() {
    storm::<Nic, OnPci<Net>>(Rings::Split);
}

#[test]
fn a_nic_on_pci_with_packed_rings() {
    storm::<Nic, OnPci<Net>>(Rings::Packed);
}

#[test]
fn a_nic_on_no_bus_with_split_rings() {
    storm::<Nic, OnMmio<Net>>(Rings::Split);
}

#[test]
fn a_nic_on_no_bus_with_packed_rings() {
    storm::<Nic, OnMmio<Net>>(Rings::Packed);
}

#[test]
fn a_nic_by_its_ports() {
    storm::<Nic, OnPorts<Net>>(Rings::Split);
}

#[test]
fn a_disk_by_its_ports() {
    storm::<Disk, OnPorts<Blk>>(Rings::Split);
}

#[test]
fn a_disk_on_pci_with_a_split_ring() {
    storm::<Disk, OnPci<Blk>>(Rings::Split);
}

#[test]
fn a_disk_on_pci_with_a_packed_ring() {
    storm::<Disk, OnPci<Blk>>(Rings::Packed);
}

#[test]
fn a_disk_on_no_bus_with_a_split_ring() {
    storm::<Disk, OnMmio<Blk>>(Rings::Split);
}

#[test]
fn a_disk_on_no_bus_with_a_packed_ring() {
    storm::<Disk, OnMmio<Blk>>(Rings::Packed);
}
