//! Requests, and what becomes of them.

use core::fmt;

use paravane_hal::dma::Direction;
use paravane_hal::fault::DeviceFault;

use crate::ranges::SectorRange;

/// How many bytes a device's identity has. What is not used is zero.
pub const ID_BYTES: usize = 20;
/// How many bytes a device's [`Lifetime`](crate::Lifetime) has.
pub const LIFETIME_BYTES: usize = 6;

/// What a device is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// Fill the data with what is stored from `sector` on.
    Read {
        /// The first sector of 512 bytes, whatever the device's blocks are.
        sector: u64,
    },
    /// Store the data from `sector` on.
    Write {
        /// The first sector of 512 bytes.
        sector: u64,
    },
    /// Make durable what was written by requests that completed before this one was submitted.
    /// Others may or may not be.
    Flush,
    /// Fill the data, [`ID_BYTES`] long, with the device's identity: ASCII, padded with zeros.
    Identify,
    /// Fill the data, [`LIFETIME_BYTES`] long, with how worn the medium is:
    /// [`Lifetime::from_bytes`](crate::Lifetime::from_bytes) reads it.
    Lifetime,
    /// What these sectors hold is not needed any more. Until they are written again, what a read
    /// of them gives is anything.
    Discard {
        /// The first of them.
        sector: u64,
        /// How many.
        sectors: u32,
    },
    /// Have these sectors read as zeroes.
    WriteZeroes {
        /// The first of them.
        sector: u64,
        /// How many.
        sectors: u32,
        /// Whether the device may give up the memory behind them.
        may_unmap: bool,
    },
    /// Have nobody find what these sectors hold, not even on the medium.
    SecureErase {
        /// The first of them.
        sector: u64,
        /// How many.
        sectors: u32,
    },
}

impl Operation {
    /// Which way its data goes; `None` when it has none.
    #[must_use]
    pub const fn direction(self) -> Option<Direction> {
        match self {
            Self::Read { .. } | Self::Identify | Self::Lifetime => Some(Direction::FromDevice),
            Self::Write { .. } => Some(Direction::ToDevice),
            Self::Flush | Self::Discard { .. } | Self::WriteZeroes { .. } | Self::SecureErase { .. } => None,
        }
    }

    /// The sectors that it is about, where they are its operand and not its data's place.
    #[must_use]
    pub const fn range(self) -> Option<SectorRange> {
        match self {
            Self::Discard { sector, sectors }
            | Self::WriteZeroes { sector, sectors, .. }
            | Self::SecureErase { sector, sectors } => Some(SectorRange { sector, sectors }),
            _ => None,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { sector } => write!(f, "read at sector {sector}"),
            Self::Write { sector } => write!(f, "write at sector {sector}"),
            Self::Flush => f.write_str("flush"),
            Self::Identify => f.write_str("identify"),
            Self::Lifetime => f.write_str("lifetime"),
            Self::Discard { sector, sectors } => write!(f, "discard of {sectors} sectors at {sector}"),
            Self::WriteZeroes { sector, sectors, .. } => {
                write!(f, "zeroes for {sectors} sectors at {sector}")
            }
            Self::SecureErase { sector, sectors } => {
                write!(f, "secure erase of {sectors} sectors at {sector}")
            }
        }
    }
}

/// One request. It owns its data, which comes back with the [`Completion`].
#[derive(Debug, PartialEq, Eq)]
pub struct Request<B> {
    /// What is to be done.
    pub operation: Operation,
    /// Anything by which whoever submits it knows it again.
    pub token: u64,
    /// Its data; none where the [`Operation`] has no direction.
    pub data: Option<B>,
}

impl<B> Request<B> {
    /// A read of as much as `data` is long.
    #[must_use]
    pub const fn read(sector: u64, data: B) -> Self {
        Self { operation: Operation::Read { sector }, token: 0, data: Some(data) }
    }

    /// A write of `data`.
    #[must_use]
    pub const fn write(sector: u64, data: B) -> Self {
        Self { operation: Operation::Write { sector }, token: 0, data: Some(data) }
    }

    /// A flush.
    #[must_use]
    pub const fn flush() -> Self {
        Self { operation: Operation::Flush, token: 0, data: None }
    }

    /// A question for the device's identity; `data` is [`ID_BYTES`] long.
    #[must_use]
    pub const fn identify(data: B) -> Self {
        Self { operation: Operation::Identify, token: 0, data: Some(data) }
    }

    /// A question for how worn the medium is; `data` is [`LIFETIME_BYTES`] long.
    #[must_use]
    pub const fn lifetime(data: B) -> Self {
        Self { operation: Operation::Lifetime, token: 0, data: Some(data) }
    }

    /// Tells that `range` is not needed any more.
    #[must_use]
    pub const fn discard(range: SectorRange) -> Self {
        let SectorRange { sector, sectors } = range;
        Self { operation: Operation::Discard { sector, sectors }, token: 0, data: None }
    }

    /// Has `range` read as zeroes; the device may give up what is behind it if `may_unmap`.
    #[must_use]
    pub const fn write_zeroes(range: SectorRange, may_unmap: bool) -> Self {
        let SectorRange { sector, sectors } = range;
        Self { operation: Operation::WriteZeroes { sector, sectors, may_unmap }, token: 0, data: None }
    }

    /// Has `range` erased for good.
    #[must_use]
    pub const fn secure_erase(range: SectorRange) -> Self {
        let SectorRange { sector, sectors } = range;
        Self { operation: Operation::SecureErase { sector, sectors }, token: 0, data: None }
    }

    /// The same, to be known again by `token`.
    #[must_use]
    pub fn with_token(self, token: u64) -> Self {
        Self { token, ..self }
    }
}

/// A request that the device is done with, and how it ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Completion<B> {
    /// The request as it was submitted. After a failed read its data is whatever it is.
    pub request: Request<B>,
    /// Whether it was done.
    pub result: Result<(), RequestError>,
}

/// A request was not done, or not wholly. Of a failed write, any part may be stored; of a range
/// that was to be discarded, filled or erased, any part may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestError {
    /// Which one, by what it was to do
    pub operation: Operation,
    /// and by its token.
    pub token: u64,
    /// Why not.
    pub fault: RequestFault,
}

impl RequestError {
    /// `request` ended with `fault`.
    #[must_use]
    pub const fn new<B>(request: &Request<B>, fault: RequestFault) -> Self {
        Self { operation: request.operation, token: request.token, fault }
    }
}

/// Why a request was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestFault {
    /// The device says that it failed: a bad medium, a place beyond its end, a read-only disk.
    Io,
    /// The device does not know such requests.
    Unsupported,
    /// The device says that it is done, but wrote less than was asked for.
    Short {
        /// What it wrote, it says, in bytes.
        written_bytes: u32,
        /// What it was to write, in bytes.
        expected_bytes: u32,
    },
    /// The device ended it with a status that does not exist. The queue is broken.
    UnknownStatus {
        /// The status.
        status: u8,
    },
}

impl fmt::Display for RequestFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io => f.write_str("the device reports an I/O error"),
            Self::Unsupported => f.write_str("the device does not support it"),
            Self::Short { written_bytes, expected_bytes } => {
                write!(f, "the device says that it wrote {written_bytes} bytes of {expected_bytes}")
            }
            Self::UnknownStatus { status } => {
                write!(f, "the device gave status {status:#x}, which does not exist")
            }
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (token {}): {}", self.operation, self.token, self.fault)
    }
}

impl core::error::Error for RequestError {}

/// A request was not taken. It comes back untouched, and the device does not know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubmitError {
    /// No room now; there is when others have completed.
    Full,
    /// It takes more of the queue than there is when it is empty.
    TooLong {
        /// How many segments it takes.
        segments: usize,
        /// How many a whole queue takes.
        max_segments: usize,
    },
    /// Not a single block of it fits the segments that a device takes at once: its pieces are too
    /// short.
    TooFragmented {
        /// How many segments a device takes at once.
        max_segments: u16,
    },
    /// The disk cannot be written.
    ReadOnly,
    /// The disk has no such operation; [`DiskInfo`](crate::DiskInfo) says which it has.
    Unsupported,
    /// It has no data where it needs some, or some where it needs none; or it is about no sectors.
    WrongData,
    /// Its place or its length is not a multiple of the device's blocks; or its length is not that
    /// of an identity.
    NotBlocks {
        /// How long it is.
        bytes: u64,
        /// What it has to be a multiple of.
        block_bytes: u32,
    },
    /// It reaches beyond the end.
    OutOfRange {
        /// Its first sector.
        sector: u64,
        /// How many.
        sectors: u64,
        /// How many the disk has.
        capacity_sectors: u64,
    },
    /// The device does not reach its memory: it is in another domain, or mapped for another device.
    Foreign,
    /// Its memory is mapped for data that goes the other way.
    WrongDirection,
    /// The queue is broken.
    Fault(DeviceFault),
}

impl fmt::Display for SubmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the queue is full"),
            Self::TooLong { segments, max_segments } => {
                write!(f, "the request takes {segments} segments, and the queue has {max_segments}")
            }
            Self::TooFragmented { max_segments } => {
                write!(f, "no block of the request fits the {max_segments} segments that the device takes")
            }
            Self::ReadOnly => f.write_str("the disk is read-only"),
            Self::Unsupported => f.write_str("the disk has no such operation"),
            Self::WrongData => f.write_str("a request without its data, or with data that it has no use for"),
            Self::NotBlocks { bytes, block_bytes } => {
                write!(f, "{bytes} bytes or their place are no multiple of {block_bytes}")
            }
            Self::OutOfRange { sector, sectors, capacity_sectors } => {
                write!(f, "{sectors} sectors at {sector} lie beyond the disk's {capacity_sectors}")
            }
            Self::Foreign => f.write_str("the device does not reach the memory of the request"),
            Self::WrongDirection => {
                f.write_str("the memory of the request is mapped for the other direction")
            }
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

impl core::error::Error for SubmitError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Fault(fault) => Some(fault),
            _ => None,
        }
    }
}

impl From<DeviceFault> for SubmitError {
    fn from(fault: DeviceFault) -> Self {
        Self::Fault(fault)
    }
}
