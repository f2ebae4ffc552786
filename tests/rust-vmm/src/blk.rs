//! A block device: a disk in memory, and requests done in an order of the device's own.
//!
//! Spec: VIRTIO 1.2, 5.2 "Block Device".

use crate::machine::Broken;
use crate::registers::{Class, VERSION_1};
use crate::ring::{Chain, Ring};

/// Length of a sector.
pub const SECTOR_BYTES: usize = 512;
/// SEG_MAX, FLUSH.
const FEATURES: u64 = 1 << 2 | 1 << 9;
/// The most buffers of data in a request.
const SEG_MAX: u32 = 30;
/// Length of the header in front of each request.
const HEADER_BYTES: usize = 16;

const READ: u32 = 0;
const WRITE: u32 = 1;
const FLUSH: u32 = 4;
const IDENTIFY: u32 = 8;

/// A request was done.
const OK: u8 = 0;
/// A request failed.
const IO_ERROR: u8 = 1;
/// Who it is.
pub const ID: [u8; 20] = *b"rust-vmm in a test\0\0";

/// A block device.
pub struct Blk {
    /// What is on it.
    pub disk: Vec<u8>,
    /// Flushes done.
    pub flushes: u64,
    /// At each turn so many requests stay undone, and the others are done from the last one on.
    pub keep: usize,
    offered: u64,
    held: Vec<Chain>,
}

impl Blk {
    /// A disk of `sectors` that offers `features` beside the least.
    #[must_use]
    pub fn new(sectors: usize, features: u64) -> Self {
        let disk = vec![0; sectors * SECTOR_BYTES];
        Self { disk, flushes: 0, keep: 0, offered: VERSION_1 | FEATURES | features, held: Vec::new() }
    }

    /// How many requests wait.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Does one request. How many bytes were written, the status among them.
    fn serve(&mut self, chain: &Chain) -> Result<usize, Broken> {
        let Some((header, data)) = chain.readable.split_at_checked(HEADER_BYTES) else {
            return Err(format!("a request of {} bytes", chain.readable.len()));
        };
        let Some(to_read) = chain.writable_bytes.checked_sub(1) else {
            return Err("no place for a status".to_owned());
        };
        let word = |at: usize| header[at..at + 4].try_into().map_or(0, u32::from_le_bytes);
        let (kind, reserved, high) = (word(0), word(4), word(12));
        let buffers = chain.writable - 1;
        if reserved != 0 || buffers > SEG_MAX as usize {
            return Err(format!("request {header:?} with {buffers} buffers to write"));
        }
        let start = (word(8) as usize).saturating_mul(SECTOR_BYTES);
        let len_bytes = data.len().max(to_read);
        let place = start..start.saturating_add(len_bytes);
        let on_disk = high == 0 && place.end <= self.disk.len();
        let status = match kind {
            READ | WRITE if len_bytes == 0 || !len_bytes.is_multiple_of(SECTOR_BYTES) => {
                return Err(format!("{len_bytes} bytes are no sectors"));
            }
            READ if data.is_empty() && on_disk => {
                chain.write(0, &self.disk[place])?;
                OK
            }
            WRITE if to_read == 0 && on_disk => {
                self.disk[place].copy_from_slice(data);
                OK
            }
            READ | WRITE if !on_disk => IO_ERROR,
            FLUSH if len_bytes == 0 && start == 0 => {
                self.flushes += 1;
                OK
            }
            IDENTIFY if data.is_empty() && to_read == ID.len() => {
                chain.write(0, &ID)?;
                OK
            }
            _ => return Err(format!("request {header:?}, {} in, {to_read} out", data.len())),
        };
        chain.write(to_read, &[status])?;
        Ok(chain.writable_bytes)
    }
}

impl Class for Blk {
    const ID: u32 = 2;
    const QUEUES: usize = 1;

    fn features(&self) -> u64 {
        self.offered
    }

    /// `capacity`, no `size_max`, `seg_max`.
    fn config(&self) -> Vec<u8> {
        let capacity = (self.disk.len() / SECTOR_BYTES) as u64;
        [&capacity.to_le_bytes()[..], &[0; 4], &SEG_MAX.to_le_bytes()].concat()
    }

    fn agreed(&mut self, _features: u64) {}

    fn turn(&mut self, rings: &mut [Ring]) -> Result<(), Broken> {
        let ring = &mut rings[0];
        while let Some(chain) = ring.take()? {
            self.held.push(chain);
        }
        for chain in self.held.split_off(self.keep.min(self.held.len())).into_iter().rev() {
            let written_bytes = self.serve(&chain)?;
            ring.give(&chain, written_bytes)?;
        }
        ring.signal()
    }

    fn reset(&mut self) {
        self.held.clear();
    }
}
