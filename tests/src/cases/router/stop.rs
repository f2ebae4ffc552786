//! How the router ends under connections, and begins anew.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::balance::{BACK_ENDS, TOKEN, VIP, status_of, wait, with_back_ends};
use super::{MTU_BYTES, PAIRS, PRIVATE, bare_plan, case, words};
use crate::cases::stop::{expect_off, press};
use crate::guest::{self, Guest, guest_address, host_address};
use crate::host::Peer;
use crate::host::web::{Clients, Held};
use crate::http::{Client, Request};
use crate::qemu::{Machine, NicModel};
use crate::runner::{Case, Subject};

/// The connections that are open when the button is pressed, and how many of them end in time.
const CONNECTIONS: usize = 50;
const IN_TIME: usize = 30;
/// What those have that do not.
const DRAIN_SECONDS: u64 = 8;
const LIMIT: Duration = Duration::from_secs(60);
/// How long nobody may answer who is not to.
const SILENCE: Duration = Duration::from_secs(2);
const LINE_LIMIT: Duration = Duration::from_secs(30);
const OFF_LIMIT: Duration = Duration::from_secs(30);
/// Services, and the ports that they listen on: one for each mode.
const SERVICES: [(&str, u16); 3] = [("dnat", 80), ("full", 81), ("splice", 82)];

pub(super) fn cases() -> Vec<Case> {
    let (_, mixed) = PAIRS[0];
    let machines =
        [(Machine::Pc, mixed), (Machine::Q35, mixed), (Machine::MicrovmAcpi, [NicModel::VirtioMmio; 2])];
    let mut cases = Vec::new();
    for (machine, pair) in machines {
        let name = format!("stop/connections/{}", machine.name());
        cases.push(case(&name, move |subject| connections(subject, machine, pair)));
        let name = format!("stop/restart/{}", machine.name());
        cases.push(case(&name, move |subject| restart(subject, machine, pair)));
    }
    cases.push(case("stop/second-press", second_press));
    cases
}

fn plan(machine: Machine, pair: [NicModel; 2], drain_seconds: u64) -> guest::Plan {
    let servers = BACK_ENDS.map(|(_, port)| format!("{}:{port}", host_address(PRIVATE))).join(",");
    let words = words(&format!("{}/24,token={TOKEN}", guest_address(0)), MTU_BYTES);
    let plan = words.into_iter().fold(bare_plan(machine, pair, "auto"), guest::Plan::word);
    let plan =
        plan.word(format!("sources={}", guest_address(PRIVATE))).word(format!("drain={drain_seconds}"));
    SERVICES
        .iter()
        .fold(plan, |plan, (mode, port)| plan.word(format!("service={mode}4,{VIP}:{port},{mode},{servers}")))
}

fn address(service: usize) -> SocketAddr {
    let (_, port) = SERVICES[service % SERVICES.len()];
    SocketAddr::new(IpAddr::V4(VIP), port)
}

/// Connections that are open, spread over all services.
fn connect(clients: &mut Clients<'_>) -> Result<Vec<Held>> {
    let deadline = Instant::now() + LIMIT;
    (0..CONNECTIONS).map(|number| clients.connect(address(number), deadline)).collect()
}

/// What `POST target` is answered, with the token or without.
pub(super) fn post(admin: &mut Peer, target: &str, token: Option<&str>) -> Result<u16> {
    let to = SocketAddr::new(guest_address(0).into(), 80);
    let connection = admin.connect(to, Instant::now() + guest::REQUEST_LIMIT)?;
    let mut request = Request::new("POST", target);
    request.token = token;
    Ok(Client::new(connection).send(request, &mut std::io::sink())?.status)
}

/// Until the machine says that it is about to end. How many connections it waits for.
fn wait_stopping(admin: &mut Peer, drain_seconds: u64) -> Result<u64> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let seen = status_of(admin)?;
        if let Some(left) = seen["stopping"]["connections_left"].as_u64() {
            ensure!(seen["ready"] == false, "it is ready while it stops");
            let seconds = seen["stopping"]["seconds_left"].as_u64().context("no seconds_left")?;
            ensure!(seconds <= drain_seconds, "{seconds} s left of {drain_seconds}");
            return Ok(left);
        }
        ensure!(Instant::now() < deadline, "nothing in the status says that it stops");
    }
}

/// Those that end in time end as ever; nothing begins; what is left at the limit is cut off.
fn connections(subject: Subject<'_>, machine: Machine, pair: [NicModel; 2]) -> Result<String> {
    guest::run(subject.image, &plan(machine, pair, DRAIN_SECONDS), |guest| {
        let mut monitor = guest.qemu().monitor()?;
        let remark = with_back_ends(guest, &AtomicBool::new(false), |admin, public| {
            wait(admin, "UP", |one| one["status"] == "UP" && one["check_status"] != "INI")?;
            let mut clients = Clients::new(public);
            let mut held = connect(&mut clients)?;
            press(&mut monitor)?;
            let start = Instant::now();
            let left = wait_stopping(admin, DRAIN_SECONDS)?;
            ensure!(left >= CONNECTIONS as u64, "it waits for {left} connections of {CONNECTIONS}");
            for service in 0..SERVICES.len() {
                let begun = clients.connect(address(service), Instant::now() + SILENCE);
                ensure!(begun.is_err(), "{} takes a connection while it stops", address(service));
            }
            let late = held.split_off(IN_TIME);
            for (number, held) in held.into_iter().enumerate() {
                clients.ask_over(held).with_context(|| format!("connection {number}, which ends in time"))?;
            }
            for (number, held) in late.into_iter().enumerate() {
                let number = number + IN_TIME;
                clients
                    .expect_reset(held, Instant::now() + LIMIT)
                    .with_context(|| format!("connection {number}, which does not end in time"))?;
            }
            Ok(format!("{left} connections, {IN_TIME} ended, cut off after {} s", start.elapsed().as_secs()))
        })?;
        let cut = format!("stop: {} connections are cut off", CONNECTIONS - IN_TIME);
        guest.wait_line(0, &[&cut], LINE_LIMIT)?;
        guest.wait_line(0, &["stop: disks flushed; power off"], LINE_LIMIT)?;
        expect_off(guest, OFF_LIMIT)?;
        Ok(remark)
    })
}

/// Who presses twice waits for nobody.
fn second_press(subject: Subject<'_>) -> Result<String> {
    let (_, pair) = PAIRS[2];
    // For longer than a case may last.
    let plan = plan(Machine::Q35, pair, 3600);
    guest::run(subject.image, &plan, |guest| {
        let mut monitor = guest.qemu().monitor()?;
        with_back_ends(guest, &AtomicBool::new(false), |admin, public| {
            wait(admin, "UP", |one| one["status"] == "UP" && one["check_status"] != "INI")?;
            let mut clients = Clients::new(public);
            let held = connect(&mut clients)?;
            press(&mut monitor)?;
            wait_stopping(admin, 3600)?;
            press(&mut monitor)?;
            for held in held {
                clients.expect_reset(held, Instant::now() + LIMIT)?;
            }
            Ok(())
        })?;
        guest.wait_line(0, &["stop: asked for again"], LINE_LIMIT)?;
        expect_off(guest, OFF_LIMIT)?;
        Ok(format!("{CONNECTIONS} connections cut off, and off"))
    })
}

/// `POST /restart` of who has the token ends the machine likewise, and it is there again.
fn restart(subject: Subject<'_>, machine: Machine, pair: [NicModel; 2]) -> Result<String> {
    guest::run(subject.image, &plan(machine, pair, DRAIN_SECONDS), |guest| {
        begins_anew(guest)?;
        let before = guest.position();
        with_back_ends(guest, &AtomicBool::new(false), |admin, _| {
            wait(admin, "UP", |one| one["status"] == "UP" && one["check_status"] != "INI")?;
            for (target, token, wanted) in [
                ("/restart", None, 401),
                ("/stop", Some("correct-horse-batterx"), 401),
                ("/restart", Some(TOKEN), 202),
            ] {
                let status = post(admin, target, token)?;
                ensure!(status == wanted, "POST {target}: {status}, not {wanted}");
            }
            Ok(())
        })?;
        guest.wait_line(before, &["stop: disks flushed; restart"], LINE_LIMIT)?;
        guest.wait_line(before, &["] ready"], guest::BOOT_LIMIT).context("it is not there again")?;
        ensure!(guest.status(0).is_ok(), "no status after the restart");
        Ok("there again".into())
    })
}

/// Has QEMU let the machine begin anew, where it would end by default here.
pub(super) fn begins_anew(guest: &Guest) -> Result<()> {
    guest.qemu().monitor()?.execute("set-action", json!({ "reboot": "reset" }))?;
    Ok(())
}
