//! Everything at once: no frame is lost, no limit is passed, and nobody is believed who may not be.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::collections::{HashMap, HashSet};
use std::vec::Vec;

use paravane_net::MacAddr;
use proptest::prelude::*;

use super::support::*;
use crate::neighbour::{Counters, Dropped, Hint, Ignored, Limits, State};

/// What happens to the box.
#[derive(Clone, Copy, Debug)]
enum Step {
    Wait(u8),
    Lookup(u8),
    Answer(u8, u8),
    Announce(u8, u8),
    Question(u8, u8),
    Pin(u8),
    Unpin(u8),
    Pass(u16),
    Poll,
}

fn address(n: u8) -> IpAddr {
    match n % 2 {
        0 => Ipv4Addr::new(10, 0, 1, n).into(),
        _ => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, n.into()).into(),
    }
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0_u8..12;
    let mac = 0_u8..3;
    prop_oneof![
        6 => who.clone().prop_map(Step::Wait),
        4 => who.clone().prop_map(Step::Lookup),
        4 => (who.clone(), mac.clone()).prop_map(|(who, mac)| Step::Answer(who, mac)),
        1 => (who.clone(), mac.clone()).prop_map(|(who, mac)| Step::Announce(who, mac)),
        1 => (who.clone(), mac).prop_map(|(who, mac)| Step::Question(who, mac)),
        1 => who.clone().prop_map(Step::Pin),
        1 => who.prop_map(Step::Unpin),
        4 => (0_u16..6000).prop_map(Step::Pass),
        1 => Just(Step::Pass(31_000)),
        4 => Just(Step::Poll),
    ]
}

/// What is out, and what each said.
#[derive(Default)]
struct Ledger {
    next: u32,
    waiting: HashMap<u32, IpAddr>,
    said: HashSet<(IpAddr, MacAddr)>,
    pins: HashMap<IpAddr, u32>,
    dropped: u64,
    hints: HashMap<u8, Hint>,
}

impl Ledger {
    fn settle(&mut self, outs: Vec<Out>) {
        for out in outs {
            match out {
                Out::Release(mac, mark) => {
                    let address = self.waiting.remove(&mark).expect("it comes out once");
                    assert!(self.said.contains(&(address, mac)), "{mac} was never said to be {address}");
                }
                Out::Unreachable(address, mark) => {
                    assert_eq!(self.waiting.remove(&mark), Some(address));
                    self.dropped += 1;
                }
                Out::Drop(_, mark) => {
                    self.waiting.remove(&mark).expect("it comes out once");
                    self.dropped += 1;
                }
                Out::Send(_) | Out::Event(_) => {}
            }
        }
    }

    fn act(&mut self, this: &mut Router, step: Step) {
        match step {
            Step::Wait(who) => {
                self.waiting.insert(self.next, address(who));
                this.wait(address(who), self.next);
                self.next += 1;
            }
            Step::Lookup(who) => {
                let hint = self.hints.entry(who).or_default();
                let found = this.neighbours.lookup_near(hint, LINK, address(who), this.now);
                assert_eq!(found, this.lookup(address(who)), "wherever the hint points");
                assert!(found.is_none_or(|mac| self.said.contains(&(address(who), mac))));
            }
            Step::Answer(who, mac) | Step::Announce(who, mac) | Step::Question(who, mac) => {
                let (address, mac) = (address(who), MacAddr::local(mac.into()));
                self.said.insert((address, mac));
                let _ = this.hear(match step {
                    Step::Answer(..) => answer(address, mac),
                    Step::Announce(..) => announcement(address, mac),
                    _ => question(address, mac),
                });
            }
            Step::Pin(who) => {
                if this.neighbours.pin(LINK, address(who)) {
                    *self.pins.entry(address(who)).or_default() += 1;
                }
            }
            Step::Unpin(who) => {
                let outs = &mut this.outs;
                this.neighbours.unpin(LINK, address(who), &mut |out| Router::note(outs, out));
                self.pins.entry(address(who)).and_modify(|pins| *pins = pins.saturating_sub(1));
            }
            Step::Pass(by) => this.pass(millis(by.into())),
            Step::Poll => this.poll(),
        }
        self.settle(this.outs());
        for (address, _) in self.pins.iter().filter(|(_, pins)| **pins > 0) {
            assert!(this.known(*address).is_some_and(|known| known.is_pinned), "{address} stays");
        }
    }
}

proptest! {
    #[test]
    fn each_frame_comes_out_once(steps in proptest::collection::vec(step(), 0..120)) {
        let limits = Limits {
            pinned: 3,
            learned: 4,
            questions: 3,
            questions_per_second: 2,
            questions_at_once: 3,
            waiting: 5,
            waiting_each: 2,
            ..Limits::new(1)
        };
        let mut this = Router::with(limits);
        let mut ledger = Ledger::default();
        let allocated = this.neighbours.table.check();
        for step in steps {
            ledger.act(&mut this, step);
            prop_assert_eq!(this.neighbours.table.check(), allocated);
            prop_assert_eq!(this.neighbours.waiting(), ledger.waiting.len());
            prop_assert!(this.neighbours.waiting() <= 10);
        }
        this.run(seconds(10));
        let outs = this.outs();
        ledger.settle(outs);
        prop_assert!(ledger.waiting.is_empty());
        prop_assert_eq!(this.pool.free(), this.pool.buffers());
        let counters = this.neighbours.counters();
        let dropped: u64 = Dropped::ALL.iter().map(|reason| counters.dropped(*reason)).sum();
        prop_assert_eq!(dropped, ledger.dropped);
    }
}

/// From there on, nobody is asked for.
const STRANGERS: u32 = 1_000_000;

/// Floods the box with packets for neighbours that do not exist, and with messages of as many that
/// nobody asked for, 100,000 of each, in ten seconds.
fn flood(whom: impl Fn(u32) -> IpAddr) {
    let mut this = Router::new();
    let (gateway, peer) = (BOTH[0], Ipv4Addr::new(10, 0, 0, 3).into());
    assert!(this.neighbours.pin(LINK, gateway));
    this.resolve(peer, OTHERS);
    let allocated = this.neighbours.table.check();
    let rooms = this.neighbours.waiting.each_ref().map(|waiting| waiting.room());
    this.pass(seconds(30));
    let (mut asked, mut answered, mut probed) = (0, 0, 0);
    for n in 0..100_000 {
        this.wait(whom(n), n);
        if n % 2 == 0 {
            assert_eq!(this.hear(announcement(whom(n + STRANGERS), THEIRS)), Err(Ignored::Unknown));
        } else {
            assert_eq!(this.hear(question(whom(n + STRANGERS), THEIRS)), Ok(()));
        }
        this.pass(core::time::Duration::from_micros(100));
        if n == 50_000 {
            assert_eq!(this.lookup(gateway), None);
            this.wait(gateway, 1_000_000);
        }
        assert_eq!(this.lookup(peer), Some(OTHERS), "it is in use all the time");
        this.poll();
        for out in this.outs() {
            match out {
                Out::Send(said) if said == our_question(gateway, None) => {
                    this.hear(answer(gateway, THEIRS)).unwrap();
                    answered += 1;
                }
                Out::Send(said) if said == our_question(peer, Some(OTHERS)) => {
                    this.hear(answer(peer, OTHERS)).unwrap();
                    probed += 1;
                }
                Out::Send(Said { from: OURS, to, .. }) => asked += u32::from(to.0[0] & 1 != 0),
                _ => {}
            }
        }
    }
    assert_eq!((answered, probed), (1, 1));
    assert_eq!((this.lookup(gateway), this.state(peer)), (Some(THEIRS), Some(State::Reachable)));
    // Three each, of 200 a second and 100 at once.
    assert!((2000..=3 * 2100 + 3).contains(&asked), "{asked} questions");
    assert_eq!(this.neighbours.table.check(), allocated);
    assert_eq!(this.neighbours.waiting.each_ref().map(|waiting| waiting.room()), rooms);
    assert!(this.neighbours.len() <= 702 && this.neighbours.waiting() <= 64);
    this.run(seconds(10));
    assert_eq!((this.neighbours.len(), this.neighbours.waiting()), (2, 0));
    assert_eq!(this.pool.free(), this.pool.buffers());
    let counters: Counters = this.neighbours.counters();
    assert_eq!(counters.replied, 50_000);
}

#[test]
fn a_flood_over_ipv4_starves_nobody() {
    flood(|n| Ipv4Addr::from_bits(0x0a02_0000 + n).into());
}

#[test]
fn a_flood_over_ipv6_starves_nobody() {
    flood(|n| Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(n) << 8 | 2).into());
}
