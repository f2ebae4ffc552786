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
mod pieces;
pub mod segment;
pub mod sum;
#[cfg(test)]
mod testing;
mod transport;
pub mod wire;

use core::net::IpAddr;

use paravane_net::{Frame, MacAddr};

pub use ip::{Ipv4, Ipv6};
pub use pieces::CutError;
pub use transport::Transport;
use wire::{ETHERNET_BYTES, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, EthernetHeader};

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
        let header: EthernetHeader = frame.read(0).ok_or(Malformed::TooShort)?;
        let body = match header.ethertype.get() {
            ETHERTYPE_IPV4 => Body::V4(Ipv4::read(frame, ETHERNET_BYTES)?),
            ETHERTYPE_IPV6 => Body::V6(Ipv6::read(frame, ETHERNET_BYTES)?),
            ETHERTYPE_ARP => Body::Arp,
            _ => return Err(Malformed::EtherType),
        };
        Ok(Self { destination: MacAddr(header.destination), source: MacAddr(header.source), body })
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

#[cfg(test)]
#[path = "packet/read_tests.rs"]
mod tests;
