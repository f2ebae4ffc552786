//! Cutting requests to what a device takes.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the failure")]

use paravane_block::{
    BlockBuffer, BlockLayout, BlockPool, Limits, Part, Parts, Segments, TooFragmented, Transfer,
};
use paravane_hal::dma::Direction;
use paravane_mock_hal::MockPlatform;
use proptest::prelude::*;

fn pieces(lens: &[usize]) -> Vec<BlockBuffer> {
    let layout = BlockLayout::new(64).with_buffer_bytes(8192);
    let pool = BlockPool::new(MockPlatform::new(), layout).unwrap();
    let take = |len: &usize| {
        let mut buffer = pool.get().unwrap();
        assert!(buffer.set_len_bytes(*len));
        buffer
    };
    lens.iter().map(take).collect()
}

fn limits(max_segments: u16, max_segment_bytes: u32, max_bytes: u32) -> Limits {
    Limits { max_segments, max_segment_bytes, max_bytes }
}

/// All of `pieces`, cut at multiples of `granule_bytes`.
fn parts(pieces: &[BlockBuffer], limits: Limits, granule_bytes: u32) -> Parts<'_, BlockBuffer> {
    let bytes = pieces.iter().map(|piece| piece.len_bytes() as u64).sum();
    // Into how many segments, only who asks for one part looks at.
    let transfer = Transfer { bytes, direction: Some(Direction::ToDevice), segments: 0, granule_bytes };
    Parts::new(pieces, transfer, limits)
}

/// The bytes of each part, and the lengths of its segments.
fn cut(pieces: &[BlockBuffer], limits: Limits, granule: u32) -> Result<Vec<(u32, Vec<u32>)>, TooFragmented> {
    let mut parts = parts(pieces, limits, granule);
    let mut all = Vec::new();
    while let Some(part) = parts.cut()? {
        let lens: Vec<u32> = part.segments.map(|segment| segment.len_bytes).collect();
        assert_eq!(usize::from(part.count), lens.len());
        all.push((part.bytes, lens));
    }
    Ok(all)
}

#[test]
fn what_fits_stays_whole() {
    let pieces = pieces(&[512, 1024, 4096]);
    assert_eq!(cut(&pieces, Limits::NONE, 512), Ok(vec![(5632, vec![512, 1024, 4096])]));
    assert_eq!(cut(&[], Limits::NONE, 512), Ok(vec![]));
}

#[test]
fn what_a_device_takes_at_once_is_one_part() {
    let pieces = pieces(&[0, 700, 836, 0]);
    let (direction, granule_bytes) = (Some(Direction::FromDevice), 512);
    let transfer = Transfer { bytes: 1536, direction, segments: 3, granule_bytes };
    let takes = |limits: Limits| limits.take(transfer);
    assert!(takes(limits(3, 700, 1536)));
    assert!(!takes(limits(2, 700, 1536)) && !takes(limits(3, 700, 1535)));
    let part = Part::whole(&pieces, transfer, limits(3, 700, 1536));
    assert_eq!((part.offset_bytes, part.bytes, part.count), (0, 1536, 3));
    let lens: Vec<u32> = part.segments.map(|segment| segment.len_bytes).collect();
    assert_eq!(lens, [700, 700, 136]);
}

#[test]
fn a_piece_longer_than_a_segment_is_several() {
    let pieces = pieces(&[2048]);
    assert_eq!(cut(&pieces, limits(9, 1000, u32::MAX), 512), Ok(vec![(2048, vec![1000, 1000, 48])]));
}

#[test]
fn more_segments_than_a_device_takes_are_parts_of_whole_blocks() {
    let pieces = pieces(&[100, 412, 300, 212, 512]);
    // Three segments hold 812 bytes, of which one block is whole.
    let expected = vec![(512, vec![100, 412]), (1024, vec![300, 212, 512])];
    assert_eq!(cut(&pieces, limits(3, u32::MAX, u32::MAX), 512), Ok(expected));
}

#[test]
fn a_part_ends_inside_a_piece_and_the_next_goes_on_there() {
    let pieces = pieces(&[700, 836, 4096]);
    let expected = vec![(1536, vec![700, 836]), (4096, vec![4096])];
    assert_eq!(cut(&pieces, limits(2, u32::MAX, u32::MAX), 512), Ok(expected));
    let cut = cut(&pieces, limits(2, u32::MAX, 1024), 512).unwrap();
    assert_eq!(&cut[..2], &[(1024, vec![700, 324]), (1024, vec![512, 512])], "the byte limit");
}

#[test]
fn pieces_without_bytes_take_no_segment() {
    let pieces = pieces(&[0, 512, 0, 0, 512, 0]);
    assert_eq!(cut(&pieces, limits(2, u32::MAX, u32::MAX), 512), Ok(vec![(1024, vec![512, 512])]));
}

#[test]
fn blocks_of_too_many_segments_are_an_error_and_not_a_loop() {
    let pieces = pieces(&[512, 100, 100, 312]);
    let mut parts = parts(&pieces, limits(2, u32::MAX, u32::MAX), 512);
    assert_eq!(parts.cut().unwrap().unwrap().bytes, 512);
    for _ in 0..2 {
        assert_eq!(parts.cut().unwrap_err(), TooFragmented);
    }
    for nothing in [limits(0, 512, 512), limits(1, 0, 512), limits(1, 512, 0)] {
        assert_eq!(cut(&pieces, nothing, 512), Err(TooFragmented));
    }
}

#[test]
fn what_must_stay_whole_is_not_cut() {
    let pieces = pieces(&[7, 13]);
    assert_eq!(cut(&pieces, limits(2, u32::MAX, u32::MAX), 20), Ok(vec![(20, vec![7, 13])]));
    assert_eq!(cut(&pieces, limits(1, u32::MAX, u32::MAX), 20), Err(TooFragmented));
}

/// The device addresses of all bytes, in order.
fn bytes_of(segments: Segments<'_, BlockBuffer>) -> impl Iterator<Item = u64> {
    segments.flat_map(|segment| (0..u64::from(segment.len_bytes)).map(move |at| segment.addr.get() + at))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_byte_is_in_one_part_and_in_order(
        lens in proptest::collection::vec(0_usize..3000, 0..12),
        max_segments in 1_u16..9,
        max_segment_bytes in prop_oneof![1_u32..700, Just(u32::MAX)],
        max_blocks in prop_oneof![1_u32..6, Just(8_388_607)],
        slack in 0_u32..512,
    ) {
        let mut lens = lens;
        let total: usize = lens.iter().sum();
        lens.push(total.next_multiple_of(512) - total);
        let pieces = pieces(&lens);
        let limits = limits(max_segments, max_segment_bytes, max_blocks * 512 + slack);
        let mut parts = parts(&pieces, limits, 512);
        let mut got = Vec::new();
        let outcome = loop {
            match parts.cut() {
                Ok(Some(part)) => {
                    let lens: Vec<u32> = part.segments.clone().map(|segment| segment.len_bytes).collect();
                    let sum: u32 = lens.iter().sum();
                    prop_assert_eq!(part.bytes, sum);
                    prop_assert_eq!(part.offset_bytes, got.len() as u64);
                    prop_assert!(sum > 0 && sum.is_multiple_of(512) && sum <= limits.max_bytes);
                    prop_assert_eq!(lens.len(), usize::from(part.count));
                    prop_assert!(part.count <= max_segments);
                    prop_assert!(lens.iter().all(|len| (1..=max_segment_bytes).contains(len)));
                    got.extend(bytes_of(part.segments));
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        let expected: Vec<u64> = pieces
            .iter()
            .flat_map(|piece| (0..piece.len_bytes() as u64).map(|at| piece.dma_addr(0).unwrap().get() + at))
            .collect();
        if outcome.is_ok() {
            prop_assert_eq!(got, expected);
        } else {
            prop_assert_eq!(&got[..], &expected[..got.len()]);
        }
    }
}
