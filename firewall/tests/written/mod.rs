//! Files as somebody may write them, and what they mean by the words of the README.

mod meaning;
mod text;

use std::net::{Ipv4Addr, Ipv6Addr};

use paravane_firewall::{Addresses, Packet, Transport, Verdict, Zone};
use proptest::prelude::*;

pub(crate) const ZONES: [&str; 4] = ["public", "private", "admin", "self"];

/// Addresses in a list: few, so that packets meet them.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Any,
    Set(usize),
    Prefix4(Ipv4Addr, u32),
    Prefix6(Ipv6Addr, u32),
    Range4(Ipv4Addr, Ipv4Addr),
    Range6(Ipv6Addr, Ipv6Addr),
}

#[derive(Clone, Debug)]
pub(crate) enum Service {
    Named(usize),
    Tcp(Vec<(u16, u16)>, Vec<(u16, u16)>),
    Udp(Vec<(u16, u16)>, Vec<(u16, u16)>),
    Icmp(Vec<(u8, Option<u8>)>),
    Icmpv6(Vec<(u8, Option<u8>)>),
    Protocol(u8),
}

#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) verdict: Verdict,
    /// Numbers of zones, and that of all behind them for `any`.
    pub(crate) from: Vec<usize>,
    pub(crate) to: Vec<usize>,
    pub(crate) services: Vec<Service>,
    pub(crate) source: Vec<Item>,
    pub(crate) destination: Vec<Item>,
    /// What has no say in the decision.
    pub(crate) rest: &'static str,
}

#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) sets: Vec<Vec<Item>>,
    pub(crate) services: Vec<Vec<Service>>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) default: Verdict,
}

fn v4() -> impl Strategy<Value = Ipv4Addr> {
    prop_oneof![
        8 => (0_u8..24).prop_map(|host| Ipv4Addr::new(10, 0, 0, host)),
        1 => Just(Ipv4Addr::UNSPECIFIED),
        1 => Just(Ipv4Addr::BROADCAST),
    ]
}

fn v6() -> impl Strategy<Value = Ipv6Addr> {
    prop_oneof![
        8 => (0_u16..24).prop_map(|host| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host)),
        1 => Just(Ipv6Addr::UNSPECIFIED),
        1 => Just(Ipv6Addr::from_bits(u128::MAX)),
    ]
}

fn item(sets: usize) -> impl Strategy<Value = Item> {
    let prefix4 = (v4(), prop_oneof![28_u32..=32, Just(0), Just(8)]).prop_map(|(address, length)| {
        let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
        Item::Prefix4(Ipv4Addr::from_bits(address.to_bits() & mask), length)
    });
    let prefix6 = (v6(), prop_oneof![124_u32..=128, Just(0), Just(32)]).prop_map(|(address, length)| {
        let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
        Item::Prefix6(Ipv6Addr::from_bits(address.to_bits() & mask), length)
    });
    let plain = prop_oneof![
        4 => prefix4,
        4 => prefix6,
        2 => (v4(), v4()).prop_map(|(a, b)| Item::Range4(a.min(b), a.max(b))),
        2 => (v6(), v6()).prop_map(|(a, b)| Item::Range6(a.min(b), a.max(b))),
        1 => Just(Item::Any),
    ];
    let named = if sets == 0 { Just(Item::Any).boxed() } else { (0..sets).prop_map(Item::Set).boxed() };
    prop_oneof![5 => plain, 2 => named]
}

/// Few, but the first and the last are among them.
fn port() -> impl Strategy<Value = u16> {
    prop_oneof![8 => 78_u16..90, 1 => Just(0), 1 => Just(u16::MAX)]
}

fn ports() -> impl Strategy<Value = Vec<(u16, u16)>> {
    let range = (port(), port(), any::<bool>())
        .prop_map(|(a, b, single)| if single { (a, a) } else { (a.min(b), a.max(b)) });
    prop_oneof![1 => Just(Vec::new()), 4 => prop::collection::vec(range, 1..4)]
}

fn types() -> impl Strategy<Value = Vec<(u8, Option<u8>)>> {
    prop::collection::vec(
        (prop_oneof![0_u8..4, Just(255)], prop::option::of(prop_oneof![0_u8..3, Just(255)])),
        0..4,
    )
}

fn service(named: usize) -> impl Strategy<Value = Service> {
    let plain = prop_oneof![
        4 => (ports(), prop_oneof![3 => Just(Vec::new()), 1 => ports()]).prop_map(|(to, from)| Service::Tcp(to, from)),
        2 => (ports(), prop_oneof![3 => Just(Vec::new()), 1 => ports()]).prop_map(|(to, from)| Service::Udp(to, from)),
        1 => types().prop_map(Service::Icmp),
        1 => types().prop_map(Service::Icmpv6),
        1 => prop_oneof![Just(0_u8), Just(47), Just(50), Just(255)].prop_map(Service::Protocol),
    ];
    let named = if named == 0 {
        Just(Service::Protocol(47)).boxed()
    } else {
        (0..named).prop_map(Service::Named).boxed()
    };
    prop_oneof![5 => plain, 1 => named]
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![Just(Verdict::Allow), Just(Verdict::Reject), Just(Verdict::Drop)]
}

fn rule(sets: usize, services: usize) -> impl Strategy<Value = Rule> {
    let zones = || prop::collection::vec(0..=ZONES.len(), 1..3);
    let list = move || prop_oneof![1 => Just(Vec::new()), 2 => prop::collection::vec(item(sets), 1..4)];
    let rest = prop::sample::select(
        &["", "", " log", " log \"a text\" counter one", " counter two", " counter one"][..],
    );
    let services = prop_oneof![1 => Just(Vec::new()), 3 => prop::collection::vec(service(services), 1..4)];
    let parts = (verdict(), zones(), zones(), services, list(), list(), rest);
    parts.prop_map(|(verdict, from, to, services, source, destination, rest)| {
        let rest = if verdict == Verdict::Reject { " limit 5/min burst 2k per source log" } else { rest };
        Rule { verdict, from, to, services, source, destination, rest }
    })
}

impl File {
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        // A set is made of those above it.
        let sets = (0..3_usize).map(|above| prop::collection::vec(item(above), 1..5)).collect::<Vec<_>>();
        let services =
            (0..2_usize).map(|above| prop::collection::vec(service(above), 1..4)).collect::<Vec<_>>();
        let rules = prop::collection::vec(rule(3, 2), 0..8);
        (sets, services, rules, verdict()).prop_map(|(sets, services, rules, default)| {
            let mut file = Self { sets, services, rules, default };
            // These are errors.
            let kept = file.rules.iter().filter(|rule| file.shares_a_version(rule)).cloned().collect();
            file.rules = kept;
            file
        })
    }
}

pub(crate) fn packet() -> impl Strategy<Value = Packet> {
    let addresses = prop_oneof![
        (v4(), v4()).prop_map(|(source, destination)| Addresses::V4 { source, destination }),
        (v6(), v6()).prop_map(|(source, destination)| Addresses::V6 { source, destination }),
    ];
    let byte = || prop_oneof![0_u8..4, Just(255)];
    let transport = prop_oneof![
        4 => (port(), port()).prop_map(|(source, destination)| Transport::Tcp { source, destination }),
        2 => (port(), port()).prop_map(|(source, destination)| Transport::Udp { source, destination }),
        1 => (byte(), byte()).prop_map(|(kind, code)| Transport::Icmp { kind, code }),
        1 => (byte(), byte()).prop_map(|(kind, code)| Transport::Icmpv6 { kind, code }),
        1 => prop::sample::select(&[0, 1, 6, 17, 47, 50, 58, 255][..]).prop_map(Transport::Other),
    ];
    // One zone more than there are.
    let zone = || prop_oneof![9 => 0_u8..4, 1 => prop_oneof![Just(4_u8), Just(64), Just(255)]].prop_map(Zone);
    (zone(), zone(), addresses, transport).prop_map(|(from, to, addresses, transport)| Packet {
        from,
        to,
        addresses,
        transport,
    })
}
