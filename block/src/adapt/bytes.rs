//! A disk as a stream of bytes, by `embedded-io`.

use alloc::vec::Vec;

use embedded_io::{Error, ErrorKind, ErrorType, Read, Seek, SeekFrom, Write};
use paravane_hal::Failed;
use paravane_hal::dma::{DmaError, DmaErrorReason};
use paravane_hal::time::Clock;

use crate::SECTOR_BYTES;
use crate::blocking::{Disk, DiskError, sectors_of};
use crate::buffer::BlockBuffer;
use crate::queue::RequestQueue;
use crate::request::SubmitError;

/// A sector's length, as wide as a position.
const SECTOR: u64 = SECTOR_BYTES as u64;

/// A [`Disk`] with a position in bytes. What is no whole block is read, changed and written back;
/// nothing is kept in between, so a [`flush`](Write::flush) is the disk's.
///
/// Its end is the disk's: nothing is read from there on, and to write there is an error.
#[derive(Debug)]
pub struct Bytes<Q, C> {
    disk: Disk<Q, C>,
    position: u64,
    /// As long as a block.
    block: Vec<u8>,
}

/// Where bytes of a call lie.
enum Span {
    /// They are so many whole blocks.
    Blocks(usize),
    /// They are so many inside a block, which has so many before them.
    Inside { before: usize, len_bytes: usize },
    /// There are none.
    Nothing,
}

impl<Q: RequestQueue<BlockBuffer>, C: Clock> Bytes<Q, C> {
    /// `disk` from its start on.
    ///
    /// # Errors
    ///
    /// [`DmaError`] when there is no memory for a block, and the disk back.
    pub fn new(disk: Disk<Q, C>) -> Result<Self, Failed<DmaError, Disk<Q, C>>> {
        let block_bytes = usize::try_from(disk.info().block_bytes).unwrap_or(usize::MAX);
        let mut block = Vec::new();
        if block.try_reserve_exact(block_bytes).is_err() {
            return Err(Failed::new(DmaError::new(block_bytes, DmaErrorReason::OutOfMemory), disk));
        }
        block.resize(block_bytes, 0);
        Ok(Self { disk, position: 0, block })
    }

    /// The disk.
    #[must_use]
    pub fn into_disk(self) -> Disk<Q, C> {
        self.disk
    }

    fn end(&self) -> u64 {
        self.disk.capacity_sectors().saturating_mul(SECTOR)
    }

    /// The first sector of the block that the position is in, and what of the next `wanted` bytes
    /// one call moves.
    fn span(&self, wanted: usize) -> (u64, Span) {
        let block_bytes = self.block.len().max(1);
        let left = usize::try_from(self.end().saturating_sub(self.position)).unwrap_or(usize::MAX);
        let len_bytes = wanted.min(left);
        let block = u64::try_from(block_bytes).unwrap_or(u64::MAX);
        let before = self.position.checked_rem(block).unwrap_or(0);
        let start = self.position.wrapping_sub(before);
        let sector = start / SECTOR;
        let before = usize::try_from(before).unwrap_or(0);
        let whole = len_bytes.wrapping_sub(len_bytes.checked_rem(block_bytes).unwrap_or(0));
        let span = if len_bytes == 0 {
            Span::Nothing
        } else if before == 0 && whole > 0 {
            Span::Blocks(whole)
        } else {
            Span::Inside { before, len_bytes: len_bytes.min(block_bytes.saturating_sub(before)) }
        };
        (sector, span)
    }

    fn advance(&mut self, len_bytes: usize) -> usize {
        self.position = self.position.saturating_add(u64::try_from(len_bytes).unwrap_or(u64::MAX));
        len_bytes
    }

    /// `len_bytes` of the block that was read, behind `before`.
    fn inside(&mut self, before: usize, len_bytes: usize) -> &mut [u8] {
        self.block.get_mut(before..).and_then(|rest| rest.get_mut(..len_bytes)).unwrap_or_default()
    }
}

impl Error for DiskError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::TimedOut(_) => ErrorKind::TimedOut,
            Self::NoBuffer { .. } => ErrorKind::OutOfMemory,
            Self::Refused(SubmitError::ReadOnly) => ErrorKind::PermissionDenied,
            Self::Refused(SubmitError::Unsupported) => ErrorKind::Unsupported,
            Self::Refused(SubmitError::OutOfRange { .. }) => ErrorKind::InvalidInput,
            _ => ErrorKind::Other,
        }
    }
}

impl<Q: RequestQueue<BlockBuffer>, C: Clock> ErrorType for Bytes<Q, C> {
    type Error = DiskError;
}

impl<Q: RequestQueue<BlockBuffer>, C: Clock> Read for Bytes<Q, C> {
    fn read(&mut self, to: &mut [u8]) -> Result<usize, DiskError> {
        match self.span(to.len()) {
            (_, Span::Nothing) => Ok(0),
            (sector, Span::Blocks(len_bytes)) => {
                let whole = to.get_mut(..len_bytes).unwrap_or_default();
                self.disk.read(sector, whole)?;
                Ok(self.advance(len_bytes))
            }
            (sector, Span::Inside { before, len_bytes }) => {
                self.disk.read(sector, &mut self.block)?;
                let from = self.inside(before, len_bytes);
                to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
                Ok(self.advance(len_bytes))
            }
        }
    }
}

impl<Q: RequestQueue<BlockBuffer>, C: Clock> Write for Bytes<Q, C> {
    fn write(&mut self, from: &[u8]) -> Result<usize, DiskError> {
        match self.span(from.len()) {
            (_, Span::Nothing) if from.is_empty() => Ok(0),
            (sector, Span::Nothing) => {
                let capacity_sectors = self.disk.capacity_sectors();
                let sectors = sectors_of(from.len()).max(1);
                Err(DiskError::Refused(SubmitError::OutOfRange { sector, sectors, capacity_sectors }))
            }
            (sector, Span::Blocks(len_bytes)) => {
                self.disk.write(sector, from.get(..len_bytes).unwrap_or_default())?;
                Ok(self.advance(len_bytes))
            }
            (sector, Span::Inside { before, len_bytes }) => {
                self.disk.read(sector, &mut self.block)?;
                let to = self.inside(before, len_bytes);
                to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
                self.disk.write(sector, &self.block)?;
                Ok(self.advance(len_bytes))
            }
        }
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        self.disk.flush()
    }
}

impl<Q: RequestQueue<BlockBuffer>, C: Clock> Seek for Bytes<Q, C> {
    /// Anywhere from the start on, beyond the end too.
    fn seek(&mut self, to: SeekFrom) -> Result<u64, DiskError> {
        let place = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => self.end().checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        let capacity_sectors = self.disk.capacity_sectors();
        let outside = SubmitError::OutOfRange { sector: u64::MAX, sectors: 0, capacity_sectors };
        self.position = place.ok_or(DiskError::Refused(outside))?;
        Ok(self.position)
    }
}
