//! What prefixes lead to: each set of equal routes once, however many prefixes have it.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::Kind;

/// Where a group is, or [`NONE`].
pub(super) type GroupId = u32;
/// No route. There are never so many that one is there.
pub(super) const NONE: GroupId = GroupId::MAX;

/// The routes of a prefix.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// The one that is used.
    pub(super) first: Kind,
    /// Those that are as good.
    others: Vec<Kind>,
    /// How many prefixes have just these.
    prefixes: u32,
}

impl Group {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Kind> {
        core::iter::once(&self.first).chain(&self.others)
    }
}

/// All groups.
#[derive(Clone, Debug)]
pub(super) struct Groups {
    groups: Vec<Group>,
    known: BTreeMap<Vec<Kind>, GroupId>,
    /// Places in `groups` that no prefix uses.
    free: Vec<GroupId>,
}

impl Groups {
    /// None yet.
    pub(super) const fn new() -> Self {
        Self { groups: Vec::new(), known: BTreeMap::new(), free: Vec::new() }
    }

    /// The group of that place; none of [`NONE`].
    #[inline(always)]
    pub(super) fn get(&self, place: GroupId) -> Option<&Group> {
        self.groups.get(place as usize)
    }

    /// The group of `kinds`, of which one more prefix has it. `None` without any.
    pub(super) fn enter(&mut self, kinds: Vec<Kind>) -> Option<GroupId> {
        if let Some(place) = self.known.get(&kinds) {
            let group = self.groups.get_mut(*place as usize)?;
            group.prefixes = group.prefixes.saturating_add(1);
            return Some(*place);
        }
        let (first, others) = kinds.split_first()?;
        let group = Group { first: *first, others: others.to_vec(), prefixes: 1 };
        let place = match self.free.pop() {
            Some(place) => place,
            None => GroupId::try_from(self.groups.len()).ok()?,
        };
        match self.groups.get_mut(place as usize) {
            Some(freed) => *freed = group,
            None => self.groups.push(group),
        }
        self.known.insert(kinds, place);
        Some(place)
    }

    /// One prefix less has the group of that place. Without any it is gone.
    pub(super) fn leave(&mut self, place: GroupId) {
        let Some(group) = self.groups.get_mut(place as usize) else { return };
        group.prefixes = group.prefixes.saturating_sub(1);
        if group.prefixes == 0 {
            let kinds: Vec<Kind> = group.iter().copied().collect();
            self.known.remove(&kinds);
            self.free.push(place);
        }
    }

    /// How many places there are.
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }
}

#[cfg(test)]
impl Groups {
    /// Panics unless just those are known that `prefixes` of them have.
    pub(super) fn check(&self, prefixes: usize) {
        assert_eq!(self.known.len() + self.free.len(), self.groups.len());
        let uses = self.known.values().map(|place| self.groups[*place as usize].prefixes as usize);
        assert_eq!(uses.sum::<usize>(), prefixes);
    }
}
