//! Fragments, put together again by what smoltcp reads in them.

use std::sync::LazyLock;

use etherparse::Ipv4HeaderSlice;
use paravane_net::{Segmentation, SegmentationKind};
use proptest::collection::vec;
use proptest::prelude::*;
use smoltcp::wire::Ipv4Packet;

use super::*;
use crate::packet::testing::{Carries, Said, Sample, bytes_of, frame_of, plain, pool, said, samples};

/// A packet of IPv4 that may be cut, of `len` bytes of payload.
fn long(mut sample: Sample, len: usize, fragment: u16) -> Sample {
    sample.is_v6 = false;
    sample.padding = 0;
    let room =
        65_535 - sample.network_bytes() - sample.transport_bytes() - 8 * usize::from(fragment & 0x1fff);
    sample.fragment = fragment;
    sample.payload =
        (0..len.min(room) & !7).map(|at| u8::try_from((at * 7 + at / 512) % 251).unwrap()).collect();
    sample
}

/// The options that a later fragment has, without what fills the last word.
fn copied(options: &[u8]) -> Vec<u8> {
    let (mut kept, mut at) = (Vec::new(), 0);
    while at < options.len() && options[at] != 0 {
        let len = if options[at] == 1 { 1 } else { usize::from(options[at + 1]) };
        if options[at] >= 0x80 {
            kept.extend(&options[at..at + len]);
        }
        at += len;
    }
    kept
}

/// Of the test that follows alone: it is made once.
static POOL: LazyLock<FramePool> = LazyLock::new(|| pool(1200));

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Put together again, they are the packet, with its checksum whole.
    #[test]
    fn fragments_are_the_packet(
        sample in samples(0..1),
        len in prop_oneof![3 => 0_usize..3000, 1 => 3000_usize..65_536],
        part in prop_oneof![2 => Just(0_u16), 1 => 1_u16..500],
        more in any::<bool>(),
        mtu_bytes in 68_u16..1900,
        said in said(),
        [first, each] in [0_usize..1500, 256_usize..1980],
    ) {
        let sample = long(sample, len, part | if more { 0x2000 } else { 0 });
        let said = if sample.is_fragment() { Said::Unverified } else { said };
        let mtu_bytes = if sample.payload.len() > 20_000 { mtu_bytes.max(400) } else { mtu_bytes };
        let pool = POOL.clone();
        let header = 14 + sample.network_bytes();
        let mut frame = frame_of(&pool, &sample.bytes(said), (header + first).min(1984), each);
        sample.say(said, &mut frame);
        frame.set_vlan(Some(VlanTag(5)));
        let fragments: Vec<Frame> = Fragments::of(frame, &pool, mtu_bytes).unwrap().collect();
        let whole = sample.bytes(Said::Good);
        let last = fragments.len() - 1;
        let mut together: Vec<u8> = Vec::new();
        for (index, fragment) in fragments.iter().enumerate() {
            let bytes = bytes_of(fragment);
            prop_assert_eq!(&bytes[..14], &whole[..14]);
            let ip = Ipv4Packet::new_checked(&bytes[14..]).unwrap();
            prop_assert!(ip.verify_checksum());
            prop_assert_eq!(usize::from(ip.total_len()), bytes.len() - 14);
            prop_assert!(ip.total_len() <= mtu_bytes);
            prop_assert!(Packet::read(fragment).is_ok());
            prop_assert_eq!(usize::from(ip.frag_offset()), 8 * usize::from(part) + together.len());
            prop_assert_eq!(ip.more_frags(), index < last || more);
            prop_assert_eq!((ip.ident(), ip.hop_limit(), ip.dont_frag()), (sample.id, sample.ttl, false));
            let other = Ipv4HeaderSlice::from_slice(&bytes[14..]).unwrap();
            let options = if index == 0 { sample.options.clone() } else { copied(&sample.options) };
            prop_assert!(other.options().starts_with(&options));
            prop_assert!(other.options()[options.len()..].iter().all(|byte| *byte == 0));
            prop_assert!(other.options().len() - options.len() < 4);
            // As few as can be.
            prop_assert!(index == last || bytes.len() - 14 + 8 > usize::from(mtu_bytes));
            prop_assert_eq!((fragment.vlan(), fragment.offload().is_none()), (Some(VlanTag(5)), true));
            together.extend(ip.payload());
        }
        let transport = &whole[header..];
        prop_assert_eq!(together.len(), transport.len());
        let same_sum = |at: usize| together[at..at + 2] == transport[at..at + 2]
            || together[at..at + 2] == [0xff, 0xff] && transport[at..at + 2] == [0, 0];
        match sample.checksum_at().filter(|_| !sample.is_later_fragment()) {
            // A device's way to write zero, and to say that there is a sum, are ones.
            Some(at) if matches!(said, Said::Partial | Said::Asked) => {
                let has_one = !matches!(sample.carries, Carries::Udp(false));
                prop_assert!(!has_one || same_sum(at));
                prop_assert_eq!(&together[..at], &transport[..at]);
                prop_assert_eq!(&together[at + 2..], &transport[at + 2..]);
            }
            _ => prop_assert_eq!(&together, transport),
        }
        drop(fragments);
        prop_assert_eq!(pool.free(), 1200, "all are home");
    }

    /// Options that changed since they were looked through come to an end.
    #[test]
    fn options_without_sense_come_to_an_end(options in vec(any::<u8>(), 0..=40)) {
        let (kept, len_bytes) = copied_options(&options);
        prop_assert!(len_bytes <= kept.len() && len_bytes % 4 == 0);
    }
}

fn udp(len: usize) -> Sample {
    long(plain(false, Carries::Udp(true)), len, 0)
}

fn frame(sample: &Sample, buffers: u32) -> (Frame, FramePool) {
    let pool = pool(buffers);
    (frame_of(&pool, &sample.bytes(Said::Good), 1000, 1900), pool)
}

/// Why `frame` is not cut; it comes back as it was.
fn refusal((frame, pool): (Frame, FramePool), mtu_bytes: u16) -> CutError {
    let (before, free) = (bytes_of(&frame), pool.free());
    let (frame, error) = Fragments::of(frame, &pool, mtu_bytes).expect_err("it is refused");
    assert_eq!((bytes_of(&frame), pool.free()), (before, free));
    error
}

#[test]
fn what_must_not_be_cut_is_not() {
    let forbids = Sample { fragment: 0x4000, ..udp(4000) };
    assert_eq!(refusal(frame(&forbids, 20), 1500), CutError::NotToBeCut);
    let six = Sample { is_v6: true, ..udp(4000) };
    assert_eq!(refusal(frame(&six, 20), 1500), CutError::NotToBeCut);
    let (mut asks, pool) = frame(&udp(4000), 20);
    let cut = Segmentation { kind: SegmentationKind::Udp, header_bytes: 42, mss_bytes: 100, ecn: false };
    asks.set_offload(TxOffload { checksum: None, segmentation: Some(cut) });
    assert_eq!(refusal((asks, pool), 1500), CutError::NotToBeCut);
}

#[test]
fn nonsense_is_refused() {
    let of = |sample: &Sample, mtu_bytes| refusal(frame(sample, 20), mtu_bytes);
    for mtu_bytes in [0, 19, 27] {
        assert_eq!(of(&udp(4000), mtu_bytes), CutError::Size, "{mtu_bytes}");
    }
    assert_eq!(of(&udp(20_000), 36), CutError::TooMany);
    assert_eq!(of(&udp(4000), 1971), CutError::TooLong);
    assert_eq!(of(&Sample { fragment: 0x1fff, ..udp(400) }, 100), CutError::Headers);
    let part = Sample { fragment: 0x2000, ..udp(400) };
    let (mut frame, pool) = frame(&part, 20);
    part.say(Said::Asked, &mut frame);
    assert_eq!(refusal((frame, pool), 100), CutError::Headers);
}

#[test]
fn without_buffers_for_all_there_is_none() {
    // Three buffers, cut into three.
    assert_eq!(refusal(frame(&udp(4000), 5), 1500), CutError::PoolDry);
    let (frame, pool) = frame(&udp(4000), 6);
    assert_eq!(Fragments::of(frame, &pool, 1500).unwrap().count(), 3);
    assert_eq!(pool.free(), 6);
}
