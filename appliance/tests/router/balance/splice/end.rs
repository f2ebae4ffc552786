//! How connections end that nobody ended: both sides hear it at their own numbers.

use paravane_appliance::drops::Reason;
use paravane_appliance::icmp::Rate;
use smoltcp::wire::Ipv4Packet;

use super::{CLIENT, How, Joined, SERVER, ask, begin, connect, each};
use crate::balance::support::{ACK, Balanced, RST, SYN, Seen, Tcp, V4, segments};
use crate::world::{GATEWAY_MAC, HOST_MAC, OWN_MAC, PRIVATE, PUBLIC};

/// What both sides heard since.
fn heard(balanced: &mut Balanced) -> [Vec<Seen>; 2] {
    [PUBLIC, PRIVATE].map(|to| segments(&balanced.world.sent(to)))
}

/// Each is cut off, by the other, at these numbers: the sequence number, and what is acknowledged.
fn is_cut_off(balanced: &mut Balanced, joined: &Joined, client: [u32; 2], server: [u32; 2]) {
    let [to_client, to_server] = heard(balanced);
    let [to_client] = &to_client[..] else { panic!("{to_client:?}") };
    let [to_server] = &to_server[..] else { panic!("{to_server:?}") };
    assert_eq!((to_client.flags, to_server.flags), (RST | ACK, RST | ACK));
    assert_eq!((to_client.source, to_client.destination), (balanced.vip(), balanced.client(joined.port)));
    assert_eq!((to_server.source, to_server.destination), (joined.syn.source, joined.syn.destination));
    assert_eq!([to_client.sequence, to_client.acknowledgement], client);
    assert_eq!([to_server.sequence, to_server.acknowledgement], server);
    assert_eq!((balanced.flows(), balanced.connections()), (0, 0));
    assert!(balanced.balancer().splices().unwrap().is_empty());
    assert!(balanced.world.all_home());
}

/// Drains the first server, to be over at once.
fn drain(balanced: &mut Balanced) {
    let (first, now) = (balanced.servers[0], balanced.world.now);
    balanced.balancer().service_mut(0).unwrap().drain(first, Some(now)).unwrap();
    for _ in 0..20 {
        balanced.pass(1);
    }
}

#[test]
fn a_drained_servers_connections_are_cut_off_at_both_ends() {
    each(|mut balanced, how| {
        let joined = connect(&mut balanced, &how, 5000);
        balanced.through(PUBLIC, &joined.of_client(&balanced, ACK), b"seven b");
        balanced.through(PRIVATE, &joined.of_server(ACK).at(SERVER + 1, CLIENT + 8), b"five!");
        drain(&mut balanced);
        let next = joined.cookie.wrapping_add(6);
        is_cut_off(&mut balanced, &joined, [next, CLIENT + 8], [CLIENT + 8, SERVER + 6]);
    });
}

#[test]
fn a_balancer_that_ends_cuts_them_off_and_answers_no_syn() {
    each(|mut balanced, how| {
        let joined = connect(&mut balanced, &how, 5000);
        balanced.through(PUBLIC, &joined.of_client(&balanced, ACK), b"seven b");
        balanced.balancer().close();
        balanced.take(PUBLIC, &balanced.of_client(5001, SYN).at(1000, 0), b"");
        let refused = balanced.one(PUBLIC);
        assert_eq!((refused.flags, refused.acknowledgement), (RST | ACK, 1001));
        assert_eq!(balanced.world.dropped(), [(PUBLIC, Reason::Stopping, 1)]);
        balanced.balancer().cut_off();
        for _ in 0..20 {
            balanced.pass(1);
        }
        let next = joined.cookie.wrapping_add(1);
        is_cut_off(&mut balanced, &joined, [next, CLIENT + 8], [CLIENT + 8, SERVER + 1]);
    });
}

/// A client that was answered before, and comes back when nothing begins any more.
#[test]
fn a_balancer_that_ends_takes_no_cookie() {
    let how = How::new(V4);
    let mut balanced = how.balanced();
    let cookie = ask(&mut balanced, 5000);
    balanced.balancer().close();
    let back = balanced.of_client(5000, ACK).at(CLIENT + 1, cookie.wrapping_add(1));
    balanced.take(PUBLIC, &back, b"");
    assert_eq!(balanced.one(PUBLIC).flags, RST);
    assert_eq!((balanced.world.dropped(), balanced.flows()), (vec![(PUBLIC, Reason::Stopping, 1)], 0));
}

#[test]
fn one_that_is_quiet_too_long_is_cut_off() {
    each(|mut balanced, how| {
        let joined = connect(&mut balanced, &how, 5000);
        balanced.through(PUBLIC, &joined.of_client(&balanced, ACK), b"");
        balanced.pass(7500);
        let next = joined.cookie.wrapping_add(1);
        is_cut_off(&mut balanced, &joined, [next, CLIENT + 1], [CLIENT + 1, SERVER + 1]);
    });
}

/// Its server has not answered yet: the client believes that it is connected, and hears of it.
#[test]
fn one_that_has_no_server_yet_is_told_to_its_client() {
    each(|mut balanced, _| {
        let joined = begin(&mut balanced, 5000);
        let (first, now) = (balanced.servers[0], balanced.world.now);
        balanced.balancer().service_mut(0).unwrap().drain(first, Some(now)).unwrap();
        balanced.pass(1);
        let [to_client, to_server] = heard(&mut balanced);
        assert_eq!((to_client.len(), to_server.len()), (1, 1));
        assert_eq!((to_client[0].flags, to_client[0].sequence), (RST | ACK, joined.cookie.wrapping_add(1)));
        assert_eq!((to_server[0].flags, to_server[0].sequence), (RST, joined.syn.sequence.wrapping_add(1)));
        assert_eq!((balanced.flows(), balanced.connections()), (0, 0));
    });
}

#[test]
fn a_client_that_gives_up_early_takes_its_server_along() {
    each(|mut balanced, _| {
        let joined = begin(&mut balanced, 5000);
        balanced.take(PUBLIC, &joined.of_client(&balanced, RST), b"");
        let reset = balanced.one(PRIVATE);
        assert_eq!((reset.flags, reset.sequence), (RST, joined.syn.sequence.wrapping_add(1)));
        assert_eq!((balanced.flows(), balanced.connections()), (0, 0));
        assert!(balanced.world.dropped().is_empty() && balanced.world.is_silent());
    });
}

#[test]
fn a_reset_of_either_side_reaches_the_other_and_a_guess_does_not() {
    each(|mut balanced, how| {
        let joined = connect(&mut balanced, &how, 5000);
        let guess = joined.of_server(RST).at(SERVER + 90_000, 0);
        balanced.take(PRIVATE, &guess, b"");
        assert_eq!(balanced.world.dropped(), [(PRIVATE, Reason::TcpReset, 1)]);
        assert!(balanced.world.is_silent());
        let reset = balanced.through(PRIVATE, &joined.of_server(RST), b"");
        assert_eq!((reset.flags, reset.sequence), (RST, joined.cookie.wrapping_add(1)));
        balanced.pass(15);
        assert_eq!((balanced.flows(), balanced.connections()), (0, 0));
        assert!(balanced.world.is_silent(), "who cut it off knows");
    });
}

/// What is outside its window goes nowhere: so it was before, and so it is in other numbers.
#[test]
fn what_belongs_to_no_connection_is_dropped() {
    each(|mut balanced, how| {
        let joined = connect(&mut balanced, &how, 5000);
        let far = joined.of_client(&balanced, ACK).at(CLIENT + 90_000_000, joined.cookie.wrapping_add(1));
        balanced.take(PUBLIC, &far, b"");
        balanced.take(PRIVATE, &joined.of_server(ACK).at(SERVER + 90_000_000, CLIENT + 1), b"");
        let both = [(PUBLIC, Reason::TcpSequence, 1), (PRIVATE, Reason::TcpSequence, 1)];
        assert_eq!(balanced.world.dropped(), both);
        assert!(balanced.world.is_silent());
    });
}

/// No honest sender makes them.
#[test]
fn parts_of_segments_go_nowhere() {
    let how = How::new(V4);
    let mut balanced = how.balanced();
    let joined = connect(&mut balanced, &how, 5000);
    let parts = [
        (PUBLIC, GATEWAY_MAC, balanced.of_client(6000, SYN)),
        (PUBLIC, GATEWAY_MAC, joined.of_client(&balanced, ACK)),
        (PRIVATE, HOST_MAC, joined.of_server(ACK)),
    ];
    for (from, mac, tcp) in parts {
        let mut bytes = tcp.bytes(mac, OWN_MAC[from.index()], &[0; 12]);
        bytes[20] |= 0x20;
        Ipv4Packet::new_unchecked(&mut bytes[14..]).fill_checksum();
        balanced.world.take(from, &bytes);
    }
    let both = [(PUBLIC, Reason::FragmentTcp, 2), (PRIVATE, Reason::FragmentTcp, 1)];
    assert_eq!(balanced.world.dropped(), both);
    assert!(balanced.world.is_silent() && balanced.world.all_home());
}

/// Limits hold with the SYN, as far as they are known then; and whoever was promised more is told.
#[test]
fn limits_hold_as_for_others() {
    let reasons = [Reason::ServiceFull, Reason::ServiceRate, Reason::SplicesFull, Reason::SourceRate];
    for reason in reasons {
        let how = How::new(V4);
        let (mut service, mut settings) = (how.service(), crate::balance::support::settings());
        let rate = Rate { per_second: 1, burst: 1 };
        match reason {
            Reason::ServiceFull => service.flows.flows = 1,
            Reason::ServiceRate => service.flows.rate = rate,
            Reason::SplicesFull => settings.splices = 1,
            _ => settings.flows.source = rate,
        }
        let mut balanced = Balanced::of(V4, service, settings);
        // Two ask while there is room.
        let cookies = [5000, 5001].map(|port| ask(&mut balanced, port));
        let ack = |balanced: &Balanced, port, cookie: u32| {
            balanced.of_client(port, ACK).at(CLIENT + 1, cookie.wrapping_add(1))
        };
        balanced.take(PUBLIC, &ack(&balanced, 5000, cookies[0]), b"");
        assert_eq!(balanced.one(PRIVATE).flags, SYN);
        balanced.take(PUBLIC, &ack(&balanced, 5001, cookies[1]), b"");
        let reset = balanced.one(PUBLIC);
        assert_eq!((reset.flags, reset.sequence), (RST, cookies[1].wrapping_add(1)), "{reason:?}");
        balanced.take(PUBLIC, &Tcp { ..balanced.of_client(5002, SYN).at(CLIENT, 0) }, b"");
        assert!(balanced.world.is_silent(), "{reason:?}");
        assert_eq!(balanced.world.dropped(), [(PUBLIC, reason, 2)]);
        assert_eq!((balanced.flows(), balanced.connections()), (1, 1));
    }
    // Without a server, a SYN is refused.
    let mut balanced = How::new(V4).balanced();
    for server in balanced.servers.clone() {
        balanced.balancer().service_mut(0).unwrap().maintain(server).unwrap();
    }
    balanced.take(PUBLIC, &balanced.of_client(5000, SYN).at(CLIENT, 0), b"");
    assert_eq!(balanced.one(PUBLIC).flags, RST | ACK);
}
