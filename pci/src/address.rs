//! Where a function is: segment, bus, device, function.

use core::{fmt, str::FromStr};

/// The address of one function. Prints and parses as `00:04.0`, with a segment in front when that
/// is not 0: `0001:00:04.0`.
///
/// ```
/// # use paravane_pci::PciAddress;
/// let nic: PciAddress = "00:04.0".parse()?;
/// assert_eq!(nic, PciAddress::new(0, 0, 4, 0).unwrap());
/// assert_eq!(nic.to_string(), "00:04.0");
/// # Ok::<(), paravane_pci::ParseAddressError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciAddress {
    segment: u16,
    bus: u8,
    device: u8,
    function: u8,
}

impl PciAddress {
    /// Devices on a bus.
    pub const DEVICES: u8 = 32;
    /// Functions of a device.
    pub const FUNCTIONS: u8 = 8;

    /// Names a function; `None` when a bus has no such device, or a device no such function.
    #[must_use]
    pub const fn new(segment: u16, bus: u8, device: u8, function: u8) -> Option<Self> {
        if device < Self::DEVICES && function < Self::FUNCTIONS {
            Some(Self { segment, bus, device, function })
        } else {
            None
        }
    }

    /// The function whose device and function numbers are packed as in a routing ID: device in bits
    /// 7:3, function in bits 2:0.
    #[must_use]
    pub const fn from_devfn(segment: u16, bus: u8, devfn: u8) -> Self {
        Self { segment, bus, device: devfn >> 3, function: devfn & 0b111 }
    }

    /// The segment, which ACPI calls a PCI segment group and Linux a domain.
    #[must_use]
    pub const fn segment(self) -> u16 {
        self.segment
    }

    /// The bus.
    #[must_use]
    pub const fn bus(self) -> u8 {
        self.bus
    }

    /// The device on the bus, below 32.
    #[must_use]
    pub const fn device(self) -> u8 {
        self.device
    }

    /// The function of the device, below 8.
    #[must_use]
    pub const fn function(self) -> u8 {
        self.function
    }

    /// Device and function as one byte, the low half of the routing ID.
    #[must_use]
    pub const fn devfn(self) -> u8 {
        self.device << 3 | self.function
    }
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.segment != 0 {
            write!(f, "{:04x}:", self.segment)?;
        }
        write!(f, "{:02x}:{:02x}.{:x}", self.bus, self.device, self.function)
    }
}

impl fmt::Debug for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text names no function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseAddressError;

impl fmt::Display for ParseAddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a PCI address: expected BB:DD.F or SSSS:BB:DD.F in hexadecimal, as in 00:04.0")
    }
}

impl core::error::Error for ParseAddressError {}

impl FromStr for PciAddress {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        let (buses, function) = text.rsplit_once('.').ok_or(ParseAddressError)?;
        let (buses, device) = buses.rsplit_once(':').ok_or(ParseAddressError)?;
        let (segment, bus) = buses.rsplit_once(':').unwrap_or(("0", buses));
        let narrow = |text| u8::try_from(hex(text)?).map_err(|_| ParseAddressError);
        Self::new(hex(segment)?, narrow(bus)?, narrow(device)?, narrow(function)?).ok_or(ParseAddressError)
    }
}

/// Up to four hexadecimal digits and nothing else; the core parser would take a sign too.
fn hex(digits: &str) -> Result<u16, ParseAddressError> {
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(ParseAddressError);
    }
    u16::from_str_radix(digits, 16).map_err(|_| ParseAddressError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_people_write_it() {
        assert_eq!(PciAddress::new(0, 0, 4, 0).unwrap().to_string(), "00:04.0");
        assert_eq!(PciAddress::new(1, 0xab, 31, 7).unwrap().to_string(), "0001:ab:1f.7");
    }

    #[test]
    fn every_address_of_a_bus_prints_parses_and_packs() {
        for devfn in 0..=u8::MAX {
            for segment in [0, 0xbeef] {
                let address = PciAddress::from_devfn(segment, 0x3c, devfn);
                assert_eq!(address.to_string().parse(), Ok(address));
                assert_eq!(address.devfn(), devfn);
            }
        }
    }

    #[test]
    fn a_bus_has_32_devices_of_8_functions() {
        assert_eq!(PciAddress::new(0, 0, 32, 0), None);
        assert_eq!(PciAddress::new(0, 0, 0, 8), None);
    }

    #[test]
    fn what_is_no_address_does_not_parse() {
        for text in [
            "",
            "4",
            "00:04",
            "00:20.0",
            "00:04.8",
            "100:00.0",
            "+0:04.0",
            "00:+4.0",
            "0:0:0:0.0",
            "00:04.",
            "zz:00.0",
        ] {
            assert_eq!(text.parse::<PciAddress>(), Err(ParseAddressError), "{text}");
        }
    }
}
