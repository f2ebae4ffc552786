//! ICMP errors about connections: through the balancer, and from it.

use core::net::IpAddr;
use core::time::Duration;

use paravane_appliance::balance::Service;
use paravane_appliance::check;
use paravane_appliance::drops::Reason;
use paravane_appliance::interface::InterfaceId;
use paravane_appliance::nat::Mode;
use paravane_appliance::pool::Health;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetFrame, Icmpv4DstUnreachable, Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, IpProtocol,
    Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr, TcpPacket,
};

use super::support::{ACK, Balanced, Ends, SYN, Tcp, V4, V6, segments, service, settings};
use crate::world::{GATEWAY_MAC, HOST_MAC, OWN_MAC, PRIVATE, PUBLIC, udp};

/// What an error says: from whom, for whom, which MTU if any, and of which packet it is.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    pub from: IpAddr,
    pub to: IpAddr,
    pub mtu_bytes: Option<u32>,
    pub quoted: [(IpAddr, u16); 2],
    pub sequence: u32,
}

/// Reads an error, all of whose checksums have to be right.
pub fn said(bytes: &[u8]) -> Said {
    let frame = EthernetFrame::new_checked(bytes).unwrap();
    let tcp = |data: &[u8]| {
        let tcp = TcpPacket::new_unchecked(data);
        (tcp.src_port(), tcp.dst_port(), tcp.seq_number().0 as u32)
    };
    if bytes[12..14] == [0x08, 0x00] {
        let ip = Ipv4Packet::new_checked(frame.payload()).unwrap();
        assert!(ip.verify_checksum());
        let icmp = Icmpv4Packet::new_checked(ip.payload()).unwrap();
        assert!(icmp.verify_checksum());
        let quoted = Ipv4Packet::new_unchecked(icmp.data());
        assert!(quoted.verify_checksum(), "the quoted header's");
        let (source_port, destination_port, sequence) = tcp(&icmp.data()[20..]);
        let mtu = u32::from_be_bytes(ip.payload()[4..8].try_into().unwrap());
        Said {
            from: ip.src_addr().into(),
            to: ip.dst_addr().into(),
            mtu_bytes: (ip.payload()[..2] == [3, 4]).then_some(mtu),
            quoted: [(quoted.src_addr().into(), source_port), (quoted.dst_addr().into(), destination_port)],
            sequence,
        }
    } else {
        let ip = Ipv6Packet::new_checked(frame.payload()).unwrap();
        let icmp = Icmpv6Packet::new_checked(ip.payload()).unwrap();
        assert!(icmp.verify_checksum(&ip.src_addr(), &ip.dst_addr()));
        let data = &ip.payload()[8..];
        let quoted = Ipv6Packet::new_unchecked(data);
        let (source_port, destination_port, sequence) = tcp(&data[40..]);
        let mtu = u32::from_be_bytes(ip.payload()[4..8].try_into().unwrap());
        Said {
            from: ip.src_addr().into(),
            to: ip.dst_addr().into(),
            mtu_bytes: (ip.payload()[0] == 2).then_some(mtu),
            quoted: [(quoted.src_addr().into(), source_port), (quoted.dst_addr().into(), destination_port)],
            sequence,
        }
    }
}

/// Somebody on a link says that `packet` is too big for what is behind it.
pub fn too_big(on: InterfaceId, from: IpAddr, packet: &[u8], mtu_bytes: u16) -> Vec<u8> {
    let ip = &packet[14..];
    let caps = ChecksumCapabilities::default();
    let mut bytes = vec![0; 14 + 60 + 28 + 40];
    bytes[..6].copy_from_slice(&OWN_MAC[on.index()].0);
    bytes[6..12].copy_from_slice(&if on == PRIVATE { HOST_MAC } else { GATEWAY_MAC }.0);
    match from {
        IpAddr::V4(from) => {
            let quoted = Ipv4Packet::new_unchecked(ip);
            let icmp = Icmpv4Repr::DstUnreachable {
                reason: Icmpv4DstUnreachable::FragRequired,
                header: Ipv4Repr::parse(&Ipv4Packet::new_checked(ip).unwrap(), &caps).unwrap(),
                data: &ip[20..28],
            };
            let outer = Ipv4Repr {
                src_addr: from,
                dst_addr: quoted.src_addr(),
                next_header: IpProtocol::Icmp,
                payload_len: icmp.buffer_len(),
                hop_limit: 64,
            };
            bytes[12..14].copy_from_slice(&[8, 0]);
            outer.emit(&mut Ipv4Packet::new_unchecked(&mut bytes[14..]), &caps);
            let mut message = Icmpv4Packet::new_unchecked(&mut bytes[34..34 + icmp.buffer_len()]);
            icmp.emit(&mut message, &caps);
            bytes[34 + 6..34 + 8].copy_from_slice(&mtu_bytes.to_be_bytes());
            let mut message = Icmpv4Packet::new_unchecked(&mut bytes[34..34 + icmp.buffer_len()]);
            message.fill_checksum();
            bytes.truncate(34 + icmp.buffer_len());
        }
        IpAddr::V6(from) => {
            let quoted = Ipv6Packet::new_unchecked(ip);
            let icmp = Icmpv6Repr::PktTooBig {
                mtu: mtu_bytes.into(),
                header: Ipv6Repr::parse(&Ipv6Packet::new_checked(ip).unwrap()).unwrap(),
                data: &ip[40..60],
            };
            let outer = Ipv6Repr {
                src_addr: from,
                dst_addr: quoted.src_addr(),
                next_header: IpProtocol::Icmpv6,
                payload_len: icmp.buffer_len(),
                hop_limit: 64,
            };
            bytes[12..14].copy_from_slice(&[0x86, 0xdd]);
            outer.emit(&mut Ipv6Packet::new_unchecked(&mut bytes[14..]));
            let mut message = Icmpv6Packet::new_unchecked(&mut bytes[54..54 + icmp.buffer_len()]);
            icmp.emit(&outer.src_addr, &outer.dst_addr, &mut message, &caps);
            bytes.truncate(54 + icmp.buffer_len());
        }
    }
    bytes
}

fn each(test: impl Fn(Balanced, Ends, Mode)) {
    for ends in [V4, V6] {
        for mode in [Mode::Dnat, Mode::Full] {
            test(Balanced::new(ends, mode), ends, mode);
        }
    }
}

pub fn end(seen: core::net::SocketAddr) -> (IpAddr, u16) {
    (seen.ip(), seen.port())
}

#[test]
fn a_link_behind_a_server_that_is_narrower_is_told_to_the_client() {
    each(|mut balanced, ends, _| {
        let (there, back) = balanced.connect(5000);
        let data = balanced.of_client(5000, ACK).at(1001, back.sequence.wrapping_add(1));
        balanced.take(PUBLIC, &data, &[7; 1000]);
        let packet = balanced.world.sent_one(PRIVATE);
        // Of a router on the server's side, and of the server itself.
        for router in ends.servers {
            let error = too_big(PRIVATE, router, &packet, 1280);
            balanced.world.take(PRIVATE, &error);
            let told = said(&balanced.world.sent_one(PUBLIC));
            let expected = Said {
                from: if router == there.destination.ip() { ends.vip } else { told.from },
                to: ends.client,
                mtu_bytes: Some(1280),
                quoted: [end(balanced.client(5000)), end(balanced.vip())],
                sequence: 1001,
            };
            assert_eq!(told, expected);
        }
        assert_eq!(balanced.flows(), 1, "an error ends no flow");
    });
}

#[test]
fn our_own_links_are_told_of_by_the_packet_as_it_came() {
    each(|mut balanced, ends, _| {
        // The client's link takes more than the server's.
        let (_, back) = balanced.connect(5000);
        let data = balanced.of_client(5000, ACK).at(1001, back.sequence.wrapping_add(1));
        let mut bytes = data.bytes(GATEWAY_MAC, OWN_MAC[0], &[7; 1600]);
        if ends.client.is_ipv4() {
            bytes[20] |= 0x40;
            Ipv4Packet::new_unchecked(&mut bytes[14..]).fill_checksum();
        }
        balanced.world.take(PUBLIC, &bytes);
        let told = said(&balanced.world.sent_one(PUBLIC));
        assert_eq!((told.to, told.mtu_bytes), (ends.client, Some(1500)));
        assert_eq!(told.quoted, [end(balanced.client(5000)), end(balanced.vip())]);
        // And so it is where it may not be passed on any further.
        balanced.take(PUBLIC, &Tcp { ttl: 1, ..data }, b"data");
        let told = said(&balanced.world.sent_one(PUBLIC));
        assert_eq!((told.to, told.mtu_bytes), (ends.client, None));
        assert_eq!(told.quoted, [end(balanced.client(5000)), end(balanced.vip())]);
        assert_eq!(
            balanced.world.dropped(),
            [(PUBLIC, Reason::TimeExceeded, 1), (PUBLIC, Reason::TooBig, 1)]
        );
    });
}

#[test]
fn of_a_server_that_is_not_there_its_client_hears_and_the_next_one_goes_elsewhere() {
    each(|_, ends, mode| {
        let passive =
            check::Passive { failures: 1, window: Duration::from_secs(60), hold: Duration::from_secs(60) };
        let checks = check::Settings { passive: Some(passive), ..check::Settings::new(check::Probe::Tcp) };
        let service = Service { checks, ..service(&ends, mode) };
        let mut balanced = Balanced::among_strangers(ends, vec![service], settings());
        balanced.take(PUBLIC, &balanced.of_client(5000, SYN).at(1000, 0), b"");
        // Questions that nobody answers.
        balanced.pass(5);
        let told: Vec<_> = balanced.world.sent(PUBLIC);
        let told: Vec<_> = told.iter().filter(|frame| is_error(frame)).collect();
        assert_eq!(told.len(), 1, "{:?}", balanced.world.dropped());
        assert_eq!(said(told[0]).quoted, [end(balanced.client(5000)), end(balanced.vip())]);
        let first = balanced.servers[0];
        assert_eq!(balanced.balancer().services()[0].checks().health(first), Some(Health::Down));
        // It asks again, and another server is asked.
        balanced.world.sent(PRIVATE);
        balanced.take(PUBLIC, &balanced.of_client(5000, SYN).at(1000, 0), b"");
        balanced.pass(1);
        for asked in balanced.world.sent(PRIVATE) {
            if let Some(answer) = crate::neighbours::answer(&asked, HOST_MAC) {
                balanced.world.take(PRIVATE, &answer);
            }
        }
        let there = segments(&balanced.world.sent(PRIVATE));
        assert_eq!(there.len(), 1, "{:?}", balanced.world.dropped());
        assert_eq!(there[0].destination.ip(), ends.servers[1]);
        assert_eq!((balanced.flows(), balanced.connections()), (1, 1));
    });
}

pub fn is_error(frame: &[u8]) -> bool {
    frame[12..14] == [8, 0] && frame[23] == 1
        || frame[12..14] == [0x86, 0xdd] && frame[20] == 58 && frame[54] < 128
}

#[test]
fn an_error_about_nobodys_connection_goes_nowhere() {
    let mut balanced = Balanced::new(V4, Mode::Dnat);
    let packet = udp(OWN_MAC[1], HOST_MAC, V4.vip, V4.servers[0], b"nobody sent that");
    balanced.world.take(PRIVATE, &too_big(PRIVATE, V4.servers[0], &packet, 1280));
    assert!(balanced.world.sent(PUBLIC).is_empty());
}
