use proptest::prelude::*;

use super::*;
use crate::ring::{Cursor, Generation};
use paravane_hal::fault::DeviceFault;
use paravane_net::{RxChecksum, RxHash, RxHashKind, VlanTag};

const FIRST: Generation = Generation::FIRST;

const GEOMETRY: RxGeometry =
    RxGeometry { ids: ONE, entries: [256, 32], buffer_bytes: 1984, usual_bytes: 1984, data_slot_bytes: 0 };
/// Those of the only queue.
const ONE: RingIds = RingIds::of(0, 1);

/// `dw2` and `dw3` of a segment as long, the last of its frame.
fn words(len_bytes: usize, sop: TxSop, generation: Generation) -> [u32; 2] {
    halves(TxDesc::plain(generation).of_segment(len_bytes) | sop.words())
}

#[expect(clippy::cast_possible_truncation, reason = "it is cut into halves")]
fn halves(words: u64) -> [u32; 2] {
    [words as u32, (words >> 32) as u32]
}

fn parse(words: [u32; 4]) -> Result<RxCompletion, DeviceFault> {
    RxCompletion::classify(words, 0, GEOMETRY.buffer_bytes).check(&GEOMETRY)
}

#[test]
fn golden_transmit_descriptors() {
    let desc = TxDesc::plain(FIRST).of_segment(60);
    assert_eq!(halves(desc), [0x0000_403c, 0x0000_1000]);
    assert_eq!(TxDesc::plain(FIRST).of(60), desc);
    assert_eq!(words(60, TxSop::PLAIN, FIRST.flipped()), [0x0000_003c, 0x0000_1000]);
    assert_eq!(halves(TxDesc::not_yet(desc)), [0x0000_003c, 0x0000_1000]);
    assert_eq!(halves(TxDesc::not_last(desc)), [0x0000_403c, 0]);
    assert_eq!(halves(desc)[1] | TxDesc::CQ, 0x0000_3000);
}

#[test]
fn sixteen_kilobytes_are_written_as_zero() {
    let longest = MAX_TX_SEGMENT_BYTES as usize;
    assert_eq!(words(longest, TxSop::PLAIN, FIRST)[0], 0x0000_4000);
    assert_eq!(words(longest - 1, TxSop::PLAIN, FIRST)[0], 0x0000_7fff);
}

#[test]
fn golden_offloads() {
    // TCP over IPv4: the header at 34, its checksum field 16 further on.
    let summed = words(60, TxSop::checksum(34, 50), FIRST);
    assert_eq!(summed, [50 << 18 | 0x403c, 0x0000_1000 | 2 << 10 | 34]);
    let cut = words(60, TxSop::segmentation(66, 1448), FIRST);
    assert_eq!(cut, [1448 << 18 | 0x403c, 0x0000_1000 | 3 << 10 | 66]);
    assert_eq!(words(60, TxSop::PLAIN.tagged(VlanTag(0xe123)), FIRST), [0x403c, 0xe123_9000]);
    // Inside of VXLAN over IPv4: up to revision 6, and from 7 on.
    assert_eq!(words(60, TxSop::encapsulated(104, 0), FIRST), [0x403c, 0x0000_1000 | 1 << 10 | 104]);
    let cut = TxSop::encapsulated(104, 1400).with_outer_checksum();
    assert_eq!(words(60, cut, FIRST), [1400 << 18 | 0xc03c, 0x0000_1000 | 1 << 10 | 104]);
    let summed = words(60, TxSop::checksum(104, 100).inner(), FIRST);
    assert_eq!(summed, [100 << 18 | 0x2_403c, 0x0000_1000 | 2 << 10 | 104]);
    let cut = TxSop::segmentation(104, 1400).inner().with_outer_checksum();
    assert_eq!(words(60, cut, FIRST), [1400 << 18 | 0x2_c03c, 0x0000_1000 | 3 << 10 | 104]);
    let may_cut = [TxSop::PLAIN, TxSop::checksum(34, 50), TxSop::encapsulated(104, 0), cut];
    assert_eq!(may_cut.map(TxSop::may_cut), [false, false, true, true]);
}

#[test]
fn golden_receive_descriptors() {
    let head = RxDesc { len_bytes: 1984, kind: BufferKind::Head };
    assert_eq!((head.word2(FIRST), head.word2(FIRST.flipped())), (0x8000_07c0, 0x0000_07c0));
    let body = RxDesc { len_bytes: MAX_RX_BUFFER_BYTES, kind: BufferKind::Body };
    assert_eq!(body.word2(FIRST), 0x8000_7fff);
}

#[test]
fn golden_transmit_completions() {
    let oldest = Cursor::start(512).advanced(500);
    let classify = |word0, reported| TxCompletion::classify(word0, oldest, reported, 14);
    assert_eq!(classify(500, 0), Ok(TxCompletion { done: 1 }));
    assert_eq!(classify(1, 12), Ok(TxCompletion { done: 14 }), "behind the end of the lap");
    assert_eq!(
        classify(0xffff_f1ff, 0),
        Ok(TxCompletion { done: 12 }),
        "reserved bits are no matter of ours"
    );
    assert_eq!(classify(512, 0), Err(DeviceFault::IndexOutOfRange { index: 512, entries: 512 }));
    assert_eq!(classify(2, 0), Err(DeviceFault::NotInFlight { index: 2 }), "not sent yet");
    assert_eq!(classify(511, 12), Err(DeviceFault::NotInFlight { index: 511 }), "reported before");
    assert_eq!(classify(499, 0), Err(DeviceFault::NotInFlight { index: 499 }), "home long since");
}

#[test]
fn a_golden_receive_completion() {
    let whole = parse([0x0000_c011, 0, 60, 0x8000_0000]).unwrap();
    assert_eq!((whole.is_second_ring(), whole.index(), whole.len_bytes()), (false, 17, 60));
    assert!(whole.sop() && whole.eop() && !whole.err());
    let rest = parse([0x0001_401f, 0, 1984, 0x8300_0000]).unwrap();
    assert_eq!((rest.is_second_ring(), rest.index(), rest.len_bytes()), (true, 31, 1984));
    assert!(!rest.sop() && rest.eop());
}

#[test]
fn the_type_of_a_completion_does_not_matter() {
    for kind in [0, 3, 4, 127] {
        assert!(parse([0xc000, 0, 60, kind << 24]).is_ok());
    }
}

#[test]
fn an_index_is_checked_against_its_own_ring() {
    assert!(parse([0xc000 | 255, 0, 60, 0]).is_ok());
    assert_eq!(
        parse([0xc000 | 256, 0, 60, 0]),
        Err(DeviceFault::IndexOutOfRange { index: 256, entries: 256 })
    );
    assert_eq!(
        parse([0x1_4000 | 32, 0, 60, 0]),
        Err(DeviceFault::IndexOutOfRange { index: 32, entries: 32 })
    );
}

#[test]
fn the_usual_frame_is_whole_undamaged_and_in_turn() {
    const CNC: u32 = 1 << 30;
    let kind = |word0, word2| {
        let plain = RxCompletion::plain_word0(ONE.first, 17);
        let judged = RxCompletion::classify([word0, 0, word2, 0], plain, 1984);
        let len_bytes = match judged {
            RxJudged::Noted(completion) => Some(completion.len_bytes()),
            RxJudged::Unusual(_) => None,
        };
        match (
            RxCompletion::plain(word0, word2, plain, 1984),
            RxCompletion::summed(word0, word2, plain, 1984),
        ) {
            (None, None) if len_bytes.is_some() => "noted",
            (None, None) => "unusual",
            (None, summed) => {
                assert_eq!(summed, len_bytes);
                "summed"
            }
            (plain, None) => {
                assert_eq!(plain, len_bytes);
                "plain"
            }
            both => panic!("{both:?}"),
        }
    };
    assert_eq!(kind(CNC | 0xc011, 60), "plain");
    assert_eq!(kind(CNC | 0xc011, 1984), "plain");
    assert_eq!(kind(0xc011, 60), "summed");
    assert_eq!(kind(0xc011, 1984), "summed");
    assert_eq!(kind(0xc011 | 2 << 26, 60), "noted", "a hash, and checksums");
    assert_eq!(kind(CNC | 0xc011 | 2 << 26, 60), "noted", "a hash");
    assert_eq!(kind(CNC | 0xc011, 60 | 1 << 15), "noted", "a tag");
    for (what, word0, word2) in [
        ("goes on", 0x8011, 60),
        ("does not start here", 0x4011, 60),
        ("another ring", 0x1_c011, 60),
        ("another slot", 0xc012, 60),
        ("damaged", 0xc011, 60 | 1 << 14),
        ("empty", 0xc011, 0),
        ("too long", 0xc011, 1985),
    ] {
        assert_eq!(kind(CNC | word0, word2), "unusual", "{what}");
    }
    let damaged = RxCompletion::classify(
        [0xc011, 0, 60 | 1 << 14, 0],
        RxCompletion::plain_word0(ONE.first, 17),
        MAX_RX_BUFFER_BYTES,
    );
    assert!(matches!(damaged, RxJudged::Unusual(_)), "whatever the buffer holds");
}

#[test]
fn a_second_ring_and_no_third() {
    for (word0, misplaced) in [(0x1_c000, true), (0x4000, true), (0x1_4000, false), (0xc000, false)] {
        assert_eq!(parse([word0, 0, 60, 0]).map(RxCompletion::is_misplaced), Ok(misplaced), "{word0:#x}");
    }
    for rq_id in [2, 3, 0x3ff] {
        let fault = DeviceFault::UnknownKind { what: "rqID", value: rq_id };
        assert_eq!(parse([0xc000 | rq_id << 16, 0, 60, 0]), Err(fault));
        assert_eq!(parse([0x4000 | rq_id << 16, 0, 60, 0]), Err(fault));
    }
}

#[test]
fn checksum_verdicts() {
    const CNC: u32 = 1 << 30;
    const TUC: u32 = 1 << 16;
    const UDP: u32 = 1 << 17;
    const TCP: u32 = 1 << 18;
    const IPC: u32 = 1 << 19;
    const V6: u32 = 1 << 20;
    const V4: u32 = 1 << 21;
    const FRG: u32 = 1 << 22;
    let verdict = |word0, word3| parse([0xc000 | word0, 0, 60, word3]).unwrap().checksum();
    for good in [V4 | IPC | TUC | TCP, V4 | IPC | TUC | UDP, V6 | TUC | TCP, V6 | IPC | TUC | UDP] {
        assert_eq!(verdict(0, good), RxChecksum::Good);
        assert_eq!(verdict(CNC, good), RxChecksum::Unverified, "nothing was calculated");
        assert_eq!(verdict(0, good | FRG), RxChecksum::Unverified, "a fragment says nothing about the whole");
        assert_eq!(verdict(0, good & !TUC), RxChecksum::Unverified);
        assert_eq!(verdict(0, good & !(TCP | UDP)), RxChecksum::Unverified);
        assert_eq!(verdict(0, good | V4 | V6), RxChecksum::Unverified, "both versions at once");
    }
    assert_eq!(verdict(0, V4 | TUC | TCP), RxChecksum::Unverified, "the IP header is not known good");
    assert_eq!(verdict(0, TUC | IPC | TCP), RxChecksum::Unverified, "no version at all");
}

#[test]
fn a_verdict_about_the_inside_is_none_about_the_outside() {
    const GOOD: u32 = 1 << 16 | 1 << 18 | 1 << 19 | 1 << 21;
    const CNC: u32 = 1 << 30;
    for (inner, is_outer, is_inner) in
        [(0, true, false), (1, false, false), (2, false, true), (3, false, true)]
    {
        let said = |word0, word3| {
            let completion = parse([0xc000 | inner << 12 | word0, 0, 60, word3]).unwrap();
            (completion.checksum() == RxChecksum::Good, completion.vouches_for_inner())
        };
        assert_eq!(said(0, GOOD), (is_outer, is_inner), "{inner}");
        assert_eq!([said(CNC, GOOD), said(0, GOOD & !(1 << 16)), said(0, 0)], [(false, false); 3]);
    }
}

#[test]
fn tags_and_hashes() {
    let both = parse([0xc000 | 6 << 26, 0x1234_5678, 60 | 1 << 15 | 0x2064 << 16, 0]).unwrap();
    assert_eq!(both.vlan(), Some(VlanTag(0x2064)));
    assert_eq!(both.hash(), Some(RxHash { value: 0x1234_5678, kind: RxHashKind::Udp6 }));
    let none = parse([0xc000, 0x1234_5678, 60 | 0x2064 << 16, 0]).unwrap();
    assert_eq!((none.vlan(), none.hash()), (None, None));
    let esp = parse([0xc000 | 7 << 26, 5, 60, 0]).unwrap();
    assert_eq!(esp.hash().map(|hash| hash.kind), Some(RxHashKind::Other));
}

proptest! {
    /// What comes out of `classify` is about a slot that exists and bytes that fit, whatever went
    /// in.
    #[test]
    fn nothing_wrong_comes_out_of_classify(
        words in any::<[u32; 4]>(),
        // Half of them as usual as can be.
        usual in any::<bool>(),
        rings in (1_u16..=128, 1_u16..=128),
        turn in any::<u16>(),
        buffer_bytes in 128_u32..=MAX_RX_BUFFER_BYTES,
    ) {
        let geometry = RxGeometry { ids: ONE, entries: [rings.0 * 32, rings.1 * 32], buffer_bytes, usual_bytes: buffer_bytes, data_slot_bytes: 0 };
        let turn = u32::from(turn % geometry.entries[0]);
        let [word0, word1, word2, word3] = words;
        let word0 = if usual { word0 & 0x7c00_3000 | 0xc000 | turn } else { word0 };
        let (plain, is_summed) = (RxCompletion::plain_word0(ONE.first, turn), word0 >> 30 & 1 == 0);
        let judged = RxCompletion::classify([word0, word1, word2, word3], plain, buffer_bytes);
        // What is taken for usual at a glance is no more than what is so at a longer look, but for
        // the type.
        let of_type_3 = [word0, word1, word2, word3 & !(4 << 24)];
        let usual_len = match RxCompletion::classify(of_type_3, plain, buffer_bytes) {
            RxJudged::Noted(completion) if !completion.has_tag_or_hash() => {
                Some(completion.len_bytes())
            }
            _ => None,
        };
        let at_a_glance = (
            RxCompletion::plain(word0, word2, plain, buffer_bytes),
            RxCompletion::summed(word0, word2, plain, buffer_bytes),
        );
        prop_assert_eq!(at_a_glance, if is_summed { (None, usual_len) } else { (usual_len, None) });
        if let Ok(completion) = judged.check(&geometry) {
            let entries = geometry.entries[usize::from(completion.is_second_ring())];
            prop_assert!(completion.index() < u32::from(entries));
            prop_assert!(u32::from(completion.len_bytes()) <= buffer_bytes);
            prop_assert_eq!(word0 >> 16 & 0x3ff, u32::from(completion.is_second_ring()));
            let is_whole = completion.sop() && completion.eop() && !completion.err() && completion.len_bytes() > 0;
            let is_in_turn = !completion.is_second_ring() && completion.index() == turn;
            let is_usual = is_whole && is_in_turn && word3 & 4 << 24 == 0 && word0 >> 12 & 3 == 0;
            let is_new_and_whole = RxCompletion::is_new_and_whole(word3, FIRST);
            prop_assert_eq!(is_new_and_whole, word3 & (1 << 31 | 4 << 24) == 1 << 31);
            prop_assert_eq!(!matches!(judged, RxJudged::Unusual(_)), is_usual);
            let says_nothing = word0 >> 30 & 1 == 1 && completion.vlan().is_none() && completion.hash().is_none();
            if word0 >> 30 & 1 == 0 && word0 >> 12 & 3 == 0 {
                prop_assert_eq!(completion.checksum(), RxCompletion::verdict(word3));
            }
            if says_nothing {
                prop_assert_eq!(completion.checksum(), RxChecksum::Unverified);
            }
        }
    }

    /// Whatever the device says it sent, it had, and did not say before.
    #[test]
    fn a_transmit_completion_gets_on_and_not_beyond(
        word0 in any::<u32>(),
        entries in 1_u16..=128,
        place in any::<(u16, u16, u16)>(),
    ) {
        let entries = entries * 32;
        let (oldest, in_flight) = (u32::from(place.0 % entries), u32::from(place.1 % entries));
        let reported = if in_flight == 0 { 0 } else { u32::from(place.2) % in_flight };
        let oldest = Cursor::start(entries).advanced(oldest);
        match TxCompletion::classify(word0, oldest, reported, in_flight) {
            Ok(TxCompletion { done }) => {
                prop_assert!(reported < done && done <= in_flight);
                prop_assert_eq!(oldest.advanced(done - 1).index(), word0 & 0xfff);
            }
            Err(DeviceFault::IndexOutOfRange { index, .. }) => prop_assert!(index >= u32::from(entries)),
            Err(fault) => prop_assert_eq!(fault, DeviceFault::NotInFlight { index: word0 & 0xfff }),
        }
    }

    /// Each field of a transmit descriptor comes back out of the bits that the headers give it.
    #[test]
    fn transmit_fields_do_not_touch(
        len_bytes in 1_u32..=MAX_TX_SEGMENT_BYTES,
        offload in (0_u16..=1023, 1_u16..=16383, any::<bool>()),
        tag in any::<Option<u16>>(),
        ends in (any::<bool>(), any::<bool>()),
    ) {
        let (hlen, msscof, cuts) = offload;
        let sop = if cuts { TxSop::segmentation(hlen, msscof) } else { TxSop::checksum(hlen, msscof) };
        let sop = tag.map_or(sop, |tag| sop.tagged(VlanTag(tag)));
        let (eop, lap) = ends;
        let generation = if lap { FIRST } else { FIRST.flipped() };
        let words = TxDesc::plain(generation).of_segment(len_bytes as usize) | sop.words();
        let [word2, word3] = halves(if eop { words } else { TxDesc::not_last(words) });
        prop_assert_eq!(word2 & 0x3fff, len_bytes % (1 << 14));
        prop_assert_eq!(word2 >> 14 & 1 == 1, lap);
        prop_assert_eq!(word2 >> 15 & 0b111, 0, "oco, dtype, ext1");
        prop_assert_eq!(word2 >> 18, u32::from(msscof));
        prop_assert_eq!(word3 & 0x3ff, u32::from(hlen));
        prop_assert_eq!(word3 >> 10 & 3, if cuts { 3 } else { 2 });
        prop_assert_eq!((word3 >> 12 & 1 == 1, word3 >> 13 & 3), (eop, 0), "cq, ext2");
        prop_assert_eq!(word3 >> 15 & 1 == 1, tag.is_some());
        prop_assert_eq!(word3 >> 16, u32::from(tag.unwrap_or(0)));
    }
}
