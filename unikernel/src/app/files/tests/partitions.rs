//! Where on a disk a file system may be.

use gpt_disk_io::Disk as GptDisk;
use gpt_disk_io::gpt_disk_types::{
    BlockSize, GptHeader, GptPartitionEntryArray, GptPartitionType, LbaLe, MasterBootRecord, U32Le,
};

use super::bench::{Bench, Kind, content, made};
use super::{fetch, store};
use crate::app::files::MountError;
use crate::app::files::partition::Kind as Place;

/// A disk whose MBR has, as its second partition, `system` from sector 64 on, so many sectors long.
pub(super) fn in_mbr(system: &[u8], sectors: u32) -> Vec<u8> {
    let mut disk = vec![0; 64 * 512];
    disk[446 + 4] = 0x83;
    disk[462 + 4] = 0x0e;
    disk[462 + 8..462 + 12].copy_from_slice(&64_u32.to_le_bytes());
    disk[462 + 12..462 + 16].copy_from_slice(&sectors.to_le_bytes());
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk.extend(system);
    disk
}

#[test]
fn a_partition_of_an_mbr() {
    let system = made(Kind::Fat16, &[("a.bin", 3000)]);
    let mut disk = in_mbr(&system, 8192);
    disk.extend([0xab; 512 * 10]);
    let front = disk[..64 * 512].to_vec();
    let bench = Bench::of(disk, false);
    let mut volume = bench.mount();
    assert_eq!(volume.describe(), "FAT16 in MBR partition 2, 4096 KiB");
    assert!(fetch(&mut volume, "a.bin", 4096).unwrap() == content("a.bin", 3000));
    store(&mut volume, "b.bin", &content("b.bin", 50_000), 4096).unwrap();
    assert!(fetch(&mut volume, "b.bin", 4096).unwrap() == content("b.bin", 50_000));
    let image = bench.image();
    assert!(image[..64 * 512] == front, "what is in front is left alone");
    assert!(image[image.len() - 5120..].iter().all(|byte| *byte == 0xab), "and what is behind");
    super::bench::assert_clean(&image[64 * 512..64 * 512 + system.len()]);
}

#[test]
fn a_partition_of_a_gpt() {
    let mut image = vec![0; 128 * 512];
    image.extend(made(Kind::Fat16, &[("a.bin", 3000)]));
    image.extend([0; 64 * 512]);
    let bench = Bench::of(image, false);
    {
        let mut disk = bench.disk(bench.queue());
        let mut block = [0; 512];
        let mut gpt = GptDisk::new(&mut disk).unwrap();
        gpt.write_mbr(&MasterBootRecord::protective_mbr(8384), &mut block).unwrap();
        let mut header = GptHeader {
            my_lba: LbaLe::from_u64(1),
            partition_entry_lba: LbaLe::from_u64(2),
            number_of_partition_entries: U32Le::from_u32(128),
            ..GptHeader::default()
        };
        let layout = header.get_partition_entry_array_layout().unwrap();
        let mut storage = vec![0; 128 * 128];
        let mut entries = GptPartitionEntryArray::new(layout, BlockSize::BS_512, &mut storage).unwrap();
        let entry = entries.get_partition_entry_mut(5).unwrap();
        entry.partition_type_guid = GptPartitionType::BASIC_DATA;
        entry.starting_lba = LbaLe::from_u64(128);
        entry.ending_lba = LbaLe::from_u64(128 + 8192 - 1);
        gpt.write_gpt_partition_entry_array(&entries).unwrap();
        header.update_header_crc32();
        gpt.write_primary_gpt_header(&header, &mut block).unwrap();
    }
    let image = bench.image();
    let mut volume = Bench::of(image.clone(), false).mount();
    assert_eq!(volume.describe(), "FAT16 in GPT partition 6, 4096 KiB");
    assert!(fetch(&mut volume, "a.bin", 4096).unwrap() == content("a.bin", 3000));

    // Its type, its own sum, and its magic.
    for (at, error) in
        [(2 * 512 + 5 * 128, MountError::NoFat), (512 + 16, MountError::Gpt), (512, MountError::Gpt)]
    {
        let mut image = image.clone();
        image[at] ^= 1;
        assert_eq!(Bench::of(image, false).try_mount().err(), Some(error), "{at}");
    }
}

#[test]
fn a_disk_shorter_than_its_partition_is_not_mounted() {
    let system = made(Kind::Fat16, &[]);
    for (disk, sectors) in [(in_mbr(&system, 8193), 8193), (in_mbr(&system, u32::MAX), u32::MAX)] {
        let error = Bench::of(disk, false).try_mount().err().unwrap();
        let expected = MountError::Outside {
            kind: Place::Mbr(2),
            first_sector: 64,
            end: 64 + u64::from(sectors),
            capacity_sectors: 64 + 8192,
        };
        assert_eq!(error, expected);
        assert!(error.to_string().contains("the disk has 8256"), "{error}");
    }
    let mut disk = in_mbr(&system, 8000);
    disk.truncate((64 + 8000) * 512);
    let error = Bench::of(disk, false).try_mount().err();
    assert_eq!(error, Some(MountError::TooShort { needs_sectors: 8192, sectors: 8000 }));
    let half = &system[..system.len() / 2];
    let error = Bench::of(half.to_vec(), false).try_mount().err();
    assert_eq!(error, Some(MountError::TooShort { needs_sectors: 8192, sectors: 4096 }));
}

#[test]
fn a_disk_without_fat_is_not_mounted() {
    let empty = vec![0; 1 << 20];
    let mut linux = in_mbr(&empty, 2048);
    linux[462 + 4] = 0x83;
    let not_fat = in_mbr(&empty, 2048);
    for disk in [empty, linux, not_fat] {
        assert_eq!(Bench::of(disk, false).try_mount().err(), Some(MountError::NoFat));
    }
}
