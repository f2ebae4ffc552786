//! What a rule asks of a packet.

mod words;

use core::net::{Ipv4Addr, Ipv6Addr};

pub use words::PacketError;

/// Where a packet comes from or goes to: a number in the list of zones that rules were resolved
/// with.
///
/// The machine itself is a zone like others, if the list has one for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zone(pub u8);

/// Both addresses, of one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// IPv4.
    V4 {
        /// Who sent it.
        source: Ipv4Addr,
        /// Who it is for.
        destination: Ipv4Addr,
    },
    /// IPv6.
    V6 {
        /// Who sent it.
        source: Ipv6Addr,
        /// Who it is for.
        destination: Ipv6Addr,
    },
}

/// What an IP packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp {
        /// The sender's port.
        source: u16,
        /// The receiver's port.
        destination: u16,
    },
    /// UDP.
    Udp {
        /// The sender's port.
        source: u16,
        /// The receiver's port.
        destination: u16,
    },
    /// ICMP for IPv4.
    Icmp {
        /// Its type.
        kind: u8,
        /// Its code.
        code: u8,
    },
    /// ICMP for IPv6.
    Icmpv6 {
        /// Its type.
        kind: u8,
        /// Its code.
        code: u8,
    },
    /// A protocol by its number.
    ///
    /// That may be one of those above, when its header is not there: rules that name ports or types
    /// do not match it.
    Other(u8),
}

/// The first packet of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Where it came in.
    pub from: Zone,
    /// Where it will go out.
    pub to: Zone,
    /// Its addresses.
    pub addresses: Addresses,
    /// What it carries.
    pub transport: Transport,
}

/// Protocol numbers that have a word of their own.
pub(crate) mod protocol {
    pub(crate) const ICMP: u8 = 1;
    pub(crate) const TCP: u8 = 6;
    pub(crate) const UDP: u8 = 17;
    pub(crate) const ICMPV6: u8 = 58;
}

impl Transport {
    /// The protocol's number, as the IP header has it.
    #[must_use]
    pub const fn protocol(self) -> u8 {
        match self {
            Self::Tcp { .. } => protocol::TCP,
            Self::Udp { .. } => protocol::UDP,
            Self::Icmp { .. } => protocol::ICMP,
            Self::Icmpv6 { .. } => protocol::ICMPV6,
            Self::Other(number) => number,
        }
    }

    /// What a service may ask for: the destination's port, or type × 256 + code.
    #[must_use]
    pub const fn selector(self) -> Option<u16> {
        match self {
            Self::Tcp { destination, .. } | Self::Udp { destination, .. } => Some(destination),
            Self::Icmp { kind, code } | Self::Icmpv6 { kind, code } => Some(u16::from_be_bytes([kind, code])),
            Self::Other(_) => None,
        }
    }

    /// The sender's port.
    #[must_use]
    pub const fn source_port(self) -> Option<u16> {
        match self {
            Self::Tcp { source, .. } | Self::Udp { source, .. } => Some(source),
            Self::Icmp { .. } | Self::Icmpv6 { .. } | Self::Other(_) => None,
        }
    }
}
