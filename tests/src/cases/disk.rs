//! A disk in the guest: the image that drives one, and we look at what it left in the file.

use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::image;
use crate::noise::Noise;
use crate::qemu::{Accel, Config, MEMORY_MIB, Machine, Qemu};
use crate::runner::Case;

/// How QEMU ends by way of `isa-debug-exit` when all is well.
const PASSED: i32 = 33;
/// Boot and all requests, on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
const REPORT_LINES: usize = 25;

const SECTOR: usize = 512;
const SECTORS: usize = 2048;
/// What the guest is to write, its end not included: no multiple of anything it writes at once.
const WRITTEN: (usize, usize) = (301, 1504);
/// What the disk holds first, and what is written, are the noise of this seed and of the next.
const PATTERN: u64 = 7_340_033;
const SERIAL: &str = "paravane-1";

const ALL: &[&str] = &["msix", "line", "polling"];
/// On no bus there are no messages.
const NO_MESSAGES: &[&str] = &["line", "polling"];
const PCS: &[Machine] = &[Machine::Pc, Machine::Q35];
const PCI: &[Machine] = &[Machine::Pc, Machine::Q35, Machine::MicrovmPcie];
const MMIO: &[Machine] = &[Machine::Microvm, Machine::MicrovmAcpi];

/// A disk of QEMU, and where the guest finds it.
#[derive(Clone, Copy)]
struct Model {
    name: &'static str,
    device: &'static str,
    place: &'static str,
    ring: &'static str,
    machines: &'static [Machine],
    irqs: &'static [&'static str],
}

impl Model {
    /// Whether it is a device of MMIO version 1, which all devices on no bus are then.
    fn is_mmio_legacy(&self) -> bool {
        self.name == "legacy" && self.machines == MMIO
    }
}

const MODELS: [Model; 7] = [
    Model {
        name: "split",
        device: "virtio-blk-pci,disable-legacy=on,disable-modern=off,addr=0x4",
        place: "00:04.0 1af4:1042",
        ring: "split",
        machines: PCI,
        irqs: ALL,
    },
    Model {
        name: "packed",
        device: "virtio-blk-pci,disable-legacy=on,disable-modern=off,packed=on,addr=0x4",
        place: "00:04.0 1af4:1042",
        ring: "packed",
        machines: PCI,
        irqs: ALL,
    },
    Model {
        name: "transitional",
        device: "virtio-blk-pci,disable-legacy=off,disable-modern=off,addr=0x4",
        place: "00:04.0 1af4:1001",
        ring: "split",
        machines: PCS,
        irqs: ALL,
    },
    Model {
        name: "legacy",
        device: "virtio-blk-pci,disable-legacy=off,disable-modern=on,addr=0x4",
        place: "00:04.0 1af4:1001",
        ring: "split",
        machines: PCS,
        irqs: ALL,
    },
    // Not bus 0, whose line QEMU mistakes for the timer's where there are two I/O APICs.
    Model {
        name: "split",
        device: "virtio-blk-device,bus=virtio-mmio-bus.1",
        place: "mmio:0xfeb00200 virtio:2",
        ring: "split",
        machines: MMIO,
        irqs: NO_MESSAGES,
    },
    Model {
        name: "legacy",
        device: "virtio-blk-device,bus=virtio-mmio-bus.1",
        place: "mmio:0xfeb00200 virtio:2",
        ring: "split",
        machines: MMIO,
        irqs: NO_MESSAGES,
    },
    Model {
        name: "packed",
        device: "virtio-blk-device,packed=on,bus=virtio-mmio-bus.1",
        place: "mmio:0xfeb00200 virtio:2",
        ring: "packed",
        machines: MMIO,
        irqs: NO_MESSAGES,
    },
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for model in MODELS {
        for &machine in model.machines {
            for &irq in model.irqs {
                let name = format!("disk/{}/{}/{irq}", machine.name(), model.name);
                cases.push(Case::new(name, move |_| run(machine, model, irq)));
            }
        }
    }
    cases
}

/// The image is built once, whichever case comes first.
fn disk_image() -> Result<PathBuf> {
    static IMAGE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = IMAGE.get_or_init(|| image::build(image::DISK).map_err(|error| format!("{error:#}")));
    built.clone().map_err(|error| anyhow!(error))
}

/// How the guest calls the way that it was asked for.
fn interrupts(irq: &str) -> &str {
    match irq {
        "msix" => "msix, 2 vectors",
        other => other,
    }
}

/// The whole disk, full of the noise of `seed`.
fn noise(seed: u64) -> Result<Vec<u8>> {
    let mut bytes = vec![0; SECTORS * SECTOR];
    Noise::new(seed).read_exact(&mut bytes)?;
    Ok(bytes)
}

fn run(machine: Machine, model: Model, irq: &str) -> Result<String> {
    let folder = Qemu::folder()?;
    let file = folder.path().join("disk");
    let mut wanted = noise(PATTERN)?;
    fs::write(&file, &wanted)?;
    let written = WRITTEN.0 * SECTOR..WRITTEN.1 * SECTOR;
    wanted[written.clone()].copy_from_slice(&noise(PATTERN + 1)?[written]);

    let drive = format!("file={},if=none,id=disk,format=raw", file.display());
    let device = format!("{},drive=disk,serial={SERIAL}", model.device);
    let mut extras =
        vec!["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-drive", &drive, "-device", &device];
    if model.is_mmio_legacy() {
        extras.extend(["-global", "virtio-mmio.force-legacy=on"]);
    }
    let config = Config {
        machine,
        accel: Accel::Tcg,
        memory_mib: MEMORY_MIB,
        nics: Vec::new(),
        extras: extras.into_iter().map(str::to_owned).collect(),
        image: disk_image()?,
        append: format!("irq={irq} pattern={PATTERN} write={}-{}", WRITTEN.0, WRITTEN.1),
    };
    let start = Instant::now();
    let mut qemu = Qemu::start(&config, folder)?;
    let verdict = qemu.wait_end(LIMIT).and_then(|ended| {
        ensure!(ended == PASSED, "QEMU ended with {ended}, not {PASSED}");
        let identity =
            format!("disk: virtio-blk at {} ring {} interrupts {}", model.place, model.ring, interrupts(irq));
        let size = format!("disk: {SECTORS} sectors, blocks of {SECTOR} bytes");
        let serial = format!("called {SERIAL}");
        let found_by = match machine {
            // By a word that QEMU puts on the command line, which nobody remarks on.
            Machine::Microvm => "pci: there is none",
            Machine::MicrovmAcpi => "that ACPI declares",
            _ => "pci: config space",
        };
        for words in [&[identity.as_str()][..], &[&size, &serial], &[found_by], &["disk: passed"]] {
            let found = qemu.console().find_by(0, words, Instant::now() + LIMIT);
            found.with_context(|| format!("no console line with {words:?}"))?;
        }
        let found = fs::read(&file)?;
        ensure!(found.len() == wanted.len(), "the disk has {} bytes, not {}", found.len(), wanted.len());
        if let Some(at) = found.iter().zip(&wanted).position(|(found, wanted)| found != wanted) {
            bail!("sector {} of the file does not hold what the guest was to leave there", at / SECTOR);
        }
        Ok(format!("{SECTORS} sectors as they should be, {:.1} s", start.elapsed().as_secs_f64()))
    });
    verdict.map_err(|error| anyhow!("{error:#}\n{}", qemu.report(REPORT_LINES)))
}
