//! What happens in an hour.

use std::ops::Range;

use crate::options::Options;
use crate::play::mix;

/// How long it goes on, in milliseconds.
pub(crate) const HOUR: u32 = 3_600_000;
/// The longest that a balancer needs to know what happened.
pub(crate) const MAX_DELAY: u32 = 10_000;

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Balancers fail, and forget.
    Fail(Range<u16>),
    /// They are back.
    Return(Range<u16>),
    /// A server is gone, and its connections with it. Each balancer finds out by itself.
    Crash(u16),
    /// It answers again.
    Recover(u16),
    /// Nothing new goes to a server.
    Drain(u16),
    /// A server is gone for good, with what it still had.
    Remove(u16),
    /// There are more servers.
    Add(Range<u16>),
    /// Servers get another weight.
    Weigh(Range<u16>, u16),
}

impl Step {
    /// Whether routers see it, and not balancers.
    pub(crate) const fn is_ecmp(&self) -> bool {
        matches!(self, Self::Fail(_) | Self::Return(_))
    }

    /// Whether a server's connections end by it.
    pub(crate) const fn is_end(&self) -> bool {
        matches!(self, Self::Crash(_) | Self::Remove(_))
    }

    /// Whether a server is there or gone by it.
    pub(crate) const fn server(&self) -> Option<u16> {
        match self {
            Self::Crash(server) | Self::Recover(server) | Self::Remove(server) => Some(*server),
            _ => None,
        }
    }
}

/// Something that happens.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// When, in milliseconds.
    pub(crate) at: u32,
    pub(crate) step: Step,
}

impl Event {
    /// How much later a balancer knows of it: by its own checks, or by the operator's hand.
    pub(crate) fn delay(&self, balancer: u16) -> u32 {
        let (least, more): (u32, u64) = match self.step {
            Step::Fail(_) | Step::Return(_) => return 0,
            Step::Crash(_) => (4000, 2000),
            Step::Recover(_) => (2000, 2000),
            Step::Drain(_) | Step::Remove(_) | Step::Add(_) | Step::Weigh(..) => (0, MAX_DELAY.into()),
        };
        least + (mix(u64::from(balancer) << 32 | u64::from(self.at)) % more) as u32
    }

    pub(crate) fn text(&self) -> String {
        let counted = |range: &Range<u16>, one: &str| match range.len() {
            1 => format!("{one} {}", range.start),
            many => format!("{many} {one}s"),
        };
        let verb = |range: &Range<u16>, one: &'static str, many: &'static str| {
            if range.len() == 1 { one } else { many }
        };
        match &self.step {
            Step::Fail(range) => format!("{} {}", counted(range, "balancer"), verb(range, "fails", "fail")),
            Step::Return(range) => {
                format!("{} {} back", counted(range, "balancer"), verb(range, "is", "are"))
            }
            Step::Crash(server) => format!("server {server} crashes"),
            Step::Recover(server) => format!("server {server} is up again"),
            Step::Drain(server) => format!("server {server} is drained"),
            Step::Remove(server) => format!("server {server} is removed"),
            Step::Add(range) => format!("{} {} added", counted(range, "server"), verb(range, "is", "are")),
            Step::Weigh(range, weight) => format!("{} weigh {weight}", counted(range, "server")),
        }
    }
}

/// What happens in the hour: each thing while what happened before is still felt.
pub(crate) fn hour(options: &Options) -> Vec<Event> {
    let (balancers, servers) = (options.balancers, options.servers);
    let eighth = 2..2 + (balancers / 8).max(1);
    let hundredth = servers..servers + (servers / 100).max(1);
    let steps = [
        Step::Fail(0..1),
        Step::Return(0..1),
        Step::Crash(1),
        Step::Fail(1..2),
        Step::Recover(1),
        Step::Return(1..2),
        Step::Drain(2),
        Step::Fail(eighth.clone()),
        Step::Remove(2),
        Step::Return(eighth),
        Step::Add(hundredth),
        Step::Fail(0..1),
        Step::Weigh(3..3 + servers / 10, 2),
        Step::Return(0..1),
    ];
    let apart = HOUR / (steps.len() as u32 + 1);
    (1..).map(|number| number * apart).zip(steps).map(|(at, step)| Event { at, step }).collect()
}
