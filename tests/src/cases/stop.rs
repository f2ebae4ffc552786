//! The power button: what is under way is finished, and the machine turns itself off.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::digest::DigestSink;
use crate::guest::{self, Guest, Plan};
use crate::http::Request;
use crate::monitor::Monitor;
use crate::qemu::{Machine, NicModel};
use crate::runner::{Case, Subject};

const LINE_LIMIT: Duration = Duration::from_secs(20);
/// For a machine that nobody waits for to be off.
const OFF_LIMIT: Duration = Duration::from_secs(20);
const DOWNLOAD_BYTES: u64 = 4 << 20;
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(60);

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for machine in [Machine::Pc, Machine::Q35, Machine::MicrovmAcpi] {
        let name = format!("stop/button/{}", machine.name());
        cases.push(Case::new(name, move |subject| button(subject, machine)));
    }
    cases.push(Case::new("stop/under-way", under_way));
    cases.push(Case::new("stop/no-nic", no_nic));
    for (machine, option) in [(Machine::Pc, Some("-no-acpi")), (Machine::Microvm, None)] {
        let name = format!("stop/no-acpi/{}", machine.name());
        cases.push(Case::new(name, move |subject| no_acpi(subject, machine, option)));
    }
    cases
}

fn nic_of(machine: Machine) -> NicModel {
    match machine {
        Machine::Pc | Machine::Q35 => NicModel::Vmxnet3,
        _ => NicModel::VirtioMmio,
    }
}

/// Presses the button.
pub(super) fn press(monitor: &mut Monitor) -> Result<()> {
    monitor.execute("system_powerdown", json!({})).context("the monitor refuses to press the button")?;
    Ok(())
}

/// That the machine turned itself off.
pub(super) fn expect_off(guest: &mut Guest, limit: Duration) -> Result<()> {
    let ended = guest.wait_end(limit)?;
    ensure!(ended == 0, "QEMU ended with {ended}, not 0");
    Ok(())
}

fn button(subject: Subject<'_>, machine: Machine) -> Result<String> {
    guest::run(subject.image, &Plan::new(machine, &[nic_of(machine)], "auto"), |guest| {
        guest.get(0, "/")?;
        let before = guest.position();
        press(&mut guest.qemu().monitor()?)?;
        for words in [&["power: the button was pressed"][..], &["stop: disks flushed; power off"]] {
            guest.wait_line(before, words, LINE_LIMIT)?;
        }
        expect_off(guest, OFF_LIMIT)?;
        // The FADT of pc is older than the register.
        let restart = if machine == Machine::Pc { "the chipset's registers" } else { "the FADT's register" };
        Ok(guest.wait_line(0, &["power: button: ", restart], LINE_LIMIT)?.line)
    })
}

/// Takes a download in, and presses the button as its first bytes come.
struct Pressing {
    monitor: Monitor,
    is_pressed: bool,
    digest: DigestSink,
}

impl Write for Pressing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.is_pressed {
            press(&mut self.monitor).map_err(|error| io::Error::other(format!("{error:#}")))?;
            self.is_pressed = true;
        }
        self.digest.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A download that is under way is finished, whoever comes then is refused.
fn under_way(subject: Subject<'_>) -> Result<String> {
    let nics = [NicModel::Vmxnet3, NicModel::VirtioModern];
    guest::run(subject.image, &Plan::new(Machine::Q35, &nics, "auto"), |guest| {
        let start = Instant::now();
        let monitor = guest.qemu().monitor()?;
        let mut sink = Pressing { monitor, is_pressed: false, digest: DigestSink::default() };
        let target = format!("/bytes/{DOWNLOAD_BYTES}");
        let response = guest.request(0, Request::new("GET", &target), &mut sink, DOWNLOAD_LIMIT)?;
        response.expect_status(200)?;
        let (seen_bytes, digest) = sink.digest.finish();
        ensure!(seen_bytes == DOWNLOAD_BYTES, "{seen_bytes} of {DOWNLOAD_BYTES} bytes");
        ensure!(response.trailers.get("X-SHA256") == Some(&digest), "the digest is not of these bytes");
        guest.wait_line(0, &["stop: no connection is left"], LINE_LIMIT)?;
        expect_off(guest, OFF_LIMIT)?;
        Ok(format!("{DOWNLOAD_BYTES} bytes whole, off after {:.1} s", start.elapsed().as_secs_f64()))
    })
}

/// One that has nothing to serve turns itself off as well.
fn no_nic(subject: Subject<'_>) -> Result<String> {
    guest::run_to(subject.image, &Plan::new(Machine::Pc, &[], "auto"), &["power: button: "], |guest| {
        press(&mut guest.qemu().monitor()?)?;
        expect_off(guest, OFF_LIMIT)?;
        Ok("off".into())
    })
}

/// Without tables there is neither a button nor a way off, which is said, and all else works.
fn no_acpi(subject: Subject<'_>, machine: Machine, option: Option<&str>) -> Result<String> {
    let plan = Plan::new(machine, &[nic_of(machine)], "auto");
    let plan = plan.extras(option.into_iter().map(String::from).collect());
    guest::run(subject.image, &plan, |guest| {
        let said = ["power: button: none; off: not to be had, a stop leaves the machine standing still"];
        let line = guest.wait_line(0, &said, LINE_LIMIT)?.line;
        press(&mut guest.qemu().monitor()?)?;
        guest.get(0, "/").context("after a press that nobody hears")?;
        Ok(line)
    })
}
