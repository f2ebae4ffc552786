//! The entries: found by a keyed hash, each in one list.
//!
//! All timeouts of a kind are equally long. So the list of those that wait for one is in the order
//! in which they end, and its head is all there is to look at.

#[cfg(test)]
mod check;

use alloc::vec::Vec;
use core::hash::Hasher;
use core::net::IpAddr;

use paravane_hal::time::Instant;
use paravane_net::MacAddr;
use siphasher::sip::SipHasher13;

use super::list::{List, Lists, Node};
use crate::interface::InterfaceId;

/// An entry, by its place.
pub(super) type Index = u32;
/// No entry.
pub(super) const NONE: Index = Index::MAX;
/// So many entries share a bucket, where those come in that strangers ask for. Twice as many
/// buckets as entries, so that one in ten million has more.
const MAX_CHAIN: usize = 8;
/// How many entries are looked at to find one that was not used lately.
const MAX_SPARED: usize = 8;

/// Whose entry it is: interface, version and address in a form that is compared at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    high: u64,
    low: u64,
    interface_version: u16,
}

impl Key {
    #[inline(always)]
    pub(super) fn new(interface: InterfaceId, address: IpAddr) -> Self {
        let interface = u16::from(interface.0) << 8;
        match address {
            IpAddr::V4(v4) => Self { high: 0, low: v4.to_bits().into(), interface_version: interface | 4 },
            IpAddr::V6(v6) => {
                let bits = v6.to_bits();
                #[expect(clippy::cast_possible_truncation, reason = "halves of 128 bits")]
                let (high, low) = ((bits >> 64) as u64, bits as u64);
                Self { high, low, interface_version: interface | 6 }
            }
        }
    }

    /// The interface.
    pub(super) const fn interface(self) -> InterfaceId {
        let [interface, _] = self.interface_version.to_be_bytes();
        InterfaceId(interface)
    }

    /// The address.
    pub(super) fn address(self) -> IpAddr {
        let bits = u128::from(self.high) << 64 | u128::from(self.low);
        match self.interface_version & 0xff {
            4 => IpAddr::V4(u32::try_from(self.low).unwrap_or_default().into()),
            _ => IpAddr::V6(bits.into()),
        }
    }

    /// Lengths differ by version, and count.
    #[inline(always)]
    fn hash(self, [k0, k1]: [u64; 2]) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(k0, k1);
        if self.interface_version & 0xff == 4 {
            hasher.write_u64(self.low | u64::from(self.interface_version) << 32);
        } else {
            hasher.write_u64(self.high);
            hasher.write_u64(self.low);
            hasher.write_u64(self.interface_version.into());
        }
        hasher.finish()
    }
}

/// What is known of a neighbour's reachability.
///
/// Spec: RFC 4861, 7.3.2 "Neighbor Cache Entry States"; held for ARP as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody answered when last asked, or nobody was asked yet. Of pinned ones alone.
    Unresolved,
    /// It is being asked for its MAC address.
    Incomplete,
    /// It answered in the last 30 seconds.
    Reachable,
    /// Its MAC address was right once.
    Stale,
    /// That was used again; it is asked soon.
    Delay,
    /// It is being asked whether it still has that MAC address.
    Probe,
}

impl State {
    /// Whether its MAC address is known.
    #[inline(always)]
    pub(super) const fn has_mac(self) -> bool {
        matches!(self, Self::Reachable | Self::Stale | Self::Delay | Self::Probe)
    }
}

/// What is known of a neighbour.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) key: Key,
    /// Where it is, in a state that has one.
    pub(super) mac: MacAddr,
    pub(super) state: State,
    /// It was looked up since somebody last looked at this.
    pub(super) used: bool,
    /// How often it was asked in this state.
    pub(super) asked: u8,
    /// How many want it to stay.
    pub(super) pins: u32,
    /// Since when it is in this state, or when it was asked last.
    pub(super) at: Instant,
    /// When it last said its MAC address.
    pub(super) heard_at: Instant,
    /// The next one in its bucket.
    next_in_bucket: Index,
    node: Node,
}

impl AsMut<Node> for Entry {
    fn as_mut(&mut self) -> &mut Node {
        &mut self.node
    }
}

impl Entry {
    const FREE: Self = Self {
        key: Key { high: 0, low: 0, interface_version: 0 },
        mac: MacAddr([0; 6]),
        state: State::Unresolved,
        used: false,
        asked: 0,
        pins: 0,
        at: Instant::from_nanos(0),
        heard_at: Instant::from_nanos(0),
        next_in_bucket: NONE,
        node: Node::LOOSE,
    };

    /// Whether the limit of those that are asked for counts it.
    const fn is_question(&self) -> bool {
        matches!(self.state, State::Incomplete) && self.pins == 0
    }
}

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
