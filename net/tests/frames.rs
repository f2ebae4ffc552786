//! Frames, chains and bursts, over a heap that plays DMA memory.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the failure")]

use paravane_mock_hal::MockPlatform;
use paravane_net::{
    BURST_FRAMES, Burst, ChecksumRequest, Frame, FrameLayout, FramePool, HEADROOM_BYTES, PlainFrame,
    RxChecksum, RxHash, RxHashKind, Segmentation, SegmentationKind, TxOffload, VlanTag,
};

fn pool(frames: u32) -> FramePool {
    FramePool::new(MockPlatform::new(), FrameLayout::new(frames)).unwrap()
}

fn frame_of(pool: &FramePool, bytes: &[u8]) -> Frame {
    let mut frame = pool.get().unwrap();
    assert!(frame.append(bytes));
    frame
}

fn bytes_of(frame: &Frame) -> Vec<u8> {
    let mut bytes = vec![0; frame.total_bytes()];
    assert_eq!(frame.copy_out(&mut bytes), Some(frame.total_bytes()));
    bytes
}

#[test]
fn a_frame_grows_at_both_ends() {
    let pool = pool(1);
    let mut frame = frame_of(&pool, b"payload");
    let start = frame.dma_addr().get();
    assert!(frame.prepend(b"header "));
    assert!(frame.append(b" more"));
    assert_eq!(bytes_of(&frame), b"header payload more");
    assert_eq!(frame.dma_addr().get(), start - 7);
    assert!(frame.trim_front(7));
    assert_eq!(bytes_of(&frame), b"payload more");
    assert_eq!(frame.headroom_bytes(), usize::from(HEADROOM_BYTES));
}

#[test]
fn a_frame_has_ends() {
    let pool = pool(1);
    let mut frame = frame_of(&pool, &vec![1; pool.payload_bytes()]);
    assert!(!frame.append(b"x"));
    assert!(!frame.prepend(&[0; HEADROOM_BYTES as usize + 1]));
    assert!(!frame.trim_front(u16::MAX));
    assert!(!frame.set_segment_bytes(pool.payload_bytes() + 1));
    assert!(!frame.set_segment_bytes(usize::MAX));
    assert_eq!(frame.read::<u16>(pool.payload_bytes() - 1), None);
    assert!(!frame.write(usize::MAX, &0_u16));
    assert_eq!(frame.total_bytes(), pool.payload_bytes(), "and nothing has changed");
    assert_eq!(frame.copy_out(&mut [0; 10]), None);
}

#[test]
fn a_device_header_lies_in_front_of_the_payload() {
    let pool = pool(1);
    let mut frame = frame_of(&pool, b"payload");
    assert!(frame.write_before(&[1_u8, 2, 3, 4]));
    assert_eq!(frame.read_before::<[u8; 4]>(), Some([1, 2, 3, 4]));
    assert_eq!(bytes_of(&frame), b"payload", "and is no part of it");
    assert_eq!(frame.dma_addr_before(4).unwrap().get() + 4, frame.dma_addr().get());
    assert_eq!(frame.dma_addr_before(HEADROOM_BYTES + 1), None);
    assert!(!frame.write_before(&[0_u8; HEADROOM_BYTES as usize + 1]));
}

#[test]
fn a_fresh_frame_remembers_nothing() {
    let pool = pool(1);
    let mut frame = frame_of(&pool, b"old");
    frame.set_vlan(Some(VlanTag(0x2123)));
    frame.set_rx_hash(Some(RxHash { value: 1, kind: RxHashKind::Ip4 }));
    frame.set_rx_checksum(RxChecksum::Good);
    frame.set_offload(TxOffload { checksum: Some(ChecksumRequest::default()), segmentation: None });
    assert_eq!(frame.vlan().map(VlanTag::vid), Some(0x123));
    drop(frame);
    let frame = pool.get().unwrap();
    assert_eq!((frame.total_bytes(), frame.vlan(), frame.rx_hash()), (0, None, None));
    assert_eq!((frame.rx_checksum(), frame.offload().is_none()), (RxChecksum::Unverified, true));
}

#[test]
fn a_chain_is_one_frame_and_comes_home_as_a_whole() {
    let pool = pool(10_000);
    let mut chain = frame_of(&pool, b"z");
    for _ in 1..10_000 {
        let mut head = frame_of(&pool, b"a");
        head.set_next(chain);
        chain = head;
    }
    assert_eq!((chain.total_bytes(), chain.segments().count(), pool.free()), (10_000, 10_000, 0));
    assert!(bytes_of(&chain).ends_with(b"aaz"));
    drop(chain);
    assert_eq!(pool.free(), 10_000, "without recursion");
}

#[test]
fn a_burst_is_first_in_first_out() {
    let pool = pool(100);
    let mut burst = Burst::new();
    let (mut given, mut taken) = (0_u8, 0_u8);
    for round in 0..200 {
        for _ in 0..round % 7 + 1 {
            if burst.push(frame_of(&pool, &[given])).is_ok() {
                given = given.wrapping_add(1);
            }
        }
        for _ in 0..round % 5 + 2 {
            assert_eq!(burst.peek(bytes_of).is_some(), !burst.is_empty());
            if let Some(frame) = burst.pop() {
                assert_eq!(bytes_of(&frame), [taken]);
                taken = taken.wrapping_add(1);
            }
        }
        assert_eq!(burst.len() + burst.room(), BURST_FRAMES);
    }
    burst.clear();
    assert_eq!(pool.free(), 100);
}

#[test]
fn plain_frames_are_split_off_up_to_the_first_that_is_not() {
    let pool = pool(64);
    let frame = |byte: u8| frame_of(&pool, &[byte]);
    let mut tagged = frame(b'e');
    tagged.set_vlan(Some(VlanTag(7)));
    let mut moved = frame(b'f');
    assert!(moved.prepend(b"x"));
    let mut chained = frame(b'g');
    chained.set_next(frame(b'h'));
    let mut burst = Burst::new();
    burst.extend([frame(b'a'), frame(b'b'), frame(b'c'), frame(b'd'), tagged, moved, chained]);

    let mut split = burst.split_plain(&[1, 2, 3, 4], |mut frame, place| {
        assert_eq!(frame.dma_addr_before(0).get(), frame.dma_addr_before(12).get() + 12);
        *place < 3 && frame.write_before(place)
    });
    assert_eq!((split.len(), burst.len()), (2, 5), "the third place is refused");
    assert_eq!(split.peek(|frame| frame.read_before::<i32>()), Some(Some(1)));
    assert_eq!(
        std::iter::from_fn(|| split.pop()).map(|frame| bytes_of(&frame)).collect::<Vec<_>>(),
        [b"a", b"b"]
    );

    assert_eq!(burst.split_plain(&[(); 9], |frame, ()| frame.len_bytes() == 1).len(), 2);
    for bytes in [b"e".as_slice(), b"xf", b"gh"] {
        assert!(burst.split_plain(&[(); 9], |_, ()| true).is_empty());
        assert_eq!(bytes_of(&burst.pop().unwrap()), bytes);
    }
    drop(burst);
    assert_eq!(pool.free(), 64);
}

#[test]
fn a_frame_that_asks_for_no_more_than_a_checksum_is_split_off_with_plain_ones() {
    let pool = pool(64);
    let request = ChecksumRequest { start_bytes: 34, offset_bytes: 16 };
    let cut = Segmentation { kind: SegmentationKind::Tcp4, header_bytes: 54, mss_bytes: 1448 };
    let [plain, mut asking, mut to_be_cut, mut partial, mut no_more] =
        [b"a", b"b", b"c", b"d", b"e"].map(|bytes| frame_of(&pool, bytes));
    asking.set_offload(TxOffload { checksum: Some(request), segmentation: None });
    to_be_cut.set_offload(TxOffload { checksum: Some(request), segmentation: Some(cut) });
    partial.set_rx_checksum(RxChecksum::Partial(request));
    no_more.set_offload(TxOffload { checksum: Some(request), segmentation: Some(cut) });
    no_more.set_offload(TxOffload::default());
    let mut burst = Burst::new();
    burst.extend([plain, asking, to_be_cut, partial, no_more]);

    let mut asked = Vec::new();
    let mut split = |burst: &mut Burst| {
        let look = |frame: PlainFrame<'_>, (): &()| {
            asked.push(frame.checksum());
            true
        };
        burst.split_plain(&[(); 9], look).len()
    };
    assert_eq!(split(&mut burst), 2);
    for other in [b"c", b"d"] {
        assert_eq!(split(&mut burst), 0);
        assert_eq!(bytes_of(&burst.pop().unwrap()), other);
    }
    assert_eq!(split(&mut burst), 1);
    assert_eq!(asked, [None, Some(request), None]);
}

#[test]
fn what_a_buffer_cannot_hold_was_not_received() {
    let pool = pool(1);
    let mut frame = frame_of(&pool, b"before");
    assert!(!frame.set_received(2048 - HEADROOM_BYTES + 1));
    assert_eq!(frame.total_bytes(), 0);
    assert!(frame.set_received(2048 - HEADROOM_BYTES));
    assert_eq!(frame.total_bytes(), usize::from(2048 - HEADROOM_BYTES));
}

#[test]
fn what_a_frame_had_behind_it_is_home_when_it_was_received_anew() {
    let pool = pool(3);
    let mut frame = frame_of(&pool, b"before");
    let mut next = frame_of(&pool, b"next");
    next.set_next(frame_of(&pool, b"last"));
    frame.set_next(next);
    assert_eq!(pool.free(), 0);
    assert!(frame.set_received(60));
    assert_eq!((frame.segments().count(), frame.total_bytes(), pool.free()), (1, 60, 2));
    drop(frame);
    assert_eq!(pool.free(), 3);
}

/// Behind the payload lies what an earlier frame left, which is nobody's to write.
#[test]
fn nothing_is_written_past_the_payload() {
    let pool = pool(1);
    let mut frame = frame_of(&pool, b"0123456789");
    assert!(frame.write(8, &[b'x'; 2]), "its last two bytes");
    for past in [9, 10, 11, 100] {
        assert!(!frame.write(past, &[b'y'; 2]), "at {past}");
    }
    assert!(frame.set_segment_bytes(12));
    assert_eq!(bytes_of(&frame), b"01234567xx\0\0");
}

/// One at a time or by the supply, what comes is the same; also where another pool's frame, or one
/// of two segments, is among them.
#[test]
fn a_supply_fills_a_burst_whatever_is_made_of_its_frames() {
    let (pool, other) = (pool(40), pool(8));
    let mut burst = Burst::new();
    let mut number = 0_u8;
    let filled = pool.take(40).fill(&mut burst, |mut frame| {
        number += 1;
        match number {
            3 => frame = other.get().unwrap(),
            5 => frame.set_next(frame_of(&other, b" and more")),
            _ => {}
        }
        assert!(frame.prepend(&[number]));
        frame
    });
    assert_eq!((filled, burst.len(), pool.free(), other.free()), (BURST_FRAMES, BURST_FRAMES, 9, 6));
    assert_eq!(burst.domain(), None, "they are of two pools");
    let came: Vec<_> = std::iter::from_fn(|| burst.pop()).map(|frame| bytes_of(&frame)).collect();
    let expected: Vec<_> =
        (1..=32).map(|number| if number == 5 { b"\x05 and more".to_vec() } else { vec![number] }).collect();
    assert_eq!(came, expected);
    assert_eq!((pool.free(), other.free()), (pool.frames(), other.frames()), "and all go home");
}

/// Together they would leave the rest of a frame with its buffer, or go to a pool that is not
/// theirs.
#[test]
fn a_filled_burst_with_one_that_is_different_goes_home_piece_by_piece() {
    for is_of_two_segments in [false, true] {
        let (pool, other) = (pool(16), pool(1));
        let mut burst = Burst::new();
        let mut number = 0;
        let filled = pool.take(6).fill(&mut burst, |mut frame| {
            number += 1;
            match number {
                2 if is_of_two_segments => frame.set_next(frame_of(&other, b"more")),
                2 => frame = frame_of(&other, b"another"),
                _ => {}
            }
            frame
        });
        assert_eq!((filled, burst.domain()), (6, None));
        drop(burst);
        assert_eq!((pool.free(), other.free()), (16, 1));
    }
}

#[test]
fn a_burst_is_filled_and_drained_one_by_one() {
    let pool = pool(64);
    let mut burst = Burst::new();
    let mut numbers = 0..40_u8;
    assert_eq!(burst.fill(|| numbers.next().map(|number| frame_of(&pool, &[number]))), BURST_FRAMES);
    assert_eq!(burst.fill(|| pool.get()), 0, "it is full");
    let gone = burst.drain(|frame| if frame.read(0) == Some(7_u8) { Err(frame) } else { Ok(()) });
    assert_eq!((gone, burst.len()), (7, BURST_FRAMES - 7));
    assert_eq!(burst.pop().as_ref().map(bytes_of), Some(vec![7]), "what was given back stays in front");
    assert_eq!(burst.drain(|_| Ok(())), BURST_FRAMES - 8);
    assert_eq!((burst.is_empty(), pool.free()), (true, 64));
}

#[test]
fn a_full_burst_gives_the_frame_back() {
    let pool = pool(64);
    let mut burst = Burst::new();
    burst.extend(std::iter::from_fn(|| pool.get()));
    assert_eq!(burst.room(), 0);
    let spare = frame_of(&pool, b"spare");
    assert_eq!(bytes_of(&burst.push(spare).unwrap_err()), b"spare");
    assert_eq!(burst.len(), BURST_FRAMES);
}

proptest::proptest! {
    #[test]
    fn what_goes_in_comes_out(pieces in proptest::collection::vec(proptest::collection::vec(0_u8.., 0..200), 1..8)) {
        let pool = pool(8);
        let mut chain: Option<Frame> = None;
        for piece in pieces.iter().rev() {
            let mut head = frame_of(&pool, piece);
            if let Some(rest) = chain.take() {
                head.set_next(rest);
            }
            chain = Some(head);
        }
        proptest::prop_assert_eq!(bytes_of(&chain.unwrap()), pieces.concat());
    }
}

#[test]
fn a_frame_is_padded_with_zeroes_behind_its_last_segment() {
    let pool = pool(8);
    let full = pool.payload_bytes();
    for used in &mut std::iter::from_fn(|| pool.get()).collect::<Vec<_>>() {
        assert!(used.append(&vec![0xee; full]));
    }
    let of = |pieces: &[&[u8]]| {
        let mut chain: Option<Frame> = None;
        for bytes in pieces.iter().rev() {
            let mut frame = pool.get().unwrap();
            assert!(frame.append(bytes));
            if let Some(rest) = chain.take() {
                frame.set_next(rest);
            }
            chain = Some(frame);
        }
        chain.unwrap()
    };
    for pieces in [&[&b"abc"[..]][..], &[b"a", b"b", b"c"], &[b"", b"abc"]] {
        let mut frame = of(pieces);
        assert!(frame.pad_to(150));
        let mut bytes = [0xff; 150];
        assert_eq!(frame.copy_out(&mut bytes), Some(150));
        assert!(bytes.starts_with(b"abc") && bytes[3..].iter().all(|byte| *byte == 0));
        assert!(frame.pad_to(20), "it is long enough");
        assert_eq!((frame.total_bytes(), frame.segments().count()), (150, pieces.len()));
    }
    let mut frame = of(&[b"ab", &vec![1; full - 10]]);
    let before = frame.total_bytes();
    assert!(!frame.pad_to(before + 11), "no room");
    assert_eq!(frame.total_bytes(), before);
    assert!(frame.pad_to(before + 10));
}
