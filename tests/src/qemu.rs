//! One QEMU process: how it is started, what it says, how it ends.
//!
//! A [`Config`] is a plain value that turns into a command line. A [`Qemu`] is a running process
//! with its sockets in a private folder; dropping it ends the process and removes the folder. The
//! process also ends with the thread that started it, so that no run leaves a guest behind.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use crate::console::Console;
use crate::monitor::Monitor;
use crate::tool;

/// PCI slot of the first NIC; the others follow.
const FIRST_SLOT: usize = 4;
/// Where microvm has its devices in memory, each with its bus, and which of them is the first NIC.
///
/// Not bus 0: with two I/O APICs its line is pin 0 of the second one, and QEMU raises
/// pin 2 for pin 0 of any, as if the timer of old were there.
const MMIO: usize = 0xfeb0_0000;
const FIRST_MMIO_BUS: usize = 1;
/// How long QEMU may take to make its sockets, on a machine that does other things as well.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Chipset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Machine {
    /// i440FX: PCI only.
    Pc,
    /// Q35: PCI Express with ECAM.
    Q35,
    /// microvm without ACPI: devices in memory, named on the command line.
    Microvm,
    /// microvm with ACPI: devices in memory, named by nothing that the guest reads; two I/O APICs.
    MicrovmAcpi,
    /// microvm with PCI Express, which no firmware sets up and no table names.
    MicrovmPcie,
}

impl Machine {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pc => "pc",
            Self::Q35 => "q35",
            Self::Microvm => "microvm",
            Self::MicrovmAcpi => "microvm-acpi",
            Self::MicrovmPcie => "microvm-pcie",
        }
    }

    fn options(self) -> &'static str {
        match self {
            Self::Pc | Self::Q35 => self.name(),
            Self::Microvm => "microvm,acpi=off",
            Self::MicrovmAcpi => "microvm,acpi=on",
            Self::MicrovmPcie => "microvm,acpi=on,pcie=on",
        }
    }
}

/// What runs the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// The translator.
    Tcg,
    /// The translator, with one instruction a nanosecond of guest time: counts repeat exactly.
    TcgCounted,
    /// The kernel's hypervisor. Not with `-cpu host`, nor with `max` whole: hosts that are guests
    /// themselves may refuse the register behind `arch-capabilities`, at which QEMU aborts.
    Kvm,
}

/// Which NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum NicModel {
    /// VMware's paravirtual NIC.
    Vmxnet3,
    /// virtio-net that offers the modern interface only.
    #[value(name = "virtio")]
    VirtioModern,
    /// The same with packed rings.
    VirtioPacked,
    /// virtio-net that offers both interfaces.
    VirtioTransitional,
    /// virtio-net that offers the legacy interface only.
    VirtioLegacy,
    /// The same from before `ANY_LAYOUT`, which the driver has to refuse.
    #[value(skip)]
    VirtioAncient,
    /// virtio-net in memory, on no bus.
    VirtioMmio,
    /// The same with the legacy interface, which all devices there have then.
    VirtioMmioLegacy,
}

impl NicModel {
    /// What it is, as the guest writes it: vendor and device, or which virtio device.
    pub fn ids(self) -> &'static str {
        match self {
            Self::Vmxnet3 => "15ad:07b0",
            Self::VirtioModern | Self::VirtioPacked => "1af4:1041",
            Self::VirtioTransitional | Self::VirtioLegacy | Self::VirtioAncient => "1af4:1000",
            Self::VirtioMmio | Self::VirtioMmioLegacy => "virtio:1",
        }
    }

    /// The name of the driver that takes it, as the status report gives it.
    pub fn driver(self) -> &'static str {
        match self {
            Self::Vmxnet3 => "vmxnet3",
            _ => "virtio-net",
        }
    }

    /// Whether it is in memory, on no bus.
    fn is_mmio(self) -> bool {
        matches!(self, Self::VirtioMmio | Self::VirtioMmioLegacy)
    }

    fn device(self) -> &'static str {
        match self {
            Self::Vmxnet3 => "vmxnet3",
            Self::VirtioModern => "virtio-net-pci,disable-legacy=on,disable-modern=off",
            Self::VirtioPacked => "virtio-net-pci,disable-legacy=on,disable-modern=off,packed=on",
            Self::VirtioTransitional => "virtio-net-pci,disable-legacy=off,disable-modern=off",
            Self::VirtioLegacy => "virtio-net-pci,disable-legacy=off,disable-modern=on",
            Self::VirtioAncient => "virtio-net-pci,disable-legacy=off,disable-modern=on,any_layout=off",
            Self::VirtioMmio | Self::VirtioMmioLegacy => "virtio-net-device",
        }
    }
}

/// Where a NIC's cable leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// To a [`Cable`](crate::dgram::Cable) of ours.
    Cable,
    /// To a hub that all such NICs of the machine are at, and nobody else.
    Hub,
    /// To a network device of the kernel's, by its name; it exists already.
    Tap(&'static str),
    /// To QEMU's own address translator, with the guest's port 80 at `host_port` of the loopback
    /// interface.
    User {
        /// Port on 127.0.0.1.
        host_port: u16,
    },
}

/// Enough for four NICs with room to spare.
pub const MEMORY_MIB: u32 = 128;

/// Everything that decides how QEMU is started.
#[derive(Clone, Debug)]
pub struct Config {
    /// Chipset.
    pub machine: Machine,
    /// What runs the guest.
    pub accel: Accel,
    /// RAM.
    pub memory_mib: u32,
    /// NICs, in PCI order.
    pub nics: Vec<(NicModel, Backend)>,
    /// Options for devices that are no NICs, in pairs: `-device`, `edu`.
    pub extras: Vec<String>,
    /// The ELF file to boot, or a CD (`.iso`) for the firmware to boot from.
    pub image: PathBuf,
    /// The guest's command line; one on a CD has its own.
    pub append: String,
}

/// The bus address of NIC `index`, as the guest writes it.
pub fn nic_address(index: usize) -> String {
    format!("00:{:02x}.0", FIRST_SLOT + index)
}

/// Where NIC `index` is, as the guest writes it.
pub fn nic_place(model: NicModel, index: usize) -> String {
    if model.is_mmio() {
        return format!("mmio:{:#x}", MMIO + 512 * (FIRST_MMIO_BUS + index));
    }
    nic_address(index)
}

/// QEMU's id of the network back-end of NIC `index`.
pub fn netdev_id(index: usize) -> String {
    format!("n{index}")
}

/// The hardware address of NIC `index`.
pub fn nic_mac(index: usize) -> String {
    format!("52:54:00:70:76:{index:02x}")
}

/// The same of one that others may be on a link with: by the number that its device's name ends
/// with.
fn tap_mac(name: &str, index: usize) -> String {
    let digits = name.trim_start_matches(|char: char| !char.is_ascii_digit());
    let number: u8 = digits.parse().unwrap_or(0);
    format!("52:54:00:70:{number:02x}:{index:02x}")
}

/// Paths of the sockets in the private folder.
#[derive(Clone, Debug)]
struct Sockets<'a>(&'a Path);

impl Sockets<'_> {
    fn monitor(&self) -> PathBuf {
        self.0.join("monitor")
    }

    fn ours(&self, nic: usize) -> PathBuf {
        self.0.join(format!("ours{nic}"))
    }

    fn theirs(&self, nic: usize) -> PathBuf {
        self.0.join(format!("theirs{nic}"))
    }
}

impl Config {
    fn arguments(&self, sockets: &Sockets<'_>) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        let mut add = |name: &str, value: String| arguments.extend([name.into(), value.into()]);
        add("-machine", self.machine.options().into());
        if !matches!(self.machine, Machine::Pc | Machine::Q35) {
            // The interface of the standard is one that QEMU still keeps off unless asked.
            let is_legacy = self.nics.iter().any(|(model, _)| *model == NicModel::VirtioMmioLegacy);
            let legacy = if is_legacy { "on" } else { "off" };
            add("-global", format!("virtio-mmio.force-legacy={legacy}"));
        }
        match self.accel {
            Accel::Tcg => {
                add("-accel", "tcg".into());
                // With one processor, QEMU before 8.1 translates the guest's fences to nothing, and
                // a device in another thread then sleeps while the driver takes it to be awake.
                add("-smp", "2".into());
            }
            Accel::TcgCounted => {
                add("-accel", "tcg".into());
                add("-icount", "shift=0".into());
            }
            Accel::Kvm => {
                add("-accel", "kvm".into());
                add("-cpu", "max,-arch-capabilities".into());
            }
        }
        add("-m", self.memory_mib.to_string());
        add("-display", "none".into());
        add("-chardev", "stdio,id=console,signal=off".into());
        add("-serial", "chardev:console".into());
        add("-qmp", format!("unix:{},server=on,wait=off", sockets.monitor().display()));
        if self.image.extension() == Some("iso".as_ref()) {
            add("-cdrom", self.image.display().to_string());
        } else {
            add("-kernel", self.image.display().to_string());
            add("-append", self.append.clone());
        }
        for (index, (model, backend)) in self.nics.iter().enumerate() {
            let id = netdev_id(index);
            add(
                "-netdev",
                match backend {
                    Backend::Cable => format!(
                        "dgram,id={id},local.type=unix,local.path={},remote.type=unix,remote.path={}",
                        sockets.theirs(index).display(),
                        sockets.ours(index).display(),
                    ),
                    Backend::Hub => format!("hubport,id={id},hubid=0"),
                    Backend::Tap(name) => format!("tap,id={id},ifname={name},script=no,downscript=no"),
                    Backend::User { host_port } => {
                        format!(
                            "user,id={id},net=10.0.{}.0/24,hostfwd=tcp:127.0.0.1:{host_port}-:80",
                            index + 2
                        )
                    }
                },
            );
            let place = match model {
                _ if model.is_mmio() => format!("bus=virtio-mmio-bus.{}", FIRST_MMIO_BUS + index),
                // No option ROM: firmware that tries to boot from the network would only cost time.
                _ => format!("addr={:#x},romfile=", FIRST_SLOT + index),
            };
            let mac = match backend {
                Backend::Tap(name) => tap_mac(name, index),
                _ => nic_mac(index),
            };
            let device = model.device();
            add("-device", format!("{device},netdev={id},mac={mac},{place}"));
        }
        // First, for whoever wants it otherwise.
        arguments.push("-no-reboot".into());
        arguments.extend(self.extras.iter().map(OsString::from));
        for word in ["-nodefaults", "-no-user-config"] {
            arguments.push(word.into());
        }
        arguments
    }
}

/// A running QEMU.
#[derive(Debug)]
pub struct Qemu {
    child: Child,
    console: Console,
    complaints: Console,
    /// Holds the sockets; removed when this value is dropped.
    folder: TempDir,
}

impl Qemu {
    /// A private folder for the sockets of a QEMU that is about to start.
    ///
    /// # Errors
    ///
    /// The folder for temporary files is not writable.
    pub fn folder() -> Result<TempDir> {
        tempfile::Builder::new().prefix("paravane-").tempdir().context("cannot make a temporary folder")
    }

    /// The path, within `folder`, of our end of the cable of NIC `nic`.
    pub fn our_socket(folder: &TempDir, nic: usize) -> PathBuf {
        Sockets(folder.path()).ours(nic)
    }

    /// Starts QEMU as `config` says, with its sockets in `folder`.
    ///
    /// # Errors
    ///
    /// QEMU is not installed or cannot be started. That it ends a moment later is noticed by
    /// whoever waits next.
    pub fn start(config: &Config, folder: TempDir) -> Result<Self> {
        let program = tool::qemu()?;
        let arguments = config.arguments(&Sockets(folder.path()));
        let mut command = tool::tied(&program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            bail!("the pipes of a process just started are missing");
        };
        Ok(Self { child, console: Console::watch(stdout), complaints: Console::watch(stderr), folder })
    }

    /// The guest's console.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// What QEMU itself wrote to its standard error.
    pub fn complaints(&self) -> &Console {
        &self.complaints
    }

    /// The path of QEMU's end of the cable of NIC `nic`.
    pub fn their_socket(&self, nic: usize) -> PathBuf {
        Sockets(self.folder.path()).theirs(nic)
    }

    /// When to give up on QEMU's sockets.
    pub fn start_deadline(&self) -> Instant {
        Instant::now() + START_LIMIT
    }

    /// Connects to the monitor. There is one connection at a time.
    ///
    /// # Errors
    ///
    /// As [`Monitor::connect`].
    pub fn monitor(&self) -> Result<Monitor> {
        Ok(Monitor::connect(&Sockets(self.folder.path()).monitor(), self.start_deadline())?)
    }

    /// How QEMU ended, if it did.
    pub fn ended(&mut self) -> Option<String> {
        match self.child.try_wait() {
            Ok(Some(status)) => Some(format!("QEMU ended with {status}")),
            _ => None,
        }
    }

    /// Waits for QEMU to end. Its exit code; 128 and the signal's number where one ended it.
    ///
    /// # Errors
    ///
    /// It still runs after `limit`.
    pub fn wait_end(&mut self, limit: Duration) -> Result<i32> {
        const SLICE: Duration = Duration::from_millis(5);
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code().unwrap_or(128 + status.signal().unwrap_or(0)));
            }
            ensure!(Instant::now() < deadline, "QEMU did not end within {} s", limit.as_secs());
            thread::sleep(SLICE);
        }
    }

    /// Ends QEMU at once, as `kill -9` does.
    ///
    /// # Errors
    ///
    /// It ended before.
    pub fn kill(&mut self) -> Result<()> {
        let ended = self.child.try_wait()?;
        ensure!(ended.is_none(), "QEMU ended by itself");
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Processor time used so far, in user and kernel mode together.
    ///
    /// # Errors
    ///
    /// The process is gone, or `/proc` is not mounted.
    pub fn cpu_time(&self) -> Result<Duration> {
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let ticks = cpu_ticks(&stat).with_context(|| format!("cannot make sense of {path}: {stat:?}"))?;
        let ticks_per_second = rustix::param::clock_ticks_per_second();
        Ok(Duration::from_micros(ticks * 1_000_000 / ticks_per_second))
    }

    /// The last lines of the console and all that QEMU complained about.
    pub fn report(&self, console_lines: usize) -> String {
        let mut report = String::from("    console ended with:\n");
        for line in self.console.tail(console_lines) {
            report.push_str(&format!("      {line}\n"));
        }
        for line in self.complaints.tail(20) {
            report.push_str(&format!("    QEMU said: {line}\n"));
        }
        report
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Both fail only if the process is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `utime` plus `stime`, fields 14 and 15, of a line of `/proc/PID/stat`. The name in field 2 may
/// hold anything.
///
/// Spec: proc(5), "/proc/pid/stat".
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, behind_name) = stat.rsplit_once(") ")?;
    let mut fields = behind_name.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command_line(nics: Vec<(NicModel, Backend)>, accel: Accel) -> String {
        command_line_of(Machine::Q35, nics, accel)
    }

    fn command_line_of(machine: Machine, nics: Vec<(NicModel, Backend)>, accel: Accel) -> String {
        let image = PathBuf::from("image.elf");
        let append = "irq=msi log=info".to_owned();
        let (memory_mib, extras) = (MEMORY_MIB, vec!["-device".into(), "edu".into()]);
        let config = Config { machine, accel, memory_mib, nics, extras, image, append };
        let words = config.arguments(&Sockets(Path::new("/s")));
        words.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn nics_get_slots_cables_and_addresses_in_order() {
        let user = Backend::User { host_port: 8080 };
        let line = command_line(
            vec![(NicModel::Vmxnet3, Backend::Cable), (NicModel::VirtioModern, user)],
            Accel::Tcg,
        );
        assert!(line.contains(
            "-netdev dgram,id=n0,local.type=unix,local.path=/s/theirs0,remote.type=unix,remote.path=/s/ours0 \
             -device vmxnet3,netdev=n0,mac=52:54:00:70:76:00,addr=0x4,romfile="
        ));
        assert!(line.contains(
            "-netdev user,id=n1,net=10.0.3.0/24,hostfwd=tcp:127.0.0.1:8080-:80 -device \
             virtio-net-pci,disable-legacy=on,disable-modern=off,netdev=n1,mac=52:54:00:70:76:01,addr=0x5,romfile="
        ));
        assert!(line.contains("-m 128 ") && line.contains(" -device edu "));
        assert!(line.contains("-append irq=msi log=info"));
        assert_eq!(nic_address(1), "00:05.0");
    }

    #[test]
    fn devices_in_memory_have_places_instead() {
        let line =
            command_line_of(Machine::Microvm, vec![(NicModel::VirtioMmio, Backend::Cable); 2], Accel::Tcg);
        assert!(line.contains("-machine microvm,acpi=off -global virtio-mmio.force-legacy=off"));
        assert!(line.contains("virtio-net-device,netdev=n1,mac=52:54:00:70:76:01,bus=virtio-mmio-bus.2 "));
        assert_eq!(nic_place(NicModel::VirtioMmio, 1), "mmio:0xfeb00400");
        assert_eq!(nic_place(NicModel::Vmxnet3, 1), "00:05.0");
    }

    #[test]
    fn accelerators_bring_what_they_need() {
        assert!(command_line(vec![], Accel::TcgCounted).contains("-accel tcg -icount shift=0"));
        assert!(command_line(vec![], Accel::Kvm).contains("-accel kvm -cpu max,-arch-capabilities"));
        assert!(command_line(vec![], Accel::Tcg).contains("-accel tcg -smp 2"));
        assert!(!command_line(vec![], Accel::Tcg).contains("-cpu"));
    }

    #[test]
    fn reads_processor_time_behind_any_name() {
        let stat = "1234 (qemu) x) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 4 0 100";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(cpu_ticks("1234 (qemu) S 1 2"), None);
        assert_eq!(cpu_ticks(""), None);
    }

    #[test]
    fn reads_its_own_processor_time() {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        assert!(cpu_ticks(&stat).is_some());
    }
}
