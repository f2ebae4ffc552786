//! Files on a virtio-blk disk of mock-hal, under the driver; `fatfs` makes the file systems, and
//! judges what is left.

mod bad_disks;
mod bench;
mod crashes;
mod odd_disks;
mod partitions;

use super::*;
use crate::app::http::{Files, Handle, Name, Refusal};

use bench::{Bench, Kind, bytes_of, content};

fn name(text: &str) -> Name {
    Name::of(text).unwrap()
}

/// All of a file, read in pieces of `piece`.
fn fetch(files: &mut impl Files, called: &str, piece: usize) -> Result<Vec<u8>, Refusal> {
    let (handle, len_bytes) = files.open(&name(called))?;
    let mut bytes = vec![0; usize::try_from(len_bytes).unwrap()];
    let mut offset = 0;
    for room in bytes.chunks_mut(piece) {
        files.read(&handle, offset, room)?;
        offset += room.len() as u64;
    }
    drop(handle);
    files.close_left();
    Ok(bytes)
}

/// Stores a file in pieces of `piece`. Whether it is new.
fn store(files: &mut impl Files, called: &str, bytes: &[u8], piece: usize) -> Result<bool, Refusal> {
    let stored = files.create(&name(called), bytes.len() as u64).and_then(|handle: Handle| {
        bytes.chunks(piece).try_for_each(|piece| files.write(&handle, piece))?;
        files.finish(&handle)
    });
    files.close_left();
    stored
}

fn status<T>(result: Result<T, Refusal>) -> &'static str {
    result.err().map_or("", |refusal| &refusal.status[..3])
}

#[test]
fn files_are_found_by_both_names_in_any_case() {
    let bench = Bench::with(Kind::Fat16, &[("readme.txt", 5000), ("A long name.html", 70_000), ("empty", 0)]);
    let mut volume = bench.mount();
    for (called, made) in [
        ("readme.txt", "readme.txt"),
        ("README.TXT", "readme.txt"),
        ("A long name.html", "A long name.html"),
        ("a LONG name.html", "A long name.html"),
        ("ALONGN~1.HTM", "A long name.html"),
        ("empty", "empty"),
    ] {
        for piece in [512, 1000, 70_000] {
            let len = bench.len_of(made);
            assert!(fetch(&mut volume, called, piece).unwrap() == content(made, len), "{called} by {piece}");
        }
    }
    assert_eq!(status(volume.open(&name("readme"))), "404");
    assert_eq!(status(volume.open(&name("folder"))), "404");
    assert_eq!(volume.read_whole("readme.txt", 5000).unwrap().unwrap().len(), 5000);
    assert_eq!(volume.read_whole("readme.txt", 4999), Err(FileError::TooLarge));
    assert_eq!(volume.read_whole("none", 1), Ok(None));
    bench.assert_clean();
}

#[test]
fn what_is_stored_is_there_when_the_power_fails() {
    for kind in [Kind::Fat16, Kind::Fat32] {
        let bench = Bench::with(kind, &[("old.bin", 30_000), ("A long name.html", 10)]);
        let mut volume = bench.mount();
        for (called, len, is_new) in [
            ("new.bin", 90_001, true),
            ("old.bin", 70_000, false),
            ("a long name.html", 2000, false),
            ("new.bin", 0, false),
            ("none", 0, true),
        ] {
            let bytes = content("stored", len);
            assert_eq!(store(&mut volume, called, &bytes, 32_768).unwrap(), is_new, "{called}");
            bench.lose_power();
            assert!(bytes_of(&bench.image(), called).unwrap() == bytes, "{called}");
            assert!(fetch(&mut volume, called, 4096).unwrap() == bytes, "{called}");
        }
        bench.assert_clean();
    }
}

#[test]
fn nothing_is_lost_or_left_by_storing_often() {
    let bench = Bench::with(Kind::Fat16, &[("a.bin", 100_000)]);
    let free = bench.free_clusters();
    let mut volume = bench.mount();
    for round in 0..20 {
        store(&mut volume, "a.bin", &content("round", 100_000 - round), 32_768).unwrap();
    }
    // One that stops in the middle.
    for called in ["a.bin", "b.bin"] {
        let handle = volume.create(&name(called), 50_000).unwrap();
        volume.write(&handle, &content("part", 20_000)).unwrap();
        drop(handle);
        volume.close_left();
    }
    assert_eq!(bench.free_clusters(), free);
    assert!(bytes_of(&bench.image(), "a.bin").unwrap() == content("round", 99_981));
    assert_eq!(bytes_of(&bench.image(), "b.bin"), None);
    bench.assert_clean();
}

#[test]
fn a_file_in_use_is_neither_replaced_nor_read_halfway() {
    let bench = Bench::with(Kind::Fat16, &[("a.bin", 5000), ("b.bin", 10)]);
    let mut volume = bench.mount();
    let (one, len_bytes) = volume.open(&name("a.bin")).unwrap();
    let (two, _) = volume.open(&name("A.BIN")).unwrap();
    assert_eq!((len_bytes, one.index()), (5000, two.index()), "shared");
    let (mut front, mut back) = ([0; 100], [0; 100]);
    volume.read(&one, 4900, &mut back).unwrap();
    volume.read(&two, 0, &mut front).unwrap();
    let whole = content("a.bin", 5000);
    assert!(front == whole[..100] && back == whole[4900..]);
    assert_eq!(status(volume.create(&name("a.bin"), 1)), "409");
    drop(one);
    volume.close_left();
    assert_eq!(status(volume.create(&name("a.bin"), 1)), "409", "one still reads");
    drop(two);
    volume.close_left();
    let stored = volume.create(&name("a.bin"), 1).unwrap();
    assert_eq!(status(volume.open(&name("a.bin"))), "409");
    assert_eq!(status(volume.create(&name("a.bin"), 1)), "409");
    let other = volume.create(&name("new.bin"), 1).unwrap();
    assert_eq!(status(volume.create(&name("NEW.bin"), 1)), "409", "not there yet, and taken");
    assert_eq!(status(volume.open(&name("new.bin"))), "404");
    assert!(volume.open(&name("b.bin")).is_ok());
    drop((stored, other));
}

#[test]
fn so_many_are_open_and_no_more() {
    let called: Vec<String> = (0..=volume::MOST_OPEN).map(|number| format!("f{number}")).collect();
    let files: Vec<_> = called.iter().map(|called| (called.as_str(), 10)).collect();
    let bench = Bench::with(Kind::Fat16, &files);
    let mut volume = bench.mount();
    let mut handles: Vec<_> =
        called[1..].iter().map(|called| volume.open(&name(called)).unwrap().0).collect();
    assert_eq!(status(volume.open(&name("f0"))), "503");
    assert_eq!(status(volume.create(&name("new"), 0)), "503");
    assert!(volume.open(&name("f1")).is_ok(), "shared");
    handles.pop();
    volume.close_left();
    assert!(volume.open(&name("f0")).is_ok());
}

#[test]
fn new_names_are_short() {
    let bench = Bench::with(Kind::Fat16, &[]);
    let mut volume = bench.mount();
    for long in ["index.html", "ninechars", "a b", "a.b.c", "ä"] {
        assert_eq!(status(volume.create(&name(long), 1)), "400", "{long}");
    }
    assert_eq!(status(volume.create(&name("folder"), 1)), "404");
    assert_eq!(status(volume.create(&name("a"), 1 << 32)), "413");
    assert_eq!(status(volume.create(&name("a"), u32::MAX.into())), "507", "more than there can be");
}
