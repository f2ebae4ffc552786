//! Which clusters a file has: the FAT's entry of each says which is next.
//!
//! Spec: "Microsoft Extensible Firmware Initiative FAT32 File System Specification", version 1.03,
//! "FAT Data Structure".

use paravane_block::{BlockBuffer, RequestQueue};
use paravane_hal::time::Clock;

use super::layout::{Layout, Sector, le16, le32};
use super::part::{Part, Trouble};

/// Entries from here on end a chain.
const END: [u32; 2] = [0xfff8, 0x0fff_fff8];
/// An entry of 32 bits has 28 that count.
const COUNTS: u32 = 0x0fff_ffff;

/// The FAT, of which one sector at a time is looked at.
pub(super) struct Fat<'p, Q, C> {
    part: &'p Part<Q, C>,
    layout: Layout,
    /// Which of its sectors that is.
    at: Option<u32>,
    sector: Sector,
}

impl<'p, Q: RequestQueue<BlockBuffer>, C: Clock> Fat<'p, Q, C> {
    pub(super) fn new(part: &'p Part<Q, C>, layout: Layout) -> Self {
        Self { part, layout, at: None, sector: [0; 512] }
    }

    /// How many clusters there are from `first` on; `None`: the chain has no end, or leads to a
    /// cluster that is free or that there is not.
    pub(super) fn count(&mut self, first: u32) -> Result<Option<u32>, Trouble> {
        let mut cluster = first;
        for count in 1..=self.layout.clusters {
            if !self.layout.has_cluster(cluster) {
                return Ok(None);
            }
            let next = self.next(cluster)?;
            if next >= END[usize::from(self.layout.is_fat32)] {
                return Ok(Some(count));
            }
            cluster = next;
        }
        Ok(None)
    }

    /// Gives back all clusters from `first` on.
    pub(super) fn free(&mut self, first: u32) -> Result<(), Trouble> {
        let mut cluster = first;
        let mut is_changed = false;
        // Each is freed once: a free one leads to none.
        while self.layout.has_cluster(cluster) {
            if is_changed && self.at != Some(self.sector_of(cluster).0) {
                self.store()?;
            }
            let next = self.next(cluster)?;
            let (_, offset) = self.sector_of(cluster);
            if self.layout.is_fat32 {
                let kept = le32(&self.sector, offset) & !COUNTS;
                self.sector[offset..offset + 4].copy_from_slice(&kept.to_le_bytes());
            } else {
                self.sector[offset..offset + 2].fill(0);
            }
            is_changed = true;
            cluster = next;
        }
        if is_changed { self.store() } else { Ok(()) }
    }

    /// Writes the sector that is looked at to every copy of the FAT.
    fn store(&mut self) -> Result<(), Trouble> {
        let Some(at) = self.at else { return Ok(()) };
        for copy in 0..self.layout.fats {
            let start = self.layout.fat_start + copy * self.layout.fat_sectors;
            self.part.write_sector(start + at, &self.sector)?;
        }
        Ok(())
    }

    /// What the entry of `cluster`, which there is, says.
    fn next(&mut self, cluster: u32) -> Result<u32, Trouble> {
        let (sector, offset) = self.sector_of(cluster);
        // A chain may go round in the sector that is here already.
        self.part.check_time()?;
        if self.at != Some(sector) {
            self.at = None;
            self.sector = self.part.read_sector(self.layout.fat_start + sector)?;
            self.at = Some(sector);
        }
        Ok(match self.layout.is_fat32 {
            true => le32(&self.sector, offset) & COUNTS,
            false => le16(&self.sector, offset).into(),
        })
    }

    /// In which sector of the FAT the entry of `cluster` is, and where in it.
    fn sector_of(&self, cluster: u32) -> (u32, usize) {
        let per_sector = self.layout.entries_per_sector();
        (cluster / per_sector, (cluster % per_sector * (512 / per_sector)) as usize)
    }
}
