//! Why a frame was dropped: a closed list, each counted by the interface that it came in on.

use alloc::vec;
use alloc::vec::Vec;

use crate::interface::InterfaceId;
use crate::packet::Malformed;

/// The reasons, with the names by which they are shown.
macro_rules! reasons {
    ($($(#[$doc:meta])* $reason:ident = $name:literal,)*) => {
        /// Why a frame was not passed on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* $reason,)*
        }

        impl Reason {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$reason),*];

            /// As metrics and status pages have it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$reason => $name,)*
                }
            }
        }
    };
}

reasons! {
    /// It ends before its headers do.
    TooShort = "too_short",
    /// It carries neither IP nor ARP.
    EtherType = "ethertype",
    /// The IP version is not that of its EtherType.
    Version = "version",
    /// A header says a length that is not there.
    Length = "length",
    /// The IPv4 header's checksum is wrong.
    HeaderChecksum = "header_checksum",
    /// It wants to be routed its own way.
    SourceRoute = "source_route",
    /// No host may send from there.
    Source = "source",
    /// It is for another station of the link.
    OtherStation = "other_station",
    /// It is for a group of which nobody is here.
    Group = "group",
    /// It is for an address of another interface.
    OtherInterface = "other_interface",
    /// It is from an address of ours.
    Spoofed = "spoofed",
    /// It is for or from an address that is good on its link only.
    LinkLocal = "link_local",
    /// The way back to its source is by another interface.
    ReversePath = "reverse_path",
    /// It was passed on too often.
    TimeExceeded = "time_exceeded",
    /// There is no way there.
    NoRoute = "no_route",
    /// A route says that nothing goes there.
    Prohibited = "prohibited",
    /// It is longer than the next link takes, and may not be cut.
    TooBig = "too_big",
    /// It cannot be cut as it asks for.
    Segmentation = "segmentation",
    /// Nobody has the next hop's address.
    Unresolved = "unresolved",
    /// Too many wait for a next hop's address.
    NeighbourQueue = "neighbour_queue",
    /// No buffer to make frames of.
    NoBuffer = "no_buffer",
    /// More was to be sent than the NIC took.
    EgressFull = "egress_full",
    /// It is for this machine, where nobody waits for it.
    NoListener = "no_listener",
    /// More came for this machine than was fetched.
    LocalFull = "local_full",
    /// An ARP packet or a neighbour's message that is none, or that nobody asked for.
    Neighbour = "neighbour",
    /// An echo that is not answered: too many, damaged, or in parts.
    Echo = "echo",
    /// It is for whom it is from.
    Land = "land",
    /// A rule drops what it begins with.
    RuleDrop = "rule_drop",
    /// A rule rejects that.
    RuleReject = "rule_reject",
    /// A rule lets no more begin, for now.
    RuleLimit = "rule_limit",
    /// An advertisement of VRRP that is none.
    Vrrp = "vrrp",
    /// It is from a server, to a client of a service that another machine has.
    Elsewhere = "elsewhere",
    /// It is in the midst of a connection that nobody knows.
    NoFlow = "no_flow",
    /// Its answers are already another flow's.
    FlowTaken = "flow_taken",
    /// There are as many flows as there may be.
    FlowsFull = "flows_full",
    /// Its service has as many flows as it may.
    ServiceFull = "service_full",
    /// Too many flows of its service begin.
    ServiceRate = "service_rate",
    /// Its source has as many flows as it may.
    SourceFull = "source_full",
    /// Too many flows of its source begin.
    SourceRate = "source_rate",
    /// No server of its service takes connections.
    NoServer = "no_server",
    /// Each server of its service that does is at its limits.
    ServersBusy = "servers_busy",
    /// This machine is about to end, and nothing begins on it.
    Stopping = "stopping",
    /// No port is free that stands for its client's.
    PortsExhausted = "ports_exhausted",
    /// TCP flags that nobody sends together.
    TcpFlags = "tcp_flags",
    /// A TCP segment that makes no sense in its connection's state.
    TcpState = "tcp_state",
    /// It is outside its connection's window.
    TcpSequence = "tcp_sequence",
    /// It acknowledges what was not sent, or long before.
    TcpAcknowledgement = "tcp_acknowledgement",
    /// It cuts its connection off, at a place where that cannot be.
    TcpReset = "tcp_reset",
    /// A TCP segment that is to be read here, and was damaged on its way.
    TcpChecksum = "tcp_checksum",
    /// It is for a server that has not answered yet: it will come again.
    TcpWaiting = "tcp_waiting",
    /// It answers no SYN that was answered here of late.
    Cookie = "cookie",
    /// As many connections are spliced as may be.
    SplicesFull = "splices_full",
    /// No packet has such a part.
    FragmentPlace = "fragment_place",
    /// A part of a TCP segment, which no honest sender makes.
    FragmentTcp = "fragment_tcp",
    /// A part where another one is.
    FragmentOverlap = "fragment_overlap",
    /// Too many parts wait for the first one of their packet.
    FragmentsFull = "fragments_full",
}

impl From<Malformed> for Reason {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::TooShort => Self::TooShort,
            Malformed::EtherType => Self::EtherType,
            Malformed::Version => Self::Version,
            Malformed::Length => Self::Length,
            Malformed::HeaderChecksum => Self::HeaderChecksum,
            Malformed::SourceRoute => Self::SourceRoute,
            Malformed::Source => Self::Source,
        }
    }
}

/// How many there are.
const REASONS: usize = Reason::ALL.len();

/// How many frames were dropped, by interface and reason.
#[derive(Clone, Debug)]
pub struct Drops(Vec<[u64; REASONS]>);

impl Drops {
    /// None, of so many interfaces.
    #[must_use]
    pub fn new(interfaces: usize) -> Self {
        Self(vec![[0; REASONS]; interfaces])
    }

    /// One more, that came in there.
    #[inline]
    pub(crate) fn count(&mut self, interface: InterfaceId, reason: Reason) {
        self.count_many(interface, reason, 1);
    }

    /// So many more.
    #[cold]
    pub(crate) fn count_many(&mut self, interface: InterfaceId, reason: Reason, frames: u64) {
        let counts = self.0.get_mut(interface.index());
        if let Some(count) = counts.and_then(|counts| counts.get_mut(reason as usize)) {
            *count = count.wrapping_add(frames);
        }
    }

    /// How many came in there and were dropped for that.
    #[must_use]
    pub fn of(&self, interface: InterfaceId, reason: Reason) -> u64 {
        let counts = self.0.get(interface.index());
        counts.and_then(|counts| counts.get(reason as usize)).copied().unwrap_or(0)
    }

    /// All that came in there and were dropped.
    #[must_use]
    pub fn total(&self, interface: InterfaceId) -> u64 {
        self.0.get(interface.index()).map_or(0, |counts| counts.iter().sum())
    }
}
