//! Files by name.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::ops::ControlFlow;
use core::time::Duration;

use embedded_sdmmc::{
    DirEntry, Error, LfnBuffer, Mode, RawDirectory, RawFile, ShortFileName, TimeSource, Timestamp, VolumeIdx,
    VolumeManager,
};
use log::warn;
use paravane_block::{BlockBuffer, Disk, RequestQueue};
use paravane_hal::time::Clock;

use super::chain::Fat;
use super::entry::{Place, first_cluster};
use super::fault::{FileError, MountError};
use super::layout::Layout;
use super::part::{Part, Trouble};
use super::partition;
use super::store::own_name;
use crate::app::http::{Files, Handle, Name, Refusal};

/// How long one call may take, and with it everybody waits. A disk that needs longer is given up.
pub const LIMIT: Duration = Duration::from_secs(10);
/// So many files are open at a time, however many read one.
pub const MOST_OPEN: usize = 8;

/// A long name in UTF-8.
const LONG_NAME_BYTES: usize = 255 * 3;

/// The machine has no calendar: files are from the day that FAT counts from.
#[derive(Debug)]
pub(super) struct NoCalendar;

impl TimeSource for NoCalendar {
    fn get_timestamp(&self) -> Timestamp {
        Timestamp::from_fat(0x0021, 0)
    }
}

/// What a file is open for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Reading(Place),
    /// To be put in the place of that one,
    Replacing(Place),
    /// or to be a new one of this name.
    Creating(ShortFileName),
}

#[derive(Debug)]
pub(super) struct Open {
    pub(super) handle: Handle,
    pub(super) file: RawFile,
    pub(super) len_bytes: u32,
    pub(super) purpose: Use,
    /// The first cluster of what is replaced, if that is to be given back.
    pub(super) replaced: Option<u32>,
}

pub(super) type Manager<Q, C> = VolumeManager<Part<Q, C>, NoCalendar, 1, MOST_OPEN, 1>;

/// A file system that is mounted.
pub struct Volume<Q: RequestQueue<BlockBuffer>, C: Clock> {
    pub(super) manager: Manager<Q, C>,
    pub(super) root: RawDirectory,
    pub(super) layout: Layout,
    pub(super) open: [Option<Open>; MOST_OPEN],
    given_up: bool,
    /// What an earlier end of the machine left half stored was removed.
    pub(super) is_swept: bool,
    /// The last line on the console, which is not said twice in a row.
    said: String,
}

impl<Q: RequestQueue<BlockBuffer>, C: Clock> Volume<Q, C> {
    /// Mounts the first FAT file system of `disk`. Nothing is written.
    ///
    /// # Errors
    ///
    /// [`MountError`].
    pub fn mount(mut disk: Disk<Q, C>, clock: C) -> Result<Self, MountError> {
        let place = partition::find(&mut disk)?;
        let part = Part::new(disk, clock, place);
        part.begin(LIMIT);
        let boot = part.read_sector(0).map_err(refused)?;
        let layout = Layout::of(&boot, place.sectors)?;
        part.set_layout(layout);
        if layout.is_fat32 && Fat::new(&part, layout).count(layout.root_cluster).map_err(refused)?.is_none() {
            return Err(MountError::Unusable("its root directory's chain of clusters is torn"));
        }
        let manager = Manager::new_with_limits(part, NoCalendar, 0);
        let root = manager.open_raw_volume(VolumeIdx(0)).and_then(|volume| manager.open_root_dir(volume));
        let root = root.map_err(|error| match error {
            Error::DeviceError(trouble) => refused(trouble),
            _ => MountError::Unusable("its first sectors contradict one another"),
        })?;
        let (open, given_up, is_swept, said) = Default::default();
        Ok(Self { manager, root, layout, open, given_up, is_swept, said })
    }

    /// What it is, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        let (place, is_read_only) = self.part(|part| (part.place(), part.is_read_only()));
        let read_only = if is_read_only { ", read-only" } else { "" };
        format!("{} in {}, {} KiB{read_only}", self.layout.name(), place.kind, place.sectors / 2)
    }

    /// The whole of the file called `name`, if there is one.
    ///
    /// # Errors
    ///
    /// [`FileError`]; that it has more than `most_bytes`.
    pub fn read_whole(&mut self, name: &str, most_bytes: u32) -> Result<Option<Vec<u8>>, FileError> {
        let opened = self.ask(name, |volume| {
            let (handle, len_bytes) = volume.open_file(name)?;
            let mut bytes = vec![0; len_bytes.min(most_bytes) as usize];
            if len_bytes > most_bytes {
                return Err(FileError::TooLarge);
            }
            volume.read_file(&handle, 0, &mut bytes)?;
            Ok(bytes)
        });
        self.close_left();
        match opened {
            Ok(bytes) => Ok(Some(bytes)),
            Err(FileError::Missing) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Does `work`, which is about the file called `name`, unless the disk was given up.
    fn ask<T>(
        &mut self,
        name: &str,
        work: impl FnOnce(&mut Self) -> Result<T, FileError>,
    ) -> Result<T, FileError> {
        if self.given_up {
            return Err(FileError::GivenUp);
        }
        self.part(|part| part.begin(LIMIT));
        let done = work(self);
        // What is wrong below counts more than what was made of it.
        let done = self.part(|part| part.trouble()).map_or(done, |trouble| Err(trouble.into()));
        if let Err(error) = done {
            if error.is_for_console() {
                self.say(format!("files: {name}: {error}"));
            }
            if error.is_final() {
                self.given_up = true;
                self.say("files: the disk is given up; there are no files from now on".to_string());
            }
        }
        done
    }

    fn say(&mut self, line: String) {
        if self.said != line {
            warn!("{line}");
            self.said = line;
        }
    }

    pub(super) fn part<T>(&self, look: impl FnOnce(&mut Part<Q, C>) -> T) -> T {
        self.manager.device(look)
    }

    /// The directory's entry of the file, or folder, called `name`, by its long or short name.
    /// Lower and upper case are the same where they are ASCII.
    pub(super) fn find(&self, name: &str) -> Result<Option<DirEntry>, FileError> {
        let mut storage = [0; LONG_NAME_BYTES];
        let mut found = None;
        let done =
            self.manager.iterate_dir_lfn(self.root, &mut LfnBuffer::new(&mut storage), |entry, long| {
                let is_it = || {
                    long.is_some_and(|long| long.eq_ignore_ascii_case(name))
                        || entry.name.to_string().eq_ignore_ascii_case(name)
                };
                if entry.attributes.is_volume() || !is_it() {
                    return ControlFlow::Continue(());
                }
                found = Some(entry.clone());
                ControlFlow::Break(())
            });
        done.map_err(|error| FileError::of(&error))?;
        Ok(found)
    }

    pub(super) fn is_used(&self, wanted: impl Fn(Use) -> bool) -> bool {
        self.open.iter().flatten().any(|open| wanted(open.purpose))
    }

    /// Keeps an open file.
    pub(super) fn keep(
        &mut self,
        index: usize,
        file: RawFile,
        len_bytes: u32,
        purpose: Use,
        replaced: Option<u32>,
    ) -> Handle {
        let handle = Handle::new(index);
        if let Some(slot) = self.open.get_mut(index) {
            *slot = Some(Open { handle: handle.clone(), file, len_bytes, purpose, replaced });
        }
        handle
    }

    /// The open file that `handle` is for.
    pub(super) fn kept(&self, handle: &Handle) -> Result<&Open, FileError> {
        self.open.get(handle.index()).and_then(Option::as_ref).ok_or(FileError::GivenUp)
    }

    pub(super) fn free_slot(&self) -> Result<usize, FileError> {
        self.open.iter().position(Option::is_none).ok_or(FileError::TooMany)
    }

    fn open_file(&mut self, name: &str) -> Result<(Handle, u32), FileError> {
        let entry = self.find(name)?.ok_or(FileError::Missing)?;
        if entry.attributes.is_directory() {
            return Err(FileError::Folder);
        }
        let place = Place::of(&entry);
        if self.is_used(|purpose| purpose == Use::Replacing(place)) {
            return Err(FileError::InUse);
        }
        let readers = self.open.iter().flatten().find(|open| open.purpose == Use::Reading(place));
        if let Some(open) = readers {
            return Ok((open.handle.clone(), open.len_bytes));
        }
        let index = self.free_slot()?;
        self.check_chain(place, entry.size)?;
        // It is opened by its short name, and what was checked is this one.
        let first = self.manager.find_directory_entry(self.root, entry.name);
        if !first.is_ok_and(|first| Place::of(&first) == place) {
            return Err(FileError::Torn("the file's short name is another's too, or the disk's label"));
        }
        let file = self.manager.open_file_in_dir(self.root, entry.name, Mode::ReadOnly);
        let file = file.map_err(|error| FileError::of(&error))?;
        Ok((self.keep(index, file, entry.size, Use::Reading(place), None), entry.size))
    }

    fn read_file(&mut self, handle: &Handle, offset: u32, room: &mut [u8]) -> Result<(), FileError> {
        let file = self.kept(handle)?.file;
        let read =
            self.manager.file_seek_from_start(file, offset).and_then(|()| self.manager.read(file, room));
        match read {
            Ok(len_bytes) if len_bytes == room.len() => Ok(()),
            Ok(_) => Err(FileError::Torn("a file ends before its end")),
            Err(error) => Err(FileError::of(&error)),
        }
    }

    /// The first cluster of the file at `place`, if it has any, and how many it has; of a torn
    /// chain that is not known.
    pub(super) fn chain(&self, place: Place) -> Result<Option<(u32, Option<u32>)>, FileError> {
        let layout = self.layout;
        let looked = self.part(|part| {
            let sector = part.read_sector(place.sector)?;
            let first = first_cluster(&sector[place.bytes()], &layout);
            Ok(if first == 0 { None } else { Some((first, Fat::new(part, layout).count(first)?)) })
        });
        looked.map_err(|trouble: Trouble| trouble.into())
    }

    /// That a file of that length has all its clusters.
    fn check_chain(&self, place: Place, len_bytes: u32) -> Result<(), FileError> {
        let wanted = self.layout.clusters_for(len_bytes);
        let count = match self.chain(place)? {
            Some((_, count)) => count.ok_or(FileError::Torn("the file's chain of clusters leads nowhere"))?,
            None => 0,
        };
        if count >= wanted {
            Ok(())
        } else {
            Err(FileError::Torn("the file's chain of clusters is too short"))
        }
    }
}

impl<Q: RequestQueue<BlockBuffer>, C: Clock> Files for Volume<Q, C> {
    fn open(&mut self, name: &Name) -> Result<(Handle, u64), Refusal> {
        let opened = self.ask(name.as_str(), |volume| volume.open_file(name.as_str()))?;
        Ok((opened.0, opened.1.into()))
    }

    fn read(&mut self, handle: &Handle, offset: u64, room: &mut [u8]) -> Result<(), Refusal> {
        // No file is longer.
        let offset = u32::try_from(offset).unwrap_or(u32::MAX);
        Ok(self.ask("a file that is sent", |volume| volume.read_file(handle, offset, room))?)
    }

    fn create(&mut self, name: &Name, len_bytes: u64) -> Result<Handle, Refusal> {
        Ok(self.ask(name.as_str(), |volume| volume.create_file(name.as_str(), len_bytes))?)
    }

    fn write(&mut self, handle: &Handle, bytes: &[u8]) -> Result<(), Refusal> {
        let written = self.ask("a file that is stored", |volume| {
            let file = volume.kept(handle)?.file;
            volume.manager.write(file, bytes).map_err(|error| FileError::of(&error))
        });
        Ok(written?)
    }

    fn finish(&mut self, handle: &Handle) -> Result<bool, Refusal> {
        Ok(self.ask("a file that is stored", |volume| volume.put_in_place(handle.index()))?)
    }

    fn close_left(&mut self) {
        for index in 0..MOST_OPEN {
            let left = self.open.get_mut(index).and_then(|open| open.take_if(|open| open.handle.is_alone()));
            let Some(left) = left else { continue };
            // Whatever comes of it, nobody waits for it; a disk that failed was told of.
            let _ = self.ask("a file that was not stored whole", |volume| {
                let closed = volume.manager.close_file(left.file).map_err(|error| FileError::of(&error));
                match left.purpose {
                    Use::Reading(_) => closed,
                    _ => volume.remove(own_name(index)?),
                }
            });
        }
    }

    fn flush(&mut self) -> Result<(), Refusal> {
        let flushed = self.ask("what was written", |volume| {
            volume.part(|part| part.flush()).map_err(|trouble: Trouble| trouble.into())
        });
        Ok(flushed?)
    }
}

/// Why a disk is not mounted.
fn refused(trouble: Trouble) -> MountError {
    match trouble {
        Trouble::Disk(error) => MountError::Disk(error),
        _ => MountError::Unusable("it leads outside its partition, or round in a circle"),
    }
}
