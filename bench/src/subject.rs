//! What is measured: a driver on its device, moved in turns.
//!
//! | Turn | Who | What is in it |
//! |---|---|---|
//! | [`send`](Subject::send) | driver | buffers from the pool, lengths set, described, handed over, doorbell |
//! | [`device_sends`](Subject::device_sends) | device | |
//! | [`reclaim`](Subject::reclaim) | driver | completions, buffers back to the pool |
//! | [`device_receives`](Subject::device_receives) | device | |
//! | [`receive`](Subject::receive) | driver | completions, fresh buffers from the pool, frames handed up and back to the pool, slots back to the device |
//!
//! Only the driver's turns are counted. What an application does with the bytes of a frame is not part of any.

mod virtio;
mod virtio_drivers;
mod vmxnet3;

use std::fmt;

use anyhow::Result;
use clap::ValueEnum;

pub use virtio::Virtio;
pub use virtio_drivers::VirtioDrivers;
pub use vmxnet3::Vmxnet3;

/// Buffers of each pool.
const BUFFERS: u32 = 1024;

/// A driver on its device.
pub trait Subject {
    /// Sends `frames` frames of `bytes`.
    fn send(&mut self, frames: usize, bytes: usize);
    /// The device takes and completes them.
    fn device_sends(&mut self);
    /// Takes the sent ones back.
    fn reclaim(&mut self);
    /// The device delivers `frames` times `frame`.
    fn device_receives(&mut self, frame: &[u8], frames: usize);
    /// Receives them and lets go of them.
    fn receive(&mut self);
    /// Frames that the device sent, and frames that were received, since the beginning.
    fn moved(&self) -> (u64, u64);
}

/// Which driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Driver {
    /// `paravane-vmxnet3`.
    Vmxnet3,
    /// `paravane-virtio`.
    Virtio,
    /// The published `virtio-drivers` crate, `VirtIONetRaw`.
    VirtioDrivers,
}

impl Driver {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Vmxnet3, Self::Virtio, Self::VirtioDrivers];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vmxnet3 => "vmxnet3",
            Self::Virtio => "virtio",
            Self::VirtioDrivers => "virtio-drivers",
        }
    }
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Direction {
    /// Out.
    Tx,
    /// In.
    Rx,
}

impl Direction {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tx => "tx",
            Self::Rx => "rx",
        }
    }
}

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Which way.
    pub direction: Direction,
    /// Length of each frame.
    pub bytes: usize,
    /// Frames handed over at once.
    pub burst: usize,
}

impl Point {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        [Direction::Tx, Direction::Rx].into_iter().flat_map(|direction| {
            [64, 1514]
                .into_iter()
                .flat_map(move |bytes| [1, 32].into_iter().map(move |burst| Self { direction, bytes, burst }))
        })
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match self.direction {
            Direction::Tx => "transmit",
            Direction::Rx => "receive",
        };
        write!(f, "{way}, {} bytes, burst {}", self.bytes, self.burst)
    }
}

/// Moves a burst through `subject`; `around` gets each of the driver's turns to run it.
pub fn turn<S: Subject>(
    subject: &mut S,
    point: Point,
    frame: &[u8],
    mut around: impl FnMut(&mut dyn FnMut()),
) {
    match point.direction {
        Direction::Tx => {
            around(&mut || subject.send(point.burst, point.bytes));
            subject.device_sends();
            around(&mut || subject.reclaim());
        }
        Direction::Rx => {
            subject.device_receives(&frame[..point.bytes], point.burst);
            around(&mut || subject.receive());
        }
    }
}

/// A frame to be delivered: to the devices' address, of a local experimental type.
pub fn frame() -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5];
    frame.resize(1514, 0x5a);
    frame
}

/// Sees to it that `subject` moved every frame of `bursts` bursts: a fast driver that loses frames is not fast.
pub fn check<S: Subject>(subject: &S, before: (u64, u64), point: Point, bursts: u64) -> Result<()> {
    let after = subject.moved();
    let (sent, received) = (after.0 - before.0, after.1 - before.1);
    let moved = match point.direction {
        Direction::Tx => sent,
        Direction::Rx => received,
    };
    let expected = bursts * point.burst as u64;
    anyhow::ensure!(moved == expected, "{point}: {moved} frames moved of {expected}");
    Ok(())
}
