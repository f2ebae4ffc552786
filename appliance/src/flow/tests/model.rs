//! A table against a map of the standard library, a million times.

use std::collections::{BTreeMap, HashMap};

use super::super::*;
use super::support::*;
use crate::packet::wire::PROTOCOL_UDP;

/// What is known of a flow without a table.
#[derive(Clone, Copy, Debug)]
struct Known {
    seen: u64,
    state: State,
    /// The later, the later it is its turn to give way.
    turn: u64,
}

struct Model {
    table: Table,
    known: HashMap<Key, Known>,
    back: HashMap<Key, Key>,
    second: u64,
    turns: u64,
    /// Whose turn it is to give way, and when.
    unproven: BTreeMap<u64, Key>,
}

const MOST: u32 = 600;
const UNPROVEN_MOST: u32 = 200;
const CLIENTS: u32 = 1500;

impl Model {
    fn new() -> Self {
        let table = table(Limits { unproven: UNPROVEN_MOST, ..Limits::new(MOST) });
        let (known, back, unproven) = (HashMap::new(), HashMap::new(), BTreeMap::new());
        Self { table, known, back, second: 0, turns: 0, unproven }
    }

    fn forget(&mut self, original: &Key) -> Known {
        self.back.remove(&back(original)).unwrap();
        let known = self.known.remove(original).unwrap();
        self.unproven.remove(&known.turn);
        known
    }

    /// A packet from a client, or to one.
    fn packet(&mut self, original: Key, is_back: bool) {
        let key = if is_back { back(&original) } else { original };
        let now = at(self.second);
        let Some(hit) = self.table.find(&key) else {
            assert!(!self.known.contains_key(&original));
            if !is_back {
                self.begin(original);
            }
            return;
        };
        let expected = if is_back { Direction::Reply } else { Direction::Original };
        assert_eq!(hit.direction, expected);
        assert_eq!(self.table.track(hit, None, now, &mut nobody), Verdict::Pass);
        self.turns += 1;
        let known = self.known.get_mut(&original).unwrap();
        known.state = match (known.state, is_back) {
            (State::Unanswered, true) => State::Answered,
            (State::Answered, false) => State::Stream,
            (state, _) => state,
        };
        self.unproven.remove(&known.turn);
        (known.seen, known.turn) = (self.second, self.turns);
        if known.state != State::Stream {
            self.unproven.insert(known.turn, original);
        }
        assert_eq!(self.table.state(&original), Some(known.state));
    }

    fn begin(&mut self, original: Key) {
        let is_full = self.known.len() as u32 == MOST || self.unproven.len() as u32 == UNPROVEN_MOST;
        let gives_way = self.unproven.first_key_value().filter(|_| is_full).map(|(_, key)| *key);
        let mut ended = Vec::new();
        let opened = self.table.open(&new(original, None), at(self.second), &mut |_, flow, end| {
            ended.push((*flow.key(Direction::Original), end));
        });
        assert_eq!(ended, gives_way.map(|key| (key, End::Evicted)).into_iter().collect::<Vec<_>>());
        if let Some(key) = gives_way {
            self.forget(&key);
        }
        if is_full && gives_way.is_none() {
            return assert_eq!(opened, Err(Refused::Full));
        }
        let index = opened.unwrap().index;
        assert_eq!(self.table.find(&original), Some(Hit { index, direction: Direction::Original }));
        self.turns += 1;
        self.unproven.insert(self.turns, original);
        self.known.insert(original, Known { seen: self.second, state: State::Unanswered, turn: self.turns });
        self.back.insert(back(&original), original);
    }

    /// Time goes on, and flows end whose time is over.
    fn wait(&mut self, seconds: u64) {
        self.second += seconds;
        let mut ended = Vec::new();
        let len = self.known.len();
        self.table.poll(at(self.second), u32::MAX, &mut |_, flow, end| {
            assert_eq!(end, End::Expired);
            ended.push(*flow.key(Direction::Original));
        });
        for key in ended {
            let known = self.forget(&key);
            let timeout = if known.state == State::Stream { 120 } else { 30 };
            // A third of it where the table is full, all of it where it is not.
            let least = if len as u32 * 10 > MOST * 6 && known.state == State::Stream { 40 } else { timeout };
            assert!(self.second - known.seen >= least, "{known:?} at {}", self.second);
        }
        for known in self.known.values() {
            let timeout = if known.state == State::Stream { 120 } else { 30 };
            assert!(self.second - known.seen < timeout, "{known:?} at {}", self.second);
        }
    }

    fn check(&self) {
        self.table.check();
        assert_eq!(self.table.len() as usize, self.known.len());
        assert_eq!(self.table.unproven() as usize, self.unproven.len());
        for (reply, original) in &self.back {
            assert_eq!(self.table.find(reply).unwrap().direction, Direction::Reply);
            assert!(self.known.contains_key(original));
        }
    }
}

#[test]
fn a_table_knows_what_a_map_knows_through_a_million_operations() {
    let mut random = random();
    let mut below = |bound: u32| random.below(bound.try_into().unwrap());
    let mut model = Model::new();
    let mut fullest = 0;
    for step in 0..1_000_000 {
        let key = client(below(CLIENTS) * 97, PROTOCOL_UDP);
        // Now and then few come, and now and then all of them stay.
        let rest = if step / 100_000 % 2 == 0 { 20 } else { 400 };
        match below(1000) {
            0..450 => model.packet(key, false),
            450..900 => model.packet(key, true),
            900..970 => {
                let lookup = model.table.lookup(key);
                assert_eq!(model.table.found(&lookup).is_some(), model.known.contains_key(&key));
            }
            970..990 => {
                if let Some(hit) = model.table.find(&key) {
                    assert!(model.table.remove(hit.index, &mut |_, _, end| assert_eq!(end, End::Removed)));
                    assert!(!model.table.remove(hit.index, &mut nobody));
                    model.forget(&key);
                }
            }
            _ if below(rest) == 0 => model.wait(u64::from(below(40))),
            _ => {}
        }
        fullest = fullest.max(model.table.len());
        if step % 50_000 == 0 {
            model.check();
        }
    }
    model.check();
    assert_eq!(fullest, MOST);
    let counters = model.table.counters();
    assert!(counters.ended(End::Evicted) > 0 && counters.ended(End::Expired) > 0);
    assert_eq!(counters.refused(Refused::Crowded), 0);
    model.wait(10_000);
    assert!(model.table.is_empty() && model.known.is_empty());
    model.check();
}

#[test]
fn a_burst_is_found_whatever_comes_and_goes_meanwhile() {
    let mut table = table(Limits::new(200));
    let keys: Vec<_> = (0..100).map(|number| client(number, PROTOCOL_UDP)).collect();
    for key in &keys[..50] {
        table.open(&new(*key, None), at(0), &mut nobody).unwrap();
    }
    let mut lookups: Vec<_> = keys.iter().map(|key| table.lookup(*key)).collect();
    table.prepare(&mut lookups);
    // The places of some are taken by others.
    for key in &keys[..25] {
        let hit = table.find(key).unwrap();
        assert!(table.remove(hit.index, &mut |_, _, _| {}));
    }
    for key in &keys[75..] {
        table.open(&new(*key, None), at(0), &mut nobody).unwrap();
    }
    for (number, (key, lookup)) in keys.iter().zip(&lookups).enumerate() {
        let hit = table.found(lookup);
        assert_eq!(hit.is_some(), (25..50).contains(&number) || number >= 75);
        if let Some(hit) = hit {
            assert_eq!(table.get(hit.index).unwrap().key(hit.direction), key);
        }
    }
    table.check();
}
