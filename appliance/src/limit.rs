//! How often: a token bucket for each interface or service, and one for each network that asks.
//!
//! A bucket is one number: when it will be full again. A token taken moves that on by the time in
//! which one comes back; there is none when it would lie further ahead than a whole bucket takes.
//! So a bucket that is full is one whose time is over, and its place may go to another network.

use alloc::boxed::Box;
use alloc::vec;
use core::net::IpAddr;

use paravane_hal::time::Instant;
use siphasher::sip::SipHasher13;

use crate::interface::InterfaceId;

/// How many tokens come back, and how many a bucket holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many in a second; none at all of zero.
    pub per_second: u32,
    /// How many at once after a rest; none at all of zero.
    pub burst: u32,
}

impl Rate {
    /// As many as come.
    pub const UNLIMITED: Self = Self { per_second: 1_000_000_000, burst: u32::MAX };
}

/// How often one speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// By one interface, to all together.
    pub interface: Rate,
    /// To one network: the addresses of which the first 24 bits are the same, or 64 of IPv6.
    pub network: Rate,
    /// How many networks are told apart at a time; rounded up to a power of two, 4 at least. Those
    /// beyond are held to the limit of the interface alone.
    pub networks: u32,
}

impl Limits {
    /// For errors: 100 a second to a network, 50 of them at once; ten times that by an interface,
    /// so that one network does not take all of it. 4096 networks.
    pub const ERRORS: Self = Self {
        interface: Rate { per_second: 1000, burst: 500 },
        network: Rate { per_second: 100, burst: 50 },
        networks: 4096,
    };

    /// For answers to echo requests: as many as somebody asks for who measures.
    pub const ECHO: Self = Self {
        interface: Rate { per_second: 10_000, burst: 1000 },
        network: Rate { per_second: 1000, burst: 200 },
        networks: 4096,
    };
}

/// Which bucket was empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Empty {
    /// The interface's or the service's, or there is none such.
    Interface,
    /// The network's.
    Network,
}

/// All buckets. Nothing is allocated once it is made.
#[derive(Debug)]
pub(crate) struct Limiter {
    interface: Pace,
    interfaces: Box<[Bucket]>,
    networks: Networks,
}

/// The buckets of networks: those that do not fit are not told apart.
#[derive(Debug)]
pub(crate) struct Networks {
    pace: Pace,
    /// Each network has its place in one of these rows.
    rows: Box<[[Entry; ROW]]>,
    hasher: SipHasher13,
}

/// How many networks share a row.
const ROW: usize = 4;

/// The bucket of a network.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    network: u64,
    bucket: Bucket,
}

/// When it is full again, in nanoseconds; what is over is full.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bucket {
    full_at: u64,
}

/// A rate in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// In which a token comes back.
    token: u64,
    /// In which a whole bucket does.
    whole: u64,
}

impl From<Rate> for Pace {
    fn from(rate: Rate) -> Self {
        const SECOND: u64 = 1_000_000_000;
        let token = SECOND.checked_div(rate.per_second.into());
        // No bucket, however long it takes, holds a token that never comes back.
        token.map_or(Self { token: 1, whole: 0 }, |token| Self {
            token,
            whole: token.saturating_mul(rate.burst.into()),
        })
    }
}

impl Bucket {
    pub(crate) const fn is_full(self, now: u64) -> bool {
        self.full_at <= now
    }

    /// The bucket without a token; `None` when there is none.
    pub(crate) fn taken(self, pace: Pace, now: u64) -> Option<Self> {
        let full_at = self.full_at.max(now).saturating_add(pace.token);
        (full_at.saturating_sub(now) <= pace.whole).then_some(Self { full_at })
    }
}

impl Limiter {
    /// Full buckets for that many interfaces. `key` is to be one that nobody guesses, or somebody
    /// makes networks meet in one row.
    pub(crate) fn new(limits: Limits, key: [u64; 2], interfaces: usize) -> Self {
        Self {
            interface: limits.interface.into(),
            interfaces: vec![Bucket::default(); interfaces].into(),
            networks: Networks::new(limits.network, limits.networks, key),
        }
    }

    /// Takes a token of the interface's bucket and one of the network's that `address` is in, or
    /// none of either.
    pub(crate) fn take(
        &mut self,
        interface: InterfaceId,
        address: IpAddr,
        now: Instant,
    ) -> Result<(), Empty> {
        let bucket = self.interfaces.get_mut(interface.index()).ok_or(Empty::Interface)?;
        self.networks.take_with((bucket, self.interface), network_of(address), now)
    }
}

impl Networks {
    /// Full buckets for about as many networks as said, four at least.
    pub(crate) fn new(rate: Rate, networks: u32, [k0, k1]: [u64; 2]) -> Self {
        let hasher = SipHasher13::new_with_keys(k0, k1);
        let rows = networks.div_ceil(4).clamp(1, MAX_ROWS).next_power_of_two();
        let rows = usize::try_from(rows).unwrap_or(1);
        Self { pace: rate.into(), rows: vec![[Entry::default(); ROW]; rows].into(), hasher }
    }

    /// Takes a token of a bucket that fills at its pace, and one of the network's, or none of
    /// either.
    pub(crate) fn take_with(
        &mut self,
        (bucket, pace): (&mut Bucket, Pace),
        network: u64,
        now: Instant,
    ) -> Result<(), Empty> {
        let now = now.as_nanos();
        let hash = usize::try_from(self.hasher.hash(&network.to_ne_bytes()) & u64::from(MAX_ROWS - 1));
        // A power of two of rows, so that their number less one is a mask.
        let row = hash.unwrap_or(0) & self.rows.len().wrapping_sub(1);
        let entry = self.rows.get_mut(row).and_then(|row| place_of(row, network, now));
        let rest = match &entry {
            Some(entry) => Some(entry.bucket.taken(self.pace, now).ok_or(Empty::Network)?),
            None => None,
        };
        *bucket = bucket.taken(pace, now).ok_or(Empty::Interface)?;
        if let (Some(entry), Some(bucket)) = (entry, rest) {
            *entry = Entry { network, bucket };
        }
        Ok(())
    }
}

/// More rows than any memory is for.
const MAX_ROWS: u32 = 1 << 24;

/// The place of `network` in its row: its own, or one whose bucket is full, for that says nothing.
fn place_of(row: &mut [Entry; ROW], network: u64, now: u64) -> Option<&mut Entry> {
    let own = row.iter().position(|entry| entry.network == network && !entry.bucket.is_full(now));
    let place = own.or_else(|| row.iter().position(|entry| entry.bucket.is_full(now)))?;
    row.get_mut(place)
}

/// The network of an address, as a number: no two of either version have the same.
fn network_of(address: IpAddr) -> u64 {
    match address {
        // As an IPv6 network it would be one of group addresses, and these ask for nothing.
        IpAddr::V4(address) => u64::from(address.to_bits() >> 8) | u64::MAX << 24,
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    }
}

#[cfg(test)]
#[path = "limit_tests.rs"]
mod tests;
