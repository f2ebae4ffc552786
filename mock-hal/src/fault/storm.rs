//! Faults by chance, from a seed.

use super::{Action, FaultPoint, Field};

/// Numbers that look like chance and are the same for the same seed.
///
/// SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
#[derive(Clone, Debug)]
pub struct Seeded(u64);

impl Seeded {
    /// Starts at `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next one.
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// The next one, 32 bits of it.
    pub const fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    /// One below `end`; 0 if there is none.
    pub const fn below(&mut self, end: u32) -> u32 {
        ((self.next_u32() as u64 * end as u64) >> 32) as u32
    }

    /// True in `per_million` of a million cases.
    pub const fn chance(&mut self, per_million: u32) -> bool {
        self.below(1_000_000) < per_million
    }
}

/// What chance decides.
#[derive(Clone, Debug)]
pub(super) struct Storm {
    chance: Seeded,
    per_million: u32,
}

impl Storm {
    pub(super) const fn new(seed: u64, per_million: u32) -> Self {
        Self { chance: Seeded::new(seed), per_million }
    }

    /// What goes wrong at `point`, if something does.
    pub(super) fn draw(&mut self, point: FaultPoint) -> Option<Action> {
        if !self.chance.chance(self.per_million) {
            return None;
        }
        // A device that is gone, or wants to be reset, ends the storm for this start of the driver;
        // so these are rare.
        if self.chance.below(50) == 0 {
            return Some(match self.chance.below(4) {
                0 => Action::AllOnes,
                1 => Action::DemandReset,
                2 => Action::StopQueue { code: 0x8000_0000 | self.chance.below(9) },
                _ => Action::Refuse,
            });
        }
        Some(match (point, self.chance.below(12)) {
            (_, 0) => Action::Drop,
            (_, 1) => Action::Delay { ticks: 1 + self.chance.below(8) },
            (_, 2) => Action::Duplicate,
            (_, 3) => Action::Reorder,
            (_, 4) => Action::FlapLink,
            (_, 5) => Action::Scribble { seed: self.chance.next_u32() },
            (_, 6) => Action::Invent { index: self.number() },
            (
                FaultPoint::RegisterRead
                | FaultPoint::RegisterWrite
                | FaultPoint::Features
                | FaultPoint::Reply,
                _,
            ) => self.lie(Field::Value),
            (FaultPoint::RxCompletion, 11) => {
                let which = self.chance.below(3) as usize;
                self.lie(Field::OF_RECEIVED[which])
            }
            _ => {
                let which = self.chance.below(6) as usize;
                self.lie(Field::USUAL[which])
            }
        })
    }

    fn lie(&mut self, field: Field) -> Action {
        match self.chance.below(3) {
            0 => Action::Set { field, value: self.number() },
            1 => Action::Add { field, value: [1, u32::MAX][self.chance.below(2) as usize] },
            _ => Action::Flip { field, bits: 1 << self.chance.below(32) },
        }
    }

    /// Small, about a power of two, or anything.
    fn number(&mut self) -> u32 {
        match self.chance.below(4) {
            0 => self.chance.next_u32(),
            1 => (1_u32 << self.chance.below(32)).wrapping_add(self.chance.below(3)).wrapping_sub(1),
            _ => self.chance.below(64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::FaultPlan;
    use super::*;

    fn some(seed: u64) -> Vec<Option<Action>> {
        let mut storm = Storm::new(seed, 500_000);
        (0..1000).map(|_| storm.draw(FaultPoint::RxCompletion)).collect()
    }

    #[test]
    fn the_same_seed_is_the_same_storm() {
        assert_eq!(some(1), some(1));
        assert_ne!(some(1), some(2));
    }

    #[test]
    fn the_rate_is_kept() {
        let faults = some(3).into_iter().flatten().count();
        assert!((400..600).contains(&faults), "{faults} of 1000");
        let mut calm = FaultPlan::storm(1, 0);
        for _ in 0..1000 {
            let _ = calm.at(FaultPoint::Tick, 0, &mut 0_u32, |_| true);
        }
        assert_eq!(calm.hits(), 0);
    }

    #[test]
    fn every_kind_of_action_comes_up() {
        let mut kinds = std::collections::HashSet::new();
        let mut storm = Storm::new(4, 1_000_000);
        for _ in 0..10_000 {
            kinds.extend(storm.draw(FaultPoint::TxCompletion).as_ref().map(std::mem::discriminant));
        }
        assert_eq!(kinds.len(), 14);
    }
}
