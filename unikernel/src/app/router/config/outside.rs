//! Whom the machine itself talks to on `admin`'s network: a collector of its log, a server of time.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddrV4};

use super::read::{Refused, host, parse, put, unknown};
use super::{Config, Origin, Setting, Source};
use crate::app::config::file::Entry;

/// Where collectors listen.
///
/// Spec: RFC 5426, 3.3 "Source and Target Ports".
const SYSLOG_PORT: u16 = 514;
/// Where servers of time do.
const NTP_PORT: u16 = 123;
/// Spec: RFC 5424, 6 "Syslog Message Format", `HOSTNAME`.
const NAME_BYTES: usize = 255;

/// Who is told what the console says, and by which name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Syslog {
    /// Where; nobody, without one.
    pub to: Setting<Option<SocketAddrV4>>,
    /// What this machine is called there; its address on `admin`, without one.
    pub name: Setting<Option<String>>,
}

impl Config {
    pub(super) fn take_syslog(&mut self, source: Source, entry: &Entry, key: &str) -> Result<(), Refused> {
        let origin = Origin::Said(source, entry.at);
        let Syslog { to, name: by } = &mut self.syslog;
        match key {
            "to" => put(to, parse(&entry.value, |text| end(text, SYSLOG_PORT)).map(Some), origin, entry),
            "name" => put(by, parse(&entry.value, name).map(Some), origin, entry),
            key => unknown(entry, key, " in [syslog]", "to, name"),
        }
    }

    pub(super) fn take_time(&mut self, source: Source, entry: &Entry, key: &str) -> Result<(), Refused> {
        let origin = Origin::Said(source, entry.at);
        match key {
            "server" => {
                let server = parse(&entry.value, |text| end(text, NTP_PORT)).map(Some);
                put(&mut self.time_server, server, origin, entry)
            }
            key => unknown(entry, key, " in [time]", "server"),
        }
    }

    /// What of it is in effect.
    pub(super) fn effective_outside(&self, all: &mut Vec<(String, String, Origin)>) {
        let Syslog { to, name } = &self.syslog;
        let end = |end: Option<SocketAddrV4>| end.map(|end| end.to_string());
        for (key, value, origin) in [
            ("syslog.to", end(to.value), to.origin),
            ("syslog.name", name.value.clone(), name.origin),
            ("time.server", end(self.time_server.value), self.time_server.origin),
        ] {
            all.extend(value.map(|value| (key.into(), value, origin)));
        }
    }
}

/// An address, with a port or the usual one.
fn end(text: &str, usual: u16) -> Result<SocketAddrV4, String> {
    let form = || {
        alloc::format!(
            "'{text}' is no address of IPv4, which admin has; write it as 10.0.0.9 or 10.0.0.9:{usual}"
        )
    };
    let end = match text.parse::<Ipv4Addr>() {
        Ok(address) => SocketAddrV4::new(address, usual),
        Err(_) => text.parse().map_err(|_| form())?,
    };
    if end.port() == 0 {
        return Err(form());
    }
    host((*end.ip()).into(), text).map(|()| end)
}

/// What a machine is called.
fn name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > NAME_BYTES || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(alloc::format!(
            "'{text}' is no name: 1 to {NAME_BYTES} characters of ASCII, and no blanks"
        ));
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Config {
        Config::of("", line, None)
    }

    #[test]
    fn whom_it_talks_to_is_said_in_a_file_or_in_words() {
        let file = b"[syslog]\nto = \"10.0.0.9\"\nname = \"lb1\"\n[time]\nserver = \"10.0.0.8:1123\"\n";
        for config in [Config::of("", "", Some(file)), of("syslog=10.0.0.9:514,lb1 time=10.0.0.8:1123")] {
            assert_eq!(config.faults, []);
            assert_eq!(config.syslog.to.value, Some("10.0.0.9:514".parse().unwrap()));
            assert_eq!(config.syslog.name.value.as_deref(), Some("lb1"));
            assert_eq!(config.time_server.value, Some("10.0.0.8:1123".parse().unwrap()));
        }
        let config = of("time=10.0.0.8");
        assert_eq!(config.time_server.value, Some("10.0.0.8:123".parse().unwrap()));
        assert_eq!((config.syslog.to.value, config.syslog.to.origin), (None, Origin::Default));
        let effective = config.effective();
        assert!(effective.iter().any(|(key, value, _)| key == "time.server" && value == "10.0.0.8:123"));
    }

    #[test]
    fn what_is_wrong_is_one_line() {
        for (line, reason) in [
            ("syslog=lb1", "command line:8: 'lb1' is no address of IPv4"),
            ("syslog=10.0.0.9:0", "command line:8: '10.0.0.9:0' is no address"),
            ("syslog=[2001:db8::9]:514", "command line:8: '[2001:db8::9]:514' is no address of IPv4"),
            ("syslog=224.0.0.9", "command line:8: '224.0.0.9' is no host's address"),
            ("syslog=10.0.0.9,\u{fc}", "command line:17: '\u{fc}' is no name"),
            ("time=10.0.0.8 time=10.0.0.7", "command line:20: 'time.server' is said twice"),
        ] {
            let faults = of(line).faults;
            assert!(faults.len() == 1 && faults[0].to_string().starts_with(reason), "{line}: {faults:?}");
        }
        let file = b"[syslog]\nport = 1\n[[time]]\nserver = \"10.0.0.8\"\n";
        let faults: Vec<_> = Config::of("", "", Some(file)).faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            faults,
            [
                "paravane.toml:2:1: unknown key 'port' in [syslog]; there are to, name",
                "paravane.toml:3:3: write [time], once"
            ]
        );
    }
}
