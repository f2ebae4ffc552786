//! The adapter: a pair of queues as a smoltcp [`Device`].
//!
//! A transmit token owns an empty frame and a place in the outgoing burst, so using it cannot fail. The one that comes with a receive token owns the frame
//! that was received.
//! Outgoing frames collect until the burst is full or [`Phy::flush`] is called: one doorbell for all answers of a poll.

use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Armed;
use paravane_net::{Burst, Frame, FramePool, NicInfo, RxQueue, TxQueue};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

use crate::scratch::Scratch;

/// A NIC's queues as smoltcp sees them.
///
/// Generic over the queues, so one core's pair costs no dynamic call; a `Box<dyn …>` works as well.
#[derive(Debug)]
pub struct Phy<R, T> {
    rx: R,
    tx: T,
    pool: FramePool,
    incoming: Burst,
    outgoing: Burst,
    rx_scratch: Scratch,
    tx_scratch: Scratch,
    max_frame_bytes: usize,
    fault: Option<DeviceFault>,
    counters: PhyCounters,
}

/// What the adapter itself dropped or had to wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhyCounters {
    /// Received frames dropped: longer than the largest frame, or with a checksum request that does not fit.
    pub rx_dropped: u64,
    /// Times that smoltcp wanted to send and there was no frame, or no room in ring and burst.
    pub tx_stalls: u64,
}

impl<R: RxQueue, T: TxQueue> Phy<R, T> {
    /// Puts smoltcp on top of `rx` and `tx`; frames to send come from `pool`, which is the one that `rx` receives into.
    ///
    /// The largest frame is what the NIC takes and one buffer of the pool holds.
    #[must_use]
    pub fn new(info: &NicInfo, rx: R, tx: T, pool: FramePool) -> Self {
        let max_frame_bytes = usize::from(info.max_frame_bytes).min(pool.payload_bytes());
        Self {
            rx,
            tx,
            pool,
            incoming: Burst::new(),
            outgoing: Burst::new(),
            rx_scratch: Scratch::new(max_frame_bytes),
            tx_scratch: Scratch::new(max_frame_bytes),
            max_frame_bytes,
            fault: None,
            counters: PhyCounters::default(),
        }
    }

    /// Gives the queues back, for instance to stop the NIC. Frames received and not yet read, or not yet sent, are dropped.
    #[must_use]
    pub fn into_queues(self) -> (R, T) {
        (self.rx, self.tx)
    }

    /// The receive queue.
    pub fn rx(&self) -> &R {
        &self.rx
    }

    /// The transmit queue.
    pub fn tx(&self) -> &T {
        &self.tx
    }

    /// What the adapter dropped.
    pub fn counters(&self) -> PhyCounters {
        self.counters
    }

    /// The fault that broke a queue, once one did. smoltcp then sees a NIC that neither receives nor sends.
    pub fn fault(&self) -> Option<DeviceFault> {
        self.fault
    }

    /// Takes in what the device has: sent frames go home, received ones wait for smoltcp. Returns how many wait.
    pub fn service(&mut self) -> usize {
        if self.fault.is_none() {
            let reclaimed = self.tx.reclaim().map(drop);
            let received = self.rx.receive(&mut self.incoming).map(drop);
            self.fault = reclaimed.and(received).err();
        }
        self.incoming.len()
    }

    /// Gives the device what smoltcp has sent since the last flush, with one doorbell. Call it after each poll of the interface.
    pub fn flush(&mut self) {
        if self.outgoing.is_empty() || self.fault.is_some() {
            return;
        }
        let mut sent = self.tx.transmit(&mut self.outgoing);
        if sent.is_ok() && !self.outgoing.is_empty() {
            // The ring was full: make room once and try again; what still stays goes with the next flush.
            sent = self.tx.reclaim().and_then(|_| self.tx.transmit(&mut self.outgoing));
        }
        self.fault = sent.err();
    }

    /// Tells the device once more about what it has to send.
    pub fn remind(&mut self) {
        self.tx.remind();
    }

    /// Asks for interrupts, then looks once more. [`Armed::Pending`] when there is something to do at once.
    ///
    /// Sent frames need no interrupt of their own while there is room to send: they go home with the next
    /// [`service`](Self::service). Only when smoltcp is waiting for room is the transmit side armed too.
    ///
    /// Received frames that wait for room to answer in can only wait on: then the transmit side alone is armed. A frame that another
    /// NIC gives back to a shared pool raises no interrupt here: look again after a time while [`can_send`](Self::can_send) says no.
    ///
    /// # Errors
    ///
    /// The fault that broke a queue.
    pub fn arm(&mut self) -> Result<Armed, DeviceFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let armed = self.arm_queues();
        self.fault = armed.err();
        armed
    }

    fn arm_queues(&mut self) -> Result<Armed, DeviceFault> {
        if !self.incoming.is_empty() {
            return if self.has_room() { Ok(Armed::Pending) } else { self.tx.arm() };
        }
        let starved = !self.outgoing.is_empty() || self.tx.room() == 0 || self.pool.is_dry();
        if starved && self.tx.arm()? == Armed::Pending {
            return Ok(Armed::Pending);
        }
        self.rx.arm()
    }

    /// Whether smoltcp could send a frame now.
    #[must_use]
    pub fn can_send(&self) -> bool {
        self.fault.is_none() && self.has_room() && !self.pool.is_dry()
    }

    fn has_room(&self) -> bool {
        self.outgoing.room() > 0 || self.tx.room() > 0
    }

    /// Says that no interrupts are wanted for now.
    pub fn disarm(&mut self) {
        self.rx.disarm();
        self.tx.disarm();
    }

    /// Whether one more frame has a place in the outgoing burst.
    fn has_place(&mut self) -> bool {
        if self.outgoing.room() == 0 {
            self.flush();
        }
        let has_place = self.outgoing.room() > 0 && self.fault.is_none();
        self.note_stall(!has_place);
        has_place
    }

    /// A frame of the pool. When it is dry, the frames that are missing may have been sent, and this may be the only call that looks.
    fn empty_frame(&mut self) -> Option<Frame> {
        let mut frame = self.pool.get();
        if frame.is_none() {
            self.fault = self.tx.reclaim().err();
            frame = self.pool.get();
        }
        self.note_stall(frame.is_none());
        frame
    }

    fn note_stall(&mut self, is_stall: bool) {
        self.counters.tx_stalls = self.counters.tx_stalls.saturating_add(is_stall.into());
    }

    fn tx_token(&mut self, frame: Frame) -> TxFrame<'_> {
        TxFrame { frame, scratch: &mut self.tx_scratch, outgoing: &mut self.outgoing }
    }

    /// Copies the next usable frame to the scratch buffer. Returns its length, and the frame, which is free again.
    fn take_incoming(&mut self) -> Option<(usize, Frame)> {
        loop {
            let mut frame = self.incoming.pop()?;
            let place = self.rx_scratch.bytes().get_mut(..self.max_frame_bytes)?;
            // Verified by the device or not, smoltcp sums for itself; so what is partial is completed first.
            if frame.complete_checksum()
                && let Some(len_bytes) = frame.copy_out(place)
            {
                frame.clear();
                return Some((len_bytes, frame));
            }
            self.counters.rx_dropped = self.counters.rx_dropped.saturating_add(1);
        }
    }
}

impl<R: RxQueue, T: TxQueue> Device for Phy<R, T> {
    type RxToken<'a>
        = RxFrame<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = TxFrame<'a>
    where
        Self: 'a;

    fn receive(&mut self, _now: Instant) -> Option<(RxFrame<'_>, TxFrame<'_>)> {
        if self.incoming.is_empty() && self.service() == 0 {
            return None;
        }
        // The place for an answer first: without one, what came waits rather than being lost. The frame for it is the one that came: were it
        // the pool's, received frames could wait for frames that they are themselves.
        if !self.has_place() {
            return None;
        }
        let (len_bytes, answer) = self.take_incoming()?;
        let received = RxFrame { bytes: self.rx_scratch.bytes().get(..len_bytes)? };
        Some((
            received,
            TxFrame { frame: answer, scratch: &mut self.tx_scratch, outgoing: &mut self.outgoing },
        ))
    }

    fn transmit(&mut self, _now: Instant) -> Option<TxFrame<'_>> {
        if !self.has_place() {
            return None;
        }
        let frame = self.empty_frame()?;
        Some(self.tx_token(frame))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.max_frame_bytes;
        capabilities
    }
}

/// A received frame, for smoltcp to read.
#[derive(Debug)]
pub struct RxFrame<'a> {
    bytes: &'a [u8],
}

impl RxToken for RxFrame<'_> {
    fn consume<X, F: FnOnce(&[u8]) -> X>(self, read: F) -> X {
        read(self.bytes)
    }
}

/// An empty frame, for smoltcp to fill.
#[derive(Debug)]
pub struct TxFrame<'a> {
    frame: Frame,
    scratch: &'a mut Scratch,
    outgoing: &'a mut Burst,
}

impl TxToken for TxFrame<'_> {
    fn consume<X, F: FnOnce(&mut [u8]) -> X>(mut self, len_bytes: usize, fill: F) -> X {
        let bytes = self.scratch.bytes();
        // smoltcp asks for no more than `max_transmission_unit`, which the scratch buffer and the frame both hold.
        let len_bytes = len_bytes.min(bytes.len());
        let (bytes, _) = bytes.split_at_mut(len_bytes);
        let answer = fill(bytes);
        if self.frame.append(bytes) {
            // `has_place` made sure of one.
            let _ = self.outgoing.push(self.frame);
        }
        answer
    }
}

#[cfg(test)]
#[path = "phy_tests.rs"]
mod tests;
