//! The recordings kept in `fixtures/`: their names, what made them, and what they say beside the
//! device's behaviour.

use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use paravane_hal::irq::MsiMessage;
use paravane_mock_hal::record::Recording;
use paravane_qtest_hal::{Chipset, Setup};

use super::{Driver, disk};

/// On which of a microvm's places a recorded device is,
pub(super) const MMIO_BUS: u8 = 1;
/// where that is,
pub(super) const MMIO_START: u64 = 0xfeb0_0200;
/// and how long.
pub(super) const MMIO_BYTES: usize = 512;

/// A recorded device.
#[derive(Clone, Copy, Debug)]
pub struct DeviceFixture {
    /// The file's name without `.rec`.
    pub name: &'static str,
    /// The driver that made it and plays it.
    pub driver: Driver,
    /// The machine it was in.
    pub chipset: Chipset,
    /// QEMU's name of the device, with properties.
    pub device: &'static str,
}

/// Every recorded device.
pub const DEVICES: [DeviceFixture; 9] = [
    DeviceFixture { name: "vmxnet3-q35", driver: Driver::Vmxnet3, chipset: Chipset::Q35, device: "vmxnet3" },
    DeviceFixture { name: "vmxnet3-pc", driver: Driver::Vmxnet3, chipset: Chipset::Pc, device: "vmxnet3" },
    DeviceFixture {
        name: "vmxnet3-offloads",
        driver: Driver::Vmxnet3Offloads,
        chipset: Chipset::Q35,
        device: "vmxnet3",
    },
    DeviceFixture {
        name: "virtio-net-modern",
        driver: Driver::VirtioNet,
        chipset: Chipset::Q35,
        device: "virtio-net-pci,disable-legacy=on,disable-modern=off",
    },
    DeviceFixture {
        name: "virtio-net-transitional",
        driver: Driver::VirtioNet,
        chipset: Chipset::Pc,
        device: "virtio-net-pci,disable-legacy=off,disable-modern=off",
    },
    DeviceFixture {
        name: "virtio-net-packed",
        driver: Driver::VirtioNet,
        chipset: Chipset::Q35,
        device: "virtio-net-pci,disable-legacy=on,disable-modern=off,packed=on",
    },
    DeviceFixture {
        name: "virtio-net-mmio",
        driver: Driver::VirtioNetMmio,
        chipset: Chipset::Microvm,
        device: "virtio-net-device,bus=virtio-mmio-bus.1",
    },
    DeviceFixture {
        name: "virtio-blk",
        driver: Driver::VirtioBlk,
        chipset: Chipset::Q35,
        device: "virtio-blk-pci,disable-legacy=on,disable-modern=off,addr=0x4,serial=paravane-1",
    },
    DeviceFixture {
        name: "virtio-blk-packed",
        driver: Driver::VirtioBlk,
        chipset: Chipset::Q35,
        device: "virtio-blk-pci,disable-legacy=on,disable-modern=off,packed=on,addr=0x4,serial=paravane-1",
    },
];

/// The configuration space and the tables of a recorded machine.
#[derive(Clone, Copy, Debug)]
pub struct MachineFixture {
    /// The file's name without `.rec`.
    pub name: &'static str,
    /// The machine.
    pub chipset: Chipset,
    /// QEMU's name of it as it boots, with properties.
    pub machine: &'static str,
    /// What is plugged into it beside what the chipset has.
    pub devices: &'static [&'static str],
}

/// Every recorded machine.
pub const MACHINES: [MachineFixture; 3] = [
    MachineFixture {
        name: "machine-pc",
        chipset: Chipset::Pc,
        machine: "pc",
        devices: &["vmxnet3,addr=4,romfile=", "virtio-net-pci,disable-legacy=off,addr=5,romfile="],
    },
    MachineFixture {
        name: "machine-q35",
        chipset: Chipset::Q35,
        machine: "q35",
        devices: &[
            "pcie-root-port,id=root0,slot=1,addr=4",
            "pcie-root-port,id=root1,slot=2,addr=5",
            "pcie-pci-bridge,id=bridge0,bus=root1",
            "virtio-net-pci,disable-legacy=on,bus=root0,romfile=",
            "vmxnet3,bus=bridge0,addr=3,romfile=",
        ],
    },
    MachineFixture {
        name: "machine-microvm",
        chipset: Chipset::Microvm,
        machine: "microvm,pcie=on,acpi=on",
        devices: &["virtio-net-pci,disable-legacy=on,addr=1,romfile=", "vmxnet3,addr=2,romfile="],
    },
];

impl MachineFixture {
    /// The machine whose configuration space is recorded.
    #[must_use]
    pub fn setup(&self) -> Setup {
        Setup::new(self.chipset).arguments(self.devices.iter().flat_map(|device| ["-device", device]))
    }
}

impl DeviceFixture {
    /// The machine that is recorded.
    #[must_use]
    pub fn setup(&self) -> Setup {
        let setup = Setup::new(self.chipset);
        match self.driver {
            Driver::Vmxnet3 | Driver::Vmxnet3Offloads | Driver::VirtioNet | Driver::VirtioNetMmio => {
                setup.nic(self.device)
            }
            Driver::VirtioBlk => setup.disk(self.device, disk::content()),
        }
    }
}

/// Where fixture `name` is kept.
#[must_use]
pub fn path(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures")).join(format!("{name}.rec"))
}

/// Reads fixture `name`.
///
/// # Errors
///
/// It is not there, or not a recording.
pub fn load(name: &str) -> Result<Recording> {
    let path = path(name);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Recording::parse(&text).with_context(|| format!("{}", path.display()))
}

/// What a scenario calls a change of the link.
pub(super) fn link_step(up: bool) -> &'static str {
    if up { "set link up" } else { "set link down" }
}

/// How a recording says which message a vector had.
pub(crate) fn message_line(message: MsiMessage) -> String {
    format!("{:#x} {:#x}", message.address(), message.data())
}

/// The messages that the driver of `recording` was given.
#[must_use]
pub fn messages_of(recording: &Recording) -> Vec<MsiMessage> {
    let hex = |word: &str| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok();
    let lines = recording.provenance().iter().filter(|(name, _)| name == "message");
    lines
        .filter_map(|(_, value)| {
            let (address, data) = value.split_once(' ')?;
            Some(paravane_mock_hal::message(hex(address)?, hex(data)?.try_into().ok()?))
        })
        .collect()
}

/// The date, in UTC, as `2026-11-24`.
#[must_use]
pub fn today() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (year, month, day) = civil(since.as_secs() / 86_400);
    format!("{year}-{month:02}-{day:02}")
}

/// Year, month and day of the day that is `days` after 1970-01-01.
fn civil(days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let (mut year, mut left) = (1970, days);
    while left >= 365 + u64::from(leap(year)) {
        left -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for len in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if left < len {
            break;
        }
        left -= len;
        month += 1;
    }
    (year, month, left + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(59), (1970, 3, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_781), (2026, 11, 24));
        assert_eq!(civil(20_818), (2026, 12, 31));
    }
}
