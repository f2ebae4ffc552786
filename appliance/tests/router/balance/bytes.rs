//! Every byte is the same on the other side, whatever the mode, and whatever devices found of a
//! packet or left to do: made by `etherparse`, summed by `smoltcp`, and read by `etherparse`.

use core::net::{IpAddr, SocketAddr};

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TcpOptionElement, TransportSlice};
use paravane_appliance::balance::{Protocol, Service};
use paravane_appliance::interface::InterfaceId;
use paravane_appliance::nat::Mode;
use paravane_net::{ChecksumRequest, Frame, Offloads, RxChecksum, Segmentation, SegmentationKind, TxOffload};
use proptest::prelude::*;
use smoltcp::wire::{IpProtocol, checksum};

use super::splice::{self, How};
use super::support::{ACK, Balanced, Ends, PORT, V4, V6, settings};
use crate::world::{GATEWAY_MAC, HOST_MAC, OWN_MAC, PRIVATE, PUBLIC, bytes_of};

/// How packets get to servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Dnat,
    Full,
    Splice { proxy: bool, keeps_source: bool },
}

/// What is said of a checksum, beside the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Good,
    Unverified,
    /// By the device that received it: it never crossed a wire.
    Partial,
    /// By whoever made it.
    Asked,
}

/// A packet, and how it comes.
#[derive(Clone, Debug)]
struct Case {
    by: By,
    is_v6: bool,
    is_udp: bool,
    is_of_client: bool,
    payload_bytes: usize,
    /// How long the first segment of the frame is, and each other.
    lens: (usize, usize),
    said: Said,
    /// Where the payload is not what was summed.
    damage: Option<usize>,
    options: u8,
    /// Whether the NIC that it leaves by cuts large packets.
    cuts: bool,
}

fn cases() -> impl Strategy<Value = Case> {
    let splice = |proxy, keeps_source| By::Splice { proxy, keeps_source };
    let by = prop::sample::select(vec![
        By::Dnat,
        By::Full,
        splice(false, false),
        splice(true, false),
        splice(false, true),
        splice(true, true),
    ]);
    // From the shortest frames on: large ones are for who cuts.
    let payload_bytes = prop_oneof![3 => 0..60_usize, 4 => 0..1428_usize, 2 => 1429..65_400_usize];
    // In one, or in some: the first has all headers, and 128 bytes where there are as many.
    let lens = prop_oneof![1 => Just((65_536, 1900_usize)), 2 => (128..1900_usize, 64..1900_usize)];
    let said = prop::sample::select(vec![Said::Good, Said::Unverified, Said::Partial, Said::Asked]);
    let damage = prop::option::weighted(0.2, any::<usize>());
    let bools = any::<[bool; 4]>();
    (by, bools, payload_bytes, lens, said, damage, 0..3_u8).prop_map(
        |(by, [is_v6, is_udp, is_of_client, cuts], payload_bytes, lens, said, damage, options)| {
            // Damage shows where something was summed already.
            let is_summed = said == Said::Unverified;
            let is_udp = is_udp && !matches!(by, By::Splice { .. }) && payload_bytes < 1428;
            let is_large = payload_bytes > 1428;
            let said = if is_large && said != Said::Partial { Said::Asked } else { said };
            let damage = damage.filter(|_| is_summed && payload_bytes > 0 && !is_large);
            Case { by, is_v6, is_udp, is_of_client, payload_bytes, lens, said, damage, options, cuts }
        },
    )
}

/// A connection, as both ends know it.
struct Line {
    balanced: Balanced,
    /// The ends of packets as they come from the client, and as they get to the server.
    ends: [[SocketAddr; 2]; 2],
    /// The server's number, as client and server know it.
    server: [u32; 2],
}

const CLIENT: u32 = 1000;

impl Line {
    fn new(case: &Case) -> Self {
        let ends = if case.is_v6 { V6 } else { V4 };
        let sender = |balanced: &Balanced| [balanced.client(5000), balanced.vip()];
        match case.by {
            By::Splice { proxy, keeps_source } => {
                let how = How { ends, proxy, keeps_source };
                let mut balanced = Self::balanced(ends, how.service(), case.cuts);
                let joined = splice::connect(&mut balanced, &how, 5000);
                // The client has heard that its window is open.
                let heard = joined.of_client(&balanced, ACK);
                balanced.through(PUBLIC, &heard, b"");
                let ends = [sender(&balanced), [joined.syn.source, joined.syn.destination]];
                Self { balanced, ends, server: [joined.cookie, splice::SERVER] }
            }
            By::Dnat | By::Full => {
                let mode = if case.by == By::Dnat { Mode::Dnat } else { Mode::Full };
                let protocol = if case.is_udp { Protocol::Udp } else { Protocol::Tcp };
                let listen = SocketAddr::new(ends.vip, PORT);
                let service = Service { mode, ..Service::new("any", protocol, listen) };
                let mut balanced = Self::balanced(ends, service, case.cuts);
                let [client, vip] = sender(&balanced);
                let there = if case.is_udp {
                    let first = crate::world::udp_between(GATEWAY_MAC, OWN_MAC[0], client, vip, 64, b"?");
                    balanced.world.take(PUBLIC, &first);
                    balanced.one(PRIVATE)
                } else {
                    balanced.connect(5000).0
                };
                let ends = [[client, vip], [there.source, there.destination]];
                Self { balanced, ends, server: [9000; 2] }
            }
        }
    }

    fn balanced(ends: Ends, service: Service, cuts: bool) -> Balanced {
        let all = Offloads::CHECKSUM | Offloads::TSO4 | Offloads::TSO6;
        Balanced::between_nics(if cuts { all } else { Offloads::empty() }, ends, service, settings())
    }
}

/// A segment or a datagram: its ends, its numbers, and the edge of what is acknowledged besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Numbers {
    ends: [SocketAddr; 2],
    sequence: u32,
    acknowledgement: u32,
}

impl Case {
    fn payload(&self) -> Vec<u8> {
        (0..self.payload_bytes as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 23) as u8).collect()
    }

    /// Options, of a segment that acknowledges so much.
    fn tcp_options(&self, acknowledgement: u32) -> Vec<TcpOptionElement> {
        match self.options {
            0 => Vec::new(),
            1 => vec![TcpOptionElement::Noop, TcpOptionElement::Timestamp(77, 88)],
            _ => {
                let edges = (acknowledgement.wrapping_add(100), acknowledgement.wrapping_add(300));
                vec![TcpOptionElement::SelectiveAcknowledgement(edges, [None; 3])]
            }
        }
    }

    /// What comes, and what is to go.
    fn numbers(&self, line: &Line) -> [Numbers; 2] {
        let [came, gone] = line.ends;
        let next = line.server.map(|number| number.wrapping_add(1));
        let client = |ends, server| Numbers { ends, sequence: CLIENT + 1, acknowledgement: server };
        let server = |[to, from]: [SocketAddr; 2], server| Numbers {
            ends: [from, to],
            sequence: server,
            acknowledgement: CLIENT + 1,
        };
        if self.is_of_client {
            [client(came, next[0]), client(gone, next[1])]
        } else {
            [server(gone, next[1]), server(came, next[0])]
        }
    }

    /// The frame's bytes, with a right checksum, and where its transport header is.
    fn bytes(&self, from: InterfaceId, numbers: &Numbers) -> (Vec<u8>, usize) {
        let mac = if from == PUBLIC { GATEWAY_MAC } else { HOST_MAC };
        let link = PacketBuilder::ethernet2(mac.0, OWN_MAC[from.index()].0);
        let [source, destination] = numbers.ends;
        let (ip, transport_at) = match (source.ip(), destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(to)) => (link.ipv4(source.octets(), to.octets(), 64), 34),
            (IpAddr::V6(source), IpAddr::V6(to)) => (link.ipv6(source.octets(), to.octets(), 64), 54),
            _ => panic!("two versions"),
        };
        let payload = self.payload();
        let mut bytes = Vec::new();
        if self.is_udp {
            let udp = ip.udp(source.port(), destination.port());
            udp.write(&mut bytes, &payload).unwrap();
        } else {
            let tcp = ip.tcp(source.port(), destination.port(), numbers.sequence, 50_000);
            let options = self.tcp_options(numbers.acknowledgement);
            let tcp = tcp.ack(numbers.acknowledgement).options(&options).unwrap();
            tcp.write(&mut bytes, &payload).unwrap();
        }
        (bytes, transport_at)
    }

    /// The frame as a NIC gives it.
    fn frame(&self, line: &Line, from: InterfaceId, numbers: &Numbers) -> Frame {
        let (mut bytes, transport_at) = self.bytes(from, numbers);
        let [source, destination] = numbers.ends;
        let (protocol, offset_bytes) = if self.is_udp { (IpProtocol::Udp, 6) } else { (IpProtocol::Tcp, 16) };
        let request = ChecksumRequest { start_bytes: transport_at as u16, offset_bytes };
        let is_open = matches!(self.said, Said::Partial | Said::Asked);
        if is_open {
            let len = (bytes.len() - transport_at) as u32;
            let sum = checksum::pseudo_header(&source.ip().into(), &destination.ip().into(), protocol, len);
            let at = transport_at + usize::from(offset_bytes);
            bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        let header_bytes = bytes.len() - self.payload_bytes;
        if let Some(at) = self.damage {
            bytes[header_bytes + at % self.payload_bytes] ^= 0x10;
        }
        // As Ethernet has it.
        bytes.resize(bytes.len().max(60), 0);
        let (first, each) = self.lens;
        let (front, rest) = bytes.split_at(first.min(bytes.len()));
        let mut frame = line.balanced.world.frame(front);
        for part in rest.chunks(each) {
            frame.extend(line.balanced.world.frame(part));
        }
        let kind = if self.is_v6 { SegmentationKind::Tcp6 } else { SegmentationKind::Tcp4 };
        let segmentation =
            Segmentation { kind, header_bytes: header_bytes as u16, mss_bytes: 1400, ecn: false };
        let segmentation = Some(segmentation).filter(|_| self.is_large());
        match self.said {
            Said::Good => frame.set_rx_checksum(RxChecksum::Good),
            Said::Unverified => {}
            Said::Partial => {
                frame.set_rx_checksum(RxChecksum::Partial(request));
                frame.set_offload(TxOffload { segmentation, ..frame.offload() });
            }
            Said::Asked => frame.set_offload(TxOffload { checksum: Some(request), segmentation }),
        }
        frame
    }

    /// Whether it is cut here.
    fn is_cut(&self) -> bool {
        self.is_large() && !self.cuts
    }

    fn is_large(&self) -> bool {
        self.payload_bytes > 1428
    }

    /// Reads what left: its numbers and payload. Its checksum is as right as it was.
    fn read(&self, mut frame: Frame) -> (Numbers, Vec<u8>) {
        // Who cuts a packet here sums its parts as well.
        let is_left = matches!(self.said, Said::Partial | Said::Asked) && !self.is_cut();
        assert_eq!(frame.offload().checksum.is_some(), is_left, "what was left to do still is");
        let segmentation = frame.offload().segmentation;
        assert_eq!(segmentation.is_some(), self.is_large() && self.cuts);
        frame.set_offload(TxOffload { segmentation: None, ..frame.offload() });
        assert!(frame.complete_checksum());
        let bytes = bytes_of(&frame);
        let packet = SlicedPacket::from_ethernet(&bytes).unwrap();
        let net = packet.net.as_ref().unwrap();
        let (ips, ttl): ([IpAddr; 2], u8) = match net {
            NetSlice::Ipv4(ip) => {
                let header = ip.header();
                assert_eq!(header.to_header().calc_header_checksum(), header.header_checksum());
                ([header.source_addr().into(), header.destination_addr().into()], header.ttl())
            }
            NetSlice::Ipv6(ip) => {
                let header = ip.header();
                ([header.source_addr().into(), header.destination_addr().into()], header.hop_limit())
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(ttl, 63);
        let (ports, numbers, payload, sums) = match packet.transport.as_ref().unwrap() {
            TransportSlice::Tcp(tcp) => {
                let sum = match net {
                    NetSlice::Ipv4(ip) => {
                        tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination())
                    }
                    NetSlice::Ipv6(ip) => {
                        tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination())
                    }
                    other => panic!("{other:?}"),
                };
                let header = tcp.to_header();
                assert_eq!(
                    (header.ack, header.syn, header.rst, header.window_size),
                    (true, false, false, 50_000)
                );
                let options: Vec<_> = tcp.options_iterator().map(Result::unwrap).collect();
                let expected = self.tcp_options(header.acknowledgment_number);
                let is_option = |option: &&TcpOptionElement| **option != TcpOptionElement::Noop;
                assert!(
                    options.iter().filter(is_option).eq(expected.iter().filter(is_option)),
                    "{options:?}"
                );
                let numbers = (header.sequence_number, header.acknowledgment_number);
                let ports = [header.source_port, header.destination_port];
                (ports, numbers, tcp.payload().to_vec(), (sum.unwrap(), tcp.checksum()))
            }
            TransportSlice::Udp(udp) => {
                let header = udp.to_header();
                let sum = match net {
                    NetSlice::Ipv4(ip) => header.calc_checksum_ipv4(&ip.header().to_header(), udp.payload()),
                    NetSlice::Ipv6(ip) => header.calc_checksum_ipv6(&ip.header().to_header(), udp.payload()),
                    other => panic!("{other:?}"),
                };
                let ports = [udp.source_port(), udp.destination_port()];
                (ports, (0, 0), udp.payload().to_vec(), (sum.unwrap(), udp.checksum()))
            }
            other => panic!("{other:?}"),
        };
        // Both zeroes are right.
        assert_eq!(
            sums.0 % 0xffff == sums.1 % 0xffff,
            self.damage.is_none(),
            "damage on the way stays visible"
        );
        let [source, destination] = [0, 1].map(|at| SocketAddr::new(ips[at], ports[at]));
        let (sequence, acknowledgement) = numbers;
        (Numbers { ends: [source, destination], sequence, acknowledgement }, payload)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 96 } else { 512 }))]
    #[test]
    fn every_byte_is_the_same_on_the_other_side(case in cases()) {
        let mut line = Line::new(&case);
        let [came, mut expected] = case.numbers(&line);
        if case.is_udp {
            (expected.sequence, expected.acknowledgement) = (0, 0);
        }
        let (from, to) = if case.is_of_client { (PUBLIC, PRIVATE) } else { (PRIVATE, PUBLIC) };
        let frame = case.frame(&line, from, &came);
        line.balanced.world.take_frame(from, frame);
        let gone = line.balanced.world.sent_frames(to);
        prop_assert!(!gone.is_empty(), "dropped: {:?}", line.balanced.world.dropped());
        prop_assert_eq!(gone.len(), if case.is_cut() { case.payload_bytes.div_ceil(1400) } else { 1 });
        let mut together = Vec::new();
        for frame in gone {
            prop_assert!(!case.is_cut() || frame.total_bytes() <= 1514);
            let (numbers, payload) = case.read(frame);
            let sequence = if case.is_udp { 0 } else { expected.sequence.wrapping_add(together.len() as u32) };
            prop_assert_eq!(numbers, Numbers { sequence, ..expected });
            together.extend(payload);
        }
        let mut said = case.payload();
        if let Some(at) = case.damage {
            said[at % case.payload_bytes] ^= 0x10;
        }
        prop_assert!(together == said);
        prop_assert!(line.balanced.world.all_home() && line.balanced.world.dropped().is_empty());
    }
}
