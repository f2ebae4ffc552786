//! Another server, before the first byte.

use core::time::Duration;

use paravane_appliance::balance::Service;
use paravane_appliance::check;
use paravane_appliance::pool::Health;

use super::{CLIENT, How, answer, begin, connect, each};
use crate::balance::support::{ACK, Balanced, RST, SYN, Seen, Tcp, V4, segments, settings};
use crate::world::{PRIVATE, PUBLIC};

/// With passive checks, by which one failure has a server be down.
fn strict(how: &How) -> Balanced {
    let passive =
        check::Passive { failures: 1, window: Duration::from_secs(60), hold: Duration::from_secs(60) };
    let checks =
        check::Settings { probe: None, passive: Some(passive), ..check::Settings::new(check::Probe::Tcp) };
    Balanced::of(how.ends, Service { checks, ..how.service() }, settings())
}

fn health(balanced: &mut Balanced) -> [Option<Health>; 2] {
    let servers = balanced.servers.clone();
    [0, 1].map(|at| balanced.balancer().services()[0].checks().health(servers[at]))
}

#[test]
fn a_client_whose_server_refuses_gets_another_and_does_not_notice() {
    each(|_, how| {
        let mut balanced = strict(&how);
        // Each server has one already.
        for port in [6000, 6001] {
            connect(&mut balanced, &how, port);
        }
        let first = begin(&mut balanced, 5000);
        let refusal = Tcp::answer(&first.syn, RST | ACK).at(0, first.syn.sequence.wrapping_add(1));
        balanced.take(PRIVATE, &refusal, b"");
        assert!(balanced.world.sent(PUBLIC).is_empty(), "the client does not hear of it");
        let syn = balanced.one(PRIVATE);
        assert_eq!((syn.flags, syn.sequence), (SYN, first.syn.sequence));
        assert_eq!(syn.destination.ip(), how.ends.servers[1]);
        assert_eq!(health(&mut balanced), [Some(Health::Down), Some(Health::Up)]);
        assert_eq!((balanced.flows(), balanced.connections()), (3, 3));
        let second = super::Joined { syn, ..first };
        answer(&mut balanced, &how, &second);
        let there = balanced.through(PUBLIC, &second.of_client(&balanced, ACK), b"hello");
        assert_eq!(there.destination, second.syn.destination);
        assert!(balanced.world.dropped().is_empty(), "{:?}", balanced.world.dropped());
    });
}

#[test]
fn a_client_whose_server_does_not_answer_gets_another() {
    each(|_, how| {
        let mut balanced = strict(&how);
        begin(&mut balanced, 5000);
        balanced.pass(4);
        let to: Vec<_> = segments(&balanced.world.sent(PRIVATE)).iter().map(|s| s.destination.ip()).collect();
        assert_eq!(to, [how.ends.servers[0], how.ends.servers[1], how.ends.servers[1]], "one of them again");
        assert_eq!(health(&mut balanced), [Some(Health::Down), Some(Health::Up)]);
    });
}

#[test]
fn a_server_that_answers_is_good() {
    each(|_, how| {
        let passive =
            check::Passive { failures: 2, window: Duration::from_secs(60), hold: Duration::from_secs(60) };
        let checks = check::Settings {
            probe: None,
            passive: Some(passive),
            ..check::Settings::new(check::Probe::Tcp)
        };
        let mut balanced = Balanced::of(how.ends, Service { checks, ..how.service() }, settings());
        let second = balanced.servers[1];
        balanced.balancer().service_mut(0).unwrap().maintain(second).unwrap();
        // One failure, a success, and a failure: never two in a row.
        for port in [5000, 5001, 5002] {
            let joined = begin(&mut balanced, port);
            if port == 5001 {
                answer(&mut balanced, &how, &joined);
            } else {
                let next = joined.syn.sequence.wrapping_add(1);
                balanced.take(PRIVATE, &Tcp::answer(&joined.syn, RST | ACK).at(0, next), b"");
                assert_eq!(balanced.one(PUBLIC).flags, RST | ACK, "there is no other");
            }
        }
        let first = balanced.servers[0];
        assert_eq!(balanced.balancer().services()[0].checks().health(first), Some(Health::Up));
    });
}

#[test]
fn where_no_server_is_left_the_client_is_reset_at_its_number() {
    each(|mut balanced, how| {
        let first = begin(&mut balanced, 5000);
        let refuse = |balanced: &mut Balanced, syn: &Seen| {
            balanced.take(PRIVATE, &Tcp::answer(syn, RST | ACK).at(0, syn.sequence.wrapping_add(1)), b"");
        };
        refuse(&mut balanced, &first.syn);
        let second = balanced.one(PRIVATE);
        assert_eq!(second.destination.ip(), how.ends.servers[1]);
        refuse(&mut balanced, &second);
        let reset = balanced.one(PUBLIC);
        assert_eq!((reset.flags, reset.sequence), (RST | ACK, first.cookie.wrapping_add(1)));
        assert_eq!((reset.source, reset.destination), (balanced.vip(), balanced.client(5000)));
        assert_eq!((balanced.flows(), balanced.connections()), (0, 0));
        assert!(balanced.balancer().splices().unwrap().is_empty());
        assert!(balanced.world.is_silent() && balanced.world.all_home());
    });
}

/// Nobody answers for its address: that is known before it does not answer.
#[test]
fn a_client_whose_server_is_not_there_gets_another() {
    each(|_, how| {
        let mut settings = settings();
        settings.splicing.syns = 9;
        let mut balanced = Balanced::among_strangers(how.ends, vec![how.service()], settings);
        // The first server is met, and the second is not.
        balanced.world.meet();
        let one = balanced.servers[0];
        balanced.balancer().service_mut(0).unwrap().maintain(one).unwrap();
        let cookie = super::ask(&mut balanced, 5000);
        let ack = balanced.of_client(5000, ACK).at(CLIENT + 1, cookie.wrapping_add(1));
        balanced.take(PUBLIC, &ack, b"");
        let now = balanced.world.now;
        balanced.balancer().service_mut(0).unwrap().resume(one, now).unwrap();
        balanced.pass(4);
        let syns = segments(&balanced.world.sent(PRIVATE));
        assert_eq!(syns.len(), 1, "{syns:?}");
        assert_eq!((syns[0].flags, syns[0].destination.ip()), (SYN, how.ends.servers[0]));
        assert!(balanced.world.sent(PUBLIC).is_empty(), "the client does not hear of it");
        assert_eq!((balanced.flows(), balanced.connections()), (1, 1));
    });
}

/// Rates hold for clients, and not for how often servers are tried.
#[test]
fn another_try_costs_no_rate() {
    let mut settings = settings();
    settings.flows.source = paravane_appliance::icmp::Rate { per_second: 1, burst: 1 };
    let how = How::new(V4);
    let mut balanced = how.with(settings);
    let first = begin(&mut balanced, 5000);
    balanced.take(PRIVATE, &Tcp::answer(&first.syn, RST | ACK).at(0, CLIENT + 1), b"");
    assert_eq!(balanced.one(PRIVATE).flags, SYN);
}

/// As many servers as are tried: each another one.
#[test]
fn none_is_tried_twice_where_there_is_another() {
    use paravane_appliance::pool::{self, Algorithm, Server};
    let how = How::new(V4);
    for client in 5000..5010 {
        let pool = pool::Settings { algorithm: Algorithm::maglev([1, 2]), ..pool::Settings::new(16) };
        let mut balanced = Balanced::of(V4, Service { pool, ..how.service() }, settings());
        let now = balanced.world.now;
        let third = core::net::SocketAddr::new(V4.servers[0], 9999);
        let serving = balanced.balancer().service_mut(0).unwrap();
        serving.add(Server::new("three", third), Health::Up, now).unwrap();
        balanced.world.path.poll(now);
        let first = begin(&mut balanced, client);
        let mut tried = vec![first.syn.destination];
        let mut syn = first.syn;
        while tried.len() < 3 {
            balanced.take(PRIVATE, &Tcp::answer(&syn, RST | ACK).at(0, syn.sequence.wrapping_add(1)), b"");
            syn = balanced.one(PRIVATE);
            tried.push(syn.destination);
        }
        tried.sort_unstable();
        tried.dedup();
        assert_eq!(tried.len(), 3, "{tried:?}");
    }
}
