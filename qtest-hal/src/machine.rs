//! A machine without a guest: QEMU with its devices, a parked CPU, and a test in the place of the
//! program.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use std::{fs, io};

use paravane_hal::addr::PhysAddr;
use paravane_hal::mmio::MmioDevice;
use paravane_pci::access::Exclusive;
use paravane_pci::{Cam, ConfigAccess as _, Ecam, EcamEntry, Found, PciAddress, Resource, enumerate_from};
use tempfile::TempDir;

use crate::bus;
use crate::cable::Cable;
use crate::error::QtestError;
use crate::link::{ANSWER_LIMIT, Link};
use crate::monitor::Monitor;
use crate::platform::{Qtest, Registers};
use crate::process::{self, Process};
use crate::ram::Ram;
use crate::setup::{Chipset, Files, Setup};

/// Configuration space of a [`Machine`], by ports. A clone reaches the same.
pub type Config = Cam<Qtest, PortLock>;

/// How long QEMU may take to make its sockets, on a machine that does other things as well.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Firmware for a CPU that is to do nothing: all of it is `hlt`, and where the CPU begins, 16 bytes
/// before the end, `cli; hlt; jmp` to that `hlt`.
const BIOS_BYTES: usize = 64 << 10;
const HLT: u8 = 0xf4;
const RESET_CODE: [u8; 4] = [0xfa, HLT, 0xeb, 0xfd];

/// Q35's host bridge: where the register that places ECAM is, and where we put it.
const PCIEXBAR: u16 = 0x60;
const ECAM_BASE: u32 = 0xb000_0000;
/// Where it is on a microvm.
const MICROVM_ECAM_BASE: u32 = 0xe000_0000;

/// Where a microvm with ACPI has its virtio devices in memory.
const MMIO_BASE: u64 = 0xfeb0_0000;
const MMIO_BYTES: usize = 512;
const MMIO_BUSES: u8 = 24;
/// Where the status of each is.
///
/// Spec: VIRTIO 1.2, 4.2.2 "MMIO Device Register Layout".
const STATUS: usize = 0x70;

/// Keeps the two port accesses of a configuration access together, whatever thread they come from.
#[derive(Clone, Debug, Default)]
pub struct PortLock(Arc<Mutex<()>>);

impl Exclusive for PortLock {
    fn run<T>(&self, access: impl FnOnce() -> T) -> T {
        let _held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        access()
    }
}

/// A running machine. Dropping it ends QEMU and removes its files; handles that are left find
/// nobody.
///
/// QEMU also ends with the thread that started it, so that no test run leaves one behind: start it
/// on a thread that outlives its use.
#[derive(Debug)]
pub struct Machine {
    platform: Qtest,
    config: Config,
    cables: Vec<Cable>,
    monitor: Mutex<Monitor>,
    chipset: Chipset,
    roots: Vec<u8>,
    resources: Vec<Resource>,
    command_line: String,
    /// The devices in memory that were claimed, bit by bit.
    claimed: Mutex<u32>,
    // Last: QEMU ends before its files go.
    process: Mutex<Process>,
    folder: TempDir,
}

impl Machine {
    /// As [`start`](Self::start), for a test: `None`, with a word about why, where QEMU is missing
    /// and [may be](QtestError::may_skip).
    ///
    /// # Panics
    ///
    /// On any other error.
    #[must_use]
    #[expect(clippy::panic, reason = "a test that cannot have its machine has failed")]
    pub fn start_or_skip(setup: &Setup) -> Option<Self> {
        match Self::start(setup) {
            Ok(machine) => Some(machine),
            Err(error) if error.may_skip() => {
                println!("skipped: {error}");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Starts QEMU as `setup` says and does what firmware would do on its buses.
    ///
    /// # Errors
    ///
    /// [`QtestError`]; [`is_not_installed`](QtestError::is_not_installed) tells whether QEMU is
    /// just missing. Nothing is left behind.
    pub fn start(setup: &Setup) -> Result<Self, QtestError> {
        let folder = tempfile::Builder::new().prefix("paravane-qtest-").tempdir();
        let folder = folder.map_err(|error| QtestError::system("make a temporary folder", error))?;
        let files = Files(folder.path());
        let ram = Ram::create(&files.ram(), setup.ram_bytes())?;
        write(&files.bios(), &parked_bios())?;
        for (index, bytes) in setup.disk_bytes().enumerate() {
            write(&files.disk(index), bytes)?;
        }
        let cables = (0..setup.nics()).map(|nic| Cable::bind(&files.ours(nic)));
        let cables = cables.collect::<Result<Vec<_>, _>>()?;

        let words = setup.words(accelerator()?, &files);
        let command_line = command_line(&words, folder.path());
        let mut process = Process::start(&words)?;
        let qtest = connect(&files.qtest(), &mut process)?;
        let monitor = connect(&files.monitor(), &mut process)?;
        let monitor = Monitor::over(monitor).map_err(|error| explain(error, &mut process))?;
        for (nic, cable) in cables.iter().enumerate() {
            cable.connect(&files.theirs(nic))?;
        }
        let platform = Qtest::new(Link::over(qtest, ANSWER_LIMIT)?, ram);
        let mut machine = Self {
            config: Cam::with_exclusive(platform.clone(), PortLock::default()),
            platform,
            cables,
            monitor: Mutex::new(monitor),
            chipset: setup.chipset(),
            roots: setup.roots(),
            resources: Vec::new(),
            command_line,
            claimed: Mutex::new(0),
            process: Mutex::new(process),
            folder,
        };
        match machine.boot() {
            Ok(()) => Ok(machine),
            Err(error) => Err(machine.explain(error)),
        }
    }

    /// Firmware's part.
    fn boot(&mut self) -> Result<(), QtestError> {
        self.platform.link().ask("irq_intercept_in ioapic")?;
        self.resources = match self.chipset {
            Chipset::Microvm => {
                let ecam = self.ecam().ok_or(QtestError::Bus { reason: "ECAM cannot be mapped".into() })?;
                bus::set_up(&ecam, self.chipset, &self.roots)?
            }
            Chipset::Pc | Chipset::Q35 => bus::set_up(&self.config, self.chipset, &self.roots)?,
        };
        if self.chipset == Chipset::Pc {
            bus::route_lines(&self.config);
        }
        self.platform.link().failure().map_or(Ok(()), Err)
    }

    /// The platform value for drivers.
    #[must_use]
    pub fn platform(&self) -> &Qtest {
        &self.platform
    }

    /// Configuration space by ports, 256 bytes a function. On a microvm nobody answers there.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Configuration space by ECAM, 4096 bytes a function; `None` on a chipset without. Switches it
    /// on where it has to be.
    #[must_use]
    pub fn ecam(&self) -> Option<Ecam<Registers>> {
        let base = match self.chipset {
            Chipset::Pc => return None,
            Chipset::Microvm => MICROVM_ECAM_BASE,
            Chipset::Q35 => {
                let host_bridge = PciAddress::new(0, 0, 0, 0)?;
                self.config.write32(host_bridge, PCIEXBAR + 4, 0);
                self.config.write32(host_bridge, PCIEXBAR, ECAM_BASE | 1);
                ECAM_BASE
            }
        };
        let base = PhysAddr::new(base.into());
        EcamEntry { base, segment: 0, buses: 0..=255 }.map(&self.platform).ok()
    }

    /// Where NIC `index` is: functions of the network class, in the order of their addresses. That
    /// is the order of the [`Setup`] and of [`cable`](Self::cable) too, unless one of several lies
    /// behind a bridge.
    #[must_use]
    pub fn nic_address(&self, index: usize) -> Option<PciAddress> {
        const NETWORK: u8 = 2;
        let mut addresses = Vec::new();
        let mut visit = |found: Found<'_>| {
            if let Found::Function(found) = found
                && found.ids.class == NETWORK
            {
                addresses.push(found.address);
            }
        };
        let ecam = self.ecam().filter(|_| self.chipset == Chipset::Microvm);
        for root in &self.roots {
            match &ecam {
                Some(ecam) => enumerate_from(ecam, *root, &mut visit),
                None => enumerate_from(&self.config, *root, &mut visit),
            }
        }
        addresses.sort();
        addresses.get(index).copied()
    }

    /// The root buses, bus 0 first; the others are those that the [`Setup`] has an expander for.
    #[must_use]
    pub fn root_buses(&self) -> &[u8] {
        &self.roots
    }

    /// What every bridge and every BAR was given.
    #[must_use]
    pub fn resources(&self) -> &[Resource] {
        &self.resources
    }

    /// Our end of the cable of NIC `index`, in the order of the [`Setup`].
    #[must_use]
    pub fn cable(&self, index: usize) -> Option<&Cable> {
        self.cables.get(index)
    }

    /// What disk `index` holds, in the order of the [`Setup`]: all that was written by requests
    /// that completed.
    ///
    /// # Errors
    ///
    /// There is no such disk, or its file cannot be read.
    pub fn disk_bytes(&self, index: usize) -> Result<Vec<u8>, QtestError> {
        let path = Files(self.folder.path()).disk(index);
        fs::read(&path).map_err(|error| QtestError::system(format!("read {}", path.display()), error))
    }

    /// Claims the virtio device on `virtio-mmio-bus.N` of a microvm, which its status resets.
    /// `None` on another chipset, where there is no such place, and the second time.
    #[must_use]
    pub fn claim_virtio_mmio(&self, bus: u8) -> Option<MmioDevice<Registers>> {
        let is_there = self.chipset == Chipset::Microvm && bus < MMIO_BUSES;
        let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_there || *claimed & 1 << bus != 0 {
            return None;
        }
        let start = PhysAddr::new(MMIO_BASE + u64::from(bus) * MMIO_BYTES as u64);
        #[expect(unsafe_code, reason = "no bus vouches for such a device")]
        // SAFETY: the place is that of one device, which is claimed once. QEMU's virtio devices let
        // go of memory before they confirm a reset.
        let device = unsafe { MmioDevice::claim(&self.platform, start, MMIO_BYTES, STATUS) };
        let device = device.ok()?;
        *claimed |= 1 << bus;
        Some(device)
    }

    /// Takes the link of NIC `index` up or down.
    ///
    /// # Errors
    ///
    /// The monitor refused, or did not answer.
    pub fn set_link(&self, index: usize, up: bool) -> Result<(), QtestError> {
        self.monitor().set_link(&Setup::netdev_id(index), up).map_err(|error| self.explain(error))
    }

    /// The monitor, for what has no method here.
    pub fn monitor(&self) -> MutexGuard<'_, Monitor> {
        self.monitor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The command line, with `.` for the private folder.
    #[must_use]
    pub fn command_line(&self) -> &str {
        &self.command_line
    }

    /// The process, for a test that wants to end it early.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).id()
    }

    /// The first line of `qemu --version`.
    ///
    /// # Errors
    ///
    /// QEMU is not there.
    pub fn qemu_version() -> Result<String, QtestError> {
        Ok(process::ask(&["--version"])?.lines().next().unwrap_or_default().to_owned())
    }

    /// Whether QEMU's `device` has a `property`, which older ones may not have. Where not, a word
    /// about what is skipped for it.
    #[must_use]
    pub fn has_property_or_skip(device: &str, property: &str) -> bool {
        let help = process::ask(&["-device", &format!("{device},help")]).unwrap_or_default();
        let has = help.lines().any(|line| line.trim_start().starts_with(&format!("{property}=<")));
        if !has {
            println!("skipped: this QEMU's {device} has no {property}");
        }
        has
    }

    /// Whether the machine still answers.
    ///
    /// # Errors
    ///
    /// The first failure, with QEMU's last words where it ended.
    pub fn check(&self) -> Result<(), QtestError> {
        self.platform.failure().map_or(Ok(()), |error| Err(self.explain(error)))
    }

    fn explain(&self, error: QtestError) -> QtestError {
        explain(error, &mut self.process.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A failure on a socket, seen with the knowledge of whether QEMU is alive.
fn explain(error: QtestError, process: &mut Process) -> QtestError {
    let during = match &error {
        QtestError::Closed { during } => during.clone(),
        QtestError::NoAnswer { command, .. } => command.clone(),
        _ => return error,
    };
    // A process closes its sockets a moment before it can be waited for.
    let deadline = Instant::now() + Duration::from_secs(1);
    while Instant::now() < deadline {
        if let Some(ended) = process.ended(&during) {
            return ended;
        }
        thread::sleep(Duration::from_millis(5));
    }
    error
}

/// QEMU's accelerator for tests where it has one, else the translator, whose CPU the firmware
/// parks.
fn accelerator() -> Result<&'static str, QtestError> {
    let list = process::ask(&["-accel", "help"])?;
    Ok(if list.lines().any(|line| line.trim() == "qtest") { "qtest" } else { "tcg" })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), QtestError> {
    fs::write(path, bytes).map_err(|error| QtestError::system(format!("write {}", path.display()), error))
}

fn parked_bios() -> Vec<u8> {
    let mut bios = vec![HLT; BIOS_BYTES];
    let start = BIOS_BYTES - 16;
    if let Some(place) = bios.get_mut(start..start + RESET_CODE.len()) {
        place.copy_from_slice(&RESET_CODE);
    }
    bios
}

fn command_line(words: &[std::ffi::OsString], folder: &Path) -> String {
    let folder = folder.display().to_string();
    let words = words.iter().map(|word| word.to_string_lossy().replace(&folder, "."));
    format!("qemu-system-x86_64 {}", words.collect::<Vec<_>>().join(" "))
}

/// Connects to a socket that QEMU is about to make.
fn connect(path: &Path, process: &mut Process) -> Result<UnixStream, QtestError> {
    let start = Instant::now();
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return Ok(stream),
            Err(error)
                if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                return Err(QtestError::system(format!("connect to {}", path.display()), error));
            }
            Err(_) => {}
        }
        if let Some(ended) = process.ended("start") {
            return Err(ended);
        }
        if start.elapsed() >= START_LIMIT {
            return Err(QtestError::NoSocket { path: path.into(), waited: start.elapsed() });
        }
        thread::sleep(Duration::from_millis(5));
    }
}
