//! Disks that are full, read-only, torn, or do not answer.

use core::time::Duration;
use std::io::Cursor;

use embedded_sdmmc::{Block, BlockDevice as _, BlockIdx};
use fatfs::{FileSystem, FsOptions};
use proptest::prelude::*;

use super::bench::{Bench, Kind, assert_clean, bytes_of, content, free_clusters, made};
use super::{fetch, name, status, store};
use crate::app::files::chain::Fat;
use crate::app::files::layout::Layout;
use crate::app::files::part::{Part, Trouble};
use crate::app::files::partition::{Kind as Place, Partition};
use crate::app::files::{MountError, volume};
use crate::app::http::Files as _;

#[test]
fn a_full_disk_takes_no_more_and_keeps_what_it_has() {
    let bench = Bench::with(Kind::Fat16, &[("old.bin", 3_300_000)]);
    let free = bench.free_clusters();
    let mut volume = bench.mount();
    // Too much for what is left, not for the whole disk.
    for called in ["new.bin", "old.bin"] {
        let bytes = content("large", 900_000);
        assert_eq!(status(store(&mut volume, called, &bytes, 32_768)), "507", "{called}");
        assert_eq!(bench.free_clusters(), free, "{called}: all is given back");
    }
    assert_eq!(bytes_of(&bench.image(), "new.bin"), None);
    assert!(bytes_of(&bench.image(), "old.bin").unwrap() == content("old.bin", 3_300_000));
    store(&mut volume, "small.bin", &content("small", 100_000), 32_768).unwrap();
    assert!(fetch(&mut volume, "small.bin", 4096).unwrap() == content("small", 100_000));
    bench.assert_clean();
}

#[test]
fn a_full_directory_takes_no_more() {
    let bench = Bench::with(Kind::Fat16, &[]);
    let mut volume = bench.mount();
    let refused = (0..1000).find_map(|number| store(&mut volume, &format!("f{number}"), b"x", 1).err());
    assert_eq!(refused.unwrap().status, "507 Insufficient Storage");
    assert!(store(&mut volume, "f0", b"yy", 1).is_err(), "no room for the name that it has meanwhile");
    assert_eq!(fetch(&mut volume, "f0", 1).unwrap(), b"x");
    bench.assert_clean();
}

#[test]
fn what_is_read_only_is_not_written() {
    let mut image = made(Kind::Fat16, &[("a.bin", 3000), ("locked.bin", 10)]);
    let place = image.windows(11).position(|bytes| bytes == b"LOCKED  BIN").unwrap();
    image[place + 11] |= 1;
    let bench = Bench::of(image.clone(), true);
    let mut volume = bench.mount();
    assert!(volume.describe().ends_with(", read-only"));
    assert_eq!(status(store(&mut volume, "a.bin", b"x", 1)), "403");
    assert_eq!(status(store(&mut volume, "b.bin", b"x", 1)), "403");
    assert!(fetch(&mut volume, "a.bin", 4096).unwrap() == content("a.bin", 3000));
    assert!(bench.image() == image);

    let bench = Bench::of(image, false);
    let mut volume = bench.mount();
    assert_eq!(status(store(&mut volume, "locked.bin", b"x", 1)), "403");
    store(&mut volume, "a.bin", b"x", 1).unwrap();
    bench.assert_clean();
}

/// The first cluster of a file of an image with clusters of 512 bytes, and where its entry in the
/// FAT is.
fn first_entry(image: &[u8], short: &[u8; 11]) -> usize {
    let place = image.windows(11).position(|bytes| bytes == short).unwrap();
    let first = usize::from(u16::from_le_bytes([image[place + 26], image[place + 27]]));
    usize::from(u16::from_le_bytes([image[14], image[15]])) * 512 + first * 2
}

#[test]
fn a_torn_chain_is_not_followed() {
    let image = made(Kind::Fat16, &[("torn.bin", 3000), ("good.bin", 3000)]);
    let entry = first_entry(&image, b"TORN    BIN");
    let own = u16::from_le_bytes([image[entry], image[entry + 1]]) - 1;
    // Free, reserved, the last entry of the FAT, bad, too short, round in a circle.
    for torn in [0, 1, 0xffef, 0xfff7, 0xffff, own] {
        let mut image = image.clone();
        image[entry..entry + 2].copy_from_slice(&torn.to_le_bytes());
        let bench = Bench::of(image, false);
        let free = bench.free_clusters();
        let mut volume = bench.mount();
        assert_eq!(status(fetch(&mut volume, "torn.bin", 4096)), "500", "{torn:#x}");
        assert!(fetch(&mut volume, "good.bin", 4096).unwrap() == content("good.bin", 3000));
        // It can be replaced; what it had stays lost unless that is known.
        store(&mut volume, "torn.bin", &content("new", 3000), 4096).unwrap();
        assert!(fetch(&mut volume, "torn.bin", 4096).unwrap() == content("new", 3000));
        assert_eq!(bench.free_clusters(), if torn == 0xffff { free - 5 } else { free - 6 }, "{torn:#x}");
    }
}

#[test]
fn a_root_directory_that_goes_round_is_noticed() {
    let image = made(Kind::Fat32, &[]);
    let fat = usize::from(u16::from_le_bytes([image[14], image[15]])) * 512;
    let root = u32::from_le_bytes([image[44], image[45], image[46], image[47]]);
    for torn in [root, 0, 1 << 27] {
        let mut image = image.clone();
        let entry = fat + root as usize * 4;
        image[entry..entry + 4].copy_from_slice(&torn.to_le_bytes());
        let error = Bench::of(image, false).try_mount().err().unwrap();
        assert!(matches!(error, MountError::Unusable(why) if why.contains("root directory")), "{error}");
    }
}

#[test]
fn a_disk_that_does_not_answer_is_given_up() {
    let bench = Bench::with(Kind::Fat16, &[("a.bin", 3000)]);
    let mut volume = bench.mount();
    bench.model().class.serves_doorbells = false;
    assert_eq!(status(volume.open(&name("a.bin"))), "500");
    let asked = bench.platform.clock().clone();
    let before = paravane_hal::time::Clock::now(&asked);
    for _ in 0..100 {
        assert_eq!(status(volume.open(&name("a.bin"))), "503");
        assert_eq!(status(volume.create(&name("b.bin"), 1)), "503");
    }
    let waited = paravane_hal::time::Clock::now(&asked).since(before);
    assert!(waited < volume::LIMIT / 100, "nobody waits for it: {waited:?}");
}

#[test]
fn a_sector_that_cannot_be_read_fails_its_file_alone() {
    let bench = Bench::with(Kind::Fat16, &[("a.bin", 3000), ("b.bin", 3000)]);
    let image = bench.image();
    let bytes = content("a.bin", 3000);
    let place = image.windows(512).step_by(512).position(|sector| sector == &bytes[1024..1536]).unwrap();
    bench.model().class.bad_sectors.insert(place as u64);
    let mut volume = bench.mount();
    assert_eq!(status(fetch(&mut volume, "a.bin", 4096)), "500");
    assert!(fetch(&mut volume, "b.bin", 4096).unwrap() == content("b.bin", 3000));
    assert_eq!(status(fetch(&mut volume, "a.bin", 512)), "500");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the first sectors say, nothing panics, nothing lasts for ever, and nothing is
    /// written outside the partition.
    #[test]
    fn any_front_is_survived(
        changes in proptest::collection::vec((0..1_usize << 16, any::<u8>()), 1..8),
        near in any::<bool>(),
    ) {
        let system = made(Kind::Fat16, &[("a.bin", 3000)]);
        let mut image = super::partitions::in_mbr(&system, 8192);
        image.extend([0xab; 5120]);
        for (at, byte) in changes {
            image[64 * 512 + if near { at % 64 } else { at }] = byte;
        }
        let bench = Bench::of(image.clone(), false);
        if let Ok(mut volume) = bench.try_mount() {
            let _ = fetch(&mut volume, "a.bin", 1024);
            let _ = store(&mut volume, "a.bin", &content("x", 2000), 1024);
            let _ = store(&mut volume, "b.bin", &content("x", 2000), 1024);
        }
        let after = bench.image();
        prop_assert!(after[..64 * 512] == image[..64 * 512]);
        prop_assert!(after[after.len() - 5120..].iter().all(|byte| *byte == 0xab));
    }
}

#[test]
fn what_is_outside_the_partition_is_not_touched() {
    let bench = Bench::of(vec![0xab; 128 * 512], false);
    let place = Partition { kind: Place::Whole, first_sector: 64, sectors: 8 };
    let part = Part::new(bench.disk(bench.queue()), bench.platform.clone(), place);
    part.begin(volume::LIMIT);
    for number in [0, 7] {
        assert_eq!(part.read_sector(number), Ok([0xab; 512]));
        assert_eq!(part.write_sector(number, &[1; 512]), Ok(()));
    }
    for number in [8, 9, u32::MAX - 1, u32::MAX] {
        assert_eq!(part.read_sector(number), Err(Trouble::Outside), "{number}");
        assert_eq!(part.write_sector(number, &[2; 512]), Err(Trouble::Outside), "{number}");
    }
    let two = [Block::new(), Block::new()];
    assert_eq!(part.write(&two, BlockIdx(8)), Err(Trouble::Outside), "the second is outside");
    let image = bench.image();
    for (number, sector) in image.chunks(512).enumerate() {
        let expected = if matches!(number, 64 | 71) { 1 } else { 0xab };
        assert!(sector.iter().all(|byte| *byte == expected), "{number}");
    }
}

#[test]
fn a_cluster_that_has_no_size_is_refused() {
    let image = made(Kind::Fat16, &[]);
    let mut boot: [u8; 512] = image[..512].try_into().unwrap();
    let sectors = u32::try_from(image.len() / 512).unwrap();
    assert!(Layout::of(&boot, sectors).is_ok());
    for cluster_sectors in [0, 3, 6, 255] {
        boot[13] = cluster_sectors;
        let error = Layout::of(&boot, sectors).unwrap_err();
        assert!(matches!(error, MountError::Unusable(why) if why.contains("contradicts")), "{error}");
    }
}

/// Of a chain that goes round in one sector no other is read, so that no disk ends it.
#[test]
fn a_chain_is_followed_while_there_is_time() {
    let image = made(Kind::Fat16, &[("a.bin", 3000)]);
    let layout = Layout::of(image[..512].try_into().unwrap(), 8192).unwrap();
    let bench = Bench::of(image, false);
    let place = Partition { kind: Place::Whole, first_sector: 0, sectors: 8192 };
    let part = Part::new(bench.disk(bench.queue()), bench.platform.clone(), place);
    part.begin(volume::LIMIT);
    // The folder has the first cluster.
    let mut fat = Fat::new(&part, layout);
    assert_eq!(fat.count(3), Ok(Some(6)));
    part.begin(Duration::ZERO);
    assert_eq!(fat.count(3), Err(Trouble::TooLong));
}

#[test]
fn what_is_counted_here_is_what_the_referee_counts() {
    let image = made(Kind::Fat16, &[("a.bin", 3000)]);
    assert_clean(&image);
    let system = FileSystem::new(Cursor::new(image.clone()), FsOptions::new()).unwrap();
    assert_eq!(system.stats().unwrap().free_clusters(), free_clusters(&image));
}
