//! A directory's entry of a file: where it is, and what in it is whose.
//!
//! Spec: "Microsoft Extensible Firmware Initiative FAT32 File System Specification", version 1.03,
//! "FAT Directory Structure".

use core::ops::Range;

use embedded_sdmmc::{DirEntry, ShortFileName};

use super::layout::{Layout, le16};
use super::part::FIRST;

/// What the first byte of a directory's entry is when there is no file any more.
pub(super) const DELETED: u8 = 0xe5;
/// Where in an entry the name is, and what puts a file's content in another's place: its first
/// cluster, its time and its length.
pub(super) const NAME: Range<usize> = 0..11;
pub(super) const CONTENT: Range<usize> = 20..32;
/// A directory's entry: in which sector of the partition it is, and where in that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) sector: u32,
    pub(super) offset: usize,
}

impl Place {
    pub(super) fn of(entry: &DirEntry) -> Self {
        // Embedded-sdmmc's own, so behind the picture's front and inside a sector.
        let offset = usize::try_from(entry.entry_offset).unwrap_or(0).min(480);
        Self { sector: entry.entry_block.0.saturating_sub(FIRST), offset }
    }

    pub(super) fn bytes(self) -> Range<usize> {
        self.offset..self.offset + 32
    }
}

/// A name as it stands in an entry.
pub(super) fn bytes_of(name: &ShortFileName) -> [u8; 11] {
    let mut bytes = [b' '; 11];
    let (base, extension) = bytes.split_at_mut(8);
    base.iter_mut().zip(name.base_name()).for_each(|(to, from)| *to = *from);
    extension.iter_mut().zip(name.extension()).for_each(|(to, from)| *to = *from);
    bytes
}

/// The first cluster of the file that an entry is of.
pub(super) fn first_cluster(entry: &[u8], layout: &Layout) -> u32 {
    let high = if layout.is_fat32 { u32::from(le16(entry, 20)) << 16 } else { 0 };
    high | u32::from(le16(entry, 26))
}
