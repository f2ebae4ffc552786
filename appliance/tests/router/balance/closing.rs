//! How a balancer ends.

use paravane_appliance::drops::Reason;
use paravane_appliance::nat::Mode;

use super::support::{ACK, Balanced, FIN, RST, SYN, Tcp, V4, V6, segments};
use crate::world::{PRIVATE, PUBLIC};

fn is_open(balanced: &mut Balanced) -> bool {
    let now = balanced.world.now;
    balanced.balancer().is_anything_open(now)
}

fn open(balanced: &mut Balanced) -> u32 {
    let now = balanced.world.now;
    balanced.balancer().open_flows(now)
}

/// What both sides hear in the turns that follow.
fn cut_off(balanced: &mut Balanced) -> [Vec<u8>; 2] {
    let _ = [PUBLIC, PRIVATE].map(|to| balanced.world.sent(to));
    balanced.balancer().cut_off();
    for _ in 0..20 {
        balanced.pass(1);
    }
    [PUBLIC, PRIVATE].map(|to| segments(&balanced.world.sent(to)).iter().map(|seen| seen.flags).collect())
}

#[test]
fn nothing_begins_and_who_asks_hears_it_at_once() {
    for (ends, mode) in [(V4, Mode::Dnat), (V6, Mode::Full)] {
        let mut balanced = Balanced::new(ends, mode);
        assert!(is_open(&mut balanced), "one that serves may always have one");
        balanced.balancer().close();
        assert!(balanced.balancer().is_closed() && !is_open(&mut balanced));
        balanced.take(PUBLIC, &balanced.of_client(5000, SYN).at(1000, 0), b"");
        let reset = balanced.one(PUBLIC);
        assert_eq!((reset.flags, reset.acknowledgement), (RST | ACK, 1001));
        assert_eq!(balanced.world.dropped(), [(PUBLIC, Reason::Stopping, 1)]);
        assert_eq!((balanced.flows(), balanced.connections()), (0, 0));
    }
}

#[test]
fn what_is_open_goes_on_and_is_over_when_both_have_said_their_last() {
    for (ends, mode) in [(V4, Mode::Dnat), (V6, Mode::Full)] {
        let mut balanced = Balanced::new(ends, mode);
        let (_, back) = balanced.connect(5000);
        balanced.connect(5001);
        balanced.balancer().close();
        assert_eq!((is_open(&mut balanced), open(&mut balanced)), (true, 2));
        for port in [5000, 5001] {
            let data = balanced.of_client(port, ACK).at(1001, back.sequence.wrapping_add(1));
            balanced.through(PUBLIC, &data, b"still here");
            let fin = balanced.of_client(port, FIN | ACK).at(1011, back.sequence.wrapping_add(1));
            let fin = balanced.through(PUBLIC, &fin, b"");
            assert!(is_open(&mut balanced), "the server has not said its last");
            let fin_back = balanced.through(PRIVATE, &Tcp::answer(&fin, FIN | ACK), b"");
            balanced.through(PUBLIC, &Tcp::answer(&fin_back, ACK), b"");
        }
        assert_eq!((is_open(&mut balanced), open(&mut balanced), balanced.flows()), (false, 0, 2));
        assert!(balanced.world.dropped().is_empty(), "{:?}", balanced.world.dropped());
    }
}

#[test]
fn what_is_left_is_cut_off_at_both_ends() {
    for mode in [Mode::Dnat, Mode::Full] {
        let mut balanced = Balanced::new(V4, mode);
        // More than one turn looks at.
        for port in 5000..5300 {
            balanced.connect(port);
        }
        balanced.balancer().close();
        assert_eq!(cut_off(&mut balanced), [vec![RST; 300], vec![RST; 300]]);
        assert_eq!((balanced.flows(), balanced.connections()), (0, 0));
        assert!(!is_open(&mut balanced));
    }
}

#[test]
fn what_an_equal_balancer_picks_up_hears_nothing() {
    let [mut one, mut other] = [Balanced::interchangeable(V4), Balanced::interchangeable(V4)];
    let (there, back) = one.connect(5000);
    one.balancer().close();
    assert_eq!(cut_off(&mut one), [[], []]);
    assert_eq!((one.flows(), one.connections()), (0, 0));
    // Nor is it picked up here again, from either side.
    let from_client = one.of_client(5000, ACK).at(1001, back.sequence.wrapping_add(1));
    let from_server = Tcp::new(there.destination, there.source, ACK).at(9001, 1001);
    one.take(PUBLIC, &from_client, b"question");
    one.take(PRIVATE, &from_server, b"answer");
    assert_eq!(one.flows(), 0);
    assert_eq!(one.world.dropped(), [(PUBLIC, Reason::Stopping, 1), (PRIVATE, Reason::Stopping, 1)]);
    let came = other.through(PUBLIC, &from_client, b"question");
    assert_eq!((came.source, came.destination), (there.source, there.destination));
}

#[test]
fn a_drained_server_is_cut_off_whoever_might_pick_it_up() {
    let mut balanced = Balanced::interchangeable(V4);
    balanced.connect(5000);
    let now = balanced.world.now;
    for server in balanced.servers.clone() {
        balanced.balancer().service_mut(0).unwrap().drain(server, Some(now)).unwrap();
    }
    balanced.balancer().close();
    let _ = [PUBLIC, PRIVATE].map(|to| balanced.world.sent(to));
    balanced.pass(2);
    assert_eq!(segments(&balanced.world.sent(PUBLIC))[0].flags, RST);
}
