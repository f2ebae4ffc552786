//! Segments, held against packets that were sent in that size from the start.

use std::sync::LazyLock;

use paravane_net::{RxChecksum, VlanTag};
use proptest::prelude::*;

use super::*;
use crate::packet::Malformed;
use crate::packet::testing::{
    Carries, Said, Sample, bytes_of, frame_of, is_summed, plain, pool, samples, single,
};

/// Payload without a pattern that would hide what is in the wrong place.
fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from((at * 7 + at / 512) % 251).unwrap()).collect()
}

/// A packet that is cut, of `len` bytes of payload.
fn large(mut sample: Sample, len: usize) -> Sample {
    sample.fragment &= 0x4000;
    sample.padding = 0;
    if !matches!(sample.carries, Carries::Tcp(..)) {
        sample.carries = Carries::Udp(true);
    }
    let most = 65_535 - sample.network_bytes() - sample.transport_bytes();
    sample.payload = payload(len.clamp(1, most));
    sample
}

/// The packets that come of it.
fn cut(sample: &Sample, mss_bytes: usize) -> Vec<Sample> {
    let mut cut = Vec::new();
    let pieces = sample.payload.chunks(mss_bytes).len();
    for (index, payload) in sample.payload.chunks(mss_bytes).enumerate() {
        let sequence = u32::try_from(index * mss_bytes).unwrap();
        let mut piece = Sample { payload: payload.to_vec(), ..sample.clone() };
        piece.id = sample.id.wrapping_add(u16::try_from(index).unwrap());
        piece.sequence = sample.sequence.wrapping_add(sequence);
        if let Carries::Tcp(_, flags) = &mut piece.carries {
            *flags &= if index == 0 { 0xff } else { !0x80 };
            *flags &= if index + 1 == pieces { 0xff } else { !0x09 };
        }
        cut.push(piece);
    }
    cut
}

/// How `said` is said of a frame that asks to be cut.
fn asks(sample: &Sample, mss_bytes: u16, found: RxChecksum, frame: &mut Frame) {
    let is_partial = matches!(found, RxChecksum::Partial(_));
    let checksum = sample.request().filter(|_| !is_partial);
    frame.set_offload(TxOffload { checksum, segmentation: Some(sample.segmentation(mss_bytes)) });
    frame.set_rx_checksum(found);
}

fn lengths() -> impl Strategy<Value = usize> {
    prop_oneof![3 => 1_usize..3000, 2 => 3000_usize..30_000, 1 => 60_000_usize..66_000]
}

/// Of the test that follows alone: it is made once.
static POOL: LazyLock<FramePool> = LazyLock::new(|| pool(1200));

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Byte for byte, whatever is known of the checksum, whoever completes it, however the packet
    /// lies in memory.
    #[test]
    fn segments_are_what_a_sender_sends(
        sample in samples(0..1),
        len in lengths(),
        mss_bytes in 100_u16..1900,
        found in 0_usize..3,
        completes in any::<bool>(),
        [first, each] in [0_usize..1500, 256_usize..1980],
    ) {
        let sample = large(sample, len);
        let headers = sample.transport_at() + sample.transport_bytes();
        let mss_bytes = mss_bytes.min(1984 - u16::try_from(headers).unwrap());
        let found = [RxChecksum::Good, RxChecksum::Unverified, RxChecksum::Partial(sample.request().unwrap())][found];
        let pool = POOL.clone();
        let mut frame = frame_of(&pool, &sample.bytes(Said::Partial), (headers + first).min(1984), each);
        asks(&sample, mss_bytes, found, &mut frame);
        frame.set_vlan(Some(VlanTag(5)));
        let offloads = if completes { Offloads::CHECKSUM } else { Offloads::empty() };
        let segments: Vec<Frame> = Segments::of(frame, &pool, offloads).unwrap().collect();
        let expected = cut(&sample, mss_bytes.into());
        prop_assert_eq!(segments.len(), expected.len());
        let mut together: Vec<u8> = Vec::new();
        for (mut segment, expected) in segments.into_iter().zip(expected) {
            let said = if completes { Said::Asked } else { Said::Good };
            prop_assert_eq!(bytes_of(&segment), expected.bytes(said));
            prop_assert_eq!(segment.vlan(), Some(VlanTag(5)));
            prop_assert!(segment.offload().segmentation.is_none());
            prop_assert_eq!(segment.offload().checksum, expected.request().filter(|_| completes));
            prop_assert!(segment.complete_checksum());
            let bytes = bytes_of(&segment);
            prop_assert!(is_summed(&bytes, &expected));
            let sliced = etherparse::SlicedPacket::from_ethernet(&bytes).unwrap();
            let payload = match sliced.transport.unwrap() {
                etherparse::TransportSlice::Tcp(tcp) => tcp.payload().to_vec(),
                etherparse::TransportSlice::Udp(udp) => udp.payload().to_vec(),
                other => panic!("{other:?}"),
            };
            prop_assert!(bytes.len() - 14 <= longest_packet_bytes(sample.segmentation(mss_bytes)));
            together.extend(payload);
        }
        prop_assert_eq!(together, sample.payload);
        prop_assert_eq!(pool.free(), 1200, "all are home");
    }
}

fn tcp() -> Sample {
    large(plain(false, Carries::Tcp(Vec::new(), 0x99)), 5000)
}

/// A frame that asks to be cut into segments of `mss_bytes`, and its pool.
fn frame(sample: &Sample, mss_bytes: u16, buffers: u32) -> (Frame, FramePool) {
    let pool = pool(buffers);
    let mut frame = frame_of(&pool, &sample.bytes(Said::Partial), 1000, 1900);
    asks(sample, mss_bytes, RxChecksum::Unverified, &mut frame);
    (frame, pool)
}

/// Why `frame` is not cut; it comes back as it was.
fn refusal(frame: Frame, pool: &FramePool) -> CutError {
    let (before, asked, free) = (bytes_of(&frame), frame.offload(), pool.free());
    let (frame, error) = Segments::of(frame, pool, Offloads::empty()).expect_err("it is refused");
    assert_eq!((bytes_of(&frame), frame.offload(), pool.free()), (before, asked, free));
    error
}

#[test]
fn without_buffers_for_all_there_is_none() {
    // 4 buffers in 5, of which the frame has 4.
    let (frame, pool) = frame(&tcp(), 1000, 8);
    assert_eq!(refusal(frame, &pool), CutError::PoolDry);
    let (frame, pool) = self::frame(&tcp(), 1000, 9);
    let mut segments = Segments::of(frame, &pool, Offloads::empty()).unwrap();
    assert_eq!(segments.next().map(|segment| segment.total_bytes()), Some(1054));
    drop(segments);
    assert_eq!(pool.free(), 9, "what is not sent goes home");
}

#[test]
fn nonsense_is_refused() {
    let sample = tcp();
    let (uncut, pool) = frame(&sample, 1000, 20);
    let with = |change: &dyn Fn(&mut TxOffload)| {
        let (mut frame, pool) = frame(&sample, 1000, 20);
        let mut asked = frame.offload();
        change(&mut asked);
        frame.set_offload(asked);
        refusal(frame, &pool)
    };
    let cut =
        |change: &dyn Fn(&mut Segmentation)| with(&|asked| change(asked.segmentation.as_mut().unwrap()));
    assert_eq!(cut(&|cut| cut.mss_bytes = 0), CutError::Size);
    assert_eq!(cut(&|cut| cut.mss_bytes = 1), CutError::TooMany);
    assert_eq!(cut(&|cut| cut.mss_bytes = 1931), CutError::TooLong);
    assert_eq!(cut(&|cut| cut.header_bytes = 58), CutError::Headers);
    assert_eq!(cut(&|cut| cut.kind = SegmentationKind::Tcp6), CutError::Headers);
    assert_eq!(cut(&|cut| cut.kind = SegmentationKind::Udp), CutError::Headers);
    assert_eq!(with(&|asked| asked.segmentation = None), CutError::NotToBeCut);
    assert_eq!(with(&|asked| asked.checksum = None), CutError::Headers);
    assert_eq!(with(&|asked| asked.checksum.as_mut().unwrap().start_bytes = 35), CutError::Headers);
    assert_eq!(with(&|asked| asked.checksum.as_mut().unwrap().offset_bytes = 6), CutError::Headers);
    drop(uncut);
    assert_eq!(pool.free(), 20);
}

#[test]
fn what_is_no_large_packet_is_refused() {
    let headers_only = {
        let mut sample = tcp();
        sample.payload.clear();
        sample
    };
    let part = Sample { fragment: 0x2000, ..tcp() };
    for sample in [headers_only, part] {
        let (frame, pool) = frame(&sample, 1000, 20);
        assert_eq!(refusal(frame, &pool), CutError::Headers);
    }
    let (frame, pool) = frame(&Sample { padding: 1, ..tcp() }, 1000, 20);
    assert_eq!(refusal(frame, &pool), CutError::Headers, "a byte that is not the packet's");
    let other = Sample { carries: Carries::Other(132), ..tcp() };
    let mut frame = single(&plain(false, Carries::Other(132)).bytes(Said::Good));
    asks(&tcp(), 1000, RxChecksum::Unverified, &mut frame);
    assert_eq!(refusal(frame, &self::pool(9)), CutError::NotToBeCut, "{:?}", other.carries);
    let mut noise = single(&[0; 60]);
    asks(&tcp(), 1000, RxChecksum::Unverified, &mut noise);
    assert_eq!(refusal(noise, &self::pool(9)), CutError::Malformed(Malformed::EtherType));
}

#[test]
fn a_nic_cuts_what_it_says() {
    let cut = |kind, ecn| Segmentation { kind, header_bytes: 54, mss_bytes: 1460, ecn };
    let all = [SegmentationKind::Tcp4, SegmentationKind::Tcp6, SegmentationKind::Udp];
    let each = [Offloads::TSO4, Offloads::TSO6, Offloads::USO];
    for (kind, own) in all.into_iter().zip(each) {
        for offloads in each {
            assert_eq!(is_cut_by(cut(kind, false), offloads), own == offloads);
            assert!(!is_cut_by(cut(kind, true), offloads));
            assert_eq!(is_cut_by(cut(kind, true), offloads | Offloads::ECN), own == offloads);
        }
    }
}
