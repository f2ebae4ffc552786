//! Clients on `public`, back ends on `private`, and the balancer between them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use etherparse::PacketBuilder;
use serde_json::Value;
use smoltcp::phy::{Device as _, TxToken as _};
use smoltcp::time::Instant as StackInstant;

use super::packets::router_mac;
use super::{MTU_BYTES, PAIRS, PRIVATE, PUBLIC, bare_plan, case, status, words};
use crate::guest::{self, Guest, guest_address, guest_address_v6, host_address, host_address_v6, host_mac};
use crate::host::Peer;
use crate::host::web::{Answered, BackEnds, Clients};
use crate::http::{Client, Request};
use crate::noise::Noise;
use crate::qemu::{Machine, NicModel};
use crate::runner::{Case, Subject};

/// Where services are.
pub(super) const VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 80);
const VIP_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 1, 0, 0, 0, 0x80);
pub(super) const BACK_ENDS: [(&str, u16); 2] = [("one", 8001), ("two", 8002)];
const REQUESTS: u64 = 100;
const AT_A_TIME: usize = 6;
const LIMIT: Duration = Duration::from_secs(60);
/// How long nobody may answer who is not to.
const SILENCE: Duration = Duration::from_secs(2);
/// For servers to be asked, and found up or down.
const MARKED_LIMIT: Duration = Duration::from_secs(30);
pub(super) const TOKEN: &str = "correct-horse-battery";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, pair) in PAIRS {
        cases.push(case(&format!("balance/{name}"), move |subject| run(subject, pair)));
    }
    cases.push(case("balance/changes", changes));
    cases.push(case("balance/floods", floods));
    cases
}

/// A service for each mode and version: which port it listens on says which.
fn balancing(pair: [NicModel; 2]) -> guest::Plan {
    let servers =
        |address: IpAddr| BACK_ENDS.map(|(_, port)| SocketAddr::new(address, port).to_string()).join(",");
    let (v4, v6) = (servers(host_address(PRIVATE).into()), servers(host_address_v6(PRIVATE).into()));
    let sources = [guest_address(PRIVATE).to_string(), guest_address_v6(PRIVATE).to_string()].join(",");
    let words = words(&format!("{}/24,token={TOKEN}", guest_address(0)), MTU_BYTES);
    words
        .into_iter()
        .fold(bare_plan(Machine::Q35, pair, "auto"), guest::Plan::word)
        .word(format!("sources={sources}"))
        .word(format!("service=dnat4,{VIP}:80,check=/,{v4}"))
        .word(format!("service=full4,{VIP}:81,full,{v4}"))
        .word(format!("service=dnat6,[{VIP_V6}]:80,{v6}"))
        .word(format!("service=full6,[{VIP_V6}]:81,full,check=/,{v6}"))
        .word(format!("service=splice4,{VIP}:82,splice,{v4}"))
        .word(format!("service=splice6,[{VIP_V6}]:82,splice,check=/,{v6}"))
}

/// Where the service of that name is.
fn address_of(service: &str) -> SocketAddr {
    let ip = if service.ends_with('4') { IpAddr::V4(VIP) } else { IpAddr::V6(VIP_V6) };
    let port = match service.trim_end_matches(['4', '6']) {
        "dnat" => 80,
        "full" => 81,
        _ => 82,
    };
    SocketAddr::new(ip, port)
}

/// Lets back ends answer on `private` while `work` is done on `admin` and `public`; the first of
/// them ends when `kill` is set.
pub(super) fn with_back_ends<T: Send>(
    guest: &mut Guest,
    kill: &AtomicBool,
    work: impl FnOnce(&mut Peer, &mut Peer) -> Result<T> + Send,
) -> Result<T> {
    let [admin, public, private] = guest.peers([0, PUBLIC, PRIVATE])?;
    let done = AtomicBool::new(false);
    let mut back_ends = BackEnds::new(private, &BACK_ENDS)?;
    thread::scope(|scope| {
        let serving = scope.spawn(|| -> Result<()> {
            let mut is_killed = false;
            while !done.load(Ordering::Relaxed) {
                back_ends.turn(Duration::from_millis(5)).context("the back ends' cable")?;
                if kill.load(Ordering::Relaxed) && !is_killed {
                    back_ends.kill("one");
                    is_killed = true;
                }
            }
            Ok(())
        });
        let worked = work(admin, public);
        done.store(true, Ordering::Relaxed);
        serving.join().map_err(|_| anyhow!("the back ends panicked"))??;
        worked
    })
}

/// Asks so often, and says how often each back end answered. All have to be answered.
fn ask(clients: &mut Clients<'_>, service: &str, count: u64) -> Result<[u64; 2]> {
    let mut by = [0, 0];
    let mut failed = Vec::new();
    let deadline = Instant::now() + LIMIT;
    clients.ask(address_of(service), count, AT_A_TIME, deadline, |Answered { by: answer, .. }| {
        match BACK_ENDS.iter().position(|(name, _)| answer.as_deref() == Ok(name)) {
            Some(back_end) => by[back_end] += 1,
            None => failed.push(answer),
        }
    })?;
    ensure!(failed.is_empty(), "{service}: {} of {count} failed: {:?}", failed.len(), failed.first());
    Ok(by)
}

fn run(subject: Subject<'_>, pair: [NicModel; 2]) -> Result<String> {
    const SERVICES: [&str; 6] = ["dnat4", "full4", "splice4", "dnat6", "full6", "splice6"];
    guest::run(subject.image, &balancing(pair), |guest| {
        let kill = AtomicBool::new(false);
        with_back_ends(guest, &kill, |admin, public| {
            let mut clients = Clients::new(public);
            // Health checks had nobody to ask while the machine was starting.
            wait(admin, "UP", |one| one["status"] == "UP" && one["check_status"] != "INI")?;
            for service in SERVICES {
                let [one, two] = ask(&mut clients, service, REQUESTS)?;
                ensure!(one.abs_diff(two) <= 2, "{service}: {one} by one, {two} by two: they take turns");
            }
            kill.store(true, Ordering::Relaxed);
            wait(admin, "DOWN", |one| (one["status"] == "DOWN") == is_first(one))?;
            for service in SERVICES {
                let [one, two] = ask(&mut clients, service, REQUESTS)?;
                ensure!((one, two) == (0, REQUESTS), "{service}: {one} by one that is down, {two} by two");
            }
            Ok(())
        })?;
        let seen = status(guest)?;
        for service in SERVICES {
            let one = of_service(&seen, service)?;
            let total = one["sessions_total"].as_u64().unwrap_or(0);
            ensure!(total >= 2 * REQUESTS, "{service} counted {total} connections");
            ensure!(one["active_servers"] == 1, "{service} has {} servers", one["active_servers"]);
        }
        Ok(format!(
            "{} requests in {} services, one back end killed",
            2 * REQUESTS * SERVICES.len() as u64,
            SERVICES.len()
        ))
    })
}

/// Whether it is the one that is killed.
fn is_first(server: &Value) -> bool {
    let (_, port) = BACK_ENDS[0];
    server["address"].as_str().is_some_and(|address| address.ends_with(&format!(":{port}")))
}

/// Until all servers are so.
pub(super) fn wait(admin: &mut Peer, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<()> {
    let deadline = Instant::now() + MARKED_LIMIT;
    loop {
        let seen = status_of(admin)?;
        let services = seen["services"].as_array().context("no services in the status")?;
        let mut servers = services.iter().filter_map(|service| service["servers"].as_array()).flatten();
        if servers.all(&is_so) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "not {what} after {} s: {services:?}", MARKED_LIMIT.as_secs());
        thread::sleep(Duration::from_millis(100));
    }
}

/// The status, fetched by the host on `admin`.
pub(super) fn status_of(admin: &mut Peer) -> Result<Value> {
    let to = SocketAddr::new(guest_address(0).into(), 80);
    let connection = admin.connect(to, Instant::now() + guest::REQUEST_LIMIT)?;
    let mut body = Vec::new();
    Client::new(connection).send(Request::new("GET", "/status.json"), &mut body)?.expect_status(200)?;
    serde_json::from_slice(&body).context("the status is no JSON")
}

fn of_service<'s>(status: &'s Value, name: &str) -> Result<&'s Value> {
    let services = status["services"].as_array().context("no services in the status")?;
    services.iter().find(|service| service["name"] == name).with_context(|| format!("no service {name}"))
}

/// Servers are changed on `admin` by who has the token.
fn changes(subject: Subject<'_>) -> Result<String> {
    let (_, pair) = PAIRS[0];
    guest::run(subject.image, &balancing(pair), |guest| {
        let one = format!("/services/dnat4/servers/{}:8001", host_address(PRIVATE));
        let mut tried = 0;
        for (method, target, token, wanted) in [
            ("DELETE", one.clone(), None, 401),
            ("DELETE", one.clone(), Some("correct-horse-batterx"), 401),
            ("GET", one.clone(), Some(TOKEN), 405),
            ("POST", format!("{one}/drain"), Some(TOKEN), 200),
            ("POST", format!("{one}/weight?value=7"), Some(TOKEN), 200),
            ("POST", "/services/dnat4/servers/new?address=10.77.2.1:8002".into(), Some(TOKEN), 409),
            ("POST", "/services/dnat4/servers/new?address=10.77.2.1:8003".into(), Some(TOKEN), 201),
            ("DELETE", "/services/dnat4/servers/old".into(), Some(TOKEN), 404),
        ] {
            let mut request = Request::new(method, &target);
            request.token = token;
            let mut why = Vec::new();
            let response = guest.request(0, request, &mut why, guest::REQUEST_LIMIT)?;
            let why = String::from_utf8_lossy(&why).into_owned();
            ensure!(response.status == wanted, "{method} {target}: {} {why}, not {wanted}", response.status);
            tried += 1;
        }
        let seen = status(guest)?;
        let servers = of_service(&seen, "dnat4")?["servers"].as_array().context("no servers")?;
        let shown: Vec<_> = servers.iter().map(|server| (&server["name"], &server["status"])).collect();
        ensure!(servers.len() == 3 && servers[0]["status"] == "DRAIN", "{shown:?}");
        ensure!(servers[0]["weight"] == 7 && servers[2]["name"] == "new", "{shown:?}");
        ensure!(!seen.to_string().contains(TOKEN), "the status shows the token");
        Ok(format!("{tried} requests, as they should be answered"))
    })
}

/// Frames of a flood that are sent at each turn.
const HANDFUL: usize = 48;
/// For a flood to be one.
const LEAST_FRAMES: u64 = 2000;

/// A flood's next frame.
type Next = fn(&mut Noise) -> Result<Vec<u8>>;

/// Beginnings of connections to a service that is spliced, from sources that there are not.
fn syn(noise: &mut Noise) -> Result<Vec<u8>> {
    let [a, b, c, ..] = noise.next_u64().to_le_bytes();
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(host_mac(PUBLIC), router_mac(PUBLIC))
        .ipv4([203, 0, 113, a], VIP.octets(), 64)
        .tcp(u16::from_le_bytes([b, c]), 82, u32::from(a), 60_000)
        .syn()
        .write(&mut frame, &[])?;
    Ok(frame)
}

/// Packets to hosts on `private` that there are not, for all of whom the router has to ask.
fn strangers(noise: &mut Noise) -> Result<Vec<u8>> {
    let word = noise.next_u64();
    let link = PacketBuilder::ethernet2(host_mac(PUBLIC), router_mac(PUBLIC));
    let mut frame = Vec::new();
    let [a, b, c, d, e, f, ..] = word.to_le_bytes();
    if a & 1 == 0 {
        let to = Ipv4Addr::new(10, 77, 2, b.clamp(3, 250));
        link.ipv4(host_address(PUBLIC).octets(), to.octets(), 64).udp(7, 7).write(&mut frame, b"?")?;
    } else {
        let mut to = guest_address_v6(PRIVATE).octets();
        to[10..15].copy_from_slice(&[b, c, d, e, f]);
        link.ipv6(host_address_v6(PUBLIC).octets(), to, 64).udp(7, 7).write(&mut frame, b"?")?;
    }
    Ok(frame)
}

/// Questions for the router's address, by neighbours that there are not.
fn askers(noise: &mut Noise) -> Result<Vec<u8>> {
    let [a, b, c, d, ..] = noise.next_u64().to_le_bytes();
    let mac = [2, 0x66, a, b, c, d];
    let mut frame = [&[0xff; 6][..], &mac, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &mac].concat();
    frame.extend([10, 77, 1, a.clamp(3, 250)]);
    frame.extend([0; 6]);
    frame.extend(guest_address(PUBLIC).octets());
    Ok(frame)
}

/// While one host floods the router, as fast as it takes frames, new connections are answered, old
/// ones go on, servers are found up, and nobody reaches the machine itself.
fn floods(subject: Subject<'_>) -> Result<String> {
    let (_, pair) = PAIRS[2];
    let floods: [(&str, Next); 3] = [("SYNs", syn), ("strangers", strangers), ("askers", askers)];
    guest::run(subject.image, &balancing(pair), |guest| {
        let kill = AtomicBool::new(false);
        with_back_ends(guest, &kill, |admin, public| {
            wait(admin, "UP", |one| one["status"] == "UP" && one["check_status"] != "INI")?;
            let failed_before = check_failures(&status_of(admin)?);
            let mut clients = Clients::new(public);
            let mut remarks = Vec::new();
            for (name, next) in floods {
                let deadline = Instant::now() + LIMIT;
                let held =
                    ["dnat4", "splice4", "full6"].map(|one| clients.connect(address_of(one), deadline));
                let held = held.into_iter().collect::<Result<Vec<_>>>()?;
                let (mut noise, mut sent) = (Noise::new(7), 0);
                let mut flood = |peer: &mut Peer| {
                    for _ in 0..HANDFUL {
                        let Some(room) = peer.cable().transmit(StackInstant::ZERO) else { return };
                        let Ok(frame) = next(&mut noise) else { return };
                        room.consume(frame.len(), |place| place.copy_from_slice(&frame));
                        sent += 1;
                    }
                };
                let mut failed = Vec::new();
                for service in ["splice4", "splice6", "dnat4"] {
                    clients.ask_amid(
                        address_of(service),
                        REQUESTS / 2,
                        AT_A_TIME,
                        deadline,
                        &mut flood,
                        |answered| failed.extend(answered.by.err()),
                    )?;
                }
                // Not by the machine itself: nothing listens there, flood or not.
                let own = SocketAddr::new(guest_address(PUBLIC).into(), 80);
                ensure!(
                    clients.connect(own, Instant::now() + SILENCE).is_err(),
                    "{own} answers a host on public"
                );
                ensure!(
                    failed.is_empty(),
                    "amid {name}: {} requests failed: {:?}",
                    failed.len(),
                    failed.first()
                );
                ensure!(sent >= LEAST_FRAMES, "{sent} {name} are no flood");
                for held in held {
                    clients.ask_over(held).with_context(|| format!("a connection from before the {name}"))?;
                }
                remarks.push(format!("{sent} {name}"));
            }
            let seen = status_of(admin)?;
            let failed = check_failures(&seen) - failed_before;
            ensure!(failed == 0, "{failed} health checks failed amid the floods");
            wait(admin, "UP", |one| one["status"] == "UP")?;
            Ok(format!("{}; each request was answered, no check failed", remarks.join(", ")))
        })
    })
}

/// How often servers did not answer when they were asked.
fn check_failures(status: &Value) -> u64 {
    let services = status["services"].as_array().into_iter().flatten();
    let servers = services.flat_map(|service| service["servers"].as_array().into_iter().flatten());
    servers.filter_map(|server| server["check_failures_total"].as_u64()).sum()
}
