//! A segment that is read: its numbers, and what its options say.

use paravane_net::{ChecksumRequest, Frame, RxChecksum};
use zerocopy::byteorder::network_endian::U32;

use crate::icmp::reader::Reader;
use crate::packet::options::{self, TcpOptions};
use crate::packet::sum::Sum;
use crate::packet::wire::{PROTOCOL_TCP, TCP_BYTES, TcpHeader};
use crate::packet::{Body, Packet, Transport};

/// The sender has said its last.
pub(super) const FIN: u8 = 1;
/// A connection begins.
pub(super) const SYN: u8 = 1 << 1;
/// A connection is cut off.
pub(super) const RST: u8 = 1 << 2;
/// Data is not to wait.
pub(super) const PSH: u8 = 1 << 3;
/// Something is acknowledged.
pub(super) const ACK: u8 = 1 << 4;
/// Congestion was experienced; of a SYN, that it will be said.
pub(super) const ECE: u8 = 1 << 6;
/// The congestion window was reduced; of a SYN, see [`ECE`].
pub(super) const CWR: u8 = 1 << 7;

/// Where the checksum is in a TCP header.
const CHECKSUM_AT: u16 = 16;

/// A segment of TCP, whole and alone in its packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub(super) header: TcpHeader,
    pub(super) at_bytes: usize,
    /// Header and data.
    len_bytes: usize,
}

impl Heard {
    /// What `packet` carries; `None` of what is no such segment.
    #[inline]
    pub(super) fn of(packet: &Packet, transport: &Transport, frame: &Frame) -> Option<Self> {
        let Transport::Tcp(header, at_bytes) = *transport else { return None };
        let (is_fragment, end_bytes) = match &packet.body {
            Body::Arp => return None,
            Body::V4(ip) => (ip.is_fragment(), ip.at_bytes.saturating_add(ip.total_bytes())),
            Body::V6(ip) => (ip.upper(frame).ok()?.is_fragment, ip.at_bytes.saturating_add(ip.total_bytes())),
        };
        let heard = Self { header, at_bytes, len_bytes: end_bytes.saturating_sub(at_bytes) };
        (!is_fragment && heard.header_bytes() <= heard.len_bytes).then_some(heard)
    }

    pub(super) fn sequence(&self) -> u32 {
        self.header.sequence.get()
    }

    pub(super) fn acknowledgement(&self) -> u32 {
        self.header.acknowledgement.get()
    }

    pub(super) fn flags(&self) -> u8 {
        let [_, flags] = self.header.offset_flags.get().to_be_bytes();
        flags
    }

    /// Whether of the flags that steer a connection it has those, and no others.
    pub(super) fn is_just(&self, flags: u8) -> bool {
        self.flags() & (FIN | SYN | RST | ACK) == flags
    }

    /// Whether it has any of `flags`.
    pub(super) fn is(&self, flags: u8) -> bool {
        self.flags() & flags != 0
    }

    fn header_bytes(&self) -> usize {
        usize::from(self.header.offset_flags.get() >> 12).saturating_mul(4)
    }

    /// How much data it has.
    pub(super) fn data_bytes(&self) -> usize {
        self.len_bytes.saturating_sub(self.header_bytes())
    }

    /// Whether its checksum is right, as a device found, or as is found here. One that is open is:
    /// it never crossed a wire.
    pub(super) fn is_intact(&self, packet: &Packet, frame: &Frame) -> bool {
        if let Some(ChecksumRequest { start_bytes, offset_bytes: CHECKSUM_AT }) = frame.offload().checksum
            && usize::from(start_bytes) == self.at_bytes
        {
            return true;
        }
        match frame.rx_checksum() {
            RxChecksum::Good => true,
            RxChecksum::Unverified => self.sum(packet, frame).is_some_and(|sum| sum.folded() == 0xffff),
            _ => false,
        }
    }

    /// The sum of all of it, with the pseudo-header.
    fn sum(&self, packet: &Packet, frame: &Frame) -> Option<Sum> {
        let len_bytes = u32::try_from(self.len_bytes).ok()?;
        let pseudo = match &packet.body {
            Body::Arp => return None,
            Body::V4(ip) => {
                Sum::pseudo_header(&ip.header.source, &ip.header.destination, PROTOCOL_TCP, len_bytes)
            }
            Body::V6(ip) => {
                Sum::pseudo_header(&ip.header.source, &ip.header.destination, PROTOCOL_TCP, len_bytes)
            }
        };
        Some(Reader::new(frame, self.at_bytes).sum(self.len_bytes)?.and_all(pseudo))
    }

    /// What its options say. The last word counts.
    pub(super) fn said(&self, frame: &Frame) -> Said {
        let mut said = Said::default();
        if self.header_bytes() <= TCP_BYTES {
            return said;
        }
        let mut places = TcpOptions::of(&self.header, self.at_bytes);
        while let Some(found) = places.next(frame) {
            let value_at = found.at_bytes.saturating_add(2);
            match (found.kind, found.len_bytes) {
                (options::MSS, 4) => said.mss_bytes = frame.read(value_at).map(u16::from_be_bytes),
                (options::SCALE, 3) => said.scale = frame.read(value_at),
                (options::SACK_PERMITTED, 2) => said.sack = true,
                (options::TIME, 10) => {
                    let words: Option<[U32; 2]> = frame.read(value_at);
                    said.time = words.map(|words| words.map(|word| word.get()));
                }
                _ => {}
            }
        }
        said
    }
}

/// What options say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) mss_bytes: Option<u16>,
    pub(super) scale: Option<u8>,
    pub(super) sack: bool,
    /// TSval, TSecr.
    pub(super) time: Option<[u32; 2]>,
}

/// The longest that they are here.
pub(super) const MAX_SAID_BYTES: usize = 20;

impl Said {
    /// As a header has them, in whole words; how many bytes.
    ///
    /// Spec: RFC 9293, 3.2; RFC 7323, 2.2, 3.2, appendix A (timestamps lie even); RFC 2018, 2.
    pub(super) fn bytes(&self) -> ([u8; MAX_SAID_BYTES], usize) {
        use options::{MSS, NOTHING, SACK_PERMITTED, SCALE, TIME};
        let (mut bytes, mut len) = ([0; MAX_SAID_BYTES], 0_usize);
        let mut put = |word: [u8; 4]| {
            if let Some(place) = bytes.get_mut(len..).and_then(|rest| rest.first_chunk_mut()) {
                *place = word;
                len = len.saturating_add(4);
            }
        };
        if let Some(mss_bytes) = self.mss_bytes {
            let [high, low] = mss_bytes.to_be_bytes();
            put([MSS, 4, high, low]);
        }
        match (self.time, self.sack) {
            (Some([value, echo]), sack) => {
                let [first, second] = if sack { [SACK_PERMITTED, 2] } else { [NOTHING, NOTHING] };
                put([first, second, TIME, 10]);
                put(value.to_be_bytes());
                put(echo.to_be_bytes());
            }
            (None, true) => put([NOTHING, NOTHING, SACK_PERMITTED, 2]),
            (None, false) => {}
        }
        if let Some(scale) = self.scale {
            put([NOTHING, SCALE, 3, scale]);
        }
        (bytes, len)
    }
}
