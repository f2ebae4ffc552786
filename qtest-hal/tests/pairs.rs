//! Several pairs of queues of QEMU's network device, on a tap with as many: the host spreads what
//! it sends over them, and every frame is received. Skipped, with a word about why, where QEMU is
//! not installed, or no tap may be made.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::process::Command;
use std::time::Duration;

use paravane_hal::irq::Interrupts;
use paravane_hal::time::wait_for;
use paravane_net::{
    Burst, Change, Control as _, FrameLayout, FramePool, Rss, RssKinds, RxCounters, RxFilter, RxOffloads,
    RxQueue as _, Settings, TxQueue as _,
};
use paravane_pci::{Function, PciAddress};
use paravane_qtest_hal::{Chipset, Machine, Setup};
use paravane_virtio::net::{Config, Device, NetFeatures};
use paravane_virtio::transport::pci;

const LIMIT: Duration = Duration::from_secs(5);
const FLOWS: u16 = 64;
const PORT: u16 = 4711;

/// A machine whose NIC, in slot 8, has so many pairs of queues on a tap of that name, which is up.
fn machine(name: &str, subnet: u8, pairs: u16, more: &str) -> Option<Machine> {
    let tap = format!("tap,id=t0,queues={pairs},script=no,downscript=no,ifname={name}");
    let nic = format!("virtio-net-pci,disable-legacy=on,netdev=t0,mq=on,vectors=10,addr=0x8,romfile={more}");
    let setup = Setup::new(Chipset::Q35).arguments(["-netdev", &tap, "-device", &nic]);
    let machine = match Machine::start(&setup) {
        Ok(machine) => machine,
        Err(error) if error.may_skip() || error.to_string().contains("tun") => {
            println!("skipped: {error}");
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    let address = format!("10.211.{subnet}.1/24");
    for words in [&["addr", "add", &address, "dev", name][..], &["link", "set", name, "up"]] {
        if !Command::new("ip").args(words).status().is_ok_and(|status| status.success()) {
            println!("skipped: ip {words:?} failed");
            return None;
        }
    }
    Some(machine)
}

/// Sends a datagram from each of so many ports to everyone.
fn send(subnet: u8) -> Option<Vec<UdpSocket>> {
    (0..FLOWS)
        .map(|flow| {
            let socket = UdpSocket::bind((format!("10.211.{subnet}.1"), 0)).ok()?;
            socket.set_broadcast(true).ok()?;
            let to = (format!("10.211.{subnet}.255"), PORT);
            socket.send_to(&flow.to_be_bytes(), to).ok().map(|_| socket)
        })
        .collect()
}

/// The flow of a datagram of ours.
fn flow(bytes: &[u8]) -> Option<u16> {
    let (kind, protocol, port) = (bytes.get(12..14)?, *bytes.get(23)?, bytes.get(36..38)?);
    let is_ours = kind == [8, 0] && protocol == 17 && port == PORT.to_be_bytes();
    is_ours.then(|| u16::from_be_bytes([bytes[42], bytes[43]]))
}

fn run(name: &str, subnet: u8, more: &str, settings: Settings) {
    let Some(machine) = machine(name, subnet, 4, more) else { return };
    let function = Function::claim(machine.config().clone(), PciAddress::new(0, 0, 8, 0).unwrap()).unwrap();
    let device = pci::open(function, machine.platform().clone(), Device::new).unwrap();
    let pool = FramePool::new(machine.platform().clone(), FrameLayout::new(1000)).unwrap();
    let config = Config::default().with_settings(settings);
    let mut up = device.start(&config, pool.clone(), Interrupts::POLLING).unwrap();
    assert_eq!(up.control.pairs(), 4);
    assert!(up.control.features().has(NetFeatures::MQ));
    let Some(_sockets) = send(subnet) else { return println!("skipped: nothing can be sent") };
    let mut seen = BTreeSet::new();
    let rx = &mut up.rx;
    wait_for(machine.platform(), LIMIT, || {
        let mut burst = Burst::new();
        rx.receive(&mut burst).unwrap();
        while let Some(frame) = burst.pop() {
            let mut bytes = vec![0; frame.total_bytes()];
            frame.copy_out(&mut bytes).unwrap();
            seen.extend(flow(&bytes));
        }
        (seen.len() == usize::from(FLOWS)).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: {seen:?}"));
    let mut pairs = up.rx.take_pairs();
    let counted = |counters: RxCounters| counters.frames;
    let frames: Vec<_> = [counted(up.rx.counters())]
        .into_iter()
        .chain(pairs.iter().map(|pair| counted(pair.rx.counters())))
        .collect();
    println!("frames of each pair: {frames:?}");
    assert!(frames.iter().filter(|frames| **frames > 0).count() > 1, "{frames:?}");
    // The last of them sends, too.
    let mut out = pool.get().unwrap();
    assert!(out.append(&[0xff; 60]));
    let mut burst = Burst::new();
    burst.push(out);
    let last = pairs.last_mut().unwrap();
    assert_eq!(last.tx.transmit(&mut burst), Ok(1));
    wait_for(machine.platform(), LIMIT, || (last.tx.reclaim().unwrap() == 1).then_some(())).unwrap();
    up.rx.give_back(pairs);
    // A tap has headers, and so something to switch.
    for offloads in [RxOffloads::empty(), RxOffloads::CHECKSUM] {
        assert_eq!(up.control.change(Change::RxOffloads(offloads)), Ok(()));
    }
    up.stop().unwrap();
    assert_eq!(pool.free(), pool.buffers());
    machine.check().unwrap();
}

#[test]
fn the_host_spreads_and_every_frame_is_received() {
    run(&format!("pva{}", std::process::id()), 77, "", Settings::default());
}

#[test]
fn the_device_spreads_as_it_was_told() {
    let rss = Rss::new(RssKinds::IP4 | RssKinds::UDP4, &[0, 1, 2, 3]).unwrap();
    let settings = Settings::default().with_rss(rss).with_filter(RxFilter::PROMISCUOUS);
    run(&format!("pvb{}", std::process::id()), 78, ",rss=on", settings);
}
