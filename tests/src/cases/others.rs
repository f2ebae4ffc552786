//! Devices that drivers of `virtio-drivers` drive over our transports, in a guest: entropy, and a
//! console whose other end is here.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::image;
use crate::qemu::{Accel, Config, MEMORY_MIB, Machine, Qemu};
use crate::runner::Case;

/// How QEMU ends by way of `isa-debug-exit` when the guest is content.
const PASSED: i32 = 33;
const LIMIT: Duration = Duration::from_secs(60);
const REPORT_LINES: usize = 25;

/// What the guest says first, what it is told, and what it answers.
const GREETING: &[u8] = b"paravane\n";
const LINE: &[u8] = b"over 1 wire\n";
const ANSWER: &[u8] = b"OVER 1 WIRE\n";

pub(super) fn cases() -> Vec<Case> {
    let machines = [Machine::Pc, Machine::Q35, Machine::Microvm, Machine::MicrovmPcie];
    let case = |machine: Machine| Case::new(format!("others/{}", machine.name()), move |_| run(machine));
    machines.into_iter().map(case).collect()
}

/// The image is built once, whichever case comes first.
fn others_image() -> Result<PathBuf> {
    static IMAGE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = IMAGE.get_or_init(|| image::build(image::OTHERS).map_err(|error| format!("{error:#}")));
    built.clone().map_err(|error| anyhow!(error))
}

fn run(machine: Machine) -> Result<String> {
    let folder = Qemu::folder()?;
    let socket = folder.path().join("console");
    let (bus, at) = match machine {
        Machine::Microvm | Machine::MicrovmAcpi => {
            ("device", ["bus=virtio-mmio-bus.1", "bus=virtio-mmio-bus.2"])
        }
        _ => ("pci,disable-legacy=on,disable-modern=off", ["addr=0x4", "addr=0x5"]),
    };
    let config = Config {
        machine,
        accel: Accel::Tcg,
        memory_mib: MEMORY_MIB,
        nics: Vec::new(),
        extras: [
            "-device".into(),
            "isa-debug-exit,iobase=0xf4,iosize=4".into(),
            "-device".into(),
            format!("virtio-rng-{bus},{}", at[0]),
            "-device".into(),
            format!("virtio-serial-{bus},{}", at[1]),
            "-chardev".into(),
            format!("socket,id=wire,path={},server=on,wait=on", socket.display()),
            "-device".into(),
            "virtconsole,chardev=wire".into(),
        ]
        .into(),
        image: others_image()?,
        append: String::new(),
    };
    let mut qemu = Qemu::start(&config, folder)?;
    let verdict = talk(&socket).and_then(|()| {
        let ended = qemu.wait_end(LIMIT)?;
        ensure!(ended == PASSED, "QEMU ended with {ended}, not {PASSED}");
        let line = format!("a line of {} bytes", LINE.len());
        for words in [&["others: entropy at", "no two alike"][..], &["others: console at", &line]] {
            let found = qemu.console().find_by(0, words, Instant::now() + LIMIT);
            found.with_context(|| format!("no console line with {words:?}"))?;
        }
        Ok("entropy, and a line both ways".into())
    });
    verdict.map_err(|error| anyhow!("{error:#}\n{}", qemu.report(REPORT_LINES)))
}

/// The other end of the guest's console, from its greeting to its answer.
fn talk(socket: &Path) -> Result<()> {
    let start = Instant::now();
    let mut wire = loop {
        match UnixStream::connect(socket) {
            Ok(wire) => break wire,
            Err(error) if start.elapsed() > LIMIT => return Err(error).context("the guest's console"),
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    };
    wire.set_read_timeout(Some(LIMIT))?;
    let mut heard = [0; GREETING.len()];
    wire.read_exact(&mut heard).context("the guest does not greet")?;
    ensure!(heard == GREETING, "the guest greets with {:?}", heard.escape_ascii().to_string());
    wire.write_all(LINE)?;
    let mut heard = [0; ANSWER.len()];
    wire.read_exact(&mut heard).context("the guest does not answer")?;
    ensure!(heard == ANSWER, "the guest answers {:?}", heard.escape_ascii().to_string());
    Ok(())
}
