//! What may come in and what may go out, rule by rule.

use super::*;
use crate::feature::RingFeatures;
use crate::net::features::Allowed;
use crate::net::header::{lengthen, shorten};
use paravane_net::Segmentation;
use proptest::prelude::*;

/// All that has to do with frames of usual headers.
fn all() -> Negotiated {
    let class = NetFeatures::all() - NetFeatures::HASH_REPORT;
    Negotiated::confirmed(Allowed::default().with_class(class).choose(u64::MAX))
}

fn none() -> Negotiated {
    Negotiated::confirmed(RingFeatures::VERSION_1.bits())
}

fn rx() -> RxRules {
    RxRules::new(all(), 1514, 1984)
}

/// What is known of the checksum of a frame that is not large.
fn judge(rules: RxRules, header: &RawHeader, frame_bytes: u32) -> Result<RxChecksum, Drop> {
    rules.judge(header, frame_bytes).map(|verdict| {
        assert_eq!(verdict.large, None);
        verdict.checksum
    })
}

#[test]
fn a_plain_frame_is_unverified() {
    assert_eq!(judge(rx(), &Header::PLAIN, 64), Ok(RxChecksum::Unverified));
    assert_eq!(judge(rx(), &Header::PLAIN, 1518), Ok(RxChecksum::Unverified));
}

#[test]
fn lengths_that_are_no_frame_are_dropped() {
    assert_eq!(judge(rx(), &Header::PLAIN, 0), Err(Drop::Empty));
    assert_eq!(judge(rx(), &Header::PLAIN, 13), Err(Drop::Damaged));
    assert_eq!(judge(rx(), &Header::PLAIN, 1519), Err(Drop::Oversized));
}

#[test]
fn a_count_of_zero_buffers_means_one() {
    assert_eq!(rx().buffers(&Header::PLAIN), 1);
    assert_eq!(rx().buffers(&Header { num_buffers: 3, ..Header::default() }.encode()), 3);
    assert_eq!(
        RxRules::new(none(), 1514, 1984).buffers(&Header { num_buffers: 3, ..Header::default() }.encode()),
        1
    );
}

#[test]
fn a_verdict_is_believed_if_it_was_agreed_and_alone() {
    let header = |flags, gso_type| Header { flags, gso_type, ..Header::default() }.encode();
    let whole = |checksum: RxChecksum| Ok(Received::Whole { frame_bytes: 64, verdict: checksum.into() });
    let valid = header(HeaderFlags::DATA_VALID, GsoType::NONE);
    let unasked = RxRules::new(none(), 1514, 1984);
    assert_eq!(rx().classify(&valid, 76), whole(RxChecksum::Good));
    assert_eq!(unasked.classify(&valid, 76), whole(RxChecksum::Unverified));
    let cut = header(HeaderFlags::DATA_VALID, GsoType::TCPV4);
    assert_eq!(rx().classify(&cut, 76), Ok(Received::Dropped(Drop::Damaged)));
    let both = header(HeaderFlags::DATA_VALID | HeaderFlags::NEEDS_CSUM, GsoType::NONE);
    assert_eq!(
        rx().classify(&both, 76),
        whole(RxChecksum::Partial(ChecksumRequest { start_bytes: 0, offset_bytes: 0 }))
    );
}

#[test]
fn checksum_flags_count_only_when_agreed() {
    let valid = Header { flags: HeaderFlags::DATA_VALID, ..Header::default() };
    assert_eq!(judge(rx(), &valid.encode(), 64), Ok(RxChecksum::Good));
    assert_eq!(judge(RxRules::new(none(), 1514, 1984), &valid.encode(), 64), Ok(RxChecksum::Unverified));
}

#[test]
fn a_partial_checksum_lies_inside_its_frame() {
    let partial =
        Header { flags: HeaderFlags::NEEDS_CSUM, csum_start: 34, csum_offset: 16, ..Header::default() };
    let request = ChecksumRequest { start_bytes: 34, offset_bytes: 16 };
    assert_eq!(judge(rx(), &partial.encode(), 52), Ok(RxChecksum::Partial(request)));
    assert_eq!(judge(rx(), &partial.encode(), 51), Err(Drop::Damaged));
    let wrapping = Header { csum_start: u16::MAX, csum_offset: u16::MAX, ..partial };
    assert_eq!(judge(rx(), &wrapping.encode(), 64), Err(Drop::Damaged));
}

#[test]
fn a_short_header_is_ten_bytes_in_front_of_the_frame() {
    let legacy = |class: NetFeatures| Negotiated::confirmed(class.bits());
    let rules = RxRules::new(legacy(NetFeatures::GUEST_CSUM), 1514, 1984);
    assert_eq!((rules.header_bytes(), rules.buffer_bytes()), (10, 1994));
    let valid = Header { flags: HeaderFlags::DATA_VALID, num_buffers: 7, ..Header::default() };
    let [word0, word1, word2] = shorten(valid.encode());
    // What is in front of it is not the device's.
    let raw = lengthen([word0 | 0xffff_u32.to_le(), word1, word2]);
    let whole =
        |frame_bytes, checksum: RxChecksum| Ok(Received::Whole { frame_bytes, verdict: checksum.into() });
    assert_eq!(rules.classify(&raw, 74), whole(64, RxChecksum::Good));
    let short = DeviceFault::LengthTooShort { len_bytes: 9, min_bytes: 10 };
    assert_eq!(rules.classify(&raw, 9), Err(short));
    let merged = RxRules::new(legacy(NetFeatures::MRG_RXBUF), 1514, 1984);
    assert_eq!((merged.header_bytes(), merged.has_usual_headers()), (12, true));
    assert!(!rules.has_usual_headers());
}

#[test]
fn the_longest_header_is_in_front_of_the_frame_with_a_hash() {
    let rules = RxRules::new(Negotiated::confirmed(NetFeatures::all().bits()), 1514, 1984);
    assert_eq!((rules.header_bytes(), rules.buffer_bytes()), (20, 2004));
    assert!(!rules.has_usual_headers());
    let frame_bytes = 64;
    let whole = Received::Whole { frame_bytes, verdict: Verdict::default() };
    assert_eq!(rules.classify(&Header::PLAIN, 84), Ok(whole));
    let short = DeviceFault::LengthTooShort { len_bytes: 19, min_bytes: 20 };
    assert_eq!(rules.classify(&Header::PLAIN, 19), Err(short));
}

/// A large packet as its header tells of it.
const LARGE: Header = Header {
    flags: HeaderFlags::NEEDS_CSUM,
    gso_type: GsoType::TCPV4,
    hdr_len: 0,
    gso_size: 1448,
    csum_start: 34,
    csum_offset: 16,
    num_buffers: 1,
};

fn with(features: NetFeatures) -> RxRules {
    RxRules::new(Negotiated::confirmed((features | NetFeatures::GUEST_CSUM).bits()), 1514, 1984)
}

#[test]
fn a_large_packet_nobody_agreed_to_is_dropped() {
    let udp = NetFeatures::GUEST_USO4 | NetFeatures::GUEST_USO6;
    for (number, needs) in
        [(1, NetFeatures::GUEST_TSO4), (4, NetFeatures::GUEST_TSO6), (5, udp), (3, NetFeatures::empty())]
    {
        let header = Header { gso_type: GsoType(number), ..LARGE }.encode();
        let others = with(NetFeatures::LARGE_RX - needs);
        assert_eq!(others.judge(&header, 1000), Err(Drop::Damaged), "{number}");
        for one in needs.iter() {
            let large = with(one).judge(&header, 60_000).unwrap().large.unwrap();
            assert_eq!((large.mss_bytes, large.ecn), (1448, false));
        }
    }
    let unsummed = RxRules::new(Negotiated::confirmed(NetFeatures::GUEST_TSO4.bits()), 1514, 1984);
    assert_eq!(unsummed.judge(&LARGE.encode(), 1000), Err(Drop::Damaged));
}

#[test]
fn a_reduced_window_is_agreed_by_itself_and_is_of_tcp() {
    let ecn = |gso_type: GsoType| Header { gso_type: gso_type.with_ecn(true), ..LARGE }.encode();
    let tcp = NetFeatures::GUEST_TSO4 | NetFeatures::GUEST_TSO6;
    assert_eq!(with(tcp).judge(&ecn(GsoType::TCPV6), 1000), Err(Drop::Damaged));
    assert!(rx().judge(&ecn(GsoType::TCPV6), 1000).unwrap().large.unwrap().ecn);
    assert_eq!(rx().judge(&ecn(GsoType::UDP_L4), 1000), Err(Drop::Damaged));
    assert_eq!(rx().judge(&ecn(GsoType::NONE), 1000), Err(Drop::Damaged));
}

#[test]
fn a_large_packet_has_an_open_checksum_and_pieces_of_a_length() {
    assert!(rx().judge(&LARGE.encode(), 1000).is_ok());
    for odd in [
        Header { flags: HeaderFlags::DATA_VALID, ..LARGE },
        Header { flags: HeaderFlags::empty(), ..LARGE },
        Header { gso_size: 0, ..LARGE },
        Header { csum_start: 990, ..LARGE },
    ] {
        assert_eq!(rx().judge(&odd.encode(), 1000), Err(Drop::Damaged), "{odd:?}");
    }
}

#[test]
fn a_large_packet_is_as_long_as_ip_lets_it_be() {
    assert!(rx().judge(&LARGE.encode(), 65_593).is_ok());
    assert_eq!(rx().judge(&LARGE.encode(), 65_594), Err(Drop::Oversized));
    assert_eq!(rx().judge(&LARGE.encode(), 13), Err(Drop::Damaged));
    assert_eq!(rx().judge(&LARGE.encode(), 0), Err(Drop::Empty));
    let uncut = Header { gso_type: GsoType::NONE, ..LARGE };
    assert_eq!(rx().judge(&uncut.encode(), 1519), Err(Drop::Oversized));
}

const CHECKSUM: ChecksumRequest = ChecksumRequest { start_bytes: 34, offset_bytes: 16 };

fn tso(kind: SegmentationKind) -> TxOffload {
    TxOffload {
        checksum: Some(CHECKSUM),
        segmentation: Some(Segmentation { kind, header_bytes: 54, mss_bytes: 1460, ecn: false }),
    }
}

fn with_ecn(kind: SegmentationKind) -> TxOffload {
    let TxOffload { checksum, segmentation } = tso(kind);
    TxOffload { checksum, segmentation: segmentation.map(|cut| Segmentation { ecn: true, ..cut }) }
}

#[test]
fn a_request_is_put_where_the_device_looks() {
    let rules = TxRules::new(all(), 1514);
    let asked = TxOffload { checksum: Some(CHECKSUM), segmentation: None };
    let header = Header::decode(rules.header(asked, None, 60).unwrap());
    assert_eq!(
        header,
        Header { flags: HeaderFlags::NEEDS_CSUM, csum_start: 34, csum_offset: 16, ..Header::default() }
    );
    let header = Header::decode(rules.header(tso(SegmentationKind::Tcp6), None, 60_000).unwrap());
    assert_eq!((header.gso_type, header.hdr_len, header.gso_size), (GsoType::TCPV6, 54, 1460));
    assert_eq!(header.flags, HeaderFlags::NEEDS_CSUM);
    let header = Header::decode(rules.header(tso(SegmentationKind::Udp), None, 60_000).unwrap());
    assert_eq!((header.gso_type, header.hdr_len, header.gso_size), (GsoType::UDP_L4, 54, 1460));
    let header = Header::decode(rules.header(with_ecn(SegmentationKind::Tcp4), None, 60_000).unwrap());
    assert_eq!(header.gso_type, GsoType(0x81));
}

#[test]
fn what_was_not_agreed_is_not_asked() {
    let rules = TxRules::new(none(), 1514);
    assert_eq!(rules.header(tso(SegmentationKind::Tcp4), None, 60), Err(Refused::NotAgreed));
    let sends = |features: NetFeatures, offload| {
        let features = Negotiated::confirmed((features | NetFeatures::CSUM).bits());
        TxRules::new(features, 1514).header(offload, None, 600)
    };
    let tcp = NetFeatures::HOST_TSO4 | NetFeatures::HOST_TSO6;
    let every = tcp | NetFeatures::HOST_USO | NetFeatures::HOST_ECN;
    assert_eq!(sends(tcp, tso(SegmentationKind::Udp)), Err(Refused::NotAgreed));
    assert_eq!(sends(tcp, with_ecn(SegmentationKind::Tcp4)), Err(Refused::NotAgreed));
    assert_eq!(sends(every, with_ecn(SegmentationKind::Udp)), Err(Refused::DoesNotFit));
    let rules = TxRules::new(all(), 1514);
    assert_eq!(rules.header(TxOffload::default(), Some(VlanTag(1)), 60), Err(Refused::NotAgreed));
}

#[test]
fn what_does_not_fit_is_refused() {
    let rules = TxRules::new(all(), 1514);
    assert_eq!(rules.plain(0), Err(Refused::TooShort));
    assert_eq!(rules.plain(1519), Err(Refused::TooLong));
    assert_eq!(rules.header(tso(SegmentationKind::Tcp4), None, 54), Err(Refused::DoesNotFit));
    let bare = TxOffload { checksum: None, ..tso(SegmentationKind::Tcp4) };
    assert_eq!(rules.header(bare, None, 600), Err(Refused::DoesNotFit));
    assert_eq!(rules.header(tso(SegmentationKind::Tcp4), None, 70_000), Err(Refused::TooLong));
}

proptest! {
    /// Whatever the device writes into the header, what goes up stays inside the frame.
    #[test]
    fn nothing_handed_up_points_outside_its_frame(raw in any::<RawHeader>(), frame_bytes in 0_u32..70_000) {
        if let Ok(Verdict { checksum: RxChecksum::Partial(request), large }) = rx().judge(&raw, frame_bytes) {
            prop_assert!(large.is_none_or(|large| large.mss_bytes > 0 && large.checksum == request));
            prop_assert!(u32::from(request.start_bytes) + u32::from(request.offset_bytes) + 2 <= frame_bytes);
        }
    }
}
