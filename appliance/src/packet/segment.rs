//! Large packets cut into segments, where the NIC that sends them does not.
//!
//! A frame that [asks to be cut](Segmentation) has the headers of all its segments in front of the
//! payload of all of them. What comes of it is what the sender's own device would have sent, had it
//! cut: each with a copy of the headers, with its own lengths, numbers and checksum.

use paravane_hal::pool::Chain;
use paravane_net::{
    ChecksumRequest, Frame, FramePool, Offloads, Segmentation, SegmentationKind, TxOffload, VlanTag,
};

use super::pieces::{CutError, Header, Payload, reserve};
use super::sum::Sum;
use super::wire::{ETHERNET_BYTES, PROTOCOL_TCP, PROTOCOL_UDP, UDP_BYTES};
use super::{Body, Packet, Transport};

/// Whether a NIC with these `offloads` cuts such packets itself.
#[must_use]
pub fn is_cut_by(segmentation: Segmentation, offloads: Offloads) -> bool {
    let Segmentation { kind, ecn, .. } = segmentation;
    let needs = match kind {
        SegmentationKind::Tcp4 => Offloads::TSO4,
        SegmentationKind::Tcp6 => Offloads::TSO6,
        SegmentationKind::Udp => Offloads::USO,
    };
    offloads.contains(needs) && (!ecn || offloads.contains(Offloads::ECN))
}

/// The longest IP packet that comes of cutting a packet like that: to be held against the MTU.
#[must_use]
pub fn longest_packet_bytes(segmentation: Segmentation) -> usize {
    let Segmentation { header_bytes, mss_bytes, .. } = segmentation;
    usize::from(header_bytes).saturating_add(mss_bytes.into()).saturating_sub(ETHERNET_BYTES)
}

/// The segments of a large packet, one at a time. All buffers that they need are there already, so
/// that none of them is missing: dropped, those go back that are not used.
#[derive(Debug)]
pub struct Segments {
    free: Chain<Frame>,
    header: Header,
    payload: Payload,
    /// What is left of it.
    left_bytes: usize,
    mss_bytes: usize,
    layout: Layout,
    numbers: Numbers,
    checksum: ChecksumRequest,
    /// The device that sends them completes checksums.
    is_left_open: bool,
    vlan: Option<VlanTag>,
}

/// Where headers are in the frame.
#[derive(Clone, Copy, Debug)]
struct Layout {
    ip_at: usize,
    /// Length of an IPv4 header; `None` over IPv6.
    v4_header_bytes: Option<usize>,
    protocol: u8,
    transport_at: usize,
    /// The sum of a pseudo-header's part that all segments have in common.
    pseudo: Sum,
}

/// What the next segment says.
#[derive(Clone, Copy, Debug)]
struct Numbers {
    id: u16,
    sequence: u32,
    flags: u16,
    is_first: bool,
}

impl Segments {
    /// Of `frame`, in frames of `pool`, for a NIC with these `offloads`: their checksums are
    /// complete, or are asked of a NIC that completes them.
    ///
    /// # Errors
    ///
    /// [`CutError`], and the frame.
    ///
    /// Spec: RFC 9293, 3.1; RFC 768; RFC 3168, 6.1.2 (CWR).
    pub fn of(frame: Frame, pool: &FramePool, offloads: Offloads) -> Result<Self, (Frame, CutError)> {
        let plan = match Plan::of(&frame) {
            Ok(plan) => plan,
            Err(error) => return Err((frame, error)),
        };
        let Plan { header, layout, numbers, left_bytes, mss_bytes, checksum } = plan;
        let header_bytes = header.bytes().len();
        let longest = header_bytes.saturating_add(mss_bytes.min(left_bytes));
        let free = match reserve(pool, left_bytes.div_ceil(mss_bytes), longest) {
            Ok(free) => free,
            Err(error) => return Err((frame, error)),
        };
        let vlan = frame.vlan();
        let end_bytes = header_bytes.saturating_add(left_bytes);
        let payload =
            Payload::of(frame, header_bytes, end_bytes).map_err(|frame| (frame, CutError::Headers))?;
        let is_left_open = offloads.contains(Offloads::CHECKSUM);
        Ok(Self {
            free,
            header,
            payload,
            left_bytes,
            mss_bytes,
            layout,
            numbers,
            checksum,
            is_left_open,
            vlan,
        })
    }

    /// Has the headers say what they do in front of `len_bytes` of payload.
    fn fix_header(&mut self, len_bytes: usize, is_last: bool) {
        let Layout { ip_at, v4_header_bytes, protocol, transport_at, .. } = self.layout;
        let Numbers { id, sequence, flags, is_first } = self.numbers;
        let header = &mut self.header;
        let end = header.bytes().len().saturating_add(len_bytes);
        // A packet is shorter than 64 KiB, so its parts are.
        let length_from = |at: usize| be16(end.saturating_sub(at));
        if let Some(header_bytes) = v4_header_bytes {
            header.put(ip_at.saturating_add(V4_TOTAL_AT), length_from(ip_at));
            header.put(ip_at.saturating_add(V4_ID_AT), id.to_be_bytes());
            header.sum_v4(ip_at, header_bytes);
        } else {
            header.put(ip_at.saturating_add(V6_PAYLOAD_AT), length_from(ip_at.saturating_add(V6_BYTES)));
        }
        if protocol == PROTOCOL_TCP {
            let not_first = if is_first { 0 } else { TCP_CWR };
            let not_last = if is_last { 0 } else { TCP_FIN | TCP_PSH };
            header.put(transport_at.saturating_add(TCP_SEQUENCE_AT), sequence.to_be_bytes());
            header.put(
                transport_at.saturating_add(TCP_FLAGS_AT),
                (flags & !(not_first | not_last)).to_be_bytes(),
            );
        } else {
            header.put(transport_at.saturating_add(UDP_LENGTH_AT), length_from(transport_at));
        }
        header.put(field_of(self.checksum), [0; 2]);
    }

    /// The checksum of a segment whose payload has that `sum`, or what of it is there already.
    fn checksum(&self, payload: Sum, len_bytes: usize) -> u16 {
        let transport = self.header.behind(self.layout.transport_at);
        let len = u32::try_from(transport.len().saturating_add(len_bytes)).unwrap_or(u32::MAX);
        let pseudo = self.layout.pseudo.and_bytes(&len.to_be_bytes());
        if self.is_left_open {
            return pseudo.folded();
        }
        match pseudo.and_all(payload).and_bytes(transport).checksum() {
            // That would say that there is none.
            0 if self.layout.protocol == PROTOCOL_UDP => 0xffff,
            checksum => checksum,
        }
    }
}

impl Iterator for Segments {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        let mut segment = self.free.pop()?;
        let len_bytes = self.left_bytes.min(self.mss_bytes);
        self.left_bytes = self.left_bytes.saturating_sub(len_bytes);
        self.fix_header(len_bytes, self.left_bytes == 0);
        if !segment.append(self.header.bytes()) {
            return None;
        }
        let sum = self.payload.move_to(&mut segment, len_bytes)?;
        let checksum = self.checksum(sum, len_bytes);
        if !segment.write(field_of(self.checksum), &checksum.to_be_bytes()) {
            return None;
        }
        let asked = self.is_left_open.then_some(self.checksum);
        segment.set_offload(TxOffload { checksum: asked, segmentation: None });
        segment.set_vlan(self.vlan);
        let Numbers { id, sequence, is_first, .. } = &mut self.numbers;
        *id = id.wrapping_add(1);
        *sequence = sequence.wrapping_add(u32::try_from(len_bytes).unwrap_or_default());
        *is_first = false;
        Some(segment)
    }
}

/// How a frame is cut, as far as its headers say.
struct Plan {
    header: Header,
    layout: Layout,
    numbers: Numbers,
    left_bytes: usize,
    mss_bytes: usize,
    checksum: ChecksumRequest,
}

impl Plan {
    fn of(frame: &Frame) -> Result<Self, CutError> {
        let TxOffload { checksum, segmentation } = frame.offload();
        let cut = segmentation.ok_or(CutError::NotToBeCut)?;
        let checksum = checksum.ok_or(CutError::Headers)?;
        let packet = Packet::read(frame)?;
        let transport = packet.transport(frame)?.ok_or(CutError::NotToBeCut)?;
        let (at, len_bytes, checksum_at, sequence, flags) = match transport {
            Transport::Tcp(header, at) => {
                let flags = header.offset_flags.get();
                (
                    at,
                    usize::from(flags >> 12).saturating_mul(4),
                    TCP_CHECKSUM_AT,
                    header.sequence.get(),
                    flags,
                )
            }
            Transport::Udp(_, at) => (at, UDP_BYTES, UDP_CHECKSUM_AT, 0, 0),
            _ => return Err(CutError::NotToBeCut),
        };
        let (layout, id, end_bytes, is_fragment) = layout(&packet, frame, at)?;
        let fits_kind = match (cut.kind, layout.protocol, layout.v4_header_bytes.is_some()) {
            (SegmentationKind::Tcp4, protocol, is_v4) => protocol == PROTOCOL_TCP && is_v4,
            (SegmentationKind::Tcp6, protocol, is_v4) => protocol == PROTOCOL_TCP && !is_v4,
            (SegmentationKind::Udp, protocol, _) => protocol == PROTOCOL_UDP,
        };
        let header_bytes = at.saturating_add(len_bytes);
        let asks_what_is_there = usize::from(cut.header_bytes) == header_bytes
            && usize::from(checksum.start_bytes) == at
            && usize::from(checksum.offset_bytes) == checksum_at;
        let left_bytes = end_bytes.saturating_sub(header_bytes);
        if !fits_kind || !asks_what_is_there || is_fragment || left_bytes == 0 {
            return Err(CutError::Headers);
        }
        if cut.mss_bytes == 0 {
            return Err(CutError::Size);
        }
        Ok(Self {
            header: Header::of(frame, header_bytes).ok_or(CutError::Headers)?,
            layout,
            numbers: Numbers { id, sequence, flags, is_first: true },
            left_bytes,
            mss_bytes: cut.mss_bytes.into(),
            checksum,
        })
    }
}

/// Where the headers of `packet` are, with the transport header at `transport_at`; an IPv4 packet's
/// identification; where the packet ends; and whether it is part of one.
fn layout(
    packet: &Packet,
    frame: &Frame,
    transport_at: usize,
) -> Result<(Layout, u16, usize, bool), CutError> {
    match packet.body {
        Body::Arp => Err(CutError::NotToBeCut),
        Body::V4(ip) => {
            let protocol = ip.header.protocol;
            let pseudo = Sum::pseudo_header(&ip.header.source, &ip.header.destination, protocol, 0);
            let v4_header_bytes = Some(ip.header_bytes());
            let layout = Layout { ip_at: ip.at_bytes, v4_header_bytes, protocol, transport_at, pseudo };
            let end_bytes = ip.at_bytes.saturating_add(ip.total_bytes());
            Ok((layout, ip.header.id.get(), end_bytes, ip.is_fragment()))
        }
        Body::V6(ip) => {
            let upper = ip.upper(frame)?;
            let protocol = upper.protocol;
            let pseudo = Sum::pseudo_header(&ip.header.source, &ip.header.destination, protocol, 0);
            let layout = Layout { ip_at: ip.at_bytes, v4_header_bytes: None, protocol, transport_at, pseudo };
            let end_bytes = ip.at_bytes.saturating_add(ip.total_bytes());
            Ok((layout, 0, end_bytes, upper.is_fragment))
        }
    }
}

/// Where a checksum is that is asked for.
fn field_of(request: ChecksumRequest) -> usize {
    usize::from(request.start_bytes).saturating_add(request.offset_bytes.into())
}

/// A length that a header has.
fn be16(len_bytes: usize) -> [u8; 2] {
    u16::try_from(len_bytes).unwrap_or(u16::MAX).to_be_bytes()
}

// Where fields are in their headers.
const V4_TOTAL_AT: usize = 2;
const V4_ID_AT: usize = 4;
const V6_PAYLOAD_AT: usize = 4;
const TCP_SEQUENCE_AT: usize = 4;
const TCP_FLAGS_AT: usize = 12;
const TCP_CHECKSUM_AT: usize = 16;
const UDP_LENGTH_AT: usize = 4;
const UDP_CHECKSUM_AT: usize = 6;
/// Length of an IPv6 header, which `payload_bytes` does not count.
const V6_BYTES: usize = super::wire::IPV6_BYTES;
// Of `offset_flags`.
const TCP_FIN: u16 = 1;
const TCP_PSH: u16 = 1 << 3;
const TCP_CWR: u16 = 1 << 7;

#[cfg(test)]
#[path = "segment_tests.rs"]
mod tests;
