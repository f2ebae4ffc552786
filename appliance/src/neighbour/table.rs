//! The entries: found by a keyed hash, each in one list.
//!
//! All timeouts of a kind are equally long. So the list of those that wait for one is in the order
//! in which they end, and its head is all there is to look at.

#[cfg(test)]
mod check;

use alloc::vec::Vec;

use paravane_hal::time::Instant;

use super::entry::{Entry, Key, State};
use super::list::{List, Lists};

/// An entry, by its place.
pub(super) type Index = u32;
/// No entry.
pub(super) const NONE: Index = Index::MAX;
/// So many entries share a bucket, where those come in that strangers ask for. Twice as many
/// buckets as entries, so that one in ten million has more.
const MAX_CHAIN: usize = 8;
/// How many entries are looked at to find one that was not used lately.
const MAX_SPARED: usize = 8;

/// All entries.
#[derive(Debug)]
pub(super) struct Table {
    hash_key: [u64; 2],
    buckets: Vec<Index>,
    entries: Vec<Entry>,
    lists: Lists,
    max_learned: usize,
    max_pinned: usize,
    /// Entries that are not pinned.
    pub(super) learned: usize,
    pub(super) pinned: usize,
    /// Those of them that are being asked for the first time.
    pub(super) questions: usize,
    /// How many gave way to others.
    pub(super) evicted: u64,
}

impl Table {
    pub(super) fn new(max_learned: usize, max_pinned: usize, hash_key: [u64; 2]) -> Self {
        let len = max_learned.saturating_add(max_pinned).min(Index::MAX as usize / 4);
        let mut table = Self {
            hash_key,
            buckets: alloc::vec![NONE; len.saturating_mul(2).next_power_of_two()],
            entries: alloc::vec![Entry::FREE; len],
            lists: Lists::default(),
            max_learned,
            max_pinned,
            learned: 0,
            pinned: 0,
            questions: 0,
            evicted: 0,
        };
        for index in (0..).take(len) {
            table.lists.push(&mut table.entries, List::Free, index);
        }
        table
    }

    #[inline(always)]
    pub(super) fn bucket(&self, key: Key) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "the low bits of a hash")]
        let hash = key.hash(self.hash_key) as usize;
        hash & self.buckets.len().saturating_sub(1)
    }

    /// The entry for `key`.
    #[inline]
    pub(super) fn find(&self, key: Key) -> Option<Index> {
        self.chain(key).find(|(_, entry)| entry.key == key).map(|(index, _)| index)
    }

    /// Those in the bucket of `key`.
    #[inline(always)]
    fn chain(&self, key: Key) -> impl Iterator<Item = (Index, &Entry)> {
        let mut next = self.buckets.get(self.bucket(key)).copied().unwrap_or(NONE);
        core::iter::from_fn(move || {
            let index = next;
            let entry = self.get(index)?;
            next = entry.next_in_bucket;
            Some((index, entry))
        })
    }

    #[inline(always)]
    pub(super) fn get(&self, index: Index) -> Option<&Entry> {
        self.entries.get(index as usize)
    }

    #[inline(always)]
    pub(super) fn get_mut(&mut self, index: Index) -> Option<&mut Entry> {
        self.entries.get_mut(index as usize)
    }

    /// Those in use.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.node.list() != List::Free)
    }

    /// The first one in `list`.
    #[inline]
    pub(super) fn head(&self, list: List) -> Option<(Index, &Entry)> {
        let index = self.lists.head(list);
        Some((index, self.get(index)?))
    }

    /// Makes an entry for `key`, which has none: one that is pinned, or one that gives way. `None`
    /// when there are as many.
    pub(super) fn insert(&mut self, key: Key, pins: u32) -> Option<Index> {
        let is_pinned = pins > 0;
        let has_room = if is_pinned {
            self.pinned < self.max_pinned
        } else {
            self.chain(key).count() < MAX_CHAIN && (self.learned < self.max_learned || self.evict())
        };
        let index = self.lists.head(List::Free);
        let bucket = self.bucket(key);
        let (true, Some(first), Some(entry)) =
            (has_room, self.buckets.get_mut(bucket), self.entries.get_mut(index as usize))
        else {
            return None;
        };
        *entry = Entry { key, pins, next_in_bucket: *first, node: entry.node, ..Entry::FREE };
        *first = index;
        let count = if is_pinned { &mut self.pinned } else { &mut self.learned };
        *count = count.saturating_add(1);
        self.lists.push(&mut self.entries, List::Resting, index);
        Some(index)
    }

    /// Forgets an idle entry: the first that was not used since it was last looked at. False when
    /// none is idle.
    fn evict(&mut self) -> bool {
        for spared in 0..=MAX_SPARED {
            let index = self.lists.head(List::Idle);
            let Some(entry) = self.get_mut(index) else { return false };
            if !entry.used || spared == MAX_SPARED {
                self.remove(index);
                self.evicted = self.evicted.wrapping_add(1);
                return true;
            }
            entry.used = false;
            self.lists.push(&mut self.entries, List::Idle, index);
        }
        false
    }

    /// Forgets an entry.
    pub(super) fn remove(&mut self, index: Index) {
        let Some(entry) = self.get(index).copied().filter(|entry| entry.node.list() != List::Free) else {
            return;
        };
        let bucket = self.bucket(entry.key);
        let before = self.chain(entry.key).find(|(_, other)| other.next_in_bucket == index).map(|(at, _)| at);
        let link = match before {
            Some(before) => self.get_mut(before).map(|before| &mut before.next_in_bucket),
            None => self.buckets.get_mut(bucket),
        };
        if let Some(link) = link {
            *link = entry.next_in_bucket;
        }
        let count = if entry.pins > 0 { &mut self.pinned } else { &mut self.learned };
        *count = count.saturating_sub(1);
        self.questions = self.questions.saturating_sub(entry.is_question().into());
        self.lists.push(&mut self.entries, List::Free, index);
        if let Some(entry) = self.get_mut(index) {
            // Nobody finds it, who still has its index either.
            *entry = Entry { node: entry.node, ..Entry::FREE };
        }
    }

    /// Puts an entry into `state`, as of `now`, and into the list of those that are in it.
    pub(super) fn set(&mut self, index: Index, state: State, now: Instant) {
        self.change(index, |entry| {
            entry.state = state;
            entry.at = now;
            entry.asked = 0;
            entry.used = false;
        });
        let Some(entry) = self.get(index) else { return };
        let list = match state {
            State::Incomplete | State::Probe => List::Due,
            State::Delay => List::Delayed,
            State::Reachable | State::Stale if entry.pins == 0 => List::Idle,
            State::Reachable | State::Stale | State::Unresolved => List::Resting,
        };
        self.lists.push(&mut self.entries, list, index);
    }

    /// Says that an entry was asked for, just `now`.
    pub(super) fn set_asked(&mut self, index: Index, now: Instant) {
        let Some(entry) = self.get_mut(index) else { return };
        entry.asked = entry.asked.saturating_add(1);
        entry.at = now;
        self.lists.push(&mut self.entries, List::Asked, index);
    }

    /// Pins an entry once more. False when there are as many.
    pub(super) fn pin(&mut self, index: Index) -> bool {
        let Some(entry) = self.get(index) else { return false };
        let (is_first, is_idle) = (entry.pins == 0, entry.node.list() == List::Idle);
        if is_first {
            if self.pinned >= self.max_pinned {
                return false;
            }
            self.pinned = self.pinned.saturating_add(1);
            self.learned = self.learned.saturating_sub(1);
        }
        self.change(index, |entry| entry.pins = entry.pins.saturating_add(1));
        if is_idle {
            self.lists.push(&mut self.entries, List::Resting, index);
        }
        true
    }

    /// Takes a pin off. True when it was the last one, and there is no room for the entry among
    /// those without: it is to be forgotten.
    pub(super) fn unpin(&mut self, index: Index) -> bool {
        let Some(entry) = self.get(index).filter(|entry| entry.pins > 0) else { return false };
        let (is_last, state) = (entry.pins == 1, entry.state);
        if is_last && (state == State::Unresolved || self.learned >= self.max_learned) {
            return true;
        }
        self.change(index, |entry| entry.pins = entry.pins.saturating_sub(1));
        if is_last {
            self.pinned = self.pinned.saturating_sub(1);
            self.learned = self.learned.saturating_add(1);
            if matches!(state, State::Reachable | State::Stale) {
                self.lists.push(&mut self.entries, List::Idle, index);
            }
        }
        false
    }

    /// Changes an entry, and counts whether it is a question.
    fn change(&mut self, index: Index, change: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.entries.get_mut(index as usize) else { return };
        self.questions = self.questions.saturating_sub(entry.is_question().into());
        change(entry);
        self.questions = self.questions.saturating_add(entry.is_question().into());
    }
}
