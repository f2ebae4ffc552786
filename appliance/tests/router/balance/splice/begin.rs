//! How connections begin, and what passes.

use core::net::SocketAddr;

use paravane_appliance::balance::{BalanceError, Balancer, Protocol, Service};
use paravane_appliance::drops::Reason;
use paravane_appliance::nat::{Mode, Sources};

use super::{CLIENT, How, SERVER, answer, ask, begin, connect, each};
use crate::balance::support::{ACK, FIN, SERVER_PORT, SYN, Tcp, V4, V6, service, settings};
use crate::world::{PRIVATE, PUBLIC, random};

#[test]
fn bytes_pass_both_ways_under_other_numbers() {
    each(|mut balanced, how| {
        let joined = connect(&mut balanced, &how, 5000);
        assert_eq!(joined.syn.destination, SocketAddr::new(how.ends.servers[0], SERVER_PORT));
        if how.keeps_source {
            assert_eq!(joined.syn.source, balanced.client(5000));
        } else {
            assert_eq!(joined.syn.source.ip(), how.ends.own);
        }
        let request = joined.of_client(&balanced, ACK);
        let there = balanced.through(PUBLIC, &request, b"GET / HTTP/1.1\r\n\r\n");
        assert_eq!((there.source, there.destination), (joined.syn.source, joined.syn.destination));
        assert_eq!((there.sequence, there.acknowledgement), (CLIENT + 1, SERVER + 1));
        assert_eq!((there.payload.as_slice(), there.ttl), (&b"GET / HTTP/1.1\r\n\r\n"[..], 63));
        let back = balanced.through(PRIVATE, &Tcp::answer(&there, ACK), b"HTTP/1.1 200 OK\r\n\r\n");
        assert_eq!((back.source, back.destination), (balanced.vip(), balanced.client(5000)));
        assert_eq!((back.sequence, back.acknowledgement), (joined.cookie.wrapping_add(1), CLIENT + 19));
        assert_eq!((back.payload.as_slice(), back.ttl), (&b"HTTP/1.1 200 OK\r\n\r\n"[..], 63));
        // The end.
        let fin = balanced.through(PUBLIC, &Tcp::answer(&back, FIN | ACK), b"");
        let fin_back = balanced.through(PRIVATE, &Tcp::answer(&fin, FIN | ACK), b"");
        balanced.through(PUBLIC, &Tcp::answer(&fin_back, ACK), b"");
        assert_eq!((balanced.flows(), balanced.connections()), (1, 1));
        balanced.pass(61);
        assert_eq!((balanced.flows(), balanced.connections()), (0, 0));
        assert!(balanced.world.path.balancer().unwrap().splices().unwrap().is_empty());
        assert!(balanced.world.is_silent(), "both ends know that it is over");
        assert!(balanced.world.dropped().is_empty(), "{:?}", balanced.world.dropped());
        assert!(balanced.world.all_home());
        let traffic = balanced.balancer().services()[0].traffic();
        assert_eq!((traffic.in_packets, traffic.out_packets), (3, if how.proxy { 3 } else { 2 }));
    });
}

/// What is asked for before there is a server comes again.
#[test]
fn what_a_client_says_early_waits_for_its_server() {
    each(|mut balanced, how| {
        let joined = begin(&mut balanced, 5000);
        balanced.take(PUBLIC, &joined.of_client(&balanced, ACK), b"early");
        let closed = balanced.one(PUBLIC);
        assert_eq!((closed.flags, closed.sequence), (ACK, joined.cookie.wrapping_add(1)));
        assert_eq!(closed.acknowledgement, CLIENT + 1, "nothing was taken");
        assert_eq!(balanced.world.dropped(), [(PUBLIC, Reason::TcpWaiting, 1)]);
        answer(&mut balanced, &how, &joined);
        let there = balanced.through(PUBLIC, &joined.of_client(&balanced, ACK), b"early");
        assert_eq!((there.sequence, there.payload.as_slice()), (CLIENT + 1, &b"early"[..]));
    });
}

#[test]
fn what_a_server_does_not_acknowledge_is_sent_again() {
    each(|mut balanced, how| {
        let joined = begin(&mut balanced, 5000);
        balanced.pass(1);
        let again = balanced.one(PRIVATE);
        assert_eq!((again.flags, again.sequence), (SYN, joined.syn.sequence));
        assert_eq!(again.source, joined.syn.source);
        answer(&mut balanced, &how, &joined);
        balanced.pass(1);
        let opening = balanced.one(PUBLIC);
        assert_eq!((opening.flags, opening.sequence), (ACK, joined.cookie.wrapping_add(1)));
    });
}

#[test]
fn who_answers_nothing_that_was_said_hears_that_nobody_is_there() {
    each(|mut balanced, _| {
        for cookie in [77, ask(&mut balanced, 5001).wrapping_add(4)] {
            balanced.take(PUBLIC, &balanced.of_client(5001, ACK).at(CLIENT + 1, cookie), b"");
            let reset = balanced.one(PUBLIC);
            assert_eq!((reset.flags, reset.sequence), (4, cookie));
        }
        assert_eq!(balanced.world.dropped(), [(PUBLIC, Reason::Cookie, 2)]);
        assert_eq!((balanced.flows(), balanced.connections()), (0, 0));
        // What another was told is of no use.
        let cookie = ask(&mut balanced, 5002);
        balanced.take(PUBLIC, &balanced.of_client(5003, ACK).at(CLIENT + 1, cookie.wrapping_add(1)), b"");
        assert_eq!(balanced.world.path.drops().of(PUBLIC, Reason::Cookie), 3);
    });
}

/// Nobody is believed whose words were damaged on their way.
#[test]
fn what_is_damaged_begins_nothing() {
    each(|mut balanced, _| {
        use crate::world::{GATEWAY_MAC, OWN_MAC};
        let mut syn = balanced.of_client(5000, SYN).at(CLIENT, 0).bytes(GATEWAY_MAC, OWN_MAC[0], b"");
        *syn.last_mut().unwrap() ^= 1;
        balanced.world.take(PUBLIC, &syn);
        assert_eq!(balanced.world.dropped(), [(PUBLIC, Reason::TcpChecksum, 1)]);
        assert!(balanced.world.is_silent() && balanced.world.all_home());
    });
}

/// Of the same ends, once the first is over.
#[test]
fn the_same_client_may_begin_again() {
    each(|mut balanced, how| {
        let joined = connect(&mut balanced, &how, 5000);
        let reset = balanced.through(PUBLIC, &joined.of_client(&balanced, 4), b"");
        assert_eq!((reset.flags, reset.sequence), (4, CLIENT + 1));
        let syn = balanced.of_client(5000, SYN).at(900_000, 0);
        balanced.take(PUBLIC, &syn, b"");
        let answer = balanced.one(PUBLIC);
        assert_eq!((answer.flags, answer.acknowledgement), (SYN | ACK, 900_001));
        assert_ne!(answer.sequence, joined.cookie);
        assert_eq!((balanced.flows(), balanced.connections()), (0, 0), "nothing is kept of either");
        let ack = balanced.of_client(5000, ACK).at(900_001, answer.sequence.wrapping_add(1));
        let there = balanced.through(PUBLIC, &ack, b"");
        assert_eq!((there.flags, there.destination.ip()), (SYN, how.ends.servers[1]));
    });
}

/// Both sides are told of segments that fit all links.
#[test]
fn segments_fit_all_links() {
    for (ends, mss) in [(V4, 1360), (V6, 1340)] {
        let service = How::new(ends).service();
        let mut balanced =
            crate::balance::support::Balanced::on_private(1400, ends, vec![service], settings());
        let syn = Tcp { mss_bytes: Some(1460), ..balanced.of_client(5000, SYN).at(CLIENT, 0) };
        balanced.take(PUBLIC, &syn, b"");
        let answer = balanced.one(PUBLIC);
        assert_eq!(answer.mss_bytes, Some(mss));
        let ack = balanced.of_client(5000, ACK).at(CLIENT + 1, answer.sequence.wrapping_add(1));
        let there = balanced.through(PUBLIC, &ack, b"");
        assert!(there.mss_bytes.unwrap() <= mss, "{there:?}");
        let effective = balanced.balancer().services()[0].service().splice.service.offer.mss_bytes;
        assert_eq!(effective, mss);
    }
}

#[test]
fn what_cannot_be_spliced_is_refused() {
    let new = |service, settings| Balancer::new(settings, vec![service], 3, &mut random()).err();
    let listen = How::new(V4).service().listen;
    let udp = Service { mode: Mode::Splice, ..Service::new("dns", Protocol::Udp, listen) };
    assert_eq!(new(udp, settings()), Some(BalanceError::Splice { listen }));
    let mut without = settings();
    without.sources = Sources::NONE;
    let [hides, keeps] = [false, true].map(|keeps_source| How { keeps_source, ..How::new(V4) }.service());
    assert_eq!(new(hides, without.clone()), Some(BalanceError::NoSources { listen }));
    assert_eq!(new(keeps, without), None, "the client's address is there");
    // One that is not has no table.
    assert!(How::new(V4).balanced().balancer().splices().is_some());
    let plain = crate::balance::support::Balanced::of(V4, service(&V4, Mode::Dnat), settings());
    assert!(plain.world.path.balancer().unwrap().splices().is_none());
}
