//! Where on a disk the file system is: in a partition of an MBR or a GPT, or on the whole disk.

use core::fmt;

use gpt_disk_io::Disk as GptDisk;
use gpt_disk_io::gpt_disk_types::{GptPartitionType, guid};
use paravane_block::{BlockBuffer, Disk, RequestQueue, SECTOR_BYTES};
use paravane_hal::time::Clock;

use super::fault::MountError;
use super::layout::{self, Sector, le16, le32};

/// Where an MBR's four partitions are described, and how long each description is.
const TABLE: usize = 446;
const ENTRY_BYTES: usize = 16;
/// An MBR's types of partitions with FAT, FAT12 not among them; and its word for a GPT.
const FAT_TYPES: [u8; 5] = [0x04, 0x06, 0x0b, 0x0c, 0x0e];
const PROTECTIVE: u8 = 0xee;
/// Partitions of a GPT that are looked at: as many as every tool makes room for.
const GPT_PARTITIONS: usize = 128;
/// Types of a GPT's partitions with FAT: Microsoft's basic data, which Linux took too, and EFI's.
const GPT_TYPES: [GptPartitionType; 2] = [
    GptPartitionType(guid!("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7")),
    GptPartitionType(guid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")),
];

/// Where a file system may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Which one it is.
    pub kind: Kind,
    /// Its first sector of 512 bytes.
    pub first_sector: u32,
    /// How many it has.
    pub sectors: u32,
}

/// What leads to a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing: it is the whole disk.
    Whole,
    /// A master boot record's entry of this number, from 1 on.
    Mbr(usize),
    /// A GUID partition table's entry of this number, from 1 on.
    Gpt(usize),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("the whole disk"),
            Self::Mbr(number) => write!(f, "MBR partition {number}"),
            Self::Gpt(number) => write!(f, "GPT partition {number}"),
        }
    }
}

/// The first partition that may hold FAT.
///
/// # Errors
///
/// [`MountError`]: there is none, or the disk ends before it does.
pub fn find<Q: RequestQueue<BlockBuffer>, C: Clock>(disk: &mut Disk<Q, C>) -> Result<Partition, MountError> {
    if disk.info().block_bytes != SECTOR_BYTES {
        return Err(MountError::Blocks { block_bytes: disk.info().block_bytes });
    }
    let capacity_sectors = disk.capacity_sectors();
    let mut front: Sector = [0; 512];
    disk.read(0, &mut front)?;
    if layout::is_boot_sector(&front) {
        // Of what is behind the last sector that 32 bits can count, FAT knows nothing.
        let sectors = u32::try_from(capacity_sectors).unwrap_or(u32::MAX);
        return Ok(Partition { kind: Kind::Whole, first_sector: 0, sectors });
    }
    if !layout::is_signed(&front) {
        return Err(MountError::NoFat);
    }
    let mut entries = front[TABLE..].chunks_exact(ENTRY_BYTES).take(4).zip(1..);
    let (kind, first_sector, sectors) = if front[TABLE + 4] == PROTECTIVE {
        find_in_gpt(disk)?
    } else {
        let fat = entries.find(|(entry, _)| FAT_TYPES.contains(&entry[4]));
        let (entry, number) = fat.ok_or(MountError::NoFat)?;
        (Kind::Mbr(number), u64::from(le32(entry, 8)), u64::from(le32(entry, 12)))
    };
    let end = first_sector.saturating_add(sectors);
    match (u32::try_from(first_sector), u32::try_from(sectors)) {
        (Ok(first_sector @ 1..), Ok(sectors @ 1..))
            if end <= capacity_sectors && end < u64::from(u32::MAX) =>
        {
            Ok(Partition { kind, first_sector, sectors })
        }
        _ => Err(MountError::Outside { kind, first_sector, end, capacity_sectors }),
    }
}

fn find_in_gpt<Q: RequestQueue<BlockBuffer>, C: Clock>(
    disk: &mut Disk<Q, C>,
) -> Result<(Kind, u64, u64), MountError> {
    let mut block: Sector = [0; 512];
    let mut disk = GptDisk::new(disk).map_err(|_| MountError::Gpt)?;
    let header = disk.read_primary_gpt_header(&mut block).map_err(|_| MountError::Gpt)?;
    if !header.is_signature_valid() || header.calculate_header_crc32() != header.header_crc32 {
        return Err(MountError::Gpt);
    }
    let layout = header.get_partition_entry_array_layout().map_err(|_| MountError::Gpt)?;
    let entries = disk.gpt_partition_entry_array_iter(layout, &mut block).map_err(|_| MountError::Gpt)?;
    for (entry, number) in entries.take(GPT_PARTITIONS).zip(1..) {
        let entry = entry.map_err(|_| MountError::Gpt)?;
        if GPT_TYPES.contains(&{ entry.partition_type_guid }) {
            let (first, last) = (entry.starting_lba.to_u64(), entry.ending_lba.to_u64());
            return Ok((Kind::Gpt(number), first, last.wrapping_sub(first).wrapping_add(1)));
        }
    }
    Err(MountError::NoFat)
}

/// The front of a disk whose only partition starts behind it: what `embedded-sdmmc` looks for.
pub(super) fn picture(sectors: u32) -> Sector {
    let mut front = [0; 512];
    front[TABLE + 4] = 0x0c;
    front[TABLE + 8..TABLE + 12].copy_from_slice(&super::part::FIRST.to_le_bytes());
    front[TABLE + 12..TABLE + 16].copy_from_slice(&sectors.to_le_bytes());
    front[510..].copy_from_slice(&layout::SIGNATURE);
    debug_assert_eq!(le16(&front, 510), 0xaa55);
    front
}
