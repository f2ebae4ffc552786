//! What a disk is, what its device takes at once, and the rules that a request has to keep.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use alloc::sync::Arc;

use paravane_hal::dma::{DeviceTag, Direction, DomainTag};

use crate::data::{Data, Piece};
use crate::ranges::{RangeLimits, SectorRange};
use crate::request::{ID_BYTES, LIFETIME_BYTES, Operation, Request, SubmitError};
use crate::shape::{Geometry, Topology};

/// The unit in which places are counted, whatever the device's blocks are.
pub const SECTOR_BYTES: u32 = 512;
/// The same, as wide as a length.
const SECTOR: u64 = SECTOR_BYTES as u64;

/// What a device takes as one request. Longer ones are [cut](crate::Parts) by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most segments.
    pub max_segments: u16,
    /// The longest segment.
    pub max_segment_bytes: u32,
    /// Most bytes.
    pub max_bytes: u32,
}

impl Limits {
    /// None but those of the words that count.
    pub const NONE: Self = Self { max_segments: u16::MAX, max_segment_bytes: u32::MAX, max_bytes: u32::MAX };

    /// Whether a device takes `transfer` at once.
    #[must_use]
    #[inline(always)]
    pub fn take(self, transfer: Transfer) -> bool {
        transfer.segments <= self.max_segments.into() && transfer.bytes <= self.max_bytes.into()
    }

    /// How many segments a piece of `len_bytes` is; as many as can be counted, when none is that
    /// short.
    #[inline(always)]
    fn segments(self, len_bytes: u64) -> usize {
        let max_bytes = u64::from(self.max_segment_bytes);
        if len_bytes <= max_bytes {
            return usize::from(len_bytes > 0);
        }
        let whole = len_bytes.wrapping_sub(1).checked_div(max_bytes).unwrap_or(u64::MAX);
        usize::try_from(whole).unwrap_or(usize::MAX).saturating_add(1)
    }
}

/// What does not change while a disk runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskInfo {
    /// The driver's name.
    pub driver: &'static str,
    /// The device's blocks: requests start at a multiple of it and are as long as one. A power of
    /// two, [`SECTOR_BYTES`] at least.
    pub block_bytes: u32,
    /// Whether nothing can be written.
    pub read_only: bool,
    /// Whether there is something to flush: what was written may be lost until then. Where the
    /// cache can be switched, [`Control::write_cache`](crate::Control::write_cache) says how it is.
    pub write_cache: bool,
    /// Whether the device tells how worn the medium is.
    pub lifetime: bool,
    /// What the device takes as one request.
    pub limits: Limits,
    /// What it takes of sectors to discard; `None`: it does not discard.
    pub discard: Option<RangeLimits>,
    /// What it takes of sectors to fill with zeroes; `None`: it does not.
    pub write_zeroes: Option<RangeLimits>,
    /// Whether it may give up memory while it fills with zeroes. Where it does not, nothing is made
    /// of a request that lets it.
    pub zeroes_unmap: bool,
    /// What it takes of sectors to erase; `None`: it does not erase.
    pub secure_erase: Option<RangeLimits>,
    /// How blocks lie on the medium.
    pub topology: Topology,
    /// What programs of long ago want to know; `None`: it has none.
    pub geometry: Option<Geometry>,
    /// How many requests of one segment fit the queue at once.
    pub max_in_flight: u16,
}

impl DiskInfo {
    /// A disk of sectors that is read, written and flushed, of which nothing more is known; one
    /// request at a time.
    #[must_use]
    pub const fn plain(driver: &'static str) -> Self {
        Self {
            driver,
            block_bytes: SECTOR_BYTES,
            read_only: false,
            write_cache: true,
            lifetime: false,
            limits: Limits::NONE,
            discard: None,
            write_zeroes: None,
            zeroes_unmap: false,
            secure_erase: None,
            topology: Topology::UNKNOWN,
            geometry: None,
            max_in_flight: 1,
        }
    }

    /// What the device takes of the range of `operation`; `None` where it has no such operation.
    #[must_use]
    pub const fn range_limits(&self, operation: Operation) -> Option<RangeLimits> {
        match operation {
            Operation::Discard { .. } => self.discard,
            Operation::WriteZeroes { .. } => self.write_zeroes,
            Operation::SecureErase { .. } => self.secure_erase,
            _ => None,
        }
    }

    /// Whether the device is to be told that it may give up the memory behind the range of
    /// `operation`: it can, and the request lets it.
    #[must_use]
    pub const fn unmaps(&self, operation: Operation) -> bool {
        self.zeroes_unmap && matches!(operation, Operation::WriteZeroes { may_unmap: true, .. })
    }
}

/// How large the disk is, in sectors: known to its control half, which changes it, and to its
/// queues. A clone is the same one.
#[derive(Clone, Debug, Default)]
pub struct Capacity(Arc<AtomicU64>);

impl Capacity {
    /// A disk of `sectors`.
    #[must_use]
    pub fn new(sectors: u64) -> Self {
        Self(Arc::new(AtomicU64::new(sectors)))
    }

    /// How many sectors there are.
    #[must_use]
    #[inline]
    pub fn sectors(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Has the disk be of `sectors`. Whether that is a change.
    pub fn set(&self, sectors: u64) -> bool {
        self.0.swap(sectors, Relaxed) != sectors
    }
}

/// What a request has to be, held against what the device said about itself. For drivers: asked
/// before anything is told to the device.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What the device said.
    pub info: DiskInfo,
    /// How large it is.
    pub capacity: Capacity,
    /// Which memory it reaches
    pub domain: DomainTag,
    /// and which device it is.
    pub device: DeviceTag,
}

/// What a request moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// How many bytes.
    pub bytes: u64,
    /// Which way; `None` when it has no data.
    pub direction: Option<Direction>,
    /// How many segments its data is, none of them longer than a device takes.
    pub segments: usize,
    /// It is cut at multiples of this only.
    pub granule_bytes: u32,
}

impl Rules {
    /// What `request` moves, if it keeps the rules.
    ///
    /// # Errors
    ///
    /// [`SubmitError`]: which one it breaks.
    #[inline]
    pub fn check<B: Data>(&self, request: &Request<B>) -> Result<Transfer, SubmitError> {
        let direction = request.operation.direction();
        let (bytes, segments) = self.measure(request.data.as_ref(), direction)?;
        let granule_bytes = match request.operation {
            Operation::Read { sector } => self.check_range(sector, bytes)?,
            Operation::Write { .. } if self.info.read_only => return Err(SubmitError::ReadOnly),
            Operation::Write { sector } => self.check_range(sector, bytes)?,
            other => self.check_other(other, bytes)?,
        };
        Ok(Transfer { bytes, direction, segments, granule_bytes })
    }

    /// The same of what neither reads nor writes sectors by its data.
    #[cold]
    fn check_other(&self, operation: Operation, bytes: u64) -> Result<u32, SubmitError> {
        let whole = |whole_bytes: usize| {
            // Few enough for any word.
            let block_bytes = u32::try_from(whole_bytes).unwrap_or(u32::MAX);
            let is_whole = bytes == u64::from(block_bytes);
            if is_whole { Ok(block_bytes) } else { Err(SubmitError::NotBlocks { bytes, block_bytes }) }
        };
        match operation {
            Operation::Identify => whole(ID_BYTES),
            Operation::Lifetime if self.info.lifetime => whole(LIFETIME_BYTES),
            Operation::Lifetime => Err(SubmitError::Unsupported),
            other => {
                let Some(SectorRange { sector, sectors }) = other.range() else { return Ok(1) };
                if self.info.read_only {
                    return Err(SubmitError::ReadOnly);
                }
                if self.info.range_limits(other).is_none() {
                    return Err(SubmitError::Unsupported);
                }
                if sectors == 0 {
                    return Err(SubmitError::WrongData);
                }
                self.check_range(sector, u64::from(sectors).saturating_mul(SECTOR))
            }
        }
    }

    /// How long `data` is, which is to go that way, and how many segments.
    #[inline]
    fn measure<B: Data>(
        &self,
        data: Option<&B>,
        direction: Option<Direction>,
    ) -> Result<(u64, usize), SubmitError> {
        let (data, direction) = match (data, direction) {
            (None, None) => return Ok((0, 0)),
            (Some(data), Some(direction)) => (data, direction),
            _ => return Err(SubmitError::WrongData),
        };
        let (mut bytes, mut segments) = (0_u64, 0_usize);
        for piece in data.pieces() {
            if !piece.is_reached_by(self.domain, self.device) {
                return Err(SubmitError::Foreign);
            }
            if !piece.allows(direction) {
                return Err(SubmitError::WrongDirection);
            }
            // Pieces are memory, and there is less of that than a word can count.
            let len_bytes = u64::try_from(piece.len_bytes()).unwrap_or(u64::MAX);
            bytes = bytes.saturating_add(len_bytes);
            segments = segments.saturating_add(self.info.limits.segments(len_bytes));
        }
        if bytes == 0 { Err(SubmitError::WrongData) } else { Ok((bytes, segments)) }
    }

    /// That `bytes` from `sector` on are whole blocks of the disk. Returns how long a block is.
    #[inline]
    fn check_range(&self, sector: u64, bytes: u64) -> Result<u32, SubmitError> {
        let block_bytes = self.info.block_bytes.max(SECTOR_BYTES);
        let block_sectors = u64::from(block_bytes / SECTOR_BYTES);
        // Powers of two.
        if bytes & u64::from(block_bytes.wrapping_sub(1)) != 0 || sector & block_sectors.wrapping_sub(1) != 0
        {
            return Err(SubmitError::NotBlocks { bytes, block_bytes });
        }
        let sectors = bytes / SECTOR;
        let capacity_sectors = self.capacity.sectors();
        match sector.checked_add(sectors) {
            Some(end) if end <= capacity_sectors => Ok(block_bytes),
            _ => Err(SubmitError::OutOfRange { sector, sectors, capacity_sectors }),
        }
    }
}
