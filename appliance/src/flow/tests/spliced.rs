//! Flows of connections that are spliced: they begin when their handshake is over.

use super::super::*;
use super::support::{SYN, at, client, new, table};
use crate::limit::Rate;

const ACK: u8 = 16;
/// The client's number, and what it knows instead of the server's.
const CLIENT: u32 = u32::MAX - 3;
const COOKIE: u32 = 7000;

fn handshake(is_again: bool) -> Handshake {
    let segments = [
        Segment::bare(2, CLIENT, 0, 0, Some(3)),
        Segment::bare(18, COOKIE, CLIENT.wrapping_add(1), u16::MAX, Some(7)),
        Segment::bare(ACK, CLIENT.wrapping_add(1), COOKIE + 1, 1000, None),
    ];
    Handshake { segments, is_again }
}

fn key(number: u32) -> Key {
    client(number, PROTOCOL_TCP)
}

fn open(table: &mut Table, number: u32, is_again: bool) -> Result<Hit, Refused> {
    table.open_spliced(&new(key(number), None), &handshake(is_again), at(0), &mut |_, _, _| {})
}

#[test]
fn one_is_established_and_proven_from_its_first_moment_on() {
    let mut table = table(Limits::new(16));
    let hit = open(&mut table, 1, false).unwrap();
    let flow = table.get(hit.index).unwrap();
    assert_eq!((flow.state(), flow.is_proven(), flow.is_spliced()), (State::Established, true, true));
    assert_eq!(flow.next_sequence(Direction::Original), CLIENT.wrapping_add(1));
    assert_eq!(flow.next_sequence(Direction::Reply), COOKIE + 1);
    assert_eq!((table.len(), table.unproven()), (1, 0));
    table.check();
    let plain = table.open(&new(key(2), Some(&SYN)), at(0), &mut |_, _, _| {}).unwrap();
    assert!(!table.get(plain.index).unwrap().is_spliced());
}

/// A server may have opened 65,535 bytes, and has not sent anything.
#[test]
fn its_bounds_are_those_of_the_handshake() {
    let mut table = table(Limits::new(16));
    let hit = open(&mut table, 1, false).unwrap();
    let mut track = |direction, sequence: u32, acknowledgement: u32| {
        let segment = Segment::test(ACK, sequence, acknowledgement, 10);
        table.track(Hit { direction, ..hit }, Some(&segment), at(1), &mut |_, _, _| {})
    };
    let next = CLIENT.wrapping_add(1);
    let client = Direction::Original;
    assert_eq!(track(client, next.wrapping_add(70_000), COOKIE + 1), Verdict::Invalid(Invalid::Sequence));
    assert_eq!(track(client, next, COOKIE + 2), Verdict::Invalid(Invalid::Acknowledgement));
    assert_eq!(track(client, next.wrapping_add(60_000), COOKIE + 1), Verdict::Pass);
    // The client's window has 8,000 bytes.
    assert_eq!(track(Direction::Reply, COOKIE + 9_000, next), Verdict::Invalid(Invalid::Sequence));
    assert_eq!(track(Direction::Reply, COOKIE + 7_000, next), Verdict::Pass);
}

#[test]
fn rates_hold_for_a_client_once() {
    let mut table = table(Limits::new(16));
    let rate = Rate { per_second: 1, burst: 1 };
    table.set_service(0, Service { rate, ..Service::GENERAL });
    let first = open(&mut table, 1, false).unwrap();
    assert_eq!(open(&mut table, 2, false), Err(Refused::ServiceRate));
    let mut ended = Vec::new();
    assert!(table.remove(first.index, &mut |index, flow, end| ended.push((index, flow.is_spliced(), end))));
    assert_eq!(ended, [(first.index, true, End::Removed)]);
    assert_eq!(open(&mut table, 1, false), Err(Refused::ServiceRate));
    assert!(open(&mut table, 1, true).is_ok(), "it is the same client still");
    assert_eq!(table.counters().refused(Refused::ServiceRate), 2);
}

/// All else that there is of a limit holds, and who is in the way is told apart.
#[test]
fn limits_hold_for_each() {
    let mut table = table(Limits::new(16));
    table.set_service(0, Service { flows: 1, ..Service::GENERAL });
    open(&mut table, 1, false).unwrap();
    assert_eq!(open(&mut table, 1, true), Err(Refused::Taken));
    assert_eq!(open(&mut table, 2, true), Err(Refused::ServiceFull));
    table.check();
}
