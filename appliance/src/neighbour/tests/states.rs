//! From state to state, ARP and NDP alike.

use paravane_net::MacAddr;

use super::support::*;
use crate::neighbour::{Dropped, Event, Hint, Ignored, State};

#[test]
fn what_waits_is_released_with_the_answer() {
    for address in BOTH {
        let mut this = Router::new();
        assert_eq!(this.lookup(address), None);
        this.wait(address, 1);
        assert_eq!(this.state(address), Some(State::Incomplete));
        this.poll();
        assert_eq!(this.outs(), [Out::Send(our_question(address, None))]);
        this.pass(millis(3));
        this.wait(address, 2);
        this.poll();
        assert_eq!(this.outs(), [], "it is asked for already");
        assert_eq!(this.hear(answer(address, THEIRS)), Ok(()));
        assert_eq!(this.outs(), [Out::Release(THEIRS, 1), Out::Release(THEIRS, 2)]);
        assert_eq!(this.lookup(address), Some(THEIRS));
        assert_eq!(this.state(address), Some(State::Reachable));
        let counters = this.neighbours.counters();
        assert_eq!((counters.asked, counters.answered, this.neighbours.waiting()), (1, 1, 0));
        assert_eq!(this.neighbours.next_poll(), None);
    }
}

#[test]
fn three_questions_a_second_apart_and_no_more() {
    for address in BOTH {
        let mut this = Router::new();
        this.wait(address, 7);
        for _ in 0..3 {
            this.run(millis(999));
            assert_eq!(this.outs(), [Out::Send(our_question(address, None))]);
            this.pass(millis(1));
        }
        this.run(millis(0));
        assert_eq!(this.outs(), [Out::Unreachable(address, 7)]);
        assert_eq!((this.state(address), this.next), (None, None));
        assert_eq!(this.neighbours.counters().dropped(Dropped::Unanswered), 1);
        assert_eq!(this.hear(answer(address, THEIRS)), Err(Ignored::Unknown), "too late");
        assert_eq!(this.lookup(address), None);
    }
}

#[test]
fn an_answer_holds_for_thirty_seconds() {
    for address in BOTH {
        let mut this = Router::new();
        this.resolve(address, THEIRS);
        this.pass(millis(29_999));
        assert_eq!(this.lookup(address), Some(THEIRS));
        assert_eq!((this.state(address), this.neighbours.next_poll()), (Some(State::Reachable), None));
        this.pass(millis(1));
        assert_eq!(this.state(address), Some(State::Stale));
        this.run(seconds(1000));
        assert_eq!(this.outs(), [], "nobody uses it, so nobody asks");
    }
}

#[test]
fn a_stale_one_is_used_for_five_seconds_and_probed() {
    for address in BOTH {
        let mut this = Router::new();
        this.resolve(address, THEIRS);
        this.pass(seconds(30));
        assert_eq!(this.lookup(address), Some(THEIRS));
        assert_eq!(this.state(address), Some(State::Delay));
        this.run(millis(4_999));
        assert_eq!((this.outs(), this.lookup(address)), (vec![], Some(THEIRS)));
        this.pass(millis(1));
        this.run(millis(0));
        assert_eq!(this.outs(), [Out::Send(our_question(address, Some(THEIRS)))]);
        assert_eq!((this.state(address), this.lookup(address)), (Some(State::Probe), Some(THEIRS)));
        this.hear(answer(address, THEIRS)).unwrap();
        assert_eq!((this.state(address), this.outs()), (Some(State::Reachable), vec![]));
        this.run(millis(29_999));
        assert_eq!((this.state(address), this.outs()), (Some(State::Reachable), vec![]));
    }
}

#[test]
fn one_that_answers_no_probe_is_forgotten() {
    for address in BOTH {
        let mut this = Router::new();
        this.resolve(address, THEIRS);
        this.pass(seconds(31));
        this.lookup(address);
        this.run(millis(7_999));
        assert_eq!(this.outs(), vec![Out::Send(our_question(address, Some(THEIRS))); 3]);
        assert_eq!(this.lookup(address), Some(THEIRS));
        this.run(millis(1));
        assert_eq!((this.lookup(address), this.state(address), this.outs()), (None, None, vec![]));
    }
}

#[test]
fn a_pinned_one_is_asked_again_when_it_is_wanted() {
    for address in BOTH {
        let mut this = Router::new();
        assert!(this.neighbours.pin(LINK, address));
        assert_eq!((this.state(address), this.lookup(address)), (Some(State::Unresolved), None));
        for mark in 0..2 {
            this.run(seconds(10));
            assert_eq!(this.outs(), [], "nobody wants it");
            this.wait(address, mark);
            this.run(seconds(3));
            let mut expected = vec![Out::Send(our_question(address, None)); 3];
            expected.push(Out::Unreachable(address, mark));
            assert_eq!(this.outs(), expected);
            assert_eq!(this.state(address), Some(State::Unresolved));
        }
        assert_eq!(this.hear(announcement(address, THEIRS)), Err(Ignored::Unknown));
        this.resolve(address, THEIRS);
        assert_eq!(this.lookup(address), Some(THEIRS));
    }
}

#[test]
fn an_announcement_ends_the_wait_and_is_checked() {
    for address in BOTH {
        let mut this = Router::new();
        this.wait(address, 1);
        this.poll();
        this.outs();
        this.hear(announcement(address, THEIRS)).unwrap();
        assert_eq!(this.outs(), [Out::Release(THEIRS, 1)]);
        assert_eq!(this.state(address), Some(State::Stale), "nobody knows whether it hears us");
        this.lookup(address);
        this.run(seconds(5));
        assert_eq!(this.outs(), [Out::Send(our_question(address, Some(THEIRS)))]);
    }
}

#[test]
fn a_question_is_answered_and_teaches_what_was_asked_for_only() {
    for address in BOTH {
        let mut this = Router::new();
        let reply = match question(address, THEIRS).what {
            What::Arp { sender, .. } => What::Arp { is_reply: true, sender: (OURS, OUR_V4), target: sender },
            What::Solicit { source, target, .. } => What::Advertise {
                source: target,
                destination: source,
                target,
                mac: Some(OURS),
                flags: [true, true, true],
            },
            What::Advertise { .. } => panic!("no question"),
        };
        let reply = Out::Send(Said { from: OURS, to: THEIRS, what: reply });
        this.hear(question(address, THEIRS)).unwrap();
        assert_eq!(this.outs(), std::slice::from_ref(&reply));
        assert!(this.neighbours.is_empty(), "a stranger is not remembered");
        this.wait(address, 9);
        this.hear(question(address, THEIRS)).unwrap();
        assert_eq!(this.outs(), [Out::Release(THEIRS, 9), reply]);
        assert_eq!(this.state(address), Some(State::Stale));
        assert_eq!(this.neighbours.counters().replied, 2);
    }
}

#[test]
fn a_changed_mac_address_is_told_and_probed() {
    for address in BOTH {
        let mut this = Router::new();
        this.resolve(address, THEIRS);
        this.pass(seconds(1));
        this.hear(announcement(address, OTHERS)).unwrap();
        let event = Event::Changed { interface: LINK, address, old: THEIRS, new: OTHERS };
        assert_eq!(this.outs(), [Out::Event(event)]);
        assert_eq!((this.state(address), this.lookup(address)), (Some(State::Stale), Some(OTHERS)));
        this.run(seconds(5));
        assert_eq!(this.outs(), [Out::Send(our_question(address, Some(OTHERS)))]);
        assert_eq!(this.neighbours.counters().changed, 1);
        // It answers from elsewhere, once more.
        this.hear(answer(address, THEIRS)).unwrap();
        assert_eq!((this.state(address), this.lookup(address)), (Some(State::Reachable), Some(THEIRS)));
    }
}

#[test]
fn nothing_changes_twice_in_a_second() {
    for address in BOTH {
        let mut this = Router::new();
        this.resolve(address, THEIRS);
        for said in [answer(address, OTHERS), announcement(address, OTHERS)] {
            assert_eq!(this.hear(said), Err(Ignored::TooSoon));
        }
        this.pass(millis(999));
        assert_eq!(this.hear(answer(address, OTHERS)), Err(Ignored::TooSoon));
        assert_eq!(this.hear(answer(address, THEIRS)), Ok(()), "the same, once more");
        this.pass(millis(1));
        assert_eq!(this.hear(answer(address, OTHERS)), Ok(()));
        assert_eq!(this.state(address), Some(State::Stale), "nobody had asked");
        assert_eq!(this.hear(announcement(address, THEIRS)), Err(Ignored::TooSoon));
        assert_eq!(this.lookup(address), Some(OTHERS));
    }
}

#[test]
fn what_nobody_asked_for_does_not_confirm() {
    for address in BOTH {
        let mut this = Router::new();
        this.resolve(address, THEIRS);
        this.pass(seconds(30));
        this.lookup(address);
        for said in [answer(address, THEIRS), announcement(address, THEIRS), question(address, THEIRS)] {
            this.hear(said).unwrap();
            assert_eq!(this.state(address), Some(State::Delay));
        }
        this.run(seconds(5));
        this.hear(announcement(address, THEIRS)).unwrap();
        assert_eq!(this.state(address), Some(State::Probe), "we asked, but it did not answer us");
    }
}

fn advertise(mac: Option<MacAddr>, flags: [bool; 3]) -> Said {
    let (source, destination, target) = (THEIR_V6, OUR_V6, THEIR_V6);
    Said { from: OTHERS, to: OURS, what: What::Advertise { source, destination, target, mac, flags } }
}

#[test]
fn an_advertisement_without_override_only_casts_doubt() {
    let [_, address] = BOTH;
    let mut this = Router::new();
    this.resolve(address, THEIRS);
    this.pass(seconds(2));
    assert_eq!(this.hear(advertise(Some(OTHERS), [false, true, false])), Err(Ignored::NoOverride));
    assert_eq!((this.state(address), this.lookup(address)), (Some(State::Stale), Some(THEIRS)));
    assert_eq!(this.hear(advertise(Some(OTHERS), [false, true, false])), Err(Ignored::NoOverride));
    assert_eq!((this.state(address), this.outs()), (Some(State::Delay), vec![]));
}

#[test]
fn an_advertisement_may_leave_out_what_is_known() {
    let [_, address] = BOTH;
    let mut this = Router::new();
    this.wait(address, 1);
    this.poll();
    assert_eq!(this.hear(advertise(None, [false, true, true])), Err(Ignored::NoMac));
    this.hear(answer(address, THEIRS)).unwrap();
    this.pass(seconds(30));
    this.lookup(address);
    this.run(seconds(5));
    assert_eq!(this.hear(advertise(None, [false, false, true])), Err(Ignored::NoMac));
    assert_eq!(this.state(address), Some(State::Probe));
    assert_eq!(this.hear(advertise(None, [false, true, false])), Ok(()));
    assert_eq!((this.state(address), this.lookup(address)), (Some(State::Reachable), Some(THEIRS)));
}

#[test]
fn a_hint_is_a_hint() {
    let mut this = Router::new();
    let [v4, v6] = BOTH;
    let (mut hint, mut other) = (Hint::default(), Hint::default());
    let now = this.now;
    assert_eq!(this.neighbours.lookup_near(&mut hint, LINK, v4, now), None);
    this.resolve(v4, THEIRS);
    this.resolve(v6, OTHERS);
    assert_eq!(this.neighbours.lookup_near(&mut hint, LINK, v4, now), Some(THEIRS));
    assert_eq!(this.neighbours.lookup_near(&mut other, LINK, v6, now), Some(OTHERS));
    assert_ne!(hint, other);
    let found = hint;
    assert_eq!(this.neighbours.lookup_near(&mut hint, LINK, v4, now), Some(THEIRS));
    assert_eq!(hint, found);
    assert_eq!(
        this.neighbours.lookup_near(&mut hint, LINK, v6, now),
        Some(OTHERS),
        "though it points elsewhere"
    );
    assert_eq!(hint, other);
    let elsewhere = crate::interface::InterfaceId(1);
    assert_eq!(this.neighbours.lookup_near(&mut hint, elsewhere, v6, now), None);
}

#[test]
fn a_hint_to_one_that_is_forgotten_finds_nobody() {
    for address in BOTH {
        let mut this = Router::new();
        this.resolve(address, THEIRS);
        this.pass(seconds(31));
        let mut hint = Hint::default();
        assert_eq!(this.neighbours.lookup_near(&mut hint, LINK, address, this.now), Some(THEIRS));
        this.run(seconds(8));
        assert_eq!(this.state(address), None);
        assert_eq!(this.neighbours.lookup_near(&mut hint, LINK, address, this.now), None);
        this.neighbours.table.check();
    }
}

#[test]
fn a_frame_for_one_that_is_known_does_not_wait() {
    for address in BOTH {
        let mut this = Router::new();
        this.resolve(address, THEIRS);
        this.wait(address, 3);
        assert_eq!(this.outs(), [Out::Release(THEIRS, 3)]);
    }
}
