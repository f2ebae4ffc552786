//! A host on the other end of the guest's cable: ARP, ping and TCP, inside the test process.
//!
//! [`Peer`] is one smoltcp interface on one [`Cable`]. It has no thread: frames move while somebody
//! calls [`Peer::turn`], which every waiting operation does. A [`Connection`] is an ordinary
//! [`Read`] and [`Write`] with one deadline for all of it, so that whatever speaks over it cannot
//! wait for ever.

pub mod web;

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::{icmp, tcp};
use smoltcp::time::Instant as StackInstant;
use smoltcp::wire::{EthernetAddress, Icmpv4Packet, Icmpv4Repr, IpAddress, IpCidr};

use crate::dgram::Cable;
use crate::noise::Noise;

/// Enough for a window that does not limit a transfer.
const TCP_BUFFER_BYTES: usize = 256 * 1024;
/// Client ports go round in the dynamic range, so that a port rests before it is used again.
const PORTS: std::ops::Range<u16> = 49_152..65_535;
/// How long a connection may take to say good-bye before it is cut.
const CLOSE_LIMIT: Duration = Duration::from_millis(200);
/// No single wait is longer, so that a stack timer set meanwhile is never far late.
const MAX_WAIT: Duration = Duration::from_millis(100);

/// A host on one cable.
pub struct Peer {
    cable: Cable,
    interface: Interface,
    sockets: SocketSet<'static>,
    ping: SocketHandle,
    epoch: Instant,
    next_port: u16,
}

const PING_IDENT: u16 = 0x7061;

impl Peer {
    /// A host with the address `mac` and the IPv4 address `address`/`prefix_len` on `cable`.
    ///
    /// # Errors
    ///
    /// The stack refuses the address.
    pub fn new(mut cable: Cable, mac: [u8; 6], address: Ipv4Addr, prefix_len: u8) -> Result<Self> {
        let mut config = Config::new(EthernetAddress(mac).into());
        // Sequence numbers must differ from those of an earlier run against a guest that still
        // lives.
        config.random_seed = u64::from(std::process::id()) << 32 | u64::from(address.to_bits());
        let mut interface = Interface::new(config, &mut cable, StackInstant::ZERO);
        let mut pushed = Ok(());
        interface.update_ip_addrs(|addresses| {
            pushed = addresses.push(IpCidr::new(address.into(), prefix_len));
        });
        pushed.map_err(|address| anyhow!("no room for the address {address}"))?;

        let buffer = || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 4], vec![0; 8 * 1024]);
        let mut ping = icmp::Socket::new(buffer(), buffer());
        ping.bind(icmp::Endpoint::Ident(PING_IDENT)).context("cannot bind the ping socket")?;
        let mut sockets = SocketSet::new(Vec::new());
        let ping = sockets.add(ping);
        Ok(Self { cable, interface, sockets, ping, epoch: Instant::now(), next_port: PORTS.start })
    }

    /// The same with the address `address`/64 of IPv6 as well, and `v4` and `v6` as the next hops
    /// to all other networks.
    ///
    /// # Errors
    ///
    /// The stack refuses an address or a route.
    pub fn behind(mut self, address: Ipv6Addr, v4: Ipv4Addr, v6: Ipv6Addr) -> Result<Self> {
        let mut pushed = Ok(());
        self.interface.update_ip_addrs(|addresses| {
            pushed = addresses.push(IpCidr::new(address.into(), 64));
        });
        pushed.map_err(|address| anyhow!("no room for the address {address}"))?;
        let routes = self.interface.routes_mut();
        routes.add_default_ipv4_route(v4).map_err(|_| anyhow!("no room for a route"))?;
        routes.add_default_ipv6_route(v6).map_err(|_| anyhow!("no room for a route"))?;
        Ok(self)
    }

    /// The cable, for frames that are no stack's.
    pub fn cable(&mut self) -> &mut Cable {
        &mut self.cable
    }

    /// Moves what can move, both ways; when nothing could, waits for the cable or a timer, at most
    /// `max_wait`.
    ///
    /// # Errors
    ///
    /// The other end of the cable is gone, which means that QEMU is.
    pub fn turn(&mut self, max_wait: Duration) -> io::Result<()> {
        let now = self.now();
        let result = self.interface.poll(now, &mut self.cable, &mut self.sockets);
        if self.cable.is_other_end_gone() {
            return Err(io::Error::new(ErrorKind::BrokenPipe, "the other end of the cable is gone"));
        }
        if result == PollResult::SocketStateChanged {
            return Ok(());
        }
        let mut wait = max_wait.min(MAX_WAIT);
        // A congested stack always has something due; only the cable can tell when it is worth
        // trying.
        if !self.cable.is_congested()
            && let Some(delay) = self.interface.poll_delay(now, &self.sockets)
        {
            wait = wait.min(delay.into());
        }
        self.cable.wait(wait)
    }

    /// Sends one echo request with `payload_bytes` of payload and waits for the matching reply.
    ///
    /// # Errors
    ///
    /// No reply by `deadline`, or a reply with another payload.
    pub fn ping(
        &mut self,
        to: Ipv4Addr,
        seq_no: u16,
        payload_bytes: usize,
        deadline: Instant,
    ) -> Result<Duration> {
        let mut payload = vec![0; payload_bytes];
        Noise::new(seq_no.into()).read_exact(&mut payload)?;
        let checksums = ChecksumCapabilities::default();
        let request = Icmpv4Repr::EchoRequest { ident: PING_IDENT, seq_no, data: &payload };
        let sent = Instant::now();
        let socket = self.sockets.get_mut::<icmp::Socket<'_>>(self.ping);
        let room = socket.send(request.buffer_len(), to.into()).context("cannot queue an echo request")?;
        request.emit(&mut Icmpv4Packet::new_unchecked(room), &checksums);

        loop {
            self.turn(left(deadline))?;
            let socket = self.sockets.get_mut::<icmp::Socket<'_>>(self.ping);
            while socket.can_recv() {
                let (bytes, from) = socket.recv().context("cannot take an echo reply")?;
                let packet = Icmpv4Packet::new_checked(bytes).context("a broken ICMP packet came in")?;
                let reply = Icmpv4Repr::parse(&packet, &checksums).context("a broken ICMP packet came in")?;
                let Icmpv4Repr::EchoReply { seq_no: seen, data, .. } = reply else { continue };
                // A late answer to an earlier request is no answer to this one.
                if seen == seq_no && from == IpAddress::Ipv4(to) {
                    ensure!(
                        data == payload,
                        "echo reply {seq_no} has another payload ({} bytes)",
                        data.len()
                    );
                    return Ok(sent.elapsed());
                }
            }
            if Instant::now() >= deadline {
                bail!(
                    "no reply to echo request {seq_no} ({payload_bytes} bytes) within {:.1} s",
                    sent.elapsed().as_secs_f64()
                );
            }
        }
    }

    /// Opens a TCP connection. All that is done over it has to be done by `deadline`.
    ///
    /// # Errors
    ///
    /// Refused, or not established by `deadline`.
    pub fn connect(&mut self, to: impl Into<SocketAddr>, deadline: Instant) -> Result<Connection<'_>> {
        let to = to.into();
        let port = self.next_port;
        self.next_port = if port + 1 == PORTS.end { PORTS.start } else { port + 1 };
        let mut socket = tcp_socket();
        socket
            .connect(self.interface.context(), to, port)
            .with_context(|| format!("cannot connect to {to}"))?;
        let connection = Connection { handle: self.sockets.add(socket), peer: self, deadline };
        loop {
            let state = connection.socket_ref().state();
            match state {
                tcp::State::SynSent | tcp::State::SynReceived => {}
                tcp::State::Closed => bail!("{to} refused the connection"),
                _ => return Ok(connection),
            }
            ensure!(Instant::now() < deadline, "no answer from {to} in time ({state})");
            connection.peer.turn(left(deadline))?;
        }
    }

    /// Waits for the next connection to `port`. All that is done over it has to be done by
    /// `deadline`.
    ///
    /// # Errors
    ///
    /// Nobody connects by `deadline`.
    pub fn accept(&mut self, port: u16, deadline: Instant) -> Result<Connection<'_>> {
        let mut socket = tcp_socket();
        socket.listen(port).with_context(|| format!("cannot listen on port {port}"))?;
        let connection = Connection { handle: self.sockets.add(socket), peer: self, deadline };
        while !connection.socket_ref().may_recv() {
            ensure!(Instant::now() < deadline, "nobody connects to port {port} in time");
            connection.peer.turn(left(deadline))?;
        }
        Ok(connection)
    }

    /// Knocks at the port `to` from `count` ports, and listens to none of the answers: they stay in
    /// the cable, which is full after a few.
    ///
    /// # Errors
    ///
    /// The other end takes no more frames before all were sent.
    pub fn knock_unheard(&mut self, to: SocketAddrV4, count: u16, deadline: Instant) -> Result<()> {
        for number in 0..count {
            let mut socket = tcp_socket();
            socket.connect(self.interface.context(), to, PORTS.start + number)?;
            let handle = self.sockets.add(socket);
            let now = self.now();
            while self.interface.poll_egress(now, &mut self.cable, &mut self.sockets) == PollResult::None {
                ensure!(Instant::now() < deadline, "only {number} of {count} frames were taken");
                std::thread::sleep(Duration::from_millis(1));
            }
            self.sockets.remove(handle);
        }
        Ok(())
    }

    fn now(&self) -> StackInstant {
        StackInstant::from_micros(i64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(i64::MAX))
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("addresses", &self.interface.ip_addrs()).finish_non_exhaustive()
    }
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

fn tcp_socket() -> tcp::Socket<'static> {
    let buffer = || tcp::SocketBuffer::new(vec![0; TCP_BUFFER_BYTES]);
    let mut socket = tcp::Socket::new(buffer(), buffer());
    // Everything that was read in one turn is acknowledged at its end, so waiting longer only costs
    // time.
    socket.set_ack_delay(None);
    socket.set_nagle_enabled(false);
    socket
}

/// An open TCP connection. Dropping it closes it politely, or cuts it a moment later.
#[derive(Debug)]
pub struct Connection<'a> {
    peer: &'a mut Peer,
    handle: SocketHandle,
    deadline: Instant,
}

impl Connection<'_> {
    fn socket_ref(&self) -> &tcp::Socket<'static> {
        self.peer.sockets.get(self.handle)
    }

    fn socket(&mut self) -> &mut tcp::Socket<'static> {
        self.peer.sockets.get_mut(self.handle)
    }

    fn turn(&mut self, what: &str) -> io::Result<()> {
        if Instant::now() >= self.deadline {
            let state = self.socket_ref().state();
            let message = format!("out of time while {what} (TCP state {state})");
            return Err(io::Error::new(ErrorKind::TimedOut, message));
        }
        self.peer.turn(left(self.deadline))
    }
}

impl Read for Connection<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match self.socket().recv_slice(buffer) {
                Ok(0) => self.turn("receiving")?,
                Ok(len) => return Ok(len),
                Err(tcp::RecvError::Finished) => return Ok(0),
                Err(tcp::RecvError::InvalidState) => {
                    return Err(io::Error::new(ErrorKind::ConnectionReset, "connection reset by the guest"));
                }
            }
        }
    }
}

impl Write for Connection<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        loop {
            match self.socket().send_slice(bytes) {
                Ok(0) => self.turn("sending")?,
                Ok(len) => {
                    // Frames go out while the caller prepares the next ones.
                    self.peer.turn(Duration::ZERO)?;
                    return Ok(len);
                }
                Err(tcp::SendError::InvalidState) => {
                    return Err(io::Error::new(ErrorKind::ConnectionReset, "connection reset by the guest"));
                }
            }
        }
    }

    /// Waits until everything written was acknowledged.
    fn flush(&mut self) -> io::Result<()> {
        while self.socket_ref().send_queue() > 0 {
            if !self.socket_ref().may_send() && !self.socket_ref().is_active() {
                return Err(io::Error::new(ErrorKind::ConnectionReset, "connection reset by the guest"));
            }
            self.turn("sending")?;
        }
        Ok(())
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        self.socket().close();
        let limit = Instant::now() + CLOSE_LIMIT;
        loop {
            let is_over = matches!(self.socket_ref().state(), tcp::State::Closed | tcp::State::TimeWait);
            // The last turn sends the last acknowledgement.
            let wait = if is_over { Duration::ZERO } else { left(limit) };
            if self.peer.turn(wait).is_err() || is_over {
                break;
            }
            if Instant::now() >= limit {
                self.socket().abort();
                // Sends the reset. Nobody is left to tell if even that fails.
                let _ = self.peer.turn(Duration::ZERO);
                break;
            }
        }
        self.peer.sockets.remove(self.handle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use tempfile::TempDir;

    const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    /// Two hosts on a wire that behaves like QEMU's end: short queues, sockets that are bound but
    /// not connected. The wire lives until the folder is gone.
    fn pair() -> (Peer, Peer, TempDir) {
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name);
        let peer = |ours: &str, wire: &str, last, address| {
            let cable = Cable::bind(&path(ours)).unwrap();
            let wire = UnixDatagram::bind(path(wire)).unwrap();
            cable.connect(&path("wire").with_extension(ours), soon()).unwrap();
            (Peer::new(cable, [2, 0, 0, 0, 0, last], address, 24).unwrap(), wire)
        };
        let (client, client_wire) = peer("client", "wire.client", 1, CLIENT);
        let (server, server_wire) = peer("server", "wire.server", 2, SERVER);
        for (from, to, far) in [
            (client_wire.try_clone().unwrap(), server_wire.try_clone().unwrap(), path("server")),
            (server_wire, client_wire, path("client")),
        ] {
            from.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            thread::spawn(move || {
                let mut frame = [0; 2048];
                while far.exists() {
                    if let Ok(len) = from.recv(&mut frame) {
                        let _ = to.send_to(&frame[..len], &far);
                    }
                }
            });
        }
        (client, server, folder)
    }

    fn listen(peer: &mut Peer) -> SocketHandle {
        let mut socket = tcp_socket();
        socket.listen(7).unwrap();
        peer.sockets.add(socket)
    }

    /// A server that echoes every connection to port 7 until told to stop. The next connection may
    /// come in before the last one is done with.
    fn echo(mut peer: Peer, stop: &AtomicBool) {
        let mut next = listen(&mut peer);
        while !stop.load(Ordering::Relaxed) {
            if !peer.sockets.get::<tcp::Socket<'_>>(next).may_recv() {
                peer.turn(Duration::from_millis(1)).unwrap();
                continue;
            }
            let handle = std::mem::replace(&mut next, listen(&mut peer));
            let mut connection = Connection { peer: &mut peer, handle, deadline: soon() };
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = connection.read(&mut buffer) {
                connection.write_all(&buffer[..len]).unwrap();
            }
        }
    }

    fn with_echo_server(client: impl FnOnce(&mut Peer)) {
        let (mut peer, server, _folder) = pair();
        let stop = Arc::new(AtomicBool::new(false));
        let server_stop = Arc::clone(&stop);
        let server = thread::spawn(move || echo(server, &server_stop));
        client(&mut peer);
        stop.store(true, Ordering::Relaxed);
        server.join().unwrap();
    }

    #[test]
    fn pings_in_several_sizes() {
        with_echo_server(|peer| {
            for (seq_no, payload_bytes) in [(1, 0), (2, 56), (3, 1400), (4, 1472)] {
                peer.ping(SERVER, seq_no, payload_bytes, soon()).unwrap();
            }
        });
    }

    #[test]
    fn a_megabyte_there_and_back_through_a_short_queue() {
        with_echo_server(|peer| {
            let mut connection = peer.connect(SocketAddrV4::new(SERVER, 7), soon()).unwrap();
            let mut back = vec![0; 64 * 1024];
            for round in 0..16 {
                let mut bytes = vec![0; back.len()];
                Noise::new(round).read_exact(&mut bytes).unwrap();
                connection.write_all(&bytes).unwrap();
                connection.read_exact(&mut back).unwrap();
                assert!(back == bytes, "round {round}");
            }
        });
    }

    #[test]
    fn many_connections_one_after_another() {
        with_echo_server(|peer| {
            for round in 0..50_u8 {
                let mut connection = peer.connect(SocketAddrV4::new(SERVER, 7), soon()).unwrap();
                connection.write_all(&[round]).unwrap();
                let mut back = [0];
                connection.read_exact(&mut back).unwrap();
                assert_eq!(back, [round]);
            }
            assert_eq!(peer.sockets.iter().count(), 1, "only the ping socket is left");
        });
    }

    #[test]
    fn a_silent_host_ends_in_an_error() {
        let (mut peer, _silent, _folder) = pair();
        let brief = || Instant::now() + Duration::from_millis(30);
        let error = peer.ping(SERVER, 1, 56, brief()).unwrap_err();
        assert!(error.to_string().contains("no reply to echo request 1"), "{error:#}");
        let error = peer.connect(SocketAddrV4::new(SERVER, 7), brief()).unwrap_err();
        assert!(error.to_string().contains("no answer from 10.0.0.2:7"), "{error:#}");
    }

    #[test]
    fn a_closed_port_is_refused() {
        with_echo_server(|peer| {
            let error = peer.connect(SocketAddrV4::new(SERVER, 9), soon()).unwrap_err();
            assert!(error.to_string().contains("refused"), "{error:#}");
        });
    }
}
