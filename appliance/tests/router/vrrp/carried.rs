//! Who has the addresses, when: starts, deaths, stops, links, losses.

use core::net::IpAddr;
use core::time::Duration;

use paravane_appliance::vrrp::{Event, State};
use proptest::prelude::*;

use super::{LINKS, Links, Machine, PRIVATE_VIP, PUBLIC_VIP, VIP_V6, id, mac, own_v4, settings};
use crate::world::{PRIVATE, PUBLIC};

const SECOND: Duration = Duration::from_secs(1);

fn is_with(links: &Links, nth: &[usize]) -> bool {
    links.with_address(PUBLIC, PUBLIC_VIP) == nth
        && links.with_address(PUBLIC, VIP_V6) == nth
        && links.with_address(PRIVATE, PRIVATE_VIP) == nth
}

#[test]
fn the_one_of_the_higher_priority_has_all_of_them() {
    let mut links = Links::of([150, 100]);
    assert!(links.machines.iter().all(|machine| machine.is(State::Backup)));
    let took = links.until(|links| links.machines[0].is(State::Active));
    // Three intervals, and for 106 of 256 of one.
    assert_eq!(took, Duration::from_millis(3410));
    links.pass(10 * SECOND);
    assert!(is_with(&links, &[0]) && links.machines[1].is(State::Backup));
    // It spoke once a second, from its own addresses and with its own MAC address.
    let said: Vec<_> = links.passed.iter().filter(|passed| passed.advertisement().is_some()).collect();
    assert_eq!(said.len(), 3 * 11);
    for passed in said {
        assert_eq!(passed.from, 0);
        assert_eq!(passed.bytes[6..12], mac(0, passed.link).0);
        let group =
            if passed.bytes[12] == 8 { [1, 0, 0x5e, 0, 0, 0x12] } else { [0x33, 0x33, 0, 0, 0, 0x12] };
        assert_eq!(passed.bytes[..6], group);
        if passed.bytes[12] == 8 {
            assert_eq!(passed.bytes[26..30], own_v4(0, passed.link).octets());
        } else {
            assert_eq!(passed.bytes[22..24], [0xfe, 0x80]);
        }
    }
    let became = |member, state| Event::Became { member, state };
    let all = |state| (0..3).map(move |member| became(member, state));
    assert_eq!(links.machines[0].events(), all(State::Backup).chain(all(State::Active)).collect::<Vec<_>>());
    assert_eq!(links.machines[1].events(), all(State::Backup).collect::<Vec<_>>());
}

#[test]
fn who_takes_over_announces_each_address_three_times_two_seconds_apart() {
    let mut links = Links::of([150, 100]);
    links.until(|links| links.machines[0].is(State::Active));
    links.pass(10 * SECOND);
    links.passed.clear();
    links.machines[0].is_alive = false;
    let died_at = links.now;
    // It spoke less than an interval ago.
    let took = links.until(|links| links.machines[1].is(State::Active));
    assert!((2610..=3620).contains(&took.as_millis()), "{took:?}");
    links.pass(10 * SECOND);
    for address in [IpAddr::from(PUBLIC_VIP), VIP_V6.into(), PRIVATE_VIP.into()] {
        let announced = links.passed.iter().filter(|passed| passed.announced() == Some(address));
        let at: Vec<_> = announced.map(|passed| (passed.from, passed.at.since(died_at) - took)).collect();
        assert_eq!(at, [(1, Duration::ZERO), (1, 2 * SECOND), (1, 4 * SECOND)], "{address}");
    }
    let counted: Vec<_> =
        links.machines[1].path.vrrp().unwrap().members().iter().map(|one| one.counters()).collect();
    assert!(counted.iter().all(|one| (one.announced, one.became_active) == (3, 1)), "{counted:?}");
}

#[test]
fn who_resigns_is_followed_at_once_and_never_comes_back() {
    let mut links = Links::of([150, 100]);
    links.until(|links| links.machines[0].is(State::Active));
    links.pass(5 * SECOND);
    let now = links.now;
    links.machines[0].path.resign(now);
    assert!(links.machines[0].is(State::Resigned) && is_with(&links, &[]));
    links.carry(0);
    // 156 of 256 of an interval.
    let took = links.until(|links| links.machines[1].is(State::Active));
    assert_eq!(took, Duration::from_millis(600));
    assert!(is_with(&links, &[1]));
    // Whatever its links do.
    links.set_link(0, PUBLIC, false);
    links.set_link(0, PUBLIC, true);
    links.machines[1].is_alive = false;
    links.pass(20 * SECOND);
    assert!(links.machines[0].is(State::Resigned) && is_with(&links, &[]));
}

#[test]
fn one_link_down_moves_both_sides() {
    for broken in LINKS {
        let mut links = Links::of([150, 100]);
        links.until(|links| links.machines[0].is(State::Active));
        links.pass(5 * SECOND);
        links.set_link(0, broken, false);
        assert!(links.machines[0].is(State::Fault), "{broken:?}");
        let took = links.until(|links| is_with(links, &[1]));
        // It is said on the other side, and holds for both.
        assert_eq!(took, Duration::from_millis(600), "{broken:?}");
        // It comes back, and takes nothing from one that works.
        links.set_link(0, broken, true);
        assert!(links.machines[0].is(State::Backup));
        links.pass(20 * SECOND);
        assert!(is_with(&links, &[1]) && links.machines[0].is(State::Backup));
        let states: Vec<_> = links.machines[0]
            .events()
            .into_iter()
            .filter(|event| matches!(event, Event::Became { member: 0, .. }))
            .collect();
        let became = |state| Event::Became { member: 0, state };
        assert_eq!(states, [State::Backup, State::Active, State::Fault, State::Backup].map(became));
    }
}

#[test]
fn nobody_is_active_whose_link_never_came() {
    let mut links = Links::new(vec![Machine::new(0, 150)]);
    links.set_link(0, PUBLIC, true);
    links.pass(10 * SECOND);
    assert!(
        links.machines[0].is(State::Fault) && links.passed.iter().all(|one| one.advertisement().is_none())
    );
    links.set_link(0, PRIVATE, true);
    links.pass(10 * SECOND);
    assert!(is_with(&links, &[0]));
}

#[test]
fn those_that_do_not_move_together_are_each_for_itself() {
    let own = |nth| {
        let priority = if nth == 0 { 150 } else { 100 };
        Machine::with(
            nth,
            [
                (PUBLIC, 0, settings(7, PUBLIC_VIP, priority)),
                (PRIVATE, 1, settings(8, PRIVATE_VIP, priority)),
            ],
        )
    };
    let mut links = Links::new(vec![own(0), own(1)]);
    links.all_up();
    links.pass(5 * SECOND);
    links.set_link(0, PRIVATE, false);
    links.pass(5 * SECOND);
    assert_eq!(links.with_address(PUBLIC, PUBLIC_VIP), [0]);
    assert_eq!(links.with_address(PRIVATE, PRIVATE_VIP), [1]);
}

#[test]
fn while_it_is_heard_on_one_side_it_serves() {
    let mut links = Links::of([150, 100]);
    links.until(|links| links.machines[0].is(State::Active));
    links.reaches = Box::new(|_, _, link| link == PUBLIC);
    links.pass(20 * SECOND);
    assert!(is_with(&links, &[0]), "the other one hears it on public");
    links.machines[0].is_alive = false;
    let took = links.until(|links| is_with(links, &[1]));
    assert!(took <= Duration::from_millis(3620), "{took:?}");
}

#[test]
fn two_that_did_not_hear_each_other_are_said_and_the_higher_one_stays() {
    // Equal ones are told apart by their addresses.
    for (priorities, stays) in [([150, 100], 0), ([100, 150], 1), ([100, 100], 1)] {
        let mut links = Links::of(priorities);
        links.reaches = Box::new(|_, _, _| false);
        links.pass(5 * SECOND);
        assert!(is_with(&links, &[0, 1]));
        links.machines.iter_mut().for_each(|machine| _ = machine.events());
        links.reaches = Box::new(|_, _, _| true);
        links.passed.clear();
        links.until(|links| is_with(links, &[stays]));
        links.pass(10 * SECOND);
        assert!(is_with(&links, &[stays]), "{priorities:?}");
        let goes = 1 - stays;
        let rival = |own: usize, other: usize, stays| {
            let [own_v4, rival] = [own, other].map(|nth| own_v4(nth, PUBLIC).into());
            Event::Rival { member: 0, own: own_v4, rival, priority: priorities[other], stays }
        };
        // Each hears the other once: that is said once.
        let rivals = |links: &mut Links, nth: usize| {
            let all = links.machines[nth].events().into_iter();
            all.filter(|event| matches!(event, Event::Rival { member: 0, .. })).collect::<Vec<_>>()
        };
        let (of_goes, of_stays) = (rivals(&mut links, goes), rivals(&mut links, stays));
        assert!(of_goes.is_empty() || of_goes == [rival(goes, stays, false)], "{of_goes:?}");
        assert!(of_stays.is_empty() || of_stays == [rival(stays, goes, true)], "{of_stays:?}");
        assert!(of_goes.len() + of_stays.len() >= 1);
        // Whoever heard the other one last hears the one that stays.
        let last = links.passed.iter().rfind(|passed| passed.announced() == Some(PUBLIC_VIP.into()));
        assert!(last.is_none_or(|passed| passed.from == stays), "{priorities:?}");
        if !of_stays.is_empty() {
            assert_eq!(last.unwrap().from, stays);
        }
    }
}

#[test]
fn one_that_preempts_takes_back_what_it_had() {
    let preempting = |nth, priority| {
        let of = |number, address: IpAddr| super::Settings {
            preempts: true,
            ..settings(number, address, priority)
        };
        Machine::with(nth, [(PUBLIC, 0, of(7, PUBLIC_VIP.into())), (PRIVATE, 0, of(8, PRIVATE_VIP.into()))])
    };
    let mut links = Links::new(vec![preempting(0, 150), preempting(1, 100)]);
    links.all_up();
    links.pass(5 * SECOND);
    links.set_link(0, PUBLIC, false);
    links.pass(5 * SECOND);
    assert_eq!(links.with_address(PRIVATE, PRIVATE_VIP), [1]);
    links.set_link(0, PUBLIC, true);
    links.pass(5 * SECOND);
    assert_eq!(links.with_address(PRIVATE, PRIVATE_VIP), [0]);
    assert_eq!(links.with_address(PUBLIC, PUBLIC_VIP), [0]);
}

#[test]
fn other_addresses_are_said_once() {
    let other = Machine::with(1, [(PUBLIC, 0, settings(7, own_v4(60, PUBLIC), 100))]);
    let mut links = Links::new(vec![Machine::with(0, [(PUBLIC, 0, settings(7, PUBLIC_VIP, 150))]), other]);
    links.all_up();
    links.pass(10 * SECOND);
    let differs = Event::Differs { member: 0, from: own_v4(0, PUBLIC).into() };
    assert_eq!(links.machines[1].events().into_iter().filter(|event| *event == differs).count(), 1);
    assert_eq!(links.machines[1].path.vrrp().unwrap().members()[0].settings().id, id(7));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn one_machine_has_all_of_them_once_it_is_quiet(
        priorities in (1..=254_u8, 1..=254_u8),
        lost in prop::collection::vec(any::<bool>(), 97),
        breaks in prop::collection::vec((0..2_usize, 0..2_usize, any::<bool>(), 0..400_u64), 0..12),
    ) {
        let mut links = Links::of([priorities.0, priorities.1]);
        let mut at = 0;
        links.reaches = Box::new(move |_, _, _| {
            at += 1;
            lost[at % lost.len()]
        });
        for (nth, link, is_up, steps) in breaks {
            links.set_link(nth, LINKS[link], is_up);
            links.pass(Duration::from_millis(10 * steps));
            for nth in 0..2 {
                let states = links.machines[nth].states();
                prop_assert!(states.iter().all(|state| *state == states[0]), "one moves alone: {:?}", states);
            }
        }
        links.reaches = Box::new(|_, _, _| true);
        links.all_up();
        links.pass(20 * SECOND);
        prop_assert!(is_with(&links, &[0]) || is_with(&links, &[1]));
    }
}
