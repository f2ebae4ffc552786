//! Where connections come from: how many each source has, and how fast it makes them.
//!
//! A source is one address of IPv4, or the 64 bits of IPv6 that one customer has at least. Those
//! that have no connection and a full bucket say nothing, and their places are for others; where
//! all places of a row are taken, one more source is not limited, and is counted.

use alloc::boxed::Box;
use alloc::vec;
use core::net::IpAddr;

use paravane_hal::time::Instant;
use siphasher::sip::SipHasher13;

use super::Refused;
use crate::limit::{Bucket, Pace, Rate};

/// What one source may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceLimits {
    /// So many connections at a time.
    pub max_connections: u32,
    /// So many new ones in a time.
    pub rate: Option<Rate>,
    /// So many sources are told apart, each by 24 bytes: rounded up to a power of two, 4 at least,
    /// and 2²⁴ at most. Those beyond are held to the limits of the service alone.
    pub sources: u32,
}

/// How many share a row.
const ROW: usize = 4;
/// More sources than any memory is for.
const MAX_SOURCES: u32 = 1 << 24;

/// What is known of a source.
#[derive(Clone, Copy, Debug, Default)]
struct Source {
    network: u64,
    bucket: Bucket,
    connections: u32,
}

/// A source's place; or that it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SourceId(u32);

impl SourceId {
    /// Of one that is not counted.
    pub(super) const NONE: Self = Self(u32::MAX);
}

/// That one more may come from a source. Nothing is counted yet.
#[derive(Debug)]
pub(super) struct Admitted {
    id: SourceId,
    /// The source with one more.
    then: Source,
}

/// All sources. Nothing is allocated once it is made.
#[derive(Debug)]
pub(super) struct Sources {
    sources: Box<[Source]>,
    hasher: SipHasher13,
    max_connections: u32,
    pace: Option<Pace>,
    /// So many were let in that have no place.
    pub(super) uncounted: u64,
}

impl Sources {
    /// Nobody, yet. `key` is to be one that nobody guesses, or somebody makes sources meet in one
    /// row.
    pub(super) fn new(limits: SourceLimits, key: [u64; 2]) -> Self {
        let [k0, k1] = key;
        let sources = limits.sources.clamp(4, MAX_SOURCES).next_power_of_two();
        Self {
            sources: vec![Source::default(); usize::try_from(sources).unwrap_or(ROW)].into(),
            hasher: SipHasher13::new_with_keys(k0, k1),
            max_connections: limits.max_connections,
            pace: limits.rate.map(Pace::from),
            uncounted: 0,
        }
    }

    /// Whether one more connection may come from `address`; by its rate as well if it is a new one,
    /// and not one that was there before.
    pub(super) fn admit(&self, address: IpAddr, is_new: bool, now: Instant) -> Result<Admitted, Refused> {
        let now = now.as_nanos();
        let network = network_of(address);
        let Some((id, source)) = self.place_of(network, now) else {
            return Ok(Admitted { id: SourceId::NONE, then: Source::default() });
        };
        if source.connections >= self.max_connections {
            return Err(Refused::SourceConnections);
        }
        let bucket = match self.pace {
            Some(pace) if is_new => source.bucket.taken(pace, now).ok_or(Refused::SourceRate)?,
            _ => source.bucket,
        };
        let connections = source.connections.saturating_add(1);
        Ok(Admitted { id, then: Source { network, bucket, connections } })
    }

    /// Counts it. Between the two nothing else may be.
    pub(super) fn take(&mut self, admitted: &Admitted) -> SourceId {
        match self.get_mut(admitted.id) {
            Some(source) => *source = admitted.then,
            None => self.uncounted = self.uncounted.wrapping_add(1),
        }
        admitted.id
    }

    /// A connection from there ended.
    pub(super) fn release(&mut self, id: SourceId) {
        if let Some(source) = self.get_mut(id) {
            source.connections = source.connections.saturating_sub(1);
        }
    }

    fn get_mut(&mut self, id: SourceId) -> Option<&mut Source> {
        self.sources.get_mut(usize::try_from(id.0).ok()?)
    }

    /// The place of a network in its row, and what is known: its own, or one that says nothing.
    fn place_of(&self, network: u64, now: u64) -> Option<(SourceId, Source)> {
        let hash = self.hasher.hash(&network.to_le_bytes());
        let rows = u64::try_from(self.sources.len() / ROW).unwrap_or(1);
        // A power of two of rows, so that their number less one is a mask.
        let first = usize::try_from(hash & rows.wrapping_sub(1)).unwrap_or(0).saturating_mul(ROW);
        let row = self.sources.get(first..first.saturating_add(ROW))?;
        let is_idle = |source: &Source| source.connections == 0 && source.bucket.is_full(now);
        let own = row.iter().position(|source| source.network == network && !is_idle(source));
        let place = own.or_else(|| row.iter().position(is_idle))?;
        let known = own.and_then(|own| row.get(own)).copied().unwrap_or_default();
        Some((SourceId(u32::try_from(first.saturating_add(place)).ok()?), known))
    }

    #[cfg(test)]
    pub(super) fn connections(&self) -> u64 {
        self.sources.iter().map(|source| u64::from(source.connections)).sum()
    }
}

/// The source of an address, as a number: no two of either version have the same.
fn network_of(address: IpAddr) -> u64 {
    match address {
        // As an IPv6 network it would be one of group addresses, and these connect to nobody.
        IpAddr::V4(address) => u64::from(address.to_bits()) | u64::MAX << 32,
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
