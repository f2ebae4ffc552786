//! Passing on, and the size of segments, held against packets that were made so from the start.

use paravane_net::{RxChecksum, TxOffload};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::packet::Transport;
use crate::packet::testing::{
    Carries, Said, bytes_of, frame_of, is_summed, plain, pool, said, samples, single,
};

const HOP: Hop = Hop { destination: MacAddr([4, 1, 2, 3, 4, 5]), source: MacAddr([6, 9, 8, 7, 6, 5]) };

/// `bytes` as they are with the addresses of the hop.
fn hopped(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[..12].copy_from_slice(&[4, 1, 2, 3, 4, 5, 6, 9, 8, 7, 6, 5]);
    bytes
}

fn forwarded(frame: &mut Frame) -> Result<(), EditError> {
    let packet = Packet::read(frame).unwrap();
    forward(&packet, frame, HOP)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// What goes on is the packet that its sender would have made, one hop less; padding stays.
    #[test]
    fn a_frame_goes_on_one_hop_less(sample in samples(0..300), said in said()) {
        let mut frame = single(&sample.bytes(said));
        sample.say(said, &mut frame);
        let before = (frame.rx_checksum(), frame.offload());
        prop_assert_eq!(forwarded(&mut frame), Ok(()));
        let mut less = sample.clone();
        less.ttl -= 1;
        less.padding = 0;
        prop_assert_eq!(bytes_of(&frame), hopped(less.bytes(said)));
        prop_assert_eq!((frame.rx_checksum(), frame.offload()), before);
    }

    /// Also where it is in several segments.
    #[test]
    fn so_does_one_of_several_segments(mut sample in samples(1..300), said in said(), each in 1_usize..300) {
        sample.padding = 0;
        let first = sample.transport_at() + sample.transport_bytes();
        let mut frame = frame_of(&pool(310), &sample.bytes(said), first, each);
        sample.say(said, &mut frame);
        prop_assert_eq!(forwarded(&mut frame), Ok(()));
        sample.ttl -= 1;
        prop_assert_eq!(bytes_of(&frame), hopped(sample.bytes(said)));
    }

    /// A SYN says no more than it may, and its checksum is that of what it says.
    #[test]
    fn the_size_of_segments_is_kept_small(
        mut sample in samples(0..50),
        before in 0_usize..20,
        mss_bytes in any::<u16>(),
        limit in any::<u16>(),
        is_syn in any::<bool>(),
        said in said(),
    ) {
        let options = |mss_bytes: u16| {
            let [high, low] = mss_bytes.to_be_bytes();
            let mut options = [&vec![1; before][..], &[2, 4, high, low, 3, 3, 7]].concat();
            options.resize(options.len().next_multiple_of(4), 0);
            options
        };
        let flags = if is_syn { 0x42 } else { 0x50 };
        sample.fragment &= 0x6000;
        sample.carries = Carries::Tcp(options(mss_bytes), flags);
        let mut frame = single(&sample.bytes(said));
        sample.say(said, &mut frame);
        let mut transport = Packet::read(&frame).unwrap().transport(&frame).unwrap().unwrap();
        let is_less = is_syn && limit < mss_bytes;
        prop_assert_eq!(clamp_mss(&mut transport, &mut frame, limit), Ok(is_less));
        sample.carries = Carries::Tcp(options(if is_less { limit } else { mss_bytes }), flags);
        prop_assert_eq!(bytes_of(&frame), sample.bytes(said));
        let again = Packet::read(&frame).unwrap().transport(&frame).unwrap().unwrap();
        prop_assert_eq!(format!("{transport:?}"), format!("{again:?}"));
    }

    /// Options that make no sense are left to the receiver, and the sum stays right.
    #[test]
    fn options_without_sense_are_walked_to_an_end(words in vec(prop_oneof![Just(1_u8), Just(2), Just(4), any::<u8>()], 40), is_v6 in any::<bool>()) {
        let sample = plain(is_v6, Carries::Tcp(words, 2));
        let mut frame = single(&sample.bytes(Said::Good));
        let mut transport = Packet::read(&frame).unwrap().transport(&frame).unwrap().unwrap();
        clamp_mss(&mut transport, &mut frame, 1000).unwrap();
        prop_assert!(is_summed(&bytes_of(&frame), &sample));
    }
}

#[test]
fn the_last_hop_is_not_passed_on() {
    for (is_v6, ttl) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
        let mut sample = plain(is_v6, Carries::Udp(true));
        sample.ttl = ttl;
        let mut frame = single(&sample.bytes(Said::Good));
        assert_eq!(forwarded(&mut frame), Err(EditError::Expired));
        assert_eq!(bytes_of(&frame), sample.bytes(Said::Good), "for an error to quote");
    }
}

#[test]
fn what_is_no_packet_is_not_passed_on() {
    let mut bytes = vec![0; 60];
    bytes[12..14].copy_from_slice(&[8, 6]);
    assert_eq!(forwarded(&mut single(&bytes)), Err(EditError::Version));
}

#[test]
fn what_follows_a_packet_of_several_segments_is_not_summed_with_it() {
    let mut sample = plain(false, Carries::Udp(true));
    sample.padding = 3;
    let bytes = sample.bytes(Said::Partial);
    let mut frame = frame_of(&pool(9), &bytes, 42, 10);
    assert_eq!(forwarded(&mut frame), Ok(()), "nobody asks");
    assert_eq!(frame.total_bytes(), bytes.len());
    let mut frame = frame_of(&pool(9), &bytes, 42, 10);
    sample.say(Said::Partial, &mut frame);
    assert_eq!(forwarded(&mut frame), Err(EditError::Trailing));
}

#[test]
fn another_frames_headers_are_not_written() {
    let long = Packet::read(&single(&plain(false, Carries::Udp(true)).bytes(Said::Good))).unwrap();
    let six = Packet::read(&single(&plain(true, Carries::Udp(true)).bytes(Said::Good))).unwrap();
    for packet in [long, six] {
        assert_eq!(forward(&packet, &mut single(&[0; 20]), HOP), Err(EditError::Place));
        assert_eq!(forward(&packet, &mut single(&[0; 54]), HOP), Err(EditError::Place));
    }
}

#[test]
fn a_checksum_elsewhere_is_no_reason_to_leave_this_one() {
    // As of a tunnel, where the inner packet's is open.
    let sample = plain(false, Carries::Tcp(vec![2, 4, 0x20, 0], 2));
    let mut frame = single(&sample.bytes(Said::Good));
    let elsewhere = paravane_net::ChecksumRequest { start_bytes: 40, offset_bytes: 16 };
    frame.set_offload(TxOffload { checksum: Some(elsewhere), segmentation: None });
    frame.set_rx_checksum(RxChecksum::Unverified);
    let mut transport = Packet::read(&frame).unwrap().transport(&frame).unwrap().unwrap();
    assert!(matches!(transport, Transport::Tcp(..)));
    assert_eq!(clamp_mss(&mut transport, &mut frame, 1460), Ok(true));
    assert!(is_summed(&bytes_of(&frame), &sample));
}

#[test]
fn a_hop_less_is_the_change_of_its_word() {
    for checksum in 0..u16::MAX {
        let other = Sum::ZERO.and(0x3f06).without(0x4006).applied_to(checksum);
        assert_eq!(of_less(checksum, 0x100), other, "{checksum:#06x}");
    }
    assert_eq!(of_less(0xffff, 0x100), of_less(0, 0x100), "which say the same");
}
