//! The routes of one version of IP, and what they mean for each address.
//!
//! Prefixes nest, so they cut the addresses into stretches of which each has one longest prefix. A
//! lookup is a binary search for the stretch: it costs the same however the prefixes lie, and never
//! asks an address bit by bit.
//!
//! ```text
//!  0.0.0.0/0    |-------------------- a --------------------|
//!  10.0.0.0/8         |---------- b ----------|
//!  10.1.0.0/16              |-- c --|
//!  starts       0     10.0  10.1    10.2      11.0
//!  stretches    a     b     c       b         a
//! ```
//!
//! A change looks anew at the stretches within its prefix, and at no others.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::Kind;
use super::groups::{Group, GroupId, Groups, NONE};
use super::key::Key;

/// The routes of one version.
#[derive(Clone, Debug)]
pub(super) struct Table<K> {
    /// By prefix: each before those that are in it.
    prefixes: BTreeMap<(K, u8), GroupId>,
    groups: Groups,
    /// Where each stretch begins, in order. In front of the first one there is no route.
    starts: Vec<K>,
    /// What each means; its neighbour means something else.
    stretches: Vec<GroupId>,
}

impl<K: Key> Table<K> {
    /// One without routes.
    pub(super) const fn new() -> Self {
        Self { prefixes: BTreeMap::new(), groups: Groups::new(), starts: Vec::new(), stretches: Vec::new() }
    }

    /// The group of the longest prefix that has `address`.
    #[inline(always)]
    pub(super) fn find(&self, address: K) -> Option<&Group> {
        let behind = self.starts.partition_point(|start| *start <= address);
        self.group(*self.stretches.get(behind.checked_sub(1)?)?)
    }

    /// The group of that place; none of [`NONE`].
    #[inline(always)]
    pub(super) fn group(&self, place: GroupId) -> Option<&Group> {
        self.groups.get(place)
    }

    /// How many places of groups there are.
    pub(super) fn groups(&self) -> usize {
        self.groups.len()
    }

    /// Every route with its prefix: its first address and how many bits count.
    pub(super) fn iter(&self) -> impl Iterator<Item = (K, u8, &Kind)> {
        self.prefixes.iter().flat_map(|((address, bits), place)| {
            let kinds = self.group(*place).into_iter().flat_map(Group::iter);
            kinds.map(|kind| (*address, *bits, kind))
        })
    }

    /// The stretches of `first..=last` with the places of their groups, or [`NONE`].
    pub(super) fn stretches(&self, first: K, last: K) -> impl Iterator<Item = (K, K, GroupId)> {
        let mut next = Some(first);
        let mut behind = self.starts.partition_point(|start| *start <= first);
        core::iter::from_fn(move || {
            let start = next.filter(|start| *start <= last)?;
            let place = behind.checked_sub(1).and_then(|index| self.stretches.get(index)).copied();
            // The last address before the next stretch.
            next = self.starts.get(behind).copied().filter(|next| *next <= last);
            behind = behind.saturating_add(1);
            Some((start, next.and_then(K::previous).unwrap_or(last), place.unwrap_or(NONE)))
        })
    }

    /// The routes of a prefix.
    fn kinds(&self, address: K, bits: u8) -> impl Iterator<Item = &Kind> {
        let place = self.prefixes.get(&(address, bits));
        place.and_then(|place| self.group(*place)).into_iter().flat_map(Group::iter)
    }

    /// How many routes a prefix has.
    pub(super) fn count(&self, address: K, bits: u8) -> usize {
        self.kinds(address, bits).count()
    }

    /// Adds a route; false when there is just that one already. It counts once
    /// [settled](Self::settle).
    pub(super) fn add(&mut self, address: K, bits: u8, kind: Kind) -> bool {
        let mut kinds: Vec<Kind> = self.kinds(address, bits).copied().collect();
        let is_new = !kinds.contains(&kind);
        if is_new {
            kinds.push(kind);
            self.put(address, bits, kinds);
        }
        is_new
    }

    /// Removes one route; false when there is none such. What is left counts once
    /// [settled](Self::settle).
    pub(super) fn remove(&mut self, address: K, bits: u8, kind: &Kind) -> bool {
        let before = self.count(address, bits);
        let kinds: Vec<Kind> = self.kinds(address, bits).filter(|known| *known != kind).copied().collect();
        let is_there = kinds.len() != before;
        if is_there {
            self.put(address, bits, kinds);
        }
        is_there
    }

    /// Removes the routes of a prefix; how many there were. What is left counts once
    /// [settled](Self::settle).
    pub(super) fn remove_all(&mut self, address: K, bits: u8) -> usize {
        let count = self.count(address, bits);
        self.put(address, bits, Vec::new());
        count
    }

    /// Makes `kinds` the routes of a prefix, which is none without any.
    fn put(&mut self, address: K, bits: u8, kinds: Vec<Kind>) {
        let before = match self.groups.enter(kinds) {
            Some(place) => self.prefixes.insert((address, bits), place),
            None => self.prefixes.remove(&(address, bits)),
        };
        if let Some(before) = before {
            self.groups.leave(before);
        }
    }

    /// Makes the stretches within a prefix what the routes say. Those of a prefix that changed, or
    /// of one around all that changed.
    pub(super) fn settle(&mut self, address: K, bits: u8) {
        let (first, last) = (address.first_of(bits), address.last_of(bits));
        let from = self.starts.partition_point(|start| *start < first);
        let mut to = self.starts.partition_point(|start| *start <= last);
        let at = |index: usize| self.stretches.get(index).copied();
        let before = from.checked_sub(1).and_then(at).unwrap_or(NONE);
        // What lies behind goes on as it was, from a start of its own.
        let mut behind = to.checked_sub(1).and_then(at).unwrap_or(NONE);
        if last.next().is_some_and(|next| self.starts.get(to) == Some(&next)) {
            behind = at(to).unwrap_or(NONE);
            to = to.saturating_add(1);
        }
        let mut sweep = Sweep::new(before, first, last, self.place_around(first, bits));
        for ((start, bits), place) in self.prefixes.range((first, bits)..=(last, K::WIDTH)) {
            sweep.open(*start, start.last_of(*bits), *place);
        }
        let (starts, stretches) = sweep.end(last, behind);
        self.starts.splice(from..to, starts);
        self.stretches.splice(from..to, stretches);
    }

    /// The group of the longest prefix around `address` that has fewer than `bits` bits.
    fn place_around(&self, address: K, bits: u8) -> GroupId {
        let mut shorter = (0..bits).rev();
        let found = shorter.find_map(|bits| self.prefixes.get(&(address.first_of(bits), bits)));
        found.copied().unwrap_or(NONE)
    }
}

/// A walk over prefixes in order that writes down stretches.
struct Sweep<K> {
    /// What lies in front of the first stretch.
    before: GroupId,
    starts: Vec<K>,
    stretches: Vec<GroupId>,
    /// The prefixes around the place that was reached, each with its last address.
    around: Vec<(K, GroupId)>,
}

impl<K: Key> Sweep<K> {
    /// One over `first..=last`, where `place` holds if no prefix there says otherwise.
    fn new(before: GroupId, first: K, last: K, place: GroupId) -> Self {
        let mut sweep =
            Self { before, starts: Vec::new(), stretches: Vec::new(), around: Vec::from([(last, place)]) };
        sweep.begin(first, place);
        sweep
    }

    /// Goes on to the prefix `start..=last`.
    fn open(&mut self, start: K, last: K, place: GroupId) {
        self.close_before(start);
        self.begin(start, place);
        self.around.push((last, place));
    }

    /// Goes on to `next`: prefixes that end before it are over, and those around them go on.
    fn close_before(&mut self, next: K) {
        while let [.., (_, outer), (last, _)] = *self.around
            && last < next
        {
            self.around.pop();
            if let Some(start) = last.next() {
                self.begin(start, outer);
            }
        }
    }

    /// From `start` on `place` holds, whatever was said of just there before.
    fn begin(&mut self, start: K, place: GroupId) {
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.stretches.pop();
        }
        if *self.stretches.last().unwrap_or(&self.before) != place {
            self.starts.push(start);
            self.stretches.push(place);
        }
    }

    /// Ends it at `last`, behind which `behind` holds.
    fn end(mut self, last: K, behind: GroupId) -> (Vec<K>, Vec<GroupId>) {
        self.close_before(last);
        if let Some(next) = last.next() {
            self.begin(next, behind);
        }
        (self.starts, self.stretches)
    }
}

#[cfg(test)]
impl<K: Key + core::fmt::Debug> Table<K> {
    /// Panics unless it is as if all routes had come at once, and no more is kept than they need.
    pub(super) fn check(&self) {
        let mut anew = Self { starts: Vec::new(), stretches: Vec::new(), ..self.clone() };
        if let Some(((address, _), _)) = self.prefixes.first_key_value() {
            anew.settle(*address, 0);
        }
        assert_eq!((&self.starts, &self.stretches), (&anew.starts, &anew.stretches));
        self.groups.check(self.prefixes.len());
        assert!(self.starts.len() <= 2 * self.prefixes.len());
    }
}
