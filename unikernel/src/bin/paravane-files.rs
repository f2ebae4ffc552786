//! The image that serves HTTP as `paravane-http` does, and a disk's files besides, one of which
//! says what the command line does not.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::boxed::Box;
use alloc::vec::Vec;

use log::warn;
use paravane_unikernel::app::config::{Config, file};
use paravane_unikernel::app::program::{self, Mounted, disks};
use paravane_unikernel::bus::Place;
use paravane_unikernel::platform::Machine;

paravane_unikernel::entry!(main);

fn main(machine: Machine) -> ! {
    program::run(machine, Some(mount))
}

/// Mounts the first disk that can be, and reads its file.
fn mount(machine: &Machine, places: Vec<Place>) -> Option<Mounted> {
    let mut volume = disks::mount_first(machine, places)?;
    let text = disks::read_file(&mut volume).unwrap_or_else(|reason| {
        warn!("{}: all of the file ignored: {reason}", file::NAME);
        None
    });
    let config = text.map(|text| Config::default().with_file(&text));
    for rejected in config.iter().flat_map(|config| &config.rejected) {
        warn!("{rejected}");
    }
    Some(Mounted { config, files: Box::new(volume) })
}
