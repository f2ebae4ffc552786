//! Packets of flows that go straight, held against the same ones in two segments, which never do.

use core::net::SocketAddr;

use paravane_appliance::balance::{Protocol, Service, Settings};
use paravane_appliance::interface::InterfaceId;
use paravane_appliance::nat::{Mode, Sources};
use paravane_net::Burst;
use proptest::prelude::*;

use super::splice::{self, How};
use super::support::{ACK, Balanced, FIN, PORT, RST, SERVER_PORT, SYN, Tcp, V4, VIP_V4, service, settings};
use crate::straight::in_two;
use crate::world::{ADMIN, FAR_V4, GATEWAY_MAC, HOST_MAC, OWN_MAC, OWN_V4, PRIVATE, PUBLIC};

/// A segment or a datagram.
#[derive(Clone, Debug)]
struct Sent {
    is_udp: bool,
    /// Which client, or which port stands for it; and which server.
    client: u16,
    server: usize,
    flags: u8,
    /// From what would be next.
    ahead: [i32; 2],
    payload_bytes: usize,
    ttl: u8,
    damage: Option<(usize, u8)>,
}

fn sent() -> impl Strategy<Value = Sent> {
    let flags = prop_oneof![
        6 => Just(ACK),
        2 => Just(SYN),
        2 => Just(SYN | ACK),
        1 => Just(FIN | ACK),
        1 => Just(RST),
        1 => Just(SYN | FIN),
    ];
    let ahead = prop_oneof![6 => Just(0), 1 => -100..100_i32, 1 => any::<i32>()];
    let payload_bytes = prop_oneof![6 => 40..50_usize, 1 => 1400..1446_usize];
    let ttl = prop_oneof![8 => Just(64_u8), 1 => 0..3_u8];
    let damage = prop::option::weighted(0.05, (12..50_usize, 1..=255_u8));
    let is_udp = prop::bool::weighted(0.2);
    (is_udp, 0..3_u16, 0..2_usize, flags, [ahead.clone(), ahead], payload_bytes, ttl, damage).prop_map(
        |(is_udp, client, server, flags, ahead, payload_bytes, ttl, damage)| Sent {
            is_udp,
            client,
            server,
            flags,
            ahead,
            payload_bytes,
            ttl,
            damage,
        },
    )
}

impl Sent {
    /// Its ends: from a client, or from a server.
    fn ends(&self, from: InterfaceId, mode: Mode) -> [SocketAddr; 2] {
        let server = SocketAddr::new(V4.servers[self.server], SERVER_PORT);
        let client = SocketAddr::new(FAR_V4.into(), 5000 + self.client);
        match (from == PUBLIC, mode) {
            (true, _) => [client, SocketAddr::new(VIP_V4.into(), PORT)],
            (false, Mode::Dnat) => [server, client],
            (false, _) => [server, SocketAddr::new(OWN_V4[1].into(), 20_000 + self.client)],
        }
    }

    /// Its bytes. `next` is the server's number, as clients know it by their numbers.
    fn bytes(&self, from: InterfaceId, mode: Mode, next: &[u32; 3]) -> Vec<u8> {
        let [source, destination] = self.ends(from, mode);
        let (mac, own) = (if from == PUBLIC { GATEWAY_MAC } else { HOST_MAC }, OWN_MAC[from.index()]);
        let payload = vec![0x5a; self.payload_bytes];
        let mut bytes = if self.is_udp {
            crate::world::udp_between(mac, own, source, destination, self.ttl, &payload)
        } else {
            let [mut sequence, mut acknowledgement] =
                if from == PUBLIC { [1001, next[usize::from(self.client)]] } else { [9001, 1001] };
            if self.flags & SYN != 0 {
                sequence = sequence.wrapping_sub(1);
            }
            sequence = u32::wrapping_add_signed(sequence, self.ahead[0]);
            acknowledgement = u32::wrapping_add_signed(acknowledgement, self.ahead[1]);
            let tcp = Tcp { ttl: self.ttl, ..Tcp::new(source, destination, self.flags) };
            let payload = if self.flags & SYN != 0 { &payload[..40] } else { &payload };
            tcp.at(sequence, acknowledgement).bytes(mac, own, payload)
        };
        if let Some((at, by)) = self.damage {
            bytes[at] ^= by;
        }
        bytes
    }
}

fn world(mode: Mode, mtu_bytes: u16) -> Balanced {
    let sources = Sources::new(vec![OWN_V4[1].into()]).with_ports(20_000..=20_002);
    let settings = Settings { sources, ..settings() };
    let of_udp = if mode == Mode::Splice { Mode::Full } else { mode };
    let udp = Service { mode: of_udp, ..Service::new("dns", Protocol::Udp, SocketAddr::new(V4.vip, PORT)) };
    Balanced::on_private(mtu_bytes, V4, vec![service(&V4, mode), udp], settings)
}

/// All that can be seen of what became of packets.
fn seen(balanced: &mut Balanced) -> String {
    let world = &mut balanced.world;
    let sent = [PUBLIC, PRIVATE, ADMIN].map(|to| world.sent(to));
    let counters = [PUBLIC, PRIVATE, ADMIN].map(|id| world.path.counters(id));
    let local = [PUBLIC, PRIVATE, ADMIN].map(|id| world.path.fetch(id).map(|local| local.len()));
    let dropped = world.dropped();
    let balancer = world.path.balancer().unwrap();
    let traffic: Vec<_> = balancer.services().iter().map(|serving| serving.traffic()).collect();
    let flows: Vec<_> = balancer.flows().iter_from(0).map(|(at, flow)| (at, flow.state())).collect();
    let counted = balancer.flows().counters();
    format!("{sent:02x?}\n{counters:?}\n{local:?}\n{dropped:?}\n{traffic:?}\n{flows:?}\n{counted:?}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn a_packet_of_a_flow_goes_straight_as_it_goes_anyway(
        bursts in prop::collection::vec((any::<bool>(), prop::collection::vec(sent(), 1..40)), 1..6),
        mode in prop::sample::select(vec![Mode::Dnat, Mode::Full, Mode::Splice]),
        mtu_bytes in prop_oneof![Just(1500_u16), Just(1460_u16)],
    ) {
        let [mut straight, mut other] = [(); 2].map(|()| world(mode, mtu_bytes));
        // Some connections are there already.
        let mut next = [9001; 3];
        for client in 0..2 {
            let connect = |balanced: &mut Balanced| match mode {
                Mode::Splice => splice::connect(balanced, &How::new(V4), 5000 + client).cookie,
                _ => balanced.connect(5000 + client).1.sequence,
            };
            let [number, same] = [connect(&mut straight), connect(&mut other)];
            prop_assert_eq!(number, same);
            next[usize::from(client)] = number.wrapping_add(1);
        }
        for (is_public, burst) in &bursts {
            let from = if *is_public { PUBLIC } else { PRIVATE };
            let (mut frames, mut in_two_segments) = (Burst::new(), Burst::new());
            for sent in burst {
                let bytes = sent.bytes(from, mode, &next);
                frames.push(straight.world.frame(&bytes));
                in_two_segments.push(in_two(&other.world, &bytes));
            }
            straight.world.path.take(from, &mut frames, straight.world.now);
            other.world.path.take(from, &mut in_two_segments, other.world.now);
            prop_assert!(frames.is_empty() && in_two_segments.is_empty());
            prop_assert_eq!(seen(&mut straight), seen(&mut other));
        }
    }
}
