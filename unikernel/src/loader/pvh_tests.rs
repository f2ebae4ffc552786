use super::super::tests::{Bytes, START};
use super::super::{LoaderError, read};
use super::*;
use crate::memory::{MemoryKind, MemoryMap};
use paravane_hal_x86_64::range::PhysRange;
use proptest::prelude::*;

const CMDLINE_AT: u64 = START + 0x200;
const MAP_AT: u64 = START + 0x100;

fn start_info(version: u32, cmdline: u64, map: u64, entries: u32) -> Vec<u8> {
    let info = StartInfo {
        magic: MAGIC,
        version,
        cmdline_paddr: cmdline,
        rsdp_paddr: 0xf_5a40,
        ..StartInfo::default()
    };
    let map = MapInfo { paddr: map, entries, reserved: 0 };
    [info.as_bytes(), map.as_bytes()].concat()
}

/// A start info, two ranges, and `line` without a zero after it.
fn loaded(line: &[u8]) -> Bytes {
    let mut bytes = start_info(1, CMDLINE_AT, MAP_AT, 2);
    bytes.resize(0x100, 0);
    bytes.extend(MapEntry { addr: 0, size: 0x9_fc00, kind: 1, reserved: 0 }.as_bytes());
    bytes.extend(MapEntry { addr: 0xffff_0000, size: 0x1_0000, kind: 2, reserved: 7 }.as_bytes());
    bytes.resize(0x200, 0);
    bytes.extend(line);
    Bytes(bytes)
}

#[test]
fn everything_is_copied_out() {
    let boot = read(&loaded(b"admin=dhcp log=debug\0junk"), PhysAddr::new(START), 0).unwrap();
    assert_eq!(boot.command_line.as_str(), "admin=dhcp log=debug");
    assert_eq!(boot.rsdp, Some(PhysAddr::new(0xf_5a40)));
    let map: Vec<_> = boot.memory.iter().collect();
    assert_eq!(
        map,
        [
            (PhysRange::between(0, 0x9_fc00), MemoryKind::Ram),
            (PhysRange::between(0xffff_0000, 0x1_0000_0000), MemoryKind::Reserved)
        ]
    );
}

#[test]
fn the_magic_comes_first() {
    let mut memory = loaded(b"\0");
    memory.0[0] ^= 1;
    let error = read(&memory, PhysAddr::new(START), 0).unwrap_err();
    assert_eq!(error, LoaderError::Unknown { at: PhysAddr::new(START), found: MAGIC ^ 1, number: 0 });
    assert!(matches!(
        read(&memory, PhysAddr::new(0), 0),
        Err(LoaderError::Unreadable { what: "the loader's structure", .. })
    ));
}

#[test]
fn a_line_without_an_end_stops_at_the_end_of_memory() {
    assert_eq!(read(&loaded(b"quiet"), PhysAddr::new(START), 0).unwrap().command_line.as_str(), "quiet");
    assert_eq!(read(&loaded(b""), PhysAddr::new(START), 0).unwrap().command_line.as_str(), "");
}

#[test]
fn old_and_empty_maps_are_refused() {
    let old = Bytes(start_info(0, 0, MAP_AT, 2));
    assert_eq!(
        read(&old, PhysAddr::new(START), 0).unwrap_err(),
        LoaderError::NoMemoryMap { of: "hvm_start_info" }
    );
    let empty = Bytes(start_info(1, 0, MAP_AT, 0));
    assert_eq!(
        read(&empty, PhysAddr::new(START), 0).unwrap_err(),
        LoaderError::NoMemoryMap { of: "hvm_start_info" }
    );
    let nowhere = Bytes(start_info(1, 0, u64::MAX, 9));
    assert!(matches!(
        read(&nowhere, PhysAddr::new(START), 0),
        Err(LoaderError::Unreadable { what: "memory map", .. })
    ));
}

#[test]
fn a_map_that_is_too_long_is_cut() {
    let mut bytes = start_info(1, 0, MAP_AT, u32::MAX);
    bytes.resize(0x100, 0);
    for index in 0..1000u64 {
        bytes.extend(MapEntry { addr: index << 12, size: 1 << 12, kind: 1, reserved: 0 }.as_bytes());
    }
    let boot = read(&Bytes(bytes), PhysAddr::new(START), 0).unwrap();
    assert!(boot.memory.is_cut());
    assert_eq!(boot.memory.iter().count(), MemoryMap::CAPACITY);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the loader left: an answer, soon, and no panic.
    #[test]
    fn any_bytes_get_an_answer(mut bytes in proptest::collection::vec(any::<u8>(), 4..600), cut in 0..600usize) {
        bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes.truncate(cut.max(4));
        let _ = read(&Bytes(bytes), PhysAddr::new(START), 0);
    }

    /// And a map of any numbers.
    #[test]
    fn any_ranges_are_taken(entries in proptest::collection::vec(any::<(u64, u64, u32)>(), 1..80)) {
        let mut bytes = start_info(1, 0, MAP_AT, u32::try_from(entries.len()).unwrap());
        bytes.resize(0x100, 0);
        for &(addr, size, kind) in &entries {
            bytes.extend(MapEntry { addr, size, kind, reserved: 0 }.as_bytes());
        }
        let boot = read(&Bytes(bytes), PhysAddr::new(START), 0).unwrap();
        prop_assert_eq!(boot.memory.is_cut(), entries.len() > MemoryMap::CAPACITY);
        let _ = crate::memory::plan(&boot.memory, PhysRange::between(0x10_0000, 0x18_0000), &mut |_| {});
    }
}
