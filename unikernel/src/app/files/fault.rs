//! What was not done: as an answer to whoever asked, and as a line on the console.

use core::fmt;

use embedded_sdmmc::Error as FatError;
use paravane_block::{DiskError, SubmitError};

use super::part::Trouble;
use super::partition::Kind;
use crate::app::http::Refusal;

/// A disk that is not mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountError {
    /// It does not do what it is asked.
    Disk(DiskError),
    /// Its blocks have another length than 512 bytes.
    Blocks {
        /// How long they are.
        block_bytes: u32,
    },
    /// There is nothing with FAT on it.
    NoFat,
    /// Its GUID partition table is damaged.
    Gpt,
    /// The disk ends before the partition does, or the partition is nowhere.
    Outside {
        /// Which one.
        kind: Kind,
        /// Where it starts
        first_sector: u64,
        /// and ends.
        end: u64,
        /// How many sectors the disk has.
        capacity_sectors: u64,
    },
    /// The file system is longer than its partition.
    TooShort {
        /// How many sectors it has
        needs_sectors: u32,
        /// and how many there are.
        sectors: u32,
    },
    /// The file system is none that can be used.
    Unusable(&'static str),
}

impl From<DiskError> for MountError {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

impl fmt::Display for MountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(error) => error.fmt(f),
            Self::Blocks { block_bytes } => {
                write!(f, "its blocks have {block_bytes} bytes; FAT is read from blocks of 512 bytes")
            }
            Self::NoFat => f.write_str("no FAT file system on the disk or in a partition of it"),
            Self::Gpt => f.write_str("its GUID partition table is damaged"),
            Self::Outside { kind, first_sector, end, capacity_sectors } => write!(
                f,
                "{kind} is said to be sectors {first_sector} to {end}, and the disk has {capacity_sectors}; \
                 make the disk as long as it was, or partition it again"
            ),
            Self::TooShort { needs_sectors, sectors } => {
                write!(f, "its file system has {needs_sectors} sectors, and there is room for {sectors}")
            }
            Self::Unusable(why) => write!(f, "its file system cannot be used: {why}"),
        }
    }
}

impl core::error::Error for MountError {}

/// Something was not done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileError {
    /// There is none of that name.
    Missing,
    /// It is a folder.
    Folder,
    /// A new file's name has to be short.
    LongName,
    /// It is being read or stored by somebody.
    InUse,
    /// So many are already.
    TooMany,
    /// The disk is read-only,
    ReadOnlyDisk,
    /// or the file is.
    ReadOnlyFile,
    /// There is no room.
    Full,
    /// FAT has no files of that length.
    TooLarge,
    /// The file system is torn.
    Torn(&'static str),
    /// The disk failed it.
    Disk(DiskError),
    /// The disk failed so that nothing is asked of it any more.
    GivenUp,
}

impl FileError {
    /// What to make of an error of `embedded-sdmmc`, where nothing is known to be wrong with the
    /// disk.
    pub(super) fn of(error: &FatError<Trouble>) -> Self {
        match error {
            FatError::DeviceError(trouble) => (*trouble).into(),
            FatError::DiskFull | FatError::NotEnoughSpace => Self::Full,
            FatError::NotFound => Self::Missing,
            FatError::TooManyOpenFiles => Self::TooMany,
            _ => Self::Torn("its directory or its FAT is damaged"),
        }
    }

    /// Whether it is worth a line on the console: the disk's keeper can do something about it.
    pub(super) fn is_for_console(self) -> bool {
        matches!(self, Self::ReadOnlyDisk | Self::Full | Self::Torn(_) | Self::Disk(_))
    }

    /// Whether the disk may answer no more.
    pub(super) fn is_final(self) -> bool {
        matches!(self, Self::Disk(DiskError::Fault(_) | DiskError::TimedOut(_)))
    }
}

impl From<Trouble> for FileError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Disk(DiskError::Refused(SubmitError::ReadOnly)) => Self::ReadOnlyDisk,
            Trouble::Disk(error) => Self::Disk(error),
            Trouble::Outside => Self::Torn("it leads outside the file system"),
            Trouble::TooLong => {
                Self::Torn("it took too many reads and writes: it may lead round in a circle")
            }
        }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Torn(why) => write!(f, "the file system is torn: {why}; check it by fsck.fat"),
            Self::Disk(error) => error.fmt(f),
            other => f.write_str(Refusal::from(*other).why),
        }
    }
}

impl core::error::Error for FileError {}

impl From<FileError> for Refusal {
    fn from(error: FileError) -> Self {
        let (status, why) = match error {
            FileError::Missing => ("404 Not Found", "there is no such file"),
            FileError::Folder => ("404 Not Found", "that is a folder; files of the root folder are served"),
            FileError::LongName => (
                "400 Bad Request",
                "a new file's name has up to 8 letters, digits or some signs, and may have a dot and up to 3 more",
            ),
            FileError::InUse => ("409 Conflict", "somebody else reads or stores it at the moment"),
            FileError::TooMany => {
                ("503 Service Unavailable", "too many files are read or stored at the moment")
            }
            FileError::ReadOnlyDisk => ("403 Forbidden", "the disk is read-only"),
            FileError::ReadOnlyFile => ("403 Forbidden", "the file is read-only"),
            FileError::Full => ("507 Insufficient Storage", "the disk is full"),
            FileError::TooLarge => ("413 Content Too Large", "a file has at most 4294967295 bytes"),
            FileError::Torn(_) => {
                ("500 Internal Server Error", "the file system is torn there; the console says where")
            }
            FileError::Disk(_) => ("500 Internal Server Error", "the disk failed; the console says how"),
            FileError::GivenUp => ("503 Service Unavailable", "the disk failed, and was given up"),
        };
        Self::new(status, why)
    }
}
