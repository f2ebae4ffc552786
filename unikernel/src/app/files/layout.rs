//! Where in a FAT file system everything is, as its first sector says.
//!
//! Spec: "Microsoft Extensible Firmware Initiative FAT32 File System Specification", version 1.03,
//! "Boot Sector and BPB Structure" and "FAT Type Determination".

use super::fault::MountError;

/// What a disk is read by.
pub(super) type Sector = [u8; 512];

pub(super) const SIGNATURE: [u8; 2] = [0x55, 0xaa];
/// A file system with fewer clusters is FAT12, one with as many as the other is FAT32.
const FAT16_CLUSTERS: u32 = 4085;
const FAT32_CLUSTERS: u32 = 65_525;
/// FAT32: of the copies of the FAT only one is kept up to date.
const ONE_FAT: u16 = 1 << 7;
/// Clusters are counted from here on.
pub(super) const FIRST_CLUSTER: u32 = 2;

/// Where everything is, in sectors from the file system's first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Whether entries of the FAT have 32 bits, not 16.
    pub(super) is_fat32: bool,
    /// Where the first FAT is,
    pub(super) fat_start: u32,
    /// how long each is,
    pub(super) fat_sectors: u32,
    /// and how many there are.
    pub(super) fats: u32,
    /// How many clusters there are.
    pub(super) clusters: u32,
    /// How long each is.
    pub(super) cluster_bytes: u32,
    /// FAT32: the first cluster of the root directory; and where the hints about free space are.
    pub(super) root_cluster: u32,
    pub(super) info_sector: u32,
}

pub(super) fn le16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Whether a sector ends as first sectors do.
pub(super) fn is_signed(sector: &Sector) -> bool {
    sector[510..] == SIGNATURE
}

/// Whether a disk's first sector is a FAT file system's, not a partition table.
pub(super) fn is_boot_sector(sector: &Sector) -> bool {
    let jumps = matches!(sector[0], 0xeb | 0xe9);
    let is_media = sector[21] == 0xf0 || sector[21] >= 0xf8;
    is_signed(sector)
        && jumps
        && is_media
        && le16(sector, 11).is_power_of_two()
        && matches!(sector[16], 1 | 2)
}

impl Layout {
    /// What the first sector says of a file system that has `sectors` at the most.
    pub(super) fn of(boot: &Sector, sectors: u32) -> Result<Self, MountError> {
        if !is_boot_sector(boot) {
            return Err(MountError::NoFat);
        }
        if le16(boot, 11) != 512 {
            return Err(MountError::Unusable("its sectors are not of 512 bytes"));
        }
        let or = |short: u16, long: u32| if short == 0 { long } else { short.into() };
        let cluster_sectors = u32::from(boot[13]);
        let fat_start = u32::from(le16(boot, 14));
        let fats = u32::from(boot[16]);
        let root_entries = u32::from(le16(boot, 17));
        let total = or(le16(boot, 19), le32(boot, 32));
        let fat_sectors = or(le16(boot, 22), le32(boot, 36));
        if !cluster_sectors.is_power_of_two() || fat_start == 0 || fat_sectors == 0 {
            return Err(MountError::Unusable("its first sector contradicts itself"));
        }
        if total > sectors {
            return Err(MountError::TooShort { needs_sectors: total, sectors });
        }
        let before_data = u64::from(fat_start)
            + u64::from(fats) * u64::from(fat_sectors)
            + u64::from(root_entries * 32).div_ceil(512);
        let data = u64::from(total).saturating_sub(before_data);
        // No more than `total`.
        let clusters = u32::try_from(data / u64::from(cluster_sectors)).unwrap_or(0);
        if clusters < FAT16_CLUSTERS {
            return Err(MountError::Unusable(
                "it is FAT12, or has no room for files; FAT16 and FAT32 are supported",
            ));
        }
        let is_fat32 = clusters >= FAT32_CLUSTERS;
        let layout = Self {
            is_fat32,
            fat_start,
            fat_sectors,
            fats,
            clusters,
            cluster_bytes: cluster_sectors * 512,
            root_cluster: le32(boot, 44),
            info_sector: u32::from(le16(boot, 48)),
        };
        let is_sound = if is_fat32 {
            let version = le16(boot, 42);
            let has_info = (1..fat_start).contains(&layout.info_sector);
            // Which one would be in the low bits.
            if le16(boot, 40) & ONE_FAT != 0 {
                return Err(MountError::Unusable("it keeps only one of its FATs up to date"));
            }
            root_entries == 0 && version == 0 && has_info && layout.has_cluster(layout.root_cluster)
        } else {
            root_entries > 0
        };
        let entries = u64::from(fat_sectors) * u64::from(layout.entries_per_sector());
        if !is_sound || entries < u64::from(clusters) + u64::from(FIRST_CLUSTER) {
            return Err(MountError::Unusable("its first sector contradicts itself"));
        }
        Ok(layout)
    }

    /// Whether there is a cluster of this number.
    pub(super) fn has_cluster(&self, cluster: u32) -> bool {
        cluster >= FIRST_CLUSTER && cluster - FIRST_CLUSTER < self.clusters
    }

    /// How many entries of a FAT fit a sector.
    pub(super) fn entries_per_sector(&self) -> u32 {
        if self.is_fat32 { 128 } else { 256 }
    }

    /// In which sector of the FAT the entry of the last cluster is, and where in it that ends.
    pub(super) fn end_of_fat(&self) -> (u32, usize) {
        let per_sector = self.entries_per_sector();
        let last = self.clusters.saturating_add(FIRST_CLUSTER - 1);
        (last / per_sector, ((last % per_sector + 1) * (512 / per_sector)) as usize)
    }

    /// How many clusters a file of `len_bytes` has at least.
    pub(super) fn clusters_for(&self, len_bytes: u32) -> u32 {
        len_bytes.div_ceil(self.cluster_bytes)
    }

    /// Its name.
    pub(super) fn name(&self) -> &'static str {
        if self.is_fat32 { "FAT32" } else { "FAT16" }
    }
}
