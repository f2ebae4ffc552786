//! Words of the command line about where devices are.
//!
//! | Word | Says |
//! |---|---|
//! | `virtio_mmio.device=SIZE@BASE:LINE[:ID]` | there is a virtio device in memory; as monitors tell Linux |
//! | `pci=off` | there is no PCI |
//! | `ecam=BASE[,SEGMENT[,FIRST-LAST]]` | config space of a segment is at `BASE`, that of its bus 0 |
//! | `mmio-probe=auto`, `on`, `off` | whether devices are looked for where microvm has them |
//! | `pci-patch=BUS:DEVICE.FUNCTION+OFFSET=VALUE` | a byte of config space reads as this, all hexadecimal |

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

use paravane_hal::addr::PhysAddr;
use paravane_hal_x86_64::line::Trigger;
use paravane_hal_x86_64::range::PhysRange;
use paravane_pci::{EcamEntry, PciAddress};

use crate::interrupts::LINES;

/// The words of this module, for people.
pub const NAMES: &str = "virtio_mmio.device, pci, ecam, mmio-probe, pci-patch";
/// How many devices, and how many segments, may be named.
pub const MOST: usize = 64;
/// The least that a virtio device in memory has, and the most that one can use.
const MMIO_BYTES: RangeInclusive<u64> = 0x100..=0x10_0000;
/// What a CPU can address at the most.
const REACH: u64 = 1 << 52;

/// A virtio device in memory, as discovery names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MmioPlace {
    /// Where its registers start.
    pub base: PhysAddr,
    /// How many there are.
    pub len_bytes: usize,
    /// The line that it interrupts by.
    pub line: u8,
    /// How.
    pub trigger: Trigger,
}

/// One byte of config space, replaced when it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciPatch {
    /// Of which function.
    pub address: PciAddress,
    /// Where.
    pub offset: u16,
    /// What is read instead.
    pub value: u8,
}

/// Whether devices are looked for where microvm has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Probe {
    /// If nobody named one, and there is no PCI by ports or by ACPI, whose devices could be there.
    #[default]
    Auto,
    /// Yes.
    On,
    /// No.
    Off,
}

/// The words, understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// There is no PCI.
    pub pci_off: bool,
    /// Where config space is.
    pub ecam: Vec<EcamEntry>,
    /// Devices in memory.
    pub mmio: Vec<MmioPlace>,
    /// Whether they are looked for where microvm has them.
    pub probe: Probe,
    /// Bytes of config space to replace.
    pub patches: Vec<PciPatch>,
}

impl Words {
    /// Understands one word, `key=value`. `None` when it is none of these; else why it is ignored,
    /// if it is.
    pub fn take(&mut self, key: &str, value: &str) -> Option<Result<(), String>> {
        Some(match key {
            "virtio_mmio.device" => parse_place(value).and_then(|place| self.add_place(place)),
            "ecam" => parse_ecam(value).and_then(|entry| self.add_ecam(entry)),
            "pci" if value.split(',').any(|word| word == "off") => {
                self.pci_off = true;
                Ok(())
            }
            "mmio-probe" => parse_probe(value).map(|probe| self.probe = probe),
            "pci-patch" => parse_patch(value).map(|patch| self.patches.push(patch)),
            _ => return None,
        })
    }

    /// The words of a whole line; those that are not understood are left to whoever else looks.
    #[must_use]
    pub fn of(line: &crate::cmdline::CommandLine) -> Self {
        let mut words = Self::default();
        for word in line.words() {
            if let Some(Err(reason)) = word.value.and_then(|value| words.take(word.key, value)) {
                log::warn!("command line: '{}' ignored: {reason}", word.text);
            }
        }
        words
    }

    fn add_place(&mut self, place: MmioPlace) -> Result<(), String> {
        if self.mmio.len() >= MOST {
            return Err(format!("there are {MOST} devices already"));
        }
        if self.mmio.iter().any(|other| other.range().overlaps(place.range())) {
            return Err("another word names a device there".into());
        }
        self.mmio.push(place);
        Ok(())
    }

    fn add_ecam(&mut self, entry: EcamEntry) -> Result<(), String> {
        if self.ecam.len() >= MOST {
            return Err(format!("there are {MOST} segments already"));
        }
        if self.ecam.iter().any(|other| other.segment == entry.segment) {
            return Err("another word names that segment".into());
        }
        self.ecam.push(entry);
        Ok(())
    }
}

impl MmioPlace {
    /// Where all of it is.
    pub(super) fn range(&self) -> PhysRange {
        let start = self.base.get();
        PhysRange::between(start, start.saturating_add(self.len_bytes as u64))
    }
}

/// `SIZE@BASE:LINE[:ID]`.
///
/// Spec: Linux, `Documentation/admin-guide/kernel-parameters.txt`, "virtio_mmio.device".
fn parse_place(value: &str) -> Result<MmioPlace, String> {
    let form = || String::from("places are SIZE@BASE:LINE, with sizes such as 512 or 4K");
    let (size, rest) = value.split_once('@').ok_or_else(form)?;
    let mut parts = rest.split(':');
    let (base, line, id) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let len_bytes = size_in_bytes(size).ok_or_else(form)?;
    let base = number(base).ok_or_else(form)?;
    let line = line.and_then(number).ok_or_else(form)?;
    // The number by which Linux knows the device means nothing here.
    if parts.next().is_some() || id.is_some_and(|id| number(id).is_none()) {
        return Err(form());
    }
    // Whoever passes this word pulses its lines, or keeps them up until they are acknowledged; the
    // edge is there either way.
    MmioPlace::new(base, len_bytes, line, Trigger::Edge)
}

impl MmioPlace {
    /// A place of `len_bytes` at `base`, whose device interrupts by `line`.
    ///
    /// # Errors
    ///
    /// In words: no device's registers can be there, or no line has that number.
    pub(super) fn new(base: u64, len_bytes: u64, line: u64, trigger: Trigger) -> Result<Self, String> {
        let fits = usize::try_from(len_bytes).ok().filter(|_| MMIO_BYTES.contains(&len_bytes));
        let len_bytes = fits.ok_or_else(|| {
            format!("a virtio device has between 256 bytes and 1 MiB of registers, not {len_bytes}")
        })?;
        if !base.is_multiple_of(4) || base.checked_add(len_bytes as u64).is_none_or(|end| end > REACH) {
            return Err(format!("no device's registers can be at {base:#x}"));
        }
        let known = u8::try_from(line).ok().filter(|line| *line < LINES);
        let line = known.ok_or_else(|| format!("interrupt lines go up to {}", LINES - 1))?;
        Ok(Self { base: PhysAddr::new(base), len_bytes, line, trigger })
    }
}

/// `BASE[,SEGMENT[,FIRST-LAST]]`.
fn parse_ecam(value: &str) -> Result<EcamEntry, String> {
    let form = || String::from("ECAM is BASE, or BASE,SEGMENT,FIRST-LAST with the buses that it holds");
    let mut parts = value.split(',');
    let base = parts.next().and_then(number).ok_or_else(form)?;
    let segment = parts.next().map_or(Some(0), number);
    let segment = segment.and_then(|segment| u16::try_from(segment).ok()).ok_or_else(form)?;
    let bus = |text| number(text).and_then(|bus| u8::try_from(bus).ok());
    let buses = parts.next().map_or(Some(0..=u8::MAX), |buses| {
        let (first, last) = buses.split_once('-')?;
        Some(bus(first)?..=bus(last)?)
    });
    let entry = EcamEntry { base: PhysAddr::new(base), segment, buses: buses.ok_or_else(form)? };
    if parts.next().is_some() {
        return Err(form());
    }
    match entry.region() {
        Some((start, len_bytes)) if start.get() + len_bytes <= REACH => Ok(entry),
        _ => Err(format!("{base:#x} and these buses are no place for ECAM")),
    }
}

fn parse_probe(value: &str) -> Result<Probe, String> {
    match value {
        "auto" => Ok(Probe::Auto),
        "on" => Ok(Probe::On),
        "off" => Ok(Probe::Off),
        _ => Err("it is auto, on, or off".into()),
    }
}

/// `BB:DD.F+OFF=VAL`, in hexadecimal.
fn parse_patch(value: &str) -> Result<PciPatch, String> {
    let parts = || {
        let (address, rest) = value.split_once('+')?;
        let (offset, byte) = rest.split_once('=')?;
        Some(PciPatch {
            address: address.parse().ok()?,
            offset: u16::from_str_radix(offset, 16).ok()?,
            value: u8::from_str_radix(byte, 16).ok()?,
        })
    };
    parts().ok_or_else(|| "patches are BUS:DEVICE.FUNCTION+OFFSET=VALUE, in hexadecimal".into())
}

/// A number, and K, M or G behind it.
fn size_in_bytes(text: &str) -> Option<u64> {
    let suffix = text.chars().next_back()?;
    let shift = match suffix.to_ascii_uppercase() {
        'K' => 10,
        'M' => 20,
        'G' => 30,
        _ => return number(text),
    };
    number(text.strip_suffix(suffix)?)?.checked_mul(1 << shift)
}

/// A number: decimal, or hexadecimal behind `0x`. One that begins with another zero would be octal
/// for some, and is none here.
fn number(text: &str) -> Option<u64> {
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return if digits.starts_with('+') { None } else { u64::from_str_radix(digits, 16).ok() };
    }
    if text.starts_with('+') || (text.starts_with('0') && text != "0") {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn taken(words: &[(&str, &str)]) -> (Words, Vec<String>) {
        let (mut all, mut reasons) = (Words::default(), Vec::new());
        for (key, value) in words {
            reasons.extend(all.take(key, value).expect("a word of ours").err());
        }
        (all, reasons)
    }

    fn place(value: &str) -> Option<(u64, usize, u8)> {
        parse_place(value).ok().map(|place| (place.base.get(), place.len_bytes, place.line))
    }

    #[test]
    fn monitors_name_places_in_their_ways() {
        assert_eq!(place("4K@0xc0001000:5"), Some((0xc000_1000, 4096, 5)), "Firecracker");
        assert_eq!(place("512@0xfeb00e00:12"), Some((0xfeb0_0e00, 512, 12)), "microvm");
        assert_eq!(place("0x200@0xd0000000:8:3"), Some((0xd000_0000, 512, 8)));
        assert_eq!(place("1m@3221225472:63"), Some((0xc000_0000, 1 << 20, 63)));
        assert_eq!(parse_place("4K@0xc0001000:5").unwrap().trigger, Trigger::Edge);
    }

    #[test]
    fn a_place_that_makes_no_sense_is_refused() {
        for bad in [
            "",
            "4K",
            "4K@",
            "4K@0xc0001000",
            "4K@0xc0001000:",
            "4K@0xc0001000:5:",
            "4K@0xc0001000:5:1:2",
            "@0xc0001000:5",
            "K@0xc0001000:5",
            "4k4K@0xc0001000:5",
            "4K@+1:5",
            "4K@0x+c0001000:5",
            "4K@0xc0001000:-5",
            "4K@0xc0001000:05",
            "4K@010:5",
            "255@0xc0001000:5",
            "0@0xc0001000:5",
            "2M@0xc0001000:5",
            "17179869184G@0xc0001000:5",
            "4K@0xc0001002:5",
            "4K@0xfffffffffffff000:5",
            "4K@0xffffffffffffffff:5",
            "4K@0x10000000000000000:5",
            "4K@0xc0001000:64",
            "4K@0xc0001000:261",
            "é@0xc0001000:5",
        ] {
            assert_eq!(place(bad), None, "{bad}");
        }
    }

    #[test]
    fn places_do_not_overlap_and_have_an_end() {
        let (words, reasons) = taken(&[
            ("virtio_mmio.device", "4K@0xc0001000:5"),
            ("virtio_mmio.device", "512@0xc0001e00:6"),
            ("virtio_mmio.device", "4K@0xc0002000:6"),
        ]);
        assert_eq!((words.mmio.len(), reasons.len()), (2, 1));
        let mut words = Words::default();
        for index in 0..=MOST {
            let value = format!("512@{}:5", 0xc000_0000_u64 + 512 * index as u64);
            let taken = words.take("virtio_mmio.device", &value).unwrap();
            assert_eq!(taken.is_ok(), index < MOST);
        }
    }

    #[test]
    fn ecam_is_a_base_and_perhaps_more() {
        let ecam = |value| parse_ecam(value).ok().map(|entry| (entry.base.get(), entry.segment, entry.buses));
        assert_eq!(ecam("0xe0000000"), Some((0xe000_0000, 0, 0..=255)));
        assert_eq!(ecam("0xe0000000,1"), Some((0xe000_0000, 1, 0..=255)));
        assert_eq!(ecam("0xe0000000,1,0x10-31"), Some((0xe000_0000, 1, 16..=31)));
        for bad in [
            "",
            "e0000000",
            "0xe0000001",
            "0xe0000000,65536",
            "0xe0000000,0,5",
            "0xe0000000,0,5-4",
            "0xe0000000,0,0-256",
            "0xe0000000,0,0-1,2",
            "0xfffffffff0000000",
        ] {
            assert_eq!(ecam(bad), None, "{bad}");
        }
        let (words, reasons) = taken(&[("ecam", "0xe0000000"), ("ecam", "0xd0000000,0")]);
        assert_eq!((words.ecam.len(), reasons.len()), (1, 1), "one place a segment");
    }

    #[test]
    fn pci_may_be_off() {
        let (words, reasons) = taken(&[("pci", "off"), ("mmio-probe", "on")]);
        assert_eq!((words.pci_off, words.probe, reasons.len()), (true, Probe::On, 0));
        assert!(taken(&[("pci", "conf1,off")]).0.pci_off);
        assert!(Words::default().take("pci", "conf1").is_none(), "Linux's own");
        assert_eq!(taken(&[("mmio-probe", "perhaps")]).1.len(), 1);
    }

    #[test]
    fn patches() {
        let (words, reasons) = taken(&[("pci-patch", "00:04.0+34=9c"), ("pci-patch", "1")]);
        assert_eq!((words.patches[0].offset, words.patches[0].value, reasons.len()), (0x34, 0x9c, 1));
    }

    proptest! {
        /// Any text: a place that is one, or a reason.
        #[test]
        fn whatever_is_understood_is_a_place(text in r"[0-9a-fxKMG@:]{0,24}|.{0,24}") {
            if let Ok(place) = parse_place(&text) {
                let range = place.range();
                prop_assert!(MMIO_BYTES.contains(&range.len_bytes()) && range.end() <= REACH);
                prop_assert!(place.line < LINES && place.base.get().is_multiple_of(4));
            }
            if let Ok(entry) = parse_ecam(&text) {
                prop_assert!(entry.region().is_some());
            }
            let _ = parse_patch(&text);
        }

        /// What is written in the documented form is read back.
        #[test]
        fn the_documented_form_is_read(
            base in 0_u64..1 << 38,
            kib in 1_usize..1024,
            line in 0..LINES,
            id: u16,
        ) {
            let base = base << 2;
            let wanted = Some((base, kib << 10, line));
            prop_assert_eq!(place(&format!("{kib}K@{base:#x}:{line}:{id}")), wanted);
            prop_assert_eq!(place(&format!("{}@{base}:{line}", kib << 10)), wanted);
        }
    }
}
