//! What a chain asks for, whether it may, and doing it.
//!
//! Spec: VIRTIO 1.2, 5.2.6 "Device Operation".

use super::super::Virtio;
use super::super::queue::{Chain, Segment};
use super::{Blk, SECTOR_BYTES, bits};

/// Types of requests.
pub mod kind {
    /// `VIRTIO_BLK_T_IN`.
    pub const IN: u32 = 0;
    /// `VIRTIO_BLK_T_OUT`.
    pub const OUT: u32 = 1;
    /// `VIRTIO_BLK_T_FLUSH`.
    pub const FLUSH: u32 = 4;
    /// `VIRTIO_BLK_T_GET_ID`.
    pub const GET_ID: u32 = 8;
    /// `VIRTIO_BLK_T_GET_LIFETIME`.
    pub const GET_LIFETIME: u32 = 10;
    /// `VIRTIO_BLK_T_DISCARD`.
    pub const DISCARD: u32 = 11;
    /// `VIRTIO_BLK_T_WRITE_ZEROES`.
    pub const WRITE_ZEROES: u32 = 13;
    /// `VIRTIO_BLK_T_SECURE_ERASE`.
    pub const SECURE_ERASE: u32 = 14;
}

/// What the status byte says.
pub mod outcome {
    /// `VIRTIO_BLK_S_OK`.
    pub const OK: u8 = 0;
    /// `VIRTIO_BLK_S_IOERR`.
    pub const IOERR: u8 = 1;
    /// `VIRTIO_BLK_S_UNSUPP`.
    pub const UNSUPP: u8 = 2;
}

/// Bytes of the header.
const HEADER_BYTES: usize = 16;

/// A request that was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// Its type.
    pub kind: u32,
    /// Where it started.
    pub sector: u64,
    /// Bytes of data.
    pub len_bytes: usize,
    /// Segments of data.
    pub segments: usize,
    /// How it ended.
    pub status: u8,
}

/// A request as its chain has it.
struct Request {
    kind: u32,
    sector: u64,
    /// What can be read behind the header.
    out: Vec<u8>,
    /// How many bytes can be written in front of the status.
    room: usize,
    /// Segments of data, with what of them is data.
    segments: Vec<u32>,
}

impl Virtio<Blk> {
    /// Does what `chain` asks for. The status, not written yet, and how many bytes are written with
    /// it; `None` for a chain that is no request.
    pub(super) fn perform(&mut self, queue: usize, chain: &Chain) -> Option<(u8, u32)> {
        if queue > 0 && !self.has(bits::MQ) {
            self.ring_violation(queue, "a request in a queue that was not agreed, 5.2.2");
        }
        let request = self.parse(queue, chain)?;
        let written = self.answer_request(queue, chain, &request);
        let status = *written.as_ref().err().unwrap_or(&super::outcome::OK);
        let Request { kind, sector, ref out, room, ref segments } = request;
        self.class.done.push(Done {
            kind,
            sector,
            len_bytes: out.len() + room,
            segments: segments.len(),
            status,
        });
        let data = written.unwrap_or(0);
        Some((status, u32::try_from(data + 1).unwrap_or(u32::MAX)))
    }

    /// Takes a chain apart: a header that can be read, data, a status byte that can be written and
    /// is the last.
    fn parse(&mut self, queue: usize, chain: &Chain) -> Option<Request> {
        let bytes = match chain.read(&self.memory_of(queue)) {
            Ok(bytes) => bytes,
            Err(fault) => {
                self.ring_violation(queue, fault.to_string());
                return None;
            }
        };
        let header = bytes.split_first_chunk::<HEADER_BYTES>();
        let room = chain.writable_bytes().checked_sub(1);
        let (Some((header, out)), Some(room)) = (header, room) else {
            let what = format!("{} bytes to read and no more than {room:?} to write", bytes.len());
            self.ring_violation(queue, format!("a chain that is no request, 5.2.6: {what}"));
            return None;
        };
        let word =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if word(4) != 0 {
            self.ring_violation(queue, format!("reserved word of a header: {:#x}", word(4)));
        }
        let segments = data_segments(&chain.segments);
        if self.personality.simple_requests && !is_simple(&chain.segments) {
            self.refusals.push(format!("a request of {} descriptors", chain.segments.len()));
            return None;
        }
        let sector = u64::from(word(8)) | u64::from(word(12)) << 32;
        Some(Request { kind: word(0), sector, out: out.to_vec(), room, segments })
    }

    /// Does it: how many bytes of data were written, or the status of a failure.
    fn answer_request(&mut self, queue: usize, chain: &Chain, request: &Request) -> Result<usize, u8> {
        let Request { kind, sector, ref out, room, .. } = *request;
        // Spec: VIRTIO 1.2, 5.2.6: the sector is 0 where it means nothing.
        if !matches!(kind, kind::IN | kind::OUT | kind::FLUSH) && sector != 0 {
            self.ring_violation(queue, format!("sector {sector} in a request of type {kind}, 5.2.6"));
        }
        let bytes = match kind {
            kind::IN | kind::OUT => {
                let place = self.place(queue, request)?;
                if kind == kind::IN {
                    self.class.disk[place].to_vec()
                } else {
                    self.class.disk[place].copy_from_slice(out);
                    self.wrote();
                    return Ok(0);
                }
            }
            kind::FLUSH => {
                if !self.has(bits::FLUSH) {
                    self.ring_violation(queue, "FLUSH, which was not agreed, 5.2.6.1");
                    return Err(outcome::UNSUPP);
                }
                if sector != 0 || !out.is_empty() || room != 0 {
                    self.ring_violation(queue, format!("FLUSH of sector {sector}, or with data, 5.2.6.1"));
                }
                self.class.settle();
                return Ok(0);
            }
            kind::DISCARD | kind::WRITE_ZEROES | kind::SECURE_ERASE => {
                return self.serve_ranges(queue, kind, out, room).map(|()| 0);
            }
            kind::GET_LIFETIME if self.has(bits::LIFETIME) => {
                let mut bytes: Vec<u8> =
                    self.class.lifetime.iter().flat_map(|half| half.to_le_bytes()).collect();
                if !out.is_empty() || room != bytes.len() {
                    self.ring_violation(queue, format!("GET_LIFETIME into {room} bytes, 5.2.6"));
                }
                bytes.truncate(room);
                bytes
            }
            kind::GET_ID => {
                if !out.is_empty() || room != self.class.id.len() {
                    self.ring_violation(queue, format!("GET_ID into {room} bytes, 5.2.6"));
                }
                let mut id = self.class.id.to_vec();
                id.truncate(room);
                id
            }
            _ => {
                self.ring_violation(queue, format!("a request of type {kind}, which nothing allows"));
                return Err(outcome::UNSUPP);
            }
        };
        if let Err(fault) = chain.write(&self.memory_of(queue), &bytes) {
            self.ring_violation(queue, fault.to_string());
        }
        Ok(bytes.len())
    }

    /// Where on the disk a read or write goes, if it may.
    ///
    /// Spec: VIRTIO 1.2, 5.2.6.1 "Driver Requirements: Device Operation".
    fn place(&mut self, queue: usize, request: &Request) -> Result<std::ops::Range<usize>, u8> {
        let Request { kind, sector, ref out, room, ref segments } = *request;
        let (data_bytes, other_bytes) = if kind == kind::IN { (room, out.len()) } else { (out.len(), room) };
        let seg_max = self.class.seg_max as usize;
        let longest = segments.iter().max().copied().unwrap_or(0);
        let sectors = (data_bytes / SECTOR_BYTES) as u64;
        let ends_by = |most| sector.checked_add(sectors).is_some_and(|end| end <= most);
        let (is_inside, was_inside) = (ends_by(self.class.capacity()), ends_by(self.class.largest));
        let rules = [
            ("data goes one way", other_bytes == 0),
            ("data is whole sectors, and some", data_bytes > 0 && data_bytes.is_multiple_of(SECTOR_BYTES)),
            (
                "whole blocks",
                sector.is_multiple_of(self.block_sectors()) && sectors.is_multiple_of(self.block_sectors()),
            ),
            ("the request ends inside the disk", was_inside),
            ("no more segments than seg_max", !self.has(bits::SEG_MAX) || segments.len() <= seg_max),
            ("no segment longer than size_max", !self.has(bits::SIZE_MAX) || longest <= self.class.size_max),
            ("nothing is written where RO is agreed", kind == kind::IN || !self.has(bits::RO)),
        ];
        let mut is_legal = true;
        for (rule, holds) in rules {
            if !holds {
                is_legal = false;
                let of = format!("{data_bytes} bytes in {} at sector {sector}", segments.len());
                self.ring_violation(queue, format!("{rule}, 5.2.6.1: {of}"));
            }
        }
        let is_read_only = kind == kind::OUT && self.class.features & bits::RO != 0;
        let is_bad = self.class.bad_sectors.range(sector..sector.saturating_add(sectors)).next().is_some();
        if !is_legal || !is_inside || is_read_only || is_bad {
            return Err(outcome::IOERR);
        }
        let start = usize::try_from(sector).unwrap_or(0) * SECTOR_BYTES;
        Ok(start..start + data_bytes)
    }

    /// The status is the last byte that can be written.
    pub(super) fn write_status_byte(&mut self, queue: usize, chain: &Chain, status: u8) {
        let Some(last) = chain.segments.last() else { return };
        let at = last.addr + u64::from(last.len_bytes) - 1;
        if let Err(fault) = self.memory_of(queue).write(at, &[status]) {
            self.ring_violation(queue, fault.to_string());
        }
    }
}

/// How much of each descriptor is data, of those that have some.
fn data_segments(segments: &[Segment]) -> Vec<u32> {
    let mut header = u32::try_from(HEADER_BYTES).unwrap_or(0);
    let last = segments.len() - 1;
    segments
        .iter()
        .enumerate()
        .map(|(at, segment)| {
            let of_header = if segment.is_writable { 0 } else { header.min(segment.len_bytes) };
            header -= of_header;
            segment.len_bytes - of_header - u32::from(at == last && segment.is_writable)
        })
        .filter(|len_bytes| *len_bytes > 0)
        .collect()
}

/// A header, no more than one piece of data, and a status, each in a descriptor of its own.
fn is_simple(segments: &[Segment]) -> bool {
    let lengths: Vec<usize> = segments.iter().map(|segment| segment.len_bytes as usize).collect();
    matches!(lengths[..], [HEADER_BYTES, 1] | [HEADER_BYTES, _, 1])
}
