//! `gpt_disk_io`'s way to a disk. Its blocks are the device's.

use gpt_disk_io::BlockIo;
use gpt_disk_io::gpt_disk_types::{BlockSize, Lba};
use paravane_hal::time::Clock;

use crate::SECTOR_BYTES;
use crate::blocking::{Disk, DiskError};
use crate::buffer::BlockBuffer;
use crate::queue::RequestQueue;
use crate::request::SubmitError;

impl<Q: RequestQueue<BlockBuffer>, C: Clock> Disk<Q, C> {
    fn block_sectors(&self) -> u64 {
        u64::from(self.info().block_bytes / SECTOR_BYTES).max(1)
    }

    /// The first sector of block `lba`.
    fn sector(&self, lba: Lba) -> Result<u64, DiskError> {
        let capacity_sectors = self.capacity_sectors();
        // What does not fit a word is beyond the end of any disk.
        let beyond = SubmitError::OutOfRange { sector: u64::MAX, sectors: 1, capacity_sectors };
        lba.0.checked_mul(self.block_sectors()).ok_or(DiskError::Refused(beyond))
    }
}

impl<Q: RequestQueue<BlockBuffer>, C: Clock> BlockIo for Disk<Q, C> {
    type Error = DiskError;

    fn block_size(&self) -> BlockSize {
        // A driver says no other than a power of two from 512 on.
        let said = usize::try_from(self.info().block_bytes).ok().and_then(BlockSize::from_usize);
        said.unwrap_or(BlockSize::BS_512)
    }

    fn num_blocks(&mut self) -> Result<u64, DiskError> {
        Ok(self.capacity_sectors().checked_div(self.block_sectors()).unwrap_or(0))
    }

    fn read_blocks(&mut self, start_lba: Lba, dst: &mut [u8]) -> Result<(), DiskError> {
        let sector = self.sector(start_lba)?;
        self.read(sector, dst)
    }

    fn write_blocks(&mut self, start_lba: Lba, src: &[u8]) -> Result<(), DiskError> {
        let sector = self.sector(start_lba)?;
        self.write(sector, src)
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        Disk::flush(self)
    }
}

/// One that is lent: [`gpt_disk_io::Disk`] keeps what it is given.
impl<Q: RequestQueue<BlockBuffer>, C: Clock> BlockIo for &mut Disk<Q, C> {
    type Error = DiskError;

    fn block_size(&self) -> BlockSize {
        (**self).block_size()
    }

    fn num_blocks(&mut self) -> Result<u64, DiskError> {
        (**self).num_blocks()
    }

    fn read_blocks(&mut self, start_lba: Lba, dst: &mut [u8]) -> Result<(), DiskError> {
        (**self).read_blocks(start_lba, dst)
    }

    fn write_blocks(&mut self, start_lba: Lba, src: &[u8]) -> Result<(), DiskError> {
        (**self).write_blocks(start_lba, src)
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        Disk::flush(self)
    }
}
