//! How often, and how many: a token bucket for each interface or service, and for each network
//! that asks one too, and what it holds at a time.
//!
//! A bucket is one number: when it will be full again. A token taken moves that on by the time in
//! which one comes back; there is none when it would lie further ahead than a whole bucket takes.
//! So a bucket that is full is one whose time is over; a network with such a one that holds nothing
//! may give its place to another.

use alloc::boxed::Box;
use alloc::vec;
use core::net::IpAddr;
use core::time::Duration;

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
    /// The interface's, or there is none such.
    Interface,
    /// The network's.
    Network,
}

/// What a network is short of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Short {
    /// Its bucket is empty.
    Tokens,
    /// It holds as much as it may.
    Room,
}

/// All buckets. Nothing is allocated once it is made.
#[derive(Debug)]
pub(crate) struct Limiter {
    interface: Pace,
    interfaces: Box<[Bucket]>,
    networks: Networks,
}

/// What networks have: those that do not fit are not told apart.
#[derive(Debug)]
pub(crate) struct Networks {
    pace: Pace,
    /// So much one of them holds at a time.
    most: u32,
    /// Each network has its place in one of these rows.
    rows: Box<[[Entry; ROW]]>,
    hasher: SipHasher13,
}

/// How many networks share a row.
const ROW: usize = 4;

/// What a network has.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    network: u64,
    bucket: Bucket,
    held: u32,
}

/// What is asked for in a network's name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    /// A token.
    pub(crate) token: bool,
    /// Something to hold, until it is given back.
    pub(crate) hold: bool,
}

/// That a network may have what was asked for. Nothing is taken yet.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// Its row and its place there, if there is one.
    at: Option<(usize, usize)>,
    /// What it then has.
    then: Entry,
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
        Self::new(rate.per_second, SECOND, rate.burst)
    }
}

impl Pace {
    /// So many tokens in so many seconds, and a bucket of so many.
    pub(crate) fn new(tokens: u32, seconds: Duration, burst: u32) -> Self {
        let nanos = u64::try_from(seconds.as_nanos()).unwrap_or(u64::MAX);
        // No bucket, however long it takes, holds a token that never comes back.
        nanos.checked_div(tokens.into()).map_or(Self { token: 1, whole: 0 }, |token| Self {
            token,
            whole: token.saturating_mul(burst.into()),
        })
    }
}

const SECOND: Duration = Duration::from_secs(1);

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
            networks: Networks::new(limits.network.into(), u32::MAX, limits.networks, key),
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
        let ask = Ask { token: true, hold: false };
        let admitted = self.networks.admit(network_of(address), ask, now).map_err(|_| Empty::Network)?;
        *bucket = bucket.taken(self.interface, now.as_nanos()).ok_or(Empty::Interface)?;
        self.networks.take(&admitted);
        Ok(())
    }
}

impl Networks {
    /// Full buckets for about as many networks as said, four at least; each holds `most`.
    pub(crate) fn new(pace: Pace, most: u32, networks: u32, [k0, k1]: [u64; 2]) -> Self {
        let hasher = SipHasher13::new_with_keys(k0, k1);
        let rows = networks.div_ceil(4).clamp(1, MAX_ROWS).next_power_of_two();
        let rows = usize::try_from(rows).unwrap_or(1);
        Self { pace, most, rows: vec![[Entry::default(); ROW]; rows].into(), hasher }
    }

    /// Whether `network` may have what it asks for.
    pub(crate) fn admit(&self, network: u64, ask: Ask, now: Instant) -> Result<Admitted, Short> {
        let (row, now) = (self.row_of(network), now.as_nanos());
        let found = self.rows.get(row).and_then(|row| place_of(row, network, now));
        let Some((place, Entry { bucket, held, .. })) = found else {
            return Ok(Admitted { at: None, then: Entry::default() });
        };
        if ask.hold && held >= self.most {
            return Err(Short::Room);
        }
        let bucket = if ask.token { bucket.taken(self.pace, now).ok_or(Short::Tokens)? } else { bucket };
        let held = held.saturating_add(ask.hold.into());
        Ok(Admitted { at: Some((row, place)), then: Entry { network, bucket, held } })
    }

    /// Takes it; false of a network without a place. Between the two nothing else may be.
    pub(crate) fn take(&mut self, admitted: &Admitted) -> bool {
        let entry = admitted.at.and_then(|(row, place)| self.rows.get_mut(row)?.get_mut(place));
        entry.map(|entry| *entry = admitted.then).is_some()
    }

    /// Gives back what a network holds, which had a place when it took that, and has it since.
    pub(crate) fn give_back(&mut self, network: u64) {
        let row = self.row_of(network);
        let own = |entry: &&mut Entry| entry.network == network && entry.held > 0;
        if let Some(entry) = self.rows.get_mut(row).and_then(|row| row.iter_mut().find(own)) {
            entry.held = entry.held.saturating_sub(1);
        }
    }

    fn row_of(&self, network: u64) -> usize {
        let hash = usize::try_from(self.hasher.hash(&network.to_ne_bytes()) & u64::from(MAX_ROWS - 1));
        // A power of two of rows, so that their number less one is a mask.
        hash.unwrap_or(0) & self.rows.len().wrapping_sub(1)
    }

    #[cfg(test)]
    pub(crate) fn held(&self) -> u64 {
        self.rows.iter().flatten().map(|entry| u64::from(entry.held)).sum()
    }
}

/// More rows than any memory is for.
const MAX_ROWS: u32 = 1 << 24;

/// The place of `network` in its row, and what it has: its own, or one that says nothing.
fn place_of(row: &[Entry; ROW], network: u64, now: u64) -> Option<(usize, Entry)> {
    let says_nothing = |entry: &Entry| entry.held == 0 && entry.bucket.is_full(now);
    let own = row.iter().position(|entry| entry.network == network && !says_nothing(entry));
    let place = own.or_else(|| row.iter().position(says_nothing))?;
    row.get(place).map(|entry| (place, *entry))
}

/// The host of an address, as a number; of IPv6 its network of 64 bits, in which a host has all
/// addresses that it likes.
pub(crate) fn host_of(address: IpAddr) -> u64 {
    match address {
        // As an IPv6 network it would be one of group addresses.
        IpAddr::V4(address) => u64::from(address.to_bits()) | 0xffff_ffff << 32,
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    }
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
