//! The block device: a disk in memory.
//!
//! Spec: VIRTIO 1.2, 5.2 "Block Device".

mod range;
mod request;

use std::collections::BTreeSet;

use super::faults::{Said, low16};
use super::queue::Chain;
use super::{Class, Personality, Virtio};
use crate::fault::FaultPoint;
use crate::registers::Width;

pub use range::{DISCARDED, ERASED, RangeRules};
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
    /// `LIFETIME`.
    pub const LIFETIME: u64 = 1 << 15;
    /// `SECURE_ERASE`.
    pub const SECURE_ERASE: u64 = 1 << 16;
}

/// `requestq1`.
pub const REQUESTS: usize = 0;
/// What capacity and places are counted in, whatever `blk_size` says.
pub const SECTOR_BYTES: usize = 512;
/// Where `writeback` is.
const WRITEBACK: u32 = 32;
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
    /// `topology`, if that is offered: two bytes, a half, a word.
    pub topology: (u8, u8, u16, u32),
    /// How many queues it has, if `MQ` is offered.
    pub num_queues: u16,
    /// Whether what was written waits for a flush: `writeback`.
    pub writeback: bool,
    /// Does not follow when `writeback` is written.
    pub keeps_writeback: bool,
    /// What it takes to discard, if `DISCARD` is offered.
    pub discard: RangeRules,
    /// What it takes to fill with zeroes, if `WRITE_ZEROES` is offered,
    pub zeroes: RangeRules,
    /// and whether it may give up memory then.
    pub zeroes_may_unmap: bool,
    /// What it takes to erase, if `SECURE_ERASE` is offered.
    pub erase: RangeRules,
    /// `pre_eol_info` and the two estimates, if `LIFETIME` is offered.
    pub lifetime: [u16; 3],
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
    /// The flags of the last range that came.
    pub last_flags: u32,
    /// What is there when the power fails.
    stable: Vec<u8>,
    /// Ranges that were done, by first sector and length.
    ranges: Vec<(u64, u32)>,
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
            topology: (3, 1, 2, 64),
            num_queues: 4,
            writeback: true,
            keeps_writeback: false,
            discard: RangeRules { max_sectors: 16, max_seg: 4, align: 8 },
            zeroes: RangeRules { max_sectors: 24, max_seg: 1, align: 0 },
            zeroes_may_unmap: true,
            erase: RangeRules { max_sectors: 32, max_seg: 2, align: 16 },
            lifetime: [1, 3, 0],
            id: *b"paravane-disk-000001",
            serves_doorbells: true,
            takes_its_time: false,
            bad_sectors: BTreeSet::new(),
            unflushed: 0,
            last_flags: 0,
            stable: vec![0; sectors * SECTOR_BYTES],
            ranges: Vec::new(),
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

    /// What it takes of ranges in requests of this type.
    fn range_rules(&self, kind: u32) -> Option<(u64, RangeRules)> {
        match kind {
            kind::DISCARD => Some((bits::DISCARD, self.discard)),
            kind::WRITE_ZEROES => Some((bits::WRITE_ZEROES, self.zeroes)),
            kind::SECURE_ERASE => Some((bits::SECURE_ERASE, self.erase)),
            _ => None,
        }
    }

    /// Ranges that were discarded, filled or erased since the last call, in order.
    pub fn take_ranges(&mut self) -> Vec<(u64, u32)> {
        std::mem::take(&mut self.ranges)
    }

    /// What is stored is there when the power fails.
    fn settle(&mut self) {
        self.stable.clone_from(&self.disk);
        self.unflushed = 0;
    }

    /// The power fails: what was not flushed, and had to be, is gone.
    pub fn lose_power(&mut self) {
        self.disk.clone_from(&self.stable);
        self.unflushed = 0;
    }

    /// With `disk` on it, which was there before the power came.
    #[must_use]
    pub fn with_disk(mut self, disk: Vec<u8>) -> Self {
        self.largest = (disk.len() / SECTOR_BYTES) as u64;
        self.disk = disk;
        self.settle();
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
        | bits::TOPOLOGY
        | bits::CONFIG_WCE
        | bits::MQ
        | bits::DISCARD
        | bits::WRITE_ZEROES
        | bits::LIFETIME
        | bits::SECURE_ERASE;

    fn queues(&self) -> u16 {
        if self.features & bits::MQ != 0 { self.num_queues.max(1) } else { 1 }
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
        let (exponent, offset, min_io, opt_io) = self.topology;
        config.extend([exponent, offset]);
        config.extend(min_io.to_le_bytes());
        config.extend(opt_io.to_le_bytes());
        config.extend([self.writeback.into(), 0]);
        config.extend(self.num_queues.to_le_bytes());
        config.extend(self.discard.words().into_iter().flatten());
        // Zeroes have no alignment.
        config.extend(self.zeroes.words().into_iter().take(2).flatten());
        config.extend([self.zeroes_may_unmap.into(), 0, 0, 0]);
        config.extend(self.erase.words().into_iter().flatten());
        // As long as what is offered needs.
        let len_bytes = [
            (bits::SECURE_ERASE, 72),
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
            60..72 => Some(bits::SECURE_ERASE),
            _ => None,
        }
    }

    /// Spec: VIRTIO 1.2, 5.2.5.1: the driver switches the cache by `writeback`; nothing else can be
    /// written.
    fn write_config(&mut self, at: u32, width: Width, value: u32) -> bool {
        let is_legal = at == WRITEBACK && width == Width::Byte && value <= 1;
        if is_legal && !self.keeps_writeback {
            // What was written before waits on, 5.2.6.2.
            self.writeback = value == 1;
        }
        is_legal
    }

    fn notified(device: &mut Virtio<Self>, queue: u16) {
        if device.class.takes_its_time {
            device.stock_all(queue.into());
        } else if device.class.serves_doorbells {
            device.serve_queue_of(queue.into());
        }
    }

    fn tick(device: &mut Virtio<Self>) {
        for queue in 0..device.queues.len() {
            if device.queues[queue].is_stopped || !device.queues[queue].is_enabled {
                continue;
            }
            if device.class.takes_its_time {
                device.serve_some(queue);
            } else {
                device.serve_queue_of(queue);
            }
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
        self.class.stable.resize(sectors * SECTOR_BYTES, 0);
        self.class.largest = self.class.largest.max(self.class.capacity());
        self.config_changed();
    }

    /// What was done since the last call.
    pub fn take_done(&mut self) -> Vec<Done> {
        std::mem::take(&mut self.class.done)
    }

    /// Takes all requests of `queue` that there are, and does none.
    fn stock_all(&mut self, queue: usize) {
        while let Some(chain) = self.take_fresh(queue) {
            self.queues[queue].stock.push(chain);
        }
        self.tell_wish(queue);
    }

    /// Does some of the requests that it took.
    fn serve_some(&mut self, queue: usize) {
        self.stock_all(queue);
        let shuffles = self.shuffles();
        let stock = &mut self.queues[queue].stock;
        let count = stock.len().min(AT_ONCE);
        let chains: Vec<Chain> = if shuffles {
            (0..count).filter_map(|_| stock.pop()).collect()
        } else {
            stock.drain(..count).collect()
        };
        self.serve_these(queue, chains, |device, chain| device.complete(queue, chain));
    }

    /// Does whatever there is to do in the first queue, then says when it wants to hear of more.
    pub fn serve_all(&mut self) {
        self.serve_queue_of(REQUESTS);
    }

    fn serve_queue_of(&mut self, queue: usize) {
        self.serve_queue(queue, |device, chain| device.complete(queue, chain));
    }

    /// Does one request of the first queue, if there is one. Not shown as used before
    /// [`show`](Self::show).
    pub fn serve_one(&mut self) -> Option<u16> {
        let chain = self.take(REQUESTS)?;
        self.complete(REQUESTS, &chain);
        Some(chain.head)
    }

    /// Does a request, and says so: truly, unless a fault has it otherwise. How far ahead the ring
    /// is to be.
    fn complete(&mut self, queue: usize, chain: &Chain) -> u16 {
        let performed = self.perform(queue, chain);
        let (status, length) = performed.unwrap_or((outcome::UNSUPP, 0));
        let mut said = Said { index: chain.head.into(), length, kind: status.into(), ..Said::default() };
        let (subject, here) = (u32::try_from(queue).unwrap_or(u32::MAX), Self::plays_completion);
        let action = self.ask(FaultPoint::RequestCompletion, subject, &mut said, here);
        self.has_misled |= said.kind != status.into();
        if performed.is_some() {
            let [status, ..] = said.kind.to_le_bytes();
            self.write_status_byte(queue, chain, status);
        }
        self.say(queue, said, action);
        low16(said.generation)
    }
}
