//! Checksums that a device left partial, or that were asked for: what they ask of whoever sends the
//! frame, and their completion in software.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the failure")]

use paravane_mock_hal::MockPlatform;
use paravane_net::{
    ChecksumRequest, Frame, FrameLayout, FramePool, RxChecksum, Segmentation, SegmentationKind, TxOffload,
};
use proptest::prelude::*;

const REQUEST: ChecksumRequest = ChecksumRequest { start_bytes: 34, offset_bytes: 6 };

/// A UDP datagram from 10.0.0.1:1000 to 10.0.0.2:2000 that says "odd", behind an Ethernet and an
/// IPv4 header that nobody sums.
fn datagram(checksum: u16) -> Vec<u8> {
    let [high, low] = checksum.to_be_bytes();
    [&[0xaa; 34][..], &[0x03, 0xe8, 0x07, 0xd0, 0, 11, high, low], b"odd"].concat()
}

/// Addresses, protocol and length: 0a00 + 0001 + 0a00 + 0002 + 0011 + 000b.
const PSEUDO_HEADER: u16 = 0x141f;
/// What a station on a wire writes: the complement of 141f + 03e8 + 07d0 + 000b + "od" + "d\0".
const WHOLE: u16 = !0xf346;

fn pool(frames: u32) -> FramePool {
    FramePool::new(MockPlatform::new(), FrameLayout::new(frames)).unwrap()
}

/// `bytes` in segments that end at `cuts`.
fn frame_of(bytes: &[u8], cuts: &[usize]) -> Frame {
    let pool = pool(u32::try_from(cuts.len()).unwrap() + 1);
    let mut rest: Option<Frame> = None;
    let mut end = bytes.len();
    for start in cuts.iter().rev().copied().chain([0]) {
        let mut segment = pool.get().unwrap();
        assert!(segment.append(&bytes[start..end]));
        if let Some(rest) = rest.take() {
            segment.set_next(rest);
        }
        (rest, end) = (Some(segment), start);
    }
    rest.unwrap()
}

fn bytes_of(frame: &Frame) -> Vec<u8> {
    let mut bytes = vec![0; frame.total_bytes()];
    frame.copy_out(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_partial_checksum_is_asked_for_on_the_way_out() {
    let mut frame = frame_of(&datagram(PSEUDO_HEADER), &[]);
    assert!(frame.first_segment().is_plain());
    frame.set_rx_checksum(RxChecksum::Good);
    assert!(frame.first_segment().is_plain() && frame.offload().is_none());
    frame.set_rx_checksum(RxChecksum::Partial(REQUEST));
    assert!(!frame.first_segment().is_plain());
    assert_eq!(frame.offload().checksum, Some(REQUEST));
    frame.set_offload(TxOffload::default());
    assert_eq!(frame.offload().checksum, Some(REQUEST), "the bytes have not changed");
    let other = ChecksumRequest { start_bytes: 54, offset_bytes: 16 };
    frame.set_offload(TxOffload { checksum: Some(other), segmentation: None });
    assert_eq!(frame.offload().checksum, Some(other), "whoever asks knows better");
    frame.clear();
    assert!(frame.first_segment().is_plain() && frame.offload().is_none());
}

#[test]
fn a_partial_udp_checksum_becomes_the_real_one() {
    let mut frame = frame_of(&datagram(PSEUDO_HEADER), &[]);
    frame.set_rx_checksum(RxChecksum::Partial(REQUEST));
    assert!(frame.complete_checksum());
    assert_eq!(bytes_of(&frame), datagram(WHOLE));
    assert!(frame.first_segment().is_plain(), "nothing is left to ask");
    assert_eq!(frame.rx_checksum(), RxChecksum::Unverified);
}

#[test]
fn a_frame_that_asks_for_nothing_stays_as_it_is() {
    let mut frame = frame_of(&datagram(WHOLE), &[]);
    frame.set_rx_checksum(RxChecksum::Good);
    assert!(frame.complete_checksum());
    assert_eq!((bytes_of(&frame), frame.rx_checksum()), (datagram(WHOLE), RxChecksum::Good));
}

#[test]
fn a_sum_of_zero_is_written_as_ones() {
    let request = ChecksumRequest { start_bytes: 0, offset_bytes: 2 };
    let mut frame = frame_of(&[0xff, 0xfe, 0, 1], &[]);
    frame.set_rx_checksum(RxChecksum::Partial(request));
    assert!(frame.complete_checksum());
    assert_eq!(bytes_of(&frame), [0xff, 0xfe, 0xff, 0xff]);
}

#[test]
fn what_does_not_fit_is_left_alone() {
    let cut = Segmentation { kind: SegmentationKind::Tcp4, header_bytes: 42, mss_bytes: 2, ecn: false };
    let outside = [(46, 0), (34, 10), (u16::MAX, u16::MAX)]
        .map(|(start_bytes, offset_bytes)| (ChecksumRequest { start_bytes, offset_bytes }, None));
    for (request, segmentation) in outside.into_iter().chain([(REQUEST, Some(cut))]) {
        let mut frame = frame_of(&datagram(PSEUDO_HEADER), &[]);
        let asked = TxOffload { checksum: Some(request), segmentation };
        frame.set_offload(asked);
        assert!(!frame.complete_checksum());
        assert_eq!((bytes_of(&frame), frame.offload()), (datagram(PSEUDO_HEADER), asked));
    }
}

proptest! {
    /// Wherever the frame is cut, through a word or through the field itself, empty pieces
    /// included.
    #[test]
    fn segments_do_not_matter(mut cuts in prop::collection::vec(0_usize..=45, 0..5)) {
        cuts.sort_unstable();
        let mut frame = frame_of(&datagram(PSEUDO_HEADER), &cuts);
        frame.set_offload(TxOffload { checksum: Some(REQUEST), segmentation: None });
        prop_assert!(frame.complete_checksum());
        prop_assert_eq!(bytes_of(&frame), datagram(WHOLE));
    }

    /// A sum that contains its own complement is all ones, over more than one piece and from an odd
    /// start, too.
    #[test]
    fn a_completed_frame_sums_to_ones(bytes in prop::collection::vec(any::<u8>(), 64..1900), start_bytes in 0_u16..60) {
        let request = ChecksumRequest { start_bytes, offset_bytes: 2 };
        let mut frame = frame_of(&bytes, &[]);
        let field = usize::from(start_bytes) + 2;
        prop_assert!(frame.write(field, &0_u16));
        frame.set_offload(TxOffload { checksum: Some(request), segmentation: None });
        prop_assert!(frame.complete_checksum());
        let summed = &bytes_of(&frame)[usize::from(start_bytes)..];
        let sum: u64 = summed.chunks(2).map(|word| u64::from(word[0]) << 8 | word.get(1).map_or(0, |low| u64::from(*low))).sum();
        prop_assert_eq!(sum % 0xffff, 0);
    }
}
