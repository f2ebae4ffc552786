//! Connections of which each half goes by another balancer, as equal routes (ECMP) have it: what
//! clients send comes by one way, and what servers send by another.

use core::net::SocketAddr;

use super::support::{ACK, Balanced, FIN, RST, SYN, Seen, Tcp, V4, V6, segments};
use crate::world::{PRIVATE, PUBLIC};

/// Two that are equal, and a connection of which each sees one half.
struct Halves {
    clients: Balanced,
    servers: Balanced,
    /// As it sees its client, and this sees it.
    server: SocketAddr,
    client: SocketAddr,
    port: u16,
}

impl Halves {
    fn new(mut clients: Balanced, mut servers: Balanced, port: u16) -> Self {
        let syn = clients.of_client(port, SYN).at(1000, 0);
        let there = clients.through(PUBLIC, &syn, b"");
        let back = servers.through(PRIVATE, &Tcp::answer(&there, SYN | ACK), b"");
        let client = clients.client(port);
        assert_eq!((back.source, back.destination, back.flags), (clients.vip(), client, SYN | ACK));
        let mut halves = Self { clients, servers, server: there.destination, client, port };
        halves.ask(ACK, [1001, 9001], b"");
        halves
    }

    /// A client's segment; it comes to its server.
    fn ask(&mut self, flags: u8, [sequence, acknowledgement]: [u32; 2], data: &[u8]) -> Seen {
        let segment = self.clients.of_client(self.port, flags).at(sequence, acknowledgement);
        let came = self.clients.through(PUBLIC, &segment, data);
        assert_eq!((came.source, came.destination, came.flags), (self.client, self.server, flags));
        came
    }

    /// A server's segment; it comes to its client.
    fn answer(&mut self, flags: u8, [sequence, acknowledgement]: [u32; 2], data: &[u8]) -> Seen {
        let segment = Tcp::new(self.server, self.client, flags).at(sequence, acknowledgement);
        let came = self.servers.through(PRIVATE, &segment, data);
        assert_eq!((came.source, came.destination, came.flags), (self.servers.vip(), self.client, flags));
        came
    }

    fn pass(&mut self, seconds: u64) {
        self.clients.pass(seconds);
        self.servers.pass(seconds);
    }

    /// What either has sent meanwhile.
    fn sent(&mut self) -> Vec<Seen> {
        let worlds = [&mut self.clients.world, &mut self.servers.world];
        worlds
            .into_iter()
            .flat_map(|world| segments(&[world.sent(PUBLIC), world.sent(PRIVATE)].concat()))
            .collect()
    }
}

#[test]
fn each_half_goes_by_another() {
    for (ends, port) in [V4, V6].into_iter().zip([5000, 5001]) {
        let mut halves = Halves::new(Balanced::interchangeable(ends), Balanced::interchangeable(ends), port);
        // Further than any window: nobody hears what was acknowledged.
        let [mut from_client, mut from_server] = [1001_u32, 9001];
        for _ in 0..10 {
            halves.ask(ACK, [from_client, from_server], b"question");
            halves.answer(ACK, [from_server, from_client], b"answer");
            from_client = from_client.wrapping_add(1 << 28);
            from_server = from_server.wrapping_add(3 << 28);
        }
        halves.ask(FIN | ACK, [from_client, from_server], b"");
        halves.answer(FIN | ACK, [from_server, from_client.wrapping_add(1)], b"");
        halves.ask(ACK, [from_client.wrapping_add(1), from_server.wrapping_add(1)], b"");
        let counts = [&halves.clients, &halves.servers].map(|one| (one.flows(), one.connections()));
        assert_eq!(counts, [(1, 1), (1, 1)]);
        halves.pass(200);
        let counts = [&halves.clients, &halves.servers].map(|one| (one.flows(), one.connections()));
        assert_eq!(counts, [(0, 0), (0, 0)]);
        assert_eq!(halves.sent(), []);
        assert!(halves.clients.world.dropped().is_empty() && halves.servers.world.dropped().is_empty());
    }
}

#[test]
fn nobody_cuts_off_a_half_that_is_silent() {
    let mut halves = Halves::new(Balanced::interchangeable(V4), Balanced::interchangeable(V4), 5000);
    halves.answer(ACK, [9001, 1001], b"welcome");
    // Either forgets it, and knows it again.
    halves.pass(500);
    assert_eq!(halves.sent(), []);
    assert_eq!([halves.clients.flows(), halves.servers.flows()], [0, 0]);
    halves.ask(ACK, [1001, 9008], b"still here");
    halves.answer(ACK, [9008, 1011], b"so are we");
    assert_eq!([halves.clients.flows(), halves.servers.flows()], [1, 1]);
}

#[test]
fn a_balancer_dies_and_the_other_has_both_halves() {
    let mut halves = Halves::new(Balanced::interchangeable(V4), Balanced::interchangeable(V4), 5000);
    halves.answer(ACK, [9001, 1001], b"welcome");
    // The one that had what clients send: this has seen what servers sent.
    let Halves { servers: mut left, server, client, .. } = halves;
    let segment = left.of_client(5000, ACK).at(1001, 9008);
    let came = left.through(PUBLIC, &segment, b"question");
    assert_eq!((came.source, came.destination), (client, server));
    let back = left.through(PRIVATE, &Tcp::new(server, client, ACK).at(9008, 1009), b"answer");
    assert_eq!((back.source, back.destination), (left.vip(), client));
    assert_eq!((left.flows(), left.connections()), (1, 1));
    // It is whole now, and both ends hear of its end.
    left.pass(7500);
    let resets = segments(&[left.world.sent(PUBLIC), left.world.sent(PRIVATE)].concat());
    assert_eq!(
        resets.iter().map(|one| (one.flags, one.sequence)).collect::<Vec<_>>(),
        [(RST, 9014), (RST, 1009)]
    );
}

#[test]
fn who_is_refused_hears_it_by_the_other_way() {
    let [mut clients, mut servers] = [Balanced::interchangeable(V4), Balanced::interchangeable(V4)];
    let there = clients.through(PUBLIC, &clients.of_client(5000, SYN).at(1000, 0), b"");
    let refusal = Tcp::new(there.destination, there.source, RST | ACK).at(0, 1001);
    let back = servers.through(PRIVATE, &refusal, b"");
    assert_eq!((back.source, back.destination, back.flags), (clients.vip(), clients.client(5000), RST | ACK));
    // It is remembered for a while, and is in nobody's way.
    assert_eq!((servers.flows(), servers.connections()), (1, 1));
    servers.pass(40);
    assert_eq!((servers.flows(), servers.connections()), (0, 0));
}

#[test]
fn a_connection_that_may_not_be_halved_is_not() {
    let mut balanced = Balanced::new(V4, paravane_appliance::nat::Mode::Dnat);
    balanced.through(PUBLIC, &balanced.of_client(5000, SYN).at(1000, 0), b"");
    balanced.take(PUBLIC, &balanced.of_client(5000, ACK).at(1001, 9001), b"data");
    assert_eq!(segments(&balanced.world.sent(PRIVATE)), []);
    assert_eq!(balanced.world.dropped(), [(PUBLIC, paravane_appliance::drops::Reason::TcpState, 1)]);
}
