//! What machines share, and which of them has it: on the console, in status and metrics.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write;

use log::{info, warn};
use paravane_appliance::path::Path;
use paravane_appliance::vrrp::{Counters, Event, Member, Settings, State};
use serde::Serialize;

use super::Router;
use super::metrics::{Family, family};

/// A virtual router of one IP version.
#[derive(Clone, Debug, Serialize)]
pub(super) struct VrrpStatus {
    pub(super) interface: String,
    pub(super) id: u8,
    /// Of which IP version: 4, 6.
    pub(super) version: u8,
    /// `active`, `backup`, `fault` (a link is down), `resigned`.
    pub(super) state: &'static str,
    pub(super) priority: u8,
    pub(super) addresses: Vec<String>,
    /// Those of the same name move together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sync: Option<String>,
    pub(super) became_active: u64,
    pub(super) sent: u64,
    pub(super) received: u64,
    /// How often another machine was heard that was active as well.
    pub(super) rivals: u64,
    /// How often its addresses were announced.
    pub(super) announced: u64,
}

/// All of them.
pub(super) fn vrrp(router: &Router) -> Vec<VrrpStatus> {
    let Some(instances) = router.path.as_ref().and_then(Path::vrrp) else { return Vec::new() };
    let one = |(number, member): (usize, &Member)| {
        let Settings { id, priority, addresses, .. } = member.settings();
        let said = router.config.vrrp.iter().find(|said| {
            said.id == *id
                && addresses.first().is_some_and(|first| said.addresses.iter().any(|(its, _)| its == first))
        });
        let Counters { sent, received, became_active, rivals, announced } = member.counters();
        VrrpStatus {
            interface: said.map(|said| said.interface.clone()).unwrap_or_default(),
            id: id.get(),
            version: if member.is_v4() { 4 } else { 6 },
            state: instances.state(number).name(),
            priority: *priority,
            addresses: addresses.iter().map(ToString::to_string).collect(),
            sync: said.and_then(|said| said.sync.clone()),
            became_active,
            sent,
            received,
            rivals,
            announced,
        }
    };
    instances.members().iter().enumerate().map(one).collect()
}

impl Router {
    /// Says what changed, once.
    pub(super) fn say_vrrp(&mut self) {
        while let Some(event) = self.path.as_mut().and_then(Path::take_vrrp_event) {
            let (Event::Became { member, .. } | Event::Rival { member, .. } | Event::Differs { member, .. }) =
                event;
            let all = vrrp(self);
            let Some(VrrpStatus { interface, id, version, priority: ours, addresses, .. }) = all.get(member)
            else {
                continue;
            };
            let shared = addresses.join(", ");
            match event {
                Event::Became { state: State::Fault, .. } => {
                    warn!("vrrp {interface} {id} IPv{version}: fault: a link is down");
                }
                Event::Became { state, .. } => {
                    info!("vrrp {interface} {id} IPv{version}: {}: {shared}", state.name());
                }
                Event::Rival { own, rival, priority, stays, .. } => warn!(
                    "vrrp {interface} {id} IPv{version}: two machines are active: {own} of priority {ours}, \
                     and {rival} of priority {priority}; {} goes on",
                    if stays { own } else { rival }
                ),
                Event::Differs { from, .. } => warn!(
                    "vrrp {interface} {id} IPv{version}: {from} shares other addresses than {shared}; \
                     write the same on both"
                ),
            }
        }
    }
}

/// A family with one value for each virtual router.
type OfVrrp = (Family, fn(&VrrpStatus) -> u64);

const OF_VRRP: [OfVrrp; 7] = [
    (("paravane_vrrp_active", "gauge", "Whether this machine has the addresses."), |one| {
        (one.state == State::Active.name()).into()
    }),
    (("paravane_vrrp_fault", "gauge", "Whether a link is down that it needs."), |one| {
        (one.state == State::Fault.name()).into()
    }),
    (("paravane_vrrp_priority", "gauge", "Who has the higher one is active."), |one| one.priority.into()),
    (("paravane_vrrp_became_active_total", "counter", "Times that this machine became active."), |one| {
        one.became_active
    }),
    (("paravane_vrrp_sent_total", "counter", "Advertisements that were sent."), |one| one.sent),
    (("paravane_vrrp_received_total", "counter", "Advertisements of other machines."), |one| one.received),
    (("paravane_vrrp_rivals_total", "counter", "Those of them while this machine was active."), |one| {
        one.rivals
    }),
];

/// The same for Prometheus.
pub(super) fn write_metrics(router: &Router, text: &mut String) -> core::fmt::Result {
    let all = vrrp(router);
    for (of_vrrp, value) in OF_VRRP.into_iter().filter(|_| !all.is_empty()) {
        family(text, of_vrrp)?;
        for one in &all {
            let VrrpStatus { interface, id, version, .. } = one;
            let labels = alloc::format!("nic=\"{interface}\",id=\"{id}\",version=\"{version}\"");
            writeln!(text, "{}{{{labels}}} {}", of_vrrp.0, value(one))?;
        }
    }
    Ok(())
}
