//! An axis cut wherever a case begins or ends.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::case::{Axis, Case};

/// An axis in steps, and which cases may match within each.
pub(crate) struct Sweep {
    /// Where each step begins, and the place of its list. Neighbours have different ones.
    pub(crate) steps: Vec<(u128, usize)>,
    /// Lists of cases, each once, in the rules' order.
    pub(crate) lists: Vec<Vec<usize>>,
}

/// Cuts `axis`. None if most cases reach over most of it, so that the lists are much longer than
/// the cases are many.
///
/// `closes` says of a case whether it matches all packets of a step that it is in: no case behind
/// it matters.
pub(crate) fn sweep(
    cases: &[Case],
    which: &[usize],
    axis: Axis,
    closes: impl Fn(&Case) -> bool,
) -> Option<Sweep> {
    let mut edges: BTreeMap<u128, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
    edges.entry(0).or_default();
    for &place in which {
        for &(first, last) in cases[place].side(axis).iter() {
            edges.entry(first).or_default().0.push(place);
            if let Some(after) = last.checked_add(1) {
                edges.entry(after).or_default().1.push(place);
            }
        }
    }
    let most_work = 32 * edges.len() + 1_024;
    let most_listed = 4 * which.len() + 64;

    let mut here = BTreeSet::new();
    let mut known: HashMap<Vec<usize>, usize> = HashMap::new();
    let mut sweep = Sweep { steps: Vec::new(), lists: Vec::new() };
    let (mut work, mut listed) = (0, 0);
    for (start, (begin, end)) in edges {
        for place in end {
            here.remove(&place);
        }
        here.extend(begin);
        let mut list = Vec::new();
        for &place in &here {
            list.push(place);
            if closes(&cases[place]) {
                break;
            }
        }
        work += list.len();
        let number = *known.entry(list).or_insert_with_key(|list| {
            listed += list.len();
            sweep.lists.push(list.clone());
            sweep.lists.len() - 1
        });
        if work > most_work || listed > most_listed {
            return None;
        }
        if sweep.steps.last().is_none_or(|&(_, last)| last != number) {
            sweep.steps.push((start, number));
        }
    }
    // Numbers beyond the largest one of a narrow axis begin a step that nothing comes to.
    Some(sweep)
}
