//! The entropy device.
//!
//! It is asked for some bytes now and then, and has nothing to say in between. So it is no device
//! that runs: its `read` starts it, takes what is wanted, and stops it again, after which it
//! reaches no memory. [`Source`] is the same as a source of entropy, and judges what
//! comes.
//!
//! ```no_run
//! # fn f<P: paravane_hal::Platform, C: paravane_pci::ConfigAccess>(
//! #     function: paravane_pci::Function<C>, platform: P,
//! # ) -> Result<(), Box<dyn core::error::Error>> {
//! use paravane_hal::{Failed, entropy::Entropy as _};
//! use paravane_virtio::{rng, transport::any::{self, Any}};
//!
//! let opened = any::open_pci(function, platform).map_err(Failed::into_error);
//! let device: rng::Device<P, Any<P, C>> = opened?;
//! let mut seed = [0; 32];
//! rng::Source::new(device).fill(&mut seed)?;
//! # Ok(()) }
//! ```
//!
//! Spec: VIRTIO 1.2, 5.4 "Entropy Device".

mod error;
mod source;

pub use error::ReadError;
pub use source::Source;

use core::time::Duration;

use paravane_hal::addr::Align;
use paravane_hal::dma::{Dma, DmaBox, Quiet};
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Interrupts;
use paravane_hal::time::wait_for;
use paravane_hal::{Failed, Platform};

use crate::device::{self, Class, Queue, Rings, queue_size};
use crate::feature::{Allowed, ClassFeatures, FieldEnd, RingFeatures};
use crate::queue::tokens::Tokens;
use crate::ring::Segment;
use crate::transport::{QueueError, Transport};

/// The entropy device among the kinds of device.
pub const DEVICE_ID: u16 = 4;

/// The only queue.
const REQUEST_QUEUE: u16 = 0;
const QUEUES: u16 = 1;
/// One request at a time; no ring is shorter.
const ENTRIES: u16 = 4;
/// How much is asked for at once.
const PIECE_BYTES: usize = 64;

bitflags::bitflags! {
    /// The device has no features of its own.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    struct RngFeatures: u64 {}
}

impl ClassFeatures for RngFeatures {
    const FIELDS: &'static [FieldEnd] = &[];
}

/// The entropy device among the classes.
pub struct Rng;

/// The ring, where a request needs no name: there is one.
type Ring<P> = Queue<Tokens<()>, P>;
/// Where the device writes.
type Piece<P> = DmaBox<[u8; PIECE_BYTES], P>;
/// What the device is told of, as far as it is there.
type Memory<P> = (Option<Ring<P>>, Option<Piece<P>>);

impl Class for Rng {
    const DEVICE_ID: u16 = DEVICE_ID;
    const NAME: &'static str = "virtio-rng";

    type Rings<P: Platform> = Memory<P>;
}

impl<D: Dma> Rings for Option<DmaBox<[u8; PIECE_BYTES], D>> {
    fn is_none(&self) -> bool {
        self.is_none()
    }

    fn free(self, quiet: &Quiet<'_>) -> bool {
        self.is_none_or(|piece| piece.free(quiet).is_ok())
    }
}

/// A claimed entropy device, which does not run: it was reset, or does not answer to that.
pub type Device<P, T> = device::Device<P, T, Rng>;

impl<P: Platform, T: Transport<P::Region>> Device<P, T> {
    /// Fills `to` with what the device gives, which is not judged here. It runs meanwhile, polled,
    /// for `limit` at the longest for each piece that it gives; a piece is one byte at the least.
    ///
    /// # Errors
    ///
    /// [`ReadError`], and the device back, reset as far as it answers to that. What is in `to` is
    /// not to be used.
    pub fn read(self, to: &mut [u8], limit: Duration) -> Result<Self, Failed<ReadError, Self>> {
        let (device, memory, ()) = self.bring_up(|device, memory| device.steps(memory))?;
        let (Some(mut ring), Some(mut piece)) = memory else {
            // The steps made both, or failed.
            return Err(device.abandon(memory, QueueError::Absent { queue: REQUEST_QUEUE }.into()));
        };
        let filled = fill(&mut ring, &mut piece, &device.platform, to, limit);
        let memory = (Some(ring), Some(piece));
        match filled {
            Ok(()) => device.end(memory),
            Err(error) => Err(device.abandon(memory, error)),
        }
    }

    /// What is its own of bring-up.
    fn steps(&mut self, (ring, piece): &mut Memory<P>) -> Result<(), ReadError> {
        // One descriptor needs no table.
        let of_rings = RingFeatures::IMPLEMENTED.difference(RingFeatures::INDIRECT_DESC);
        let features = self.agree(Allowed::<RngFeatures>::default().with_ring(of_rings))?;
        let format = features.format();
        let size = queue_size(&mut self.transport, REQUEST_QUEUE, ENTRIES, format.packed)?;
        *piece = Some(DmaBox::zeroed(&self.dma(), Align::new(PIECE_BYTES))?);
        self.set_up(REQUEST_QUEUE, size, format, ring)?;
        self.enable(QUEUES, Interrupts::POLLING);
        Ok(())
    }

    /// Stops it and frees `memory`.
    fn end(mut self, memory: Memory<P>) -> Result<Self, Failed<ReadError, Self>> {
        match self.shut_down() {
            Ok(quiet) => {
                let freed = memory.free(&quiet);
                debug_assert!(freed, "memory of another device");
                Ok(self)
            }
            // What came is as good, but somebody ought to know.
            Err(error) => Err(self.abandon(memory, ReadError::Stop(error))),
        }
    }
}

/// Fills `to`, piece by piece.
fn fill<P: Platform>(
    ring: &mut Ring<P>,
    piece: &mut Piece<P>,
    platform: &P,
    mut to: &mut [u8],
    limit: Duration,
) -> Result<(), ReadError> {
    while !to.is_empty() {
        let (bytes, len_bytes) = request(ring, piece, platform, to.len(), limit)?;
        // The ring has seen that it is no more than was asked for.
        let Some((now, rest)) = core::mem::take(&mut to).split_at_mut_checked(len_bytes) else { break };
        now.iter_mut().zip(bytes).for_each(|(to, byte)| *to = byte);
        to = rest;
    }
    Ok(())
}

/// Asks for up to `most` bytes: what is where they were wanted, and how many the device says it
/// wrote.
fn request<P: Platform>(
    ring: &mut Ring<P>,
    piece: &mut Piece<P>,
    platform: &P,
    most: usize,
    limit: Duration,
) -> Result<([u8; PIECE_BYTES], usize), ReadError> {
    // A device that writes less than it says gives zeros then, not once more what it gave before.
    piece.write(&[0; PIECE_BYTES]);
    #[expect(clippy::cast_possible_truncation, reason = "no more than a piece")]
    let len_bytes = most.min(PIECE_BYTES) as u32;
    let segment = Segment { addr: piece.dma_addr(), len_bytes, writable: true };
    // There is room, for nothing is under way; if not, nothing comes.
    let _ = ring.submit_one(segment, ());
    ring.publish();
    let answer = wait_for(platform, limit, || ring.complete().transpose());
    match answer {
        Ok(Ok(((), 0))) => Err(ReadError::NoBytes),
        Ok(Ok(((), written_bytes))) => Ok((piece.read(), written_bytes as usize)),
        Ok(Err(fault)) => Err(ReadError::Fault(fault)),
        Err(_) => {
            let after_ms = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
            Err(ReadError::Fault(ring.fail(DeviceFault::NoAnswer { after_ms })))
        }
    }
}
