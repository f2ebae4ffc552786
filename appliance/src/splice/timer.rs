//! Whose time comes when: a list for each length of waiting, each in the order in which it is over.

use super::entry::Entry;

/// No place.
pub(super) const NONE: u32 = u32::MAX;
/// Of an entry: it does not wait.
pub(super) const LOOSE: u8 = u8::MAX;
/// How many lists there are: each waits twice as long as the one before.
const LISTS: u8 = 7;
/// How long the first one waits.
const FIRST_MILLIS: u32 = 250;
/// The list of a second, with which connections begin.
///
/// Spec: RFC 6298, 2.1.
pub(super) const SECOND: u8 = 2;

/// First and last of each.
#[derive(Debug)]
pub(super) struct Lists([(u32, u32); LISTS as usize]);

impl Lists {
    pub(super) const fn new() -> Self {
        Self([(NONE, NONE); LISTS as usize])
    }

    /// Has an entry wait from `now` on, in the list of that number or the longest, out of the one
    /// in which it is.
    pub(super) fn wait(&mut self, entries: &mut [Entry], index: u32, list: u8, now: u32) {
        self.leave(entries, index);
        let list = list.min(LISTS - 1);
        let Some((first, last)) = self.0.get_mut(usize::from(list)) else { return };
        let before = core::mem::replace(last, index);
        match at(entries, before) {
            Some(entry) => entry.after = index,
            None => *first = index,
        }
        if let Some(entry) = at(entries, index) {
            (entry.before, entry.after, entry.list) = (before, NONE, list);
            entry.at_millis = now.wrapping_add(FIRST_MILLIS << list);
        }
    }

    /// Takes an entry out of the list in which it is.
    pub(super) fn leave(&mut self, entries: &mut [Entry], index: u32) {
        let Some(entry) = at(entries, index) else { return };
        let (before, after, list) = (entry.before, entry.after, entry.list);
        (entry.before, entry.after, entry.list) = (NONE, NONE, LOOSE);
        let Some((first, last)) = self.0.get_mut(usize::from(list)) else { return };
        match at(entries, before) {
            Some(entry) => entry.after = after,
            None => *first = after,
        }
        match at(entries, after) {
            Some(entry) => entry.before = before,
            None => *last = before,
        }
    }

    /// Whose time comes first, and in how many milliseconds; zero when it is over.
    pub(super) fn next(&self, entries: &[Entry], now: u32) -> Option<(u32, u32)> {
        let waits = |(first, _): &(u32, u32)| {
            let left = entries.get(*first as usize)?.at_millis.wrapping_sub(now);
            // Times go round.
            Some((*first, if left.cast_signed() < 0 { 0 } else { left }))
        };
        self.0.iter().filter_map(waits).min_by_key(|(_, left)| *left)
    }
}

#[inline(always)]
fn at(entries: &mut [Entry], index: u32) -> Option<&mut Entry> {
    entries.get_mut(index as usize)
}

#[cfg(test)]
impl Lists {
    /// All that wait, each list of which has to be whole in both directions, and in order.
    pub(super) fn walk(&self, entries: &[Entry]) -> std::vec::Vec<u32> {
        let mut found = std::vec::Vec::new();
        for (list, (first, last)) in (0_u8..).zip(self.0) {
            let (mut next, mut previous, mut at) = (first, NONE, None);
            while let Some(entry) = entries.get(next as usize) {
                assert_eq!((entry.before, entry.list), (previous, list));
                assert!(at.is_none_or(|at: u32| entry.at_millis.wrapping_sub(at).cast_signed() >= 0));
                found.push(next);
                (previous, next, at) = (next, entry.after, Some(entry.at_millis));
                assert!(found.len() <= entries.len(), "a list that goes round");
            }
            assert_eq!(last, previous);
        }
        found
    }
}
