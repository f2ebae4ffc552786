//! As many connections as there may be, in a machine with little memory: all live, and all that was
//! said of them holds.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};

use super::packets::router_mac;
use super::{PAIRS, PRIVATE, PUBLIC, bare_plan, case, drops, stations, status};
use crate::fat::{self, Disk, Place};
use crate::guest::{self, host_address, host_mac};
use crate::qemu::Machine;
use crate::runner::{Case, Subject};
use crate::station::Station;

const FLOWS: u32 = 100_000;
const MEMORY_MIB: u32 = 64;
/// So many begin at a time.
const WINDOW: usize = 24;
/// What did not come by then is sent again: a full cable drops.
const AGAIN: Duration = Duration::from_millis(300);
const TRIES: usize = 20;
const VIP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 77, 1, 80), 80);
const SERVER_PORT: u16 = 8001;
const DISK: &str = "virtio-blk-pci,disable-legacy=on,disable-modern=off,addr=0x10";

const SYN: u8 = 2;
const ACK: u8 = 16;

pub(super) fn cases() -> Vec<Case> {
    vec![case("balance/hundred-thousand-flows", hundred_thousand)]
}

fn paravane_toml() -> String {
    format!(
        "[admin]\naddress = \"10.77.0.2/24\"\n[public]\naddresses = [\"10.77.1.2/24\"]\n\
         [private]\naddresses = [\"10.77.2.2/24\"]\n[[route]]\nto = \"0.0.0.0/0\"\nvia = \"10.77.1.1\"\n\
         [balancer]\nflows = {FLOWS}\n[[service]]\nname = \"web\"\nlisten = \"{VIP}\"\ncheck = \"none\"\n\
         [[service.server]]\nname = \"one\"\naddress = \"{}:{SERVER_PORT}\"\n",
        host_address(PRIVATE)
    )
}

/// The client of that number.
fn client(number: u32) -> SocketAddrV4 {
    let [.., low] = (number / 50_000).to_be_bytes();
    let port = u16::try_from(10_000 + number % 50_000).unwrap_or(0);
    SocketAddrV4::new(Ipv4Addr::new(198, 18, 0, low), port)
}

/// Which client that was.
fn number(address: SocketAddrV4) -> Option<u32> {
    let [198, 18, 0, high] = address.ip().octets() else { return None };
    u32::from(address.port()).checked_sub(10_000)?.checked_add(u32::from(high) * 50_000)
}

/// A segment of one side to the router.
fn segment(
    from: usize,
    source: SocketAddrV4,
    to: SocketAddrV4,
    flags: u8,
    payload: &[u8],
) -> Result<Vec<u8>> {
    let link = PacketBuilder::ethernet2(host_mac(from), router_mac(from));
    let ip = link.ipv4(source.ip().octets(), to.ip().octets(), 64);
    let sequence = if flags & SYN != 0 { 1000 } else { 1001 };
    let mut tcp = ip.tcp(source.port(), to.port(), sequence, 60_000);
    if flags & SYN != 0 {
        tcp = tcp.syn();
    }
    if flags & ACK != 0 {
        tcp = tcp.ack(1001);
    }
    let mut frame = Vec::with_capacity(tcp.size(payload.len()));
    tcp.write(&mut frame, payload)?;
    Ok(frame)
}

/// Ends, flags and length of a segment that came out.
fn seen(frame: &[u8]) -> Option<(SocketAddrV4, SocketAddrV4, u8, usize)> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Tcp(tcp))) = (&packet.net, &packet.transport) else {
        return None;
    };
    let header = ip.header();
    let flags = [(tcp.syn(), SYN), (tcp.ack(), ACK)].into_iter().filter(|(is, _)| *is).map(|(_, flag)| flag);
    Some((
        SocketAddrV4::new(header.source_addr(), tcp.source_port()),
        SocketAddrV4::new(header.destination_addr(), tcp.destination_port()),
        flags.sum(),
        tcp.payload().len(),
    ))
}

/// Has a segment of each of these clients go through, from one side; again where one did not come
/// out.
fn through(
    stations: &mut [Station<'_>; 2],
    from: usize,
    clients: &[u32],
    flags: u8,
    payload: &[u8],
) -> Result<()> {
    let server = SocketAddrV4::new(host_address(PRIVATE), SERVER_PORT);
    let to = PUBLIC + PRIVATE - from;
    let mut missing: BTreeSet<u32> = clients.iter().copied().collect();
    for _ in 0..TRIES {
        for &one in &missing {
            let (source, destination) =
                if from == PUBLIC { (client(one), VIP) } else { (server, client(one)) };
            stations[from - PUBLIC].send(&segment(from, source, destination, flags, payload)?)?;
        }
        let until = Instant::now() + AGAIN;
        while !missing.is_empty() && Instant::now() < until {
            for station in stations.iter_mut() {
                station.listen()?;
            }
            for frame in stations[to - PUBLIC].take() {
                let Some((source, destination, seen, len)) = seen(&frame) else { continue };
                let (other, expected) = if from == PUBLIC {
                    (source, destination == server)
                } else {
                    (destination, source == VIP)
                };
                if expected && seen == flags && len == payload.len() {
                    number(other).map(|number| missing.remove(&number));
                }
            }
            thread::yield_now();
        }
        stations[from - PUBLIC].take();
        if missing.is_empty() {
            return Ok(());
        }
    }
    let which = missing.first();
    anyhow::bail!(
        "{} of {} segments with flags {flags} did not come out, as of {which:?}",
        missing.len(),
        clients.len()
    )
}

fn hundred_thousand(subject: Subject<'_>) -> Result<String> {
    let disk = Disk::make(Place::Mbr, 16, &[("paravane.toml", paravane_toml().as_bytes())])?;
    let (_, pair) = PAIRS[2];
    let mut plan = bare_plan(Machine::Q35, pair, "auto").extras(fat::options(&disk.path(), DISK, ""));
    plan.memory_mib = MEMORY_MIB;
    guest::run(subject.image, &plan, |guest| {
        let start = Instant::now();
        let mut stations = stations(guest)?;
        let all: Vec<u32> = (0..FLOWS).collect();
        for window in all.chunks(WINDOW) {
            through(&mut stations, PUBLIC, window, SYN, b"")?;
            through(&mut stations, PRIVATE, window, SYN | ACK, b"")?;
            through(&mut stations, PUBLIC, window, ACK, b"")?;
        }
        let took = start.elapsed();
        let opened = status(guest)?;
        let flows = &opened["flows"];
        ensure!(flows["current"] == FLOWS && flows["opened"] == FLOWS, "{flows}");
        ensure!(flows["evicted"] == 0 && flows["expired"] == 0, "some gave way: {flows}");

        // There is no room for one more, and each of the others lives.
        let mut stations = super::stations(guest)?;
        stations[0].send(&segment(PUBLIC, client(FLOWS), VIP, SYN, b"")?)?;
        let some: Vec<u32> = (0..FLOWS).step_by(97).collect();
        for window in some.chunks(WINDOW) {
            through(&mut stations, PUBLIC, window, ACK, b"question")?;
            through(&mut stations, PRIVATE, window, ACK, b"answer")?;
        }
        let seen = status(guest)?;
        ensure!(seen["flows"]["current"] == FLOWS, "{}", seen["flows"]);
        ensure!(drops(&seen, "public", "flows_full")? >= 1, "one more was taken than there is room for");
        let sessions = seen["services"][0]["current_sessions"].as_u64().context("no sessions")?;
        ensure!(sessions == u64::from(FLOWS), "{sessions} sessions");
        Ok(format!(
            "{FLOWS} connections in {MEMORY_MIB} MiB after {:.0} s, {} of them asked and answered, one more refused",
            took.as_secs_f64(),
            some.len()
        ))
    })
}
