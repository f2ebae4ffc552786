//! Servers that come, go, fail and drain.

use core::net::SocketAddr;
use core::time::Duration;

use paravane_appliance::balance::Service;
use paravane_appliance::check;
use paravane_appliance::nat::Mode;
use paravane_appliance::pool::{self, Health};

use super::support::{ACK, Balanced, RST, SYN, Tcp, V4, V6, segments, service, settings};
use crate::world::{PRIVATE, PUBLIC};

#[test]
fn what_a_drained_server_has_goes_on_until_its_time_is_over() {
    for mode in [Mode::Dnat, Mode::Full] {
        let mut balanced = Balanced::new(V4, mode);
        let (there, back) = balanced.connect(5000);
        let now = balanced.world.now;
        let first = balanced.servers[0];
        let until = now.saturating_add(Duration::from_secs(30));
        balanced.balancer().service_mut(0).unwrap().drain(first, Some(until)).unwrap();
        balanced.pass(29);
        // It goes on; others go elsewhere.
        let data = balanced.of_client(5000, ACK).at(1001, back.sequence.wrapping_add(1));
        assert_eq!(balanced.through(PUBLIC, &data, b"still here").destination, there.destination);
        for port in 5001..5004 {
            assert_eq!(balanced.connect(port).0.destination.ip(), V4.servers[1]);
        }
        assert_eq!(balanced.connections(), 4);
        let _ = (balanced.world.sent(PUBLIC), balanced.world.sent(PRIVATE));
        for _ in 0..10 {
            balanced.pass(1);
        }
        let to_client = segments(&balanced.world.sent(PUBLIC));
        assert_eq!(to_client.len(), 1, "its client is told");
        assert_eq!((to_client[0].flags, to_client[0].destination), (RST, balanced.client(5000)));
        assert_eq!((balanced.flows(), balanced.connections()), (3, 3));
    }
}

#[test]
fn a_sweep_comes_round() {
    // More flows than one turn looks at; of the last of them only some are left.
    let mut balanced = Balanced::new(V4, Mode::Dnat);
    for port in 5000..5600 {
        balanced.connect(port);
    }
    let (first, now) = (balanced.servers[0], balanced.world.now);
    balanced.balancer().service_mut(0).unwrap().drain(first, Some(now)).unwrap();
    balanced.pass(20);
    assert_eq!((balanced.flows(), balanced.connections()), (300, 300));
    for end in [PUBLIC, PRIVATE] {
        let told = segments(&balanced.world.sent(end));
        assert_eq!(told.iter().filter(|told| told.flags == RST).count(), 300, "each of them hears it");
    }
}

#[test]
fn a_server_that_refuses_is_marked_down_by_its_resets() {
    let passive =
        check::Passive { failures: 2, window: Duration::from_secs(10), hold: Duration::from_secs(20) };
    let checks =
        check::Settings { probe: None, passive: Some(passive), ..check::Settings::new(check::Probe::Tcp) };
    let mut balanced = Balanced::of(V4, Service { checks, ..service(&V4, Mode::Dnat) }, settings());
    let refused = |balanced: &mut Balanced, port: u16| {
        let there = balanced.through(PUBLIC, &balanced.of_client(port, SYN).at(1000, 0), b"");
        if there.destination.ip() != V4.servers[0] {
            return;
        }
        let answer = balanced.through(PRIVATE, &Tcp::answer(&there, RST | ACK).at(0, 1001), b"");
        assert_eq!((answer.flags, answer.source), (RST | ACK, balanced.vip()));
    };
    for port in 5000..5003 {
        refused(&mut balanced, port);
    }
    let first = balanced.servers[0];
    let health = |balanced: &mut Balanced| balanced.balancer().services()[0].checks().health(first);
    assert_eq!(health(&mut balanced), Some(Health::Down));
    for port in 6000..6004 {
        let there = balanced.through(PUBLIC, &balanced.of_client(port, SYN).at(1000, 0), b"");
        assert_eq!(there.destination.ip(), V4.servers[1]);
    }
}

#[test]
fn without_a_server_clients_hear_at_once() {
    for ends in [V4, V6] {
        let mut balanced = Balanced::new(ends, Mode::Full);
        for server in balanced.servers.clone() {
            balanced.balancer().service_mut(0).unwrap().maintain(server).unwrap();
        }
        balanced.take(PUBLIC, &balanced.of_client(5000, SYN).at(1000, 0), b"");
        let reset = balanced.one(PUBLIC);
        assert_eq!((reset.flags, reset.acknowledgement), (RST | ACK, 1001));
        assert_eq!((balanced.flows(), balanced.connections()), (0, 0));
    }
}

#[test]
fn connections_live_on_by_an_equal_balancer() {
    let [mut one, mut other] = [Balanced::interchangeable(V4), Balanced::interchangeable(V4)];
    for port in 5000..5050 {
        let (there, back) = one.connect(port);
        let from_client = one.of_client(port, ACK).at(1001, back.sequence.wrapping_add(1));
        let from_server = Tcp::new(there.destination, there.source, ACK).at(9001, 1001);
        // Whoever speaks first.
        if port % 2 == 0 {
            let came = other.through(PUBLIC, &from_client, b"question");
            assert_eq!((came.source, came.destination), (there.source, there.destination));
            let back = other.through(PRIVATE, &from_server, b"answer");
            assert_eq!((back.source, back.destination), (other.vip(), other.client(port)));
        } else {
            let back = other.through(PRIVATE, &from_server, b"answer");
            assert_eq!((back.source, back.destination), (other.vip(), other.client(port)));
            let came = other.through(PUBLIC, &from_client, b"question");
            assert_eq!((came.source, came.destination), (there.source, there.destination));
        }
    }
    assert_eq!((other.flows(), other.connections()), (50, 50));
    assert!(other.world.dropped().is_empty());
}

#[test]
fn a_server_goes_out_and_another_takes_its_place() {
    let mut balanced = Balanced::new(V4, Mode::Dnat);
    balanced.connect(5000);
    let first = balanced.servers[0];
    let now = balanced.world.now;
    let serving = balanced.balancer().service_mut(0).unwrap();
    serving.remove(first, Some(now.saturating_add(Duration::from_secs(5)))).unwrap();
    let address = SocketAddr::new(V4.servers[0], 9999);
    let server = pool::Server::new("one", address);
    let id = serving.add(server, Health::Up, now).unwrap();
    assert_ne!(id.place(), first.place(), "its connections still count");
    let there: Vec<_> = (6000..6002).map(|port| balanced.connect(port).0.destination).collect();
    assert!(there.contains(&address), "{there:?}");
    balanced.pass(10);
    assert_eq!((balanced.flows(), balanced.connections()), (2, 2));
}
