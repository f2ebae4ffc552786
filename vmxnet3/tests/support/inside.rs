//! Packets in tunnels, as they are on the wire and as a stack leaves them, read by etherparse.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use etherparse::{NetHeaders, PacketBuilder, PacketHeaders, TcpHeader, TransportHeader};
use paravane_net::{ChecksumRequest, Frame, Segmentation, SegmentationKind, Tunnel, TunnelKind, TxOffload};

use crate::support::{MAC, Machine};

pub const GENEVE: u16 = 6081;
pub const VXLAN: u16 = 4789;
const SEQUENCE: u32 = 0xffff_f000;

/// A packet in a frame that is in a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inside {
    pub kind: TunnelKind,
    pub port: u16,
    /// IPv6, outside and inside.
    pub is_v6: [bool; 2],
    pub is_tcp: bool,
    pub payload_bytes: usize,
    /// The outer datagram has a checksum.
    pub outer_checksum: bool,
}

/// Over IPv4 both, in VXLAN.
pub const PLAIN: Inside = Inside {
    kind: TunnelKind::Vxlan,
    port: VXLAN,
    is_v6: [false; 2],
    is_tcp: true,
    payload_bytes: 1000,
    outer_checksum: false,
};

/// All kinds of tunnels, over and under either IP, with outer checksums and without.
pub fn kinds() -> impl Iterator<Item = Inside> {
    (0..16_u8).map(|bits| {
        let bit = |at: u8| bits >> at & 1 == 1;
        let (kind, port) = if bit(0) { (TunnelKind::Geneve, GENEVE) } else { (TunnelKind::Vxlan, VXLAN) };
        Inside { kind, port, is_v6: [bit(1), bit(2)], outer_checksum: bit(3), ..PLAIN }
    })
}

impl Inside {
    /// The tunnel's own header: Geneve's with an option.
    fn header(&self) -> &'static [u8] {
        match self.kind {
            TunnelKind::Geneve => &[2, 0, 0x65, 0x58, 0, 0, 7, 0, 0x01, 0x02, 0x03, 1, 9, 9, 9, 9],
            TunnelKind::Vxlan => &[8, 0, 0, 0, 0, 0, 7, 0],
        }
    }

    /// Where the outer datagram's payload starts, the inner frame, the inner layer 4, and what that
    /// carries.
    pub fn places(&self) -> [usize; 4] {
        let ip = |is_v6| if is_v6 { 40 } else { 20 };
        let tunnel = 14 + ip(self.is_v6[0]) + 8;
        let inner = tunnel + self.header().len();
        let layer4 = inner + 14 + ip(self.is_v6[1]);
        [tunnel, inner, layer4, layer4 + if self.is_tcp { 32 } else { 8 }]
    }

    pub fn payload(&self) -> Vec<u8> {
        (0..self.payload_bytes).map(|at| (at * 7 % 251) as u8).collect()
    }

    /// The inner frame, with all its checksums.
    fn inner(&self) -> Vec<u8> {
        let ethernet = PacketBuilder::ethernet2([4, 0, 0, 0, 0, 1], [4, 0, 0, 0, 0, 2]);
        let ip = if self.is_v6[1] {
            ethernet.ipv6([0x30; 16], [0x31; 16], 64)
        } else {
            ethernet.ipv4([172, 16, 0, 1], [172, 16, 0, 2], 64)
        };
        let mut bytes = Vec::new();
        if self.is_tcp {
            let mut tcp = TcpHeader::new(40_000, 80, SEQUENCE, 1000);
            (tcp.ack, tcp.psh) = (true, true);
            tcp.set_options_raw(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]).unwrap();
            ip.tcp_header(tcp).write(&mut bytes, &self.payload()).unwrap();
        } else {
            ip.udp(40_000, 53).write(&mut bytes, &self.payload()).unwrap();
        }
        bytes
    }

    /// The outer frame, to us, with all checksums that it has.
    pub fn whole(&self) -> Vec<u8> {
        let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 9], MAC);
        let ip = if self.is_v6[0] {
            ethernet.ipv6([0x20; 16], [0x21; 16], 64)
        } else {
            ethernet.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        };
        let mut bytes = Vec::new();
        ip.udp(50_000, self.port).write(&mut bytes, &[self.header(), &self.inner()].concat()).unwrap();
        let [tunnel, ..] = self.places();
        if !self.outer_checksum {
            bytes[tunnel - 2..tunnel].fill(0);
        }
        bytes
    }

    pub fn request(&self) -> ChecksumRequest {
        let [_, _, layer4, _] = self.places();
        ChecksumRequest { start_bytes: layer4 as u16, offset_bytes: if self.is_tcp { 16 } else { 6 } }
    }

    pub fn tunnel(&self) -> Tunnel {
        let [_, inner, ..] = self.places();
        Tunnel { kind: self.kind, outer_header_bytes: inner as u16, outer_checksum: self.outer_checksum }
    }

    pub fn cut(&self, mss_bytes: u16) -> Segmentation {
        let kind = if self.is_v6[1] { SegmentationKind::Tcp6 } else { SegmentationKind::Tcp4 };
        Segmentation { kind, header_bytes: self.places()[3] as u16, mss_bytes, ecn: false }
    }

    /// With the sum of the inner pseudo-header for a checksum.
    pub fn open(&self) -> Vec<u8> {
        let mut bytes = self.whole();
        let [_, inner, layer4, _] = self.places();
        let addresses = if self.is_v6[1] { inner + 22..inner + 54 } else { inner + 26..inner + 34 };
        let protocol = [0, if self.is_tcp { 6 } else { 17 }];
        let length = ((bytes.len() - layer4) as u16).to_be_bytes();
        let sum = sum(&[&bytes[addresses], &protocol, &length].concat());
        let at = layer4 + usize::from(self.request().offset_bytes);
        bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    /// As a stack leaves it that leaves the checksum to the device or, with `mss_bytes`, segments.
    pub fn given(&self, machine: &Machine, mss_bytes: Option<u16>) -> Frame {
        self.asking(machine, &self.open(), mss_bytes)
    }

    /// `bytes`, asking for as much.
    pub fn asking(&self, machine: &Machine, bytes: &[u8], mss_bytes: Option<u16>) -> Frame {
        let pieces: Vec<&[u8]> = bytes.chunks(1984).collect();
        let mut frame = machine.chain(&pieces);
        let segmentation = mss_bytes.map(|mss_bytes| self.cut(mss_bytes));
        frame.set_offload(TxOffload { checksum: Some(self.request()), segmentation });
        frame.set_tunnel(Some(self.tunnel()));
        frame
    }

    /// The inner packet of a frame is it, whatever is behind it.
    pub fn check_inner(&self, bytes: &[u8]) {
        let [_, inner, ..] = self.places();
        let within = PacketHeaders::from_ethernet_slice(&bytes[inner..]).unwrap();
        check_sums(&within, within.payload.slice(), true);
        assert_eq!(within.payload.slice(), self.payload());
    }

    /// What went over the wire for it is it: headers outside and inside that fit, in front of all
    /// of its payload. `mss_bytes` where it was to be cut.
    pub fn check_wire(&self, wire: &[Vec<u8>], mss_bytes: Option<u16>) {
        let [tunnel, inner, ..] = self.places();
        let whole = self.whole();
        let mut payload = Vec::new();
        for (position, bytes) in wire.iter().enumerate() {
            let outer = PacketHeaders::from_ethernet_slice(bytes).unwrap();
            let datagram = outer.payload.slice();
            assert_eq!(datagram[..inner - tunnel], whole[tunnel..inner], "{self:?}");
            check_sums(&outer, datagram, self.outer_checksum);
            let within = PacketHeaders::from_ethernet_slice(&datagram[inner - tunnel..]).unwrap();
            let part = within.payload.slice();
            check_sums(&within, part, true);
            if let Some(TransportHeader::Tcp(tcp)) = &within.transport {
                assert_eq!(tcp.sequence_number, SEQUENCE.wrapping_add(payload.len() as u32));
                assert_eq!((tcp.psh, tcp.options.len()), (position + 1 == wire.len(), 12));
            }
            payload.extend_from_slice(part);
        }
        let parts = mss_bytes.map_or(1, |mss_bytes| self.payload_bytes.div_ceil(mss_bytes.into()));
        assert_eq!((wire.len(), payload == self.payload()), (parts, true), "{self:?}");
    }
}

/// The ones' complement sum of 16-bit words.
pub fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    ((folded & 0xffff) + (folded >> 16)) as u16
}

/// The checksums that a packet has are right, and a UDP header says how long it is. Without one,
/// layer 4 says 0.
pub fn check_sums(parsed: &PacketHeaders<'_>, payload: &[u8], has_checksum: bool) {
    let (said, made) = match (parsed.net.as_ref().unwrap(), parsed.transport.as_ref().unwrap()) {
        (NetHeaders::Ipv4(ip, _), transport) => {
            assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            match transport {
                TransportHeader::Tcp(tcp) => (tcp.checksum, tcp.calc_checksum_ipv4(ip, payload).unwrap()),
                TransportHeader::Udp(udp) => (udp.checksum, udp.calc_checksum_ipv4(ip, payload).unwrap()),
                other => panic!("{other:?}"),
            }
        }
        (NetHeaders::Ipv6(ip, _), TransportHeader::Tcp(tcp)) => {
            (tcp.checksum, tcp.calc_checksum_ipv6(ip, payload).unwrap())
        }
        (NetHeaders::Ipv6(ip, _), TransportHeader::Udp(udp)) => {
            (udp.checksum, udp.calc_checksum_ipv6(ip, payload).unwrap())
        }
        other => panic!("{other:?}"),
    };
    if let Some(TransportHeader::Udp(udp)) = &parsed.transport {
        assert_eq!(usize::from(udp.length), payload.len() + 8);
    }
    if has_checksum {
        // Zero has two forms.
        assert_eq!(said % 0xffff, made % 0xffff);
    } else {
        assert_eq!(said, 0);
    }
}
