//! Whose time comes when: a wheel of 64 seconds.
//!
//! A packet stores when it came, and moves nothing. A flow is looked at when the wheel comes to it,
//! and then ends, or waits for another second of the wheel: the one in which its time is over, or
//! the last there is. So each is looked at once a minute at least, whatever its time; then a fuller
//! table, or other timeouts, are taken into account too.

use core::time::Duration;

use paravane_hal::time::Instant;

use super::Table;
use super::entry::{Direction, Flow};
use super::limits::End;
use super::list::{SECONDS, UNPROVEN, of_second};
use crate::packet::wire::{PROTOCOL_ICMP, PROTOCOL_ICMPV6};

/// A table's time, in seconds.
#[inline(always)]
pub(super) const fn seconds(now: Instant) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "a hundred years")]
    let seconds = (now.as_nanos() / 1_000_000_000) as u32;
    seconds
}

impl Table {
    /// Ends flows of which nothing was heard for their time; `ended` hears of each. Looks at
    /// `most` of them, or of seconds that passed, and no more. To be called again at the time that
    /// it returns, which is `now` when there is more to do.
    pub fn poll(
        &mut self,
        now: Instant,
        most: u32,
        ended: &mut impl FnMut(u32, &Flow, End),
    ) -> Option<Instant> {
        let mut left = most;
        self.poll_unproven(now, &mut left, ended);
        self.poll_wheel(now, &mut left, ended);
        if left == 0 {
            return Some(now);
        }
        let next = u64::from(seconds(now)).saturating_add(1);
        (self.len > 0).then(|| Instant::default().saturating_add(Duration::from_secs(next)))
    }

    /// They have the same time, so they are in the order in which it is over.
    fn poll_unproven(&mut self, now: Instant, left: &mut u32, ended: &mut impl FnMut(u32, &Flow, End)) {
        while let (Some(index), true) = (self.lists.head(UNPROVEN), *left > 0) {
            let seen = self.get(index).map_or(0, |flow| flow.seen);
            if is_later(seen.wrapping_add(self.limits.unproven_seconds), seconds(now)) {
                return;
            }
            self.end(index, End::Expired, ended);
            *left = left.saturating_sub(1);
        }
    }

    fn poll_wheel(&mut self, now: Instant, left: &mut u32, ended: &mut impl FnMut(u32, &Flow, End)) {
        let second = seconds(now);
        let turn = second.wrapping_sub(SECONDS);
        if is_later(turn, self.second) {
            // Each second of the wheel is looked at once, however long nobody looked.
            self.second = turn;
        }
        while *left > 0 && is_later(second, self.second) {
            let next = self.second.wrapping_add(1);
            match self.lists.head(of_second(next)) {
                Some(index) if self.is_over(index, second) => {
                    self.end(index, End::Expired, ended);
                }
                Some(index) => self.schedule(index),
                None => self.second = next,
            }
            *left = left.saturating_sub(1);
        }
    }

    /// Has a flow that is proven wait for its time, or a turn of the wheel.
    pub(super) fn schedule(&mut self, index: u32) {
        let Some(flow) = self.get(index) else { return };
        let ahead = self.last_second(flow).wrapping_sub(self.second);
        let ahead = if is_later(ahead, 0) { ahead.min(SECONDS - 1) } else { 1 };
        let list = of_second(self.second.wrapping_add(ahead));
        self.lists.push(&mut self.flows, list, index);
    }

    /// Whether the time of a flow that is proven is over at that second.
    fn is_over(&self, index: u32, second: u32) -> bool {
        self.get(index).is_some_and(|flow| !is_later(self.last_second(flow), second))
    }

    /// When it is.
    fn last_second(&self, flow: &Flow) -> u32 {
        let is_echo = matches!(flow.key(Direction::Original).protocol(), PROTOCOL_ICMP | PROTOCOL_ICMPV6);
        let served = self.services.get(usize::from(flow.tag.service));
        let timeout = served.map_or(0, |served| served.service.timeouts.of(flow.state, is_echo));
        flow.seen.wrapping_add(shortened(timeout, self.len, self.limits.flows))
    }
}

/// `timeout` in a table that has `len` flows and may have `most`: all of it up to 60 % of them, and
/// then less, as if none were left at 120 %.
fn shortened(timeout: u32, len: u32, most: u32) -> u32 {
    let (len, most) = (u64::from(len), u64::from(most).max(1));
    let left = (12 * most).saturating_sub(10 * len).min(6 * most);
    let timeout = u64::from(timeout.min(MAX_TIMEOUT)).saturating_mul(left) / (6 * most);
    u32::try_from(timeout).unwrap_or(MAX_TIMEOUT)
}

/// A year and more.
const MAX_TIMEOUT: u32 = 1 << 25;

/// Whether `a` is later than `b`.
#[inline(always)]
const fn is_later(a: u32, b: u32) -> bool {
    b.wrapping_sub(a).cast_signed() < 0
}
