//! Whose time comes when: a list for each length of waiting, each in the order in which it is over.

use super::entry::Entry;
use crate::list::{self, Linked, Node};
pub(super) use crate::list::{LOOSE, NONE};

/// How many lists there are: each waits twice as long as the one before.
const LISTS: u8 = 7;
/// How long the first one waits.
const FIRST_MILLIS: u32 = 250;
/// The list of a second, with which connections begin.
///
/// Spec: RFC 6298, 2.1.
pub(super) const SECOND: u8 = 2;

impl Linked for Entry {
    #[inline(always)]
    fn node(&self) -> Node {
        Node { before: self.before, after: self.after, list: self.list }
    }

    #[inline(always)]
    fn set_node(&mut self, Node { before, after, list }: Node) {
        (self.before, self.after, self.list) = (before, after, list);
    }
}

/// All that wait.
#[derive(Debug)]
pub(super) struct Lists(list::Lists<{ LISTS as usize }>);

impl Lists {
    pub(super) const fn new() -> Self {
        Self(list::Lists::new())
    }

    /// Has an entry wait from `now` on, in the list of that number or the longest, out of the one
    /// in which it is.
    pub(super) fn wait(&mut self, entries: &mut [Entry], index: u32, list: u8, now: u32) {
        let list = list.min(LISTS - 1);
        self.0.push(entries, list, index);
        if let Some(entry) = entries.get_mut(index as usize) {
            entry.at_millis = now.wrapping_add(FIRST_MILLIS << list);
        }
    }

    /// Has an entry not wait any more.
    pub(super) fn leave(&mut self, entries: &mut [Entry], index: u32) {
        self.0.unlink(entries, index);
    }

    /// Whose time comes first, and in how many milliseconds; zero when it is over.
    pub(super) fn next(&self, entries: &[Entry], now: u32) -> Option<(u32, u32)> {
        let waits = |first: u32| {
            let left = entries.get(first as usize)?.at_millis.wrapping_sub(now);
            // Times go round.
            Some((first, if left.cast_signed() < 0 { 0 } else { left }))
        };
        self.0.heads().filter_map(waits).min_by_key(|(_, left)| *left)
    }
}

#[cfg(test)]
impl Lists {
    /// All that wait, each list of which has to be whole, and in order.
    pub(super) fn walk(&self, entries: &[Entry]) -> std::vec::Vec<u32> {
        let lists = (0..LISTS).map(|list| self.0.walk(entries, list));
        let ordered = lists.inspect(|list| {
            let at = |index: &u32| entries[*index as usize].at_millis;
            let waits = |pair: &[u32]| at(&pair[1]).wrapping_sub(at(&pair[0])).cast_signed() >= 0;
            assert!(list.windows(2).all(waits), "in the order in which it is over");
        });
        ordered.flatten().collect()
    }
}
