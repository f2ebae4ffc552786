//! A link that goes down and up again and again, at times when the guest is busy, just done, or
//! asleep: every change is noticed, and traffic goes on afterwards.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::guest::{self, Plan};
use crate::qemu::{Machine, NicModel};
use crate::runner::{Case, Subject};

const FLAPS: u32 = 40;
const NOTICE_LIMIT: Duration = Duration::from_secs(5);
const TRAFFIC_BYTES: u64 = 256 * 1024;
const TRAFFIC_LIMIT: Duration = Duration::from_secs(30);

pub(super) fn cases() -> Vec<Case> {
    let models = [
        ("vmxnet3", NicModel::Vmxnet3),
        ("virtio-modern", NicModel::VirtioModern),
        ("virtio-transitional", NicModel::VirtioTransitional),
    ];
    let mut cases = Vec::new();
    for (name, model) in models {
        for irq in ["msix", "line"] {
            cases
                .push(Case::new(format!("link-flaps/{name}/{irq}"), move |subject| run(subject, model, irq)));
        }
    }
    cases
}

fn run(subject: Subject<'_>, model: NicModel, irq: &str) -> Result<String> {
    guest::run(subject.image, &Plan::new(Machine::Pc, &[model], irq), |guest| {
        let mut slowest = Duration::ZERO;
        for flap in 0..FLAPS {
            guest.upload(0, TRAFFIC_BYTES, flap.into(), TRAFFIC_LIMIT)?;
            // From at once to well after the last timer of the connection.
            thread::sleep(Duration::from_millis(7) * (flap % 10));
            for (up, word) in [(false, "link down"), (true, "link up")] {
                let from = guest.position();
                let start = Instant::now();
                guest.set_link(0, up)?;
                guest
                    .wait_line(from, &["nic admin:", word], NOTICE_LIMIT)
                    .with_context(|| format!("change {} of {}", 2 * flap + u32::from(up) + 1, 2 * FLAPS))?;
                slowest = slowest.max(start.elapsed());
            }
        }
        let seen = guest.status(0)?.nic("admin")?.link_changes;
        ensure!(seen == u64::from(2 * FLAPS), "the status counts {seen} link changes, not {}", 2 * FLAPS);
        Ok(format!("{} changes, each noticed within {:.2} s", 2 * FLAPS, slowest.as_secs_f64()))
    })
}
