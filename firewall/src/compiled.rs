//! What compiled rules are made of, and how they are called.

use crate::packet::Packet;
use crate::rules::{Action, Decision};

pub use crate::ranges::contains;
pub use alloc::borrow::Cow;

/// Rules that were compiled into the program, by `paravane-firewall-build`.
#[derive(Clone, Copy, Debug)]
pub struct Compiled {
    /// What [`Rules::decide`](crate::Rules::decide) says of a packet.
    pub decide: fn(&Packet) -> Decision,
    /// What each rule does, by its number; the last one is the default's.
    pub actions: &'static [Action],
    /// The counters' names.
    pub counters: &'static [&'static str],
    /// The zones' names: their places are the numbers that packets have.
    pub zones: &'static [&'static str],
}

/// What stands beside the last of `steps` whose number is not above `number`.
///
/// `steps` are in order, and the first one's number is the smallest there is.
#[must_use]
pub fn step<T: Copy + Ord>(steps: &[(T, u16)], number: T) -> u16 {
    let after = steps.partition_point(|&(first, _)| first <= number);
    let before = after.checked_sub(1).and_then(|place| steps.get(place));
    before.map_or(0, |&(_, leaf)| leaf)
}
