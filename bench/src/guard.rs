//! What a firewall costs: packets of clients from one NIC to servers by another, where rules say
//! which flows may begin. Counted is what is counted of [routing](crate::route).

use core::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use paravane_appliance::balance::{Balancer, Settings};
use paravane_appliance::filter::{Filter, RuleSet};
use paravane_appliance::interface::Interface;
use paravane_appliance::packet::sum::Sum;
use paravane_appliance::path::{Limits, Path};
use paravane_appliance::random::Random;
use paravane_appliance::route::{Kind, Prefix, Route};
use paravane_compiled_firewall::subject;
use paravane_hal::time::Instant;
use paravane_net::Burst;

use crate::balance::{ACK, SYN, segment};
use crate::route::{Crossing, Fixed, IN, MACS, OUT, frame, meet};
use crate::subject::{self as subjects, Driver, Moving, Nic};

/// Rules that let most flows through.
const RULES: &str = "one_set";
/// Flows that the table has room for. Where each packet begins one, each ends an old one too,
/// that nobody answered.
const ROOM: u32 = 16_384;
/// Connections that are there before, if any are.
pub const ESTABLISHED: u32 = 1000;
/// How many servers there are.
const SERVERS: u8 = 6;
const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);

/// Which packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// The NIC that receives.
    pub from: Driver,
    /// The NIC that sends.
    pub to: Driver,
    /// Length of each frame.
    pub bytes: usize,
    /// What they are.
    pub packets: Packets,
}

/// Of which flows packets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Packets {
    /// Each is of one of [`ESTABLISHED`] TCP connections, in turn.
    Established,
    /// Each is the first between two ports of UDP.
    Datagram,
    /// Each is a TCP connection's first.
    Syn,
}

impl Packets {
    /// As the command line has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Syn => "syn",
            Self::Datagram => "datagram",
            Self::Established => "established",
        }
    }

    /// How many there are before.
    const fn flows(self) -> u32 {
        if matches!(self, Self::Established) { ESTABLISHED } else { 0 }
    }
}

/// A path with rules, and whose packet is the next.
struct Guarding {
    crossing: Crossing,
    point: Point,
    next: u32,
}

/// A path between the NICs of `point`, on which all its connections are established.
pub fn start(point: Point) -> Result<Box<dyn Moving>> {
    Ok(Box::new(Guarding::new(subjects::nic(point.from)?, subjects::nic(point.to)?, point)?))
}

impl Guarding {
    fn new(from: Box<dyn Nic>, to: Box<dyn Nic>, point: Point) -> Result<Self> {
        let own =
            |mac, address: [u8; 4]| Interface { v4: vec![(address.into(), 24)], ..Interface::new(mac, 1500) };
        let public = own(MACS[0], [192, 0, 2, 1]);
        let private = own(MACS[1], [10, 0, 0, 1]);
        let mut random = Random::new(&Fixed)?;
        let mut path = Path::new(vec![public, private], Limits::new(2), from.pool().clone(), &mut random)?;
        let default = Prefix::new(Ipv4Addr::UNSPECIFIED.into(), 0)?;
        path.add_route(Route { prefix: default, kind: Kind::via(IN, GATEWAY.into()) })?;
        for number in 0..SERVERS {
            let (client, server) = ends(number.into());
            meet(&mut path, from.pool(), &segment(client, server, SYN, [0; 2], point.bytes))?;
        }
        let rules = RuleSet::Compiled(subject(RULES).compiled);
        let mut balancer =
            Balancer::new(Settings::new(ROOM.max(point.packets.flows() * 2)), vec![], 2, &mut random)?;
        balancer.set_filter(Filter::new(rules, &["public", "private"], &mut random)?);
        path.set_balancer(balancer);
        path.poll(Instant::default());
        let mut guarding = Self { crossing: Crossing::new(from, to, path), point, next: 0 };
        for number in 0..point.packets.flows() {
            guarding.connect(number)?;
        }
        let flows = guarding.crossing.path.balancer().context("there is no firewall")?.flows();
        let (are, wanted) = (flows.len(), point.packets.flows());
        ensure!(are == wanted, "{are} connections of {wanted}: {:?}", flows.counters());
        Ok(guarding)
    }

    /// Has a client connect.
    fn connect(&mut self, number: u32) -> Result<()> {
        let (client, server) = ends(number);
        let Crossing { from, path, .. } = &mut self.crossing;
        let mut take = |by, bytes: &[u8]| {
            path.take(by, &mut Burst::from(frame(from.pool(), bytes)?), Instant::default());
            // The clients' gateway is nobody's to ask for here.
            for to in [IN, OUT] {
                path.egress(to).map(core::mem::take);
            }
            anyhow::Ok(())
        };
        take(IN, &segment(client, server, SYN, [1000, 0], 64))?;
        take(OUT, &segment(server, client, SYN | ACK, [9000, 1001], 64))?;
        take(IN, &segment(client, server, ACK, [1001, 9001], 64))
    }
}

impl Moving for Guarding {
    fn turn(&mut self, around: &mut dyn FnMut(&mut dyn FnMut())) {
        let Self { crossing, point, next } = self;
        let each = || {
            let (client, server) = ends(*next);
            *next = next.wrapping_add(1).checked_rem(point.packets.flows()).unwrap_or(*next + 1);
            match point.packets {
                Packets::Syn => segment(client, server, SYN, [1000, 0], point.bytes),
                Packets::Datagram => datagram(client, server, point.bytes),
                Packets::Established => segment(client, server, ACK, [1001, 9001], point.bytes),
            }
        };
        crossing.turn(each, around);
    }

    fn check(&self) -> Result<()> {
        self.crossing.check()?;
        let filter =
            self.crossing.path.balancer().and_then(Balancer::filter).context("there are no rules")?;
        let rules = u32::try_from(filter.rules().count())?;
        let asked: u64 = (0..rules).map(|rule| filter.hits(rule).all).sum();
        let expected = match self.point.packets {
            Packets::Syn | Packets::Datagram => self.next,
            Packets::Established => ESTABLISHED,
        };
        ensure!(asked == u64::from(expected), "rules were asked {asked} times of {expected}");
        Ok(())
    }
}

/// A client and its server: each number is another flow.
fn ends(number: u32) -> (SocketAddr, SocketAddr) {
    let (server, number) = (number % u32::from(SERVERS), number / u32::from(SERVERS));
    let [server, host] = [16 + server, 1 + number % 250].map(|byte| u8::try_from(byte).unwrap_or(0));
    let port = 1024 + u16::try_from(number / 250 % 60_000).unwrap_or(0);
    let client = SocketAddr::new(Ipv4Addr::new(100, 0, 0, host).into(), port);
    (client, SocketAddr::new(Ipv4Addr::new(10, 0, 0, server).into(), 8080))
}

/// A datagram with as much data as makes the frame that long, and no checksum.
fn datagram(source: SocketAddr, destination: SocketAddr, bytes: usize) -> Vec<u8> {
    let mut packet = segment(source, destination, SYN, [0; 2], bytes);
    packet[23] = 17;
    packet[24..26].fill(0);
    let checksum = Sum::ZERO.and_bytes(&packet[14..34]).checksum();
    packet[24..26].copy_from_slice(&checksum.to_be_bytes());
    let len = u16::try_from(bytes - 34).unwrap_or(u16::MAX);
    packet[38..40].copy_from_slice(&len.to_be_bytes());
    packet[40..].fill(0);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_a_turn_is_let_through_by_rules() {
        for packets in [Packets::Syn, Packets::Datagram, Packets::Established] {
            let point = Point { from: Driver::Virtio, to: Driver::Vmxnet3, bytes: 64, packets };
            let mut guarding = start(point).unwrap();
            guarding.turn(&mut |work| work());
            guarding.check().unwrap();
            // What nobody took was not passed on.
            guarding.turn(&mut |_| ());
            assert!(guarding.check().is_err());
        }
    }
}
