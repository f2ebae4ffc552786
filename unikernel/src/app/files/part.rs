//! A partition as `embedded-sdmmc` wants a disk.
//!
//! What it is shown is a disk with a partition table whose only partition is this one, so that it
//! need not know what kind of table there is, and cannot leave the partition wherever a broken file
//! system leads it.

use core::cell::Cell;
use core::fmt;
use core::time::Duration;

use embedded_sdmmc::{Block, BlockCount, BlockDevice, BlockIdx};
use paravane_block::{BlockBuffer, Disk, DiskError, RequestQueue, SharedDisk};
use paravane_hal::time::{Clock, Instant};

use super::layout::{Layout, Sector};
use super::partition::{Partition, picture};

/// Where the partition is in the picture.
pub(super) const FIRST: u32 = 1;
/// Where in FAT32's sector of hints the number of free clusters is.
const FREE_COUNT: core::ops::Range<usize> = 488..492;

/// Why a sector was not read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The disk's own reason.
    Disk(DiskError),
    /// It would be outside the partition: the file system leads there.
    Outside,
    /// What was asked takes too long.
    TooLong,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(error) => error.fmt(f),
            Self::Outside => f.write_str("the file system leads outside its partition"),
            Self::TooLong => f.write_str("one request took too many reads and writes"),
        }
    }
}

impl core::error::Error for Trouble {}

/// A partition of a disk.
#[derive(Debug)]
pub(super) struct Part<Q, C> {
    disk: SharedDisk<Q, C>,
    clock: C,
    place: Partition,
    /// When what was begun has to be done.
    until: Cell<Instant>,
    /// What went wrong since then: `embedded-sdmmc` does not always tell.
    trouble: Cell<Option<Trouble>>,
    /// What of it is not shown as it is, once that is known.
    layout: Cell<Option<Layout>>,
}

impl<Q: RequestQueue<BlockBuffer>, C: Clock> Part<Q, C> {
    pub(super) fn new(disk: Disk<Q, C>, clock: C, place: Partition) -> Self {
        let disk = SharedDisk::new(disk);
        let (until, trouble, layout) = Default::default();
        Self { disk, clock, place, until: Cell::new(until), trouble, layout }
    }

    pub(super) fn place(&self) -> Partition {
        self.place
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.disk.with(|disk| disk.info().read_only)
    }

    /// From here on `embedded-sdmmc` is not shown what it would make the wrong thing of.
    pub(super) fn set_layout(&self, layout: Layout) {
        self.layout.set(Some(layout));
    }

    /// Covers of a sector that was read what is not to be shown.
    fn cover(&self, number: u32, sector: &mut Sector) {
        let Some(layout) = self.layout.get() else { return };
        // Clusters are given back here without it, so its count of free ones would be wrong.
        if layout.is_fat32 && number == layout.info_sector {
            sector[FREE_COUNT].fill(0xff);
        }
        // It looks for free clusters up to the end of a sector, and there may be fewer clusters.
        let (last, end) = layout.end_of_fat();
        if number == layout.fat_start + last {
            sector[end..].fill(0xff);
        }
    }

    /// Something new begins, and is to be done in `limit`.
    pub(super) fn begin(&self, limit: Duration) {
        self.until.set(self.clock.now().saturating_add(limit));
        self.trouble.set(None);
    }

    /// What went wrong since then first.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.trouble.get()
    }

    /// Reads sector `number` of the partition.
    pub(super) fn read_sector(&self, number: u32) -> Result<Sector, Trouble> {
        let mut block = [Block::new()];
        self.read(&mut block, BlockIdx(number.saturating_add(FIRST)))?;
        let [block] = block;
        Ok(block.contents)
    }

    /// Writes it.
    pub(super) fn write_sector(&self, number: u32, sector: &Sector) -> Result<(), Trouble> {
        let mut block = Block::new();
        block.contents = *sector;
        self.write(&[block], BlockIdx(number.saturating_add(FIRST)))
    }

    /// Makes durable what was written.
    pub(super) fn flush(&self) -> Result<(), Trouble> {
        self.judge(self.disk.with(|disk| disk.flush()).map_err(Trouble::Disk))
    }

    /// That there is time left for what was begun: to be asked wherever what is on the disk says
    /// how long it goes on.
    pub(super) fn check_time(&self) -> Result<(), Trouble> {
        let is_over = self.clock.now() >= self.until.get();
        self.judge(if is_over { Err(Trouble::TooLong) } else { Ok(()) })
    }

    /// Where on the disk `blocks` from `start` on are.
    fn sectors(&self, start: BlockIdx, blocks: usize) -> Result<BlockIdx, Trouble> {
        self.check_time()?;
        let count = u32::try_from(blocks).ok();
        let end = count.and_then(|count| start.0.checked_sub(FIRST)?.checked_add(count));
        match end {
            Some(end) if end <= self.place.sectors => Ok(BlockIdx(self.place.first_sector + start.0 - FIRST)),
            _ => Err(Trouble::Outside),
        }
    }

    fn judge<T>(&self, result: Result<T, Trouble>) -> Result<T, Trouble> {
        result.inspect_err(|trouble| self.trouble.set(self.trouble.get().or(Some(*trouble))))
    }
}

impl<Q: RequestQueue<BlockBuffer>, C: Clock> BlockDevice for Part<Q, C> {
    type Error = Trouble;

    fn read(&self, blocks: &mut [Block], start: BlockIdx) -> Result<(), Trouble> {
        if let (0, [front]) = (start.0, &mut *blocks) {
            front.contents = picture(self.place.sectors);
            return Ok(());
        }
        let place = self.judge(self.sectors(start, blocks.len()))?;
        self.judge(self.disk.read(blocks, place).map_err(Trouble::Disk))?;
        // It reads one at a time where there is something to cover.
        if let [block] = blocks {
            self.cover(start.0.saturating_sub(FIRST), &mut block.contents);
        }
        Ok(())
    }

    fn write(&self, blocks: &[Block], start: BlockIdx) -> Result<(), Trouble> {
        let place = self.judge(self.sectors(start, blocks.len()))?;
        self.judge(self.disk.write(blocks, place).map_err(Trouble::Disk))
    }

    fn num_blocks(&self) -> Result<BlockCount, Trouble> {
        Ok(BlockCount(self.place.sectors.saturating_add(FIRST)))
    }
}
