//! How it goes on once there is a server, rule by rule.

use etherparse::TcpOptionElement;

use super::super::*;
use super::bench::*;
use crate::flow::Direction;

#[test]
fn what_opens_a_window_is_sent_until_the_client_says_something() {
    let mut bench = Bench::open(&SERVICE);
    let opening = [(Side::Client, ACK, K + 1, C1)];
    for (millis, next) in [(250, 750), (750, 1750), (1750, 3750), (3750, 7750)] {
        assert_eq!(bench.poll(millis - 1), Some(millis));
        assert_eq!(bench.sent(), []);
        assert_eq!(bench.poll(millis), Some(next));
        assert_eq!(bench.sent(), opening);
    }
    assert_eq!(bench.poll(7750), None, "and then it asks itself");
    assert_eq!(bench.sent(), []);

    let mut bench = Bench::open(&PROXY);
    bench.poll(250);
    assert_eq!(bench.sent(), opening);
    assert_eq!(bench.client(&client(ACK, C1, K + 1)), Verdict::Pass);
    assert_eq!((bench.poll(9000), bench.sent()), (None, vec![]));
}

/// Spec: RFC 9293, 3.10.7.4 (a SYN in a state that is synchronized is acknowledged).
#[test]
fn a_servers_syn_again_is_acknowledged_again() {
    for service in [SERVICE, PROXY] {
        let mut bench = Bench::open(&service);
        for _ in 0..2 {
            assert_eq!(bench.server(&syn_ack(&service)), Verdict::Drop(Reason::Answer));
            assert_eq!(bench.sent(), [(Side::Server, ACK, C1, S + 1)]);
            assert_eq!(bench.server(&server(SYN | ACK, S + 1, C1)), Verdict::Drop(Reason::Flags));
            assert_eq!(bench.server(&server(SYN, S, 0)), Verdict::Drop(Reason::Flags));
            assert_eq!(bench.sent(), []);
            bench.client(&client(ACK, C1, K + 1));
        }
    }
}

/// Spec: RFC 2018, 3; RFC 7323, 3.2.
#[test]
fn numbers_are_those_that_the_receiver_knows() {
    for service in [SERVICE, PROXY] {
        let mut bench = Bench::open(&service);
        let sack = [&[1, 1, 5, 10][..], &(K + 301).to_be_bytes(), &(K + 401).to_be_bytes()].concat();
        let own = OWN_TIME.wrapping_add(500);
        let time = [&[8, 10][..], &2000_u32.to_be_bytes(), &own.to_be_bytes(), &[1, 1]].concat();
        let say = client(ACK, C1.wrapping_add(77), K + 201).options([sack, time].concat()).data(b"abc");
        let passed = bench.passed(Side::Client, &say);
        assert_eq!((passed.sequence, passed.acknowledgement), (C1.wrapping_add(77), S + 201));
        assert_eq!(
            passed.options,
            [
                TcpOptionElement::SelectiveAcknowledgement((S + 301, S + 401), [None; 3]),
                TcpOptionElement::Timestamp(2000, SERVER_TIME + 500),
            ]
        );
        assert_eq!((passed.data, passed.window), (b"abc".to_vec(), 0x1000));

        let sack =
            [&[1, 1, 5, 10][..], &C1.wrapping_add(9).to_be_bytes(), &C1.wrapping_add(12).to_be_bytes()]
                .concat();
        let time =
            [&[8, 10][..], &(SERVER_TIME + 600).to_be_bytes(), &2000_u32.to_be_bytes(), &[1, 1]].concat();
        let say = server(FIN | ACK, S + 1, C1.wrapping_add(3)).options([sack, time].concat());
        let passed = bench.passed(Side::Server, &say);
        assert_eq!(passed.brief(), (Side::Server, FIN | ACK, K + 1, C1.wrapping_add(3)));
        assert_eq!(
            passed.options,
            [
                TcpOptionElement::SelectiveAcknowledgement(
                    (C1.wrapping_add(9), C1.wrapping_add(12)),
                    [None; 3]
                ),
                TcpOptionElement::Timestamp(OWN_TIME.wrapping_add(600), 2000),
            ]
        );
        // A reset has the number that is taken.
        let passed = bench.passed(Side::Server, &server(RST, S + 5, 0));
        assert_eq!(passed.brief(), (Side::Server, RST, K + 5, 0));
        let passed = bench.passed(Side::Client, &client(RST, C1, 0));
        assert_eq!(passed.brief(), (Side::Client, RST, C1, 0));
    }
}

/// Spec: RFC 7323, 2.2 (both send it, or neither scales), 2.3 (of a SYN it is never scaled).
#[test]
fn windows_are_in_units_that_the_receiver_knows() {
    let options = |scale: &[u8]| {
        let time = [&[8, 10][..], &SERVER_TIME.to_be_bytes(), &CLIENT_TIME.to_be_bytes()].concat();
        syn_ack(&SERVICE).options([&[4, 2][..], &time, scale].concat())
    };
    // Promised were 7, the client has 3.
    for (scale, to_client, to_server) in [
        (&[3, 3, 7][..], 0x100, 0x100),
        (&[3, 3, 9], 0x400, 0x100),
        (&[3, 3, 14], 0x8000, 0x100),
        (&[3, 3, 15], 0x8000, 0x100),
        (&[3, 3, 0], 2, 0x100),
        (&[], 2, 0x800),
    ] {
        let mut bench = Bench::begun(false, CLIENT, &SERVICE);
        bench.server(&options(scale));
        assert_eq!(bench.sent.last().unwrap().window, 0x100, "{scale:?}");
        let passed = bench.passed(Side::Client, &client(ACK, C1, K + 1).window(0x100));
        assert_eq!(passed.window, to_server, "{scale:?}");
        let passed = bench.passed(Side::Server, &server(ACK, S + 1, C1).window(0x100));
        assert_eq!(passed.window, to_client, "{scale:?}");
    }
    let mut bench = Bench::begun(false, Client { scale: None, ..CLIENT }, &SERVICE);
    bench.server(&options(&[]));
    assert_eq!(bench.sent.last().unwrap().window, 0x8000);
    assert_eq!(bench.passed(Side::Server, &server(ACK, S + 1, C1).window(0x100)).window, 0x100);
}

/// Spec: RFC 2018, 2; RFC 3168, 6.1.1; RFC 7323, 3.2.
#[test]
fn a_server_does_what_was_promised_or_is_none() {
    // Without selective acknowledgements: it does not get any.
    let time = [&[8, 10][..], &SERVER_TIME.to_be_bytes(), &CLIENT_TIME.to_be_bytes()].concat();
    let mut bench = Bench::begun(false, CLIENT, &SERVICE);
    bench.server(&syn_ack(&SERVICE).options([&time[..], &[3, 3, 7]].concat()));
    let sack = [&[1, 1, 5, 10][..], &(K + 301).to_be_bytes(), &(K + 401).to_be_bytes()].concat();
    let passed = bench.passed(Side::Client, &client(ACK, C1, K + 1).options(sack));
    assert_eq!(passed.options, []);
    // Without timestamps, or ECN.
    for ecn in [false, true] {
        let mut bench = Bench::begun(false, Client { ecn, ..CLIENT }, &SERVICE);
        bench.sent.clear();
        let options = if ecn { time.clone() } else { vec![4, 2, 3, 3, 7] };
        assert_eq!(bench.server(&syn_ack(&SERVICE).options(options)), Verdict::Drop(Reason::Over));
        assert_eq!(bench.sent(), [(Side::Server, RST, C1, 0)]);
        assert_eq!((&bench.done[..], bench.splices.counters().unlike_offer), (&["another"][..], 1));
    }
    let mut bench = Bench::begun(false, Client { ecn: true, ..CLIENT }, &SERVICE);
    let mut with_ecn = syn_ack(&SERVICE);
    let crate::packet::testing::Carries::Tcp(_, flags) = &mut with_ecn.sample.carries else { panic!() };
    *flags |= 0x40;
    assert_eq!(bench.server(&with_ecn), Verdict::Drop(Reason::Answer));
    // Smaller segments are counted.
    let mut bench = Bench::begun(false, CLIENT, &SERVICE);
    bench.server(&syn_ack(&SERVICE).options([&[2, 4, 4, 0][..], &time].concat()));
    assert_eq!(bench.splices.counters().smaller_mss, 1);
}

/// Spec: RFC 5508, 4.2: what is quoted is what its sender sent.
#[test]
fn an_error_quotes_what_was_sent() {
    let bench = Bench::open(&PROXY);
    let to = |direction| {
        let by = bench.splices.quoted(bench.hit.index, direction).unwrap();
        (by.sequence, by.acknowledgement)
    };
    assert_eq!(to(Direction::Original), (S.wrapping_sub(K), 0));
    assert_eq!(to(Direction::Reply), (0, K.wrapping_sub(S)));
    let begun = Bench::begun(false, CLIENT, &SERVICE);
    assert_eq!(begun.splices.quoted(begun.hit.index, Direction::Reply), None);
}

#[test]
fn both_are_reset_at_their_next_numbers() {
    let mut bench = Bench::open(&SERVICE);
    let mut outputs = Vec::new();
    let flow = bench.flows.get(bench.hit.index).unwrap();
    bench.splices.reset(bench.hit.index, flow, &mut |index, output| outputs.push((index, output)));
    bench.act(outputs);
    assert_eq!(bench.sent(), [(Side::Client, RST | ACK, K + 1, C1), (Side::Server, RST | ACK, C1, S + 1)]);
    assert_eq!(bench.splices.waiting(), 0);
    assert!(!bench.splices.end(bench.hit.index));
}
