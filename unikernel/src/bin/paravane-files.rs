//! The image that serves HTTP as `paravane-http` does, and a disk's files besides, one of which
//! says what the command line does not.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec::Vec;

use log::{error, info, warn};
use paravane_unikernel::app::config::{Config, file};
use paravane_unikernel::app::files::Volume;
use paravane_unikernel::app::program::{self, Mounted};
use paravane_unikernel::bus::Place;
use paravane_unikernel::disk;
use paravane_unikernel::platform::{Machine, Platform};

paravane_unikernel::entry!(main);

fn main(machine: Machine) -> ! {
    program::run(machine, Some(mount_first))
}

/// Mounts the first disk that can be, and reads its file.
fn mount_first(machine: &Machine, disks: Vec<Place>) -> Option<Mounted> {
    let mut volume = disks.into_iter().find_map(|place| mount(machine, place))?;
    let config = read_file(&mut volume).map(|text| Config::default().with_file(&text));
    for rejected in config.iter().flat_map(|config| &config.rejected) {
        warn!("{rejected}");
    }
    Some(Mounted { config, files: Box::new(volume) })
}

/// Mounts the disk at `place`, or says why not.
fn mount(machine: &Machine, place: Place) -> Option<Volume<disk::Queue, Platform>> {
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

/// The file that says what the command line does not.
fn read_file(volume: &mut Volume<disk::Queue, Platform>) -> Option<Vec<u8>> {
    let read = volume.read_whole(file::NAME, file::MAX_BYTES);
    read.unwrap_or_else(|reason| {
        warn!("{}: all of the file ignored: {reason}", file::NAME);
        None
    })
}
