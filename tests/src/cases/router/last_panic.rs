//! A router that ends in the midst of its work is there again, and says so, once.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use super::balance::TOKEN;
use super::stop::{begins_anew, post};
use super::{MTU_BYTES, PAIRS, bare_plan, case, status, words};
use crate::guest::{self, BOOT_LIMIT, Guest, Plan, guest_address};
use crate::qemu::{Machine, NicModel};
use crate::runner::{Case, Subject};

/// How QEMU ends by way of `isa-debug-exit`, as `unikernel/src/exit.rs` has it.
const EXCEPTION: i32 = 39;
const LINE_LIMIT: Duration = Duration::from_secs(30);

pub(super) fn cases() -> Vec<Case> {
    let (_, mixed) = PAIRS[0];
    let mut cases = Vec::new();
    for (machine, pair) in [(Machine::Pc, mixed), (Machine::Q35, mixed)] {
        let name = format!("last-panic/{}", machine.name());
        cases.push(case(&name, move |subject| told_once(subject, machine, pair)));
    }
    cases.push(case("last-panic/halt", halt));
    cases
}

fn plan(machine: Machine, pair: [NicModel; 2]) -> Plan {
    let words = words(&format!("{}/24,token={TOKEN}", guest_address(0)), MTU_BYTES);
    words.into_iter().fold(bare_plan(machine, pair, "auto"), Plan::word)
}

/// An interrupt that nobody asked for, and that no router goes on after.
fn break_it(guest: &Guest) -> Result<()> {
    guest.qemu().monitor()?.execute("inject-nmi", json!({}))?;
    Ok(())
}

fn told_once(subject: Subject<'_>, machine: Machine, pair: [NicModel; 2]) -> Result<String> {
    guest::run(subject.image, &plan(machine, pair), |guest| {
        begins_anew(guest)?;
        ensure!(status(guest)?["last_panic"].is_null(), "a panic of before the first boot");
        let before = guest.position();
        break_it(guest)?;
        guest.wait_line(before, &["panic: the machine is reset"], LINE_LIMIT)?;
        let said = ["last panic: build ", "number 1 in a row: exception 2 (non-maskable interrupt)"];
        let line = guest.wait_line(before, &said, BOOT_LIMIT)?.line;
        guest.wait_line(before, &["] ready"], BOOT_LIMIT)?;
        let told = status(guest)?["last_panic"].clone();
        ensure!(told["in_a_row"] == 1 && told["uptime_us"].as_u64() > Some(0), "the status has {told}");

        let before = guest.position();
        let [admin] = guest.peers([0])?;
        ensure!(post(admin, "/restart", Some(TOKEN))? == 202, "no restart");
        guest.wait_line(before, &["] ready"], BOOT_LIMIT)?;
        ensure!(status(guest)?["last_panic"].is_null(), "it is told a second time");
        Ok(line)
    })
}

/// Who wants it so finds the machine as it ended.
fn halt(subject: Subject<'_>) -> Result<String> {
    let (_, pair) = PAIRS[0];
    let device = ["-device", "isa-debug-exit,iobase=0xf4,iosize=4"].map(String::from).to_vec();
    let plan = plan(Machine::Q35, pair).word("panic=halt").extras(device);
    guest::run(subject.image, &plan, |guest| {
        break_it(guest)?;
        let ended = guest.wait_end(LINE_LIMIT)?;
        ensure!(ended == EXCEPTION, "QEMU ended with {ended}, not {EXCEPTION}");
        Ok(guest.wait_line(0, &["exception 2"], LINE_LIMIT)?.line)
    })
}
