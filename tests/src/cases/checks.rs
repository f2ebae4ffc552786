//! The library under the programs, below any driver: memory protection, interrupts, registers. One
//! boot of `unikernel/examples/checks.rs` a case.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::image;
use crate::qemu::{Accel, Config, MEMORY_MIB, Machine, Qemu};
use crate::runner::Case;

/// How QEMU ends by way of `isa-debug-exit`, as `unikernel/src/exit.rs` has it.
const PASSED: i32 = 33;
const PANICKED: i32 = 37;
const EXCEPTION: i32 = 39;

const LIMIT: Duration = Duration::from_secs(40);
const REPORT_LINES: usize = 25;
/// One NIC for each driver, on wires where QEMU answers ARP.
const NICS: &str = "-netdev user,id=first,restrict=on -device vmxnet3,netdev=first \
    -netdev user,id=second,restrict=on -device virtio-net-pci,netdev=second,disable-legacy=on,disable-modern=off";
/// A reset does not end it.
const REBOOTS: &str = "-action reboot=reset";
const EDU: &str = "-device edu";
/// 4 MiB are two large pages.
const SHARED: &str = "-object memory-backend-memfd,id=shared,size=4M -device ivshmem-plain,memdev=shared";
/// More than fits below 4 GiB, so that firmware has to put it above. Nothing touches most of it.
const SHARED_HIGH: &str =
    "-object memory-backend-memfd,id=shared,size=4G -device ivshmem-plain,memdev=shared";

/// What the image is asked to do, with which devices, how QEMU ends, and what the console says.
type Check = (&'static str, &'static str, i32, &'static str);

const CHECKS: [Check; 12] = [
    ("stack", "", EXCEPTION, "the stack overflowed"),
    ("null", "", EXCEPTION, "page fault"),
    ("code", "", EXCEPTION, "page fault"),
    ("data", "", EXCEPTION, "page fault"),
    ("panic", "", PANICKED, "as asked"),
    ("kept", REBOOTS, PASSED, "number 1 in a row: panic at unikernel/examples/checks.rs"),
    ("panics", REBOOTS, PANICKED, "number 5 in a row: panic at unikernel/examples/checks.rs"),
    ("memory", "", PASSED, "bytes of DMA memory in use"),
    ("hal", NICS, PASSED, "2 NICs, 0 findings"),
    ("edu", EDU, PASSED, "line "),
    ("ivshmem", SHARED, PASSED, "BAR 2 at "),
    ("ivshmem-high", SHARED_HIGH, PASSED, "BAR 2 at "),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for machine in [Machine::Pc, Machine::Q35] {
        for check in CHECKS {
            let name = format!("checks/{}/{}", machine.name(), check.0);
            cases.push(Case::new(name, move |_| run(machine, check)));
        }
    }
    for check in CHECKS.into_iter().filter(|(_, devices, ..)| *devices == REBOOTS) {
        let name = format!("checks/microvm-acpi/{}", check.0);
        cases.push(Case::new(name, move |_| run(Machine::MicrovmAcpi, check)));
    }
    cases
}

/// The image is built once, whichever case comes first.
fn checks_image() -> Result<PathBuf> {
    static IMAGE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = IMAGE.get_or_init(|| image::build(image::CHECKS).map_err(|error| format!("{error:#}")));
    built.clone().map_err(|error| anyhow!(error))
}

fn run(machine: Machine, (word, devices, ends, says): Check) -> Result<String> {
    let devices = format!("-device isa-debug-exit,iobase=0xf4,iosize=4 {}", devices);
    let config = Config {
        machine,
        accel: Accel::Tcg,
        memory_mib: MEMORY_MIB,
        nics: Vec::new(),
        extras: devices.split_whitespace().map(str::to_owned).collect(),
        image: checks_image()?,
        append: word.into(),
    };
    let mut qemu = Qemu::start(&config, Qemu::folder()?)?;
    let verdict = qemu.wait_end(LIMIT).and_then(|ended| {
        ensure!(ended == ends, "QEMU ended with {ended}, not {}", ends);
        let found = qemu.console().find_by(0, &[says], Instant::now() + LIMIT);
        let line = found.with_context(|| format!("no console line with {:?}", says))?.line;
        Ok(crate::console::text(&line).to_owned())
    });
    verdict.map_err(|error| anyhow!("{error:#}\n{}", qemu.report(REPORT_LINES)))
}
