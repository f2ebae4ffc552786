//! How long flows are kept, by how far they have come.

use super::super::*;
use super::support::*;
use crate::packet::edit::Ends;
use crate::packet::wire::{PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP};

const FIN: u8 = 0x11;

/// The second at which a flow ends of which nothing more is heard since `from`.
fn ends(table: &mut Table, from: u64) -> u64 {
    for second in from..from + 20_000 {
        let mut ended = 0;
        table.poll(at(second), 1000, &mut |_, _, end| {
            assert_eq!(end, End::Expired);
            ended += 1;
        });
        if ended > 0 {
            table.check();
            return second - from;
        }
    }
    panic!("it never ends");
}

fn one() -> (Table, Key) {
    let mut table = table(Limits::new(10));
    table.poll(at(0), 100, &mut nobody);
    let key = connect(&mut table, 1, at(0));
    (table, key)
}

#[test]
fn a_connection_is_kept_by_how_far_it_has_come() {
    let (mut table, key) = one();
    assert_eq!((table.state(&key), ends(&mut table, 0)), (Some(State::Established), 7440));

    let (mut table, key) = one();
    let back = back(&key);
    takes(&mut table, &key, Some(&Segment::test(FIN, 1001, 5001, 10)), at(5));
    assert_eq!((table.state(&key), ends(&mut table, 5)), (Some(State::FinWait), 900));

    let (mut table, key) = one();
    takes(&mut table, &key, Some(&Segment::test(FIN, 1001, 5001, 10)), at(5));
    takes(&mut table, &back, Some(&Segment::test(0x10, 5001, 1012, 0)), at(6));
    assert_eq!(table.state(&key), Some(State::CloseWait));
    takes(&mut table, &back, Some(&Segment::test(0x10, 5001, 1012, 100)), at(700));
    takes(&mut table, &back, Some(&Segment::test(FIN, 5101, 1012, 0)), at(701));
    assert_eq!((table.state(&key), ends(&mut table, 701)), (Some(State::LastAck), 60));

    let (mut table, key) = one();
    takes(&mut table, &key, Some(&Segment::test(FIN, 1001, 5001, 0)), at(5));
    takes(&mut table, &back, Some(&Segment::test(FIN, 5001, 1002, 0)), at(6));
    takes(&mut table, &key, Some(&Segment::test(0x10, 1002, 5002, 0)), at(7));
    assert_eq!(table.state(&key), Some(State::TimeWait));
    // Nothing makes it longer.
    takes(&mut table, &key, Some(&Segment::test(0x10, 1002, 5002, 0)), at(40));
    assert_eq!(ends(&mut table, 7), 60);

    let (mut table, key) = one();
    takes(&mut table, &back, Some(&Segment::test(4, 5001, 0, 0)), at(5));
    takes(&mut table, &key, Some(&Segment::test(0x10, 1001, 5001, 0)), at(10));
    assert_eq!((table.state(&key), ends(&mut table, 5)), (Some(State::Close), 10));
}

/// Without a port at its other end, which an echo has not.
fn quiet(key: Key) -> Key {
    let ends = Ends { destination_port: 0, ..key.ends_v4().unwrap() };
    Key::v4(ends, key.protocol(), key.zone())
}

#[test]
fn others_are_kept_by_protocol_and_service() {
    let limits = Limits { services: 2, ..Limits::new(10) };
    for (protocol, service, seconds) in
        [(PROTOCOL_UDP, 0, 120), (PROTOCOL_UDP, 1, 300), (PROTOCOL_ICMP, 0, 60), (132, 0, 120)]
    {
        let mut table = table(limits);
        table.set_service(1, Service { timeouts: Timeouts::QUIC, ..Service::GENERAL });
        let key = quiet(client(1, protocol));
        let tag = Tag { service, server: 0 };
        table.open(&New { tag, ..new(key, None) }, at(0), &mut nobody).unwrap();
        assert_eq!(table.state(&key), Some(State::Unanswered));
        takes(&mut table, &key, None, at(1));
        takes(&mut table, &back(&key), None, at(2));
        assert_eq!((table.state(&key), table.unproven()), (Some(State::Answered), 1));
        takes(&mut table, &back(&key), None, at(3));
        assert_eq!(table.unproven(), 1, "its source may be anybody's");
        takes(&mut table, &key, None, at(4));
        assert_eq!((table.state(&key), table.unproven()), (Some(State::Stream), 0));
        takes(&mut table, &back(&key), None, at(29));
        assert_eq!(ends(&mut table, 29), seconds);
    }
}

#[test]
fn a_reply_that_nobody_asked_for_begins_nothing() {
    let mut table = table(Limits::new(10));
    let request = client(1, PROTOCOL_ICMP);
    let ends = request.ends_v4().unwrap();
    let [request, reply] = [[77, 0], [0, 77]].map(|[source_port, destination_port]| {
        Key::v4(Ends { source_port, destination_port, ..ends }, PROTOCOL_ICMP, OUTSIDE)
    });
    let [request, reply] =
        [request, reply].map(|original| New { reply: original.reversed(INSIDE), ..new(original, None) });
    assert_eq!(table.open(&reply, at(0), &mut nobody), Err(Refused::NoBeginning));
    table.open(&request, at(0), &mut nobody).unwrap();
}

#[test]
fn times_get_shorter_as_a_table_fills() {
    for (flows, seconds) in [(60, 7440), (80, 4960), (100, 2480)] {
        let mut table = table(Limits::new(100));
        for number in 0..flows {
            connect(&mut table, number, at(0));
        }
        let end = ends(&mut table, 0);
        assert!((seconds..seconds + 64).contains(&end), "{flows} flows end at {end}");
    }
}

#[test]
fn a_poll_looks_at_as_many_as_it_is_told() {
    let mut table = table(Limits::new(2000));
    for number in 0..1000 {
        talks(&mut table, number, at(0));
    }
    let mut ended = 0;
    let now = at(500);
    let mut turns = 0;
    while table.poll(now, 10, &mut |_, _, _| ended += 1) == Some(now) {
        turns += 1;
        assert!(ended <= turns * 10);
    }
    assert_eq!((ended, table.len()), (1000, 0));
    assert!((100..120).contains(&turns), "{turns}");
    // However long nobody looked.
    talks(&mut table, 1, at(500));
    assert_eq!(table.poll(at(1 << 20), 100, &mut |_, _, _| ended += 1), None);
    assert_eq!(ended, 1001);
    // And a clock that goes back ends nothing.
    talks(&mut table, 1, at(1 << 20));
    assert!(table.poll(at(0), 100, &mut nobody).is_some());
}

#[test]
fn the_same_ends_may_begin_anew() {
    let (mut table, key) = one();
    takes(&mut table, &key, Some(&Segment::test(0x14, 1001, 5001, 0)), at(5));
    let hit = table.find(&key).unwrap();
    let syn = Segment::test(2, 77, 0, 0);
    let mut ended = Vec::new();
    let verdict = table.track(hit, Some(&syn), at(6), &mut |_, _, end| ended.push(end));
    assert_eq!((verdict, &ended[..]), (Verdict::Reopened, &[End::Reopened][..]));
    assert_eq!(table.find(&key), None);
    assert_eq!(table.track(hit, Some(&syn), at(6), &mut nobody), Verdict::Pass, "of a flow that is gone");
    table.check();
    table.open(&new(key, Some(&syn)), at(6), &mut nobody).unwrap();
    assert_eq!(table.state(&key), Some(State::SynSent));
    table.check();
}

#[test]
fn a_connection_is_picked_up_where_that_is_allowed() {
    let data = Segment::test(0x10, 3_000_000, 9_000_000, 100);
    let key = client(1, PROTOCOL_TCP);
    let mut table = table(Limits::new(10));
    assert_eq!(table.open(&new(key, Some(&data)), at(0), &mut nobody), Err(Refused::NoBeginning));
    assert_eq!(table.open(&new(key, None), at(0), &mut nobody), Err(Refused::NoBeginning), "part of one");
    table.set_service(0, Service { picks_up: true, ..Service::GENERAL });
    for flags in [0x12, 4, 0x14, 0, 3] {
        let segment = Segment::test(flags, 1, 1, 0);
        assert_eq!(table.open(&new(key, Some(&segment)), at(0), &mut nobody), Err(Refused::NoBeginning));
    }
    for direction in [Direction::Original, Direction::Reply] {
        table.open(&New { direction, ..new(key, Some(&data)) }, at(0), &mut nobody).unwrap();
        assert_eq!((table.state(&key), table.unproven()), (Some(State::Established), 1));
        let [there, here] =
            if direction == Direction::Original { [back(&key), key] } else { [key, back(&key)] };
        // More was sent and acknowledged while another had it.
        let answer = Segment::test(0x10, 9_002_000, 3_000_100, 500);
        assert_eq!(takes(&mut table, &there, Some(&answer), at(1)), Verdict::Pass);
        let more = Segment::test(0x10, 3_000_100, 9_002_500, 0);
        assert_eq!(takes(&mut table, &here, Some(&more), at(2)), Verdict::Pass);
        assert_eq!(table.unproven(), 0, "both are there");
        let reset = Segment::test(4, 3_000_200, 0, 0);
        assert_eq!(takes(&mut table, &here, Some(&reset), at(2)), Verdict::Invalid(Invalid::Reset));
        assert_eq!(table.counters().invalid(Invalid::Reset), 1 + direction as u64);
        let hit = table.find(&key).unwrap();
        table.check();
        assert!(table.remove(hit.index, &mut |_, _, _| {}));
    }
}

#[test]
fn half_a_connection_goes_on_as_a_whole_one() {
    let key = client(1, PROTOCOL_TCP);
    let mut table = table(Limits::new(10));
    table.set_service(0, Service { picks_up: true, ..Service::GENERAL });
    // What a server answers, twice, and what it sends then: its windows are those of a SYN no more.
    let answer = Segment::test(0x12, 9_000, 1001, 0);
    table.open(&New { direction: Direction::Reply, ..new(key, Some(&answer)) }, at(0), &mut nobody).unwrap();
    assert_eq!(table.state(&key), Some(State::SynReceived));
    assert_eq!(takes(&mut table, &back(&key), Some(&answer), at(1)), Verdict::Pass);
    let data = Segment::test(0x10, 9_001, 1001, 60_000);
    assert_eq!(takes(&mut table, &back(&key), Some(&data), at(1)), Verdict::Pass);
    assert_eq!((table.state(&key), table.unproven()), (Some(State::Established), 1));
    let far = Segment::test(0x10, 9_001 + 60_000 * 100, 1001, 0);
    assert_eq!(takes(&mut table, &back(&key), Some(&far), at(25)), Verdict::Pass);
    table.poll(at(50), 100, &mut nobody);
    assert_eq!(table.len(), 1, "it was heard of");
    // The other half comes here as well.
    let other = Segment::test(0x10, 1001 + 900_000, 9_001 + 60_000 * 100, 0);
    assert_eq!(takes(&mut table, &key, Some(&other), at(51)), Verdict::Pass);
    assert_eq!((table.state(&key), table.unproven()), (Some(State::Established), 0));
    table.check();
}

#[test]
fn flows_are_shown_from_any_place_on() {
    let mut table = table(Limits::new(100));
    for number in 0..20 {
        talks(&mut table, number, at(0));
    }
    for index in [3, 4, 19] {
        table.remove(index, &mut |_, _, _| {});
    }
    let shown: Vec<_> = table.iter_from(0).map(|(index, _)| index).collect();
    assert_eq!(shown, (0..19).filter(|index| ![3, 4].contains(index)).collect::<Vec<_>>());
    let next: Vec<_> = table.iter_from(3).take(2).map(|(index, _)| index).collect();
    assert_eq!(next, [5, 6]);
    assert_eq!(table.iter_from(1000).count(), 0);
    assert!(table.get(3).is_none() && table.get(5).is_some());
}

#[test]
fn what_goes_further_is_kept_as_what_is_tracked() {
    let answered = || {
        let mut table = table(Limits::new(100));
        let key = client(1, PROTOCOL_TCP);
        table.open(&new(key, Some(&SYN)), at(0), &mut nobody).unwrap();
        takes(&mut table, &back(&key), Some(&SYN_ACK), at(1));
        (table, key)
    };
    let goes_further = |table: &mut Table, key: &Key, segment, now| {
        let mut lookup = table.lookup(*key);
        table.prepare(core::slice::from_mut(&mut lookup));
        table.goes_further(&lookup, segment, now)
    };
    let (_, there) = answered();
    // The first acknowledgement, data, the last of both, and the last acknowledgement.
    let segments = [
        (there, ACK),
        (back(&there), Segment::test(0x10, 5001, 1001, 100)),
        (back(&there), Segment::test(FIN, 5101, 1001, 0)),
        (there, Segment::test(FIN, 1001, 5102, 0)),
        (back(&there), Segment::test(0x10, 5102, 1002, 0)),
    ];
    for count in 1..=segments.len() {
        let ((mut straight, _), (mut tracked, _)) = (answered(), answered());
        for (key, segment) in &segments[..count] {
            assert!(goes_further(&mut straight, key, *segment, at(10)), "{segment:?}");
            takes(&mut tracked, key, Some(segment), at(10));
        }
        straight.check();
        assert_eq!(straight.state(&there), tracked.state(&there));
        assert_eq!(straight.unproven(), tracked.unproven());
        assert_eq!(ends(&mut straight, 10), ends(&mut tracked, 10), "{count}");
    }
    let (mut table, _) = answered();
    for refused in [Segment::test(0x10, 1 << 30, 5001, 0), Segment::test(4, 1001, 0, 0), SYN] {
        assert!(!goes_further(&mut table, &there, refused, at(2)), "{refused:?}");
    }
    assert_eq!((table.state(&there), table.unproven()), (Some(State::SynReceived), 1));
}

#[test]
fn what_goes_on_is_kept_as_what_is_tracked() {
    let mut table = table(Limits::new(100));
    let goes_on = |table: &mut Table, key: &Key, segment: &Segment, now| {
        let mut lookup = table.lookup(*key);
        table.prepare(core::slice::from_mut(&mut lookup));
        let (flow, direction) = table.found_there(&lookup).unwrap();
        flow.goes_on(direction, segment, now)
    };
    let (tcp, udp) = (connect(&mut table, 1, at(0)), talks(&mut table, 2, at(0)));
    let half = client(3, PROTOCOL_UDP);
    table.open(&new(half, None), at(0), &mut nobody).unwrap();
    let data = Segment::test(0x10, 1001, 5001, 10);
    assert!(goes_on(&mut table, &tcp, &data, at(5_000)));
    assert!(goes_on(&mut table, &udp, &Segment::NONE, at(100)));
    // One side alone has shown that it is there; and what is ahead of all windows is none of it.
    assert!(!goes_on(&mut table, &half, &Segment::NONE, at(10)));
    assert!(!goes_on(&mut table, &tcp, &Segment::test(0x10, 1 << 30, 5001, 10), at(7_000)));
    let mut ended = Vec::new();
    for second in 0..14_000 {
        table.poll(at(second), 100, &mut |_, flow, _| ended.push((*flow.key(Direction::Original), second)));
    }
    assert_eq!(ended, [(half, 30), (udp, 220), (tcp, 5_000 + 7_440)]);
    assert!(table.found_there(&table.lookup(tcp)).is_none());
    table.check();
}
