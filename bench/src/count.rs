//! Instructions a frame, counted by callgrind: the same to the last digit from run to run.
//!
//! The measured process runs its bursts under valgrind, which counts only while [`counted`] is on
//! the stack. That is the driver's turns; the device's never are.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::subject::{Driver, Point, Subject, Virtio, VirtioDrivers, Vmxnet3, check, frame, turn};

/// Bursts counted.
const BURSTS: u64 = 2048;
/// Bursts before that: every ring wraps, every path has been taken.
const WARM_UP: u64 = 1024;

/// Runs `work`; valgrind counts what happens inside.
#[inline(never)]
fn counted(work: &mut dyn FnMut()) {
    work();
}

/// Moves the bursts of one point. This runs under valgrind.
pub fn run(driver: Driver, point: Point) -> Result<()> {
    anyhow::ensure!(point.is_for(driver), "{} does not do this: {point}", driver.name());
    match driver {
        Driver::Vmxnet3 => run_on(&mut Vmxnet3::start()?, point),
        Driver::Virtio => run_on(&mut Virtio::start(false)?, point),
        Driver::VirtioPacked => run_on(&mut Virtio::start(true)?, point),
        Driver::VirtioDrivers => run_on(&mut VirtioDrivers::start()?, point),
    }
}

fn run_on<S: Subject>(subject: &mut S, point: Point) -> Result<()> {
    let frame = frame();
    for _ in 0..WARM_UP {
        turn(subject, point, &frame, |work| work());
    }
    let before = subject.moved();
    for _ in 0..BURSTS {
        turn(subject, point, &frame, counted);
    }
    check(subject, before, point, BURSTS)
}

/// Counts one point: instructions a frame.
pub fn count(driver: Driver, point: Point, scratch: &Path) -> Result<f64> {
    let out = scratch.join("callgrind.out");
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*count::counted*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe()?)
        .args(["counted", driver.name(), point.direction.name()])
        .args([&point.bytes.to_string(), &point.burst.to_string(), point.kind.name()])
        .output()
        .context("valgrind cannot be run")?;
    if !run.status.success() {
        bail!("{} under valgrind: {}", driver.name(), String::from_utf8_lossy(&run.stderr));
    }
    let text = std::fs::read_to_string(&out).context("callgrind wrote no result")?;
    let total = text
        .lines()
        .find_map(|line| line.strip_prefix("totals: "))
        .and_then(|total| total.trim().parse::<u64>().ok())
        .context("callgrind's result has no total")?;
    if total == 0 {
        bail!("callgrind counted nothing: the binary's symbols are missing");
    }
    Ok(total as f64 / (BURSTS * point.burst as u64) as f64)
}
