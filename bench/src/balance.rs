//! What balancing costs: segments of clients from one NIC to their servers by another, each with
//! another destination. Counted is what is counted of [routing](crate::route).

use core::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use paravane_appliance::balance::{Balancer, Protocol, Service, Settings};
use paravane_appliance::interface::Interface;
use paravane_appliance::packet::sum::Sum;
use paravane_appliance::path::{Limits, Path};
use paravane_appliance::pool::{Health, Server};
use paravane_appliance::random::Random;
use paravane_appliance::route::{Kind, Prefix, Route};
use paravane_hal::time::Instant;
use paravane_net::Burst;

use crate::route::{Crossing, Fixed, IN, MACS, NEXT_HOP, OUT, frame, meet};
use crate::subject::{self, Driver, Moving, Nic};

const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 80);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);
/// Flags of TCP.
pub const SYN: u8 = 2;
pub const ACK: u8 = 16;

/// Which packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// The NIC that receives.
    pub from: Driver,
    /// The NIC that sends.
    pub to: Driver,
    /// Length of each frame.
    pub bytes: usize,
    /// How many connections there are, whose segments come in turn.
    pub flows: u32,
    /// To how many servers they go, in turn.
    pub servers: u8,
}

/// A path with a balancer, and whose segment is the next.
struct Balancing {
    crossing: Crossing,
    point: Point,
    next: u32,
}

/// A path between the NICs of `point`, on which all connections are established.
pub fn start(point: Point) -> Result<Box<dyn Moving>> {
    Ok(Box::new(Balancing::new(subject::nic(point.from)?, subject::nic(point.to)?, point)?))
}

impl Balancing {
    fn new(from: Box<dyn Nic>, to: Box<dyn Nic>, point: Point) -> Result<Self> {
        let own = |mac, v4| Interface { v4, ..Interface::new(mac, 1500) };
        let public = own(MACS[0], vec![(Ipv4Addr::new(192, 0, 2, 1), 24), (VIP, 32)]);
        let private = own(MACS[1], vec![(Ipv4Addr::new(10, 0, 0, 1), 24)]);
        let mut random = Random::new(&Fixed)?;
        let mut path = Path::new(vec![public, private], Limits::new(2), from.pool().clone(), &mut random)?;
        let default = Prefix::new(Ipv4Addr::UNSPECIFIED.into(), 0)?;
        path.add_route(Route { prefix: default, kind: Kind::via(IN, GATEWAY.into()) })?;
        for number in 0..point.servers {
            meet(&mut path, from.pool(), &segment(client(0), server(number), SYN, [0; 2], point.bytes))?;
        }
        let service = Service::new("web", Protocol::Tcp, SocketAddr::new(VIP.into(), 80));
        let settings = Settings::new((point.flows * 2).max(1024));
        let mut balancer = Balancer::new(settings, vec![service], 2, &mut random)?;
        let serving = balancer.service_mut(0).context("there is no service")?;
        for number in 0..point.servers {
            let named = Server::new(number.to_string(), server(number));
            serving.add(named, Health::Up, Instant::default())?;
        }
        path.set_balancer(balancer);
        path.poll(Instant::default());
        let mut balancing = Self { crossing: Crossing::new(from, to, path), point, next: 0 };
        for number in 0..point.flows {
            balancing.connect(number)?;
        }
        let flows = balancing.crossing.path.balancer().context("there is no balancer")?.flows();
        let (are, wanted) = (flows.len(), point.flows);
        ensure!(are == wanted, "{are} connections of {wanted}: {:?}", flows.counters());
        Ok(balancing)
    }

    /// Has a client connect.
    fn connect(&mut self, number: u32) -> Result<()> {
        let (client, vip) = (client(number), SocketAddr::new(VIP.into(), 80));
        let Crossing { from, path, .. } = &mut self.crossing;
        let mut take = |by, bytes: &[u8]| {
            let mut burst = Burst::from(frame(from.pool(), bytes)?);
            path.take(by, &mut burst, Instant::default());
            // The client's gateway is nobody's to ask for here.
            let [_, sent] =
                [IN, OUT].map(|to| path.egress(to).map(core::mem::take).unwrap_or_default().pop());
            anyhow::Ok(sent.and_then(|frame| frame.read::<[u8; 4]>(30)))
        };
        let chosen = take(IN, &segment(client, vip, SYN, [1000, 0], 64))?.context("no server was chosen")?;
        let server = SocketAddr::new(Ipv4Addr::from_octets(chosen).into(), 8080);
        take(OUT, &segment(server, client, SYN | ACK, [9000, 1001], 64))?;
        take(IN, &segment(client, vip, ACK, [1001, 9001], 64))?;
        Ok(())
    }
}

impl Moving for Balancing {
    fn turn(&mut self, around: &mut dyn FnMut(&mut dyn FnMut())) {
        let Self { crossing, point, next } = self;
        let vip = SocketAddr::new(VIP.into(), 80);
        let each = || {
            let packet = segment(client(*next), vip, ACK, [1001, 9001], point.bytes);
            *next = (*next + 1) % point.flows;
            packet
        };
        crossing.turn(each, around);
    }

    fn check(&self) -> Result<()> {
        self.crossing.check()
    }
}

/// A server on the link.
fn server(number: u8) -> SocketAddr {
    let [a, b, c, d] = NEXT_HOP;
    SocketAddr::new(Ipv4Addr::new(a, b, c, d + number).into(), 8080)
}

/// A client beyond the gateway: neighbouring numbers are in different networks.
fn client(number: u32) -> SocketAddr {
    let address = Ipv4Addr::from_bits(0x1400_0000 | number.wrapping_mul(0x9e37) & 0x00ff_ffff);
    SocketAddr::new(address.into(), 1024 + u16::try_from(number % 60_000).unwrap_or(0))
}

/// A TCP segment with as much data as makes the frame that long: in by [`IN`] but where it is from
/// a network of 10.0.0.0/8.
pub fn segment(
    source: SocketAddr,
    destination: SocketAddr,
    flags: u8,
    [sequence, ack]: [u32; 2],
    bytes: usize,
) -> Vec<u8> {
    let octets = |address: SocketAddr| match address {
        SocketAddr::V4(address) => address.ip().octets(),
        SocketAddr::V6(_) => [0; 4],
    };
    let is_in = octets(source)[0] != NEXT_HOP[0];
    let mut packet = vec![0; bytes];
    packet[..6].copy_from_slice(&MACS[usize::from(!is_in)].0);
    packet[6..12].copy_from_slice(&MACS[2].0);
    packet[12..16].copy_from_slice(&[8, 0, 0x45, 0]);
    let total = u16::try_from(bytes - 14).unwrap_or(u16::MAX);
    packet[16..18].copy_from_slice(&total.to_be_bytes());
    packet[22..24].copy_from_slice(&[64, 6]);
    packet[26..30].copy_from_slice(&octets(source));
    packet[30..34].copy_from_slice(&octets(destination));
    let checksum = Sum::ZERO.and_bytes(&packet[14..34]).checksum();
    packet[24..26].copy_from_slice(&checksum.to_be_bytes());
    packet[34..36].copy_from_slice(&source.port().to_be_bytes());
    packet[36..38].copy_from_slice(&destination.port().to_be_bytes());
    packet[38..42].copy_from_slice(&sequence.to_be_bytes());
    packet[42..46].copy_from_slice(&ack.to_be_bytes());
    packet[46..50].copy_from_slice(&[0x50, flags, 0xff, 0]);
    let pseudo = Sum::pseudo_header(&octets(source), &octets(destination), 6, u32::from(total - 20));
    let checksum = pseudo.and_bytes(&packet[34..]).checksum();
    packet[50..52].copy_from_slice(&checksum.to_be_bytes());
    packet
}
