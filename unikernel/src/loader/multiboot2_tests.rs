use super::super::read;
use super::super::tests::{Bytes, START};
use super::*;
use crate::memory::MemoryMap;
use proptest::prelude::*;

const AT: PhysAddr = PhysAddr::new(START);

/// A tag, filled up to a multiple of 8.
fn tag(kind: u32, content: &[u8]) -> Vec<u8> {
    let size_bytes = PAIR_BYTES + u32::try_from(content.len()).unwrap();
    let mut tag = [Pair(kind, size_bytes).as_bytes(), content].concat();
    tag.resize(tag.len().next_multiple_of(8), 0xee);
    tag
}

/// A memory map of entries of `entry_bytes`.
fn map_tag(entry_bytes: u32, entries: &[(u64, u64, u32)]) -> Vec<u8> {
    let mut content = Pair(entry_bytes, 0).as_bytes().to_vec();
    for &(addr, size, kind) in entries {
        let end = content.len() + entry_bytes as usize;
        content.extend(MapEntry { addr, size, kind, reserved: 0 }.as_bytes());
        content.resize(end, 0xee);
    }
    tag(MEMORY_MAP, &content)
}

fn information(tags: &[Vec<u8>]) -> Bytes {
    let tags = tags.concat();
    let head = Pair(8 + u32::try_from(tags.len()).unwrap(), 0);
    Bytes([head.as_bytes(), tags.as_slice()].concat())
}

fn boot(tags: &[Vec<u8>]) -> Result<BootInfo, LoaderError> {
    read(&information(tags), AT, MAGIC)
}

const RAM: [(u64, u64, u32); 2] = [(0, 0x9_fc00, 1), (0x10_0000, 0x70_0000, 1)];

#[test]
fn everything_is_copied_out() {
    let tags = [
        tag(2, b"GRUB 2.06\0"),
        tag(COMMAND_LINE, b"admin=dhcp log=debug\0junk"),
        map_tag(24, &RAM),
        tag(ACPI_OLD, &[1; 20]),
        tag(ACPI_NEW, &[2; 36]),
        tag(END, &[]),
        tag(COMMAND_LINE, b"behind the end\0"),
    ];
    let information = information(&tags);
    let boot = read(&information, AT, MAGIC).unwrap();
    assert_eq!(boot.command_line.as_str(), "admin=dhcp log=debug");
    let rsdp = boot.rsdp.unwrap();
    let mut copy = [0; 36];
    assert!(information.read(rsdp, &mut copy) && copy == [2; 36], "the newer one, where it is");
    let end = START + information.0.len() as u64;
    assert_eq!(
        boot.memory.iter().collect::<Vec<_>>(),
        [
            (PhysRange::between(0, 0x9_fc00), MemoryKind::Ram),
            (PhysRange::between(0x10_0000, 0x80_0000), MemoryKind::Ram),
            (PhysRange::between(START, end), MemoryKind::AcpiTables),
        ],
        "nobody uses the memory where the RSDP is"
    );
}

#[test]
fn the_newer_rsdp_counts_in_either_order() {
    for kinds in [[ACPI_OLD, ACPI_NEW], [ACPI_NEW, ACPI_OLD]] {
        let tags = [map_tag(24, &RAM), tag(kinds[0], &[0; 40]), tag(kinds[1], &[0; 40]), tag(END, &[])];
        let newer = kinds.iter().position(|kind| *kind == ACPI_NEW).unwrap();
        let at = 8 + tags[..newer + 2].concat().len() as u64 - 40;
        assert_eq!(boot(&tags).unwrap().rsdp, Some(PhysAddr::new(START + at)));
    }
    let alone = boot(&[map_tag(24, &RAM), tag(ACPI_OLD, &[0; 20])]).unwrap();
    assert!(alone.rsdp.is_some());
}

#[test]
fn longer_entries_have_more_in_them() {
    let boot = boot(&[map_tag(40, &RAM)]).unwrap();
    assert_eq!(boot.memory.ram().count(), 2);
    assert_eq!((boot.rsdp, boot.command_line.as_str()), (None, ""));
}

#[test]
fn entries_of_no_length_are_no_map() {
    for entry_bytes in [0, 16, 23] {
        let map = tag(MEMORY_MAP, Pair(entry_bytes, 0).as_bytes());
        assert_eq!(boot(&[map]).unwrap_err(), LoaderError::NoMemoryMap { of: "Multiboot2 information" });
    }
}

#[test]
fn a_tag_shorter_than_its_head_is_the_last_one() {
    let tags = [map_tag(24, &RAM), Pair(2, 7).as_bytes().to_vec(), tag(COMMAND_LINE, b"late\0")];
    assert_eq!(boot(&tags).unwrap().command_line.as_str(), "");
}

/// What is behind the end is nobody's to keep, and may be written over.
#[test]
fn a_tag_that_ends_behind_all_is_not_believed() {
    let tags = [map_tag(24, &RAM), tag(ACPI_NEW, &[0; 40])];
    assert!(boot(&tags).unwrap().rsdp.is_some());
    let mut cut = information(&tags);
    let total_bytes = u32::try_from(cut.0.len()).unwrap() - 8;
    cut.0[..4].copy_from_slice(&total_bytes.to_le_bytes());
    assert_eq!(read(&cut, AT, MAGIC).unwrap().rsdp, None);
    for (kind, short) in [(ACPI_OLD, 19), (ACPI_NEW, 35)] {
        assert_eq!(boot(&[map_tag(24, &RAM), tag(kind, &vec![0; short])]).unwrap().rsdp, None);
    }
}

#[test]
fn a_full_map_has_no_room_for_the_rsdp() {
    let ranges: Vec<_> = (0..MemoryMap::CAPACITY as u64).map(|at| (at << 20, 1 << 12, 1)).collect();
    let boot = boot(&[map_tag(24, &ranges), tag(ACPI_NEW, &[0; 36])]).unwrap();
    assert_eq!(boot.rsdp, None, "what would be overwritten is not believed");
    assert!(boot.memory.is_cut());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the loader left: an answer, soon, and no panic.
    #[test]
    fn any_words_get_an_answer(words in proptest::collection::vec(0..80_u32, 2..200), entry_bytes in any::<u32>()) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let _ = read(&Bytes(bytes.clone()), AT, MAGIC);
        let map = [Pair(MEMORY_MAP, u32::MAX).as_bytes(), Pair(entry_bytes, 0).as_bytes(), &bytes].concat();
        let _ = boot(&[map]);
    }
}
