//! Keys and tables for tests.

use core::net::{Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use super::super::*;
use crate::packet::edit::Ends;
use crate::packet::wire::{PROTOCOL_TCP, PROTOCOL_UDP};

pub(super) const TAG: Tag = Tag { service: 0, server: 0 };
/// Zone of clients, and of servers.
pub(super) const OUTSIDE: u8 = 1;
pub(super) const INSIDE: u8 = 2;

pub(super) fn random() -> Random {
    Random::from_seed([7; 32])
}

pub(super) fn table(limits: Limits) -> Table {
    Table::new(limits, &mut random())
}

pub(super) fn at(seconds: u64) -> Instant {
    Instant::default().saturating_add(Duration::from_secs(1_000 + seconds))
}

/// The key of a client by its number, of either version.
pub(super) fn client(number: u32, protocol: u8) -> Key {
    let source_port = 1024 + u16::try_from(number % 60_000).unwrap();
    let host = number / 60_000;
    if number.is_multiple_of(3) {
        let source = Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(host) << 64 | 1);
        let destination = Ipv6Addr::from_bits(0x2001_0db9 << 96 | 1);
        return Key::v6(Ends { source, destination, source_port, destination_port: 80 }, protocol, OUTSIDE);
    }
    let source = Ipv4Addr::from_bits(0x0b00_0000 | host);
    let destination = Ipv4Addr::new(192, 0, 2, 1);
    Key::v4(Ends { source, destination, source_port, destination_port: 80 }, protocol, OUTSIDE)
}

/// What comes back to it from a server.
pub(super) fn back(original: &Key) -> Key {
    let reply = original.reversed(INSIDE);
    match (reply.ends_v4(), reply.ends_v6()) {
        (Some(ends), _) => {
            let ends = Ends { source: Ipv4Addr::new(10, 0, 0, 9), source_port: 8080, ..ends };
            Key::v4(ends, reply.protocol(), INSIDE)
        }
        (_, Some(ends)) => {
            let ends = Ends { source: Ipv6Addr::from_bits(0xfd << 120 | 9), source_port: 8080, ..ends };
            Key::v6(ends, reply.protocol(), INSIDE)
        }
        _ => reply,
    }
}

pub(super) fn new(original: Key, segment: Option<&Segment>) -> New<'_> {
    New { original, reply: back(&original), tag: TAG, direction: Direction::Original, segment }
}

pub(super) fn nobody(_: u32, flow: &Flow, end: End) {
    panic!("{flow:?} ends: {end:?}");
}

pub(super) const SYN: Segment = Segment::test(2, 1000, 0, 0);
pub(super) const SYN_ACK: Segment = Segment::test(0x12, 5000, 1001, 0);
pub(super) const ACK: Segment = Segment::test(0x10, 1001, 5001, 0);

/// A packet of a flow that is there.
pub(super) fn takes(table: &mut Table, key: &Key, segment: Option<&Segment>, now: Instant) -> Verdict {
    let hit = table.find(key).unwrap();
    table.track(hit, segment, now, &mut nobody)
}

/// Opens a TCP connection, handshake and all.
pub(super) fn connect(table: &mut Table, number: u32, now: Instant) -> Key {
    let key = client(number, PROTOCOL_TCP);
    table.open(&new(key, Some(&SYN)), now, &mut |_, _, _| {}).unwrap();
    assert_eq!(takes(table, &back(&key), Some(&SYN_ACK), now), Verdict::Pass);
    assert_eq!(takes(table, &key, Some(&ACK), now), Verdict::Pass);
    key
}

/// Opens a UDP flow, which is proven.
pub(super) fn talks(table: &mut Table, number: u32, now: Instant) -> Key {
    let key = client(number, PROTOCOL_UDP);
    table.open(&new(key, None), now, &mut |_, _, _| {}).unwrap();
    takes(table, &back(&key), None, now);
    takes(table, &key, None, now);
    key
}

impl Table {
    pub(super) fn state(&self, key: &Key) -> Option<State> {
        self.find(key).and_then(|hit| self.get(hit.index)).map(Flow::state)
    }

    /// Panics where it is not whole.
    pub(crate) fn check(&self) {
        let mut used = vec![false; self.flows.len()];
        for list in 0..=UNPROVEN {
            for index in self.lists.walk(&self.flows, list) {
                assert!(!core::mem::replace(&mut used[index as usize], true), "each is in one list");
                let flow = &self.flows[index as usize];
                assert_eq!(flow.is_proven(), list != UNPROVEN);
                for direction in [Direction::Original, Direction::Reply] {
                    assert_eq!(self.find(flow.key(direction)), Some(Hit { index, direction }));
                }
            }
        }
        let unproven = self.lists.walk(&self.flows, UNPROVEN);
        let seen: Vec<_> = unproven.iter().map(|index| self.flows[*index as usize].seen).collect();
        assert!(seen.is_sorted(), "those that are unproven are in the order of their ends");
        let mut free = self.free;
        while let Some(flow) = self.flows.get(free as usize) {
            assert!(!core::mem::replace(&mut used[free as usize], true), "a free place is in no list");
            assert_eq!(flow.list, list::LOOSE);
            free = flow.after;
        }
        assert!(used.iter().all(|used| *used), "none is lost");
        let flows: Vec<_> = self.iter_from(0).map(|(_, flow)| flow).collect();
        assert_eq!(self.index.len(), 2 * flows.len());
        assert_eq!((self.len(), self.unproven()), (flows.len() as u32, unproven.len() as u32));
        for (number, served) in self.services.iter().enumerate() {
            let of_it = flows.iter().filter(|flow| usize::from(flow.tag.service) == number).count();
            assert_eq!(served.flows, of_it as u32);
        }
        assert_eq!(self.sources.held(), flows.iter().filter(|flow| flow.is_held).count() as u64);
        let counters = self.counters();
        let ended: u64 = End::ALL.iter().map(|end| counters.ended(*end)).sum();
        assert_eq!(counters.opened() - ended, u64::from(self.len()));
    }
}
