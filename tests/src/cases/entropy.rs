//! Where the image's random numbers come from, on machines that have one source or another, or
//! none; it serves on all of them.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::guest::{self, Plan};
use crate::qemu::{Machine, NicModel};
use crate::runner::{Case, Subject};

const LINE_LIMIT: Duration = Duration::from_secs(20);

/// A machine: its CPU, devices beside its NIC, and the sources of which the image is to find
/// one.
struct Given {
    name: &'static str,
    machine: Machine,
    cpu: &'static str,
    device: Option<&'static str>,
    sources: &'static [&'static str],
}

/// The CPU that QEMU has without a word, which has neither instruction.
const NEITHER: &str = "qemu64";

/// QEMU's translator has RDRAND, and RDSEED since some release.
const CPU: &[&str] = &["rdseed", "rdrand"];

const GIVEN: [Given; 7] = [
    Given { name: "cpu", machine: Machine::Q35, cpu: "max", device: None, sources: CPU },
    Given { name: "rdrand", machine: Machine::Pc, cpu: "max,rdseed=off", device: None, sources: &["rdrand"] },
    Given {
        name: "cpu-first",
        machine: Machine::Q35,
        cpu: "max",
        device: Some("virtio-rng-pci"),
        sources: CPU,
    },
    Given {
        name: "virtio-rng/pci",
        machine: Machine::Q35,
        cpu: NEITHER,
        device: Some("virtio-rng-pci,disable-legacy=on"),
        sources: &["virtio-rng"],
    },
    Given {
        name: "virtio-rng/legacy",
        machine: Machine::Pc,
        cpu: NEITHER,
        device: Some("virtio-rng-pci,disable-modern=on"),
        sources: &["virtio-rng"],
    },
    Given {
        name: "virtio-rng/mmio",
        machine: Machine::Microvm,
        cpu: NEITHER,
        device: Some("virtio-rng-device"),
        sources: &["virtio-rng"],
    },
    Given { name: "none", machine: Machine::Q35, cpu: NEITHER, device: None, sources: &["none"] },
];

pub(super) fn cases() -> Vec<Case> {
    let case =
        |given: Given| Case::new(format!("entropy/{}", given.name), move |subject| run(subject, &given));
    GIVEN.into_iter().map(case).collect()
}

fn run(subject: Subject<'_>, given: &Given) -> Result<String> {
    let nic = match given.machine {
        Machine::Microvm => NicModel::VirtioMmio,
        _ => NicModel::Vmxnet3,
    };
    let cpu = ["-cpu", given.cpu].into_iter();
    let device = given.device.into_iter().flat_map(|device| ["-device", device]);
    let extras = cpu.chain(device).map(String::from).collect();
    let plan = Plan::new(given.machine, &[nic], "auto").extras(extras);
    guest::run(subject.image, &plan, |guest| {
        let found = guest.status(0)?.entropy()?;
        ensure!(given.sources.contains(&found.as_str()), "entropy from {found:?}, not {:?}", given.sources);
        let words: &[&str] = match found.as_str() {
            "none" => &["entropy: none", "off: sequence numbers", "virtio-rng"],
            source => &["entropy: ", source],
        };
        let line = guest.wait_line(0, words, LINE_LIMIT).context("no line that says it")?.line;
        guest.get(0, "/")?;
        Ok(line)
    })
}
