//! The block device: a disk in memory.
//!
//! Spec: VIRTIO 1.2, 5.2 "Block Device".

mod request;

use std::collections::BTreeSet;

use super::faults::{Said, low16};
use super::queue::Chain;
use super::{Class, Personality, Virtio};
use crate::fault::FaultPoint;

pub use request::{Done, kind, outcome};

/// Feature bits of a block device.
///
/// Spec: VIRTIO 1.2, 5.2.3 "Feature bits".
pub mod bits {
    /// `SIZE_MAX`.
    pub const SIZE_MAX: u64 = 1 << 1;
    /// `SEG_MAX`.
    pub const SEG_MAX: u64 = 1 << 2;
    /// `GEOMETRY`.
    pub const GEOMETRY: u64 = 1 << 4;
    /// `RO`.
    pub const RO: u64 = 1 << 5;
    /// `BLK_SIZE`.
    pub const BLK_SIZE: u64 = 1 << 6;
    /// `FLUSH`.
    pub const FLUSH: u64 = 1 << 9;
    /// `TOPOLOGY`.
    pub const TOPOLOGY: u64 = 1 << 10;
    /// `CONFIG_WCE`.
    pub const CONFIG_WCE: u64 = 1 << 11;
    /// `MQ`.
    pub const MQ: u64 = 1 << 12;
    /// `DISCARD`.
    pub const DISCARD: u64 = 1 << 13;
    /// `WRITE_ZEROES`.
    pub const WRITE_ZEROES: u64 = 1 << 14;
}

/// `requestq1`.
pub const REQUESTS: usize = 0;
/// What capacity and places are counted in, whatever `blk_size` says.
pub const SECTOR_BYTES: usize = 512;
/// How many requests a device that takes its time does at once.
const AT_ONCE: usize = 4;

/// A virtio block device.
pub type VirtioBlk = Virtio<Blk>;

/// What a block device has that others have not.
#[derive(Clone, Debug)]
pub struct Blk {
    /// What is on it: whole sectors.
    pub disk: Vec<u8>,
    /// Its own features.
    pub features: u64,
    /// The longest segment, if `SIZE_MAX` is offered.
    pub size_max: u32,
    /// The most segments of a request, if `SEG_MAX` is offered.
    pub seg_max: u32,
    /// Its block, if `BLK_SIZE` is offered.
    pub blk_size: u32,
    /// What it calls itself.
    pub id: [u8; 20],
    /// Looks at its queue when it is notified. Otherwise at ticks alone.
    pub serves_doorbells: bool,
    /// Takes requests when it is told, and does a few at a time at ticks.
    pub takes_its_time: bool,
    /// Sectors that cannot be read or written.
    pub bad_sectors: BTreeSet<u64>,
    /// Writes since the last flush.
    pub unflushed: usize,
    /// The largest capacity since the last reset, in sectors: a driver may not know yet of a
    /// smaller one.
    largest: u64,
    done: Vec<Done>,
}

impl Blk {
    /// An empty disk of so many sectors, with what the simple ones have: `FLUSH`, `SEG_MAX`,
    /// `BLK_SIZE`.
    #[must_use]
    pub fn new(sectors: usize) -> Self {
        Self {
            disk: vec![0; sectors * SECTOR_BYTES],
            features: bits::FLUSH | bits::SEG_MAX | bits::BLK_SIZE,
            size_max: 1 << 16,
            seg_max: 126,
            blk_size: 512,
            id: *b"paravane-disk-000001",
            serves_doorbells: true,
            takes_its_time: false,
            bad_sectors: BTreeSet::new(),
            unflushed: 0,
            largest: sectors as u64,
            done: Vec::new(),
        }
    }

    /// What the block device of this monitor offers.
    #[must_use]
    pub fn of(personality: &Personality, sectors: usize) -> Self {
        Self::new(sectors).with_features(personality.blk_features)
    }

    /// The same, with exactly these features of its own.
    #[must_use]
    pub fn with_features(mut self, features: u64) -> Self {
        self.features = features;
        self
    }

    /// In sectors.
    #[must_use]
    pub const fn capacity(&self) -> u64 {
        (self.disk.len() / SECTOR_BYTES) as u64
    }
}

impl Class for Blk {
    const TYPE: u16 = 2;
    const PCI_CLASS: u8 = 1;

    const PLAYED: u64 = bits::SIZE_MAX
        | bits::SEG_MAX
        | bits::GEOMETRY
        | bits::RO
        | bits::BLK_SIZE
        | bits::FLUSH
        | bits::TOPOLOGY;

    fn queues(&self) -> u16 {
        1
    }

    fn features(&self) -> u64 {
        self.features
    }

    /// Spec: VIRTIO 1.2, 5.2.4 "Device configuration layout".
    fn config(&self) -> Vec<u8> {
        let mut config = self.capacity().to_le_bytes().to_vec();
        config.extend(self.size_max.to_le_bytes());
        config.extend(self.seg_max.to_le_bytes());
        // 16 cylinders, 4 heads, 32 sectors: what nobody needs.
        config.extend([16, 0, 4, 32]);
        config.extend(self.blk_size.to_le_bytes());
        config.extend([0, 0, 1, 0, 1, 0, 0, 0]);
        // `writeback`, `num_queues`, and limits of what is not played.
        config.extend([1, 0, 1, 0]);
        config.resize(60, 0);
        // As long as what is offered needs.
        let len_bytes = [
            (bits::WRITE_ZEROES, 60),
            (bits::DISCARD, 48),
            (bits::MQ, 36),
            (bits::CONFIG_WCE, 33),
            (bits::TOPOLOGY, 32),
            (bits::BLK_SIZE, 24),
            (bits::GEOMETRY, 20),
            (bits::SEG_MAX, 16),
            (bits::SIZE_MAX, 12),
        ]
        .into_iter()
        .find_map(|(feature, len_bytes)| (self.features & feature != 0).then_some(len_bytes))
        .unwrap_or(8);
        config.truncate(len_bytes);
        config
    }

    fn gate(&self, offset_bytes: usize) -> Option<u64> {
        match offset_bytes {
            0..8 => Some(0),
            8..12 => Some(bits::SIZE_MAX),
            12..16 => Some(bits::SEG_MAX),
            16..20 => Some(bits::GEOMETRY),
            20..24 => Some(bits::BLK_SIZE),
            24..32 => Some(bits::TOPOLOGY),
            32 => Some(bits::CONFIG_WCE),
            34..36 => Some(bits::MQ),
            36..48 => Some(bits::DISCARD),
            48..57 => Some(bits::WRITE_ZEROES),
            _ => None,
        }
    }

    fn notified(device: &mut Virtio<Self>, _: u16) {
        if device.class.takes_its_time {
            device.stock_all();
        } else if device.class.serves_doorbells {
            device.serve_all();
        }
    }

    fn tick(device: &mut Virtio<Self>) {
        if device.queues[REQUESTS].is_stopped {
            return;
        }
        if device.class.takes_its_time {
            device.serve_some();
        } else {
            device.serve_all();
        }
    }

    fn reset(&mut self) {
        self.largest = self.capacity();
    }
}

impl Virtio<Blk> {
    /// The disk grows or shrinks to so many sectors, and says so.
    pub fn resize(&mut self, sectors: usize) {
        self.class.disk.resize(sectors * SECTOR_BYTES, 0);
        self.class.largest = self.class.largest.max(self.class.capacity());
        self.config_changed();
    }

    /// What was done since the last call.
    pub fn take_done(&mut self) -> Vec<Done> {
        std::mem::take(&mut self.class.done)
    }

    /// Takes all requests that there are, and does none.
    fn stock_all(&mut self) {
        while let Some(chain) = self.take_fresh(REQUESTS) {
            self.queues[REQUESTS].stock.push(chain);
        }
        self.tell_wish(REQUESTS);
    }

    /// Does some of the requests that it took.
    fn serve_some(&mut self) {
        self.stock_all();
        let stock = &mut self.queues[REQUESTS].stock;
        let count = stock.len().min(AT_ONCE);
        let chains: Vec<Chain> = if self.personality.shuffles {
            (0..count).filter_map(|_| stock.pop()).collect()
        } else {
            stock.drain(..count).collect()
        };
        self.serve_these(REQUESTS, chains, Self::complete);
    }

    /// Does whatever there is to do, then says when it wants to hear of more.
    pub fn serve_all(&mut self) {
        self.serve_queue(REQUESTS, Self::complete);
    }

    /// Does one request, if there is one. Not shown as used before [`show`](Self::show).
    pub fn serve_one(&mut self) -> Option<u16> {
        let chain = self.take(REQUESTS)?;
        self.complete(&chain);
        Some(chain.head)
    }

    /// Does a request, and says so: truly, unless a fault has it otherwise. How far ahead the ring
    /// is to be.
    fn complete(&mut self, chain: &Chain) -> u16 {
        let performed = self.perform(chain);
        let (status, length) = performed.unwrap_or((outcome::UNSUPP, 0));
        let mut said = Said { index: chain.head.into(), length, kind: status.into(), ..Said::default() };
        let here = Self::plays_completion;
        let action = self.ask(FaultPoint::RequestCompletion, 0, &mut said, here);
        self.has_misled |= said.kind != status.into();
        if performed.is_some() {
            let [status, ..] = said.kind.to_le_bytes();
            self.write_status_byte(chain, status);
        }
        self.say(REQUESTS, said, action);
        low16(said.generation)
    }
}
