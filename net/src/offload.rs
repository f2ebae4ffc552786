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

/// A tunnel that carries Ethernet frames in UDP datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TunnelKind {
    /// Geneve. Spec: RFC 8926.
    #[default]
    Geneve,
    /// VXLAN. Spec: RFC 7348.
    Vxlan,
}

/// The headers around a frame in a tunnel. What the outer frame asks for is about the inner one
/// then: where the checksum starts, and how long all headers are, counts from the outer frame's
/// first byte all the same.
///
/// ```text
/// |<-------- outer_header_bytes -------->|
///  Ethernet | IP | UDP | Geneve or VXLAN | Ethernet | IP | TCP | payload
///                                                        ^ start_bytes of the checksum
/// |<--------- header_bytes of a packet to be cut ---------->|
/// ```
///
/// The outer headers are those of the frame as it is, IPv4's checksum included; of a packet to be
/// cut, each segment gets its own.
///
/// ```
/// use paravane_net::{ChecksumRequest, Frame, Tunnel, TunnelKind, TxOffload};
///
/// /// TCP over IPv4 in VXLAN over IPv4, without options and tags: the device completes TCP's.
/// fn leave_checksum(frame: &mut Frame) {
///     let outer_header_bytes = 14 + 20 + 8 + 8;
///     let tunnel = Tunnel { kind: TunnelKind::Vxlan, outer_header_bytes, outer_checksum: false };
///     let checksum = ChecksumRequest { start_bytes: outer_header_bytes + 14 + 20, offset_bytes: 16 };
///     frame.set_tunnel(Some(tunnel));
///     frame.set_offload(TxOffload { checksum: Some(checksum), segmentation: None });
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tunnel {
    /// Which.
    pub kind: TunnelKind,
    /// Where the inner Ethernet header starts.
    pub outer_header_bytes: u16,
    /// Each segment of a packet that is cut has a checksum in its outer UDP header, where the
    /// folded sum of the outer pseudo-header waits. Without it the field is 0, and stays so.
    ///
    /// A frame that is not cut has there what it goes out with, 0 or what comes of the inner one's
    /// checksum being right.
    pub outer_checksum: bool,
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
    pub struct Offloads: u16 {
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
        /// Completes checksums inside [Geneve](TunnelKind::Geneve). Without it the queue does.
        const GENEVE_CHECKSUM = 1 << 6;
        /// Cuts TCP inside Geneve, over either IP.
        const GENEVE_TSO = 1 << 7;
        /// Makes [outer checksums](Tunnel::outer_checksum) for what it cuts inside Geneve.
        const GENEVE_OUTER_CHECKSUM = 1 << 8;
        /// Completes checksums inside [VXLAN](TunnelKind::Vxlan). Without it the queue does.
        const VXLAN_CHECKSUM = 1 << 9;
        /// Cuts TCP inside VXLAN, over either IP.
        const VXLAN_TSO = 1 << 10;
        /// Makes outer checksums for what it cuts inside VXLAN.
        const VXLAN_OUTER_CHECKSUM = 1 << 11;
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
