//! Messages on the link, as smoltcp makes and reads them.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use paravane_net::MacAddr;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
    Icmpv6Packet, Icmpv6Repr, IpProtocol, Ipv6Packet, Ipv6Repr, NdiscNeighborFlags, NdiscRepr,
};
use std::vec::Vec;

pub(super) const OURS: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xaa]);
pub(super) const OUR_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(super) const OUR_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
pub(super) const OUR_WIDE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// A neighbour of either version.
pub(super) const THEIRS: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xbb]);
pub(super) const THEIR_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
pub(super) const THEIR_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0x1234, 0x5678);
/// Another MAC address.
pub(super) const OTHERS: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xcc]);
pub(super) const BOTH: [IpAddr; 2] = [IpAddr::V4(THEIR_V4), IpAddr::V6(THEIR_V6)];

/// A message on the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) from: MacAddr,
    pub(super) to: MacAddr,
    pub(super) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Arp {
        is_reply: bool,
        sender: (MacAddr, Ipv4Addr),
        target: (MacAddr, Ipv4Addr),
    },
    Solicit {
        source: Ipv6Addr,
        destination: Ipv6Addr,
        target: Ipv6Addr,
        mac: Option<MacAddr>,
    },
    Advertise {
        source: Ipv6Addr,
        destination: Ipv6Addr,
        target: Ipv6Addr,
        mac: Option<MacAddr>,
        /// Router, solicited, override.
        flags: [bool; 3],
    },
}

fn ethernet(mac: MacAddr) -> EthernetAddress {
    EthernetAddress(mac.0)
}

impl Said {
    /// As bytes of a frame.
    pub(super) fn bytes(self) -> Vec<u8> {
        let (ethertype, body) = match self.what {
            What::Arp { is_reply, sender, target } => {
                let repr = ArpRepr::EthernetIpv4 {
                    operation: if is_reply { ArpOperation::Reply } else { ArpOperation::Request },
                    source_hardware_addr: ethernet(sender.0),
                    source_protocol_addr: sender.1,
                    target_hardware_addr: ethernet(target.0),
                    target_protocol_addr: target.1,
                };
                let mut body = std::vec![0; repr.buffer_len()];
                repr.emit(&mut ArpPacket::new_unchecked(&mut body[..]));
                (EthernetProtocol::Arp, body)
            }
            What::Solicit { source, destination, target, mac } => {
                let lladdr = mac.map(|mac| ethernet(mac).into());
                let repr = NdiscRepr::NeighborSolicit { target_addr: target, lladdr };
                (EthernetProtocol::Ipv6, message(source, destination, repr))
            }
            What::Advertise { source, destination, target, mac, flags: [router, solicited, overrides] } => {
                let mut flags = NdiscNeighborFlags::empty();
                flags.set(NdiscNeighborFlags::ROUTER, router);
                flags.set(NdiscNeighborFlags::SOLICITED, solicited);
                flags.set(NdiscNeighborFlags::OVERRIDE, overrides);
                let lladdr = mac.map(|mac| ethernet(mac).into());
                let repr = NdiscRepr::NeighborAdvert { flags, target_addr: target, lladdr };
                (EthernetProtocol::Ipv6, message(source, destination, repr))
            }
        };
        let repr = EthernetRepr { src_addr: ethernet(self.from), dst_addr: ethernet(self.to), ethertype };
        let mut bytes = std::vec![0; repr.buffer_len()];
        repr.emit(&mut EthernetFrame::new_unchecked(&mut bytes[..]));
        bytes.extend(body);
        bytes
    }

    /// Reads such a frame, and holds all of it against what it has to be.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let frame = EthernetFrame::new_checked(bytes).unwrap();
        let mac = |address: EthernetAddress| MacAddr(address.0);
        let what = match frame.ethertype() {
            EthernetProtocol::Arp => {
                let ArpRepr::EthernetIpv4 {
                    operation,
                    source_hardware_addr,
                    source_protocol_addr,
                    target_hardware_addr,
                    target_protocol_addr,
                } = ArpRepr::parse(&ArpPacket::new_checked(frame.payload()).unwrap()).unwrap()
                else {
                    panic!("it is no ARP of Ethernet and IPv4");
                };
                What::Arp {
                    is_reply: operation == ArpOperation::Reply,
                    sender: (mac(source_hardware_addr), source_protocol_addr),
                    target: (mac(target_hardware_addr), target_protocol_addr),
                }
            }
            EthernetProtocol::Ipv6 => read_message(frame.payload()),
            other => panic!("{other} is not expected"),
        };
        let said = Self { from: mac(frame.src_addr()), to: mac(frame.dst_addr()), what };
        assert_eq!(said.bytes(), bytes, "and nothing more is in it");
        said
    }
}

fn message(source: Ipv6Addr, destination: Ipv6Addr, ndisc: NdiscRepr<'_>) -> Vec<u8> {
    let icmp = Icmpv6Repr::Ndisc(ndisc);
    let ip = Ipv6Repr {
        src_addr: source,
        dst_addr: destination,
        next_header: IpProtocol::Icmpv6,
        payload_len: icmp.buffer_len(),
        hop_limit: 255,
    };
    let mut bytes = std::vec![0; ip.buffer_len() + icmp.buffer_len()];
    ip.emit(&mut Ipv6Packet::new_unchecked(&mut bytes[..]));
    let mut packet = Icmpv6Packet::new_unchecked(&mut bytes[ip.buffer_len()..]);
    icmp.emit(&source, &destination, &mut packet, &ChecksumCapabilities::default());
    bytes
}

fn read_message(bytes: &[u8]) -> What {
    let ip = Ipv6Repr::parse(&Ipv6Packet::new_checked(bytes).unwrap()).unwrap();
    assert_eq!((ip.hop_limit, ip.next_header), (255, IpProtocol::Icmpv6));
    let (source, destination) = (ip.src_addr, ip.dst_addr);
    let packet = Icmpv6Packet::new_checked(&bytes[40..]).unwrap();
    assert!(packet.verify_checksum(&source, &destination));
    let mac = |address: smoltcp::wire::RawHardwareAddress| MacAddr(address.as_bytes().try_into().unwrap());
    match Icmpv6Repr::parse(&source, &destination, &packet, &ChecksumCapabilities::default()).unwrap() {
        Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit { target_addr, lladdr }) => {
            What::Solicit { source, destination, target: target_addr, mac: lladdr.map(mac) }
        }
        Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert { flags, target_addr, lladdr }) => What::Advertise {
            source,
            destination,
            target: target_addr,
            mac: lladdr.map(mac),
            flags: [NdiscNeighborFlags::ROUTER, NdiscNeighborFlags::SOLICITED, NdiscNeighborFlags::OVERRIDE]
                .map(|flag| flags.contains(flag)),
        },
        other => panic!("{other:?} is not expected"),
    }
}

/// What `address`, which is at `mac`, answers to our question.
pub(super) fn answer(address: IpAddr, mac: MacAddr) -> Said {
    let what = match address {
        IpAddr::V4(address) => What::Arp { is_reply: true, sender: (mac, address), target: (OURS, OUR_V4) },
        IpAddr::V6(address) => What::Advertise {
            source: address,
            destination: our_v6_for(address),
            target: address,
            mac: Some(mac),
            flags: [false, true, true],
        },
    };
    Said { from: mac, to: OURS, what }
}

/// What `address`, which is at `mac`, says to all unasked.
pub(super) fn announcement(address: IpAddr, mac: MacAddr) -> Said {
    match address {
        IpAddr::V4(address) => Said {
            from: mac,
            to: MacAddr([0xff; 6]),
            what: What::Arp { is_reply: false, sender: (mac, address), target: (MacAddr([0; 6]), address) },
        },
        IpAddr::V6(address) => Said {
            from: mac,
            to: MacAddr([0x33, 0x33, 0, 0, 0, 1]),
            what: What::Advertise {
                source: address,
                destination: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
                target: address,
                mac: Some(mac),
                flags: [false, false, true],
            },
        },
    }
}

/// The question of `address`, which is at `mac`, for our address.
pub(super) fn question(address: IpAddr, mac: MacAddr) -> Said {
    match address {
        IpAddr::V4(address) => Said {
            from: mac,
            to: MacAddr([0xff; 6]),
            what: What::Arp { is_reply: false, sender: (mac, address), target: (MacAddr([0; 6]), OUR_V4) },
        },
        IpAddr::V6(address) => Said {
            from: mac,
            to: MacAddr([0x33, 0x33, 0xff, 0, 0, 1]),
            what: What::Solicit {
                source: address,
                destination: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 1),
                target: our_v6_for(address),
                mac: Some(mac),
            },
        },
    }
}

/// What we ask for `address`: all, or the one at `mac`.
pub(super) fn our_question(address: IpAddr, mac: Option<MacAddr>) -> Said {
    match address {
        IpAddr::V4(address) => Said {
            from: OURS,
            to: mac.unwrap_or(MacAddr([0xff; 6])),
            what: What::Arp { is_reply: false, sender: (OURS, OUR_V4), target: (MacAddr([0; 6]), address) },
        },
        IpAddr::V6(address) => {
            let [.., a, b, c] = address.octets();
            let mut group = [0; 16];
            group[..2].copy_from_slice(&[0xff, 2]);
            group[11..].copy_from_slice(&[1, 0xff, a, b, c]);
            Said {
                from: OURS,
                to: mac.unwrap_or(MacAddr([0x33, 0x33, 0xff, a, b, c])),
                what: What::Solicit {
                    source: our_v6_for(address),
                    destination: if mac.is_some() { address } else { group.into() },
                    target: address,
                    mac: Some(OURS),
                },
            }
        }
    }
}

fn our_v6_for(address: Ipv6Addr) -> Ipv6Addr {
    if address.segments()[0] == 0xfe80 { OUR_V6 } else { OUR_WIDE_V6 }
}
