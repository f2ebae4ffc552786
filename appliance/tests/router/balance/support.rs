//! A service with two servers, and segments that its clients and servers send.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TcpOptionElement, TransportSlice};
use paravane_appliance::balance::{Balancer, Protocol, Service, Settings};
use paravane_appliance::flow;
use paravane_appliance::interface::{Interface, InterfaceId};
use paravane_appliance::nat::{Mode, Sources};
use paravane_appliance::pool::{self, Algorithm, Health, Server, ServerId};
use paravane_hal::time::Instant;
use paravane_net::{MacAddr, Offloads};

use crate::world::{
    FAR_V4, FAR_V6, GATEWAY_MAC, HOST_MAC, HOST_V4, HOST_V6, OWN_MAC, OWN_V4, OWN_V6, PRIVATE, PUBLIC, World,
    interfaces, limits, random,
};

/// Where the service listens, and its servers do.
pub const VIP_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 80);
pub const VIP_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x50);
pub const PORT: u16 = 80;
pub const SERVER_PORT: u16 = 8080;
/// The second server.
pub const OTHER_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 81);
pub const OTHER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x81);

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;

/// Who speaks, of one version.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    pub client: IpAddr,
    pub vip: IpAddr,
    pub servers: [IpAddr; 2],
    pub own: IpAddr,
}

pub const V4: Ends = Ends {
    client: IpAddr::V4(FAR_V4),
    vip: IpAddr::V4(VIP_V4),
    servers: [IpAddr::V4(HOST_V4), IpAddr::V4(OTHER_V4)],
    own: IpAddr::V4(OWN_V4[1]),
};
pub const V6: Ends = Ends {
    client: IpAddr::V6(FAR_V6),
    vip: IpAddr::V6(VIP_V6),
    servers: [IpAddr::V6(HOST_V6), IpAddr::V6(OTHER_V6)],
    own: IpAddr::V6(OWN_V6[1]),
};

/// A TCP segment or a datagram, as it is seen on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub flags: u8,
    pub sequence: u32,
    pub acknowledgement: u32,
    pub mss_bytes: Option<u16>,
    pub ttl: u8,
    pub payload: Vec<u8>,
}

/// Reads a frame, whose checksums have to be right.
pub fn seen(bytes: &[u8]) -> Seen {
    let packet = SlicedPacket::from_ethernet(bytes).unwrap();
    let (source, destination, ttl): (IpAddr, IpAddr, u8) = match packet.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            assert_eq!(header.to_header().calc_header_checksum(), header.header_checksum(), "header's sum");
            (header.source_addr().into(), header.destination_addr().into(), header.ttl())
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            (header.source_addr().into(), header.destination_addr().into(), header.hop_limit())
        }
        other => panic!("{other:?}"),
    };
    let net = packet.net.as_ref().unwrap();
    match packet.transport.unwrap() {
        TransportSlice::Tcp(tcp) => {
            let sum = match net {
                NetSlice::Ipv4(ip) => tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination()),
                NetSlice::Ipv6(ip) => tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination()),
                other => panic!("{other:?}"),
            };
            assert_eq!(sum.unwrap(), tcp.checksum(), "TCP's sum");
            let header = tcp.to_header();
            let mss = header.options_iterator().find_map(|option| match option {
                Ok(etherparse::TcpOptionElement::MaximumSegmentSize(mss)) => Some(mss),
                _ => None,
            });
            let flags = [(header.fin, FIN), (header.syn, SYN), (header.rst, RST), (header.ack, ACK)];
            Seen {
                source: SocketAddr::new(source, header.source_port),
                destination: SocketAddr::new(destination, header.destination_port),
                flags: flags.into_iter().filter(|(is, _)| *is).map(|(_, flag)| flag).sum(),
                sequence: header.sequence_number,
                acknowledgement: header.acknowledgment_number,
                mss_bytes: mss,
                ttl,
                payload: tcp.payload().to_vec(),
            }
        }
        TransportSlice::Udp(udp) => Seen {
            source: SocketAddr::new(source, udp.source_port()),
            destination: SocketAddr::new(destination, udp.destination_port()),
            flags: 0,
            sequence: 0,
            acknowledgement: 0,
            mss_bytes: None,
            ttl,
            payload: udp.payload().to_vec(),
        },
        other => panic!("{other:?}"),
    }
}

/// Those of `frames` that are TCP segments: neighbours speak as well.
pub fn segments(frames: &[Vec<u8>]) -> Vec<Seen> {
    let is_tcp = |frame: &&Vec<u8>| match (frame[12], frame[13]) {
        (8, 0) => frame[23] == 6,
        (0x86, 0xdd) => frame[20] == 6,
        _ => false,
    };
    frames.iter().filter(is_tcp).map(|frame| seen(frame)).collect()
}

/// A TCP segment from one end to the other.
#[derive(Clone, Copy, Debug)]
pub struct Tcp {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub flags: u8,
    pub sequence: u32,
    pub acknowledgement: u32,
    pub mss_bytes: Option<u16>,
    /// Of its window.
    pub scale: Option<u8>,
    pub ttl: u8,
}

impl Tcp {
    pub fn new(source: SocketAddr, destination: SocketAddr, flags: u8) -> Self {
        Self {
            source,
            destination,
            flags,
            sequence: 0,
            acknowledgement: 0,
            mss_bytes: None,
            scale: None,
            ttl: 64,
        }
    }

    pub fn at(self, sequence: u32, acknowledgement: u32) -> Self {
        Self { sequence, acknowledgement, ..self }
    }

    /// The answer, with these flags, to what was seen.
    pub fn answer(to: &Seen, flags: u8) -> Self {
        let len = to.payload.len() as u32 + u32::from(to.flags & (SYN | FIN) != 0);
        let sequence = if to.flags & ACK != 0 { to.acknowledgement } else { 9_000 };
        Self::new(to.destination, to.source, flags).at(sequence, to.sequence.wrapping_add(len))
    }

    pub fn bytes(&self, from: MacAddr, to: MacAddr, payload: &[u8]) -> Vec<u8> {
        let link = PacketBuilder::ethernet2(from.0, to.0);
        let ip = match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(to)) => link.ipv4(source.octets(), to.octets(), self.ttl),
            (IpAddr::V6(source), IpAddr::V6(to)) => link.ipv6(source.octets(), to.octets(), self.ttl),
            _ => panic!("two versions"),
        };
        let mut tcp = ip.tcp(self.source.port(), self.destination.port(), self.sequence, 60_000);
        if self.flags & SYN != 0 {
            tcp = tcp.syn();
        }
        if self.flags & FIN != 0 {
            tcp = tcp.fin();
        }
        if self.flags & RST != 0 {
            tcp = tcp.rst();
        }
        if self.flags & ACK != 0 {
            tcp = tcp.ack(self.acknowledgement);
        }
        let mss = self.mss_bytes.map(TcpOptionElement::MaximumSegmentSize);
        let options: Vec<_> = self.scale.map(TcpOptionElement::WindowScale).into_iter().chain(mss).collect();
        tcp = tcp.options(&options).unwrap();
        let mut bytes = vec![0; tcp.size(payload.len())];
        tcp.write_to_slice(&mut bytes, payload).unwrap();
        bytes
    }
}

/// The service, if nothing is particular about it.
pub fn service(ends: &Ends, mode: Mode) -> Service {
    Service { mode, ..Service::new("web", Protocol::Tcp, SocketAddr::new(ends.vip, PORT)) }
}

pub fn settings() -> Settings {
    let sources = vec![OWN_V4[1].into(), OWN_V6[1].into()];
    Settings { sources: Sources::new(sources).with_ports(20_000..=20_999), ..Settings::new(1024) }
}

/// A router that balances as well.
pub struct Balanced {
    pub world: World,
    pub ends: Ends,
    pub servers: Vec<ServerId>,
}

impl Balanced {
    /// One service, with both servers.
    pub fn new(ends: Ends, mode: Mode) -> Self {
        Self::of(ends, service(&ends, mode), settings())
    }

    pub fn of(ends: Ends, service: Service, settings: Settings) -> Self {
        Self::with(ends, vec![service], settings)
    }

    /// With a table that is the same on each balancer, and connections that may come in their
    /// middle, or half.
    pub fn interchangeable(ends: Ends) -> Self {
        let pool = pool::Settings { algorithm: Algorithm::maglev([1, 2]), ..pool::Settings::new(16) };
        let mut flows = flow::Service::GENERAL;
        flows.picks_up = true;
        Self::of(ends, Service { pool, flows, ..service(&ends, Mode::Dnat) }, settings())
    }

    /// Several services, each with both servers.
    pub fn with(ends: Ends, services: Vec<Service>, settings: Settings) -> Self {
        let mut balanced = Self::among_strangers(ends, services, settings);
        balanced.meet();
        balanced
    }

    /// The same, to whom nobody is known yet.
    pub fn among_strangers(ends: Ends, services: Vec<Service>, settings: Settings) -> Self {
        Self::between(interfaces(), ends, services, settings)
    }

    /// The clients' link takes packets of 9,000 bytes.
    pub fn behind_wide_links(ends: Ends, service: Service) -> Self {
        let mut all = interfaces();
        all[0].mtu_bytes = 9000;
        let mut balanced = Self::between(all, ends, vec![service], settings());
        balanced.meet();
        balanced
    }

    /// All NICs do as much to frames on their way out.
    pub fn between_nics(offloads: Offloads, ends: Ends, service: Service, settings: Settings) -> Self {
        let mut all = interfaces();
        for interface in &mut all {
            (interface.offloads, interface.large_bytes) = (offloads, 65_535);
        }
        let mut balanced = Self::between(all, ends, vec![service], settings);
        balanced.meet();
        balanced
    }

    /// The servers' link takes packets of so many bytes.
    pub fn on_private(mtu_bytes: u16, ends: Ends, services: Vec<Service>, settings: Settings) -> Self {
        let mut all = interfaces();
        all[1].mtu_bytes = mtu_bytes;
        let mut balanced = Self::between(all, ends, services, settings);
        balanced.meet();
        balanced
    }

    fn between(mut all: Vec<Interface>, ends: Ends, services: Vec<Service>, settings: Settings) -> Self {
        all[0].v4.push((VIP_V4, 32));
        all[0].v6.push((VIP_V6, 128));
        let mut world = World::of(all, limits(), 1024);
        let count = services.len();
        let mut balancer = Balancer::new(settings, services, 3, &mut random()).unwrap();
        let mut servers = Vec::new();
        for number in 0..count {
            let serving = balancer.service_mut(u16::try_from(number).unwrap()).unwrap();
            let added = ends.servers.iter().zip(["one", "two"]).map(|(address, name)| {
                let server = Server::new(name, SocketAddr::new(*address, SERVER_PORT));
                serving.add(server, Health::Up, Instant::default()).unwrap()
            });
            servers = added.collect();
        }
        world.path.set_balancer(balancer);
        world.path.poll(world.now);
        Self { world, ends, servers }
    }

    /// Has all links be known.
    fn meet(&mut self) {
        self.world.meet();
        for ends in [V4, V6] {
            let from_public = crate::world::udp(GATEWAY_MAC, OWN_MAC[0], ends.client, ends.servers[1], b"?");
            self.world.take(PUBLIC, &from_public);
            self.world.answer_all();
            self.world.sent(PRIVATE);
        }
    }

    pub fn balancer(&mut self) -> &mut Balancer {
        self.world.path.balancer_mut().unwrap()
    }

    /// A client beyond the gateway, by its port.
    pub fn client(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ends.client, port)
    }

    pub fn vip(&self) -> SocketAddr {
        SocketAddr::new(self.ends.vip, PORT)
    }

    /// A segment of a client to the service.
    pub fn of_client(&self, port: u16, flags: u8) -> Tcp {
        Tcp::new(self.client(port), self.vip(), flags)
    }

    /// It comes in from the gateway, or from a server.
    pub fn take(&mut self, from: InterfaceId, tcp: &Tcp, payload: &[u8]) {
        let mac = if from == PUBLIC { GATEWAY_MAC } else { HOST_MAC };
        let bytes = tcp.bytes(mac, OWN_MAC[from.index()], payload);
        self.world.take(from, &bytes);
    }

    /// The same, and it goes out by the other interface.
    pub fn through(&mut self, from: InterfaceId, tcp: &Tcp, payload: &[u8]) -> Seen {
        self.take(from, tcp, payload);
        self.one(if from == PUBLIC { PRIVATE } else { PUBLIC })
    }

    /// The only one that went out there.
    pub fn one(&mut self, to: InterfaceId) -> Seen {
        seen(&self.world.sent_one(to))
    }

    /// A client connects; the SYN and its answer, as server and client see them.
    pub fn connect(&mut self, port: u16) -> (Seen, Seen) {
        let syn = self.of_client(port, SYN).at(1000, 0);
        let there = self.through(PUBLIC, &syn, b"");
        let back = self.through(PRIVATE, &Tcp::answer(&there, SYN | ACK), b"");
        let ack = self.through(PUBLIC, &Tcp::answer(&back, ACK), b"");
        assert_eq!((ack.flags, ack.destination), (ACK, there.destination));
        (there, back)
    }

    /// Time passes, in steps.
    pub fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.world.pass(Duration::from_secs(1));
        }
    }

    pub fn flows(&self) -> u32 {
        self.world.path.balancer().unwrap().flows().len()
    }

    pub fn connections(&self) -> u32 {
        self.world.path.balancer().unwrap().services()[0].pool().connections()
    }
}
