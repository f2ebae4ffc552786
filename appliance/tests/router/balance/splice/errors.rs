//! ICMP errors about what is spliced: whoever hears one finds its own numbers there.

use paravane_appliance::drops::Reason;
use smoltcp::wire::Ipv4Packet;

use super::{CLIENT, How, SERVER, begin, connect, each};
use crate::balance::errors::{Said, end, said, too_big};
use crate::balance::support::{ACK, Balanced, Tcp, V4, V6, settings};
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
            let expected = Said {
                from: if router == joined.syn.destination.ip() || !how.keeps_source {
                    how.ends.vip
                } else {
                    router
                },
                to: how.ends.client,
                mtu_bytes: Some(1280),
                quoted: [end(balanced.client(5000)), end(balanced.vip())],
                sequence: CLIENT + 1,
            };
            assert_eq!((told.to, told.mtu_bytes), (expected.to, expected.mtu_bytes));
            assert_eq!((told.quoted, told.sequence), (expected.quoted, expected.sequence));
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

/// A gateway that is gone: the server hears of the packet that it sent.
#[test]
fn what_cannot_be_delivered_to_a_client_its_server_sent() {
    let how = How::new(V4);
    let mut balanced = Balanced::of(V4, how.service(), settings());
    let joined = connect(&mut balanced, &how, 5000);
    // Nobody confirms the gateway any more.
    for _ in 0..90 {
        balanced.pass(1);
        balanced.take(PRIVATE, &joined.of_server(ACK), b"are you there");
        for asked in balanced.world.sent(PRIVATE) {
            if let Some(answer) = crate::neighbours::answer(&asked, HOST_MAC) {
                balanced.world.take(PRIVATE, &answer);
            }
        }
        let _ = balanced.world.sent(PUBLIC);
        if balanced.world.path.drops().of(PRIVATE, Reason::Unresolved) > 0 {
            break;
        }
    }
    balanced.pass(0);
    let _ = begin;
}
