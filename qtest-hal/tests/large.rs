//! Large packets of the host's own TCP, by way of QEMU's devices: two ends of a connection, each
//! behind a tap with headers, and between the taps a forwarder of two NICs. What the host did not
//! cut, nobody does before the other end. Skipped, with a word about why, where QEMU is not
//! installed, or no tap or network namespace may be made.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::process::Command;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use paravane_hal::irq::Interrupts;
use paravane_hal::time::wait_for;
use paravane_net::{
    Burst, Config, Device, Frame, FrameLayout, FramePool, HashReport, RssKinds, Running, RxFilter,
    RxHashKind, RxOffloads, RxQueue as _, Settings, TxQueue as _,
};
use paravane_pci::{Function, PciAddress};
use paravane_qtest_hal::{Chipset, Machine, Setup};
use paravane_virtio::net::NetFeatures;
use paravane_virtio::transport::pci;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

const LIMIT: Duration = Duration::from_secs(60);
const PORT: u16 = 4712;
const BYTES: usize = 2 << 20;

/// A network namespace, which is no more when this is dropped.
struct Namespace(String);

impl Drop for Namespace {
    fn drop(&mut self) {
        ip(&["netns", "del", &self.0]);
    }
}

impl Namespace {
    /// Has the calling thread be in it.
    fn enter(name: &str) {
        let file = File::open(format!("/run/netns/{name}")).unwrap();
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    }
}

/// Whether that worked.
fn ip(words: &[&str]) -> bool {
    let works = Command::new("ip").args(words).status().is_ok_and(|status| status.success());
    if !works {
        println!("skipped: ip {words:?} failed");
    }
    works
}

/// A machine with NICs in slots 8 and 9, on taps of those names.
fn machine(names: [&str; 2], nics: [&str; 2]) -> Option<Machine> {
    let taps: Vec<_> =
        (0..2).map(|i| format!("tap,id=t{i},script=no,downscript=no,ifname={}", names[i])).collect();
    let nics: Vec<_> = (0..2).map(|i| format!("{},netdev=t{i},addr=0x{},romfile=", nics[i], 8 + i)).collect();
    let setup = Setup::new(Chipset::Q35)
        .arguments(["-netdev", &taps[0], "-device", &nics[0]])
        .arguments(["-netdev", &taps[1], "-device", &nics[1]]);
    match Machine::start(&setup) {
        Ok(machine) => Some(machine),
        Err(error) if error.may_skip() || error.to_string().contains("tun") => {
            println!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// The first tap here, the second one in a namespace of its own, each with an address.
fn addresses(names: [&str; 2], subnet: u8) -> Option<Namespace> {
    let [near, far] = [1, 2].map(|host| format!("10.212.{subnet}.{host}/24"));
    let name = names[1];
    let made = ip(&["addr", "add", &near, "dev", names[0]])
        && ip(&["link", "set", names[0], "up"])
        && ip(&["netns", "add", name]);
    let namespace = made.then(|| Namespace(name.into()))?;
    let moved = ip(&["link", "set", name, "netns", name])
        && ip(&["-n", name, "addr", "add", &far, "dev", name])
        && ip(&["-n", name, "link", "set", name, "up"]);
    moved.then_some(namespace)
}

fn pattern() -> Vec<u8> {
    (0..BYTES).map(|i| u8::try_from(i % 251).unwrap()).collect()
}

/// One end sends all, and then the other does. What each has received, it has compared.
fn talk(subnet: u8, namespace: &Namespace) -> [JoinHandle<()>; 2] {
    let name = namespace.0.clone();
    let address = format!("10.212.{subnet}.2:{PORT}");
    let to = address.clone();
    let far = thread::spawn(move || {
        Namespace::enter(&name);
        let (mut stream, _) = TcpListener::bind(address).unwrap().accept().unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut seen = vec![0; BYTES];
        stream.read_exact(&mut seen).unwrap();
        assert!(seen == pattern(), "there");
        stream.write_all(&seen).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    });
    let near = thread::spawn(move || {
        let started = Instant::now();
        // Until the other end listens, and is found.
        let mut stream = loop {
            match TcpStream::connect(&to) {
                Ok(stream) => break stream,
                Err(error) if started.elapsed() > LIMIT => panic!("{error}"),
                Err(_) => thread::sleep(Duration::from_millis(50)),
            }
        };
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(&pattern()).unwrap();
        let mut seen = vec![0; BYTES];
        stream.read_exact(&mut seen).unwrap();
        assert!(seen == pattern(), "and back");
    });
    [near, far]
}

/// What was forwarded in one direction.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Frames that were put together of several.
    large: u32,
    longest_bytes: usize,
}

impl Seen {
    fn note(&mut self, frame: &Frame) {
        self.large += u32::from(frame.offload().segmentation.is_some());
        self.longest_bytes = self.longest_bytes.max(frame.total_bytes());
    }
}

/// Passes on what is there.
fn forward(rx: &mut impl paravane_net::RxQueue, tx: &mut impl paravane_net::TxQueue, seen: &mut Seen) {
    let mut received = Burst::new();
    rx.receive(&mut received).unwrap();
    let mut out = Burst::new();
    while let Some(frame) = received.pop() {
        seen.note(&frame);
        out.push(frame);
    }
    while !out.is_empty() {
        tx.transmit(&mut out).unwrap();
        tx.reclaim().unwrap();
    }
    tx.flush();
    tx.reclaim().unwrap();
}

fn config() -> Config {
    let settings = Settings::default().with_filter(RxFilter::PROMISCUOUS);
    Config::default().with_settings(settings).with_rx_offloads(RxOffloads::CHECKSUM | RxOffloads::LARGE)
}

/// In buffers so long that every packet has few enough segments for any device.
fn pool(machine: &Machine) -> FramePool {
    FramePool::new(machine.platform().clone(), FrameLayout::new(4000).with_buffer_bytes(4096)).unwrap()
}

/// Forwards what two ends say to each other, then stops. What was seen, there and back.
fn forward_all<A: Device, B: Device>(
    (mut left, mut right): (Running<A>, Running<B>),
    subnet: u8,
    namespace: &Namespace,
) -> [Seen; 2] {
    let ends = talk(subnet, namespace);
    let mut seen = [Seen::default(); 2];
    let started = Instant::now();
    while ends.iter().any(|end| !end.is_finished()) && started.elapsed() < LIMIT {
        forward(&mut left.rx, &mut right.tx, &mut seen[0]);
        forward(&mut right.rx, &mut left.tx, &mut seen[1]);
    }
    for end in ends {
        assert!(end.is_finished(), "{seen:?}");
        end.join().unwrap();
    }
    assert_eq!((left.tx.counters().refused, right.tx.counters().refused), (0, 0));
    assert_eq!((left.rx.counters().dropped(), right.rx.counters().dropped()), (0, 0));
    println!("there and back: {seen:?}");
    assert!(A::stop(left).is_ok() && B::stop(right).is_ok());
    seen
}

fn function(machine: &Machine, slot: u8) -> Function<paravane_qtest_hal::Config> {
    Function::claim(machine.config().clone(), PciAddress::new(0, 0, slot, 0).unwrap()).unwrap()
}

#[test]
fn what_the_host_did_not_cut_arrives_at_the_other_end_as_it_was() {
    forward_between("disable-legacy=on", ["pvl", "pvm"], 1, true);
}

/// Each packet in one buffer, which holds the longest.
#[test]
fn what_the_host_did_not_cut_arrives_in_one_buffer() {
    forward_between("disable-legacy=on,mrg_rxbuf=off", ["pvr", "pvs"], 4, false);
    forward_between("disable-legacy=on,mrg_rxbuf=off,packed=on", ["pvt", "pvu"], 5, false);
}

/// Forwards between two devices with those `options`, which spread a packet over several buffers
/// or not.
fn forward_between(options: &str, names: [&str; 2], subnet: u8, spread: bool) {
    let [left, right] = names.map(|name| format!("{name}{}", std::process::id()));
    let nic = format!("virtio-net-pci,{options}");
    let Some(machine) = machine([&left, &right], [&nic; 2]) else { return };
    let Some(namespace) = addresses([&left, &right], subnet) else { return };
    let pool = pool(&machine);
    let [left, right] = [8, 9].map(|slot| {
        let platform = machine.platform().clone();
        let device =
            pci::open(function(&machine, slot), platform, paravane_virtio::net::Device::new).unwrap();
        let up = device.start(&config().into(), pool.clone(), Interrupts::POLLING).unwrap();
        let features = up.control.features();
        assert!(features.has(NetFeatures::GUEST_TSO4 | NetFeatures::GUEST_TSO6 | NetFeatures::HOST_TSO4));
        assert_eq!(features.has(NetFeatures::MRG_RXBUF), spread);
        up
    });
    for seen in forward_all((left, right), subnet, &namespace) {
        assert!(seen.large > 10 && seen.longest_bytes > 4096, "{seen:?}");
    }
    assert_eq!(pool.free(), pool.buffers());
    machine.check().unwrap();
}

#[test]
fn what_the_host_did_not_cut_vmxnet3_cuts() {
    let names = [&*format!("pvn{}", std::process::id()), &*format!("pvo{}", std::process::id())];
    let Some(machine) = machine(names, ["virtio-net-pci,disable-legacy=on", "vmxnet3"]) else { return };
    let Some(namespace) = addresses(names, 2) else { return };
    let pool = pool(&machine);
    let platform = machine.platform().clone();
    let virtio = pci::open(function(&machine, 8), platform, paravane_virtio::net::Device::new).unwrap();
    let virtio = virtio.start(&config().into(), pool.clone(), Interrupts::POLLING).unwrap();
    let vmxnet3 = paravane_vmxnet3::Device::new(function(&machine, 9), machine.platform().clone()).unwrap();
    let vmxnet3 = vmxnet3.start(&config().into(), pool.clone(), Interrupts::POLLING).unwrap();
    for seen in forward_all((virtio, vmxnet3), 2, &namespace) {
        assert!(seen.large > 10 && seen.longest_bytes > 4096, "{seen:?}");
    }
    assert_eq!(pool.free(), pool.buffers());
    machine.check().unwrap();
}

/// The hash of datagrams, by the key that was told, beside frames behind the longest headers.
#[test]
fn the_host_hashes_what_it_sends() {
    let names = [&*format!("pvp{}", std::process::id()), &*format!("pvq{}", std::process::id())];
    let nic = "virtio-net-pci,disable-legacy=on,hash=on";
    let Some(machine) = machine(names, [nic; 2]) else { return };
    let Some(_namespace) = addresses(names, 3) else { return };
    let pool = pool(&machine);
    let platform = machine.platform().clone();
    let device = pci::open(function(&machine, 8), platform, paravane_virtio::net::Device::new).unwrap();
    let report = HashReport::new(RssKinds::UDP4);
    let settings = Settings::default().with_filter(RxFilter::PROMISCUOUS).with_hash_report(report);
    let config = paravane_virtio::net::Config::default().with_settings(settings);
    let mut up = device.start(&config, pool.clone(), Interrupts::POLLING).unwrap();
    assert!(up.control.features().has(NetFeatures::HASH_REPORT));
    let socket = UdpSocket::bind("10.212.3.1:4713").unwrap();
    socket.set_broadcast(true).unwrap();
    socket.send_to(&[7; 100], "10.212.3.255:4714").unwrap();
    let is_ours = |bytes: &[u8]| bytes.get(34..38) == Some(&[0x12, 0x69, 0x12, 0x6a]);
    let (bytes, hash) = wait_for(machine.platform(), LIMIT, || {
        let mut burst = Burst::new();
        up.rx.receive(&mut burst).unwrap();
        std::iter::from_fn(|| burst.pop()).find_map(|frame| {
            let mut bytes = vec![0; frame.total_bytes()];
            frame.copy_out(&mut bytes).unwrap();
            is_ours(&bytes).then(|| (bytes, frame.rx_hash().unwrap()))
        })
    })
    .unwrap();
    assert_eq!(hash.kind, RxHashKind::Udp4);
    // Addresses and ports: each bit of them that is set adds the 32 bits of the key behind it.
    let input = [&bytes[26..34], &bytes[34..38]].concat();
    let bit = |bytes: &[u8], at: usize| u32::from(bytes[at / 8] >> (7 - at % 8) & 1);
    let window = |at: usize| (at..at + 32).fold(0, |window, at| window << 1 | bit(report.key(), at));
    let expected =
        (0..8 * input.len()).filter(|at| bit(&input, *at) == 1).fold(0, |hash, at| hash ^ window(at));
    assert_eq!(hash.value, expected);
    assert!(up.stop().is_ok());
    machine.check().unwrap();
}
