//! Drivers against recordings of real devices. Needs no QEMU.
//!
//! What is checked here and not while recording: the driver of today makes the accesses that the
//! recorded one made.

#![allow(clippy::unwrap_used, reason = "tests")]

use paravane_hal::addr::PhysAddr;
use paravane_mock_hal::record::{ParseReason, Recording, Replayer};
use paravane_pci::EcamEntry;
use paravane_tests::scenario::firmware::ecam_of;
use paravane_tests::scenario::fixture::{self, DEVICES, MACHINES};
use paravane_tests::scenario::life;
use paravane_tests::scenario::replay::Replay;
use paravane_tests::scenario::topology::{Seen, survey};

#[test]
fn drivers_find_the_devices_that_were_recorded() {
    for device in DEVICES {
        let recording = fixture::load(device.name).unwrap();
        let stage = Replay::new(&recording);
        life(&stage, device.driver).unwrap();
        stage.replayer().finish().unwrap();
        let memory = stage.replayer().memory();
        assert_eq!((memory.regions(), memory.mappings()), (0, 0), "{}: memory is left", device.name);
    }
}

/// `fixtures/README.md` leaves to them when they were made and by what.
#[test]
fn each_recording_says_when_and_by_what_it_was_made() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures");
    let mut count = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rec") {
            let text = std::fs::read_to_string(&path).unwrap();
            let head: Vec<&str> = text.lines().take(10).collect();
            for key in ["date: 20", "qemu: QEMU emulator version ", "command-line: qemu-system-"] {
                assert!(head.iter().any(|line| line.starts_with(key)), "{}: no {key}", path.display());
            }
            count += 1;
        }
    }
    assert_eq!(count, 16);
}

/// Surveys the recorded machine `name`.
fn survey_of(name: &str) -> (Vec<Seen>, Recording) {
    let recording = fixture::load(name).unwrap();
    let replayer = Replayer::new(recording.clone());
    replayer.step("firmware's tables");
    let seen = survey(&replayer.config(), |step| {
        replayer.step(step);
        Ok(())
    });
    replayer.finish().unwrap();
    (seen.unwrap(), recording)
}

/// Where `ids` are in `seen`, behind how many bridges, with how many BARs and capabilities.
fn place_of(seen: &[Seen], ids: (u16, u16)) -> Option<(String, usize, usize, usize)> {
    let Seen { address, depth, bars, capabilities, .. } = seen.iter().find(|seen| seen.ids == ids)?;
    Some((address.to_string(), *depth, *bars, *capabilities))
}

const VMXNET3: (u16, u16) = (0x15ad, 0x07b0);

#[test]
fn a_pc_has_everything_on_one_bus_and_no_ecam() {
    let (seen, recording) = survey_of("machine-pc");
    assert_eq!(place_of(&seen, VMXNET3), Some(("00:04.0".to_owned(), 0, 3, 2)));
    assert_eq!(place_of(&seen, (0x1af4, 0x1000)), Some(("00:05.0".to_owned(), 0, 3, 6)));
    assert_eq!(ecam_of(&recording).unwrap(), Some(vec![]), "tables, and no MCFG among them");
}

#[test]
fn devices_behind_bridges_are_found_on_a_q35() {
    let (seen, recording) = survey_of("machine-q35");
    assert_eq!(place_of(&seen, (0x1af4, 0x1041)), Some(("01:00.0".to_owned(), 1, 2, 8)));
    assert_eq!(place_of(&seen, VMXNET3), Some(("03:03.0".to_owned(), 2, 3, 2)));
    let ecam = EcamEntry { base: PhysAddr::new(0xb000_0000), segment: 0, buses: 0..=255 };
    assert_eq!(ecam_of(&recording).unwrap(), Some(vec![ecam]));
}

#[test]
fn a_microvm_has_ecam_and_no_table_that_says_so() {
    let (seen, recording) = survey_of("machine-microvm");
    assert_eq!(place_of(&seen, (0x1af4, 0x1041)), Some(("00:01.0".to_owned(), 0, 2, 6)));
    assert_eq!(place_of(&seen, VMXNET3), Some(("00:02.0".to_owned(), 0, 3, 4)));
    assert_eq!(ecam_of(&recording).unwrap(), Some(vec![]));
}

/// Takes line `number` out of a recording.
fn without_line(text: &str, number: usize) -> String {
    let kept = text.lines().enumerate().filter(|(at, _)| *at != number);
    kept.map(|(_, line)| line).collect::<Vec<_>>().join("\n")
}

/// Where QEMU has them: on PCI, for the first queue and the second, and in memory.
const VIRTIO_DOORBELLS: [&str; 3] = ["write16 bar4+0x3000", "write16 bar4+0x3004", "write32 mmio0+0x50"];

#[test]
fn an_access_left_out_is_a_difference_and_nothing_hangs() {
    for name in ["vmxnet3-q35", "vmxnet3-offloads", "virtio-net-modern", "virtio-net-mmio", "virtio-blk"] {
        let driver = DEVICES.iter().find(|device| device.name == name).unwrap().driver;
        let text = std::fs::read_to_string(fixture::path(name)).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let start = lines.iter().position(|line| line.starts_with("step")).unwrap();
        let mut missed = 0;
        // Every kind of line comes up, in every part.
        for number in (start..lines.len() - 1).step_by(13).filter(|number| !lines[*number].is_empty()) {
            let recording = Recording::parse_edited(&without_line(&text, number)).unwrap();
            let stage = Replay::lenient(&recording);
            let failed = life(&stage, driver).is_err();
            let differs = stage.replayer().finish().is_err();
            let is_access = ["config", "read", "write"].iter().any(|word| lines[number].starts_with(word));
            // What the device was seen to write may have been there before, and a look is no event.
            // Nor is a doorbell owed, where the device's next word says that it looks anyway.
            let is_owed = is_access && !VIRTIO_DOORBELLS.iter().any(|place| lines[number].contains(place));
            assert!(failed || differs || !is_owed, "{name} without {}", lines[number]);
            missed += usize::from(failed || differs);
        }
        assert!(missed > 30, "{name}: {missed}");
    }
}

#[test]
fn a_recording_cut_anywhere_is_an_error_with_a_line() {
    for device in DEVICES {
        let text = std::fs::read_to_string(fixture::path(device.name)).unwrap();
        for cut in (0..text.len() - 1).step_by(501) {
            let error = Recording::parse(&text[..cut]).unwrap_err();
            let lines = text[..cut].lines().count().max(1);
            assert!((lines - 1..=lines).contains(&error.line), "{error}, {lines} lines are left");
        }
    }
}

#[test]
fn a_recording_with_another_value_is_an_error_at_its_end() {
    for device in DEVICES {
        let text = std::fs::read_to_string(fixture::path(device.name)).unwrap();
        let edited = text.replacen(" = 0x0\n", " = 0x1\n", 1);
        let error = Recording::parse(&edited).unwrap_err();
        assert_eq!(error.line, text.lines().count(), "{error}");
        assert!(matches!(error.reason, ParseReason::Sum { .. }), "{error}");
    }
}

#[test]
fn every_recording_is_in_the_index_and_short() {
    const LIMIT_BYTES: u64 = 1 << 20;
    let folder = fixture::path("any").parent().unwrap().to_owned();
    let index = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let mut files = 0;
    for file in std::fs::read_dir(&folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "rec") {
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(index.contains(&format!("`{name}`")), "{name} is not in the index");
            assert!(path.metadata().unwrap().len() < LIMIT_BYTES, "{name} is too long to be read");
            files += 1;
        }
    }
    assert!(files >= DEVICES.len() + MACHINES.len(), "{files} recordings");
}

#[test]
fn a_recording_says_where_it_comes_from() {
    for device in DEVICES {
        let recording = fixture::load(device.name).unwrap();
        assert_eq!(recording.provenance_of("device"), Some(device.device), "{}", device.name);
        assert_eq!(recording.provenance_of("made-by"), Some(format!("ci/record {}", device.name).as_str()));
        for name in ["qemu", "command-line", "date"] {
            assert!(
                recording.provenance_of(name).is_some_and(|value| !value.is_empty()),
                "{}: {name}",
                device.name
            );
        }
    }
}

/// Plays `name` back after `change`, and gives the panic's words.
fn what_a_changed_recording_says(name: &str, change: impl Fn(&str) -> String) -> String {
    let text = std::fs::read_to_string(fixture::path(name)).unwrap();
    let changed = change(&text);
    assert_ne!(changed, text, "the change finds its place");
    let recording = Recording::parse_edited(&changed).unwrap();
    let driver = DEVICES.iter().find(|device| device.name == name).unwrap().driver;
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
