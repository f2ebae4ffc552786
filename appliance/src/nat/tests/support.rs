//! Services, servers and packets between them.

use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use paravane_hal::time::Instant;
use proptest::prelude::*;

use super::super::*;
use crate::flow::{Hit, Limits, New, Segment, Service, Tag};
use crate::packet::testing::{Carries, Sample, address, samples};

pub(super) const OUTSIDE: u8 = 0;
pub(super) const INSIDE: u8 = 1;
pub(super) const TAG: Tag = Tag { service: 0, server: 0 };

pub(super) fn random() -> Random {
    Random::from_seed([9; 32])
}

pub(super) fn at(millis: u64) -> Instant {
    Instant::default().saturating_add(Duration::from_millis(1_000_000 + millis))
}

/// A table that takes connections in their middle.
pub(super) fn table() -> Table {
    let mut table = Table::new(Limits::new(5000), &mut random());
    table.set_service(0, Service { picks_up: true, ..Service::GENERAL });
    table
}

/// An address as a sample has it.
pub(super) fn ip(bytes: &[u8; 16], is_v6: bool) -> IpAddr {
    let [a, b, c, d, ..] = *bytes;
    if is_v6 { IpAddr::from(*bytes) } else { Ipv4Addr::new(a, b, c, d).into() }
}

fn bytes(address: IpAddr, of: [u8; 16]) -> [u8; 16] {
    match address {
        IpAddr::V6(v6) => v6.octets(),
        // What is behind them is of no use.
        IpAddr::V4(v4) => {
            let mut bytes = of;
            bytes[..4].copy_from_slice(&v4.octets());
            bytes
        }
    }
}

/// `sample` with the ends of a key.
pub(super) fn with_ends(sample: &Sample, key: &Key) -> Sample {
    let ports = match sample.carries {
        Carries::Icmp(_) => [key.source_port() | key.destination_port(), sample.ports[1]],
        Carries::Other(_) => sample.ports,
        _ => [key.source_port(), key.destination_port()],
    };
    Sample {
        source: bytes(key.source(), sample.source),
        destination: bytes(key.destination(), sample.destination),
        ports,
        ..sample.clone()
    }
}

/// Whole packets, each of a kind that begins a flow or is in the middle of one.
pub(super) fn of_flows(payload: core::ops::Range<usize>) -> impl Strategy<Value = Sample> {
    samples(payload).prop_map(|sample| {
        let carries = match sample.carries {
            Carries::Tcp(options, flags) => {
                let usual = [2, 0x10, 0x11, 0x18][usize::from(flags % 4)];
                Carries::Tcp(options, usual | flags & 0xe0)
            }
            Carries::Icmp(_) => Carries::Icmp(if sample.is_v6 { 128 } else { 8 }),
            carries => carries,
        };
        let fragment = if sample.is_v6 { 0 } else { sample.fragment & 0x4000 };
        Sample { carries, fragment, ..sample }
    })
}

/// What answers `sample`, with the ends of a key.
pub(super) fn answer(sample: &Sample, key: &Key) -> Sample {
    let carries = match &sample.carries {
        Carries::Icmp(8) => Carries::Icmp(0),
        Carries::Icmp(128) => Carries::Icmp(129),
        carries => carries.clone(),
    };
    with_ends(&Sample { carries, ..sample.clone() }, key)
}

/// Headers of a frame.
pub(super) fn read(frame: &Frame) -> (Packet, Transport) {
    let packet = Packet::read(frame).unwrap();
    let transport = packet.transport(frame).unwrap().unwrap();
    (packet, transport)
}

/// Where clients' packets go.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) is_full: bool,
    pub(super) server: [u8; 16],
    pub(super) own: [u8; 16],
    pub(super) port: u16,
}

pub(super) fn world() -> impl Strategy<Value = World> {
    (any::<bool>(), address(), address(), any::<u16>()).prop_map(|(is_full, server, own, port)| World {
        is_full,
        server,
        own,
        port,
    })
}

impl World {
    pub(super) fn nat(&self, is_v6: bool) -> Nat {
        let other = ip(&[77; 16], !is_v6);
        Nat::new(Sources::new(vec![other, ip(&self.own, is_v6)]), &mut random())
    }

    pub(super) fn target(&self, is_v6: bool) -> Target {
        let mode = if self.is_full { Mode::Full } else { Mode::Dnat };
        Target { address: ip(&self.server, is_v6), port: self.port, zone: INSIDE, mode }
    }

    /// Opens the flow of a frame.
    pub(super) fn open(&self, table: &mut Table, frame: &Frame) -> Option<(Hit, [Key; 2])> {
        let (packet, transport) = read(frame);
        let original = Key::of(&packet, &transport, OUTSIDE)?;
        let target = self.target(original.is_v6());
        let reply = match self.nat(original.is_v6()).reply_key(table, &original, &target) {
            Err(NatError::Protocol) if original.protocol() == 132 => return None,
            reply => reply.unwrap(),
        };
        let segment = Segment::of(&packet, &transport, frame);
        let new =
            New { original, reply, tag: TAG, direction: Direction::Original, segment: segment.as_ref() };
        let hit = table.open(&new, at(0), &mut |_, _, _| {}).ok()?;
        Some((hit, [original, reply]))
    }
}
