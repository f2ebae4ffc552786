//! What hosts send, and what is to become of it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Result, bail};
use etherparse::PacketBuilder;

use super::other;
use super::seen::{ACK, FIN, SYN};
use crate::cases::router::{PRIVATE, PUBLIC, router_mac};
use crate::guest::{guest_address, guest_address_v6, host_address, host_address_v6, host_mac};

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It comes out on the other side, as it was; and the answer to it comes back.
    Passes,
    /// Nothing comes out anywhere.
    Vanishes,
    /// Whoever sent it hears a reset.
    Reset,
    /// Or that it is prohibited.
    Prohibited,
    /// The router answers itself.
    Answered,
}

impl Outcome {
    /// As people read it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passes => "passes, and its answer does",
            Self::Vanishes => "vanishes",
            Self::Reset => "is reset",
            Self::Prohibited => "is told to be prohibited",
            Self::Answered => "is answered by the router",
        }
    }
}

/// A packet, and what is to become of it.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// What it is.
    pub name: &'static str,
    /// The NIC on whose cable it is sent.
    pub(super) from: usize,
    pub(super) kind: Kind,
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    /// What is to become of it.
    pub outcome: Outcome,
    /// The line of the rule that decides; of none where no rule is asked.
    pub(super) line: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Tcp(u8),
    Udp,
    /// With this identifier.
    Ping(u16),
}

/// One in its words: `from` is the host's own address, or another one behind it.
fn probe(
    name: &'static str,
    from: usize,
    kind: Kind,
    [source, destination]: [(IpAddr, u16); 2],
    outcome: Outcome,
    line: Option<u32>,
) -> Probe {
    let [source, destination] = [source, destination].map(|(ip, port)| SocketAddr::new(ip, port));
    Probe { name, from, kind, source, destination, outcome, line }
}

/// All of them, in the order in which they are sent.
#[must_use]
pub fn probes() -> Vec<Probe> {
    use Kind::{Ping, Tcp, Udp};
    use Outcome::{Answered, Passes, Prohibited, Reset, Vanishes};
    let [public, private] = [PUBLIC, PRIVATE].map(|nic| IpAddr::V4(host_address(nic)));
    let [public6, private6] = [PUBLIC, PRIVATE].map(|nic| IpAddr::V6(host_address_v6(nic)));
    let [own, own6] = [IpAddr::V4(guest_address(PUBLIC)), IpAddr::V6(guest_address_v6(PUBLIC))];
    let far = |last| IpAddr::V4(Ipv4Addr::new(203, 0, 113, last));
    let web = [(public, 40_001), (private, 80)];
    let mut all = vec![
        probe("a customer's connection", PUBLIC, Tcp(SYN), web, Passes, Some(12)),
        probe("the same over IPv6", PUBLIC, Tcp(SYN), [(public6, 40_001), (private6, 443)], Passes, Some(12)),
        probe("QUIC", PUBLIC, Udp, [(far(7), 40_002), (private, 443)], Passes, Some(12)),
        probe("another port", PUBLIC, Tcp(SYN), [(public, 40_003), (private, 81)], Vanishes, Some(19)),
        probe("another port over IPv6", PUBLIC, Udp, [(public6, 40_003), (private6, 80)], Vanishes, Some(19)),
        probe(
            "a mail server that asks",
            PUBLIC,
            Tcp(SYN),
            [(public, 40_004), (private, 113)],
            Reset,
            Some(11),
        ),
        probe("the same over IPv6", PUBLIC, Tcp(SYN), [(public6, 40_004), (private6, 113)], Reset, Some(11)),
        probe(
            "a name server's question",
            PUBLIC,
            Udp,
            [(public, 40_005), (private, 53)],
            Prohibited,
            Some(16),
        ),
        probe("the same over IPv6", PUBLIC, Udp, [(public6, 40_005), (private6, 53)], Prohibited, Some(16)),
        probe("the office", PUBLIC, Tcp(SYN), [(far(7), 40_006), (private, 22)], Passes, Some(13)),
        probe(
            "who is not the office",
            PUBLIC,
            Tcp(SYN),
            [(far(99), 40_006), (private, 22)],
            Vanishes,
            Some(19),
        ),
        probe("a scanner", PUBLIC, Tcp(SYN), [(far(66), 40_007), (private, 80)], Vanishes, Some(10)),
        probe("a scanner at the router", PUBLIC, Ping(9), [(far(67), 0), (own, 0)], Vanishes, Some(10)),
        probe(
            "a server that looks for news",
            PRIVATE,
            Tcp(SYN),
            [(private, 40_008), (public, 80)],
            Passes,
            Some(17),
        ),
        probe(
            "a server that sends mail",
            PRIVATE,
            Tcp(SYN),
            [(private, 40_009), (public, 25)],
            Vanishes,
            Some(19),
        ),
        probe(
            "the midst of a connection",
            PUBLIC,
            Tcp(ACK),
            [(public, 40_010), (private, 80)],
            Vanishes,
            None,
        ),
        probe(
            "SYN and FIN at once",
            PUBLIC,
            Tcp(SYN | FIN),
            [(public, 40_011), (private, 80)],
            Vanishes,
            None,
        ),
        probe("for whom it is from", PUBLIC, Tcp(SYN), [(far(7), 40_012), (far(7), 80)], Vanishes, None),
    ];
    // Three an hour, whoever sends them; and for the router itself two of each source.
    for (number, outcome) in (20..).zip([Passes, Passes, Passes, Vanishes, Vanishes]) {
        all.push(probe("pings of all", PUBLIC, Ping(number), [(public, 0), (private, 0)], outcome, Some(14)));
    }
    for (number, outcome) in (30..).zip([Answered, Answered, Vanishes]) {
        all.push(probe(
            "pings of one source",
            PUBLIC,
            Ping(number),
            [(public, 0), (own, 0)],
            outcome,
            Some(15),
        ));
    }
    all.push(probe("and of another", PUBLIC, Ping(33), [(public6, 0), (own6, 0)], Answered, Some(15)));
    all
}

/// The packet that passes behind each other one.
pub(super) fn marker(from: usize) -> Probe {
    let [here, there] = [from, other(from)].map(|nic| IpAddr::V4(host_address(nic)));
    let (port, line) = if from == PUBLIC { (443, 12) } else { (9, 17) };
    probe("a packet that passes", from, Kind::Udp, [(here, 9999), (there, port)], Outcome::Passes, Some(line))
}

/// A packet from a host to its router.
pub(super) fn frame(from: usize, kind: Kind, source: SocketAddr, destination: SocketAddr) -> Result<Vec<u8>> {
    let link = PacketBuilder::ethernet2(host_mac(from), router_mac(from));
    let ip = match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => link.ipv4(from.octets(), to.octets(), 64),
        (IpAddr::V6(from), IpAddr::V6(to)) => link.ipv6(from.octets(), to.octets(), 64),
        _ => bail!("{source} and {destination} are of two versions"),
    };
    let mut bytes = Vec::new();
    match kind {
        Kind::Tcp(flags) => {
            let mut tcp = ip.tcp(source.port(), destination.port(), 1000, 60_000);
            tcp = if flags & SYN != 0 { tcp.syn() } else { tcp };
            tcp = if flags & FIN != 0 { tcp.fin() } else { tcp };
            tcp = if flags & ACK != 0 { tcp.ack(1001) } else { tcp };
            tcp.write(&mut bytes, b"")?;
        }
        Kind::Udp => ip.udp(source.port(), destination.port()).write(&mut bytes, b"data")?,
        Kind::Ping(id) if source.is_ipv4() => ip.icmpv4_echo_request(id, 1).write(&mut bytes, b"ping")?,
        Kind::Ping(id) => ip.icmpv6_echo_request(id, 1).write(&mut bytes, b"ping")?,
    }
    Ok(bytes)
}
