//! How many flows rules let through: of all sources together, or of each.

use alloc::boxed::Box;
use core::net::IpAddr;
use core::time::Duration;

use paravane_firewall::rules::{Limit, Per};
use paravane_hal::time::Instant;

use crate::limit::{Ask, Bucket, Networks, Pace, host_of};
use crate::random::Random;

/// How many sources are told apart at a time: by all rules that limit each source, and by one of
/// them.
const SOURCES: u32 = 1 << 16;
const SOURCES_EACH: u32 = 4096;

/// What a rule lets through.
#[derive(Debug)]
enum Limited {
    /// Whatever comes.
    Not,
    All(Pace, Bucket),
    Each(Networks),
}

/// That of all rules, by their numbers.
#[derive(Debug)]
pub(super) struct Limits {
    rules: Box<[Limited]>,
    uncounted: u64,
}

impl Limits {
    pub(super) fn new(limits: impl Iterator<Item = Option<Limit>> + Clone, random: &mut Random) -> Self {
        let each = limits.clone().flatten().filter(|limit| limit.per_source).count();
        let each = SOURCES.checked_div(u32::try_from(each).unwrap_or(SOURCES)).unwrap_or(0).min(SOURCES_EACH);
        let limited = limits.map(|limit| match limit {
            None => Limited::Not,
            Some(limit) if limit.per_source => {
                Limited::Each(Networks::new(pace(&limit), u32::MAX, each, random.hash_key()))
            }
            Some(limit) => Limited::All(pace(&limit), Bucket::default()),
        });
        Self { rules: limited.collect(), uncounted: 0 }
    }

    /// Takes a flow of `source` from what a rule lets through; false where that is none.
    pub(super) fn take(&mut self, rule: usize, source: IpAddr, now: Instant) -> bool {
        match self.rules.get_mut(rule) {
            None | Some(Limited::Not) => true,
            Some(Limited::All(pace, bucket)) => {
                let taken = bucket.taken(*pace, now.as_nanos());
                *bucket = taken.unwrap_or(*bucket);
                taken.is_some()
            }
            Some(Limited::Each(sources)) => {
                let ask = Ask { token: true, hold: false };
                let Ok(admitted) = sources.admit(host_of(source), ask, now) else { return false };
                self.uncounted = self.uncounted.wrapping_add((!sources.take(&admitted)).into());
                true
            }
        }
    }

    pub(super) const fn uncounted(&self) -> u64 {
        self.uncounted
    }
}

fn pace(limit: &Limit) -> Pace {
    let seconds = match limit.per {
        Per::Second => 1,
        Per::Minute => 60,
        Per::Hour => 3600,
    };
    Pace::new(limit.flows, Duration::from_secs(seconds), limit.burst)
}
