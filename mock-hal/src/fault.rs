//! Faults as data: what goes wrong, where, and how often.
//!
//! A model asks a [`FaultPlan`] at each point of its work where something can go wrong. The plan answers with a [`Verdict`]: go on (perhaps with a
//! field changed), or something that only the model can do, such as complete twice. A plan is a list that a test wrote, or a storm from a seed; either
//! way the same plan over the same accesses does the same, and [`fired`](FaultPlan::fired) tells what it did.
//!
//! ```
//! use paravane_mock_hal::fault::{Action, Fault, FaultPlan, FaultPoint, Field, Fields, Verdict};
//!
//! struct Completion { index: u32 }
//!
//! impl Fields for Completion {
//!     fn field(&mut self, field: Field) -> Option<&mut u32> {
//!         (field == Field::Index).then_some(&mut self.index)
//!     }
//! }
//!
//! // The second receive completion names a slot that is off by one.
//! let off_by_one = Action::Add { field: Field::Index, value: 1 };
//! let mut plan = FaultPlan::new([Fault::nth(FaultPoint::RxCompletion, 2, off_by_one)]);
//! for expected in [7, 8, 7] {
//!     let mut completion = Completion { index: 7 };
//!     assert_eq!(plan.at(FaultPoint::RxCompletion, &mut completion), Verdict::GoOn);
//!     assert_eq!(completion.index, expected);
//! }
//! ```

mod storm;

pub use storm::Seeded;

/// Where in its work a device asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultPoint {
    /// The driver reads a register; the value is what it will see.
    RegisterRead,
    /// The driver wrote a register; the value is what the device will see.
    RegisterWrite,
    /// A doorbell, or queue notification, arrived.
    Doorbell,
    /// A command, or request on a control queue, is about to run; the value is its result.
    Command,
    /// Features are offered or accepted; the value is the set.
    Features,
    /// The device is about to report a frame as sent.
    TxCompletion,
    /// The device is about to report a buffer as filled.
    RxCompletion,
    /// A frame arrives from the wire.
    Frame,
    /// An interrupt is about to be raised.
    Interrupt,
    /// The device has time of its own.
    Tick,
}

/// Part of what a device writes or answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// Which slot or descriptor.
    Index,
    /// How many bytes.
    Length,
    /// Bits about the frame: its start, its end, an error.
    Flags,
    /// Whose turn it is: a generation, a lap, a wrap counter.
    Generation,
    /// Which queue or ring.
    Queue,
    /// What kind of entry it is.
    Kind,
    /// The one value of a register, a result or a set of features.
    Value,
}

impl Field {
    const ALL: [Self; 7] =
        [Self::Index, Self::Length, Self::Flags, Self::Generation, Self::Queue, Self::Kind, Self::Value];
}

/// What a device is about to say, by its fields.
pub trait Fields {
    /// The field, if this has it. What the model then writes is cut to the field's width.
    fn field(&mut self, field: Field) -> Option<&mut u32>;
}

impl Fields for u32 {
    fn field(&mut self, field: Field) -> Option<&mut u32> {
        (field == Field::Value).then_some(self)
    }
}

/// For points where nothing is said.
impl Fields for () {
    fn field(&mut self, _: Field) -> Option<&mut u32> {
        None
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is lost: the doorbell, the interrupt, the completion that never comes, the command without an effect.
    Drop,
    /// It happens, `ticks` of the device's later.
    Delay {
        /// How many.
        ticks: u32,
    },
    /// It happens twice: a slot is completed twice, a frame arrives twice.
    Duplicate,
    /// It changes places with the next one of its kind.
    Reorder,
    /// The device lies: `field` is `value`.
    Set {
        /// Which.
        field: Field,
        /// What it says.
        value: u32,
    },
    /// The device lies: `field` is larger by `value`, modulo 2³².
    Add {
        /// Which.
        field: Field,
        /// How much.
        value: u32,
    },
    /// Bits of `field` are turned over.
    Flip {
        /// Which.
        field: Field,
        /// Which bits.
        bits: u32,
    },
    /// The device makes one up in front of the true one: it completes what was never posted.
    Invent {
        /// The slot that it names.
        index: u32,
    },
    /// What was written is written over with noise later: between two looks of the driver, wherever they are.
    Scribble {
        /// Where the noise starts.
        seed: u32,
    },
    /// The link goes down, or comes up.
    FlapLink,
    /// The queue stops, with an error where the device has a place for one.
    StopQueue {
        /// Which error.
        code: u32,
    },
    /// The device says that it needs a reset.
    DemandReset,
    /// The features, or the command, are refused.
    Refuse,
    /// The device is gone: all registers read ones from here on.
    AllOnes,
}

/// When a fault happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// Where.
    pub point: FaultPoint,
    /// At the how-many-th time of being there, counted from 1.
    pub nth: u64,
    /// How many times in a row. `u64::MAX` is for ever.
    pub count: u64,
}

/// One entry of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When.
    pub on: Match,
    /// What.
    pub action: Action,
}

impl Fault {
    /// Once, at the `nth` time, counted from 1.
    #[must_use]
    pub const fn nth(point: FaultPoint, nth: u64, action: Action) -> Self {
        Self { on: Match { point, nth, count: 1 }, action }
    }

    /// Every time.
    #[must_use]
    pub const fn always(point: FaultPoint, action: Action) -> Self {
        Self { on: Match { point, nth: 1, count: u64::MAX }, action }
    }
}

/// What a model is to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// What it was about to do, with the fields as they are now.
    GoOn,
    /// This instead, or as well. A model leaves out what makes no sense where it is, and goes on.
    Do(Action),
}

/// All that will go wrong.
#[derive(Clone, Debug, Default)]
pub struct FaultPlan {
    faults: Vec<Fault>,
    storm: Option<storm::Storm>,
    visits: Vec<(FaultPoint, u64)>,
    fired: Vec<(FaultPoint, u64, Action)>,
    hits: u64,
}

/// How many of the last faults a plan remembers.
const REMEMBERED: usize = 64;

impl FaultPlan {
    /// These faults. Where several meet, their changes to fields add up in this order, and the first of the others wins.
    pub fn new(faults: impl IntoIterator<Item = Fault>) -> Self {
        Self { faults: faults.into_iter().collect(), ..Self::default() }
    }

    /// Any fault at any point, by chance: `per_million` of all visits.
    #[must_use]
    pub fn storm(seed: u64, per_million: u32) -> Self {
        Self { storm: Some(storm::Storm::new(seed, per_million)), ..Self::default() }
    }

    /// Adds a fault, whose `nth` counts from now.
    pub fn add(&mut self, fault: Fault) {
        let Match { point, nth, count } = fault.on;
        let nth = self.visits_of(point).saturating_add(nth);
        self.faults.push(Fault { on: Match { point, nth, count }, ..fault });
    }

    /// Nothing goes wrong from here on. The counts stay.
    pub fn clear(&mut self) {
        self.faults.clear();
        self.storm = None;
    }

    /// The device is at `point`, about to say `value`.
    pub fn at(&mut self, point: FaultPoint, value: &mut dyn Fields) -> Verdict {
        let visit = self.visit(point);
        let mut verdict = Verdict::GoOn;
        for index in 0..self.faults.len() {
            let Fault { on, action } = self.faults[index];
            let after = visit.checked_sub(on.nth);
            if on.point == point && after.is_some_and(|after| after < on.count) {
                self.apply(point, visit, action, value, &mut verdict);
            }
        }
        if let Some(action) = self.storm.as_mut().and_then(|storm| storm.draw(point)) {
            self.apply(point, visit, action, value, &mut verdict);
        }
        verdict
    }

    fn apply(
        &mut self,
        point: FaultPoint,
        visit: u64,
        action: Action,
        value: &mut dyn Fields,
        verdict: &mut Verdict,
    ) {
        let changed = match action {
            Action::Set { field, value: new } => value.field(field).map(|old| *old = new),
            Action::Add { field, value: more } => value.field(field).map(|old| *old = old.wrapping_add(more)),
            Action::Flip { field, bits } => value.field(field).map(|old| *old ^= bits),
            _ if *verdict == Verdict::GoOn => {
                *verdict = Verdict::Do(action);
                Some(())
            }
            _ => None,
        };
        if changed.is_some() {
            self.hits += 1;
            if self.fired.len() == REMEMBERED {
                self.fired.remove(0);
            }
            self.fired.push((point, visit, action));
        }
    }

    fn visit(&mut self, point: FaultPoint) -> u64 {
        if let Some((_, visits)) = self.visits.iter_mut().find(|(at, _)| *at == point) {
            *visits += 1;
            return *visits;
        }
        self.visits.push((point, 1));
        1
    }

    /// How often the device was at `point`.
    #[must_use]
    pub fn visits_of(&self, point: FaultPoint) -> u64 {
        self.visits.iter().find(|(at, _)| *at == point).map_or(0, |(_, visits)| *visits)
    }

    /// How many faults happened.
    #[must_use]
    pub const fn hits(&self) -> u64 {
        self.hits
    }

    /// The last of them: where, at which visit, what.
    #[must_use]
    pub fn fired(&self) -> &[(FaultPoint, u64, Action)] {
        &self.fired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visit(plan: &mut FaultPlan, mut value: u32) -> (Verdict, u32) {
        let verdict = plan.at(FaultPoint::Command, &mut value);
        (verdict, value)
    }

    #[test]
    fn a_fault_happens_as_often_as_it_says() {
        let on = Match { point: FaultPoint::Command, nth: 2, count: 2 };
        let mut plan = FaultPlan::new([Fault { on, action: Action::Drop }]);
        let verdicts: Vec<Verdict> = (0..4).map(|_| visit(&mut plan, 0).0).collect();
        let lost = Verdict::Do(Action::Drop);
        assert_eq!(verdicts, [Verdict::GoOn, lost, lost, Verdict::GoOn]);
        assert_eq!((plan.hits(), plan.visits_of(FaultPoint::Command)), (2, 4));
        assert_eq!(plan.at(FaultPoint::Tick, &mut ()), Verdict::GoOn, "another point");
    }

    #[test]
    fn changes_add_up_and_the_first_of_the_others_wins() {
        let mut plan = FaultPlan::new([
            Fault::always(FaultPoint::Command, Action::Set { field: Field::Value, value: 6 }),
            Fault::always(FaultPoint::Command, Action::Add { field: Field::Value, value: 1 }),
            Fault::always(FaultPoint::Command, Action::Refuse),
            Fault::always(FaultPoint::Command, Action::Drop),
            Fault::always(FaultPoint::Command, Action::Flip { field: Field::Value, bits: 0x10 }),
        ]);
        assert_eq!(visit(&mut plan, 0), (Verdict::Do(Action::Refuse), 0x17));
        assert_eq!(plan.hits(), 4);
    }

    #[test]
    fn a_field_that_is_not_there_is_no_fault() {
        let mut plan = FaultPlan::new([Fault::always(
            FaultPoint::Command,
            Action::Set { field: Field::Index, value: 6 },
        )]);
        assert_eq!(visit(&mut plan, 3), (Verdict::GoOn, 3));
        assert_eq!(plan.hits(), 0);
    }

    #[test]
    fn an_added_fault_counts_from_now() {
        let mut plan = FaultPlan::default();
        let _ = visit(&mut plan, 0);
        plan.add(Fault::nth(FaultPoint::Command, 1, Action::AllOnes));
        assert_eq!(visit(&mut plan, 0).0, Verdict::Do(Action::AllOnes));
        assert_eq!(visit(&mut plan, 0).0, Verdict::GoOn);
        plan.add(Fault::always(FaultPoint::Command, Action::Drop));
        plan.clear();
        assert_eq!(visit(&mut plan, 0).0, Verdict::GoOn);
    }
}
