#![allow(clippy::cast_possible_truncation, reason = "tests")]

use etherparse::{TcpHeaderSlice, TcpOptionElement};
use paravane_net::TxOffload;
use proptest::collection::vec;
use proptest::prelude::*;
use smoltcp::wire::checksum;

use super::*;
use crate::packet::testing::{
    Carries, Said, Sample, bytes_of, frame_of, is_summed, plain, pool, said, single,
};

/// Options in any order, some of them at odd places.
fn options() -> impl Strategy<Value = Vec<u8>> {
    let option = prop_oneof![
        3 => Just(vec![1]),
        1 => Just(vec![2, 4, 5, 6]),
        1 => Just(vec![3, 3, 7]),
        3 => any::<[u8; 8]>().prop_map(|time| [&[8, 10][..], &time].concat()),
        3 => vec(any::<[u8; 8]>(), 1..4)
            .prop_map(|edges| [&[5, 2 + 8 * edges.len() as u8][..], edges.as_flattened()].concat()),
    ];
    vec(option, 0..5).prop_map(|options| {
        let mut all = Vec::new();
        for option in options {
            if all.len() + option.len() <= 40 {
                all.extend(option);
            }
        }
        all.resize(all.len().next_multiple_of(4), 0);
        all
    })
}

fn segments() -> impl Strategy<Value = Sample> {
    (any::<bool>(), options(), any::<u8>(), any::<u32>(), vec(any::<u8>(), 0..80)).prop_map(
        |(is_v6, options, flags, sequence, payload)| Sample {
            sequence,
            payload,
            ..plain(is_v6, Carries::Tcp(options, flags))
        },
    )
}

fn renumbers() -> impl Strategy<Value = Renumber> {
    let number = || prop_oneof![Just(0_u32), Just(1), Just(u32::MAX), any::<u32>()];
    (number(), number(), number(), number(), -14_i8..15, any::<bool>()).prop_map(
        |(sequence, acknowledgement, time, echo, window, blanks_sack)| Renumber {
            sequence,
            acknowledgement,
            time,
            echo,
            window,
            blanks_sack,
        },
    )
}

/// What another reader finds in options.
fn elements(tcp: &TcpHeaderSlice<'_>) -> Vec<TcpOptionElement> {
    tcp.options_iterator().map_while(Result::ok).filter(|one| *one != TcpOptionElement::Noop).collect()
}

/// What that has to be afterwards.
fn expected(element: TcpOptionElement, by: &Renumber) -> Option<TcpOptionElement> {
    let edge = |(left, right): (u32, u32)| {
        (left.wrapping_add(by.acknowledgement), right.wrapping_add(by.acknowledgement))
    };
    match element {
        TcpOptionElement::Timestamp(value, echo) => {
            Some(TcpOptionElement::Timestamp(value.wrapping_add(by.time), echo.wrapping_add(by.echo)))
        }
        TcpOptionElement::SelectiveAcknowledgement(..) if by.blanks_sack => None,
        TcpOptionElement::SelectiveAcknowledgement(first, rest) => {
            Some(TcpOptionElement::SelectiveAcknowledgement(edge(first), rest.map(|one| one.map(edge))))
        }
        other => Some(other),
    }
}

proptest! {
    #[test]
    fn numbers_change_and_nothing_else(
        sample in segments(), said in said(), by in renumbers(), split in any::<bool>(),
    ) {
        let before = sample.bytes(said);
        let headers = sample.transport_at() + sample.transport_bytes();
        let pool = pool(8);
        let mut frame =
            if split { frame_of(&pool, &before, headers, 31) } else { single(&before) };
        sample.say(said, &mut frame);
        let packet = Packet::read(&frame).unwrap();
        let mut transport = packet.transport(&frame).unwrap().unwrap();
        if said == Said::Asked {
            let segmentation = Some(sample.segmentation(16));
            frame.set_offload(TxOffload { segmentation, ..frame.offload() });
        }
        let asked = frame.offload();
        prop_assert_eq!(renumber(&mut transport, &mut frame, &by), Ok(()));

        let after = bytes_of(&frame);
        prop_assert_eq!(frame.offload(), asked);
        let at = sample.transport_at();
        prop_assert_eq!(&after[..at], &before[..at]);
        prop_assert_eq!(&after[headers..], &before[headers..]);
        let [old, new] = [&before, &after].map(|bytes| TcpHeaderSlice::from_slice(&bytes[at..]).unwrap());
        let by = if old.ack() { by } else { Renumber { acknowledgement: 0, echo: 0, ..by } };
        prop_assert_eq!(new.sequence_number(), old.sequence_number().wrapping_add(by.sequence));
        prop_assert_eq!(
            new.acknowledgment_number(),
            old.acknowledgment_number().wrapping_add(by.acknowledgement)
        );
        let window = f64::from(old.window_size()) * f64::from(by.window).exp2();
        let window = if old.syn() { old.window_size() } else { window.floor().min(65_535.0) as u16 };
        prop_assert_eq!(new.window_size(), window);
        let wanted: Vec<_> =
            elements(&old).into_iter().filter_map(|element| expected(element, &by)).collect();
        prop_assert_eq!(elements(&new), wanted);
        match said {
            Said::Good | Said::Unverified => prop_assert!(is_summed(&after, &sample)),
            Said::Partial | Said::Asked => prop_assert_eq!(new.checksum(), old.checksum()),
        }
        let Transport::Tcp(header, _) = transport else { panic!() };
        prop_assert_eq!(header.as_bytes(), &after[at..at + 20]);
    }

    /// The way back undoes the way there, byte by byte but for which zero a checksum has.
    #[test]
    fn what_was_added_is_taken_off(sample in segments(), by in renumbers()) {
        let by = Renumber { window: 0, blanks_sack: false, ..by };
        let back = Renumber {
            sequence: by.sequence.wrapping_neg(),
            acknowledgement: by.acknowledgement.wrapping_neg(),
            time: by.time.wrapping_neg(),
            echo: by.echo.wrapping_neg(),
            ..by
        };
        let before = sample.bytes(Said::Unverified);
        let mut frame = single(&before);
        let packet = Packet::read(&frame).unwrap();
        let mut transport = packet.transport(&frame).unwrap().unwrap();
        renumber(&mut transport, &mut frame, &by).unwrap();
        renumber(&mut transport, &mut frame, &back).unwrap();
        let mut after = bytes_of(&frame);
        let at = sample.transport_at() + 16;
        prop_assert!(is_summed(&after, &sample));
        after[at..at + 2].copy_from_slice(&before[at..at + 2]);
        prop_assert_eq!(after, before);
    }

    #[test]
    fn a_shift_is_the_same_as_all_of_it(numbers in any::<[u32; 2]>(), by in any::<[u32; 2]>()) {
        let [sequence, acknowledgement] = numbers;
        let (new_sequence, new_acknowledgement, sum) =
            Shift::new(by[0], by[1]).of(sequence, acknowledgement);
        prop_assert_eq!(new_sequence, sequence.wrapping_add(by[0]));
        prop_assert_eq!(new_acknowledgement, acknowledgement.wrapping_add(by[1]));
        let whole = changed(sequence, new_sequence).and_all(changed(acknowledgement, new_acknowledgement));
        prop_assert_eq!(sum.folded() % 0xffff, whole.folded() % 0xffff);
    }

    /// Options that are none, and headers that end within one: what is behind stays as it was.
    #[test]
    fn options_that_are_none_do_no_harm(
        options in vec(any::<u8>(), 0..=40), by in renumbers(), payload in vec(any::<u8>(), 0..20),
    ) {
        let mut options = options;
        options.truncate(options.len() / 4 * 4);
        let sample = Sample { payload, ..plain(false, Carries::Tcp(options, 0x10)) };
        let before = sample.bytes(Said::Unverified);
        let mut frame = single(&before);
        let packet = Packet::read(&frame).unwrap();
        let mut transport = packet.transport(&frame).unwrap().unwrap();
        let _ = renumber(&mut transport, &mut frame, &by);
        let after = bytes_of(&frame);
        let headers = sample.transport_at() + sample.transport_bytes();
        prop_assert_eq!(&after[headers..], &before[headers..]);
        prop_assert!(is_summed(&after, &sample));
    }

    /// Of a segment that is quoted by an error: as much as is there.
    #[test]
    fn quoted_numbers_change_with_all_sums(
        inner in segments(), by in renumbers(), said in said(), quoted_bytes in 28_usize..120,
    ) {
        let is_v6 = inner.is_v6;
        let whole = inner.bytes(Said::Unverified)[14..].to_vec();
        let least = if is_v6 { 48 } else { 28 };
        let mut quote = whole.clone();
        quote.truncate(quoted_bytes.max(least));
        let is_whole = quote.len() == whole.len();
        let outer =
            Sample { payload: quote.clone(), ..plain(is_v6, Carries::Icmp(if is_v6 { 2 } else { 3 })) };
        let before = outer.bytes(said);
        let mut frame = single(&before);
        outer.say(said, &mut frame);
        let packet = Packet::read(&frame).unwrap();
        let mut transport = packet.transport(&frame).unwrap().unwrap();
        let quoted = Quoted::of(&packet, &transport, &frame).unwrap();
        prop_assert_eq!(renumber_quoted(&quoted, &packet, &mut transport, &mut frame, &by), Ok(()));
        let after = bytes_of(&frame);
        if matches!(said, Said::Good | Said::Unverified) {
            prop_assert!(is_summed(&after, &outer));
        }
        let quote_at = outer.transport_at() + 8;
        let tcp_at = inner.network_bytes();
        let number = |bytes: &[u8], at: usize| {
            bytes.get(at..at + 4).map(|bytes| u32::from_be_bytes(bytes.try_into().unwrap()))
        };
        let (old, new) = (&quote[tcp_at..], &after[quote_at + tcp_at..]);
        prop_assert_eq!(number(new, 4), number(old, 4).map(|old| old.wrapping_add(by.sequence)));
        prop_assert_eq!(number(new, 8), number(old, 8).map(|old| old.wrapping_add(by.acknowledgement)));
        if is_whole {
            let sum = checksum::combine(&[inner.pseudo(new.len()), checksum::data(new)]);
            prop_assert_eq!(sum, 0xffff);
        }
    }
}

/// Four bytes of options, and data that goes on as timestamps would.
#[test]
fn a_header_that_ends_within_timestamps_leaves_data_alone() {
    let sample = Sample { payload: vec![7; 20], ..plain(false, Carries::Tcp(vec![1, 1, 8, 10], 0x10)) };
    let mut frame = single(&sample.bytes(Said::Unverified));
    let packet = Packet::read(&frame).unwrap();
    let mut transport = packet.transport(&frame).unwrap().unwrap();
    let by = Renumber { time: 5, echo: 6, ..Renumber::default() };
    renumber(&mut transport, &mut frame, &by).unwrap();
    let after = bytes_of(&frame);
    assert_eq!(after[after.len() - 20..], [7; 20]);
    assert!(is_summed(&after, &sample));
}
