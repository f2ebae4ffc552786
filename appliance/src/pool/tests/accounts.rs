//! Whatever is done to a pool, and in which order: the accounts are right.

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

const SERVERS: u16 = 6;

#[derive(Clone, Debug)]
enum Step {
    Add(u16, bool),
    Remove(usize, Option<u64>),
    Drain(usize, Option<u64>),
    Maintain(usize),
    Resume(usize),
    Weigh(usize, u16),
    Mark(usize, bool),
    Choose(u32),
    Adopt(u32),
    Retry(usize),
    Release(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let until = || proptest::option::of(0_u64..5);
    let which = || 0_usize..64;
    prop_oneof![
        2 => (0..8_u16, any::<bool>()).prop_map(|(number, up)| Step::Add(number, up)),
        1 => (which(), until()).prop_map(|(at, until)| Step::Remove(at, until)),
        1 => (which(), until()).prop_map(|(at, until)| Step::Drain(at, until)),
        1 => which().prop_map(Step::Maintain),
        1 => which().prop_map(Step::Resume),
        1 => (which(), 0..4_u16).prop_map(|(at, weight)| Step::Weigh(at, weight)),
        2 => (which(), any::<bool>()).prop_map(|(at, up)| Step::Mark(at, up)),
        12 => (0..20_u32).prop_map(Step::Choose),
        3 => (0..20_u32).prop_map(Step::Adopt),
        3 => which().prop_map(Step::Retry),
        6 => which().prop_map(Step::Release),
        2 => (0..3_u64).prop_map(Step::Wait),
    ]
}

/// A pool, and what was had of it.
struct Play {
    pool: Pool,
    /// Connections, by source, with their servers.
    had: Vec<(u32, ServerId)>,
    ids: Vec<ServerId>,
    now: Instant,
}

impl Play {
    fn new(algorithm: Algorithm) -> Self {
        let settings = Settings { algorithm, slow_start: Duration::from_secs(3), ..Settings::new(SERVERS) };
        Self { pool: pool(settings), had: Vec::new(), ids: Vec::new(), now: START }
    }

    fn id(&self, at: usize) -> Option<ServerId> {
        self.ids.get(at % self.ids.len().max(1)).copied()
    }

    /// Does something to a server, if there is any; it may be out.
    fn on<T>(&mut self, at: usize, act: impl FnOnce(&mut Pool, ServerId) -> Result<T, PoolError>) {
        if let Some(id) = self.id(at) {
            let is_out = self.pool.server(id, self.now).is_none();
            let result = act(&mut self.pool, id);
            assert!(!is_out || result.is_err());
        }
    }

    fn play(&mut self, step: &Step) {
        let (now, pool) = (self.now, &mut self.pool);
        let end = |until: &Option<u64>| until.map(|seconds| now.saturating_add(Duration::from_secs(seconds)));
        match step {
            Step::Add(number, up) => {
                let new = Server { max_connections: 5, ..server(*number) };
                self.ids.extend(pool.add(new, if *up { Health::Up } else { Health::Down }));
            }
            Step::Choose(from) => {
                if let Ok(id) = pool.choose(source(*from), now) {
                    let view = pool.server(id, now).unwrap();
                    assert_eq!(view.state, State::Up);
                    assert!(view.server.weight > 0 && view.connections <= 5, "{view:?}");
                    self.had.push((*from, id));
                }
            }
            Step::Adopt(from) => self.had.extend(pool.adopt(source(*from)).map(|id| (*from, id))),
            Step::Retry(at) if !self.had.is_empty() => {
                let (from, old) = self.had.swap_remove(at % self.had.len());
                if let Ok(id) = pool.retry(old.place(), source(from), &[], now) {
                    assert_ne!(id, old);
                    self.had.push((from, id));
                }
            }
            Step::Release(at) if !self.had.is_empty() => {
                pool.release(self.had.swap_remove(at % self.had.len()).1.place());
            }
            Step::Retry(_) | Step::Release(_) => {}
            Step::Wait(seconds) => {
                self.now = now.saturating_add(Duration::from_secs(*seconds));
                pool.poll();
            }
            Step::Remove(at, until) => self.on(*at, |pool, id| pool.remove(id, end(until))),
            Step::Drain(at, until) => self.on(*at, |pool, id| pool.drain(id, end(until))),
            Step::Maintain(at) => self.on(*at, |pool, id| pool.maintain(id)),
            Step::Resume(at) => self.on(*at, |pool, id| pool.resume(id, now)),
            Step::Weigh(at, weight) => self.on(*at, |pool, id| pool.set_weight(id, *weight)),
            Step::Mark(at, up) => {
                let health = if *up { Health::Up } else { Health::Down };
                self.on(*at, |pool, id| pool.mark(id, health, now));
            }
        }
    }

    /// What the pool says is what was had of it.
    fn check(&self) {
        let mut held: HashMap<ServerId, u32> = HashMap::new();
        self.had.iter().for_each(|(_, id)| *held.entry(*id).or_insert(0) += 1);
        for view in self.pool.servers(self.now) {
            assert_eq!(view.connections, held.remove(&view.id).unwrap_or(0), "{view:?}");
        }
        assert!(held.is_empty(), "a server stays at its place while it has any: {held:?}");
        assert_eq!(self.pool.connections() as usize, self.had.len());
    }
}

proptest! {
    #[test]
    fn the_accounts_are_right_whatever_is_done(
        algorithm in proptest::sample::select(&ALGORITHMS[..]),
        steps in proptest::collection::vec(step(), 1..200),
    ) {
        let mut play = Play::new(algorithm);
        for step in &steps {
            play.play(step);
            play.check();
        }
        while let Some((_, id)) = play.had.pop() {
            play.pool.release(id.place());
        }
        play.check();
        prop_assert_eq!(play.pool.connections(), 0);
        let is_leaving = |view: View<'_>| matches!(view.state, State::Leaving { .. });
        prop_assert!(!play.pool.servers(play.now).any(is_leaving));
    }
}
