//! Whole conversations of hosts that know nothing of what is between them, over links that lose.

#[path = "../../../../src/splice/tests/hosts.rs"]
mod hosts;

use core::net::IpAddr;
use core::time::Duration;

use hosts::{Host, MILLIS, client_clock, server_clock};
use paravane_appliance::interface::InterfaceId;
use paravane_appliance::nat::Mode;
use smoltcp::socket::tcp::{Socket, State};
use smoltcp::wire::IpAddress;

use super::How;
use crate::balance::support::{Balanced, PORT, SERVER_PORT, V4, V6, seen, service, settings};
use crate::world::{GATEWAY_MAC, HOST_MAC, OWN_MAC, PRIVATE, PUBLIC};

/// A client, two servers, and the path between them.
struct Line {
    balanced: Balanced,
    client: Host,
    servers: Vec<Host>,
    /// Frames on their way: when they come, by which link into the path, or to which host.
    flying: Vec<(u64, bool, InterfaceId, Vec<u8>)>,
    millis: u64,
    /// Of a hundred frames.
    lost: u32,
    seed: u32,
}

/// Bytes that are nowhere alike.
fn speech(len: u32, seed: u32) -> Vec<u8> {
    (0..len).map(|at| ((at ^ seed).wrapping_mul(2_654_435_761) >> 23) as u8).collect()
}

impl Line {
    fn new(balanced: Balanced, seed: u32, lost: u32) -> Self {
        MILLIS.set(0);
        let ends = balanced.ends;
        let mut client = Host::new(ends.client.into(), seed.into(), 60_000, Some(client_clock));
        let Host { interface, sockets, handle, .. } = &mut client;
        let vip = (IpAddress::from(ends.vip), PORT);
        let port = 40_000 + seed as u16;
        sockets.get_mut::<Socket<'_>>(*handle).connect(interface.context(), vip, port).unwrap();
        let server = |address: IpAddr| {
            let mut host = Host::new(address.into(), u64::from(seed) + 9, 90_000, Some(server_clock));
            host.socket().listen(SERVER_PORT).unwrap();
            host
        };
        let servers = ends.servers.map(server).into_iter().collect();
        Self { balanced, client, servers, flying: Vec::new(), millis: 0, lost, seed: seed + 1 }
    }

    fn chance(&mut self) -> u32 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 17;
        self.seed ^= self.seed << 5;
        self.seed % 100
    }

    /// Sends a frame into the path, by a link, or from there to whom it is for.
    fn fly(&mut self, is_in: bool, link: InterfaceId, bytes: Vec<u8>) {
        if self.chance() < self.lost {
            return;
        }
        let late = if self.chance() < self.lost * 3 { u64::from(self.chance()) / 3 } else { 0 };
        self.flying.push((self.millis + 3 + late, is_in, link, bytes));
    }

    /// What the path sends: neighbours are answered at once, and nothing of that is lost.
    fn leave(&mut self) {
        for (link, mac) in [(PUBLIC, GATEWAY_MAC), (PRIVATE, HOST_MAC)] {
            for bytes in self.balanced.world.sent(link) {
                match crate::neighbours::answer_of_any(&bytes, mac) {
                    Some(answer) => self.balanced.world.take(link, &answer),
                    None => {
                        // Another reader finds nothing wrong with it.
                        seen(&bytes);
                        assert!(bytes.len() <= 1514);
                        self.fly(false, link, bytes);
                    }
                }
            }
        }
    }

    /// A millisecond.
    fn turn(&mut self) {
        self.millis += 1;
        MILLIS.set(self.millis as u32);
        let (due, flying) = core::mem::take(&mut self.flying)
            .into_iter()
            .partition::<Vec<_>, _>(|(millis, ..)| *millis <= self.millis);
        self.flying = flying;
        let is_due = !due.is_empty();
        for (_, is_in, link, bytes) in due {
            if is_in {
                self.balanced.world.take(link, &bytes);
            } else if link == PUBLIC {
                self.client.nic.inbox.push_back(bytes[14..].to_vec());
            } else {
                let to = seen(&bytes).destination.ip();
                let at = self.balanced.ends.servers.iter().position(|server| *server == to).unwrap();
                self.servers[at].nic.inbox.push_back(bytes[14..].to_vec());
            }
        }
        self.balanced.world.pass(Duration::from_millis(1));
        self.leave();
        if !is_due && !self.millis.is_multiple_of(10) {
            return;
        }
        let is_v4 = self.balanced.ends.client.is_ipv4();
        let ethernet = |link: InterfaceId, packet: Vec<u8>| {
            let from = if link == PUBLIC { GATEWAY_MAC } else { HOST_MAC };
            let kind = if is_v4 { [8, 0] } else { [0x86, 0xdd] };
            [&OWN_MAC[link.index()].0[..], &from.0, &kind, &packet].concat()
        };
        for packet in self.client.turn(self.millis) {
            self.fly(true, PUBLIC, ethernet(PUBLIC, packet));
        }
        for packet in self.servers.iter_mut().flat_map(|server| server.turn(self.millis)).collect::<Vec<_>>()
        {
            self.fly(true, PRIVATE, ethernet(PRIVATE, packet));
        }
    }

    /// Both say something, and hear all of what the other says.
    fn talk(mut self, seconds: u64, header: &[u8]) -> Self {
        let [client_says, server_says] = [speech(40_000, 1), speech(50_000, 2)];
        self.client.says.clone_from(&client_says);
        self.servers.iter_mut().for_each(|server| server.says.clone_from(&server_says));
        let expected = [header, &client_says].concat();
        let is_done = |line: &mut Self| {
            line.client.heard.len() >= server_says.len()
                && line.servers.iter().any(|server| server.heard.len() >= expected.len())
                // smoltcp 0.14 does not send a FIN again whose data was acknowledged without it.
                && (line.lost > 0 || matches!(line.client.state(), State::Closed | State::TimeWait))
        };
        while !is_done(&mut self) {
            assert!(
                self.millis < seconds * 1000,
                "client {:?} {}, servers {:?}, {:?}, dropped {:?}",
                self.client.state(),
                self.client.heard.len(),
                self.servers.iter().map(|server| server.heard.len()).collect::<Vec<_>>(),
                self.balanced.balancer().splices().map(|splices| *splices.counters()),
                self.balanced.world.dropped(),
            );
            self.turn();
        }
        assert!(self.client.heard == server_says, "what the client heard");
        assert!(self.servers.iter().any(|server| server.heard == expected), "what the server heard");
        self
    }
}

/// All that a server may be told first, by each way.
fn ways() -> impl Iterator<Item = How> {
    (0..8).map(|bits| How {
        ends: if bits & 1 == 0 { V4 } else { V6 },
        proxy: bits & 2 != 0,
        keeps_source: bits & 4 != 0,
    })
}

fn line(how: &How, seed: u32, lost: u32) -> (Line, Vec<u8>) {
    let balanced = how.balanced();
    let header = how.header(balanced.client(40_000 + seed as u16), balanced.vip());
    (Line::new(balanced, seed, lost), header)
}

#[test]
fn hosts_talk_and_end_without_a_trace() {
    for (how, seed) in ways().zip(1..) {
        let (line, header) = line(&how, seed, 0);
        let mut line = line.talk(30, &header);
        let splices = line.balanced.balancer().splices().unwrap();
        assert_eq!((splices.counters().opened, splices.counters().begun), (1, 1));
        assert!(line.balanced.world.dropped().is_empty(), "{:?}", line.balanced.world.dropped());
        for _ in 0..70 {
            line.balanced.pass(1);
            line.leave();
        }
        assert_eq!((line.balanced.flows(), line.balanced.connections()), (0, 0));
        assert!(line.balanced.world.all_home());
    }
}

#[test]
fn hosts_talk_over_links_that_lose() {
    for (how, seed) in ways().zip(20..) {
        let (line, header) = line(&how, seed, 4);
        let mut line = line.talk(600, &header);
        assert_eq!(line.balanced.balancer().splices().unwrap().counters().opened, 1);
    }
}

/// And so they do by the ways that have no numbers of their own.
#[test]
fn hosts_talk_over_links_that_lose_in_the_other_modes() {
    for (ends, seed) in [(V4, 40), (V6, 41)] {
        for mode in [Mode::Dnat, Mode::Full] {
            let balanced = Balanced::of(ends, service(&ends, mode), settings());
            Line::new(balanced, seed, 4).talk(600, b"");
        }
    }
}

#[test]
fn a_server_that_refuses_is_nothing_that_a_client_notices() {
    for (how, seed) in ways().zip(60..) {
        let (mut line, header) = line(&how, seed, 0);
        line.servers[0].socket().abort();
        let mut line = line.talk(30, &header);
        let counters = *line.balanced.balancer().splices().unwrap().counters();
        assert_eq!((counters.refused, counters.begun, counters.opened), (1, 2, 1));
        assert!(line.servers[0].heard.is_empty());
    }
}
