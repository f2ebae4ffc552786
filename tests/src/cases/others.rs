//! Devices that drivers of `virtio-drivers` drive over our transports, in a guest: entropy, a
//! console whose other end is here, and a socket at whose other end is a program of rust-vmm's.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::image;
use crate::noise::Noise;
use crate::qemu::{Accel, Config, MEMORY_MIB, Machine, Qemu};
use crate::runner::Case;
use crate::vsock::{self, GUEST, Vsock};

/// How QEMU ends by way of `isa-debug-exit` when the guest is content.
const PASSED: i32 = 33;
const LIMIT: Duration = Duration::from_secs(60);
const REPORT_LINES: usize = 25;

/// What the guest says first, what it is told, and what it answers.
const GREETING: &[u8] = b"paravane\n";
const LINE: &[u8] = b"over 1 wire\n";
const ANSWER: &[u8] = b"OVER 1 WIRE\n";

/// Where the guest calls the host, and how much it takes and answers.
const PORT: u32 = 1234;
const SOCKET_BYTES: usize = 8192;

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
    let wire = folder.path().join("console");
    let is_on_pci = !matches!(machine, Machine::Microvm | Machine::MicrovmAcpi);
    let (bus, at) = if is_on_pci {
        ("pci,disable-legacy=on,disable-modern=off", ["addr=0x4", "addr=0x5", "addr=0x6"])
    } else {
        ("device", ["bus=virtio-mmio-bus.1", "bus=virtio-mmio-bus.2", "bus=virtio-mmio-bus.3"])
    };
    let mut extras: Vec<String> = [
        ["-device", "isa-debug-exit,iobase=0xf4,iosize=4"],
        ["-device", &format!("virtio-rng-{bus},{}", at[0])],
        ["-device", &format!("virtio-serial-{bus},{}", at[1])],
        ["-chardev", &format!("socket,id=wire,path={},server=on,wait=on", wire.display())],
        ["-device", "virtconsole,chardev=wire"],
    ]
    .as_flattened()
    .iter()
    .map(|word| String::from(*word))
    .collect();
    let socket = start_socket(is_on_pci, folder.path())?;
    if let Some((vsock, _)) = &socket {
        extras.extend(vsock.qemu_options(MEMORY_MIB, &format!("{bus},{}", at[2])));
    }
    let config = Config {
        machine,
        accel: Accel::Tcg,
        memory_mib: MEMORY_MIB,
        nics: Vec::new(),
        extras,
        image: others_image()?,
        append: String::new(),
    };
    let mut qemu = Qemu::start(&config, folder)?;
    let verdict = talk(&wire).and_then(|()| {
        if let Some((_, listener)) = &socket {
            converse(listener).context("the guest's socket")?;
        }
        let ended = qemu.wait_end(LIMIT)?;
        ensure!(ended == PASSED, "QEMU ended with {ended}, not {PASSED}");
        let line = format!("a line of {} bytes", LINE.len());
        let said = format!("{SOCKET_BYTES} bytes each way with the host, as guest {GUEST}");
        let mut lines = vec![["others: entropy at", "no two alike"], ["others: console at", &line]];
        lines.extend(socket.is_some().then_some(["others: socket at", &said]));
        for words in lines {
            let found = qemu.console().find_by(0, &words, Instant::now() + LIMIT);
            found.with_context(|| format!("no console line with {words:?}"))?;
        }
        let with_socket = if socket.is_some() { ", and a socket's bytes" } else { "" };
        Ok(format!("entropy, and a line{with_socket} both ways"))
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

/// The device side of a socket, and where the guest is waited for. Without a bus there is none:
/// QEMU hands doorbells there to another process under its hypervisor alone.
fn start_socket(is_on_pci: bool, folder: &Path) -> Result<Option<(Vsock, UnixListener)>> {
    if !is_on_pci {
        return Ok(None);
    }
    let vsock = Vsock::start(folder, LIMIT)?;
    let listener = vsock.listen(PORT)?;
    Ok(Some((vsock, listener)))
}

/// The host's end of the guest's socket: what it says comes back with each bit turned over, and the
/// guest hangs up.
fn converse(listener: &UnixListener) -> Result<()> {
    let mut stream = vsock::accept(listener, LIMIT)?;
    let mut said = [0; SOCKET_BYTES];
    Noise::new(7).read_exact(&mut said)?;
    stream.write_all(&said).context("the guest does not listen")?;
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).with_context(|| format!("{} bytes came", heard.len()))?;
    ensure!(heard.len() == SOCKET_BYTES, "{} bytes came, not {SOCKET_BYTES}", heard.len());
    let differs = heard.iter().zip(&said).position(|(heard, said)| *heard != !*said);
    ensure!(differs.is_none(), "byte {differs:?} is not what was said, turned over");
    Ok(())
}
