//! Three links with a host on each, and the router between them.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;

use etherparse::PacketBuilder;
use paravane_appliance::drops::Reason;
use paravane_appliance::interface::{Interface, InterfaceId};
use paravane_appliance::path::{Limits, Path};
use paravane_appliance::random::Random;
use paravane_appliance::route::{Kind, Route};
use paravane_hal::entropy::{Entropy, EntropyError};
use paravane_hal::time::Instant;
use paravane_mock_hal::MockPlatform;
use paravane_net::{Burst, Frame, FrameLayout, FramePool, MacAddr};

pub const PUBLIC: InterfaceId = InterfaceId(0);
pub const PRIVATE: InterfaceId = InterfaceId(1);
pub const ADMIN: InterfaceId = InterfaceId(2);

/// The router's own addresses.
pub const OWN_MAC: [MacAddr; 3] = [MacAddr::local(0xa0), MacAddr::local(0xa1), MacAddr::local(0xa2)];
pub const OWN_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 9, 0, 1)];
pub const OWN_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 1),
];
/// The gateway on `public`, and a host on `private`.
pub const GATEWAY_MAC: MacAddr = MacAddr::local(0xb0);
pub const HOST_MAC: MacAddr = MacAddr::local(0xb1);
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0xfe);
pub const HOST_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 80);
pub const HOST_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x80);
/// Somebody beyond the gateway.
pub const FAR_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
pub const FAR_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 7);

/// Numbers that tests may guess.
struct Known;

impl Entropy for Known {
    fn name(&self) -> &'static str {
        "known"
    }

    fn fill(&self, to: &mut [u8]) -> Result<(), EntropyError> {
        to.iter_mut().zip(1_u8..).for_each(|(byte, number)| *byte = number);
        Ok(())
    }
}

pub struct World {
    pub path: Path,
    pub pool: FramePool,
    pub now: Instant,
    frames: u32,
}

/// The same ones each time.
pub fn random() -> Random {
    Random::new(&Known).unwrap()
}

pub fn limits() -> Limits {
    Limits::new(3)
}

pub fn interfaces() -> Vec<Interface> {
    let own = |index: usize| Interface {
        v4: vec![(OWN_V4[index], 24)],
        v6: vec![(OWN_V6[index], 64), (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1 + index as u16), 64)],
        ..Interface::new(OWN_MAC[index], 1500)
    };
    vec![own(0), own(1), own(2)]
}

impl World {
    pub fn new() -> Self {
        Self::of(interfaces(), limits(), 256)
    }

    pub fn of(interfaces: Vec<Interface>, limits: Limits, frames: u32) -> Self {
        let pool = FramePool::new(MockPlatform::new(), FrameLayout::new(frames)).unwrap();
        let mut random = random();
        let mut path = Path::new(interfaces, limits, pool.clone(), &mut random).unwrap();
        let route = |prefix: &str, kind| Route { prefix: prefix.parse().unwrap(), kind };
        path.add_route(route("0.0.0.0/0", Kind::via(PUBLIC, GATEWAY_V4.into()))).unwrap();
        path.add_route(route("2001:db8:ff::/48", Kind::via(PUBLIC, GATEWAY_V6.into()))).unwrap();
        path.add_route(route("198.51.100.0/24", Kind::Blackhole)).unwrap();
        path.add_route(route("198.51.101.0/24", Kind::Unreachable)).unwrap();
        Self { path, pool, now: Instant::default(), frames }
    }

    /// The same, which has met the gateway and the host.
    pub fn acquainted() -> Self {
        let mut world = Self::new();
        world.meet();
        world
    }

    /// Has the router ask for the gateway and the host, and answers.
    pub fn meet(&mut self) {
        for (from, packet) in [
            (PRIVATE, udp(HOST_MAC, OWN_MAC[1], HOST_V4.into(), FAR_V4.into(), b"?")),
            (PRIVATE, udp(HOST_MAC, OWN_MAC[1], HOST_V6.into(), FAR_V6.into(), b"?")),
            (PUBLIC, udp(GATEWAY_MAC, OWN_MAC[0], FAR_V4.into(), HOST_V4.into(), b"?")),
            (PUBLIC, udp(GATEWAY_MAC, OWN_MAC[0], FAR_V6.into(), HOST_V6.into(), b"?")),
        ] {
            self.take(from, &packet);
        }
        self.answer_all();
        assert_eq!((self.sent(PUBLIC).len(), self.sent(PRIVATE).len()), (2, 2), "what waited goes on");
    }

    /// Answers whom the router asks for, on all links.
    pub fn answer_all(&mut self) {
        self.path.poll(self.now);
        for (link, mac) in [(PUBLIC, GATEWAY_MAC), (PRIVATE, HOST_MAC)] {
            for asked in self.sent(link) {
                let answer = super::neighbours::answer(&asked, mac);
                self.take(link, &answer.unwrap_or_else(|| panic!("no question: {asked:02x?}")));
            }
        }
    }

    /// A frame of `bytes`.
    pub fn frame(&self, bytes: &[u8]) -> Frame {
        let mut whole: Option<Frame> = None;
        for part in bytes.chunks(1900) {
            let mut frame = self.pool.get().unwrap();
            assert!(frame.append(part));
            match &mut whole {
                Some(whole) => whole.extend(frame),
                None => whole = Some(frame),
            }
        }
        whole.unwrap()
    }

    /// `bytes` come in.
    pub fn take(&mut self, from: InterfaceId, bytes: &[u8]) {
        self.take_frame(from, self.frame(bytes));
    }

    pub fn take_frame(&mut self, from: InterfaceId, frame: Frame) {
        let mut burst = Burst::new();
        burst.push(frame);
        self.path.take(from, &mut burst, self.now);
        assert!(burst.is_empty());
    }

    /// What goes out by `to`.
    pub fn sent(&mut self, to: InterfaceId) -> Vec<Vec<u8>> {
        self.sent_frames(to).iter().map(bytes_of).collect()
    }

    pub fn sent_frames(&mut self, to: InterfaceId) -> Vec<Frame> {
        let burst = self.path.egress(to).unwrap();
        core::iter::from_fn(|| burst.pop()).collect()
    }

    /// The only one.
    pub fn sent_one(&mut self, to: InterfaceId) -> Vec<u8> {
        let mut sent = self.sent(to);
        assert_eq!(sent.len(), 1, "by {to:?}; dropped: {:?}", self.dropped());
        sent.remove(0)
    }

    /// Nothing goes out anywhere.
    pub fn is_silent(&mut self) -> bool {
        [PUBLIC, PRIVATE, ADMIN].into_iter().all(|to| self.sent(to).is_empty())
    }

    pub fn pass(&mut self, time: Duration) {
        self.now = self.now.saturating_add(time);
        self.path.poll(self.now);
    }

    /// What was dropped, with the reasons.
    pub fn dropped(&self) -> Vec<(InterfaceId, Reason, u64)> {
        let all = |id| Reason::ALL.iter().map(move |reason| (id, *reason));
        let all = [PUBLIC, PRIVATE, ADMIN].into_iter().flat_map(all);
        let all = all.map(|(id, reason)| (id, reason, self.path.drops().of(id, reason)));
        all.filter(|(_, _, count)| *count > 0).collect()
    }

    /// All frames are in the pool, but those that wait.
    pub fn all_home(&self) -> bool {
        self.pool.free() + self.path.neighbours().waiting() == self.frames as usize
    }
}

pub fn bytes_of(frame: &Frame) -> Vec<u8> {
    let mut bytes = vec![0; frame.total_bytes()];
    assert_eq!(frame.copy_out(&mut bytes), Some(bytes.len()));
    bytes
}

/// A datagram of UDP, as etherparse makes it.
pub fn udp(from: MacAddr, to: MacAddr, source: IpAddr, destination: IpAddr, payload: &[u8]) -> Vec<u8> {
    udp_with_ttl(from, to, source, destination, 64, payload)
}

pub fn udp_with_ttl(
    from: MacAddr,
    to: MacAddr,
    source: IpAddr,
    destination: IpAddr,
    ttl: u8,
    payload: &[u8],
) -> Vec<u8> {
    let (source, destination) = (SocketAddr::new(source, 1234), SocketAddr::new(destination, 53));
    udp_between(from, to, source, destination, ttl, payload)
}

pub fn udp_between(
    from: MacAddr,
    to: MacAddr,
    source: SocketAddr,
    destination: SocketAddr,
    ttl: u8,
    payload: &[u8],
) -> Vec<u8> {
    let link = PacketBuilder::ethernet2(from.0, to.0);
    let ip = match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            link.ipv4(source.octets(), destination.octets(), ttl)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            link.ipv6(source.octets(), destination.octets(), ttl)
        }
        _ => panic!("two versions"),
    };
    let packet = ip.udp(source.port(), destination.port());
    let mut bytes = vec![0; packet.size(payload.len())];
    packet.write_to_slice(&mut bytes, payload).unwrap();
    bytes
}
