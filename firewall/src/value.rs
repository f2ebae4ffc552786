//! Words that are numbers: addresses, ports, ICMP types, rates.

use alloc::format;
use alloc::string::{String, ToString};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

use crate::names::nearest;
use crate::rules::Per;

/// What is wrong with a word, and what would be right.
pub(crate) type Wrong = (String, String);

fn wrong<T>(message: impl ToString, help: impl ToString) -> Result<T, Wrong> {
    Err((message.to_string(), help.to_string()))
}

/// The first and the last address of a range, of one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Span {
    V4(u32, u32),
    V6(u128, u128),
}

/// Whether a word that is no name looks like an address, rather than a port.
pub(crate) fn is_address(text: &str) -> bool {
    text.contains(['.', ':', '/'])
}

/// `10.0.0.1`, `10.0.0.0/8`, `10.0.0.1-10.0.0.9`, and the same of IPv6.
pub(crate) fn addresses(text: &str) -> Result<Span, Wrong> {
    if let Some((first, last)) = text.split_once('-') {
        return match (address(first)?, address(last)?) {
            (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
                Ok(Span::V4(first.to_bits(), last.to_bits()))
            }
            (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
                Ok(Span::V6(first.to_bits(), last.to_bits()))
            }
            (first, last) if first.is_ipv4() == last.is_ipv4() => wrong(
                format!("`{text}` ends before it begins"),
                format!("the smaller one stands first: `{last}-{first}`"),
            ),
            _ => wrong(format!("`{text}` is of two versions"), "a range is of IPv4 or of IPv6"),
        };
    }
    let (start, length) = text.split_once('/').map_or((text, None), |(start, length)| (start, Some(length)));
    match address(start)? {
        IpAddr::V4(start) => {
            let host =
                host_bits(text, length, 32)?.map_or(0, |host| u32::MAX.checked_shr(32 - host).unwrap_or(0));
            let first = start.to_bits() & !host;
            is_first(text, first == start.to_bits(), &Ipv4Addr::from_bits(first), length)?;
            Ok(Span::V4(first, first | host))
        }
        IpAddr::V6(start) => {
            let host = host_bits(text, length, 128)?
                .map_or(0, |host| u128::MAX.checked_shr(128 - host).unwrap_or(0));
            let first = start.to_bits() & !host;
            is_first(text, first == start.to_bits(), &Ipv6Addr::from_bits(first), length)?;
            Ok(Span::V6(first, first | host))
        }
    }
}

fn address(text: &str) -> Result<IpAddr, Wrong> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return wrong(
            format!("`{text}` is no address"),
            "ports stand behind their protocol, or in a set of their own",
        );
    }
    let help = "addresses look like `192.0.2.1` and `2001:db8::1`, prefixes like `192.0.2.0/24`";
    text.parse().or_else(|_| wrong(format!("`{text}` is no address"), help))
}

/// How many of `bits` are not the prefix's.
fn host_bits(text: &str, length: Option<&str>, bits: u32) -> Result<Option<u32>, Wrong> {
    let Some(length) = length else { return Ok(None) };
    match number::<u32>(length).and_then(|length| bits.checked_sub(length)) {
        Some(host) => Ok(Some(host)),
        None => wrong(
            format!("`{text}` has a length that there is not"),
            format!("the length is a number from 0 to {bits}"),
        ),
    }
}

fn is_first(text: &str, is: bool, first: &dyn core::fmt::Display, length: Option<&str>) -> Result<(), Wrong> {
    match length {
        Some(length) if !is => wrong(
            format!("`{text}` has bits beyond its length"),
            format!("the prefix is `{first}/{length}`, the address alone has no length"),
        ),
        _ => Ok(()),
    }
}

/// Digits only: no sign, as `FromStr` takes one.
fn number<T: FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// `80`, `8000-8080`.
pub(crate) fn ports(text: &str) -> Result<(u16, u16), Wrong> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        (Some(first), Some(last)) => {
            let (first, last): (u16, u16) = (first, last);
            wrong(
                format!("`{text}` ends before it begins"),
                format!("the smaller one stands first: `{last}-{first}`"),
            )
        }
        _ => wrong(
            format!("`{text}` is no port"),
            "ports are numbers from 0 to 65535, or ranges such as `8000-8080`",
        ),
    }
}

/// Types of ICMP for IPv4.
///
/// Spec: IANA "Internet Control Message Protocol (ICMP) Parameters".
pub(crate) const ICMP: &[(&str, u8)] = &[
    ("echo-reply", 0),
    ("destination-unreachable", 3),
    ("redirect", 5),
    ("echo-request", 8),
    ("router-advertisement", 9),
    ("router-solicitation", 10),
    ("time-exceeded", 11),
    ("parameter-problem", 12),
    ("timestamp-request", 13),
    ("timestamp-reply", 14),
];

/// Types of ICMP for IPv6.
///
/// Spec: IANA "Internet Control Message Protocol version 6 (ICMPv6) Parameters".
pub(crate) const ICMPV6: &[(&str, u8)] = &[
    ("destination-unreachable", 1),
    ("packet-too-big", 2),
    ("time-exceeded", 3),
    ("parameter-problem", 4),
    ("echo-request", 128),
    ("echo-reply", 129),
    ("router-solicitation", 133),
    ("router-advertisement", 134),
    ("neighbour-solicitation", 135),
    ("neighbour-advertisement", 136),
    ("redirect", 137),
];

/// A type's name, its number, or number and code as `3/4`: the selectors that it stands for.
pub(crate) fn icmp(text: &str, names: &[(&str, u8)]) -> Result<(u16, u16), Wrong> {
    let (kind, code) = text.split_once('/').map_or((text, None), |(kind, code)| (kind, Some(code)));
    let known = names.iter().find(|(name, _)| *name == kind).map(|&(_, number)| number);
    let code = code.map(number::<u8>);
    match (known.or_else(|| number(kind)), code) {
        (Some(kind), None) => Ok((u16::from_be_bytes([kind, 0]), u16::from_be_bytes([kind, u8::MAX]))),
        (Some(kind), Some(Some(code))) => {
            Ok((u16::from_be_bytes([kind, code]), u16::from_be_bytes([kind, code])))
        }
        _ => {
            let meant = nearest(kind, names.iter().map(|(name, _)| *name));
            let help = meant.map(|name| format!("did you mean `{name}`?"));
            let help = help.unwrap_or(
                "types are names such as `echo-request`, numbers, or type and code as `3/4`".into(),
            );
            wrong(format!("`{text}` is no type of ICMP"), help)
        }
    }
}

/// `47`; the protocols that have a word are called by it.
pub(crate) fn protocol(text: &str) -> Result<u8, Wrong> {
    match number(text) {
        Some(1) => wrong("protocol 1 has a word", "write `icmp`"),
        Some(6) => wrong("protocol 6 has a word", "write `tcp`"),
        Some(17) => wrong("protocol 17 has a word", "write `udp`"),
        Some(58) => wrong("protocol 58 has a word", "write `icmpv6`"),
        Some(number) => Ok(number),
        None => wrong(
            format!("`{text}` is no protocol"),
            "protocols are numbers from 0 to 255: ESP is 50, GRE is 47",
        ),
    }
}

/// `200`, `20k`, `1m`: how many flows, at least one.
pub(crate) fn count(text: &str) -> Result<u32, Wrong> {
    let (digits, times) = match text.strip_suffix('k') {
        Some(digits) => (digits, 1_000),
        None => text.strip_suffix('m').map_or((text, 1), |digits| (digits, 1_000_000)),
    };
    let count = number::<u32>(digits).and_then(|count| count.checked_mul(times)).filter(|&count| count > 0);
    let help = "a count is a number from 1 to 4294967295, such as `200` or `20k`";
    count.ok_or(()).or_else(|()| wrong(format!("`{text}` is no count of flows"), help))
}

/// `20k/s`, `5/min`.
pub(crate) fn rate(text: &str) -> Result<(u32, Per), Wrong> {
    let help = "a rate is a count for each `s`, `min` or `h`, such as `20k/s`";
    let Some((flows, time)) = text.split_once('/') else {
        return wrong(format!("`{text}` is no rate"), help);
    };
    let per = match time {
        "s" => Per::Second,
        "min" => Per::Minute,
        "h" => Per::Hour,
        _ => return wrong(format!("`{text}` is no rate"), help),
    };
    Ok((count(flows)?, per))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_have_both_ends() {
        assert_eq!(addresses("10.0.0.0/8"), Ok(Span::V4(0x0a00_0000, 0x0aff_ffff)));
        assert_eq!(addresses("0.0.0.0/0"), Ok(Span::V4(0, u32::MAX)));
        assert_eq!(addresses("::/0"), Ok(Span::V6(0, u128::MAX)));
        assert_eq!(addresses("10.0.0.1/32"), Ok(Span::V4(0x0a00_0001, 0x0a00_0001)));
        assert_eq!(addresses("fe80::1"), Ok(Span::V6(0xfe80 << 112 | 1, 0xfe80 << 112 | 1)));
        assert_eq!(addresses("::1-::9"), Ok(Span::V6(1, 9)));
    }

    #[test]
    fn numbers_have_no_sign() {
        assert!(ports("+80").is_err() && ports("").is_err() && ports("80-").is_err());
        assert!(addresses("10.0.0.0/+8").is_err() && addresses("10.0.0.0/").is_err());
        assert!(count("+1").is_err() && count("").is_err() && count("k").is_err());
    }

    #[test]
    fn counts_have_thousands() {
        assert_eq!(rate("20k/s"), Ok((20_000, Per::Second)));
        assert_eq!(rate("1m/h"), Ok((1_000_000, Per::Hour)));
        assert!(count("5000m").is_err() && count("0").is_err());
    }

    #[test]
    fn a_type_of_icmp_has_all_its_codes() {
        assert_eq!(icmp("echo-request", ICMP), Ok((0x0800, 0x08ff)));
        assert_eq!(icmp("3/4", ICMP), Ok((0x0304, 0x0304)));
        assert!(icmp("256", ICMP).is_err() && icmp("3/", ICMP).is_err() && icmp("3/256", ICMP).is_err());
    }
}
