//! Buffers that the driver made available together.

use std::fmt;

use crate::device::DeviceMemory;
use crate::memory::AccessFault;

/// One descriptor of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it is.
    pub addr: u64,
    /// How long it is.
    pub len_bytes: u32,
    /// The device may write it; otherwise it may read it.
    pub is_writable: bool,
}

/// Buffers that the driver made available together.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    /// What the device gives back to say that it is done.
    pub head: u16,
    /// Its descriptors, in order.
    pub segments: Vec<Segment>,
    /// Where the words of its descriptors are, 16 bytes each.
    pub(super) words: Vec<u64>,
}

/// Why the device cannot take a chain.
#[derive(Debug)]
pub(in super::super) enum Untaken {
    /// The driver broke a rule.
    Rule(String),
    /// Memory did not answer.
    Memory(AccessFault),
}

impl fmt::Display for Untaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(rule) => f.write_str(rule),
            Self::Memory(fault) => fault.fmt(f),
        }
    }
}

impl From<AccessFault> for Untaken {
    fn from(fault: AccessFault) -> Self {
        Self::Memory(fault)
    }
}

impl Chain {
    /// Adds a descriptor.
    ///
    /// Spec: VIRTIO 1.2, 2.7.4.2 and 2.8.17: what can be read comes first.
    pub(super) fn push(&mut self, segment: Segment) -> Result<(), Untaken> {
        if segment.len_bytes == 0 {
            return Err(Untaken::Rule("an empty descriptor".into()));
        }
        if !segment.is_writable && self.segments.last().is_some_and(|last| last.is_writable) {
            return Err(Untaken::Rule("a readable descriptor behind a writable one, 2.7.4.2".into()));
        }
        self.segments.push(segment);
        Ok(())
    }

    /// How many bytes the device may write.
    #[must_use]
    pub fn writable_bytes(&self) -> usize {
        self.bytes_of(true)
    }

    /// How many bytes the device may read.
    #[must_use]
    pub fn readable_bytes(&self) -> usize {
        self.bytes_of(false)
    }

    fn bytes_of(&self, is_writable: bool) -> usize {
        self.segments
            .iter()
            .filter(|segment| segment.is_writable == is_writable)
            .map(|segment| segment.len_bytes as usize)
            .sum()
    }

    /// Reads all that the device may read.
    pub(in super::super) fn read(&self, memory: &DeviceMemory) -> Result<Vec<u8>, AccessFault> {
        let mut bytes = Vec::new();
        for segment in self.segments.iter().filter(|segment| !segment.is_writable) {
            // By itself: one that is as long as nonsense says is never touched.
            let mut part = vec![0; segment.len_bytes as usize];
            memory.read(segment.addr, &mut part)?;
            bytes.append(&mut part);
        }
        Ok(bytes)
    }

    /// Writes `bytes` to what the device may write, which is long enough.
    pub(in super::super) fn write(&self, memory: &DeviceMemory, mut bytes: &[u8]) -> Result<(), AccessFault> {
        for segment in self.segments.iter().filter(|segment| segment.is_writable) {
            let (now, rest) = bytes.split_at(bytes.len().min(segment.len_bytes as usize));
            memory.write(segment.addr, now)?;
            bytes = rest;
        }
        Ok(())
    }
}
