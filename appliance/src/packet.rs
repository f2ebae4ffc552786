//! What a frame's headers say: copied out once, checked once.
//!
//! ```text
//!  Frame -- Packet::read --> Packet (Ethernet and IP headers) -- transport --> Transport (ports, flags)
//!  Frame <-- edit::... ----- what is changed is written back where it was
//!  Frame --> segment, fragment --> Frames, where one is too long for the way
//! ```
//!
//! A header lies in memory that a device may write. So it is read once into a value, and what the
//! value says is held against the frame's length there and then; nothing is read again to decide
//! anew. Only headers that lie whole in a frame's first segment are read: every NIC here puts at
//! least 128 bytes there.

pub mod edit;
pub mod fragment;
mod ip;
pub(crate) mod options;
mod pieces;
pub mod plain;
mod quote;
pub mod reset;
pub mod segment;
pub mod sum;
#[cfg(test)]
pub(crate) mod testing;
mod transport;
pub mod wire;

use core::net::IpAddr;

use paravane_net::{Frame, MacAddr};
use zerocopy::{FromBytes, IntoBytes};

pub use ip::{Ipv4, Ipv6};
pub use pieces::CutError;
pub use quote::{Quoted, QuotedEnds};
pub use transport::Transport;
use wire::{
    ETHERNET_BYTES, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, EthernetHeader, IPV4_BYTES, IPV6_BYTES,
    Ipv4Header, Ipv6Header,
};

/// The headers of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// Whom it is for, on its link.
    pub destination: MacAddr,
    /// Who sent it there.
    pub source: MacAddr,
    /// What is in it.
    pub body: Body,
}

/// What is in a frame.
#[derive(Clone, Copy, Debug)]
pub enum Body {
    /// An ARP packet, not looked into yet.
    Arp,
    /// An IPv4 packet.
    V4(Ipv4),
    /// An IPv6 packet.
    V6(Ipv6),
}

/// Why a frame's headers are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Malformed {
    /// It ends before its headers do, or they do not lie in its first segment.
    TooShort,
    /// It carries neither IP nor ARP.
    EtherType,
    /// The IP version is not that of its EtherType.
    Version,
    /// The IP header says a length that the frame does not have, or that no header has.
    Length,
    /// The IPv4 header's checksum is wrong.
    HeaderChecksum,
    /// It wants to be routed its own way: a source route, or IPv6's routing header of type 0.
    SourceRoute,
    /// No host may send from there: multicast, broadcast, loopback, or zero.
    Source,
}

impl Packet {
    /// Reads the headers of `frame`.
    ///
    /// # Errors
    ///
    /// [`Malformed`], and `frame` is to be dropped.
    #[inline]
    pub fn read(frame: &Frame) -> Result<Self, Malformed> {
        match frame.read(0) {
            Some(front) => Self::behind(front, FRONT_BYTES, frame),
            None => Self::read_short(frame),
        }
    }

    /// The same of one whose first segment is shorter than what is read at once.
    #[cold]
    fn read_short(frame: &Frame) -> Result<Self, Malformed> {
        let mut front = [0_u64; FRONT_BYTES / 8];
        let len_bytes = frame.segment_bytes().min(FRONT_BYTES);
        let bytes = front.as_mut_bytes().get_mut(..len_bytes).ok_or(Malformed::TooShort)?;
        if !frame.first_segment().copy_out(0, bytes) {
            return Err(Malformed::TooShort);
        }
        Self::behind(front, len_bytes, frame)
    }

    /// What is in the `front` of `frame`, of which it has `len_bytes`.
    #[inline(always)]
    fn behind(front: [u64; FRONT_BYTES / 8], len_bytes: usize, frame: &Frame) -> Result<Self, Malformed> {
        let FrontV4 { ethernet, ip: v4, .. } = zerocopy::transmute!(front);
        let EthernetHeader { destination, source, ethertype } = ethernet;
        let fits = |header_bytes| len_bytes >= ETHERNET_BYTES + header_bytes;
        let body = match ethertype.get() {
            _ if !fits(0) => return Err(Malformed::TooShort),
            ETHERTYPE_IPV4 if fits(IPV4_BYTES) => Body::V4(Ipv4::of(v4, frame, ETHERNET_BYTES)?),
            ETHERTYPE_IPV6 if fits(IPV6_BYTES) => {
                let FrontV6 { ip, .. } = zerocopy::transmute!(front);
                Body::V6(Ipv6::of(ip, frame, ETHERNET_BYTES)?)
            }
            ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => return Err(Malformed::TooShort),
            ETHERTYPE_ARP => Body::Arp,
            _ => return Err(Malformed::EtherType),
        };
        Ok(Self { destination: MacAddr(destination), source: MacAddr(source), body })
    }

    /// Source and destination of an IP packet.
    #[must_use]
    pub fn addresses(&self) -> Option<(IpAddr, IpAddr)> {
        match self.body {
            Body::Arp => None,
            Body::V4(ip) => Some((ip.source().into(), ip.destination().into())),
            Body::V6(ip) => Some((ip.source().into(), ip.destination().into())),
        }
    }
}

/// How much of a frame is read at once, in whole words: the headers of either IP. The shortest
/// frame that Ethernet has is longer.
const FRONT_BYTES: usize = 56;

/// That, of an IPv4 packet.
#[derive(FromBytes)]
#[repr(C)]
struct FrontV4 {
    ethernet: EthernetHeader,
    ip: Ipv4Header,
    _rest: [u8; FRONT_BYTES - ETHERNET_BYTES - IPV4_BYTES],
}

/// And of an IPv6 packet.
#[derive(FromBytes)]
#[repr(C)]
struct FrontV6 {
    _ethernet: EthernetHeader,
    ip: Ipv6Header,
    _rest: [u8; FRONT_BYTES - ETHERNET_BYTES - IPV6_BYTES],
}

#[cfg(test)]
#[path = "packet/read_tests.rs"]
mod tests;
