//! What a read from a disk costs: block drivers on a device that says at once that it is done.
//!
//! | Turn | Who | What is in it |
//! |---|---|---|
//! | [`submit`](Subject::submit) | driver | buffers from the pool, requests described, handed over, doorbell |
//! | [`device`](Subject::device) | device | |
//! | [`complete`](Subject::complete) | driver | completions, statuses looked at, buffers back to the pool |
//!
//! As with frames, only the driver's turns are counted, and nobody looks at what was read.

mod ours;
mod theirs;
mod vhost_user;

use std::fmt;

use anyhow::{Result, ensure};
use clap::ValueEnum;

use crate::device::virtio::SECTORS;
use crate::subject::Moving;

use ours::Virtio;
use theirs::VirtioDrivers;
use vhost_user::Libblkio;

/// Buffers of each pool.
const BUFFERS: u32 = 128;
/// The longest read.
const MAX_BYTES: usize = 4096;
const SECTOR_BYTES: usize = 512;

/// A driver on its device.
trait Subject {
    /// Asks for the reads of `point`.
    fn submit(&mut self, point: Point);
    /// The device says that they are done.
    fn device(&mut self);
    /// Takes them back.
    fn complete(&mut self);
    /// Reads that were done, since the beginning.
    fn done(&self) -> u64;
}

/// Which driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Driver {
    /// `paravane-virtio`.
    Virtio,
    /// The same on a packed queue.
    VirtioPacked,
    /// The published `virtio-drivers` crate, `VirtIOBlk`.
    VirtioDrivers,
    /// libblkio's published `virtio-driver` crate, `VirtioBlkQueue`, on `qemu-storage-daemon`.
    #[value(name = "virtio-driver")]
    Libblkio,
}

impl Driver {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Virtio, Self::VirtioPacked, Self::VirtioDrivers, Self::Libblkio];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Virtio => "virtio",
            Self::VirtioPacked => "virtio-packed",
            Self::VirtioDrivers => "virtio-drivers",
            Self::Libblkio => "virtio-driver",
        }
    }
}

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Length of each read.
    pub bytes: usize,
    /// Reads handed over at once.
    pub depth: usize,
}

impl Point {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        let depths = [1, theirs::MAX_DEPTH, 32];
        [SECTOR_BYTES, MAX_BYTES].into_iter().flat_map(move |bytes| depths.map(|depth| Self { bytes, depth }))
    }

    /// Whether `driver` can do that.
    pub fn is_for(self, driver: Driver) -> bool {
        driver != Driver::VirtioDrivers || self.depth <= theirs::MAX_DEPTH
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "read, {} bytes, {} at once", self.bytes, self.depth)
    }
}

/// Where a read begins: one after the other, round the disk.
struct Place(u64);

impl Place {
    fn next(&mut self, bytes: usize) -> u64 {
        let at = self.0;
        self.0 = (at + (bytes / SECTOR_BYTES) as u64) % SECTORS;
        at
    }
}

/// `driver` on a device of its own, for the reads of `point`.
pub fn start(driver: Driver, point: Point) -> Result<Box<dyn Moving>> {
    ensure!(point.is_for(driver), "{} does not do this: {point}", driver.name());
    ensure!(point.bytes <= MAX_BYTES, "no buffer has {} bytes", point.bytes);
    Ok(match driver {
        Driver::Virtio => Reads::of(Virtio::start(false)?, point),
        Driver::VirtioPacked => Reads::of(Virtio::start(true)?, point),
        Driver::VirtioDrivers => Reads::of(VirtioDrivers::start()?, point),
        Driver::Libblkio => Reads::of(Libblkio::start()?, point),
    })
}

/// The reads of a point, asked of a driver.
struct Reads<S> {
    subject: S,
    point: Point,
    turns: u64,
}

impl<S: Subject + 'static> Reads<S> {
    fn of(subject: S, point: Point) -> Box<dyn Moving> {
        Box::new(Self { subject, point, turns: 0 })
    }
}

impl<S: Subject> Moving for Reads<S> {
    fn turn(&mut self, around: &mut dyn FnMut(&mut dyn FnMut())) {
        let Self { subject, point, turns } = self;
        *turns += 1;
        around(&mut || subject.submit(*point));
        subject.device();
        around(&mut || subject.complete());
    }

    fn check(&self) -> Result<()> {
        let (point, done) = (self.point, self.subject.done());
        let expected = self.turns * point.depth as u64;
        ensure!(done == expected, "{point}: {done} reads done of {expected}");
        Ok(())
    }
}
