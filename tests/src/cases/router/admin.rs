//! Nothing on `public` and `private` reaches the machine itself: no port of any of its addresses
//! answers, neither of TCP nor of UDP.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use etherparse::PacketBuilder;

use super::packets::{is_error, is_v4, router_mac};
use super::{MTU_BYTES, PAIRS, PRIVATE, PUBLIC, case, drops, plan, stations, status};
use crate::guest::{self, guest_address, guest_address_v6, host_address, host_address_v6, host_mac};
use crate::http::Request;
use crate::qemu::Machine;
use crate::runner::{Case, Subject};
use crate::station::{self, Station};

/// For the last answers to come back.
const SETTLE: Duration = Duration::from_millis(500);
/// Frames sent before what came back is looked at.
const HANDFUL: usize = 64;

pub(super) fn cases() -> Vec<Case> {
    vec![case("admin-out-of-reach", out_of_reach), case("pages", pages)]
}

fn out_of_reach(subject: Subject<'_>) -> Result<String> {
    let (_, pair) = PAIRS[0];
    guest::run(subject.image, &plan(Machine::Q35, pair, "auto", MTU_BYTES), |guest| {
        let mut tried = 0;
        for from in [PUBLIC, PRIVATE] {
            let mut stations = stations(guest)?;
            // Of both links, and that of admin, which the other NICs know nothing of.
            for to in [guest_address(from), guest_address(PUBLIC + PRIVATE - from), guest_address(0)] {
                tried += knock(&mut stations, from, to)?;
            }
            tried += knock_v6(&mut stations, from)?;
        }
        let seen = status(guest).context("admin itself")?;
        let dropped = drops(&seen, "public", "no_listener")? + drops(&seen, "private", "no_listener")?;
        ensure!(dropped > 0, "nothing was dropped that was for the machine");
        Ok(format!("{tried} ports tried from both sides, none answers"))
    })
}

/// Knocks at every port of TCP, and at every 16th of UDP, of `to` from the host on NIC `from`.
fn knock(stations: &mut [Station<'_>], from: usize, to: Ipv4Addr) -> Result<usize> {
    let link = || PacketBuilder::ethernet2(host_mac(from), router_mac(from));
    let ip = || link().ipv4(host_address(from).octets(), to.octets(), 64);
    let mut tried = 0;
    for port in 1..=u16::MAX {
        let mut frame = Vec::new();
        ip().tcp(40_000, port, 1, 1000).syn().write(&mut frame, &[])?;
        stations[from - PUBLIC].send(&frame)?;
        tried += 1;
        if port % 16 == 0 {
            let mut frame = Vec::new();
            ip().udp(40_000, port).write(&mut frame, b"?")?;
            stations[from - PUBLIC].send(&frame)?;
            tried += 1;
        }
        if tried % HANDFUL == 0 {
            listen(stations, from, to.into())?;
        }
    }
    station::settle(stations, SETTLE)?;
    listen(stations, from, to.into())?;
    Ok(tried)
}

/// The same for port 80, where the machine itself listens, of its addresses of IPv6.
fn knock_v6(stations: &mut [Station<'_>], from: usize) -> Result<usize> {
    for to in [guest_address_v6(from), guest_address_v6(0)] {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2(host_mac(from), router_mac(from))
            .ipv6(host_address_v6(from).octets(), to.octets(), 64)
            .tcp(40_000, 80, 1, 1000)
            .syn()
            .write(&mut frame, &[])?;
        stations[from - PUBLIC].send(&frame)?;
        station::settle(stations, SETTLE)?;
        listen(stations, from, to.into())?;
    }
    Ok(2)
}

/// Nothing came back but errors about what cannot be reached, and nothing came out elsewhere.
fn listen(stations: &mut [Station<'_>], from: usize, to: IpAddr) -> Result<()> {
    for (index, station) in stations.iter_mut().enumerate() {
        station.listen()?;
        for frame in station.take() {
            let protocol = if is_v4(&frame) { frame[23] } else { frame[20] };
            let is_ip = matches!(frame.get(12..14), Some([0x08, 0x00] | [0x86, 0xdd]));
            let is_fine = !is_ip || is_error(&frame) || ![6, 17].contains(&protocol);
            ensure!(
                is_fine,
                "a packet to {to} from the host on NIC {from} brought one out on NIC {}: {frame:02x?}",
                index + PUBLIC
            );
        }
    }
    Ok(())
}

/// What `admin` answers.
fn pages(subject: Subject<'_>) -> Result<String> {
    let (_, pair) = PAIRS[0];
    guest::run(subject.image, &plan(Machine::Q35, pair, "auto", MTU_BYTES), |guest| {
        ensure!(guest.get(0, "/livez")? == b"ok\n" && guest.get(0, "/readyz")? == b"ok\n", "not ready");
        for (target, part) in [
            ("/", "<html"),
            ("/page.css", "body {"),
            ("/page.js", "fetch("),
            ("/status.json", "\"10.77.1.2/24\""),
        ] {
            let text = String::from_utf8(guest.get(0, target)?)?;
            ensure!(text.contains(part), "{target} has no {part}");
        }
        let metrics = String::from_utf8(guest.get(0, "/metrics")?)?;
        let families = check_metrics(&metrics)?;
        for (method, target, wanted) in [
            ("POST", "/nics/public/restart", 404),
            ("GET", "/bytes/100", 404),
            ("GET", "/files/paravane.toml", 404),
            ("POST", "/status.json", 405),
            ("DELETE", "/", 405),
        ] {
            let response =
                guest.request(0, Request::new(method, target), &mut std::io::sink(), guest::REQUEST_LIMIT)?;
            ensure!(response.status == wanted, "{method} {target}: {}, not {wanted}", response.status);
        }
        guest.set_link(PRIVATE, false)?;
        guest.wait_line(0, &["nic private: link down"], guest::REQUEST_LIMIT)?;
        let mut why = Vec::new();
        let response = guest.request(0, Request::new("GET", "/readyz"), &mut why, guest::REQUEST_LIMIT)?;
        let why = String::from_utf8_lossy(&why).into_owned();
        ensure!(response.status == 503 && why == "private: the link is down\n", "{} {why}", response.status);
        ensure!(guest.get(0, "/livez")? == b"ok\n", "not alive");
        Ok(format!("{families} families of metrics, 5 refusals, unready without a link"))
    })
}

/// Whether each line is one of Prometheus's text format, each family is declared once and before
/// its values, and none comes twice. How many there are.
///
/// Spec: Prometheus "Exposition formats", text format 0.0.4.
fn check_metrics(text: &str) -> Result<usize> {
    let mut families: Vec<&str> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').context("a type without a kind")?;
            ensure!(["counter", "gauge"].contains(&kind), "a metric of kind {kind}");
            ensure!(!families.contains(&name), "{name} is declared twice");
            families.push(name);
        } else if !line.starts_with("# HELP ") {
            let (series, value) = line.rsplit_once(' ').context("a line without a value")?;
            let name = series.split_once('{').map_or(series, |(name, _)| name);
            ensure!(families.last() == Some(&name), "{name} is not where its family is");
            ensure!(value.parse::<f64>().is_ok(), "the value of {series} is {value}");
            ensure!(seen.insert(series), "{series} comes twice");
        }
    }
    ensure!(seen.contains("paravane_drops_total{nic=\"public\",reason=\"no_route\"}"), "no drops by reason");
    Ok(families.len())
}
