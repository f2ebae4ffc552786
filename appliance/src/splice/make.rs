//! A segment that is made.

use paravane_hal::pool::Pool;
use paravane_net::{Frame, MacAddr};
use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{Immutable, IntoBytes};

use super::heard::Said;
use crate::flow::Key;
use crate::packet::edit::Hop;
use crate::packet::sum::Sum;
use crate::packet::wire::{
    ETHERTYPE_IPV4, ETHERTYPE_IPV6, EthernetHeader, IPV4_BYTES, IPV4_DONT_FRAGMENT, IPV6_BYTES, Ipv4Header,
    Ipv6Header, PROTOCOL_TCP, TCP_BYTES, TcpHeader,
};

/// How often what is made here may be passed on.
const TTL: u8 = 64;
/// Stations that are not known yet.
pub(super) const NO_HOP: Hop = Hop { destination: MacAddr([0; 6]), source: MacAddr([0; 6]) };

/// What a segment says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Draft<'d> {
    pub(super) sequence: u32,
    pub(super) acknowledgement: u32,
    pub(super) flags: u8,
    pub(super) window: u16,
    pub(super) said: Said,
    pub(super) data: &'d [u8],
}

impl Draft<'_> {
    /// A frame of `pool` that holds it, with the ends of `ends`, for nobody's station. `None` when
    /// there is no buffer.
    pub(super) fn frame(&self, pool: &Pool<Frame>, ends: &Key) -> Option<Frame> {
        let mut frame = pool.get()?;
        self.put(&mut frame, ends, NO_HOP).then_some(frame)
    }

    /// Puts it into an empty frame. Its checksum is complete: it is short, and so nothing is asked
    /// of whatever NIC it leaves by. False when it does not fit.
    #[must_use]
    pub(super) fn put(&self, frame: &mut Frame, ends: &Key, hop: Hop) -> bool {
        let (options, options_bytes) = self.said.bytes();
        let Some(options) = options.get(..options_bytes) else { return false };
        let header_bytes = TCP_BYTES.saturating_add(options_bytes);
        let Ok(len_bytes) = u16::try_from(header_bytes.saturating_add(self.data.len())) else {
            return false;
        };
        let Some((is_put, pseudo)) = network(frame, ends, hop, len_bytes) else { return false };
        let mut header = self.header(ends, header_bytes);
        let sum = pseudo.and_bytes(header.as_bytes()).and_bytes(options).and_bytes(self.data);
        header.checksum.set(sum.checksum());
        is_put && put(frame, &header) && frame.append(options) && frame.append(self.data)
    }

    fn header(&self, ends: &Key, header_bytes: usize) -> TcpHeader {
        #[expect(clippy::cast_possible_truncation, reason = "60 bytes at most")]
        let offset = (header_bytes / 4) as u16;
        TcpHeader {
            source_port: ends.source_port().into(),
            destination_port: ends.destination_port().into(),
            sequence: self.sequence.into(),
            acknowledgement: self.acknowledgement.into(),
            offset_flags: (offset << 12 | u16::from(self.flags)).into(),
            window: self.window.into(),
            checksum: U16::ZERO,
            urgent: U16::ZERO,
        }
    }
}

/// Puts the headers in front of `len_bytes` of TCP; whether they fit, and the pseudo-header's sum.
fn network(frame: &mut Frame, ends: &Key, hop: Hop, len_bytes: u16) -> Option<(bool, Sum)> {
    let Hop { destination: MacAddr(destination), source: MacAddr(source) } = hop;
    let ethernet = |ethertype: u16| EthernetHeader { destination, source, ethertype: ethertype.into() };
    if let Some(ends) = ends.ends_v4() {
        let mut header = Ipv4Header {
            version_length: 0x45,
            class: 0,
            total_bytes: u16::try_from(IPV4_BYTES).ok()?.checked_add(len_bytes)?.into(),
            // Nothing that is never cut needs one. Spec: RFC 6864, 4.1.
            id: U16::ZERO,
            fragment: IPV4_DONT_FRAGMENT.into(),
            ttl: TTL,
            protocol: PROTOCOL_TCP,
            checksum: U16::ZERO,
            source: ends.source.octets(),
            destination: ends.destination.octets(),
        };
        header.checksum.set(Sum::ZERO.and_bytes(header.as_bytes()).checksum());
        let pseudo =
            Sum::pseudo_header(&header.source, &header.destination, PROTOCOL_TCP, u32::from(len_bytes));
        return Some((put(frame, &ethernet(ETHERTYPE_IPV4)) && put(frame, &header), pseudo));
    }
    let ends = ends.ends_v6()?;
    let header = Ipv6Header {
        version_class_flow: U32::new(6 << 28),
        payload_bytes: len_bytes.into(),
        next_header: PROTOCOL_TCP,
        hop_limit: TTL,
        source: ends.source.octets(),
        destination: ends.destination.octets(),
    };
    let pseudo = Sum::pseudo_header(&header.source, &header.destination, PROTOCOL_TCP, u32::from(len_bytes));
    Some((put(frame, &ethernet(ETHERTYPE_IPV6)) && put(frame, &header), pseudo))
}

/// Adds a header to the end of a frame.
fn put<T: IntoBytes + Immutable>(frame: &mut Frame, header: &T) -> bool {
    frame.append(header.as_bytes())
}

const _: () = assert!(IPV4_BYTES == 20 && IPV6_BYTES == 40);
