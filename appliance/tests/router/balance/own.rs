//! What the balancer itself asks its servers, and hears of them.

use core::net::SocketAddr;

use paravane_appliance::drops::Reason;
use paravane_appliance::flow::Key;
use paravane_appliance::nat::Mode;
use paravane_appliance::packet::edit::Ends as KeyEnds;
use paravane_appliance::packet::wire::PROTOCOL_TCP;
use paravane_appliance::path::Path;
use paravane_appliance::pool;

use super::support::*;
use crate::world::{HOST_MAC, OWN_MAC, PRIVATE};

/// A service of which connections are picked up, and a server's answer to the balancer itself.
fn asked(ends: Ends) -> (Balanced, Tcp, Key) {
    let mut one = service(&ends, Mode::Dnat);
    one.flows.picks_up = true;
    one.pool.algorithm = pool::Algorithm::maglev([1, 2]);
    let balanced = Balanced::of(ends, one, settings());
    let from = SocketAddr::new(ends.servers[0], SERVER_PORT);
    let to = SocketAddr::new(ends.own, 61_000);
    let key_ends = KeyEnds {
        source: from.ip(),
        destination: to.ip(),
        source_port: from.port(),
        destination_port: to.port(),
    };
    let key = Key::new(key_ends, PROTOCOL_TCP, PRIVATE.0).unwrap();
    (balanced, Tcp::new(from, to, ACK).at(9000, 1), key)
}

fn fetched(path: &mut Path) -> usize {
    path.fetch(PRIVATE).map(core::mem::take).unwrap_or_default().len()
}

#[test]
fn what_is_waited_for_is_no_clients_and_the_rest_is_nobodys() {
    for ends in [V4, V6] {
        let (mut balanced, answer, key) = asked(ends);
        balanced.world.path.expect(vec![key]);
        balanced.take(PRIVATE, &answer, b"HTTP/1.1 200");
        assert_eq!(fetched(&mut balanced.world.path), 1);
        let other = SocketAddr::new(ends.own, 61_001);
        balanced.take(PRIVATE, &Tcp::new(answer.source, other, SYN), b"");
        balanced.take(PRIVATE, &Tcp::new(balanced.client(5), answer.destination, ACK), b"");
        assert_eq!(fetched(&mut balanced.world.path), 0);
        assert_eq!(balanced.world.path.drops().of(PRIVATE, Reason::NoListener), 1);
        assert!(balanced.world.path.balancer().unwrap().flows().is_empty(), "no flow of ours");
        balanced.world.path.expect(Vec::new());
        balanced.take(PRIVATE, &Tcp { flags: SYN | ACK, ..answer }, b"");
        assert_eq!(fetched(&mut balanced.world.path), 0);
        assert_eq!(balanced.world.path.drops().of(PRIVATE, Reason::NoListener), 2);
        assert!(balanced.world.is_silent());
    }
}

#[test]
fn what_is_sent_finds_its_way() {
    for ends in [V4, V6] {
        let (mut balanced, answer, _) = asked(ends);
        let question = Tcp::new(answer.destination, answer.source, SYN);
        let frame = balanced.world.frame(&question.bytes(Default::default(), Default::default(), b""));
        balanced.world.path.send(frame, balanced.world.now);
        let sent = balanced.world.sent_one(PRIVATE);
        assert_eq!((&sent[..6], &sent[6..12]), (&HOST_MAC.0[..], &OWN_MAC[1].0[..]));
        assert_eq!((seen(&sent).destination, seen(&sent).flags), (answer.source, SYN));
        let stray = Tcp { destination: SocketAddr::new("198.51.100.1".parse().unwrap(), 1), ..question };
        let stray = Tcp { source: SocketAddr::new(V4.own, 1), ..stray };
        let frame = balanced.world.frame(&stray.bytes(Default::default(), Default::default(), b""));
        balanced.world.path.send(frame, balanced.world.now);
        assert!(balanced.world.is_silent() && balanced.world.all_home(), "nothing goes to a black hole");
    }
}
