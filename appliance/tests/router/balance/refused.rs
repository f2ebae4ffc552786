//! Each reason for which a packet of a service goes nowhere, and that it is the only one.

use core::net::SocketAddr;

use paravane_appliance::balance::{Protocol, Service};
use paravane_appliance::drops::Reason;
use paravane_appliance::flow;
use paravane_appliance::icmp::Rate;
use paravane_appliance::nat::{Mode, Sources};
use paravane_appliance::pool::{self, Server};

use super::support::{ACK, Balanced, FIN, PORT, RST, SYN, Tcp, V4, V6, service, settings};
use crate::world::{OWN_V4, PUBLIC};

fn dropped(balanced: &Balanced, reason: Reason) {
    assert_eq!(balanced.world.dropped(), [(PUBLIC, reason, 1)]);
    assert!(balanced.world.path.balancer().is_some());
}

/// A SYN of each of these ports; of the last one nothing goes out to servers.
fn begin(balanced: &mut Balanced, ports: core::ops::Range<u16>) {
    let last = ports.end - 1;
    for port in ports {
        balanced.take(PUBLIC, &balanced.of_client(port, SYN), b"");
        let sent = balanced.world.sent(crate::world::PRIVATE).len();
        assert_eq!(sent, usize::from(port != last), "{port}: {:?}", balanced.world.dropped());
    }
}

#[test]
fn a_service_has_so_many_flows_and_so_many_begin() {
    for ends in [V4, V6] {
        let mut flows = flow::Service::GENERAL;
        flows.flows = 2;
        let mut balanced = Balanced::of(ends, Service { flows, ..service(&ends, Mode::Dnat) }, settings());
        begin(&mut balanced, 5000..5003);
        dropped(&balanced, Reason::ServiceFull);
        assert_eq!((balanced.flows(), balanced.connections()), (2, 2));

        let mut flows = flow::Service::GENERAL;
        flows.rate = Rate { per_second: 1, burst: 2 };
        let mut balanced = Balanced::of(ends, Service { flows, ..service(&ends, Mode::Dnat) }, settings());
        begin(&mut balanced, 5000..5003);
        dropped(&balanced, Reason::ServiceRate);
        balanced.pass(1);
        begin(&mut balanced, 6000..6002);
    }
}

#[test]
fn a_source_has_so_many_flows_and_so_many_begin() {
    for ends in [V4, V6] {
        let mut settings = settings();
        settings.flows.source = Rate { per_second: 1, burst: 2 };
        let mut balanced = Balanced::of(ends, service(&ends, Mode::Dnat), settings);
        begin(&mut balanced, 5000..5003);
        dropped(&balanced, Reason::SourceRate);

        let mut settings = self::settings();
        settings.flows.source_flows = 2;
        let mut balanced = Balanced::of(ends, service(&ends, Mode::Dnat), settings);
        begin(&mut balanced, 5000..5003);
        dropped(&balanced, Reason::SourceFull);
    }
}

#[test]
fn there_are_so_many_flows_of_all() {
    let mut settings = settings();
    (settings.flows.flows, settings.flows.unproven) = (2, 0);
    let mut balanced = Balanced::of(V4, service(&V4, Mode::Dnat), settings);
    begin(&mut balanced, 5000..5001);
    dropped(&balanced, Reason::FlowsFull);
}

#[test]
fn a_server_has_so_many_connections() {
    for limit in [1, 2] {
        let mut balanced = Balanced::new(V4, Mode::Full);
        let servers = balanced.servers.clone();
        let now = balanced.world.now;
        let serving = balanced.balancer().service_mut(0).unwrap();
        for server in servers {
            serving.maintain(server).unwrap();
        }
        let address = SocketAddr::new(V4.servers[1], 9000);
        let server = Server { max_connections: limit, ..Server::new("narrow", address) };
        serving.add(server, pool::Health::Up, now).unwrap();
        begin(&mut balanced, 5000..5001 + u16::try_from(limit).unwrap());
        dropped(&balanced, Reason::ServersBusy);
        assert_eq!(balanced.one(PUBLIC).flags, RST | ACK);
    }
}

#[test]
fn so_many_ports_stand_for_clients() {
    let mut settings = settings();
    settings.sources = Sources::new(vec![OWN_V4[1].into()]).with_ports(20_000..=20_000);
    let mut balanced = Balanced::of(V4, service(&V4, Mode::Full), settings);
    // One for each server.
    begin(&mut balanced, 5000..5003);
    dropped(&balanced, Reason::PortsExhausted);
    assert_eq!(balanced.balancer().ports_exhausted(), 1);
    assert_eq!(balanced.balancer().ports_free(0), Some(0));
}

#[test]
fn two_services_cannot_have_one_flow() {
    // By two services to one server, and the client's address is kept: nobody could tell what comes
    // back.
    let other = Service { listen: SocketAddr::new(V4.vip, 81), ..service(&V4, Mode::Dnat) };
    let mut balanced = Balanced::with(V4, vec![service(&V4, Mode::Dnat), other.clone()], settings());
    let there = balanced.through(PUBLIC, &balanced.of_client(5000, SYN), b"");
    let to_other = Tcp { destination: other.listen, ..balanced.of_client(5000, SYN) };
    balanced.take(PUBLIC, &to_other, b"");
    dropped(&balanced, Reason::FlowTaken);
    // Another client's port is another flow's.
    let to_other = Tcp { source: balanced.client(5001), ..to_other };
    let other = balanced.through(PUBLIC, &to_other, b"");
    assert_ne!(other.destination, there.destination, "that one took its turn");
    // What is for the server itself is routed, as it was sent.
    let to_server = Tcp { destination: there.destination, ..balanced.of_client(6000, SYN) };
    assert_eq!(balanced.through(PUBLIC, &to_server, b"").source, balanced.client(6000));
    assert_eq!(balanced.flows(), 2);
}

#[test]
fn what_does_not_belong_to_a_connection_is_dropped() {
    for (flags, sequence, acknowledgement, reason) in [
        (SYN | FIN, 1001, 0, Reason::TcpFlags),
        (ACK, 90_000_000, 9001, Reason::TcpSequence),
        (ACK, 1001, 90_000_000, Reason::TcpAcknowledgement),
        (RST, 1001 + 50_000, 0, Reason::TcpReset),
    ] {
        for ends in [V4, V6] {
            let mut balanced = Balanced::new(ends, Mode::Dnat);
            balanced.connect(5000);
            let segment = balanced.of_client(5000, flags).at(sequence, acknowledgement);
            balanced.take(PUBLIC, &segment, b"");
            dropped(&balanced, reason);
            assert_eq!(balanced.flows(), 1);
        }
    }
    // Data before the answer to the SYN.
    let mut balanced = Balanced::new(V4, Mode::Dnat);
    balanced.through(PUBLIC, &balanced.of_client(5000, SYN).at(1000, 0), b"");
    balanced.take(PUBLIC, &balanced.of_client(5000, ACK).at(1001, 9001), b"early");
    dropped(&balanced, Reason::TcpState);
}

#[test]
fn parts_of_tcp_go_nowhere() {
    let mut balanced = Balanced::new(V4, Mode::Dnat);
    let mut bytes =
        balanced.of_client(5000, SYN).bytes(crate::world::GATEWAY_MAC, crate::world::OWN_MAC[0], &[0; 12]);
    bytes[20] |= 0x20;
    smoltcp::wire::Ipv4Packet::new_unchecked(&mut bytes[14..]).fill_checksum();
    balanced.world.take(PUBLIC, &bytes);
    dropped(&balanced, Reason::FragmentTcp);
}

#[test]
fn where_udp_finds_no_server_it_hears_that_the_port_is_unreachable() {
    for ends in [V4, V6] {
        let udp = Service::new("dns", Protocol::Udp, SocketAddr::new(ends.vip, PORT));
        let mut balanced = Balanced::of(ends, udp, settings());
        for server in balanced.servers.clone() {
            balanced.balancer().service_mut(0).unwrap().maintain(server).unwrap();
        }
        let link =
            etherparse::PacketBuilder::ethernet2(crate::world::GATEWAY_MAC.0, crate::world::OWN_MAC[0].0);
        let packet = match (ends.client, ends.vip) {
            (core::net::IpAddr::V4(client), core::net::IpAddr::V4(vip)) => {
                link.ipv4(client.octets(), vip.octets(), 64)
            }
            (core::net::IpAddr::V6(client), core::net::IpAddr::V6(vip)) => {
                link.ipv6(client.octets(), vip.octets(), 64)
            }
            _ => unreachable!(),
        };
        let packet = packet.udp(5000, PORT);
        let mut bytes = vec![0; packet.size(4)];
        packet.write_to_slice(&mut bytes, b"ping").unwrap();
        balanced.world.take(PUBLIC, &bytes);
        dropped(&balanced, Reason::NoServer);
        let told = balanced.world.sent_one(PUBLIC);
        let kind = if ends.vip.is_ipv4() { &told[34..36] } else { &told[54..56] };
        assert_eq!(kind, if ends.vip.is_ipv4() { [3, 3] } else { [1, 4] });
    }
}
