//! Packets for tests, made of plain bytes with smoltcp's sums, and frames that hold them.

use paravane_mock_hal::MockPlatform;
use paravane_net::{
    ChecksumRequest, Frame, FrameLayout, FramePool, RxChecksum, Segmentation, SegmentationKind, TxOffload,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use smoltcp::wire::{IpAddress, IpProtocol, checksum};

use super::wire::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP};

/// A pool of frames of 2048 bytes.
pub(crate) fn pool(frames: u32) -> FramePool {
    FramePool::new(MockPlatform::new(), FrameLayout::new(frames)).unwrap()
}

/// `bytes` in a frame whose first segment has `first` of them, and the others `each`.
pub(crate) fn frame_of(pool: &FramePool, bytes: &[u8], first: usize, each: usize) -> Frame {
    let (head, rest) = bytes.split_at(first.min(bytes.len()));
    let mut frame = pool.get().unwrap();
    assert!(frame.append(head));
    for part in rest.chunks(each) {
        let mut segment = pool.get().unwrap();
        assert!(segment.append(part));
        frame.extend(segment);
    }
    frame
}

/// `bytes` in one frame.
pub(crate) fn single(bytes: &[u8]) -> Frame {
    frame_of(&pool(1), bytes, bytes.len(), 1)
}

/// All that is in a frame.
pub(crate) fn bytes_of(frame: &Frame) -> Vec<u8> {
    let mut bytes = vec![0; frame.total_bytes()];
    assert_eq!(frame.copy_out(&mut bytes), Some(bytes.len()));
    bytes
}

/// What is said of a checksum, beside the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Good,
    Unverified,
    /// By the device that received it.
    Partial,
    /// By whoever made it.
    Asked,
}

pub(crate) fn said() -> impl Strategy<Value = Said> {
    prop_oneof![Just(Said::Good), Just(Said::Unverified), Just(Said::Partial), Just(Said::Asked)]
}

/// What a packet carries.
#[derive(Clone, Debug)]
pub(crate) enum Carries {
    /// Options, flags.
    Tcp(Vec<u8>, u8),
    /// Whether it has a checksum.
    Udp(bool),
    /// Of this kind.
    Icmp(u8),
    Other(u8),
}

/// A packet.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) is_v6: bool,
    pub(crate) source: [u8; 16],
    pub(crate) destination: [u8; 16],
    pub(crate) ttl: u8,
    pub(crate) id: u16,
    /// Flags and offset, as IPv4 has them.
    pub(crate) fragment: u16,
    /// Of IPv4, in whole words.
    pub(crate) options: Vec<u8>,
    /// Of IPv6: kind, and content in units of 8 bytes, 6 bytes less.
    pub(crate) extensions: Vec<(u8, u8)>,
    pub(crate) carries: Carries,
    pub(crate) ports: [u16; 2],
    pub(crate) sequence: u32,
    pub(crate) payload: Vec<u8>,
    /// Ethernet's, behind it.
    pub(crate) padding: usize,
}

impl Sample {
    /// The addresses' bytes.
    fn addresses(&self) -> (&[u8], &[u8]) {
        let len = if self.is_v6 { 16 } else { 4 };
        (&self.source[..len], &self.destination[..len])
    }

    pub(crate) fn ends(&self) -> (IpAddress, IpAddress) {
        let of = |bytes: &[u8; 16]| -> IpAddress {
            if self.is_v6 {
                IpAddress::Ipv6((*bytes).into())
            } else {
                IpAddress::v4(bytes[0], bytes[1], bytes[2], bytes[3])
            }
        };
        (of(&self.source), of(&self.destination))
    }

    pub(crate) fn protocol(&self) -> u8 {
        match self.carries {
            Carries::Tcp(..) => PROTOCOL_TCP,
            Carries::Udp(_) => PROTOCOL_UDP,
            Carries::Icmp(_) if self.is_v6 => PROTOCOL_ICMPV6,
            Carries::Icmp(_) => PROTOCOL_ICMP,
            Carries::Other(protocol) => protocol,
        }
    }

    pub(crate) fn is_later_fragment(&self) -> bool {
        self.fragment & 0x1fff != 0
    }

    pub(crate) fn is_fragment(&self) -> bool {
        self.fragment & 0x3fff != 0
    }

    /// Length of IP headers.
    pub(crate) fn network_bytes(&self) -> usize {
        if !self.is_v6 {
            return 20 + self.options.len();
        }
        let fragment = if self.is_fragment() { 8 } else { 0 };
        40 + fragment + self.extensions.iter().map(|(_, units)| 8 + 8 * usize::from(*units)).sum::<usize>()
    }

    /// Where what it carries is in the frame.
    pub(crate) fn transport_at(&self) -> usize {
        14 + self.network_bytes()
    }

    /// Length of its transport header.
    pub(crate) fn transport_bytes(&self) -> usize {
        match &self.carries {
            Carries::Tcp(options, _) => 20 + options.len(),
            Carries::Udp(_) | Carries::Icmp(_) => 8,
            Carries::Other(_) => 0,
        }
    }

    /// Where the checksum is, from the transport header on.
    pub(crate) fn checksum_at(&self) -> Option<usize> {
        match self.carries {
            Carries::Tcp(..) => Some(16),
            Carries::Udp(_) => Some(6),
            Carries::Icmp(_) => Some(2),
            Carries::Other(_) => None,
        }
    }

    /// The sum of the pseudo-header, folded.
    pub(crate) fn pseudo(&self, len: usize) -> u16 {
        let (source, destination) = self.ends();
        if !self.is_v6 && matches!(self.carries, Carries::Icmp(_)) {
            return 0;
        }
        checksum::pseudo_header(
            &source,
            &destination,
            IpProtocol::from(self.protocol()),
            u32::try_from(len).unwrap(),
        )
    }

    /// The transport header and what is behind it. An open checksum is one of `said`.
    pub(crate) fn transport(&self, said: Said) -> Vec<u8> {
        let [source, destination] = self.ports.map(u16::to_be_bytes);
        let length = u16::try_from(8 + self.payload.len()).unwrap_or(u16::MAX).to_be_bytes();
        let mut bytes = match &self.carries {
            Carries::Tcp(options, flags) => {
                let offset = u8::try_from((20 + options.len()) / 4 * 16).unwrap();
                let mut bytes =
                    [&source[..], &destination, &self.sequence.to_be_bytes(), &[0x21, 7, 9, 0x91]].concat();
                bytes.extend([offset, *flags, 0x20, 0, 0, 0, 0, 0]);
                bytes.extend(options);
                bytes
            }
            Carries::Udp(_) => [&source[..], &destination, &length, &[0, 0]].concat(),
            Carries::Icmp(kind) => [&[*kind, 0, 0, 0][..], &source, &destination].concat(),
            Carries::Other(_) => Vec::new(),
        };
        bytes.extend(&self.payload);
        if let Some(at) = self.checksum_at() {
            let pseudo = self.pseudo(bytes.len());
            let sum = match said {
                Said::Partial | Said::Asked => pseudo,
                _ => match (!checksum::combine(&[pseudo, checksum::data(&bytes)]), &self.carries) {
                    (_, Carries::Udp(false)) => 0,
                    (0, Carries::Udp(_)) => 0xffff,
                    (sum, _) => sum,
                },
            };
            bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        bytes
    }

    /// The IP header in front of `len` bytes.
    fn network(&self, len: usize) -> Vec<u8> {
        let (source, destination) = self.addresses();
        let id = self.id.to_be_bytes();
        let total = |len: usize| u16::try_from(len).unwrap().to_be_bytes();
        if !self.is_v6 {
            let words = u8::try_from(5 + self.options.len() / 4).unwrap();
            let mut bytes = vec![0x40 | words, 0];
            bytes.extend(total(self.network_bytes() + len));
            bytes.extend(id);
            bytes.extend(self.fragment.to_be_bytes());
            bytes.extend([self.ttl, self.protocol(), 0, 0]);
            bytes.extend([source, destination, &self.options[..]].concat());
            let sum = !checksum::data(&bytes);
            bytes[10..12].copy_from_slice(&sum.to_be_bytes());
            return bytes;
        }
        let mut kinds: Vec<u8> = self.extensions.iter().map(|(kind, _)| *kind).collect();
        kinds.extend(self.is_fragment().then_some(44));
        kinds.push(self.protocol());
        let mut bytes = vec![0x60, 1, 2, 3];
        bytes.extend(total(self.network_bytes() - 40 + len));
        bytes.extend([kinds[0], self.ttl]);
        bytes.extend([source, destination].concat());
        for ((kind, units), next) in self.extensions.iter().zip(&kinds[1..]) {
            // Padding, where that is an option; a route of a kind that nobody knows, used up.
            let content = 6 + 8 * usize::from(*units);
            bytes.extend([*next, *units]);
            let filler = if *kind == 43 { [253, 0] } else { [1, u8::try_from(content - 2).unwrap()] };
            bytes.extend(filler.into_iter().chain(vec![0; content - 2]));
        }
        if self.is_fragment() {
            let offset_more = self.fragment << 3 | self.fragment >> 13 & 1;
            bytes.extend([self.protocol(), 0]);
            bytes.extend(offset_more.to_be_bytes());
            bytes.extend([0, 0]);
            bytes.extend(id);
        }
        bytes
    }

    /// The frame's bytes.
    pub(crate) fn bytes(&self, said: Said) -> Vec<u8> {
        let transport = if self.is_later_fragment() { self.payload.clone() } else { self.transport(said) };
        let mut bytes = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8];
        bytes.extend(if self.is_v6 { [0x86, 0xdd] } else { [8, 0] });
        bytes.extend(self.network(transport.len()));
        bytes.extend(transport);
        bytes.extend(vec![0xee; self.padding]);
        bytes
    }

    /// What is asked for where the checksum is open.
    pub(crate) fn request(&self) -> Option<ChecksumRequest> {
        self.checksum_at().filter(|_| !self.is_later_fragment()).map(|at| ChecksumRequest {
            start_bytes: u16::try_from(self.transport_at()).unwrap(),
            offset_bytes: u16::try_from(at).unwrap(),
        })
    }

    /// Puts what is said beside the bytes.
    pub(crate) fn say(&self, said: Said, frame: &mut Frame) {
        let request = self.request();
        match (said, request) {
            (Said::Good, _) => frame.set_rx_checksum(RxChecksum::Good),
            (Said::Partial, Some(request)) => frame.set_rx_checksum(RxChecksum::Partial(request)),
            (Said::Asked, checksum) => frame.set_offload(TxOffload { checksum, segmentation: None }),
            _ => {}
        }
    }

    /// How it is cut, into segments of `mss_bytes`.
    pub(crate) fn segmentation(&self, mss_bytes: u16) -> Segmentation {
        let kind = match (&self.carries, self.is_v6) {
            (Carries::Tcp(..), false) => SegmentationKind::Tcp4,
            (Carries::Tcp(..), true) => SegmentationKind::Tcp6,
            _ => SegmentationKind::Udp,
        };
        let header_bytes = u16::try_from(self.transport_at() + self.transport_bytes()).unwrap();
        Segmentation { kind, header_bytes, mss_bytes, ecn: false }
    }
}

/// Options of IPv4 that are no source route: some for each fragment, some not.
fn options() -> impl Strategy<Value = Vec<u8>> {
    let option = prop_oneof![
        Just(vec![1]),
        Just(vec![0x94, 4, 0, 0]),
        vec(any::<u8>(), 1..9).prop_map(|mut content| {
            content.splice(0..0, [7, u8::try_from(content.len() + 2).unwrap()]);
            content
        }),
        vec(any::<u8>(), 1..9).prop_map(|mut content| {
            content.splice(0..0, [0x86, u8::try_from(content.len() + 2).unwrap()]);
            content
        }),
    ];
    prop_oneof![3 => Just(Vec::new()), 2 => vec(option, 1..5).prop_map(|options| {
        let mut options: Vec<u8> = options.concat();
        // None is cut off: the longest come to 40 bytes.
        options.resize(options.len().next_multiple_of(4), 0);
        options
    })]
}

/// Extension headers, in the order that the specification has them in.
fn extensions() -> impl Strategy<Value = Vec<(u8, u8)>> {
    let one = |kind: u8| option::weighted(0.25, (Just(kind), 0_u8..3));
    (one(0), one(60), one(43))
        .prop_map(|(hop, destination, route)| [hop, destination, route].into_iter().flatten().collect())
}

fn carries() -> impl Strategy<Value = Carries> {
    let tcp_options = (0_usize..=10).prop_map(|words| vec![1; words * 4]);
    prop_oneof![
        4 => (tcp_options, any::<u8>()).prop_map(|(options, flags)| Carries::Tcp(options, flags)),
        3 => prop::bool::weighted(0.8).prop_map(Carries::Udp),
        2 => prop_oneof![Just(8_u8), Just(0), Just(3), Just(128), Just(129), Just(2)].prop_map(Carries::Icmp),
        1 => Just(Carries::Other(132)),
    ]
}

/// Addresses of hosts: of either version, whichever is looked at.
pub(crate) fn address() -> impl Strategy<Value = [u8; 16]> {
    (1_u8..127, any::<[u8; 15]>()).prop_map(|(first, rest)| {
        let mut address = [first; 16];
        address[1..].copy_from_slice(&rest);
        address
    })
}

/// Packets as long as `payload`, whole ones mostly.
pub(crate) fn samples(payload: std::ops::Range<usize>) -> impl Strategy<Value = Sample> {
    let fragment = prop_oneof![
        5 => Just(0_u16),
        1 => Just(0x4000),
        1 => Just(0x2000),
        1 => (1_u16..4000).prop_map(|offset| 0x2000 | offset),
        1 => 1_u16..4000,
    ];
    (
        any::<bool>(),
        [address(), address()],
        2_u8..,
        any::<u16>(),
        fragment,
        (options(), extensions()),
        carries(),
        any::<([u16; 2], u32)>(),
        (vec(any::<u8>(), payload), 0_usize..30),
    )
        .prop_map(
            |(
                is_v6,
                [source, destination],
                ttl,
                id,
                fragment,
                (options, extensions),
                carries,
                (ports, sequence),
                (payload, padding),
            )| {
                // IPv6 has no flag that forbids it.
                let fragment = if is_v6 { fragment & 0x3fff } else { fragment };
                Sample {
                    is_v6,
                    source,
                    destination,
                    ttl,
                    id,
                    fragment,
                    options,
                    extensions,
                    carries,
                    ports,
                    sequence,
                    payload,
                    padding,
                }
            },
        )
}

/// Whether the checksum of what an IP packet carries is right: of the packet in `bytes`, which is
/// whole and has the protocol of `like`.
pub(crate) fn is_summed(bytes: &[u8], like: &Sample) -> bool {
    let transport = &bytes[like.transport_at()..];
    let none = matches!(like.carries, Carries::Udp(_)) && transport[6..8] == [0, 0];
    none || like.checksum_at().is_none()
        || checksum::combine(&[like.pseudo(transport.len()), checksum::data(transport)]) == 0xffff
}

/// A packet without anything special.
pub(crate) fn plain(is_v6: bool, carries: Carries) -> Sample {
    let mut source = [0x20; 16];
    source[15] = 1;
    Sample {
        is_v6,
        source,
        destination: [0x30; 16],
        ttl: 64,
        id: 7,
        fragment: 0,
        options: Vec::new(),
        extensions: Vec::new(),
        carries,
        ports: [1000, 80],
        sequence: 5_000,
        payload: b"twenty bytes of data".to_vec(),
        padding: 0,
    }
}
