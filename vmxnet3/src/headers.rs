//! A TCP packet's headers, read from the frame that carries it: for what the device put together,
//! and for what it is to cut.
//!
//! They are looked at in the first segment, where all devices want them. Each byte is read once.

use paravane_net::{ChecksumRequest, Frame, SegmentationKind};

/// Behind the addresses of an Ethernet header.
pub(crate) const ETHERTYPE_AT: usize = 12;
pub(crate) const TAG_BYTES: usize = 4;
pub(crate) const VLAN: u16 = 0x8100;
pub(crate) const IP4: u16 = 0x0800;
pub(crate) const IP6: u16 = 0x86dd;
pub(crate) const TCP: u8 = 6;
pub(crate) const IP6_BYTES: usize = 40;
/// From the IPv4 header's start: its checksum.
const IP4_CHECKSUM_AT: usize = 10;
/// From the TCP header's start: the checksum.
const CHECKSUM_AT: u16 = 16;
/// No frame's headers are longer: with a tag, and all options that there can be.
const MAX_HEADER_BYTES: usize = 18 + 60 + 60;

/// Where the headers of a TCP packet are in its frame, and what of them counts for cutting it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TcpHeaders {
    pub(crate) kind: SegmentationKind,
    /// Where the IP header starts,
    pub(crate) ip_at: u16,
    /// the TCP header,
    pub(crate) tcp_at: u16,
    /// and the payload.
    pub(crate) header_bytes: u16,
    /// Where the packet ends, by its IP header.
    pub(crate) end_bytes: u32,
    /// The congestion window was reduced (CWR).
    pub(crate) is_reduced: bool,
}

impl TcpHeaders {
    /// Those of `frame`; `None` for one that is no TCP packet, is a fragment, or has them in
    /// several segments. Behind one tag at most, and no header of IPv6 but its own: others are not
    /// put together, and not cut.
    pub(crate) fn read(frame: &Frame) -> Option<Self> {
        let (ip_at, ethertype) = match be16(frame, ETHERTYPE_AT)? {
            VLAN => (ETHERTYPE_AT.wrapping_add(TAG_BYTES).wrapping_add(2), be16(frame, 16)?),
            other => (ETHERTYPE_AT.wrapping_add(2), other),
        };
        let (kind, tcp_at, packet_bytes) = match ethertype {
            IP4 => {
                let [first, _, total @ .., _, _, flags, offset, _, protocol] =
                    frame.read::<[u8; 10]>(ip_at)?;
                let header_bytes = usize::from(first & 0xf).wrapping_mul(4);
                let is_whole = flags & 0x3f == 0 && offset == 0;
                if first >> 4 != 4 || header_bytes < 20 || !is_whole || protocol != TCP {
                    return None;
                }
                (
                    SegmentationKind::Tcp4,
                    ip_at.wrapping_add(header_bytes),
                    usize::from(u16::from_be_bytes(total)),
                )
            }
            IP6 => {
                let [first, _, _, _, payload @ .., next] = frame.read::<[u8; 7]>(ip_at)?;
                if first >> 4 != 6 || next != TCP {
                    return None;
                }
                let packet_bytes = IP6_BYTES.wrapping_add(u16::from_be_bytes(payload).into());
                (SegmentationKind::Tcp6, ip_at.wrapping_add(IP6_BYTES), packet_bytes)
            }
            _ => return None,
        };
        let [offset, flags] = frame.read::<[u8; 2]>(tcp_at.wrapping_add(12))?;
        let tcp_bytes = usize::from(offset >> 4).wrapping_mul(4);
        let header_bytes = tcp_at.wrapping_add(tcp_bytes);
        let end_bytes = ip_at.wrapping_add(packet_bytes);
        if tcp_bytes < 20 || header_bytes > frame.segment_bytes() || header_bytes >= end_bytes {
            return None;
        }
        debug_assert!(header_bytes <= MAX_HEADER_BYTES, "fields of four bits");
        let short = |at: usize| u16::try_from(at).ok();
        Some(Self {
            kind,
            ip_at: short(ip_at)?,
            tcp_at: short(tcp_at)?,
            header_bytes: short(header_bytes)?,
            end_bytes: u32::try_from(end_bytes).ok()?,
            is_reduced: flags & 1 << 7 != 0,
        })
    }

    /// How much payload is behind them: some.
    pub(crate) fn payload_bytes(&self) -> u32 {
        self.end_bytes.saturating_sub(self.header_bytes.into())
    }

    /// Where the checksum is.
    pub(crate) const fn checksum(&self) -> ChecksumRequest {
        ChecksumRequest { start_bytes: self.tcp_at, offset_bytes: CHECKSUM_AT }
    }

    /// Writes the pseudo-header's sum in place of the checksum, folded and not complemented, over
    /// `len_bytes` of TCP header and payload. False where it was not done.
    #[must_use = "false says that it was not done"]
    pub(crate) fn write_pseudo_sum(&self, frame: &mut Frame, len_bytes: u32) -> bool {
        let is_v6 = self.kind == SegmentationKind::Tcp6;
        let Some(sum) = pseudo_sum(frame, is_v6, self.ip_at, TCP, len_bytes) else { return false };
        frame.write(self.checksum_at(), &sum.to_be_bytes())
    }

    /// Writes 0 in place of IPv4's own checksum; version 6 has none. False where it was not done.
    #[must_use = "false says that it was not done"]
    pub(crate) fn clear_ip_sum(&self, frame: &mut Frame) -> bool {
        let at = usize::from(self.ip_at).wrapping_add(IP4_CHECKSUM_AT);
        self.kind != SegmentationKind::Tcp4 || frame.write(at, &[0_u8; 2])
    }

    fn checksum_at(&self) -> usize {
        usize::from(self.tcp_at).wrapping_add(CHECKSUM_AT.into())
    }
}

pub(crate) fn be16(frame: &Frame, at: usize) -> Option<u16> {
    frame.read::<[u8; 2]>(at).map(u16::from_be_bytes)
}

/// The folded sum of the pseudo-header over `len_bytes` of `protocol`, behind the IP header at
/// `ip_at`, not complemented.
#[inline(always)]
pub(crate) fn pseudo_sum(
    frame: &Frame,
    is_v6: bool,
    ip_at: u16,
    protocol: u8,
    len_bytes: u32,
) -> Option<u16> {
    // The addresses: IPv4's are in front of its options, if it has some.
    let (at, len) = if is_v6 {
        (usize::from(ip_at).wrapping_add(8), 32)
    } else {
        (usize::from(ip_at).wrapping_add(12), 8)
    };
    let sum = len_bytes >> 16;
    let mut sum = sum.wrapping_add(len_bytes & 0xffff).wrapping_add(protocol.into());
    for word in (0..len).step_by(2) {
        // A few numbers below 2^16.
        sum = sum.wrapping_add(be16(frame, at.wrapping_add(word))?.into());
    }
    let folded = |sum: u32| (sum & 0xffff).wrapping_add(sum >> 16);
    u16::try_from(folded(folded(sum))).ok()
}
