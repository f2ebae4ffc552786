//! Records the fixtures from QEMU's own devices.
//!
//! `record-fixtures` records all, `record-fixtures NAME ...` those. A fixture is replaced only by a
//! recording that plays back.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use paravane_mock_hal::record::{Recorder, Recording, Replayer};
use paravane_pci::ConfigAccess;
use paravane_qtest_hal::Machine;
use paravane_tests::scenario::firmware::{Booting, Piece, ecam_of};
use paravane_tests::scenario::fixture::{self, DEVICES, DeviceFixture, MACHINES, MachineFixture};
use paravane_tests::scenario::qtest::Live;
use paravane_tests::scenario::replay::Replay;
use paravane_tests::scenario::{life, topology};

/// What a person types to get the same.
const COMMAND: &str = "ci/record";

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    match record_all(&wanted) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("record-fixtures: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn record_all(wanted: &[String]) -> Result<()> {
    let devices = DEVICES.iter().map(|fixture| fixture.name);
    let known: Vec<&str> = devices.chain(MACHINES.iter().map(|fixture| fixture.name)).collect();
    if let Some(unknown) = wanted.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("no fixture is called {unknown}; there are: {}", known.join(" "));
    }
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|other| other == name);
    for fixture in DEVICES.iter().filter(|fixture| is_wanted(fixture.name)) {
        let recording = device(fixture).with_context(|| fixture.name.to_owned())?;
        save(fixture.name, &recording)?;
    }
    for fixture in MACHINES.iter().filter(|fixture| is_wanted(fixture.name)) {
        let recording = machine(fixture).with_context(|| fixture.name.to_owned())?;
        save(fixture.name, &recording)?;
    }
    Ok(())
}

/// Configuration space from a machine without firmware, tables from the same kind of machine with
/// it.
fn machine(fixture: &MachineFixture) -> Result<Recording> {
    let mut booting = Booting::start(fixture.machine)?;
    let tables = booting.tables()?;
    let machine = Machine::start(&fixture.setup())?;
    match machine.ecam() {
        Some(ecam) => survey(fixture, &machine, &booting.command_line(), &tables, ecam),
        None => survey(fixture, &machine, &booting.command_line(), &tables, machine.config().clone()),
    }
}

fn survey(
    fixture: &MachineFixture,
    machine: &Machine,
    booted: &str,
    tables: &[Piece],
    config: impl ConfigAccess,
) -> Result<Recording> {
    let recorder = Recorder::new(machine.platform().clone());
    recorder.step("firmware's tables");
    for (start, bytes) in tables {
        recorder.firmware(*start, bytes);
    }
    let config = recorder.config(config);
    let seen = topology::survey(&config, |name| {
        recorder.step(name);
        Ok(())
    })?;
    machine.check()?;
    let recording = recorder.finish(&[
        ("machine", fixture.machine),
        ("qemu", &Machine::qemu_version()?),
        ("command-line", machine.command_line()),
        ("command-line-of-tables", booted),
        ("date", &fixture::today()),
        ("made-by", &format!("{COMMAND} {}", fixture.name)),
    ])?;

    let replayer = Replayer::new(recording.clone());
    replayer.step("firmware's tables");
    let again = topology::survey(&replayer.config(), |name| {
        replayer.step(name);
        Ok(())
    })?;
    replayer.finish()?;
    ensure!(seen == again, "the survey of the recording differs");
    ecam_of(&recording)?.context("the tables were not recorded")?;
    Ok(recording)
}

fn device(fixture: &DeviceFixture) -> Result<Recording> {
    let stage = Live::start(&fixture.setup())?;
    life(&stage, fixture.driver)?;
    let recording = stage.finish(fixture.device, &format!("{COMMAND} {}", fixture.name))?;
    let replay = Replay::new(&recording);
    life(&replay, fixture.driver)?;
    replay.replayer().finish()?;
    Ok(recording)
}

fn save(name: &str, recording: &Recording) -> Result<()> {
    let text = recording.to_string();
    let path = fixture::path(name);
    fs::write(&path, &text).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{name}: {} lines, {} bytes", text.lines().count(), text.len());
    Ok(())
}
