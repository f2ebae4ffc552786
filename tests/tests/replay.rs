//! Drivers against recordings of real devices. Needs no QEMU.
//!
//! What is checked here and not while recording: the driver of today makes the accesses that the recorded one made.

#![allow(clippy::unwrap_used, reason = "tests")]

use paravane_mock_hal::record::Recording;
use paravane_tests::scenario::fixture::{self, NICS};
use paravane_tests::scenario::nic::life;
use paravane_tests::scenario::replay::Replay;

#[test]
fn drivers_find_the_devices_that_were_recorded() {
    for nic in NICS {
        let recording = fixture::load(nic.name).unwrap();
        let stage = Replay::new(&recording);
        life(&stage, nic.driver).unwrap();
        stage.replayer().finish().unwrap();
        let memory = stage.replayer().memory();
        assert_eq!((memory.regions(), memory.mappings()), (0, 0), "{}: memory is left", nic.name);
    }
}

#[test]
fn a_recording_says_where_it_comes_from() {
    for nic in NICS {
        let recording = fixture::load(nic.name).unwrap();
        assert_eq!(recording.provenance_of("device"), Some(nic.device), "{}", nic.name);
        assert_eq!(recording.provenance_of("made-by"), Some(format!("ci/record {}", nic.name).as_str()));
        for name in ["qemu", "command-line", "date"] {
            assert!(
                recording.provenance_of(name).is_some_and(|value| !value.is_empty()),
                "{}: {name}",
                nic.name
            );
        }
    }
}

/// Plays `name` back after `change`, and gives the panic's words.
fn what_a_changed_recording_says(name: &str, change: impl Fn(&str) -> String) -> String {
    let text = std::fs::read_to_string(fixture::path(name)).unwrap();
    let changed = change(&text);
    assert_ne!(changed, text, "the change finds its place");
    let recording = Recording::parse(&changed).unwrap();
    let driver = NICS.iter().find(|nic| nic.name == name).unwrap().driver;
    let played = std::panic::catch_unwind(|| {
        let stage = Replay::new(&recording);
        let failed = life(&stage, driver).err().map(|error| format!("{error:#}"));
        failed.unwrap_or_else(|| stage.replayer().finish().unwrap_err().to_string())
    });
    match played {
        Ok(said) => said,
        Err(panic) => panic.downcast_ref::<String>().cloned().unwrap_or_default(),
    }
}

#[test]
fn another_doorbell_is_a_difference() {
    let said = what_a_changed_recording_says("vmxnet3-q35", |text| {
        text.replacen("write32 bar0+0x600 = 0x13\n", "write32 bar0+0x600 = 0x14\n", 1)
    });
    assert!(said.contains("expected: write32 bar0+0x600 = 0x14"), "{said}");
    assert!(said.contains("     got: write32 bar0+0x600 = 0x13"), "{said}");
}

#[test]
fn another_device_is_a_difference() {
    let said = what_a_changed_recording_says("virtio-net-modern", |text| {
        text.replacen("0x10411af4", "0x10421af4", 1)
    });
    assert!(said.contains("no such device on the bus"), "{said}");
}

#[test]
fn a_device_that_wrote_something_else_is_noticed() {
    // The length of the first frame received, as the device wrote it.
    let said = what_a_changed_recording_says("vmxnet3-q35", |text| {
        text.replacen("= 3c00000000000080", "= 3d00000000000080", 1)
    });
    assert!(said.contains("61 bytes, expected 60"), "{said}");
}
