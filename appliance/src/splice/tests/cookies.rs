//! What a SYN says comes back with the acknowledgement of its answer.

use core::time::Duration;

use etherparse::{SlicedPacket, TcpOptionElement, TcpSlice, TransportSlice};
use paravane_hal::time::Instant;
use paravane_net::RxChecksum;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::super::*;
use super::segment::Say;
use super::world::{Plan, at, random};
use crate::flow::Key;
use crate::packet::Packet;
use crate::packet::testing::{Said, address, bytes_of, frame_of, pool, said};

fn answered(
    cookies: &mut Cookies,
    syn: &Say,
    said: Said,
    offer: &Offer,
    now: Instant,
) -> Result<Vec<u8>, Refusal> {
    let mut frame = syn.frame(said);
    let packet = Packet::read(&frame).unwrap();
    let transport = packet.transport(&frame).unwrap().unwrap();
    let key = Key::of(&packet, &transport, 3).unwrap();
    cookies.answer_syn(&key, &packet, &transport, &mut frame, offer, now)?;
    assert!(frame.offload().is_none());
    assert_eq!(frame.rx_checksum(), RxChecksum::Unverified);
    let bytes = bytes_of(&frame);
    super::is_right(&bytes);
    Ok(bytes)
}

fn checked(cookies: &Cookies, ack: &Say, said: Said, now: Instant) -> Result<Client, Refusal> {
    let frame = ack.frame(said);
    let packet = Packet::read(&frame).unwrap();
    let transport = packet.transport(&frame).unwrap().unwrap();
    let key = Key::of(&packet, &transport, 3).unwrap();
    cookies.check(&key, &packet, &transport, &frame, now)
}

fn tcp(bytes: &[u8]) -> TcpSlice<'_> {
    match SlicedPacket::from_ethernet(bytes).unwrap().transport {
        Some(TransportSlice::Tcp(tcp)) => tcp,
        other => panic!("{other:?}"),
    }
}

fn times(tcp: &TcpSlice<'_>) -> Option<(u32, u32)> {
    tcp.options_iterator().find_map(|one| match one {
        Ok(TcpOptionElement::Timestamp(value, echo)) => Some((value, echo)),
        _ => None,
    })
}

fn offers() -> impl Strategy<Value = Offer> {
    (any::<u16>(), 0_u8..15, any::<[bool; 3]>()).prop_map(|(mss_bytes, scale, [sack, timestamps, ecn])| {
        Offer { mss_bytes, scale, sack, timestamps, ecn }
    })
}

/// A SYN's options: largest segment, scale, selective acknowledgements, clock.
type Asked = (Option<u16>, Option<u8>, bool, Option<u32>);

fn options((mss_bytes, scale, sack, time): Asked) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(scale.map(|scale| [3, 3, scale]).unwrap_or([1; 3]));
    bytes.extend(mss_bytes.map(u16::to_be_bytes).map_or(vec![], |[high, low]| vec![2, 4, high, low]));
    bytes.extend(if sack { vec![4, 2] } else { vec![] });
    bytes.extend(time.map_or(vec![], |time| [&[8, 10][..], &time.to_be_bytes(), &[0; 4]].concat()));
    bytes
}

fn rounded(mss_bytes: Option<u16>, is_v6: bool) -> u16 {
    let (known, default) =
        if is_v6 { ([1220, 1420, 1440, 8940], 1220) } else { ([536, 1300, 1440, 1460], 536) };
    let said = mss_bytes.unwrap_or(default);
    known.into_iter().filter(|one| *one <= said).max().unwrap_or(known[0])
}

proptest! {
    /// Spec: RFC 4987, 3.6; RFC 7323, 2.2, 3.2; RFC 2018, 2; RFC 3168, 6.1.1.
    #[test]
    fn what_a_syn_says_comes_back(
        (is_v6, source, ecn) in (any::<bool>(), address(), any::<bool>()),
        (isn, data, padding) in (any::<u32>(), vec(any::<u8>(), 0..30), 0_usize..20),
        asked in (option::of(any::<u16>()), option::of(0_u8..=14), any::<bool>(), option::of(any::<u32>())),
        (offer, said, ack_said) in (offers(), said(), said()),
        (when, later) in (0_u64..1 << 40, 0_u64..60_000),
        (window, is_probe) in (any::<u16>(), any::<bool>()),
    ) {
        let mut cookies = Cookies::new(&mut random());
        let mut syn = Say::new(is_v6, 2 | if ecn { 0xc0 } else { 0 }, isn, 0).options(options(asked)).data(&data);
        (syn.sample.source, syn.sample.padding) = (source, padding);
        let now = at(when);
        let answer = answered(&mut cookies, &syn, said, &offer, now).unwrap();

        let answer = tcp(&answer);
        prop_assert!(answer.syn() && answer.ack() && !answer.rst() && !answer.fin() && !answer.cwr());
        prop_assert_eq!(answer.acknowledgment_number(), isn.wrapping_add(1));
        prop_assert_eq!(answer.window_size(), 0);
        prop_assert_eq!([answer.source_port(), answer.destination_port()], [80, 40_000]);
        prop_assert!(answer.payload().is_empty());
        let (mss_bytes, scale, sack, time) = asked;
        let time = time.filter(|_| offer.timestamps);
        let has = |wanted: TcpOptionElement| answer.options_iterator().any(|one| one.as_ref() == Ok(&wanted));
        prop_assert!(has(TcpOptionElement::MaximumSegmentSize(offer.mss_bytes)));
        prop_assert_eq!(has(TcpOptionElement::WindowScale(offer.scale)), time.is_some() && scale.is_some());
        prop_assert_eq!(
            has(TcpOptionElement::SelectiveAcknowledgementPermitted),
            time.is_some() && sack && offer.sack
        );
        prop_assert_eq!(answer.ece(), time.is_some() && ecn && offer.ecn);
        prop_assert_eq!(times(&answer).map(|(_, echo)| echo), time);

        let sequence = isn.wrapping_add(u32::from(!is_probe));
        let mut ack = Say::new(is_v6, 0x10, sequence, answer.sequence_number().wrapping_add(1)).window(window);
        ack.sample.source = source;
        if let Some((ours, theirs)) = times(&answer) {
            ack = ack.time(theirs.wrapping_add(9), ours);
        }
        let client = checked(&cookies, &ack, ack_said, now.saturating_add(Duration::from_millis(later)));
        prop_assert_eq!(client, Ok(Client {
            isn,
            cookie: answer.sequence_number(),
            mss_bytes: rounded(mss_bytes, is_v6),
            window,
            scale: scale.filter(|_| time.is_some()),
            sack: time.is_some() && sack && offer.sack,
            ecn: time.is_some() && ecn && offer.ecn,
            time: times(&answer).map(|(ours, theirs)| [theirs.wrapping_add(9), ours]),
            tries: 0,
            tried: [u16::MAX; 2],
        }));
    }

    /// A cookie is good for whom it was given to, and for the number that its SYN had.
    #[test]
    fn of_others_it_is_none(
        is_v6 in any::<bool>(), isn in any::<u32>(), which in 0_usize..7, by in 1_u32..,
    ) {
        let mut cookies = Cookies::new(&mut random());
        let answer =
            answered(&mut cookies, &Say::new(is_v6, 2, isn, 0), Said::Good, &Plan::OFFER, at(0)).unwrap();
        let mut ack =
            Say::new(is_v6, 0x10, isn.wrapping_add(1), tcp(&answer).sequence_number().wrapping_add(1));
        prop_assert!(checked(&cookies, &ack, Said::Good, at(0)).is_ok());
        let (high, [_, _, _, low]) = ((by % 0xffff) as u16 + 1, by.to_be_bytes());
        match which {
            0 => ack.sample.source[3] ^= low.max(1),
            1 => ack.sample.destination[3] ^= low.max(1),
            2 => ack.sample.ports[0] = ack.sample.ports[0].wrapping_add(high),
            3 => ack.sample.ports[1] = ack.sample.ports[1].wrapping_add(high),
            // One less is a probe's, who has lost that.
            4 => ack.sample.sequence = ack.sample.sequence.wrapping_add(by.min(u32::MAX - 1)),
            5 => ack.acknowledgement = ack.acknowledgement.wrapping_add(by),
            // A replay that moves both as much.
            _ => {
                ack.sample.sequence = ack.sample.sequence.wrapping_add(by);
                ack.acknowledgement = ack.acknowledgement.wrapping_add(by);
            }
        }
        prop_assert_eq!(checked(&cookies, &ack, Said::Good, at(0)), Err(Refusal::Cookie));
    }
}

/// `at(0)` is the beginning of a minute.
#[test]
fn a_cookie_is_good_for_one_minute_and_the_rest_of_its_own() {
    for (given, last) in [(0, 119_999), (59_999, 119_999), (60_000, 179_999)] {
        let mut cookies = Cookies::new(&mut random());
        let syn = Say::new(false, 2, 77, 0);
        let answer = answered(&mut cookies, &syn, Said::Good, &Plan::OFFER, at(given)).unwrap();
        let ack = Say::new(false, 0x10, 78, tcp(&answer).sequence_number().wrapping_add(1));
        // Others come and go.
        let other = Say::new(false, 2, 1, 0);
        answered(&mut cookies, &other, Said::Good, &Plan::OFFER, at(last)).unwrap();
        assert!(checked(&cookies, &ack, Said::Good, at(last)).is_ok());
        assert_eq!(checked(&cookies, &ack, Said::Good, at(last + 1)), Err(Refusal::Cookie));
        // The time in it has 8 bits, and comes again.
        let again = given + 256 * 60_000;
        answered(&mut cookies, &other, Said::Good, &Plan::OFFER, at(again)).unwrap();
        assert_eq!(checked(&cookies, &ack, Said::Good, at(again)), Err(Refusal::Cookie));
    }
}

#[test]
fn who_gave_none_out_looks_at_none() {
    let mut cookies = Cookies::new(&mut random());
    let ack = Say::new(false, 0x10, 78, 1);
    assert_eq!(checked(&cookies, &ack, Said::Good, at(0)), Err(Refusal::NoneSent));
    answered(&mut cookies, &Say::new(false, 2, 77, 0), Said::Good, &Plan::OFFER, at(0)).unwrap();
    assert_eq!(checked(&cookies, &ack, Said::Good, at(120_000)), Err(Refusal::Cookie));
    assert_eq!(checked(&cookies, &ack, Said::Good, at(120_001)), Err(Refusal::NoneSent));
}

#[test]
fn other_keys_make_other_cookies() {
    let mut random = random();
    let [mut one, mut other] = [Cookies::new(&mut random), Cookies::new(&mut random)];
    let syn = Say::new(true, 2, 77, 0);
    let answer = answered(&mut one, &syn, Said::Good, &Plan::OFFER, at(0)).unwrap();
    answered(&mut other, &syn, Said::Good, &Plan::OFFER, at(0)).unwrap();
    let ack = Say::new(true, 0x10, 78, tcp(&answer).sequence_number().wrapping_add(1));
    assert_eq!(checked(&other, &ack, Said::Good, at(0)), Err(Refusal::Cookie));
}

/// A SYN that is sent again has the same answer; a later one of the same ends a higher number.
///
/// Spec: RFC 9293, 3.4.1 (numbers grow with time).
#[test]
fn a_syn_again_is_answered_the_same_and_a_later_one_higher() {
    let mut cookies = Cookies::new(&mut random());
    let mut number = |isn, millis| {
        let syn = Say::new(false, 2, isn, 0);
        tcp(&answered(&mut cookies, &syn, Said::Good, &Plan::OFFER, at(millis)).unwrap()).sequence_number()
    };
    let first = number(77, 0);
    assert_eq!(number(77, 59_999), first);
    for minutes in 2..100 {
        let later = number(77, minutes * 60_000);
        assert!(later.wrapping_sub(first).cast_signed() > 0, "{minutes}");
    }
}

/// Our clock never runs backwards, whatever its low bits say.
#[test]
fn time_does_not_run_backwards() {
    let mut cookies = Cookies::new(&mut random());
    let mut before = None;
    for step in 0_u64..2000 {
        let asked =
            (None, if step % 3 == 0 { None } else { Some((step % 15) as u8) }, step % 2 == 0, Some(1));
        let syn = Say::new(false, 2 | 0xc0, 77, 0).options(options(asked));
        let offer = Offer { ecn: step % 5 == 0, ..Plan::OFFER };
        let now = at(step * 64);
        let (ours, _) = times(&tcp(&answered(&mut cookies, &syn, Said::Good, &offer, now).unwrap())).unwrap();
        let clock = (now.as_nanos() / 1_000_000) as u32;
        assert!(clock.wrapping_sub(ours) < 64);
        assert!(before.is_none_or(|before: u32| ours.wrapping_sub(before).cast_signed() > -64));
        before = Some(ours);
    }
}

/// Spec: RFC 7323, 5.3: an echo is of a clock that was sent.
#[test]
fn a_clock_that_was_not_sent_is_refused() {
    let mut cookies = Cookies::new(&mut random());
    let syn = Say::new(false, 2, 77, 0).options(options((None, Some(3), true, Some(5))));
    let answer = answered(&mut cookies, &syn, Said::Good, &Plan::OFFER, at(0)).unwrap();
    let (ours, _) = times(&tcp(&answer)).unwrap();
    let ack = Say::new(false, 0x10, 78, tcp(&answer).sequence_number().wrapping_add(1));
    for (echo, is_good) in
        [(ours, true), (ours.wrapping_add(200), false), (ours.wrapping_sub(120_100), false), (0, false)]
    {
        let checked = checked(&cookies, &ack.clone().time(6, echo), Said::Good, at(64));
        assert_eq!(checked.map(|_| ()), if is_good { Ok(()) } else { Err(Refusal::Time) }, "{echo}");
    }
}

#[test]
fn only_a_syn_is_answered_and_only_an_acknowledgement_is_looked_at() {
    let mut cookies = Cookies::new(&mut random());
    for flags in 0..=0xff_u8 {
        let said = answered(&mut cookies, &Say::new(false, flags, 77, 0), Said::Good, &Plan::OFFER, at(0));
        let is_syn = flags & 0x17 == 2;
        assert_eq!(said.map(|_| ()), if is_syn { Ok(()) } else { Err(Refusal::Flags) }, "{flags:#x}");
        let checked = checked(&cookies, &Say::new(false, flags, 78, 9), Said::Good, at(0));
        let wanted = if flags & 0x16 == 0x10 { Refusal::Cookie } else { Refusal::Flags };
        if flags > 2 {
            assert_eq!(checked, Err(wanted), "{flags:#x}");
        }
    }
}

/// Spec: RFC 9293, 3.1 (checksum); RFC 1122, 4.2.3.10 (group addresses).
#[test]
fn what_is_damaged_or_for_many_is_not_answered() {
    let mut cookies = Cookies::new(&mut random());
    for is_v6 in [false, true] {
        let mut syn = Say::new(is_v6, 2, 77, 0).data(b"odd");
        assert!(answered(&mut cookies, &syn, Said::Unverified, &Plan::OFFER, at(0)).is_ok());
        let (mut bytes, at_bytes) = (syn.bytes(Said::Unverified), syn.sample.transport_at());
        bytes[at_bytes + 15] ^= 1;
        for (first, each) in [(bytes.len(), 1), (at_bytes + 20, 2)] {
            let mut frame = frame_of(&pool(4), &bytes, first, each);
            let packet = Packet::read(&frame).unwrap();
            let transport = packet.transport(&frame).unwrap().unwrap();
            let key = Key::of(&packet, &transport, 0).unwrap();
            let mut answer =
                |frame: &mut _| cookies.answer_syn(&key, &packet, &transport, frame, &Plan::OFFER, at(0));
            assert_eq!(answer(&mut frame), Err(Refusal::Checksum));
            assert_eq!(bytes_of(&frame), bytes, "as it was");
            for found in [RxChecksum::BadIp, RxChecksum::BadL4] {
                frame.set_rx_checksum(found);
                assert_eq!(answer(&mut frame), Err(Refusal::Checksum));
            }
            frame.set_rx_checksum(RxChecksum::Good);
            assert_eq!(answer(&mut frame), Ok(()), "a device is asked");
            assert!(frame.first_segment().next().is_none());
        }
        syn.sample.padding = 3;
        let mut bytes = syn.bytes(Said::Unverified);
        bytes[0] |= 1;
        let mut frame = frame_of(&pool(4), &bytes, bytes.len(), 1);
        let packet = Packet::read(&frame).unwrap();
        let transport = packet.transport(&frame).unwrap().unwrap();
        let key = Key::of(&packet, &transport, 0).unwrap();
        let refused = cookies.answer_syn(&key, &packet, &transport, &mut frame, &Plan::OFFER, at(0));
        assert_eq!(refused, Err(Refusal::Link));
    }
    let ack = |by: u8| {
        let mut cookies = Cookies::new(&mut random());
        let syn = Say::new(false, 2, 77, 0);
        let answer = answered(&mut cookies, &syn, Said::Good, &Plan::OFFER, at(0)).unwrap();
        let ack = Say::new(false, 0x10, 78, tcp(&answer).sequence_number().wrapping_add(1));
        let mut bytes = ack.bytes(Said::Unverified);
        bytes[ack.sample.transport_at() + 15] ^= by;
        let frame = frame_of(&pool(1), &bytes, bytes.len(), 1);
        let packet = Packet::read(&frame).unwrap();
        let transport = packet.transport(&frame).unwrap().unwrap();
        let key = Key::of(&packet, &transport, 3).unwrap();
        cookies.check(&key, &packet, &transport, &frame, at(0)).map(|_| ())
    };
    assert_eq!([ack(0), ack(1)], [Ok(()), Err(Refusal::Checksum)]);
}

#[test]
fn names_are_told_apart() {
    let refusals: std::collections::BTreeSet<_> = Refusal::ALL.iter().map(|one| one.name()).collect();
    let reasons: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|one| one.name()).collect();
    assert_eq!((refusals.len(), reasons.len()), (Refusal::ALL.len(), Reason::ALL.len()));
}
