//! The life of a NIC, the same with every driver.
//!
//! ```text
//!  (bus) --open--> Device --start--> Running { control, rx, tx }
//!                  Device <--stop---
//! ```
//!
//! How a device is opened depends on where it sits, so each driver has its own way; from there on a
//! program is written once for all of them. Every step gives back what it was given when it fails.

use core::error::Error;
use core::fmt;

use paravane_hal::Failed;
use paravane_hal::irq::Interrupts;

use crate::burst::BURST_FRAMES;
use crate::control::Control;
use crate::frame::HEADROOM_BYTES;
use crate::pool::FramePool;
use crate::queue::{RxQueue, TxQueue};
use crate::settings::{RxOffloads, Settings};

/// What a buffer of a pool by [`FrameLayout::new`](crate::FrameLayout::new) has.
const BUFFER_BYTES: u16 = 2048;
/// The largest IP packet that any NIC here receives.
const LARGEST_IP_MTU_BYTES: u16 = 9000;
/// An Ethernet header with a tag.
const TAGGED_HEADER_BYTES: u16 = 18;

/// How a NIC is to run, as far as every driver knows it. What is a driver's own keeps its default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Slots of the transmit ring: a power of two from 32 on. What a device that sends nothing can
    /// keep.
    pub tx_entries: u16,
    /// Slots of the receive ring: a power of two from 32 on.
    pub rx_entries: u16,
    /// The largest IP packet, where the device's or the driver's own is not wanted. A start fails
    /// where the device has less.
    pub ip_mtu_bytes: Option<u16>,
    /// What the device is told: filters, addresses, VLANs and the like.
    pub settings: Settings,
    /// What the device may do to received frames, if it can, and if the ring's buffers hold what
    /// comes of it. With [`LARGE`](RxOffloads::LARGE) among it, frames may be as long as an IP
    /// packet, over several buffers, and say in [`Frame::offload`](crate::Frame::offload) how they
    /// were put together. Vmxnet3 does that to TCP over both IPs, or over none.
    pub rx_offloads: RxOffloads,
}

impl Default for Config {
    /// 256 slots to receive, 128 to send: four NICs in a few megabytes.
    fn default() -> Self {
        Self {
            tx_entries: 128,
            rx_entries: 256,
            ip_mtu_bytes: None,
            settings: Settings::default(),
            rx_offloads: RxOffloads::default(),
        }
    }
}

impl Config {
    /// With so many slots in the transmit ring.
    #[must_use]
    pub const fn with_tx_entries(mut self, tx_entries: u16) -> Self {
        self.tx_entries = tx_entries;
        self
    }

    /// With so many slots in the receive ring.
    #[must_use]
    pub const fn with_rx_entries(mut self, rx_entries: u16) -> Self {
        self.rx_entries = rx_entries;
        self
    }

    /// With this as the largest IP packet; `None` for what device and driver have.
    #[must_use]
    pub const fn with_ip_mtu_bytes(mut self, ip_mtu_bytes: Option<u16>) -> Self {
        self.ip_mtu_bytes = ip_mtu_bytes;
        self
    }

    /// With these settings.
    #[must_use]
    pub const fn with_settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// With these offloads on the way in.
    #[must_use]
    pub const fn with_rx_offloads(mut self, rx_offloads: RxOffloads) -> Self {
        self.rx_offloads = rx_offloads;
        self
    }

    /// The most frames that the NIC holds: its rings full, a burst of the longest frames received
    /// and not yet answered, a burst not yet taken for sending. A pool of [so
    /// many](crate::FrameLayout::new) for each NIC that shares it cannot be run dry by one whose
    /// device stands still.
    #[must_use]
    pub fn frames(&self) -> u32 {
        let buffers = |ip_mtu_bytes: u16| {
            (u32::from(ip_mtu_bytes) + u32::from(TAGGED_HEADER_BYTES))
                .div_ceil((BUFFER_BYTES - HEADROOM_BYTES).into())
        };
        let makes_large = self.rx_offloads.intersects(RxOffloads::LARGE);
        let longest = if makes_large { u16::MAX } else { LARGEST_IP_MTU_BYTES };
        // vmxnet3 has a second receive ring for what does not fit one buffer.
        let of_frame = buffers(self.ip_mtu_bytes.unwrap_or(0).min(LARGEST_IP_MTU_BYTES));
        let receiving = u32::from(self.rx_entries) * if makes_large { of_frame.max(2) } else { of_frame };
        let in_bursts = u32::try_from(BURST_FRAMES).unwrap_or(u32::MAX) * (buffers(longest) + 1);
        receiving + u32::from(self.tx_entries) + in_bursts
    }
}

/// A NIC that its driver has taken over and that does not run: it reaches no memory and raises no
/// interrupt.
pub trait Device: Sized {
    /// The control half of one that runs.
    type Control: Control;
    /// Its receive queue.
    type Rx: RxQueue;
    /// Its transmit queue.
    type Tx: TxQueue;
    /// How it is to run: what every driver knows, and what is this driver's own.
    type Config: From<Config>;
    /// Why it was not started.
    type StartError: Error + Send + Sync + 'static;
    /// Why it was not stopped.
    type StopError: Error + Send + Sync + 'static;

    /// Starts it. Received frames come from `pool`, now and while it runs.
    ///
    /// Queues and control start disarmed: nothing interrupts before one of them was armed. It
    /// interrupts in the best way of `interrupts` that works, and where none does the program
    /// looks; which one it is, [`Control::interrupts`] says.
    ///
    /// # Errors
    ///
    /// The driver's reason, and the device back, to be started in another way.
    fn start(
        self,
        config: &Self::Config,
        pool: FramePool,
        interrupts: Interrupts<'_>,
    ) -> Result<Running<Self>, Failed<Self::StartError, Self>>;

    /// Stops it. All memory is free again afterwards, and frames that the device had are in their
    /// pools. A broken one is healed by that: it can be started again, any number of times.
    ///
    /// # Errors
    ///
    /// The driver's reason, and all parts back. Nothing was freed, and stopping may be tried again;
    /// parts that are dropped are leaked, which is safe.
    fn stop(running: Running<Self>) -> Result<Self, Failed<Self::StopError, Running<Self>>>;
}

/// A NIC that runs, in parts that may go to different cores.
pub struct Running<D: Device> {
    /// Link, events, filter, counters.
    pub control: D::Control,
    /// Frames received.
    pub rx: D::Rx,
    /// Frames to send.
    pub tx: D::Tx,
}

impl<D: Device> Running<D> {
    /// Stops it.
    ///
    /// # Errors
    ///
    /// As [`Device::stop`].
    pub fn stop(self) -> Result<D, Failed<D::StopError, Self>> {
        D::stop(self)
    }
}

impl<D: Device> fmt::Debug for Running<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = self.control.info();
        write!(f, "Running({} {}, {})", info.driver, info.mac, self.control.interrupts())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_and_bursts_have_their_frames() {
        let in_bursts = 32 * (5 + 1);
        assert_eq!(Config::default().frames(), 256 + 128 + in_bursts);
        let jumbo = Config::default().with_ip_mtu_bytes(Some(9000));
        assert_eq!(jumbo.frames(), 256 * 5 + 128 + in_bursts, "five buffers hold the longest frame");
        assert_eq!(
            jumbo.with_ip_mtu_bytes(Some(u16::MAX)).frames(),
            jumbo.frames(),
            "no NIC receives longer ones"
        );
        let large = Config::default().with_rx_offloads(RxOffloads::TCP4);
        let in_bursts = 32 * (34 + 1);
        assert_eq!(large.frames(), 2 * 256 + 128 + in_bursts, "a packet of 64 KiB in each place of a burst");
        let both = large.with_ip_mtu_bytes(Some(9000));
        assert_eq!(both.frames(), 256 * 5 + 128 + in_bursts);
        let longest = Config::default().with_rx_entries(u16::MAX).with_tx_entries(u16::MAX);
        assert_eq!(longest.frames(), 2 * 65535 + 32 * (5 + 1));
    }
}
