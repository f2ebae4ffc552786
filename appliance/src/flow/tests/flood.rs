//! A table that strangers fill.

use super::super::*;
use super::support::*;
use crate::packet::wire::{PROTOCOL_TCP, PROTOCOL_UDP};

const FLOWS: u32 = 1000;

#[test]
fn a_flood_of_beginnings_takes_its_share_and_no_more() {
    let mut table = table(Limits::new(FLOWS));
    let established: Vec<_> = (0..400).map(|number| connect(&mut table, number, at(0))).collect();
    let mut ended = 0;
    for number in 0..20_000 {
        let key = client(10_000 + number, if number % 2 == 0 { PROTOCOL_TCP } else { PROTOCOL_UDP });
        let segment = (key.protocol() == PROTOCOL_TCP).then_some(&SYN);
        table
            .open(&new(key, segment), at(1), &mut |_, flow, end| {
                assert!((end, flow.is_proven()) == (End::Evicted, false));
                ended += 1;
            })
            .unwrap();
        // Whoever answers within its turn is let in.
        if number % 1000 == 0 {
            let good = client(5_000 + number / 1000, PROTOCOL_TCP);
            table.open(&new(good, Some(&SYN)), at(1), &mut |_, _, _| ended += 1).unwrap();
            takes(&mut table, &back(&good), Some(&SYN_ACK), at(1));
            takes(&mut table, &good, Some(&ACK), at(1));
        }
        assert!(table.unproven() <= FLOWS / 2);
    }
    assert_eq!((table.len(), table.unproven()), (400 + 20 + FLOWS / 2, FLOWS / 2));
    assert!(established.iter().all(|key| table.state(key) == Some(State::Established)));
    assert_eq!(table.counters().ended(End::Evicted), ended);
    table.check();
    // It is over when their time is.
    while table.poll(at(31), 50, &mut |_, flow, _| assert!(!flow.is_proven())) == Some(at(31)) {}
    assert_eq!((table.len(), table.unproven()), (420, 0));
    table.check();
}

#[test]
fn what_is_proven_takes_all_places_and_does_not_give_way() {
    let mut table = table(Limits::new(100));
    for number in 0..50 {
        table.open(&new(client(1000 + number, PROTOCOL_UDP), None), at(0), &mut nobody).unwrap();
    }
    for number in 0..100 {
        connect(&mut table, number, at(0));
    }
    assert_eq!((table.len(), table.unproven()), (100, 0));
    let more = client(500, PROTOCOL_TCP);
    assert_eq!(table.open(&new(more, Some(&SYN)), at(0), &mut nobody), Err(Refused::Full));
    assert_eq!(table.counters().refused(Refused::Full), 1);
}

#[test]
fn a_beginning_is_not_kept_alive_by_saying_it_again() {
    let mut table = table(Limits::new(FLOWS));
    let key = client(1, PROTOCOL_TCP);
    table.open(&new(key, Some(&SYN)), at(0), &mut nobody).unwrap();
    for second in 1..30 {
        takes(&mut table, &key, Some(&SYN), at(second));
        takes(&mut table, &back(&key), Some(&SYN_ACK), at(second));
        assert_eq!(table.poll(at(second), 100, &mut nobody), Some(at(second + 1)));
    }
    let mut ended = Vec::new();
    assert_eq!(table.poll(at(30), 100, &mut |_, flow, end| ended.push((flow.state(), end))), None);
    assert_eq!(ended, [(State::SynReceived, End::Expired)]);
}

#[test]
fn who_talks_and_gets_no_answer_is_kept_but_gives_way() {
    let mut table = table(Limits { unproven: 2, ..Limits::new(FLOWS) });
    let [one, two, three] = [1, 2, 3].map(|number| client(number, PROTOCOL_UDP));
    for key in [one, two] {
        table.open(&new(key, None), at(0), &mut nobody).unwrap();
    }
    for second in 1..50 {
        takes(&mut table, &one, None, at(second));
        table.poll(at(second), 100, &mut |_, flow, _| assert_eq!(*flow.key(Direction::Original), two));
    }
    assert_eq!((table.state(&one), table.state(&two)), (Some(State::Unanswered), None));
    table.open(&new(two, None), at(50), &mut nobody).unwrap();
    table
        .open(&new(three, None), at(50), &mut |_, flow, end| {
            assert_eq!((*flow.key(Direction::Original), end), (one, End::Evicted));
        })
        .unwrap();
}

#[test]
fn no_two_flows_have_the_same_packets() {
    let mut table = table(Limits::new(FLOWS));
    let key = client(1, PROTOCOL_UDP);
    table.open(&new(key, None), at(0), &mut nobody).unwrap();
    let mut open =
        |original, reply| table.open(&New { original, reply, ..new(key, None) }, at(0), &mut nobody).err();
    let other = client(2, PROTOCOL_UDP);
    assert_eq!(open(key, back(&other)), Some(Refused::Taken));
    assert_eq!(open(other, back(&key)), Some(Refused::Taken), "as of two clients with one port at a server");
    assert_eq!(open(other, other), Some(Refused::Taken));
    assert_eq!(open(other, back(&other)), None);
    table.check();
}
