//! One NIC's TCP/IP stack, its address, and the HTTP connections on it.

#[cfg(feature = "router")]
mod datagrams;

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use log::info;
use smoltcp::iface::{
    Config as InterfaceConfig, Interface, PollIngressSingleResult, PollResult, SocketHandle, SocketSet,
};
use smoltcp::phy::Device;
use smoltcp::socket::{dhcpv4, tcp};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{EthernetAddress, IpCidr, Ipv4Address, Ipv4Cidr};

use super::config::Addressing;
use super::http::{Connection, Files, Handle, PIECE_BYTES, Routes, Wanted};
use super::server::{Answer, Datagrams, Piece};

/// Where HTTP is served.
const PORT: u16 = 80;
/// The most connections at a time; a connection that ends makes room for the next at once.
pub const MAX_CONNECTIONS: usize = 20;
/// A connection's receive window.
const RX_BYTES: usize = 48 * 1024;
/// A connection's send buffer.
const TX_BYTES: usize = 64 * 1024;
/// What a connection takes of the heap, its head and its pages apart: its buffers, and a piece of a
/// file.
pub const CONNECTION_BYTES: usize = RX_BYTES + TX_BYTES + PIECE_BYTES;
/// A peer that is silent for so long in the middle of something is given up.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Frames taken in before answers are sent and others have their turn.
const INGRESS_BUDGET: usize = 64;
/// Rounds of sending before others have their turn.
const EGRESS_BUDGET: usize = 64;

/// One TCP socket and what is said over it.
#[derive(Debug)]
struct Session {
    socket: SocketHandle,
    connection: Connection,
}

/// How a stack serves.
#[derive(Clone, Copy, Debug)]
pub struct Serving {
    /// For so many peers at a time.
    pub connections: usize,
    /// What ports, transaction ids and sequence numbers begin with.
    pub seed: u64,
    /// These pages.
    pub routes: Routes,
}

/// A stack on top of one NIC. The NIC itself is lent for each call, for it comes and goes with
/// restarts.
pub struct Stack {
    name: String,
    interface: Interface,
    sockets: SocketSet<'static>,
    dhcp: Option<SocketHandle>,
    sessions: Vec<Session>,
    address: Option<Ipv4Cidr>,
    requests: u64,
    #[cfg(feature = "router")]
    lines: datagrams::Lines,
    /// No connection begins any more.
    is_closed: bool,
}

impl core::fmt::Debug for Stack {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Stack({}, {:?})", self.name, self.address)
    }
}

impl Stack {
    /// A stack for the NIC called `name`, which has the address `mac`. Listens at once, for up to
    /// `connections` peers, who get the pages of `routes`.
    pub fn new(
        name: &str,
        mac: [u8; 6],
        device: &mut impl Device,
        addressing: Addressing,
        Serving { connections, seed, routes }: Serving,
        now: Instant,
    ) -> Self {
        let mut config = InterfaceConfig::new(EthernetAddress(mac).into());
        config.random_seed = seed;
        let interface = Interface::new(config, device, now);
        let mut stack = Self {
            name: name.into(),
            interface,
            sockets: SocketSet::new(Vec::new()),
            dhcp: None,
            sessions: Vec::with_capacity(connections),
            address: None,
            requests: 0,
            #[cfg(feature = "router")]
            lines: datagrams::Lines::default(),
            is_closed: false,
        };
        match addressing {
            Addressing::Dhcp => stack.dhcp = Some(stack.sockets.add(dhcpv4::Socket::new())),
            Addressing::Static { address, gateway } => stack.set_address(Some(address), gateway, "static"),
        }
        for _ in 0..connections {
            let mut socket = tcp::Socket::new(
                tcp::SocketBuffer::new(vec![0; RX_BYTES]),
                tcp::SocketBuffer::new(vec![0; TX_BYTES]),
            );
            socket.set_timeout(Some(TIMEOUT));
            socket.set_nagle_enabled(false);
            // Before the first frame is looked at: a peer may be quick. Fails only for port zero or
            // an open socket.
            let _ = socket.listen(PORT);
            let socket = stack.sockets.add(socket);
            stack.sessions.push(Session { socket, connection: Connection::new(routes) });
        }
        stack
    }

    /// The IPv4 address, once there is one.
    #[must_use]
    pub fn address(&self) -> Option<Ipv4Cidr> {
        self.address
    }

    /// HTTP requests served.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.sessions
            .iter()
            .map(|session| session.connection.served())
            .fold(self.requests, u64::saturating_add)
    }

    /// Moves frames and connections on, a bounded amount. Returns whether anything happened, so
    /// that there may be more at once.
    pub fn turn(&mut self, device: &mut impl Device, now: Instant) -> bool {
        let mut moved = false;
        for _ in 0..INGRESS_BUDGET {
            match self.interface.poll_ingress_single(now, device, &mut self.sockets) {
                PollIngressSingleResult::None => break,
                _ => moved = true,
            }
        }
        self.interface.poll_maintenance(now);
        self.follow_dhcp();
        self.serve();
        for _ in 0..EGRESS_BUDGET {
            match self.interface.poll_egress(now, device, &mut self.sockets) {
                PollResult::None => break,
                PollResult::SocketStateChanged => moved = true,
            }
        }
        self.recycle();
        moved
    }

    /// How long nothing has to be done if nothing comes; `None`: for ever.
    pub fn idle_time(&mut self, now: Instant) -> Option<Duration> {
        self.interface.poll_delay(now, &self.sockets)
    }

    /// What the connections want from the rest of the program.
    pub fn wanted(&self) -> impl Iterator<Item = &Wanted> {
        self.sessions.iter().filter_map(|session| session.connection.wanted())
    }

    /// Answers everything that is wanted; `answer` gives status, content type and body.
    pub fn answer(&mut self, mut answer: impl FnMut(&Wanted) -> Answer) {
        for Session { connection, .. } in &mut self.sessions {
            match connection.wanted().map(&mut answer) {
                None => {}
                Some(Answer::Page((status, content_type, body))) => {
                    connection.answer(status, content_type, &body);
                }
                Some(Answer::Pieces(content_type, handle)) => {
                    connection.answer_in_pieces(content_type, handle);
                }
            }
        }
    }

    /// Gives each connection that sends pieces the next one of `piece`. Whether there was any.
    pub fn move_pieces(&mut self, piece: &mut dyn FnMut(&Handle) -> Piece) -> bool {
        let mut moved = false;
        for Session { connection, .. } in &mut self.sessions {
            let Some(handle) = connection.wants_piece() else { continue };
            match piece(handle) {
                Piece::Later => continue,
                Piece::Bytes(bytes) => connection.piece(Some(&bytes)),
                Piece::End => connection.piece(None),
            }
            moved = true;
        }
        moved
    }

    /// How a program speaks by UDP over it, in the images whose programs do.
    pub fn datagrams(&mut self) -> Option<&mut dyn Datagrams> {
        #[cfg(feature = "router")]
        {
            Some(self)
        }
        #[cfg(not(feature = "router"))]
        {
            None
        }
    }

    /// Whether any connection sends pieces.
    #[must_use]
    pub fn has_pieces(&self) -> bool {
        self.sessions.iter().any(|session| session.connection.is_in_pieces())
    }

    /// Moves each connection's file on by a piece. Returns whether anything moved.
    pub fn move_files(&mut self, files: &mut dyn Files) -> bool {
        self.sessions.iter_mut().fold(false, |moved, session| session.connection.move_file(files) | moved)
    }

    /// The link came back: what was learnt on the old network may not hold on the new one.
    pub fn link_is_back(&mut self) {
        if let Some(handle) = self.dhcp {
            self.sockets.get_mut::<dhcpv4::Socket<'_>>(handle).reset();
        }
    }

    /// Lets no connection begin from now on; those that there are end after what is under way.
    pub fn close(&mut self) {
        self.is_closed = true;
        for session in &self.sessions {
            let socket = self.sockets.get_mut::<tcp::Socket<'_>>(session.socket);
            if socket.is_listening() {
                socket.close();
            }
        }
    }

    /// How many connections there are.
    #[must_use]
    pub fn connections(&self) -> u32 {
        let is_active = |session: &&Session| self.sockets.get::<tcp::Socket<'_>>(session.socket).is_active();
        u32::try_from(self.sessions.iter().filter(is_active).count()).unwrap_or(u32::MAX)
    }

    /// Whether any of their peers has not acknowledged all that was said to it.
    #[must_use]
    pub fn has_unsent(&self) -> bool {
        self.sessions
            .iter()
            .any(|session| self.sockets.get::<tcp::Socket<'_>>(session.socket).send_queue() > 0)
    }

    /// Cuts off those that there are.
    pub fn cut_off(&mut self) {
        for session in &self.sessions {
            self.sockets.get_mut::<tcp::Socket<'_>>(session.socket).abort();
        }
    }

    fn serve(&mut self) {
        for session in &mut self.sessions {
            session.serve(self.sockets.get_mut(session.socket), self.is_closed);
        }
    }

    /// Gives ended connections' places to the next peers. Comes after sending, for the last
    /// acknowledgement of a connection in TIME-WAIT goes out then.
    fn recycle(&mut self) {
        if self.is_closed {
            return;
        }
        let mut listening = false;
        for session in &mut self.sessions {
            let socket = self.sockets.get_mut(session.socket);
            let served = session.recycle(socket);
            self.requests = self.requests.saturating_add(served);
            listening |= socket.is_listening();
        }
        if !listening {
            self.make_room();
        }
    }

    /// Nobody could connect: cuts a connection of which only the end is missing. Its peer has
    /// everything.
    fn make_room(&mut self) {
        for session in &self.sessions {
            let socket = self.sockets.get_mut::<tcp::Socket<'_>>(session.socket);
            let ending = matches!(
                socket.state(),
                tcp::State::FinWait1 | tcp::State::FinWait2 | tcp::State::Closing | tcp::State::LastAck
            );
            if ending && socket.send_queue() == 0 {
                socket.abort();
                return;
            }
        }
    }

    fn follow_dhcp(&mut self) {
        let Some(handle) = self.dhcp else {
            return;
        };
        match self.sockets.get_mut::<dhcpv4::Socket<'_>>(handle).poll() {
            Some(dhcpv4::Event::Configured(lease)) => {
                let (address, gateway) = (lease.address, lease.router);
                self.set_address(Some(address), gateway, "dhcp");
            }
            Some(dhcpv4::Event::Deconfigured) => self.set_address(None, None, "dhcp"),
            None => {}
        }
    }

    fn set_address(&mut self, address: Option<Ipv4Cidr>, gateway: Option<Ipv4Address>, source: &str) {
        let changed = self.address != address;
        self.address = address;
        self.interface.update_ip_addrs(|addresses| {
            addresses.clear();
            if let Some(address) = address {
                // There is room for one.
                let _ = addresses.push(IpCidr::Ipv4(address));
            }
        });
        self.interface.routes_mut().remove_default_ipv4_route();
        if let Some(gateway) = gateway {
            // The table has room for one; there is none now.
            let _ = self.interface.routes_mut().add_default_ipv4_route(gateway);
        }
        match address {
            Some(address) if changed => {
                let via = gateway.map_or_else(|| String::from("none"), |gateway| format!("{gateway}"));
                info!("nic {}: address {address} gateway {via} ({source})", self.name);
            }
            None if changed => info!("nic {}: address lost", self.name),
            _ => {}
        }
    }
}

impl Session {
    /// Moves bytes between socket and connection, which ends with what is under way where that
    /// `is_last`.
    fn serve(&mut self, socket: &mut tcp::Socket<'_>, is_last: bool) {
        if !socket.is_active() || socket.state() == tcp::State::SynReceived {
            return;
        }
        while socket.can_recv() {
            let taken = socket.recv(|bytes| {
                let taken = self.connection.receive(bytes);
                (taken, taken)
            });
            if !matches!(taken, Ok(1..)) {
                break;
            }
        }
        while socket.can_send() {
            let made = socket.send(|room| {
                let made = self.connection.produce(room);
                (made, made)
            });
            if !matches!(made, Ok(1..)) {
                break;
            }
        }
        let peer_is_done = socket.state() == tcp::State::CloseWait && !socket.can_recv();
        if self.connection.is_broken() {
            socket.abort();
        } else if self.connection.is_over() || ((peer_is_done || is_last) && self.connection.is_idle()) {
            socket.close();
        } else if peer_is_done && self.connection.is_stuck() {
            // The peer left in the middle of a request.
            socket.abort();
        }
    }

    /// Listens again once a connection has ended. Returns how many requests it served.
    fn recycle(&mut self, socket: &mut tcp::Socket<'_>) -> u64 {
        if socket.is_open() {
            return 0;
        }
        let served = self.connection.renew();
        // Fails only for port zero or an open socket.
        let _ = socket.listen(PORT);
        served
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smoltcp::phy::{Loopback, Medium};

    #[test]
    fn a_peer_may_connect_before_the_first_turn() {
        let mut device = Loopback::new(Medium::Ethernet);
        let serving = Serving { connections: 3, seed: 1, routes: crate::app::http::routes };
        let stack = Stack::new("admin", [2; 6], &mut device, Addressing::Dhcp, serving, Instant::ZERO);
        let listens = |session: &Session| stack.sockets.get::<tcp::Socket<'_>>(session.socket).is_listening();
        assert!(stack.sessions.len() == 3 && stack.sessions.iter().all(listens));
    }
}
