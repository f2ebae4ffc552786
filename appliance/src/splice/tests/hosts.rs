//! Hosts, of smoltcp.

use std::cell::Cell;
use std::collections::VecDeque;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, ChecksumCapabilities, Device, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant as HostInstant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

thread_local! {
    pub(super) static MILLIS: Cell<u32> = const { Cell::new(0) };
}

/// The client's clock,
pub(super) fn client_clock() -> u32 {
    MILLIS.get().wrapping_add(0xffff_f000)
}

/// and that of servers.
pub(super) fn server_clock() -> u32 {
    MILLIS.get().wrapping_mul(3).wrapping_add(77)
}

/// A NIC of a host.
pub(super) struct Nic {
    pub(super) inbox: VecDeque<Vec<u8>>,
    outbox: Vec<Vec<u8>>,
}

pub(super) struct Received(Vec<u8>);

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

pub(super) struct Sending<'a>(&'a mut Vec<Vec<u8>>);

impl phy::TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut bytes = vec![0; len];
        let result = f(&mut bytes);
        self.0.push(bytes);
        result
    }
}

impl Device for Nic {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: HostInstant) -> Option<(Received, Sending<'_>)> {
        self.inbox.pop_front().map(|bytes| (Received(bytes), Sending(&mut self.outbox)))
    }

    fn transmit(&mut self, _: HostInstant) -> Option<Sending<'_>> {
        Some(Sending(&mut self.outbox))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = 1500;
        capabilities.checksum = ChecksumCapabilities::default();
        capabilities
    }
}

/// A host with one socket.
pub(super) struct Host {
    pub(super) nic: Nic,
    pub(super) interface: Interface,
    pub(super) sockets: SocketSet<'static>,
    pub(super) handle: SocketHandle,
    /// What it has to say, how much of it was said, and what it heard.
    pub(super) says: Vec<u8>,
    said: usize,
    pub(super) heard: Vec<u8>,
    /// It says nothing before it has heard so much.
    pub(super) waits_for: usize,
    pub(super) is_dead: bool,
}

impl Host {
    pub(super) fn new(
        address: IpAddress,
        seed: u64,
        buffer_bytes: usize,
        clock: Option<fn() -> u32>,
    ) -> Self {
        let mut nic = Nic { inbox: VecDeque::new(), outbox: Vec::new() };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut nic, HostInstant::ZERO);
        interface.update_ip_addrs(|addresses| addresses.push(IpCidr::new(address, 0)).unwrap());
        let buffer = || SocketBuffer::new(vec![0; buffer_bytes]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.set_tsval_generator(clock);
        socket.set_ack_delay(None);
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(socket);
        Self {
            nic,
            interface,
            sockets,
            handle,
            says: Vec::new(),
            said: 0,
            heard: Vec::new(),
            waits_for: 0,
            is_dead: false,
        }
    }

    pub(super) fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    pub(super) fn state(&mut self) -> State {
        self.socket().state()
    }

    pub(super) fn turn(&mut self, millis: u64) -> Vec<Vec<u8>> {
        if self.is_dead {
            self.nic.inbox.clear();
            return Vec::new();
        }
        let now = HostInstant::from_millis(i64::try_from(millis).unwrap());
        self.interface.poll(now, &mut self.nic, &mut self.sockets);
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
        while socket.can_recv() {
            let heard = &mut self.heard;
            socket.recv(|bytes| (bytes.len(), heard.extend_from_slice(bytes))).unwrap();
        }
        if self.heard.len() >= self.waits_for {
            if socket.can_send() && self.said < self.says.len() {
                self.said += socket.send_slice(&self.says[self.said..]).unwrap();
            }
            if self.said == self.says.len() && socket.may_send() {
                socket.close();
            }
        }
        self.interface.poll(now, &mut self.nic, &mut self.sockets);
        core::mem::take(&mut self.nic.outbox)
    }
}
