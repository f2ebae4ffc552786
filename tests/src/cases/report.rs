//! The report about VMXNET3 devices, from a CD as people boot it, with BIOS and with UEFI: two NICs
//! on a network of their own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::image;
use crate::qemu::{Accel, Backend, Config, MEMORY_MIB, Machine, NicModel, Qemu, nic_address};
use crate::runner::Case;

/// Firmware, GRUB and all that the report is made of, on a busy machine.
const LIMIT: Duration = Duration::from_secs(180);
const REPORT_LINES: usize = 25;
/// What Debian's package `ovmf` has.
const UEFI: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";

pub(super) fn cases() -> Vec<Case> {
    [("bios/pc", Machine::Pc, false), ("bios/q35", Machine::Q35, false), ("uefi/q35", Machine::Q35, true)]
        .map(|(name, machine, uefi)| Case::new(format!("report/{name}"), move |_| run(machine, uefi)))
        .into()
}

/// The CD, which is made once, whichever case comes first.
fn cd() -> Result<PathBuf> {
    static CD: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let made = CD.get_or_init(|| make_cd().map_err(|error| format!("{error:#}")));
    made.clone().map_err(|error| anyhow!(error))
}

fn make_cd() -> Result<PathBuf> {
    let elf = image::build(image::REPORT)?;
    let to = elf.with_extension("iso");
    ci("image", &["--of".as_ref(), &elf, "--to".as_ref(), &to])?;
    Ok(to)
}

/// Runs one of the repository's scripts.
fn ci(script: &str, arguments: &[&Path]) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let script = root.join("ci").join(script);
    let ran = Command::new(&script).current_dir(&root).args(arguments).output();
    let ran = ran.with_context(|| format!("cannot run {}", script.display()))?;
    ensure!(ran.status.success(), "{}: {}", script.display(), String::from_utf8_lossy(&ran.stderr));
    Ok(())
}

fn run(machine: Machine, uefi: bool) -> Result<String> {
    let start = Instant::now();
    let mut extras = Vec::new();
    if uefi {
        ci("setup", &["--no-qemu".as_ref(), format!("{UEFI}:ovmf").as_ref()])?;
        extras = vec!["-drive".into(), format!("if=pflash,format=raw,readonly=on,file={UEFI}")];
    }
    let config = Config {
        machine,
        accel: Accel::Tcg,
        memory_mib: 2 * MEMORY_MIB,
        nics: vec![(NicModel::Vmxnet3, Backend::Hub); 2],
        extras,
        image: cd()?,
        append: String::new(),
    };
    let mut qemu = Qemu::start(&config, Qemu::folder()?)?;
    let verdict = watch(&mut qemu);
    verdict.map(|said| format!("{said}, {:.1} s", start.elapsed().as_secs_f64())).map_err(|error| {
        let ended = qemu.ended().map(|how| format!("    {how}\n")).unwrap_or_default();
        anyhow!("{error:#}\n{ended}{}", qemu.report(REPORT_LINES))
    })
}

/// Waits for the report and for the machine to be off.
fn watch(qemu: &mut Qemu) -> Result<String> {
    let deadline = Instant::now() + LIMIT;
    let console = qemu.console();
    let line = |words: &[&str]| {
        console
            .find_by(0, words, deadline)
            .map(|found| found.line)
            .with_context(|| format!("no line of {words:?}"))
    };
    line(&["report: begin"])?;
    for (role, index) in [("NIC 0 is tested", 0), ("NIC 1 answers", 1)] {
        line(&[&format!("report: {role}: {} {}", nic_address(index), NicModel::Vmxnet3.ids())])?;
    }
    let suite = line(&["report: suite "])?;
    line(&["report: end"])?;
    let facts: Vec<_> =
        console.lines_from(0).into_iter().filter(|line| line.contains(": expected ")).collect();
    let verdicts = [": as expected", ": differs", ": not shown ("];
    let count = |verdict: &str| facts.iter().filter(|line| line.contains(verdict)).count();
    let [as_expected, differs, not_shown] = verdicts.map(count);
    ensure!(as_expected + differs + not_shown == facts.len(), "a fact without a verdict, or with two");
    // Those are QEMU's, each by its name, in `tests/probe_qtest.rs`.
    ensure!(as_expected > 30, "only {as_expected} facts are as expected");
    let said = format!("report: {as_expected} as expected, {differs} differ, {not_shown} not shown");
    line(&[&said]).context("what the report says of its own lines")?;
    if !suite.contains("report: suite passed, ") {
        bail!("the suite: {suite}");
    }
    let ended = qemu.wait_end(LIMIT)?;
    ensure!(ended == 0, "QEMU ended with {ended}, not 0: the machine did not turn itself off");
    Ok(format!("suite passed, {} facts", facts.len()))
}
