//! Frames that the device puts together.

use super::frames::{V4, V6, parsed, to_cut, whole};
use super::*;
use crate::model::vmxnet3::cut;

const LRO_TYPE: u32 = 4;

/// A device with ten buffers in each ring that puts together what it can, at that revision.
fn up(revision: u8) -> Hand {
    let hand = Hand::revised(Personality::esxi(), revision, 1);
    hand.put64(shared::UPT_FEATURES, upt::LRO | upt::RXCSUM);
    hand.put(shared::MAX_NUM_RX_SG, &[18, 0]);
    assert_eq!(hand.command(cmd::ACTIVATE_DEV), 0, "{:?}", hand.model().violations);
    for command in [cmd::UPDATE_RX_MODE, cmd::UPDATE_VLAN_FILTERS] {
        hand.command(command);
    }
    for slot in 0..10 {
        hand.post_rx(slot, slot);
        hand.post_body(slot, 10 + slot);
    }
    hand
}

/// The words of a completion.
fn said(hand: &Hand, slot: u64) -> [u32; 4] {
    [0, 4, 8, 12].map(|word| hand.get32(RX + COMPLETIONS + slot * 16 + word))
}

const fn kind(words: [u32; 4]) -> u32 {
    words[3] >> 24 & 0x7f
}

#[test]
fn segments_arrive_as_one_frame_that_says_what_it_was_from_the_second_revision_on() {
    for (revision, first) in [(1, 3), (2, LRO_TYPE), (7, LRO_TYPE)] {
        for addresses in [V4, V6] {
            let hand = up(revision);
            let frame = to_cut(addresses, 3, 1000);
            let segments = cut(&frame, 300);
            assert_eq!(segments.len(), 4);
            assert!(hand.model().deliver_lro(&segments));
            let pieces = frame.len().div_ceil(256) as u64;
            let lengths: u32 = (0..pieces).map(|slot| said(&hand, slot)[2] & 0x3fff).sum();
            assert_eq!(lengths as usize, frame.len());
            let start = said(&hand, 0);
            assert_eq!(kind(start), first);
            if first == LRO_TYPE {
                assert_eq!((start[1], start[3] & 0xffff), (4, 300), "segCnt and mss");
            }
            let end = said(&hand, pieces - 1);
            assert_eq!((kind(end), end[3] & 1 << 16), (3, 1 << 16), "the verdict is the last one's");
            assert_eq!(kind(said(&hand, pieces)), 0);
            let counted = hand.stats(true);
            let on_wire: usize = segments.iter().map(Vec::len).sum();
            assert_eq!(counted[..4], [1, frame.len() as u64, 4, on_wire as u64]);
        }
    }
}

#[test]
fn a_short_one_says_so_where_its_hash_would_be() {
    let hand = up(2);
    let segments = cut(&to_cut(V4, 0, 150), 100);
    assert!(hand.model().deliver_lro(&segments));
    let words = said(&hand, 0);
    assert_eq!((kind(words), words[0] >> 14 & 0b11, words[1], words[3] & 0xffff), (LRO_TYPE, 0b11, 2, 100));
    let bytes = hand.get::<204>(BUFFERS);
    let (tcp, payload) = parsed(&bytes);
    let tcp = tcp.unwrap();
    assert_eq!((tcp.sequence_number, tcp.fin, tcp.psh, payload.len()), (0xffff_ff00, true, true, 150));
}

#[test]
fn what_does_not_follow_or_was_not_asked_for_arrives_one_by_one() {
    let segments = cut(&to_cut(V4, 0, 300), 100);
    assert_eq!(segments.len(), 3);
    let other = whole(V6, 6, 100);
    let hand = up(2);
    assert!(hand.model().deliver_lro(&[segments[0].clone(), segments[2].clone()]), "a gap");
    assert!(hand.model().deliver_lro(&[segments[0].clone(), other]), "another connection");
    assert!(hand.model().deliver_lro(&segments[..1]), "alone");
    assert_eq!((0..6).map(|slot| kind(said(&hand, slot))).collect::<Vec<_>>(), [3, 3, 3, 3, 3, 0]);
    hand.put64(shared::UPT_FEATURES, upt::RXCSUM);
    hand.command(cmd::UPDATE_FEATURE);
    assert!(hand.model().deliver_lro(&segments));
    assert_eq!(kind(said(&hand, 7)), 3);
    assert_eq!(hand.stats(true)[at::LRO], 0);
    assert!(!hand.model().deliver_lro(&segments), "buffers for two are left");
}

#[test]
fn a_lie_about_what_was_put_together_is_told() {
    let set = |field, value| Action::Set { field, value };
    for (action, expected) in [
        (set(Field::Segments, 0), (LRO_TYPE, 0, 100)),
        (set(Field::SegmentBytes, 0), (LRO_TYPE, 3, 0)),
        (set(Field::Kind, 9), (9, 3, 100)),
    ] {
        let hand = up(2);
        hand.model().faults = FaultPlan::new([Fault::nth(FaultPoint::RxCompletion, 1, action)]);
        assert!(hand.model().deliver_lro(&cut(&to_cut(V4, 0, 300), 100)));
        let words = said(&hand, 0);
        assert_eq!((kind(words), words[1] & 0xff, words[3] & 0xffff), expected);
        assert_eq!(hand.model().faults.hits(), 1);
    }
    let hand = up(2);
    let lie = set(Field::Segments, 0);
    hand.model().faults = FaultPlan::new([Fault::always(FaultPoint::RxCompletion, lie)]);
    assert!(hand.model().deliver(&frame(MAC, 60)));
    assert_eq!(hand.model().faults.hits(), 0, "a frame that came as it is says nothing of the kind");
    hand.model().faults = FaultPlan::new([Fault::always(FaultPoint::RxCompletion, set(Field::HashType, 12))]);
    assert!(hand.model().deliver(&frame(MAC, 60)));
    assert_eq!(said(&hand, 1)[0] >> 26 & 0xf, 12, "there is no such type");
}

#[test]
fn a_type_that_a_test_writes_is_kept() {
    let hand = up(2);
    hand.model().complete_rx([0b11 << 14, 7, 60, LRO_TYPE << 24 | 1448]);
    assert_eq!(said(&hand, 0), [0b11 << 14, 7, 60, 1 << 31 | LRO_TYPE << 24 | 1448]);
}
