//! What an IP packet carries.

use paravane_net::Frame;
use zerocopy::{FromBytes, IntoBytes};

use super::wire::{
    IcmpHeader, PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP, TCP_BYTES, TcpHeader, UDP_BYTES,
    UdpHeader,
};
use super::{Body, Malformed, Packet};

/// The header behind the Internet header. Each says where it begins in the frame.
#[derive(Clone, Copy, Debug)]
pub enum Transport {
    /// TCP.
    Tcp(TcpHeader, usize),
    /// UDP.
    Udp(UdpHeader, usize),
    /// ICMP, of the version that the packet has.
    Icmp(IcmpHeader, usize),
    /// Another protocol.
    Other(u8, usize),
    /// A part that has none: the packet's first part has it.
    LaterFragment(u8),
}

impl Packet {
    /// What it carries; `None` of ARP.
    ///
    /// # Errors
    ///
    /// [`Malformed`]: the header ends behind the packet, or says that it does.
    #[inline(always)]
    pub fn transport(&self, frame: &Frame) -> Result<Option<Transport>, Malformed> {
        let (protocol, at_bytes, end, [is_part, is_later]) = match self.body {
            Body::Arp => return Ok(None),
            Body::V4(ip) => (
                ip.header.protocol,
                ip.at_bytes.saturating_add(ip.header_bytes()),
                ip.at_bytes.saturating_add(ip.total_bytes()),
                [ip.is_fragment(), ip.is_later_fragment()],
            ),
            Body::V6(ip) => {
                let upper = ip.upper(frame)?;
                let end = ip.at_bytes.saturating_add(ip.total_bytes());
                (upper.protocol, upper.at_bytes, end, [upper.is_fragment, upper.is_later_fragment])
            }
        };
        if is_later {
            return Ok(Some(Transport::LaterFragment(protocol)));
        }
        let room = end.saturating_sub(at_bytes);
        let transport = match (protocol, self.body) {
            (PROTOCOL_TCP, _) => {
                let header: TcpHeader = read::<_, 6>(frame, at_bytes, room)?;
                let header_bytes = usize::from(header.offset_flags.get() >> 12).saturating_mul(4);
                if header_bytes < TCP_BYTES || header_bytes > room {
                    return Err(Malformed::Length);
                }
                Transport::Tcp(header, at_bytes)
            }
            (PROTOCOL_UDP, _) => {
                let header: UdpHeader = read::<_, 3>(frame, at_bytes, room)?;
                let len_bytes = usize::from(header.len_bytes.get());
                // The first part of a datagram says how long all of it is.
                if len_bytes < UDP_BYTES || len_bytes > room && !is_part {
                    return Err(Malformed::Length);
                }
                Transport::Udp(header, at_bytes)
            }
            (PROTOCOL_ICMP, Body::V4(_)) | (PROTOCOL_ICMPV6, Body::V6(_)) => {
                Transport::Icmp(read::<_, 3>(frame, at_bytes, room)?, at_bytes)
            }
            _ => Transport::Other(protocol, at_bytes),
        };
        Ok(Some(transport))
    }
}

/// A header of a packet that has `room` for it.
///
/// An Ethernet header is two bytes longer than whole words are, so this one is read with the two
/// bytes in front of it, and two behind: in words.
#[inline(always)]
fn read<T: FromBytes, const WORDS: usize>(
    frame: &Frame,
    at_bytes: usize,
    room: usize,
) -> Result<T, Malformed> {
    const { assert!(size_of::<Placed<T>>() == 4 * WORDS, "the header, and two bytes on each side") };
    if room < size_of::<T>() {
        return Err(Malformed::Length);
    }
    let words: Option<[u32; WORDS]> = at_bytes.checked_sub(2).and_then(|at| frame.read(at));
    match words.and_then(|words| Placed::read_from_bytes(words.as_bytes()).ok()) {
        Some(Placed { header, .. }) => Ok(header),
        None => read_last(frame, at_bytes),
    }
}

/// The same of one that ends where the segment does.
#[cold]
fn read_last<T: FromBytes>(frame: &Frame, at_bytes: usize) -> Result<T, Malformed> {
    frame.read(at_bytes).ok_or(Malformed::TooShort)
}

/// A header with what is beside it.
#[derive(FromBytes)]
#[repr(C)]
struct Placed<T> {
    _before: [u8; 2],
    header: T,
    _after: [u8; 2],
}
