//! Disks, for a program that wants a file of one.

use alloc::string::ToString;
use alloc::vec::Vec;

use log::{error, info};

use crate::app::config::file;
use crate::app::files::{FileError, Volume};
use crate::bus::Place;
use crate::disk;
use crate::platform::{Machine, Platform};

/// A disk's file system.
pub type Mounted = Volume<disk::Queue, Platform>;

/// Mounts the first disk that can be; what is wrong with one is said.
#[must_use]
pub fn mount_first(machine: &Machine, disks: Vec<Place>) -> Option<Mounted> {
    disks.into_iter().find_map(|place| mount(machine, place))
}

/// Mounts the disk at `place`, or says why not.
fn mount(machine: &Machine, place: Place) -> Option<Mounted> {
    let name = place.to_string();
    let started = disk::start(machine, place);
    match started.and_then(|disk| Ok(Volume::mount(disk, machine.platform)?)) {
        Ok(volume) => {
            info!("disk: {name}: {}", volume.describe());
            Some(volume)
        }
        Err(reason) => {
            error!("disk: {name}: {reason}; not mounted");
            None
        }
    }
}

/// The file that says what the program is to do, if there is one.
///
/// # Errors
///
/// [`FileError`]: it is there, and cannot be read.
pub fn read_file(volume: &mut Mounted) -> Result<Option<Vec<u8>>, FileError> {
    volume.read_whole(file::NAME, file::MAX_BYTES)
}
