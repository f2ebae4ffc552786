//! Frames that the device puts together.

use proptest::prelude::*;

use super::frames::{V4, V6, parsed, to_cut};
use super::*;
use crate::model::vmxnet3::checksum::verdict;
use crate::model::vmxnet3::layout::rcd;
use crate::model::vmxnet3::offload::{Agreed, of_headers};
use crate::model::vmxnet3::segment::join;
use crate::model::vmxnet3::{Sent, cut};

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
    let mut other = segments[1].clone();
    other[35] ^= 1;
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

#[test]
fn a_checksum_of_zero_is_one_like_others_in_tcp() {
    // Some payload of two bytes has it: the sum of all else is made up to all ones.
    let mut frame = to_cut(V6, 0, 2);
    let segment = cut(&frame, 100).remove(0);
    let place = segment.len() - 2;
    let made = u16::from_be_bytes(segment[70..72].try_into().unwrap());
    let said = u16::from_be_bytes(segment[place..].try_into().unwrap());
    let sum = u32::from(made) + u32::from(said);
    frame[place..].copy_from_slice(&((sum & 0xffff) as u16 + (sum >> 16) as u16).to_be_bytes());
    let segment = cut(&frame, 100).remove(0);
    assert_eq!(segment[70..72], [0, 0]);
    parsed(&segment);
    assert_ne!(verdict(&segment, 0)[1] & rcd::TUC, 0, "it is good");
}

proptest! {
    #[test]
    fn what_is_cut_and_put_together_is_what_it_was(
        is_v6 in any::<bool>(),
        option_words in 0..=10_usize,
        payload_bytes in 1..20_000_usize,
        mss_bytes in 100..9000_u16,
    ) {
        let addresses = if is_v6 { V6 } else { V4 };
        let frame = to_cut(addresses, option_words, payload_bytes);
        let segments = cut(&frame, mss_bytes);
        prop_assert_eq!(segments.len(), payload_bytes.div_ceil(mss_bytes.into()));
        for segment in &segments {
            let (tcp, payload) = parsed(segment);
            prop_assert_eq!(tcp.unwrap().options.len(), 4 * option_words);
            prop_assert!(payload.len() <= mss_bytes.into());
        }
        let joined = join(&segments).unwrap();
        prop_assert_eq!(usize::from(joined.segments), segments.len());
        prop_assert_eq!(parsed(&joined.bytes).1, &frame[frame.len() - payload_bytes..]);
        prop_assert_eq!(joined.bytes.len(), frame.len());
    }

    /// Whatever a frame has in it, nothing that looks at it goes wrong.
    #[test]
    fn noise_is_looked_at(mut bytes in proptest::collection::vec(any::<u8>(), 14..200), kind in 0..4_u8) {
        bytes[12..14].copy_from_slice(&[[8, 0], [0x86, 0xdd], [0x81, 0], [0, 0]][usize::from(kind)]);
        if let Some(first) = bytes.get_mut(14) {
            *first = [0x45, 0x60, 0x4f, *first][usize::from(kind)];
        }
        if bytes.len() > 24 {
            bytes[23] = [6, 17, 50, 0][usize::from(bytes[24] % 4)];
            bytes[17] = (bytes.len() - 14) as u8;
            bytes[16] = 0;
        }
        let _ = cut(&bytes, 100);
        let _ = join(&[bytes.clone(), bytes.clone()]);
        let _ = verdict(&bytes, 0);
        let asked = [(1, false, 0), (1, false, 9), (2, false, 50), (2, true, 50), (3, true, 7), (3, false, 7)];
        for (om, ext1, msscof) in asked {
            let sent = Sent { bytes: bytes.clone(), om, ext1, msscof, hlen: 54, oco: true, ..Sent::default() };
            let sent = Sent { tag: Some(1), ..sent };
            prop_assert!(!sent.on_wire().is_empty());
            let _ = of_headers(&sent, 54, Agreed { revision: 7, granted: u32::MAX, mtu: 1500 });
        }
    }
}
