//! Flows that a firewall's rules let begin, which are for no service: between two networks, or for
//! this machine itself. They are in the table with those of services, and so is what limits them;
//! nothing of them is translated.

use paravane_hal::time::Instant;

use super::begin::interface_of;
use super::decide::Decision;
use super::{Balancer, Left};
use crate::drops::Reason;
use crate::filter::{Filter, First};
use crate::flow::{Direction, Hit, Key, New, Segment, Tag};
use crate::interface::InterfaceId;
use crate::packet::edit::Ends;
use crate::packet::{Packet, Transport};
use crate::pool::Pool;
use crate::route::Routes;

/// Where packets of this machine's own come from, as a key has it: by no interface.
const OWN_ZONE: u8 = u8::MAX;

impl Balancer {
    /// Has rules say which flows may begin, those of services among them: from now on nothing
    /// passes a [path](crate::path::Path) that is of no flow.
    pub fn set_filter(&mut self, filter: Filter) {
        self.filter = Some(filter);
    }

    /// The rules, if there are any.
    #[must_use]
    pub const fn filter(&self) -> Option<&Filter> {
        self.filter.as_ref()
    }

    /// The same, to take what they have to say.
    pub const fn filter_mut(&mut self) -> Option<&mut Filter> {
        self.filter.as_mut()
    }

    /// Whether rules say which flows may begin.
    pub(crate) const fn is_guarded(&self) -> bool {
        self.filter.is_some()
    }

    /// Whether a packet of a flow that goes that way is for this machine.
    pub(crate) fn is_own(&self, hit: Hit) -> bool {
        let flow = self.flows.get(hit.index);
        flow.is_some_and(|flow| flow.key(hit.direction.other()).zone() == OWN_ZONE)
    }

    /// What becomes of a packet that is of no flow, nor for a service, and is to leave by an
    /// interface; or is for this machine.
    #[cold]
    pub(crate) fn let_in(
        &mut self,
        first: &First,
        key: &Key,
        segment: Option<&Segment>,
        now: Instant,
    ) -> Decision {
        self.try_let_in(first, key, segment, now).unwrap_or_else(Decision::denied)
    }

    /// The same of a plain packet, which is to leave by `to`.
    pub(crate) fn let_in_plain(
        &mut self,
        key: &Key,
        to: InterfaceId,
        segment: Option<&Segment>,
        now: Instant,
    ) -> Result<(), Reason> {
        let InterfaceId(zone) = to;
        let first = First::translated(key, &key.reversed(zone)).ok_or(Reason::NoFlow)?;
        self.try_let_in(&first, key, segment, now).map(|_| ())
    }

    fn try_let_in(
        &mut self,
        first: &First,
        key: &Key,
        segment: Option<&Segment>,
        now: Instant,
    ) -> Result<Decision, Reason> {
        let zone = first.to.map_or(OWN_ZONE, |InterfaceId(zone)| zone);
        let new = New {
            original: *key,
            reply: key.reversed(zone),
            tag: Tag { service: self.plain_number(), server: 0 },
            direction: Direction::Original,
            segment,
        };
        let Self { flows, services, resets, splicing, filter, .. } = self;
        // What begins nothing is asked of no rule.
        let may = || filter.as_mut().map_or(Ok(()), |filter| filter.judge(first, now));
        let mut left = Left { services, resets, splicing, now };
        let hit = flows.open_if(&new, now, may, &mut |index, flow, end| left.ended(index, flow, end))?;
        Ok(if zone == OWN_ZONE { Decision::Own } else { Decision::Goes(hit) })
    }

    /// The number of what flows have whose service is none.
    pub(super) fn plain_number(&self) -> u16 {
        // There are fewer than a number says.
        u16::try_from(self.services.len()).unwrap_or(u16::MAX)
    }

    /// Whether a flow may begin.
    pub(crate) fn judge(&mut self, first: &First, now: Instant) -> Result<(), Reason> {
        self.filter.as_mut().map_or(Ok(()), |filter| filter.judge(first, now))
    }

    /// Whether a client may be told that a spliced service is there, before a server is chosen: as
    /// if for the first server that takes connections. What is not is counted, and what is will be
    /// when the client comes back.
    pub(crate) fn may_ask(
        &mut self,
        number: u16,
        key: &Key,
        routes: &Routes,
        now: Instant,
    ) -> Result<(), Reason> {
        let (Some(filter), Some(serving)) = (&self.filter, self.services.get(usize::from(number))) else {
            return Ok(());
        };
        let Some(first) = to_first(&serving.pool, key, routes) else { return Ok(()) };
        match filter.permits(&first) {
            Ok(()) => Ok(()),
            Err(_) => self.judge(&first, now),
        }
    }

    /// Sees that this machine answers a packet of a flow.
    pub(crate) fn note_own(
        &mut self,
        packet: &Packet,
        transport: &Transport,
        segment: Option<&Segment>,
        now: Instant,
    ) {
        let key = Key::of(packet, transport, OWN_ZONE);
        if let Some(hit) = key.and_then(|key| self.flows.find(&key)) {
            let (flows, mut left) = self.parts(now);
            // What we send goes, whatever is thought of it here.
            let _ = flows.track(hit, segment, now, &mut |index, flow, end| left.ended(index, flow, end));
        }
    }
}

/// What rules would see of a client's packet to the first server that takes connections.
fn to_first(pool: &Pool, original: &Key, routes: &Routes) -> Option<First> {
    let address = pool.first()?;
    let InterfaceId(zone) = interface_of(routes, address.ip())?;
    let ends = Ends {
        source: address.ip(),
        destination: original.source(),
        source_port: address.port(),
        destination_port: original.source_port(),
    };
    First::translated(original, &Key::new(ends, original.protocol(), zone)?)
}
