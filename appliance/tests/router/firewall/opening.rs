//! Flows that begin with plain packets, held against the same ones in two segments, which have the
//! long way.

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;

use paravane_appliance::balance::{Balancer, Protocol, Service, Settings};
use paravane_appliance::interface::InterfaceId;
use paravane_appliance::limit::Rate;
use paravane_net::Burst;
use proptest::prelude::*;

use super::support::*;
use crate::straight::in_two;
use crate::world::{ADMIN, FAR_V4, HOST_V4, OWN_V4, PRIVATE, PUBLIC, World, interfaces, limits, random};

/// Somebody on a link whom nobody has asked for.
const UNKNOWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 99);

const RULES: &str = "
    drop   any -> any  from 203.0.113.66 counter scanners
    reject any -> any  { tcp 113, udp 113 } log \"ident\"
    allow  public -> private udp 53 to 10.0.0.80 limit 2/s burst 3
    allow  public -> { private, admin } { tcp 80, udp { 80, 443 } }
    allow  public -> self udp 80
    allow  private -> public
    default drop log \"rest\"
";

/// A segment or a datagram.
#[derive(Clone, Debug)]
struct Sent {
    is_udp: bool,
    flags: u8,
    mss_bytes: Option<u16>,
    scale: Option<u8>,
    ends: [(Ipv4Addr, u16); 2],
    payload_bytes: usize,
    ttl: u8,
    damage: Option<(usize, u8)>,
}

fn sent() -> impl Strategy<Value = Sent> {
    let address = || {
        prop_oneof![
            6 => prop::sample::select(vec![FAR_V4, Ipv4Addr::new(203, 0, 113, 8)]),
            6 => prop::sample::select(vec![HOST_V4, Ipv4Addr::new(10, 9, 0, 7)]),
            // A scanner, somebody unknown on a link, this machine, and addresses of nobody.
            2 => prop::sample::select(vec![Ipv4Addr::new(203, 0, 113, 66), UNKNOWN]),
            1 => prop::sample::select(OWN_V4.to_vec()),
            1 => prop::sample::select(vec![
                Ipv4Addr::new(169, 254, 0, 1),
                Ipv4Addr::new(224, 0, 0, 5),
                Ipv4Addr::LOCALHOST,
                Ipv4Addr::BROADCAST,
                Ipv4Addr::UNSPECIFIED,
            ]),
        ]
    };
    let port = || prop::sample::select(vec![53_u16, 80, 113, 443, 5000, 5001, 5002]);
    let odd_flags = prop::sample::select(vec![SYN | ACK, SYN | FIN, RST, ACK]);
    let flags = prop_oneof![2 => Just(SYN), 1 => odd_flags];
    let payload_bytes = prop_oneof![6 => 40..50_usize, 3 => 1420..1480_usize];
    let ttl = prop_oneof![8 => Just(64_u8), 1 => 0..3_u8];
    let damage = prop::option::weighted(0.1, (0..50_usize, 1..=255_u8));
    let mss_bytes = prop::option::of(prop::sample::select(vec![536, 1400, 1460, 8960]));
    let ends = [(address(), port()), (address(), port())];
    let scale = prop::option::of(0..15_u8);
    (any::<bool>(), flags, (mss_bytes, scale), ends, payload_bytes, ttl, damage).prop_map(
        |(is_udp, flags, (mss_bytes, scale), ends, payload_bytes, ttl, damage)| Sent {
            is_udp,
            flags,
            mss_bytes,
            scale,
            ends,
            payload_bytes,
            ttl,
            damage,
        },
    )
}

impl Sent {
    fn bytes(&self, from: InterfaceId) -> Vec<u8> {
        let (mac, own) = stations(from);
        let [source, destination] = self.ends.map(|(address, port)| SocketAddr::new(address.into(), port));
        let payload = vec![0x5a; self.payload_bytes];
        let mut bytes = if self.is_udp {
            crate::world::udp_between(mac, own, source, destination, self.ttl, &payload)
        } else {
            let tcp = Tcp::new(source, destination, self.flags);
            Tcp { ttl: self.ttl, mss_bytes: self.mss_bytes, scale: self.scale, ..tcp }
                .at(1000, 0)
                .bytes(mac, own, &payload)
        };
        if let Some((at, by)) = self.damage {
            bytes[at] ^= by;
        }
        bytes
    }
}

fn world(mtu_bytes: u16, rate: Option<Rate>) -> World {
    let mut settings = Settings::new(24);
    if let Some(rate) = rate {
        settings.flows.source = rate;
        settings.flows.source_flows = 9;
    }
    let mut all = interfaces();
    all[PRIVATE.index()].mtu_bytes = mtu_bytes;
    let mut world = World::of(all, limits(), 1024);
    world.meet();
    // For an address that is none of ours, and without servers.
    let nobodys = SocketAddr::new(UNKNOWN.into(), 443);
    let services = vec![Service::new("nobody's", Protocol::Udp, nobodys)];
    let mut balancer = Balancer::new(settings, services, 3, &mut random()).unwrap();
    balancer.set_filter(filter(RULES));
    world.path.set_balancer(balancer);
    world
}

/// All that can be seen of what became of packets.
fn all_of(world: &mut World) -> String {
    let all = [PUBLIC, PRIVATE, ADMIN];
    let sent = all.map(|to| world.sent(to));
    let counters = all.map(|id| world.path.counters(id));
    let local = all.map(|id| world.path.fetch(id).map(|local| core::mem::take(local).len()));
    let waiting = world.path.neighbours().waiting();
    let dropped = world.dropped();
    let balancer = world.path.balancer_mut().unwrap();
    let flows: Vec<_> = balancer.flows().iter_from(0).map(|(at, flow)| (at, flow.clone())).collect();
    let counted = *balancer.flows().counters();
    let filter = balancer.filter_mut().unwrap();
    let hits: Vec<_> = (0..7).map(|rule| filter.hits(rule)).collect();
    let logged: Vec<_> = std::iter::from_fn(|| filter.take_logged()).collect();
    let counters_of: Vec<_> = filter.counters().map(|(_, count)| count).collect();
    format!(
        "{sent:02x?}\n{counters:?}\n{local:?}\n{waiting}\n{dropped:?}\n{flows:?}\n{counted:?}\n{hits:?}\n{logged:?}\n\
         {counters_of:?}"
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn a_flow_that_begins_plain_begins_as_it_does_anyway(
        bursts in prop::collection::vec((0..3_usize, 0..700_u64, prop::collection::vec(sent(), 1..30)), 1..8),
        mtu_bytes in prop_oneof![Just(1500_u16), Just(1460_u16)],
        rate in prop::option::of(Just(Rate { per_second: 2, burst: 6 })),
    ) {
        let [mut plain, mut other] = [(); 2].map(|()| world(mtu_bytes, rate));
        for (from, passed_ms, burst) in &bursts {
            let from = [PUBLIC, PRIVATE, ADMIN][*from];
            let (mut frames, mut in_two_segments) = (Burst::new(), Burst::new());
            for sent in burst {
                let bytes = sent.bytes(from);
                frames.push(plain.frame(&bytes));
                in_two_segments.push(in_two(&other, &bytes));
            }
            for (world, burst) in [(&mut plain, &mut frames), (&mut other, &mut in_two_segments)] {
                world.now = world.now.saturating_add(Duration::from_millis(*passed_ms));
                world.path.take(from, burst, world.now);
                world.path.poll(world.now);
                prop_assert!(burst.is_empty());
            }
            prop_assert_eq!(all_of(&mut plain), all_of(&mut other));
        }
    }
}
