//! The adapter: a pair of queues as a smoltcp [`Device`].
//!
//! A transmit token owns an empty frame and a place in the outgoing burst, so using it cannot fail.
//! The one that comes with a receive token owns the frame that was received.
//!
//! smoltcp never says that it has sent all it had. So a frame that it sends through a [`Phy`]
//! leaves at once, with a doorbell of its own; through a [`Batch`], frames leave together when that
//! is dropped, or when a burst is full.

use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Armed;
use paravane_net::{
    BURST_FRAMES, Burst, Frame, FramePool, NicInfo, Offloads, RxQueue, TxOffload, TxQueue, payload_bytes,
};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

use crate::checksum;
use crate::scratch::Scratch;

/// A NIC's queues as smoltcp sees them.
///
/// Generic over the queues, so one core's pair costs no dynamic call; a `Box<dyn …>` works as
/// well. Queues start disarmed: who sleeps until an interrupt comes calls [`arm`](Self::arm) first.
#[derive(Debug)]
pub struct Phy<R, T> {
    rx: R,
    incoming: Burst,
    rx_scratch: Scratch,
    sender: Sender<T>,
    pool: FramePool,
    max_frame_bytes: usize,
    counters: PhyCounters,
}

/// The half that sends.
#[derive(Debug)]
struct Sender<T> {
    tx: T,
    outgoing: Burst,
    scratch: Scratch,
    /// Whether the device completes checksums.
    completes_checksums: bool,
    fault: Option<DeviceFault>,
}

/// A [`Phy`] for one poll of the interface: what is sent through it leaves with one doorbell, when
/// it is dropped.
///
/// ```
/// # use paravane_net::{RxQueue, TxQueue};
/// # use smoltcp::{iface::{Interface, SocketSet}, time::Instant};
/// # fn turn<R: RxQueue, T: TxQueue>(
/// #     phy: &mut paravane_net_smoltcp::Phy<R, T>, interface: &mut Interface, sockets: &mut SocketSet<'_>, now: Instant,
/// # ) {
/// interface.poll(now, &mut phy.batch(), sockets);
/// # }
/// ```
#[derive(Debug)]
pub struct Batch<'p, R: RxQueue, T: TxQueue>(&'p mut Phy<R, T>);

/// What the adapter itself dropped or had to wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhyCounters {
    /// Received frames dropped: longer than the largest frame, or with a checksum request that does
    /// not fit.
    pub rx_dropped: u64,
    /// Times that smoltcp wanted to send and there was no frame, or no room in ring and burst.
    pub tx_stalls: u64,
}

impl<R: RxQueue, T: TxQueue> Phy<R, T> {
    /// Puts smoltcp on top of `rx` and `tx`; frames to send come from `pool`, which is the one that
    /// `rx` receives into.
    ///
    /// The largest frame is what the NIC takes and one buffer of the pool holds.
    #[must_use]
    pub fn new(info: &NicInfo, rx: R, tx: T, pool: FramePool) -> Self {
        let max_frame_bytes = usize::from(info.max_frame_bytes).min(payload_bytes(&pool));
        Self {
            rx,
            incoming: Burst::new(),
            rx_scratch: Scratch::new(max_frame_bytes),
            sender: Sender {
                tx,
                outgoing: Burst::new(),
                scratch: Scratch::new(max_frame_bytes),
                completes_checksums: info.offloads.contains(Offloads::CHECKSUM),
                fault: None,
            },
            pool,
            max_frame_bytes,
            counters: PhyCounters::default(),
        }
    }

    /// The same for one poll: what smoltcp sends meanwhile leaves with one doorbell.
    pub fn batch(&mut self) -> Batch<'_, R, T> {
        Batch(self)
    }

    /// Gives queues and pool back, for instance to stop the NIC and start it again. Frames received
    /// and not yet read, or not yet sent, are dropped.
    #[must_use]
    pub fn into_parts(self) -> (R, T, FramePool) {
        (self.rx, self.sender.tx, self.pool)
    }

    /// The receive queue.
    pub fn rx(&self) -> &R {
        &self.rx
    }

    /// The transmit queue.
    pub fn tx(&self) -> &T {
        &self.sender.tx
    }

    /// What the adapter dropped.
    pub fn counters(&self) -> PhyCounters {
        self.counters
    }

    /// The fault that broke a queue, once one did. smoltcp then sees a NIC that neither receives
    /// nor sends.
    pub fn fault(&self) -> Option<DeviceFault> {
        self.sender.fault
    }

    /// Takes in what the device has: sent frames go home, received ones wait for smoltcp. Returns
    /// how many wait.
    ///
    /// Frames that found no room in the ring before are sent as far as there is room now.
    pub fn service(&mut self) -> usize {
        self.sender.reclaim();
        self.sender.flush();
        if self.sender.fault.is_none() {
            self.sender.fault = self.rx.receive(&mut self.incoming).err();
        }
        self.incoming.len()
    }

    /// Tells the device once more about what it has to send.
    pub fn remind(&mut self) {
        self.sender.tx.remind();
    }

    /// Asks for interrupts, then looks once more. [`Armed::Pending`] when there is something to do
    /// at once.
    ///
    /// Sent frames need no interrupt of their own while there is room to send: they go home with
    /// the next [`service`](Self::service). Only when smoltcp is waiting for room is the transmit
    /// side armed too.
    ///
    /// Received frames that wait for room to answer in can only wait on: then the transmit side
    /// alone is armed. A frame that another NIC gives back to a shared pool raises no interrupt
    /// here: look again after a time while [`can_send`](Self::can_send) says no.
    ///
    /// # Errors
    ///
    /// The fault that broke a queue.
    pub fn arm(&mut self) -> Result<Armed, DeviceFault> {
        if let Some(fault) = self.sender.fault {
            return Err(fault);
        }
        let armed = self.arm_queues();
        self.sender.fault = armed.err();
        armed
    }

    fn arm_queues(&mut self) -> Result<Armed, DeviceFault> {
        let Sender { tx, outgoing, .. } = &mut self.sender;
        if !self.incoming.is_empty() {
            let has_room = outgoing.len() < BURST_FRAMES || tx.room() > 0;
            return if has_room { Ok(Armed::Pending) } else { tx.arm() };
        }
        let starved = !outgoing.is_empty() || tx.room() == 0 || self.pool.is_dry();
        if starved && tx.arm()? == Armed::Pending {
            return Ok(Armed::Pending);
        }
        self.rx.arm()
    }

    /// Whether smoltcp could send a frame now.
    #[must_use]
    pub fn can_send(&self) -> bool {
        let Sender { tx, outgoing, fault, .. } = &self.sender;
        fault.is_none() && (outgoing.len() < BURST_FRAMES || tx.room() > 0) && !self.pool.is_dry()
    }

    /// Says that no interrupts are wanted for now.
    pub fn disarm(&mut self) {
        self.rx.disarm();
        self.sender.tx.disarm();
    }

    /// A frame of the pool. When it is dry, the frames that are missing may have been sent, and
    /// this may be the only call that looks.
    fn empty_frame(&mut self) -> Option<Frame> {
        let mut frame = self.pool.get();
        if frame.is_none() {
            self.sender.reclaim();
            frame = self.pool.get();
        }
        self.note_stall(frame.is_none());
        frame
    }

    /// Whether one more frame has a place in the outgoing burst.
    fn has_place(&mut self) -> bool {
        let has_place = self.sender.has_place();
        self.note_stall(!has_place);
        has_place
    }

    fn note_stall(&mut self, is_stall: bool) {
        self.counters.tx_stalls = self.counters.tx_stalls.saturating_add(is_stall.into());
    }

    /// Copies the next usable frame to the scratch buffer. Returns its length, and the frame, which
    /// is free again.
    fn take_incoming(&mut self) -> Option<(usize, Frame)> {
        loop {
            let mut frame = self.incoming.pop()?;
            let place = self.rx_scratch.bytes().get_mut(..self.max_frame_bytes)?;
            // Verified by the device or not, smoltcp sums for itself; so what is partial is
            // completed first.
            if frame.complete_checksum()
                && let Some(len_bytes) = frame.copy_out(place)
            {
                frame.clear();
                return Some((len_bytes, frame));
            }
            self.counters.rx_dropped = self.counters.rx_dropped.saturating_add(1);
        }
    }

    fn next_received(&mut self, at_once: bool) -> Option<(RxFrame<'_>, TxFrame<'_, T>)> {
        if self.incoming.is_empty() && self.service() == 0 {
            return None;
        }
        // The place for an answer first: without one, what came waits rather than being lost. The
        // frame for it is the one that came: were it the pool's, received frames could wait for
        // frames that they are themselves.
        if !self.has_place() {
            return None;
        }
        let (len_bytes, frame) = self.take_incoming()?;
        let received = RxFrame { bytes: self.rx_scratch.bytes().get(..len_bytes)? };
        Some((received, TxFrame { frame, sender: &mut self.sender, at_once }))
    }

    fn next_to_send(&mut self, at_once: bool) -> Option<TxFrame<'_, T>> {
        if !self.has_place() {
            return None;
        }
        let frame = self.empty_frame()?;
        Some(TxFrame { frame, sender: &mut self.sender, at_once })
    }
}

impl<T: TxQueue> Sender<T> {
    /// Whether one more frame has a place in the burst.
    fn has_place(&mut self) -> bool {
        if self.outgoing.len() >= BURST_FRAMES {
            self.flush();
        }
        self.outgoing.len() < BURST_FRAMES && self.fault.is_none()
    }

    /// Sent frames go home.
    fn reclaim(&mut self) {
        if self.fault.is_none() {
            self.fault = self.tx.reclaim().err();
        }
    }

    /// Gives the device what waits, with one doorbell.
    fn flush(&mut self) {
        if self.outgoing.is_empty() || self.fault.is_some() {
            return;
        }
        let mut sent = self.tx.transmit(&mut self.outgoing);
        if sent.is_ok() && !self.outgoing.is_empty() {
            // The ring was full: make room once and try again; what still stays goes when there is
            // room.
            sent = self.tx.reclaim().and_then(|_| self.tx.transmit(&mut self.outgoing));
        }
        self.fault = sent.err();
    }
}

impl<R: RxQueue, T: TxQueue> Device for Phy<R, T> {
    type RxToken<'a>
        = RxFrame<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = TxFrame<'a, T>
    where
        Self: 'a;

    fn receive(&mut self, _now: Instant) -> Option<(RxFrame<'_>, TxFrame<'_, T>)> {
        self.next_received(true)
    }

    fn transmit(&mut self, _now: Instant) -> Option<TxFrame<'_, T>> {
        self.next_to_send(true)
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.max_frame_bytes;
        // Made by the device or here; see `checksum` for why nothing else is said.
        capabilities.checksum.tcp = Checksum::Rx;
        capabilities
    }
}

impl<R: RxQueue, T: TxQueue> Device for Batch<'_, R, T> {
    type RxToken<'a>
        = RxFrame<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = TxFrame<'a, T>
    where
        Self: 'a;

    fn receive(&mut self, _now: Instant) -> Option<(RxFrame<'_>, TxFrame<'_, T>)> {
        self.0.next_received(false)
    }

    fn transmit(&mut self, _now: Instant) -> Option<TxFrame<'_, T>> {
        self.0.next_to_send(false)
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.0.capabilities()
    }
}

impl<R: RxQueue, T: TxQueue> Drop for Batch<'_, R, T> {
    fn drop(&mut self) {
        self.0.sender.flush();
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
pub struct TxFrame<'a, T> {
    frame: Frame,
    sender: &'a mut Sender<T>,
    /// Whether it leaves now, or with others.
    at_once: bool,
}

impl<T: TxQueue> TxToken for TxFrame<'_, T> {
    fn consume<X, F: FnOnce(&mut [u8]) -> X>(mut self, len_bytes: usize, fill: F) -> X {
        let Sender { scratch, outgoing, completes_checksums, .. } = &mut *self.sender;
        let bytes = scratch.bytes();
        // smoltcp asks for no more than `max_transmission_unit`, which the scratch buffer and the
        // frame both hold.
        let len_bytes = len_bytes.min(bytes.len());
        let (bytes, _) = bytes.split_at_mut(len_bytes);
        let answer = fill(bytes);
        let checksum = checksum::complete(bytes, *completes_checksums);
        if self.frame.append(bytes) {
            self.frame.set_offload(TxOffload { checksum, segmentation: None });
            // `has_place` saw that there are not too many.
            outgoing.push(self.frame);
            if self.at_once {
                self.sender.flush();
            }
        }
        answer
    }
}

#[cfg(test)]
#[path = "phy_tests.rs"]
mod tests;
