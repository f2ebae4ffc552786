//! The driver suite on bare metal: the image that runs it, with one NIC, and we are the other end
//! of its cable.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};
use paravane_suite::peer;
use smoltcp::phy::{Device as _, RxToken as _, TxToken as _};
use smoltcp::time::Instant as StackInstant;

use crate::dgram::Cable;
use crate::image;
use crate::monitor::Monitor;
use crate::qemu::{Accel, Backend, Config, MEMORY_MIB, Machine, NicModel, Qemu, netdev_id, nic_mac};
use crate::runner::Case;

const MODELS: [(NicModel, &str); 4] = [
    (NicModel::Vmxnet3, "vmxnet3"),
    (NicModel::VirtioModern, "virtio-modern"),
    (NicModel::VirtioPacked, "virtio-packed"),
    (NicModel::VirtioTransitional, "virtio-transitional"),
];
/// Boot and all tests, on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);
/// Between two looks at the console, when no frame comes.
const SLICE: Duration = Duration::from_millis(5);
const REPORT_LINES: usize = 25;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for machine in [Machine::Pc, Machine::Q35] {
        for (model, name) in MODELS {
            let name = format!("suite/{}/{name}", machine.name());
            cases.push(Case::new(name, move |_| run(machine, model)));
        }
    }
    cases
}

/// The image is built once, whichever case comes first.
fn suite_image() -> Result<PathBuf> {
    static IMAGE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = IMAGE.get_or_init(|| image::build(image::SUITE).map_err(|error| format!("{error:#}")));
    built.clone().map_err(|error| anyhow!(error))
}

fn run(machine: Machine, model: NicModel) -> Result<String> {
    let folder = Qemu::folder()?;
    let mut cable = Cable::bind(&Qemu::our_socket(&folder, 0))?;
    let config = Config {
        machine,
        accel: Accel::Tcg,
        memory_mib: MEMORY_MIB,
        nics: vec![(model, Backend::Cable)],
        extras: Vec::new(),
        image: suite_image()?,
        append: format!("mac0={}", nic_mac(0)),
    };
    let mut qemu = Qemu::start(&config, folder)?;
    let verdict = cable
        .connect(&qemu.their_socket(0), qemu.start_deadline())
        .and_then(|()| serve(&qemu, &mut cable, &mut qemu.monitor()?));
    verdict.map_err(|error| {
        let ended = qemu.ended().map(|how| format!("    {how}\n")).unwrap_or_default();
        anyhow!("{error:#}\n{ended}{}", qemu.report(REPORT_LINES))
    })
}

/// Answers frames and pulls the cable until the suite is through.
fn serve(qemu: &Qemu, cable: &mut Cable, monitor: &mut Monitor) -> Result<String> {
    let start = Instant::now();
    let mut position = 0;
    let mut tests = None;
    let mut answered = 0_u32;
    while start.elapsed() < LIMIT {
        let has_ended = qemu.console().has_ended();
        while let Some(found) = qemu.console().find(position, &["suite: "]) {
            position = found.at + 1;
            let (_, said) = found.line.split_once("suite: ").unwrap_or_default();
            match said {
                "done" => {
                    let Some(tests) = tests else { bail!("the suite is done and names no number of tests") };
                    ensure!(answered > 0, "the suite passed without a single frame");
                    let seconds = start.elapsed().as_secs_f64();
                    return Ok(format!("{tests} tests, {answered} frames answered, {seconds:.1} s"));
                }
                "NIC 0 wants link down" => monitor.set_link(&netdev_id(0), false)?,
                "NIC 0 wants link up" => monitor.set_link(&netdev_id(0), true)?,
                _ => {
                    ensure!(!said.contains("failed: ") && !said.contains("no "), "the image says: {said}");
                    tests = said
                        .strip_prefix("NIC 0: ")
                        .and_then(|said| said.strip_suffix(" tests passed"))
                        .and_then(|count| count.parse::<u32>().ok())
                        .or(tests);
                }
            }
        }
        ensure!(!has_ended, "the console was closed before the suite was done");
        cable.wait(SLICE)?;
        answered += answer_all(cable);
    }
    bail!("the suite was not done after {} s", LIMIT.as_secs())
}

/// Answers every frame that is there; how many.
fn answer_all(cable: &mut Cable) -> u32 {
    let mut answered = 0;
    while let Some((received, room)) = cable.receive(StackInstant::ZERO) {
        if let Some(answer) = received.consume(peer::answer) {
            room.consume(answer.len(), |frame| frame.copy_from_slice(&answer));
            answered += 1;
        }
    }
    answered
}
