//! `embedded-sdmmc`'s way to a disk: by sectors of 512 bytes, through a shared reference.

use core::cell::RefCell;

use embedded_sdmmc::{Block, BlockCount, BlockDevice, BlockIdx};
use paravane_hal::time::Clock;

use crate::blocking::{Disk, DiskError};
use crate::buffer::BlockBuffer;
use crate::queue::RequestQueue;

/// A [`Disk`] for `embedded-sdmmc`, whose blocks have 512 bytes: a disk with longer ones refuses
/// what is no whole block of its own. It knows no flush: who needs one takes the disk out of the
/// volume manager, or [asks it](Self::with) between calls.
#[derive(Debug)]
pub struct SharedDisk<Q, C>(RefCell<Disk<Q, C>>);

impl<Q: RequestQueue<BlockBuffer>, C: Clock> SharedDisk<Q, C> {
    /// Over `disk`.
    #[must_use]
    pub const fn new(disk: Disk<Q, C>) -> Self {
        Self(RefCell::new(disk))
    }

    /// Lets `ask` have the disk.
    ///
    /// # Panics
    ///
    /// When `ask` asks this for the disk again.
    pub fn with<T>(&self, ask: impl FnOnce(&mut Disk<Q, C>) -> T) -> T {
        ask(&mut self.0.borrow_mut())
    }

    /// The disk.
    #[must_use]
    pub fn into_disk(self) -> Disk<Q, C> {
        self.0.into_inner()
    }
}

impl<Q: RequestQueue<BlockBuffer>, C: Clock> BlockDevice for SharedDisk<Q, C> {
    type Error = DiskError;

    fn read(&self, blocks: &mut [Block], start_block_idx: BlockIdx) -> Result<(), DiskError> {
        self.with(|disk| {
            // Blocks do not lie behind one another in memory that safe code can see as one.
            (u64::from(start_block_idx.0)..)
                .zip(blocks)
                .try_for_each(|(sector, block)| disk.read(sector, &mut block.contents))
        })
    }

    fn write(&self, blocks: &[Block], start_block_idx: BlockIdx) -> Result<(), DiskError> {
        self.with(|disk| {
            (u64::from(start_block_idx.0)..)
                .zip(blocks)
                .try_for_each(|(sector, block)| disk.write(sector, &block.contents))
        })
    }

    /// No more than its words can count: 2 TiB.
    fn num_blocks(&self) -> Result<BlockCount, DiskError> {
        let sectors = self.with(|disk| disk.capacity_sectors());
        Ok(BlockCount(u32::try_from(sectors).unwrap_or(u32::MAX)))
    }
}
