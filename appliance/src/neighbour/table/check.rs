//! That a table is whole, for tests.

use std::collections::HashSet;

use super::*;

impl Table {
    /// Panics where it is not. Returns what it allocated.
    pub(in super::super) fn check(&self) -> [usize; 2] {
        let mut listed = HashSet::new();
        for list in [List::Free, List::Idle, List::Resting, List::Due, List::Asked, List::Delayed] {
            let ends = self.lists.walk(&self.entries, list);
            let times: Vec<_> = ends.iter().map(|index| self.entries[*index as usize].at).collect();
            if matches!(list, List::Due | List::Asked | List::Delayed) {
                assert!(times.is_sorted(), "{list:?} is in the order of its ends");
            }
            for index in ends {
                assert!(listed.insert(index), "each is in one list");
                let entry = &self.entries[index as usize];
                assert_eq!(entry.node.list(), list);
                self.check_state(list, index);
            }
        }
        assert_eq!(listed.len(), self.entries.len(), "and none is in no list");
        let used: Vec<_> = self.iter().collect();
        let pinned = used.iter().filter(|entry| entry.pins > 0).count();
        assert_eq!((self.pinned, self.learned), (pinned, used.len() - pinned));
        assert!(self.pinned <= self.max_pinned && self.learned <= self.max_learned);
        assert_eq!(self.questions, used.iter().filter(|entry| entry.is_question()).count());
        let found: HashSet<_> = used.iter().map(|entry| self.find(entry.key).unwrap()).collect();
        assert_eq!(found.len(), used.len(), "each is found, by a key of its own");
        [self.entries.capacity(), self.buckets.capacity()]
    }

    fn check_state(&self, list: List, index: Index) {
        let entry = &self.entries[index as usize];
        let is_right = match list {
            List::Free => entry.key == Entry::FREE.key && entry.state == State::Unresolved,
            List::Idle => matches!(entry.state, State::Reachable | State::Stale) && entry.pins == 0,
            List::Resting => !matches!(entry.state, State::Incomplete | State::Delay | State::Probe),
            List::Due | List::Asked => matches!(entry.state, State::Incomplete | State::Probe),
            List::Delayed => entry.state == State::Delay,
        };
        assert!(is_right, "{entry:?} in {list:?}");
        assert!(entry.pins > 0 || list != List::Resting, "{entry:?} can never give way");
    }
}
