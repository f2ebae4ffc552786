//! Values of services and servers, as people write them: read, and shown.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use paravane_appliance::balance::Protocol;
use paravane_appliance::check::{Http, Probe};
use paravane_appliance::limit::Rate;
use paravane_appliance::nat::Mode;
use paravane_appliance::pool::{self, Algorithm, PLACES};

use super::read::{HERE, Refused, host, kind_of, parse};
use crate::app::config::file::Value;

/// So many in a second, and as many at once.
#[must_use]
pub const fn rate(per_second: u32) -> Rate {
    Rate { per_second, burst: per_second }
}

/// A mode, as the file has it.
#[must_use]
pub const fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Dnat => "dnat",
        Mode::Full => "full",
        Mode::Splice => "splice",
    }
}

/// An algorithm, as the file has it.
#[must_use]
pub const fn algorithm_name(algorithm: &Algorithm) -> &'static str {
    match algorithm {
        Algorithm::RoundRobin => "round-robin",
        Algorithm::LeastConnections => "least-connections",
        Algorithm::Maglev { .. } => "maglev",
    }
}

/// A check, as the file has it.
pub(super) const fn probe_name(probe: Option<&Probe>) -> &'static str {
    match probe {
        None => "none",
        Some(Probe::Tcp) => "tcp",
        Some(Probe::Http(_)) => "http",
    }
}

pub(super) fn limit_text(limit: u32) -> String {
    if limit == u32::MAX { "no limit".into() } else { limit.to_string() }
}

pub(super) fn rate_text(rate: Option<Rate>) -> String {
    rate.map_or_else(|| "no limit".into(), |rate| format!("{} a second", rate.per_second))
}

pub(super) fn time_text(time: Duration) -> String {
    match time.as_millis() {
        millis if !millis.is_multiple_of(1000) => format!("{millis}ms"),
        millis => format!("{}s", millis / 1000),
    }
}

/// A number from `least` to `most`.
pub(super) fn number<T: TryFrom<u32>>(value: &Value, least: u32, most: u32) -> Result<T, Refused> {
    let wanted = format!("a number from {least} to {most} is wanted");
    let Value::Integer(text) = value else { return Err((HERE, format!("{}; {wanted}", kind_of(value)))) };
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    let number = number.and_then(|number: u32| T::try_from(number).ok());
    number.ok_or_else(|| (HERE, format!("'{text}'; {wanted}")))
}

pub(super) fn boolean(value: &Value) -> Result<bool, Refused> {
    match value {
        Value::Boolean(value) => Ok(*value),
        _ => Err((HERE, format!("{} where true or false is wanted", kind_of(value)))),
    }
}

/// A name, of a service or of a server: it stands in addresses of pages, and in metrics.
pub fn name(text: &str) -> Result<String, String> {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:[]".contains(&byte);
    if text.is_empty() || text.len() > pool::MAX_NAME_BYTES || !text.bytes().all(is_good) {
        return Err(format!(
            "'{text}' is no name; one has 1 to {} letters, digits and -_.:[]",
            pool::MAX_NAME_BYTES
        ));
    }
    Ok(text.into())
}

/// Where somebody listens.
pub fn listener(text: &str) -> Result<SocketAddr, String> {
    let form =
        || format!("'{text}' is no address with a port; write it as 192.0.2.80:80 or [2001:db8::80]:80");
    let address: SocketAddr = text.parse().map_err(|_| form())?;
    if address.port() == 0 {
        return Err(form());
    }
    host(address.ip(), text).map(|()| address)
}

pub(super) fn protocol(text: &str) -> Result<Protocol, String> {
    match text {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        _ => Err(format!("'{text}' is no protocol; there are tcp, udp")),
    }
}

pub(super) fn mode(text: &str) -> Result<Mode, String> {
    match text {
        "dnat" => Ok(Mode::Dnat),
        "full" => Ok(Mode::Full),
        "splice" => Ok(Mode::Splice),
        _ => Err(format!("'{text}' is no mode; there are dnat, full, splice")),
    }
}

pub(super) fn algorithm(text: &str) -> Result<Algorithm, String> {
    match text {
        "round-robin" => Ok(Algorithm::RoundRobin),
        "least-connections" => Ok(Algorithm::LeastConnections),
        // The key comes when all is read.
        "maglev" => Ok(Algorithm::Maglev { places: PLACES, key: [0; 2] }),
        _ => Err(format!("'{text}' is no algorithm; there are round-robin, least-connections, maglev")),
    }
}

pub(super) fn probe(text: &str) -> Result<Option<Probe>, String> {
    match text {
        "none" => Ok(None),
        "tcp" => Ok(Some(Probe::Tcp)),
        // Which page is known when all is read.
        "http" => Http::get("-", "/").map(|http| Some(Probe::Http(http))).map_err(|error| error.to_string()),
        _ => Err(format!("'{text}' is no check; there are none, tcp, http")),
    }
}

/// One status, or a range of them.
pub(super) fn statuses(text: &str) -> Result<(u16, u16), String> {
    let form = || format!("'{text}' is no status; write it as 200 or 200-399");
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Ok((first.parse().map_err(|_| form())?, last.parse().map_err(|_| form())?))
}

/// A length of time.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let form = || format!("'{text}' is no time; write it as 500ms, 2s or 5m");
    let digits = text.find(|char: char| !char.is_ascii_digit()).ok_or_else(form)?;
    let (count, unit) = text.split_at_checked(digits).ok_or_else(form)?;
    let count: u32 = count.parse().map_err(|_| form())?;
    let time = match unit {
        "ms" => Duration::from_millis(count.into()),
        "s" => Duration::from_secs(count.into()),
        "m" => Duration::from_secs(u64::from(count).saturating_mul(60)),
        _ => return Err(form()),
    };
    if time > Duration::from_secs(1 << 20) { Err(format!("'{text}': 12 days at most")) } else { Ok(time) }
}

/// One that is more than none.
pub(super) fn some_time(text: &str) -> Result<Duration, String> {
    time(text)?.is_zero().then(|| format!("'{text}': it has to be more")).map_or_else(|| time(text), Err)
}

/// 128 bits, in hexadecimal digits.
pub(super) fn table_key(text: &str) -> Result<[u64; 2], String> {
    let form = || "a key is of 32 hexadecimal digits".to_string();
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(form());
    }
    let (high, low) = text.split_at_checked(16).ok_or_else(form)?;
    let part = |text| u64::from_str_radix(text, 16).map_err(|_| form());
    Ok([part(high)?, part(low)?])
}

pub(super) fn sources(value: &Value) -> Result<Vec<IpAddr>, Refused> {
    let Value::List(items) = value else {
        return Err((HERE, format!("{} where a list is wanted, as [\"10.0.0.1\"]", kind_of(value))));
    };
    let address = |text: &str| {
        let address = text.parse().map_err(|_| format!("'{text}' is no address; write it as 10.0.0.1"))?;
        host(address, text).map(|()| address)
    };
    items.iter().map(|(at, value)| parse(value, address).map_err(|(_, reason)| (*at, reason))).collect()
}
