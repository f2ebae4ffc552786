//! The life of a request.

use paravane_hal::Platform;
use paravane_hal::dma::DomainTag;
use paravane_hal::fault::DeviceFault;
use paravane_hal::pool::Buffer;

use crate::device::Queue;
use crate::queue::tokens::Tokens;
use crate::ring::Segment;

/// Text and image: the first `len_bytes` of each.
pub(super) struct Request {
    pub(super) text: Buffer<()>,
    pub(super) image: Buffer<()>,
    pub(super) len_bytes: u32,
}

/// The ring under a queue. It keeps what was submitted until the device has used it.
pub(super) type MirrorRing<P> = Queue<Tokens<Request>, P>;

/// The queue of a running mirror.
pub(super) struct MirrorQueue<P: Platform> {
    pub(super) ring: MirrorRing<P>,
    pub(super) max_bytes: u32,
    pub(super) domain: DomainTag,
}

impl<P: Platform> MirrorQueue<P> {
    /// Takes a request, and tells the device. It comes back when there is no room, when the device
    /// cannot reach it or does not take its length, and when the queue is broken.
    pub(super) fn submit(&mut self, request: Request) -> Result<(), Request> {
        let Some([text, image]) = self.chain(&request) else { return Err(request) };
        self.ring.submit(2, text, [], image, request)?;
        self.ring.publish();
        Ok(())
    }

    /// What the device reads, then what it writes.
    fn chain(&self, request: &Request) -> Option<[Segment; 2]> {
        self.ring.check().ok()?;
        let len_bytes = request.len_bytes;
        let segment = |buffer: &Buffer<()>, writable| {
            let fits = len_bytes as usize <= buffer.len_bytes() && buffer.domain() == self.domain;
            Some(Segment { addr: buffer.dma_addr(0).filter(|_| fits)?, len_bytes, writable })
        };
        let chain = [segment(&request.text, false)?, segment(&request.image, true)?];
        (1..=self.max_bytes).contains(&len_bytes).then_some(chain)
    }

    /// Takes the next request that the device is done with, as long as it says that it wrote: that
    /// this is no more than fits, the ring has seen.
    pub(super) fn poll(&mut self) -> Result<Option<Request>, DeviceFault> {
        Ok(self.ring.complete()?.map(|(request, len_bytes)| Request { len_bytes, ..request }))
    }
}
