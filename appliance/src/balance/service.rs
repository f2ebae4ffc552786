//! What a service is, and why there is none such.

use alloc::string::String;
use core::fmt;
use core::net::{IpAddr, SocketAddr};

use crate::nat::{FragmentLimits, Mode, Sources};
use crate::packet::wire::{PROTOCOL_TCP, PROTOCOL_UDP};
use crate::splice::Offer;
use crate::{check, flow, pool, splice};

/// How much of anything there is at most, for all services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Flows. How many services there are is known by them.
    pub flows: flow::Limits,
    /// What stands for clients' addresses, where they are replaced.
    pub sources: Sources,
    /// Parts of packets.
    pub fragments: FragmentLimits,
    /// Connections that are spliced. Where there is a service that is, its table has 64 bytes for
    /// each flow that there may be.
    pub splices: u32,
    /// How often things are tried for these.
    pub splicing: splice::Settings,
    /// What flows have that are of no service: those that [rules](crate::filter) let begin.
    pub plain: flow::Service,
}

impl Settings {
    /// For so many flows, all of which may be spliced, without addresses that stand for clients'.
    #[must_use]
    pub const fn new(flows: u32) -> Self {
        Self {
            flows: flow::Limits::new(flows),
            sources: Sources::NONE,
            fragments: FragmentLimits::GENERAL,
            splices: u32::MAX,
            splicing: splice::Settings::GENERAL,
            plain: flow::Service::GENERAL,
        }
    }
}

/// What a service's clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// As an IP header has it.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => PROTOCOL_TCP,
            Self::Udp => PROTOCOL_UDP,
        }
    }

    /// As people write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// How a service's connections are spliced: each of its clients' SYNs is answered by a cookie, and
/// its servers hear of the client only when that has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Splice {
    /// What clients are promised, which all servers are to do; and whether these take the PROXY
    /// header, by which they know the client. Segments are not longer than all links take, whatever
    /// is said here.
    pub service: splice::Service,
    /// Servers see the client's address, and send by us what they send to it, as with
    /// [`Dnat`](Mode::Dnat); else they see one of ours.
    pub keeps_source: bool,
}

impl Splice {
    /// For servers that are general-purpose hosts, which see an address of ours, and hear nothing
    /// else of the client.
    pub const GENERAL: Self = Self {
        service: splice::Service { offer: Offer::general(u16::MAX), proxy: false },
        keeps_source: false,
    };
}

/// A service, as its operator describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// By which people and metrics know it.
    pub name: String,
    /// What its clients speak.
    pub protocol: Protocol,
    /// Where it listens: an address of an interface, and a port of it.
    pub listen: SocketAddr,
    /// What servers see of clients.
    pub mode: Mode,
    /// How connections are spliced, of a service whose mode that is. None of these is ever picked
    /// up in its midst.
    pub splice: Splice,
    /// How many flows it has, how fast they begin, and how long they are kept.
    pub flows: flow::Service,
    /// Its servers.
    pub pool: pool::Settings,
    /// How they are asked.
    pub checks: check::Settings,
    /// How many of them are asked at a time.
    pub max_checks: u16,
}

impl Service {
    /// One that is asked whether it takes connections, has 64 servers at most, and keeps clients'
    /// addresses.
    #[must_use]
    pub fn new(name: impl Into<String>, protocol: Protocol, listen: SocketAddr) -> Self {
        Self {
            name: name.into(),
            protocol,
            listen,
            mode: Mode::Dnat,
            splice: Splice::GENERAL,
            flows: flow::Service::GENERAL,
            pool: pool::Settings::new(64),
            checks: check::Settings::new(check::Probe::Tcp),
            max_checks: 8,
        }
    }

    /// Whether its connections are spliced.
    #[must_use]
    pub fn is_spliced(&self) -> bool {
        self.mode == Mode::Splice
    }

    /// What becomes of the ends of its packets.
    pub(super) fn ends(&self) -> Mode {
        if self.is_spliced() && self.splice.keeps_source { Mode::Dnat } else { self.mode }
    }
}

/// Why there is no such balancer, or server. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BalanceError {
    /// There are more services than numbers for them.
    Services,
    /// Two services listen at one place.
    ListenerTaken {
        /// Where.
        listen: SocketAddr,
    },
    /// A service is to be spliced whose clients do not speak TCP.
    Splice {
        /// Where it listens.
        listen: SocketAddr,
    },
    /// Nothing stands for the addresses of a service's clients.
    NoSources {
        /// Where it listens.
        listen: SocketAddr,
    },
    /// A server's address is of another version than that of its service.
    Version {
        /// The server's.
        address: IpAddr,
    },
    /// The pool refuses.
    Pool(pool::PoolError),
    /// No server is found up, or down, so.
    Check(check::CheckError),
}

impl fmt::Display for BalanceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Services => write!(f, "more than {} services", u16::MAX),
            Self::ListenerTaken { listen } => write!(f, "two services listen on {listen}"),
            Self::Splice { listen } => {
                write!(f, "the service on {listen} is to be spliced, and only tcp is: choose dnat or full")
            }
            Self::NoSources { listen } => write!(
                f,
                "the service on {listen} replaces its clients' addresses, and there is none to stand for them"
            ),
            Self::Version { address } => {
                write!(f, "{address} is of another IP version than its service's address")
            }
            Self::Pool(error) => error.fmt(f),
            Self::Check(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for BalanceError {}

impl From<pool::PoolError> for BalanceError {
    fn from(error: pool::PoolError) -> Self {
        Self::Pool(error)
    }
}

impl From<check::CheckError> for BalanceError {
    fn from(error: check::CheckError) -> Self {
        Self::Check(error)
    }
}
