//! Packets that go straight, held against the same ones in two segments, which never do.

use core::net::Ipv4Addr;

use paravane_appliance::interface::InterfaceId;
use paravane_net::{Burst, Frame, MacAddr};
use proptest::prelude::*;

use super::world::{
    ADMIN, FAR_V4, GATEWAY_MAC, GATEWAY_V4, HOST_MAC, HOST_V4, OWN_MAC, OWN_V4, PRIVATE, PUBLIC, World,
    interfaces, limits, udp, udp_with_ttl,
};

/// What a packet is like.
#[derive(Clone, Debug)]
struct Sent {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    ttl: u8,
    payload_bytes: usize,
    /// A byte of its headers, and what becomes of it.
    damage: Option<(usize, u8)>,
    /// For another station.
    is_for_another: bool,
}

fn addresses() -> impl Strategy<Value = Ipv4Addr> {
    let few = [
        HOST_V4,
        FAR_V4,
        GATEWAY_V4,
        OWN_V4[0],
        OWN_V4[1],
        OWN_V4[2],
        Ipv4Addr::new(10, 0, 0, 255),
        Ipv4Addr::new(10, 0, 0, 81),
        Ipv4Addr::new(10, 9, 0, 7),
        Ipv4Addr::new(198, 51, 100, 1),
        Ipv4Addr::new(198, 51, 101, 1),
        Ipv4Addr::new(0, 0, 0, 0),
        Ipv4Addr::new(127, 0, 0, 1),
        Ipv4Addr::new(169, 254, 0, 1),
        Ipv4Addr::new(224, 0, 0, 1),
        Ipv4Addr::BROADCAST,
    ];
    prop_oneof![3 => Just(HOST_V4), 3 => Just(FAR_V4), 3 => prop::sample::select(few.to_vec()), 1 => any::<u32>().prop_map(Ipv4Addr::from_bits)]
}

fn sent() -> impl Strategy<Value = Sent> {
    let ttl = prop_oneof![4 => Just(64_u8), 1 => 0..3_u8];
    let payload_bytes = prop_oneof![4 => 40..50_usize, 1 => 1440..1480_usize];
    let damage = prop::option::weighted(0.1, (12..34_usize, 1..=255_u8));
    let all = (addresses(), addresses(), ttl, payload_bytes, damage, prop::bool::weighted(0.05));
    all.prop_map(|(source, destination, ttl, payload_bytes, damage, is_for_another)| Sent {
        source,
        destination,
        ttl,
        payload_bytes,
        damage,
        is_for_another,
    })
}

impl Sent {
    fn bytes(&self, from: InterfaceId) -> Vec<u8> {
        let sender = if from == PUBLIC { GATEWAY_MAC } else { HOST_MAC };
        let to = if self.is_for_another { OWN_MAC[2] } else { OWN_MAC[from.index()] };
        let payload = vec![0x5a; self.payload_bytes];
        let (source, destination) = (self.source.into(), self.destination.into());
        let mut bytes = udp_with_ttl(sender, to, source, destination, self.ttl, &payload);
        if let Some((at, by)) = self.damage {
            bytes[at] ^= by;
        }
        bytes
    }
}

/// `bytes` in two segments, of which the first has all that any header has.
pub fn in_two(world: &World, bytes: &[u8]) -> Frame {
    let (front, rest) = bytes.split_at(76);
    let mut frame = world.frame(front);
    frame.extend(world.frame(rest));
    frame
}

/// All that can be seen of what became of packets.
fn seen(world: &mut World) -> String {
    let sent = [PUBLIC, PRIVATE, ADMIN].map(|to| world.sent(to));
    let counters = [PUBLIC, PRIVATE, ADMIN].map(|id| world.path.counters(id));
    let local = [PUBLIC, PRIVATE, ADMIN].map(|id| world.path.fetch(id).map(|local| local.len()));
    let waiting = world.path.neighbours().waiting();
    format!("{sent:02x?}\n{counters:?}\n{local:?}\n{waiting}\n{:?}", world.dropped())
}

proptest! {
    #[test]
    fn a_packet_goes_straight_where_it_goes_anyway(
        bursts in prop::collection::vec((any::<bool>(), prop::collection::vec(sent(), 1..12)), 1..5),
        egress_frames in prop_oneof![Just(512_u16), 3..8_u16],
        mtu_bytes in prop_oneof![Just(1500_u16), Just(1490_u16)],
    ) {
        let mut links = interfaces();
        links[0].mtu_bytes = mtu_bytes;
        let mut limits = limits();
        limits.egress_frames = egress_frames;
        let [mut straight, mut other] = [(); 2].map(|()| World::of(links.clone(), limits, 256));
        straight.meet();
        other.meet();
        for (is_public, burst) in &bursts {
            let from = if *is_public { PUBLIC } else { PRIVATE };
            let bytes = burst.iter().map(|sent| sent.bytes(from));
            let (mut frames, mut in_two_segments) = (Burst::new(), Burst::new());
            for bytes in bytes {
                frames.push(straight.frame(&bytes));
                in_two_segments.push(in_two(&other, &bytes));
            }
            straight.path.take(from, &mut frames, straight.now);
            other.path.take(from, &mut in_two_segments, other.now);
            prop_assert!(frames.is_empty() && in_two_segments.is_empty());
            prop_assert_eq!(seen(&mut straight), seen(&mut other));
        }
    }
}

#[test]
fn rows_end_where_packets_part() {
    let mut world = World::acquainted();
    let [there, back] = [(HOST_V4, FAR_V4), (FAR_V4, HOST_V4)].map(|(source, destination)| {
        udp(HOST_MAC, OWN_MAC[1], source.into(), destination.into(), b"in a row")
    });
    // From the private network: to the world, to a host beside, and what may not come in so.
    let beside = udp(HOST_MAC, OWN_MAC[1], Ipv4Addr::new(10, 0, 0, 7).into(), HOST_V4.into(), b"beside");
    let mut burst = Burst::new();
    for bytes in [&there, &there, &beside, &there, &back, &beside, &beside, &there] {
        burst.push(world.frame(bytes));
    }
    world.path.take(PRIVATE, &mut burst, world.now);
    assert_eq!(world.sent(PUBLIC).len(), 4);
    assert_eq!(world.sent(PRIVATE).len(), 3);
    assert_eq!(world.dropped(), [(PRIVATE, paravane_appliance::drops::Reason::ReversePath, 1)]);
    assert_eq!(world.path.counters(PRIVATE).forwarded, 2 + 7, "of them two that met the gateway");
    assert!(world.all_home());
}

#[test]
fn hosts_whose_last_byte_is_one_are_two() {
    let mut all = interfaces();
    // Wider than a byte's hosts.
    all[1].v4 = vec![(OWN_V4[1], 23)];
    let mut world = World::of(all, limits(), 256);
    let hosts = [HOST_V4, Ipv4Addr::new(10, 0, 1, 80)];
    let mac = |host: Ipv4Addr| MacAddr::local(host.octets()[2].into());
    let to = |host: Ipv4Addr| udp(GATEWAY_MAC, OWN_MAC[0], FAR_V4.into(), host.into(), b"to one of two");
    for host in hosts {
        world.take(PUBLIC, &to(host));
        world.path.poll(world.now);
        let asked = world.sent_one(PRIVATE);
        world.take(PRIVATE, &super::neighbours::answer(&asked, mac(host)).unwrap());
        assert_eq!(world.sent_one(PRIVATE)[..6], mac(host).0);
    }
    let mut burst = Burst::new();
    let row = [hosts[0], hosts[0], hosts[1], hosts[0], hosts[1], hosts[1]];
    row.iter().for_each(|host| burst.push(world.frame(&to(*host))));
    world.path.take(PUBLIC, &mut burst, world.now);
    let sent: Vec<_> = world.sent(PRIVATE).iter().map(|frame| frame[..6].to_vec()).collect();
    assert_eq!(sent, row.map(|host| mac(host).0.to_vec()));
    assert!(world.dropped().is_empty());
}
