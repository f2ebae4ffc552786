//! How cases are told apart: one after the other, by a table of steps along an axis, or in groups
//! whose findings are compared.

use crate::case::{AXES, Axis, Case, Version};
use crate::sweep::{Sweep, sweep};

/// What a decision among cases looks at.
pub(crate) enum Plan {
    /// Each in turn.
    Chain,
    /// First where the packet is along this axis; then only the cases there matter.
    Steps(Axis, Sweep),
    /// Each group on its own; the earliest rule of all findings decides.
    Groups(Vec<Vec<usize>>),
}

/// Along which axes nothing is left to look at.
#[derive(Clone, Copy, Default)]
pub(crate) struct Known([bool; 4]);

impl Known {
    pub(crate) fn has(self, axis: Axis) -> bool {
        self.0[axis as usize]
    }

    pub(crate) fn with(mut self, axis: Axis) -> Self {
        self.0[axis as usize] = true;
        self
    }

    /// What still has to be looked at to know whether `case` matches.
    pub(crate) fn open(self, case: &Case) -> impl Iterator<Item = Axis> {
        AXES.into_iter().filter(move |&axis| !self.has(axis) && !case.is_full(axis))
    }

    /// About how many instructions that takes.
    fn cost(self, case: &Case) -> usize {
        self.open(case).map(|axis| search_cost(case.side(axis).len())).sum()
    }
}

/// About how many instructions it takes to find one of so many.
fn search_cost(count: usize) -> usize {
    match count {
        0..=2 => 3 * count,
        _ => 10 + 7 * (usize::BITS - count.leading_zeros()) as usize,
    }
}

/// A chain of at most so many instructions is not worth a table.
const CHEAP: usize = 40;

/// The way that takes the fewest instructions at worst.
pub(crate) fn plan(cases: &[Case], which: &[usize], known: Known, version: Version) -> Plan {
    let chain: usize = which.iter().map(|&place| known.cost(&cases[place])).sum();
    if chain <= CHEAP {
        return Plan::Chain;
    }
    let mut best = (chain, Plan::Chain);
    for axis in AXES.into_iter().filter(|&axis| !known.has(axis)) {
        let then = known.with(axis);
        let Some(sweep) = sweep(cases, which, axis, |case| then.open(case).next().is_none()) else {
            continue;
        };
        let list_cost = |list: &Vec<usize>| list.iter().map(|&place| then.cost(&cases[place])).sum::<usize>();
        let wide =
            if version == Version::V6 && matches!(axis, Axis::Source | Axis::Destination) { 2 } else { 1 };
        let lists = sweep.lists.iter().map(list_cost).max().unwrap_or(0);
        let cost = 10 + wide * search_cost(sweep.steps.len()) + lists;
        if cost < best.0 && sweep.lists.len() <= usize::from(u16::MAX) {
            best = (cost, Plan::Steps(axis, sweep));
        }
    }
    let groups = match best {
        (cost, Plan::Chain) if cost > 4 * CHEAP => by_open_axes(cases, which, known),
        _ => Vec::new(),
    };
    if groups.len() > 1 { Plan::Groups(groups) } else { best.1 }
}

/// Cases that look at the same axes together.
fn by_open_axes(cases: &[Case], which: &[usize], known: Known) -> Vec<Vec<usize>> {
    let mut groups: Vec<(Vec<Axis>, Vec<usize>)> = Vec::new();
    for &place in which {
        let axes: Vec<Axis> = known.open(&cases[place]).collect();
        match groups.iter_mut().find(|(same, _)| *same == axes) {
            Some((_, group)) => group.push(place),
            None => groups.push((axes, vec![place])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}
