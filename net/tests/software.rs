//! Packets that the CPU cuts, read by another parser.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]
#![allow(clippy::cast_possible_truncation, reason = "a pattern of bytes")]

use etherparse::{
    Ethernet2Header, IpNumber, Ipv4Header, Ipv6Header, NetSlice, SlicedPacket, TcpHeader, TransportSlice,
    UdpHeader,
};
use paravane_mock_hal::Memory;
use paravane_net::{
    ChecksumRequest, CutError, Frame, FrameLayout, FramePool, Offloads, Segmentation, SegmentationKind,
    Segments, Tunnel, TxOffload, VlanTag,
};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
struct Packet {
    kind: SegmentationKind,
    is_v6: bool,
    is_tagged: bool,
    /// Words behind IPv4's header, and behind TCP's.
    options: [usize; 2],
    payload_bytes: usize,
}

const SEQUENCE: u32 = 0xffff_ff00;
const ID: u16 = 0xfffe;

impl Packet {
    fn payload(&self) -> Vec<u8> {
        (0..self.payload_bytes).map(|at| (at * 7 % 251) as u8).collect()
    }

    /// The bytes, with the sum of the pseudo-header for a checksum; and what is asked.
    fn open(&self, mss_bytes: u16) -> (Vec<u8>, TxOffload) {
        let is_tcp = self.kind != SegmentationKind::Udp;
        let mut tcp = TcpHeader::new(40_000, 443, SEQUENCE, 1000);
        (tcp.ack, tcp.psh, tcp.fin, tcp.cwr) = (true, true, true, true);
        tcp.set_options_raw(&vec![1; 4 * self.options[1]]).unwrap();
        let transport = if is_tcp { tcp.header_len() } else { 8 };
        let behind_ip = transport + self.payload_bytes;
        let number = if is_tcp { IpNumber::TCP } else { IpNumber::UDP };
        let ether_type = if self.is_v6 { etherparse::EtherType::IPV6 } else { etherparse::EtherType::IPV4 };
        let mut bytes =
            Ethernet2Header { source: [2; 6], destination: [4; 6], ether_type }.to_bytes().to_vec();
        if self.is_tagged {
            bytes.splice(12..12, [0x81, 0, 0x20, 5]);
        }
        let ip_at = bytes.len();
        let sum = if self.is_v6 {
            let ip = Ipv6Header {
                payload_length: u16::try_from(behind_ip).unwrap(),
                next_header: number,
                hop_limit: 64,
                source: [0xfd; 16],
                destination: [0xfe; 16],
                ..Ipv6Header::default()
            };
            bytes.extend(ip.to_bytes());
            16 * 0xfdfd / 2 + 16 * 0xfefe / 2
        } else {
            let mut ip = Ipv4Header::new(0, 64, number, [10, 0, 0, 1], [192, 168, 7, 2]).unwrap();
            ip.identification = ID;
            ip.options = (&vec![1; 4 * self.options[0]][..]).try_into().unwrap();
            ip.set_payload_len(behind_ip).unwrap();
            // Nobody has looked at it.
            ip.header_checksum = 0xdead;
            bytes.extend(ip.to_bytes());
            0x0a00 + 1 + 0xc0a8 + 0x0702
        };
        let sum = (sum + behind_ip + usize::from(number.0)) % 0xffff;
        let sum = u16::try_from(sum).unwrap();
        let transport_at = bytes.len();
        if is_tcp {
            tcp.checksum = sum;
            bytes.extend(tcp.to_bytes());
        } else {
            let length = u16::try_from(behind_ip).unwrap();
            let udp = UdpHeader { source_port: 40_000, destination_port: 443, length, checksum: sum };
            bytes.extend(udp.to_bytes());
        }
        let header_bytes = u16::try_from(bytes.len()).unwrap();
        bytes.extend(self.payload());
        assert_eq!(bytes.len(), ip_at + if self.is_v6 { 40 } else { 20 + 4 * self.options[0] } + behind_ip);
        let start_bytes = u16::try_from(transport_at).unwrap();
        let checksum = ChecksumRequest { start_bytes, offset_bytes: if is_tcp { 16 } else { 6 } };
        let cut = Segmentation { kind: self.kind, header_bytes, mss_bytes, ecn: is_tcp };
        (bytes, TxOffload { checksum: Some(checksum), segmentation: Some(cut) })
    }
}

fn pool(frames: u32) -> FramePool {
    FramePool::new(Memory::default(), FrameLayout::new(frames)).unwrap()
}

/// `bytes` in buffers of at most `piece_bytes`, asking for that.
fn frame(pool: &FramePool, bytes: &[u8], piece_bytes: usize, asked: TxOffload) -> Frame {
    let mut chain: Option<Frame> = None;
    let (head, rest) = bytes.split_at(bytes.len().min(piece_bytes.max(140)));
    for bytes in [head].into_iter().chain(rest.chunks(piece_bytes)).rev() {
        let mut frame = pool.get().unwrap();
        assert!(frame.append(bytes));
        if let Some(rest) = chain.take() {
            frame.set_next(rest);
        }
        chain = Some(frame);
    }
    let mut frame = chain.unwrap();
    frame.set_offload(asked);
    frame
}

fn bytes_of(frame: &Frame) -> Vec<u8> {
    let mut bytes = vec![0; frame.total_bytes()];
    assert_eq!(frame.copy_out(&mut bytes), Some(bytes.len()));
    bytes
}

/// Holds a segment against everything that its headers say; its payload.
fn checked(bytes: &[u8], packet: &Packet, number: usize, before: usize, is_last: bool) -> Vec<u8> {
    let sliced = SlicedPacket::from_ethernet(bytes).unwrap();
    assert_eq!(sliced.link_exts.len(), usize::from(packet.is_tagged));
    let addresses = match &sliced.net {
        Some(NetSlice::Ipv4(ip)) => {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            assert_eq!(header.identification, ID.wrapping_add(u16::try_from(number).unwrap()));
            Ok((header.source, header.destination))
        }
        Some(NetSlice::Ipv6(ip)) => {
            let header = ip.header().to_header();
            Err((header.source, header.destination))
        }
        other => panic!("{other:?}"),
    };
    match sliced.transport.unwrap() {
        TransportSlice::Tcp(tcp) => {
            let sum = match addresses {
                Ok((from, to)) => tcp.calc_checksum_ipv4(from, to),
                Err((from, to)) => tcp.calc_checksum_ipv6(from, to),
            };
            // Zero has two forms, and TCP takes either.
            assert_eq!(tcp.checksum() % u16::MAX, sum.unwrap() % u16::MAX);
            assert_eq!(tcp.sequence_number(), SEQUENCE.wrapping_add(u32::try_from(before).unwrap()));
            assert_eq!((tcp.cwr(), tcp.ack()), (number == 0, true));
            assert_eq!((tcp.fin(), tcp.psh()), (is_last, is_last));
            tcp.payload().to_vec()
        }
        TransportSlice::Udp(udp) => {
            let header = udp.to_header();
            assert_eq!(usize::from(header.length), 8 + udp.payload().len());
            let sum = match addresses {
                Ok((from, to)) => header.calc_checksum_ipv4_raw(from, to, udp.payload()),
                Err((from, to)) => header.calc_checksum_ipv6_raw(from, to, udp.payload()),
            };
            assert_eq!(header.checksum, sum.unwrap());
            udp.payload().to_vec()
        }
        other => panic!("{other:?}"),
    }
}

fn any_packet() -> impl Strategy<Value = Packet> {
    (0_u8..4, any::<bool>(), 0..=10_usize, 0..=10_usize, 1..40_000_usize).prop_map(
        |(kind, is_tagged, ip, tcp, payload_bytes)| {
            let is_v6 = kind % 2 == 1;
            let tcp_kind = if is_v6 { SegmentationKind::Tcp6 } else { SegmentationKind::Tcp4 };
            let kind = if kind < 2 { tcp_kind } else { SegmentationKind::Udp };
            Packet { kind, is_v6, is_tagged, options: [ip, tcp], payload_bytes }
        },
    )
}

proptest! {
    /// What comes of a packet says what it is, and has its payload, nothing twice and all of it.
    #[test]
    fn segments_are_what_a_device_would_make(
        packet in any_packet(),
        mss_bytes in 64..1500_u16,
        piece_bytes in 1..1984_usize,
        trailer in 0..9_usize,
    ) {
        let piece_bytes = piece_bytes.max(packet.payload_bytes / 200);
        let pool = pool(2048);
        let (mut bytes, asked) = packet.open(mss_bytes);
        bytes.resize(bytes.len() + trailer, 0xee);
        let mut frame = frame(&pool, &bytes, piece_bytes, asked);
        frame.set_vlan(Some(VlanTag(7)));
        let segments = Segments::of(frame, &pool, Offloads::empty()).map_err(|(_, error)| error).unwrap();
        let count = segments.len();
        prop_assert_eq!(count, packet.payload_bytes.div_ceil(mss_bytes.into()));
        let mut payload = Vec::new();
        for (number, segment) in segments.enumerate() {
            prop_assert!(segment.offload().is_none());
            prop_assert_eq!(segment.vlan(), Some(VlanTag(7)));
            let part = checked(&bytes_of(&segment), &packet, number, payload.len(), number + 1 == count);
            prop_assert!(part.len() == usize::from(mss_bytes) || number + 1 == count);
            payload.extend(part);
        }
        prop_assert!(payload == packet.payload());
        prop_assert_eq!(pool.free(), pool.buffers());
    }

    /// What is left to a device is completed to the same bytes.
    #[test]
    fn checksums_that_are_left_open_come_to_the_same(packet in any_packet(), mss_bytes in 500..1500_u16) {
        let pool = pool(2048);
        let (bytes, asked) = packet.open(mss_bytes);
        let segments = |offloads| {
            let frame = frame(&pool, &bytes, 1984, asked);
            Segments::of(frame, &pool, offloads).map_err(|(_, error)| error).unwrap()
        };
        for (mut open, whole) in segments(Offloads::CHECKSUM).zip(segments(Offloads::empty())) {
            prop_assert_eq!(open.offload(), TxOffload { segmentation: None, ..asked });
            prop_assert!(open.complete_checksum());
            prop_assert!(bytes_of(&open) == bytes_of(&whole));
        }
    }

    /// Whatever a packet is and asks for, it is cut or comes back as it was.
    #[test]
    fn nonsense_comes_back(
        at in 12..60_usize,
        byte: u8,
        header_bytes in 0..200_u16,
        start_bytes in 0..100_u16,
        kind in 0..3_usize,
    ) {
        let pool = pool(64);
        let packet =
            Packet { kind: SegmentationKind::Tcp4, is_v6: false, is_tagged: false, options: [0, 3], payload_bytes: 3000 };
        let (mut bytes, mut asked) = packet.open(1000);
        bytes[at] = byte;
        let (checksum, cut) = (asked.checksum.as_mut().unwrap(), asked.segmentation.as_mut().unwrap());
        if byte % 2 == 0 {
            checksum.start_bytes = start_bytes;
            cut.header_bytes = header_bytes;
            cut.kind = [SegmentationKind::Tcp4, SegmentationKind::Tcp6, SegmentationKind::Udp][kind];
        }
        match Segments::of(frame(&pool, &bytes, 1984, asked), &pool, Offloads::empty()) {
            Ok(segments) => prop_assert!(segments.len() == segments.count()),
            Err((frame, error)) => {
                prop_assert_eq!(error, CutError::Headers);
                prop_assert!(bytes_of(&frame) == bytes);
                prop_assert_eq!(frame.offload(), asked);
            }
        }
        prop_assert_eq!(pool.free(), pool.buffers());
    }
}

/// To UDP, a checksum that comes to zero says that there is none.
#[test]
fn a_checksum_of_zero_is_told_in_its_other_form() {
    for kind in [SegmentationKind::Tcp4, SegmentationKind::Udp] {
        let packet = Packet { kind, payload_bytes: 1000, ..TCP4 };
        let pool = pool(8);
        let cut = |bytes: &[u8], asked| {
            let frame = frame(&pool, bytes, 1984, asked);
            let segments = Segments::of(frame, &pool, Offloads::empty()).map_err(|(_, error)| error).unwrap();
            segments.map(|segment| bytes_of(&segment)).collect::<Vec<_>>()
        };
        let (mut bytes, asked) = packet.open(1000);
        let request = asked.checksum.unwrap();
        let field = usize::from(request.start_bytes) + usize::from(request.offset_bytes);
        let checksum_of = |bytes: &[u8]| u16::from_be_bytes([bytes[field], bytes[field + 1]]);
        // What is missing from all ones joins the payload, whose end is an even number of bytes in.
        let missing = checksum_of(&cut(&bytes, asked)[0]);
        let at = bytes.len() - 2;
        assert_eq!((at - usize::from(request.start_bytes)) % 2, 0);
        let sum = u32::from(u16::from_be_bytes([bytes[at], bytes[at + 1]])) + u32::from(missing);
        bytes[at..].copy_from_slice(&((sum % 0xffff) as u16).to_be_bytes());
        let [segment] = &cut(&bytes, asked)[..] else { panic!("it is short enough for one") };
        assert_eq!(checksum_of(segment), 0xffff, "{kind:?}");
    }
}

const TCP4: Packet = Packet {
    kind: SegmentationKind::Tcp4,
    is_v6: false,
    is_tagged: false,
    options: [0, 3],
    payload_bytes: 3000,
};

#[test]
fn what_cannot_be_cut_says_why_and_comes_back() {
    let pool = pool(8);
    let error = |bytes: &[u8], asked: TxOffload| {
        let frame = frame(&pool, bytes, 1984, asked);
        match Segments::of(frame, &pool, Offloads::empty()) {
            Ok(segments) => panic!("{segments:?}"),
            Err((frame, error)) => {
                assert_eq!((bytes_of(&frame), frame.offload()), (bytes.to_vec(), asked));
                error
            }
        }
    };
    let (bytes, asked) = TCP4.open(1000);
    assert_eq!(error(&bytes, TxOffload { segmentation: None, ..asked }), CutError::NotToBeCut);
    assert_eq!(error(&bytes, TxOffload { checksum: None, ..asked }), CutError::Headers);
    assert_eq!(error(&bytes, TCP4.open(0).1), CutError::Size);
    assert_eq!(error(&bytes, TCP4.open(1920).1), CutError::TooLong);
    assert_eq!(error(&bytes, TCP4.open(1).1), CutError::TooMany);
    assert_eq!(error(&bytes, TCP4.open(400).1), CutError::PoolDry, "two of eight are its own");
    assert_eq!(error(&bytes[..3000], asked), CutError::Headers, "the end is missing");
    let mut inside = frame(&pool, &bytes, 1984, asked);
    let tunnel = Some(Tunnel { outer_header_bytes: 14, ..Tunnel::default() });
    inside.set_tunnel(tunnel);
    let (inside, why) = Segments::of(inside, &pool, Offloads::empty()).unwrap_err();
    assert_eq!((why, inside.tunnel(), inside.offload()), (CutError::Headers, tunnel, asked));
    drop(inside);
    let (nothing, asked) = Packet { payload_bytes: 0, ..TCP4 }.open(1000);
    assert_eq!(error(&nothing, asked), CutError::Headers);
    assert_eq!(pool.free(), 8);
}

#[test]
fn buffers_that_are_not_used_go_back() {
    let pool = pool(16);
    let (bytes, asked) = TCP4.open(400);
    let mut segments = Segments::of(frame(&pool, &bytes, 1984, asked), &pool, Offloads::empty()).unwrap();
    assert_eq!((segments.len(), pool.free()), (8, 16 - 8 - 2));
    let first = segments.next();
    assert_eq!(segments.len(), 7);
    drop(segments);
    assert_eq!(pool.free(), 15);
    drop(first);
    assert_eq!(pool.free(), 16);
}
