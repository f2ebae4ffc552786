use super::*;
use proptest::prelude::*;

const MIB: u64 = 1 << 20;

fn map(entries: &[(u64, u64, MemoryKind)]) -> MemoryMap {
    let mut map = MemoryMap::EMPTY;
    for &(start, end, kind) in entries {
        assert!(map.push(PhysRange::between(start, end), kind));
    }
    map
}

fn image() -> PhysRange {
    PhysRange::between(MIB, 2 * MIB)
}

/// The heap and the frames that a plan gives.
fn planned(map: &MemoryMap) -> Result<(PhysRange, Vec<PhysRange>), TooLittleMemory> {
    let mut frames = Vec::new();
    let heap = plan(map, image(), &mut |range| frames.push(range))?;
    Ok((heap, frames))
}

use MemoryKind::{AcpiTables, Ram, Reserved};

#[test]
fn a_pc_with_256_mib() {
    let pc = map(&[
        (0, 0x9_fc00, Ram),
        (0x9_fc00, 0xa_0000, Reserved),
        (0xf_0000, MIB, Reserved),
        (MIB, 0xffe_0000, Ram),
        (0xffe_0000, 256 * MIB, Reserved),
        (0xfffc_0000, 1 << 32, Reserved),
    ]);
    let (heap, frames) = planned(&pc).unwrap();
    assert_eq!(heap, PhysRange::between(2 * MIB, 66 * MIB));
    assert_eq!(frames, [PhysRange::between(66 * MIB, 0xffe_0000)]);
}

#[test]
fn little_memory_is_shared_and_less_is_refused() {
    let (heap, _) = planned(&map(&[(0, 18 * MIB, Ram)])).unwrap();
    assert_eq!(heap.len_bytes(), 8 * MIB);
    let error = planned(&map(&[(0, 6 * MIB, Ram)])).unwrap_err();
    assert_eq!(error, TooLittleMemory { found_bytes: 4 * MIB });
    assert_eq!(
        error.to_string(),
        "4096 KiB of RAM below 4 GiB beside the image; at least 8192 KiB are needed"
    );
    assert!(planned(&MemoryMap::EMPTY).is_err());
}

#[test]
fn memory_beyond_the_identity_map_is_not_used() {
    let (_, frames) = planned(&map(&[(MIB, 64 * MIB, Ram), (0xf000_0000, 0x2_0000_0000, Ram)])).unwrap();
    assert!(frames.iter().all(|range| range.end() <= 1 << 32));
    assert!(planned(&map(&[(1 << 32, 8 << 32, Ram)])).is_err());
}

#[test]
fn what_the_map_contradicts_is_not_used() {
    let tables = PhysRange::between(40 * MIB, 40 * MIB + 0x1800);
    let (_, frames) = planned(&map(&[
        (MIB, 64 * MIB, Ram),
        (tables.start().get(), tables.end(), AcpiTables),
        (3 * MIB, 64 * MIB, Ram),
    ]))
    .unwrap();
    assert!(frames.iter().all(|range| !range.overlaps(tables)));
    let total: u64 = frames.iter().map(|range| range.len_bytes()).sum();
    assert!(total < 64 * MIB, "the range named twice is used once");
}

fn any_kind() -> impl Strategy<Value = MemoryKind> {
    prop_oneof![3 => Just(Ram), 1 => Just(Reserved), 1 => Just(AcpiTables)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// For any map: heap and frames do not overlap one another, the image, the first MiB, or
    /// anything but RAM, and are whole frames.
    #[test]
    fn a_plan_uses_free_memory_once(
        entries in proptest::collection::vec((0..200u64, 0..120u64, 0..3u64, any_kind()), 1..20),
    ) {
        let mut all = MemoryMap::EMPTY;
        for &(start, len, odd, kind) in &entries {
            all.push(PhysRange::between(start * MIB + odd * 100, (start + len) * MIB + odd * 1000), kind);
        }
        if let Ok((heap, frames)) = planned(&all) {
            let used: Vec<_> = frames.into_iter().chain([heap]).collect();
            for (index, range) in used.iter().enumerate() {
                prop_assert!(!range.is_empty() && range.start().get() >= MIB && !range.overlaps(image()));
                prop_assert!(range.start().get().is_multiple_of(4096) && range.end().is_multiple_of(4096));
                prop_assert!(used[..index].iter().all(|other| !other.overlaps(*range)), "{used:?}");
                prop_assert!(all.iter().all(|(other, kind)| kind == Ram || !other.overlaps(*range)));
                let inside: u64 = all.ram().map(|ram| ram.clamp(range.start().get(), range.end()).len_bytes()).sum();
                prop_assert!(inside >= range.len_bytes());
            }
        }
    }
}
