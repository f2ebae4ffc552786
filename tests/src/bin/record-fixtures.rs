//! Records the fixtures from QEMU's own devices.
//!
//! `record-fixtures` records all, `record-fixtures NAME ...` those. A fixture is replaced only by a recording that plays back.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use paravane_mock_hal::record::Recording;
use paravane_tests::scenario::fixture::{self, NICS, NicFixture};
use paravane_tests::scenario::nic;
use paravane_tests::scenario::qtest::Live;
use paravane_tests::scenario::replay::Replay;

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
    let known: Vec<&str> = NICS.iter().map(|fixture| fixture.name).collect();
    if let Some(unknown) = wanted.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("no fixture is called {unknown}; there are: {}", known.join(" "));
    }
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|other| other == name);
    for fixture in NICS.iter().filter(|fixture| is_wanted(fixture.name)) {
        let recording = nic(fixture).with_context(|| fixture.name.to_owned())?;
        save(fixture.name, &recording)?;
    }
    Ok(())
}

fn nic(fixture: &NicFixture) -> Result<Recording> {
    let stage = Live::start(&fixture.setup())?;
    nic::life(&stage, fixture.driver)?;
    let recording = stage.finish(fixture.device, &format!("{COMMAND} {}", fixture.name))?;
    let replay = Replay::new(&recording);
    nic::life(&replay, fixture.driver)?;
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
