//! One cell of the guest matrix: one NIC on one machine in one interrupt mode, and all that a NIC
//! is for.

use std::io;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::guest::{self, Guest, Plan, REQUEST_LIMIT};
use crate::http::Request;
use crate::qemu::{Machine, NicModel, nic_place};
use crate::runner::{Case, Subject};
use crate::status::NicStatus;

/// What firmware sets up.
const PCS: &[Machine] = &[Machine::Pc, Machine::Q35];

/// What has devices in memory.
const MICROVMS: &[Machine] = &[Machine::Microvm, Machine::MicrovmAcpi];

/// Each with the machines that have it, and the modes that it has there.
const MODELS: [(NicModel, &str, &[Machine], &[&str]); 8] = [
    (NicModel::Vmxnet3, "vmxnet3", PCS, &["msix", "msi", "line", "polling"]),
    (NicModel::VirtioModern, "virtio-modern", PCS, &["msix", "line", "polling"]),
    (NicModel::VirtioPacked, "virtio-packed", PCS, &["msix", "line", "polling"]),
    (NicModel::VirtioTransitional, "virtio-transitional", PCS, &["msix", "line", "polling"]),
    (NicModel::VirtioLegacy, "virtio-legacy", PCS, &["msix", "line", "polling"]),
    (NicModel::VirtioModern, "virtio-modern", &[Machine::MicrovmPcie], &["msix", "line", "polling"]),
    (NicModel::VirtioMmio, "virtio-mmio", MICROVMS, &["line", "polling"]),
    (NicModel::VirtioMmioLegacy, "virtio-mmio-legacy", MICROVMS, &["line", "polling"]),
];

const TRANSFER_BYTES: u64 = 32 << 20;
const TRANSFER_LIMIT: Duration = Duration::from_secs(180);
const LINK_LIMIT: Duration = Duration::from_secs(10);
/// Empty, the usual, odd, close to a full frame.
const PING_BYTES: [usize; 5] = [0, 56, 333, 1024, 1400];
const PING_ROUNDS: usize = 3;
const REQUESTS: u32 = 1000;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (model, model_name, machines, irqs) in MODELS {
        for &machine in machines {
            for &irq in irqs {
                let name = format!("{}/{model_name}/{irq}", machine.name());
                cases.push(Case::new(name, move |subject| run(subject, machine, model, irq)));
            }
        }
    }
    cases
}

fn run(subject: Subject<'_>, machine: Machine, model: NicModel, irq: &str) -> Result<String> {
    let start = Instant::now();
    guest::run(subject.image, &Plan::new(machine, &[model], irq), |guest| {
        let boot = start.elapsed();
        let before = nic(guest).context("first status")?;
        check_identity(&before, model, irq)?;
        let ping = pings(guest)?;
        let down = guest.download(0, TRANSFER_BYTES, TRANSFER_LIMIT)?;
        let up = guest.upload(0, TRANSFER_BYTES, 1, TRANSFER_LIMIT)?;
        let link = link_down_and_up(guest)?;
        let requests = sequential_requests(guest)?;

        let after = nic(guest).context("last status")?;
        ensure!(after.is_link_up, "the link is reported down at the end");
        let changes = after.link_changes.saturating_sub(before.link_changes);
        ensure!(changes >= 2, "expected two link changes in the status, saw {changes}");
        check_identity(&after, model, irq)?;
        check_counters(&before, &after)?;
        Ok(format!(
            "boot {:.1} s, ping {:.0} us, down {:.1} MiB/s, up {:.1} MiB/s, link {:.2} s, {REQUESTS} requests {:.1} s",
            boot.as_secs_f64(),
            ping.as_secs_f64() * 1e6,
            down.mib_per_second(),
            up.mib_per_second(),
            link.as_secs_f64(),
            requests.as_secs_f64(),
        ))
    })
}

fn nic(guest: &mut Guest) -> Result<NicStatus> {
    guest.status(0)?.nic("admin")
}

fn check_identity(nic: &NicStatus, model: NicModel, irq: &str) -> Result<()> {
    let seen = (nic.driver.as_str(), nic.place.as_str(), nic.ids.as_str(), nic.interrupts.as_str());
    let place = nic_place(model, 0);
    let wanted = (model.driver(), place.as_str(), model.ids(), irq);
    ensure!(seen == wanted, "the status says {seen:?}, expected {wanted:?}");
    ensure!(nic.restarts == 0, "the driver was restarted {} times without being asked", nic.restarts);
    Ok(())
}

/// What was moved was moved by this NIC: the frames that the transfers and requests take at the
/// least, both ways.
fn check_counters(before: &NicStatus, after: &NicStatus) -> Result<()> {
    const MAX_SEGMENT_BYTES: u64 = 1460;
    let wanted = TRANSFER_BYTES / MAX_SEGMENT_BYTES + u64::from(REQUESTS);
    let sent = after.tx_frames.saturating_sub(before.tx_frames);
    let received = after.rx_frames.saturating_sub(before.rx_frames);
    ensure!(
        sent >= wanted && received >= wanted,
        "the status counts {sent} frames sent and {received} received; no fewer than {wanted} can have been enough"
    );
    Ok(())
}

/// The fastest round trip of all sizes; every echo has to come back.
fn pings(guest: &mut Guest) -> Result<Duration> {
    let mut fastest = Duration::MAX;
    let mut seq_no = 0;
    for _ in 0..PING_ROUNDS {
        for payload_bytes in PING_BYTES {
            seq_no += 1;
            fastest = fastest.min(guest.ping(0, seq_no, payload_bytes)?);
        }
    }
    Ok(fastest)
}

/// From the monitor's command to the guest's line, the slower of both ways.
fn link_down_and_up(guest: &mut Guest) -> Result<Duration> {
    let mut slowest = Duration::ZERO;
    for (up, word) in [(false, "link down"), (true, "link up")] {
        let from = guest.position();
        let start = Instant::now();
        guest.set_link(0, up)?;
        guest.wait_line(from, &["nic admin:", word], LINK_LIMIT)?;
        slowest = slowest.max(start.elapsed());
    }
    Ok(slowest)
}

/// One connection each, page and status in turn.
fn sequential_requests(guest: &mut Guest) -> Result<Duration> {
    let start = Instant::now();
    for number in 1..=REQUESTS {
        let target = if number % 2 == 0 { "/" } else { "/status.json" };
        let response = guest
            .request(0, Request::new("GET", target), &mut io::sink(), REQUEST_LIMIT)
            .with_context(|| format!("request {number} of {REQUESTS}"))?;
        response.expect_status(200)?;
        ensure!(response.body_bytes > 0, "request {number} of {REQUESTS}: an empty answer to GET {target}");
    }
    Ok(start.elapsed())
}
