//! How a connection begins, rule by rule.

use etherparse::TcpOptionElement;

use super::super::*;
use super::bench::*;
use crate::packet::testing::pool;

/// Spec: RFC 9293, 3.5; RFC 7323, 2.2, 3.2; RFC 3168, 6.1.1.
#[test]
fn a_server_is_sent_what_the_clients_syn_said() {
    use TcpOptionElement::{MaximumSegmentSize, SelectiveAcknowledgementPermitted, Timestamp, WindowScale};
    for (is_v6, gap) in [(false, 0), (false, 28), (true, 0), (true, 52)] {
        let service = if gap > 0 { PROXY } else { SERVICE };
        let bench = Bench::begun(is_v6, CLIENT, &service);
        let expected = Sent {
            to: Side::Server,
            flags: SYN,
            sequence: C.wrapping_sub(gap),
            acknowledgement: 0,
            window: 0xffff,
            options: vec![
                MaximumSegmentSize(1300),
                SelectiveAcknowledgementPermitted,
                Timestamp(CLIENT_TIME, 0),
                WindowScale(3),
            ],
            data: Vec::new(),
            ports: [6000, 8080],
        };
        assert_eq!(bench.sent, [expected]);
    }
    let bare = Client { scale: None, sack: false, time: None, window: 500, ..CLIENT };
    let [sent] = &Bench::begun(false, bare, &SERVICE).sent[..] else { panic!() };
    assert_eq!((sent.window, &sent.options[..]), (500, &[MaximumSegmentSize(1300)][..]));
    let ecn = Client { ecn: true, mss_bytes: 8940, ..CLIENT };
    let [sent] = &Bench::begun(true, ecn, &SERVICE).sent[..] else { panic!() };
    assert_eq!((sent.flags, &sent.options[0]), (SYN | 0xc0, &MaximumSegmentSize(1440)));
}

/// Spec: RFC 9293, 3.10.7.3 (acknowledged, and both sides are synchronized).
#[test]
fn a_server_that_answers_opens_the_clients_window() {
    let mut bench = Bench::begun(false, CLIENT, &SERVICE);
    bench.sent.clear();
    assert_eq!(bench.server(&syn_ack(&SERVICE)), Verdict::Drop(Reason::Answer));
    let [ack, opening] = &bench.sent[..] else { panic!("{:?}", bench.sent) };
    assert_eq!(ack.brief(), (Side::Server, ACK, C1, S + 1));
    assert_eq!(ack.options, [TcpOptionElement::Timestamp(CLIENT_TIME, SERVER_TIME)]);
    assert_eq!(ack.window, 0x2000);
    assert_eq!(opening.brief(), (Side::Client, ACK, K + 1, C1));
    assert_eq!(opening.options, [TcpOptionElement::Timestamp(OWN_TIME, CLIENT_TIME)]);
    assert_eq!(opening.window, 0x8000 >> 7, "that of a SYN is not scaled, and this is");
    assert_eq!(opening.ports, [80, 40_000]);
}

/// Spec: The PROXY protocol, 2.2; the gap is filled before anything of the client's.
#[test]
fn a_proxy_header_comes_first_and_its_acknowledgement_opens_the_window() {
    let mut bench = Bench::begun(false, CLIENT, &PROXY);
    bench.sent.clear();
    assert_eq!(bench.server(&syn_ack(&PROXY)), Verdict::Drop(Reason::Answer));
    let [header] = &bench.sent[..] else { panic!("{:?}", bench.sent) };
    assert_eq!(header.brief(), (Side::Server, ACK | 8, C1.wrapping_sub(28), S + 1));
    let expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x20\x20\x20\x20\x30\x30\x30\x30\x9c\x40\0\x50";
    assert_eq!(header.data, expected);
    let header = header.brief();
    bench.sent.clear();

    // The same again: the header was lost.
    assert_eq!(bench.server(&syn_ack(&PROXY)), Verdict::Drop(Reason::Answer));
    assert_eq!(bench.sent(), [header]);
    // Within the gap, and what nobody sent.
    for (acknowledgement, reason) in [
        (C1.wrapping_sub(28), Reason::Answer),
        (C, Reason::Answer),
        (C1.wrapping_add(1), Reason::Acknowledgement),
        (C1.wrapping_sub(30), Reason::Acknowledgement),
    ] {
        assert_eq!(bench.server(&server(ACK, S + 1, acknowledgement)), Verdict::Drop(reason));
    }
    assert_eq!(bench.sent(), []);
    let ack = server(ACK, S + 1, C1).time(SERVER_TIME + 9, CLIENT_TIME).window(0x44);
    let passed = bench.passed(Side::Server, &ack);
    assert_eq!((passed.sequence, passed.acknowledgement, passed.window), (K + 1, C1, 0x44));
    assert_eq!(passed.options, [TcpOptionElement::Timestamp(OWN_TIME + 9, CLIENT_TIME)]);
    assert_eq!(bench.splices.counters().opened, 1);
    // Should that be lost, it is made again.
    bench.poll(250);
    let [again] = &bench.sent[..] else { panic!() };
    assert_eq!((again.brief(), again.window), ((Side::Client, ACK, K + 1, C1), 0x44));
}

#[test]
fn a_proxy_header_is_sent_again_and_then_another_server_is_tried() {
    let mut bench = Bench::begun(true, CLIENT, &PROXY);
    let mut syn_ack = syn_ack(&PROXY);
    syn_ack.acknowledgement = C1.wrapping_sub(52);
    assert_eq!(bench.server(&syn_ack), Verdict::Drop(Reason::Answer));
    let header = bench.sent.last().unwrap().clone();
    assert_eq!(header.data.len(), 52);
    bench.sent.clear();
    for (millis, next) in [(250, 750), (750, 1750), (1750, 3750), (3750, 7750)] {
        assert_eq!(bench.poll(millis - 1), Some(millis));
        assert_eq!(bench.sent, []);
        assert_eq!(bench.poll(millis), Some(next));
        assert_eq!(core::mem::take(&mut bench.sent), core::slice::from_ref(&header));
    }
    assert_eq!(bench.poll(7750), None);
    assert_eq!(bench.sent(), [(Side::Server, RST | ACK, C1.wrapping_sub(52), S + 1)]);
    assert_eq!((&bench.done[..], bench.client), (&["another"][..], Some(Client { tries: 1, ..CLIENT })));
}

/// Spec: RFC 9293, 3.10.7.3 (an unacceptable acknowledgement is answered by a reset at its number).
#[test]
fn an_older_connection_of_the_server_is_reset() {
    for flags in [ACK, SYN | ACK, FIN | ACK] {
        let mut bench = Bench::begun(false, CLIENT, &SERVICE);
        bench.sent.clear();
        let verdict = bench.server(&server(flags, S, 4711));
        assert_eq!(verdict, Verdict::Drop(Reason::Acknowledgement));
        assert_eq!(bench.sent(), [(Side::Server, RST, 4711, 0)]);
        assert_eq!(bench.server(&syn_ack(&SERVICE)), Verdict::Drop(Reason::Answer), "and it goes on");
        assert_eq!(bench.splices.counters().opened, 1);
    }
}

/// Spec: RFC 9293, 3.10.7.3 (a reset counts if it acknowledges the SYN); RFC 5961, 3.
#[test]
fn only_a_reset_of_our_syn_refuses_it() {
    let mut bench = Bench::begun(false, CLIENT, &SERVICE);
    bench.sent.clear();
    for (flags, acknowledgement) in [(RST, 0), (RST, C1), (RST | ACK, C), (RST | ACK, C1.wrapping_add(1))] {
        let verdict = bench.server(&server(flags, 0, acknowledgement));
        assert_eq!(verdict, Verdict::Drop(Reason::Reset), "{flags} {acknowledgement}");
    }
    assert_eq!((bench.sent(), bench.done.len()), (vec![], 0));
    assert_eq!(bench.server(&server(RST | ACK, 0, C1)), Verdict::Drop(Reason::Over));
    assert_eq!((&bench.done[..], bench.client), (&["another"][..], Some(Client { tries: 1, ..CLIENT })));
    assert_eq!(bench.server(&syn_ack(&SERVICE)), Verdict::Drop(Reason::Unknown));
    assert_eq!(bench.splices.waiting(), 0);

    // After the header, at exactly its next number.
    let mut bench = Bench::begun(false, CLIENT, &PROXY);
    bench.server(&syn_ack(&PROXY));
    for sequence in [S, S + 2] {
        assert_eq!(bench.server(&server(RST, sequence, 0)), Verdict::Drop(Reason::Reset));
    }
    assert_eq!(bench.server(&server(RST, S + 1, 0)), Verdict::Drop(Reason::Over));
    assert_eq!(bench.done, ["another"]);
}

/// Spec: RFC 9293, 3.5 "Reset Generation" (a client that is synchronized takes it at its number).
#[test]
fn after_enough_servers_the_client_is_reset() {
    let mut bench = Bench::begun(false, Client { tries: 2, ..CLIENT }, &SERVICE);
    bench.sent.clear();
    bench.server(&server(RST | ACK, 0, C1));
    assert_eq!(bench.sent(), [(Side::Client, RST | ACK, K + 1, C1)]);
    assert_eq!(bench.done, ["gave up"]);
    assert_eq!(bench.splices.counters().gave_up, 1);
    let frame = CLIENT.reset(&ends(true)[0], &pool(1)).unwrap();
    assert_eq!(Sent::of(Side::Client, &frame).brief(), (Side::Client, RST | ACK, K + 1, C1));
}

#[test]
fn a_syn_is_sent_again_and_then_another_server_is_tried() {
    let mut bench = Bench::begun(false, CLIENT, &SERVICE);
    let syn = core::mem::take(&mut bench.sent);
    assert_eq!(bench.poll(999), Some(1000));
    assert_eq!(bench.sent, []);
    assert_eq!(bench.poll(1000), Some(3000));
    assert_eq!(core::mem::take(&mut bench.sent), syn);
    assert_eq!(bench.poll(3000), None);
    assert_eq!((&bench.sent[..], &bench.done[..]), (&[][..], &["another"][..]));
    assert_eq!(bench.splices.counters().timed_out, 1);
}

/// Spec: RFC 9293, 3.8.6.1 (probes are answered), 3.10.7.4; RFC 5961, 4.2 (a SYN is asked about).
#[test]
fn before_there_is_a_server_the_client_is_told_that_its_window_is_closed() {
    for service in [SERVICE, PROXY] {
        let mut bench = Bench::begun(false, CLIENT, &service);
        if service.proxy {
            bench.server(&syn_ack(&PROXY));
        }
        bench.sent.clear();
        let closed = [(Side::Client, ACK, K + 1, C1)];
        assert_eq!(bench.client(&client(ACK, C1, K + 1)), Verdict::Drop(Reason::Waiting));
        assert_eq!(bench.sent(), []);
        for say in [
            client(ACK, C1, K + 1).data(b"probe"),
            client(ACK, C, K + 1),
            client(FIN | ACK, C1, K + 1),
            client(SYN, 4711, 0),
        ] {
            assert_eq!(bench.client(&say), Verdict::Drop(Reason::Waiting));
            assert_eq!(bench.sent[0].window, 0);
            assert_eq!(bench.sent(), closed);
        }
        assert_eq!(bench.client(&client(ACK, C1, K)), Verdict::Drop(Reason::Acknowledgement));
        assert_eq!(bench.client(&client(FIN, C1, 0)), Verdict::Drop(Reason::Flags));
        assert_eq!(bench.sent(), []);
    }
}

/// Spec: RFC 7323, 4.3 (what is sent back is the clock that was heard last).
#[test]
fn what_a_client_says_meanwhile_the_server_is_told() {
    let mut bench = Bench::begun(false, CLIENT, &SERVICE);
    let later = client(ACK, C, K + 1).time(CLIENT_TIME + 50, OWN_TIME).window(0x77);
    bench.client(&later);
    // Not by what is elsewhere, or older.
    bench.client(&client(ACK, C1.wrapping_add(9), K + 1).time(CLIENT_TIME + 60, OWN_TIME).window(1));
    bench.client(&client(ACK, C1, K + 1).time(CLIENT_TIME + 40, OWN_TIME).window(0x77));
    bench.sent.clear();
    bench.server(&syn_ack(&SERVICE));
    let [ack, opening] = &bench.sent[..] else { panic!() };
    assert_eq!(ack.window, 0x77);
    assert_eq!(ack.options, [TcpOptionElement::Timestamp(CLIENT_TIME + 50, SERVER_TIME)]);
    assert_eq!(opening.options, [TcpOptionElement::Timestamp(OWN_TIME, CLIENT_TIME + 50)]);
}

/// Spec: RFC 5961, 3.2: the window is closed, so one number is right.
#[test]
fn a_clients_reset_ends_it_at_the_next_number_alone() {
    for service in [SERVICE, PROXY] {
        let mut bench = Bench::begun(false, CLIENT, &service);
        if service.proxy {
            bench.server(&syn_ack(&PROXY));
        }
        bench.sent.clear();
        for (flags, sequence) in [(RST, C), (RST | ACK, C1.wrapping_add(1)), (RST | SYN, C1)] {
            assert_eq!(bench.client(&client(flags, sequence, K + 1)), Verdict::Drop(Reason::Reset));
        }
        assert_eq!(bench.sent(), []);
        assert_eq!(bench.client(&client(RST, C1, 0)), Verdict::Drop(Reason::Over));
        let expected = if service.proxy {
            (Side::Server, RST | ACK, C1.wrapping_sub(28), S + 1)
        } else {
            (Side::Server, RST, C1, 0)
        };
        assert_eq!(bench.sent(), [expected]);
        assert_eq!((&bench.done[..], bench.splices.waiting()), (&["closed"][..], 0));
    }
}
