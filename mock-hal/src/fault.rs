//! Faults as data: what goes wrong, where, and how often.
//!
//! A model asks a [`FaultPlan`] at each point of its work where something can go wrong, and says
//! what it could do there. The plan changes fields by itself; what only the model can do, such as
//! to complete twice, is the answer. A plan is a list that a test wrote, or a storm from a seed;
//! either way the same plan over the same accesses does the same, and [`fired`](FaultPlan::fired)
//! tells what was done: not what was asked for in vain.
//!
//! ```
//! use paravane_mock_hal::fault::{Action, Fault, FaultPlan, FaultPoint, Field, Fields};
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
//!     assert_eq!(plan.at(FaultPoint::RxCompletion, 0, &mut completion, |_| false), None);
//!     assert_eq!(completion.index, expected);
//! }
//! ```

mod storm;

pub use storm::Seeded;

use crate::registers::Width;

/// Where in its work a device asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultPoint {
    /// The driver reads a register; the value is what it will see.
    RegisterRead,
    /// The driver wrote a register; the value is what the device will see.
    RegisterWrite,
    /// A doorbell, or queue notification, arrived.
    Doorbell,
    /// A command is about to run. Its result is a register's to tell. A virtio device without a
    /// control queue has no commands.
    Command,
    /// A command ran; the value is what the driver will read as its result.
    Reply,
    /// Features are about to be agreed; the value is 32 of them, as the driver accepted them, and
    /// the subject which 32.
    Features,
    /// The device is about to report a frame as sent.
    TxCompletion,
    /// The device is about to report a buffer as filled.
    RxCompletion,
    /// The device is about to report a request as done; its kind is its status.
    RequestCompletion,
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
    /// Of what kind a hash is.
    HashType,
    /// How many frames were put together.
    Segments,
    /// How much each of them carried.
    SegmentBytes,
    /// The one value of a register, a result or a set of features.
    Value,
}

impl Field {
    /// What most completions have.
    const USUAL: [Self; 6] =
        [Self::Index, Self::Length, Self::Flags, Self::Generation, Self::Queue, Self::Kind];
    /// What a receive completion may have besides.
    const OF_RECEIVED: [Self; 3] = [Self::HashType, Self::Segments, Self::SegmentBytes];
}

/// What a device is about to say, by its fields.
pub trait Fields {
    /// The field, if this has it.
    fn field(&mut self, field: Field) -> Option<&mut u32>;

    /// Which bits of the field there are: a change of the others is none.
    fn bits(&self, _: Field) -> u32 {
        u32::MAX
    }
}

impl Fields for u32 {
    fn field(&mut self, field: Field) -> Option<&mut u32> {
        (field == Field::Value).then_some(self)
    }
}

/// A register's value, of which there is as much as the access is wide.
impl Fields for (u32, Width) {
    fn field(&mut self, field: Field) -> Option<&mut u32> {
        self.0.field(field)
    }
    fn bits(&self, _: Field) -> u32 {
        match self.1 {
            Width::Byte => 0xff,
            Width::Half => 0xffff,
            Width::Word => u32::MAX,
        }
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
    /// It is lost: the doorbell, the interrupt, the completion that never comes, the command
    /// without an effect.
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
    /// Noise over what the driver reads: at once where the driver just accessed the device, which
    /// is in the middle of one of its calls; at its next access, or the next tick, where the device
    /// was about to complete something.
    ///
    /// It does not come between two loads of a driver that does not access its device in between;
    /// [`ChangingLoads`](crate::ChangingLoads) does.
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
    /// Which register, command, queue or vector, as the model numbers them; `None` for any.
    pub subject: Option<u32>,
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
        Self { on: Match { point, subject: None, nth, count: 1 }, action }
    }

    /// Every time.
    #[must_use]
    pub const fn always(point: FaultPoint, action: Action) -> Self {
        Self { on: Match { point, subject: None, nth: 1, count: u64::MAX }, action }
    }

    /// The same, of one `subject` alone: a register, a command, a queue.
    #[must_use]
    pub const fn of(mut self, subject: u32) -> Self {
        self.on.subject = Some(subject);
        self
    }
}

/// A fault, and how often the device was where it happens.
#[derive(Clone, Copy, Debug)]
struct Planned {
    fault: Fault,
    visits: u64,
}

/// A fault that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fired {
    /// Where.
    pub point: FaultPoint,
    /// Of what.
    pub subject: u32,
    /// At which visit of that point.
    pub visit: u64,
    /// What.
    pub action: Action,
}

/// All that will go wrong.
#[derive(Clone, Debug, Default)]
pub struct FaultPlan {
    faults: Vec<Planned>,
    storm: Option<storm::Storm>,
    visits: Vec<(FaultPoint, u64)>,
    fired: Vec<Fired>,
    hits: u64,
}

/// How many of the last faults a plan remembers.
const REMEMBERED: usize = 64;

impl FaultPlan {
    /// These faults. Where several meet, their changes to fields add up in this order, and the
    /// first of the others wins.
    pub fn new(faults: impl IntoIterator<Item = Fault>) -> Self {
        let mut plan = Self::default();
        faults.into_iter().for_each(|fault| plan.add(fault));
        plan
    }

    /// Any fault at any point, by chance: `per_million` of all visits.
    #[must_use]
    pub fn storm(seed: u64, per_million: u32) -> Self {
        Self { storm: Some(storm::Storm::new(seed, per_million)), ..Self::default() }
    }

    /// Adds a fault, whose `nth` counts from now.
    pub fn add(&mut self, fault: Fault) {
        self.faults.push(Planned { fault, visits: 0 });
    }

    /// Nothing goes wrong from here on. The counts stay.
    pub fn clear(&mut self) {
        self.faults.clear();
        self.storm = None;
    }

    /// The device is at `point` with `subject`, about to say `value`. Answers what it is to do
    /// instead, or as well: something that it can do here and now, as `plays` says. What it cannot
    /// do does not happen and does not count.
    #[must_use]
    pub fn at(
        &mut self,
        point: FaultPoint,
        subject: u32,
        value: &mut dyn Fields,
        plays: impl Fn(&Action) -> bool,
    ) -> Option<Action> {
        let visit = self.visit(point);
        let mut to_do = None;
        let mut meet = |action: Action| {
            let is_done = match action.field() {
                Some(field) => action.change(field, value),
                None if to_do.is_none() && plays(&action) => {
                    to_do = Some(action);
                    true
                }
                None => false,
            };
            is_done.then_some(Fired { point, subject, visit, action })
        };
        let mut fired = Vec::new();
        for Planned { fault: Fault { on, action }, visits } in &mut self.faults {
            if on.point == point && on.subject.is_none_or(|wanted| wanted == subject) {
                *visits += 1;
                let after = visits.checked_sub(on.nth);
                if after.is_some_and(|after| after < on.count) {
                    fired.extend(meet(*action));
                }
            }
        }
        let drawn = self.storm.as_mut().and_then(|storm| storm.draw(point));
        fired.extend(drawn.and_then(meet));
        for fired in fired {
            self.hits += 1;
            if self.fired.len() == REMEMBERED {
                self.fired.remove(0);
            }
            self.fired.push(fired);
        }
        to_do
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

    /// The last of them.
    #[must_use]
    pub fn fired(&self) -> &[Fired] {
        &self.fired
    }
}

impl Action {
    /// The field that this changes, if that is all it does.
    const fn field(self) -> Option<Field> {
        match self {
            Self::Set { field, .. } | Self::Add { field, .. } | Self::Flip { field, .. } => Some(field),
            _ => None,
        }
    }

    /// Changes `field` of `value`. Whether that made a difference.
    fn change(self, field: Field, value: &mut dyn Fields) -> bool {
        let there = value.bits(field);
        let Some(place) = value.field(field) else { return false };
        let old = *place;
        let new = match self {
            Self::Set { value, .. } => value,
            Self::Add { value, .. } => old.wrapping_add(value),
            Self::Flip { bits, .. } => old ^ bits,
            _ => old,
        };
        *place = old & !there | new & there;
        *place != old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visit(plan: &mut FaultPlan, mut value: u32) -> (Option<Action>, u32) {
        let to_do = plan.at(FaultPoint::Command, 0, &mut value, |_| true);
        (to_do, value)
    }

    const LOST: Option<Action> = Some(Action::Drop);

    #[test]
    fn a_fault_happens_as_often_as_it_says() {
        let on = Match { point: FaultPoint::Command, subject: None, nth: 2, count: 2 };
        let mut plan = FaultPlan::new([Fault { on, action: Action::Drop }]);
        let done: Vec<_> = (0..4).map(|_| visit(&mut plan, 0).0).collect();
        assert_eq!(done, [None, LOST, LOST, None]);
        assert_eq!((plan.hits(), plan.visits_of(FaultPoint::Command)), (2, 4));
        assert_eq!(plan.at(FaultPoint::Tick, 0, &mut (), |_| true), None, "another point");
    }

    #[test]
    fn a_fault_of_one_subject_counts_its_visits_alone() {
        let mut plan = FaultPlan::new([Fault::nth(FaultPoint::RegisterWrite, 2, Action::Drop).of(0x40)]);
        let done = [0x40, 0x20, 0x40, 0x40]
            .map(|register| plan.at(FaultPoint::RegisterWrite, register, &mut (), |_| true));
        assert_eq!(done, [None, None, LOST, None]);
        let fired = Fired { point: FaultPoint::RegisterWrite, subject: 0x40, visit: 3, action: Action::Drop };
        assert_eq!(plan.fired(), [fired]);
    }

    #[test]
    fn what_a_model_cannot_do_does_not_count() {
        let mut plan = FaultPlan::new([
            Fault::always(FaultPoint::Frame, Action::Refuse),
            Fault::always(FaultPoint::Frame, Action::Drop),
        ]);
        assert_eq!(plan.at(FaultPoint::Frame, 0, &mut (), |_| false), None);
        assert_eq!(plan.hits(), 0);
        assert_eq!(plan.at(FaultPoint::Frame, 0, &mut (), |action| *action == Action::Drop), LOST);
        assert_eq!(plan.hits(), 1);
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
        assert_eq!(visit(&mut plan, 0), (Some(Action::Refuse), 0x17));
        assert_eq!(plan.hits(), 4);
    }

    #[test]
    fn a_change_that_changes_nothing_is_no_fault() {
        let set = |field| Action::Set { field, value: 0x106 };
        let mut plan = FaultPlan::new([
            Fault::always(FaultPoint::RegisterRead, set(Field::Index)),
            Fault::always(FaultPoint::RegisterRead, set(Field::Value)),
        ]);
        let mut register = (6, Width::Byte);
        assert_eq!(plan.at(FaultPoint::RegisterRead, 0, &mut register, |_| true), None);
        assert_eq!((register.0, plan.hits()), (6, 0), "no such field, and no such bit");
        register.0 = 7;
        assert_eq!(plan.at(FaultPoint::RegisterRead, 0, &mut register, |_| true), None);
        assert_eq!((register.0, plan.hits()), (6, 1));
    }

    #[test]
    fn an_added_fault_counts_from_now() {
        let mut plan = FaultPlan::default();
        let _ = visit(&mut plan, 0);
        plan.add(Fault::nth(FaultPoint::Command, 1, Action::AllOnes));
        assert_eq!(visit(&mut plan, 0).0, Some(Action::AllOnes));
        assert_eq!(visit(&mut plan, 0).0, None);
        plan.add(Fault::always(FaultPoint::Command, Action::Drop));
        plan.clear();
        assert_eq!(visit(&mut plan, 0).0, None);
    }
}
