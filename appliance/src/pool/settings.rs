//! What holds for all servers of a pool, and why there is none, or no other.

use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

/// The longest name of a server.
pub const MAX_NAME_BYTES: usize = 64;
/// The largest weight of a server.
pub const MAX_WEIGHT: u16 = 256;
/// How many places a table has, where nobody says otherwise: 16 KiB, and good for 80 servers.
pub const PLACES: u32 = 8191;

/// Which server a new connection goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// They take turns.
    RoundRobin,
    /// The one with the fewest connections for its weight.
    LeastConnections,
    /// The same one for the same source, on each balancer.
    Maglev {
        /// How many places the table has: a prime, and above 100 for each server, so that shares
        /// differ by less than a hundredth.
        places: u32,
        /// The same on each balancer, and known to nobody else: who knows it can choose sources
        /// that all go to one server.
        key: [u64; 2],
    },
}

impl Algorithm {
    /// By a table of [`PLACES`].
    #[must_use]
    pub const fn maglev(key: [u64; 2]) -> Self {
        Self::Maglev { places: PLACES, key }
    }
}

/// What holds for all servers of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which server a new connection goes to.
    pub algorithm: Algorithm,
    /// So many servers, those that are leaving included.
    pub max_servers: u16,
    /// How long it takes until a server that came up has all of its share; it has nothing at first.
    pub slow_start: Duration,
}

impl Settings {
    /// Turns, and no slow start.
    #[must_use]
    pub const fn new(max_servers: u16) -> Self {
        Self { algorithm: Algorithm::RoundRobin, max_servers, slow_start: Duration::ZERO }
    }
}

/// Why a pool is not made, or not changed. Nothing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PoolError {
    /// No table has so many places: it is a prime, above the number of servers, and at most 2²⁰.
    Places {
        /// How many.
        places: u32,
    },
    /// There are as many servers as there may be.
    Full {
        /// How many.
        limit: u16,
    },
    /// No server's name is of so many bytes.
    Name {
        /// How many.
        len_bytes: usize,
    },
    /// Another server has the name.
    NameTaken,
    /// Another server listens there.
    AddressTaken {
        /// Where.
        address: SocketAddr,
    },
    /// There is no such weight.
    Weight {
        /// It.
        weight: u16,
    },
    /// The server is not in the pool, or is leaving it.
    Unknown,
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Places { places } => write!(
                f,
                "a table of {places} places: it takes a prime above the number of servers, such as 8191 or 65537"
            ),
            Self::Full { limit } => write!(f, "the pool has its {limit} servers: remove one first"),
            Self::Name { len_bytes } => {
                write!(f, "a name of {len_bytes} bytes: one of 1 to {MAX_NAME_BYTES} is needed")
            }
            Self::NameTaken => write!(f, "another server of the pool has the name"),
            Self::AddressTaken { address } => write!(f, "another server of the pool listens on {address}"),
            Self::Weight { weight } => write!(f, "a weight of {weight}: {MAX_WEIGHT} is the largest"),
            Self::Unknown => write!(f, "the server is not in the pool, or is leaving it"),
        }
    }
}

impl core::error::Error for PoolError {}
