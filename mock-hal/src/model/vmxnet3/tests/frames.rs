//! Frames with headers, made byte by byte.

use std::net::IpAddr;

/// Ethernet, to the device's address.
const ETHERNET: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

fn octets(address: &str) -> Vec<u8> {
    match address.parse().unwrap() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn be(value: usize) -> [u8; 2] {
    u16::try_from(value).unwrap().to_be_bytes()
}

/// `payload` of `protocol` in an IP packet, of the version that the addresses have.
pub(super) fn ip(source: &str, destination: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let (source, destination) = (octets(source), octets(destination));
    let mut frame = ETHERNET.to_vec();
    if source.len() == 4 {
        frame.extend([8, 0, 0x45, 0]);
        frame.extend(be(20 + payload.len()));
        frame.extend([0x12, 0x34, 0, 0, 64, protocol, 0, 0]);
    } else {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend(be(payload.len()));
        frame.extend([protocol, 64]);
    }
    frame.extend([source, destination].concat());
    frame.extend(payload);
    frame
}

/// A payload that starts with two ports.
pub(super) fn ports(source: u16, destination: u16) -> Vec<u8> {
    let mut payload = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    payload.resize(20, 0x50);
    payload
}

/// The words of `bytes` added up, in 16 bits.
fn sum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) * 256 + u32::from(pair.get(1).copied().unwrap_or(0));
        sum = sum % 0x1_0000 + sum / 0x1_0000;
    }
    sum as u16
}

pub(super) const V4: [&str; 2] = ["10.0.0.1", "10.0.0.2"];
pub(super) const V6: [&str; 2] = ["fd00::1", "fd00::2"];

/// Flags of a TCP segment that has all which only one of several may keep: CWR, ACK, PSH, FIN.
const FLAGS: u8 = 0x99;

/// TCP, with options of so many words, over IP, as a driver leaves it that has the device cut it.
pub(super) fn to_cut([source, destination]: [&str; 2], option_words: usize, payload_bytes: usize) -> Vec<u8> {
    let mut tcp = ports(4000, 80);
    tcp[4..8].copy_from_slice(&0xffff_ff00_u32.to_be_bytes());
    tcp[12] = (5 + option_words as u8) << 4;
    tcp[13] = FLAGS;
    let pseudo = [octets(source), octets(destination), vec![0, 6]].concat();
    tcp[16..18].copy_from_slice(&sum(&pseudo).to_be_bytes());
    tcp.extend(vec![1; 4 * option_words]);
    tcp.extend((0..payload_bytes).map(|byte| (byte % 251) as u8));
    ip(source, destination, 6, &tcp)
}

/// The same packet in one piece, with the sum of its pseudo-header in place.
pub(super) fn to_sum(addresses: [&str; 2], protocol: u8, payload_bytes: usize) -> Vec<u8> {
    let (mut frame, field) = if protocol == 6 {
        (to_cut(addresses, 0, payload_bytes), 16)
    } else {
        let mut udp = ports(4000, 53);
        udp.truncate(8);
        udp[4..6].copy_from_slice(&be(8 + payload_bytes));
        udp.extend(vec![7; payload_bytes]);
        (ip(addresses[0], addresses[1], 17, &udp), 6)
    };
    let l4 = if addresses == V6 { 54 } else { 34 };
    let len_bytes = be(frame.len() - l4);
    let pseudo = [octets(addresses[0]), octets(addresses[1]), vec![0, protocol], len_bytes.to_vec()].concat();
    frame[l4 + field..l4 + field + 2].copy_from_slice(&sum(&pseudo).to_be_bytes());
    frame
}

/// A frame with all its checksums.
pub(super) fn whole(addresses: [&str; 2], protocol: u8, payload_bytes: usize) -> Vec<u8> {
    let mut frame = to_sum(addresses, protocol, payload_bytes);
    let l4 = if addresses == V6 { 54 } else { 34 };
    let field = l4 + if protocol == 6 { 16 } else { 6 };
    let checksum = !sum(&frame[l4..]);
    frame[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
    if addresses == V4 {
        let checksum = !sum(&frame[14..34]);
        frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    }
    frame
}

/// `inner` in a tunnel: Geneve, with an option of four bytes, or VXLAN.
pub(super) fn tunnel(inner: &[u8], [source, destination]: [&str; 2], is_geneve: bool) -> Vec<u8> {
    let (port, header): (u16, &[u8]) = if is_geneve {
        (6081, &[2, 0, 0x65, 0x58, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    } else {
        (4789, &[8, 0, 0, 0, 0, 0, 1, 0])
    };
    let mut datagram = [50_000_u16.to_be_bytes(), port.to_be_bytes()].concat();
    datagram.extend(be(8 + header.len() + inner.len()));
    datagram.extend([0, 0]);
    datagram.extend(header);
    datagram.extend(inner);
    ip(source, destination, 17, &datagram)
}

/// Where the inner frame of such a tunnel starts.
pub(super) fn inside([source, _]: [&str; 2], is_geneve: bool) -> usize {
    14 + if source.contains(':') { 40 } else { 20 } + 8 + if is_geneve { 16 } else { 8 }
}

/// What an independent parser finds in a frame whose checksums are all good: the payload, and the
/// TCP header where there is one.
pub(super) fn parsed(frame: &[u8]) -> (Option<etherparse::TcpHeader>, Vec<u8>) {
    use etherparse::{NetHeaders, PacketHeaders, TransportHeader};

    let packet = PacketHeaders::from_ethernet_slice(frame).unwrap();
    let payload = packet.payload.slice();
    let transport = packet.transport.unwrap();
    let (said, made) = match packet.net.unwrap() {
        NetHeaders::Ipv4(ip, _) => {
            assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            match &transport {
                TransportHeader::Tcp(tcp) => (tcp.checksum, tcp.calc_checksum_ipv4(&ip, payload).unwrap()),
                TransportHeader::Udp(udp) => (udp.checksum, udp.calc_checksum_ipv4(&ip, payload).unwrap()),
                other => panic!("{other:?}"),
            }
        }
        NetHeaders::Ipv6(ip, _) => match &transport {
            TransportHeader::Tcp(tcp) => (tcp.checksum, tcp.calc_checksum_ipv6(&ip, payload).unwrap()),
            TransportHeader::Udp(udp) => (udp.checksum, udp.calc_checksum_ipv6(&ip, payload).unwrap()),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    // Zero has two forms: TCP takes either, and to UDP one says that there is no checksum.
    let is_tcp = matches!(transport, TransportHeader::Tcp(_));
    assert!(said == made || is_tcp && said % u16::MAX == made % u16::MAX, "{said:#x}, not {made:#x}");
    (transport.tcp(), payload.to_vec())
}
