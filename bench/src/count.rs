//! Instructions a frame or a read, counted by callgrind: the same to the last digit from run to
//! run.
//!
//! The measured process runs its bursts under valgrind, which counts only while [`counted`] is on
//! the stack. That is the driver's turns; the device's never are.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::subject::Moving;

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
pub fn run(moving: &mut dyn Moving) -> Result<()> {
    for _ in 0..WARM_UP {
        moving.turn(&mut |work| work());
    }
    for _ in 0..BURSTS {
        moving.turn(&mut counted);
    }
    moving.check()
}

/// Counts one point, the `words` of which make this program [`run`] it: instructions for each of
/// the `burst` that a turn moves.
pub fn count(words: &[&str], burst: usize, scratch: &Path) -> Result<f64> {
    let out = scratch.join("callgrind.out");
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*count::counted*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe()?)
        .args(words)
        .output()
        .context("valgrind cannot be run")?;
    if !run.status.success() {
        bail!("{} under valgrind: {}", words.join(" "), String::from_utf8_lossy(&run.stderr));
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
    Ok(total as f64 / (BURSTS * burst as u64) as f64)
}
