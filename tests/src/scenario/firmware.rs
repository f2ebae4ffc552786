//! What a machine's firmware leaves in memory: a machine that boots until its tables are there, and
//! the tables.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use paravane_hal::addr::PhysAddr;
use paravane_mock_hal::record::Recording;
use paravane_pci::EcamEntry;
use paravane_pci::mcfg::ecam_entries;
use paravane_pci::tables::{TableError, search_bios_area};
use serde_json::json;
use tempfile::TempDir;

use crate::monitor::Monitor;
use crate::tool;

const PROGRAM: &str = "qemu-system-x86_64";
/// How long firmware may take, on a machine that does other things as well.
const BOOT_LIMIT: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(200);
const RAM_MIB: usize = 32;
/// Longer tables are not tables.
const TABLE_LIMIT_BYTES: usize = 64 << 10;

/// The ECAM regions that a recorded machine's tables describe; `None` when it has no tables.
///
/// # Errors
///
/// A table is damaged.
pub fn ecam_of(recording: &Recording) -> Result<Option<Vec<EcamEntry>>, TableError> {
    let memory = |from: PhysAddr, into: &mut [u8]| recording.read_firmware(from, into);
    let Some(rsdp) = search_bios_area(&memory) else { return Ok(None) };
    let mut entries = Vec::new();
    ecam_entries(&memory, rsdp, &mut |entry| entries.push(entry))?;
    Ok(Some(entries))
}

/// A piece of memory with firmware's bytes in it.
pub type Piece = (PhysAddr, Vec<u8>);

/// A machine that runs its firmware.
pub struct Booting {
    child: Child,
    monitor: Monitor,
    folder: TempDir,
    words: Vec<String>,
}

impl Booting {
    /// Starts a machine; `name` is QEMU's word for it, with properties.
    ///
    /// # Errors
    ///
    /// QEMU is not installed, or does not start.
    pub fn start(name: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("paravane-").tempdir()?;
        let socket = folder.path().join("monitor");
        let mut words: Vec<String> =
            ["-machine", name, "-accel", "tcg", "-m", &RAM_MIB.to_string()].map(str::to_owned).into();
        words.extend(["-display", "none", "-nodefaults", "-no-user-config"].map(str::to_owned));
        let mut command = Command::new(tool::qemu()?);
        command.args(&words).arg("-qmp").arg(format!("unix:{},server=on,wait=off", socket.display()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().context("cannot start QEMU")?;
        match Monitor::connect(&socket, Instant::now() + BOOT_LIMIT) {
            Ok(monitor) => Ok(Self { child, monitor, folder, words }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error.into())
            }
        }
    }

    /// The command line, but for the monitor's socket.
    #[must_use]
    pub fn command_line(&self) -> String {
        format!("{PROGRAM} {}", self.words.join(" "))
    }

    /// Waits until the tables are there: the RSDP, the table it leads to, the headers of all tables
    /// that one names, and the whole of the MCFG.
    ///
    /// # Errors
    ///
    /// They are not there in time.
    pub fn tables(&mut self) -> Result<Vec<Piece>> {
        let deadline = Instant::now() + BOOT_LIMIT;
        loop {
            match self.ram().and_then(|ram| tables(&ram)) {
                Ok(pieces) => return Ok(pieces),
                Err(error) if Instant::now() >= deadline => return Err(error.context("no tables in time")),
                Err(_) => thread::sleep(LOOK),
            }
        }
    }

    fn ram(&mut self) -> Result<Vec<u8>> {
        let file = self.folder.path().join("ram");
        let arguments = json!({ "val": 0, "size": RAM_MIB << 20, "filename": file.display().to_string() });
        self.monitor.execute("pmemsave", arguments)?;
        Ok(fs::read(file)?)
    }
}

impl Drop for Booting {
    fn drop(&mut self) {
        // Both fail only if the process is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tables(ram: &[u8]) -> Result<Vec<Piece>> {
    let memory = |from: PhysAddr, into: &mut [u8]| match piece(ram, from.get(), into.len()) {
        Ok(bytes) => {
            into.copy_from_slice(bytes);
            true
        }
        Err(_) => false,
    };
    let rsdp = search_bios_area(&memory).context("no RSDP yet")?;
    // The tables are whole once a walk comes through.
    ecam_entries(&memory, rsdp, &mut |_| {})?;
    let extended = number(ram, rsdp.get() + 15, 1)? >= 2;
    let mut pieces = vec![(rsdp, piece(ram, rsdp.get(), if extended { 36 } else { 20 })?.to_vec())];
    let (root, width) = match number(ram, rsdp.get() + 24, 8) {
        Ok(xsdt) if extended && xsdt != 0 => (xsdt, 8),
        _ => (number(ram, rsdp.get() + 16, 4)?, 4),
    };
    let table = whole(ram, root)?;
    pieces.push((PhysAddr::new(root), table.to_vec()));
    for pointer in table.get(36..).unwrap_or_default().chunks_exact(width) {
        let at = pointer.iter().rev().fold(0, |at, byte| at << 8 | u64::from(*byte));
        let named = if piece(ram, at, 4)? == b"MCFG" { whole(ram, at)? } else { piece(ram, at, 36)? };
        pieces.push((PhysAddr::new(at), named.to_vec()));
    }
    Ok(pieces)
}

/// The table at `at`, as long as it says it is.
fn whole(ram: &[u8], at: u64) -> Result<&[u8]> {
    let len_bytes = usize::try_from(number(ram, at + 4, 4)?)?;
    ensure!(len_bytes <= TABLE_LIMIT_BYTES, "the table at {at:#x} says it has {len_bytes} bytes");
    piece(ram, at, len_bytes)
}

fn number(ram: &[u8], at: u64, len_bytes: usize) -> Result<u64> {
    Ok(piece(ram, at, len_bytes)?.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

fn piece(ram: &[u8], at: u64, len_bytes: usize) -> Result<&[u8]> {
    let start = usize::try_from(at)?;
    match start.checked_add(len_bytes).and_then(|end| ram.get(start..end)) {
        Some(bytes) => Ok(bytes),
        None => bail!("{at:#x} is not in RAM"),
    }
}
