//! Connections that are spliced: a client is answered by a cookie, and its server knows it by other
//! numbers.

mod begin;
mod conversation;
mod end;
mod errors;
mod flood;
mod retry;
mod storm;

use core::net::{IpAddr, SocketAddr};

use paravane_appliance::balance::{Service, Settings, Splice};
use paravane_appliance::nat::Mode;

use super::support::{ACK, Balanced, Ends, SYN, Seen, Tcp, V4, V6, service, settings};
use crate::world::{PRIVATE, PUBLIC};

/// How a service is spliced.
#[derive(Clone, Copy, Debug)]
pub struct How {
    pub ends: Ends,
    pub proxy: bool,
    pub keeps_source: bool,
}

impl How {
    pub const fn new(ends: Ends) -> Self {
        Self { ends, proxy: false, keeps_source: false }
    }

    pub fn service(&self) -> Service {
        let general = Splice::GENERAL;
        let how = paravane_appliance::splice::Service { proxy: self.proxy, ..general.service };
        let splice = Splice { service: how, keeps_source: self.keeps_source };
        Service { splice, ..service(&self.ends, Mode::Splice) }
    }

    pub fn balanced(&self) -> Balanced {
        self.with(settings())
    }

    pub fn with(&self, settings: Settings) -> Balanced {
        Balanced::of(self.ends, self.service(), settings)
    }

    /// The PROXY header of a client, if its server gets one.
    pub fn header(&self, client: SocketAddr, vip: SocketAddr) -> Vec<u8> {
        if !self.proxy {
            return Vec::new();
        }
        let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
        match (client.ip(), vip.ip()) {
            (IpAddr::V4(client), IpAddr::V4(vip)) => {
                header.extend([0x11, 0, 12]);
                header.extend([client.octets(), vip.octets()].concat());
            }
            (IpAddr::V6(client), IpAddr::V6(vip)) => {
                header.extend([0x21, 0, 36]);
                header.extend([client.octets(), vip.octets()].concat());
            }
            _ => panic!("two versions"),
        }
        header.extend([client.port().to_be_bytes(), vip.port().to_be_bytes()].concat());
        header
    }
}

/// Each way, of both versions.
pub fn each(test: impl Fn(Balanced, How)) {
    for ends in [V4, V6] {
        for (proxy, keeps_source) in [(false, false), (true, false), (false, true), (true, true)] {
            let how = How { ends, proxy, keeps_source };
            test(how.balanced(), how);
        }
    }
}

/// The client's first number.
pub const CLIENT: u32 = 1000;
/// And the server's.
pub const SERVER: u32 = 9000;

/// A connection, as each of both knows it.
#[derive(Clone, Debug)]
pub struct Joined {
    /// The client's port.
    pub port: u16,
    /// The number that the client knows instead of the server's.
    pub cookie: u32,
    /// The SYN that its server got.
    pub syn: Seen,
}

impl Joined {
    /// A segment of the client's at its next number.
    pub fn of_client(&self, balanced: &Balanced, flags: u8) -> Tcp {
        balanced.of_client(self.port, flags).at(CLIENT + 1, self.cookie.wrapping_add(1))
    }

    /// One of the server's.
    pub fn of_server(&self, flags: u8) -> Tcp {
        Tcp::new(self.syn.destination, self.syn.source, flags).at(SERVER + 1, CLIENT + 1)
    }
}

/// A client says that it begins: the number that it is answered with.
pub fn ask(balanced: &mut Balanced, port: u16) -> u32 {
    let before = balanced.flows();
    let syn = Tcp { mss_bytes: Some(1460), ..balanced.of_client(port, SYN).at(CLIENT, 0) };
    balanced.take(PUBLIC, &syn, b"");
    let answer = balanced.one(PUBLIC);
    assert_eq!((answer.flags, answer.acknowledgement), (SYN | ACK, CLIENT + 1));
    assert_eq!((answer.source, answer.destination), (balanced.vip(), balanced.client(port)));
    assert!(balanced.world.sent(PRIVATE).is_empty(), "no server hears of it");
    assert_eq!(balanced.flows(), before, "nothing is kept");
    answer.sequence
}

/// And answers that: the SYN that its server gets.
pub fn begin(balanced: &mut Balanced, port: u16) -> Joined {
    let cookie = ask(balanced, port);
    let ack = balanced.of_client(port, ACK).at(CLIENT + 1, cookie.wrapping_add(1));
    let syn = balanced.through(PUBLIC, &ack, b"");
    assert_eq!(syn.flags, SYN);
    Joined { port, cookie, syn }
}

/// Its server answers: what the client then gets.
pub fn answer(balanced: &mut Balanced, how: &How, joined: &Joined) -> Seen {
    let (client, vip) = (balanced.client(joined.port), balanced.vip());
    let header = how.header(client, vip);
    let gap = header.len() as u32;
    assert_eq!(joined.syn.sequence, CLIENT.wrapping_sub(gap), "so far before the client");
    let syn_ack = joined.of_server(SYN | ACK).at(SERVER, joined.syn.sequence.wrapping_add(1));
    balanced.take(PRIVATE, &syn_ack, b"");
    let ack = balanced.one(PRIVATE);
    assert_eq!((ack.sequence, ack.acknowledgement), (CLIENT + 1 - gap, SERVER + 1));
    assert_eq!((ack.flags, ack.payload), (ACK, header), "what comes first");
    if how.proxy {
        balanced.take(PRIVATE, &joined.of_server(ACK), b"");
    }
    balanced.one(PUBLIC)
}

/// All of that.
pub fn connect(balanced: &mut Balanced, how: &How, port: u16) -> Joined {
    let joined = begin(balanced, port);
    let opening = answer(balanced, how, &joined);
    let next = (joined.cookie.wrapping_add(1), CLIENT + 1);
    assert_eq!((opening.flags, opening.sequence, opening.acknowledgement), (ACK, next.0, next.1));
    assert_eq!((opening.source, opening.destination), (balanced.vip(), balanced.client(port)));
    joined
}
