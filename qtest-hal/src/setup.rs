//! What machine is wanted, as a value that turns into a command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The chipset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chipset {
    /// i440FX: PCI only.
    Pc,
    /// Q35: PCI Express, ECAM.
    Q35,
    /// The machine without a past: PCI Express by ECAM alone, no port to reach configuration space
    /// by.
    Microvm,
}

impl Chipset {
    /// QEMU's name of it, with what it takes to have PCI Express.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pc => "pc",
            Self::Q35 => "q35",
            Self::Microvm => "microvm,pcie=on,acpi=on",
        }
    }
}

/// The machine that a test wants.
///
/// ```
/// use paravane_qtest_hal::{Chipset, Setup};
///
/// let setup = Setup::new(Chipset::Q35).nic("vmxnet3").nic("virtio-net-pci,disable-legacy=on");
/// assert_eq!(setup.nics(), 2);
/// ```
#[derive(Clone, Debug)]
pub struct Setup {
    chipset: Chipset,
    nics: Vec<String>,
    disks: Vec<Disk>,
    extra: Vec<String>,
    ram_bytes: usize,
}

/// A disk, what its file holds at first, and what QEMU makes of that.
#[derive(Clone, Debug)]
struct Disk {
    device: String,
    bytes: Vec<u8>,
    drive: String,
}

/// Slot of the first NIC on the root bus; the others follow.
const FIRST_SLOT: usize = 4;

impl Setup {
    /// A machine without devices of ours, with 64 MiB.
    #[must_use]
    pub fn new(chipset: Chipset) -> Self {
        Self { chipset, nics: Vec::new(), disks: Vec::new(), extra: Vec::new(), ram_bytes: 64 << 20 }
    }

    /// Adds a NIC with a cable: `device` is QEMU's name of it, with properties. Without an `addr=`
    /// it is in the slot that follows the NIC before. One with `bus=virtio-mmio-bus.N` is on no PCI
    /// bus; [`Machine::claim_virtio_mmio`](crate::Machine::claim_virtio_mmio) finds it.
    #[must_use]
    pub fn nic(mut self, device: &str) -> Self {
        self.nics.push(device.into());
        self
    }

    /// Adds a disk that holds `bytes`, whole sectors of 512, at first: `device` is QEMU's name of
    /// it, with properties. What it holds later,
    /// [`Machine::disk_bytes`](crate::Machine::disk_bytes) tells.
    #[must_use]
    pub fn disk(self, device: &str, bytes: Vec<u8>) -> Self {
        self.disk_by(device, bytes, "file={file},format=raw")
    }

    /// Adds a disk whose back end is `drive`, the words of `-drive`, with `{file}` once for the
    /// path of a file that holds `bytes` at first: another format, `discard=unmap`, or `blkdebug`
    /// between.
    #[must_use]
    pub fn disk_by(mut self, device: &str, bytes: Vec<u8>, drive: &str) -> Self {
        self.disks.push(Disk { device: device.into(), bytes, drive: drive.into() });
        self
    }

    /// Adds words to the command line, such as `-device pcie-root-port,id=rp0`. They come before
    /// the NICs.
    #[must_use]
    pub fn arguments<'a>(mut self, words: impl IntoIterator<Item = &'a str>) -> Self {
        self.extra.extend(words.into_iter().map(str::to_owned));
        self
    }

    /// How many NICs it has.
    #[must_use]
    pub fn nics(&self) -> usize {
        self.nics.len()
    }

    /// What each disk holds at first.
    pub(crate) fn disk_bytes(&self) -> impl Iterator<Item = &[u8]> {
        self.disks.iter().map(|disk| disk.bytes.as_slice())
    }

    pub(crate) fn chipset(&self) -> Chipset {
        self.chipset
    }

    pub(crate) fn ram_bytes(&self) -> usize {
        self.ram_bytes
    }

    /// The root buses, ascending: bus 0, and one for each bus expander (`pxb`, `pxb-pcie`) among
    /// the words, which say by `bus_nr=` what bus that is.
    pub(crate) fn roots(&self) -> Vec<u8> {
        let properties = self.extra.iter().flat_map(|word| word.split(','));
        let numbers = properties.filter_map(|property| property.strip_prefix("bus_nr="));
        let parse = |text: &str| match text.strip_prefix("0x") {
            Some(digits) => u8::from_str_radix(digits, 16),
            None => text.parse(),
        };
        let mut roots: Vec<u8> = numbers.filter_map(|text| parse(text).ok()).chain([0]).collect();
        roots.sort_unstable();
        roots.dedup();
        roots
    }

    /// QEMU's id of the back-end of NIC `index`, as the monitor wants it.
    #[must_use]
    pub fn netdev_id(index: usize) -> String {
        format!("n{index}")
    }

    /// The hardware address of NIC `index`.
    #[must_use]
    pub fn mac(index: usize) -> [u8; 6] {
        [0x52, 0x54, 0x00, 0x71, 0x74, u8::try_from(index).unwrap_or(u8::MAX)]
    }

    /// The words after the program's name.
    pub(crate) fn words(&self, accel: &str, files: &Files<'_>) -> Vec<OsString> {
        let mut words: Vec<String> = Vec::new();
        let mut add = |name: &str, value: String| words.extend([name.to_owned(), value]);
        add("-machine", format!("{},memory-backend=ram", self.chipset.name()));
        let ram = files.ram();
        add(
            "-object",
            format!("memory-backend-file,id=ram,size={},mem-path={},share=on", self.ram_bytes, ram.display()),
        );
        add("-m", format!("{}M", self.ram_bytes >> 20));
        add("-accel", accel.into());
        add("-bios", files.bios().display().to_string());
        add("-display", "none".into());
        add("-qtest", format!("unix:{},server=on,wait=off", files.qtest().display()));
        add("-qtest-log", "none".into());
        add("-qmp", format!("unix:{},server=on,wait=off", files.monitor().display()));
        words.extend(["-nodefaults", "-no-user-config", "-no-reboot"].map(str::to_owned));
        if self.chipset == Chipset::Microvm {
            // The interface of the standard, which QEMU still keeps off unless asked.
            words.extend(["-global", "virtio-mmio.force-legacy=off"].map(str::to_owned));
        }
        words.extend(self.extra.iter().cloned());
        for (index, device) in self.nics.iter().enumerate() {
            let id = Self::netdev_id(index);
            let (ours, theirs) = (files.ours(index), files.theirs(index));
            words.push("-netdev".into());
            words.push(format!(
                "dgram,id={id},local.type=unix,local.path={},remote.type=unix,remote.path={}",
                theirs.display(),
                ours.display()
            ));
            let mac = Self::mac(index).map(|byte| format!("{byte:02x}")).join(":");
            let mut device = format!("{device},netdev={id},mac={mac}");
            if !device.contains("bus=virtio-mmio-bus.") {
                device.push_str(",romfile=");
                if !device.contains("addr=") && !device.contains("bus=") {
                    device.push_str(&format!(",addr={:#x}", FIRST_SLOT + index));
                }
            }
            words.extend(["-device".to_owned(), device]);
        }
        for (index, Disk { device, drive, .. }) in self.disks.iter().enumerate() {
            let file = format!("{},if=none,id=d{index}", files.disk(index).display());
            words.extend(["-drive".to_owned(), drive.replace("{file}", &file)]);
            words.extend(["-device".to_owned(), format!("{device},drive=d{index}")]);
        }
        words.into_iter().map(OsString::from).collect()
    }
}

/// The paths in a machine's private folder.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Files<'a>(pub(crate) &'a Path);

impl Files<'_> {
    pub(crate) fn ram(&self) -> PathBuf {
        self.0.join("ram")
    }
    pub(crate) fn bios(&self) -> PathBuf {
        self.0.join("bios")
    }
    pub(crate) fn qtest(&self) -> PathBuf {
        self.0.join("qtest")
    }
    pub(crate) fn monitor(&self) -> PathBuf {
        self.0.join("monitor")
    }
    pub(crate) fn disk(&self, index: usize) -> PathBuf {
        self.0.join(format!("disk{index}"))
    }
    pub(crate) fn ours(&self, nic: usize) -> PathBuf {
        self.0.join(format!("ours{nic}"))
    }
    pub(crate) fn theirs(&self, nic: usize) -> PathBuf {
        self.0.join(format!("theirs{nic}"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn expanders_name_further_root_buses() {
        let setup = Setup::new(Chipset::Q35);
        assert_eq!(setup.roots(), [0]);
        let setup = setup.arguments(["-device", "pxb-pcie,bus_nr=0xc0", "-device", "pxb,id=p,bus_nr=128"]);
        assert_eq!(setup.roots(), [0, 0x80, 0xc0]);
    }

    #[test]
    fn nics_get_slots_unless_they_name_a_place() {
        let setup = Setup::new(Chipset::Q35).nic("vmxnet3").nic("vmxnet3,bus=rp0").nic("virtio-net-pci");
        let words = setup.words("tcg", &Files(Path::new("/f")));
        let devices: Vec<_> = words
            .iter()
            .map(|word| word.to_str().unwrap())
            .filter(|word| word.contains("mac="))
            .map(|word| word.rsplit_once(',').unwrap().1)
            .collect();
        assert_eq!(devices, ["addr=0x4", "romfile=", "addr=0x6"]);
    }

    #[test]
    fn devices_in_memory_are_in_no_slot() {
        let setup = Setup::new(Chipset::Microvm).nic("virtio-net-device,bus=virtio-mmio-bus.1");
        let words = setup.words("tcg", &Files(Path::new("/f")));
        let device = "virtio-net-device,bus=virtio-mmio-bus.1,netdev=n0,mac=52:54:00:71:74:00";
        assert!(words.iter().any(|word| word == device), "{words:?}");
        assert!(words.iter().any(|word| word == "virtio-mmio.force-legacy=off"));
    }

    #[test]
    fn disks_have_files_in_the_private_folder() {
        let setup = Setup::new(Chipset::Q35).disk("virtio-blk-pci,serial=a", vec![0; 512]);
        let words = setup.words("tcg", &Files(Path::new("/f")));
        assert!(words.iter().any(|word| word == "file=/f/disk0,if=none,id=d0,format=raw"), "{words:?}");
        assert!(words.iter().any(|word| word == "virtio-blk-pci,serial=a,drive=d0"), "{words:?}");
    }
}
