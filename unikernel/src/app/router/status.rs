//! What the JSON of a router says, which its page shows.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use paravane_appliance::drops::Reason;
use paravane_appliance::interface::InterfaceId;
use paravane_appliance::path::{Path, PortCounters};
use serde::Serialize;

use super::Router;
use super::firewall::{self, FirewallStatus};
use super::outside::{SyslogStatus, TimeStatus};
use super::services::{self, FlowStatus, ServiceStatus};
use super::shared::{self, VrrpStatus};
use crate::app::status::Report;

/// All that is so at the moment.
#[derive(Debug, Serialize)]
struct Status<'a> {
    /// Packets are passed on, by all interfaces that there are to be.
    ready: bool,
    /// Why not, in lines.
    troubles: Vec<String>,
    /// What is known of each NIC.
    #[serde(flatten)]
    report: &'a Report,
    /// What passed each interface.
    interfaces: Vec<InterfaceStatus>,
    neighbours: NeighbourStatus,
    /// How many routes, those of the interfaces' networks among them.
    routes: u32,
    /// What is shared with other machines.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    vrrp: Vec<VrrpStatus>,
    /// What is known of the time, where a server is asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<TimeStatus>,
    /// What became of messages, where a collector is sent them.
    #[serde(skip_serializing_if = "Option::is_none")]
    syslog: Option<SyslogStatus>,
    /// Flows, where there are services,
    #[serde(skip_serializing_if = "Option::is_none")]
    flows: Option<FlowStatus>,
    /// and these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    services: Vec<ServiceStatus>,
    /// The rules, where there is a firewall.
    #[serde(skip_serializing_if = "Option::is_none")]
    firewall: Option<FirewallStatus<'a>>,
    /// What is in effect, and who said so.
    configuration: Vec<Value>,
}

/// What passed an interface, and what did not.
#[derive(Clone, Debug, Serialize)]
pub(super) struct InterfaceStatus {
    pub(super) name: String,
    pub(super) is_up: bool,
    pub(super) addresses: Vec<String>,
    pub(super) mtu: u16,
    /// Frames that came in.
    pub(super) received: u64,
    /// Packets of them that were passed on.
    pub(super) forwarded: u64,
    /// Echo requests of them that were answered.
    pub(super) echoes: u64,
    /// ICMP errors that were sent back.
    pub(super) errors: u64,
    /// Frames of them that were dropped, for all reasons together
    pub(super) dropped: u64,
    /// and for each.
    pub(super) drops: BTreeMap<&'static str, u64>,
}

/// What is known of neighbours.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct NeighbourStatus {
    pub(super) known: usize,
    /// Frames that wait for them.
    pub(super) waiting: usize,
    /// Questions and probes that were sent.
    pub(super) asked: u64,
    /// Answers to them.
    pub(super) answered: u64,
    /// Those that gave way to others.
    pub(super) evicted: u64,
    /// Changes and conflicts of addresses.
    pub(super) events: u64,
}

#[derive(Debug, Serialize)]
struct Value {
    key: String,
    value: String,
    origin: String,
}

/// What passed each interface.
pub(super) fn interfaces(router: &Router) -> Vec<InterfaceStatus> {
    let one = |((named, number), path): ((&super::Named, u8), &Path)| {
        let id = InterfaceId(number);
        let own = path.interfaces().get(id.index())?;
        let PortCounters { received, forwarded, echoes, errors, .. } = path.counters(id);
        let v4 = own.v4.iter().map(|(address, bits)| alloc::format!("{address}/{bits}"));
        let v6 = own.v6.iter().map(|(address, bits)| alloc::format!("{address}/{bits}"));
        Some(InterfaceStatus {
            name: named.name.clone(),
            is_up: named.is_up,
            addresses: v4.chain(v6).collect(),
            mtu: own.mtu_bytes,
            received,
            forwarded,
            echoes,
            errors,
            dropped: path.drops().total(id),
            drops: Reason::ALL.iter().map(|&reason| (reason.name(), path.drops().of(id, reason))).collect(),
        })
    };
    let path = router.path.iter().cycle();
    router.interfaces.iter().zip(0..).zip(path).filter_map(one).collect()
}

/// What is known of neighbours.
pub(super) fn neighbours(router: &Router) -> NeighbourStatus {
    let Some(path) = &router.path else { return NeighbourStatus::default() };
    let (neighbours, counters) = (path.neighbours(), path.neighbours().counters());
    NeighbourStatus {
        known: neighbours.len(),
        waiting: neighbours.waiting(),
        asked: counters.asked,
        answered: counters.answered,
        evicted: counters.evicted,
        events: router.events,
    }
}

pub(super) fn routes(router: &Router) -> u32 {
    router.path.as_ref().map_or(0, |path| path.routes().count())
}

/// As JSON.
pub(super) fn to_json(router: &Router, report: &Report) -> String {
    let troubles = router.unready();
    let configuration = router.config.effective().into_iter();
    let status = Status {
        ready: troubles.is_empty(),
        troubles,
        report,
        interfaces: interfaces(router),
        neighbours: neighbours(router),
        routes: routes(router),
        vrrp: shared::vrrp(router),
        time: router.outside.time_status(super::now_of(report)),
        syslog: router.outside.syslog_status(),
        flows: services::flows(router),
        services: services::services(router, super::now_of(report)),
        firewall: firewall::status(router),
        configuration: configuration
            .map(|(key, value, origin)| Value { key, value, origin: origin.to_string() })
            .collect(),
    };
    let mut json = serde_json::to_string(&status).unwrap_or_default();
    json.push('\n');
    json
}
