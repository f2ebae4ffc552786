//! The smallest balancer, from its parts: two interfaces, a service, two servers, and clients that
//! are played. What is a queue of a NIC elsewhere is a list of frames here; all else is as it is in
//! a kernel.
//!
//! ```text
//! cargo run -p paravane-appliance --example balancer
//! ```

#![allow(clippy::print_stdout, reason = "to print is what it is for")]

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use paravane_appliance::balance::{Balancer, Protocol, Service, Settings};
use paravane_appliance::interface::{Interface, InterfaceId};
use paravane_appliance::path::{Limits, Path};
use paravane_appliance::pool::{Health, Server};
use paravane_appliance::random::Random;
use paravane_appliance::route::{Kind, Route};
use paravane_hal::entropy::{Entropy, EntropyError};
use paravane_hal::time::Instant;
use paravane_mock_hal::MockPlatform;
use paravane_net::{Burst, FrameLayout, FramePool, MacAddr};

type Outcome<T> = Result<T, Box<dyn Error>>;

const PUBLIC: InterfaceId = InterfaceId(0);
const PRIVATE: InterfaceId = InterfaceId(1);
const OWN: [MacAddr; 2] = [MacAddr::local(0xa0), MacAddr::local(0xa1)];
/// Who plays clients on `public`, and servers on `private`.
const OTHERS: [MacAddr; 2] = [MacAddr::local(0xb0), MacAddr::local(0xb1)];
const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);
const VIP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 80), 80);
const SERVERS: [(&str, Ipv4Addr); 2] =
    [("one", Ipv4Addr::new(10, 0, 0, 11)), ("two", Ipv4Addr::new(10, 0, 0, 12))];

/// A kernel has a source that nobody can guess: of a CPU, or virtio-rng.
struct Host;

impl Entropy for Host {
    fn name(&self) -> &'static str {
        "the host's hash maps"
    }

    fn fill(&self, to: &mut [u8]) -> Result<(), EntropyError> {
        use std::hash::{BuildHasher as _, RandomState};
        for part in to.chunks_mut(8) {
            let word = RandomState::new().hash_one(0_u8).to_le_bytes();
            part.iter_mut().zip(word).for_each(|(byte, random)| *byte = random);
        }
        Ok(())
    }
}

/// A path between two interfaces that spreads what comes to [`VIP`] over [`SERVERS`].
fn build(pool: FramePool, now: Instant) -> Outcome<Path> {
    let mut random = Random::new(&Host)?;
    // The service's address is one of the interface's, alone in its network.
    let public = Interface {
        v4: vec![(Ipv4Addr::new(192, 0, 2, 1), 24), (*VIP.ip(), 32)],
        ..Interface::new(OWN[0], 1500)
    };
    let private = Interface { v4: vec![(Ipv4Addr::new(10, 0, 0, 1), 24)], ..Interface::new(OWN[1], 1500) };
    let mut path = Path::new(vec![public, private], Limits::new(2), pool, &mut random)?;
    path.add_route(Route { prefix: "0.0.0.0/0".parse()?, kind: Kind::via(PUBLIC, GATEWAY.into()) })?;

    let web = Service::new("web", Protocol::Tcp, VIP.into());
    let mut balancer = Balancer::new(Settings::new(10_000), vec![web], 2, &mut random)?;
    let web = balancer.service_mut(0).ok_or("no service")?;
    for (name, address) in SERVERS {
        web.add(Server::new(name, SocketAddr::new(address.into(), 8080)), Health::Up, now)?;
    }
    path.set_balancer(balancer);
    Ok(path)
}

/// Lets a frame in, as one that a NIC received.
fn receive(path: &mut Path, pool: &FramePool, from: InterfaceId, bytes: &[u8], now: Instant) -> Outcome<()> {
    let mut frame = pool.get().ok_or("no frame")?;
    if !frame.append(bytes) {
        return Err("a frame is longer than its buffer".into());
    }
    let mut burst = Burst::new();
    burst.push(frame);
    path.take(from, &mut burst, now);
    path.poll(now);
    Ok(())
}

/// What a NIC would send.
fn sent(path: &mut Path, to: InterfaceId) -> Vec<Vec<u8>> {
    let Some(egress) = path.egress(to) else { return Vec::new() };
    let frames = std::iter::from_fn(|| egress.pop());
    frames
        .filter_map(|frame| {
            let mut bytes = vec![0; frame.total_bytes()];
            frame.copy_out(&mut bytes).map(|_| bytes)
        })
        .collect()
}

/// Answers the path's questions by ARP: everybody on a link is at one station here.
fn answer_questions(path: &mut Path, pool: &FramePool, now: Instant) -> Outcome<()> {
    path.poll(now);
    for (link, mac) in [(PUBLIC, OTHERS[0]), (PRIVATE, OTHERS[1])] {
        for asked in sent(path, link) {
            let (Some(asker), Some(wanted)) = (asked.get(22..32), asked.get(38..42)) else { continue };
            let mut answer =
                [&OWN[link.index()].0[..], &mac.0, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2], &mac.0].concat();
            answer.extend_from_slice(wanted);
            answer.extend_from_slice(asker);
            receive(path, pool, link, &answer, now)?;
        }
    }
    Ok(())
}

/// A client's SYN.
fn syn(client: SocketAddrV4) -> Outcome<Vec<u8>> {
    let packet = PacketBuilder::ethernet2(OTHERS[0].0, OWN[0].0)
        .ipv4(client.ip().octets(), VIP.ip().octets(), 64)
        .tcp(client.port(), VIP.port(), 1000, 60_000)
        .syn();
    let mut bytes = Vec::new();
    packet.write(&mut bytes, &[])?;
    Ok(bytes)
}

/// Where a segment goes.
fn destination(frame: &[u8]) -> Option<SocketAddrV4> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Tcp(tcp))) = (packet.net, packet.transport) else {
        return None;
    };
    Some(SocketAddrV4::new(ip.header().destination_addr(), tcp.destination_port()))
}

fn main() -> Outcome<()> {
    let pool = FramePool::new(MockPlatform::new(), FrameLayout::new(64))?;
    let mut now = Instant::from_nanos(1);
    let mut path = build(pool.clone(), now)?;
    let client = |port| SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 7), port);

    // The first packet to each server waits until its neighbour is known.
    for port in 5000..5002 {
        receive(&mut path, &pool, PUBLIC, &syn(client(port))?, now)?;
    }
    answer_questions(&mut path, &pool, now)?;
    for port in 5000..5008 {
        if port == 5004 {
            let web = path.balancer_mut().and_then(|balancer| balancer.service_mut(0)).ok_or("no service")?;
            let one = web.pool().find("one").ok_or("no server")?;
            web.mark(one, Health::Down, now);
            println!("one is down");
        }
        if port >= 5002 {
            receive(&mut path, &pool, PUBLIC, &syn(client(port))?, now)?;
        }
        for frame in sent(&mut path, PRIVATE) {
            if let Some(to) = destination(&frame) {
                println!("a SYN to {VIP} goes to {to}");
            }
        }
        now = now.saturating_add(Duration::from_millis(10));
    }

    let balancer = path.balancer().ok_or("no balancer")?;
    for view in balancer.services().iter().flat_map(|web| web.pool().servers(now)) {
        println!("{}: {:?}, {} connections", view.server.name, view.state, view.connections);
    }
    println!("{} flows of {}", balancer.flows().len(), balancer.flows().limits().flows);
    Ok(())
}
