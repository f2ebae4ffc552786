//! What services and sources are held to.

use std::collections::HashMap;

use super::super::*;
use super::support::*;
use crate::limit::Rate;
use crate::packet::edit::Ends;
use crate::packet::wire::{PROTOCOL_TCP, PROTOCOL_UDP};

const FLOWS: u32 = 1000;

/// The first flow of each source is of IPv4 for some, and of IPv6 for others.
fn of_source(source: u32, number: u32) -> Key {
    client(60_000 * source + 3 * number + source % 2, PROTOCOL_UDP)
}

fn open(table: &mut Table, key: Key, seconds: u64) -> Result<Hit, Refused> {
    table.open(&new(key, None), at(seconds), &mut |_, _, _| {})
}

#[test]
fn services_and_sources_begin_at_their_rates() {
    let source = Rate { per_second: 10, burst: 5 };
    let mut table = table(Limits { source, services: 2, ..Limits::new(FLOWS) });
    let rate = Rate { per_second: 100, burst: 8 };
    assert!(table.set_service(0, Service { rate, ..Service::GENERAL }));
    assert!(!table.set_service(2, Service::GENERAL), "there are two");
    let mut open = |number: u32, service| {
        let tag = Tag { service, server: 2 };
        table.open(&New { tag, ..new(client(number, PROTOCOL_UDP), None) }, at(0), &mut nobody).err()
    };
    let of_one: Vec<_> = (0..7).map(|number| open(1 + 3 * number, 0)).collect();
    assert_eq!(of_one, [None, None, None, None, None, Some(Refused::SourceRate), Some(Refused::SourceRate)]);
    let of_others: Vec<_> = (1..6).map(|host| open(60_001 * host, 0)).collect();
    assert_eq!(of_others, [None, None, None, Some(Refused::ServiceRate), Some(Refused::ServiceRate)]);
    assert_eq!(open(60_001 * 9, 1), None, "another service");
    assert_eq!((table.flows_of_service(0), table.flows_of_service(1)), (8, 1));
    table.check();
}

#[test]
fn a_service_has_as_many_as_it_may() {
    let mut table = table(Limits::new(FLOWS));
    table.set_service(0, Service { flows: 3, ..Service::GENERAL });
    let mut open = |number| table.open(&new(client(number, PROTOCOL_UDP), None), at(0), &mut nobody).err();
    assert_eq!([1, 2, 3, 4].map(&mut open), [None, None, None, Some(Refused::ServiceFull)]);
    let tag = Tag { service: 1, ..TAG };
    let other = New { tag, ..new(client(9, PROTOCOL_UDP), None) };
    assert_eq!(table.open(&other, at(0), &mut nobody), Err(Refused::NoService));
    assert!(table.remove(0, &mut |_, _, _| {}));
    assert_eq!(table.open(&new(client(9, PROTOCOL_UDP), None), at(0), &mut nobody).err(), None);
}

#[test]
fn a_source_has_as_many_as_it_may_however_they_end() {
    let mut table = table(Limits { source_flows: 2, unproven: 3, ..Limits::new(FLOWS) });
    for source in 0..2 {
        let now = 100 * u64::from(source);
        let first = open(&mut table, of_source(source, 0), now).unwrap();
        open(&mut table, of_source(source, 1), now).unwrap();
        assert_eq!(open(&mut table, of_source(source, 2), now), Err(Refused::SourceFull));
        table.check();
        assert!(table.remove(first.index, &mut |_, _, _| {}));
        open(&mut table, of_source(source, 2), now).unwrap();
        assert_eq!(open(&mut table, of_source(source, 3), now), Err(Refused::SourceFull));
        // The share of the unproven is full: others put out the oldest.
        open(&mut table, of_source(source + 7, 0), now).unwrap();
        open(&mut table, of_source(source + 9, 0), now).unwrap();
        open(&mut table, of_source(source, 3), now).unwrap();
        table.check();
        while table.poll(at(now + 30), 100, &mut |_, _, _| {}).is_some() {}
        assert_eq!((table.len(), table.sources.held()), (0, 0), "their time is over");
    }
    assert_eq!(table.counters().refused(Refused::SourceFull), 4);
    assert_eq!(table.counters().uncounted(), 0);
}

#[test]
fn a_source_is_an_address_or_64_bits() {
    let mut table = table(Limits { source_flows: 1, ..Limits::new(FLOWS) });
    let mut open = |source: &str| {
        let destination = if source.contains(':') { "2001:db8::1" } else { "192.0.2.1" };
        let [source, destination] = [source, destination].map(|address| address.parse().unwrap());
        let ends = Ends { source, destination, source_port: 1024, destination_port: 80 };
        table.open(&new(Key::new(ends, PROTOCOL_UDP, OUTSIDE).unwrap(), None), at(0), &mut nobody).err()
    };
    let same_customer = ["2001:db8:0:1::1", "2001:db8:0:1::2"].map(&mut open);
    assert_eq!(same_customer, [None, Some(Refused::SourceFull)]);
    assert_eq!(["2001:db8:0:2::1", "10.0.0.1", "10.0.0.2"].map(&mut open), [None; 3]);
    assert_eq!(open("0:0:a00:1::1"), None, "not the same, though the number is");
}

#[test]
fn a_source_holds_nothing_that_did_not_begin() {
    let mut table = table(Limits { source_flows: 3, ..Limits::new(2) });
    for number in [1, 4] {
        connect(&mut table, number, at(0));
    }
    for _ in 0..5 {
        assert_eq!(open(&mut table, client(7, PROTOCOL_UDP), 0), Err(Refused::Full));
        table.check();
    }
    assert_eq!(table.sources.held(), 2);
}

#[test]
fn a_source_s_connection_that_begins_anew_is_one() {
    let mut table = table(Limits { source_flows: 1, ..Limits::new(FLOWS) });
    let key = connect(&mut table, 1, at(0));
    let reset = Segment::test(4, 1001, 0, 0);
    assert_eq!(takes(&mut table, &key, Some(&reset), at(0)), Verdict::Pass);
    let syn = Segment::test(2, 9_000_000, 0, 0);
    assert_eq!(
        table.open(&new(client(4, PROTOCOL_TCP), Some(&syn)), at(0), &mut nobody).err(),
        Some(Refused::SourceFull)
    );
    let hit = table.find(&key).unwrap();
    assert_eq!(table.track(hit, Some(&syn), at(0), &mut |_, _, _| {}), Verdict::Reopened);
    table.open(&new(key, Some(&syn)), at(0), &mut nobody).unwrap();
    table.check();
    assert_eq!(table.sources.held(), 1);
}

#[test]
fn what_was_not_counted_is_not_taken_off() {
    // Four places, and five sources.
    let mut table = table(Limits { source_flows: 2, sources: 4, ..Limits::new(FLOWS) });
    let held: Vec<_> = (0..4).map(|source| open(&mut table, of_source(source, 0), 0).unwrap()).collect();
    let uncounted: Vec<_> = (0..5).map(|number| open(&mut table, of_source(4, number), 0).unwrap()).collect();
    assert_eq!((table.counters().uncounted(), table.sources.held()), (5, 4));
    table.check();
    // A place is free, and the fifth one takes it.
    assert!(table.remove(held[0].index, &mut |_, _, _| {}));
    open(&mut table, of_source(4, 10), 1).unwrap();
    open(&mut table, of_source(4, 11), 1).unwrap();
    for hit in uncounted {
        assert_eq!(open(&mut table, of_source(4, 12), 1), Err(Refused::SourceFull));
        assert!(table.remove(hit.index, &mut |_, _, _| {}));
        table.check();
    }
    assert_eq!(open(&mut table, of_source(4, 12), 1), Err(Refused::SourceFull));
    assert_eq!((table.counters().uncounted(), table.sources.held()), (5, 5));
}

#[test]
fn sources_without_a_limit_take_no_places() {
    let source = Rate { per_second: 10, burst: 1 };
    let mut table = table(Limits { source, sources: 4, ..Limits::new(FLOWS) });
    for number in 0..50 {
        open(&mut table, of_source(number, 0), u64::from(number)).unwrap();
        assert_eq!(open(&mut table, of_source(number, 1), u64::from(number)), Err(Refused::SourceRate));
    }
    assert_eq!((table.sources.held(), table.counters().uncounted()), (0, 0));
    table.check();
}

#[test]
fn what_is_picked_up_is_not_new_but_counts() {
    let none = Rate { per_second: 0, burst: 0 };
    let mut table = table(Limits { source: none, source_flows: 3, ..Limits::new(FLOWS) });
    table.set_service(0, Service { rate: none, picks_up: true, flows: 4, ..Service::GENERAL });
    let data = Segment::test(0x10, 3_000_000, 9_000_000, 100);
    let mut open = |number, segment| {
        table.open(&new(client(number, PROTOCOL_TCP), Some(segment)), at(0), &mut nobody).err()
    };
    assert_eq!(open(1, &SYN), Some(Refused::SourceRate));
    let picked_up: Vec<_> = (0..4).map(|number| open(1 + 3 * number, &data)).collect();
    assert_eq!(picked_up, [None, None, None, Some(Refused::SourceFull)]);
    assert_eq!([60_001, 120_001].map(|number| open(number, &data)), [None, Some(Refused::ServiceFull)]);
}

#[test]
fn who_is_refused_costs_nobody_anything() {
    let rate = Rate { per_second: 1, burst: 5 };
    let mut table = table(Limits { source: rate, source_flows: 9, services: 2, ..Limits::new(FLOWS) });
    table.set_service(0, Service { rate: Rate { burst: 7, ..rate }, ..Service::GENERAL });
    for number in 0..100 {
        let began = open(&mut table, of_source(0, number), 0);
        assert_eq!(began.err(), (number >= 5).then_some(Refused::SourceRate));
    }
    // Two tokens of the service's seven are left.
    for number in 0..100 {
        let began = open(&mut table, of_source(1, number), 0);
        assert_eq!(began.err(), (number >= 2).then_some(Refused::ServiceRate));
    }
    // And three of that source's five.
    let mut of_other = |number| {
        let tag = Tag { service: 1, ..TAG };
        table.open(&New { tag, ..new(of_source(1, number), None) }, at(0), &mut nobody).err()
    };
    assert_eq!([101, 102, 103, 104].map(&mut of_other), [None, None, None, Some(Refused::SourceRate)]);
    assert_eq!(table.sources.held(), 10);
    table.check();
}

#[test]
fn who_asks_first_takes_nothing() {
    let rate = Rate { per_second: 1, burst: 2 };
    let mut table = table(Limits { source: rate, source_flows: 1, ..Limits::new(FLOWS) });
    table.set_service(0, Service { rate, ..Service::GENERAL });
    let key = of_source(0, 0);
    // What comes back is not known yet.
    let asked = New { reply: key, ..new(key, None) };
    for _ in 0..10 {
        assert_eq!(table.admit(&asked, at(0)), Ok(()));
    }
    assert_eq!((table.len(), table.sources.held(), table.counters().opened()), (0, 0, 0));
    open(&mut table, key, 0).unwrap();
    let other = of_source(0, 1);
    assert_eq!(table.admit(&New { original: other, ..asked }, at(0)), Err(Refused::SourceFull));
    let segment = Segment::test(0x10, 3_000_000, 9_000_000, 100);
    let middle = New { original: client(1, PROTOCOL_TCP), segment: Some(&segment), ..asked };
    assert_eq!(table.admit(&middle, at(0)), Err(Refused::NoBeginning));
    let nowhere = New { tag: Tag { service: 1, ..TAG }, ..asked };
    assert_eq!(table.admit(&nowhere, at(0)), Err(Refused::NoService));
    let counted = [Refused::SourceFull, Refused::NoBeginning, Refused::NoService]
        .map(|why| table.counters().refused(why));
    assert_eq!(counted, [1, 1, 1]);
}

#[test]
fn sources_hold_what_they_have_whatever_comes_and_goes() {
    const MOST: u32 = 3;
    let limits = Limits { source_flows: MOST, sources: 8, unproven: 20, ..Limits::new(40) };
    let mut table = table(limits);
    let mut random = random();
    let mut below = |bound: u32| random.below(bound.try_into().unwrap());
    let (mut refused, mut second) = (0, 0);
    for step in 0..20_000 {
        let source = below(16);
        let held = |table: &Table| {
            let mut held = HashMap::new();
            for (_, flow) in table.iter_from(0).filter(|(_, flow)| flow.is_held) {
                *held.entry(flow.key(Direction::Original).host()).or_insert(0) += 1;
            }
            held
        };
        match below(10) {
            0..6 => {
                let key = of_source(source, below(50));
                let before = held(&table).remove(&key.host()).unwrap_or(0);
                let opened = open(&mut table, key, second);
                refused += u32::from(opened == Err(Refused::SourceFull));
                assert!(opened.is_err() || before < MOST);
                assert!(opened != Err(Refused::SourceFull) || before == MOST);
            }
            6..9 => {
                let index = below(40);
                table.remove(index, &mut |_, _, _| {});
            }
            _ => {
                second += u64::from(below(10) == 0) * 10;
                table.poll(at(second), 100, &mut |_, _, _| {});
            }
        }
        if step % 16 == 0 {
            table.check();
        }
        assert!(held(&table).values().all(|held| *held <= MOST));
    }
    assert!(refused > 100 && table.counters().uncounted() > 100, "{refused}, {:?}", table.counters());
}
