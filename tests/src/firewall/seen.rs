//! What comes out.

use std::net::{IpAddr, SocketAddr};

use etherparse::{NetSlice, SlicedPacket, TransportSlice};

use super::probes::Kind;

pub(super) const FIN: u8 = 1;
pub(super) const SYN: u8 = 2;
pub(super) const RST: u8 = 4;
pub(super) const ACK: u8 = 16;

/// A packet that came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Its flags.
    Tcp(u8),
    Udp,
    /// Its type and code.
    Icmp(u8, u8),
}

impl Seen {
    /// What is no packet between hosts, but among neighbours, is none.
    pub(super) fn of(frame: &[u8]) -> Option<Self> {
        let packet = SlicedPacket::from_ethernet(frame).ok()?;
        let (source, destination): (IpAddr, IpAddr) = match packet.net.as_ref()? {
            NetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
            NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
            NetSlice::Arp(_) => return None,
        };
        let (what, [from, to]) = match packet.transport? {
            TransportSlice::Tcp(tcp) => {
                let flags = [(tcp.fin(), FIN), (tcp.syn(), SYN), (tcp.rst(), RST), (tcp.ack(), ACK)];
                let flags = flags.into_iter().filter(|(is, _)| *is).map(|(_, flag)| flag).sum();
                (What::Tcp(flags), [tcp.source_port(), tcp.destination_port()])
            }
            TransportSlice::Udp(udp) => (What::Udp, [udp.source_port(), udp.destination_port()]),
            TransportSlice::Igmp(_) => return None,
            TransportSlice::Icmpv4(icmp) => (What::Icmp(icmp.type_u8(), icmp.code_u8()), [0; 2]),
            // Solicitations and what they bring.
            TransportSlice::Icmpv6(icmp) if (133..=137).contains(&icmp.type_u8()) => return None,
            TransportSlice::Icmpv6(icmp) => (What::Icmp(icmp.type_u8(), icmp.code_u8()), [0; 2]),
        };
        Some(Self {
            source: SocketAddr::new(source, from),
            destination: SocketAddr::new(destination, to),
            what,
        })
    }

    pub(super) fn is(&self, kind: Kind, source: SocketAddr, destination: SocketAddr) -> bool {
        let what = match kind {
            Kind::Tcp(flags) => What::Tcp(flags),
            Kind::Udp => What::Udp,
            Kind::Ping(_) if source.is_ipv4() => What::Icmp(8, 0),
            Kind::Ping(_) => What::Icmp(128, 0),
        };
        (self.what, self.source, self.destination) == (what, source, destination)
    }
}
