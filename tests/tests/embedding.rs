//! The kernel of `docs/embedding.md` runs: on models of both kinds of NIC, from the walk of the bus
//! to a restart under a connection, with and without interrupts.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub,
    reason = "tests, and a page that shows a kernel"
)]

#[path = "embedding/kernel.rs"]
mod kernel;

use std::time::Duration;

use kernel::{Port, find_nics};
use paravane_hal::irq::MsiMessage;
use paravane_hal::time::Clock as _;
use paravane_mock_hal::model::virtio::{self, Net, Virtio};
use paravane_mock_hal::model::vmxnet3::{self, Vmxnet3};
use paravane_mock_hal::wire::{Habits, Wire};
use paravane_mock_hal::{MockPlatform, PciHost};
use paravane_pci::PciAddress;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp;
use smoltcp::wire::{IpAddress, IpCidr};

const SLOT: PciAddress = PciAddress::new(0, 0, 4, 0).unwrap();
const BYTES: usize = 300_000;

type MockPort = Port<MockPlatform, PciHost>;

/// Finds the one NIC of a machine and opens it with an address and a socket.
fn open(
    platform: &MockPlatform,
    host: &PciHost,
    last: u8,
    messages: Vec<MsiMessage>,
) -> (MockPort, SocketHandle) {
    let found = find_nics(host);
    assert_eq!(found.len(), 1);
    let mut messages = messages.into_iter();
    let mut port =
        Port::open(&found[0], host.clone(), platform.clone(), || messages.next(), |_| false).unwrap();
    port.interface
        .update_ip_addrs(|addrs| addrs.push(IpCidr::new(IpAddress::v4(10, 0, 0, last), 24)).unwrap());
    let buffer = || tcp::SocketBuffer::new(vec![0; 20_000]);
    let socket = port.sockets.add(tcp::Socket::new(buffer(), buffer()));
    (port, socket)
}

fn byte(at: usize) -> u8 {
    at.to_le_bytes()[0] ^ at.to_le_bytes()[1]
}

/// A transfer from a machine with VMware's NIC to one with a virtio NIC. Both restart their NICs in
/// between.
fn transfer(messages: u32) {
    let (left_machine, right_machine) = (MockPlatform::new(), MockPlatform::new());
    let vmxnet3 = Vmxnet3::plug(&left_machine, SLOT, [2, 0, 0, 0, 0, 1], vmxnet3::Personality::qemu());
    let personality = virtio::Personality::qemu();
    let net = Net::of(&personality, [2, 0, 0, 0, 0, 2]);
    let virtio = Virtio::plug(&right_machine, SLOT, net, personality);
    let clock = left_machine.clock();
    let mut wire = Wire::new(clock, vmxnet3.model.clone(), virtio.model.clone(), Habits::default()).waiting();

    let given = |machine: &MockPlatform| machine.interrupts().messages(messages);
    let (mut left, sender) = open(&left_machine, &vmxnet3.config, 1, given(&left_machine));
    let (mut right, receiver) = open(&right_machine, &virtio.host, 2, given(&right_machine));
    assert!(left.link_is_up && right.link_is_up);
    right.sockets.get_mut::<tcp::Socket<'_>>(receiver).listen(80).unwrap();
    let socket = left.sockets.get_mut::<tcp::Socket<'_>>(sender);
    socket.connect(left.interface.context(), (IpAddress::v4(10, 0, 0, 2), 80), 40_000).unwrap();

    let (mut sent, mut got) = (0, Vec::new());
    let mut restarts = [BYTES / 3, 2 * BYTES / 3].into_iter().peekable();
    for _ in 0..20_000 {
        let now = left_machine.now();
        let socket = left.sockets.get_mut::<tcp::Socket<'_>>(sender);
        let next: Vec<u8> = (sent..BYTES.min(sent + 8192)).map(byte).collect();
        sent += socket.send_slice(&next).unwrap_or(0);
        left.turn(now);
        wire.turn().unwrap();
        right.turn(now);
        wire.turn().unwrap();
        let socket = right.sockets.get_mut::<tcp::Socket<'_>>(receiver);
        while socket.can_recv() {
            socket.recv(|bytes| (bytes.len(), got.extend_from_slice(bytes))).unwrap();
        }
        if restarts.next_if(|at| got.len() >= *at).is_some() {
            left.restart();
            right.restart();
        }
        if got.len() == BYTES {
            break;
        }
        clock.advance(Duration::from_micros(100));
        right_machine.clock().advance(Duration::from_micros(100));
    }
    assert_eq!(got.len(), BYTES);
    assert!(got.iter().enumerate().all(|(at, seen)| *seen == byte(at)));
    assert_eq!(restarts.next(), None, "both restarts were under the connection");

    // Nothing is left to do, and who sleeps now is woken.
    let quiet = (0..1000).any(|_| {
        // Longer than an acknowledgement is held back.
        clock.advance(Duration::from_millis(20));
        right_machine.clock().advance(Duration::from_millis(20));
        let now = left_machine.now();
        let moved = left.turn(now) | right.turn(now) | (wire.turn().unwrap() > 0);
        !moved && !left.arm() && !right.arm()
    });
    assert!(quiet);
    let _ = right_machine.take_interrupts();
    let socket = left.sockets.get_mut::<tcp::Socket<'_>>(sender);
    socket.send_slice(b"more").unwrap();
    left.turn(left_machine.now());
    wire.turn().unwrap();
    assert_eq!(!right_machine.take_interrupts().is_empty(), messages > 0);
}

#[test]
fn a_kernel_with_smoltcp_runs_on_messages() {
    transfer(3);
}

#[test]
fn a_kernel_with_smoltcp_runs_on_one_message() {
    transfer(1);
}

#[test]
fn a_kernel_with_smoltcp_runs_without_interrupts() {
    transfer(0);
}
