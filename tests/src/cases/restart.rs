//! A driver stopped and started a hundred times within one boot: it gives back all it took.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::guest::{self, Guest, Plan, REQUEST_LIMIT};
use crate::http::Request;
use crate::qemu::{Machine, NicModel};
use crate::runner::{Case, Subject};

const RESTARTS: u64 = 100;
/// Traffic between two restarts, each way.
const TRAFFIC_BYTES: u64 = 64 * 1024;
const TRAFFIC_LIMIT: Duration = Duration::from_secs(30);

pub(super) fn cases() -> Vec<Case> {
    let models = [
        ("restart-100/vmxnet3/msix", NicModel::Vmxnet3, "msix"),
        ("restart-100/vmxnet3/line", NicModel::Vmxnet3, "line"),
        ("restart-100/virtio/msix", NicModel::VirtioModern, "msix"),
    ];
    let case = |(name, model, irq)| Case::new(name, move |subject| run(subject, model, irq));
    let under_load = [
        ("restart-under-load/vmxnet3", NicModel::Vmxnet3),
        ("restart-under-load/virtio", NicModel::VirtioModern),
    ];
    let loaded_case = |(name, model)| Case::new(name, move |subject| run_under_load(subject, model));
    models.into_iter().map(case).chain(under_load.into_iter().map(loaded_case)).collect()
}

fn run(subject: Subject<'_>, model: NicModel, irq: &str) -> Result<String> {
    let plan = Plan::new(Machine::Q35, &[model, NicModel::Vmxnet3], irq);
    guest::run(subject.image, &plan, |guest| {
        // The first traffic fills whatever is filled once.
        traffic(guest, 0)?;
        let before = Held::at_rest(guest, 0)?;
        ensure!(before.dma_bytes > 0, "no DMA memory in use before the first restart");
        let start = Instant::now();
        for number in 1..=RESTARTS {
            let what = || format!("restart {number} of {RESTARTS}");
            restart(guest, number).with_context(what)?;
            traffic(guest, number).with_context(what)?;
        }
        let took = start.elapsed();
        before.expect_again(guest, 0)?;
        let status = guest.status(0)?;
        ensure!(
            status.nic("admin")?.interrupts == irq,
            "interrupt mode {} at the end",
            status.nic("admin")?.interrupts
        );
        ensure!(status.nic("public")?.restarts == 0, "the other NIC was restarted too");
        guest.get(1, "/").context("over the other NIC, at the end")?;
        Ok(format!("{RESTARTS} restarts in {:.1} s, {before} before and after", took.as_secs_f64()))
    })
}

/// Restarts in the middle of a transfer: both rings are full of frames then, and none of them may
/// be lost for good or kept.
fn run_under_load(subject: Subject<'_>, model: NicModel) -> Result<String> {
    const LOADED_RESTARTS: u64 = 20;
    const LOADED_BYTES: u64 = 32 << 20;
    const LOADED_LIMIT: Duration = Duration::from_secs(120);
    let plan = Plan::new(Machine::Q35, &[model, NicModel::Vmxnet3], "auto");
    guest::run(subject.image, &plan, |guest| {
        traffic(guest, 0)?;
        let before = Held::at_rest(guest, 1)?;
        let transfer = guest.download_across_restarts(0, 1, LOADED_BYTES, LOADED_RESTARTS, LOADED_LIMIT)?;
        let status = guest.status(1)?;
        let seen = status.nic("admin")?.restarts;
        ensure!(seen == LOADED_RESTARTS, "the status counts {seen} restarts, not {LOADED_RESTARTS}");
        traffic(guest, 1)?;
        before.expect_again(guest, 1)?;
        Ok(format!(
            "{LOADED_RESTARTS} restarts within one download of 32 MiB, {:.1} s",
            transfer.took.as_secs_f64()
        ))
    })
}

/// What the drivers hold when nothing is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    dma_bytes: u64,
    pool_free: u64,
}

impl Held {
    fn now(guest: &mut Guest, nic: usize) -> Result<Self> {
        let status = guest.status(nic)?;
        Ok(Self { dma_bytes: status.dma_bytes_in_use()?, pool_free: status.pool_free()? })
    }

    /// With the frames home that the last connections, this one's included, only had on loan.
    fn at_rest(guest: &mut Guest, nic: usize) -> Result<Self> {
        const LOOKS: usize = 10;
        let mut most = Self::now(guest, nic)?;
        for _ in 1..LOOKS {
            let seen = Self::now(guest, nic)?;
            most.pool_free = most.pool_free.max(seen.pool_free);
        }
        Ok(most)
    }

    fn expect_again(self, guest: &mut Guest, nic: usize) -> Result<()> {
        // A receive queue holds up to so many frames beside its ring, now more and now fewer. A
        // restart that lost a single one each time would be beyond that after a hundred.
        const STOCK: u64 = 31;
        let seen = Self::at_rest(guest, nic)?;
        let are_home = seen.pool_free.abs_diff(self.pool_free) <= STOCK;
        ensure!(
            seen.dma_bytes == self.dma_bytes && are_home,
            "before the restarts {self}, afterwards {seen}, {STOCK} frames may have moved"
        );
        Ok(())
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of DMA memory in use, {} frames free", self.dma_bytes, self.pool_free)
    }
}

/// Asks for restart `number` and waits until the status counts it.
fn restart(guest: &mut Guest, number: u64) -> Result<()> {
    let request = Request::new("POST", "/nics/admin/restart");
    guest.request(0, request, &mut std::io::sink(), REQUEST_LIMIT)?.expect_status(202)?;
    let deadline = Instant::now() + REQUEST_LIMIT;
    loop {
        let seen = guest.status(0)?.nic("admin")?.restarts;
        if seen == number {
            return Ok(());
        }
        ensure!(
            seen + 1 == number && Instant::now() < deadline,
            "the status counts {seen} restarts, not {number}"
        );
    }
}

fn traffic(guest: &mut Guest, number: u64) -> Result<()> {
    guest.download(0, TRAFFIC_BYTES, TRAFFIC_LIMIT)?;
    guest.upload(0, TRAFFIC_BYTES, number, TRAFFIC_LIMIT).map(drop)
}
