//! What passes frames on between NICs, as far as the loop over them knows it.

use alloc::borrow::Cow;

use paravane_appliance::interface::InterfaceId;
use paravane_hal::time::Instant;
use paravane_net::{Burst, RxCounters, TxCounters};

use crate::app::http::Change;
use crate::app::status::Report;

/// A page: status, content type, body.
pub type Page = (&'static str, &'static str, Cow<'static, str>);

/// What passed a NIC since the start: its name, and what its queues counted.
pub type Passed<'a> = (&'a str, TxCounters, RxCounters);

/// Who passes frames on, and says how that goes.
pub trait Forwarding {
    /// Takes every frame of `burst`, which came in by `from`.
    fn take(&mut self, from: InterfaceId, burst: &mut Burst, now: Instant);
    /// What is to be sent by `to`: what its NIC does not take stays.
    fn egress(&mut self, to: InterfaceId) -> Option<&mut Burst>;
    /// The link of an interface came, or went.
    fn link_changed(&mut self, interface: InterfaceId, is_up: bool, now: Instant);
    /// What time brings. When to call again, at the latest, if nothing comes in before.
    fn poll(&mut self, now: Instant) -> Option<Instant>;
    /// Whether it wants to be told of each second.
    fn keeps_history(&self) -> bool {
        false
    }
    /// A second is over, or several: what passed each NIC until now.
    fn second(&mut self, _passed: &mut dyn Iterator<Item = Passed<'_>>, _now: Instant) {}
    /// The page called `name`, when all else is as `report` says.
    fn page(&self, name: &str, report: &Report) -> Page;
    /// Does what is asked for on `admin`, or says why not.
    fn change(&mut self, change: &Change, now: Instant) -> Page;
}

/// Nobody: every NIC has a stack of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoForwarding;

impl Forwarding for NoForwarding {
    fn take(&mut self, _from: InterfaceId, burst: &mut Burst, _now: Instant) {
        burst.clear();
    }
    fn egress(&mut self, _to: InterfaceId) -> Option<&mut Burst> {
        None
    }
    fn link_changed(&mut self, _interface: InterfaceId, _is_up: bool, _now: Instant) {}
    fn poll(&mut self, _now: Instant) -> Option<Instant> {
        None
    }
    fn page(&self, _name: &str, _report: &Report) -> Page {
        ("404 Not Found", "text/plain", Cow::Borrowed(""))
    }
    fn change(&mut self, _change: &Change, _now: Instant) -> Page {
        ("404 Not Found", "text/plain", Cow::Borrowed(""))
    }
}
