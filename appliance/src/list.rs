//! Lists through a table, by the places of its entries: each entry is in one at most, first in,
//! first out, and leaves it from wherever it is.

/// No place.
pub(crate) const NONE: u32 = u32::MAX;
/// Of an entry: it is in no list.
pub(crate) const LOOSE: u8 = u8::MAX;

/// An entry's neighbours, and which list they are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) before: u32,
    pub(crate) after: u32,
    pub(crate) list: u8,
}

impl Node {
    /// In no list.
    const LOOSE: Self = Self { before: NONE, after: NONE, list: LOOSE };
}

/// An entry that has room for that.
pub(crate) trait Linked {
    fn node(&self) -> Node;
    fn set_node(&mut self, node: Node);
}

/// First and last of each of so many lists.
#[derive(Debug)]
pub(crate) struct Lists<const COUNT: usize>([(u32, u32); COUNT]);

impl<const COUNT: usize> Lists<COUNT> {
    /// Empty ones.
    pub(crate) const fn new() -> Self {
        Self([(NONE, NONE); COUNT])
    }

    /// The first one.
    #[inline(always)]
    pub(crate) fn head(&self, list: u8) -> Option<u32> {
        self.0.get(usize::from(list)).map(|(first, _)| *first).filter(|first| *first != NONE)
    }

    /// The first one of each.
    pub(crate) fn heads(&self) -> impl Iterator<Item = u32> {
        self.0.iter().map(|(first, _)| *first)
    }

    /// Puts an entry at the end of `list`, out of the one in which it is.
    pub(crate) fn push<E: Linked>(&mut self, entries: &mut [E], list: u8, index: u32) {
        self.unlink(entries, index);
        let Some((first, last)) = self.0.get_mut(usize::from(list)) else { return };
        let before = core::mem::replace(last, index);
        match at(entries, before) {
            Some(entry) => entry.set_node(Node { after: index, ..entry.node() }),
            None => *first = index,
        }
        if let Some(entry) = at(entries, index) {
            entry.set_node(Node { before, after: NONE, list });
        }
    }

    /// Takes an entry out of the list in which it is.
    pub(crate) fn unlink<E: Linked>(&mut self, entries: &mut [E], index: u32) {
        let Some(entry) = at(entries, index) else { return };
        let Node { before, after, list } = entry.node();
        entry.set_node(Node::LOOSE);
        let Some((first, last)) = self.0.get_mut(usize::from(list)) else { return };
        match at(entries, before) {
            Some(entry) => entry.set_node(Node { after, ..entry.node() }),
            None => *first = after,
        }
        match at(entries, after) {
            Some(entry) => entry.set_node(Node { before, ..entry.node() }),
            None => *last = before,
        }
    }
}

#[inline(always)]
fn at<E>(entries: &mut [E], index: u32) -> Option<&mut E> {
    entries.get_mut(index as usize)
}

#[cfg(test)]
impl<const COUNT: usize> Lists<COUNT> {
    /// All in `list`, which has to be whole in both directions.
    pub(crate) fn walk<E: Linked>(&self, entries: &[E], list: u8) -> std::vec::Vec<u32> {
        let (first, last) = self.0[usize::from(list)];
        let (mut found, mut next, mut previous) = (std::vec::Vec::new(), first, NONE);
        while let Some(entry) = entries.get(next as usize) {
            let node = entry.node();
            assert_eq!((node.before, node.list), (previous, list));
            found.push(next);
            (previous, next) = (next, node.after);
            assert!(found.len() <= entries.len(), "a list that goes round");
        }
        assert_eq!(last, previous);
        found
    }
}
