//! How a balancer ends: nothing new begins, what is open goes on, and what is left then is cut off.
//! Flows that are of no service are routed, as long as anything is.

use paravane_hal::time::Instant;

use super::{Balancer, Serving};
use crate::flow::Flow;
use crate::nat::Mode;

/// How many places are looked at in one go for a flow that is open.
const LOOK: usize = 4096;

/// How far its end has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Closing {
    /// It serves.
    #[default]
    No,
    /// Nothing begins. No flow before this place is open any more.
    Drains(u32),
    /// And what is left ends.
    CutsOff,
}

impl Closing {
    /// Whether all that is left ends.
    pub(super) const fn is_cutting_off(self) -> bool {
        matches!(self, Self::CutsOff)
    }
}

impl Balancer {
    /// Lets no flow begin from now on: who asks for one is refused. Those that there are go on.
    pub fn close(&mut self) {
        if self.closing == Closing::No {
            self.closing = Closing::Drains(0);
        }
    }

    /// Whether nothing begins any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closing != Closing::No
    }

    /// Whether any flow is open, of a balancer that is closed; one that is not may always have one.
    /// To be asked again and again: what was found not to be open is not looked at any more, nor
    /// are more than some thousand flows at a time.
    pub fn is_anything_open(&mut self, now: Instant) -> bool {
        let first = match self.closing {
            Closing::No => return true,
            Closing::CutsOff => return !self.is_over(),
            Closing::Drains(first) => first,
        };
        let behind = u32::try_from(LOOK).map_or(u32::MAX, |look| first.saturating_add(look));
        let mut among = self.flows.iter_from(first).take_while(|(index, _)| *index < behind);
        let open = among.find(|(_, flow)| is_open(&self.services, flow, now)).map(|(index, _)| index);
        let is_end = behind >= self.flows.limits().flows;
        self.closing = Closing::Drains(open.unwrap_or(if is_end { first } else { behind }));
        open.is_some() || !is_end
    }

    /// How many flows are open. Looks at all of them.
    #[must_use]
    pub fn open_flows(&self, now: Instant) -> u32 {
        let open = self.flows.iter_from(0).filter(|(_, flow)| is_open(&self.services, flow, now));
        u32::try_from(open.count()).unwrap_or(u32::MAX)
    }

    /// Ends all flows, some in each [`poll`](Self::poll). Both ends of a connection are told, but
    /// where it may be picked up elsewhere.
    pub fn cut_off(&mut self) {
        self.closing = Closing::CutsOff;
        self.sweep = Some(0);
    }

    /// Whether a flow ends with the balancer and is picked up by another one, or by this machine
    /// after a restart: nobody is told then that it ends here.
    pub(super) fn is_handed_on(&self, index: u32) -> bool {
        let service = self.flows.get(index).map(|flow| usize::from(flow.tag().service));
        let serving = service.and_then(|service| self.services.get(service));
        let picks_up = |serving: &Serving| {
            let service = &serving.service;
            service.flows.picks_up && service.ends() == Mode::Dnat && !service.is_spliced()
        };
        self.closing.is_cutting_off() && serving.is_some_and(picks_up)
    }

    /// Whether that is done.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.closing.is_cutting_off() && self.sweep.is_none()
    }
}

/// Whether a flow is a service's, and open.
fn is_open(services: &[Serving], flow: &Flow, now: Instant) -> bool {
    usize::from(flow.tag().service) < services.len() && flow.is_open(now)
}
