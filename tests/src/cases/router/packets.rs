//! What hosts send, made by `etherparse`, and how it has to come out.

use std::net::IpAddr;

use anyhow::{Context as _, Result, bail, ensure};
use etherparse::{PacketBuilder, PacketBuilderStep};
use smoltcp::wire::{Icmpv4Packet, Icmpv6Packet, Ipv4Packet, Ipv6Packet};

use crate::guest::{host_address, host_address_v6, host_mac};

/// Length of an Ethernet header.
pub(super) const ETHERNET: usize = 14;

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Echo,
    Udp,
    Tcp,
}

pub(super) const KINDS: [Kind; 3] = [Kind::Echo, Kind::Udp, Kind::Tcp];

/// From the host on one NIC's cable, over the router, to an address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'p> {
    pub(super) from: usize,
    pub(super) to: IpAddr,
    pub(super) kind: Kind,
    pub(super) hops: u8,
    pub(super) payload: &'p [u8],
}

impl Packet<'_> {
    /// As a frame from the host's station to the router's.
    pub(super) fn frame(&self) -> Result<Vec<u8>> {
        let link = PacketBuilder::ethernet2(host_mac(self.from), router_mac(self.from));
        let frame = match self.to {
            IpAddr::V4(to) => {
                let ip = link.ipv4(host_address(self.from).octets(), to.octets(), self.hops);
                match self.kind {
                    Kind::Echo => built(ip.icmpv4_echo_request(7, 9), self.payload),
                    Kind::Udp => built(ip.udp(4000, 53), self.payload),
                    Kind::Tcp => built(ip.tcp(4000, 80, 1_000_000, 5000).ack(77).psh(), self.payload),
                }
            }
            IpAddr::V6(to) => {
                let ip = link.ipv6(host_address_v6(self.from).octets(), to.octets(), self.hops);
                match self.kind {
                    Kind::Echo => built(ip.icmpv6_echo_request(7, 9), self.payload),
                    Kind::Udp => built(ip.udp(4000, 53), self.payload),
                    Kind::Tcp => built(ip.tcp(4000, 80, 1_000_000, 5000).ack(77).psh(), self.payload),
                }
            }
        };
        frame.context("a packet that cannot be made")
    }
}

/// Writes what is built, whatever it is.
trait Built {
    fn write_to(self, bytes: &mut Vec<u8>, payload: &[u8]) -> Result<()>;
}

macro_rules! built {
    ($($step:ty),*) => { $(
        impl Built for PacketBuilderStep<$step> {
            fn write_to(self, bytes: &mut Vec<u8>, payload: &[u8]) -> Result<()> {
                Ok(self.write(bytes, payload)?)
            }
        }
    )* };
}

built!(etherparse::UdpHeader, etherparse::TcpHeader, etherparse::Icmpv4Header, etherparse::Icmpv6Header);

fn built(step: impl Built, payload: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    step.write_to(&mut bytes, payload)?;
    Ok(bytes)
}

/// The router's station on NIC `nic`'s cable, as QEMU was told.
pub fn router_mac(nic: usize) -> [u8; 6] {
    let [.., last] = host_mac(nic);
    [0x52, 0x54, 0x00, 0x70, 0x76, last]
}

/// The same packet one hop further, on NIC `to`'s cable: other stations, one hop less, and a sum to
/// match.
pub(super) fn one_hop_further(frame: &[u8], to: usize) -> Vec<u8> {
    let mut expected = frame.to_vec();
    expected[..6].copy_from_slice(&host_mac(to));
    expected[6..12].copy_from_slice(&router_mac(to));
    if is_v4(frame) {
        expected[22] -= 1;
        Ipv4Packet::new_unchecked(&mut expected[ETHERNET..]).fill_checksum();
    } else {
        expected[21] -= 1;
    }
    expected
}

pub(super) fn is_v4(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[0x08, 0x00])
}

/// Whether `frame` is `packet`, and nothing behind it but what Ethernet pads with.
pub(super) fn is_padded(frame: &[u8], packet: &[u8]) -> bool {
    frame
        .strip_prefix(packet)
        .is_some_and(|rest| frame.len() <= 60 && rest.iter().all(|byte| *byte == 0) || rest.is_empty())
}

/// An error that `from` sent about `about`, with type, code and what its second word says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told<'p> {
    pub(super) from: IpAddr,
    pub(super) about: &'p [u8],
    pub(super) kind: u8,
    pub(super) code: u8,
    pub(super) mtu_bytes: u16,
}

/// Whether `frame` is about a packet, whatever it says.
pub(super) fn is_error(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([0x08, 0x00]) => frame.get(23) == Some(&1) && matches!(frame.get(34), Some(3 | 11 | 12)),
        Some([0x86, 0xdd]) => frame.get(20) == Some(&58) && matches!(frame.get(54), Some(1..=4)),
        _ => false,
    }
}

impl Told<'_> {
    /// Whether `frame` says just that.
    pub(super) fn check(&self, frame: &[u8]) -> Result<()> {
        let packet = frame.get(ETHERNET..).context("no packet")?;
        let (from, message) = match self.from {
            IpAddr::V4(_) => {
                let ip = Ipv4Packet::new_checked(packet).context("no IPv4 packet")?;
                ensure!(ip.verify_checksum(), "a header with a wrong sum");
                let message = ip.payload().to_vec();
                let icmp = Icmpv4Packet::new_checked(&message[..]).context("no ICMP")?;
                ensure!(icmp.verify_checksum(), "an error with a wrong sum");
                (IpAddr::V4(ip.src_addr()), message)
            }
            IpAddr::V6(_) => {
                let ip = Ipv6Packet::new_checked(packet).context("no IPv6 packet")?;
                let message = ip.payload().to_vec();
                let icmp = Icmpv6Packet::new_checked(&message[..]).context("no ICMPv6")?;
                ensure!(icmp.verify_checksum(&ip.src_addr(), &ip.dst_addr()), "an error with a wrong sum");
                (IpAddr::V6(ip.src_addr()), message)
            }
        };
        let mtu = u16::from_be_bytes([message[6], message[7]]);
        let seen = (from, message[0], message[1], mtu);
        let wanted = (self.from, self.kind, self.code, self.mtu_bytes);
        ensure!(seen == wanted, "an error {seen:?}, not {wanted:?}");
        let about = self.about.get(ETHERNET..).unwrap_or_default();
        // The quoted packet is as it came in.
        if !about.starts_with(&message[8..]) && !message[8..].starts_with(about) {
            bail!("what is quoted is not what was sent");
        }
        Ok(())
    }
}
