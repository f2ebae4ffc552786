//! Storing a file.
//!
//! It is written under a name of the program's own first, flushed, and then put in its place by one
//! write of a sector: whoever looks, and whatever ends the machine at any time, finds the old file
//! or the new one, whole.

use alloc::format;
use alloc::string::ToString;

use embedded_sdmmc::{Mode, ShortFileName};
use paravane_block::{BlockBuffer, RequestQueue};
use paravane_hal::time::Clock;

use super::chain::Fat;
use super::entry::{CONTENT, DELETED, NAME, Place, bytes_of, first_cluster};
use super::fault::FileError;
use super::part::Trouble;
use super::volume::{MOST_OPEN, Open, Use, Volume};
use crate::app::http::{Handle, Name};

impl<Q: RequestQueue<BlockBuffer>, C: Clock> Volume<Q, C> {
    pub(super) fn create_file(&mut self, name: &str, len_bytes: u64) -> Result<Handle, FileError> {
        if self.part(|part| part.is_read_only()) {
            return Err(FileError::ReadOnlyDisk);
        }
        let len_bytes = u32::try_from(len_bytes).map_err(|_| FileError::TooLarge)?;
        if self.layout.clusters_for(len_bytes) > self.layout.clusters {
            return Err(FileError::Full);
        }
        let purpose = match self.find(name)? {
            Some(entry) if entry.attributes.is_directory() => return Err(FileError::Folder),
            Some(entry) if entry.attributes.is_read_only() => return Err(FileError::ReadOnlyFile),
            Some(entry) => Use::Replacing(Place::of(&entry)),
            None => Use::Creating(short_name(name)?),
        };
        let same = |used| match (used, purpose) {
            (Use::Reading(one), Use::Replacing(other)) => one == other,
            (used, purpose) => used == purpose,
        };
        if self.is_used(same) {
            return Err(FileError::InUse);
        }
        let index = self.free_slot()?;
        // A chain that is torn may lead into other files, and into this one once it has clusters.
        let replaced = match purpose {
            Use::Replacing(place) => self.chain(place)?.and_then(|(first, count)| count.map(|_| first)),
            _ => None,
        };
        self.sweep()?;
        let own = own_name(index)?;
        // One that could not be removed when it should have been.
        self.remove(own)?;
        let file = self.manager.open_file_in_dir(self.root, own, Mode::ReadWriteCreate);
        let file = file.map_err(|error| FileError::of(&error))?;
        Ok(self.keep(index, file, len_bytes, purpose, replaced))
    }

    /// Removes what an earlier end of the machine left half stored, once. All of it, and before any
    /// cluster is given away: what the disk's cache held then need not have come in order, so that
    /// such a file may have clusters that its FAT takes for free.
    fn sweep(&mut self) -> Result<(), FileError> {
        if !self.is_swept {
            (0..MOST_OPEN).try_for_each(|index| self.remove(own_name(index)?))?;
            self.is_swept = true;
        }
        Ok(())
    }

    /// Puts what was written under the program's own name in its place. Whether it is a new file.
    pub(super) fn put_in_place(&mut self, index: usize) -> Result<bool, FileError> {
        let open = self.open.get_mut(index).and_then(Option::take).ok_or(FileError::GivenUp)?;
        let own = own_name(index)?;
        let done = self.manager.close_file(open.file).map_err(|error| FileError::of(&error));
        let done = done.and_then(|()| self.exchange(own, &open));
        if done.is_err() {
            // The first reason counts.
            let _ = self.remove(own);
        }
        done
    }

    fn exchange(&mut self, own: ShortFileName, open: &Open) -> Result<bool, FileError> {
        let entry = self.find(&own.to_string())?.ok_or(FileError::Torn("a file that was stored is gone"))?;
        let (from, layout) = (Place::of(&entry), self.layout);
        self.part(|part| {
            // All of it is there before anything leads to it.
            part.flush()?;
            let mut sector = part.read_sector(from.sector)?;
            let mut new = [0; 32];
            new.copy_from_slice(&sector[from.bytes()]);
            let Use::Replacing(to) = open.purpose else {
                if let Use::Creating(name) = open.purpose {
                    sector[from.bytes()][NAME].copy_from_slice(&bytes_of(&name));
                }
                part.write_sector(from.sector, &sector)?;
                part.flush()?;
                return Ok(true);
            };
            sector[from.offset] = DELETED;
            if to.sector != from.sector {
                // The new one is nowhere for a moment, which is better than in two places.
                part.write_sector(from.sector, &sector)?;
                part.flush()?;
                sector = part.read_sector(to.sector)?;
            }
            sector[to.bytes()][CONTENT].copy_from_slice(&new[CONTENT]);
            part.write_sector(to.sector, &sector)?;
            part.flush()?;
            if let Some(first) = open.replaced {
                Fat::new(part, layout).free(first)?;
            }
            Ok(false)
        })
        .map_err(|trouble: Trouble| trouble.into())
    }

    /// Removes the file of that name, if there is one, and gives its clusters back.
    pub(super) fn remove(&mut self, name: ShortFileName) -> Result<(), FileError> {
        let Some(entry) = self.find(&name.to_string())? else { return Ok(()) };
        let (place, layout) = (Place::of(&entry), self.layout);
        let removed = self.part(|part| {
            let mut sector = part.read_sector(place.sector)?;
            let first = first_cluster(&sector[place.bytes()], &layout);
            sector[place.offset] = DELETED;
            part.write_sector(place.sector, &sector)?;
            part.flush()?;
            Fat::new(part, layout).free(first)
        });
        removed.map_err(|trouble| trouble.into())
    }
}

/// The name that a file has while it is stored. No request may say it.
pub(super) fn own_name(index: usize) -> Result<ShortFileName, FileError> {
    short_name(&format!("{}put{index}.tmp", Name::OWN))
}

/// The name that a new file gets.
fn short_name(name: &str) -> Result<ShortFileName, FileError> {
    let short = ShortFileName::create_from_str(name).map_err(|_| FileError::LongName)?;
    if name.is_ascii() { Ok(short) } else { Err(FileError::LongName) }
}
