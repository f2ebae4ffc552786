use paravane_mock_hal::Memory;
use paravane_net::{FrameLayout, FramePool, VlanTag};

use super::*;

const CHECKSUM: ChecksumRequest = ChecksumRequest { start_bytes: 34, offset_bytes: 16 };
const TCP4: Segmentation =
    Segmentation { kind: SegmentationKind::Tcp4, header_bytes: 66, mss_bytes: 1448, ecn: false };

fn chain(lengths: &[usize]) -> Frame {
    // The pool outlives its handle while frames are out.
    let frames = u32::try_from(lengths.len()).unwrap();
    let pool = FramePool::new(Memory::default(), FrameLayout::new(frames).with_buffer_bytes(20_000)).unwrap();
    let mut chain: Option<Frame> = None;
    for len in lengths.iter().rev() {
        let mut frame = pool.get().unwrap();
        assert!(frame.append(&vec![0; *len]));
        if let Some(rest) = chain.take() {
            frame.set_next(rest);
        }
        chain = Some(frame);
    }
    chain.unwrap()
}

/// By a device in the frame's domain.
fn planned_as_is(frame: &Frame) -> Option<TxPlan> {
    plan(frame, &TxLimits { max_frame_bytes: 1518, domain: frame.domain() })
}

fn planned(
    lengths: &[usize],
    checksum: Option<ChecksumRequest>,
    cut: Option<Segmentation>,
) -> Option<TxPlan> {
    let mut frame = chain(lengths);
    frame.set_offload(TxOffload { checksum, segmentation: cut });
    planned_as_is(&frame)
}

#[test]
fn a_plain_frame_is_one_descriptor_and_counts_one() {
    let plain = TxPlan { sop: TxSop::PLAIN, segments: 1, total_bytes: 60, weight: 1 };
    assert_eq!(planned(&[60], None, None), Some(plain));
    let two = TxPlan { segments: 2, total_bytes: 160, ..plain };
    assert_eq!(planned(&[60, 100], None, None), Some(two));
}

#[test]
fn lengths_are_from_a_header_to_the_mtu() {
    assert_eq!(planned(&[13], None, None), None);
    assert!(planned(&[14], None, None).is_some());
    assert!(planned(&[1518], None, None).is_some());
    assert_eq!(planned(&[1519], None, None), None);
    assert_eq!(planned(&[1000, 519], None, None), None);
}

#[test]
fn no_segment_is_empty() {
    // It would be written as 16 KiB.
    assert_eq!(planned(&[60, 0], None, None), None);
    assert_eq!(planned(&[0, 60], None, None), None);
    assert_eq!(planned(&[60, 0, 60], None, None), None);
}

#[test]
fn a_frame_takes_16_descriptors_and_one_to_be_cut_24() {
    assert!(planned(&[20; 16], None, None).is_some());
    assert_eq!(planned(&[20; 17], None, None), None);
    let mut lengths = [1000; 24];
    assert!(planned(&lengths, Some(CHECKSUM), Some(TCP4)).is_some());
    lengths[0] = 66;
    assert!(planned(&lengths, Some(CHECKSUM), Some(TCP4)).is_some(), "headers alone in the first");
    assert_eq!(planned(&[1000; 25], Some(CHECKSUM), Some(TCP4)), None);
}

#[test]
fn a_checksum_lies_inside_the_frame_and_inside_the_fields() {
    let at = |start_bytes, offset_bytes| {
        planned(&[1200], Some(ChecksumRequest { start_bytes, offset_bytes }), None).map(|plan| plan.sop)
    };
    assert_eq!(at(34, 16), Some(TxSop::checksum(34, 50)));
    assert_eq!(at(1023, 1), Some(TxSop::checksum(1023, 1024)));
    assert_eq!(at(1024, 0), None, "hlen has ten bits");
    assert_eq!(at(1023, 2), None, "beyond 1024");
    assert_eq!(at(u16::MAX, u16::MAX), None);
    let short = planned(&[51], Some(CHECKSUM), None);
    assert_eq!(short, None, "the field at 50 takes two bytes");
    assert!(planned(&[52], Some(CHECKSUM), None).is_some());
}

#[test]
fn segmentation_needs_headers_an_mss_and_tcp() {
    let cut = |segmentation| planned(&[2000, 2000], Some(CHECKSUM), Some(segmentation));
    assert_eq!(
        cut(TCP4),
        Some(TxPlan {
            sop: TxSop::segmentation(66, 1448),
            segments: 2,
            total_bytes: 4000,
            weight: 3 // 3934 bytes of payload
        })
    );
    assert!(cut(Segmentation { kind: SegmentationKind::Tcp6, ..TCP4 }).is_some());
    assert_eq!(cut(Segmentation { kind: SegmentationKind::Udp, ..TCP4 }), None);
    assert_eq!(cut(Segmentation { ecn: true, ..TCP4 }), None);
    assert_eq!(cut(Segmentation { mss_bytes: 0, ..TCP4 }), None);
    assert_eq!(cut(Segmentation { mss_bytes: 1 << 14, ..TCP4 }), None);
    assert_eq!(cut(Segmentation { header_bytes: 1024, ..TCP4 }), None);
    assert_eq!(cut(Segmentation { header_bytes: 13, ..TCP4 }), None);
    assert_eq!(planned(&[2000], None, Some(TCP4)), None, "without the checksum to go with it");
    assert_eq!(planned(&[65, 2000], Some(CHECKSUM), Some(TCP4)), None, "headers across descriptors");
    assert_eq!(planned(&[66], Some(CHECKSUM), Some(TCP4)), None, "nothing to cut");
    assert_eq!(planned(&[16_384; 4], Some(CHECKSUM), Some(TCP4)), None, "65536 bytes");
}

#[test]
fn a_tag_goes_with_anything() {
    let mut frame = chain(&[60]);
    frame.set_vlan(Some(VlanTag(7)));
    assert_eq!(planned_as_is(&frame).map(|plan| plan.sop), Some(TxSop::PLAIN.tagged(VlanTag(7))));
}
