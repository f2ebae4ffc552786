//! UDP on a stack: two lines, for who speaks by them.

use alloc::vec;
use core::net::{Ipv4Addr, SocketAddrV4};

use smoltcp::iface::SocketHandle;
use smoltcp::socket::udp;
use smoltcp::wire::{IpAddress, IpEndpoint};

use super::Stack;
use crate::app::server::{Datagrams, Line};

/// Datagrams that wait for the NIC, or for the neighbour's address, and their bytes.
const WAITING: usize = 16;
const WAITING_BYTES: usize = 16 << 10;
/// The same of those that came.
const CAME: usize = 4;
const CAME_BYTES: usize = 512;

/// The sockets, once somebody spoke.
#[derive(Debug, Default)]
pub(super) struct Lines([Option<SocketHandle>; 2]);

impl Stack {
    fn line(&mut self, line: Line) -> &mut udp::Socket<'static> {
        let Self { lines, sockets, .. } = self;
        let place = match line {
            Line::Log => &mut lines.0[0],
            Line::Time => &mut lines.0[1],
        };
        let handle = *place.get_or_insert_with(|| {
            let buffer = |count, bytes| {
                udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; count], vec![0; bytes])
            };
            sockets.add(udp::Socket::new(buffer(CAME, CAME_BYTES), buffer(WAITING, WAITING_BYTES)))
        });
        sockets.get_mut(handle)
    }
}

impl Datagrams for Stack {
    fn address(&self) -> Option<Ipv4Addr> {
        self.address.map(|address| address.address())
    }

    fn has_room(&mut self, line: Line) -> bool {
        // Without an address it would be sent from nobody.
        let has_address = self.address.is_some();
        let socket = self.line(line);
        has_address && (!socket.is_open() || socket.can_send())
    }

    fn send(&mut self, line: Line, port: u16, to: SocketAddrV4, bytes: &[u8]) -> bool {
        let socket = self.line(line);
        if socket.endpoint().port != port {
            socket.close();
            // Fails for port zero alone.
            let _ = socket.bind(port);
        }
        let to = IpEndpoint::new(IpAddress::Ipv4(*to.ip()), to.port());
        socket.send_slice(bytes, to).is_ok()
    }

    fn receive(&mut self, line: Line, into: &mut [u8]) -> Option<(SocketAddrV4, usize)> {
        let socket = self.line(line);
        // One that is longer than the room is none that was waited for.
        let (len, from) = socket.recv_slice(into).ok()?;
        let IpAddress::Ipv4(address) = from.endpoint.addr else { return None };
        Some((SocketAddrV4::new(address, from.endpoint.port), len))
    }
}
