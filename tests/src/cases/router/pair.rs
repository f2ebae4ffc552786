//! The router and another machine, which is played, share addresses: who has them, and what the
//! links see of it.

use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use etherparse::{IpNumber, PacketBuilder};
use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame};

use super::packets::router_mac;
use super::{MTU_BYTES, PAIRS, PRIVATE, PUBLIC, case, plan, stations, status};
use crate::guest::{self, Guest, Plan, guest_address, host_address, host_mac};
use crate::qemu::{Machine, NicModel};
use crate::runner::{Case, Subject};

/// What is shared on each link, and by which number.
const SHARED: [(usize, u8, Ipv4Addr); 2] =
    [(PUBLIC, 7, Ipv4Addr::new(10, 77, 1, 80)), (PRIVATE, 8, Ipv4Addr::new(10, 77, 2, 254))];
const GROUP_MAC: [u8; 6] = [1, 0, 0x5e, 0, 0, 18];
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
const PROTOCOL: u8 = 112;
const LINE_LIMIT: Duration = Duration::from_secs(30);
/// Between two looks at a link, and two words of the other machine.
const PAUSE: Duration = Duration::from_millis(50);
/// How often it is asked who has an address, of one who is not to answer.
const QUESTIONS: usize = 20;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, pair) in PAIRS {
        cases.push(case(&format!("pair/two-at-once/{name}"), move |subject| two_at_once(subject, pair)));
    }
    cases.push(case("pair/link-down", link_down));
    cases
}

fn sharing(pair: [NicModel; 2]) -> Plan {
    let share = |plan: Plan, (nic, id, address): (usize, u8, Ipv4Addr)| {
        plan.word(format!("vrrp={},{id},{address},interval=200ms,sync=pair", guest::nic_name(nic)))
    };
    SHARED.into_iter().fold(plan(Machine::Q35, pair, "auto", MTU_BYTES), share)
}

/// What the other machine says on the link of `nic`, with that priority: as keepalived does, with a
/// pseudo-header in its checksum.
///
/// Spec: RFC 5798, 5.1 "VRRP Packet Format".
fn advertisement(nic: usize, priority: u8) -> Result<Vec<u8>> {
    let (_, id, shared) =
        SHARED.into_iter().find(|(its, ..)| *its == nic).context("nothing is shared there")?;
    let source = host_address(nic);
    let mut message = vec![0x31, id, priority, 1, 0, 100, 0, 0];
    message.extend(shared.octets());
    let length = u8::try_from(message.len())?;
    let before = [&source.octets()[..], &GROUP.octets(), &[0, PROTOCOL, 0, length]].concat();
    let words = before.chunks_exact(2).chain(message.chunks_exact(2));
    let sum: u32 = words.map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16))?;
    message[6..8].copy_from_slice(&sum.to_be_bytes());
    let ip = PacketBuilder::ethernet2(host_mac(nic), GROUP_MAC).ipv4(source.octets(), GROUP.octets(), 255);
    let mut frame = Vec::new();
    ip.write(&mut frame, IpNumber(PROTOCOL), &message)?;
    Ok(frame)
}

/// The priority that the router says on a link, if it is that.
fn heard(frame: &[u8], nic: usize) -> Option<u8> {
    let is_its = frame.get(..12)? == [GROUP_MAC, router_mac(nic)].concat()
        && frame.get(12..14)? == [8, 0]
        && frame.get(22..24)? == [255, PROTOCOL]
        && frame.get(26..30)? == guest_address(nic).octets();
    is_its.then(|| frame.get(36).copied())?
}

fn speak(guest: &mut Guest, nic: usize, priority: u8) -> Result<()> {
    let frame = advertisement(nic, priority)?;
    stations(guest)?[nic - PUBLIC].send(&frame)
}

/// Waits for a frame on the link of `nic`.
fn wait_frame<T>(guest: &mut Guest, nic: usize, what: &str, is_it: impl Fn(&[u8]) -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + LINE_LIMIT;
    loop {
        let mut stations = stations(guest)?;
        let station = &mut stations[nic - PUBLIC];
        station.listen()?;
        if let Some(found) = station.take().iter().find_map(|frame| is_it(frame)) {
            return Ok(found);
        }
        ensure!(Instant::now() < deadline, "no {what} on {}", guest::nic_name(nic));
        thread::sleep(PAUSE);
    }
}

/// Asks on the link of `nic` who has `address`.
fn ask(guest: &mut Guest, nic: usize, address: Ipv4Addr) -> Result<()> {
    let mut frame =
        [&[0xff; 6][..], &host_mac(nic), &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &host_mac(nic)].concat();
    frame.extend(host_address(nic).octets());
    frame.extend([0; 6]);
    frame.extend(address.octets());
    stations(guest)?[nic - PUBLIC].send(&frame)
}

/// Whose MAC address `address` is said to have, by ARP of that kind.
fn said_by_arp(frame: &[u8], wanted: ArpOperation, address: Ipv4Addr) -> Option<[u8; 6]> {
    let ethernet = EthernetFrame::new_checked(frame)
        .ok()
        .filter(|frame| frame.ethertype() == smoltcp::wire::EthernetProtocol::Arp)?;
    let ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: EthernetAddress(mac),
        source_protocol_addr,
        ..
    } = ArpRepr::parse(&ArpPacket::new_checked(ethernet.payload()).ok()?).ok()?
    else {
        return None;
    };
    (operation == wanted && source_protocol_addr == address).then_some(mac)
}

/// Whether the router has what is shared on both links: asked by ARP.
fn expect_answers(guest: &mut Guest) -> Result<()> {
    for (nic, _, address) in SHARED {
        ask(guest, nic, address)?;
        let mac = wait_frame(guest, nic, "answer", |frame| said_by_arp(frame, ArpOperation::Reply, address))?;
        ensure!(mac == router_mac(nic), "{address} is said to be at {mac:02x?}");
    }
    Ok(())
}

/// Waits until it says on the console that it is so, on both links.
fn wait_state(guest: &mut Guest, from: usize, state: &str) -> Result<()> {
    for (nic, id, _) in SHARED {
        let words = format!("vrrp {} {id} IPv4: {state}", guest::nic_name(nic));
        guest.wait_line(from, &[&words], LINE_LIMIT)?;
    }
    Ok(())
}

/// Another machine is active as well: of a higher priority, which leaves; and of a lower one.
fn two_at_once(subject: Subject<'_>, pair: [NicModel; 2]) -> Result<String> {
    guest::run(subject.image, &sharing(pair), |guest| {
        wait_state(guest, 0, "active")?;
        for (nic, _, address) in SHARED {
            wait_frame(guest, nic, "gratuitous ARP", |frame| {
                said_by_arp(frame, ArpOperation::Request, address)
            })?;
            let priority = wait_frame(guest, nic, "advertisement", |frame| heard(frame, nic))?;
            ensure!(priority == 100, "it speaks with priority {priority}");
        }
        expect_answers(guest)?;

        // A higher one on one link: both sides go.
        let from = guest.position();
        speak(guest, PUBLIC, 200)?;
        let (ours, theirs) = (guest_address(PUBLIC), host_address(PUBLIC));
        let said = format!(
            "two machines are active: {ours} of priority 100, and {theirs} of priority 200; {theirs} goes on"
        );
        guest.wait_line(from, &["vrrp public 7 IPv4: ", &said], LINE_LIMIT)?;
        wait_state(guest, from, "backup")?;
        for _ in 0..QUESTIONS {
            speak(guest, PUBLIC, 200)?;
            for (nic, _, address) in SHARED {
                ask(guest, nic, address)?;
                let mut stations = stations(guest)?;
                let station = &mut stations[nic - PUBLIC];
                station.listen()?;
                let answer =
                    station.take().iter().find_map(|frame| said_by_arp(frame, ArpOperation::Reply, address));
                // What it sent before it stepped back may still be on its way.
                ensure!(answer.is_none(), "{address} is answered for by a backup");
            }
            thread::sleep(PAUSE);
        }
        let seen = status(guest)?;
        ensure!(
            seen["vrrp"][0]["state"] == "backup" && seen["vrrp"][1]["state"] == "backup",
            "{}",
            seen["vrrp"]
        );

        // It leaves; and one of a lower priority comes.
        let from = guest.position();
        speak(guest, PUBLIC, 0)?;
        wait_state(guest, from, "active")?;
        expect_answers(guest)?;
        let from = guest.position();
        speak(guest, PRIVATE, 50)?;
        let (ours, theirs) = (guest_address(PRIVATE), host_address(PRIVATE));
        let said = format!(
            "two machines are active: {ours} of priority 100, and {theirs} of priority 50; {ours} goes on"
        );
        guest.wait_line(from, &["vrrp private 8 IPv4: ", &said], LINE_LIMIT)?;
        expect_answers(guest)?;
        let seen = status(guest)?;
        for (member, became) in [(0, 2), (1, 2)] {
            let one = &seen["vrrp"][member];
            ensure!(one["state"] == "active" && one["became_active"] == became, "it is so: {one}");
        }
        let metrics = String::from_utf8(guest.get(0, "/metrics")?).context("metrics are text")?;
        for line in [
            "paravane_vrrp_active{nic=\"public\",id=\"7\",version=\"4\"} 1",
            "paravane_vrrp_rivals_total{nic=\"private\",id=\"8\",version=\"4\"} 1",
        ] {
            ensure!(metrics.lines().any(|seen| seen == line), "no {line} in the metrics");
        }
        Ok("the higher one goes on, and nobody answers for what it does not have".into())
    })
}

/// A link goes down: both sides go, the other one hears so, and both come back.
fn link_down(subject: Subject<'_>) -> Result<String> {
    let (_, pair) = PAIRS[0];
    guest::run(subject.image, &sharing(pair), |guest| {
        wait_state(guest, 0, "active")?;
        let from = guest.position();
        guest.set_link(PRIVATE, false)?;
        // Said once, and heard before anything else takes what comes by that link.
        wait_frame(guest, PUBLIC, "advertisement of who leaves", |frame| {
            heard(frame, PUBLIC).filter(|priority| *priority == 0)
        })?;
        wait_state(guest, from, "fault: a link is down")?;
        ensure!(status(guest)?["vrrp"][0]["state"] == "fault", "it is no fault in the status");
        let from = guest.position();
        guest.set_link(PRIVATE, true)?;
        wait_state(guest, from, "backup")?;
        wait_state(guest, from, "active")?;
        expect_answers(guest)?;
        let addresses = status(guest)?["interfaces"][0]["addresses"].to_string();
        let shared = IpAddr::from(SHARED[0].2).to_string();
        ensure!(addresses.contains(&shared), "{shared} is none of {addresses}");
        Ok("both sides went with one link, and came back".into())
    })
}
