//! Services: `[balancer]`, `[[service]]`, `[[service.server]]`.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;

use paravane_appliance::balance::{self, Protocol};
use paravane_appliance::check::{CheckError, Http, Passive, Probe};
use paravane_appliance::flow::Timeouts;
use paravane_appliance::limit::Rate;
use paravane_appliance::nat::Mode;
use paravane_appliance::pool;
use paravane_appliance::splice::Offer;

use super::read::{HERE, Refused, interface, parse, put, unknown};
use super::values::{
    algorithm, algorithm_name, boolean, limit_text, listener, mode, mode_name, name, number, probe,
    probe_name, protocol, rate, rate_text, some_time, sources, statuses, table_key, time, time_text,
};
use super::{Config, Origin, Setting, Source};
use crate::app::config::file::Entry;

/// How many flows there are, where nobody says otherwise.
const FLOWS: u32 = 65_536;
/// The most that may be said.
const MOST_FLOWS: u32 = 1 << 24;
/// What is down because clients could not connect, and is not asked, is tried again after that.
const HOLD: Duration = Duration::from_secs(30);

/// So many servers a service has at most, those that come later among them.
pub const MAX_SERVERS: u16 = 64;

const OF_BALANCER: &str = "flows, sources, key, source-connections, source-rate";
const OF_SERVICE: &str = "name, listen, interface, protocol, mode, keep-source, proxy-protocol, timestamps, sack, window-scale, \
                          algorithm, connections, rate, idle-timeout, \
                          pick-up, slow-start, check, path, host, expect, port, interval, jitter, timeout, fall, rise, \
                          failures, [[service.server]]";
const OF_SERVER: &str = "name, address, weight, connections, rate";

/// What all services share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// So many flows at most.
    pub flows: Setting<u32>,
    /// Addresses of ours that stand for those of clients.
    pub sources: Setting<Vec<IpAddr>>,
    /// The key of tables that are the same on each balancer; at random if there is none.
    pub key: Setting<Option<[u64; 2]>>,
    /// So many connections a source has at most.
    pub source_connections: Setting<u32>,
    /// So many a source may begin in a second.
    pub source_rate: Setting<Option<u32>>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            flows: Setting::default_of(FLOWS),
            sources: Setting::default(),
            key: Setting::default(),
            source_connections: Setting::default_of(u32::MAX),
            source_rate: Setting::default(),
        }
    }
}

/// A service, as it was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Where it begins.
    pub origin: Origin,
    /// What it is, once all is read.
    pub service: balance::Service,
    /// The interface that has its address, if that is said.
    pub interface: Option<Setting<String>>,
    /// Its servers.
    pub servers: Vec<Server>,
    http: HttpCheck,
    /// Where each key was said.
    said: Vec<(String, Origin)>,
}

/// What is asked by HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
struct HttpCheck {
    path: String,
    host: Option<String>,
    expect: (u16, u16),
}

/// A server, as it was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where it begins.
    pub origin: Origin,
    /// What it is.
    pub server: pool::Server,
    said: Vec<(String, Origin)>,
}

/// What only a spliced service has.
pub(super) const OF_SPLICE: [&str; 5] =
    ["keep-source", "proxy-protocol", "timestamps", "sack", "window-scale"];

/// Where nobody listens.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

impl Service {
    fn new(origin: Origin) -> Self {
        Self {
            origin,
            service: balance::Service::new("", Protocol::Tcp, NOWHERE),
            interface: None,
            servers: Vec::new(),
            http: HttpCheck { path: "/".into(), host: None, expect: (200, 399) },
            said: Vec::new(),
        }
    }

    /// Where `key` was said; where the service begins, if nowhere.
    pub(super) fn origin_of(&self, key: &str) -> Origin {
        self.said.iter().find(|(said, _)| said == key).map_or(self.origin, |(_, origin)| *origin)
    }

    pub(super) fn says(&self, key: &str) -> bool {
        self.said.iter().any(|(said, _)| said == key)
    }

    fn take(&mut self, entry: &Entry, key: &str, origin: Origin) -> Result<(), Refused> {
        first(&mut self.said, entry, key, origin)?;
        let (value, service) = (&entry.value, &mut self.service);
        let (flows, checks) = (&mut service.flows, &mut service.checks);
        let offer = &mut service.splice.service.offer;
        match key {
            "name" => service.name = parse(value, name)?,
            "listen" => service.listen = parse(value, listener)?,
            "interface" => self.interface = Some(Setting { value: parse(value, interface)?, origin }),
            "protocol" => service.protocol = parse(value, protocol)?,
            "mode" => service.mode = parse(value, mode)?,
            "keep-source" => service.splice.keeps_source = boolean(value)?,
            "proxy-protocol" => service.splice.service.proxy = boolean(value)?,
            "timestamps" => offer.timestamps = boolean(value)?,
            "sack" => offer.sack = boolean(value)?,
            "window-scale" => offer.scale = number(value, 0, 14)?,
            "algorithm" => service.pool.algorithm = parse(value, algorithm)?,
            "connections" => flows.flows = number(value, 1, MOST_FLOWS)?,
            "rate" => flows.rate = rate(number(value, 1, 1_000_000)?),
            "idle-timeout" => {
                let seconds = u32::try_from(parse(value, time)?.as_secs()).unwrap_or(u32::MAX).max(1);
                (flows.timeouts.established, flows.timeouts.stream) = (seconds, seconds);
            }
            "pick-up" => flows.picks_up = boolean(value)?,
            "slow-start" => service.pool.slow_start = parse(value, time)?,
            "check" => checks.probe = parse(value, probe)?,
            "path" => self.http.path = parse(value, |text| Ok(text.into()))?,
            "host" => self.http.host = Some(parse(value, |text| Ok(text.into()))?),
            "expect" => self.http.expect = parse(value, statuses)?,
            "port" => checks.port = Some(number(value, 1, u16::MAX.into())?),
            "interval" => checks.interval = parse(value, some_time)?,
            "jitter" => checks.jitter_percent = number(value, 0, 100)?,
            "timeout" => checks.timeout = parse(value, some_time)?,
            "fall" => checks.fall = number(value, 1, 255)?,
            "rise" => checks.rise = number(value, 1, 255)?,
            "failures" => {
                let failures = number(value, 1, u16::MAX.into())?;
                checks.passive = Some(Passive { failures, window: HOLD, hold: HOLD });
            }
            key => return unknown(entry, key, " in [[service]]", OF_SERVICE),
        }
        Ok(())
    }

    /// Puts together what was said in parts. What is wrong with that, and where.
    pub(super) fn finish(&mut self) -> Result<(), (Origin, String)> {
        let is_udp = self.service.protocol == Protocol::Udp;
        let checks = &mut self.service.checks;
        if is_udp && !self.said.iter().any(|(said, _)| said == "check") {
            checks.probe = None;
        }
        let Some(Probe::Http(_)) = &checks.probe else {
            let of_http = ["path", "host", "expect"].into_iter().find(|key| self.says(key));
            return of_http.map_or(Ok(()), |key| {
                Err((self.origin_of(key), format!("'{key}' goes with check = \"http\"")))
            });
        };
        let listen = self.service.listen.to_string();
        let HttpCheck { path, host, expect: (first, last) } = &self.http;
        let http = Http::get(host.as_deref().unwrap_or(&listen), path);
        let http = http.and_then(|http| http.expecting(*first..=*last)).map_err(|error| {
            let key = match error {
                CheckError::Host => "host",
                CheckError::Range { .. } => "expect",
                _ => "path",
            };
            (self.origin_of(key), error.to_string())
        })?;
        // At another port, something else may listen.
        let is_told = self.service.is_spliced() && self.service.splice.service.proxy;
        let is_told = is_told && self.service.checks.port.is_none();
        let http = if is_told { http.behind_proxy_header() } else { http };
        self.service.checks.probe = Some(Probe::Http(http));
        Ok(())
    }

    /// Each value of it, as people write it, and where it is from.
    pub(super) fn effective(&self, all: &mut Vec<(String, String, Origin)>) {
        let balance::Service { name, protocol, listen, mode, splice, flows, pool, checks, .. } =
            &self.service;
        let mut put = |key: &str, value: String| {
            let origin = if self.says(key) { self.origin_of(key) } else { Origin::Default };
            all.push((format!("service.{name}.{key}"), value, origin));
        };
        put("listen", listen.to_string());
        put("protocol", protocol.name().into());
        put("mode", mode_name(*mode).into());
        if *mode == Mode::Splice {
            put("keep-source", splice.keeps_source.to_string());
            put("proxy-protocol", splice.service.proxy.to_string());
            let Offer { timestamps, sack, scale, .. } = &splice.service.offer;
            put("timestamps", timestamps.to_string());
            put("sack", sack.to_string());
            put("window-scale", scale.to_string());
        }
        put("algorithm", algorithm_name(&pool.algorithm).into());
        put("connections", limit_text(flows.flows));
        put("rate", rate_text((flows.rate != Rate::UNLIMITED).then_some(flows.rate)));
        let Timeouts { established, stream, .. } = flows.timeouts;
        let idle = if *protocol == Protocol::Tcp { established } else { stream };
        put("idle-timeout", time_text(Duration::from_secs(idle.into())));
        put("pick-up", flows.picks_up.to_string());
        put("slow-start", time_text(pool.slow_start));
        put("check", probe_name(checks.probe.as_ref()).into());
        if let Some(Probe::Http(_)) = &checks.probe {
            let HttpCheck { path, host, expect: (first, last) } = &self.http;
            put("path", path.clone());
            put("host", host.clone().unwrap_or_else(|| listen.to_string()));
            put("expect", format!("{first}-{last}"));
        }
        if checks.probe.is_some() {
            put("port", checks.port.map_or_else(|| "the server's".into(), |port| port.to_string()));
            put("interval", time_text(checks.interval));
            put("jitter", checks.jitter_percent.to_string());
            put("timeout", time_text(checks.timeout));
            put("fall", checks.fall.to_string());
            put("rise", checks.rise.to_string());
        }
        put("failures", checks.passive.map_or_else(|| "none".into(), |passive| passive.failures.to_string()));
        for Server { origin, server, .. } in &self.servers {
            let pool::Server { name: server_name, address, weight, max_connections, rate } = server;
            let limits = format!("connections {}, rate {}", limit_text(*max_connections), rate_text(*rate));
            let text = format!("{address} weight {weight}, {limits}");
            all.push((format!("service.{name}.server.{server_name}"), text, *origin));
        }
    }
}

impl Server {
    fn take(&mut self, entry: &Entry, key: &str, origin: Origin) -> Result<(), Refused> {
        first(&mut self.said, entry, key, origin)?;
        let (value, server) = (&entry.value, &mut self.server);
        match key {
            "name" => server.name = parse(value, name)?,
            "address" => server.address = parse(value, listener)?,
            "weight" => server.weight = number(value, 0, pool::MAX_WEIGHT.into())?,
            "connections" => server.max_connections = number(value, 1, MOST_FLOWS)?,
            "rate" => server.rate = Some(rate(number(value, 1, 1_000_000)?)),
            key => return unknown(entry, key, " in [[service.server]]", OF_SERVER),
        }
        Ok(())
    }

    /// The same, where `key` was said.
    pub(super) fn origin_of(&self, key: &str) -> Origin {
        self.said.iter().find(|(said, _)| said == key).map_or(self.origin, |(_, origin)| *origin)
    }

    /// A name where none is said: its address.
    pub(super) fn finish(&mut self) {
        if self.server.name.is_empty() {
            self.server.name = self.server.address.to_string();
        }
    }

    /// Whether it is said where it listens.
    pub(super) fn has_address(&self) -> bool {
        self.server.address != NOWHERE
    }
}

impl Config {
    /// The head of a service, or of a server of the last one.
    pub(super) fn open_service(&mut self, source: Source, entry: &Entry) -> Result<(), Refused> {
        let origin = Origin::Said(source, entry.key_at);
        if entry.key == "service" {
            self.services.push(Service::new(origin));
            return Ok(());
        }
        let service = self.services.last_mut();
        let service = service
            .ok_or_else(|| (entry.key_at, "a server goes with a [[service]] before it".to_string()))?;
        let server = pool::Server::new("", NOWHERE);
        service.servers.push(Server { origin, server, said: Vec::new() });
        Ok(())
    }

    pub(super) fn take_service(&mut self, source: Source, entry: &Entry, key: &str) -> Result<(), Refused> {
        let origin = Origin::Said(source, entry.at);
        let Some(service) = self.services.last_mut() else {
            return Err((entry.key_at, "write [[service]], once for each service".into()));
        };
        let taken = match (key.strip_prefix("server."), service.servers.last_mut()) {
            (Some(key), Some(server)) => server.take(entry, key, origin),
            (Some(_), None) => Err((entry.key_at, "write [[service.server]], once for each server".into())),
            (None, _) => service.take(entry, key, origin),
        };
        taken.map_err(|(at, reason)| (if at == HERE { entry.at } else { at }, reason))
    }

    pub(super) fn take_shared(&mut self, source: Source, entry: &Entry, key: &str) -> Result<(), Refused> {
        let (origin, value, shared) = (Origin::Said(source, entry.at), &entry.value, &mut self.shared);
        match key {
            "flows" => put(&mut shared.flows, number(value, 64, MOST_FLOWS), origin, entry),
            "sources" => put(&mut shared.sources, sources(value), origin, entry),
            "key" => put(&mut shared.key, parse(value, table_key).map(Some), origin, entry),
            "source-connections" => {
                put(&mut shared.source_connections, number(value, 1, MOST_FLOWS), origin, entry)
            }
            "source-rate" => {
                put(&mut shared.source_rate, number(value, 1, 1_000_000).map(Some), origin, entry)
            }
            key => unknown(entry, key, " in [balancer]", OF_BALANCER),
        }
    }

    /// Adds what services share to what is in effect.
    pub(super) fn effective_services(&self, all: &mut Vec<(String, String, Origin)>) {
        if self.services.is_empty() && !self.has_rules() {
            return;
        }
        let Shared { flows, sources, key, source_connections, source_rate } = &self.shared;
        let list: Vec<_> = sources.value.iter().map(ToString::to_string).collect();
        // Who knows the key chooses servers.
        let key_text = if key.value.is_some() { "set" } else { "random" };
        for (name, value, origin) in [
            ("flows", flows.value.to_string(), flows.origin),
            ("sources", list.join(", "), sources.origin),
            ("key", key_text.into(), key.origin),
            ("source-connections", limit_text(source_connections.value), source_connections.origin),
            ("source-rate", rate_text(source_rate.value.map(rate)), source_rate.origin),
        ] {
            all.push((format!("balancer.{name}"), value, origin));
        }
        self.services.iter().for_each(|service| service.effective(all));
    }
}

/// Notes that `key` is said, once.
pub(super) fn first(
    said: &mut Vec<(String, Origin)>,
    entry: &Entry,
    key: &str,
    origin: Origin,
) -> Result<(), Refused> {
    if let Some((_, first)) = said.iter().find(|(said, _)| said == key) {
        return Err((entry.key_at, format!("'{key}' is said twice; first at {first}")));
    }
    said.push((key.into(), origin));
    Ok(())
}
