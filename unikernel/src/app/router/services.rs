//! What status and metrics say of services, with HAProxy's words for what HAProxy counts as well.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write;

use paravane_appliance::balance::{Balancer, Serving, Traffic};
use paravane_appliance::check::Last;
use paravane_appliance::flow::{End, Refused};
use paravane_appliance::path::Path;
use paravane_appliance::pool::{self, State, View};
use paravane_hal::time::Instant;
use serde::Serialize;

use super::Router;
use super::config::values::{algorithm_name, mode_name};
use super::metrics::{Family, family};

/// Flows, those of all services.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct FlowStatus {
    pub(super) current: u32,
    pub(super) limit: u32,
    /// Those of them of which one side alone has shown that it is there.
    unproven: u32,
    pub(super) opened: u64,
    pub(super) expired: u64,
    pub(super) evicted: u64,
    pub(super) refused: u64,
}

/// A service, and what passed.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ServiceStatus {
    pub(super) name: String,
    listen: String,
    protocol: &'static str,
    mode: &'static str,
    algorithm: &'static str,
    /// `UP` while any server takes connections.
    pub(super) status: &'static str,
    pub(super) current_sessions: u32,
    pub(super) sessions_total: u64,
    pub(super) bytes_in_total: u64,
    pub(super) bytes_out_total: u64,
    packets_in_total: u64,
    packets_out_total: u64,
    /// Servers that take connections.
    pub(super) active_servers: usize,
    /// Connections that went to none.
    pub(super) refused_total: u64,
    /// How many more clients each server may have, where their addresses are replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    ports_free: Option<u32>,
    pub(super) servers: Vec<ServerStatus>,
}

/// A server, and what passed.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ServerStatus {
    pub(super) name: String,
    address: String,
    /// As HAProxy has it: `UP`, `DOWN`, `DRAIN`, `MAINT`.
    pub(super) status: &'static str,
    pub(super) weight: u16,
    /// How much of its share it takes by now.
    ramp_percent: u8,
    pub(super) current_sessions: u32,
    pub(super) sessions_total: u64,
    pub(super) bytes_in_total: u64,
    pub(super) bytes_out_total: u64,
    /// Of the last check: `L4OK`, `L7OK`, or why it failed.
    pub(super) check_status: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    check_error: String,
    pub(super) check_duration_ms: Option<u64>,
    pub(super) check_failures_total: u64,
}

/// All services.
pub(super) fn services(router: &Router, now: Instant) -> Vec<ServiceStatus> {
    let Some(balancer) = router.path.as_ref().and_then(Path::balancer) else { return Vec::new() };
    let numbered = (0..).zip(balancer.services());
    numbered.map(|(number, serving)| service(balancer, number, serving, now)).collect()
}

/// All flows.
pub(super) fn flows(router: &Router) -> Option<FlowStatus> {
    let flows = router.path.as_ref()?.balancer()?.flows();
    let counters = flows.counters();
    Some(FlowStatus {
        current: flows.len(),
        limit: flows.limits().flows,
        unproven: flows.unproven(),
        opened: counters.opened(),
        expired: counters.ended(End::Expired),
        evicted: counters.ended(End::Evicted),
        refused: Refused::ALL.iter().map(|why| counters.refused(*why)).sum(),
    })
}

fn service(balancer: &Balancer, number: u16, serving: &Serving, now: Instant) -> ServiceStatus {
    let (service, pool) = (serving.service(), serving.pool());
    let Traffic { in_bytes, out_bytes, in_packets, out_packets } = serving.traffic();
    let servers: Vec<_> = pool.servers(now).map(|view| server(serving, &view)).collect();
    ServiceStatus {
        name: service.name.clone(),
        listen: service.listen.to_string(),
        protocol: service.protocol.name(),
        mode: mode_name(service.mode),
        algorithm: algorithm_name(&service.pool.algorithm),
        status: if pool.is_ready() { "UP" } else { "DOWN" },
        current_sessions: pool.connections(),
        sessions_total: pool.total(),
        bytes_in_total: in_bytes,
        bytes_out_total: out_bytes,
        packets_in_total: in_packets,
        packets_out_total: out_packets,
        active_servers: servers.iter().filter(|server| server.status == "UP").count(),
        refused_total: pool::Refused::ALL.iter().map(|why| pool.refusals(*why)).sum(),
        ports_free: balancer.ports_free(number),
        servers,
    }
}

fn server(serving: &Serving, view: &View<'_>) -> ServerStatus {
    let Traffic { in_bytes, out_bytes, .. } = serving.traffic_of(view.id);
    let last = serving.checks().last(view.id);
    let is_http = serving.service().checks.is_http();
    let (check_status, check_error) = match last {
        None => ("INI", String::new()),
        Some(Last { result: Ok(()), .. }) => (if is_http { "L7OK" } else { "L4OK" }, String::new()),
        Some(Last { result: Err(failure), .. }) => (failure.code(), failure.to_string()),
    };
    ServerStatus {
        name: view.server.name.clone(),
        address: view.server.address.to_string(),
        status: match view.state {
            State::Up => "UP",
            State::Down => "DOWN",
            State::Draining { .. } | State::Leaving { .. } => "DRAIN",
            State::Maintenance => "MAINT",
        },
        weight: view.server.weight,
        ramp_percent: view.ramp_percent,
        current_sessions: view.connections,
        sessions_total: view.total,
        bytes_in_total: in_bytes,
        bytes_out_total: out_bytes,
        check_status,
        check_error,
        check_duration_ms: last.map(|last| u64::try_from(last.took.as_millis()).unwrap_or(u64::MAX)),
        check_failures_total: serving.checks().failures(view.id),
    }
}

/// A family with one value for each service.
type OfService = (Family, fn(&ServiceStatus) -> u64);

/// A family with one value for each server.
type OfServer = (Family, fn(&ServerStatus) -> u64);

const OF_SERVICES: [OfService; 7] = [
    (("paravane_service_up", "gauge", "Whether any server takes connections."), |one| {
        (one.status == "UP").into()
    }),
    (("paravane_service_current_sessions", "gauge", "Connections that there are."), |one| {
        one.current_sessions.into()
    }),
    (("paravane_service_sessions_total", "counter", "Connections that there were."), |one| {
        one.sessions_total
    }),
    (("paravane_service_bytes_in_total", "counter", "Bytes of IP packets from clients."), |one| {
        one.bytes_in_total
    }),
    (("paravane_service_bytes_out_total", "counter", "Bytes of IP packets to clients."), |one| {
        one.bytes_out_total
    }),
    (("paravane_service_active_servers", "gauge", "Servers that take connections."), |one| {
        one.active_servers as u64
    }),
    (("paravane_service_refused_total", "counter", "Connections that went to no server."), |one| {
        one.refused_total
    }),
];

const OF_SERVERS: [OfServer; 7] = [
    (("paravane_server_up", "gauge", "Whether it takes connections."), |one| (one.status == "UP").into()),
    (("paravane_server_weight", "gauge", "Its share, against that of the others."), |one| one.weight.into()),
    (("paravane_server_current_sessions", "gauge", "Connections that it has."), |one| {
        one.current_sessions.into()
    }),
    (("paravane_server_sessions_total", "counter", "Connections that it had."), |one| one.sessions_total),
    (("paravane_server_bytes_in_total", "counter", "Bytes of IP packets to it."), |one| one.bytes_in_total),
    (("paravane_server_bytes_out_total", "counter", "Bytes of IP packets from it."), |one| {
        one.bytes_out_total
    }),
    (("paravane_server_check_failures_total", "counter", "Checks that failed."), |one| {
        one.check_failures_total
    }),
];

/// The same for Prometheus.
pub(super) fn write_metrics(router: &Router, now: Instant, text: &mut String) -> core::fmt::Result {
    let Some(flows) = flows(router) else { return Ok(()) };
    let of_flows: [(Family, u64); 5] = [
        (("paravane_flows", "gauge", "Flows that there are."), flows.current.into()),
        (("paravane_flows_limit", "gauge", "Flows that there may be."), flows.limit.into()),
        (("paravane_flows_opened_total", "counter", "Flows that began."), flows.opened),
        (("paravane_flows_expired_total", "counter", "Flows of which nothing was heard."), flows.expired),
        (("paravane_flows_refused_total", "counter", "Flows that did not begin."), flows.refused),
    ];
    for (one, value) in of_flows {
        family(text, one)?;
        writeln!(text, "{} {value}", one.0)?;
    }
    let services = services(router, now);
    for (of_service, value) in OF_SERVICES {
        family(text, of_service)?;
        for one in &services {
            writeln!(text, "{}{{service=\"{}\"}} {}", of_service.0, one.name, value(one))?;
        }
    }
    let servers = || services.iter().flat_map(|one| one.servers.iter().map(move |server| (one, server)));
    for (of_server, value) in OF_SERVERS {
        family(text, of_server)?;
        for (one, server) in servers() {
            let (name, value) = (&server.name, value(server));
            writeln!(text, "{}{{service=\"{}\",server=\"{name}\"}} {value}", of_server.0, one.name)?;
        }
    }
    let took = ("paravane_server_check_duration_seconds", "gauge", "How long the last check took.");
    family(text, took)?;
    for (one, server) in servers() {
        let Some(millis) = server.check_duration_ms else { continue };
        let (name, seconds, rest) = (&server.name, millis / 1000, millis % 1000);
        writeln!(text, "{}{{service=\"{}\",server=\"{name}\"}} {seconds}.{rest:03}", took.0, one.name)?;
    }
    Ok(())
}
