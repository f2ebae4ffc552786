//! Packets at a firewall, one by one: what hosts send, what is to become of it, and which rule says
//! so. The rules are those of `tests/rules/shop.rules`.
//!
//! That something does not come out is seen without waiting for it: behind each packet goes one
//! that does, and what came out before that is all there was.

mod probes;
mod seen;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use etherparse::PacketBuilder;
use probes::{Kind, frame, marker};
pub use probes::{Outcome, Probe, probes};
use seen::{ACK, RST, SYN, Seen, What};
use serde_json::Value;

use crate::cases::router::{PRIVATE, PUBLIC, router_mac};
use crate::guest::host_mac;
use crate::station::Station;

/// The rules.
pub const RULES: &str = include_str!("../rules/shop.rules");

/// How long a packet may take.
const LIMIT: Duration = Duration::from_secs(5);

/// The file that [`RULES`] are.
#[must_use]
pub fn rules_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("rules/shop.rules")
}

/// How often each rule decides in all, by its line: on each probe, and once for the packets behind
/// those on each side, which are of one flow.
#[must_use]
pub fn expected_hits() -> Vec<(u32, u64)> {
    let mut lines: Vec<u32> = probes().iter().filter_map(|probe| probe.line).collect();
    lines.extend([PUBLIC, PRIVATE].map(|from| marker(from).line).into_iter().flatten());
    let count = |line: u32| lines.iter().filter(|other| **other == line).count() as u64;
    (10..=19).filter(|line| *line != 18).map(|line| (line, count(line))).collect()
}

/// Whether a router's status says that each rule decided as often.
///
/// # Errors
///
/// What it says otherwise.
pub fn check_hits(status: &Value) -> Result<()> {
    let rules = status["firewall"]["rules"].as_array().context("no rules in the status")?;
    let hits: Vec<_> =
        rules.iter().map(|rule| (rule["line"].as_u64(), rule["hits_total"].as_u64())).collect();
    let wanted: Vec<_> =
        expected_hits().into_iter().map(|(line, hits)| (Some(line.into()), Some(hits))).collect();
    ensure!(hits == wanted, "hits by line are {hits:?}, not {wanted:?}");
    let limited = |line: u64| {
        let rule = rules.iter().find(|rule| rule["line"] == line)?;
        rule["limited_total"].as_u64()
    };
    ensure!((limited(14), limited(15)) == (Some(2), Some(1)), "limits: {rules:?}");
    let counters = &status["firewall"]["counters"];
    let of = |lines: &[u32]| -> u64 {
        expected_hits().iter().filter(|(line, _)| lines.contains(line)).map(|(_, hits)| hits).sum()
    };
    ensure!(counters["web"] == of(&[12]) && counters["unwelcome"] == of(&[10, 16, 19]), "{counters}");
    Ok(())
}

/// Sends `probe`, and sees what becomes of it.
///
/// # Errors
///
/// Something else becomes of it.
pub fn send(stations: &mut [Station<'_>; 2], probe: &Probe) -> Result<()> {
    sent(stations, probe).with_context(|| {
        format!("{}: {:?} {} -> {}", probe.name, probe.kind, probe.source, probe.destination)
    })
}

fn sent(stations: &mut [Station<'_>; 2], probe: &Probe) -> Result<()> {
    let (from, to) = (probe.from - PUBLIC, other(probe.from) - PUBLIC);
    stations[from].send(&frame(probe.from, probe.kind, probe.source, probe.destination)?)?;
    let marker = marker(probe.from);
    let behind = frame(probe.from, marker.kind, marker.source, marker.destination)?;
    stations[from].send(&behind)?;
    let [mut here, mut there] = [Vec::new(), Vec::new()];
    let deadline = Instant::now() + LIMIT;
    let is_marker = |seen: &Seen| (seen.source, seen.destination) == (marker.source, marker.destination);
    // What passes may wait for its neighbour longer than the marker does.
    let is_probe = |seen: &Seen| seen.is(probe.kind, probe.source, probe.destination);
    while !there.iter().any(is_marker)
        || probe.outcome == Outcome::Passes && !there.iter().any(is_probe)
        || is_answer_missing(probe, &here)
    {
        for station in stations.iter_mut() {
            station.listen()?;
        }
        here.extend(stations[from].take().iter().filter_map(|frame| Seen::of(frame)));
        there.extend(stations[to].take().iter().filter_map(|frame| Seen::of(frame)));
        if Instant::now() >= deadline {
            bail!("after {LIMIT:?} there came {there:?} on the other side, and {here:?} back");
        }
        thread::yield_now();
    }
    there.retain(|seen| !is_marker(seen));
    judge(probe, &here, &there)?;
    if probe.outcome == Outcome::Passes {
        answer(stations, probe)?;
    }
    Ok(())
}

fn is_answer_missing(probe: &Probe, here: &[Seen]) -> bool {
    let is_awaited = matches!(probe.outcome, Outcome::Reset | Outcome::Prohibited | Outcome::Answered);
    is_awaited && here.is_empty()
}

fn judge(probe: &Probe, here: &[Seen], there: &[Seen]) -> Result<()> {
    let passed = there.iter().filter(|seen| seen.is(probe.kind, probe.source, probe.destination)).count();
    let wanted = usize::from(probe.outcome == Outcome::Passes);
    ensure!(there.len() == wanted && passed == wanted, "on the other side came {there:?}");
    let is_right = match (probe.outcome, here) {
        (Outcome::Passes | Outcome::Vanishes, []) => true,
        (Outcome::Reset, [seen]) => {
            seen.what == What::Tcp(RST | ACK)
                && (seen.source, seen.destination) == (probe.destination, probe.source)
        }
        // Spec: RFC 792 and RFC 1812, 5.2.7.1 (3, 13); RFC 4443, 3.1 (1, 1).
        (Outcome::Prohibited, [seen]) => {
            seen.what == if probe.source.is_ipv4() { What::Icmp(3, 13) } else { What::Icmp(1, 1) }
        }
        (Outcome::Answered, [seen]) => {
            let reply = if probe.source.is_ipv4() { What::Icmp(0, 0) } else { What::Icmp(129, 0) };
            seen.what == reply && (seen.source, seen.destination) == (probe.destination, probe.source)
        }
        _ => false,
    };
    ensure!(is_right, "back came {here:?}, and it {}", probe.outcome.name());
    Ok(())
}

/// The other host answers, and that comes back.
fn answer(stations: &mut [Station<'_>; 2], probe: &Probe) -> Result<()> {
    let by = other(probe.from);
    let (source, destination) = (probe.destination, probe.source);
    let link = PacketBuilder::ethernet2(host_mac(by), router_mac(by));
    let mut bytes = Vec::new();
    match (probe.kind, source.ip(), destination.ip()) {
        (Kind::Ping(id), IpAddr::V4(from), IpAddr::V4(to)) => {
            link.ipv4(from.octets(), to.octets(), 64).icmpv4_echo_reply(id, 1).write(&mut bytes, b"ping")?;
        }
        (Kind::Ping(id), IpAddr::V6(from), IpAddr::V6(to)) => {
            link.ipv6(from.octets(), to.octets(), 64).icmpv6_echo_reply(id, 1).write(&mut bytes, b"ping")?;
        }
        (Kind::Tcp(_), ..) => bytes = frame(by, Kind::Tcp(SYN | ACK), source, destination)?,
        _ => bytes = frame(by, Kind::Udp, source, destination)?,
    }
    stations[by - PUBLIC].send(&bytes)?;
    let deadline = Instant::now() + LIMIT;
    loop {
        for station in stations.iter_mut() {
            station.listen()?;
        }
        let came: Vec<_> =
            stations[probe.from - PUBLIC].take().iter().filter_map(|frame| Seen::of(frame)).collect();
        if came.iter().any(|seen| (seen.source, seen.destination) == (source, destination)) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "its answer does not come back");
        thread::yield_now();
    }
}

const fn other(nic: usize) -> usize {
    PUBLIC + PRIVATE - nic
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn status_is_judged_by_each_line() {
        let rule = |(line, hits): (u32, u64), more: u64| {
            let limited = match line {
                14 => Some(2),
                15 => Some(1),
                _ => None,
            };
            json!({"line": line, "hits_total": hits + more, "limited_total": limited})
        };
        let status = |more: u64| {
            let rules: Vec<_> = expected_hits().into_iter().map(|one| rule(one, more)).collect();
            let of = |line| expected_hits().iter().find(|(one, _)| *one == line).unwrap().1;
            json!({"firewall": {"rules": rules,
                "counters": {"web": of(12), "unwelcome": of(10) + of(16) + of(19)}}})
        };
        check_hits(&status(0)).unwrap();
        assert!(check_hits(&status(1)).is_err());
        assert!(expected_hits().iter().all(|(_, hits)| *hits > 0), "each rule decides on something");
    }
}
