//! Large frames: cut into segments on the way out, put together from them on the way in.

use super::checksum;
use super::packet::{Packet, TCP, UDP};

/// Bits of a TCP header's flags.
const FIN: u8 = 1;
const PSH: u8 = 1 << 3;
const CWR: u8 = 1 << 7;

/// The ports of Geneve and VXLAN.
const GENEVE: u16 = 6081;
const VXLAN: u16 = 4789;

/// A tunnel's own headers around a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outer {
    pub(super) packet: Packet,
    /// Where the frame inside starts.
    pub(super) inner: usize,
    pub(super) is_geneve: bool,
}

impl Outer {
    /// Of a frame that a tunnel of a known kind carries.
    pub(super) fn parse(frame: &[u8]) -> Option<Self> {
        let packet = Packet::parse(frame, 0)?;
        let datagram = packet.payload(frame);
        if packet.protocol != UDP || packet.is_fragment || datagram.len() < 16 {
            return None;
        }
        let options = usize::from(datagram[8] & 0x3f) * 4;
        let (is_geneve, header_bytes) = match u16::from_be_bytes([datagram[2], datagram[3]]) {
            GENEVE => (true, 8 + options),
            VXLAN => (false, 8),
            _ => return None,
        };
        Some(Self { packet, inner: packet.l4 + 8 + header_bytes, is_geneve })
    }
}

/// The headers of a frame that carries TCP: where they end.
pub(super) fn tcp_headers(frame: &[u8], packet: &Packet) -> Option<usize> {
    let header = packet.payload(frame).get(..20)?;
    let len_bytes = usize::from(header[12] >> 4) * 4;
    let is_tcp = packet.protocol == TCP && !packet.is_fragment;
    (is_tcp && len_bytes >= 20 && packet.l4 + len_bytes <= packet.end).then_some(packet.l4 + len_bytes)
}

fn put16(frame: &mut [u8], at: usize, value: usize) {
    if let Ok(value) = u16::try_from(value) {
        frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }
}

/// Has an IP header say how long its packet is, up to the end of `frame`. Of several packets made
/// of one, it is the `number`th.
fn set_length(frame: &mut [u8], packet: &mut Packet, number: u16) {
    packet.end = frame.len();
    if packet.is_v6 {
        put16(frame, packet.l3 + 4, packet.end - packet.l3 - 40);
    } else {
        put16(frame, packet.l3 + 2, packet.end - packet.l3);
        let id = u16::from_be_bytes([frame[packet.l3 + 4], frame[packet.l3 + 5]]);
        put16(frame, packet.l3 + 4, id.wrapping_add(number).into());
    }
    checksum::store_ip(frame, packet);
}

fn sequence(frame: &[u8], packet: &Packet) -> u32 {
    let field = &frame[packet.l4 + 4..][..4];
    u32::from_be_bytes([field[0], field[1], field[2], field[3]])
}

/// Cuts `frame`, whose TCP is in an Ethernet frame that starts at `inner`, into segments that carry
/// `mss_bytes` each and have headers of their own. What surrounds the inner frame is told its new
/// length, and has its checksum where `outer_checksum`. `None` for what cannot be cut.
pub(super) fn cut_at(
    frame: &[u8],
    inner: usize,
    mss_bytes: usize,
    outer_checksum: bool,
) -> Option<Vec<Vec<u8>>> {
    let packet = Packet::parse(frame, inner)?;
    let payload_at = tcp_headers(frame, &packet)?;
    let outer = if inner > 0 { Some(Outer::parse(frame)?) } else { None };
    let payload = &frame[payload_at..packet.end];
    if mss_bytes == 0 {
        return None;
    }
    let count = payload.len().div_ceil(mss_bytes).max(1);
    let segment = |number: usize| {
        let piece = payload.chunks(mss_bytes).nth(number).unwrap_or_default();
        let mut bytes = [&frame[..payload_at], piece].concat();
        let place = u16::try_from(number).unwrap_or(u16::MAX);
        let mut own = packet;
        set_length(&mut bytes, &mut own, place);
        let offset = u32::try_from(number * mss_bytes).unwrap_or(u32::MAX);
        let number_of_byte = sequence(frame, &packet).wrapping_add(offset);
        bytes[own.l4 + 4..own.l4 + 8].copy_from_slice(&number_of_byte.to_be_bytes());
        if number + 1 < count {
            bytes[own.l4 + 13] &= !(FIN | PSH);
        }
        if number > 0 {
            bytes[own.l4 + 13] &= !CWR;
        }
        checksum::store_l4(&mut bytes, &own);
        if let Some(Outer { packet: mut around, .. }) = outer {
            set_length(&mut bytes, &mut around, place);
            let len_bytes = around.end - around.l4;
            put16(&mut bytes, around.l4 + 4, len_bytes);
            if outer_checksum {
                checksum::store_l4(&mut bytes, &around);
            }
        }
        bytes
    };
    Some((0..count).map(segment).collect())
}

/// Cuts a frame with headers of its own, up to TCP's, into frames that carry `mss_bytes` each, as
/// a sender's device would. Empty for a frame that is no TCP over IP.
///
/// [`Vmxnet3::deliver_lro`](super::Vmxnet3::deliver_lro) takes such.
#[must_use]
pub fn cut(frame: &[u8], mss_bytes: u16) -> Vec<Vec<u8>> {
    cut_at(frame, 0, mss_bytes.into(), false).unwrap_or_default()
}

/// Frames put together, as a receiver's device does.
pub(super) struct Joined {
    pub(super) bytes: Vec<u8>,
    pub(super) segments: u8,
    pub(super) mss_bytes: u16,
}

/// Puts the segments of a connection together, one behind the other. `None` for what are none.
pub(super) fn join(segments: &[Vec<u8>]) -> Option<Joined> {
    let (first, rest) = segments.split_first()?;
    let mut packet = Packet::parse(first, 0)?;
    let payload_at = tcp_headers(first, &packet)?;
    let mss_bytes = packet.end - payload_at;
    let mut bytes = first[..packet.end].to_vec();
    let mut expected = sequence(first, &packet).wrapping_add(u32::try_from(mss_bytes).ok()?);
    for segment in rest {
        let next = Packet::parse(segment, 0)?;
        let data = &segment[tcp_headers(segment, &next)?..next.end];
        let is_same = next.addresses(segment) == packet.addresses(first)
            && segment[next.l4..][..4] == first[packet.l4..][..4];
        if !is_same || sequence(segment, &next) != expected {
            return None;
        }
        bytes.extend(data);
        bytes[packet.l4 + 13] |= segment[next.l4 + 13] & (FIN | PSH);
        expected = expected.wrapping_add(u32::try_from(data.len()).ok()?);
    }
    set_length(&mut bytes, &mut packet, 0);
    checksum::store_l4(&mut bytes, &packet);
    Some(Joined {
        bytes,
        segments: u8::try_from(segments.len()).ok()?,
        mss_bytes: u16::try_from(mss_bytes).ok()?,
    })
}
