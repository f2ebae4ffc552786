//! Requests about ranges of sectors: to discard them, to fill them with zeroes, to erase them.
//!
//! Spec: VIRTIO 1.2, 5.2.6.1 and 5.2.6.2 "Driver Requirements", "Device Requirements: Device
//! Operation".

use super::super::Virtio;
use super::{Blk, SECTOR_BYTES, bits, kind, outcome};

/// What discarded sectors are full of here. Anything would do.
pub const DISCARDED: u8 = 0xdd;
/// What erased sectors are full of.
pub const ERASED: u8 = 0xee;

/// Bytes of a range: where, how many, flags.
const RANGE_BYTES: usize = 16;
/// `unmap` among the flags. The others are reserved.
const UNMAP: u32 = 1;

/// What a device takes of ranges in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeRules {
    /// The longest.
    pub max_sectors: u32,
    /// How many.
    pub max_seg: u32,
    /// Where to cut longer ones.
    pub align: u32,
}

impl RangeRules {
    /// As the configuration has them.
    pub(super) fn words(self) -> [[u8; 4]; 3] {
        [self.max_sectors, self.max_seg, self.align].map(u32::to_le_bytes)
    }
}

/// One range, as it came.
struct Range {
    sector: u64,
    sectors: u32,
    flags: u32,
}

fn range_of(bytes: &[u8; RANGE_BYTES]) -> Range {
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    Range { sector: u64::from(word(0)) | u64::from(word(4)) << 32, sectors: word(8), flags: word(12) }
}

impl Virtio<Blk> {
    /// Does what a request of type `kind` asks for, whose ranges are `out` and which has `room` for
    /// data that it should not have.
    pub(super) fn serve_ranges(
        &mut self,
        queue: usize,
        kind: u32,
        out: &[u8],
        room: usize,
    ) -> Result<(), u8> {
        let Some((feature, rules)) = self.class.range_rules(kind) else { return Err(outcome::UNSUPP) };
        if !self.has(feature) {
            self.ring_violation(queue, format!("a request of type {kind}, which was not agreed, 5.2.6.1"));
            return Err(outcome::UNSUPP);
        }
        let (ranges, rest) = out.as_chunks::<RANGE_BYTES>();
        let most = rules.max_seg.max(1) as usize;
        if room != 0 || !rest.is_empty() || ranges.is_empty() || ranges.len() > most {
            let what = format!("{} bytes of ranges, room for {room}", out.len());
            self.ring_violation(queue, format!("{what}, in a request of type {kind} for {most}, 5.2.6.1"));
            return Err(outcome::IOERR);
        }
        let ranges: Vec<Range> = ranges.iter().map(range_of).collect();
        // All are looked at before one is done.
        for range in &ranges {
            self.check_one(queue, kind, range, rules)?;
        }
        let fill = match kind {
            kind::DISCARD => DISCARDED,
            kind::SECURE_ERASE => ERASED,
            _ => 0,
        };
        for Range { sector, sectors, .. } in ranges {
            let start = usize::try_from(sector).unwrap_or(0) * SECTOR_BYTES;
            self.class.ranges.push((sector, sectors));
            self.class.disk[start..start + sectors as usize * SECTOR_BYTES].fill(fill);
        }
        self.wrote();
        Ok(())
    }

    fn check_one(&mut self, queue: usize, kind: u32, range: &Range, rules: RangeRules) -> Result<(), u8> {
        let Range { sector, sectors, flags } = *range;
        self.class.last_flags = flags;
        let of = format!("type {kind}, {sectors} sectors at {sector}, flags {flags:#x}");
        let may_unmap = kind == kind::WRITE_ZEROES;
        if flags & !UNMAP != 0 || flags & UNMAP != 0 && !may_unmap {
            self.ring_violation(queue, format!("flags of a range that are reserved, 5.2.6.1: {of}"));
            return Err(outcome::UNSUPP);
        }
        let block_sectors = self.block_sectors();
        let end = sector.checked_add(sectors.into());
        let is_within = |most: u64| end.is_some_and(|end| end <= most);
        let laws = [
            ("a range of no sectors", sectors > 0),
            ("a range longer than its device takes", rules.max_sectors == 0 || sectors <= rules.max_sectors),
            ("a range that leaves the disk", is_within(self.class.largest)),
            (
                "a range of no whole blocks",
                sector % block_sectors == 0 && u64::from(sectors) % block_sectors == 0,
            ),
            ("a range where RO is agreed", !self.has(bits::RO)),
        ];
        let mut is_legal = true;
        for (law, holds) in laws {
            if !holds {
                is_legal = false;
                self.ring_violation(queue, format!("{law}, 5.2.6.1: {of}"));
            }
        }
        let is_read_only = self.class.features & bits::RO != 0;
        let is_bad = end.is_some_and(|end| self.class.bad_sectors.range(sector..end).next().is_some());
        if !is_legal || !is_within(self.class.capacity()) || is_read_only || is_bad {
            return Err(outcome::IOERR);
        }
        Ok(())
    }

    /// A block, in sectors: known to whoever agreed on `BLK_SIZE`.
    pub(super) fn block_sectors(&self) -> u64 {
        if !self.has(bits::BLK_SIZE) {
            return 1;
        }
        (u64::from(self.class.blk_size) / SECTOR_BYTES as u64).max(1)
    }

    /// Something was written: it waits for a flush, unless nobody would.
    ///
    /// Spec: VIRTIO 1.2, 5.2.6.2: without `FLUSH`, or with `writeback` off, it is stable now.
    pub(super) fn wrote(&mut self) {
        self.class.unflushed += 1;
        let waits = self.has(bits::FLUSH) && (!self.has(bits::CONFIG_WCE) || self.class.writeback);
        if !waits {
            self.class.settle();
        }
    }
}
