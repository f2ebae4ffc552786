//! A server: what the operator says of it, and what is known.

use alloc::string::String;
use core::net::SocketAddr;

use paravane_hal::time::Instant;

use super::{MAX_NAME_BYTES, MAX_WEIGHT, PoolError};
use crate::limit::{Bucket, Pace, Rate};

/// A server of a pool, by its place there.
///
/// It stays the same while the server is in the pool, whatever else changes. The place goes to
/// another server some time after the last connection is released; that one has another generation,
/// so that nothing is taken for its own that is about the one before. (65,536 servers have to come
/// and go at one place before a generation comes back.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServerId {
    pub(super) place: u16,
    pub(super) generation: u16,
}

impl ServerId {
    /// Its place: below the number of servers that the pool has at most. A connection knows its
    /// server by that.
    #[must_use]
    pub const fn place(self) -> u16 {
        self.place
    }
}

/// A server, as its operator describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// By which it is known to people, to metrics, and to the other balancers: of 1 to 64 bytes,
    /// and no other server's.
    pub name: String,
    /// Where it listens; no other server does there.
    pub address: SocketAddr,
    /// Its share, against that of the others: 256 at most. With a weight of 0 nothing new goes
    /// there.
    pub weight: u16,
    /// So many connections at a time.
    pub max_connections: u32,
    /// So many new ones in a time.
    pub rate: Option<Rate>,
}

impl Server {
    /// One with a weight of 1, and without limits.
    pub fn new(name: impl Into<String>, address: SocketAddr) -> Self {
        Self { name: name.into(), address, weight: 1, max_connections: u32::MAX, rate: None }
    }

    /// Whether it can be in a pool.
    pub(super) fn check(&self) -> Result<(), PoolError> {
        if self.name.is_empty() || self.name.len() > MAX_NAME_BYTES {
            return Err(PoolError::Name { len_bytes: self.name.len() });
        }
        check_weight(self.weight)
    }
}

/// Whether it is one.
pub(super) const fn check_weight(weight: u16) -> Result<(), PoolError> {
    if weight > MAX_WEIGHT { Err(PoolError::Weight { weight }) } else { Ok(()) }
}

/// Whether a server answers, as far as anybody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    /// It does.
    Up,
    /// It does not.
    Down,
}

/// What is done with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// New connections go there.
    Up,
    /// It does not answer. Connections that it has are left alone.
    Down,
    /// Nothing new goes there; what it has goes on, until then if there is an end.
    Draining {
        /// When what is left is [over](super::Pool::is_over).
        until: Option<Instant>,
    },
    /// Nothing new goes there, and nobody is to ask whether it answers.
    Maintenance,
    /// It is draining, and out of the pool once the last connection is released.
    Leaving {
        /// When what is left is [over](super::Pool::is_over).
        until: Option<Instant>,
    },
}

/// What the operator wants of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Service,
    Drain,
    Maintenance,
    Leave,
}

/// A server with what is known of it.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) server: Server,
    pub(super) wanted: Wanted,
    pub(super) health: Health,
    /// When established connections are over; the end of time if never.
    pub(super) ends_at: Instant,
    /// Since when it takes its share by and by.
    pub(super) ramp_from: Option<Instant>,
    pub(super) connections: u32,
    pub(super) total: u64,
    /// What it is ahead of its share, or behind, where servers take turns.
    pub(super) credit: i64,
    /// Its name, as a number that differs from those of others.
    pub(super) name_hash: u64,
    pace: Option<Pace>,
    bucket: Bucket,
}

/// The end of time.
pub(super) const NEVER: Instant = Instant::from_nanos(u64::MAX);
/// A whole share, where one is taken by and by.
pub(super) const WHOLE: u32 = 1 << 16;

impl Member {
    pub(super) fn new(server: Server, health: Health, name_hash: u64) -> Self {
        Self {
            pace: server.rate.map(Pace::from),
            server,
            wanted: Wanted::Service,
            health,
            ends_at: NEVER,
            ramp_from: None,
            connections: 0,
            total: 0,
            credit: 0,
            name_hash,
            bucket: Bucket::default(),
        }
    }

    /// Whether the operator wants new connections to go there.
    pub(super) const fn is_wanted(&self) -> bool {
        matches!(self.wanted, Wanted::Service) && self.server.weight > 0
    }

    /// Whether new connections go there, as far as there is no limit.
    #[inline]
    pub(super) const fn is_serving(&self) -> bool {
        self.is_wanted() && matches!(self.health, Health::Up)
    }

    /// Whether one more goes there.
    #[inline]
    pub(super) fn has_room(&self, now: Instant) -> bool {
        self.is_serving()
            && self.connections < self.server.max_connections
            && self.pace.is_none_or(|pace| self.bucket.taken(pace, now.as_nanos()).is_some())
    }

    /// One more goes there.
    pub(super) fn take(&mut self, now: Instant) {
        if let Some(bucket) = self.pace.and_then(|pace| self.bucket.taken(pace, now.as_nanos())) {
            self.bucket = bucket;
        }
        self.hold();
    }

    /// It has one more.
    pub(super) const fn hold(&mut self) {
        self.connections = self.connections.saturating_add(1);
        self.total = self.total.wrapping_add(1);
    }

    /// Which part of its share it takes now, of [`WHOLE`]: all of it, so many nanoseconds after it
    /// began.
    ///
    /// It is never nothing, or nobody would go to a server that is the only one.
    #[inline]
    pub(super) fn ramp(&self, slow_start: u64, now: Instant) -> u32 {
        let Some(from) = self.ramp_from else { return WHOLE };
        let part = now.as_nanos().saturating_sub(from.as_nanos());
        if part >= slow_start {
            return WHOLE;
        }
        let ramp = part.saturating_mul(WHOLE.into()).checked_div(slow_start);
        ramp.and_then(|ramp| u32::try_from(ramp).ok()).unwrap_or(WHOLE).max(1)
    }

    /// Its weight by now, in parts of [`WHOLE`]: 2²⁴ at most.
    #[inline]
    pub(super) fn weight(&self, slow_start: u64, now: Instant) -> u32 {
        u32::from(self.server.weight).wrapping_mul(self.ramp(slow_start, now))
    }

    /// It begins anew to take its share, by and by.
    pub(super) const fn begin(&mut self, now: Instant) {
        self.ramp_from = Some(now);
        self.credit = 0;
    }

    pub(super) fn state(&self) -> State {
        let until = (self.ends_at < NEVER).then_some(self.ends_at);
        match (self.wanted, self.health) {
            (Wanted::Service, Health::Up) => State::Up,
            (Wanted::Service, Health::Down) => State::Down,
            (Wanted::Drain, _) => State::Draining { until },
            (Wanted::Maintenance, _) => State::Maintenance,
            (Wanted::Leave, _) => State::Leaving { until },
        }
    }
}
