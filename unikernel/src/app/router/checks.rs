//! Asks servers whether they answer: connections of the machine's own, over the path.
//!
//! ```text
//!  balancer's checks -- due --> a socket --> smoltcp --> Path::send      --> as any packet
//!  balancer's pool  <-- mark -- its answer <-- smoltcp <-- Path::fetch  <-- only what is expected
//! ```
//!
//! The stack has no link of its own: it makes and takes IP packets, which find their way as all
//! others do. Nothing listens, and what no socket of these waits for does not come here.

use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::ops::Range;
use core::time::Duration;

use paravane_appliance::balance::Balancer;
use paravane_appliance::check::{Attempt, Due};
use paravane_appliance::flow::Key;
use paravane_appliance::interface::InterfaceId;
use paravane_appliance::packet::edit::Ends;
use paravane_appliance::packet::wire::PROTOCOL_TCP;
use paravane_appliance::path::Path;
use paravane_appliance::pool::{Health, ServerId};
use paravane_appliance::random::Random;
use paravane_appliance::route::Kind;
use paravane_hal::time::Instant;
use paravane_net::{Burst, Frame, FramePool};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::wire::{HardwareAddress, Ipv4Address, Ipv6Address};

/// Where its connections come from. What stands for clients' ports is below.
pub const PORTS: Range<u16> = 61_440..u16::MAX;
/// So many servers are asked at a time.
const SOCKETS: usize = 32;
/// What a socket holds of an answer that was not read yet.
const RX_BYTES: usize = 2048;
/// The longest request: a path, a host, and what is around them.
const TX_BYTES: usize = 1024;
/// The largest packet that is sent: each link takes it.
const MTU_BYTES: usize = 1280;
const ETHERNET_BYTES: usize = 14;
/// The longest frame that is looked at.
const FRAME_BYTES: usize = ETHERNET_BYTES + 65_535;

/// Who asks servers.
pub struct Checker {
    interface: Interface,
    sockets: SocketSet<'static>,
    /// Those that nobody has.
    free: Vec<SocketHandle>,
    running: Vec<Running>,
    wire: Wire,
    next_port: u16,
    /// How often there was no socket, or no way.
    put_off: u64,
}

/// One question that is under way.
struct Running {
    service: u16,
    attempt: Attempt,
    socket: SocketHandle,
    /// Of what comes back.
    key: Key,
}

impl core::fmt::Debug for Checker {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Checker({} running, {} put off)", self.running.len(), self.put_off)
    }
}

impl Checker {
    /// One whose frames are from `pool`.
    #[must_use]
    pub fn new(pool: FramePool, random: &mut Random, now: Instant) -> Self {
        let mut wire =
            Wire { pool, incoming: Burst::new(), outgoing: Burst::new(), bytes: vec![0; FRAME_BYTES] };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = random.u64();
        let mut interface = Interface::new(config, &mut wire, stack_time(now));
        // Whose address it is, the path has seen to; and where to, it finds.
        interface.set_any_ip(true);
        let routes = interface.routes_mut();
        // The table has room for one of each version, and none is there.
        let _ = routes.add_default_ipv4_route(Ipv4Address::new(192, 0, 2, 1));
        let _ = routes.add_default_ipv6_route(Ipv6Address::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
        let mut sockets = SocketSet::new(Vec::with_capacity(SOCKETS));
        let buffer = |len_bytes| tcp::SocketBuffer::new(vec![0; len_bytes]);
        let free = (0..SOCKETS).map(|_| sockets.add(tcp::Socket::new(buffer(RX_BYTES), buffer(TX_BYTES))));
        let free = free.collect();
        let first = u16::try_from(random.u64() % u64::from(PORTS.end - PORTS.start)).unwrap_or(0);
        let next_port = PORTS.start.saturating_add(first);
        Self { interface, sockets, free, running: Vec::with_capacity(SOCKETS), wire, next_port, put_off: 0 }
    }

    /// How often a server could not be asked when it was due.
    #[must_use]
    pub const fn put_off(&self) -> u64 {
        self.put_off
    }

    /// Once around. When to come again, at the latest, if nothing comes in before.
    pub fn turn(&mut self, path: &mut Path, now: Instant) -> Option<Instant> {
        let began = self.begin(path, now);
        for number in 0..=u8::MAX {
            let Some(local) = path.fetch(InterfaceId(number)) else { break };
            self.wire.incoming.append(core::mem::take(local));
        }
        // A turn of the stack looks at all its sockets, and none has anything to do.
        if self.running.is_empty() && self.wire.incoming.is_empty() {
            return self.next(path, now);
        }
        let time = stack_time(now);
        self.interface.poll(time, &mut self.wire, &mut self.sockets);
        let ended = self.follow(path, now);
        if ended {
            // Ends are told.
            self.interface.poll(time, &mut self.wire, &mut self.sockets);
            self.give_back();
        }
        if began || ended {
            path.expect(self.running.iter().map(|running| running.key).collect());
        }
        while let Some(frame) = self.wire.outgoing.pop() {
            path.send(frame, now);
        }
        self.next(path, now)
    }

    /// Asks those that are due. Whether there were any.
    fn begin(&mut self, path: &mut Path, now: Instant) -> bool {
        let mut began = false;
        let count = path.balancer().map_or(0, |balancer| balancer.services().len());
        for service in 0..u16::try_from(count).unwrap_or(u16::MAX) {
            // Ends: none is due again before its interval is over.
            while let Some(due) = due(path, service, now) {
                began |= match due {
                    Due::Probe(attempt) => self.ask(path, service, attempt, now),
                    Due::Marked(server, health) => {
                        mark(path, service, (server, health), now);
                        false
                    }
                };
            }
        }
        began
    }

    /// Begins a connection. Whether it did.
    fn ask(&mut self, path: &mut Path, service: u16, attempt: Attempt, now: Instant) -> bool {
        let ends = self.ends(path, service, &attempt, now);
        let connected = ends.and_then(|(local, remote, zone)| {
            let ends = Ends {
                source: remote.ip(),
                destination: local.ip(),
                source_port: remote.port(),
                destination_port: local.port(),
            };
            let key = Key::new(ends, PROTOCOL_TCP, zone)?;
            let socket = self.free.pop()?;
            let tcp = self.sockets.get_mut::<tcp::Socket<'_>>(socket);
            if tcp.connect(self.interface.context(), remote, local).is_err() {
                self.free.push(socket);
                return None;
            }
            Some((socket, key))
        });
        match connected {
            Some((socket, key)) => {
                self.running.push(Running { service, attempt, socket, key });
                true
            }
            None => {
                self.put_off = self.put_off.saturating_add(1);
                let balancer = path.balancer_mut();
                if let Some(serving) = balancer.and_then(|balancer| balancer.service_mut(service)) {
                    serving.checks_mut().put_off(attempt, now);
                }
                false
            }
        }
    }

    /// From where a server is asked, where, and by which interface.
    fn ends(
        &mut self,
        path: &Path,
        service: u16,
        attempt: &Attempt,
        now: Instant,
    ) -> Option<(SocketAddr, SocketAddr, u8)> {
        let serving = path.balancer()?.services().get(usize::from(service))?;
        let view = serving.pool().server(attempt.server(), now)?;
        let remote = serving.checks().settings().address_of(view.server);
        let Kind::Unicast(hop) = path.routes().lookup(remote.ip())? else { return None };
        let own = path.interfaces().get(hop.interface.index())?;
        let local: IpAddr = match remote.ip() {
            IpAddr::V4(remote) => own.source_for_v4(remote)?.into(),
            IpAddr::V6(remote) => own.source_for_v6(remote)?.into(),
        };
        let local = SocketAddr::new(local, self.port()?);
        Some((local, remote, hop.interface.0))
    }

    /// A port that no connection has.
    fn port(&mut self) -> Option<u16> {
        // One more than there are sockets: one of these is free.
        (0..=SOCKETS).find_map(|_| {
            let port = self.next_port;
            self.next_port =
                if port.saturating_add(1) < PORTS.end { port.saturating_add(1) } else { PORTS.start };
            let is_taken = self.running.iter().any(|running| running.key.destination_port() == port);
            (!is_taken).then_some(port)
        })
    }

    /// Moves each connection on. Whether any ended.
    fn follow(&mut self, path: &mut Path, now: Instant) -> bool {
        let before = self.running.len();
        let Self { running, sockets, .. } = self;
        let Some(balancer) = path.balancer_mut() else { return false };
        let mut at = 0;
        while let Some(one) = running.get_mut(at) {
            let socket = sockets.get_mut::<tcp::Socket<'_>>(one.socket);
            if !step(one, socket, balancer, now) {
                at = at.saturating_add(1);
                continue;
            }
            socket.abort();
            let Running { service, attempt, .. } = running.swap_remove(at);
            let Some(serving) = balancer.service_mut(service) else { continue };
            if let Some((server, health)) = serving.checks_mut().end(attempt, now) {
                serving.mark(server, health, now);
            }
        }
        running.len() < before
    }

    /// Sockets that nobody has, and that have said their last, are free.
    fn give_back(&mut self) {
        for (handle, _) in self.sockets.iter() {
            let is_taken = self.running.iter().any(|running| running.socket == handle);
            if !is_taken && !self.free.contains(&handle) {
                self.free.push(handle);
            }
        }
    }

    fn next(&mut self, path: &Path, now: Instant) -> Option<Instant> {
        let services = path.balancer().map_or(&[][..], |balancer| balancer.services());
        let due = services.iter().filter_map(|serving| serving.checks().next());
        let deadlines = self.running.iter().map(|running| running.attempt.deadline());
        let is_idle = self.running.is_empty();
        let delay = if is_idle { None } else { self.interface.poll_delay(stack_time(now), &self.sockets) };
        let of_stack = delay.map(|delay| now.saturating_add(Duration::from_micros(delay.total_micros())));
        due.chain(deadlines).chain(of_stack).min()
    }
}

/// Moves one connection on. Whether it is over.
fn step(one: &mut Running, socket: &mut tcp::Socket<'_>, balancer: &Balancer, now: Instant) -> bool {
    let Some(serving) = balancer.services().get(usize::from(one.service)) else { return true };
    if socket.may_send() {
        one.attempt.connected();
        // Fails only where it may not be sent, or be read.
        let sent = socket.send_slice(one.attempt.unsent(serving.checks().settings())).unwrap_or(0);
        one.attempt.sent(sent);
    }
    while socket.can_recv() {
        let read = socket.recv(|bytes| {
            one.attempt.received(bytes);
            (bytes.len(), bytes.len())
        });
        if !matches!(read, Ok(1..)) {
            break;
        }
    }
    let is_open =
        matches!(socket.state(), tcp::State::SynSent | tcp::State::SynReceived | tcp::State::Established);
    if !is_open {
        one.attempt.closed();
    }
    one.attempt.is_over(now)
}

fn due(path: &mut Path, service: u16, now: Instant) -> Option<Due> {
    path.balancer_mut()?.service_mut(service)?.checks_mut().due(now)
}

fn mark(path: &mut Path, service: u16, (server, health): (ServerId, Health), now: Instant) {
    if let Some(serving) = path.balancer_mut().and_then(|balancer| balancer.service_mut(service)) {
        serving.mark(server, health, now);
    }
}

/// The path as smoltcp sees it: a link of IP packets.
struct Wire {
    pool: FramePool,
    incoming: Burst,
    outgoing: Burst,
    bytes: Vec<u8>,
}

impl Device for Wire {
    type RxToken<'a> = Packet<'a>;
    type TxToken<'a> = Empty<'a>;

    fn receive(&mut self, _now: smoltcp::time::Instant) -> Option<(Packet<'_>, Empty<'_>)> {
        // Ends: each turn takes one out.
        loop {
            let mut frame = self.incoming.pop()?;
            // What a host on the same machine left to a device is done first.
            if !frame.complete_checksum() {
                continue;
            }
            if let Some(len_bytes) = frame.copy_out(&mut self.bytes) {
                frame.clear();
                let packet = Packet(self.bytes.get(ETHERNET_BYTES..len_bytes)?);
                return Some((packet, Empty { frame, outgoing: &mut self.outgoing }));
            }
        }
    }

    fn transmit(&mut self, _now: smoltcp::time::Instant) -> Option<Empty<'_>> {
        Some(Empty { frame: self.pool.get()?, outgoing: &mut self.outgoing })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU_BYTES;
        capabilities
    }
}

/// A packet that came.
struct Packet<'a>(&'a [u8]);

impl RxToken for Packet<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(self.0)
    }
}

/// A frame for a packet.
struct Empty<'a> {
    frame: Frame,
    outgoing: &'a mut Burst,
}

impl TxToken for Empty<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, len_bytes: usize, fill: F) -> R {
        let mut bytes = [0; ETHERNET_BYTES + MTU_BYTES];
        let (head, packet) = bytes.split_at_mut(ETHERNET_BYTES);
        // smoltcp asks for no more than there is.
        let (packet, _) = packet.split_at_mut(len_bytes.min(MTU_BYTES));
        let answer = fill(packet);
        let ethertype: [u8; 2] =
            if packet.first().is_some_and(|first| first >> 4 == 6) { [0x86, 0xdd] } else { [8, 0] };
        if let Some(place) = head.last_chunk_mut() {
            *place = ethertype;
        }
        if self.frame.append(head) && self.frame.append(packet) {
            self.outgoing.push(self.frame);
        }
        answer
    }
}

/// The same time for smoltcp.
fn stack_time(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(now.as_nanos() / 1000).unwrap_or(i64::MAX))
}
