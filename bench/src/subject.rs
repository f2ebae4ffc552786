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
//! Only the driver's turns are counted. What an application does with the bytes of a frame is not
//! part of any.

mod identity;
mod ours;
mod virtio_drivers;

use std::fmt;

use anyhow::Result;
use clap::ValueEnum;
use paravane_net::{Burst, ChecksumRequest, Frame, FramePool, RxQueue, TxOffload, TxQueue};

use virtio_drivers::VirtioDrivers;

pub use identity::{Direct, Identity};

/// Buffers of each pool.
const BUFFERS: u32 = 1024;

/// Ethernet, IPv4 and TCP headers: the first segment of a frame of two.
const HEADER_BYTES: usize = 14 + 20 + 20;
/// What a sender of TCP over IPv4 asks for.
const CHECKSUM: ChecksumRequest = ChecksumRequest { start_bytes: 14 + 20, offset_bytes: 16 };

/// A driver on its device.
pub trait Subject {
    /// Sends the frames of `point`.
    fn send(&mut self, point: &Point);
    /// The device takes and completes them.
    fn device_sends(&mut self, point: Point);
    /// Takes the sent ones back.
    fn reclaim(&mut self);
    /// The device delivers `frame` as often as `point` says.
    fn device_receives(&mut self, frame: &[u8], point: Point);
    /// Receives them and lets go of them.
    fn receive(&mut self);
    /// Frames that the device sent, and frames that were received, since the beginning.
    fn moved(&self) -> (u64, u64);
}

/// A NIC of ours that runs, and whose frames somebody else moves.
pub trait Nic {
    /// The pool that it receives to.
    fn pool(&self) -> &FramePool;
    /// Its receive queue.
    fn rx(&mut self) -> &mut dyn RxQueue;
    /// Its transmit queue.
    fn tx(&mut self) -> &mut dyn TxQueue;
    /// The device delivers `frame`.
    fn deliver(&mut self, frame: &[u8]);
    /// The device takes and completes what it was given.
    fn device_sends(&mut self);
    /// Frames that the device sent, since the beginning.
    fn sent(&self) -> u64;
}

/// `driver` on a device of its own.
pub fn nic(driver: Driver) -> Result<Box<dyn Nic>> {
    Ok(match driver {
        Driver::Vmxnet3 => Box::new(ours::vmxnet3()?),
        Driver::Virtio => Box::new(ours::virtio(false)?),
        Driver::VirtioPacked => Box::new(ours::virtio(true)?),
        Driver::VirtioDrivers => {
            anyhow::bail!("virtio-drivers has frames of its own: nothing is routed by it")
        }
    })
}

/// Which driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Driver {
    /// `paravane-vmxnet3`.
    Vmxnet3,
    /// `paravane-virtio`.
    Virtio,
    /// The same on packed queues.
    VirtioPacked,
    /// The published `virtio-drivers` crate, `VirtIONetRaw`.
    VirtioDrivers,
}

impl Driver {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Vmxnet3, Self::Virtio, Self::VirtioPacked, Self::VirtioDrivers];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vmxnet3 => "vmxnet3",
            Self::Virtio => "virtio",
            Self::VirtioPacked => "virtio-packed",
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

/// What is special about the frames of a burst, or about what the device does with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Nothing.
    Plain,
    /// TCP's: sent, each asks for its checksum; received, the device found each one's good.
    Checksum,
    /// Sent, each is two segments, headers and payload.
    TwoSegments,
    /// Sent, the one in the middle is two segments, all others are plain.
    OneOfTwo,
    /// The device completes the last one of a burst first.
    OutOfOrder,
    /// The device passes over every other buffer that it could receive to.
    PassedOver,
}

impl Kind {
    /// All of them.
    const ALL: [Self; 6] =
        [Self::Plain, Self::Checksum, Self::TwoSegments, Self::OneOfTwo, Self::OutOfOrder, Self::PassedOver];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Checksum => "checksum",
            Self::TwoSegments => "two-segments",
            Self::OneOfTwo => "one-of-two",
            Self::OutOfOrder => "out-of-order",
            Self::PassedOver => "passed-over",
        }
    }

    /// Whether it says something about frames that go this way, so many at once.
    fn applies_to(self, direction: Direction, burst: usize) -> bool {
        match self {
            Self::Plain | Self::Checksum => true,
            Self::TwoSegments => direction == Direction::Tx,
            Self::OneOfTwo => direction == Direction::Tx && burst > 1,
            Self::OutOfOrder => burst > 1,
            Self::PassedOver => direction == Direction::Rx,
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
    /// Of which kind.
    pub kind: Kind,
}

impl Point {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        let mut all = Vec::new();
        for kind in Kind::ALL {
            for direction in [Direction::Tx, Direction::Rx] {
                for bytes in [64, 1514] {
                    let bursts = [1, 32].into_iter().filter(|burst| kind.applies_to(direction, *burst));
                    all.extend(bursts.map(|burst| Self { direction, bytes, burst, kind }));
                }
            }
        }
        all.into_iter()
    }

    /// Whether `driver` and its device can do that.
    pub fn is_for(self, driver: Driver) -> bool {
        match (self.kind, driver) {
            (Kind::Plain, _) => true,
            // It asks its device for no checksums, and sends frames from one piece of memory.
            (Kind::Checksum | Kind::TwoSegments | Kind::OneOfTwo, Driver::VirtioDrivers) => false,
            (Kind::Checksum | Kind::TwoSegments | Kind::OneOfTwo, _) => true,
            // A VMXNET3 device completes in order, but may pass over buffers; a virtio device the
            // other way round.
            (Kind::OutOfOrder, _) => driver != Driver::Vmxnet3,
            (Kind::PassedOver, _) => driver == Driver::Vmxnet3,
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match self.direction {
            Direction::Tx => "transmit",
            Direction::Rx => "receive",
        };
        let kind = match (self.kind, self.direction) {
            (Kind::Plain, _) => "",
            (Kind::Checksum, Direction::Tx) => ", checksum asked for",
            (Kind::Checksum, Direction::Rx) => ", checksum good",
            (Kind::TwoSegments, _) => ", two segments",
            (Kind::OneOfTwo, _) => ", one of them two segments",
            (Kind::OutOfOrder, _) => ", completed out of order",
            (Kind::PassedOver, _) => ", buffers passed over",
        };
        write!(f, "{way}, {} bytes, burst {}{kind}", self.bytes, self.burst)
    }
}

/// Takes the frames of `point` from `pool` and puts them in `burst`.
#[inline(always)]
fn fill(pool: &FramePool, burst: &mut Burst, point: &Point) {
    let Point { bytes, burst: frames, kind, .. } = *point;
    let plain = move |mut frame: Frame| {
        // No point is longer than a buffer.
        let _ = frame.set_segment_bytes(bytes);
        frame
    };
    let asking = move |frame| {
        let mut frame = plain(frame);
        frame.set_offload(TxOffload { checksum: Some(CHECKSUM), segmentation: None });
        frame
    };
    let two_segments = move |mut headers: Frame, mut payload: Frame| {
        let _ = headers.set_segment_bytes(HEADER_BYTES);
        let _ = payload.set_segment_bytes(bytes - HEADER_BYTES);
        headers.set_next(payload);
        headers
    };
    match (kind, frames) {
        (Kind::Plain | Kind::OutOfOrder | Kind::PassedOver, 1) => burst.extend(pool.get().map(plain)),
        (Kind::Plain | Kind::OutOfOrder | Kind::PassedOver, _) => *burst = pool.take_with(frames, plain),
        (Kind::Checksum, 1) => burst.extend(pool.get().map(asking)),
        (Kind::Checksum, _) => *burst = pool.take_with(frames, asking),
        (Kind::TwoSegments, _) => {
            let mut payloads = pool.take(frames);
            *burst = pool.take_with(frames, |headers| match payloads.pop() {
                Some(payload) => two_segments(headers, payload),
                None => headers,
            });
        }
        (Kind::OneOfTwo, _) => {
            let (mut payload, mut index) = (pool.get(), 0);
            *burst = pool.take_with(frames, |frame| {
                index += 1;
                match payload.take_if(|_| index == frames / 2) {
                    Some(payload) => two_segments(frame, payload),
                    None => plain(frame),
                }
            });
        }
    }
}

/// Something measured: a driver on its device, moved on in turns.
pub trait Moving {
    /// Moves one burst; `around` gets each of the driver's turns to run it.
    fn turn(&mut self, around: &mut dyn FnMut(&mut dyn FnMut()));

    /// Sees to it that the turns so far moved all that they were to move: a fast driver that loses
    /// some is not fast.
    fn check(&self) -> Result<()>;
}

/// `driver` on a device of its own, for the frames of `point`.
pub fn start(driver: Driver, point: Point) -> Result<Box<dyn Moving>> {
    anyhow::ensure!(point.is_for(driver), "{} does not do this: {point}", driver.name());
    Ok(match driver {
        Driver::Vmxnet3 => Frames::of(ours::vmxnet3()?, point),
        Driver::Virtio => Frames::of(ours::virtio(false)?, point),
        Driver::VirtioPacked => Frames::of(ours::virtio(true)?, point),
        Driver::VirtioDrivers => Frames::of(VirtioDrivers::start()?, point),
    })
}

/// The frames of a point, moved through a driver.
struct Frames<S> {
    subject: S,
    point: Point,
    /// What the device delivers.
    frame: Vec<u8>,
    turns: u64,
}

impl<S: Subject + 'static> Frames<S> {
    fn of(subject: S, point: Point) -> Box<dyn Moving> {
        // To the devices' address, of a local experimental type.
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5];
        frame.resize(point.bytes, 0x5a);
        Box::new(Self { subject, point, frame, turns: 0 })
    }
}

impl<S: Subject> Moving for Frames<S> {
    fn turn(&mut self, around: &mut dyn FnMut(&mut dyn FnMut())) {
        let Self { subject, point, frame, turns } = self;
        *turns += 1;
        match point.direction {
            Direction::Tx => {
                around(&mut || subject.send(point));
                subject.device_sends(*point);
                around(&mut || subject.reclaim());
            }
            Direction::Rx => {
                subject.device_receives(frame, *point);
                around(&mut || subject.receive());
            }
        }
    }

    fn check(&self) -> Result<()> {
        let (sent, received) = self.subject.moved();
        let moved = match self.point.direction {
            Direction::Tx => sent,
            Direction::Rx => received,
        };
        let (point, expected) = (self.point, self.turns * self.point.burst as u64);
        anyhow::ensure!(moved == expected, "{point}: {moved} frames moved of {expected}");
        Ok(())
    }
}
