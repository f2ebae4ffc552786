//! Records the driver suite on QEMU's own devices: `record-suite`, or `record-suite NAME ...`.
//! `ci/record` runs it.
//!
//! A fixture is replaced only by a recording on which the suite passes.

use std::env;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use paravane_mock_hal::record::Recording;
use paravane_tests::scenario::fixture;
use paravane_tests::suite::{self, FIXTURES};

fn main() -> Result<()> {
    let wanted: Vec<String> = env::args().skip(1).collect();
    let known = FIXTURES.map(|(name, ..)| name);
    for name in &wanted {
        ensure!(
            known.contains(&name.as_str()),
            "no recording is called {name}; there are: {}",
            known.join(" ")
        );
    }
    for (name, chipset, device) in FIXTURES {
        if !wanted.is_empty() && !wanted.iter().any(|other| other == name) {
            continue;
        }
        let recording = suite::record(chipset, device, "ci/record", &fixture::today()).context(name)?;
        let text = recording.to_string();
        let tests =
            suite::replay(&Recording::parse(&text)?).with_context(|| format!("{name}, played back"))?;
        let path = fixture::path(name);
        fs::write(&path, &text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{name}: {tests} tests, {} lines, {} bytes", text.lines().count(), text.len());
    }
    Ok(())
}
