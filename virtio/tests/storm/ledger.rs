//! What was asked of a disk, and what came of it.

use std::collections::BTreeMap;
use std::ops::Range;

use paravane_block::{BlockBuffer, Completion, Operation, Request};
use paravane_mock_hal::model::virtio::VirtioBlk;
use paravane_mock_hal::model::virtio::blk::{DISCARDED, ERASED};

pub const SECTOR: usize = 512;

pub type Data = Vec<BlockBuffer>;

/// Every request that is out, and what is stored as far as anybody was told.
#[derive(Default)]
pub struct Ledger {
    asked: BTreeMap<u64, Asked>,
    stored: Vec<u8>,
    /// Answers that were held against what is stored.
    pub compared: u64,
}

struct Asked {
    operation: Operation,
    lengths: Vec<usize>,
    /// The disk did not change its size meanwhile.
    is_sure: bool,
}

impl Asked {
    /// The bytes of the disk that it is about.
    fn range(&self) -> Range<usize> {
        range_of(self.operation, self.lengths.iter().sum())
    }
}

fn range_of(operation: Operation, len_bytes: usize) -> Range<usize> {
    match operation {
        Operation::Read { sector } | Operation::Write { sector } => {
            let start = usize::try_from(sector).unwrap() * SECTOR;
            start..start + len_bytes
        }
        other => other.range().map_or(0..0, |range| {
            let start = usize::try_from(range.sector).unwrap() * SECTOR;
            start..start + range.sectors as usize * SECTOR
        }),
    }
}

/// Whether it changes what is stored.
fn changes(operation: Operation) -> bool {
    matches!(operation, Operation::Write { .. }) || operation.range().is_some()
}

impl Ledger {
    pub fn len(&self) -> usize {
        self.asked.len()
    }

    /// A driver was started.
    pub fn open(&mut self, model: &VirtioBlk) {
        assert_eq!(self.len(), 0, "requests of before");
        self.look(model);
    }

    /// The disk has nothing to do: what is stored is what there is.
    pub fn look(&mut self, model: &VirtioBlk) {
        self.stored.clone_from(&model.class.disk);
    }

    /// The disk has another size, or may lose what is written.
    pub fn resize(&mut self, len_bytes: usize) {
        self.stored.resize(len_bytes, 0);
        self.asked.values_mut().for_each(|asked| asked.is_sure = false);
    }

    /// Whether the order of this and of what is out does not matter.
    pub fn has_no_order(&self, operation: Operation, len_bytes: usize) -> bool {
        let (range, writes) = (range_of(operation, len_bytes), changes(operation));
        self.asked.values().all(|asked| {
            let other = asked.range();
            let apart = range.end <= other.start || other.end <= range.start;
            apart || !writes && !changes(asked.operation)
        })
    }

    pub fn ask(&mut self, request: &Request<Data>) {
        let lengths = request.data.iter().flatten().map(BlockBuffer::len_bytes).collect();
        let asked = Asked { operation: request.operation, lengths, is_sure: true };
        assert!(self.asked.insert(request.token, asked).is_none(), "a token of its own");
    }

    /// The request is back: once, and as it was.
    pub fn back(&mut self, request: &Request<Data>) {
        let _ = self.take(request);
    }

    fn take(&mut self, request: &Request<Data>) -> Asked {
        let asked = self.asked.remove(&request.token).expect("asked for, and not answered yet");
        assert_eq!(request.operation, asked.operation);
        let lengths = request.data.iter().flatten().map(BlockBuffer::len_bytes);
        assert!(lengths.eq(asked.lengths.iter().copied()), "its own buffers");
        asked
    }

    /// The driver says how a request ended. Unless it was misled, that is how it ended.
    pub fn answered(&mut self, model: &VirtioBlk, completion: &Completion<Data>) {
        let Completion { request, result } = completion;
        let asked = self.take(request);
        if let Err(error) = result {
            assert_eq!((error.token, error.operation), (request.token, request.operation));
        }
        if !model.is_truthful() {
            return;
        }
        let (range, disk) = (asked.range(), &model.class.disk);
        if !asked.is_sure || range.end > disk.len() {
            let end = range.end.min(disk.len());
            let start = range.start.min(end);
            self.stored[start..end].copy_from_slice(&disk[start..end]);
            return;
        }
        let bytes = request.data.as_ref().map(bytes_of).unwrap_or_default();
        match (request.operation, result) {
            (Operation::Read { .. }, Ok(())) => assert!(bytes == self.stored[range], "what is stored there"),
            (Operation::Write { .. }, Ok(())) => {
                assert!(bytes == pattern(request.token, bytes.len()), "a disk does not write there");
                assert!(bytes == disk[range.clone()], "it was written");
                self.stored[range].copy_from_slice(&bytes);
            }
            (Operation::Identify, Ok(())) => assert_eq!(bytes, model.class.id),
            (Operation::Lifetime, Ok(())) => assert_eq!(bytes, [1, 0, 3, 0, 0, 0]),
            (operation, Ok(())) if operation.range().is_some() => {
                let fill = match operation {
                    Operation::Discard { .. } => DISCARDED,
                    Operation::SecureErase { .. } => ERASED,
                    _ => 0,
                };
                assert!(disk[range.clone()].iter().all(|byte| *byte == fill), "all of it");
                self.stored[range].fill(fill);
            }
            // Of a failed write, any part may be stored.
            (_, Err(_)) => self.stored[range.clone()].copy_from_slice(&disk[range]),
            _ => {}
        }
        self.compared += 1;
    }
}

pub fn bytes_of(data: &Data) -> Vec<u8> {
    let mut all = Vec::new();
    for piece in data {
        let at = all.len();
        all.resize(at + piece.len_bytes(), 0);
        assert!(piece.copy_out(0, &mut all[at..]));
    }
    all
}

/// Bytes that say by which request they were written.
pub fn pattern(token: u64, len_bytes: usize) -> Vec<u8> {
    let words = (0..).map(|word: u64| token << 16 ^ word);
    words.flat_map(u64::to_le_bytes).take(len_bytes).collect()
}
