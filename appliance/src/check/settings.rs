//! How servers are checked.

use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use super::http::Http;
use crate::pool::Server;

/// How servers are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What they are asked; nothing at all if there is none.
    pub probe: Option<Probe>,
    /// At which port, if it is another than that of the service.
    pub port: Option<u16>,
    /// How long from one question to the next.
    pub interval: Duration,
    /// By how much of that it may be sooner or later, in percent: 100 at most.
    pub jitter_percent: u8,
    /// How long an answer may take, from the first SYN on.
    pub timeout: Duration,
    /// So many failures in a row, and a server is down.
    pub fall: u8,
    /// So many good answers in a row, and it is up again.
    pub rise: u8,
    /// Whether the path's reports count.
    pub passive: Option<Passive>,
}

/// What a server is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Whether it takes a connection.
    Tcp,
    /// A page.
    Http(Http),
}

/// When a server is down by what the path reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passive {
    /// So many failures, and no good connection between.
    pub failures: u32,
    /// Within so long from the first of them.
    pub window: Duration,
    /// So long it is down, where nobody asks it. Where it is asked, it is up after as many good
    /// answers [as else](Settings::rise).
    pub hold: Duration,
}

impl Settings {
    /// What `probe` asks, every 2 seconds; down after 3 failures and up after 2 good answers, of
    /// which each comes within a second.
    #[must_use]
    pub const fn new(probe: Probe) -> Self {
        Self {
            probe: Some(probe),
            port: None,
            interval: Duration::from_secs(2),
            jitter_percent: 10,
            timeout: Duration::from_secs(1),
            fall: 3,
            rise: 2,
            passive: None,
        }
    }

    /// Where a server is asked.
    #[must_use]
    pub fn address_of(&self, server: &Server) -> SocketAddr {
        SocketAddr::new(server.address.ip(), self.port.unwrap_or(server.address.port()))
    }

    /// Whether servers are asked for a page.
    #[must_use]
    pub const fn is_http(&self) -> bool {
        matches!(self.probe, Some(Probe::Http(_)))
    }

    pub(super) const fn check(&self) -> Result<(), CheckError> {
        if self.interval.is_zero() {
            return Err(CheckError::Zero { setting: "interval" });
        }
        if self.timeout.is_zero() {
            return Err(CheckError::Zero { setting: "timeout" });
        }
        if self.fall == 0 {
            return Err(CheckError::Zero { setting: "fall" });
        }
        if self.rise == 0 {
            return Err(CheckError::Zero { setting: "rise" });
        }
        if self.jitter_percent > 100 {
            return Err(CheckError::Jitter { percent: self.jitter_percent });
        }
        match self.passive {
            Some(Passive { failures: 0, .. }) => Err(CheckError::Zero { setting: "failures" }),
            _ => Ok(()),
        }
    }
}

/// Why servers cannot be checked so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckError {
    /// It has to be more than nothing.
    Zero {
        /// Which setting.
        setting: &'static str,
    },
    /// Nobody is asked sooner than at once.
    Jitter {
        /// What was said.
        percent: u8,
    },
    /// A path has to begin with `/`, and to have nothing but visible ASCII; 512 bytes at most.
    Path,
    /// A host has to have nothing but visible ASCII; 1 to 255 bytes.
    Host,
    /// No answer has a status from the first to the last.
    Range {
        /// The first.
        first: u16,
        /// The last.
        last: u16,
    },
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero { setting } => write!(f, "{setting} is zero: it has to be more"),
            Self::Jitter { percent } => write!(f, "a jitter of {percent} %: 100 is the most"),
            Self::Path => {
                f.write_str("not a path: it begins with `/`, and has 1 to 512 bytes of visible ASCII")
            }
            Self::Host => f.write_str("not a host: it has 1 to 255 bytes of visible ASCII"),
            Self::Range { first, last } => {
                write!(f, "no answer has a status from {first} to {last}: they are 200 to 599")
            }
        }
    }
}

impl core::error::Error for CheckError {}
