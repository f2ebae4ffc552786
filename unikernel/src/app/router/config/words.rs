//! Words of the command line, as a file would have them:
//!
//! | Word | As |
//! |---|---|
//! | `irq=…`, `log=…` | the same key |
//! | `admin=dhcp`, `admin=ADDRESS/LENGTH[,GATEWAY][,mtu=N][,token=TOKEN]` | `[admin]` |
//! | `public=ADDRESS/LENGTH,…[,mtu=N]`, other NICs likewise | `[public]` |
//! | `route=PREFIX,GATEWAY[,INTERFACE]`, `route=PREFIX,INTERFACE`, `route=PREFIX,blackhole` | a `[[route]]` |
//! | `service=NAME,ADDRESS:PORT[,WORD…],SERVER:PORT[*WEIGHT],…` | a `[[service]]`; words are `udp`, a mode, an algorithm, `check=…` |
//! | `sources=ADDRESS,…` | of `[balancer]` |
//! | `syslog=ADDRESS[:PORT][,NAME]`, `time=ADDRESS[:PORT]` | `[syslog]`, `[time]` |
//! | `vrrp=INTERFACE,ID,ADDRESS…[,priority=N][,interval=TIME][,sync=NAME][,checksum=WAY][,preempt]` | a `[[vrrp]]` |
//! | `rules=FILE` | of `[firewall]` |
//! | `drain=SECONDS`, `panic=reset`, `panic=halt` | of `[stop]`; what else a panic is to be followed by is a word for Linux |
//!
//! Other words are none of a router's configuration.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::OnPanic;
use crate::app::config::file::{At, Entry, Value};
use crate::app::config::is_nic_name;

/// Whether `word` says something of a router.
#[must_use]
pub fn is_word(word: &str) -> bool {
    parts(word).is_some()
}

/// Key and value of a word that says something of a router.
fn parts(word: &str) -> Option<(&str, &str)> {
    let is_known = |key: &str| {
        matches!(
            key,
            "irq" | "log" | "route" | "service" | "sources" | "syslog" | "time" | "vrrp" | "drain" | "rules"
        ) || is_nic_name(key)
    };
    word.split_once('=')
        .filter(|(key, value)| is_known(key) || *key == "panic" && OnPanic::of(value).is_some())
}

/// What `line` says.
pub(super) fn entries(line: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut column: usize = 1;
    // All white space in a line is single characters of ASCII.
    for word in line.split(|char: char| char.is_ascii_whitespace()) {
        entries_of(column, word, &mut entries);
        column = column.saturating_add(word.len()).saturating_add(1);
    }
    entries
}

/// Adds what `word` says, which is at `column`.
fn entries_of(column: usize, word: &str, entries: &mut Vec<Entry>) {
    let Some((key, value)) = parts(word) else { return };
    // Each word is as a table of its own: of routes, the parts go together.
    let table = entries.last().map_or(1, |last| last.table.saturating_add(1));
    let start = column.saturating_add(key.len()).saturating_add(1);
    let mut put = |at: usize, key: String, value: Value| {
        let at = At { line: 1, column: at };
        entries.push(Entry { key_at: at, at, table, key, value });
    };
    if matches!(key, "irq" | "log") {
        return put(start, key.into(), Value::String(value.into()));
    }
    if key == "rules" {
        return put(start, "firewall.rules".into(), Value::String(value.into()));
    }
    if key == "panic" {
        return put(start, "stop.panic".into(), Value::String(value.into()));
    }
    if key == "drain" {
        return put(start, "stop.drain-seconds".into(), Value::Integer(value.into()));
    }
    if key == "service" {
        return service(entries, table, start, value);
    }
    if key == "vrrp" {
        return vrrp(entries, table, start, value);
    }
    let mut at = start;
    let mut addresses = Vec::new();
    for (index, part) in value.split(',').enumerate() {
        let here = At { line: 1, column: at };
        let text = Value::String(part.into());
        if let Some(mtu) = part.strip_prefix("mtu=").filter(|_| key != "route") {
            put(at.saturating_add(4), format!("{key}.mtu"), Value::Integer(mtu.into()));
        } else if let Some(token) = part.strip_prefix("token=").filter(|_| key == "admin") {
            put(at.saturating_add(6), "admin.token".into(), Value::String(token.into()));
        } else {
            match (key, index) {
                ("route", 0) => put(at, "route.to".into(), text),
                ("route", _) => put(at, format!("route.{}", of_route(part)), text),
                ("syslog", 0) => put(at, "syslog.to".into(), text),
                ("syslog", _) => put(at, "syslog.name".into(), text),
                ("time", 0) => put(at, "time.server".into(), text),
                ("admin", 0) => put(at, "admin.address".into(), text),
                ("admin", _) => put(at, "admin.gateway".into(), text),
                _ => addresses.push((here, text)),
            }
        }
        at = at.saturating_add(part.len()).saturating_add(1);
    }
    if key == "sources" {
        put(start, "balancer.sources".into(), Value::List(addresses));
    } else if !matches!(key, "route" | "admin" | "syslog" | "time") {
        put(start, format!("{key}.addresses"), Value::List(addresses));
    }
}

/// Adds a service and its servers, of which `value` begins at `start`.
fn service(entries: &mut Vec<Entry>, table: usize, start: usize, value: &str) {
    let mut put = |column: usize, key: &str, value: Value| {
        let at = At { line: 1, column };
        entries.push(Entry { key_at: at, at, table, key: key.into(), value });
    };
    let text = |text: &str| Value::String(text.into());
    let head = || Value::Head { is_one_of_several: true };
    put(start, "service", head());
    let mut at = start;
    for (index, part) in value.split(',').enumerate() {
        match (index, part) {
            (0, name) => put(at, "service.name", text(name)),
            (1, listen) => put(at, "service.listen", text(listen)),
            (_, "tcp" | "udp") => put(at, "service.protocol", text(part)),
            (_, "dnat" | "full" | "splice") => put(at, "service.mode", text(part)),
            (_, "round-robin" | "least-connections" | "maglev") => put(at, "service.algorithm", text(part)),
            _ => match part.strip_prefix("check=") {
                Some(path) if path.starts_with('/') => {
                    put(at, "service.check", text("http"));
                    put(at.saturating_add(6), "service.path", text(path));
                }
                Some(check) => put(at.saturating_add(6), "service.check", text(check)),
                None => {
                    let (address, weight) = part.split_once('*').unwrap_or((part, ""));
                    put(at, "service.server", head());
                    put(at, "service.server.address", text(address));
                    if !weight.is_empty() {
                        let at = at.saturating_add(address.len()).saturating_add(1);
                        put(at, "service.server.weight", Value::Integer(weight.into()));
                    }
                }
            },
        }
        at = at.saturating_add(part.len()).saturating_add(1);
    }
}

/// Adds a virtual router, of which `value` begins at `start`.
fn vrrp(entries: &mut Vec<Entry>, table: usize, start: usize, value: &str) {
    let mut put = |column: usize, key: &str, value: Value| {
        let at = At { line: 1, column };
        let key = if key.is_empty() { "vrrp".into() } else { format!("vrrp.{key}") };
        entries.push(Entry { key_at: at, at, table, key, value });
    };
    put(start, "", Value::Head { is_one_of_several: true });
    let mut at = start;
    let mut addresses = Vec::new();
    for (index, part) in value.split(',').enumerate() {
        let (key, said) = part.split_once('=').unwrap_or((part, ""));
        let behind = at.saturating_add(key.len()).saturating_add(1);
        match (index, key) {
            (0, _) => put(at, "interface", Value::String(part.into())),
            (1, _) => put(at, "id", Value::Integer(part.into())),
            (_, "priority") => put(behind, key, Value::Integer(said.into())),
            (_, "interval" | "sync" | "checksum") => put(behind, key, Value::String(said.into())),
            (_, "preempt") => put(at, key, Value::Boolean(true)),
            _ => addresses.push((At { line: 1, column: at }, Value::String(part.into()))),
        }
        at = at.saturating_add(part.len()).saturating_add(1);
    }
    put(start, "addresses", Value::List(addresses));
}

/// What a part of a route is, behind the prefix.
fn of_route(part: &str) -> &'static str {
    match part {
        "blackhole" | "unreachable" => "kind",
        name if is_nic_name(name) => "interface",
        _ => "via",
    }
}
