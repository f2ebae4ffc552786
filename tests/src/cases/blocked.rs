//! A NIC whose back-end takes no more frames: its device completes nothing, and only it is the
//! worse for that.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::guest::{self, Plan};
use crate::qemu::{Machine, NicModel};
use crate::runner::{Case, Subject};

/// More answers than all rings and the pool's spare frames hold.
const FRAMES: u16 = 1000;
const FLOOD_LIMIT: Duration = Duration::from_secs(2);
/// For retransmissions to fall due: they are what a blocked stack wants to do at once.
const SETTLE: Duration = Duration::from_secs(2);
const WATCH: Duration = Duration::from_secs(5);
const MAX_PERCENT: f64 = 10.0;
const TRANSFER_BYTES: u64 = 2 << 20;
const LIMIT: Duration = Duration::from_secs(30);

pub(super) fn cases() -> Vec<Case> {
    let case = |irq| Case::new(format!("blocked-backend/{irq}"), move |subject| run(subject, irq));
    ["msix", "line", "polling"].into_iter().map(case).collect()
}

/// Only virtio's device waits for its back-end; vmxnet3's says that a frame is sent as soon as QEMU
/// has it.
fn run(subject: Subject<'_>, irq: &str) -> Result<String> {
    let plan = Plan::new(Machine::Q35, &[NicModel::Vmxnet3, NicModel::VirtioModern], irq);
    guest::run(subject.image, &plan, |guest| {
        guest.get(1, "/")?;
        // The device stops taking frames in as well, sooner or later.
        let flooded = guest.knock_unheard(1, FRAMES, FLOOD_LIMIT);
        thread::sleep(SETTLE);
        let before = guest.qemu().cpu_time()?;
        thread::sleep(WATCH);
        let used = guest.qemu().cpu_time()?.saturating_sub(before);
        let percent = 100.0 * used.as_secs_f64() / WATCH.as_secs_f64();
        ensure!(
            percent < MAX_PERCENT,
            "{percent:.1} % of a core while blocked, the limit is {MAX_PERCENT} %"
        );

        guest.download(0, TRANSFER_BYTES, LIMIT).context("beside a blocked NIC")?;
        guest.upload(0, TRANSFER_BYTES, 1, LIMIT).context("beside a blocked NIC")?;
        let status = guest.status(0)?;
        ensure!(status.nic("public")?.restarts == 0, "the blocked NIC was restarted");
        // Now somebody listens again.
        guest.download(1, TRANSFER_BYTES, LIMIT).context("once its host listens again")?;
        let taken = flooded.map_or_else(|error| format!("{:#}", error), |()| format!("all {FRAMES}"));
        Ok(format!("{percent:.1} % of a core while blocked; {taken}"))
    })
}
