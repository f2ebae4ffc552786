//! The driver suite on recordings of QEMU's devices: with nothing but cargo.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use paravane_mock_hal::record::Recording;
use paravane_tests::scenario::fixture;
use paravane_tests::suite;

fn replay(name: &str) {
    let passed = suite::replay(&fixture::load(name).unwrap());
    assert!(passed.unwrap_or_else(|error| panic!("{name}: {error:#}")) > 0);
}

#[test]
fn vmxnet3() {
    replay("suite-vmxnet3");
}

#[test]
fn virtio_modern() {
    replay("suite-virtio-net-modern");
}

#[test]
fn virtio_packed() {
    replay("suite-virtio-net-packed");
}

#[test]
fn virtio_transitional() {
    replay("suite-virtio-net-transitional");
}

#[test]
fn every_recording_is_played() {
    let played = [
        "suite-vmxnet3",
        "suite-virtio-net-modern",
        "suite-virtio-net-packed",
        "suite-virtio-net-transitional",
    ];
    assert_eq!(suite::FIXTURES.map(|(name, ..)| name), played);
}

/// What the tests above would say if the driver had changed.
#[test]
fn an_edited_recording_is_a_difference_with_its_line() {
    let text = fixture::load("suite-vmxnet3").unwrap().to_string();
    let command = text.lines().find(|line| line.starts_with("write32 bar1+0x20 = ")).unwrap();
    let edited = text.replacen(command, "write32 bar1+0x20 = 0xcafe0099", 1);
    let error = suite::replay(&Recording::parse_edited(&edited).unwrap()).unwrap_err().to_string();
    assert!(error.contains("0xcafe0099") && error.contains(command.rsplit(' ').next().unwrap()), "{error}");
}
