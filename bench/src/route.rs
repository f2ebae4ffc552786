//! What routing costs: a burst from one NIC through the appliance's path to another.
//!
//! Counted is all that happens between the two devices: completions and fresh buffers of the NIC
//! that received, the path, and on the other NIC the descriptors, the doorbell, completions and
//! buffers going home.

use anyhow::{Context, Result, ensure};
use paravane_appliance::interface::{Interface, InterfaceId};
use paravane_appliance::path::{Limits, Path};
use paravane_appliance::random::Random;
use paravane_appliance::route::{Kind, Route};
use paravane_hal::entropy::{Entropy, EntropyError};
use paravane_hal::time::Instant;
use paravane_net::{Burst, Frame, FramePool, MacAddr};

use crate::subject::{self, Driver, Moving, Nic};

/// By this frames come in, and by that they go out.
pub const IN: InterfaceId = InterfaceId(0);
pub const OUT: InterfaceId = InterfaceId(1);
/// The router's MAC addresses there, and that of the next hop.
pub const MACS: [MacAddr; 3] = [MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 9]), MacAddr::local(7)];
pub const NEXT_HOP: [u8; 4] = [10, 0, 0, 2];
/// Frames delivered in a turn.
pub const BURST: usize = 32;

/// Which packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// The NIC that receives.
    pub from: Driver,
    /// The NIC that sends.
    pub to: Driver,
    /// Length of each frame.
    pub bytes: usize,
    /// How many destinations there are, and as many routes to them.
    pub destinations: u32,
    /// How many hosts send to them: no more than their network has.
    pub sources: u32,
}

/// A path between two NICs.
pub struct Crossing {
    pub from: Box<dyn Nic>,
    to: Box<dyn Nic>,
    pub path: Path,
    burst: Burst,
    turns: u64,
}

/// What of it crosses, each in its turn.
struct Routing {
    crossing: Crossing,
    point: Point,
    next: u32,
}

/// Always the same: a figure is to be the same from run to run.
pub struct Fixed;

impl Entropy for Fixed {
    fn name(&self) -> &'static str {
        "fixed"
    }

    fn fill(&self, to: &mut [u8]) -> Result<(), EntropyError> {
        to.fill(0x5a);
        Ok(())
    }
}

/// A path between the NICs of `point`.
pub fn start(point: Point) -> Result<Box<dyn Moving>> {
    Ok(Box::new(Routing::new(subject::nic(point.from)?, subject::nic(point.to)?, point)?))
}

impl Routing {
    fn new(from: Box<dyn Nic>, to: Box<dyn Nic>, point: Point) -> Result<Self> {
        let own =
            |mac, address: [u8; 4]| Interface { v4: vec![(address.into(), 24)], ..Interface::new(mac, 1500) };
        let interfaces = vec![own(MACS[0], [192, 0, 2, 1]), own(MACS[1], [10, 0, 0, 1])];
        let mut random = Random::new(&Fixed)?;
        let mut path = Path::new(interfaces, Limits::new(2), from.pool().clone(), &mut random)?;
        for number in 0..point.destinations {
            let prefix = paravane_appliance::route::Prefix::new(destination(number).into(), 32)?;
            path.add_route(Route { prefix, kind: Kind::via(OUT, NEXT_HOP.into()) })?;
        }
        meet(&mut path, from.pool(), &packet(0, point))?;
        Ok(Self { crossing: Crossing::new(from, to, path), point, next: 0 })
    }
}

/// Has `path` ask for the next hop, for the sake of `first`, which comes in by [`IN`]; and answers.
pub fn meet(path: &mut Path, pool: &FramePool, first: &[u8]) -> Result<()> {
    let mut burst = Burst::new();
    burst.push(frame(pool, first)?);
    path.take(IN, &mut burst, Instant::default());
    path.poll(Instant::default());
    let question = path.egress(OUT).and_then(Burst::pop).context("nobody was asked for")?;
    let mut answer = vec![0; question.total_bytes()];
    question.copy_out(&mut answer);
    ensure!(answer.get(20..22) == Some(&[0, 1]), "the question is none of ARP");
    // A reply, from whom it asks for to who asks.
    answer[21] = 2;
    let (asks, asked) = (answer[22..32].to_vec(), answer[38..42].to_vec());
    answer[22..28].copy_from_slice(&MACS[2].0);
    answer[28..32].copy_from_slice(&asked);
    answer[32..42].copy_from_slice(&asks);
    answer[..6].copy_from_slice(&MACS[1].0);
    answer[6..12].copy_from_slice(&MACS[2].0);
    burst.push(frame(pool, &answer)?);
    path.take(OUT, &mut burst, Instant::default());
    let released = path.egress(OUT).map(core::mem::take).unwrap_or_default();
    ensure!(released.len() == 1, "the frame that waited does not go on");
    Ok(())
}

impl Crossing {
    /// Between two NICs.
    pub fn new(from: Box<dyn Nic>, to: Box<dyn Nic>, path: Path) -> Self {
        Self { from, to, path, burst: Burst::new(), turns: 0 }
    }

    /// Has a burst cross, of frames that `packet` makes.
    pub fn turn(&mut self, mut packet: impl FnMut() -> Vec<u8>, around: &mut dyn FnMut(&mut dyn FnMut())) {
        let Self { from, to, path, burst, turns } = self;
        *turns += 1;
        (0..BURST).for_each(|_| from.deliver(&packet()));
        around(&mut || {
            let _ = from.rx().receive(burst);
            path.take(IN, burst, Instant::default());
            if let Some(egress) = path.egress(OUT) {
                let _ = to.tx().transmit(egress);
            }
        });
        to.device_sends();
        around(&mut || {
            let _ = to.tx().reclaim();
        });
    }

    /// Whether each frame crossed.
    pub fn check(&self) -> Result<()> {
        let (sent, expected) = (self.to.sent(), self.turns * BURST as u64);
        ensure!(sent == expected, "{sent} frames were sent of {expected}: {:?}", self.path.drops());
        Ok(())
    }
}

impl Moving for Routing {
    fn turn(&mut self, around: &mut dyn FnMut(&mut dyn FnMut())) {
        let Self { crossing, point, next } = self;
        let each = || {
            let packet = packet(*next, *point);
            *next = (*next + 1) % (point.destinations * point.sources);
            packet
        };
        crossing.turn(each, around);
    }

    fn check(&self) -> Result<()> {
        self.crossing.check()
    }
}

/// An address beyond the next hop: neighbouring numbers are in different networks.
fn destination(number: u32) -> core::net::Ipv4Addr {
    core::net::Ipv4Addr::from_bits(0x1400_0000 | number.wrapping_mul(0x9e37) & 0x00ff_ffff)
}

/// An IPv4 packet from a host of the network it comes in by: to each destination in turn, by each
/// source in turn.
fn packet(number: u32, point: Point) -> Vec<u8> {
    let Point { bytes, destinations, sources, .. } = point;
    let host = u8::try_from(2 + number % sources).unwrap_or(u8::MAX);
    let mut packet = vec![0; bytes];
    packet[..6].copy_from_slice(&MACS[0].0);
    packet[6..12].copy_from_slice(&MACS[2].0);
    packet[12..16].copy_from_slice(&[8, 0, 0x45, 0]);
    let total = u16::try_from(bytes - 14).unwrap_or(u16::MAX);
    packet[16..18].copy_from_slice(&total.to_be_bytes());
    packet[22..24].copy_from_slice(&[64, 17]);
    packet[26..30].copy_from_slice(&[192, 0, 2, host]);
    packet[30..34].copy_from_slice(&destination(number % destinations).octets());
    let checksum = paravane_appliance::packet::sum::Sum::ZERO.and_bytes(&packet[14..34]).checksum();
    packet[24..26].copy_from_slice(&checksum.to_be_bytes());
    packet
}

pub fn frame(pool: &FramePool, bytes: &[u8]) -> Result<Frame> {
    let mut frame = pool.get().context("the pool is dry")?;
    ensure!(frame.append(bytes), "longer than a buffer");
    Ok(frame)
}
