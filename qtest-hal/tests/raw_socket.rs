//! A large packet that QEMU's VMXNET3 is left to cut, at a raw socket of the host: the tap of
//! another NIC takes neither large packets nor open checksums, so that what leaves by it is what a
//! wire would have. Skipped, with a word about why, where QEMU is not installed, or no tap or
//! network namespace may be made.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs::File;
use std::os::fd::AsFd as _;
use std::process::Command;
use std::thread;
use std::time::Duration;

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use paravane_hal::irq::Interrupts;
use paravane_hal::pool::Chain;
use paravane_hal::time::wait_for;
use paravane_net::{
    Burst, ChecksumRequest, Control as _, Frame, FrameLayout, FramePool, Segmentation, SegmentationKind,
    TxOffload, TxQueue as _,
};
use paravane_pci::{Function, PciAddress};
use paravane_qtest_hal::{Chipset, Machine, Setup};
use paravane_vmxnet3::{Config, Device};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use smoltcp::phy::{Device as _, Medium, RawSocket, RxToken as _};
use smoltcp::time::Instant;

const LIMIT: Duration = Duration::from_secs(20);
const MSS_BYTES: u16 = 1448;
const PAYLOAD_BYTES: usize = 60 << 10;
const TRANSPORT_AT: u16 = 34;
const HEADER_BYTES: u16 = 54;
const FIRST_SEQUENCE: u32 = 0xffff_8000;
const PORTS: [u16; 2] = [4715, 4716];
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 9];

/// A network namespace, which is no more when this is dropped.
struct Namespace(String);

impl Drop for Namespace {
    fn drop(&mut self) {
        ip(&format!("netns del {}", self.0));
    }
}

/// Whether that worked.
fn ip(words: &str) -> bool {
    let works = Command::new("ip").args(words.split(' ')).status().is_ok_and(|status| status.success());
    if !works {
        println!("skipped: ip {words} failed");
    }
    works
}

/// A namespace that has both taps, with a bridge between them.
fn bridge(taps: [&str; 2]) -> Option<Namespace> {
    let name = taps[0];
    let made = ip(&format!("netns add {name}")).then(|| Namespace(name.into()))?;
    let is_up = ip(&format!("-n {name} link add bridge0 type bridge"))
        && taps.iter().all(|tap| {
            ip(&format!("link set {tap} netns {name}"))
                && ip(&format!("-n {name} link set {tap} master bridge0"))
                && ip(&format!("-n {name} link set {tap} up"))
        })
        && ip(&format!("-n {name} link set bridge0 up"));
    is_up.then_some(made)
}

/// A raw socket on `interface` of `namespace`, where the calling thread is from here on.
fn raw_socket(namespace: &Namespace, interface: &str) -> RawSocket {
    let file = File::open(format!("/run/netns/{}", namespace.0)).unwrap();
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    RawSocket::new(interface, Medium::Ethernet).unwrap()
}

fn payload() -> Vec<u8> {
    (0..=250).cycle().take(PAYLOAD_BYTES).collect()
}

/// A packet of that payload, in buffers of the pool, with the pseudo-header's sum for a checksum.
fn packet(pool: &FramePool, mac: [u8; 6]) -> Frame {
    let builder = PacketBuilder::ethernet2(mac, PEER)
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .tcp(PORTS[0], PORTS[1], FIRST_SEQUENCE, 4096)
        .ack(1)
        .psh();
    let mut bytes = Vec::new();
    builder.write(&mut bytes, &payload()).unwrap();
    let sum = 0x0a00 + 1 + 0x0a00 + 2 + 6 + 20 + PAYLOAD_BYTES;
    let field = usize::from(TRANSPORT_AT) + 16;
    bytes[field..field + 2].copy_from_slice(&u16::try_from(sum % 0xffff).unwrap().to_be_bytes());
    let mut pieces = Chain::new();
    for piece in bytes.chunks(4000) {
        let mut frame = pool.get().unwrap();
        assert!(frame.append(piece));
        pieces.push(frame);
    }
    let mut frame = pieces.join().unwrap();
    frame.set_offload(TxOffload {
        checksum: Some(ChecksumRequest { start_bytes: TRANSPORT_AT, offset_bytes: 16 }),
        segmentation: Some(Segmentation {
            kind: SegmentationKind::Tcp4,
            header_bytes: HEADER_BYTES,
            mss_bytes: MSS_BYTES,
            ecn: false,
        }),
    });
    frame
}

/// The sequence number and payload of one of our segments, if it is one, once all that its headers
/// say was held against it.
fn segment(bytes: &[u8]) -> Option<(u32, bool, Vec<u8>)> {
    let packet = SlicedPacket::from_ethernet(bytes).ok()?;
    let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Tcp(tcp))) = (&packet.net, &packet.transport) else {
        return None;
    };
    if [tcp.source_port(), tcp.destination_port()] != PORTS {
        return None;
    }
    let header = ip.header().to_header();
    assert_eq!(header.header_checksum, header.calc_header_checksum());
    assert_eq!(usize::from(header.total_len) + 14, bytes.len());
    let sum = tcp.calc_checksum_ipv4(header.source, header.destination).unwrap();
    assert_eq!(tcp.checksum() % u16::MAX, sum % u16::MAX);
    Some((tcp.sequence_number(), tcp.psh(), tcp.payload().to_vec()))
}

#[test]
fn sixty_kib_arrive_at_a_raw_socket_in_segments() {
    let names = ["a", "b"].map(|end| format!("pw{end}{}", std::process::id()));
    let [near, far] = [&*names[0], &*names[1]];
    let options = "script=no,downscript=no";
    let setup = Setup::new(Chipset::Q35)
        .arguments(["-netdev", &format!("tap,id=t0,{options},ifname={near}")])
        .arguments(["-device", "vmxnet3,netdev=t0,addr=0x8,romfile="])
        .arguments(["-netdev", &format!("tap,id=t1,{options},vnet_hdr=off,ifname={far}")])
        .arguments(["-device", "vmxnet3,netdev=t1,addr=0x9,romfile="]);
    let machine = match Machine::start(&setup) {
        Ok(machine) => machine,
        Err(error) if error.may_skip() || error.to_string().contains("tun") => {
            println!("skipped: {error}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let Some(namespace) = bridge([near, far]) else { return };
    let mut socket = raw_socket(&namespace, far);

    let layout = FrameLayout::new(700).with_buffer_bytes(4096);
    let pool = FramePool::new(machine.platform().clone(), layout).unwrap();
    let function = Function::claim(machine.config().clone(), PciAddress::new(0, 0, 8, 0).unwrap()).unwrap();
    let device = Device::new(function, machine.platform().clone()).unwrap();
    let mut nic = device.start(&Config::default(), pool.clone(), Interrupts::POLLING).unwrap();

    let mut burst = Burst::new();
    burst.push(packet(&pool, nic.control.info().mac.0));
    assert_eq!(nic.tx.transmit(&mut burst), Ok(1));
    nic.tx.flush();
    wait_for(machine.platform(), LIMIT, || (nic.tx.reclaim() == Ok(1)).then_some(())).unwrap();

    let (mut got, mut count) = (Vec::new(), 0);
    let started = std::time::Instant::now();
    while got.len() < PAYLOAD_BYTES {
        let Some((token, _)) = socket.receive(Instant::now()) else {
            assert!(started.elapsed() < LIMIT, "{} bytes in {count} segments", got.len());
            thread::sleep(Duration::from_millis(1));
            continue;
        };
        let Some((sequence, psh, part)) = token.consume(segment) else { continue };
        assert_eq!(sequence, FIRST_SEQUENCE.wrapping_add(u32::try_from(got.len()).unwrap()));
        let is_last = got.len() + part.len() == PAYLOAD_BYTES;
        assert_eq!(psh, is_last);
        assert!(part.len() == usize::from(MSS_BYTES) || is_last, "{} bytes", part.len());
        got.extend(part);
        count += 1;
    }
    assert!(got == payload());
    assert_eq!(count, PAYLOAD_BYTES.div_ceil(MSS_BYTES.into()));
    assert!(nic.stop().is_ok());
    assert_eq!(pool.free(), pool.buffers());
    machine.check().unwrap();
}
