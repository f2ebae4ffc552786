//! Clients on `public` and back ends on `private`, with HTTP between them, as small as it goes.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use paravane_tests::guest::guest_address;
use smoltcp::wire::{TcpControl, TcpRepr};

use crate::link::{Cables, Side};
use crate::packet;
use crate::tcp::{End, Heard, refuse};

/// Where the service is.
const PORT: u16 = 80;
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 100);
/// The back ends.
const BACK_ENDS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 77, 2, 11), Ipv4Addr::new(10, 77, 2, 12)];
const FIRST_PORT: u16 = 10_000;
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: service\r\nConnection: close\r\n\r\n";
const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\nConnection: close\r\n\r\nhere you are";
/// A message on a connection that stays, which makes a frame of 64 bytes.
const MESSAGE: &[u8] = b"10 bytes..";
/// How long all may be silent before those who wait wait in vain.
const LIMIT: Duration = Duration::from_secs(5);
const SLICE: Duration = Duration::from_millis(100);

/// A client's connection.
#[derive(Debug)]
struct Client {
    end: End,
    started: Instant,
    /// It asks for the page. Others stay.
    asks: bool,
    is_open: bool,
}

/// All hosts.
#[derive(Debug)]
pub(crate) struct Hosts {
    clients: HashMap<u16, Client>,
    /// By the peer, as they see it, and their own address.
    served: HashMap<(SocketAddrV4, Ipv4Addr), End>,
    next_port: u16,
    /// Connections that each back end got.
    accepted: [u64; BACK_ENDS.len()],
    /// How long each connection took that is over, from its first segment to the last byte.
    took: Vec<Duration>,
    resets: u64,
    /// Messages that came back to clients.
    echoes: u64,
    /// Flows begun that rules are asked about.
    flows: u32,
}

impl Hosts {
    pub(crate) fn new() -> Self {
        Self {
            clients: HashMap::new(),
            served: HashMap::new(),
            next_port: FIRST_PORT,
            accepted: [0; BACK_ENDS.len()],
            took: Vec::new(),
            resets: 0,
            echoes: 0,
            flows: 0,
        }
    }

    /// The number of a flow that there was not before.
    pub(crate) fn next_flow(&mut self) -> u32 {
        self.flows += 1;
        self.flows
    }

    /// Asks once. Whether the page came before `limit`; if not, it never will.
    pub(crate) fn probe(&mut self, cables: &mut Cables, limit: Duration) -> Result<bool> {
        let until = Instant::now() + limit;
        self.start(cables, true);
        while self.took.is_empty() && Instant::now() < until {
            self.turn(cables, Duration::from_millis(5))?;
        }
        self.clients.clear();
        Ok(!std::mem::take(&mut self.took).is_empty())
    }

    /// `count` connections with one request each, `at_once` of them open at a time. How long each
    /// took, from its first segment to the last byte of the page.
    pub(crate) fn ask(&mut self, cables: &mut Cables, count: usize, at_once: usize) -> Result<Vec<Duration>> {
        self.took.clear();
        self.resets = 0;
        let before = self.accepted;
        let (mut started, mut heard) = (0, Instant::now());
        let mut over_before = 0;
        while started < count || !self.clients.is_empty() {
            while started < count && self.clients.len() < at_once {
                self.start(cables, true);
                started += 1;
            }
            self.turn(cables, SLICE)?;
            ensure!(self.resets == 0, "{} connections were reset", self.resets);
            let over = started - self.clients.len();
            if over > over_before {
                (over_before, heard) = (over, Instant::now());
            }
            if heard.elapsed() > LIMIT {
                bail!("{} of {count} connections hang", self.clients.len());
            }
        }
        let shares = self.accepted.iter().zip(before).map(|(after, before)| after - before);
        let (least, all) = (shares.clone().min().unwrap_or(0), shares.sum::<u64>());
        ensure!(2 * least + 1 >= count as u64, "of {all} connections a back end got {least}");
        Ok(std::mem::take(&mut self.took))
    }

    /// Opens `count` connections that stay.
    pub(crate) fn open(&mut self, cables: &mut Cables, count: usize) -> Result<()> {
        let start = Instant::now();
        self.resets = 0;
        (0..count).for_each(|_| self.start(cables, false));
        while !self.clients.values().all(|client| client.is_open) {
            self.turn(cables, SLICE)?;
            ensure!(self.resets == 0 && start.elapsed() < LIMIT, "the connections do not open");
        }
        Ok(())
    }

    /// A message on each connection that stays, at once, and back. How long until the last is back.
    pub(crate) fn exchange(&mut self, cables: &mut Cables) -> Result<Duration> {
        let start = Instant::now();
        self.echoes = 0;
        for client in self.clients.values_mut() {
            cables.queue(Side::Public, &client.end.send(MESSAGE, false));
        }
        while self.echoes < self.clients.len() as u64 {
            self.turn(cables, SLICE)?;
            let missing = self.clients.len() as u64 - self.echoes;
            ensure!(start.elapsed() < LIMIT, "{missing} messages did not come back");
        }
        Ok(start.elapsed())
    }

    /// Breaks all connections off.
    pub(crate) fn forget(&mut self) {
        self.clients.clear();
        self.served.clear();
    }

    fn start(&mut self, cables: &mut Cables, asks: bool) {
        let port = self.next_port;
        self.next_port = port.checked_add(1).unwrap_or(FIRST_PORT);
        let service = SocketAddrV4::new(guest_address(Side::Public.nic()), PORT);
        let own = SocketAddrV4::new(CLIENT, port);
        let (end, syn) = End::connect(Side::Public, own, service, u32::from(port) << 12);
        cables.queue(Side::Public, &syn);
        self.clients.insert(port, Client { end, started: Instant::now(), asks, is_open: false });
    }

    /// Waits for frames, and answers them.
    fn turn(&mut self, cables: &mut Cables, max_wait: Duration) -> Result<()> {
        cables.wait(max_wait)?;
        while let Some(frame) = cables.next(Side::Private) {
            packet::with_segment(&frame, |from, to, tcp| self.serve(cables, from, to, tcp));
        }
        while let Some(frame) = cables.next(Side::Public) {
            packet::with_segment(&frame, |from, to, tcp| self.hear(cables, from, to, tcp));
        }
        cables.flush()
    }

    /// What a client does with a segment.
    fn hear(&mut self, cables: &mut Cables, from: Ipv4Addr, to: Ipv4Addr, tcp: &TcpRepr<'_>) {
        let Some(client) = self.clients.get_mut(&tcp.dst_port).filter(|_| to == CLIENT) else {
            refuse(Side::Public, from, to, tcp).iter().for_each(|frame| cables.queue(Side::Public, frame));
            return;
        };
        let mut say = |frame: Vec<u8>| cables.queue(Side::Public, &frame);
        let Client { end, started, asks, is_open } = client;
        match end.take(tcp) {
            Heard::Opened => say(end.acknowledge()),
            Heard::Bytes if !*asks => {
                self.echoes += (end.received.len() / MESSAGE.len()) as u64;
                let whole = end.received.len() - end.received.len() % MESSAGE.len();
                end.received.drain(..whole);
            }
            Heard::Bytes => {
                if !tcp.payload.is_empty() && end.received == RESPONSE {
                    self.took.push(started.elapsed());
                }
                say(if end.peer_has_closed { end.send(&[], true) } else { end.acknowledge() });
            }
            Heard::Reset => self.resets += 1,
            Heard::Over => return drop(self.clients.remove(&tcp.dst_port)),
            Heard::Nothing => {}
        }
        // A proxy may open its window when it has a back end, and not before.
        if end.may_send && !*is_open {
            *is_open = true;
            if *asks {
                say(end.send(REQUEST, false));
            }
        }
    }

    /// What a back end does with a segment.
    fn serve(&mut self, cables: &mut Cables, from: Ipv4Addr, to: Ipv4Addr, tcp: &TcpRepr<'_>) {
        let Some(index) = BACK_ENDS.iter().position(|&address| address == to) else { return };
        let (peer, own) = (SocketAddrV4::new(from, tcp.src_port), SocketAddrV4::new(to, PORT));
        let key = (peer, to);
        let is_first = tcp.control == TcpControl::Syn && tcp.ack_number.is_none();
        if is_first && tcp.dst_port == PORT {
            let first = u32::from(tcp.src_port) << 8;
            let (end, answer) = End::accept(Side::Private, own, peer, first, tcp);
            if self.served.insert(key, end).is_none() {
                self.accepted.get_mut(index).into_iter().for_each(|count| *count += 1);
            }
            cables.queue(Side::Private, &answer);
            return;
        }
        let Some(end) = self.served.get_mut(&key) else {
            refuse(Side::Private, from, to, tcp).iter().for_each(|frame| cables.queue(Side::Private, frame));
            return;
        };
        let mut say = |frame: Vec<u8>| cables.queue(Side::Private, &frame);
        match end.take(tcp) {
            Heard::Bytes if end.received == REQUEST => {
                end.received.clear();
                say(end.send(RESPONSE, true));
            }
            Heard::Bytes if end.received.ends_with(MESSAGE) => {
                let bytes = std::mem::take(&mut end.received);
                say(end.send(&bytes, false));
            }
            Heard::Bytes => {
                say(end.acknowledge());
                // All was said, and the client has it.
                if end.peer_has_closed {
                    self.served.remove(&key);
                }
            }
            Heard::Reset | Heard::Over => drop(self.served.remove(&key)),
            Heard::Opened | Heard::Nothing => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// What a guest does: hands each connection to the next back end, `balances` or not.
    fn balance(mut guest: Cables, balances: bool) {
        let mut backs: HashMap<u16, usize> = HashMap::new();
        while guest.wait(SLICE).is_ok() {
            while let Some(frame) = guest.next(Side::Public) {
                packet::with_segment(&frame, |from, _, tcp| {
                    let next = if balances { backs.len() % 2 } else { 0 };
                    let index = *backs.entry(tcp.src_port).or_insert(next);
                    guest.queue(Side::Private, &packet::segment(Side::Private, from, BACK_ENDS[index], tcp));
                });
            }
            while let Some(frame) = guest.next(Side::Private) {
                let service = guest_address(Side::Public.nic());
                let back = |_, to, tcp: &TcpRepr<'_>| packet::segment(Side::Public, service, to, tcp);
                packet::with_segment(&frame, back).iter().for_each(|frame| guest.queue(Side::Public, frame));
            }
        }
    }

    #[test]
    fn connections_are_asked_and_answered_and_all_are_over() {
        let (mut cables, guest) = Cables::pair();
        let guest = thread::spawn(|| balance(guest, true));
        let mut hosts = Hosts::new();
        assert!(hosts.probe(&mut cables, LIMIT).unwrap());
        assert_eq!(hosts.ask(&mut cables, 21, 4).unwrap().len(), 21);
        assert!(hosts.clients.is_empty() && hosts.served.is_empty(), "{hosts:?}");
        hosts.open(&mut cables, 3).unwrap();
        for _ in 0..2 {
            hosts.exchange(&mut cables).unwrap();
            assert_eq!(hosts.echoes, 3);
        }
        drop(cables);
        guest.join().unwrap();
    }

    #[test]
    fn one_back_end_for_all_is_no_balance() {
        let (mut cables, guest) = Cables::pair();
        let guest = thread::spawn(|| balance(guest, false));
        let error = Hosts::new().ask(&mut cables, 10, 2).unwrap_err().to_string();
        assert_eq!(error, "of 10 connections a back end got 0");
        drop(cables);
        guest.join().unwrap();
    }
}
