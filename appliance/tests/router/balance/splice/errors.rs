//! ICMP errors about what is spliced: whoever hears one finds its own numbers there.

use paravane_appliance::drops::Reason;
use smoltcp::wire::Ipv4Packet;

use super::{CLIENT, How, Joined, SERVER, connect, each};
use crate::balance::errors::{end, is_error, said, too_big};
use crate::balance::support::{ACK, Balanced, SYN, Tcp, V4, V6, segments, settings};
use crate::neighbours::answer_of_any;
use crate::world::{FAR_V4, FAR_V6, GATEWAY_MAC, HOST_MAC, OWN_MAC, PRIVATE, PUBLIC};

#[test]
fn a_link_behind_the_server_that_is_narrower_is_told_to_the_client() {
    each(|mut balanced, how| {
        let joined = connect(&mut balanced, &how, 5000);
        balanced.take(PUBLIC, &joined.of_client(&balanced, ACK), &[7; 1000]);
        let packet = balanced.world.sent_one(PRIVATE);
        for router in how.ends.servers {
            balanced.world.take(PRIVATE, &too_big(PRIVATE, router, &packet, 1280));
            let told = said(&balanced.world.sent_one(PUBLIC));
            assert_eq!((told.to, told.mtu_bytes), (how.ends.client, Some(1280)));
            assert_eq!(told.quoted, [end(balanced.client(5000)), end(balanced.vip())]);
            assert_eq!(told.sequence, CLIENT + 1);
            if router == joined.syn.destination.ip() {
                assert_eq!(told.from, how.ends.vip, "a client knows nobody else");
            }
        }
        assert_eq!(balanced.flows(), 1, "an error ends no flow");
    });
}

#[test]
fn a_link_behind_the_client_that_is_narrower_is_told_to_the_server_in_its_numbers() {
    each(|mut balanced, how| {
        let joined = connect(&mut balanced, &how, 5000);
        balanced.take(PRIVATE, &joined.of_server(ACK), &[7; 1000]);
        let packet = balanced.world.sent_one(PUBLIC);
        let router = if how.ends.client.is_ipv4() { FAR_V4.into() } else { FAR_V6.into() };
        balanced.world.take(PUBLIC, &too_big(PUBLIC, router, &packet, 1280));
        let told = said(&balanced.world.sent_one(PRIVATE));
        assert_eq!((told.to, told.mtu_bytes), (joined.syn.destination.ip(), Some(1280)));
        assert_eq!(told.quoted, [end(joined.syn.destination), end(joined.syn.source)]);
        assert_eq!(told.sequence, SERVER + 1, "as the server sent it");
    });
}

/// Of our own links, and of packets that were passed on too often.
#[test]
fn each_side_hears_of_the_packet_as_it_sent_it() {
    for ends in [V4, V6] {
        let how = How { proxy: true, ..How::new(ends) };
        let mut balanced = how.balanced();
        let joined = connect(&mut balanced, &how, 5000);
        let long = |tcp: Tcp, from, to: usize| {
            let mut bytes = tcp.bytes(from, OWN_MAC[to], &[7; 1600]);
            if ends.client.is_ipv4() {
                bytes[20] |= 0x40;
                Ipv4Packet::new_unchecked(&mut bytes[14..]).fill_checksum();
            }
            bytes
        };
        let of_client = joined.of_client(&balanced, ACK);
        balanced.world.take(PUBLIC, &long(of_client, GATEWAY_MAC, 0));
        let told = said(&balanced.world.sent_one(PUBLIC));
        assert_eq!((told.mtu_bytes, told.sequence), (Some(1500), CLIENT + 1));
        assert_eq!(told.quoted, [end(balanced.client(5000)), end(balanced.vip())]);
        let of_server = joined.of_server(ACK);
        balanced.world.take(PRIVATE, &long(of_server, HOST_MAC, 1));
        let told = said(&balanced.world.sent_one(PRIVATE));
        assert_eq!((told.mtu_bytes, told.sequence), (Some(1500), SERVER + 1));
        assert_eq!(told.quoted, [end(joined.syn.destination), end(joined.syn.source)]);
        balanced.take(PRIVATE, &Tcp { ttl: 1, ..of_server }, b"data");
        let told = said(&balanced.world.sent_one(PRIVATE));
        assert_eq!((told.mtu_bytes, told.sequence), (None, SERVER + 1));
        assert!(balanced.world.sent(PUBLIC).is_empty());
    }
}

/// What we sent ourselves is nothing that its client knows.
#[test]
fn of_our_own_segments_nobody_hears() {
    each(|mut balanced, how| {
        let cookie = super::ask(&mut balanced, 5000);
        let ack = balanced.of_client(5000, ACK).at(CLIENT + 1, cookie.wrapping_add(1));
        balanced.take(PUBLIC, &ack, b"");
        let syn = balanced.world.sent_one(PRIVATE);
        balanced.world.take(PRIVATE, &too_big(PRIVATE, how.ends.servers[1], &syn, 1280));
        assert_eq!(balanced.world.dropped(), [(PRIVATE, Reason::TcpWaiting, 1)]);
        assert!(balanced.world.is_silent());
        assert_eq!(balanced.flows(), 1);
    });
}

/// A gateway that nobody has: the server hears of the packet that it sent.
#[test]
fn what_cannot_be_delivered_to_a_client_its_server_sent() {
    for ends in [V4, V6] {
        let how = How::new(ends);
        let mut settings = settings();
        settings.splicing.resends = 1;
        let mut balanced = Balanced::among_strangers(ends, vec![how.service()], settings);
        // What is sent to servers; their link answers.
        let passed = |balanced: &mut Balanced, seconds| {
            let mut sent = Vec::new();
            for _ in 0..seconds {
                balanced.pass(1);
                for bytes in balanced.world.sent(PRIVATE) {
                    match answer_of_any(&bytes, HOST_MAC) {
                        Some(answer) => balanced.world.take(PRIVATE, &answer),
                        None => sent.push(bytes),
                    }
                }
                sent.extend(balanced.world.sent(PRIVATE));
            }
            sent
        };
        let cookie = super::ask(&mut balanced, 5000);
        balanced.take(PUBLIC, &balanced.of_client(5000, ACK).at(CLIENT + 1, cookie.wrapping_add(1)), b"");
        let syns = segments(&passed(&mut balanced, 1));
        let joined = Joined { port: 5000, cookie, syn: syns[0].clone() };
        balanced.take(PRIVATE, &joined.of_server(SYN | ACK).at(SERVER, CLIENT + 1), b"");
        balanced.take(PRIVATE, &joined.of_server(ACK), b"are you there");
        let told: Vec<_> =
            passed(&mut balanced, 5).iter().filter(|bytes| is_error(bytes)).map(|e| said(e)).collect();
        assert!(!told.is_empty(), "{:?}", balanced.world.dropped());
        for told in told {
            assert_eq!((told.to, told.sequence), (joined.syn.destination.ip(), SERVER + 1));
            assert_eq!(told.quoted, [end(joined.syn.destination), end(joined.syn.source)]);
        }
    }
}
