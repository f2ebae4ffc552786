//! Frames, chains and bursts, over a heap that plays DMA memory.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the failure")]

use paravane_mock_hal::MockPlatform;
use paravane_net::{
    BURST_FRAMES, Burst, ChecksumRequest, Frame, FrameLayout, FramePool, FrameSegment, FrameSegmentMut,
    HEADROOM_BYTES, RxChecksum, RxHash, RxHashKind, Segmentation, SegmentationKind, Tunnel, TunnelKind,
    TxOffload, VlanTag, burst_room, payload_bytes,
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
    let mut frame = frame_of(&pool, &vec![1; payload_bytes(&pool)]);
    assert!(!frame.append(b"x"));
    assert!(!frame.prepend(&[0; HEADROOM_BYTES as usize + 1]));
    assert!(!frame.trim_front(u16::MAX));
    assert!(!frame.set_segment_bytes(payload_bytes(&pool) + 1));
    assert!(!frame.set_segment_bytes(usize::MAX));
    assert_eq!(frame.read::<u16>(payload_bytes(&pool) - 1), None);
    assert!(!frame.write(usize::MAX, &0_u16));
    assert_eq!(frame.total_bytes(), payload_bytes(&pool), "and nothing has changed");
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
fn a_frame_in_a_tunnel_is_none_of_the_plain_ones_until_its_checksum_is_made() {
    let pool = pool(1);
    let tunnel = Some(Tunnel { kind: TunnelKind::Vxlan, outer_header_bytes: 4, outer_checksum: true });
    let checksum = Some(ChecksumRequest { start_bytes: 6, offset_bytes: 2 });
    let mut frame = frame_of(&pool, &[1; 12]);
    assert_eq!((frame.tunnel(), frame.has_tag_or_tunnel()), (None, false));
    frame.set_tunnel(tunnel);
    frame.set_offload(TxOffload { checksum, segmentation: None });
    assert_eq!((frame.tunnel(), frame.has_tag_or_tunnel()), (tunnel, true));
    let look = frame.first_segment();
    assert!(!look.is_plain() && !look.is_plain_but_checksum() && !look.starts_fresh());
    assert!(!look.asks_no_more_than_a_checksum());
    assert!(frame.complete_checksum());
    assert_eq!((bytes_of(&frame)[8..10].to_vec(), frame.tunnel()), (vec![0xfc, 0xfc], None));
    assert!(frame.first_segment().is_plain());

    assert!(!frame.has_good_inner_checksum());
    frame.set_good_inner_checksum(true);
    frame.set_tunnel(tunnel);
    assert_eq!((frame.has_good_inner_checksum(), frame.rx_checksum()), (true, RxChecksum::Unverified));
    frame.set_rx_checksum(RxChecksum::Good);
    frame.set_good_inner_checksum(false);
    assert_eq!((frame.has_good_inner_checksum(), frame.rx_checksum()), (false, RxChecksum::Good));
    frame.set_good_inner_checksum(true);
    assert!(frame.set_received(12));
    assert_eq!((frame.has_good_inner_checksum(), frame.tunnel()), (false, None));
}

#[test]
fn a_chain_is_one_frame_and_comes_home_as_a_whole() {
    let frames: u32 = if cfg!(miri) { 100 } else { 10_000 };
    let pool = pool(frames);
    let mut chain = frame_of(&pool, b"z");
    for _ in 1..frames {
        let mut head = frame_of(&pool, b"a");
        head.set_next(chain);
        chain = head;
    }
    let segments = frames as usize;
    assert_eq!((chain.total_bytes(), chain.segments().count(), pool.free()), (segments, segments, 0));
    assert!(bytes_of(&chain).ends_with(b"aaz"));
    drop(chain);
    assert_eq!(pool.free(), segments, "without recursion");
}

#[test]
fn a_burst_is_first_in_first_out() {
    let pool = pool(100);
    let mut burst = Burst::new();
    let (mut given, mut taken) = (0_u8, 0_u8);
    let rounds = if cfg!(miri) { 20 } else { 200 };
    for round in 0..rounds {
        for _ in 0..round % 7 + 1 {
            burst.push(frame_of(&pool, &[given]));
            given = given.wrapping_add(1);
        }
        for _ in 0..round % 5 + 2 {
            if let Some(frame) = burst.pop() {
                burst.push_front(frame);
                assert_eq!(burst.pop().map(|frame| bytes_of(&frame)), Some(vec![taken]));
                taken = taken.wrapping_add(1);
            }
        }
        assert_eq!(burst_room(&burst), BURST_FRAMES - burst.len());
    }
    burst.clear();
    assert_eq!(pool.free(), 100);
}

#[test]
fn a_plain_frame_asks_nothing_and_starts_where_fresh_ones_do() {
    let pool = pool(64);
    let frame = |byte: u8| frame_of(&pool, &[byte]);
    let mut tagged = frame(b'e');
    tagged.set_vlan(Some(VlanTag(7)));
    let mut moved = frame(b'f');
    assert!(moved.prepend(b"x"));
    let mut of_two = frame(b'g');
    of_two.set_next(frame(b'h'));
    for other in [&tagged, &moved, &of_two] {
        assert!(!other.first_segment().is_plain() && !other.first_segment().is_plain_but_checksum());
    }
    drop(of_two.take_next());
    assert!(of_two.first_segment().is_plain() && of_two.first_segment().is_plain_but_checksum());
    let addr = of_two.first_segment().fresh_dma_addr_before(12).get() + 12;
    assert_eq!(
        (of_two.first_segment().fresh_dma_addr_before(0).get(), of_two.dma_addr().get()),
        (addr, addr)
    );
}

#[test]
fn a_frame_may_be_plain_but_for_the_checksum_that_it_asks_for() {
    let pool = pool(64);
    let request = ChecksumRequest { start_bytes: 34, offset_bytes: 16 };
    let cut = Segmentation { kind: SegmentationKind::Tcp4, header_bytes: 54, mss_bytes: 1448, ecn: false };
    let [plain, mut asking, mut to_be_cut, mut partial, mut no_more] =
        [b"a", b"b", b"c", b"d", b"e"].map(|bytes| frame_of(&pool, bytes));
    asking.set_offload(TxOffload { checksum: Some(request), segmentation: None });
    to_be_cut.set_offload(TxOffload { checksum: Some(request), segmentation: Some(cut) });
    partial.set_rx_checksum(RxChecksum::Partial(request));
    no_more.set_offload(TxOffload { checksum: Some(request), segmentation: Some(cut) });
    no_more.set_offload(TxOffload::default());
    let said = |frame: &Frame| {
        frame.first_segment().is_plain_but_checksum().then(|| frame.first_segment().asked_checksum())
    };
    let all = [&plain, &asking, &to_be_cut, &partial, &no_more];
    assert_eq!(all.map(said), [Some(None), Some(Some(request)), None, None, Some(None)]);
    assert_eq!(all.map(|frame| frame.first_segment().is_plain()), [true, false, false, false, true]);
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

/// Taken together, what comes is the same as taken one at a time; also where another pool's frame,
/// or one of two segments, is put among them.
#[test]
fn many_are_taken_whatever_is_made_of_them() {
    let (pool, other) = (pool(40), pool(8));
    let mut number = 0_u8;
    let mut burst = pool.take_with(32, |mut frame| {
        number += 1;
        match number {
            3 => frame = other.get().unwrap(),
            5 => frame.set_next(frame_of(&other, b" and more")),
            _ => {}
        }
        assert!(frame.prepend(&[number]));
        frame
    });
    assert_eq!((burst.len(), pool.free(), other.free()), (32, 9, 6));
    assert_eq!(burst.domain(), None, "they are of two pools");
    let came: Vec<_> = std::iter::from_fn(|| burst.pop()).map(|frame| bytes_of(&frame)).collect();
    let expected: Vec<_> =
        (1..=32).map(|number| if number == 5 { b"\x05 and more".to_vec() } else { vec![number] }).collect();
    assert_eq!(came, expected);
    assert_eq!((pool.free(), other.free()), (pool.buffers(), other.buffers()), "and all go home");
}

/// Together they would go to a pool that is not theirs.
#[test]
fn a_burst_of_two_pools_goes_home_piece_by_piece() {
    for is_of_two_segments in [false, true] {
        let (pool, other) = (pool(16), pool(1));
        let mut number = 0;
        let burst = pool.take_with(6, |mut frame| {
            number += 1;
            match number {
                2 if is_of_two_segments => frame.set_next(frame_of(&other, b"more")),
                2 => frame = frame_of(&other, b"another"),
                _ => {}
            }
            frame
        });
        assert_eq!((burst.len(), burst.domain()), (6, None));
        drop(burst);
        assert_eq!((pool.free(), other.free()), (16, 1));
    }
}

#[test]
fn a_frame_of_two_segments_travels_with_the_others() {
    let pool = pool(16);
    let mut burst = pool.take_with(3, |mut frame| {
        frame.set_next(pool.get().unwrap());
        frame
    });
    assert_eq!((burst.len(), pool.free(), burst.domain()), (3, 10, Some(pool.domain())));
    let mut walked = Burst::new();
    assert_eq!(burst.walk(&mut walked, 2, |frame| Ok(Some(frame))), 2);
    assert_eq!((walked.len(), burst.len(), burst.domain()), (2, 1, Some(pool.domain())));
    drop(walked);
    assert_eq!(pool.free(), 14);
    drop(burst);
    let all: Vec<_> = std::iter::from_fn(|| pool.get()).collect();
    assert!(all.iter().all(|frame| frame.segments().count() == 1));
}

#[test]
fn a_burst_is_walked_until_one_is_given_back() {
    let pool = pool(64);
    let mut numbers = 0..;
    let mut burst = pool.take_with(32, |mut frame| {
        assert!(frame.append(&[numbers.next().unwrap()]));
        frame
    });
    let mut even = Burst::new();
    let gone = burst.walk(&mut even, usize::MAX, |frame| match frame.read::<u8>(0) {
        Some(7) => Err(frame),
        Some(number) => Ok(Some(frame).filter(|_| number % 2 == 0)),
        None => unreachable!(),
    });
    assert_eq!((gone, even.len(), burst.len()), (7, 4, 25));
    assert_eq!(burst.pop().as_ref().map(bytes_of), Some(vec![7]), "what was given back stays in front");
    assert_eq!(burst.walk(&mut even, usize::MAX, |frame| Ok(Some(frame))), 24);
    assert_eq!((even.len(), burst.is_empty(), pool.free()), (28, true, 36));
}

/// A stock is filled out of plenty only; and what is in it was not touched.
#[test]
fn a_stock_is_kept_out_of_plenty() {
    let pool = pool(40);
    let mut stock = Burst::new();
    pool.restock(&mut stock, 0, BURST_FRAMES);
    assert_eq!(stock.len(), 0, "nothing is needed");
    pool.restock(&mut stock, 1, BURST_FRAMES);
    assert_eq!((stock.len(), pool.free()), (32, 8));
    let mut taken = Burst::new();
    stock.walk(&mut taken, 12, |frame| Ok(Some(frame)));
    pool.restock(&mut stock, 20, BURST_FRAMES);
    assert_eq!((stock.len(), pool.free()), (20, 8), "there are enough");
    pool.restock(&mut stock, 21, BURST_FRAMES);
    assert_eq!((stock.len(), pool.free()), (21, 7), "there are too few to fill it");
    pool.restock(&mut stock, 40, BURST_FRAMES);
    assert_eq!((stock.len(), pool.free()), (28, 0), "as many as there are");
    drop((stock, taken));
    let mut long = Burst::new();
    pool.restock(&mut long, 39, BURST_FRAMES);
    assert_eq!((long.len(), pool.free()), (39, 1));
}

/// A queue's stock, or what it has lent, may be longer than what is received at once.
#[test]
fn a_burst_holds_any_number() {
    let pool = pool(64);
    let mut burst = Burst::new();
    burst.extend(std::iter::from_fn(|| pool.get()));
    assert_eq!((burst.len(), burst_room(&burst)), (64, 0));
}

/// What is changed where it is, is as one that is taken out.
#[test]
fn segments_are_changed_where_they_are() {
    let pool = pool(4);
    let mut burst = pool.take_with(2, |mut frame| {
        assert!(frame.append(&[7; 20]) && frame.trim_front(4));
        frame
    });
    let mut lens = [[0, 9, 12], [16, 9, 17]].into_iter();
    let changed = burst.change(|frame| {
        let (mut segment, [one, other, len]) = (FrameSegmentMut::from(frame), lens.next().unwrap());
        assert!(segment.write(one, &1_u8) == (one < 16) && !segment.write(15, &[2_u8; 2]));
        let both = segment.write_both((one, &[3_u8; 2]), (other, &[4_u8; 7]));
        assert!(both == (one < 16) && !segment.write_both((0, &5_u8), (10, &[5_u8; 7])));
        assert_eq!(
            (segment.look().read::<u8>(0), segment.look().read::<[u8; 17]>(0)),
            (Some(if both { 3 } else { 7 }), None)
        );
        segment.truncate(len) == (len <= 16) && len <= 16
    });
    let bytes = |frame: Frame| {
        let mut bytes = vec![0; frame.total_bytes()];
        frame.copy_out(&mut bytes);
        bytes
    };
    assert_eq!((changed, burst.len()), (1, 2));
    assert_eq!(burst.pop().map(bytes), Some(vec![3, 3, 7, 7, 7, 7, 7, 7, 7, 4, 4, 4]));
    assert_eq!(burst.pop().map(bytes), Some(vec![7; 16]));
}

/// A look takes nothing; what it was about may be taken after it.
#[test]
fn a_look_says_how_far_it_went() {
    let pool = pool(8);
    let mut lens = 1..;
    let mut burst = pool.take_with(6, |mut frame| {
        assert!(frame.set_segment_bytes(lens.next().unwrap()));
        frame
    });
    let mut seen = Vec::new();
    let upto_four = |frame: FrameSegment<'_>, item: &u8, seen: &mut Vec<_>| {
        seen.push((frame.len_bytes(), *item));
        frame.len_bytes() < 5
    };
    assert_eq!(burst.look_with(&[7, 8, 9], |frame, item| upto_four(frame.into(), item, &mut seen)), 3);
    assert_eq!(seen, [(1, 7), (2, 8), (3, 9)]);
    assert_eq!(burst.look_with(&[0; 9], |frame, item| upto_four(frame.into(), item, &mut seen)), 4);
    let taken = burst.take_front(4);
    assert_eq!((taken.len(), burst.len(), pool.free()), (4, 2, 2));
    assert_eq!(burst.pop().map(|frame| frame.segment_bytes()), Some(5));
    drop((taken, burst));
    assert_eq!(pool.free(), 8);
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
    let full = payload_bytes(&pool);
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
