//! An image with nothing to do does nothing: the processor time of the whole QEMU process says so.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::FOUR_NICS;
use crate::guest::{self, Plan};
use crate::qemu::Machine;
use crate::runner::{Case, Subject};

/// For what is left of the boot, and of the requests made first, to die down.
const SETTLE: Duration = Duration::from_secs(2);
const IDLE: Duration = Duration::from_secs(10);
const MAX_PERCENT: f64 = 5.0;

pub(super) fn cases() -> Vec<Case> {
    let case = |irq| Case::new(format!("idle/{irq}"), move |subject| run(subject, irq));
    ["msix", "line", "polling"].into_iter().map(case).collect()
}

fn run(subject: Subject<'_>, irq: &str) -> Result<String> {
    guest::run(subject.image, &Plan::new(Machine::Pc, &FOUR_NICS, irq), |guest| {
        for nic in 0..FOUR_NICS.len() {
            guest.get(nic, "/")?;
        }
        // Nobody answers at the other ends of the cables meanwhile, and nobody asks.
        thread::sleep(SETTLE);
        let before = guest.qemu().cpu_time()?;
        thread::sleep(IDLE);
        let used = guest.qemu().cpu_time()?.saturating_sub(before);
        let percent = 100.0 * used.as_secs_f64() / IDLE.as_secs_f64();
        ensure!(percent < MAX_PERCENT, "{percent:.1} % of a core while idle, the limit is {MAX_PERCENT} %");
        for nic in 0..FOUR_NICS.len() {
            guest.get(nic, "/").context("after the idle time")?;
        }
        Ok(format!("{percent:.1} % of a core over {} s", IDLE.as_secs()))
    })
}
