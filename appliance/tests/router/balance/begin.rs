//! Connections from their first segment to their last.

use core::net::SocketAddr;

use paravane_appliance::drops::Reason;
use paravane_appliance::nat::Mode;

use super::support::{ACK, Balanced, Ends, FIN, RST, SERVER_PORT, SYN, Tcp, V4, V6, segments, service};
use crate::world::{PRIVATE, PUBLIC};

/// In both modes, of both versions.
fn each(test: impl Fn(Balanced, Ends, Mode)) {
    for ends in [V4, V6] {
        for mode in [Mode::Dnat, Mode::Full] {
            test(Balanced::new(ends, mode), ends, mode);
        }
    }
}

#[test]
fn a_connection_goes_to_a_server_and_comes_back_from_the_service() {
    each(|mut balanced, ends, mode| {
        let (there, back) = balanced.connect(5000);
        assert_eq!(there.destination, SocketAddr::new(ends.servers[0], SERVER_PORT));
        match mode {
            Mode::Dnat => assert_eq!(there.source, balanced.client(5000)),
            _ => {
                assert_eq!(there.source.ip(), ends.own);
                assert!((20_000..21_000).contains(&there.source.port()), "{there:?}");
            }
        }
        assert_eq!((back.source, back.destination), (balanced.vip(), balanced.client(5000)));
        assert_eq!((there.ttl, back.ttl), (63, 63));
        // Data, both ways.
        let sent = balanced.of_client(5000, ACK).at(1001, back.sequence.wrapping_add(1));
        let came = balanced.through(PUBLIC, &sent, b"GET / HTTP/1.1\r\n\r\n");
        assert_eq!((came.source, came.destination, came.sequence), (there.source, there.destination, 1001));
        assert_eq!(came.payload, b"GET / HTTP/1.1\r\n\r\n");
        let answer = balanced.through(PRIVATE, &Tcp::answer(&came, ACK), b"HTTP/1.1 200 OK\r\n\r\n");
        assert_eq!(
            (answer.source, answer.payload.as_slice()),
            (balanced.vip(), &b"HTTP/1.1 200 OK\r\n\r\n"[..])
        );
        // The end.
        let fin = balanced.through(PUBLIC, &Tcp::answer(&answer, FIN | ACK), b"");
        let fin_back = balanced.through(PRIVATE, &Tcp::answer(&fin, FIN | ACK), b"");
        balanced.through(PUBLIC, &Tcp::answer(&fin_back, ACK), b"");
        assert_eq!((balanced.flows(), balanced.connections()), (1, 1));
        balanced.pass(61);
        assert_eq!((balanced.flows(), balanced.connections()), (0, 0));
        assert!(balanced.world.is_silent(), "both ends know that it is over");
        let traffic = balanced.balancer().services()[0].traffic();
        assert_eq!((traffic.in_packets, traffic.out_packets), (5, 3));
        assert!(balanced.world.dropped().is_empty(), "{:?}", balanced.world.dropped());
        assert!(balanced.world.all_home());
    });
}

#[test]
fn connections_spread_over_the_servers() {
    each(|mut balanced, ends, _| {
        let to: Vec<_> = (5000..5010).map(|port| balanced.connect(port).0.destination.ip()).collect();
        for server in ends.servers {
            assert_eq!(to.iter().filter(|to| **to == server).count(), 5, "{to:?}");
        }
    });
}

#[test]
fn a_syn_says_segments_that_fit_both_links() {
    for (ends, mss) in [(V4, 1460), (V6, 1440)] {
        let mut balanced = Balanced::behind_wide_links(ends, service(&ends, Mode::Dnat));
        let syn = Tcp { mss_bytes: Some(8960), ..balanced.of_client(5000, SYN) };
        let there = balanced.through(PUBLIC, &syn, b"");
        assert_eq!(there.mss_bytes, Some(mss));
        let answer = Tcp { mss_bytes: Some(8960), ..Tcp::answer(&there, SYN | ACK) };
        assert_eq!(balanced.through(PRIVATE, &answer, b"").mss_bytes, Some(mss));
    }
}

#[test]
fn who_is_in_the_midst_of_nothing_hears_that_nobody_is_there() {
    each(|mut balanced, _, _| {
        let stray = balanced.of_client(5000, ACK).at(77, 88);
        balanced.take(PUBLIC, &stray, b"data");
        let reset = balanced.one(PUBLIC);
        assert_eq!((reset.flags, reset.sequence), (RST, 88));
        assert_eq!((reset.source, reset.destination), (balanced.vip(), balanced.client(5000)));
        assert_eq!(balanced.world.dropped(), [(PUBLIC, Reason::NoFlow, 1)]);
        // Of a reset nobody hears.
        balanced.take(PUBLIC, &balanced.of_client(5001, RST).at(77, 0), b"");
        assert!(balanced.world.is_silent());
        assert!(balanced.world.all_home());
    });
}

#[test]
fn what_was_quiet_too_long_is_cut_off_at_both_ends() {
    each(|mut balanced, _, _| {
        let (there, back) = balanced.connect(5000);
        balanced.pass(7441);
        let [to_client, to_server] = [PUBLIC, PRIVATE].map(|to| segments(&balanced.world.sent(to)));
        assert_eq!((to_client.len(), to_server.len()), (1, 1));
        assert_eq!((to_client[0].flags, to_client[0].sequence), (RST, back.sequence.wrapping_add(1)));
        assert_eq!((to_client[0].source, to_client[0].destination), (back.source, back.destination));
        assert_eq!((to_server[0].flags, to_server[0].sequence), (RST, 1001));
        assert_eq!((to_server[0].source, to_server[0].destination), (there.source, there.destination));
        assert_eq!((balanced.flows(), balanced.connections()), (0, 0));
    });
}

#[test]
fn the_same_client_may_begin_again_after_the_end() {
    each(|mut balanced, _, _| {
        let (there, back) = balanced.connect(5000);
        let fin = balanced.of_client(5000, FIN | ACK).at(1001, back.sequence.wrapping_add(1));
        let fin = balanced.through(PUBLIC, &fin, b"");
        let fin_back = balanced.through(PRIVATE, &Tcp::answer(&fin, FIN | ACK), b"");
        balanced.through(PUBLIC, &Tcp::answer(&fin_back, ACK), b"");
        let again = balanced.of_client(5000, SYN).at(900_000, 0);
        let again = balanced.through(PUBLIC, &again, b"");
        assert_eq!(again.flags, SYN);
        assert_ne!(again.destination, there.destination, "it is another's turn");
        assert_eq!((balanced.flows(), balanced.connections()), (1, 1));
    });
}
