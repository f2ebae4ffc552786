//! Networks: an address, and how many of its bits count.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

use super::key::Key;

/// The addresses whose first bits are the same: `10.0.0.0/8`, `2001:db8::/32`.
///
/// ```
/// use paravane_appliance::route::{Prefix, PrefixError};
///
/// let prefix: Prefix = "10.0.0.0/8".parse()?;
/// assert!(prefix.contains("10.1.2.3".parse().unwrap()));
/// let error = "10.1.2.3/8".parse::<Prefix>().unwrap_err();
/// assert_eq!(error, PrefixError::HostBits { meant: prefix });
/// # Ok::<(), PrefixError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    address: IpAddr,
    bits: u8,
}

/// Why something is no [`Prefix`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PrefixError {
    /// It is not an address, a slash and a number.
    Form,
    /// It has more bits than addresses of its version.
    Bits {
        /// How many these have.
        limit: u8,
    },
    /// Bits of the address are set behind those that count.
    HostBits {
        /// The same without them.
        meant: Prefix,
    },
}

impl Prefix {
    /// The addresses of which the first `bits` bits are those of `address`.
    ///
    /// # Errors
    ///
    /// [`PrefixError::Bits`]; [`PrefixError::HostBits`] when a later bit of `address` is set.
    pub fn new(address: IpAddr, bits: u8) -> Result<Self, PrefixError> {
        let meant = Self::around(address, bits)?;
        if meant.address == address { Ok(meant) } else { Err(PrefixError::HostBits { meant }) }
    }

    /// The same, whatever the later bits of `address` are: the network that a host is in.
    ///
    /// # Errors
    ///
    /// [`PrefixError::Bits`].
    pub fn around(address: IpAddr, bits: u8) -> Result<Self, PrefixError> {
        let limit = match address {
            IpAddr::V4(_) => <u32 as Key>::WIDTH,
            IpAddr::V6(_) => <u128 as Key>::WIDTH,
        };
        if bits > limit {
            return Err(PrefixError::Bits { limit });
        }
        let address = match address {
            IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits().first_of(bits)).into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits().first_of(bits)).into(),
        };
        Ok(Self { address, bits })
    }

    /// Its first address.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// Its last address, by which all hosts of a network of IPv4 are spoken to. `None` of IPv6, and
    /// of networks of two addresses or one.
    ///
    /// Spec: RFC 919 "Broadcasting Internet Datagrams"; RFC 3021 (31-bit prefixes).
    #[must_use]
    pub fn broadcast(self) -> Option<Ipv4Addr> {
        match self.address {
            IpAddr::V4(first) if self.bits < 31 => {
                let hosts = u32::MAX.checked_shr(self.bits.into()).unwrap_or(0);
                Some(Ipv4Addr::from_bits(first.to_bits() | hosts))
            }
            _ => None,
        }
    }

    /// How many bits count.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.bits
    }

    /// Whether `address` is in it.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        Self::around(address, self.bits) == Ok(self)
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (address, bits) = text.split_once('/').ok_or(PrefixError::Form)?;
        let address = address.parse().map_err(|_| PrefixError::Form)?;
        // A number's parser takes a sign; a prefix has none.
        if !bits.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(PrefixError::Form);
        }
        Self::new(address, bits.parse().map_err(|_| PrefixError::Form)?)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl fmt::Display for PrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => f.write_str("not a prefix: write it as 10.0.0.0/8 or 2001:db8::/32"),
            Self::Bits { limit } => write!(f, "longer than an address: at most /{limit}"),
            Self::HostBits { meant } => {
                write!(f, "the address has bits behind its prefix: {meant} may be meant")
            }
        }
    }
}

impl core::error::Error for PrefixError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;

    fn error(text: &str) -> PrefixError {
        text.parse::<Prefix>().unwrap_err()
    }

    #[test]
    fn what_is_no_prefix_is_refused() {
        for text in ["", "/", "10.0.0.0", "10.0.0.0/", "/8", "10.0.0/8", "10.0.0.0/+8", "10.0.0.0/-1", "::/x"]
        {
            assert_eq!(error(text), PrefixError::Form, "{text}");
        }
        for text in ["10.0.0.0/8/8", "10.0.0.0 /8", "10.0.0.0/ 8", "10.0.0.0/256"] {
            assert_eq!(error(text), PrefixError::Form, "{text}");
        }
        assert_eq!(error("10.0.0.0/33"), PrefixError::Bits { limit: 32 });
        assert_eq!(error("::/129"), PrefixError::Bits { limit: 128 });
    }

    #[test]
    fn who_sets_host_bits_hears_what_may_be_meant() {
        assert_eq!(
            error("10.1.2.3/8").to_string(),
            "the address has bits behind its prefix: 10.0.0.0/8 may be meant"
        );
        assert_eq!(
            error("2001:db8::1/32"),
            PrefixError::HostBits { meant: "2001:db8::/32".parse().unwrap() }
        );
        assert_eq!(error("0.0.0.1/0"), PrefixError::HostBits { meant: "0.0.0.0/0".parse().unwrap() });
    }

    #[test]
    fn a_prefix_has_its_addresses_and_no_others() {
        for (prefix, first, last, before, after) in [
            ("10.0.0.0/8", "10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0"),
            ("192.0.2.7/32", "192.0.2.7", "192.0.2.7", "192.0.2.6", "192.0.2.8"),
            ("fe80::/10", "fe80::", "febf:ffff::", "fe7f:ffff::", "fec0::"),
        ] {
            let prefix: Prefix = prefix.parse().unwrap();
            for (address, is_in) in [(first, true), (last, true), (before, false), (after, false)] {
                assert_eq!(prefix.contains(address.parse().unwrap()), is_in, "{address} in {prefix}");
            }
        }
        let all: Prefix = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("255.255.255.255".parse().unwrap()));
        assert!(!all.contains("::".parse().unwrap()), "another version");
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(address: u128, is_v4: bool, bits in 0_u8..=128) {
            let address = if is_v4 {
                IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(address >> 96).unwrap()))
            } else {
                Ipv6Addr::from_bits(address).into()
            };
            if let Ok(prefix) = Prefix::around(address, bits) {
                prop_assert!(prefix.contains(address));
                prop_assert_eq!(prefix.to_string().parse(), Ok(prefix));
            } else {
                prop_assert!(is_v4 && bits > 32);
            }
        }
    }
}
