//! How a NIC of either kind is to run, and how many frames that takes.

use paravane_net::{BURST_FRAMES, HEADROOM_BYTES};

/// What a buffer of a pool by [`FrameLayout::new`](paravane_net::FrameLayout::new) has.
const BUFFER_BYTES: u16 = 2048;
/// The largest IP packet that any NIC here receives.
const LARGEST_IP_MTU_BYTES: u16 = 9000;
/// An Ethernet header with a tag.
const TAGGED_HEADER_BYTES: u16 = 18;

/// How a NIC is to run. What differs between the drivers keeps its default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Slots of the transmit ring: a power of two from 32 on. What a device that sends nothing can
    /// keep.
    pub tx_entries: u16,
    /// Slots of the receive ring: a power of two from 32 on.
    pub rx_entries: u16,
    /// The largest IP packet, where the device's or the driver's own is not wanted.
    pub ip_mtu_bytes: Option<u16>,
}

impl Default for Config {
    /// 256 slots to receive, 128 to send: four NICs in a few megabytes.
    fn default() -> Self {
        Self { tx_entries: 128, rx_entries: 256, ip_mtu_bytes: None }
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

    /// The most frames that the NIC holds: its rings full, a burst of the longest frames received
    /// and not yet answered, a burst not yet taken for sending. A pool of [so
    /// many](paravane_net::FrameLayout::new) for each NIC that shares it cannot be run dry by one
    /// whose device stands still.
    #[must_use]
    pub fn frames(&self) -> u32 {
        let buffers = |ip_mtu_bytes: u16| {
            u32::from((ip_mtu_bytes + TAGGED_HEADER_BYTES).div_ceil(BUFFER_BYTES - HEADROOM_BYTES))
        };
        // vmxnet3 has a second receive ring for what does not fit one buffer.
        let receiving =
            u32::from(self.rx_entries) * buffers(self.ip_mtu_bytes.unwrap_or(0).min(LARGEST_IP_MTU_BYTES));
        let in_bursts = u32::try_from(BURST_FRAMES).unwrap_or(u32::MAX) * (buffers(LARGEST_IP_MTU_BYTES) + 1);
        receiving + u32::from(self.tx_entries) + in_bursts
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
        let longest = Config::default().with_rx_entries(u16::MAX).with_tx_entries(u16::MAX);
        assert_eq!(longest.frames(), 2 * 65535 + in_bursts);
    }
}
