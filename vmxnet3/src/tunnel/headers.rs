//! The headers of a frame in a tunnel, read from the outer one, in the first segment of which they
//! all are. Each byte is read once.

use paravane_net::{ChecksumRequest, Frame, SegmentationKind, Tunnel, TunnelKind};

use super::TunnelPorts;
use crate::headers::{self, ETHERTYPE_AT, IP4, IP6, IP6_BYTES, TAG_BYTES, TCP, TcpHeaders, VLAN, be16};

const UDP: u8 = 17;
const UDP_BYTES: usize = 8;
/// From the UDP header's start: the checksum.
const UDP_CHECKSUM_AT: usize = 6;
/// Of either tunnel, without Geneve's options.
const TUNNEL_BYTES: usize = 8;
/// In VXLAN's first byte: there is a network number. Spec: RFC 7348, 5.
const VXLAN_I: u8 = 1 << 3;
/// What Geneve carries is an Ethernet frame. Spec: RFC 8926, 3.4 "Protocol Type".
const GENEVE_ETHERNET: u16 = 0x6558;

/// Where the headers of a frame in a tunnel are, and what counts of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TunnelHeaders {
    tunnel: Tunnel,
    outer: Packet,
    inner: Packet,
    layer4: Layer4,
}

/// An IP packet, whole, in a frame. Places count from the outermost frame's first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Packet {
    is_v6: bool,
    /// Where its header starts,
    ip_at: u16,
    /// what it carries,
    payload_at: u16,
    /// and where that ends.
    end_bytes: u32,
    protocol: u8,
}

/// What the inner packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layer4 {
    Tcp { header_bytes: u16, is_reduced: bool },
    Udp,
}

impl TunnelHeaders {
    /// Those of a frame that is sent to one of `ports`; `None` for any other, and for one that
    /// carries neither TCP nor UDP, or whose inner packet ends before or behind the outer one.
    pub(crate) fn read(frame: &Frame, ports: TunnelPorts) -> Option<Self> {
        let outer = Packet::read(frame, 0).filter(|outer| outer.protocol == UDP)?;
        let udp_at = usize::from(outer.payload_at);
        let port = be16(frame, udp_at.wrapping_add(2))?;
        let outer_checksum = be16(frame, udp_at.wrapping_add(UDP_CHECKSUM_AT))? != 0;
        let kind = ports.kind(port)?;
        let tunnel_at = udp_at.wrapping_add(UDP_BYTES);
        let [first, _, protocol @ ..] = frame.read::<[u8; 4]>(tunnel_at)?;
        let (is_one, option_bytes) = match kind {
            // Version 0.
            TunnelKind::Geneve => (
                first >> 6 == 0 && u16::from_be_bytes(protocol) == GENEVE_ETHERNET,
                usize::from(first & 0x3f).wrapping_mul(4),
            ),
            TunnelKind::Vxlan => (first & VXLAN_I != 0, 0),
        };
        let inner_at = tunnel_at.wrapping_add(TUNNEL_BYTES).wrapping_add(option_bytes);
        let tunnel = Tunnel { kind, outer_header_bytes: u16::try_from(inner_at).ok()?, outer_checksum };
        if is_one { Self::of(frame, tunnel, outer) } else { None }
    }

    /// Those of a frame that is in `tunnel`, where its headers were read before.
    pub(crate) fn read_at(frame: &Frame, tunnel: Tunnel) -> Option<Self> {
        Self::of(frame, tunnel, Packet::read(frame, 0)?)
    }

    fn of(frame: &Frame, tunnel: Tunnel, outer: Packet) -> Option<Self> {
        let inner = Packet::read(frame, tunnel.outer_header_bytes)?;
        let at = usize::from(inner.payload_at);
        let layer4 = match inner.protocol {
            TCP => {
                let [offset, flags] = frame.read::<[u8; 2]>(at.wrapping_add(12))?;
                let header_bytes = u16::from(offset >> 4).wrapping_mul(4);
                if header_bytes < 20 {
                    return None;
                }
                Layer4::Tcp { header_bytes, is_reduced: flags & 1 << 7 != 0 }
            }
            UDP => Layer4::Udp,
            _ => return None,
        };
        let headers = Self { tunnel, outer, inner, layer4 };
        let header_bytes = headers.header_bytes()?;
        let is_whole = inner.end_bytes == outer.end_bytes
            && usize::from(header_bytes) <= frame.segment_bytes()
            && u32::from(header_bytes) <= inner.end_bytes;
        is_whole.then_some(headers)
    }

    /// The tunnel that they say.
    pub(crate) const fn tunnel(&self) -> Tunnel {
        self.tunnel
    }

    /// All of them, up to the payload.
    pub(crate) fn header_bytes(&self) -> Option<u16> {
        let layer4_bytes = match self.layer4 {
            Layer4::Tcp { header_bytes, .. } => header_bytes,
            Layer4::Udp => 8,
        };
        self.inner.payload_at.checked_add(layer4_bytes)
    }

    /// Without the outer Ethernet header: what counts for the MTU.
    pub(crate) fn packet_header_bytes(&self) -> Option<u16> {
        self.header_bytes()?.checked_sub(self.outer.ip_at)
    }

    /// Where the inner checksum is.
    pub(crate) const fn checksum(&self) -> ChecksumRequest {
        let offset_bytes = match self.layer4 {
            Layer4::Tcp { .. } => 16,
            Layer4::Udp => 6,
        };
        ChecksumRequest { start_bytes: self.inner.payload_at, offset_bytes }
    }

    /// Those of the inner packet, if it carries TCP, and some payload.
    pub(crate) fn tcp(&self) -> Option<TcpHeaders> {
        let Packet { is_v6, ip_at, payload_at, end_bytes, .. } = self.inner;
        let Layer4::Tcp { is_reduced, .. } = self.layer4 else { return None };
        let header_bytes = self.header_bytes()?;
        let kind = if is_v6 { SegmentationKind::Tcp6 } else { SegmentationKind::Tcp4 };
        (u32::from(header_bytes) < end_bytes).then_some(TcpHeaders {
            kind,
            ip_at,
            tcp_at: payload_at,
            header_bytes,
            end_bytes,
            is_reduced,
        })
    }

    /// Writes the outer pseudo-header's sum in place of the outer checksum, folded and not
    /// complemented, over all of the datagram. False where it was not done.
    #[must_use = "false says that it was not done"]
    pub(crate) fn write_outer_pseudo_sum(&self, frame: &mut Frame) -> bool {
        let Packet { is_v6, ip_at, payload_at, end_bytes, .. } = self.outer;
        let len_bytes = end_bytes.saturating_sub(payload_at.into());
        let at = usize::from(payload_at).wrapping_add(UDP_CHECKSUM_AT);
        headers::pseudo_sum(frame, is_v6, ip_at, UDP, len_bytes)
            .is_some_and(|sum| frame.write(at, &sum.to_be_bytes()))
    }
}

impl Packet {
    /// That of the Ethernet frame that starts at `start_bytes`. `None` for what is no IP, for a
    /// fragment, and for one that is longer than the whole frame. Behind one tag at most, which the
    /// inner frame has none of, and no header of IPv6 but its own.
    fn read(frame: &Frame, start_bytes: u16) -> Option<Self> {
        let at = usize::from(start_bytes).wrapping_add(ETHERTYPE_AT);
        let (ip_at, ethertype) = match be16(frame, at)? {
            VLAN if start_bytes == 0 => {
                let behind = at.wrapping_add(TAG_BYTES);
                (behind.wrapping_add(2), be16(frame, behind)?)
            }
            other => (at.wrapping_add(2), other),
        };
        let (is_v6, header_bytes, packet_bytes, protocol) = match ethertype {
            IP4 => {
                let [first, _, total @ .., _, _, flags, offset, _, protocol] =
                    frame.read::<[u8; 10]>(ip_at)?;
                let header_bytes = usize::from(first & 0xf).wrapping_mul(4);
                let is_whole = flags & 0x3f == 0 && offset == 0;
                if first >> 4 != 4 || header_bytes < 20 || !is_whole {
                    return None;
                }
                (false, header_bytes, usize::from(u16::from_be_bytes(total)), protocol)
            }
            IP6 => {
                let [first, _, _, _, payload @ .., protocol] = frame.read::<[u8; 7]>(ip_at)?;
                if first >> 4 != 6 {
                    return None;
                }
                (true, IP6_BYTES, IP6_BYTES.wrapping_add(u16::from_be_bytes(payload).into()), protocol)
            }
            _ => return None,
        };
        let (payload_at, end_bytes) = (ip_at.wrapping_add(header_bytes), ip_at.wrapping_add(packet_bytes));
        if payload_at > end_bytes || end_bytes > frame.total_bytes() {
            return None;
        }
        Some(Self {
            is_v6,
            ip_at: u16::try_from(ip_at).ok()?,
            payload_at: u16::try_from(payload_at).ok()?,
            end_bytes: u32::try_from(end_bytes).ok()?,
            protocol,
        })
    }
}
