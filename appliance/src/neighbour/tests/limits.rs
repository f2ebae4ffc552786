//! How much there is of everything, and who is held up by whom.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use paravane_net::MacAddr;

use super::support::*;
use crate::drops::Reason;
use crate::interface::{Interface, InterfaceId};
use crate::neighbour::entry::Key;
use crate::neighbour::{Counters, Dropped, Ignored, Limits, Output, State};

/// The `n`th neighbour.
fn v4(n: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0a01_0000 + n).into()
}

fn mac(n: u32) -> MacAddr {
    MacAddr::local(n)
}

/// What became of the frames.
fn dropped(this: &mut Router) -> Vec<(Dropped, u32)> {
    let outs = this.outs();
    let drops = outs.into_iter().filter_map(|out| match out {
        Out::Drop(reason, mark) => Some((reason, mark)),
        _ => None,
    });
    drops.collect()
}

#[test]
fn three_wait_for_one_and_the_oldest_goes() {
    let mut this = Router::new();
    for mark in 0..5 {
        this.wait(v4(1), mark);
    }
    this.wait(v4(2), 9);
    assert_eq!(dropped(&mut this), [(Dropped::Waiting, 0), (Dropped::Waiting, 1)]);
    this.hear(answer(v4(1), THEIRS)).unwrap();
    assert_eq!(this.outs(), [2, 3, 4].map(|mark| Out::Release(THEIRS, mark)));
    assert_eq!(this.neighbours.waiting(), 1);
    assert_eq!(this.neighbours.counters().dropped(Dropped::Waiting), 2);
}

#[test]
fn sixty_four_wait_in_all_and_as_many_for_pinned_ones() {
    let mut this = Router::new();
    assert!(this.neighbours.pin(LINK, v4(1000)));
    this.wait(v4(1000), 1000);
    for n in 0..66 {
        this.wait(v4(n), n);
    }
    assert_eq!(dropped(&mut this), [(Dropped::Waiting, 0), (Dropped::Waiting, 1)], "the oldest of all");
    assert_eq!(this.neighbours.waiting(), 65);
    this.hear(answer(v4(1000), THEIRS)).unwrap();
    this.hear(answer(v4(0), THEIRS)).unwrap();
    this.hear(answer(v4(2), THEIRS)).unwrap();
    assert_eq!(this.outs(), [Out::Release(THEIRS, 1000), Out::Release(THEIRS, 2)]);
}

#[test]
fn what_is_dropped_says_where_it_was_going_and_came_from() {
    let mut this = Router::with(Limits { waiting: 1, ..Limits::new(2) });
    let mut outs = Vec::new();
    for (mark, interface) in [(0_u32, 0), (1, 1)] {
        let frame = this.frame(&mark.to_ne_bytes());
        let from = Some(InterfaceId(interface + 10));
        let id = InterfaceId(interface);
        this.neighbours.wait(id, v4(1), frame, from, this.now, &mut |out| outs.push(out));
    }
    let Some(Output::Drop { interface, from, frame, .. }) = outs.pop() else { panic!("{outs:?}") };
    assert_eq!((interface, from, frame.read::<u32>(0)), (InterfaceId(0), Some(InterfaceId(10)), Some(0)));
}

#[test]
fn nothing_waits_where_nothing_may() {
    for limits in [Limits { waiting: 0, ..Limits::new(1) }, Limits { waiting_each: 0, ..Limits::new(1) }] {
        let mut this = Router::with(limits);
        this.wait(v4(1), 5);
        assert_eq!(dropped(&mut this), [(Dropped::Waiting, 5)]);
        this.poll();
        assert_eq!(this.outs(), [Out::Send(our_question(v4(1), None))], "it is asked for all the same");
    }
}

#[test]
fn nobody_is_known_where_nobody_may_be() {
    let mut this = Router::with(Limits { learned: 0, pinned: 0, ..Limits::new(1) });
    assert!(!this.neighbours.pin(LINK, v4(1)));
    this.wait(v4(1), 1);
    assert_eq!(dropped(&mut this), [(Dropped::Full, 1)]);
    assert_eq!(this.hear(answer(v4(1), THEIRS)), Err(Ignored::Unknown));
    this.poll();
    assert_eq!((this.outs(), this.next, this.neighbours.len()), (vec![], None, 0));
}

#[test]
fn so_many_are_asked_for_and_pinned_ones_beside() {
    let mut this = Router::with(Limits { questions: 4, ..Limits::new(1) });
    for n in 0..6 {
        this.wait(v4(n), n);
    }
    assert_eq!(dropped(&mut this), [(Dropped::Questions, 4), (Dropped::Questions, 5)]);
    assert!(this.neighbours.pin(LINK, v4(9)));
    this.wait(v4(9), 9);
    assert_eq!(dropped(&mut this), []);
    this.poll();
    assert_eq!(this.outs(), [0, 1, 2, 3, 9].map(|n| Out::Send(our_question(v4(n), None))));
    // One that is pinned while it is asked for counts no more.
    assert!(this.neighbours.pin(LINK, v4(0)));
    this.wait(v4(5), 5);
    assert_eq!((dropped(&mut this), this.neighbours.table.questions), (vec![], 4));
    this.neighbours.unpin(LINK, v4(0), &mut |_| panic!("it may stay"));
    assert_eq!(this.neighbours.table.questions, 5);
    this.run(seconds(4));
    assert_eq!(this.neighbours.table.questions, 0);
    assert_eq!(this.neighbours.len(), 1);
}

#[test]
fn questions_are_limited_by_time_and_interface() {
    let limits = Limits { questions_per_second: 10, questions_at_once: 4, ..Limits::new(2) };
    let mut this = Router::with(limits);
    let ask = |this: &mut Router, numbers: core::ops::Range<u32>| {
        numbers.for_each(|n| this.wait(v4(n), n));
        dropped(this)
    };
    assert_eq!(ask(&mut this, 0..5), [(Dropped::Rate, 4)]);
    this.pass(millis(99));
    assert_eq!(ask(&mut this, 5..6), [(Dropped::Rate, 5)]);
    this.pass(millis(1));
    assert_eq!(ask(&mut this, 6..8), [(Dropped::Rate, 7)]);
    assert_eq!(ask(&mut this, 0..1), [], "it is being asked for");
    let frame = this.frame(&[0; 4]);
    let out = &mut |out| panic!("{out:?}");
    this.neighbours.wait(InterfaceId(1), v4(0), frame, None, this.now, out);
    this.pass(seconds(100));
    assert_eq!(ask(&mut this, 8..14), [(Dropped::Rate, 12), (Dropped::Rate, 13)]);
    let none = Limits { questions_per_second: 0, ..limits };
    assert_eq!(ask(&mut Router::with(none), 0..1), [(Dropped::Rate, 0)]);
}

#[test]
fn probes_and_pinned_ones_need_no_leave() {
    let mut this = Router::with(Limits { questions_per_second: 1, questions_at_once: 1, ..Limits::new(1) });
    this.resolve(v4(1), THEIRS);
    assert!(this.neighbours.pin(LINK, v4(2)));
    this.pass(seconds(40));
    assert_eq!(this.lookup(v4(1)), Some(THEIRS));
    this.wait(v4(3), 3);
    this.wait(v4(4), 4);
    this.wait(v4(2), 2);
    assert_eq!(this.outs(), [Out::Drop(Dropped::Rate, 4)]);
    this.poll();
    this.pass(seconds(5));
    this.wait(v4(5), 5);
    this.poll();
    let sent = this.outs();
    for said in [our_question(v4(2), None), our_question(v4(1), Some(THEIRS))] {
        assert!(sent.contains(&Out::Send(said)), "{sent:?}");
    }
}

#[test]
fn those_that_are_not_used_give_way() {
    let mut this = Router::with(Limits { learned: 4, ..Limits::new(1) });
    for n in 0..4 {
        this.resolve(v4(n), mac(n));
    }
    // The oldest is in use, and the next one pinned.
    assert_eq!(this.lookup(v4(0)), Some(mac(0)));
    assert!(this.neighbours.pin(LINK, v4(1)));
    this.resolve(v4(4), mac(4));
    assert_eq!(this.neighbours.counters().evicted, 0, "a pinned one takes nobody's room");
    this.resolve(v4(5), mac(5));
    let known = |this: &Router| -> Vec<u32> { (0..7).filter(|n| this.known(v4(*n)).is_some()).collect() };
    assert_eq!(known(&this), [0, 1, 3, 4, 5]);
    // All are in use: then the oldest goes that was spared once.
    for n in [0, 3, 4, 5] {
        this.lookup(v4(n));
    }
    this.resolve(v4(6), mac(6));
    assert_eq!(known(&this), [0, 1, 4, 5, 6]);
    assert_eq!(this.neighbours.counters().evicted, 2);
    this.neighbours.table.check();
}

#[test]
fn where_all_are_asked_there_is_no_room() {
    let mut this = Router::with(Limits { learned: 3, ..Limits::new(1) });
    this.resolve(v4(0), mac(0));
    this.pass(seconds(31));
    this.lookup(v4(0));
    this.wait(v4(1), 1);
    this.wait(v4(2), 2);
    this.wait(v4(3), 3);
    assert_eq!(dropped(&mut this), [(Dropped::Full, 3)]);
    assert_eq!(this.lookup(v4(0)), Some(mac(0)), "it was used a moment ago");
}

#[test]
fn pins_are_counted_and_limited() {
    let mut this = Router::with(Limits { pinned: 2, learned: 1, ..Limits::new(1) });
    assert!(!this.neighbours.pin(InterfaceId(1), v4(0)), "there is no such interface");
    assert!(this.neighbours.pin(LINK, v4(0)) && this.neighbours.pin(LINK, v4(0)));
    assert!(this.neighbours.pin(LINK, v4(1)));
    assert!(!this.neighbours.pin(LINK, v4(2)));
    this.resolve(v4(0), mac(0));
    this.resolve(v4(3), mac(3));
    assert!(!this.neighbours.pin(LINK, v4(3)), "though it is there");
    let nothing = &mut |out: Output| panic!("{out:?}");
    this.neighbours.unpin(LINK, v4(0), nothing);
    assert!(this.known(v4(0)).unwrap().is_pinned);
    this.wait(v4(1), 7);
    // Two that nobody pins are one too many.
    let mut outs = Vec::new();
    this.neighbours.unpin(LINK, v4(1), &mut |out| outs.push(out));
    assert!(matches!(outs[..], [Output::Drop { reason: Dropped::Full, .. }]), "{outs:?}");
    this.neighbours.unpin(LINK, v4(0), nothing);
    assert_eq!((this.known(v4(0)), this.known(v4(1)), this.neighbours.len()), (None, None, 1));
    this.neighbours.unpin(LINK, v4(3), nothing);
    assert_eq!(this.lookup(v4(3)), Some(mac(3)), "it was not pinned");
    assert_eq!(this.neighbours.waiting(), 0);
    this.neighbours.table.check();
}

#[test]
fn one_that_is_pinned_no_more_gives_way() {
    let mut this = Router::with(Limits { learned: 1, ..Limits::new(1) });
    assert!(this.neighbours.pin(LINK, v4(0)));
    this.resolve(v4(0), mac(0));
    this.neighbours.unpin(LINK, v4(0), &mut |out| panic!("{out:?}"));
    assert_eq!(this.known(v4(0)).map(|known| known.is_pinned), Some(false));
    this.neighbours.table.check();
    this.resolve(v4(1), mac(1));
    assert_eq!((this.known(v4(0)), this.lookup(v4(1))), (None, Some(mac(1))));
}

#[test]
fn without_frames_what_waits_is_given_up_all_the_same() {
    let mut this = Router::new();
    this.wait(v4(1), 1);
    let all: Vec<_> = core::iter::from_fn(|| this.pool.get()).collect();
    this.run(seconds(3));
    assert_eq!(this.outs(), [Out::Unreachable(v4(1), 1)]);
    let Counters { asked, unasked, .. } = this.neighbours.counters();
    assert_eq!((asked, unasked), (0, 3));
    drop(all);
}

#[test]
fn nobody_is_asked_from_no_address() {
    let mut this = Router::new();
    this.interfaces = vec![Interface::new(OURS, 1500)];
    for (mark, address) in (0..).zip(BOTH) {
        this.wait(address, mark);
    }
    this.run(seconds(3));
    assert_eq!(this.outs(), [Out::Unreachable(BOTH[0], 0), Out::Unreachable(BOTH[1], 1)]);
    assert_eq!(this.neighbours.counters().unasked, 6);
    // Nor from an interface that is not there.
    this.interfaces.clear();
    this.wait(BOTH[0], 2);
    this.run(seconds(3));
    assert_eq!(this.outs(), [Out::Unreachable(BOTH[0], 2)]);
}

#[test]
fn an_interface_that_is_not_there_has_no_neighbours() {
    let mut this = Router::new();
    let frame = this.frame(&[0; 4]);
    let mut outs = Vec::new();
    this.neighbours.wait(InterfaceId(1), v4(0), frame, Some(LINK), this.now, &mut |out| outs.push(out));
    let from = Some(LINK);
    assert!(matches!(outs[..], [Output::Drop { from: f, reason: Dropped::Interface, .. }] if f == from));
}

#[test]
fn a_bucket_holds_eight_strangers() {
    let mut this = Router::new();
    let table = &this.neighbours.table;
    let bucket = table.bucket(Key::new(LINK, v4(0)));
    let same: Vec<_> =
        (0..).map(v4).filter(|ip| table.bucket(Key::new(LINK, *ip)) == bucket).take(10).collect();
    for (mark, address) in (0..).zip(&same) {
        this.wait(*address, mark);
    }
    assert_eq!(dropped(&mut this), [(Dropped::Full, 8), (Dropped::Full, 9)]);
    assert!(this.neighbours.pin(LINK, same[8]));
    this.neighbours.table.check();
    for address in &same[..9] {
        assert!(this.known(*address).is_some());
    }
}

#[test]
fn places_depend_on_the_key() {
    let mut other = Router::new();
    other.neighbours = crate::neighbour::Neighbours::new(Limits::new(1), [1, 3]);
    let this = Router::new();
    let moved = (0..100).filter(|n| {
        let key = Key::new(LINK, v4(*n));
        this.neighbours.table.bucket(key) != other.neighbours.table.bucket(key)
    });
    assert!(moved.count() > 90);
}

#[test]
fn versions_and_interfaces_are_apart() {
    let mut this = Router::with(Limits::new(3));
    this.resolve(BOTH[0], THEIRS);
    let mapped = Ipv4Addr::new(10, 0, 0, 2).to_ipv6_mapped();
    assert_eq!(this.lookup(mapped.into()), None);
    let low = Ipv6Addr::from_bits(u128::from(THEIR_V4.to_bits()));
    assert_eq!(this.lookup(low.into()), None);
    assert_eq!(this.neighbours.lookup(InterfaceId(2), BOTH[0], this.now), None);
    assert_eq!(this.state(BOTH[0]), Some(State::Reachable));
}

#[test]
fn each_interface_counts_what_became_of_frames() {
    assert_eq!(Reason::from(Dropped::Unanswered), Reason::Unresolved);
    for reason in Dropped::ALL.into_iter().filter(|reason| *reason != Dropped::Unanswered) {
        assert_eq!(Reason::from(reason), Reason::NeighbourQueue);
    }
    assert_eq!(Reason::from(Ignored::HopLimit), Reason::Neighbour);
}
