//! Packets between `public` and `private`, of both IP versions, both ways; and those that do not go
//! on, with what their senders hear.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use smoltcp::wire::Ipv4Packet;

use super::packets::{ETHERNET, KINDS, Kind, Packet, Told, is_error, is_padded, is_v4, one_hop_further};
use super::{PRIVATE, PRIVATE_MTU_BYTES, PUBLIC, drops, plan, stations, status};
use crate::guest::{self, guest_address, guest_address_v6, host_address, host_address_v6};
use crate::noise::Noise;
use crate::qemu::{Machine, NicModel};
use crate::runner::Subject;
use crate::station::{self, Station};

/// For a frame to come through, on a busy machine.
const LIMIT: Duration = Duration::from_secs(10);
/// Lengths of what packets carry: none, odd, short, and as much as fits.
const LENGTHS: [usize; 5] = [0, 1, 33, 700, PRIVATE_MTU_BYTES as usize - 60];
const HOPS: u8 = 64;

pub(super) fn run(subject: Subject<'_>, machine: Machine, pair: [NicModel; 2], irq: &str) -> Result<String> {
    guest::run(subject.image, &plan(machine, pair, irq, PRIVATE_MTU_BYTES), |guest| {
        let mut stations = stations(guest)?;
        let passed = pass_all(&mut stations)?;
        let refused = refuse_all(&mut stations)?;
        fragment(&mut stations)?;
        echo_own(&mut stations)?;
        let status = status(guest)?;
        let mut counted = 0;
        for (nic, reason, least) in [
            ("public", "time_exceeded", 2),
            ("private", "time_exceeded", 2),
            ("public", "too_big", 2),
            ("private", "no_route", 1),
            ("private", "prohibited", 2),
            ("private", "unresolved", 2),
        ] {
            let seen = drops(&status, nic, reason)?;
            ensure!(seen >= least, "{seen} drops of {nic} for {reason}, at least {least} were made");
            counted += seen;
        }
        ensure!(status["ready"] == true, "not ready: {}", status["troubles"]);
        let modes = status["nics"].as_array().map(|nics| nics.iter().all(|nic| nic["interrupts"] == irq));
        ensure!(modes == Some(true), "a NIC does not interrupt by {irq}: {}", status["nics"]);
        Ok(format!("{passed} packets as they were, {refused} errors, {counted} drops counted"))
    })
}

fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    // Endless.
    let _ = std::io::Read::read_exact(&mut Noise::new(len as u64), &mut bytes);
    bytes
}

/// Every kind of packet, both ways, in several lengths: one hop further and otherwise as it was.
fn pass_all(stations: &mut [Station<'_>]) -> Result<usize> {
    let mut passed = 0;
    for (from, to) in [(PUBLIC, PRIVATE), (PRIVATE, PUBLIC)] {
        for address in [IpAddr::V4(host_address(to)), IpAddr::V6(host_address_v6(to))] {
            for kind in KINDS {
                for len in LENGTHS {
                    let payload = noise(len);
                    let frame = Packet { from, to: address, kind, hops: HOPS, payload: &payload }.frame()?;
                    stations[from - PUBLIC].send(&frame)?;
                    let wanted = one_hop_further(&frame, to);
                    let what = format!("{kind:?} of {len} bytes to {address}");
                    station::expect(stations, to - PUBLIC, &what, LIMIT, |seen| is_padded(seen, &wanted))?;
                    passed += 1;
                }
            }
        }
    }
    Ok(passed)
}

/// What does not go on: who sent it hears why.
fn refuse_all(stations: &mut [Station<'_>]) -> Result<usize> {
    let own =
        |nic, is_v4| if is_v4 { IpAddr::V4(guest_address(nic)) } else { IpAddr::V6(guest_address_v6(nic)) };
    let host =
        |nic, is_v4| if is_v4 { IpAddr::V4(host_address(nic)) } else { IpAddr::V6(host_address_v6(nic)) };
    let nobody = |nic: u8, is_v4| match is_v4 {
        true => IpAddr::V4(Ipv4Addr::new(10, 77, nic, 99)),
        false => IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, nic.into(), 0, 0, 0, 0x99)),
    };
    let unreachable: IpAddr = Ipv4Addr::new(198, 51, 100, 9).into();
    let nowhere: IpAddr = Ipv4Addr::new(192, 0, 2, 9).into();
    let nowhere_v6: IpAddr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9).into();
    let large = noise(1440);
    let small = noise(40);
    // From where, to where, with how many hops left, and carrying what; what is heard of it.
    let refused = [
        (PUBLIC, host(PRIVATE, true), 1, &small, (11, 0, 0)),
        (PRIVATE, host(PUBLIC, true), 1, &small, (11, 0, 0)),
        (PUBLIC, host(PRIVATE, false), 1, &small, (3, 0, 0)),
        (PRIVATE, host(PUBLIC, false), 1, &small, (3, 0, 0)),
        (PUBLIC, host(PRIVATE, true), HOPS, &large, (3, 4, PRIVATE_MTU_BYTES)),
        (PUBLIC, host(PRIVATE, false), HOPS, &large, (2, 0, PRIVATE_MTU_BYTES)),
        (PRIVATE, nowhere, HOPS, &small, (3, 0, 0)),
        (PRIVATE, nowhere_v6, HOPS, &small, (1, 0, 0)),
        (PRIVATE, unreachable, HOPS, &small, (3, 1, 0)),
        (PRIVATE, nobody(1, true), HOPS, &small, (3, 1, 0)),
        (PRIVATE, nobody(1, false), HOPS, &small, (1, 3, 0)),
    ];
    for (from, to, hops, payload, (kind, code, mtu_bytes)) in refused {
        let mut frame = Packet { from, to, kind: Kind::Udp, hops, payload }.frame()?;
        // As hosts send it that find out what fits.
        if to.is_ipv4() {
            frame[20] |= 0x40;
            Ipv4Packet::new_unchecked(&mut frame[ETHERNET..]).fill_checksum();
        }
        stations[from - PUBLIC].send(&frame)?;
        let what = format!("an error {kind}/{code} about a packet to {to}");
        let seen = station::expect(stations, from - PUBLIC, &what, LIMIT, is_error)?;
        let told = Told { from: own(from, to.is_ipv4()), about: &frame, kind, code, mtu_bytes };
        told.check(&seen).with_context(|| what)?;
    }
    // Nobody hears of this one.
    let blackhole: IpAddr = Ipv4Addr::new(198, 51, 101, 9).into();
    let frame =
        Packet { from: PRIVATE, to: blackhole, kind: Kind::Udp, hops: HOPS, payload: &small }.frame()?;
    stations[PRIVATE - PUBLIC].send(&frame)?;
    station::settle(stations, Duration::from_millis(200))?;
    let heard = stations[PRIVATE - PUBLIC].take().into_iter().filter(|frame| is_error(frame)).count();
    ensure!(heard == 0, "an error about what was to vanish");
    Ok(refused.len())
}

/// A packet that may be cut is, into parts that are all of it.
fn fragment(stations: &mut [Station<'_>]) -> Result<()> {
    let (payload, to) = (noise(1472), host_address(PRIVATE));
    let packet = Packet { from: PUBLIC, to: to.into(), kind: Kind::Udp, hops: HOPS, payload: &payload };
    let frame = packet.frame()?;
    let mut may_be_cut = frame.clone();
    may_be_cut[20] &= !0x40;
    Ipv4Packet::new_unchecked(&mut may_be_cut[ETHERNET..]).fill_checksum();
    stations[0].send(&may_be_cut)?;
    let mut together = vec![0; 1480];
    let mut covered = 0;
    while covered < together.len() {
        let part = station::expect(stations, 1, "a part of a large packet", LIMIT, |frame| {
            is_v4(frame) && frame[23] == 17
        })?;
        let ip = Ipv4Packet::new_checked(&part[ETHERNET..]).context("no IPv4 packet")?;
        ensure!(
            ip.verify_checksum() && ip.total_len() <= PRIVATE_MTU_BYTES,
            "a part that is too long, or wrong"
        );
        let at = usize::from(ip.frag_offset());
        let place = together.get_mut(at..at + ip.payload().len()).context("a part beyond the end")?;
        place.copy_from_slice(ip.payload());
        covered += ip.payload().len();
    }
    ensure!(together == frame[ETHERNET + 20..], "the parts are not what was sent");
    Ok(())
}

/// The router itself answers echoes, by the address on whose link they are asked alone.
fn echo_own(stations: &mut [Station<'_>]) -> Result<()> {
    let payload = noise(56);
    for (from, to) in [
        (PUBLIC, IpAddr::V4(guest_address(PUBLIC))),
        (PUBLIC, IpAddr::V6(guest_address_v6(PUBLIC))),
        (PRIVATE, IpAddr::V4(guest_address(PRIVATE))),
        (PRIVATE, IpAddr::V6(guest_address_v6(PRIVATE))),
    ] {
        let frame = Packet { from, to, kind: Kind::Echo, hops: HOPS, payload: &payload }.frame()?;
        stations[from - PUBLIC].send(&frame)?;
        station::expect(stations, from - PUBLIC, &format!("an echo of {to}"), LIMIT, |frame| {
            let (protocol, reply, at) =
                if is_v4(frame) { (frame[23] == 1, 0, 34) } else { (frame[20] == 58, 129, 54) };
            protocol && frame.get(at) == Some(&reply) && frame[at + 8..].starts_with(&payload)
        })?;
    }
    Ok(())
}
