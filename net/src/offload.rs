//! What travels beside a frame: checksums, VLAN tag, hash and segmentation, in one form for every
//! driver.
//!
//! Offsets count from the first byte of the Ethernet header. A driver translates to and from its
//! descriptors; a forwarder hands a received frame's metadata on as it is.

/// What the device found about a received frame's checksums. A device is asked, never believed:
/// "good" saves work, nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RxChecksum {
    /// Nothing was verified; software has to.
    #[default]
    Unverified,
    /// The layer-4 checksum was verified; the outermost one, where there are several. Nothing is
    /// said about the IPv4 header's.
    Good,
    /// The IPv4 header checksum was verified as wrong.
    BadIp,
    /// The layer-4 checksum was verified as wrong.
    BadL4,
    /// The frame never crossed a wire: its layer-4 checksum field holds the pseudo-header's sum
    /// only, as in [`ChecksumRequest`]. Sent on as it is, the frame asks for the rest.
    Partial(ChecksumRequest),
}

/// A layer-4 checksum to be completed: summed from `start_bytes` to the end of the frame and stored
/// `offset_bytes` after `start_bytes`, where the folded sum of the pseudo-header waits (not
/// complemented).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChecksumRequest {
    /// Where the layer-4 header starts.
    pub start_bytes: u16,
    /// Where the checksum field is, from there.
    pub offset_bytes: u16,
}

/// Which kind of large packet is cut into segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SegmentationKind {
    /// TCP over IPv4.
    #[default]
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP, over either IP: datagrams of equal size with a header each.
    Udp,
}

/// A large packet that the device cuts into segments (or, received, has put together from
/// segments).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segmentation {
    /// Of which kind.
    pub kind: SegmentationKind,
    /// All headers, Ethernet to layer 4 with options.
    pub header_bytes: u16,
    /// Payload of each segment but the last.
    pub mss_bytes: u16,
    /// The TCP header says that the congestion window was reduced (CWR), which is for the first
    /// segment alone to say. Spec: RFC 3168, 6.1.2.
    pub ecn: bool,
}

/// What the device is asked to do with a frame on its way out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxOffload {
    /// Complete a layer-4 checksum. Where the device does not, the driver does.
    pub checksum: Option<ChecksumRequest>,
    /// Cut into segments; needs `checksum` as well.
    pub segmentation: Option<Segmentation>,
}

bitflags::bitflags! {
    /// What a device does to frames on their way out.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Offloads: u8 {
        /// Completes checksums. Without it the queue does, and reads every byte.
        const CHECKSUM = 1;
        /// Cuts TCP over IPv4.
        const TSO4 = 1 << 1;
        /// Cuts TCP over IPv6.
        const TSO6 = 1 << 2;
        /// Puts VLAN tags in.
        const VLAN = 1 << 3;
        /// Cuts UDP over either IP.
        const USO = 1 << 4;
        /// Cuts TCP also where the congestion window was [reduced](Segmentation::ecn).
        const ECN = 1 << 5;
    }
}

impl TxOffload {
    /// Whether nothing is asked.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.checksum.is_none() && self.segmentation.is_none()
    }
}

/// An IEEE 802.1Q tag's control information: priority, drop eligibility and VLAN id, as on the
/// wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VlanTag(pub u16);

impl VlanTag {
    /// The VLAN id.
    #[must_use]
    pub const fn vid(self) -> u16 {
        self.0 & 0x0fff
    }
}

/// A receive-side-scaling hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RxHash {
    /// The value.
    pub value: u32,
    /// What it was computed over.
    pub kind: RxHashKind,
}

/// What a hash was computed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RxHashKind {
    /// IPv4 addresses.
    Ip4,
    /// IPv4 addresses and TCP ports.
    Tcp4,
    /// IPv4 addresses and UDP ports.
    Udp4,
    /// IPv6 addresses.
    Ip6,
    /// IPv6 addresses and TCP ports.
    Tcp6,
    /// IPv6 addresses and UDP ports.
    Udp6,
    /// Something else.
    Other,
}
