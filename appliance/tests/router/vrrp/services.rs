//! Services at addresses that machines share: connections go on by who has them.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;

use paravane_appliance::balance::{Balancer, Protocol, Service, Settings};
use paravane_appliance::drops::Reason;
use paravane_appliance::flow::{self, End};
use paravane_appliance::pool::{self, Algorithm, Health, Server};
use paravane_appliance::random::Random;
use paravane_appliance::route::{Kind, Route};
use paravane_appliance::vrrp::State;
use paravane_net::MacAddr;

use super::{Known, Links, Machine, PUBLIC_VIP, mac};
use crate::balance::support::{ACK, RST, SYN, Seen, Tcp, seen, segments};
use crate::firewall::support::filter;
use crate::neighbours::answer_of_any;
use crate::world::{PRIVATE, PUBLIC};

const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);
const GATEWAY_MAC: MacAddr = MacAddr::local(0x888);
const SERVER_MAC: MacAddr = MacAddr::local(0x999);
const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 90)), 8080);
const VIP: SocketAddr = SocketAddr::new(IpAddr::V4(PUBLIC_VIP), 80);
const SECOND: Duration = Duration::from_secs(1);

fn client(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::new(203, 0, 113, 7).into(), port)
}

/// Two that balance alike, the first of which is active, and know gateway and server.
fn balancers() -> Links {
    let mut links = Links::of([150, 100]);
    for nth in 0..2 {
        let path = &mut links.machines[nth].path;
        let kind = Kind::via(PUBLIC, GATEWAY.into());
        path.add_route(Route { prefix: "0.0.0.0/0".parse().unwrap(), kind }).unwrap();
        let pool = pool::Settings { algorithm: Algorithm::maglev([1, 2]), ..pool::Settings::new(16) };
        let mut flows = flow::Service::GENERAL;
        flows.picks_up = true;
        let service = Service { pool, flows, ..Service::new("web", Protocol::Tcp, VIP) };
        let mut random = Random::new(&Known(nth as u8)).unwrap();
        let mut balancer = Balancer::new(Settings::new(1024), vec![service], 2, &mut random).unwrap();
        let serving = balancer.service_mut(0).unwrap();
        serving.add(Server::new("one", SERVER), Health::Up, links.now).unwrap();
        path.set_balancer(balancer);
        path.poll(links.now);
    }
    links.until(|links| links.machines[0].is(State::Active));
    links.pass(5 * SECOND);
    links
}

/// A segment comes in to the machine, from client or server; what goes out on the other side, once
/// whoever is asked for has answered.
fn through(links: &mut Links, nth: usize, tcp: &Tcp, payload: &[u8]) -> Vec<Seen> {
    let is_from_client = tcp.source == client(tcp.source.port());
    let (from, to) = if is_from_client { (PUBLIC, PRIVATE) } else { (PRIVATE, PUBLIC) };
    let neighbour = |link| if link == PUBLIC { GATEWAY_MAC } else { SERVER_MAC };
    let now = links.now;
    let machine = &mut links.machines[nth];
    machine.take(from, &tcp.bytes(neighbour(from), mac(nth, from), payload), now);
    machine.path.poll(now);
    let mut out = Vec::new();
    for frame in machine.sent(to) {
        match answer_of_any(&frame, neighbour(to)) {
            Some(answer) => machine.take(to, &answer, now),
            None => out.push(frame),
        }
    }
    out.extend(machine.sent(to));
    segments(&out)
}

fn of_client(port: u16, flags: u8, [sequence, acknowledgement]: [u32; 2]) -> Tcp {
    Tcp::new(client(port), VIP, flags).at(sequence, acknowledgement)
}

fn of_server(port: u16, flags: u8, [sequence, acknowledgement]: [u32; 2]) -> Tcp {
    Tcp::new(SERVER, client(port), flags).at(sequence, acknowledgement)
}

/// A client connects by the first machine.
fn connect(links: &mut Links, port: u16) {
    let there = through(links, 0, &of_client(port, SYN, [1000, 0]), b"");
    assert_eq!((there.len(), there[0].destination), (1, SERVER));
    let back = through(links, 0, &of_server(port, SYN | ACK, [9000, 1001]), b"");
    assert_eq!((back.len(), back[0].source, back[0].destination), (1, VIP, client(port)));
    assert_eq!(through(links, 0, &of_client(port, ACK, [1001, 9001]), b"").len(), 1);
}

fn flows(links: &Links, nth: usize) -> u32 {
    links.machines[nth].path.balancer().unwrap().flows().len()
}

#[test]
fn connections_go_on_by_the_next_in_either_direction_first() {
    for is_client_first in [true, false] {
        let mut links = balancers();
        connect(&mut links, 5000);
        links.machines[0].is_alive = false;
        links.until(|links| links.machines[1].is(State::Active));
        let ask = of_client(5000, ACK, [1001, 9001]);
        let answer = of_server(5000, ACK, [9001, 1009]);
        let order = if is_client_first { [ask, answer] } else { [answer, ask] };
        for tcp in order {
            let out = through(&mut links, 1, &tcp, b"go on on");
            let wanted = if tcp.source == SERVER { (VIP, client(5000)) } else { (client(5000), SERVER) };
            assert_eq!(out.len(), 1, "{tcp:?}");
            assert_eq!((out[0].source, out[0].destination), wanted);
        }
        assert_eq!(flows(&links, 1), 1);
    }
}

#[test]
fn a_backup_balances_nothing_and_lets_no_server_speak_past_the_other_one() {
    let mut links = balancers();
    // To its MAC address, by whoever knows no better: it goes on as any packet for a neighbour.
    let there = through(&mut links, 1, &of_client(5000, SYN, [1000, 0]), b"");
    assert!(there.is_empty(), "{there:?}");
    assert_eq!(flows(&links, 1), 0);
    let asked = links.machines[1].sent(PUBLIC);
    assert_eq!((asked.len(), &asked[0][38..42]), (1, &PUBLIC_VIP.octets()[..]), "who has it?");
    // A server's answer to a client that the other one has would have the client cut it off.
    let answer = of_server(5000, SYN | ACK, [9000, 1001]);
    assert!(through(&mut links, 1, &answer, b"").is_empty());
    assert_eq!(links.machines[1].path.drops().of(PRIVATE, Reason::Elsewhere), 1);
    assert!(!links.machines[1].path.balancer().unwrap().services()[0].is_here());
    // What else it sends is passed on.
    let other = Tcp::new(SocketAddr::new(SERVER.ip(), 9999), client(6000), SYN);
    assert_eq!(through(&mut links, 1, &other, b"").len(), 1);
}

#[test]
fn rules_let_no_server_speak_past_the_other_one_either() {
    let mut links = balancers();
    // Until it has looked for flows that are the other one's by now.
    links.pass(2 * SECOND);
    let backup = links.machines[1].path.balancer_mut().unwrap();
    backup.set_filter(filter("allow any -> any\ndefault drop"));
    // What else it sends is passed on, and then the gateway is known.
    let other = Tcp::new(SocketAddr::new(SERVER.ip(), 9999), client(6000), SYN);
    assert_eq!(through(&mut links, 1, &other, b"").len(), 1);
    for flags in [SYN, SYN | ACK] {
        let said = of_server(5000, flags, [9000, 1001]);
        assert!(through(&mut links, 1, &said, b"").is_empty());
    }
    assert_eq!(links.machines[1].path.drops().of(PRIVATE, Reason::Elsewhere), 2);
    assert_eq!(flows(&links, 1), 1);
}

#[test]
fn who_gives_them_up_forgets_its_connections_without_a_word() {
    let mut links = balancers();
    for port in 5000..5200 {
        connect(&mut links, port);
    }
    assert_eq!(flows(&links, 0), 200);
    links.set_link(0, PRIVATE, false);
    // Before anything else happens: what still comes is not theirs.
    let now = links.now;
    let ask = of_client(5000, ACK, [1001, 9001]).bytes(GATEWAY_MAC, mac(0, PUBLIC), b"hello");
    links.machines[0].take(PUBLIC, &ask, now);
    assert_eq!(segments(&links.machines[0].sent(PRIVATE)), []);
    links.passed.clear();
    links.pass(2 * SECOND);
    assert_eq!(flows(&links, 0), 0);
    let balancer = links.machines[0].path.balancer().unwrap();
    assert_eq!(balancer.flows().counters().ended(End::HandedOver), 200);
    assert_eq!(balancer.services()[0].pool().connections(), 0);
    let frames: Vec<_> = links.passed.iter().map(|passed| passed.bytes.clone()).collect();
    assert!(segments(&frames).iter().all(|segment| segment.flags & RST == 0), "nobody hears that they ended");
    // They come back, and are picked up like any other's.
    links.set_link(0, PRIVATE, true);
    links.until(|links| links.machines[1].is(State::Active));
    links.machines[1].is_alive = false;
    links.until(|links| links.machines[0].is(State::Active));
    assert_eq!(through(&mut links, 0, &of_client(5000, ACK, [1001, 9001]), b"hello").len(), 1);
    assert_eq!(flows(&links, 0), 1);
}

#[test]
fn what_is_not_shared_stays() {
    let mut links = balancers();
    connect(&mut links, 5000);
    let bytes = of_client(5000, ACK, [1001, 9001]).bytes(GATEWAY_MAC, mac(0, PUBLIC), b"x");
    assert_eq!(seen(&bytes).payload, b"x");
    // The machine itself is there all the time, by its own addresses.
    let now = links.now;
    links.machines[0].path.resign(now);
    assert!(links.machines[0].has(PUBLIC, super::own_v4(0, PUBLIC)));
    let own: Vec<_> =
        links.machines[0].path.interfaces().iter().map(|own| (own.v4.len(), own.v6.len())).collect();
    assert_eq!(own, [(1, 2), (1, 2)]);
    let before = Machine::new(0, 1).path.routes().count() + 1;
    assert_eq!(links.machines[0].path.routes().count(), before, "routes of what was shared are gone");
}
