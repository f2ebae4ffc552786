//! Rules and services: rules see what a server would see.

use core::net::SocketAddr;

use paravane_appliance::balance::Service;
use paravane_appliance::drops::Reason;
use paravane_appliance::nat::Mode;
use paravane_appliance::pool;

use super::support::{filter, hits};
use crate::balance::support::*;
use crate::world::{PRIVATE, PUBLIC};

fn guarded(ends: Ends, service: Service, text: &str) -> Balanced {
    let mut balanced = Balanced::of(ends, service, settings());
    balanced.balancer().set_filter(filter(text));
    balanced
}

const SERVERS: &str = "set servers = { 10.0.0.80, 10.0.0.81, 2001:db8:2::80, 2001:db8:2::81 }\n";

#[test]
fn rules_are_about_servers_and_clients_and_a_connection_is_counted_once() {
    for ends in [V4, V6] {
        for mode in [Mode::Dnat, Mode::Full] {
            let text = format!(
                "{SERVERS}allow public -> private tcp 8080 from {} to servers limit 2/h\ndefault drop",
                ends.client
            );
            let mut balanced = guarded(ends, service(&ends, mode), &text);
            balanced.connect(5000);
            balanced.connect(5001);
            assert_eq!(hits(&balanced.world, 0), 2, "{mode:?}");
            balanced.take(PUBLIC, &balanced.of_client(5002, SYN), b"");
            assert_eq!(balanced.world.dropped(), [(PUBLIC, Reason::RuleLimit, 1)]);
            assert_eq!((balanced.flows(), balanced.connections()), (2, 2), "no server has it");
        }
    }
}

#[test]
fn who_is_kept_from_servers_is_told_or_not() {
    for ends in [V4, V6] {
        for mode in [Mode::Dnat, Mode::Full] {
            for (verdict, reason) in [("drop", Reason::RuleDrop), ("reject", Reason::RuleReject)] {
                // The service's own port is none that any rule sees.
                let text = format!(
                    "allow public -> private tcp 80\n{verdict} public -> private tcp 8080\ndefault drop"
                );
                let mut balanced = guarded(ends, service(&ends, mode), &text);
                balanced.take(PUBLIC, &balanced.of_client(5000, SYN).at(7, 0), b"");
                assert_eq!(balanced.world.dropped(), [(PUBLIC, reason, 1)]);
                assert_eq!((balanced.flows(), balanced.connections()), (0, 0));
                assert!(balanced.world.sent(PRIVATE).is_empty());
                let told = segments(&balanced.world.sent(PUBLIC));
                let from: Vec<_> = told.iter().map(|told| (told.source, told.flags)).collect();
                let reset = vec![(balanced.vip(), RST | ACK)];
                assert_eq!(from, if verdict == "reject" { reset } else { vec![] });
            }
        }
    }
}

#[test]
fn a_connection_that_is_picked_up_is_asked_about_from_either_side() {
    for ends in [V4, V6] {
        for (text, passes) in [("allow public -> private tcp 8080", 1), ("drop public -> private", 0)] {
            let mut one = service(&ends, Mode::Dnat);
            one.flows.picks_up = true;
            one.pool.algorithm = pool::Algorithm::maglev([1, 2]);
            let mut balanced = guarded(ends, one.clone(), &format!("{text}\ndefault drop"));
            balanced.take(PUBLIC, &balanced.of_client(5000, ACK).at(1000, 9000), b"data");
            assert_eq!(balanced.world.sent(PRIVATE).len(), passes);
            // Whose server it is, the table says.
            let mut balanced = guarded(ends, one, &format!("{text}\ndefault drop"));
            for server in ends.servers {
                let server = SocketAddr::new(server, SERVER_PORT);
                balanced.take(PRIVATE, &Tcp::new(server, balanced.client(5000), ACK).at(9000, 1000), b"data");
            }
            assert_eq!(balanced.world.sent(PUBLIC).len(), passes, "{:?}", balanced.world.dropped());
            assert_eq!(hits(&balanced.world, 0), 1);
        }
    }
}

#[test]
fn of_a_spliced_service_no_cookie_is_given_to_who_is_kept_away() {
    for ends in [V4, V6] {
        let mut balanced =
            guarded(ends, service(&ends, Mode::Splice), "reject public -> private tcp 8080\ndefault drop");
        balanced.take(PUBLIC, &balanced.of_client(5000, SYN).at(7, 0), b"");
        assert_eq!(balanced.one(PUBLIC).flags, RST | ACK);
        assert_eq!(balanced.world.dropped(), [(PUBLIC, Reason::RuleReject, 1)]);
        let mut balanced =
            guarded(ends, service(&ends, Mode::Splice), "allow public -> private tcp 8080\ndefault drop");
        balanced.take(PUBLIC, &balanced.of_client(5000, SYN).at(7, 0), b"");
        let cookie = balanced.one(PUBLIC);
        assert_eq!((cookie.flags, hits(&balanced.world, 0)), (SYN | ACK, 0));
        balanced.take(PUBLIC, &Tcp::answer(&cookie, ACK), b"");
        assert_eq!(hits(&balanced.world, 0), 1, "once");
        assert_eq!(balanced.one(PRIVATE).flags, SYN);
    }
}

#[test]
fn beside_a_service_routed_flows_are_flows_too() {
    for ends in [V4, V6] {
        let mut balanced =
            guarded(ends, service(&ends, Mode::Dnat), "allow private -> public tcp 443\ndefault drop");
        let (server, far) = (SocketAddr::new(ends.servers[0], 7000), SocketAddr::new(ends.client, 443));
        let there = balanced.through(PRIVATE, &Tcp::new(server, far, SYN).at(1, 0), b"");
        assert_eq!(there.source, server);
        let back = balanced.through(PUBLIC, &Tcp::answer(&there, SYN | ACK), b"");
        balanced.through(PRIVATE, &Tcp::answer(&back, ACK), b"");
        assert_eq!((balanced.flows(), balanced.connections()), (1, 0));
        // A server that is taken out takes no flow of its own with it.
        let id = balanced.servers[0];
        let now = balanced.world.now;
        balanced.balancer().service_mut(0).unwrap().remove(id, Some(now)).unwrap();
        balanced.pass(5);
        assert_eq!(balanced.flows(), 1);
        let direct = Tcp::new(balanced.client(5000), SocketAddr::new(ends.servers[0], 8080), SYN);
        balanced.take(PUBLIC, &direct, b"");
        assert_eq!(balanced.world.dropped(), [(PUBLIC, Reason::RuleDrop, 1)], "past the service");
    }
}
