//! Services at addresses that machines share: another one has them now, or this one does.
//!
//! Who gives a service up knows nothing of its connections any more, at once: they go on elsewhere,
//! so that nobody is to be told that they ended, and what was known of them is old when they come
//! back.

use core::net::{IpAddr, SocketAddr};

use paravane_hal::time::Instant;

use super::Balancer;
use crate::flow::{Flow, Key};
use crate::nat::Mode;

impl Balancer {
    /// The machine has `address` from now on, or no more.
    pub(crate) fn set_here(&mut self, address: IpAddr, is_here: bool) {
        let at_address = |serving: &&mut super::Serving| serving.service.listen.ip() == address;
        for serving in self.services.iter_mut().filter(at_address) {
            if core::mem::replace(&mut serving.is_here, is_here) && !is_here {
                (self.sweep, self.is_handing_over) = (Some(0), true);
            }
        }
    }

    /// Whether there may be flows of services that are not here: who passes packets of flows on has
    /// to [ask](Self::is_here).
    #[inline(always)]
    pub(crate) const fn is_handing_over(&self) -> bool {
        self.is_handing_over
    }

    /// Forgets a flow whose service is not here; whether it was one.
    pub(crate) fn hands_over(&mut self, flow: u32, now: Instant) -> bool {
        let is_elsewhere = self.is_handing_over && !self.is_here(flow);
        if is_elsewhere {
            self.remove(flow, now);
        }
        is_elsewhere
    }

    /// Whether the service of a flow is here, if it is of one.
    pub(crate) fn is_here(&self, flow: u32) -> bool {
        let service = self.flows.get(flow).map(|flow: &Flow| usize::from(flow.tag().service));
        service.and_then(|service| self.services.get(service)).is_none_or(|serving| serving.is_here)
    }

    /// Whether a packet is of a server's answers to a client of a service that another machine has.
    /// Passed on as it is, its client would not know it, and cut its connection off.
    pub(crate) fn is_another_machines(&self, from: SocketAddr, reply: &Key) -> bool {
        self.services.iter().any(|serving| {
            let service = &serving.service;
            !serving.is_here
                && service.ends() == Mode::Dnat
                && service.protocol.number() == reply.protocol()
                && serving.pool.serves_at(from)
        })
    }
}
