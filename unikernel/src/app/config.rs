//! The kernel command line as values. A word that is not understood is reported and passed over; it
//! never stops the boot.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::str::FromStr;

use log::LevelFilter;
use paravane_nic::IrqMode;
use smoltcp::wire::{Ipv4Address, Ipv4Cidr};

use crate::bus::words::{self, Words};
use crate::cmdline::is_for_linux;

/// Where a NIC's address comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Addressing {
    /// From a DHCP server.
    #[default]
    Dhcp,
    /// From the command line.
    Static {
        /// Address and prefix length.
        address: Ipv4Cidr,
        /// The default route's next hop.
        gateway: Option<Ipv4Address>,
    },
}

/// What the command line says about one NIC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NicConfig {
    /// Its address.
    pub addressing: Addressing,
    /// The largest IP packet, where the default is not wanted.
    pub ip_mtu_bytes: Option<u16>,
}

/// The command line, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How NICs interrupt.
    pub irq: IrqMode,
    /// The console's log level.
    pub log: LevelFilter,
    /// By name; a NIC without an entry has the defaults.
    pub nics: Vec<(String, NicConfig)>,
    /// Where devices are.
    pub devices: Words,
    /// Words for Linux, passed over.
    pub foreign: Vec<String>,
    /// Words not understood, each with the reason.
    pub rejected: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            irq: IrqMode::Auto,
            log: LevelFilter::Info,
            nics: Vec::new(),
            devices: Words::default(),
            foreign: Vec::new(),
            rejected: Vec::new(),
        }
    }
}

/// The name of the NIC at `index` in PCI order.
#[must_use]
pub fn nic_name(index: usize) -> Cow<'static, str> {
    match index {
        0 => Cow::Borrowed("admin"),
        1 => Cow::Borrowed("public"),
        2 => Cow::Borrowed("private"),
        n => Cow::Owned(format!("nic{n}")),
    }
}

/// Whether `name` is one that [`nic_name`] gives.
fn is_nic_name(name: &str) -> bool {
    let numbered =
        || name.strip_prefix("nic").and_then(|n| n.parse().ok()).is_some_and(|n: usize| nic_name(n) == name);
    matches!(name, "admin" | "public" | "private") || numbered()
}

impl Config {
    /// Understands `words`, one after the other; later ones win.
    pub fn parse<'w>(words: impl Iterator<Item = &'w str>) -> Self {
        let mut config = Self::default();
        for word in words {
            match config.apply(word) {
                Ok(()) => {}
                Err(_) if is_for_linux(word) => config.foreign.push(word.into()),
                Err(reason) => config.rejected.push(format!("command line: '{word}' ignored: {reason}")),
            }
        }
        config
    }

    /// What was said about the NIC called `name`.
    #[must_use]
    pub fn nic(&self, name: &str) -> NicConfig {
        self.nics.iter().find(|(known, _)| known == name).map(|(_, nic)| *nic).unwrap_or_default()
    }

    fn apply(&mut self, word: &str) -> Result<(), String> {
        let (key, value) = word.split_once('=').ok_or("no such word; words are key=value")?;
        if let Some(taken) = self.devices.take(key, value) {
            return taken;
        }
        match key {
            "irq" => self.irq = parse_irq(value)?,
            "log" => {
                self.log =
                    LevelFilter::from_str(value).map_err(|_| "levels are error, warn, info, debug, trace")?;
            }
            name if is_nic_name(name) => {
                let nic = parse_nic(value)?;
                self.nics.retain(|(known, _)| known != name);
                self.nics.push((name.into(), nic));
            }
            _ => {
                return Err(format!(
                    "no such word; there are admin, public, private, nic3.., irq, log, {}",
                    words::NAMES
                ));
            }
        }
        Ok(())
    }
}

fn parse_irq(value: &str) -> Result<IrqMode, String> {
    Ok(match value {
        "auto" => IrqMode::Auto,
        "msix" => IrqMode::Msix,
        "msi" => IrqMode::Msi,
        "line" | "intx" => IrqMode::Line,
        "polling" => IrqMode::Polling,
        _ => return Err("modes are auto, msix, msi, line, polling".into()),
    })
}

/// `dhcp`, or `A.B.C.D/len`, or `A.B.C.D/len,GATEWAY`; `mtu=N` may follow.
fn parse_nic(value: &str) -> Result<NicConfig, String> {
    let mut nic = NicConfig::default();
    for part in value.split(',') {
        if let Some(mtu) = part.strip_prefix("mtu=") {
            nic.ip_mtu_bytes = Some(mtu.parse().map_err(|_| format!("'{mtu}' is not an MTU in bytes"))?);
        } else if part == "dhcp" {
            nic.addressing = Addressing::Dhcp;
        } else if part.contains('/') {
            let address = Ipv4Cidr::from_str(part).map_err(|()| format!("'{part}' is not ADDRESS/LENGTH"))?;
            nic.addressing = Addressing::Static { address, gateway: None };
        } else {
            let next_hop = Ipv4Address::from_str(part).map_err(|_| format!("'{part}' is not an address"))?;
            match &mut nic.addressing {
                Addressing::Static { gateway, .. } => *gateway = Some(next_hop),
                Addressing::Dhcp => {
                    return Err(format!("a gateway ('{part}') needs an ADDRESS/LENGTH before it"));
                }
            }
        }
    }
    Ok(nic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Config {
        Config::parse(line.split_ascii_whitespace())
    }

    #[test]
    fn an_empty_line_is_dhcp_everywhere() {
        let config = parse("");
        assert_eq!(config, Config::default());
        assert_eq!(config.nic("admin").addressing, Addressing::Dhcp);
    }

    #[test]
    fn addresses_gateways_and_mtus() {
        let config = parse("admin=10.0.2.15/24,10.0.2.2 public=10.1.0.1/16,mtu=9000 nic3=dhcp,mtu=1400");
        let admin = config.nic("admin");
        let Addressing::Static { address, gateway } = admin.addressing else { panic!("static") };
        assert_eq!((address.prefix_len(), gateway), (24, Some(Ipv4Address::new(10, 0, 2, 2))));
        assert_eq!(config.nic("public").ip_mtu_bytes, Some(9000));
        assert_eq!(config.nic("nic3").ip_mtu_bytes, Some(1400));
        assert_eq!(config.rejected, [""; 0]);
    }

    #[test]
    fn the_last_word_wins() {
        assert_eq!(parse("irq=msix irq=polling").irq, IrqMode::Polling);
        assert_eq!(parse("admin=10.0.0.1/8 admin=dhcp").nic("admin").addressing, Addressing::Dhcp);
    }

    #[test]
    fn what_is_not_understood_is_named_with_a_reason() {
        for word in [
            "quux",
            "foo=1",
            "virtio_mmio.device=4K",
            "ecam=here",
            "irq=none",
            "admin=10.0.0.1",
            "public=10.0.0.999/8",
            "nic1=dhcp",
            "nic03=dhcp",
            "pci-patch=1",
            "private=dhcp,10.0.0.1",
        ] {
            let config = parse(&format!("irq=intx {word}"));
            assert_eq!(config.rejected.len(), 1, "{word}");
            assert!(config.rejected[0].contains(word), "{}", config.rejected[0]);
            assert_eq!(config.irq, IrqMode::Line, "the other words count");
        }
    }

    #[test]
    fn what_firecracker_passes_is_understood_or_passed_over() {
        let config =
            parse("reboot=k panic=1 nomodule 8250.nr_uarts=0 pci=off virtio_mmio.device=4K@0xc0001000:5");
        assert_eq!(config.rejected, [""; 0]);
        assert_eq!(config.foreign, ["reboot=k", "panic=1", "nomodule", "8250.nr_uarts=0"]);
        assert!(config.devices.pci_off && config.devices.mmio.len() == 1);
    }
}
