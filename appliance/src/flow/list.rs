//! Lists of flows: each flow that is in use is in one, oldest first.

use super::entry::Flow;
use super::index::NONE;

/// Which list: one for each second of the wheel, and [`UNPROVEN`].
pub(super) type List = u8;

/// How many seconds the wheel has.
pub(super) const SECONDS: u32 = 64;
/// Those of which one side alone has shown that it is there.
pub(super) const UNPROVEN: List = 64;
/// Of a flow: it is in none.
pub(super) const LOOSE: List = List::MAX;

/// First and last of each list.
#[derive(Debug)]
pub(super) struct Lists([(u32, u32); SECONDS as usize + 1]);

impl Lists {
    pub(super) const fn new() -> Self {
        Self([(NONE, NONE); SECONDS as usize + 1])
    }

    /// The list of a second of the wheel.
    #[inline(always)]
    pub(super) const fn of_second(second: u32) -> List {
        (second % SECONDS) as List
    }

    /// The first one.
    #[inline(always)]
    pub(super) fn head(&self, list: List) -> Option<u32> {
        self.0.get(usize::from(list)).map(|(first, _)| *first).filter(|first| *first != NONE)
    }

    /// Puts a flow at the end of `list`, out of the one in which it is.
    pub(super) fn push(&mut self, flows: &mut [Flow], list: List, index: u32) {
        self.unlink(flows, index);
        let Some((first, last)) = self.0.get_mut(usize::from(list)) else { return };
        let before = core::mem::replace(last, index);
        match at(flows, before) {
            Some(flow) => flow.after = index,
            None => *first = index,
        }
        if let Some(flow) = at(flows, index) {
            (flow.before, flow.after, flow.list) = (before, NONE, list);
        }
    }

    /// Takes a flow out of the list in which it is.
    pub(super) fn unlink(&mut self, flows: &mut [Flow], index: u32) {
        let Some(flow) = at(flows, index) else { return };
        let (before, after, list) = (flow.before, flow.after, flow.list);
        (flow.before, flow.after, flow.list) = (NONE, NONE, LOOSE);
        let Some((first, last)) = self.0.get_mut(usize::from(list)) else { return };
        match at(flows, before) {
            Some(flow) => flow.after = after,
            None => *first = after,
        }
        match at(flows, after) {
            Some(flow) => flow.before = before,
            None => *last = before,
        }
    }
}

#[inline(always)]
fn at(flows: &mut [Flow], index: u32) -> Option<&mut Flow> {
    flows.get_mut(index as usize)
}

#[cfg(test)]
impl Lists {
    /// All in `list`, which has to be whole in both directions.
    pub(super) fn walk(&self, flows: &[Flow], list: List) -> std::vec::Vec<u32> {
        let (first, last) = self.0[usize::from(list)];
        let (mut found, mut next, mut previous) = (std::vec::Vec::new(), first, NONE);
        while let Some(flow) = flows.get(next as usize) {
            assert_eq!((flow.before, flow.list), (previous, list));
            found.push(next);
            (previous, next) = (next, flow.after);
            assert!(found.len() <= flows.len(), "a list that goes round");
        }
        assert_eq!(last, previous);
        found
    }
}
