//! ICMP, as a router speaks it: errors to those whose packets go no further, and the echo.
//!
//! ```text
//!  Frame that is dropped -- Errors::answer --> a new Frame, back to its sender | Silence
//!  Frame with a request  -- Echo::answer   --> the same Frame, now the reply   | Silence
//! ```
//!
//! Who answers to packets of strangers is a tool of theirs: to flood others, to be kept busy, to
//! learn of the network. So an error is never about an error, never to more than one host, and both
//! come within [`Limits`], to each network and by each interface. No redirects are sent, and nobody
//! is told the time or a mask.
//!
//! | Part | Holds |
//! |---|---|
//! | this file | what is said, why nothing is said, and who says it |
//! | `rules` | who may be spoken to |
//! | `message` | errors as they are on the wire |
//! | `echo` | [`Echo`] |
//! | `reader` | the bytes of a frame, over all its segments |

mod echo;
mod message;
pub(crate) mod reader;
mod rules;

use core::net::IpAddr;

use paravane_hal::time::Instant;
use paravane_net::{Frame, FramePool};

use crate::interface::{Interface, InterfaceId};
use crate::limit::{Empty, Limiter};
use crate::packet::Packet;

pub use crate::limit::{Limits, Rate};
pub use echo::Echo;

/// What is said to the sender of a packet that goes no further.
///
/// Spec: RFC 792, RFC 1191, RFC 1812 5.2.7 "Protocol-Specific Issues"; RFC 4443, 3 "ICMPv6 Error
/// Messages".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// It was passed on as often as it may be.
    TimeExceeded,
    /// There is no route.
    NetUnreachable,
    /// The host, or the next hop to it, does not answer.
    HostUnreachable,
    /// A rule forbids it.
    Prohibited,
    /// Nobody listens there.
    PortUnreachable,
    /// It is longer than the next link takes, and may not be cut.
    TooBig {
        /// The longest IP packet that the next link takes.
        mtu_bytes: u16,
    },
    /// A header says what nobody here knows.
    Parameter {
        /// Which kind of thing.
        problem: Problem,
        /// Where it is, from the start of the IP header.
        at_bytes: u16,
    },
}

/// What nobody here knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A field's value.
    Field,
    /// The protocol that follows: over IPv4 it is said that it cannot be reached.
    NextHeader,
    /// An option, which asks that its sender be told; groups may be asked that too.
    Option,
}

/// A frame that goes no further, as it came in.
#[derive(Clone, Copy, Debug)]
pub struct Received<'f> {
    /// Where it came in.
    pub interface: InterfaceId,
    /// Its headers, as they were then.
    pub packet: &'f Packet,
    /// The frame.
    pub frame: &'f Frame,
}

/// Why nothing is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// It is no IP packet.
    NotIp,
    /// What is behind the IP header cannot be read.
    Malformed,
    /// It is an ICMP error itself, or of a kind that may be one.
    Icmp,
    /// It is part of a packet: for an error a later part, for an echo any.
    Fragment,
    /// It came to more than one station, or from none.
    Link,
    /// It is for more than one host, or for none.
    Destination,
    /// It is not from one host: from nobody, from many, or from us.
    Source,
    /// The address to speak from is of another version.
    Version,
    /// The network that it is from has heard enough for now.
    NetworkLimit,
    /// The interface has said enough for now, or is none.
    InterfaceLimit,
    /// The pool has no frame, or none that is long enough.
    NoBuffer,
    /// It is no echo request.
    NotEcho,
    /// It is for another host.
    NotOurs,
    /// It has options, or extension headers.
    Options,
    /// Its checksum is wrong, or cannot be completed.
    Checksum,
}

impl Silence {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::NotIp,
        Self::Malformed,
        Self::Icmp,
        Self::Fragment,
        Self::Link,
        Self::Destination,
        Self::Source,
        Self::Version,
        Self::NetworkLimit,
        Self::InterfaceLimit,
        Self::NoBuffer,
        Self::NotEcho,
        Self::NotOurs,
        Self::Options,
        Self::Checksum,
    ];
}

impl From<Empty> for Silence {
    fn from(empty: Empty) -> Self {
        match empty {
            Empty::Interface => Self::InterfaceLimit,
            Empty::Network => Self::NetworkLimit,
        }
    }
}

/// How often something was said, and how often and why not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    answered: u64,
    silent: [u64; Silence::ALL.len()],
}

impl Counters {
    /// How often something was said.
    #[must_use]
    pub const fn answered(&self) -> u64 {
        self.answered
    }

    /// How often nothing was said for that reason.
    #[must_use]
    pub fn silent(&self, why: Silence) -> u64 {
        self.silent.get(why as usize).copied().unwrap_or(0)
    }

    /// One more.
    fn count<T>(&mut self, answer: &Result<T, Silence>) {
        match answer {
            Ok(_) => self.answered = self.answered.wrapping_add(1),
            Err(why) => {
                if let Some(count) = self.silent.get_mut(*why as usize) {
                    *count = count.wrapping_add(1);
                }
            }
        }
    }
}

/// Who tells senders that their packets go no further. Nothing is allocated once it is made.
#[derive(Debug)]
pub struct Errors {
    limiter: Limiter,
    counters: Counters,
}

impl Errors {
    /// For that many interfaces. `key` is to be a number that nobody guesses: it keeps strangers
    /// from choosing addresses that are all counted in one place.
    #[must_use]
    pub fn new(limits: Limits, key: [u64; 2], interfaces: usize) -> Self {
        Self { limiter: Limiter::new(limits, key, interfaces), counters: Counters::default() }
    }

    /// The frame that tells the sender of `received` of `error`: from the interface that it came in
    /// on, back to the station that sent it there, all its checksums complete. It is to leave by
    /// that interface.
    ///
    /// `from` is the address to speak from, one of that interface's. `interfaces` are all that
    /// there are: their networks tell one host from many.
    ///
    /// The packet is quoted as far as fits, 576 bytes in all over IPv4 and 1280 over IPv6. Its
    /// header is quoted as it was read, and what follows as it is in the frame: before its ports
    /// and its payload are changed is the time to ask. A checksum that was left
    /// [partial](paravane_net::RxChecksum::Partial) is quoted as it lies there, which is the sum of
    /// the pseudo-header alone; its sender knows a packet by ports and numbers, never by that.
    ///
    /// # Errors
    ///
    /// [`Silence`]: nothing is to be said, and is counted.
    ///
    /// Spec: RFC 1812, 4.3.2 "Message Formats of ICMP"; RFC 4443, 2.4 "Message Processing Rules".
    pub fn answer(
        &mut self,
        interfaces: &[Interface],
        received: Received<'_>,
        error: Error,
        from: IpAddr,
        pool: &FramePool,
        now: Instant,
    ) -> Result<Frame, Silence> {
        let answer = self.frame(interfaces, received, error, from, pool, now);
        self.counters.count(&answer);
        answer
    }

    fn frame(
        &mut self,
        interfaces: &[Interface],
        received: Received<'_>,
        error: Error,
        from: IpAddr,
        pool: &FramePool,
        now: Instant,
    ) -> Result<Frame, Silence> {
        let source = rules::may_be_told(interfaces, received, error)?;
        if source.is_ipv4() != from.is_ipv4() {
            return Err(Silence::Version);
        }
        let own = interfaces.get(received.interface.index()).ok_or(Silence::InterfaceLimit)?;
        self.limiter.take(received.interface, source, now)?;
        message::frame(received, error, own.mac, from, pool)
    }

    /// What was said so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }
}

#[cfg(test)]
#[path = "icmp/testing.rs"]
mod testing;
#[cfg(test)]
#[path = "icmp_tests.rs"]
mod tests;
