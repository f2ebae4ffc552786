//! A client and servers with what is tested between them, and links that lose, duplicate and
//! reorder.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use paravane_hal::time::Instant;
use paravane_net::Frame;
use smoltcp::socket::tcp::Socket;
use smoltcp::wire::IpAddress;

use super::super::*;
use super::hosts::{Host, MILLIS, client_clock, server_clock};
use super::middle::Middle;
use crate::packet::testing::bytes_of;
use crate::random::Random;

pub(super) fn random() -> Random {
    Random::from_seed([5; 32])
}

/// A time of day.
pub(super) fn at(millis: u64) -> Instant {
    Instant::default().saturating_add(Duration::from_millis(86_400_000 + millis))
}

/// What the links do to frames, of a hundred.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weather {
    pub(super) lost: u32,
    pub(super) doubled: u32,
    pub(super) late: u32,
}

/// A frame on its way.
struct Flying {
    millis: u64,
    to: Side,
    bytes: Vec<u8>,
}

/// How it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) is_v6: bool,
    pub(super) client_time: bool,
    pub(super) server_time: bool,
    pub(super) proxy: bool,
    pub(super) client_buffer: usize,
    pub(super) server_buffer: usize,
    pub(super) offer: Offer,
    pub(super) weather: Weather,
}

impl Plan {
    pub(super) const OFFER: Offer =
        Offer { mss_bytes: 1440, scale: 2, sack: true, timestamps: true, ecn: false };

    pub(super) const fn plain(seed: u64) -> Self {
        Self {
            seed,
            is_v6: false,
            client_time: true,
            server_time: true,
            proxy: false,
            client_buffer: 100_000,
            server_buffer: 200_000,
            offer: Self::OFFER,
            weather: Weather { lost: 0, doubled: 0, late: 0 },
        }
    }
}

pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) millis: u64,
    pub(super) client: Host,
    pub(super) servers: Vec<Host>,
    pub(super) middle: Middle,
    flying: Vec<Flying>,
    random: Random,
    /// Frames that left for each side, checked.
    pub(super) left: [usize; 2],
}

pub(super) fn ip(is_v6: bool, net: u8, host: u8) -> IpAddr {
    if is_v6 {
        Ipv6Addr::new(0xfd00, net.into(), 0, 0, 0, 0, 0, host.into()).into()
    } else {
        Ipv4Addr::new(10, net, 0, host).into()
    }
}

pub(super) const CLIENT_ZONE: u8 = 0;
pub(super) const SERVER_ZONE: u8 = 1;
const SERVICE_PORT: u16 = 80;
pub(super) const SERVER_PORT: u16 = 8080;

impl World {
    pub(super) fn new(plan: Plan, servers: usize) -> Self {
        MILLIS.set(0);
        let clock = |is: bool, clock: fn() -> u32| is.then_some(clock);
        let host = |net, host| IpAddress::from(ip(plan.is_v6, net, host));
        let mut client =
            Host::new(host(0, 1), plan.seed, plan.client_buffer, clock(plan.client_time, client_clock));
        let service = host(0, 99);
        let port = 40_000 + (plan.seed % 1000) as u16;
        let Host { interface, sockets, handle, .. } = &mut client;
        sockets
            .get_mut::<Socket<'_>>(*handle)
            .connect(interface.context(), (service, SERVICE_PORT), port)
            .unwrap();
        let servers: Vec<Host> = (0..servers)
            .map(|number| {
                let number = u8::try_from(number).unwrap();
                let clock = clock(plan.server_time, server_clock);
                let mut server = Host::new(
                    host(1, 1 + number),
                    plan.seed + 7 * u64::from(number) + 1,
                    plan.server_buffer,
                    clock,
                );
                server.socket().listen(SERVER_PORT).unwrap();
                server
            })
            .collect();
        Self {
            plan,
            millis: 0,
            client,
            middle: Middle::new(&plan, servers.len()),
            servers,
            flying: Vec::new(),
            random: Random::from_seed([!(plan.seed as u8); 32]),
            left: [0; 2],
        }
    }

    fn chance(&mut self, of_hundred: u32) -> bool {
        self.random.u32() % 100 < of_hundred
    }

    /// Sends bytes on their way. `None` is into the middle, from that side.
    fn fly(&mut self, to: Side, is_in: bool, bytes: Vec<u8>) {
        let Weather { lost, doubled, late } = self.plan.weather;
        if self.chance(lost) {
            return;
        }
        let times = 1 + usize::from(self.chance(doubled));
        for _ in 0..times {
            let delay = if self.chance(late) { 5 + u64::from(self.random.u32() % 40) } else { 5 };
            // Into the middle has odd times, and out of it even ones.
            let millis = (self.millis + delay) * 2 + u64::from(is_in);
            self.flying.push(Flying { millis, to, bytes: bytes.clone() });
        }
    }

    fn leave(&mut self, sent: Vec<(Side, Frame)>) {
        for (to, frame) in sent {
            let bytes = bytes_of(&frame);
            assert!(frame.offload().is_none());
            super::is_right(&bytes);
            self.left[to as usize] += 1;
            self.fly(to, false, bytes);
        }
    }

    /// One millisecond.
    pub(super) fn turn(&mut self) {
        self.millis += 1;
        MILLIS.set(u32::try_from(self.millis).unwrap());
        let now = at(self.millis);
        let (due, flying): (Vec<_>, Vec<_>) = core::mem::take(&mut self.flying)
            .into_iter()
            .partition(|flying| flying.millis / 2 <= self.millis);
        self.flying = flying;
        let is_due = !due.is_empty();
        for Flying { millis, to, bytes } in due {
            if millis % 2 == 1 {
                let mut frame = self.middle.pool.get().unwrap();
                assert!(frame.append(&bytes));
                let sent = self.middle.take(&self.plan, to, frame, now);
                self.leave(sent);
            } else if to == Side::Client {
                self.client.nic.inbox.push_back(bytes[14..].to_vec());
            } else {
                let place = if self.plan.is_v6 { 14 + 39 } else { 14 + 19 };
                let server = &mut self.servers[usize::from(bytes[place]) - 1];
                server.nic.inbox.push_back(bytes[14..].to_vec());
            }
        }
        let sent = self.middle.poll(&self.plan, now);
        self.leave(sent);
        if !is_due && !self.millis.is_multiple_of(10) {
            return;
        }
        let ethernet = |packet: Vec<u8>| {
            let ethertype = if self.plan.is_v6 { [0x86, 0xdd] } else { [8, 0] };
            [&[2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8][..], &ethertype, &packet].concat()
        };
        let from_client: Vec<_> = self.client.turn(self.millis).into_iter().map(ethernet).collect();
        let from_servers: Vec<_> =
            self.servers.iter_mut().flat_map(|server| server.turn(self.millis)).map(ethernet).collect();
        for bytes in from_client {
            self.fly(Side::Client, true, bytes);
        }
        for bytes in from_servers {
            self.fly(Side::Server, true, bytes);
        }
    }

    /// Until that is so, and not for more than so many seconds.
    pub(super) fn until(&mut self, seconds: u64, mut is_so: impl FnMut(&mut Self) -> bool) {
        let end = self.millis + 1000 * seconds;
        while !is_so(self) {
            assert!(self.millis < end, "after {seconds} s: {}", self.describe());
            self.turn();
        }
    }

    fn describe(&mut self) -> String {
        let states: Vec<_> =
            self.servers.iter_mut().map(|server| (server.state(), server.heard.len())).collect();
        format!(
            "client {:?} heard {}, servers {states:?}, {:?}, {:?}, drops {:?}, {:?}, flying {}, flows {:?}, plan {:?}",
            self.client.state(),
            self.client.heard.len(),
            self.middle.done,
            self.middle.splices.counters(),
            self.middle.drops,
            self.middle.untracked,
            self.flying.len(),
            self.middle.flows.iter_from(0).map(|(_, flow)| flow.state()).collect::<Vec<_>>(),
            self.plan
        )
    }
}
