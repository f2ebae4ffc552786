//! The kernel command line and [`paravane.toml`](file::NAME) as values. A word or key that is not
//! understood is reported and passed over; it never stops the boot.

pub mod file;

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

/// What both the command line and the file may say.
const NAMES: &str = "admin, public, private, nic3.., irq, log";

/// Where a NIC's address comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Addressing {
    /// From a DHCP server.
    #[default]
    Dhcp,
    /// Given.
    Static {
        /// Address and prefix length.
        address: Ipv4Cidr,
        /// The default route's next hop.
        gateway: Option<Ipv4Address>,
    },
}

/// What is said about one NIC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NicConfig {
    /// Its address.
    pub addressing: Addressing,
    /// The largest IP packet, where the default is not wanted.
    pub ip_mtu_bytes: Option<u16>,
}

/// What was said, understood.
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
    /// Words and keys not understood, each with the reason.
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
pub(super) fn is_nic_name(name: &str) -> bool {
    let numbered =
        || name.strip_prefix("nic").and_then(|n| n.parse().ok()).is_some_and(|n: usize| nic_name(n) == name);
    matches!(name, "admin" | "public" | "private") || numbered()
}

impl Config {
    /// Understands the `words` of a command line, one after the other; later ones win, and all of
    /// them win over what was said before.
    #[must_use]
    pub fn with_words<'w>(mut self, words: impl Iterator<Item = &'w str>) -> Self {
        for word in words {
            match self.apply(word) {
                Ok(()) => {}
                Err(_) if is_for_linux(word) => self.foreign.push(word.into()),
                Err(reason) => self.rejected.push(format!("command line: '{word}' ignored: {reason}")),
            }
        }
        self
    }

    /// Understands the `text` of a file. One that is no TOML says nothing.
    #[must_use]
    pub fn with_file(mut self, text: &[u8]) -> Self {
        match file::entries(text) {
            Ok(entries) => {
                for entry in entries {
                    let file::Entry { at, key, .. } = &entry;
                    if let Err(reason) = self.apply_entry(&entry) {
                        self.rejected.push(format!("{}:{}: '{key}' ignored: {reason}", file::NAME, at.line));
                    }
                }
            }
            Err(file::Malformed { at, reason }) => {
                self.rejected.push(format!("{}:{}: all of the file ignored: {reason}", file::NAME, at.line));
            }
        }
        self
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
        self.set(key, value)
            .unwrap_or_else(|| Err(format!("no such word; there are {NAMES}, {}", words::NAMES)))
    }

    fn apply_entry(&mut self, entry: &file::Entry) -> Result<(), String> {
        let value = match &entry.value {
            file::Value::String(value) => value,
            // What is in the table is named.
            file::Value::Head { .. } => return Ok(()),
            _ => return Err("its value is to be a string".into()),
        };
        self.set(&entry.key, value).unwrap_or_else(|| Err(format!("no such key; there are {NAMES}")))
    }

    /// What both may say; `None`: nothing is called `key`.
    fn set(&mut self, key: &str, value: &str) -> Option<Result<(), String>> {
        let done = match key {
            "irq" => parse_irq(value).map(|irq| self.irq = irq),
            "log" => match LevelFilter::from_str(value) {
                Ok(level) => {
                    self.log = level;
                    Ok(())
                }
                Err(_) => Err("levels are error, warn, info, debug, trace".into()),
            },
            name if is_nic_name(name) => parse_nic(value).map(|nic| {
                self.nics.retain(|(known, _)| known != name);
                self.nics.push((name.into(), nic));
            }),
            _ => return None,
        };
        Some(done)
    }
}

pub(super) fn parse_irq(value: &str) -> Result<IrqMode, String> {
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
        Config::default().with_words(line.split_ascii_whitespace())
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let text = b"irq = \"polling\"\nadmin = \"10.0.0.1/8\"\npublic = \"10.1.0.1/16,mtu=9000\"\n";
        let config = Config::default().with_file(text).with_words("irq=msi admin=dhcp".split(' '));
        assert_eq!((config.irq, config.nic("admin").addressing), (IrqMode::Msi, Addressing::Dhcp));
        assert_eq!(config.nic("public").ip_mtu_bytes, Some(9000));
        assert_eq!(config.rejected, [""; 0]);
    }

    #[test]
    fn an_unknown_key_is_named_and_the_others_count() {
        let text =
            b"wibble = \"1\"\nirq = 7\nlog = \"loud\"\necam = \"0xe0000000\"\n[nic]\nirq = \"msi\"\n[x]\n";
        let config = Config::default().with_file(&[&text[..], b"[y]\n"].concat());
        for (line, wanted) in
            ["1: 'wibble'", "2: 'irq'", "3: 'log'", "4: 'ecam'", "6: 'nic.irq'"].iter().zip(&config.rejected)
        {
            assert!(wanted.starts_with(&format!("paravane.toml:{line} ignored: ")), "{wanted}");
        }
        assert_eq!((config.rejected.len(), config.irq), (5, IrqMode::Auto));
        assert_eq!(Config::default().with_file(b"wibble = '1'\nirq = 'msi'\n").irq, IrqMode::Msi);
    }

    #[test]
    fn a_file_that_is_no_toml_says_nothing() {
        for text in [&b"irq = 'msi'\nlog = \n"[..], b"irq = 'msi'\n\xff"] {
            let config = Config::default().with_file(text);
            assert_eq!((config.irq, config.rejected.len()), (IrqMode::Auto, 1));
            assert!(config.rejected[0].contains("all of the file ignored"), "{}", config.rejected[0]);
        }
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
