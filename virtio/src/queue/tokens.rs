//! The general record: chains of any shape, used in any order.
//!
//! A *token* is whatever owns the memory that a chain names. It is moved in with the chain and
//! comes back with its completion. Free descriptors are a list; a chain takes as many from its
//! front as it has segments, and is known by the first.

use alloc::vec::Vec;

use paravane_hal::dma::{DeviceTag, Dma, DmaError, DmaErrorReason, Quiet};
use paravane_hal::fault::DeviceFault;
use paravane_hal::pool::Posted;

use super::{Doorbell, Record, Virtqueue};
use crate::ring::{QueueSize, Ring, Segment, each_format};

/// What is lent by the chain.
#[derive(Debug)]
pub(crate) struct Tokens<T> {
    /// By the first descriptor.
    chains: Posted<Chain<T>>,
    /// What comes behind each descriptor: in its chain, or among the free ones.
    next: Vec<u16>,
    /// The first free descriptor.
    free: u16,
    /// How many are free.
    room: u16,
}

/// A chain that the device has.
#[derive(Debug)]
struct Chain<T> {
    token: T,
    /// The last descriptor.
    last: u16,
    descriptors: u16,
    /// How many bytes the device may write.
    writable_bytes: u32,
}

impl<T> Record for Tokens<T> {
    fn new(size: QueueSize, device: DeviceTag) -> Result<Self, DmaError> {
        let entries = size.entries();
        let chains = Posted::new(entries.into(), device)?;
        let mut next = Vec::new();
        let len_bytes = usize::from(entries).saturating_mul(size_of::<u16>());
        next.try_reserve_exact(entries.into())
            .map_err(|_| DmaError::new(len_bytes, DmaErrorReason::OutOfMemory))?;
        // Behind the last one nothing is looked for: no more are taken than there are.
        next.extend(1..=entries);
        Ok(Self { chains, next, free: 0, room: entries })
    }

    #[inline(always)]
    fn room(&self) -> u16 {
        self.room
    }

    fn reclaim(self, quiet: &Quiet<'_>) -> bool {
        self.chains.reclaim(quiet).is_ok()
    }
}

impl<T> Tokens<T> {
    /// The descriptor behind `number`.
    fn behind(&self, number: u16) -> u16 {
        self.next.get(usize::from(number)).copied().unwrap_or(number)
    }

    /// Posts a chain of `segments` and keeps `token` until the device has used it.
    fn submit(&mut self, ring: &mut impl Ring, segments: &[Segment], token: T) -> Result<(), T> {
        let Some((descriptors, writable_bytes)) = shape(segments).filter(|(count, _)| *count <= self.room)
        else {
            return Err(token);
        };
        let (head, mut last, mut number) = (self.free, self.free, self.free);
        for _ in 0..descriptors {
            last = number;
            number = self.behind(number);
        }
        self.chains.put(head.into(), Chain { token, last, descriptors, writable_bytes }).map_err(
            // A free descriptor heads no chain.
            |chain| chain.token,
        )?;
        self.free = number;
        self.room = self.room.wrapping_sub(descriptors);
        let numbers = core::iter::successors(Some(head), |number| Some(self.behind(*number)));
        ring.post_chain(numbers.zip(segments.iter().copied()));
        Ok(())
    }

    /// Takes the token of the chain that the device calls `id`, into which it says it wrote
    /// `written_bytes`.
    fn take(&mut self, id: u32, written_bytes: u32) -> Result<Chain<T>, Lie> {
        let slot = usize::try_from(id).map_err(|_| Lie::Unknown)?;
        let max_bytes = self.chains.get(slot).ok_or(Lie::Unknown)?.writable_bytes;
        if written_bytes > max_bytes {
            return Err(Lie::TooLong { max_bytes });
        }
        let chain = self.chains.take(slot).ok_or(Lie::Unknown)?;
        if let Some(next) = self.next.get_mut(usize::from(chain.last)) {
            *next = self.free;
        }
        // The table is no longer than 16 bits number.
        #[expect(clippy::cast_possible_truncation, reason = "see above")]
        let head = id as u16;
        self.free = head;
        self.room = self.room.wrapping_add(chain.descriptors);
        Ok(chain)
    }
}

/// What is wrong with a completion.
enum Lie {
    /// The device does not have the chain.
    Unknown,
    /// It may not write as much.
    TooLong { max_bytes: u32 },
}

/// How many descriptors `segments` take and how many bytes of them the device may write; `None` if
/// they make no chain: there are none, one to be written comes before one to be read, or they are
/// 4 GiB or longer.
///
/// Spec: VIRTIO 1.2, 2.7.4.2 and 2.7.5 (2.8.5 for packed rings): what the device writes comes last,
/// and a chain is no longer than 2^32 bytes.
fn shape(segments: &[Segment]) -> Option<(u16, u32)> {
    let descriptors = u16::try_from(segments.len()).ok().filter(|count| *count > 0)?;
    let (mut total_bytes, mut writable_bytes, mut was_writable) = (0_u32, 0_u32, false);
    for segment in segments {
        if was_writable && !segment.writable {
            return None;
        }
        was_writable = segment.writable;
        total_bytes = total_bytes.checked_add(segment.len_bytes)?;
        if segment.writable {
            // No more than the total.
            writable_bytes = writable_bytes.wrapping_add(segment.len_bytes);
        }
    }
    Some((descriptors, writable_bytes))
}

impl<T, D: Dma, B: Doorbell> Virtqueue<Tokens<T>, D, B> {
    /// Posts a chain of `segments`, what the device reads before what it writes. `token`, which
    /// owns their memory, stays here until the device has used the chain. The device learns of it
    /// with [`publish`](Self::publish).
    ///
    /// # Errors
    ///
    /// `token`: there is no room for the chain, or it is none: no segment, a writable one before a
    /// readable one, or 4 GiB and more in all.
    pub(crate) fn submit(&mut self, segments: &[Segment], token: T) -> Result<(), T> {
        let (ring, lent) = self.parts();
        each_format!(ring, ring => lent.submit(ring, segments, token))
    }

    /// Takes the next chain that the device has used: its token, and how many bytes the device
    /// wrote, it says; no more than the chain has room for. `None` when there is none.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: the queue is broken, or the device names what it does not have, or says
    /// that it wrote more than fits. Every token stays until the device was stopped.
    pub(crate) fn complete(&mut self) -> Result<Option<(T, u32)>, DeviceFault> {
        if self.observe()? == 0 {
            return Ok(None);
        }
        let (ring, lent) = self.parts();
        let Some(used) = each_format!(ring, ring => ring.read_used()) else { return Ok(None) };
        match lent.take(used.id, used.len) {
            Ok(Chain { token, descriptors, .. }) => {
                each_format!(ring, ring => ring.took(1, descriptors));
                Ok(Some((token, used.len)))
            }
            Err(Lie::Unknown) => Err(self.unknown(used.id)),
            Err(Lie::TooLong { max_bytes }) => {
                Err(self.fail(DeviceFault::LengthTooLong { len_bytes: used.len, max_bytes }))
            }
        }
    }
}

#[cfg(test)]
#[path = "tokens_tests.rs"]
mod tests;
