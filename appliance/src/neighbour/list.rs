//! Lists of entries: each entry is in one, oldest first.

use super::table::{Index, NONE};

/// Which list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    /// Of no use yet.
    Free,
    /// Known, and nothing is to be done; may give way to others.
    Idle,
    /// The same, but does not give way.
    Resting,
    /// To be asked for at once.
    Due,
    /// Asked for.
    Asked,
    /// To be asked for if nothing is heard soon.
    Delayed,
}

/// How many there are.
const LISTS: usize = 6;

/// An entry's place in its list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    before: Index,
    after: Index,
    list: Option<List>,
}

impl Node {
    /// In no list yet.
    pub(super) const LOOSE: Self = Self { before: NONE, after: NONE, list: None };

    /// The list that it is in.
    pub(super) fn list(self) -> List {
        self.list.unwrap_or(List::Free)
    }
}

/// First and last of each list.
#[derive(Debug)]
pub(super) struct Lists([(Index, Index); LISTS]);

impl Default for Lists {
    fn default() -> Self {
        Self([(NONE, NONE); LISTS])
    }
}

impl Lists {
    /// The first one.
    #[inline(always)]
    pub(super) fn head(&self, list: List) -> Index {
        self.0.get(list as usize).map_or(NONE, |(first, _)| *first)
    }

    /// Puts an entry at the end of `list`, out of the one in which it is.
    pub(super) fn push<E: AsMut<Node>>(&mut self, entries: &mut [E], list: List, index: Index) {
        let Some(node) = node(entries, index).map(|node| *node) else { return };
        if let Some(old) = node.list {
            self.unlink(entries, node, old);
        }
        let Some((first, last)) = self.0.get_mut(list as usize) else { return };
        let before = core::mem::replace(last, index);
        if before == NONE {
            *first = index;
        }
        if let Some(before) = self::node(entries, before) {
            before.after = index;
        }
        if let Some(node) = self::node(entries, index) {
            *node = Node { before, after: NONE, list: Some(list) };
        }
    }

    fn unlink<E: AsMut<Node>>(&mut self, entries: &mut [E], Node { before, after, .. }: Node, list: List) {
        let Some((first, last)) = self.0.get_mut(list as usize) else { return };
        match node(entries, before) {
            Some(before) => before.after = after,
            None => *first = after,
        }
        match node(entries, after) {
            Some(after) => after.before = before,
            None => *last = before,
        }
    }
}

fn node<E: AsMut<Node>>(entries: &mut [E], index: Index) -> Option<&mut Node> {
    entries.get_mut(index as usize).map(AsMut::as_mut)
}

#[cfg(test)]
impl Lists {
    /// All in `list`, which has to be whole in both directions.
    pub(super) fn walk<E: AsMut<Node> + Clone>(&self, entries: &[E], list: List) -> std::vec::Vec<Index> {
        let mut entries = entries.to_vec();
        let (first, last) = self.0[list as usize];
        let (mut found, mut next, mut previous) = (std::vec::Vec::new(), first, NONE);
        while let Some(node) = node(&mut entries, next) {
            assert_eq!(node.before, previous);
            found.push(next);
            assert!(found.len() <= u16::MAX.into(), "it ends");
            (previous, next) = (next, node.after);
        }
        assert_eq!(last, previous);
        found
    }
}
