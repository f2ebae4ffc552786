//! How much of anything there is, how long a flow is kept, and what is counted.

use super::entry::State;
use super::tcp::Invalid;
use crate::limit::{Bucket, Pace, Rate};

/// How many flows are kept, and whose. Set once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// All of them; 2²⁴ at most.
    pub flows: u32,
    /// Those of them of which one side alone has shown that it is there: a flood of beginnings
    /// takes as much, and no more.
    pub unproven: u32,
    /// How long such a one is kept: a TCP connection from its first SYN on, others from their last
    /// packet.
    pub unproven_seconds: u32,
    /// How many services there are.
    pub services: u16,
    /// How many new flows a source may begin: an address, or a network of 64 bits of IPv6.
    pub source: Rate,
    /// How many a source may have at a time.
    pub source_flows: u32,
    /// How many sources are told apart at a time; others are held to their service's limits. A
    /// source takes a place, of 24 bytes, while it is short of its rate, or has a flow where there
    /// is a limit to these.
    pub sources: u32,
}

impl Limits {
    /// For so many flows, half of which may be unproven; one service.
    #[must_use]
    pub const fn new(flows: u32) -> Self {
        Self {
            flows,
            unproven: flows / 2,
            unproven_seconds: 30,
            services: 1,
            source: Rate::UNLIMITED,
            source_flows: u32::MAX,
            sources: 4096,
        }
    }

    /// Whether sources are held to any limit.
    pub(super) fn has_sources(&self) -> bool {
        self.source_flows < u32::MAX || self.source != Rate::UNLIMITED
    }
}

/// How long a flow is kept after its last packet, in seconds. Above 60 % of all flows that there
/// may be, these times get shorter, to a third when there are as many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// TCP: while neither side has said its last.
    pub established: u32,
    /// TCP: when one has.
    pub half_closed: u32,
    /// TCP: when both have; once both know, after that.
    pub closed: u32,
    /// TCP: after a reset.
    pub reset: u32,
    /// UDP, and protocols that are not known here.
    pub stream: u32,
    /// ICMP echoes.
    pub echo: u32,
}

impl Timeouts {
    /// For services in general.
    ///
    /// Spec: RFC 5382, REQ-5 (established); RFC 4787, REQ-5 (UDP); RFC 5508, REQ-1 (ICMP).
    pub const GENERAL: Self =
        Self { established: 7440, half_closed: 900, closed: 60, reset: 10, stream: 120, echo: 60 };
    /// For QUIC, which is quiet for longer.
    pub const QUIC: Self = Self { stream: 300, ..Self::GENERAL };

    pub(super) const fn of(&self, state: State, is_echo: bool) -> u32 {
        match state {
            State::SynSent | State::SynReceived | State::Established => self.established,
            State::FinWait | State::CloseWait => self.half_closed,
            State::LastAck | State::TimeWait => self.closed,
            State::Close => self.reset,
            State::Unanswered | State::Answered | State::Stream if is_echo => self.echo,
            State::Unanswered | State::Answered | State::Stream => self.stream,
        }
    }
}

/// What a service has: set when it is made, or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Service {
    /// How long its flows are kept.
    pub timeouts: Timeouts,
    /// How many there may be.
    pub flows: u32,
    /// How many may begin.
    pub rate: Rate,
    /// Whether a TCP connection may come in its middle, after another balancer that had it failed;
    /// or only half of it, where the other half goes by another balancer. It is not new, so that
    /// rates do not hold for it, but all other limits.
    pub picks_up: bool,
}

impl Service {
    /// As many flows as there are, from their beginning on.
    pub const GENERAL: Self =
        Self { timeouts: Timeouts::GENERAL, flows: u32::MAX, rate: Rate::UNLIMITED, picks_up: false };
}

/// A service, and what it has now.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) service: Service,
    pub(super) pace: Pace,
    pub(super) bucket: Bucket,
    pub(super) flows: u32,
}

impl Served {
    pub(super) fn new(service: Service) -> Self {
        Self { service, pace: service.rate.into(), bucket: Bucket::default(), flows: 0 }
    }
}

/// Why there is no new flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refused {
    /// A TCP connection that does not begin, and is of nobody.
    NoBeginning,
    /// Its packets, or those that come back, are already another flow's.
    Taken,
    /// There is no such service.
    NoService,
    /// Its service has as many.
    ServiceFull,
    /// Too many of its service begin.
    ServiceRate,
    /// Its source has as many.
    SourceFull,
    /// Too many of its source begin.
    SourceRate,
    /// There are as many as there may be, and none gives way.
    Full,
    /// There is no place for it, by chance: of less than one in a million.
    Crowded,
}

impl Refused {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::NoBeginning,
        Self::Taken,
        Self::NoService,
        Self::ServiceFull,
        Self::ServiceRate,
        Self::SourceFull,
        Self::SourceRate,
        Self::Full,
        Self::Crowded,
    ];
}

/// Why a flow is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// Nothing was heard of it for its time.
    Expired,
    /// It was unproven, and gave way to a new one.
    Evicted,
    /// Another began with the same ends.
    Reopened,
    /// It was taken out.
    Removed,
    /// Another machine has its service now, where it goes on.
    HandedOver,
}

impl End {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Expired, Self::Evicted, Self::Reopened, Self::Removed, Self::HandedOver];
}

/// What was counted since the start. Those that are open are as many as opened and did not end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub(super) opened: u64,
    pub(super) uncounted: u64,
    pub(super) ended: [u64; End::ALL.len()],
    pub(super) refused: [u64; Refused::ALL.len()],
    pub(super) invalid: [u64; Invalid::ALL.len()],
}

impl Counters {
    /// Flows that began.
    #[must_use]
    pub const fn opened(&self) -> u64 {
        self.opened
    }

    /// Those of them whose source had no place, so that its limits did not hold for them.
    #[must_use]
    pub const fn uncounted(&self) -> u64 {
        self.uncounted
    }

    /// Flows that ended so.
    #[must_use]
    pub fn ended(&self, end: End) -> u64 {
        self.ended.get(end as usize).copied().unwrap_or(0)
    }

    /// Flows that did not begin for that reason.
    #[must_use]
    pub fn refused(&self, why: Refused) -> u64 {
        self.refused.get(why as usize).copied().unwrap_or(0)
    }

    /// Packets that were none of their flow for that reason.
    #[must_use]
    pub fn invalid(&self, why: Invalid) -> u64 {
        self.invalid.get(why as usize).copied().unwrap_or(0)
    }
}

/// One more of what is at that place.
pub(super) fn count(counts: &mut [u64], place: usize) {
    if let Some(count) = counts.get_mut(place) {
        *count = count.wrapping_add(1);
    }
}
