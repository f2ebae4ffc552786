//! Disks as other programs, and ends of this one, leave them.

use super::bench::{Bench, Kind, content, made};
use super::{fetch, name, status, store};
use crate::app::files::MountError;
use crate::app::http::Files as _;

/// Where the directory's entry of a short name is.
fn entry_of(image: &[u8], short: &[u8; 11]) -> usize {
    image.windows(11).position(|bytes| bytes == short).unwrap()
}

fn word(image: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([image[at], image[at + 1]]))
}

/// `embedded-sdmmc` opens the first entry with a short name, which need not be the one that was
/// looked at: of this one it would follow a cluster that there is not.
#[test]
fn of_two_entries_with_one_short_name_the_other_is_not_opened() {
    for cluster in [u32::MAX, 0x4000_0000, 1] {
        let mut image = made(Kind::Fat32, &[("one.bin", 3000), ("A long name.html", 3000)]);
        let entry = entry_of(&image, b"ONE     BIN");
        image[entry..entry + 11].copy_from_slice(b"ALONGN~1HTM");
        let [low, high] = [cluster & 0xffff, cluster >> 16].map(|half| half.to_le_bytes());
        image[entry + 20..entry + 22].copy_from_slice(&high[..2]);
        image[entry + 26..entry + 28].copy_from_slice(&low[..2]);
        let mut volume = Bench::of(image, false).mount();
        assert_eq!(status(fetch(&mut volume, "A long name.html", 4096)), "500", "{cluster:#x}");
    }
}

/// The last sector of a FAT has room for more entries than there are clusters. Who formats a disk
/// may leave them zero, as if those clusters were free.
#[test]
fn clusters_that_there_are_not_are_not_free() {
    let mut image = made(Kind::Fat16, &[("old.bin", 3_300_000)]);
    let (start, len) = (word(&image, 14) * 512, word(&image, 22) * 512);
    let root = start + 2 * len + word(&image, 17) * 32;
    let entries = (image.len() - root) / 512 + 2;
    assert!(len > entries * 2, "there is such room");
    for copy in 0..2 {
        image[start + copy * len + entries * 2..start + (copy + 1) * len].fill(0);
    }
    // Behind the file system there is room too.
    image.extend([0xab; 16 * 512]);
    let bench = Bench::of(image, false);
    let free = bench.free_clusters() as usize;
    let mut volume = bench.mount();
    for more in 0..3 {
        let bytes = content("large", (free + more) * 512);
        assert_eq!(status(store(&mut volume, "new.bin", &bytes, 32_768)), "507", "{more}");
        assert_eq!(bench.free_clusters() as usize, free, "all is given back");
    }
    assert!(bench.image().ends_with(&[0xab; 16 * 512]));
    store(&mut volume, "new.bin", &content("new", (free - 1) * 512), 32_768).unwrap();
    assert!(fetch(&mut volume, "new.bin", 32_768).unwrap() == content("new", (free - 1) * 512));
}

/// A disk's cache need not keep an order: a file that was being stored when the machine ended may
/// be in the directory with clusters that its FAT never heard of.
#[test]
fn what_was_left_half_stored_takes_no_cluster_from_another_file() {
    let mut image = made(Kind::Fat16, &[("a.bin", 600), ("z.tmp", 600)]);
    let entry = entry_of(&image, b"Z       TMP");
    image[entry..entry + 11].copy_from_slice(b"~PUT0   TMP");
    let (start, len) = (word(&image, 14) * 512, word(&image, 22) * 512);
    let cluster = start + word(&image, entry + 26) * 2;
    for copy in 0..2 {
        image[cluster + copy * len..cluster + copy * len + 4].fill(0);
    }
    let bench = Bench::of(image, false);
    let mut volume = bench.mount();
    // So that the first upload has another number than the file that was left.
    let reader = volume.open(&name("a.bin")).unwrap();
    store(&mut volume, "n.bin", &content("n.bin", 3000), 1000).unwrap();
    drop(reader);
    volume.close_left();
    store(&mut volume, "m.bin", &content("m.bin", 3000), 1000).unwrap();
    for called in ["n.bin", "m.bin"] {
        assert!(fetch(&mut volume, called, 1000).unwrap() == content(called, 3000), "{called}");
    }
    bench.assert_clean();
}

#[test]
fn a_file_system_that_keeps_one_of_its_fats_alone_is_refused() {
    let mut image = made(Kind::Fat32, &[]);
    image[40] = 0x81;
    let error = Bench::of(image, false).try_mount().err().unwrap();
    assert!(matches!(error, MountError::Unusable(why) if why.contains("FAT")), "{error}");
}
