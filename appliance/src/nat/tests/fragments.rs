//! Parts of datagrams, in any order.

use paravane_hal::pool::Chain;
use paravane_net::Burst;
use proptest::prelude::*;

use super::super::part::Extents;
use super::super::*;
use super::support::*;
use crate::packet::testing::{Carries, Said, Sample, bytes_of, plain, single};

/// A datagram of so many bytes in parts of `each`, with these ends.
fn parts(whole: &Sample, each: usize) -> Vec<Sample> {
    let datagram = whole.transport(Said::Good);
    let last = datagram.len().div_ceil(each) - 1;
    let part = |(number, bytes): (usize, &[u8])| {
        let more = if number == last { 0 } else { 0x2000 };
        let fragment = more | (number * each / 8) as u16;
        // The first says the ports itself; what is behind them is payload.
        let payload = if number == 0 { &bytes[8..] } else { bytes };
        Sample { fragment, payload: payload.to_vec(), ..whole.clone() }
    };
    datagram.chunks(each).enumerate().map(part).collect()
}

/// The bytes of a part of `whole`: the first one has the whole one's length and checksum.
fn bytes(part: &Sample, whole: &Sample) -> Vec<u8> {
    let mut bytes = part.bytes(Said::Good);
    if part.fragment & 0x1fff == 0 {
        let at = part.transport_at();
        bytes[at..at + 8].copy_from_slice(&whole.transport(Said::Good)[..8]);
    }
    bytes
}

fn whole(is_v6: bool, len: usize) -> Sample {
    let payload = (0..len).map(|at| (at * 7 + at / 256) as u8).collect();
    Sample { payload, ..plain(is_v6, Carries::Udp(true)) }
}

/// What keeps flows and parts.
struct Gate {
    table: Table,
    fragments: Fragments,
    world: World,
    out: Vec<Vec<u8>>,
    lost: Vec<Lost>,
}

impl Gate {
    fn new(limits: FragmentLimits) -> Self {
        let world = World { is_full: true, server: [9; 16], own: [8; 16], port: 8080 };
        let fragments = Fragments::new(limits, &mut random());
        Self { table: table(), fragments, world, out: Vec::new(), lost: Vec::new() }
    }

    fn send(&mut self, hit: crate::flow::Hit, mut frame: Frame) {
        let (mut packet, mut transport) = read(&frame);
        let flow = self.table.get(hit.index).unwrap();
        translate(flow, hit.direction, &mut packet, &mut transport, &mut frame, None).unwrap();
        self.out.push(bytes_of(&frame));
    }

    /// As a path does.
    fn take(&mut self, bytes: &[u8], millis: u64) {
        let frame = single(bytes);
        let (packet, transport) = read(&frame);
        let part = match Part::of(&packet, &frame, OUTSIDE) {
            Ok(part) => part.expect("a part"),
            Err(lost) => return self.lost.push(lost),
        };
        if !part.is_first() {
            return match self.fragments.later(&part, frame, &self.table, at(millis)) {
                Later::Goes(frame, hit) => self.send(hit, frame),
                Later::Waits => {}
                Later::Nobodys(_) => panic!("all are somebody's"),
                Later::Lost(_, lost) => self.lost.push(lost),
            };
        }
        let key = Key::of(&packet, &transport, OUTSIDE).unwrap();
        let hit = self.table.find(&key).or_else(|| Some(self.world.open(&mut self.table, &frame)?.0));
        let mut released: Burst = Chain::new();
        match self.fragments.first(&part, hit.unwrap(), &key, at(millis), &mut released) {
            Ok(()) => {
                self.send(hit.unwrap(), frame);
                while let Some(frame) = released.pop() {
                    self.send(hit.unwrap(), frame);
                }
            }
            Err(lost) => self.lost.push(lost),
        }
    }

    /// What all parts of `whole` are to become.
    fn expected(&self, whole: &Sample, each: usize) -> Vec<Vec<u8>> {
        let flow = self.table.iter_from(0).next().unwrap().1;
        let to = with_ends(whole, &flow.key(Direction::Reply).reversed(OUTSIDE));
        parts(&to, each).iter().map(|part| bytes(part, &to)).collect()
    }
}

proptest! {
    #[test]
    fn all_parts_go_where_the_first_one_does(
        is_v6 in any::<bool>(),
        len in 100_usize..1500,
        order in Just((0..5).collect::<Vec<usize>>()).prop_shuffle(),
    ) {
        let whole = whole(is_v6, len);
        let each = (len + 8).div_ceil(5).next_multiple_of(8);
        let parts = parts(&whole, each);
        let mut ours = Gate::new(FragmentLimits::GENERAL);
        for at in order.into_iter().filter(|at| *at < parts.len()) {
            ours.take(&bytes(&parts[at], &whole), 0);
        }
        prop_assert_eq!(&ours.lost, &[]);
        prop_assert_eq!(ours.fragments.waiting(), 0);
        let mut expected = ours.expected(&whole, each);
        expected.sort();
        ours.out.sort();
        prop_assert_eq!(&ours.out, &expected);
        // And another of the same number at once, for the first is complete.
        ours.out.clear();
        for part in &parts {
            ours.take(&bytes(part, &whole), 0);
        }
        ours.out.sort();
        prop_assert_eq!(&ours.out, &expected);
    }

    /// Against a mark for each place.
    #[test]
    fn parts_overlap_where_two_mark_one_place(
        parts in prop::collection::vec((0_u16..40, 1_u16..10, prop::bool::weighted(0.2)), 1..20),
    ) {
        let mut extents = Extents::NONE;
        let (mut marks, mut end) = ([false; 64], None);
        for (first, len, is_last) in parts {
            let range = usize::from(first)..usize::from(first + len);
            let part = Part { packet: Key::NONE, units: [first, first + len], is_last };
            let gaps = |marks: &[bool; 64]| (1..64).filter(|at| marks[*at] && !marks[at - 1]).count() + usize::from(marks[0]);
            let is_wrong = marks[range.clone()].contains(&true)
                || end.is_some_and(|end| is_last || range.end > end)
                || is_last && marks[range.end..].contains(&true);
            let mut with = marks;
            with[range.clone()].fill(true);
            let added = extents.add(&part);
            prop_assert_eq!(added.is_none(), is_wrong || gaps(&with) > 8);
            let Some(is_whole) = added else { return Ok(()) };
            marks = with;
            if is_last {
                end = Some(range.end);
            }
            prop_assert_eq!(is_whole, end.is_some_and(|end| marks[..end].iter().all(|mark| *mark)));
        }
    }
}

#[test]
fn parts_that_overlap_are_dropped_and_those_after_them() {
    let whole = whole(false, 400);
    let parts = parts(&whole, 104);
    let mut ours = Gate::new(FragmentLimits::GENERAL);
    ours.take(&bytes(&parts[1], &whole), 0);
    let mut over = parts[2].clone();
    over.fragment -= 1;
    ours.take(&bytes(&over, &whole), 1);
    assert_eq!((ours.fragments.waiting(), ours.fragments.lost(Lost::Overlap)), (0, 2), "and what waited");
    ours.take(&bytes(&parts[0], &whole), 2);
    ours.take(&bytes(&parts[3], &whole), 3);
    assert_eq!((ours.lost, ours.out), (vec![Lost::Overlap; 3], Vec::<Vec<u8>>::new()));
}

#[test]
fn parts_wait_for_two_seconds_and_no_more_than_there_may_be() {
    let whole = whole(false, 900);
    let parts = parts(&whole, 104);
    let mut ours = Gate::new(FragmentLimits { waiting: 6, ..FragmentLimits::GENERAL });
    for part in &parts[1..6] {
        ours.take(&bytes(part, &whole), 0);
    }
    assert_eq!((ours.fragments.waiting(), &ours.lost[..]), (4, &[Lost::Full][..]), "four of a datagram");
    let mut other = whole.clone();
    for id in [100, 101, 102] {
        other.id = id;
        let part = Sample { id, ..parts[1].clone() };
        ours.take(&bytes(&part, &other), 100);
    }
    assert_eq!((ours.fragments.waiting(), &ours.lost[..]), (6, &[Lost::Full, Lost::Full][..]));
    assert_eq!(ours.fragments.poll(at(1999)), 0);
    assert_eq!((ours.fragments.poll(at(2000)), ours.fragments.waiting()), (4, 2));
    assert_eq!((ours.fragments.poll(at(9000)), ours.fragments.waiting()), (2, 0));
    assert_eq!(ours.fragments.lost(Lost::Expired), 6);
    // Whose first one is forgotten, they wait again.
    ours.take(&bytes(&parts[0], &whole), 10_000);
    ours.take(&bytes(&parts[1], &whole), 11_999);
    assert_eq!(ours.out.len(), 2);
    ours.take(&bytes(&parts[2], &whole), 12_000);
    assert_eq!((ours.out.len(), ours.fragments.waiting()), (2, 1));
}

#[test]
fn the_oldest_datagram_gives_way() {
    let whole = whole(false, 300);
    let mut ours = Gate::new(FragmentLimits { datagrams: 4, ..FragmentLimits::GENERAL });
    for id in 0..6 {
        let part = Sample { id, ..parts(&whole, 104)[1].clone() };
        ours.take(&bytes(&part, &whole), u64::from(id));
    }
    assert_eq!((ours.fragments.waiting(), ours.fragments.lost(Lost::Expired)), (4, 2));
    let first = Sample { id: 5, ..parts(&whole, 104)[0].clone() };
    ours.take(&bytes(&first, &whole), 10);
    assert_eq!((ours.fragments.waiting(), ours.out.len()), (3, 2));
}

#[test]
fn parts_of_tcp_and_of_nothing_are_dropped() {
    let tcp = Sample { fragment: 0x2000 | 20, ..plain(false, Carries::Tcp(Vec::new(), 0x10)) };
    let mut ours = Gate::new(FragmentLimits::GENERAL);
    let eights = Sample { payload: vec![0; 16], ..tcp.clone() };
    ours.take(&eights.bytes(Said::Good), 0);
    let mut allowed = Gate::new(FragmentLimits { tcp: true, ..FragmentLimits::GENERAL });
    allowed.take(&eights.bytes(Said::Good), 0);
    assert_eq!((&ours.lost[..], &allowed.lost[..]), (&[Lost::Tcp][..], &[][..]));
    // Not in whole units, empty, and behind the longest that there is.
    let udp = Sample { fragment: 0x2000 | 20, ..plain(false, Carries::Udp(true)) };
    for (fragment, len) in [(0x2000 | 20, 20), (0x2000 | 20, 0), (20, 0), (0x1fff, 8)] {
        for is_v6 in [false, true] {
            let part = Sample { is_v6, fragment, payload: vec![0; len], ..udp.clone() };
            let mut ours = Gate::new(FragmentLimits::GENERAL);
            ours.take(&part.bytes(Said::Good), 0);
            assert_eq!(ours.lost, [Lost::Place], "{fragment:#x} {len}");
        }
    }
}

#[test]
fn parts_of_a_flow_that_is_no_more_are_dropped() {
    let whole = whole(true, 400);
    let parts = parts(&whole, 104);
    let mut ours = Gate::new(FragmentLimits::GENERAL);
    ours.take(&bytes(&parts[0], &whole), 0);
    assert!(ours.table.remove(0, &mut |_, _, _| {}));
    ours.take(&bytes(&parts[1], &whole), 0);
    assert_eq!((&ours.lost[..], ours.out.len()), (&[Lost::Flow][..], 1));
    // Nor of another in its place.
    let other = Sample { ports: [7, 7], ..plain(true, Carries::Udp(true)) };
    ours.world.open(&mut ours.table, &single(&other.bytes(Said::Good))).unwrap();
    ours.take(&bytes(&parts[2], &whole), 0);
    assert_eq!((&ours.lost[..], ours.out.len()), (&[Lost::Flow; 2][..], 1));
}
