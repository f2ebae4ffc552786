//! The control half of a NIC: identity, link, events, filters, statistics. One owner; the queues do
//! not need it.

use core::fmt;
use core::time::Duration;

use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::{Armed, InterruptMode};
use paravane_hal::recover::Progress;

use crate::offload::Offloads;
use crate::settings::{Change, ChangeError, Settings};

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// Whether a station may have it: not all zero, and not a group address.
    #[must_use]
    pub const fn is_unicast(self) -> bool {
        let [a, b, c, d, e, f] = self.0;
        a & 1 == 0 && (a | b | c | d | e | f) != 0
    }

    /// The locally administered unicast address that ends in `low`.
    #[must_use]
    pub const fn local(low: u32) -> Self {
        let [a, b, c, d] = low.to_be_bytes();
        Self([0x02, 0x00, a, b, c, d])
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Who may send at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duplex {
    /// One side at a time.
    Half,
    /// Both.
    Full,
}

/// The state of the link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// No carrier.
    #[default]
    Down,
    /// Carrier.
    Up {
        /// In Mbit/s, if the device says.
        mbps: Option<u32>,
        /// Whether both sides may send at once, if it says.
        duplex: Option<Duplex>,
    },
}

impl Link {
    /// Whether there is a carrier.
    #[must_use]
    pub const fn is_up(self) -> bool {
        matches!(self, Self::Up { .. })
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Down => f.write_str("down"),
            Self::Up { mbps, duplex } => {
                f.write_str("up")?;
                if let Some(mbps) = mbps {
                    write!(f, " {mbps} Mbit/s")?;
                }
                f.write_str(if *duplex == Some(Duplex::Half) { " half duplex" } else { "" })
            }
        }
    }
}

bitflags::bitflags! {
    /// What a look at the device's events found.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Events: u8 {
        /// The link may have changed; [`Control::link`] is up to date.
        const LINK = 1;
        /// Another part of the configuration changed.
        const CONFIG = 1 << 1;
        /// The network moved; announce the addresses (gratuitous ARP).
        const ANNOUNCE = 1 << 2;
    }

    /// Which frames are wanted.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct RxFilter: u8 {
        /// To our own address.
        const UNICAST = 1;
        /// To everyone.
        const BROADCAST = 1 << 1;
        /// To any group.
        const ALL_MULTICAST = 1 << 2;
        /// All there are.
        const PROMISCUOUS = 1 << 3;
        /// To any station. Where a device cannot tell those from groups, all there are.
        const ALL_UNICAST = 1 << 4;
    }
}

impl Default for RxFilter {
    /// What an IP stack needs: unicast and broadcast.
    fn default() -> Self {
        Self::UNICAST | Self::BROADCAST
    }
}

/// A filter could not be set; the device keeps the one it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RxFilterError {
    /// The device has no such filter; what it lets through is in the value.
    NotOffered(RxFilter),
    /// The device refused.
    Refused,
    /// Another change is under way.
    Busy,
    /// The device broke.
    Fault(DeviceFault),
}

impl fmt::Display for RxFilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOffered(has) => {
                write!(f, "receive filter not offered by the device; it lets through {has:?}")
            }
            Self::Refused => f.write_str("receive filter not set: the device refused"),
            Self::Busy => f.write_str("receive filter not set: another change is under way"),
            Self::Fault(fault) => write!(f, "receive filter not set: {fault}"),
        }
    }
}

impl core::error::Error for RxFilterError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Fault(fault) => Some(fault),
            Self::NotOffered(_) | Self::Refused | Self::Busy => None,
        }
    }
}

/// What does not change while a NIC runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NicInfo {
    /// The driver's name.
    pub driver: &'static str,
    /// Our address.
    pub mac: MacAddr,
    /// The largest IP packet.
    pub ip_mtu_bytes: u16,
    /// The largest frame, Ethernet header in, FCS and VLAN tag out.
    pub max_frame_bytes: u16,
    /// What may be asked for on the way out. A frame that asks for more is refused.
    pub offloads: Offloads,
    /// Whether the device keeps out frames that the receive filter does not ask for. One that does
    /// not refuses filters that are stricter than it is.
    pub filters: bool,
    /// Most segments of a frame.
    pub max_segments: u16,
    /// Most segments of a frame that is to be cut.
    pub max_cut_segments: u16,
    /// How many slots the receive ring has.
    pub rx_slots: u16,
    /// How many slots the transmit ring has.
    pub tx_slots: u16,
}

/// What the device itself counted, as far as it counts, over all starts by the same driver value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceStats {
    /// Frames sent.
    pub tx_frames: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames not sent for an error.
    pub tx_errors: u64,
    /// Frames thrown away before they were sent.
    pub tx_discards: u64,
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames received with an error.
    pub rx_errors: u64,
    /// Frames lost because the receive ring was empty: the number to watch.
    pub rx_out_of_buffers: u64,
}

impl core::ops::Add for DeviceStats {
    type Output = Self;

    /// Both together, for activations that follow one another.
    fn add(self, other: Self) -> Self {
        Self {
            tx_frames: self.tx_frames.saturating_add(other.tx_frames),
            tx_bytes: self.tx_bytes.saturating_add(other.tx_bytes),
            tx_errors: self.tx_errors.saturating_add(other.tx_errors),
            tx_discards: self.tx_discards.saturating_add(other.tx_discards),
            rx_frames: self.rx_frames.saturating_add(other.rx_frames),
            rx_bytes: self.rx_bytes.saturating_add(other.rx_bytes),
            rx_errors: self.rx_errors.saturating_add(other.rx_errors),
            rx_out_of_buffers: self.rx_out_of_buffers.saturating_add(other.rx_out_of_buffers),
        }
    }
}

/// Control of one NIC.
pub trait Control: Send {
    /// What does not change.
    fn info(&self) -> NicInfo;

    /// How it interrupts: one of the ways that the start was offered.
    fn interrupts(&self) -> InterruptMode;

    /// The link, as of the last [`poll`](Self::poll). No I/O.
    fn link(&self) -> Link;

    /// For interrupts that the queues and control share. For the line: asks the device whether it
    /// raised it, and thereby lowers it; false: not ours. For a shared message: masks it where a
    /// device leaves that to its driver; always false, as without interrupts.
    ///
    /// Comes first in the handling of such an interrupt, before queues are looked at. After it,
    /// unless the line was not ours, all who share it are served, and whoever is to interrupt again
    /// is armed again.
    fn acknowledge(&mut self) -> bool;

    /// Looks for events and serves them. Cheap when there are none; called on an event interrupt,
    /// and when polling.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: the device asks for a reset, stopped a queue, or is gone. It has to be
    /// stopped and started.
    fn poll(&mut self) -> Result<Events, DeviceFault>;

    /// Asks for an interrupt at the next event, then looks once more.
    ///
    /// # Errors
    ///
    /// As [`poll`](Self::poll).
    fn arm(&mut self) -> Result<Armed, DeviceFault>;

    /// Hears how far transmit queue `queue` is, counted from 0, and breaks the device where that
    /// has had frames to send for `limit` and sent none. To be called now and then for each, when
    /// what was sent was [reclaimed](crate::TxQueue::reclaim); a driver that does not watch says
    /// that all is well.
    ///
    /// # Errors
    ///
    /// [`DeviceFault::NoAnswer`], or what was wrong before. It has to be stopped and started.
    fn watch_queue(&mut self, queue: u16, progress: Progress, limit: Duration) -> Result<(), DeviceFault> {
        let _ = (queue, progress, limit);
        Ok(())
    }

    /// The same of the only queue; or of all together, which misses one that hangs while others
    /// send.
    ///
    /// # Errors
    ///
    /// As [`watch_queue`](Self::watch_queue).
    fn watch(&mut self, progress: Progress, limit: Duration) -> Result<(), DeviceFault> {
        self.watch_queue(0, progress, limit)
    }

    /// Sets which frames are received.
    ///
    /// # Errors
    ///
    /// [`RxFilterError`]; the old filter stays.
    fn set_filter(&mut self, filter: RxFilter) -> Result<(), RxFilterError>;

    /// What the device was told: by the start, and by changes since. A start with it brings all of
    /// it back.
    fn settings(&self) -> Settings {
        Settings::default()
    }

    /// Begins a change of the settings. It is made when [`poll_change`](Self::poll_change) says so;
    /// until then no other begins. With interrupts, an event tells when to look.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; nothing was begun.
    fn submit_change(&mut self, change: Change) -> Result<(), ChangeError> {
        let _ = change;
        Err(ChangeError::NotOffered)
    }

    /// Looks how far the change that was begun is. True when it is made, and when none is under
    /// way.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]: it is over, and was not made. A device that does not answer in time is one:
    /// it keeps what it was given until it was stopped and started.
    fn poll_change(&mut self) -> Result<bool, ChangeError> {
        Ok(true)
    }

    /// Changes a setting, and waits until the device has done so.
    ///
    /// # Errors
    ///
    /// As [`submit_change`](Self::submit_change) and [`poll_change`](Self::poll_change).
    fn change(&mut self, change: Change) -> Result<(), ChangeError> {
        let _ = change;
        Err(ChangeError::NotOffered)
    }

    /// Asks the device for its own counters. I/O, and slow. `None` when it keeps none.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: the device is gone.
    fn read_device_stats(&mut self) -> Result<Option<DeviceStats>, DeviceFault>;
}
