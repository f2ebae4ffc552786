//! Bytes play the network: who sends to the appliance, and when.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use paravane_appliance::balance::{Balancer, Protocol, Service, Settings};
use paravane_appliance::check::{Checks, Due, Http, Probe, Settings as CheckSettings};
use paravane_appliance::flow;
use paravane_appliance::interface::{Interface, InterfaceId};
use paravane_appliance::nat::{Mode, Sources};
use paravane_appliance::packet::Packet;
use paravane_appliance::packet::fragment::Fragments;
use paravane_appliance::packet::segment::Segments;
use paravane_appliance::path::{Limits, Path};
use paravane_appliance::pool::{Algorithm, Health, Pool, Server, Settings as PoolSettings};
use paravane_appliance::random::Random;
use paravane_appliance::route::{Kind, Route};
use paravane_hal::entropy::{Entropy, EntropyError};
use paravane_hal::time::{Clock as _, Instant};
use paravane_mock_hal::MockPlatform;
use paravane_net::{
    Burst, ChecksumRequest, Frame, FrameLayout, FramePool, MacAddr, Offloads, RxChecksum, Segmentation,
    SegmentationKind, TxOffload,
};

use crate::answer::Heard;
use crate::input::Input;

/// How many frames there are.
const FRAMES: u32 = 192;
/// The longest time that passes at once.
const MOST_MILLIS: u64 = 200_000;

const OWN: [MacAddr; 2] = [MacAddr::local(0xa0), MacAddr::local(0xa1)];
const OTHERS: [MacAddr; 2] = [MacAddr::local(0xb0), MacAddr::local(0xb1)];
/// A service's, the balancer's own on both links, two servers, a gateway, two strangers.
const V4: [Ipv4Addr; 8] = [
    Ipv4Addr::new(192, 0, 2, 80),
    Ipv4Addr::new(192, 0, 2, 1),
    Ipv4Addr::new(10, 0, 0, 1),
    Ipv4Addr::new(10, 0, 0, 11),
    Ipv4Addr::new(10, 0, 0, 12),
    Ipv4Addr::new(192, 0, 2, 254),
    Ipv4Addr::new(203, 0, 113, 7),
    Ipv4Addr::new(203, 0, 113, 8),
];
const PORTS: [u16; 9] = [80, 81, 82, 83, 8080, 5000, 5001, 20_000, 20_001];

/// The same address of the other version.
fn v6(address: Ipv4Addr) -> Ipv6Addr {
    let [a, b, c, d] = address.octets().map(u16::from);
    Ipv6Addr::new(0x2001, 0xdb8, a << 8 | b, c, 0, 0, 0, d)
}

/// Numbers that an input may count on.
pub(crate) struct Known;

impl Entropy for Known {
    fn name(&self) -> &'static str {
        "known"
    }
    fn fill(&self, to: &mut [u8]) -> Result<(), EntropyError> {
        to.iter_mut().zip(1_u8..).for_each(|(byte, number)| *byte = number);
        Ok(())
    }
}

fn interfaces() -> Vec<Interface> {
    let own = |index: usize, all: &[(Ipv4Addr, u8, u8)]| Interface {
        v4: all.iter().map(|(address, bits, _)| (*address, *bits)).collect(),
        v6: all.iter().map(|(address, _, bits)| (v6(*address), *bits)).collect(),
        offloads: if index == 0 { Offloads::CHECKSUM | Offloads::TSO4 } else { Offloads::empty() },
        large_bytes: 30_000,
        ..Interface::new(OWN[index], if index == 0 { 1500 } else { 1400 })
    };
    vec![own(0, &[(V4[1], 24, 64), (V4[0], 32, 128)]), own(1, &[(V4[2], 24, 64)])]
}

/// A service for each mode and version.
fn services() -> Vec<Service> {
    let listens =
        |is_v6: bool, port| SocketAddr::new(if is_v6 { v6(V4[0]).into() } else { V4[0].into() }, port);
    let mut services = Vec::new();
    for is_v6 in [false, true] {
        let mut kept = Service::new("kept", Protocol::Tcp, listens(is_v6, 80));
        kept.flows.picks_up = true;
        // A small table: it is made for each input.
        kept.pool.algorithm = Algorithm::Maglev { places: 251, key: [1, 2] };
        kept.checks.passive =
            Some(paravane_appliance::check::Passive { failures: 3, window: LONG, hold: LONG });
        let mut full = Service::new("full", Protocol::Tcp, listens(is_v6, 81));
        full.mode = Mode::Full;
        full.pool.algorithm = Algorithm::LeastConnections;
        full.pool.slow_start = LONG;
        let datagrams = Service::new("datagrams", Protocol::Udp, listens(is_v6, 82));
        let mut spliced = Service::new("spliced", Protocol::Tcp, listens(is_v6, 83));
        spliced.mode = Mode::Splice;
        spliced.splice.service.proxy = true;
        spliced.splice.keeps_source = is_v6;
        services.extend([kept, full, datagrams, spliced]);
    }
    services
}

const LONG: Duration = Duration::from_secs(30);

struct World {
    platform: MockPlatform,
    path: Path,
    pool: FramePool,
    now: Instant,
    /// By each interface.
    heard: [Heard; 2],
}

impl World {
    fn new() -> Self {
        let platform = MockPlatform::new();
        let pool = FramePool::new(platform.clone(), FrameLayout::new(FRAMES)).unwrap();
        let mut random = Random::new(&Known).unwrap();
        let mut limits = Limits::new(2);
        (limits.routes, limits.local_frames, limits.egress_frames) = (64, 8, 64);
        (limits.errors.networks, limits.echo.networks) = (16, 16);
        let mut path = Path::new(interfaces(), limits, pool.clone(), &mut random).unwrap();
        // Strangers' networks, and not all there are: those take long to write into a table.
        for prefix in ["203.0.113.0/24", "2001:db8:cb00::/48"] {
            let prefix: paravane_appliance::route::Prefix = prefix.parse().unwrap();
            let gateway: IpAddr = if prefix.address().is_ipv4() { V4[5].into() } else { v6(V4[5]).into() };
            path.add_route(Route { prefix, kind: Kind::via(InterfaceId(0), gateway) }).unwrap();
        }
        let mut settings = Settings::new(64);
        settings.sources = Sources::new(vec![V4[2].into(), v6(V4[2]).into()]).with_ports(20_000..=20_015);
        (settings.flows.source_flows, settings.flows.sources) = (16, 8);
        (settings.fragments.datagrams, settings.fragments.waiting) = (8, 16);
        let services = services();
        let count = u16::try_from(services.len()).unwrap();
        let mut balancer = Balancer::new(settings, services, 2, &mut random).unwrap();
        for number in 0..count {
            let serving = balancer.service_mut(number).unwrap();
            for (name, address) in [("one", V4[3]), ("two", V4[4])] {
                let is_v6 = serving.service().listen.is_ipv6();
                let address: IpAddr = if is_v6 { v6(address).into() } else { address.into() };
                let server = Server::new(name, SocketAddr::new(address, 8080));
                serving.add(server, Health::Up, Instant::default()).unwrap();
            }
        }
        path.set_balancer(balancer);
        Self { platform, path, pool, now: Instant::default(), heard: Default::default() }
    }

    fn take(&mut self, from: u8, frame: Frame) {
        let mut burst = Burst::new();
        burst.push(frame);
        self.path.take(InterfaceId(from), &mut burst, self.now);
        assert!(burst.is_empty(), "something is left of a burst");
    }

    /// What goes out is as it should be, and is gone.
    fn look(&mut self) {
        for (id, heard) in (0..).zip(&mut self.heard) {
            let burst = self.path.egress(InterfaceId(id)).unwrap();
            while let Some(frame) = burst.pop() {
                let packet =
                    Packet::read(&frame).unwrap_or_else(|why| panic!("what goes out is no packet: {why:?}"));
                assert_eq!(packet.source, OWN[usize::from(id)], "from whom it is");
                let mut bytes = vec![0; frame.total_bytes()];
                frame.copy_out(&mut bytes).unwrap();
                heard.take(bytes);
            }
            self.path.fetch(InterfaceId(id)).unwrap().clear();
        }
    }

    /// Each flow is one connection of its server, and no others are.
    fn check(&self) {
        let balancer = self.path.balancer().unwrap();
        let connections: u32 = balancer.services().iter().map(|one| one.pool().connections()).sum();
        assert_eq!(connections, balancer.flows().len(), "connections and flows");
    }
}

/// The bytes send frames through a router that balances, and move its clock.
pub fn path(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut world = World::new();
    // As many as a second or so takes.
    for _ in 0..400 {
        if input.is_empty() {
            break;
        }
        // The mock takes ten million words without a look at a clock for a loop without end: that
        // is for one event, and not for all of a fuzzer's inputs together.
        let _ = world.platform.now();
        match input.byte() % 16 {
            0 => {
                let millis = u64::from(input.word()) % MOST_MILLIS;
                world.now = world.now.saturating_add(Duration::from_millis(millis));
            }
            1 => operate(&mut world, &mut input),
            2 => {
                let from = input.byte() & 1;
                let len = usize::from(input.byte());
                let raw: Vec<_> = (0..len).map(|_| input.byte()).collect();
                send(&mut world, &mut input, from, &raw);
            }
            3 => {
                let from = input.byte() & 1;
                let raw = arp(&mut input, from);
                send(&mut world, &mut input, from, &raw);
            }
            4..=7 => {
                let from = input.byte() & 1;
                let mac = OTHERS[usize::from(from)].0;
                if let Some(raw) = world.heard[usize::from(from)].answer(&mut input, mac) {
                    send(&mut world, &mut input, from, &raw);
                }
            }
            _ => {
                let from = input.byte() & 1;
                let raw = packet(&mut input, from);
                send(&mut world, &mut input, from, &raw);
            }
        }
        world.path.poll(world.now);
        world.look();
        world.check();
    }
    // Nobody has anything any more when all have been silent for long.
    for _ in 0..40 {
        world.now = world.now.saturating_add(Duration::from_secs(1000));
        for _ in 0..4 {
            world.path.poll(world.now);
            world.look();
        }
    }
    world.check();
    assert_eq!(world.path.balancer().unwrap().flows().len(), 0, "flows after hours of silence");
    let waiting = world.path.neighbours().waiting();
    let World { path, pool, .. } = world;
    assert_eq!(pool.free() + waiting, FRAMES as usize, "frames are lost");
    drop(path);
    assert_eq!(pool.free(), FRAMES as usize, "frames are lost with the path");
}

/// What an operator does.
fn operate(world: &mut World, input: &mut Input<'_>) {
    let (number, what, which) = (u16::from(input.byte() % 8), input.byte(), input.bit());
    let now = world.now;
    let serving = world.path.balancer_mut().unwrap().service_mut(number).unwrap();
    let id = serving.pool().find(if which { "one" } else { "two" });
    let until = input.bit().then(|| now.saturating_add(LONG));
    let _ = match (id, what % 8) {
        (Some(id), 0) => serving.drain(id, until),
        (Some(id), 1) => serving.maintain(id),
        (Some(id), 2 | 3) => serving.resume(id, now),
        (Some(id), 4) => serving.set_weight(id, input.half() % 300),
        (Some(id), 5) => serving.remove(id, until),
        (Some(id), _) => {
            serving.mark(id, if what & 8 == 0 { Health::Up } else { Health::Down }, now);
            Ok(())
        }
        (None, _) => {
            let address = if which { V4[3] } else { V4[4] };
            let is_v6 = serving.service().listen.is_ipv6();
            let address: IpAddr = if is_v6 { v6(address).into() } else { address.into() };
            let server = Server::new(if which { "one" } else { "two" }, SocketAddr::new(address, 8080));
            let _ = serving.add(server, Health::Up, now);
            Ok(())
        }
    };
}

/// Puts the bytes into a frame, with what a device says of it, and lets it in.
fn send(world: &mut World, input: &mut Input<'_>, from: u8, bytes: &[u8]) {
    let mut whole: Option<Frame> = None;
    let cut = usize::from(input.byte()).max(1);
    for part in bytes.chunks(if input.bit() { cut } else { 1900 }) {
        let Some(mut frame) = world.pool.get() else { return };
        assert!(frame.append(part));
        match &mut whole {
            Some(whole) => whole.extend(frame),
            None => whole = Some(frame),
        }
    }
    let Some(mut frame) = whole.or_else(|| world.pool.get()) else { return };
    beside(&mut frame, input);
    world.take(from, frame);
}

/// What a device found out, or asks for.
fn beside(frame: &mut Frame, input: &mut Input<'_>) {
    let said = input.byte();
    let checksum = ChecksumRequest { start_bytes: input.half() % 128, offset_bytes: input.half() % 32 };
    match said % 8 {
        0 => frame.set_rx_checksum(RxChecksum::Good),
        1 => frame.set_rx_checksum(RxChecksum::Partial(checksum)),
        2 => {
            let segmentation = Segmentation {
                kind: input.pick([SegmentationKind::Tcp4, SegmentationKind::Tcp6]),
                header_bytes: input.half() % 256,
                mss_bytes: input.half(),
                ecn: input.bit(),
            };
            frame.set_offload(TxOffload { checksum: Some(checksum), segmentation: Some(segmentation) });
        }
        _ => {}
    }
}

/// A packet of ARP, or nearly.
fn arp(input: &mut Input<'_>, from: u8) -> Vec<u8> {
    let mut bytes = ethernet(input, from, [8, 6]);
    bytes.extend([0, 1, 8, 0, 6, 4, 0, 1 + (input.byte() & 1)]);
    bytes.extend(OTHERS[usize::from(from)].0);
    bytes.extend(input.pick(V4).octets());
    bytes.extend(OWN[usize::from(from)].0);
    bytes.extend(input.pick(V4).octets());
    damage(&mut bytes, input);
    bytes
}

fn ethernet(input: &mut Input<'_>, from: u8, ethertype: [u8; 2]) -> Vec<u8> {
    let to = if input.byte() == 0 { [0xff; 6] } else { OWN[usize::from(from)].0 };
    [&to[..], &OTHERS[usize::from(from)].0, &ethertype].concat()
}

/// A packet of IP, or nearly.
fn packet(input: &mut Input<'_>, from: u8) -> Vec<u8> {
    let is_v6 = input.bit();
    let (source, destination) = (input.pick(V4), input.pick(V4));
    let (protocol, payload) = transport(input, is_v6);
    let mut bytes = ethernet(input, from, if is_v6 { [0x86, 0xdd] } else { [8, 0] });
    let hops = if input.byte() == 0 { 1 } else { 64 };
    if is_v6 {
        bytes.extend([0x60, 0, 0, 0]);
        bytes.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        bytes.extend([protocol, if protocol == 58 && input.bit() { 255 } else { hops }]);
        bytes.extend(v6(source).octets());
        bytes.extend(v6(destination).octets());
    } else {
        bytes.extend([0x45, 0]);
        bytes.extend(u16::try_from(20 + payload.len()).unwrap().to_be_bytes());
        bytes.extend([0, input.byte() & 3]);
        // In parts, now and then.
        let fragment = match input.byte() % 8 {
            0 => 0x2000,
            1 => 0x2000 | (input.half() % 64),
            2 => input.half() % 64,
            3 => 0x4000,
            _ => 0,
        };
        bytes.extend(fragment.to_be_bytes());
        bytes.extend([hops, protocol, 0, 0]);
        bytes.extend(source.octets());
        bytes.extend(destination.octets());
    }
    bytes.extend(payload);
    damage(&mut bytes, input);
    if !is_v6 && bytes.len() >= 34 && input.byte() != 0 {
        sum_header(&mut bytes[14..34]);
    }
    bytes
}

/// A segment, a datagram, or a message of ICMP that may quote one.
fn transport(input: &mut Input<'_>, is_v6: bool) -> (u8, Vec<u8>) {
    let ports =
        |input: &mut Input<'_>| [input.pick(PORTS).to_be_bytes(), input.pick(PORTS).to_be_bytes()].concat();
    let body_bytes = usize::from(input.byte() % 64);
    match input.byte() % 8 {
        0..=4 => {
            let mut bytes = ports(input);
            let numbers = [1000_u32, 1001, 9000, 9001, u32::MAX];
            bytes.extend(input.pick(numbers).wrapping_add(u32::from(input.byte() & 3)).to_be_bytes());
            bytes.extend(input.pick(numbers).wrapping_add(u32::from(input.byte() & 3)).to_be_bytes());
            let flags = input.pick([2, 0x12, 0x10, 0x18, 0x11, 4, 0x14, 0x29]);
            let has_mss = flags & 2 != 0;
            bytes.extend([if has_mss { 0x60 } else { 0x50 }, flags]);
            bytes.extend(input.half().to_be_bytes());
            bytes.extend([0, 0, 0, 0]);
            if has_mss {
                bytes.extend([2, 4]);
                bytes.extend(input.half().to_be_bytes());
            }
            bytes.resize(bytes.len() + body_bytes, 7);
            (6, bytes)
        }
        5 | 6 => {
            let mut bytes = ports(input);
            bytes.extend(u16::try_from(8 + body_bytes).unwrap().to_be_bytes());
            bytes.extend([0, input.byte()]);
            bytes.resize(8 + body_bytes, 7);
            (17, bytes)
        }
        _ => {
            let kinds = if is_v6 { [128, 1, 2, 3, 135, 136, 133, 137] } else { [8, 3, 11, 12, 5, 13, 0, 4] };
            let mut bytes =
                vec![input.pick(kinds), input.byte() % 8, input.byte(), input.byte(), 0, 0, 5, 0x70];
            // What it is about, as far as it says.
            bytes.extend([0x45, 0, 0, 40, 0, 0, 0x40, 0, 63, 6, 0, 0]);
            bytes.extend(input.pick(V4).octets());
            bytes.extend(input.pick(V4).octets());
            bytes.extend(ports(input));
            bytes.extend([0, 0, 3, 0xe9]);
            (if is_v6 { 58 } else { 1 }, bytes)
        }
    }
}

/// Changes some bytes, now and then.
fn damage(bytes: &mut Vec<u8>, input: &mut Input<'_>) {
    for _ in 0..input.byte().saturating_sub(250) {
        let at = usize::from(input.byte()) % bytes.len();
        bytes[at] = input.byte();
    }
    if input.byte() == 1 {
        bytes.truncate(usize::from(input.byte()).max(1));
    }
}

/// Makes the header's checksum right.
fn sum_header(header: &mut [u8]) {
    header[10..12].fill(0);
    let words = header.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum = words.sum::<u32>();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// The bytes are a frame, with what a device says of it: it is read, and cut.
pub fn packet_read(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let pool = FramePool::new(MockPlatform::new(), FrameLayout::new(FRAMES)).unwrap();
    let make = |input: &mut Input<'_>| {
        let mut frame = pool.get().unwrap();
        beside(&mut frame, input);
        frame
    };
    let (one, mtu_bytes) = (make(&mut input), 68 + input.half() % 1500);
    let offloads = if input.bit() { Offloads::CHECKSUM } else { Offloads::empty() };
    let mut frame = one;
    let bytes = input.rest();
    assert!(frame.append(&bytes[..bytes.len().min(1900)]));
    if let Ok(packet) = Packet::read(&frame)
        && let Ok(Some(transport)) = packet.transport(&frame)
    {
        let _ = flow::Key::of(&packet, &transport, 0);
        let _ = flow::Segment::of(&packet, &transport, &frame);
    }
    let frame = match Segments::of(frame, &pool, offloads) {
        Ok(segments) => {
            let segments: Vec<_> = segments.collect();
            assert!(segments.iter().all(|one| one.total_bytes() > 0));
            return;
        }
        Err((frame, _)) => frame,
    };
    if let Ok(fragments) = Fragments::of(frame, &pool, mtu_bytes) {
        fragments.for_each(|one| assert!(Packet::read(&one).is_ok(), "a part is no packet"));
    }
    assert_eq!(pool.free(), FRAMES as usize, "frames are lost");
}

/// The bytes are what a server answers to a health check, in pieces.
pub fn health_answer(bytes: &[u8]) {
    let mut random = Random::new(&Known).unwrap();
    let http = Http::get("host", "/").unwrap();
    let mut checks = Checks::new(CheckSettings::new(Probe::Http(http)), 1, 1, &mut random).unwrap();
    let mut pool = Pool::new(PoolSettings::new(1)).unwrap();
    let server = Server::new("one", "10.0.0.1:80".parse().unwrap());
    let id = pool.add(server, Health::Up).unwrap();
    let mut now = Instant::default();
    checks.add(id, Health::Up, now);
    let mut input = Input::new(bytes);
    while !input.is_empty() {
        now = now.saturating_add(Duration::from_secs(10));
        let Some(Due::Probe(mut attempt)) = checks.due(now) else { panic!("nobody is asked any more") };
        attempt.connected();
        let asked = attempt.unsent(checks.settings()).len();
        attempt.sent(asked.min(usize::from(input.byte())));
        for _ in 0..1 + input.byte() % 4 {
            let len = usize::from(input.byte());
            let piece: Vec<_> = (0..len).map(|_| input.byte()).collect();
            attempt.received(&piece);
        }
        if input.bit() {
            attempt.closed();
        }
        if attempt.is_over(now) || input.bit() {
            now = now.saturating_add(Duration::from_secs(1));
        }
        assert!(attempt.is_over(now.saturating_add(Duration::from_secs(2))), "it does not end");
        let _ = checks.end(attempt, now);
    }
}
