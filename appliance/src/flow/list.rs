//! Lists of flows: each flow that is in use is in one, oldest first.

use super::entry::Flow;
pub(super) use crate::list::LOOSE;
use crate::list::{self, Linked, Node};

/// How many seconds the wheel has.
pub(super) const SECONDS: u32 = 64;
/// The list of those of which one side alone has shown that it is there, behind the wheel's.
pub(super) const UNPROVEN: u8 = 64;
const _: () = assert!(UNPROVEN as u32 == SECONDS);

/// A list for each second of the wheel, and [`UNPROVEN`].
pub(super) type Lists = list::Lists<{ SECONDS as usize + 1 }>;

/// The list of a second of the wheel.
#[inline(always)]
pub(super) const fn of_second(second: u32) -> u8 {
    (second % SECONDS) as u8
}

impl Linked for Flow {
    #[inline(always)]
    fn node(&self) -> Node {
        Node { before: self.before, after: self.after, list: self.list }
    }

    #[inline(always)]
    fn set_node(&mut self, Node { before, after, list }: Node) {
        (self.before, self.after, self.list) = (before, after, list);
    }
}
