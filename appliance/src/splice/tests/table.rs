//! Places, time and buffers.

use super::super::*;
use super::bench::*;
use super::world::{at, random};
use crate::flow::{self, Direction, Key, New, Segment, Table, Tag};
use crate::packet::Packet;
use crate::packet::edit::Ends;
use crate::packet::testing::{Said, pool};

/// A place is used again: what waited for the flow before is over.
#[test]
fn the_place_of_a_flow_that_ended_is_anothers() {
    let mut bench = Bench::begun(false, CLIENT, &SERVICE);
    bench.sent.clear();
    bench.flows.remove(bench.hit.index, &mut |_, _, _| {});
    assert_eq!(bench.poll(1000), None);
    assert_eq!((bench.sent(), bench.done.len()), (vec![], 0));

    let mut bench = Bench::begun(false, CLIENT, &SERVICE);
    bench.flows.remove(bench.hit.index, &mut |_, _, _| {});
    let [original, reply] = ends(true);
    let segment = Segment::test(SYN, 1, 0, 0);
    let tag = Tag { service: 0, server: 0 };
    let new = New { original, reply, tag, direction: Direction::Original, segment: Some(&segment) };
    let hit = bench.flows.open(&new, at(0), &mut |_, _, _| {}).unwrap();
    assert_eq!(hit.index, bench.hit.index);
    bench.sent.clear();
    assert_eq!((bench.poll(1000), bench.sent()), (None, vec![]));
    assert_eq!(bench.splices.waiting(), 0);
    bench.is_v6 = true;
    assert_eq!(bench.client(&client(ACK, C1, K + 1)), Verdict::Drop(Reason::Unknown));
}

#[test]
fn without_buffers_it_is_done_later() {
    let mut bench = Bench::new(false, 1);
    let taken = bench.splices.pool.get();
    bench.begin(&CLIENT, &SERVICE);
    assert_eq!((bench.sent(), bench.splices.counters().no_buffer), (vec![], 1));
    drop(taken);
    bench.poll(1000);
    assert_eq!(bench.sent(), [(Side::Server, SYN, C, 0)]);
    bench.server(&syn_ack(&SERVICE));
    bench.sent.clear();
    bench.poll(1250);
    assert_eq!(bench.sent(), [(Side::Client, ACK, K + 1, C1)]);
}

/// As many as are asked for, oldest first, and the rest the next time.
#[test]
fn a_poll_does_no_more_than_it_is_asked_for() {
    let mut flows = Table::new(flow::Limits::new(64), &mut random());
    flows.set_service(0, flow::Service { picks_up: true, ..flow::Service::GENERAL });
    let mut splices = Splices::new(64, Settings::GENERAL, pool(8));
    for number in 0..20_u16 {
        let [original, reply] = ends(false);
        let other = |key: Key| {
            let ends = key.ends_v4().unwrap();
            Key::v4(
                Ends { source_port: 1000 + number, destination_port: 2000 + number, ..ends },
                6,
                key.zone(),
            )
        };
        let segment = Segment::test(ACK, C1, K + 1, 0);
        let tag = Tag { service: 0, server: 0 };
        let new = New {
            original: other(original),
            reply: other(reply),
            tag,
            direction: Direction::Original,
            segment: Some(&segment),
        };
        let hit = flows.open(&new, at(0), &mut |_, _, _| {}).unwrap();
        let flow = flows.get(hit.index).unwrap();
        let now = at(u64::from(number));
        assert!(splices.begin(hit.index, flow, &CLIENT, &SERVICE, now, &mut |_, _| {}));
    }
    let mut sent = Vec::new();
    let mut poll = |millis, most| {
        let before = sent.len();
        let next = splices.poll(&flows, at(millis), most, &mut |index, output| {
            if let Output::Send(..) = output {
                sent.push(index);
            }
        });
        (next.map(|next| next.since(at(0)).as_millis()), sent.len() - before)
    };
    assert_eq!(poll(1004, 3), (Some(1004), 3));
    assert_eq!(poll(1004, 3), (Some(1005), 2));
    assert_eq!(poll(2000, 100), (Some(3004), 15));
    assert!(sent.is_sorted() && sent.len() == 20, "{sent:?}");
    assert_eq!(splices.waiting(), 20);
    assert_eq!(Splices::bytes_of(64), 64 * 64);
    assert!(!splices.begin(64, flows.get(0).unwrap(), &CLIENT, &SERVICE, at(0), &mut |_, _| {}));
}

/// Damaged on its way, it neither opens nor ends anything.
#[test]
fn what_is_damaged_is_not_listened_to() {
    let mut bench = Bench::begun(false, CLIENT, &SERVICE);
    bench.sent.clear();
    // An open checksum is right, and said to be one that is not.
    for say in [syn_ack(&SERVICE), server(RST | ACK, 0, C1)] {
        let bytes = say.bytes(Said::Partial);
        let mut frame = crate::packet::testing::single(&bytes);
        let packet = Packet::read(&frame).unwrap();
        let mut transport = packet.transport(&frame).unwrap().unwrap();
        let flow = bench.flows.get(bench.hit.index).unwrap();
        let (packet, transport, index) = (&packet, &mut transport, bench.hit.index);
        let mut arrived = Arrived { index, flow, packet, transport, frame: &mut frame };
        let verdict = bench.splices.from_server(&mut arrived, at(0), &mut |_, _| panic!());
        assert_eq!(verdict, Verdict::Drop(Reason::Checksum));
        let verdict = bench.splices.from_client(&mut arrived, at(0), &mut |_, _| panic!());
        assert_eq!(verdict, Verdict::Drop(Reason::Checksum));
    }
    assert_eq!(bench.take(Side::Server, &syn_ack(&SERVICE), Said::Partial).0, Verdict::Drop(Reason::Answer));
}
