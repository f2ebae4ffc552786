//! How large the image is and how much it does before it is of use.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::FOUR_NICS;
use crate::guest::{self, Plan};
use crate::qemu::{Accel, Machine};
use crate::runner::{Case, Subject};

/// Some 17 of it are several queues of VMXNET3, its settings and its recovery.
const MAX_IMAGE_BYTES: u64 = 670 * 1024;
/// From the image's first instruction to all NICs up with link.
pub const MAX_BOOT_INSTRUCTIONS: u64 = 3_000_000;
const LINE_LIMIT: Duration = Duration::from_secs(20);

pub(super) fn cases() -> Vec<Case> {
    let count = |machine| move |subject: Subject<'_>| boot_count(subject.image, machine);
    vec![
        Case::new("image-size", |subject| image_size(subject.image, MAX_IMAGE_BYTES)),
        Case::new("boot-count/pc", count(Machine::Pc)),
        Case::new("boot-count/q35", count(Machine::Q35)),
    ]
}

/// Whether the image has at most `limit_bytes`.
pub(super) fn image_size(image: &Path, limit_bytes: u64) -> Result<String> {
    let bytes = fs::metadata(image).with_context(|| format!("no image at {}", image.display()))?.len();
    ensure!(bytes <= limit_bytes, "{} is {bytes} bytes, the limit is {limit_bytes}", image.display());
    Ok(format!("{} KiB of {} KiB", bytes.div_ceil(1024), limit_bytes / 1024))
}

fn boot_count(image: &Path, machine: Machine) -> Result<String> {
    let mut plan = Plan::new(machine, &FOUR_NICS, "auto");
    plan.accel = Accel::TcgCounted;
    guest::run(image, &plan, |guest| {
        let line = guest.wait_line(0, &["boot:", "with link after"], LINE_LIMIT)?.line;
        let boot = BootLine::parse(&line)?;
        ensure!(
            boot.nics == FOUR_NICS.len() as u64,
            "{} NICs came up, not {}: {line}",
            boot.nics,
            FOUR_NICS.len()
        );
        ensure!(boot.ticks > 0, "a boot that took no instruction: {line}");
        ensure!(
            boot.ticks <= MAX_BOOT_INSTRUCTIONS,
            "{} instructions until all NICs were up, the limit is {MAX_BOOT_INSTRUCTIONS}",
            boot.ticks
        );
        Ok(format!("{} instructions of {MAX_BOOT_INSTRUCTIONS}", boot.ticks))
    })
}

/// The line `boot: N NICs up with link after T us, I tsc ticks since the first instruction`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootLine {
    /// NICs that are up with link.
    pub nics: u64,
    /// Microseconds since the first instruction.
    pub us: u64,
    /// Ticks of the time-stamp counter since the first instruction.
    pub ticks: u64,
}

impl BootLine {
    /// # Errors
    ///
    /// Another line.
    pub fn parse(line: &str) -> Result<Self> {
        let parse = || {
            let (nics, rest) = line.split_once("boot: ")?.1.split_once(" NICs up with link after ")?;
            let (us, rest) = rest.split_once(" us, ")?;
            let (ticks, _) = rest.split_once(" tsc ticks")?;
            Some(Self { nics: nics.parse().ok()?, us: us.parse().ok()?, ticks: ticks.parse().ok()? })
        };
        parse().with_context(|| format!("not the boot line that was agreed on: {line:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_boot_line() {
        let line = "[   0.002345] boot: 4 NICs up with link after 2300 us, 2345678 tsc ticks since the first instruction";
        assert_eq!(BootLine::parse(line).unwrap(), BootLine { nics: 4, us: 2300, ticks: 2_345_678 });
        assert!(BootLine::parse("boot: no NICs").is_err());
        assert!(BootLine::parse(&line.replace("2345678", "many")).is_err());
    }
}
