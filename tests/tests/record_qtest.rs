//! Whether QEMU's devices, and our drivers on them, still do what was recorded. Skipped, with a
//! word about why, where QEMU is not installed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use paravane_mock_hal::record::{Entry, Operation, Recording};
use paravane_qtest_hal::{Machine, QtestError};
use paravane_tests::scenario::fixture::{self, DEVICES};
use paravane_tests::scenario::life;
use paravane_tests::scenario::qtest::Live;
use paravane_tests::scenario::replay::Replay;

/// What the driver writes to registers, in order. How often it looks at one that changes by itself
/// is another matter each time.
fn writes(recording: &Recording) -> Vec<String> {
    let is_write =
        |entry: &&Entry| matches!(entry, Entry::Access(access) if access.operation == Operation::Write);
    recording.entries().iter().filter(is_write).map(ToString::to_string).collect()
}

#[test]
fn a_device_of_today_is_driven_as_the_recorded_one() {
    for name in ["vmxnet3-pc", "vmxnet3-offloads", "virtio-net-modern", "virtio-net-mmio", "virtio-blk"] {
        let device = DEVICES.into_iter().find(|device| device.name == name).unwrap();
        let stage = match Live::start(&device.setup()) {
            Ok(stage) => stage,
            Err(error) if error.downcast_ref().is_some_and(QtestError::may_skip) => {
                println!("skipped: {error}");
                return;
            }
            Err(error) => panic!("{error:#}"),
        };
        life(&stage, device.driver).unwrap();
        let today = stage.finish(device.device, "a test").unwrap();
        let replay = Replay::new(&today);
        life(&replay, device.driver).unwrap();
        replay.replayer().finish().unwrap();

        let kept = fixture::load(name).unwrap();
        // Another QEMU may place things elsewhere.
        if kept.provenance_of("qemu") == Some(Machine::qemu_version().unwrap().as_str()) {
            assert_eq!(writes(&today), writes(&kept), "{name}: run ci/record, and look at the difference");
        }
    }
}
