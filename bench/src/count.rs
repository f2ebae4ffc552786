//! Instructions a frame or a read, counted by callgrind: the same to the last digit from run to
//! run.
//!
//! The measured process runs its bursts under valgrind, which counts only while [`counted`] is on
//! the stack. That is the driver's turns; the device's never are.

use std::collections::HashMap;
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
    total(&profile(words, scratch)?, burst)
}

/// The same, and how much of it is spent in the functions of each of `stages`: those whose names
/// have one of its texts in them. What two stages claim is the first one's.
pub fn count_by(words: &[&str], burst: usize, scratch: &Path, stages: &[&[&str]]) -> Result<(f64, Vec<f64>)> {
    let text = profile(words, scratch)?;
    let spent = stages_of(&text, stages).into_iter().map(|count| each(count, burst)).collect();
    Ok((total(&text, burst)?, spent))
}

/// What valgrind wrote of a point.
fn profile(words: &[&str], scratch: &Path) -> Result<String> {
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
    std::fs::read_to_string(&out).context("callgrind wrote no result")
}

fn total(text: &str, burst: usize) -> Result<f64> {
    let total = text
        .lines()
        .find_map(|line| line.strip_prefix("totals: "))
        .and_then(|total| total.trim().parse::<u64>().ok())
        .context("callgrind's result has no total")?;
    if total == 0 {
        bail!("callgrind counted nothing: the binary's symbols are missing");
    }
    Ok(each(total, burst))
}

fn each(total: u64, burst: usize) -> f64 {
    total as f64 / (BURSTS * burst as u64) as f64
}

/// Instructions by stage, as a profile has them: functions with a number for each name, then lines
/// of what they spend themselves; a line behind `calls=` is of who is called.
fn stages_of(text: &str, stages: &[&[&str]]) -> Vec<u64> {
    let (mut names, mut spent) = (HashMap::new(), vec![0; stages.len()]);
    let (mut stage, mut is_call) = (None, false);
    for line in text.lines() {
        let name = ["fn=", "cfn=", "cfni="].iter().find_map(|word| line.strip_prefix(word));
        if let Some((number, name)) = name.map(|name| name.split_once(')').unwrap_or((name, ""))) {
            let of_name = || stages.iter().position(|texts| texts.iter().any(|text| name.contains(text)));
            let of_it = *names.entry(number).or_insert_with(of_name);
            if line.starts_with("fn=") {
                stage = of_it;
            }
        } else if line.starts_with("calls=") {
            is_call = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '*')) {
            let count = line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok());
            if let (false, Some(stage)) = (core::mem::take(&mut is_call), stage) {
                spent[stage] += count.unwrap_or(0);
            }
        }
    }
    spent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stage_spends_is_its_functions_own() {
        let profile = "events: Ir\nfn=(1) a::look\n10 5\n+1 7\ncfn=(2) a::find\ncalls=3 20\n* 100\n\n\
            fn=(2)\n20 90\n-2 10\nfn=(3) b::other\n1 1000\nfn=(1)\n* 3\ntotals: 1115\n";
        assert_eq!(stages_of(profile, &[&["look"], &["find", "seek"], &["none"]]), [15, 100, 0]);
    }
}
