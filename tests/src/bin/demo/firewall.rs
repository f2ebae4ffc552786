//! The firewall at work: each packet of a list, and whether it becomes what the rules say; once
//! with the rules that are compiled into the image, and once with the same ones from a disk.

use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use paravane_tests::cases::router::{MTU_BYTES, PRIVATE, PUBLIC, words};
use paravane_tests::fat::{self, Disk, Place};
use paravane_tests::firewall::{self, Outcome, RULES};
use paravane_tests::guest::{host_address, host_address_v6, host_mac};
use paravane_tests::host::Peer;
use paravane_tests::qemu::Accel;
use paravane_tests::station::Station;
use serde_json::Value;
use tempfile::TempDir;

use crate::router::{Admin, Follower, between_hosts, boot, interfaces, reasons};
use crate::{Options, step};

const DISK: &str = "virtio-blk-pci,disable-legacy=on,disable-modern=off,addr=0x10";
const FILE: &str = "shop.rules";

/// Boots the image twice. Whether all was right, and both the same.
pub(crate) fn show(options: &Options, image: &Path, accel: Accel) -> Result<bool> {
    println!("{}", RULES.trim_end());
    let toml = format!("[firewall]\nrules = \"{FILE}\"\n");
    let disk = Disk::make(Place::Mbr, 16, &[("paravane.toml", toml.as_bytes()), (FILE, RULES.as_bytes())])?;
    let compiled = run(options, image, accel, None)?;
    let read = run(options, image, accel, Some(&disk))?;
    let judged = same(&compiled, &read);
    match &judged {
        Ok(()) => println!("all right: both decided the same"),
        Err(problem) => println!("!!  {problem:#}\nNOT all right"),
    }
    Ok(judged.is_ok())
}

/// What the rules decided, with `disk` or with what is compiled; the status that says so.
fn run(options: &Options, image: &Path, accel: Accel, disk: Option<&Disk>) -> Result<Value> {
    let (mut config, host_port) = between_hosts(options, image, accel)?;
    config.append = format!("{} {}", config.append, words("dhcp", MTU_BYTES).join(" "));
    if let Some(disk) = disk {
        config.extras.extend(fat::options(&disk.path(), DISK, ""));
    }
    let from = if disk.is_some() { FILE } else { "built in" };
    step(&format!("booting a firewall whose rules are {from}"));
    let (mut session, mut hosts) = boot(&config)?;
    session.wait_ready()?;
    let admin = Admin { folder: TempDir::new()?, host_port };
    admin.wait_ready()?;
    let worked = probe_all(&mut hosts, &admin).and_then(|status| {
        firewall::check_hits(&status)?;
        ensure!(status["firewall"]["from"] == from, "the rules are from {}", status["firewall"]["from"]);
        Ok(status)
    });
    session.show_new_lines();
    let problem = match worked {
        Ok(status) if options.interactive => {
            session.stay(&config)?;
            return Ok(status);
        }
        Ok(status) => return Ok(status),
        Err(problem) => problem,
    };
    print!("{}", session.report());
    Err(problem)
}

/// Sends each packet, and shows the rules' hits meanwhile.
fn probe_all([public, private]: &mut [Peer; 2], admin: &Admin) -> Result<Value> {
    let start = Instant::now();
    let mut follower = Follower::default();
    let mut counts = [0_usize; 2];
    for probe in firewall::probes() {
        let mut stations = [(public.cable(), PUBLIC), (private.cable(), PRIVATE)]
            .map(|(cable, nic)| Station::new(cable, host_mac(nic), host_address(nic), host_address_v6(nic)));
        firewall::send(&mut stations, &probe)?;
        counts[usize::from(probe.outcome == Outcome::Passes)] += 1;
        if std::io::stdout().is_terminal() {
            follower.show_rows(&table(&admin.status()?)?);
        }
    }
    let status = admin.status()?;
    follower.show_rows(&table(&status)?);
    for interface in interfaces(&status) {
        println!(
            "    {}: dropped {}",
            interface["name"].as_str().unwrap_or("?"),
            reasons(&interface["drops"])
        );
    }
    let [kept, passed] = counts;
    let seconds = start.elapsed().as_secs_f64();
    println!("    {passed} packets passed, {kept} did not, as the rules say; {seconds:.1} s");
    Ok(status)
}

/// Each rule as it is written, and how often it decided.
fn table(status: &Value) -> Result<Vec<Vec<String>>> {
    let lines: Vec<&str> = RULES.lines().collect();
    let rules = status["firewall"]["rules"].as_array().context("no rules in the status")?;
    let mut rows = vec![["line", "rule", "hits", "limited"].map(str::to_owned).to_vec()];
    for rule in rules {
        let line = rule["line"].as_u64().context("a rule without a line")?;
        let text = usize::try_from(line).ok().and_then(|line| lines.get(line.checked_sub(1)?));
        let number = |key: &str| rule[key].as_u64().map(|number| number.to_string()).unwrap_or_default();
        rows.push(vec![
            line.to_string(),
            text.context("a rule of no line")?.split_whitespace().collect::<Vec<_>>().join(" "),
            number("hits_total"),
            number("limited_total"),
        ]);
    }
    Ok(rows)
}

/// Whether both decided the same, and dropped for the same reasons.
fn same(compiled: &Value, read: &Value) -> Result<()> {
    ensure!(compiled["firewall"]["is_compiled"] == true, "the first rules were not compiled");
    ensure!(read["firewall"]["is_compiled"] == false, "the second rules were not read");
    for what in ["rules", "counters"] {
        let [compiled, read] = [compiled, read].map(|status| &status["firewall"][what]);
        ensure!(compiled == read, "{what} differ: compiled {compiled}, read {read}");
    }
    let drops = |status: &Value| -> Vec<String> {
        interfaces(status).map(|interface| reasons(&interface["drops"])).collect()
    };
    let (compiled, read) = (drops(compiled), drops(read));
    ensure!(compiled == read, "drops differ: compiled {compiled:?}, read {read:?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_runs_have_to_decide_the_same() {
        let status = |is_compiled: bool, hits: u64| json!({"firewall": {"is_compiled": is_compiled, "rules": [{"line": 10, "hits_total": hits}]}});
        same(&status(true, 1), &status(false, 1)).unwrap();
        for (one, other, wanted) in [
            (status(true, 1), status(false, 2), "rules differ"),
            (status(false, 1), status(false, 1), "not compiled"),
            (status(true, 1), status(true, 1), "not read"),
        ] {
            let error = same(&one, &other).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
        let rows = table(&status(true, 7)).unwrap();
        assert_eq!(
            rows[1],
            ["10", "drop public -> any from scanners log \"scanner\" counter unwelcome", "7", ""]
        );
    }
}
