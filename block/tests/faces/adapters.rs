//! Other crates' users of a disk.

use std::time::Duration;

use embedded_io::{Error as _, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use embedded_sdmmc::{Block, BlockCount, BlockDevice as _, BlockIdx};
use gpt_disk_io::gpt_disk_types::{
    BlockSize, GptHeader, GptPartitionEntryArray, GptPartitionType, Lba, LbaLe, U32Le,
};
use gpt_disk_io::{BlockIo as _, Disk as GptDisk};
use paravane_block::{Bytes, Disk, DiskError, Operation, SharedDisk, SubmitError};
use paravane_mock_hal::MockPlatform;

use crate::ram::{Bench, Ram, SECTOR, SECTORS};

fn disk(bench: &Bench, block_bytes: u32) -> Disk<Ram, MockPlatform> {
    Disk::new(bench.queue(block_bytes), bench.pool.clone(), bench.platform.clone(), Duration::from_millis(50))
}

fn bytes(bench: &Bench, block_bytes: u32) -> Bytes<Ram, MockPlatform> {
    Bytes::new(disk(bench, block_bytes)).map_err(|failed| failed.into_error()).unwrap()
}

#[test]
fn bytes_go_anywhere_and_leave_their_neighbours_alone() {
    for block_bytes in [512, 1024] {
        let bench = Bench::new(4);
        let mut stream = bytes(&bench, block_bytes);
        let mut shadow = bench.state().disk.clone();
        for (place, len) in [(0, 1), (511, 2), (700, 324), (1000, 3000), (1024, 1024), (32_767, 1)] {
            let new: Vec<u8> = (0..len).map(|at: usize| (at % 199).to_le_bytes()[0] ^ 0x80).collect();
            assert_eq!(stream.seek(SeekFrom::Start(place as u64)).unwrap(), place as u64);
            stream.write_all(&new).unwrap();
            shadow[place..place + len].copy_from_slice(&new);
            assert!(bench.state().disk == shadow, "{len} at {place}");
            stream.seek(SeekFrom::Start(place as u64)).unwrap();
            let mut read = vec![0; len];
            stream.read_exact(&mut read).unwrap();
            assert!(read == new);
        }
        bench.assert_home();
    }
}

#[test]
fn a_stream_ends_where_its_disk_does() {
    let bench = Bench::new(4);
    let mut stream = bytes(&bench, 512);
    assert_eq!(stream.seek(SeekFrom::End(-3)).unwrap(), 32_765);
    let mut read = [0; 8];
    assert_eq!(stream.read(&mut read).unwrap(), 3);
    assert_eq!(read[..4], [63, 63, 63, 0]);
    assert_eq!(stream.read(&mut read).unwrap(), 0, "the end");
    assert_eq!(stream.write(&[]).unwrap(), 0);
    assert_eq!(stream.write(&[1]).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(stream.seek(SeekFrom::Current(-8)).unwrap(), 32_760);
    assert!(stream.seek(SeekFrom::Current(-32_761)).is_err());
    assert_eq!(stream.seek(SeekFrom::Current(0)).unwrap(), 32_760, "it stays where it was");
    stream.flush().unwrap();
    assert_eq!(bench.state().done.last(), Some(&Operation::Flush));
    let kinds = [SubmitError::ReadOnly, SubmitError::Unsupported].map(|it| DiskError::Refused(it).kind());
    assert_eq!(kinds, [ErrorKind::PermissionDenied, ErrorKind::Unsupported]);
    assert_eq!(stream.into_disk().capacity_sectors(), 64);
}

#[test]
fn blocks_of_512_bytes_are_sectors() {
    let bench = Bench::new(2);
    let shared = SharedDisk::new(disk(&bench, 512));
    assert_eq!(shared.num_blocks().unwrap(), BlockCount(64));
    let mut blocks = [Block::new(), Block::new()];
    shared.read(&mut blocks, BlockIdx(5)).unwrap();
    assert_eq!([blocks[0].contents, blocks[1].contents], [[5; SECTOR], [6; SECTOR]]);
    blocks[1].contents.fill(0xab);
    shared.write(&blocks, BlockIdx(62)).unwrap();
    assert_eq!(bench.state().disk[62 * SECTOR], 5);
    assert_eq!(bench.state().disk[63 * SECTOR..], [0xab; SECTOR]);
    assert!(shared.write(&blocks, BlockIdx(63)).is_err());
    shared.with(|disk| disk.flush()).unwrap();
    assert_eq!(shared.into_disk().capacity_sectors(), 64);
}

#[test]
fn a_partition_table_is_written_and_read_again() {
    let bench = Bench::new(2);
    for block_bytes in [512, 1024_u32] {
        let mut disk = disk(&bench, block_bytes);
        assert_eq!(disk.block_size(), BlockSize::new(block_bytes).unwrap());
        let blocks = (SECTORS * SECTOR) as u64 / u64::from(block_bytes);
        assert_eq!(disk.num_blocks().unwrap(), blocks);
        assert!(disk.read_blocks(Lba(blocks), &mut vec![0; block_bytes as usize]).is_err());
        assert!(disk.read_blocks(Lba(u64::MAX), &mut vec![0; block_bytes as usize]).is_err());

        let mut block = vec![0; block_bytes as usize];
        let mut gpt = GptDisk::new(disk).unwrap();
        let mut header = GptHeader {
            my_lba: LbaLe::from_u64(1),
            partition_entry_lba: LbaLe::from_u64(2),
            number_of_partition_entries: U32Le::from_u32(4),
            ..GptHeader::default()
        };
        let layout = header.get_partition_entry_array_layout().unwrap();
        let block_size = BlockSize::new(block_bytes).unwrap();
        let storage_bytes = layout.num_bytes_rounded_to_block_as_usize(block_size).unwrap();
        let mut storage = vec![0; storage_bytes];
        let mut entries = GptPartitionEntryArray::new(layout, block_size, &mut storage).unwrap();
        entries.get_partition_entry_mut(2).unwrap().partition_type_guid = GptPartitionType::BASIC_DATA;
        gpt.write_gpt_partition_entry_array(&entries).unwrap();
        header.update_header_crc32();
        gpt.write_primary_gpt_header(&header, &mut block).unwrap();
        gpt.flush().unwrap();
        let read = gpt.read_primary_gpt_header(&mut block).unwrap();
        assert!(read.is_signature_valid() && read == header);
        let kinds: Vec<_> = gpt
            .gpt_partition_entry_array_iter(layout, &mut block)
            .unwrap()
            .map(|entry| entry.unwrap().partition_type_guid)
            .collect();
        assert_eq!(kinds[2], GptPartitionType::BASIC_DATA);
        assert_eq!(kinds[1], GptPartitionType::UNUSED);
    }
    bench.assert_home();
}
